"""What a view is called by: all that decides what it comes to."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from blake3 import blake3

ENCODER_VERSION: Final = 1
"""Of how rows, keys and nodes are encoded: another one is another view."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides what a view comes to, as plain values.

    code: digest of the source, or of a module. limits: of a module's run. where: headers that
    records must have.
    """

    name: str
    version: int
    kind: str
    code: str
    tables: Any
    events: Any
    where: dict[str, list[str]]
    on_error: str
    merge: str
    limits: dict[str, int]
    encoder: int = ENCODER_VERSION

    @property
    def id(self) -> str:
        """32 hex digits."""
        return blake3(msgspec.json.encode(self, order="deterministic")).hexdigest(length=16)
