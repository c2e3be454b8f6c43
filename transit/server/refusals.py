"""What a request may be refused with, without asking the engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

Header = tuple[bytes, bytes]
NO_STORE: Final = (b"cache-control", b"no-store")


class RefusedError(Exception):
    """A request that is answered without asking the engine: a status, and why."""

    def __init__(self, status: int, detail: str, headers: Iterable[Header] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = tuple(headers)
