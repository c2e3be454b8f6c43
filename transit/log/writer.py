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

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
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
from transit.format.lineage import LineageRecord
from transit.format.names import WAL_DIR, wal_name
from transit.format.record import COLUMN_PARTS, Columns, encode_chunk, encode_one, measure
from transit.log.catalog import Catalog, StreamState
from transit.log.recover import Cut, judge_end, judge_tail
from transit.log.syncs import GroupSync
from transit.log.turns import SharedTurn
from transit.log.wal import Wal
from transit.log.writes import Frame, Group, Written, conflict, in_doubt, outcome_unknown

# Records accepted as "memory" are framed when they reach this size, at the latest.
WAITING_BYTES_MAX: Final = MIB
# About what a waiting record takes in memory beside its payload.
_WAITING_COST: Final = 200
Refusal = Callable[[], TransitError]


class Transaction:
    """The writer's turn as a context; see `Writer.transaction`."""

    __slots__ = ("_writer",)

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __enter__(self) -> None:
        self._writer.begin()

    def __exit__(self, *error: object) -> None:
        self._writer.end()


class Writer:
    """The one writer of an open store; safe for threads.

    `turns`, for a store shared by processes, is the lock that orders their writes; None when the
    store is this process's alone.
    """

    def __init__(self, catalog: Catalog, settings: Settings, turns: Lock | None) -> None:
        self._catalog = catalog
        self._settings = settings
        self._folder = os.path.join(catalog.root, WAL_DIR)
        self._lock = threading.RLock()
        self._turn: AbstractContextManager[object] = (
            self._lock
            if turns is None
            else SharedTurn(self._lock, turns, settings.lock_timeout_s, self.catch_up)
        )
        self._shared = turns is not None
        self._refusal: Refusal | None = None
        self._waiting: list[StreamState] = []
        self._waiting_bytes = 0
        self._waiting_max = min(WAITING_BYTES_MAX, settings.frame_bytes_max)
        self._syncs = GroupSync(self._sync_now, self.check)
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
        with self._lock:
            wal = self._catalog.follow(write=True)
            # What a killed process left in the page cache is read as history: make it durable.
            for older in self._catalog.view.wals:
                older.file.sync_data()
            if wal is not None and not wal.ended:
                if self._catalog.wal_numbers()[-1] > wal.first_lsn:
                    judge_end(wal)
                self._settle_tail(wal)
            self._ensure_wal()

    def _settle_tail(self, wal: Wal) -> None:
        cut = judge_tail(wal)
        if cut is not None:
            self.cuts.append(cut)
            wal.cut()
        try:
            wal.sync()
        except SyncFailedError as error:
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
        # A file of that name was never finished, or it would have been taken up.
        remove(os.path.join(self._folder, wal_name(first_lsn)))
        try:
            return self._take(self._catalog.create_wal(first_lsn))
        except SyncFailedError as error:
            self._poison(f"a sync failed: {error}")
            raise

    def _take(self, wal: Wal) -> Wal:
        self._wal = wal
        self._limit = self._settings.seal_bytes - self._settings.seal_bytes // 8
        return wal

    def catch_up(self) -> None:
        """Take up what other processes wrote; the caller holds the turn."""
        wal = self._catalog.follow(write=True)
        if wal is None or wal.ended:
            self._ensure_wal()
            return
        if wal is not self._wal:
            self._take(wal)
        if wal.stopped:
            # Its writer died within a write: whoever holds the turn settles it.
            self._settle_tail(wal)

    def look(self) -> None:
        """Take up what other processes wrote, without keeping them from writing more."""
        with self._lock:
            wal = self.wal
            self._catalog.read_frames(wal)
            if wal.ended:
                with self._turn:
                    pass

    def refuse(self, refusal: Refusal) -> None:
        """Accept nothing more; every further call raises what `refusal` makes."""
        self._refusal = refusal

    def abandon(self, refusal: Refusal) -> None:
        """Give up in a child made by fork(): whatever held the locks is not here to let them go."""
        self._lock = threading.RLock()
        self._turn = self._lock
        self._syncs = GroupSync(self._sync_now, self.check)
        self._refusal = refusal

    def close(self) -> None:
        """Make everything durable and mark it so."""
        with self._turn:
            self.check()
            self._frame_waiting()
            wal = self.wal
            self._sync_now(wal)
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
        with self._turn:
            wal = self._wal
            if self._waiting or self._refusal is not None or wal.tail >= self._limit:
                wal = self._prepare()
            offset = state.next_offset
            if expect is not None and expect != offset:
                raise conflict(state, expect, offset)
            if timestamp is None:
                timestamp = time_ns()
                last = state.last_timestamp
                if last is None or timestamp < last:
                    timestamp = self.timestamp(state)
            stream = state.id
            try:
                head = encode_one(stream, offset, len(payload), timestamp, headers)
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
        with self._turn:
            size = len(payload) + len(headers) + _WAITING_COST
            if self._waiting_bytes + size > self._waiting_max or self._refusal is not None:
                self._prepare()
            offset = state.next_offset
            if expect is not None and expect != offset:
                raise conflict(state, expect, offset)
            if timestamp is None:
                timestamp = time_ns()
                last = state.last_timestamp
                if last is None or timestamp < last:
                    timestamp = self.timestamp(state)
            waiting = state.waiting
            try:
                if not waiting:
                    self._waiting.append(state)
                waiting.append((payload, timestamp, headers))
                self._waiting_bytes += size
                state.last_timestamp = timestamp
                state.next_offset = offset + 1
            except BaseException as error:
                # Only an interrupt gets here, and leaves the record half accepted.
                self.fail(error)
                raise
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

    def _prepare(self) -> Wal:
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
            with self._turn:
                self._frame_waiting()

    def _frame_waiting(self) -> None:
        if not self._waiting:
            return
        groups = []
        for state in self._waiting:
            payloads, timestamps, headers = zip(*state.waiting, strict=True)
            encoded = [entry or b"{}" for entry in headers] if any(headers) else None
            columns = Columns(payloads, measure(payloads), timestamps, encoded)
            groups.append((state.next_offset - len(payloads), Group(state, columns)))
        wal = self._next_wal_if_full()
        frame = self._encode(groups)
        try:
            self._write(frame, wal)
            for state in self._waiting:
                state.waiting.clear()
            self._waiting.clear()
            self._waiting_bytes = 0
        except BaseException as error:
            self._write_failed(wal, error)
            raise

    def transaction(self) -> Transaction:
        """The turn as a context: look at streams' tails, and `commit` on what was seen."""
        return Transaction(self)

    def begin(self) -> None:
        """Take the turn, with everything accepted so far framed."""
        self._turn.__enter__()
        try:
            self._prepare()
        except BaseException:
            self._turn.__exit__(None, None, None)
            raise

    def end(self) -> None:
        """Give the turn back."""
        self._turn.__exit__(None, None, None)
        self._announce()

    def commit(self, groups: Sequence[Group], created: Sequence[LineageRecord] = ()) -> Written:
        """Write `groups` as one frame, within a `transaction`; where it ends.

        `created` are the lineage records among them, which come first, for stream 0.
        """
        wal = self.wal
        first_id = groups[0].state.next_offset if created else 0
        frame = self._encode([(group.state.next_offset, group) for group in groups])
        try:
            self._write(frame, wal)
            for group in groups:
                columns = group.columns
                times = columns.timestamps
                group.state.last_timestamp = times if isinstance(times, int) else times[-1]
                group.state.next_offset += len(columns.payloads)
            for stream_id, record in enumerate(created, first_id):
                self._catalog.note_stream(wal, stream_id, record)
        except BaseException as error:
            self._write_failed(wal, error)
            raise
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

    def _write(self, frame: Frame, wal: Wal) -> None:
        position = wal.append(frame.parts, frame.records)
        for stream_id, first in frame.chunks:
            wal.note(stream_id, first, position)

    def _write_failed(self, wal: Wal, error: BaseException) -> None:
        if isinstance(error, InvalidInputError):
            return
        if isinstance(error, StorageFullError):
            try:
                wal.cut()
            except TransitError as second:
                self._poison(f"{error}; then {second}")
            return
        self._poison(f"a write failed: {_say(error)}")

    def fail(self, error: BaseException) -> None:
        """Be poisoned by an error nobody foresaw."""
        self._poison(f"an unexpected error: {_say(error)}")

    def _poison(self, reason: str) -> None:
        message = f"{self._catalog.root}: {reason}; open the store again"
        self.refuse(lambda: PoisonedError(message))

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
            self._sync_now(wal)
            # The space reserved beyond it is of more use to the files that come next.
            wal.cut()
        wal = self._ensure_wal()
        self.on_ended()
        return wal

    def rotate(self) -> None:
        """End the current WAL file, if it has records, so that it can be sealed."""
        with self._turn:
            self.check()
            self._frame_waiting()
            if self.wal.next_lsn > self.wal.first_lsn:
                self._next_wal()

    def finish(self, refusal: Refusal) -> None:
        """`rotate`, and accept nothing more: both at once for whoever appends."""
        with self._turn:
            self.rotate()
            self.refuse(refusal)

    # Durability

    def sync(self) -> None:
        """Make everything written or accepted so far durable."""
        with self._turn:
            self.check()
            # Whatever is written from here on has to announce itself again.
            self._dirty = False
            self._frame_waiting()
            wal = self.wal
        self.sync_to(wal, wal.tail)

    def sync_to(self, wal: Wal, stop: int) -> None:
        """Return when `wal`, which was written up to `stop`, is durable so far.

        `OutcomeUnknownError` when that cannot be told any more.
        """
        self._syncs.reach(wal, stop)

    def _sync_now(self, wal: Wal) -> None:
        if wal.durable >= wal.tail:
            return
        try:
            if wal.wants_space and not self._shared:
                with self._lock:
                    wal.allocate()
            wal.sync()
        except TransitError as error:
            # An interrupt, unlike this, loses nothing: the next sync covers what this one did not.
            unknown = outcome_unknown(str(error), in_doubt(self._catalog, wal))
            self._poison(f"a sync failed: {unknown}")
            raise unknown from error


def _say(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _nothing() -> None:
    pass
