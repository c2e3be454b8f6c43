"""Publishing: what local commits name goes to the remote, then the commits, in order.

Owns how far the remote has the local chain, and the upload. A commit is created only after each
object it names is there, verified, so the remote never names what it lacks:

    order                          a stop right after leaves
    segments, index snapshots      objects no commit names: harmless, found again and checked
    commit n, put-if-absent        commits 0 to n, whole
    HEAD                           a better hint

Invariants: the first `published` commits of the local chain are in the remote, byte for byte; when
a remote commit differs from ours the publisher is fenced for good and publishes nothing more.
"""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from transit.disk import file_size, read_file
from transit.errors import CorruptError, FencedError
from transit.format.commit import Commit, decode_commit
from transit.format.digest import Digester, digest
from transit.locks import in_place
from transit.log.catalog import Catalog
from transit.tier.apart import check_apart
from transit.tier.erase import put_left
from transit.tier.locating import HINT_COMMITS, Hint, Inside, check_last, locate, own_commit
from transit.tier.pools import Pool
from transit.tier.progress import Meter, Report
from transit.tier.remote import TRIES, Remote, index_key, segment_key

if TYPE_CHECKING:
    from concurrent.futures import Future

_READ_BYTES: Final = 8 * 1024 * 1024


class _Item(NamedTuple):
    """An object to upload: its key, file, digest (64 hex digits) and size in bytes.

    derived: whether a store is whole without it. left: of a segment, the file of what is left of
    it, where chunks were erased.
    """

    key: str
    path: str
    digest: str
    bytes: int
    derived: bool
    left: str = ""


class _Pending(NamedTuple):
    number: int
    data: bytes
    commit: Commit
    bytes: int
    uploads: list[Future[None]]


