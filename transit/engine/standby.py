"""Standby: a folder kept where its remote is, and the takeover of the store by that folder.

Owns what users hold, and when the folder's LOCK is held: for each round of following and for a
takeover, never between them. So several standbys of one folder take turns, and a takeover by
another process needs no word with the one that follows.

A takeover, in order, and what a stop right after leaves:

    everything the remote shows is here       a standby
    the remote is tried out, as by a writer   the same
    segment of the takeover made here         the same, and a segment that no commit names
    segment put in the remote                 the same, there too
    commit n created there, put-if-absent     a takeover: the writer before is fenced off at n
    commit n linked here                      the same; opening the folder goes on from it
    the folder opened for writing             an open store
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from transit.config import Settings
from transit.disk import is_folder, list_folder
from transit.engine.fencing import Wanted, fence_off, written_last
from transit.engine.log import Log
from transit.engine.missed import this_machine
from transit.engine.opening import open as open_log
from transit.engine.restoring import restore
from transit.engine.standing import Standing
from transit.engine.takeovers import Takeover
from transit.engine.trusted import Kept, remembered_of
from transit.errors import ClosedError, TransitError
from transit.format.life import check_reason
from transit.format.names import FORMAT_FILE
from transit.format.takeover import check_by, takeover_stream_name
from transit.format.uid import new_uid
from transit.handle.attaching import RemoteAddress, attach, check_settings
from transit.handle.encrypting import check_encryption
from transit.handle.opening import folder_of
from transit.keyring import Keyring
from transit.log.commits import CommitChain
from transit.opened import Opened
from transit.tier.apart import check_apart
from transit.tier.catching_up import look_ahead
from transit.tier.progress import Progress
from transit.tier.remote import Remote

MISSABLE: Final = ("memory", "os", "local")
_SECOND: Final = 10**9


class StandbyStatus(msgspec.Struct, frozen=True):
    """Where a standby stands, and so what a takeover now would go on from.

    commits, records, root, epoch: of the last commit that it has; root "" and epoch -1 before the
    first. written: when the last of these records was written, UTC nanoseconds, 0 for none; age_s:
    how long ago that is, seconds. segments, bytes: in the folder, as its commits state them.
    looked: when the remote was asked the last time, UTC nanoseconds, 0 for never. behind: how many
    commits it showed then that are not here; None where it was not asked.
    may_miss: what a takeover may miss: records that were acknowledged at these levels, written
    after `written`, and not published. A record acknowledged as "tiered" is never missed.
    """

    path: str
    remote: str
    store_id: str
    commits: int
    records: int
    root: str
    epoch: int
    written: int
    age_s: float
    segments: int
    bytes: int
    looked: int
    behind: int | None
    may_miss: tuple[str, ...] = MISSABLE

    @property
    def is_current(self) -> bool:
        """Whether it has all that the remote showed when it was asked the last time."""
        return self.behind == 0


def standby(
    path: str | os.PathLike[str],
    remote: RemoteAddress,
    *,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    checkpoint: Kept | None = None,
    keyring: Keyring | None = None,
) -> Standby:
    """A standby of the store in `remote`, in folder `path`; nothing is read or written yet.

    path: an empty folder, one that a standby or a restore filled, or that of a writer which
    published everything. checkpoint: one that was kept: a history that does not extend it is
    refused with `SplitViewError`. keyring: of an encrypted store; only `take_over` needs it.
    Raises `InvalidInputError`, and `UnsuitableRemoteError` where the remote is the folder itself.
    """
    return Standby(path, remote, storage_options, settings, checkpoint, keyring)


class Standby(Opened):
    """A folder that follows its store's remote. Made by `transit.standby`; for one thread.

    Readers may have the folder open meanwhile, in mode "read". Closes at the end of a `with` block;
    `take_over` closes it too.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        remote: RemoteAddress,
        storage_options: Mapping[str, object] | None,
        settings: Settings | None,
        checkpoint: Kept | None,
        keyring: Keyring | None,
    ) -> None:
        self.path = folder_of(path)
        self._settings = check_settings(settings)
        self._checkpoint, self._kept = checkpoint, remembered_of(checkpoint)
        self._keyring, self._asked = keyring, check_encryption(None, keyring)
        self._address, self._options = remote, storage_options
        # The same for each try of this object, so that a takeover is made once.
        self._id = new_uid()
        self._standing: Standing | None = None
        self._looked, self._behind = 0, -1
        self._closed = False
        self._store, self._release = attach(remote, storage_options, self._settings)
        self._remote = Remote(self._store, self._settings)
        try:
            check_apart(self.path, self._store)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<transit.Standby {self.path!r} of {self._remote.url!r}>"

    def __enter__(self) -> Standby:
        self._check()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def remote(self) -> str:
        """The remote's address, without credentials."""
        return self._remote.url

    def follow(self, progress: Callable[[Progress], None] | None = None) -> StandbyStatus:
        """Bring everything that the remote has and this folder has not; where it stands then.

        Commits and all their segments, each verified; what was erased there goes here. Interrupted,
        it goes on when it is called again. The first time the store is restored.
        Raises `NotFoundError` when there is no store in the remote, `ConflictError` when the folder
        has records that were never published, `LockedError` while another process writes here,
        `CorruptError`, `SplitViewError`, `RemoteUnavailableError`, `StorePermissionError`.
        """
        standing = self._stand(progress)
        with standing.held():
            standing.catch_up(progress)
        self._looked, self._behind = time.time_ns(), 0
        return self.status()

    def status(self) -> StandbyStatus:
        """Where this standby stands; asks nothing of the remote once it has followed."""
        self._check()
        if not self._is_store():
            chain = CommitChain(self.path, bytes(16))
            return self._status(chain, self._behind, "")
        standing = self._stand(None)
        standing.catalog.follow(write=False)
        return self._status(standing.catalog.commits, self._behind, standing.store_id.hex())

    def dry_run(self) -> StandbyStatus:
        """What a takeover now would go on from; changes nothing, here or in the remote.

        commits, records, root, epoch and written are those that the remote shows; behind: how many
        of these commits are not here yet. Raises what `follow` raises, but for `LockedError`.
        """
        self._check()
        if self._is_store():
            standing = self._stand(None)
            standing.look()
            chain, store_id = standing.catalog.commits.copy(), standing.store_id
        else:
            store_id = self._remote.existing_store_id()
            chain = CommitChain(self.path, store_id)
        behind = look_ahead(self._remote, chain)
        self._looked, self._behind = time.time_ns(), behind
        return self._status(chain, behind, store_id.hex())

    def take_over(
        self,
        *,
        reason: str = "",
        by: str | None = None,
        takeover_id: str | None = None,
        durability: str = "local",
    ) -> tuple[Log, Takeover]:
        """Take the store over: the folder, open for writing, and what the takeover says of itself.

        Brings what the remote shows, then makes a commit that says who took over, from where and
        why, and returns once it is in the remote: from then on what the writer before publishes is
        refused with `FencedError`, whatever this one does. It loses nothing in its folder, and
        `rebase_onto_remote()` brings that along as branches, and counts it (`transit.takeovers`).
        If the writer publishes meanwhile, that is brought and it is tried again.

        by: who takes over; None: this machine's name. takeover_id: any name; the same id again
        opens the folder that took over by it, and makes no other commit. None: one that this object
        keeps. durability: of the opened store.
        Raises `FencedError` when somebody else took over meanwhile, or the writer published again
        and again, `ConflictError` when another took over after the one of this id,
        `OutcomeUnknownError` when it cannot be told whether it took over: take over again;
        `SealedError` for an encrypted store without its keyring, and what `follow` raises.
        """
        wanted = Wanted(
            self._id if takeover_id is None else takeover_id,
            check_by(this_machine() if by is None else by),
            check_reason(reason),
        )
        takeover_stream_name(wanted.takeover_id)
        standing = self._stand(None)
        with standing.held():
            takeover = fence_off(standing, self._remote, self._settings, wanted)
        self.close()
        try:
            return self._open(durability), takeover
        except TransitError as error:
            error.add_note(f"taken over at commit {takeover.commit}: open {self.path} to go on")
            raise

    def close(self) -> None:
        """Let go of the folder and the remote; closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._standing is not None:
            self._standing.close()
        self._release()

    def _open(self, durability: str) -> Log:
        return open_log(
            self.path,
            remote=self._address,
            durability=durability,
            storage_options=self._options,
            settings=self._settings,
            checkpoint=self._checkpoint,
            keyring=self._keyring,
        )

    def _check(self) -> None:
        if self._closed:
            raise ClosedError(f"{self.path}: this standby is closed")

    def _is_store(self) -> bool:
        return is_folder(self.path) and FORMAT_FILE in list_folder(self.path)

    def _stand(self, progress: Callable[[Progress], None] | None) -> Standing:
        """The folder; restored from the remote where it is no store yet."""
        self._check()
        if self._standing is None:
            if not self._is_store():
                restore(
                    self._store,
                    self.path,
                    settings=self._settings,
                    progress=progress,
                    checkpoint=self._checkpoint,
                )
            self._standing = Standing(
                self.path, self._remote, self._settings, self._kept, self._asked
            )
        return self._standing

    def _status(self, chain: CommitChain, behind: int, store_id: str) -> StandbyStatus:
        here = () if self._standing is None else self._standing.catalog.view.segments
        written = written_last(chain.head)
        return StandbyStatus(
            path=self.path,
            remote=self._remote.url,
            store_id=store_id,
            commits=chain.count,
            records=chain.next_lsn,
            root=chain.root,
            epoch=chain.head.epoch if chain.head else -1,
            written=written,
            age_s=max(0, time.time_ns() - written) / _SECOND if written else 0.0,
            segments=len(here),
            bytes=sum(segment.ref.bytes for segment in here),
            looked=self._looked,
            behind=None if behind < 0 else behind,
        )
