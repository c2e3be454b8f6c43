"""Parts of a plan, read as Arrow, in any process that reaches the stores' remotes.

Owns the stores that a process has open for it: the last ones, each opened once. All is checked as
in any read of the store, and that its history is the one that the part is of.
"""

from __future__ import annotations

import atexit
import os
import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

import transit
from transit import Batch, Head, InvalidInputError, Keyring, Log, Sealed, Settings
from transit.fleet.planning import Asked, Part

if TYPE_CHECKING:
    import pyarrow

COLUMNS: Final = (
    "store", "stream", "offset", "timestamp", "headers", "payload", "origin_stream",
    "origin_offset", "written", "writer",
)  # fmt: skip
"""All columns. The first two are added here; the others are those of `Batch.to_arrow`."""
OPEN_MAX: Final = 16
# How much is given at once, about.
_ROWS: Final = 65_536
_BYTES: Final = 32 << 20
# Batches of fewer rows, on the average, are put together: engines take some time for each.
_ROWS_MIN: Final = 512
_Key = tuple[str, str, int, bytes, int]


class _Opened:
    """A store that is open in this process once it was asked for, and how many read it now.

    how: kept as long as the store is, as its key has the numbers of objects in it, which others
    get when these are gone.
    """

    def __init__(self, remote: str, how: _How) -> None:
        self._remote, self._how = remote, how
        self._log: Log | None = None
        self._sealed: tuple[Head, Sealed] | None = None
        self._lock = threading.Lock()
        self.readers = 0

    def sealed(self, part: Part) -> Sealed:
        """What the store had sealed as of the part's head."""
        # Others wait for this store alone.
        with self._lock:
            if self._log is None:
                self._log = self._how.open(self._remote)
            else:
                # What was deleted since, there or in a folder, is gone for older heads, too.
                self._log.refresh()
                self._log.sealed()
            if self._log.store_id != part.store:
                raise transit.CorruptError(
                    part.remote, expected=f"store {part.store}", found=self._log.store_id
                )
            if self._sealed is None or self._sealed[0] != part.head:
                self._sealed = part.head, self._log.sealed(part.head)
            return self._sealed[1]

    def close(self) -> None:
        """Let the store go; nobody reads it."""
        if self._log is not None:
            self._log.close()


class _Stores:
    """The stores that this process has open for parts. Safe for threads, and after a fork."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, _Opened] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def of(self, part: Part, how: _How) -> Iterator[_Opened]:
        """That of a part."""
        key = how.key(part)
        with self._lock:
            found = self._known.get(key)
            if found is None:
                found = self._known[key] = _Opened(part.remote, how)
            self._known.move_to_end(key)
            found.readers += 1
        try:
            yield found
        finally:
            with self._lock:
                found.readers -= 1
            self._trim(OPEN_MAX)

    def _trim(self, most: int) -> None:
        with self._lock:
            idle = [key for key, each in self._known.items() if not each.readers]
            gone = [self._known.pop(key) for key in idle[: max(0, len(self._known) - most)]]
        for each in gone:
            each.close()

    def close(self) -> None:
        """Close those that nobody reads."""
        self._trim(0)

    def forget(self) -> None:
        """In a forked process: what is open is the parent's."""
        self._known, self._lock = OrderedDict(), threading.Lock()


_stores: Final = _Stores()
atexit.register(_stores.close)
os.register_at_fork(after_in_child=_stores.forget)


def read(
    part: Part,
    columns: Sequence[str] | None = None,
    *,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: Keyring | None = None,
) -> pyarrow.Table:
    """The records of a part as an Arrow table.

    columns: of `COLUMNS`, in this order; None: all; without any, rows are counted all the same.
    store, stream dictionary; the others as of `Batch.to_arrow`. Of a plan by blocks, stream and
    offset are where a record was appended; of one by streams, where it is read, with what the
    stream inherits.
    storage_options, settings, keyring: as `transit.open` takes them; a part has none.
    Records that were deleted since the plan was made are left out. Raises `CorruptError` where the
    store has another history, `NotFoundError` where it has no such commit yet, and what reading
    raises; `ImportError` without pyarrow.
    """
    import pyarrow as pa  # It is an extra.

    names, how = check_columns(columns), _How(storage_options, settings, keyring)
    return pa.Table.from_batches(_batches(part, names, how), schema_of(names))


def scan(
    parts: Iterable[Part],
    columns: Sequence[str] | None = None,
    *,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: Keyring | None = None,
) -> pyarrow.RecordBatchReader:
    """The records of parts one after another, for engines that read an Arrow stream; as `read`."""
    import pyarrow as pa  # It is an extra.

    names, how = check_columns(columns), _How(storage_options, settings, keyring)
    found = (batch for part in tuple(parts) for batch in _batches(part, names, how))
    return pa.RecordBatchReader.from_batches(schema_of(names), found)