class Publisher:
    """Brings one store's commits to its remote. Safe for threads; one publishes at a time."""

    def __init__(self, remote: Remote, catalog: Catalog) -> None:
        self.remote = remote
        self.published = 0
        self.published_lsn = 0
        self.fenced: FencedError | None = None
        self._catalog = catalog
        self._chain = catalog.commits
        # Commits made before this process attached may be in the remote in part.
        self._attached = self._chain.count
        self._hint = Hint(remote, catalog)
        self._lock = threading.Lock()
        self._inside = Inside()

    # Where the two chains stand

    def locate(self) -> None:
        """Find how many of our commits the remote has, and whether it went another way."""
        found = locate(self.remote, self._chain, self._catalog.store_id)
        if found.other is not None:
            self._fence(found.commits, found.other)
        self._reached(found.commits)
        self._hint.found(found)

    def _reached(self, published: int) -> None:
        self.published = published
        self.published_lsn = (
            own_commit(self._catalog, published - 1)[1].next_lsn if published else 0
        )

    def _fence(self, number: int, winner: Commit) -> None:
        self.fenced = FencedError(
            f"{self.remote.url}: commit {number} there is another writer's, of epoch "
            f"{winner.epoch}; nothing was overwritten, and nothing is lost here: "
            "rebase_onto_remote() brings what is not published along as branches",
            store=self.remote.url,
            number=number,
            epoch=winner.epoch,
        )

    def check(self) -> None:
        """Raise `FencedError` when another writer went on in the remote.

        `StoreMovedError` when the folder is not at its path any more.
        """
        self._catalog.check_place()
        if self.fenced is not None:
            error = self.fenced
            raise FencedError(str(error), store=error.store, number=error.number, epoch=error.epoch)

    # Publishing

    def publish(self, report: Report | None = None) -> None:
        """Upload what the remote lacks and create the commits it lacks, in order.

        Raises `FencedError`, `OutcomeUnknownError`, `RemoteUnavailableError`,
        `StorePermissionError`; published again, it goes on where it stopped.
        """
        with self._lock, self._inside.working():
            self.check()
            # Once more: a link or a mount may have brought the two together.
            check_apart(self._catalog.root, self.remote.store)
            if self.published < self._chain.count:
                publish = partial(self._publish, Meter("publish", report))
                in_place(self._catalog.check_place, publish)
            self._hint.bring(self.published, HINT_COMMITS)

    def hint(self) -> None:
        """Bring HEAD up to date, if it is not."""
        with self._lock, self._inside.working():
            self._hint.bring(self.published)

    @property
    def is_here(self) -> bool:
        """Whether this thread is publishing, or does a part of that."""
        return self._inside.is_here

    def _publish(self, meter: Meter) -> None:
        numbers = deque(range(self.published, self._chain.count))
        pending: deque[_Pending] = deque()
        room = self.remote.settings.transfer_bytes_max
        with Pool(self.remote.settings.transfers_max, "transit-upload") as pool:
            # While the first objects are on their way.
            before = pool.submit(self._check_before)
            while numbers or pending:
                while numbers and (not pending or sum(p.bytes for p in pending) < room):
                    pending.append(self._start(pool, numbers.popleft(), meter))
                before.result()
                self._finish(pending.popleft())

    def _check_before(self) -> None:
        """`CorruptError` where the last commit that was published is not there any more.

        What follows it would be acknowledged, and could not be restored.
        """
        if not self.published:
            return
        with self._inside.working():
            check_last(self.remote, self.published)

    def _start(self, pool: Pool, number: int, meter: Meter) -> _Pending:
        data, commit = own_commit(self._catalog, number)
        # Asked after it was read: what a folder that came in its place holds is not ours.
        self._catalog.check_place()
        items = self._items(commit)
        size = sum(item.bytes for item in items)
        meter.expect(len(items), size)
        fresh = number >= self._attached
        uploads = [pool.submit(partial(self._upload, item, fresh, meter)) for item in items]
        return _Pending(number, data, commit, size, uploads)

    def _items(self, commit: Commit) -> list[_Item]:
        places = self._catalog.places
        items = []
        for ref in commit.segments:
            path = places.segment(ref.digest)
            left = places.redacted_segment(ref.digest)
            items.append(_Item(segment_key(ref.digest), path, ref.digest, ref.bytes, False, left))
        if commit.index is not None:
            name = commit.index.digest
            path = places.snapshot(name)
            items.append(_Item(index_key(name), path, name, commit.index.bytes, True))
        return items

    def _finish(self, pending: _Pending) -> None:
        for upload in pending.uploads:
            upload.result()
        self._catalog.check_place()
        found = self.remote.create_commit(pending.number, pending.data)
        if found is not None:
            winner = decode_commit(found, f"{self.remote.url}, commit {pending.number}")
            self._fence(pending.number, winner)
            self.check()
        self.published = pending.number + 1
        self.published_lsn = pending.commit.next_lsn

    def _upload(self, item: _Item, fresh: bool, meter: Meter) -> None:
        with self._inside.working():
            self._bring(item, fresh, meter)

    def _bring(self, item: _Item, fresh: bool, meter: Meter) -> None:
        if fresh or not self._is_there(item):
            data = read_file(item.path, item.bytes)
            if data is not None and digest(data).hex() == item.digest:
                self._put(item, data)
            elif data is None and item.left and self._bring_left(item):
                pass
            elif item.derived:
                # Nothing depends on an index snapshot, so that it may be deleted at any time.
                return
            elif data is not None or not fresh or not self._is_there(item):
                # Damage must not spread. A file that is not here may have been let go by another
                # process, which published it.
                raise CorruptError(
                    item.path,
                    expected=item.digest,
                    found="no file" if data is None else "another digest",
                )
        meter.add(1, item.bytes)

    def _bring_left(self, item: _Item) -> bool:
        """Bring what is left of a segment, if that is what is here."""
        size = file_size(item.left)
        data = None if size is None else read_file(item.left, size)
        if data is None:
            return False
        put_left(self.remote, item.digest, data)
        return True

    def _put(self, item: _Item, data: bytes) -> None:
        for _ in range(TRIES):
            self.remote.store.put(item.key, data)
            if self.remote.store.refuses_damage or self._is_there(item):
                return
        raise CorruptError(self.remote.place(item.key), expected=item.digest, found="other bytes")

    def _is_there(self, item: _Item) -> bool:
        """Whether the remote has the object, read back and compared by digest."""
        store = self.remote.store
        if store.size(item.key) != item.bytes:
            return False
        digester = Digester()
        for position in range(0, item.bytes, _READ_BYTES):
            digester.update(
                store.get_range(item.key, position, min(_READ_BYTES, item.bytes - position))
            )
        return digester.digest().hex() == item.digest
