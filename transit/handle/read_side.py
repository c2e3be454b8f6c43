"""What a handle in mode "read" has: a catalog that follows a folder, a remote, or both.

Owns where new records come from. A folder is followed at every look, because that costs no more
than a read; a remote only when asked, because that costs requests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from transit.config import Settings
from transit.disk import is_folder
from transit.errors import InvalidInputError, TransitError
from transit.evidence.published import PublishedTree
from transit.format.names import Places
from transit.handle.encrypting import Encryption, keys_of
from transit.handle.hub import Hub
from transit.handle.opening import existing_store_id
from transit.handle.promises import Callbacks
from transit.handle.side import T
from transit.handle.switching import check_not_rebasing
from transit.handle.waiting import Alone, Folder, Published, Source
from transit.locks import Mark
from transit.log.catalog import Catalog
from transit.log.commits import nowhere_else
from transit.log.guides import GuideShelf, NotHere
from transit.log.recover import Cut, judge_end, judge_live
from transit.log.remembered import Remembered
from transit.log.segments import Elsewhere
from transit.log.wal import Wal
from transit.store import ObjectStore
from transit.store.addresses import is_url
from transit.tier.bucket import Follower
from transit.tier.fetch import Fetcher
from transit.tier.remote import Remote


class Reading:
    """The reading side of one open store. `root` may be the remote's address: no folder then."""

    # A reader cuts, seals and publishes nothing.
    cuts: Final[tuple[Cut, ...]] = ()
    seal_error: Final[TransitError | None] = None
    remote_error: Final = ""

    def __init__(
        self,
        root: str,
        settings: Settings,
        store: ObjectStore | None,
        kept: Remembered | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        self._root = root
        self._encryption = encryption
        self.callbacks = Callbacks()
        self._settings = settings
        self._store = store
        self._kept = kept
        self._remote: Remote | None = None
        self._follower: Follower | None = None
        self._has_folder = not is_url(root)
        self._compared = not self._has_folder
        # A reader holds no lock. It knows its folder by the folder itself.
        self._place = Mark(root) if self._has_folder and is_folder(root) else None
        # The mark's own: one of this object's would keep it in a circle with its catalog.
        self._check_place = nowhere_else if self._place is None else self._place.check
        try:
            self.catalog = self._open(store)
            try:
                self._begin()
            except BaseException:
                self.catalog.files.close()
                raise
        except BaseException:
            self.close()
            raise

    def _open(self, store: ObjectStore | None) -> Catalog:
        if self._has_folder:
            check_not_rebasing(self._root)
        if store is not None:
            return self._open_remote(store)
        store_id = existing_store_id(self._root)
        missing = NotHere(self._root, store_id, self._check_place)
        return self._catalog(store_id, missing)

    def _catalog(self, store_id: bytes, elsewhere: Elsewhere) -> Catalog:
        stores = () if self._store is None else (self._store,)
        keys = keys_of(self._encryption, store_id, self._root, stores, self._settings, write=False)
        return Catalog(self._root, store_id, self._settings, elsewhere, self._check_place, keys)

    def _begin(self) -> None:
        if self._kept is not None:
            self._kept.check_store(self.catalog.store_id, self.remote_url or self._root)
        if self._has_folder:
            wal = self.catalog.follow(write=False)
            if wal is not None and not wal.ended:
                self._judge(wal)
            self.catalog.commits.check_no_gap()
        elif self._follower is not None:
            self._follower.start()
        if self._kept is not None:
            self._check_kept(self._kept)

    def _check_kept(self, kept: Remembered) -> None:
        """`SplitViewError` unless this history extends the checkpoint that was kept.

        Each commit that is taken up later follows from those here, so this is asked once.
        """
        commits = self.catalog.commits
        place = self.remote_url or self._root
        if commits.count < kept.size:
            # The folder may be behind what was published.
            self.refresh()
        if self._has_folder and (kept.size == commits.count or commits.read(kept.size)):
            kept.check_chain(commits, place)
        else:
            tree = PublishedTree(commits.tree, self.commit_data, self._remote)
            tree.check_kept(kept, place)

    def _open_remote(self, store: ObjectStore) -> Catalog:
        remote = self._remote = Remote(store, self._settings)
        cache = None
        found = existing_store_id(self._root) if self._has_folder else b""
        store_id = remote.existing_store_id(found)
        if self._has_folder:
            if found != store_id:
                raise InvalidInputError(
                    f"{remote.url}: holds store {store_id.hex()}, not {found.hex()}"
                )
            cache = Places(self._root).cache
        shelf = GuideShelf(self._root, store_id)
        fetcher = Fetcher(remote, shelf, cache, self._check_place)
        catalog = self._catalog(store_id, fetcher)
        self._follower = Follower(remote, catalog, shelf)
        return catalog

    def make_hub(self) -> Hub:
        """See `Side.make_hub`."""
        return Hub(self.catalog, None, self.callbacks, self.follow, self.source)

    def close(self) -> None:
        """Know the folder no more; a reader has nothing else to give up."""
        if self._place is not None:
            self._place.close()

    def abandon(self, message: str) -> None:
        """See `Side.abandon`."""
        self.close()

    def while_sealing_pauses(self, work: Callable[[], T]) -> T:
        """See `Side.while_sealing_pauses`; a reader seals nothing."""
        return work()

    @property
    def look(self) -> Callable[[], None]:
        """See `Side.look`."""
        return self.follow

    def follow(self) -> None:
        """Read on in the folder; `CorruptError` for damage, which stays as it is."""
        if not self._has_folder:
            return
        wal = self.catalog.follow(write=False)
        if wal is not None and not wal.ended and wal.stopped:
            self._judge(wal)

    def _judge(self, wal: Wal) -> None:
        catalog = self.catalog
        judge_live(wal, lambda: catalog.follow(write=False))
        later = [number for number in catalog.wal_numbers() if number > wal.first_lsn]
        if later:
            catalog.follow(write=False)
            if not wal.ended:
                judge_end(wal, catalog.files.vouching(wal.first_lsn, later))

    def refresh(self) -> int:
        """Take up the commits that were published since the last time; their count."""
        if self._follower is None:
            return 0
        with self.catalog.changing:
            self.follow()
            if not self._compared:
                self._follower.check_same()
                self._compared = True
            if self._has_unsealed():
                # The folder's own writer is ahead: what it seals and publishes comes from it.
                self._follower.check_nothing_new(self._look_again)
                return 0
            return self._follower.refresh()

    def _look_again(self) -> None:
        self.follow()
        # The writer of the newest file may have sealed the one before it.
        self.catalog.load_commits()

    def _has_unsealed(self) -> bool:
        wals = self.catalog.view.wals
        return bool(wals) and wals[-1].next_lsn > self.catalog.commits.next_lsn

    @property
    def remote_url(self) -> str:
        """The remote's address; empty without one."""
        return self._store.url if self._store is not None else ""

    @property
    def remote(self) -> Remote | None:
        """See `Side.remote`."""
        return self._remote

    @property
    def replicas(self) -> None:
        """See `Side.replicas`."""
        return None

    @property
    def published(self) -> int | None:
        """Count of commits taken from the remote, or known from the folder, so far.

        None without a remote.
        """
        return self.catalog.commits.count if self._follower is not None else None

    def is_published(self, number: int | None) -> bool | None:
        """Whether commit `number` (None: one yet to be made) is in the remote; None without one."""
        if self._remote is None or number is None:
            return None if self._remote is None else False
        ours = self.catalog.commits.read(number) if self._has_folder else None
        # A commit that is not in the folder can only be from the remote.
        return ours is None or self._remote.has_commit(number, ours)

    def commit_data(self, number: int) -> bytes | None:
        """The bytes of commit `number`, from the folder or the remote; None when in neither."""
        ours = self.catalog.commits.read(number) if self._has_folder else None
        if ours is not None or self._remote is None:
            return ours
        found = self._remote.checked_commit(number)
        return None if found is None else found[0]

    def source(self) -> Source:
        """What is waited on for new records."""
        beside = Folder(self._root, self._check_place) if self._has_folder else None
        if self._follower is None and beside is not None:
            return beside
        return Published(self.refresh, self._settings.refresh_interval_s, beside or Alone())
