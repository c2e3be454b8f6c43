"""Writing: offsets and timestamps are given, frames written, synced and acknowledged.

Owns the writer's turn: `frame` is the one door for all who write, `append_one` and `accept_one` are
the same for single records. No other module writes frames. Leaves to the engine what records mean,
to `transit.log.rotation` which file is written, to `transit.log.syncs` how it becomes durable, and
to `transit.log.seal` what becomes of a WAL file that has ended.

Invariants:
- A stream's next offset moves only in a turn, after its frame was written, or, for "memory",
  after the record was accepted; accepted records are framed before any later record.
- Nothing is acknowledged as "local" before a sync that started after its frame was written.
- After a failed sync, or a write that failed for any reason but lack of space, the writer is
  poisoned: it writes and acknowledges nothing more. The disk decides, at the next opening.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import repeat
from time import time_ns
from typing import Final, TypeVar

from transit.config import MIB, Settings
from transit.errors import (
    InvalidInputError,
    PoisonedError,
    StorageFullError,
    TransitError,
    say,
)
from transit.format.frame import END, MARK
from transit.format.life import Life
from transit.format.record import Columns, encode_one, measure
from transit.locks import Lock
from transit.log.assign import assign
from transit.log.catalog import Catalog, StreamState
from transit.log.frames import Group, Written, build_frame
from transit.log.recover import Cut, judge_end, judge_tail
from transit.log.rotation import Rotation
from transit.log.syncs import Syncs, secure
from transit.log.turns import SharedTurn
from transit.log.wal import Wal

# Records accepted as "memory" are framed when they reach this size, at the latest.
WAITING_BYTES_MAX: Final = MIB
# About what a waiting record takes in memory beside its payload.
_WAITING_COST: Final = 200
Refusal = Callable[[], TransitError]
T = TypeVar("T")


class Writer:
    """The one writer of an open store; safe for threads.

    `turns`, for a store shared by processes, is the lock that orders their writes; None when the
    store is this process's alone.
    """

    def __init__(self, catalog: Catalog, settings: Settings, turns: Lock | None) -> None:
        self._catalog = catalog
        self._settings = settings
        self._shared = turns is not None
        self._refusal: Refusal | None = None
        self._waiting: dict[StreamState, None] = {}
        self._waiting_bytes = 0
        self._waiting_max = min(WAITING_BYTES_MAX, settings.frame_bytes_max)
        self._dirty = False
        self.cuts: list[Cut] = []
        # Called without the lock's protection of their own state: they only set flags.
        self.on_dirty: Callable[[], bool] = _yes
        self.on_append: Callable[[], None] | None = None
        self._take_locks(
            None
            if turns is None
            else SharedTurn(turns, settings.lock_timeout_s, self.check, self.catch_up)
        )
        self.rotation = Rotation(
            catalog, settings, self._syncs, self._write_end, shared=self._shared
        )

    def _take_locks(self, turn: SharedTurn | None) -> None:
        # The turn is both, taken in this order by `with`, which no interrupt parts from its end.
        self.lock = threading.RLock()
        self.turn: AbstractContextManager[object] = turn or self.lock
        self._syncs = Syncs(
            self._catalog, self.lock, self._give_up, self.check, allocates=not self._shared
        )

    # The turn

    def run(self, work: Callable[[], T]) -> T:
        """Do `work` in a turn; what it returns."""
        with self.lock, self.turn:
            return work()

    def frame(self, work: Callable[[], T]) -> T:
        """Do `work`, which may `commit`, in a turn that is prepared for a frame; what it returns.

        The door for all who write: what is accepted is framed, there is a file with room, and
        nothing changes meanwhile, not even the `time`.
        """
        with self.lock, self.turn:
            self.prepare()
            self.rotation.clock.now()
            return work()

    @property
    def time(self) -> int:
        """The engine's time in this turn, UTC nanoseconds; for the work of `frame`."""
        return self.rotation.clock.last

    def prepare(self) -> Wal:
        """Whatever must come before a frame, in a turn; the file to write it to."""
        self.check()
        self._frame_waiting()
        return self.rotation.room()

    def check(self) -> None:
        """Raise what stands against using this writer."""
        if self._refusal is not None:
            raise self._refusal()

    def refuse(self, refusal: Refusal) -> None:
        """Accept nothing more; every further call raises what `refusal` makes."""
        self._refusal = refusal

    # Opening and closing

    def recover(self) -> None:
        """Take up the WAL files on disk, cut a torn tail, and have a file to write to.

        A store shared by processes is recovered by one at a time: the caller holds the turn.
        """
        with self.lock:
            wal = self._catalog.hold(shared=self._shared)
            # What a killed process left in the page cache is read as history: make it durable.
            for older in self._catalog.view.wals:
                secure(older)
            if wal is not None and wal.ended:
                # A full disk has no room for the next: who appends asks again, readers need none.
                self.rotation.take_ended(wal)
                with suppress(StorageFullError):
                    self.rotation.ensure()
                return
            if wal is not None:
                if self._catalog.wal_numbers()[-1] > wal.first_lsn:
                    judge_end(wal)
                self._cut_torn_tail(wal)
            self.rotation.ensure()

    def _cut_torn_tail(self, wal: Wal) -> None:
        cut = judge_tail(wal)
        if cut is not None:
            self.cuts.append(cut)
            wal.cut()
        self._syncs.settle(wal)

    @property
    def wal(self) -> Wal:
        """The file being written."""
        return self.rotation.wal

    def catch_up(self) -> None:
        """Take up what other processes wrote; the caller holds the turn."""
        wal = self._catalog.follow(write=True)
        self.rotation.clock.reach(self.wal.written)
        if self._refusal is not None:
            return  # It reads on, and makes no file any more.
        if wal is None or wal.ended:
            self.rotation.ensure()
            return
        if wal is not self.wal:
            self._syncs.secure(self.rotation.take(wal))
        if wal.stopped:
            # Its writer died within a write: the next to have the turn settles it.
            self._cut_torn_tail(wal)

    def take_up_others(self) -> None:
        """Take up what other processes wrote, without keeping them from writing more."""
        with self.lock:
            wal = self.wal
            self._catalog.read_frames(wal)
        if wal.ended:
            # What others wrote is taken up even where there is no room for one file more.
            with suppress(StorageFullError):
                self.run(_nothing)

    def abandon(self, refusal: Refusal) -> None:
        """Give up in a child made by fork(): the threads that held the locks are not here."""
        self._refusal = refusal
        self._take_locks(None)

    def close(self) -> None:
        """Make everything durable and mark it so."""
        self.run(self._close)

    def _close(self) -> None:
        self.check()
        self._frame_waiting()
        self._syncs.now(wal := self.wal)
        if not wal.marked:
            try:
                wal.append([], 0, self.rotation.clock.now(), MARK)
            except StorageFullError:
                # All records are durable without it.
                wal.cut()
            self._syncs.now(wal)

    # Appending

    def append_one(
        self,
        state: StreamState,
        payload: bytes,
        headers: bytes,
        timestamp: int | None,
        expect: int | None,
    ) -> tuple[int, int, Wal, int]:
        """Append one record: its offset and timestamp, its file and where it ends there.

        Nothing is synced.
        """
        with self.lock, self.turn:
            rotation = self.rotation
            wal = rotation.wal
            if self._waiting or self._refusal is not None or wal.tail >= rotation.limit:
                wal = self.prepare()
            clock = rotation.clock
            written = time_ns()
            if written < clock.last:
                wal = self.prepare()
                written = clock.now()
            clock.last = written
            offset, given = assign(state, timestamp, expect, written)
            stream = state.id
            head = encode_one(stream, offset, len(payload), given, headers)
            try:
                wal.note(stream, offset, wal.append_one(head, payload, written))
                state.next_offset = offset + 1
            except BaseException as error:
                self._write_failed(wal, error)
                raise
            stop = wal.tail
            if not self._dirty or self.on_append is not None:
                self._announce()
        return offset, given, wal, stop

    def append_many(
        self,
        state: StreamState,
        columns: Columns,
        times: Sequence[int] | None,
        expect: int | None,
    ) -> tuple[int, int, Written]:
        """Append records as one frame: the first one's offset, the last one's timestamp, the end.

        times: one a record; None: all get the same.
        """

        def work() -> tuple[int, int, Written]:
            last = None if times is None else times[-1]
            offset, last = assign(state, last, expect, self.time)
            group = Group(state, columns._replace(timestamps=last if times is None else times))
            return offset, last, self.commit([group])

        return self.frame(work)

    def accept_one(
        self,
        state: StreamState,
        payload: bytes,
        headers: bytes,
        timestamp: int | None,
        expect: int | None,
    ) -> tuple[int, int]:
        """Take one record, to be framed with others later: its offset and timestamp.

        Only for a store of this process alone: others could give its offset away meanwhile.
        """
        with self.lock, self.turn:
            size = len(payload) + len(headers) + _WAITING_COST
            if self._waiting_bytes + size > self._waiting_max or self._refusal is not None:
                self.prepare()
            if time_ns() < self.rotation.clock.last:
                self.prepare()
            offset, given = assign(state, timestamp, expect, self.rotation.clock.now())
            self._waiting[state] = None
            self._waiting_bytes += size
            state.next_offset = offset + 1
            # Last, and the only call: an interrupt comes before all of it or after.
            state.waiting.append((payload, given, headers))
        if not self._dirty or self.on_append is not None:
            self._announce()
        return offset, given

    def _announce(self) -> None:
        """Tell the flusher that there is something to sync, and listeners that there is more."""
        if not self._dirty:
            self._dirty = True
            if not self.on_dirty():
                # There can be no thread now: the next append asks again.
                self._dirty = False
        if self.on_append is not None:
            self.on_append()

    def frame_waiting(self) -> None:
        """Frame what was accepted as "memory", so that it can be read."""
        if self._waiting:
            self.run(self._frame_waiting)

    def _frame_waiting(self) -> None:
        # A call that was about to accept a record and was interrupted left a stream without any.
        waiting = [state for state in self._waiting if state.waiting]
        if not waiting:
            return
        groups = []
        for state in waiting:
            payloads, timestamps, headers = zip(*state.waiting, strict=True)
            encoded = [entry or b"{}" for entry in headers] if any(headers) else None
            columns = Columns(payloads, measure(payloads), timestamps, encoded)
            groups.append((state.next_offset - len(payloads), Group(state, columns)))
        wal = self.rotation.room()
        frame = build_frame(groups, self._settings.frame_bytes_max)
        written = self.rotation.clock.now()
        try:
            wal.note_all(frame.chunks, wal.append(frame.parts, frame.records, written))
            for state in waiting:
                state.waiting.clear()
            self._waiting.clear()
            self._waiting_bytes = 0
        except BaseException as error:
            self._write_failed(wal, error)
            raise

    def commit(
        self,
        groups: Sequence[Group],
        created: Sequence[StreamState] = (),
        lives: Sequence[Life] = (),
    ) -> Written:
        """Write `groups` as one frame; only for the work of `frame`. Where it ends.

        created: the streams whose lineage records are among them. lives: what the records of
        `$names` among them say.
        """
        wal = self.wal
        frame = build_frame(
            [(group.state.next_offset, group) for group in groups], self._settings.frame_bytes_max
        )
        states = [group.state for group in groups]
        stops = [group.state.next_offset + len(group.columns.payloads) for group in groups]
        try:
            position = wal.append(frame.parts, frame.records, self.time)
            for state in created:
                # First: who finds the stream from here on must not make a state of their own.
                self._catalog.adopt(state)
            wal.note_all(frame.chunks, position)
            for state in created:
                self._catalog.note_stream(wal, state.id, state.record)
            for offset, life in enumerate(lives, self._catalog.names_state().next_offset):
                self._catalog.note_life(wal, offset, life)
            set_all(states, "next_offset", stops)
        except BaseException as error:
            self._write_failed(wal, error)
            raise
        self._announce()
        return Written(wal, wal.tail)

    def _write_failed(self, wal: Wal, error: BaseException) -> None:
        if isinstance(error, InvalidInputError):
            return
        if isinstance(error, StorageFullError):
            try:
                wal.cut()
            except TransitError as second:
                self._poison(f"{error}; then {second}")
            return
        self._poison(f"a write failed: {say(error)}")

    def fail(self, error: BaseException) -> None:
        """Be poisoned by an error nobody foresaw."""
        self._poison(f"an unexpected error: {say(error)}")

    def _poison(self, reason: str) -> None:
        self._give_up(PoisonedError(f"{self._catalog.root}: {reason}; open the store again"))

    def _give_up(self, error: TransitError) -> None:
        self.refuse(lambda: type(error)(*error.args))
        with self.lock:
            # What was accepted and not framed is lost: it must not seem to be there.
            for state in self._waiting:
                state.next_offset -= len(state.waiting)
                state.waiting.clear()
            self._waiting.clear()

    # Rotation

    def _write_end(self, wal: Wal) -> None:
        try:
            wal.append([], 0, self.rotation.clock.now(), END)
        except BaseException as error:
            self._write_failed(wal, error)
            raise

    def rotate(self) -> None:
        """End the current WAL file, if it has records, so that it can be sealed."""
        self.run(self._rotate)

    def _rotate(self) -> None:
        self.check()
        self._frame_waiting()
        if self.wal.next_lsn > self.wal.first_lsn:
            self.rotation.next()

    def finish(self, refusal: Refusal) -> None:
        """`rotate`, and accept nothing more: both at once for all who append."""

        def work() -> None:
            self._rotate()
            self.refuse(refusal)

        self.run(work)

    # Durability

    def reached(self) -> Written:
        """Where all that is written so far ends."""
        return self.run(lambda: Written(self.wal, self.wal.tail))

    def sync(self) -> None:
        """Make everything written or accepted so far durable."""
        wals, full = self.run(self._before_sync)
        for wal in wals:
            self.sync_to(wal, wal.tail)
        if full is not None:
            raise full

    def _before_sync(self) -> tuple[tuple[Wal, ...], StorageFullError | None]:
        """The files to sync, and what kept accepted records from being among it."""
        self.check()
        # Whatever is written from here on has to announce itself again.
        self._dirty = False
        full: StorageFullError | None = None
        try:
            self._frame_waiting()
        except StorageFullError as error:
            # What is written can be durable all the same.
            full = error
        # The earlier ones may have been ended by another process.
        return self._catalog.view.wals, full

    def sync_to(self, wal: Wal, stop: int) -> None:
        """Return when `wal` is durable up to `stop`; `OutcomeUnknownError` when none can tell."""
        self._syncs.reach(wal, stop)


def set_all(objects: Iterable[object], name: str, values: Iterable[object]) -> None:
    """Give attribute `name` of each object its value, in a single call into C.

    No other thread and no signal handler sees some of them set and others not.
    """
    deque(map(setattr, objects, repeat(name), values), maxlen=0)


def _yes() -> bool:
    return True


def _nothing() -> None:
    pass
