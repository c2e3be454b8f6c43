"""Restoring: a folder that a store can be opened in, from the remote alone.

Owns what is fetched and in which order; the caller owns the folder and its lock, and writes FORMAT
when all is there, so that a restore cut short leaves no store but something to go on from:

    commits            the whole chain up to the cut, each link verified
    index snapshots    checked against their digests
    segments           each checked against its digest, then linked; those that are there are kept
    FORMAT             now it is a store
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from transit.config import MIB
from transit.disk import File, NewFile, file_size, list_folder, make_folder, put, remove
from transit.errors import CorruptError, FormatError, NotFoundError
from transit.format.commit import Commit, SegmentRef
from transit.format.digest import Digester
from transit.format.life import life_key
from transit.format.lineage import LINEAGE_ID, Branch, LineageRecord, Merge, decode_lineage, triples
from transit.format.names import Places, layer_of, segment_name
from transit.format.snapshot import Layer, decode_snapshot
from transit.keyring.envelopes import StoreKeys
from transit.log.catalog import Catalog
from transit.log.commits import CommitChain
from transit.log.guides import GuideShelf, put_marker
from transit.log.redactions import MemoryBytes, check_left
from transit.log.remembered import Remembered
from transit.log.segments import Segment
from transit.log.snapshots import Snapshots
from transit.tier.adopt import fetch_snapshot
from transit.tier.bucket import STEP
from transit.tier.bundled import BundledCommits, check_ahead
from transit.tier.fetch import Fetcher
from transit.tier.pools import Pool, at_once
from transit.tier.progress import Meter, Report
from transit.tier.remote import TRIES, Remote, commit_key, redacted_key, segment_key

if TYPE_CHECKING:
    from concurrent.futures import Future

READ_BYTES: Final = 8 * MIB
_COMMITS_AT_ONCE: Final = 8 * STEP
_ABSENT: Final = "no object"


class Restorer:
    """Fills one folder from a remote. step: what its progress is called."""

    def __init__(
        self,
        remote: Remote,
        root: str,
        store_id: bytes,
        report: Report | None,
        kept: Remembered | None = None,
        keys: StoreKeys | None = None,
        step: str = "restore",
    ) -> None:
        self._keys = keys
        self._step = step
        self._remote = remote
        self._root = root
        self._places = Places(root)
        self._store_id = store_id
        self._report = report
        self._kept = kept
        self._bundles = BundledCommits(remote)
        self._refs: list[SegmentRef] = []
        self.chain = CommitChain(root, store_id)

    @property
    def url(self) -> str:
        """The remote's address."""
        return self._remote.url

    # Commits

    def fetch_commits(self, at: int | str | None) -> list[SegmentRef]:
        """Keep the chain up to commit number `at`, or to the commit with that root; None: all.

        The segments it names. `NotFoundError` when the remote has no such commit, `SplitViewError`
        when its history does not extend the checkpoint that was kept.
        """
        if self._kept is not None:
            self._kept.check_store(self._store_id, self._remote.url)
        folder = self._places.commits
        # Of an earlier try, and perhaps of another cut.
        for name in reversed(list_folder(folder)):
            remove(os.path.join(folder, name))
        self._fetch_chain(at)
        if not self._is_at(at):
            head = self._remote.head(self._store_id)
            for _ in range(TRIES):
                if self._is_at(at) or not self._remote.check_no_gap(self.chain.count, head):
                    break
                # What was not there a moment ago is: the history goes on.
                self._fetch_chain(at)
        if at is not None and not self._is_at(at):
            raise NotFoundError(f"{self._remote.url}: there is no commit {at}")
        if self._kept is not None and self._kept.size > self.chain.count:
            # Of a cut before it: what comes after is looked at, and not kept.
            check_ahead(self._remote, self.chain, self._kept)
        return self._refs

    def _fetch_chain(self, at: int | str | None) -> None:
        """Keep the commits from where the chain ends to the cut, or to the first that is absent."""
        limit = at + 1 if isinstance(at, int) else None
        step = 1
        while not self._is_at(at):
            start = self.chain.count
            bundled = self._bundles.after(start, self.chain.root, limit)
            if bundled:
                self._keep(range(start, start + len(bundled)), bundled, at)
                step = 1
                continue
            stop = start + step if limit is None else min(start + step, limit)
            if not self._fetch_commits(range(start, stop), at):
                return
            step = min(2 * step, _COMMITS_AT_ONCE)

    def _is_at(self, at: int | str | None) -> bool:
        # Before the first commit the root is "", and is no cut.
        return bool(self.chain.count) and at in (self.chain.root, self.chain.count - 1)

    def _fetch_commits(self, numbers: Sequence[int], at: int | str | None) -> bool:
        """Keep these commits, as far as they are there and before the cut; whether all were."""
        found = at_once(self._remote.checked_commit, numbers, self._remote.settings.transfers_max)
        return self._keep(numbers, found, at)

    def _keep(
        self,
        numbers: Sequence[int],
        found: Sequence[tuple[bytes, Commit] | None],
        at: int | str | None,
    ) -> bool:
        for number, entry in zip(numbers, found, strict=True):
            if entry is None:
                return False
            place = self._remote.place(commit_key(number))
            self._refs += self.chain.adopt(entry[0], place).segments
            if self._kept is not None and self._kept.size == self.chain.count:
                count = self.chain.count
                self._kept.check_root(self.chain.tree.root(), count, self._remote.url)
            if self._is_at(at):
                return False
        return True

    # Guides of the segments

    def fetch_snapshots(self) -> None:
        """Keep the index snapshots that the last commit to name one stands on."""
        keep_snapshots(self._remote, self._root, self._store_id, self.chain)

    def catalog(self) -> Catalog:
        """A view of the store whose blocks come from the remote; the guides of all are here then.

        The folder says from then on that segments may live in the remote only.
        """
        put_marker(self._root, self._remote.url)
        shelf = GuideShelf(self._root, self._store_id)
        fetcher = Fetcher(self._remote, shelf, self._places.cache)
        catalog = Catalog(
            self._root, self._store_id, self._remote.settings, fetcher, keys=self._keys
        )
        catalog.load_commits()
        segments = catalog.view.segments
        new = [segment for segment in segments if shelf.find(segment.ref) is None]
        at_once(Segment.load, new, self._remote.settings.transfers_max)
        if catalog.commits.count:
            Snapshots(catalog).keep()
        return catalog

    # Segments

    def fetch_segments(self, refs: Iterable[SegmentRef]) -> int:
        """Keep these segments; their bytes in all."""
        wanted = list(refs)
        meter = Meter(self._step, self._report)
        meter.expect(len(wanted), sum(ref.bytes for ref in wanted))

        def fetch(ref: SegmentRef) -> None:
            self._fetch_segment(ref, ahead, syncs)
            meter.add(1, ref.bytes)

        threads = self._remote.settings.transfers_max
        with Pool(threads, "transit-ahead") as ahead, Pool(threads, "transit-sync") as syncs:
            at_once(fetch, wanted, threads)
        return sum(ref.bytes for ref in wanted)

    def _fetch_segment(self, ref: SegmentRef, ahead: Pool, syncs: Pool) -> None:
        folder = self._places.segments
        name = segment_name(bytes.fromhex(ref.digest))
        path = self._places.segment(ref.digest)
        here = file_size(path)
        if here is not None:
            if here == ref.bytes and _digest_of(path, here) == ref.digest:
                return
            remove(path)
        # Of an earlier try; more may have been erased since.
        remove(self._places.redacted_segment(ref.digest))
        found = ""
        for _ in range(TRIES):
            file = NewFile(folder)
            try:
                found = self._copy(ref, file, ahead, syncs)
                if found == ref.digest:
                    file.publish(name)
                    return
            finally:
                file.discard()
            if found == _ABSENT and (left := self.fetch_left(ref)) is not None:
                make_folder(self._places.redacted)
                put(self._places.redacted, name, left)
                return
        raise CorruptError(
            self._remote.place(segment_key(ref.digest)), expected=ref.digest, found=found
        )

    def fetch_left(self, ref: SegmentRef) -> bytes | None:
        """What is left of a segment, checked to its last chunk; None when there is none."""
        key = redacted_key(ref.digest)
        size = self._remote.store.size(key)
        data = None if size is None else self._remote.store.get(key, size)
        if data is None:
            return None
        check_left(MemoryBytes(self._remote.place(key), data), ref, self._store_id, self._keys)
        return data

    def _copy(self, ref: SegmentRef, file: NewFile, ahead: Pool, syncs: Pool) -> str:
        """Write the object's bytes to `file`; their digest, or what is wrong with them.

        While a piece is digested and written, `ahead` already fetches the next; while that one
        comes, `syncs` brings those before to the disk, so that little is left for the end.
        """
        digester = Digester()
        key, get = segment_key(ref.digest), self._remote.store.get_range

        def fetch(position: int) -> Future[bytes] | None:
            size = min(READ_BYTES, ref.bytes - position)
            return ahead.submit(partial(get, key, position, size)) if size > 0 else None

        # Piece by piece: what a commit says of an object's size may be any number.
        position, coming = 0, fetch(0)
        synced: Future[None] | None = None
        while coming is not None:
            following = fetch(position + READ_BYTES)
            try:
                data = coming.result()
            except NotFoundError:
                return _ABSENT
            if len(data) != min(READ_BYTES, ref.bytes - position):
                return f"{position + len(data)} bytes"
            digester.update(data)
            file.write(data)
            if following is not None:
                if synced is not None:
                    synced.result()
                synced = syncs.submit(file.sync)
            position, coming = position + len(data), following
        if synced is not None:
            # What failed once might pass the next time, with the bytes gone.
            synced.result()
        return digester.digest().hex()


