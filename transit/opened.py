"""What stays in its process: anything that belongs to an open store or remote.

Owns how such things refuse to be pickled and copied. Values (records, receipts, reports, errors, …)
are no such things: they hold nothing open.
"""

from __future__ import annotations

from typing import NoReturn

from transit.errors import UnpicklableError


class Opened:
    """A base without fields: pickle and copy raise `UnpicklableError`."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise UnpicklableError(
            f"{self!r} belongs to something open in this process and cannot be pickled or copied: "
            'send the address and the names, and open it there with mode="read" or "shared"'
        )