def check_columns(
    columns: Sequence[str] | None, known: tuple[str, ...] = COLUMNS
) -> tuple[str, ...]:
    """The columns asked for, all when None; `InvalidInputError` for one there is not."""
    if columns is None:
        return known
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise InvalidInputError(f"columns must be a sequence of names, not {columns!r}")
    for name in columns:
        if name not in known:
            raise InvalidInputError(f"no column {name!r}; there are: {', '.join(known)}")
    return tuple(columns)


def schema_of(names: Sequence[str]) -> pyarrow.Schema:
    """The Arrow schema of these columns."""
    import pyarrow as pa  # It is an extra.

    text = pa.dictionary(pa.int32(), pa.string())
    moment = pa.timestamp("ns", tz="UTC")
    types = {
        "store": text, "stream": text, "offset": pa.int64(), "timestamp": moment,
        "headers": pa.map_(pa.string(), pa.string()), "payload": pa.large_binary(),
        "origin_stream": text, "origin_offset": pa.int64(), "written": moment, "writer": text,
    }  # fmt: skip
    return pa.schema([(name, types[name]) for name in names])


class _How(NamedTuple):
    """How stores are opened."""

    storage_options: Mapping[str, object] | None
    settings: Settings | None
    keyring: Keyring | None

    def key(self, part: Part) -> _Key:
        """What tells stores apart that are opened; one may have been made where another was."""
        options = msgspec.json.encode(
            [self.storage_options, self.settings], order="sorted", enc_hook=id
        )
        keyring = 0 if self.keyring is None else id(self.keyring)
        return part.remote, part.store, keyring, options, os.getpid()

    def open(self, remote: str) -> Log:
        """A store."""
        return transit.open(remote, mode="read", **self._asdict())


def _batches(part: Part, names: Sequence[str], how: _How) -> Iterator[pyarrow.RecordBatch]:
    """The records of a part as record batches, some ten thousand rows each."""
    if not isinstance(part, Part):
        raise InvalidInputError(f"not a part of a plan: {type(part).__name__}")
    import pyarrow as pa  # It is an extra.

    with _stores.of(part, how) as opened:
        sealed = opened.sealed(part)
        # Without columns there are as many rows.
        own = [name for name in names or ("offset",) if name not in ("store", "stream")]
        found = _of_streams if part.by == "stream" else _of_blocks
        schema = schema_of(names)
        held: list[Any] = []
        rows = size = 0
        for stream, batch in found(sealed, part):
            asked = _asked_of(batch, part.asked)
            if not asked:
                continue
            made = batch.to_arrow(own)
            if not names:
                made = made.select([])
            elif len(own) < len(names):
                arrays = {
                    "store": partial(_one, part.store, len(batch)),
                    "stream": partial(_one, stream, len(batch)),
                }
                columns = [arrays[n]() if n in arrays else made.column(n) for n in names]
                made = pa.RecordBatch.from_arrays(columns, schema=schema)
            is_whole = len(asked) == len(batch)
            held.append(made if is_whole else made.slice(asked.start, len(asked)))
            rows, size = rows + len(asked), size + batch.data.nbytes
            if rows >= _ROWS or size >= _BYTES:
                yield from _together(held)
                held, rows, size = [], 0, 0
        yield from _together(held)


def _together(held: list[Any]) -> Iterator[Any]:
    """Batches as one, where most are small; more, where they have too many bytes for one."""
    import pyarrow as pa  # It is an extra.

    if sum(map(len, held)) >= _ROWS_MIN * len(held):
        # Worth no copy.
        yield from held
    else:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()


def _one(text: str, count: int) -> Any:
    import pyarrow as pa  # It is an extra.

    indices = pa.repeat(pa.scalar(0, pa.int32()), count)
    return pa.DictionaryArray.from_arrays(indices, pa.array([text], pa.string()))


def _asked_of(batch: Batch, asked: Asked) -> range:
    """Which rows of a batch are of the time asked for; within one they are in order of that."""
    low = 0 if asked.since is None else bisect_left(batch.written, asked.since)
    high = len(batch) if asked.until is None else bisect_left(batch.written, asked.until)
    return range(low, high)


def _of_blocks(sealed: Sealed, part: Part) -> Iterator[tuple[str, Batch]]:
    hidden, prefix = sealed.hidden(), part.asked.prefix

    def wanted(stream_id: int, name: str) -> bool:
        is_users = not name.startswith("$")
        return is_users and name.startswith(prefix) and stream_id not in hidden

    (first, start), (last, stop) = part.start, part.stop
    for number, segment in enumerate(sealed.segments()):
        if number > last:
            return
        if number < first or not part.asked.may_hold(*segment.written):
            continue
        count = len(segment.blocks())
        blocks = range(start if number == first else 0, stop if number == last else count)
        for _, batch in segment.batches(blocks, wanted):
            yield batch.source.stream, batch


def _of_streams(sealed: Sealed, part: Part) -> Iterator[tuple[str, Batch]]:
    for stream in sealed.streams(range(part.start[0], part.stop[0])):
        if stream.name.startswith(part.asked.prefix):
            first, count = stream.first_offset, sealed.count(stream)
            for batch in stream.batches(min(first, count), count):
                yield stream.name, batch
