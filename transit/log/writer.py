"""Writing: offsets and timestamps are given, frames written, synced and acknowledged.

Owns the current WAL file, the writer's lock, group commit and rotation. No other module writes
frames. Leaves to the engine what records mean, and to `transit.log.seal` what becomes of a WAL file
that has ended.

Invariants:
- A stream's next offset moves only under the lock, after its frame was written, or, for "memory",
  after the record was accepted; accepted records are framed before any later record.
- Nothing is acknowledged as "local" before a sync that started after its frame was written.
- After a failed sync, or a write that failed for any reason but lack of space, the writer is
  poisoned: it writes and acknowledges nothing more. The disk decides, at the next opening.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from time import time_ns
from typing import Final

from transit.config import MIB, Settings
from transit.disk import Lock, remove
from transit.errors import (
    InvalidInputError,
    PoisonedError,
    StorageFullError,
    SyncFailedError,
    TransitError,
)
from transit.format.frame import END, MARK
from transit.format.record import COLUMN_PARTS, Columns, encode_chunk, encode_one, measure
from transit.log.catalog import Catalog, StreamState
from transit.log.recover import Cut, judge_end, judge_tail
from transit.log.syncs import GroupSync, SingleSync, secure
from transit.log.turns import SharedTurn
from transit.log.wal import Wal
from transit.log.writes import (
    Frame,
    Group,
    Written,
    conflict,
    in_doubt,
    outcome_unknown,
    say,
    set_all,
)

# Records accepted as "memory" are framed when they reach this size, at the latest.
WAITING_BYTES_MAX: Final = MIB
# About what a waiting record takes in memory beside its payload.
_WAITING_COST: Final = 200
Refusal = Callable[[], TransitError]


class Writer:
    """The one writer of an open store; safe for threads.

    `turns`, for a store shared by processes, is the lock that orders their writes; None when the
    store is this process's alone.
    """

    def __init__(self, catalog: Catalog, settings: Settings, turns: Lock | None) -> None:
        self._catalog = catalog
        self._settings = settings
        # The turn is both, taken in this order by `with`, which no interrupt parts from its end.
        self.lock = threading.RLock()
        self.turn: AbstractContextManager[object] = (
            self.lock
            if turns is None
            else SharedTurn(turns, settings.lock_timeout_s, self.check, self.catch_up)
        )
        self._shared = turns is not None
        self._refusal: Refusal | None = None
        self._waiting: dict[StreamState, None] = {}
        self._waiting_bytes = 0
        self._waiting_max = min(WAITING_BYTES_MAX, settings.frame_bytes_max)
        self._syncs = GroupSync(self._sync_now, self.check)
        self._single = SingleSync()
        self._dirty = False
        # The tail from which on an append has more to do than to append.
        self._limit = 0
        self.cuts: list[Cut] = []
        # Called without the lock's protection of their own state: they only set flags.
        self.on_dirty: Callable[[], None] = _nothing
        self.on_nearly_full: Callable[[], None] = _nothing
        self.on_ended: Callable[[], None] = _nothing
        self.on_append: Callable[[], None] | None = None

    # Opening and closing

    def recover(self) -> None:
        """Take up the WAL files on disk, cut a torn tail, and have a file to write to.

        A store shared by processes is recovered by one at a time: the caller holds the turn.
        """
        with self.lock:
            wal = self._catalog.follow(write=True)
            # What a killed process left in the page cache is read as history: make it durable.
            for older in self._catalog.view.wals:
                secure(older)
            if wal is not None and wal.ended:
                # A full disk has no room for the next: who appends asks again, readers need none.
                self._wal, self._limit = wal, 0
                with suppress(StorageFullError):
                    self._ensure_wal()
                return
            if wal is not None:
                if self._catalog.wal_numbers()[-1] > wal.first_lsn:
                    judge_end(wal)
                self._settle_tail(wal)
            self._ensure_wal()

    def _settle_tail(self, wal: Wal) -> None:
        cut = judge_tail(wal)
        if cut is not None:
            self.cuts.append(cut)
            wal.cut()
        with self._poisoned_by(SyncFailedError):
            self._single.sync(wal)

    @contextmanager
    def _poisoned_by(self, kind: type[TransitError]) -> Iterator[None]:
        try:
            yield
        except kind as error:
            self._poison(f"a sync failed: {error}")
            raise

    @property
    def wal(self) -> Wal:
        """The file being written."""
        return self._wal

    def _ensure_wal(self) -> Wal:
        wals = self._catalog.view.wals
        if wals and not wals[-1].ended:
            return self._take(wals[-1])
        first_lsn = wals[-1].next_lsn if wals else self._catalog.commits.next_lsn
        if wals and wals[-1].durable < wals[-1].tail:
            # Who wrote its end frame may have died or been interrupted before the sync, or is
            # another process, whose sync may have failed.
            with self._poisoned_by(TransitError):
                self._single.secure(wals[-1])
        # A file of that name was never finished, or it would have been taken up.
        remove(self._catalog.places.wal_file(first_lsn))
        with self._poisoned_by(SyncFailedError):
            return self._take(self._catalog.create_wal(first_lsn))

    def _take(self, wal: Wal) -> Wal:
        self._wal = wal
        self._limit = self._settings.seal_bytes - self._settings.seal_bytes // 8
        return wal

    def catch_up(self) -> None:
        """Take up what other processes wrote; the caller holds the turn."""
        wal = self._catalog.follow(write=True)
        if self._refusal is not None:
            return  # It reads on, and makes no file any more.
        if wal is None or wal.ended:
            self._ensure_wal()
            return
        if wal is not self._wal:
            with self._poisoned_by(TransitError):
                self._single.secure(self._take(wal))
        if wal.stopped:
            # Its writer died within a write: whoever holds the turn settles it.
            self._settle_tail(wal)

    def look(self) -> None:
        """Take up what other processes wrote, without keeping them from writing more."""
        with self.lock:
            wal = self.wal
            self._catalog.read_frames(wal)
            if wal.ended:
                # What others wrote is taken up even where there is no room for one file more.
                with suppress(StorageFullError), self.turn:
                    pass

    def refuse(self, refusal: Refusal) -> None:
        """Accept nothing more; every further call raises what `refusal` makes."""
        self._refusal = refusal

    def abandon(self, refusal: Refusal) -> None:
        """Give up in a child made by fork(): whatever held the locks is not here to let them go."""
        self.lock = threading.RLock()
        self.turn = self.lock
        self._syncs = GroupSync(self._sync_now, self.check)
        self._single = SingleSync()
        self._refusal = refusal

    def close(self) -> None:
        """Make everything durable and mark it so."""
        with self.lock, self.turn:
            self.check()
            self._frame_waiting()
            self._sync_now(wal := self.wal)
            if not wal.marked:
                try:
                    wal.append([], 0, MARK)
                except StorageFullError:
                    # All records are durable without it.
                    wal.cut()
                self._sync_now(wal)

    def check(self) -> None:
        """Raise what stands against using this writer."""
        if self._refusal is not None:
            raise self._refusal()

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
            wal = self._wal
            if self._waiting or self._refusal is not None or wal.tail >= self._limit:
                wal = self.prepare()
            offset = state.next_offset
            if expect is not None and expect != offset:
                raise conflict(state, expect, offset)
            if timestamp is None:
                timestamp = time_ns()
                last = state.last_timestamp
                if last is None or timestamp < last:
                    timestamp = self.timestamp(state)
            stream = state.id
            head = encode_one(stream, offset, len(payload), timestamp, headers)
            try:
                wal.note(stream, offset, wal.append_one(head, payload))
                state.last_timestamp = timestamp
                state.next_offset = offset + 1
            except BaseException as error:
                self._write_failed(wal, error)
                raise
            stop = wal.tail
            if not self._dirty or self.on_append is not None:
                self._announce()
        return offset, timestamp, wal, stop

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
            offset = state.next_offset
            if expect is not None and expect != offset:
                raise conflict(state, expect, offset)
            if timestamp is None:
                timestamp = time_ns()
                last = state.last_timestamp
                if last is None or timestamp < last:
                    timestamp = self.timestamp(state)
            self._waiting[state] = None
            self._waiting_bytes += size
            state.last_timestamp = timestamp
            state.next_offset = offset + 1
            # Last, and the only call: an interrupt comes before all of it or after.
            state.waiting.append((payload, timestamp, headers))
        if not self._dirty or self.on_append is not None:
            self._announce()
        return offset, timestamp

    def _announce(self) -> None:
        """Tell the flusher that there is something to sync, and listeners that there is more."""
        if not self._dirty:
            self._dirty = True
            self.on_dirty()
        if self.on_append is not None:
            self.on_append()

    def prepare(self) -> Wal:
        """Whatever must come before a frame; the file to write it to."""
        self.check()
        self._frame_waiting()
        return self._next_wal_if_full()

    def timestamp(self, state: StreamState) -> int:
        """Now, or the stream's last timestamp where that is later: the clock may step back."""
        now = time_ns()
        last = state.last_timestamp
        if last is None:
            last = self._catalog.last_timestamp(state)
        return now if now > last else last

    def settle(self) -> None:
        """Frame what was accepted as "memory", so that it can be read."""
        if self._waiting:
            with self.lock, self.turn:
                self._frame_waiting()

    def _frame_waiting(self) -> None:
        # Whoever was about to accept a record and was interrupted left a stream without any.
        waiting = [state for state in self._waiting if state.waiting]
        if not waiting:
            return
        groups = []
        for state in waiting:
            payloads, timestamps, headers = zip(*state.waiting, strict=True)
            encoded = [entry or b"{}" for entry in headers] if any(headers) else None
            columns = Columns(payloads, measure(payloads), timestamps, encoded)
            groups.append((state.next_offset - len(payloads), Group(state, columns)))
        wal = self._next_wal_if_full()
        frame = self._encode(groups)
        try:
            wal.note_all(frame.chunks, wal.append(frame.parts, frame.records))
            for state in waiting:
                state.waiting.clear()
            self._waiting.clear()
            self._waiting_bytes = 0
        except BaseException as error:
            self._write_failed(wal, error)
            raise

    def commit(self, groups: Sequence[Group], created: Sequence[StreamState] = ()) -> Written:
        """Write `groups` as one frame, in a turn and after `prepare`; where it ends.

        created: the streams whose lineage records are among them.
        """
        wal = self.wal
        frame = self._encode([(group.state.next_offset, group) for group in groups])
        states = [group.state for group in groups]
        stops = [group.state.next_offset + len(group.columns.payloads) for group in groups]
        times = (group.columns.timestamps for group in groups)
        lasts = [each if isinstance(each, int) else each[-1] for each in times]
        try:
            position = wal.append(frame.parts, frame.records)
            for state in created:
                # First: whoever finds the stream from here on must not make a state of their own.
                self._catalog.adopt(state)
            wal.note_all(frame.chunks, position)
            for state in created:
                self._catalog.note_stream(wal, state.id, state.record)
            set_all(states, "last_timestamp", lasts)
            set_all(states, "next_offset", stops)
        except BaseException as error:
            self._write_failed(wal, error)
            raise
        self._announce()
        return Written(wal, wal.tail)

    def _encode(self, groups: Sequence[tuple[int, Group]]) -> Frame:
        parts: list[bytes] = []
        records = size = 0
        for first, group in groups:
            chunk = encode_chunk(group.state.id, first, group.columns)
            parts += chunk
            records += len(group.columns.payloads)
            size += group.columns.payload_bytes + sum(map(len, chunk[:COLUMN_PARTS]))
        if size > self._settings.frame_bytes_max and records > 1:
            raise InvalidInputError(
                f"{size} bytes in one atomic commit; frame_bytes_max is "
                f"{self._settings.frame_bytes_max}"
            )
        return Frame(parts, records, [(group.state.id, first) for first, group in groups])

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
        message = f"{self._catalog.root}: {reason}; open the store again"
        self.refuse(lambda: PoisonedError(message))
        with self.lock:
            # What was accepted and not framed is lost: it must not seem to be there.
            for state in self._waiting:
                state.next_offset -= len(state.waiting)
                state.waiting.clear()
            self._waiting.clear()

    # Rotation

    def _next_wal_if_full(self) -> Wal:
        wal = self._wal
        if wal.ended or wal.tail >= self._settings.seal_bytes:
            return self._next_wal()
        if wal.tail >= self._limit:
            # Nearly full: synced now, beside the appends, it can soon be ended without a long wait.
            self._limit = self._settings.seal_bytes
            self.on_nearly_full()
        return wal

    def _next_wal(self) -> Wal:
        wal = self.wal
        if not wal.ended:
            # An end frame says that all before it is durable, so that comes first.
            self._sync_now(wal)
            # From here on, until there is a next file, every append has to come by here.
            self._limit = 0
            try:
                wal.append([], 0, END)
            except BaseException as error:
                self._write_failed(wal, error)
                raise
        # Here too where it was written before, by somebody who was interrupted right then.
        self._sync_now(wal)
        # The space reserved beyond it is of more use to the files that come next.
        wal.cut()
        wal = self._ensure_wal()
        self.on_ended()
        return wal

    def rotate(self) -> None:
        """End the current WAL file, if it has records, so that it can be sealed."""
        with self.lock, self.turn:
            self.check()
            self._frame_waiting()
            if self.wal.next_lsn > self.wal.first_lsn:
                self._next_wal()

    def finish(self, refusal: Refusal) -> None:
        """`rotate`, and accept nothing more: both at once for whoever appends."""
        with self.lock, self.turn:
            self.rotate()
            self.refuse(refusal)

    # Durability

    def sync(self) -> None:
        """Make everything written or accepted so far durable."""
        with self.lock, self.turn:
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
            wals = self._catalog.view.wals
        for wal in wals:
            self.sync_to(wal, wal.tail)
        if full is not None:
            raise full

    def sync_to(self, wal: Wal, stop: int) -> None:
        """Return when `wal` is durable up to `stop`; `OutcomeUnknownError` when none can tell."""
        self._syncs.reach(wal, stop)

    def _sync_now(self, wal: Wal) -> None:
        if wal.durable >= wal.tail:
            return
        try:
            if wal.wants_space and not self._shared:
                with self.lock:
                    wal.allocate()
            self._single.sync(wal)
        except TransitError as error:
            # An interrupt, unlike this, loses nothing: the next sync covers what this one did not.
            with self.lock:
                # Whoever writes now is refused, or was named.
                unknown = outcome_unknown(str(error), in_doubt(self._catalog, wal))
                self._poison(f"a sync failed: {unknown}")
            raise unknown from error


def _nothing() -> None:
    pass
