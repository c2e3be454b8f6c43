"""Records without a columns file, decoded: once a process where they are not sealed yet.

Owns what was decoded of each open store and declaration: tables as a columns file has them, in the
order in which they were asked for, and which rows of them a stream has. A tail is appended to as
the streams grow. Those of all declarations are forgotten when something was sealed meanwhile, since
columns files have it then; one when it has `ROWS_MAX` rows, and others before it when they have so
many together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

import pyarrow as pa

from transit import Log
from transit.views.scans.arrows import Declaration
from transit.views.scans.files import CHUNK_ROWS, Gathered
from transit.views.scans.layout import Run

ROWS_MAX: Final = 262_144
CHUNK_BYTES: Final = 64 * 1024 * 1024
"""Payloads that are decoded at once, when rows are large."""
# Many small tables take longer to read than one.
TABLES_MAX: Final = 64


class Rows(NamedTuple):
    """Rows of a table, and the records that they are."""

    table: pa.Table
    rows: range
    run: Run


class _Kept(NamedTuple):
    """A stream's records from offset `first` to before `stop`: rows of a table from `row` on."""

    first: int
    stop: int
    table: int
    row: int


class Tail:
    """What was decoded of a store's unsealed records. Safe for threads.

    rows: how many. segments: how many were sealed when it began.
    """

    def __init__(self, segments: int = 0) -> None:
        self._tables: list[pa.Table] = []
        self._kept: dict[int, list[_Kept]] = {}
        self.rows = 0
        self.segments = segments
        self._lock = threading.Lock()

    def take(self, runs: Sequence[Run], segments: int, declaration: Declaration) -> list[Rows]:
        """The rows of these runs; what was not decoded yet is, and is kept.

        segments: how many are sealed.
        """
        with self._lock:
            if segments != self.segments or self.rows > ROWS_MAX:
                self._tables, self._kept, self.rows = [], {}, 0
                self.segments = segments
            self._add([part for run in runs for part in self._missing(run)], declaration)
            return [rows for run in runs for rows in self._found(run)]

    def _missing(self, run: Run) -> Iterator[Run]:
        at = run.first
        for kept in self._kept.get(run.owner, ()):
            if kept.first > at:
                yield run._replace(first=at, stop=min(kept.first, run.stop))
            at = max(at, kept.stop)
            if at >= run.stop:
                return
        yield run._replace(first=at)

    def _add(self, missing: Sequence[Run], declaration: Declaration) -> None:
        # Two streams may inherit the same records: each is decoded once.
        taken: set[tuple[int, int]] = set()
        wanted = [run for run in missing if run.first < run.stop]
        for table, runs in decoded(wanted, declaration):
            row = 0
            for run in runs:
                count = run.stop - run.first
                if (run.owner, run.first) not in taken:
                    self._keep(run, row)
                taken.add((run.owner, run.first))
                row += count
            self._tables.append(table)
            self.rows += table.num_rows
        if len(self._tables) > TABLES_MAX:
            self._join()

    def _keep(self, run: Run, row: int) -> None:
        kept = self._kept.setdefault(run.owner, [])
        kept.append(_Kept(run.first, run.stop, len(self._tables), row))
        kept.sort()

    def _join(self) -> None:
        begins, row = [], 0
        for table in self._tables:
            begins.append(row)
            row += table.num_rows
        self._tables = [pa.concat_tables(self._tables).combine_chunks()]
        for stream_id, kept in self._kept.items():
            self._kept[stream_id] = [
                _Kept(each.first, each.stop, 0, begins[each.table] + each.row) for each in kept
            ]

    def _found(self, run: Run) -> Iterator[Rows]:
        at = run.first
        for kept in self._kept.get(run.owner, ()):
            if kept.stop <= at:
                continue
            if at >= run.stop:
                return
            stop = min(kept.stop, run.stop)
            row = kept.row + at - kept.first
            yield Rows(
                self._tables[kept.table], range(row, row + stop - at),
                run._replace(first=at, stop=stop),
            )  # fmt: skip
            at = stop


def decoded(runs: Iterable[Run], declaration: Declaration) -> Iterator[tuple[pa.Table, list[Run]]]:
    """The records of these runs as tables of up to about `CHUNK_ROWS` rows, or `CHUNK_BYTES` of
    payloads, one run after another.

    With each table the runs, or parts of them, that it has.
    """
    gathered, size = Gathered(declaration), 0
    parts: list[Run] = []
    for run in runs:
        at = run.first
        for batch in run.stream.batches(run.first - run.shift, run.stop - run.shift):
            gathered.add(run.owner, batch)
            parts.append(run._replace(first=at, stop=at + len(batch)))
            at += len(batch)
            size += len(batch.data)
            if gathered.rows >= CHUNK_ROWS or size >= CHUNK_BYTES:
                yield gathered.table().combine_chunks(), parts
                gathered, size, parts = Gathered(declaration), 0, []
    if parts:
        yield gathered.table().combine_chunks(), parts


_tails: Final[WeakKeyDictionary[Log, dict[str, Tail]]] = WeakKeyDictionary()
_making: Final = threading.Lock()


def tail_of(log: Log, declaration: Declaration, segments: int) -> Tail:
    """What was decoded of an open store for a declaration. segments: how many are sealed."""
    with _making:
        tails = _tails.setdefault(log, {})
        found = tails.pop(declaration.digest, None) or Tail(segments)
        # A declaration may never be asked for again.
        for digest, tail in list(tails.items()):
            if tail.segments != segments or sum(each.rows for each in tails.values()) > ROWS_MAX:
                del tails[digest]
        # The one that was used last is the last to go.
        tails[declaration.digest] = found
        return found
