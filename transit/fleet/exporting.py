"""Export: the records of stores as Parquet files, again and again, for whoever reads these.

    data/<64 hex>.parquet              records of one store; the name is the BLAKE3 of what it is of
    exports/<number, 20 digits>.json   an `Export`: which files there are; made by put-if-absent

Each export writes files for what was published since the one before, and no file twice. A copy
forgets nothing by itself: where records were deleted since, or streams hidden or shown, the files
that are about them are written anew, and the old ones removed. The newest export says which files
count. One that was cut short may leave files that no export names: the next that has something new
removes them. A file's name has the number of its export in it, so none is removed that a later one
counts on.

    store, stream      text
    offset             int64, where the record was appended
    timestamp          microseconds, UTC, and timestamp_ns: nanoseconds, int64
    written_ns         when it was written, UTC nanoseconds by the engine's clock, int64
    writer             text, "" for a process that had the store open
    headers            map of text to text
    payload            bytes

What a file is of, and as of which root, is in its metadata under `transit`, as JSON.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from blake3 import blake3

from transit import (
    AlreadyExistsError,
    ConflictError,
    Head,
    InvalidInputError,
    ObjectStore,
    RemoteUnavailableError,
    open_store,
)
from transit.fleet.catalogs import Iceberg
from transit.fleet.cuts import Cut
from transit.fleet.exports import (
    DATA,
    EXPORT_BYTES_MAX,
    Export,
    ExportedFile,
    columns,
    export_key,
    newest_export,
)
from transit.fleet.iceberg import Registered, Registration
from transit.fleet.keeping import encode, timeout_of
from transit.fleet.making import Making, Stores
from transit.fleet.planning import Asked, Part
from transit.fleet.reading import read
from transit.fleet.times import whole_microseconds

if TYPE_CHECKING:
    import pyarrow

# The place may have other files, which are somebody's.
_OWN: Final = re.compile(r"data/[0-9a-f]{64}\.parquet")
_READ: Final = ("store", "stream", "offset", "timestamp", "written", "writer", "headers", "payload")


class Exported(msgspec.Struct, frozen=True):
    """What an export did.

    export: the newest, made now unless there was nothing new. added: files written. removed: keys
    of those taken away. missing: stores that could not be read, and why. registered: the Iceberg
    table that has the files now; None where none was asked for.
    """

    export: Export
    added: tuple[ExportedFile, ...]
    removed: tuple[str, ...]
    missing: Mapping[str, str]
    registered: Registered | None = None


def export(
    stores: Stores,
    url: str,
    storage_options: Mapping[str, object] | None,
    prefix: str,
    file_bytes: int,
    labels: Mapping[str, str] | None,
    missing_ok: bool,
    iceberg: Iceberg | None,
) -> Exported:
    """See `Planned.export`."""
    if type(file_bytes) is not int or file_bytes < 1:
        raise InvalidInputError(f"bytes_per_file must be a positive int, not {file_bytes!r}")
    with contextlib.ExitStack() as stack:
        target = open_store(url, storage_options, timeout_of(stores.how.get("settings")))
        stack.callback(target.close)
        last = newest_export(target)
        if last is not None and last.prefix != prefix:
            raise InvalidInputError(
                f"{target.url} has streams whose names begin with {last.prefix!r}, not {prefix!r}"
            )
        table = None
        if iceberg is not None:
            table = stack.enter_context(Registration(target, iceberg, storage_options or {}))
            # A wrong table is told before anything is written.
            table.check()
        exporting = _Exporting(stores, target, last, table, prefix, file_bytes)
        return exporting.run(labels or {}, missing_ok)


class _Exporting:
    """One export."""

    def __init__(
        self,
        stores: Stores,
        target: ObjectStore,
        last: Export | None,
        table: Registration | None,
        prefix: str,
        size: int,
    ) -> None:
        self._stores, self._target, self._last, self._table = stores, target, last, table
        self._prefix, self._size = prefix, size
        self._number = 0 if last is None else last.number + 1
        # Files that were there when it began: those that nobody names are nobody's.
        self._listed: set[str] = set()

    def run(self, labels: Mapping[str, str], missing_ok: bool) -> Exported:
        """Write what is new, and what has to be written anew."""
        last = self._last
        after = Cut({} if last is None else last.stores)
        making = Making(
            self._stores, Asked(self._prefix), "blocks", None, after, labels, missing_ok=missing_ok
        )
        plan = making.plan(self._size, None)
        names = {table.store: table.names for table in making.tables}
        self._listed = {key for key, _ in self._target.list(DATA) if _OWN.fullmatch(key)}
        added = [self._write(part) for part in plan]
        kept, gone = [], []
        known = {} if last is None else last.names
        for old in () if last is None else last.files:
            head = plan.cut.stores.get(old.store)
            new = old
            if head is not None and (
                names[old.store] != known.get(old.store) or not self._has(old)
            ):
                new = self._again(old, head)
            kept.append(new)
            if new != old:
                gone.append(old.key)
                added.append(new)
        whole = {(each.store, each.start): each for each in (*kept, *added)}
        return self._finish(
            plan.cut, names, tuple(whole.values()), tuple(each for each in added if each.key),
            tuple(key for key in gone if key),
        )  # fmt: skip

    def _finish(
        self,
        cut: Cut,
        names: dict[str, int],
        files: tuple[ExportedFile, ...],
        added: tuple[ExportedFile, ...],
        gone: tuple[str, ...],
    ) -> Exported:
        last = self._last
        # What could not be read stays as it was.
        stores = {**(last.stores if last else {}), **cut.stores}
        known = {**(last.names if last else {}), **names}
        if last is not None and (stores, known, files) == (last.stores, last.names, last.files):
            registered = self._register()
            self._remove(last.removed)
            return Exported(last, (), (), cut.missing, registered)
        made = Export(self._number, time.time_ns(), self._prefix, stores, known, files, gone)
        data = encode(made)
        if len(data) > EXPORT_BYTES_MAX:
            raise InvalidInputError(f"{len(files)} files are too many: export with larger ones")
        try:
            self._target.create(export_key(self._number), data)
        except (AlreadyExistsError, RemoteUnavailableError) as error:
            # It may be this very write, whose answer was lost.
            if self._target.get(export_key(self._number), EXPORT_BYTES_MAX) != data:
                if isinstance(error, AlreadyExistsError):
                    place = self._target.url
                    raise ConflictError(f"{place}: another process exported meanwhile") from None
                raise
        registered = self._register()
        nobodys = {*gone, *self._listed, *(last.removed if last is not None else ())}
        self._remove(nobodys - {each.key for each in files})
        return Exported(made, added, gone, cut.missing, registered)

    def _register(self) -> Registered | None:
        """Tell the Iceberg table. Before files are removed: until then it names them."""
        return None if self._table is None else self._table.run()

    def _remove(self, keys: Iterable[str]) -> None:
        for key in sorted(keys):
            self._target.delete(key)

    # Files

    def _write(self, part: Part) -> ExportedFile:
        """Write the records of a part, where it has any."""
        table = read(part, _READ, **self._stores.how)  # type: ignore[arg-type]
        if not len(table):
            return ExportedFile("", part.store, part.start, part.stop, _NO_ROWS, 0, 0)
        rows = _rows(table)
        about = {
            "store": part.store, "start": part.start, "stop": part.stop, "streams": self._prefix,
            "rows": rows, "export": self._number, "format": 1,
        }  # fmt: skip
        name = blake3(msgspec.json.encode(about, order="sorted")).hexdigest()
        key = f"{DATA}{name}.parquet"
        told = {
            **about,
            "records": len(table),
            "root": part.head.root,
            "commits": part.head.commits,
        }
        data = _parquet(table, told)
        try:
            self._target.create(key, data)
        except (AlreadyExistsError, RemoteUnavailableError):
            # This export was begun before, or the answer was lost. What is there is of the same
            # records, perhaps packed by another version of Arrow.
            size = self._target.size(key)
            if size is None:
                raise
        else:
            size = len(data)
        return ExportedFile(key, part.store, part.start, part.stop, rows, len(table), size)

    def _again(self, old: ExportedFile, head: Head) -> ExportedFile:
        """A file as it is to be now: itself, or another of the records that are there, if any."""
        part = Part(
            self._stores.address(old.store), old.store, head, "blocks", old.start, old.stop,
            Asked(self._prefix), old.records, old.bytes,
        )  # fmt: skip
        table = read(part, ("stream", "offset"), **self._stores.how)  # type: ignore[arg-type]
        return old if _rows(table) == old.rows and self._has(old) else self._write(part)

    def _has(self, file: ExportedFile) -> bool:
        """Whether a file is there, if there is to be one; a listing may lack it."""
        is_listed = not file.key or file.key in self._listed
        return is_listed or self._target.size(file.key) is not None


def _rows(table: pyarrow.Table) -> str:
    """The BLAKE3 of which records a table has: of their streams and offsets, in its order."""
    runs: list[list[object]] = []
    expected: tuple[object, int] | None = None
    columns = (table[name].to_pylist() for name in ("stream", "offset"))
    for stream, offset in zip(*columns, strict=True):
        if (stream, offset) == expected:
            runs[-1][2] = offset
        else:
            runs.append([stream, offset, offset])
        expected = stream, offset + 1
    return blake3(msgspec.json.encode(runs)).hexdigest()


_NO_ROWS: Final = blake3(b"[]").hexdigest()


def _parquet(table: pyarrow.Table, about: Mapping[str, object]) -> bytes:
    """A table of records as a Parquet file."""
    # It is an extra.
    import pyarrow as pa

    # Loaded here, too: it is not loaded with the rest.
    import pyarrow.parquet as pq

    schema = columns()
    moments = table["timestamp"].cast(pa.int64())
    found: dict[str, Any] = {
        "store": table["store"].cast(pa.string()),
        "stream": table["stream"].cast(pa.string()),
        "offset": table["offset"],
        "timestamp": whole_microseconds(table["timestamp"]),
        "timestamp_ns": moments,
        "written_ns": table["written"].cast(pa.int64()),
        "writer": table["writer"].cast(pa.string()),
        "headers": table["headers"],
        "payload": table["payload"].cast(pa.binary()),
    }
    said = {"transit": msgspec.json.encode(about, order="sorted")}
    made = pa.table(found, schema=schema.with_metadata(said))
    sink = pa.BufferOutputStream()
    pq.write_table(made, sink, compression="zstd")
    return bytes(sink.getvalue())
