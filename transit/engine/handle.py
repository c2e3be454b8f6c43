"""An open store: its parts, its threads, and whether it may still be used.

Owns the order of opening and closing. Log, Stream, Batch and Cursor all take the handle and none of
each other's state. Closing, in this order: refuse nothing yet, make everything durable, stop the
threads, refuse everything, let go of the locks.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from transit.config import DURABILITIES, Durability, Mode, Settings, durability_level
from transit.disk import Watcher, make_folder
from transit.engine.background import Worker
from transit.engine.opening import (
    Locks,
    existing_store_id,
    make_store,
    read_store_id,
    tidy_up,
)
from transit.errors import ClosedError, CorruptError, ForkedError, ReadOnlyError, TransitError
from transit.format.lineage import LINEAGE_RECORD, encode_lineage
from transit.format.names import WAL_DIR
from transit.format.record import Columns
from transit.log.catalog import Catalog, StreamState
from transit.log.recover import Cut, judge_end, judge_tail
from transit.log.seal import Sealer
from transit.log.wal import Wal
from transit.log.writer import Group, Writer

_open_handles: weakref.WeakSet[Handle] = weakref.WeakSet()


class Handle:
    """The parts of one open store; `writer` and `sealer` are None in mode "read"."""

    def __init__(self, root: str, mode: Mode, durability: Durability, settings: Settings) -> None:
        self.root = root
        self.mode: Mode = mode
        self.durability: Durability = durability
        self.level = durability_level(durability)
        self.settings = settings
        self.refusal: TransitError | None = None
        self._appended = threading.Condition()
        self._listeners = 0
        self._closing = threading.Lock()
        self._locks: Locks | None = None
        self._submitted: deque[tuple[Wal, int, Future[Any], object]] = deque()
        self._writer: Writer | None = None
        self._sealer: Sealer | None = None
        self._workers: list[Worker] = []
        try:
            if mode == "read":
                self._open_to_read()
            else:
                self._open_to_write()
        except BaseException:
            if self._locks is not None:
                self._locks.close()
            raise
        _open_handles.add(self)

    # Opening

    def _open_to_read(self) -> None:
        self.catalog = Catalog(self.root, existing_store_id(self.root), self.settings)
        self._follow()
        self.catalog.commits.check_no_gap()

    def _open_to_write(self) -> None:
        store_id = read_store_id(self.root)
        if store_id is None:
            make_folder(self.root)
        self._locks = Locks(self.root, self.mode, self.settings)
        store_id = read_store_id(self.root) or make_store(self.root)
        if self.mode == "exclusive":
            tidy_up(self.root)
        self.catalog = catalog = Catalog(self.root, store_id, self.settings)
        turns = self._locks.append
        writer = Writer(catalog, self.settings, turns)
        if turns is not None:
            turns.acquire(timeout_s=self.settings.lock_timeout_s)
        try:
            catalog.load_commits()
            catalog.commits.check_no_gap()
            writer.recover()
        finally:
            if turns is not None:
                turns.release()
        head = catalog.commits.head
        epoch = head.epoch + 1 if head else 0
        self._writer = writer
        self._sealer = Sealer(catalog, self.settings, epoch, self._locks.seal)
        self._start_workers(writer, self._sealer)
        self._bootstrap(writer)

    def _start_workers(self, writer: Writer, sealer: Sealer) -> None:
        interval = self.settings.seal_interval_s
        flusher = Worker(
            "transit-flusher", self._flush, self.settings.flush_interval_ms / 1000, interval
        )
        seal_worker = Worker("transit-sealer", sealer.seal_ended)
        self._flusher = flusher
        writer.on_dirty = flusher.wake
        writer.on_ended = seal_worker.wake
        self._workers = [flusher, seal_worker]
        if any(wal.ended for wal in self.catalog.view.wals):
            seal_worker.wake()

    def _bootstrap(self, writer: Writer) -> None:
        with writer.transaction():
            state = self.catalog.lineage_state()
            if state.next_offset == 0:
                payload = encode_lineage(LINEAGE_RECORD)
                columns = Columns([payload], [len(payload)], time.time_ns(), None)
                writer.commit([Group(state, columns)], [LINEAGE_RECORD])
        writer.sync()

    # Use

    def check(self) -> None:
        """Raise what stands against using this store."""
        if self.refusal is not None:
            raise type(self.refusal)(*self.refusal.args)

    @property
    def writer(self) -> Writer:
        """The writer; `ReadOnlyError` in mode "read"."""
        self.check()
        if self._writer is None:
            raise ReadOnlyError(f'{self.root}: opened in mode "read"')
        return self._writer

    @property
    def sealer(self) -> Sealer:
        """The sealer; `ReadOnlyError` in mode "read"."""
        self.check()
        if self._sealer is None:
            raise ReadOnlyError(f'{self.root}: opened in mode "read"')
        return self._sealer

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """What opening cut off the log's end."""
        return tuple(self._writer.cuts) if self._writer is not None else ()

    @property
    def seal_error(self) -> TransitError | None:
        """Why sealing does not go on; None while it does."""
        return self._sealer.error if self._sealer is not None else None

    def sealing_paused(self) -> AbstractContextManager[object]:
        """A block in which this process seals nothing."""
        return self._sealer.paused if self._sealer is not None else nullcontext()

    def refresh(self) -> None:
        """See what there is to read now: what waits here, what other processes wrote."""
        self.check()
        writer = self._writer
        if writer is None:
            self._follow()
        elif self.mode == "shared":
            writer.look()
        else:
            writer.settle()

    def _follow(self) -> None:
        """Read on in the WAL files; damage is damage only when it is still there a moment later."""
        catalog = self.catalog
        wal = catalog.follow(write=False)
        if wal is None or wal.ended or not any(wal.file.read_at(wal.tail, 8)):
            return
        try:
            judge_tail(wal)
        except CorruptError:
            # A frame in the middle of being written can look like this.
            time.sleep(0.005)
            if catalog.follow(write=False) is wal:
                judge_tail(wal)
        if catalog.wal_numbers()[-1:] > [wal.first_lsn]:
            catalog.follow(write=False)
            if not wal.ended:
                judge_end(wal)

    def level_of(self, durability: str | None) -> int:
        """The strength asked for, or the store's own."""
        return self.level if durability is None else durability_level(durability)

    def acknowledge(self, wal: Wal, level: int) -> Durability:
        """Make what was just written to `wal` as durable as asked; what was reached."""
        if level < 2:
            return "os"
        self.writer.sync_to(wal, wal.tail)
        return DURABILITIES[2]

    # Submitted appends

    def submit(self, result: object, future: Future[Any]) -> None:
        """Resolve `future` with `result` once everything written so far is durable."""
        wal = self.writer.wal
        self._submitted.append((wal, wal.tail, future, result))
        self._flusher.hurry()

    def _flush(self) -> None:
        writer = self._writer
        if writer is None:
            return
        count = len(self._submitted)
        error: TransitError | None = None
        try:
            interval = self.settings.seal_interval_s
            wal = writer.wal
            if interval is not None and time.monotonic() - wal.born >= interval:
                writer.rotate()
            writer.flush()
        except TransitError as failure:
            error = failure
        for _ in range(count):
            wal, stop, future, result = self._submitted.popleft()
            if wal.durable >= stop:
                future.set_result(result)
            else:
                future.set_exception(error or ClosedError(f"{self.root}: closed"))
        if error is not None:
            raise error

    # Waiting for records

    def listen(self) -> Waiter:
        """Something to wait on for new records."""
        return Waiter(self)

    def notify(self) -> None:
        """Wake whoever waits for records of this process."""
        with self._appended:
            self._appended.notify_all()

    # Closing

    def close(self) -> None:
        """Make everything durable and let go; the first error is raised after letting go."""
        with self._closing:
            if self.refusal is not None:
                return
            writer = self._writer
            try:
                if writer is not None:
                    self._flush()
                    writer.close()
            finally:
                self.refusal = ClosedError(f"{self.root}: this store handle is closed")
                if writer is not None:
                    writer.refuse(lambda: ClosedError(f"{self.root}: this store handle is closed"))
                for worker in self._workers:
                    worker.stop()
                self.notify()
                if self._locks is not None:
                    self._locks.close()
                _open_handles.discard(self)

    def abandon(self) -> None:
        """Make the handle unusable in a child made by fork(); the parent's is not touched."""
        message = f"{self.root}: opened before fork(); open the store again in this process"
        self.refusal = ForkedError(message)
        self._closing = threading.Lock()
        self._appended = threading.Condition()
        if self._writer is not None:
            self._writer.abandon(lambda: ForkedError(message))
        if self._locks is not None:
            self._locks.close()


class Waiter:
    """Waits until there may be new records to read; for one thread."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._watcher: Watcher | None = None
        if handle.mode == "exclusive":
            self._listen(1)
        else:
            self._watcher = Watcher(os.path.join(handle.root, WAL_DIR))

    def _listen(self, change: int) -> None:
        handle = self._handle
        with handle._appended:
            handle._listeners += change
            handle.writer.on_append = handle.notify if handle._listeners else None

    def wait(self, timeout_s: float, state: StreamState, offset: int) -> None:
        """Return when the stream may reach past `offset`, or after about `timeout_s` seconds."""
        if self._watcher is not None:
            self._watcher.wait(timeout_s)
            return
        handle = self._handle
        with handle._appended:
            if state.next_offset <= offset and handle.refusal is None:
                handle._appended.wait(min(timeout_s, Watcher.POLL_S))

    def close(self) -> None:
        """Stop waiting."""
        if self._watcher is not None:
            self._watcher.close()
        elif self._handle.refusal is None:
            self._listen(-1)


def _abandon_all() -> None:
    for handle in list(_open_handles):
        handle.abandon()
    _open_handles.clear()


os.register_at_fork(after_in_child=_abandon_all)
