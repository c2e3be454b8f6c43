"""An open store and whether it may still be used. Log, Stream, WriteBatch and Cursor all take it.

Owns the state of use: open, closed, or the parent's after fork(). What both modes can do is the
`Side`'s; what only a writer can is asked of `writing`, which a reader refuses.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import warnings
import weakref
from _thread import start_new_thread
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from transit.config import Durability, Encrypted, Level, Mode, Settings, durability_level
from transit.errors import (
    ClosedError,
    ForkedError,
    InvalidInputError,
    ReadOnlyError,
    TransitError,
)
from transit.guards import CLOSE, PUBLISH, SEAL, TURN, VIEW, inside
from transit.handle.attaching import Attached, release_all
from transit.handle.encrypting import Encryption
from transit.handle.hub import Hub
from transit.handle.promises import Callbacks
from transit.handle.read_side import Reading
from transit.handle.replicas import ReplicaStatus
from transit.handle.side import Side
from transit.handle.tiering import Tiering
from transit.handle.write_side import Writing
from transit.log.accepted import Late
from transit.log.catalog import StreamState
from transit.log.frames import Written
from transit.log.guides import read_marker
from transit.log.recover import Cut
from transit.log.remembered import Remembered
from transit.log.seal import Sealer
from transit.log.timings import Timings
from transit.log.writer import Writer
from transit.store.addresses import is_url
from transit.tier.remote import Remote

if TYPE_CHECKING:
    from transit.handle.callbacks import Promise

T = TypeVar("T")
# A member of an enumeration takes long to find.
_LOCAL: Final = Level.LOCAL
_TIERED: Final = Level.TIERED
_REPLICATED: Final = Level.REPLICATED
_open_handles: weakref.WeakSet[Handle] = weakref.WeakSet()


class Handle:
    """One open store of this process."""

    def __init__(
        self,
        root: str,
        mode: Mode,
        durability: Durability,
        settings: Settings,
        attached: Sequence[Attached] = (),
        kept: Remembered | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        self.root = root
        self.mode: Mode = mode
        self.shared = mode == "shared"
        self.durability: Durability = durability
        self.level = durability_level(durability)
        self.settings = settings
        self._encryption = encryption
        self.refusal: TransitError | None = None
        # How long callers waited until what they wrote was as durable as they asked.
        self.local_waits, self.tiered_waits = Timings(), Timings()
        self.replicated_waits = Timings()
        self._closing = threading.Lock()
        # Whether nothing is left to close.
        self._let_go = False
        stores = [each.store for each in attached]
        self._release = partial(release_all, attached) if attached else None
        self._writing: Writing | None = None
        try:
            side: Side
            if mode == "read":
                first = stores[0] if stores else None
                side = Reading(root, settings, first, kept, encryption)
            else:
                side = self._writing = Writing(root, mode, settings, stores, kept, encryption)
            self._side = side
            self.catalog = side.catalog
            self.callbacks = side.callbacks
            self._look = side.look
            self.hub = side.make_hub()
            keys = side.catalog.keys
            # What is encrypted of what is written here.
            self.encrypted: Encrypted = "none"
            if keys is not None and keys.writes:
                self.encrypted = "all" if keys.covers_wal else "remote"
            self._finalizer = weakref.finalize(
                self, _close_forgotten, root, self._writing, self._release, self.hub
            )
            _open_handles.add(self)
        except BaseException:
            # Its threads keep what writes, and the lock, from being collected.
            if self._writing is not None:
                self._writing.let_go()
            raise

    def check(self) -> None:
        """Raise what stands against using this store."""
        if self.refusal is not None:
            raise type(self.refusal)(*self.refusal.args)

    @property
    def encryption_now(self) -> Encryption | None:
        """The keyring, and what is encrypted with it; None without one."""
        if self._encryption is None or self.catalog.keys is None:
            return None
        return Encryption(self._encryption.keyring, self.catalog.keys.mode)

    @property
    def writing(self) -> Writing:
        """The writing side; `ReadOnlyError` in mode "read"."""
        self.check()
        if self._writing is None:
            raise ReadOnlyError(f'{self.root}: opened in mode "read"')
        return self._writing

    @property
    def writer(self) -> Writer:
        """The writer; `ReadOnlyError` in mode "read"."""
        return self.writing.writer

    @property
    def written_by(self) -> Writing | None:
        """The writing side, whatever stands against writing; None in mode "read"."""
        return self._writing

    @property
    def sealer(self) -> Sealer:
        """The sealer; `ReadOnlyError` in mode "read"."""
        return self.writing.sealer

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """What opening cut off the log's end."""
        return self._side.cuts

    @property
    def seal_error(self) -> TransitError | None:
        """Why sealing does not go on; None while it does."""
        return self._side.seal_error

    @property
    def tiering(self) -> Tiering:
        """The remote side; `InvalidInputError` for a store opened without a remote."""
        tiering = self.writing.tiering
        if tiering is None:
            noted = self.remote_noted
            hint = f"; segments of it are in {noted}" if noted else ""
            raise InvalidInputError(f"{self.root}: opened without remote={hint}")
        return tiering

    @property
    def remote_url(self) -> str:
        """The remote's address; empty without one."""
        return self._side.remote_url

    @property
    def remote(self) -> Remote | None:
        """The remote; None without one."""
        return self._side.remote

    @property
    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """The remotes that follow it: what is known of each, without asking."""
        replicas = self._side.replicas
        return () if replicas is None else replicas.status()

    @property
    def remotes(self) -> list[Remote]:
        """The remote, and those of its replicas that have all that it is known to have."""
        if self.remote is None:
            return []
        replicas = self._side.replicas
        return [self.remote, *(() if replicas is None else replicas.at_head)]

    @property
    def published(self) -> int | None:
        """Count of commits known to be in the remote; None without one."""
        return self._side.published

    @property
    def remote_noted(self) -> str:
        """The remote that the folder's note names, where segments are that are not here."""
        return "" if is_url(self.root) else read_marker(self.root) or ""

    def is_published(self, number: int | None) -> bool | None:
        """Whether commit `number` (None: one yet to be made) is in the remote; None without one."""
        return self._side.is_published(number)

    def commit_data(self, number: int) -> bytes | None:
        """The bytes of commit `number`, from the folder or the remote; None when in neither."""
        return self._side.commit_data(number)

    @property
    def remote_error(self) -> str:
        """Why publishing did not go on the last time; empty when it did."""
        return self._side.remote_error

    def while_sealing_pauses(self, work: Callable[[], T]) -> T:
        """Do `work` while this process seals nothing; what it returns."""
        self.catalog.order.check(SEAL)
        return self._side.while_sealing_pauses(work)

    # Reading

    def refresh(self) -> None:
        """See what there is to read now: what waits here, what other processes wrote."""
        if self.refusal is not None:
            self.check()
        if inside:
            self.catalog.order.check(TURN if self.shared else VIEW)
        self._look()

    def next_offset(self, state: StreamState) -> int:
        """The stream's next offset, seen now; every record before it can be read."""
        before = state.next_offset
        self.refresh()
        if self.mode != "exclusive":
            return state.next_offset
        # Framed is what was accepted as "memory" before that, not what another thread accepted
        # since; and after a failed write what had been accepted is gone.
        return min(before, state.next_offset)

    def refresh_remote(self) -> int:
        """Take up the commits others published since the last time; their count."""
        self.check()
        return self._side.refresh()

    # Writing

    def level_of(self, durability: str | None) -> Level:
        """The strength asked for, or the store's own; "tiered" needs a remote, "replicated" two."""
        level = self.level if durability is None else durability_level(durability)
        if level >= _TIERED and self._writing is not None:
            # Asked for before anything is written.
            self.catalog.order.check(PUBLISH)
            self.tiering.check_outside()
            self.tiering.publisher.check()
            if level is _REPLICATED:
                self.check_replicas()
        return level

    def check_replicas(self) -> None:
        """`InvalidInputError` for a store that was opened with one remote at most."""
        if not self.tiering.replicas:
            raise InvalidInputError(
                f'{self.root}: durability "replicated" needs remote=[first, another]'
            )

    def acknowledge(self, written: Written | None, level: Level) -> Durability:
        """Make what was written, None: everything so far, as durable as asked; what was reached."""
        if level < _LOCAL:
            return "os"
        if written is None:
            written = self.writer.reached()
        begun = perf_counter()
        if level is _REPLICATED:
            self.tiering.replicate(written.wal.next_lsn)
            self.replicated_waits.add(perf_counter() - begun)
            return "replicated"
        if level is _TIERED:
            self.tiering.reach(written.wal.next_lsn)
            self.tiered_waits.add(perf_counter() - begun)
            return "tiered"
        self.writer.sync_to(*written)
        self.local_waits.add(perf_counter() - begun)
        return "local"

    def submit(
        self,
        written: Written | Late,
        result: Callable[[], object],
        future: Promise[Any],
        level: Level,
    ) -> None:
        """Resolve `future` with what `result` returns once what was written is as durable as asked.

        What was taken up late is "local" at most. Until it is in the remote, the store stays open,
        even when the program holds it no more: closing does not wait for that.
        """
        if level >= _TIERED and isinstance(written, Written):
            lsn, replicated = written.wal.next_lsn, level is _REPLICATED
            self.tiering.submit(lsn, result, future, self, replicated=replicated)
        else:
            self.writing.submit(written, result, future)

    # Closing

    def close(self) -> None:
        """Make everything durable and let go; an error is raised after letting go.

        Waits for a callback of a future that is running, 5 seconds at most.
        """
        if self._writing is not None and self._writing.tiering is not None:
            self._writing.tiering.check_outside()
        try:
            if not self._let_go:
                self.catalog.order.check(CLOSE)
                self.catalog.order.run(CLOSE, self._closing, self._close_once)
        finally:
            self.callbacks.close()

    def _close_once(self) -> None:
        if self._let_go:
            return
        self.refusal = self.refusal or ClosedError(f"{self.root}: this store handle is closed")
        try:
            self._close()
        except TransitError:
            raise
        except BaseException:
            # An interrupt, perhaps in the middle of letting go: what is left of it is done now.
            with contextlib.suppress(TransitError):
                self._close()
            raise

    def _close(self) -> None:
        try:
            self.hub.stop()
            self._side.close()
        finally:
            self.catalog.files.close()
            # What a writer is made of is in cycles, which stay until they are collected.
            self.catalog.cache.clear()
            if self._release is not None:
                self._release()
            self.hub.close()
            self._let_go = True
            self._finalizer.detach()
            _open_handles.discard(self)

    def abandon(self) -> None:
        """Make the handle unusable in a child made by fork(); the parent's is not touched."""
        message = f"{self.root}: opened before fork(); open the store again in this process"
        self.refusal = ForkedError(message)
        self._let_go = True
        self._closing = threading.Lock()
        self._finalizer.detach()
        self.catalog.files.close()
        self.hub.abandon()
        self.callbacks = Callbacks()
        self._side.abandon(message)


def _close_forgotten(
    root: str, writing: Writing | None, release: Callable[[], None] | None, hub: Hub
) -> None:
    if writing is not None and writing.is_working_here:
        # Collected in the middle of the store's own work, or of a call on a store opened later.
        try:
            start_new_thread(_close_unused, (root, writing, release, hub))
        except RuntimeError:
            atexit.register(_close_unused, root, writing, release, hub)
    else:
        _close_unused(root, writing, release, hub)


def _close_unused(
    root: str, writing: Writing | None, release: Callable[[], None] | None, hub: Hub
) -> None:
    try:
        # Said while the store is still held: who gets it next is told of nothing by this one.
        if writing is not None:
            warnings.warn(f"store {root} was not closed", ResourceWarning, stacklevel=2)
    finally:
        _let_go_of(writing, release, hub)


def _let_go_of(writing: Writing | None, release: Callable[[], None] | None, hub: Hub) -> None:
    try:
        hub.stop()
        if writing is not None:
            writing.close()
        hub.close()
        hub.callbacks.close()
    finally:
        if release is not None:
            release()


def _abandon_all() -> None:
    for handle in list(_open_handles):
        handle.abandon()
    _open_handles.clear()


os.register_at_fork(after_in_child=_abandon_all)
