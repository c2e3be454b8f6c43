"""The fold of a WebAssembly module: records in calls of many, over the rows of the state before.

How many records a call has is seen in nothing that comes of it. A call that fails has done nothing;
its records are given again in smaller calls, down to one alone, and only what fails alone, with all
of the fuel, stops the view, before that record. A call of many has no more fuel than one record
has, so that none can hide a record that would fail alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from transit import AlreadyExistsError, Batch, InvalidInputError
from transit.views.errors import BadResultError, ModuleError, OutOfFuelError, ReducerError
from transit.views.folding import Skipped
from transit.views.maps.map import Map
from transit.views.modules.abi import Gathered, ResultDecoder, kept_state, page_changes
from transit.views.overlay import Journal, RowChange, changes_of, flushed, writable
from transit.views.tables import Table

if TYPE_CHECKING:
    from transit.views.modules.machine import Machine

CALL_BYTES_MAX: Final = 5 << 20
"""Payload bytes of a call; five eighths of the module's memory, where that is less."""
_RECORDS_MAX: Final = 16_384
_FIRST: Final = 16


class Pace:
    """How many records a call gets, and how much fuel, from what calls took before.

    A record that never ends is found by calls of little fuel, so that only the one for it alone
    takes all. Counts are drawn: a module that cares how many records it is given comes to something
    else the next time, which `View.verify` finds.
    """

    def __init__(self, fuel: int) -> None:
        self._fuel = fuel
        self.most = random.randrange(_RECORDS_MAX // 2, _RECORDS_MAX)
        self._share = 50_000
        self.count = _FIRST

    def budget(self, count: int) -> int:
        """The fuel for a call of so many records."""
        return self._fuel if count == 1 else min(self._fuel, self._share * count)

    def went(self, count: int, used: int) -> None:
        """A call was answered."""
        self._share = max(self._share, 4 * used // count)
        # Three quarters of the fuel at most are to be taken, by records like these.
        most = max(1, self._fuel * 3 * count // max(1, 4 * used))
        grown = random.randrange(3 * self.count, 5 * self.count)
        self.count = max(1, min(self.most, most, grown))

    def failed(self, count: int, *, is_fuel: bool) -> None:
        """A call was not. is_fuel: for want of fuel, which other records may have enough of."""
        if not is_fuel:
            # The module may have no room for so many.
            self.most = max(1, count // 2)
        self.count = max(1, count // (64 if is_fuel else 8))


class WasmFold:
    """A fold of one module that goes on from a map. stream: its name, for errors.

    Records are gathered, and given to the module when there are enough of them or a state is asked
    for; so `flush` raises what `take` does. applied: what was given to the module since
    `begin_anew`. skipped: always empty, as modules pass over what they do not want.
    """

    def __init__(
        self,
        machine: Machine,
        decoder: ResultDecoder,
        tables: Sequence[Table],
        map_: Map,
        stream: str,
    ) -> None:
        self._machine, self._decoder = machine, decoder
        self._map, self._stream = map_, stream
        self._tables = writable(tables, map_)
        # What a call wrote, where it may be refused in the middle.
        self._journal: Journal = []
        self._is_unique = any(index.is_unique for each in tables for index in each.indexes)
        if self._is_unique:
            self._watch(self._journal)
        self._state = self._written = kept_state(map_, self._machine.state_initial)
        self._gathered = Gathered()
        self._pace = Pace(self._machine.fuel)
        self._bytes_max = min(CALL_BYTES_MAX, self._machine.memory_bytes_max * 5 // 8)
        self.skipped: list[Skipped] = []
        self.applied = 0

    def take(self, batch: Batch, first: int, stop: int) -> None:
        """Fold rows `first` to before `stop` of a batch, now or later; `ReducerError`, which has
        the record's offset, where one cannot be."""
        self._gathered.add(batch, first, stop)
        # More than goes into one call, so that a few that are left over are not one of their own.
        if len(self._gathered) >= 2 * self._pace.most or self._gathered.size >= 2 * self._bytes_max:
            self._give()

    def step(self, batch: Batch, row: int) -> list[RowChange]:
        """Fold one row of a batch; what it changed, in the order of tables and keys."""
        self._give()
        self._journal.clear()
        self._watch(self._journal)
        self._gathered.add(batch, row, row + 1)
        self._give()
        if not self._is_unique:
            self._watch(None)
        return changes_of(self._journal)

    def flush(self) -> Map:
        """The map that has all changes; `ReducerError` as `take`. The fold goes on from there."""
        self._give()
        pages = page_changes(self._written, self._state, self._machine.state_initial)
        self._map = flushed(self._tables, self._map.edit(pages))
        self._written = self._state
        return self._map

    def begin_anew(self) -> None:
        """Count from here on."""
        self.applied = 0

    def _give(self) -> None:
        """Give the module all that was gathered."""
        gathered, self._gathered = self._gathered, Gathered()
        at = 0
        while at < len(gathered):
            count = gathered.fitting(at, self._pace.count, self._bytes_max * 6 // 5)
            try:
                used = self._call(gathered, at, count)
            except ModuleError as error:
                if count == 1:
                    kind = f"{type(error).__name__}: {error}"
                    raise ReducerError(self._stream, gathered.offset(at), kind) from error
                self._pace.failed(count, is_fuel=isinstance(error, OutOfFuelError))
            else:
                self._pace.went(count, used)
                self.applied += count
                at += count

    def _call(self, gathered: Gathered, at: int, count: int) -> int:
        """One call, all or nothing; the fuel it took."""
        budget = self._pace.budget(count)
        called = self._machine.call(self._state, gathered.records(at, count), budget)
        changes = self._decoder.decode(called.result)
        tables = self._tables
        self._journal.clear()
        try:
            # All are looked at before any is written: what is refused then has written nothing.
            rows = [tables[each.table].checked(each.key, each.row) for each in changes]
            for each, data in zip(changes, rows, strict=True):
                tables[each.table].write(each.key, each.row, data)
        except (AlreadyExistsError, InvalidInputError) as error:
            self._take_back()
            raise BadResultError(str(error)) from error
        self._state = called.state
        return called.fuel

    def _take_back(self) -> None:
        """Undo what a call wrote."""
        if not self._journal:
            return
        self._watch(None)
        for table, key, before in reversed(self._journal):
            if before is None:
                table.delete(key)
            else:
                table.put(before)
        self._watch(self._journal)

    def _watch(self, journal: Journal | None) -> None:
        for each in self._tables:
            each.watch(journal)
