"""Which columns a program reads of payloads.

What every table has beside them is in `fields`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from blake3 import blake3

from transit import InvalidInputError, Log
from transit.views.scans.choosing import At, Streams, Time
from transit.views.scans.fields import Field, check_name, fields_of

if TYPE_CHECKING:
    from transit.views.scans.scanning import Scan

# A columns file that another version of this code makes otherwise is another file.
ENCODER: Final = 1


class Columns:
    """Columns that are read of JSON payloads; made by `columns`.

    name: of the table in SQL. digest: 32 hex digits, equal where the columns are.
    """

    def __init__(self, name: str, fields: Sequence[Field]) -> None:
        self.name = check_name(name, "a table's name")
        self.fields = tuple(fields)
        said = msgspec.json.encode([ENCODER, [each.said for each in fields]])
        self.digest: str = blake3(said).hexdigest(16)

    def __repr__(self) -> str:
        said = ", ".join(f"{field.name} {field.kind}" for field in self.fields)
        return f"<transit.views.Columns {self.name}: {said}>"

    def scan(
        self,
        log: Log,
        *,
        streams: Streams = None,
        at: At = None,
        since: Time | None = None,
        until: Time | None = None,
    ) -> Scan:
        """The records of some streams as these columns, read when they are asked for; see `scan`.

        Needs pyarrow.
        """
        # Loaded here because pyarrow is an extra and slow to load.
        from transit.views.scans.scanning import scan

        return scan(log, self, streams=streams, at=at, since=since, until=until)


def columns(name: str, reads: object, *, codec: str = "json") -> Columns:
    """Columns with types, read of payloads once and kept.

    name: of the table in SQL. reads: a `msgspec.Struct` whose fields become columns, or a mapping
    of names of columns to types, or to (path, type) or (paths, type): of several paths the first at
    which there is something. A path is `a.b[0]`, with quotes around names that hold dots; types
    are str, int, float, bool, bytes, datetime, Literal, Enum, lists of the first four; others come
    as their JSON text.
    codec: "json" is the only one.
    A field of a Struct without a default must be there; fields of a mapping need not. Values are
    not converted: a number where text is declared is an error, which `_error` tells.
    `InvalidInputError` for anything else.
    """
    if codec != "json":
        raise InvalidInputError(f'codec must be "json", not {codec!r}')
    return Columns(name, fields_of(reads))
