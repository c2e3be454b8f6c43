"""What a handle that writes has beyond one that reads: locks, writer, sealer and threads.

Owns the order of opening and closing them. Holds no reference to the handle, so that a store its
user forgot is still collected, and then closed.

Closing, in order: everything is made durable; the writer refuses; the threads end; the locks go.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from transit.config import Mode, Settings
from transit.disk import make_folder
from transit.errors import ClosedError, ForkedError, InvalidInputError, TransitError
from transit.format.lineage import LINEAGE_RECORD, encode_lineage
from transit.format.names import Places
from transit.format.record import Columns
from transit.guards import CLOSE, FLUSH, SEAL
from transit.handle.background import Worker
from transit.handle.encrypting import Encryption, check_keys, keys_of
from transit.handle.hub import Hub
from transit.handle.opening import Locks, make_store, read_store_id, sync_names, tidy_up
from transit.handle.promises import Callbacks, Promises
from transit.handle.replicas import Replicas
from transit.handle.side import T
from transit.handle.switching import check_not_rebasing, finish_rebase
from transit.handle.tiering import Tiering
from transit.handle.waiting import Alone, Folder
from transit.keyring.envelopes import StoreKeys
from transit.locks import in_place
from transit.log.accepted import Late
from transit.log.catalog import Catalog
from transit.log.files import WalFiles
from transit.log.frames import Group, Written
from transit.log.guides import GuideShelf, NotHere
from transit.log.recover import Cut
from transit.log.remembered import Remembered
from transit.log.seal import Sealer
from transit.log.segments import Elsewhere
from transit.log.snapshots import Snapshots
from transit.log.writer import Writer
from transit.store import ObjectStore
from transit.store.versions import kept_by
from transit.tier.adopt import adopt_commits
from transit.tier.fetch import Fetcher
from transit.tier.remote import Remote

if TYPE_CHECKING:
    from transit.handle.callbacks import Promise


class Writing:
    """The writing side of one open store."""

    def __init__(
        self,
        root: str,
        mode: Mode,
        settings: Settings,
        stores: Sequence[ObjectStore],
        kept: Remembered | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        self._root, self._shared = root, mode == "shared"
        self._settings, self._kept = settings, kept
        self.callbacks = Callbacks()
        self._promises = Promises(_is_durable, _is_pending, self._closed, self.callbacks)
        self._flushing = threading.Lock()
        self.tiering: Tiering | None = None
        self._adopted, self._frozen = 0, False
        self._files: WalFiles | None = None
        self._flusher: Worker | None = None
        self._seal_worker: Worker | None = None
        if read_store_id(root) is None:
            make_folder(root)
        self._locks = Locks(root, mode, settings)
        try:
            remotes = [Remote(store, settings) for store in stores]
            remote = remotes[0] if remotes else None
            if mode == "exclusive":
                finish_rebase(root)
            else:
                check_not_rebasing(root)
            store_id = self._identity(mode, remote)
            if mode == "exclusive":
                tidy_up(root)
            sync_names(root)
            keys = keys_of(encryption, store_id, root, stores, settings, write=True)
            self.catalog = Catalog(
                root, store_id, settings, self._attach(store_id, mode, remote, keys),
                self._locks.check_place, keys,
            )  # fmt: skip
            self._files = self.catalog.files
            self.writer = Writer(self.catalog, settings, self._locks.append)
            self._recover()
            if self._adopted:
                # The guides of segments that are not here, so that only their blocks are fetched.
                Snapshots(self.catalog).keep()
            head = self.catalog.commits.head
            epoch = head.epoch + 1 if head else 0
            self.sealer = Sealer(
                self.catalog, settings, epoch, self._locks.seal, self.writer.sync_to
            )
            self._make_lineage_stream()
            self.tiering = self._tiering(*remotes) if remotes else None
            # Last: whatever fails before must leave no thread behind that goes on writing.
            self._start(mode)
        except BaseException:
            self.let_go()
            raise

    def let_go(self) -> None:
        """End the threads and give up the locks, for a store that was never used."""
        # If it is closed later as a forgotten store, there is no lock left to write under.
        self._frozen = True
        try:
            self._stop()
        finally:
            self._let_files_go()

    def _let_files_go(self) -> None:
        """Close the WAL files, then the locks."""
        if self._files is not None:
            self._files.close()
        self._locks.close()

    def _identity(self, mode: Mode, remote: Remote | None) -> bytes:
        """The store's id; a new folder gets that of the store in the remote, which it continues."""
        store_id = read_store_id(self._root)
        if self._kept is not None:
            self._check_store(self._kept, store_id, remote)
        if remote is None:
            return store_id or make_store(self._root)
        claimed = remote.claim(store_id)
        if store_id is None:
            if mode == "shared" and remote.checked_commit(0) is not None:
                raise InvalidInputError(
                    f'{self._root}: continue the remote once in mode "exclusive", or restore it, '
                    'before it is opened "shared"'
                )
            # Not before: a folder with an id of its own can never continue another store.
            store_id = make_store(self._root, claimed)
        if store_id != claimed:
            raise InvalidInputError(f"{self._root}: made by another process at this moment")
        return store_id

    def _check_store(self, kept: Remembered, store_id: bytes | None, remote: Remote | None) -> None:
        """`SplitViewError` where the folder, or the remote it continues, is another store's."""
        if store_id is not None:
            kept.check_store(store_id, self._root)
        if remote is not None:
            kept.check_store(remote.store_id(kept.store_id), remote.url)
        elif store_id is None:
            kept.check_store(None, self._root)

    def _attach(
        self, store_id: bytes, mode: Mode, remote: Remote | None, keys: StoreKeys | None
    ) -> Elsewhere:
        """Take up what the remote has; where segments are that are not in the folder."""
        if remote is None:
            return NotHere(self._root, store_id, self._locks.check_place)
        if mode == "exclusive":
            self._adopted = adopt_commits(
                self._root, store_id, self._settings, remote, self._kept, keys
            )
        shelf = GuideShelf(self._root, store_id)
        cache = Places(self._root).cache
        return Fetcher(remote, shelf, cache, self._locks.check_place)

    def _tiering(self, remote: Remote, *replicas: Remote) -> Tiering:
        tiering = Tiering(
            remote, self.catalog, self.writer, self.sealer, self._settings, self.callbacks,
            replicas,
        )  # fmt: skip
        tiering.publisher.locate()
        remote.keeps = kept_by(remote.store)
        return tiering

    def _recover(self) -> None:
        turns = self._locks.append
        if turns is not None:
            turns.acquire(timeout_s=self._settings.lock_timeout_s)
        try:
            self.catalog.load_commits()
            self.catalog.commits.check_no_gap()
            if self._kept is not None:
                self._kept.check_chain(self.catalog.commits, self._root)
            self.writer.recover()
            check_keys(self.catalog)
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
        if self.tiering is not None:
            self.tiering.start()
        self.writer.on_dirty = self._flusher.wake
        self.writer.rotation.on_ended = self._seal_worker.wake
        if mode == "exclusive":
            self.sealer.drop_covered()
        if any(wal.ended for wal in self.catalog.view.wals):
            self._seal_worker.wake()

    def _make_lineage_stream(self) -> None:
        if self.catalog.lineage_state().next_offset:
            # Asked for before any file is needed, which a full disk may not have room for.
            return
        self.writer.frame(self._write_lineage_record)
        self.writer.sync()

    def _write_lineage_record(self) -> None:
        state = self.catalog.lineage_state()
        if state.next_offset == 0:
            payload = encode_lineage(LINEAGE_RECORD)
            columns = Columns([payload], len(payload), self.writer.time, None)
            self.writer.commit([Group(state, columns)], [state])

    # What both sides have: see `Side`

    def make_hub(self) -> Hub:
        """See `Side.make_hub`."""
        if self._shared:
            source = partial(Folder, self._root, self.catalog.check_place)
            return Hub(self.catalog, self.writer, self.callbacks, self.look, source)
        return Hub(self.catalog, self.writer, self.callbacks, self.look, Alone, alone=True)

    @property
    def look(self) -> Callable[[], None]:
        """See `Side.look`: what waits in memory, or what other processes wrote."""
        return self.writer.take_up_others if self._shared else self.writer.frame_accepted

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """See `Side.cuts`."""
        return self.writer.cuts

    @property
    def seal_error(self) -> TransitError | None:
        """See `Side.seal_error`."""
        return self.sealer.error

    @property
    def remote_url(self) -> str:
        """See `Side.remote_url`."""
        return "" if self.tiering is None else self.tiering.remote.url

    @property
    def remote(self) -> Remote | None:
        """See `Side.remote`."""
        return None if self.tiering is None else self.tiering.remote

    @property
    def replicas(self) -> Replicas | None:
        """See `Side.replicas`."""
        return None if self.tiering is None else self.tiering.replicas

    @property
    def published(self) -> int | None:
        """See `Side.published`."""
        return None if self.tiering is None else self.tiering.publisher.published

    @property
    def remote_error(self) -> str:
        """See `Side.remote_error`."""
        error = self.tiering and (self.tiering.publisher.fenced or self.tiering.error)
        return str(error) if error else ""

    def is_published(self, number: int | None) -> bool | None:
        """See `Side.is_published`."""
        if self.tiering is None:
            return None
        return number is not None and number < self.tiering.publisher.published

    def commit_data(self, number: int) -> bytes | None:
        """See `Side.commit_data`: the folder has all of them."""
        return self.catalog.commits.read(number)

    def refresh(self) -> int:
        """See `Side.refresh`: a writer's are its own."""
        return 0

    def while_sealing_pauses(self, work: Callable[[], T]) -> T:
        """See `Side.while_sealing_pauses`."""
        work = partial(in_place, self.catalog.check_place, work)
        return self.catalog.order.run(SEAL, self.sealer.paused, work)

    # Futures and syncs

    def submit(
        self, written: Written | Late, result: Callable[[], object], future: Promise[Any]
    ) -> None:
        """Resolve `future` with what `result` returns once what was written is durable."""
        self._promises.add(written, result, future)
        if self._flusher is not None and not self._flusher.wake_now():
            # Without a thread, as at the end of the interpreter. The future has the error, if any.
            with contextlib.suppress(TransitError):
                self.flush()

    def flush(self) -> None:
        """What the flusher does: end a WAL that is old enough, sync, end futures."""
        try:
            self.catalog.order.run(FLUSH, self._flushing, self._flush)
        finally:
            self.callbacks.wake()

    def _flush(self) -> None:
        # Whatever is submitted from here on waits for the next round.
        count = len(self._promises)
        error: TransitError | None = None
        try:
            interval = self._settings.seal_interval_s
            if interval is not None and time.monotonic() - self.writer.wal.born >= interval:
                self.writer.rotate()
            self.writer.sync()
            if self.tiering is not None:
                self.tiering.publish_if_large()
        except TransitError as failure:
            error = failure
        self._promises.settle(count, error)
        if error is not None:
            raise error

    def _closed(self) -> ClosedError:
        return ClosedError(f"{self._root}: this store handle is closed")

    def freeze(self, message: str) -> None:
        """Seal everything and write nothing more, from whatever thread; only `close` is left."""
        self._frozen = True
        self.writer.finish(lambda: ClosedError(message))
        self._stop()
        self.sealer.seal_ended()
        self.sealer.stop()

    def _stop(self) -> None:
        """End the threads that were started."""
        for worker in (self._flusher, self._seal_worker, self.tiering):
            if isinstance(worker, Tiering):
                worker.close()
            elif worker is not None:
                worker.stop()

    def close(self) -> None:
        """Make everything durable and let go; an error is raised after letting go."""
        try:
            if not self._frozen:
                self.flush()
                self.writer.close()
        finally:
            self.writer.refuse(self._closed)
            self._stop()
            # The locks go now, so a seal that is asked for later is refused.
            self.sealer.stop()
            self._promises.end(None)
            # Not while a late thread takes its turn, for which it needs the locks.
            with self.writer.lock:
                self._let_files_go()

    @property
    def is_working_here(self) -> bool:
        """Whether this thread is in the middle of what closing waits for, or would be refused in.

        As a thread of the store's own is, or one in a call on a store that was opened later.
        """
        workers = (self._flusher, self._seal_worker, self.tiering)
        return self.catalog.order.is_inside(CLOSE) or any(
            worker is not None and worker.is_here for worker in workers
        )

    def abandon(self, message: str) -> None:
        """Make this side unusable in a child made by fork(); the parent's is not touched."""
        self.callbacks = Callbacks()
        self.writer.abandon(lambda: ForkedError(message))
        self._let_files_go()


def _is_durable(mark: Written | Late) -> bool:
    written = mark.written if isinstance(mark, Late) else mark
    return written is not None and written.wal.durable >= written.stop


def _is_pending(mark: Written | Late) -> bool:
    return isinstance(mark, Late) and mark.is_pending