def keep_snapshots(remote: Remote, root: str, store_id: bytes, chain: CommitChain) -> None:
    """Keep in folder `root` the index snapshots that the last commit to name one stands on."""
    indexed = chain.indexed
    if indexed is None or indexed.index is None:
        return
    name = indexed.index.digest

    def fetch(layer: Layer) -> None:
        fetch_snapshot(root, layer.digest.hex(), layer.bytes, remote)

    # Snapshots hold nothing that is not elsewhere: a damaged one is done without.
    with contextlib.suppress(FormatError):
        data = fetch_snapshot(root, name, indexed.index.bytes, remote)
        layers = decode_snapshot(data, store_id, name).layers
        here = Places(root)
        new = [layer for layer in layers if file_size(here.snapshot(layer.digest.hex())) is None]
        at_once(fetch, new, remote.settings.transfers_max)


def _digest_of(path: str, size: int) -> str:
    digester = Digester()
    with File.open(path) as file:
        for position in range(0, size, READ_BYTES):
            digester.update(file.read_at(position, READ_BYTES))
    return digester.digest().hex()


def needed_segments(catalog: Catalog, names: Sequence[str], url: str) -> list[SegmentRef]:
    """The segments that hold the history of these streams, and the lineage they depend on.

    A name that ends in `/` and begins with `$` stands for all streams of a layer. `NotFoundError`
    for a name that no stream has.
    """
    layers = {name[1:-1] for name in names if name.startswith("$") and name.endswith("/")}
    wanted = list(_streams_of(catalog, layers)) if layers else []
    for name in names:
        if name[1:-1] not in layers:
            found = catalog.find(name)
            if found is None:
                raise NotFoundError(f"{url}: there is no stream {name!r}")
            wanted.append(found)
    needed: dict[int, int] = {LINEAGE_ID: 0}
    for stream in wanted:
        needed[stream] = catalog.state(stream).next_offset
    waiting = [-stream for stream in needed]
    heapify(waiting)
    # Highest id first: how much of a stream is needed is known when its turn comes, once.
    while waiting:
        stream = -heappop(waiting)
        for source, stop in _sources(catalog.record(stream), needed[stream]):
            if source not in needed:
                heappush(waiting, -source)
            needed[source] = max(needed.get(source, 0), stop)
    streams = sorted(needed)
    # What became of them is found by these keys, in the newest segment that has one.
    lives = [life_key(stream) for stream in streams]
    if catalog.keys is not None:
        lives = [*lives, *map(catalog.keys.hidden_key, lives)]
    return [
        segment.ref
        for segment in catalog.view.segments
        if _holds(segment, needed, streams) or any(map(segment.index.find, lives))
    ]


