"""The fold of a Python reducer: records in order, over the rows of the state before them.

An exception stops a fold, which is then thrown away, and the view stands before the record: to
leave it out would make what a view comes to depend on the machine.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol

import msgspec
from blake3 import blake3

from transit import Batch, ClosedError, FormatError, Position, StoreUnavailableError
from transit.views.errors import EventError, ReducerError, ViewError
from transit.views.maps.map import Map
from transit.views.overlay import Journal, RowChange, changes_of, flushed, writable
from transit.views.rows import EventType
from transit.views.spec import Spec
from transit.views.tables import Table

ERRORS_MAX: Final = 1_000
"""Of the records that are skipped between two savepoints so many are noted. More do not stop a
view: where savepoints are is chance, and no state may depend on it."""
Skipped = tuple[int, str]
"""A record that was no event: its offset, and why."""
_REASON_MAX: Final = 200
_NOT_OURS: Final = (StoreUnavailableError, ClosedError, FormatError, ViewError)
"""What a reducer's reads raise and the reducer has no part in."""


class At:
    """The place of the event that a reducer is given; good while the reducer runs.

    What else a program would take from its surroundings: `time`, and `random`, numbers that are the
    same for the same record, whenever and wherever it is folded.
    """

    __slots__ = ("_batch", "_row", "_view")

    def __init__(self, view: str) -> None:
        self._view = view
        self._batch: Batch
        self._row = 0

    @property
    def offset(self) -> int:
        """The record's offset, in the stream of the view."""
        return self._batch.offsets[self._row]

    @property
    def time(self) -> int:
        """The record's timestamp, UTC nanoseconds."""
        return self._batch.timestamps[self._row]

    @property
    def headers(self) -> Mapping[str, str]:
        """The record's headers."""
        return self._batch.headers[self._row]

    @property
    def origin(self) -> Position:
        """The stream the record was appended to, and its offset there."""
        source = self._batch.source
        return Position(source.stream, self._batch.offsets[self._row] + source.shift)

    @property
    def stream(self) -> str:
        """The stream the record was appended to: the same in all branches that inherit it."""
        return self._batch.source.stream

    @property
    def random(self) -> random.Random:
        """Numbers drawn anew for each record, from the view's id, the record's time and bytes."""
        seed = blake3(f"{self._view} {self.time} ".encode())
        seed.update(self._batch.payloads[self._row])
        return random.Random(seed.digest())


class Declared(Protocol):
    """A reducer as it is declared."""

    function: Callable[..., None]
    tables: tuple[Table, ...]
    events: EventType
    spec: Spec


class PythonFold:
    """A fold of one reducer that goes on from a map. stream: its name, for errors.

    applied, skipped: what was taken since `begin_anew`. After an error it is of no more use.
    """

    def __init__(self, reducer: Declared, map_: Map, stream: str) -> None:
        self._reducer, self._map, self._stream = reducer, map_, stream
        self._tables = writable(reducer.tables, map_)
        self._at = At(reducer.spec.id)
        self.skipped: list[Skipped] = []
        self.applied = 0

    def take(self, batch: Batch, first: int, stop: int) -> None:
        """Fold rows `first` to before `stop` of a batch; `ReducerError` or `EventError`, which have
        the record's offset, where one cannot be."""
        at, tables = self._at, self._tables
        function, decode = self._reducer.function, self._reducer.events.decode
        # A call with names is one that Python need not gather arguments for.
        only = tables[0] if len(tables) == 1 else None
        given = partial(function, *tables)
        at._batch = batch
        skipped = 0
        for row, payload in enumerate(batch.payloads[first:stop], first):
            try:
                event = decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._skip(batch.offsets[row], error)
                skipped += 1
                continue
            except RecursionError as error:
                event = self._deep(payload, batch.offsets[row], error)
            at._row = row
            try:
                if only is not None:
                    function(only, event, at)
                else:
                    given(event, at)
            except _NOT_OURS:
                # It was reading: the store is away, closed or damaged.
                raise
            except Exception as error:
                raise ReducerError(self._stream, batch.offsets[row], _shown(error)) from error
        self.applied += stop - first - skipped

    def step(self, batch: Batch, row: int) -> list[RowChange]:
        """Fold one row of a batch; what it changed, in the order of tables and keys."""
        journal: Journal = []
        for each in self._tables:
            each.watch(journal)
        self.take(batch, row, row + 1)
        for each in self._tables:
            each.watch(None)
        return changes_of(journal)

    def _deep(self, payload: bytes, offset: int, error: RecursionError) -> object:
        """An event that is nested too deep for what is left of the caller's stack.

        A thread of its own has the whole stack. What is too deep for that stops the view, whatever
        is skipped otherwise, as a machine with a larger one would not skip it.
        """
        with ThreadPoolExecutor(1) as pool:
            try:
                return pool.submit(self._reducer.events.decode, payload).result()
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise EventError(self._stream, offset, _shown(error)) from error

    def _skip(self, offset: int, error: Exception) -> None:
        reason = _shown(error)
        if self._reducer.spec.on_error == "stop":
            raise EventError(self._stream, offset, reason) from error
        if len(self.skipped) < ERRORS_MAX:
            self.skipped.append((offset, reason[:_REASON_MAX]))

    def flush(self) -> Map:
        """The map that has all changes; the fold goes on from there."""
        self._map = flushed(self._tables, self._map)
        return self._map

    def begin_anew(self) -> None:
        """Count from here on."""
        self.skipped, self.applied = [], 0


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:1_000]
