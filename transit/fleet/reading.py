"""Parts of a plan, read as Arrow, in any process that reaches the stores' remotes.

Owns the stores that a process has open for it: the last ones, each opened once. All is checked as
in any read of the store, and that its history is the one that the part is of.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

import transit
from transit import Head, InvalidInputError, Keyring, Log, Sealed, Settings
from transit.fleet.columns import Wanted, wanted_of
from transit.fleet.planning import Part
from transit.fleet.walking import asked_of, batches_of
from transit.views.scans.declaring import Columns

if TYPE_CHECKING:
    import pyarrow

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

    def sealed(self, part: Part) -> tuple[Log, Sealed]:
        """The store, and what it had sealed as of the part's head."""
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
            return self._log, self._sealed[1]

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
    columns: Sequence[str] | Columns | None = None,
    *,
    select: Sequence[str] | None = None,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: Keyring | None = None,
) -> pyarrow.Table:
    """The records of a part as an Arrow table.

    columns: of `COLUMNS`, in this order; None: all; without any, rows are counted all the same.
    store, stream dictionary; the others as of `Batch.to_arrow`. Or columns with types, made by
    `views.columns` or `views.runs_columns`: then `_store`, and what `views.sql` has of them:
    `_stream`, `_offset`, `_time`, those declared, `_error`; no record is lost, whatever its payload
    is. select: which of these, in this order; None: all; others are not decoded.
    Of a plan by blocks, stream and offset are where a record was appended; of one by streams, where
    it is read, with what the stream inherits.
    storage_options, settings, keyring: as `transit.open` takes them; a part has none.
    Records that were deleted since the plan was made are left out. Raises `InvalidInputError` for a
    column there is not, `CorruptError` where the store has another history, `NotFoundError` where
    it has no such commit yet, and what reading raises; `ImportError` without pyarrow.
    """
    import pyarrow as pa  # It is an extra.

    wanted, how = wanted_of(columns, select), _How(storage_options, settings, keyring)
    return pa.Table.from_batches(_batches(part, wanted, how), wanted.schema())


def scan(
    parts: Iterable[Part],
    columns: Sequence[str] | Columns | None = None,
    *,
    select: Sequence[str] | None = None,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: Keyring | None = None,
) -> pyarrow.RecordBatchReader:
    """The records of parts one after another, for engines that read an Arrow stream; as `read`."""
    import pyarrow as pa  # It is an extra.

    wanted, how = wanted_of(columns, select), _How(storage_options, settings, keyring)
    found = (batch for part in tuple(parts) for batch in _batches(part, wanted, how))
    return pa.RecordBatchReader.from_batches(wanted.schema(), found)


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


def _batches(part: Part, wanted: Wanted, how: _How) -> Iterator[pyarrow.RecordBatch]:
    """The records of a part as record batches, some ten thousand rows each."""
    if not isinstance(part, Part):
        raise InvalidInputError(f"not a part of a plan: {type(part).__name__}")
    with _stores.of(part, how) as opened:
        log, sealed = opened.sealed(part)
        if wanted.declared is None:
            yield from _raw(sealed, part, wanted)
        else:
            # Loaded here because it loads pyarrow, which is an extra and slow to load.
            from transit.fleet.typed import typed_batches

            yield from typed_batches(log, sealed, part, wanted)


def _raw(sealed: Sealed, part: Part, wanted: Wanted) -> Iterator[pyarrow.RecordBatch]:
    """The columns of records."""
    import pyarrow as pa  # It is an extra.

    names, schema = wanted.names, wanted.schema()
    # Without columns there are as many rows.
    own = [name for name in names or ("offset",) if name not in ("store", "stream")]
    held: list[Any] = []
    rows = size = 0
    for stream, batch in batches_of(sealed, part):
        asked = asked_of(batch, part.asked)
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
