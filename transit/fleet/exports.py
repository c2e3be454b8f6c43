"""What is exported: the objects that say so, and the columns of the files.

    exports/<number, 20 digits>.json   an `Export`: which files there are; made by put-if-absent
    data/<64 hex>.parquet              its files, with the columns of `columns`

An export's object stays as it was made. `transit.fleet.exporting` makes all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from transit import CorruptError, Head, ObjectStore, UnsupportedVersionError, open_store

if TYPE_CHECKING:
    import pyarrow

EXPORTS: Final = "exports/"
DATA: Final = "data/"
EXPORT_BYTES_MAX: Final = 256 << 20
_NAME: Final = re.compile(r"exports/([0-9]{20})\.json")
_KIND: Final = "transit-export"
_FORMAT: Final = 1


class ExportedFile(msgspec.Struct, frozen=True):
    """A file of an export. key: of its object; "" where no record is to be shown, and no object is.

    start, stop: as those of `Part`. rows: BLAKE3 of which records it has, 64 hex digits. bytes: the
    file's size.
    """

    key: str
    store: str
    start: tuple[int, int]
    stop: tuple[int, int]
    rows: str
    records: int
    bytes: int


class Export(msgspec.Struct, frozen=True):
    """What is exported. number: of this export, from 0 on. at: when it was made, UTC nanoseconds.

    prefix: of the names of streams. stores: as of which head of each; names: how many records of
    each said what became of its streams. files: those that count. removed: those that the last
    export took away, whose objects may still be there.
    """

    number: int
    at: int
    prefix: str
    stores: dict[str, Head]
    names: dict[str, int]
    files: tuple[ExportedFile, ...]
    removed: tuple[str, ...] = ()
    kind: str = _KIND
    format: int = _FORMAT


class _About(msgspec.Struct, frozen=True):
    """What every version says."""

    kind: str
    format: int


def newest_export_at(url: str, storage_options: Mapping[str, object] | None) -> Export | None:
    """As `newest_export`, of a place that is opened for it."""
    target = open_store(url, storage_options)
    try:
        return newest_export(target)
    finally:
        target.close()


def newest_export(target: ObjectStore) -> Export | None:
    """The newest export at a place; None where there is none, `CorruptError` for one that is none.

    Its number is the highest that is listed, or follows it: a listing may be late.
    """
    found = (_NAME.fullmatch(key) for key, _ in target.list(EXPORTS))
    number = max((int(each[1]) for each in found if each is not None), default=-1)
    last = export_at(target, number) if number >= 0 else None
    while (following := export_at(target, number + 1)) is not None:
        last, number = following, number + 1
    return last


def export_at(target: ObjectStore, number: int) -> Export | None:
    """The export of this number; None where there is none, `CorruptError` for one that is none."""
    key = export_key(number)
    data = target.get(key, EXPORT_BYTES_MAX)
    if data is None:
        return None
    place = f"{target.url}/{key}"
    try:
        about = msgspec.json.decode(data, type=_About)
        if about.kind == _KIND and about.format > _FORMAT:
            raise UnsupportedVersionError(place, found=about.format, supported=_FORMAT)
        found = msgspec.json.decode(data, type=Export)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_export(place, str(error)) from None
    if (found.kind, found.format, found.number) != (_KIND, _FORMAT, number):
        raise _no_export(place, f"{found.kind} {found.format}, number {found.number}")
    return found


def _no_export(place: str, found: str) -> CorruptError:
    return CorruptError(place, expected="an export", found=found)


def export_key(number: int) -> str:
    """The object of an export."""
    return f"{EXPORTS}{number:020}.json"


def columns() -> pyarrow.Schema:
    """The Arrow schema of the files."""
    # It is an extra.
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        {
            "store": text, "stream": text, "offset": pa.int64(),
            "timestamp": pa.timestamp("us", tz="UTC"), "timestamp_ns": pa.int64(),
            "written_ns": pa.int64(), "writer": text, "headers": pa.map_(text, text),
            "payload": pa.binary(),
        }
    )  # fmt: skip