def _streams_of(catalog: Catalog, layers: set[str]) -> Iterator[int]:
    """The streams of some layers; reads the whole lineage."""
    for chunk in catalog.chunks(LINEAGE_ID, 0, catalog.stream_count()):
        for stream, payload in enumerate(chunk.payloads(), chunk.first):
            if layer_of(decode_lineage(payload, stream).name) in layers:
                yield stream


def _sources(record: LineageRecord, stop: int) -> Iterator[tuple[int, int]]:
    """The streams that one descends from, and before which offset their records are in it."""
    if isinstance(record, Branch):
        yield record.parent, min(record.fork + 1, stop)
    elif isinstance(record, Merge):
        for source, first, count in triples(record.plan):
            yield source, first + count
        # The parents are part of its lineage, whether or not their records are in it.
        for parent, _ in record.parents:
            yield parent, 0


def _holds(segment: Segment, needed: dict[int, int], streams: list[int]) -> bool:
    """Whether records of `needed` are in a segment, or the lineage of one of the same `streams`."""
    index = segment.index
    for row in index.rows(LINEAGE_ID):
        place = bisect_left(streams, index.firsts[row])
        if place < len(streams) and streams[place] < index.stop(row):
            return True
    return any(
        index.firsts[row] < stop for stream, stop in needed.items() for row in index.rows(stream)
    )
