"""What a handle that writes has beyond one that reads: locks, writer, sealer and threads.

Owns the order of opening and closing them, and the futures of submitted appends. Holds no reference
to the handle, so that a store its user forgot is still collected, and then closed.

Closing, in order: everything is made durable; the writer refuses; the threads end; the locks go.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from transit.config import Mode, Settings
from transit.disk import make_folder
from transit.engine.background import Worker
from transit.engine.opening import Locks, make_store, read_store_id, sync_names, tidy_up
from transit.errors import ClosedError, ForkedError, TransitError
from transit.format.lineage import LINEAGE_RECORD, encode_lineage
from transit.format.record import Columns
from transit.log.catalog import Catalog
from transit.log.seal import Sealer
from transit.log.writer import Writer
from transit.log.writes import Group, Written

if TYPE_CHECKING:
    from concurrent.futures import Future


class _Submitted(NamedTuple):
    written: Written
    future: Future[Any]
    result: object


class Writing:
    """The writing side of one open store."""

    def __init__(self, root: str, mode: Mode, settings: Settings) -> None:
        self._root = root
        self._settings = settings
        self._submitted: deque[_Submitted] = deque()
        self._flushing = threading.Lock()
        if read_store_id(root) is None:
            make_folder(root)
        self._locks = Locks(root, mode, settings)
        try:
            store_id = read_store_id(root) or make_store(root)
            if mode == "exclusive":
                tidy_up(root)
            sync_names(root)
            self.catalog = Catalog(root, store_id, settings)
            self.writer = Writer(self.catalog, settings, self._locks.append)
            self._recover()
            head = self.catalog.commits.head
            epoch = head.epoch + 1 if head else 0
            self.sealer = Sealer(self.catalog, settings, epoch, self._locks.seal)
            self._start(mode)
            self._make_lineage_stream()
        except BaseException:
            self._locks.close()
            raise

    def _recover(self) -> None:
        turns = self._locks.append
        if turns is not None:
            turns.acquire(timeout_s=self._settings.lock_timeout_s)
        try:
            self.catalog.load_commits()
            self.catalog.commits.check_no_gap()
            self.writer.recover()
        finally:
            if turns is not None:
                turns.release()

    def _start(self, mode: Mode) -> None:
        settings = self._settings
        self._flusher = Worker(
            "transit-flusher", self.flush, self.writer.fail, settings.flush_interval_ms / 1000,
            settings.seal_interval_s,
        )  # fmt: skip
        self._seal_worker = Worker("transit-sealer", self.sealer.seal_ended, self.sealer.fail)
        self.writer.on_dirty = self._flusher.wake
        self.writer.on_nearly_full = self._flusher.hurry
        self.writer.on_ended = self._seal_worker.wake
        if mode == "exclusive":
            self.sealer.drop_covered()
        if any(wal.ended for wal in self.catalog.view.wals):
            self._seal_worker.wake()

    def _make_lineage_stream(self) -> None:
        with self.writer.transaction():
            state = self.catalog.lineage_state()
            if state.next_offset == 0:
                payload = encode_lineage(LINEAGE_RECORD)
                columns = Columns([payload], len(payload), time.time_ns(), None)
                self.writer.commit([Group(state, columns)], [LINEAGE_RECORD])
        self.writer.sync()

    def submit(self, written: Written, result: object, future: Future[Any]) -> None:
        """Resolve `future` with `result` once what was written is durable."""
        self._submitted.append(_Submitted(written, future, result))
        self._flusher.hurry()

    def flush(self) -> None:
        """What the flusher does: end a WAL that is old enough, sync, resolve futures."""
        with self._flushing:
            self._flush()

    def _flush(self) -> None:
        # Whatever is submitted from here on waits for the next round.
        count = len(self._submitted)
        error: TransitError | None = None
        try:
            interval = self._settings.seal_interval_s
            if interval is not None and time.monotonic() - self.writer.wal.born >= interval:
                self.writer.rotate()
            self.writer.sync()
        except TransitError as failure:
            error = failure
        for _ in range(count):
            self._resolve(self._submitted.popleft(), error)
        if error is not None:
            raise error

    def _resolve(self, submitted: _Submitted, error: TransitError | None) -> None:
        wal, stop = submitted.written
        if not submitted.future.set_running_or_notify_cancel():
            return
        if wal.durable >= stop:
            submitted.future.set_result(submitted.result)
        else:
            submitted.future.set_exception(error or self._closed())

    def _closed(self) -> ClosedError:
        return ClosedError(f"{self._root}: this store handle is closed")

    def close(self) -> None:
        """Make everything durable and let go; an error is raised after letting go."""
        try:
            self.flush()
            self.writer.close()
        finally:
            self.writer.refuse(self._closed)
            self._flusher.stop()
            self._seal_worker.stop()
            while self._submitted:
                self._resolve(self._submitted.popleft(), None)
            self._locks.close()

    def abandon(self, message: str) -> None:
        """Make this side unusable in a child made by fork(); the parent's is not touched."""
        self.writer.abandon(lambda: ForkedError(message))
        self._locks.close()
