"""Which columns a program reads of payloads.

What every table has beside them is in `fields`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
from blake3 import blake3

from transit import InvalidInputError, Log
from transit.views.scans.choosing import At, Streams, Time
from transit.views.scans.fields import (
    ERROR,
    OFFSET,
    STREAM,
    TIME,
    Field,
    Kind,
    Path,
    check_name,
    fields_of,
)

if TYPE_CHECKING:
    from transit.views.scans.scanning import Scan

# A columns file that another version of this code makes otherwise is another file.
ENCODER: Final = 1


# Where nothing is declared.
_OF_NOTHING: Final = ("_kind", "payload")


class Columns:
    """Columns that are read of JSON payloads; made by `columns`.

    name: of the table in SQL. digest: 32 hex digits, equal where the columns are. Those of equal
    names and digests are equal. It can be pickled, where the types of its columns can.
    """

    def __init__(self, name: str, fields: Sequence[Field]) -> None:
        self.name = check_name(name, "a table's name")
        self.fields = tuple(fields)
        said = msgspec.json.encode([ENCODER, [each.said for each in fields]])
        self.digest: str = blake3(said).hexdigest(16)

    def __repr__(self) -> str:
        said = ", ".join(f"{field.name} {field.kind}" for field in self.fields)
        return f"<transit.views.Columns {self.name}: {said or ', '.join(_OF_NOTHING)}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Columns):
            return NotImplemented
        return (self.name, self.digest) == (other.name, other.digest)

    def __hash__(self) -> int:
        return hash((self.name, self.digest))

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that its table has."""
        declared = tuple(field.name for field in self.fields) or _OF_NOTHING
        return STREAM, OFFSET, TIME, *declared, ERROR

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


Plain = Mapping[str, tuple[Sequence[str], Kind]]
"""Columns as plain values: paths and a kind by name."""
_TYPES: Final[Mapping[Kind, object]] = {
    "text": str, "int": int, "float": float, "bool": bool, "bytes": bytes, "time": datetime,
    "json": object, "texts": list[str], "ints": list[int], "floats": list[float],
    "bools": list[bool],
}  # fmt: skip


def plain_of(declared: Columns) -> Plain | None:
    """Columns as plain values, for another process; None where these do not say all of them."""
    found = {
        field.name: (tuple(map(_path_text, field.paths)), field.kind) for field in declared.fields
    }
    try:
        again = columns_of(declared.name, found)
    except InvalidInputError:
        return None
    return found if again.digest == declared.digest else None


def columns_of(name: str, plain: Plain) -> Columns:
    """The columns that plain values say; `InvalidInputError`."""
    return columns(
        name, {each: (list(paths), _TYPES[kind]) for each, (paths, kind) in plain.items()}
    )


def _path_text(path: Path) -> str:
    return "".join(
        f"[{step}]" if isinstance(step, int) else "." + _quoted(step) for step in path
    ).removeprefix(".")


def _quoted(step: str) -> str:
    return '"' + step.replace("\\", "\\\\").replace('"', '\\"') + '"'


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


def payload_columns() -> Columns:
    """The columns of `sql` where none are declared: `_kind`, the header `kind`, and `payload`, as
    text.
    """
    return Columns("events", ())
