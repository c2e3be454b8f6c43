"""The folder of a standby, once it is a store: its LOCK, its catalog, and what is brought into it.

Owns that LOCK is held while anything changes, and that the folder has no records of its own. The
catalog is kept from round to round, so that each commit is read and verified once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transit.config import Settings
from transit.errors import ConflictError, InvalidInputError, LockedError
from transit.format.names import Places
from transit.handle.encrypting import Encryption, keys_of
from transit.handle.opening import existing_store_id, sync_names, tidy_up
from transit.handle.switching import check_not_rebasing, finish_rebase
from transit.locks import Lock
from transit.log.catalog import Catalog
from transit.log.guides import GuideShelf
from transit.log.remembered import Remembered
from transit.tier.catching_up import CatchUp
from transit.tier.fetch import Fetcher
from transit.tier.progress import Report
from transit.tier.remote import Remote


class Standing:
    """A store's folder that follows `remote`. Raises `InvalidInputError` for another store's."""

    def __init__(
        self,
        root: str,
        remote: Remote,
        settings: Settings,
        kept: Remembered | None,
        encryption: Encryption | None,
    ) -> None:
        self.root = root
        self.store_id = existing_store_id(root)
        found = remote.existing_store_id(self.store_id)
        if found != self.store_id:
            raise InvalidInputError(
                f"{remote.url}: holds store {found.hex()}, not {self.store_id.hex()}"
            )
        self._remote, self._settings = remote, settings
        self._lock = Lock(Places(root).lock)
        # Whether what a process that was killed left in the folder was seen to.
        self._tidy = False
        writes = encryption is not None
        keys = keys_of(encryption, self.store_id, root, (remote.store,), settings, write=writes)
        shelf = GuideShelf(root, self.store_id)
        elsewhere = Fetcher(remote, shelf, None)
        self.catalog = Catalog(
            root, self.store_id, settings, elsewhere, self._lock.check, keys=keys
        )
        self.catching = CatchUp(remote, self.catalog, kept)

    @contextmanager
    def held(self) -> Iterator[None]:
        """LOCK, alone: no other process writes here meanwhile. `LockedError`, `StoreMovedError`."""
        lock = self._lock
        try:
            lock.acquire(timeout_s=self._settings.open_timeout_s)
        except LockedError as error:
            raise LockedError(
                f"{self.root}: held by {lock.holder_described()}: another standby is at work here, "
                "or the store is open for writing, and this folder no standby any more",
                pid=error.pid,
            ) from None
        try:
            lock.check()
            lock.sign()
            if not self._tidy:
                finish_rebase(self.root)
                tidy_up(self.root)
                sync_names(self.root)
                self._tidy = True
            yield
        finally:
            lock.release()

    def look(self) -> None:
        """Take up what is in the folder; `ConflictError` unless all of it is the remote's.

        One request, for the last commit here: a remote that lost its commits has nothing new.
        """
        check_not_rebasing(self.root)
        catalog = self.catalog
        catalog.follow(write=False)
        commits, wals = catalog.commits, catalog.view.wals
        if wals and wals[-1].next_lsn > commits.next_lsn:
            raise ConflictError(
                f"{self.root}: has {wals[-1].next_lsn - commits.next_lsn} records that were never "
                "published: it is a writer's folder. Open it with its remote and publish(); after "
                "FencedError rebase_onto_remote()"
            )
        last = commits.count - 1
        if commits.count and not self._remote.has_commit(last, commits.read(last)):
            raise ConflictError(
                f"{self.root}: commit {last} is not in {self._remote.url}: it was never published, "
                "or the remote has another history, or lost it. A writer's folder is opened with "
                "its remote, and publishes; after FencedError rebase_onto_remote()"
            )

    def catch_up(self, report: Report | None) -> None:
        """Bring everything that the remote shows, LOCK held."""
        self.look()
        self.catching.run(report)

    def catch_up_again(self) -> None:
        """Bring commits that came in the last moments, in as few requests as can be."""
        self.catching.bring(step_max=1)

    def close(self) -> None:
        """Let go of the folder."""
        self.catalog.files.close()
        self._lock.close()
