"""Sealing: a WAL file that has ended becomes one segment and one commit, then it is dropped.

Owns segments and commits being made. Runs beside appends and reads: it touches neither the current
WAL file nor the writer's lock.

The order, and what a crash right after leaves:

    WAL synced, and all before it              the WAL
    segment written under a temporary name     the WAL; the next opening removes the other
    segment synced and linked to its digest    the WAL, and a segment no commit names: harmless
    commit linked to its number                the WAL and the segment: opening ignores the WAL
    WAL removed                                the segment
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from operator import add
from types import MappingProxyType
from typing import Final, Protocol

from transit.config import Settings
from transit.disk import NewFile, list_folder, remove, sync_folder
from transit.errors import (
    ClosedError,
    CorruptError,
    PoisonedError,
    SealedError,
    SyncFailedError,
    TransitError,
    say,
)
from transit.format.commit import SegmentRef
from transit.format.digest import Digester, digest
from transit.format.life import Life, life_key
from transit.format.lineage import STORE_OWNER
from transit.format.names import (
    merge_key,
    name_key,
    parse_wal_name,
    segment_name,
)
from transit.format.record import Chunk, Columns, encode_chunk, measure
from transit.format.segment import (
    TAIL,
    Block,
    Extent,
    Footer,
    encode_block,
    encode_footer,
    encode_header,
    encode_index,
)
from transit.format.uid import uid_key
from transit.guards import SEAL, VIEW
from transit.keyring.envelopes import StoreKeys
from transit.locks import Lock, in_place
from transit.log.catalog import Catalog
from transit.log.snapshots import Snapshots
from transit.log.timings import Timings
from transit.log.wal import Wal
from transit.proof.chunks import BY_RECORD, ChunkTree

CHUNK_RECORDS_MAX: Final = 65_536
_NOBODY: Final[Mapping[int, tuple[str, bool]]] = MappingProxyType({})

Piece = tuple[Chunk, int, int]
"""Some records of a chunk, from a place in it to before another."""


class Sealable(Protocol):
    """Records that a segment is made of: those of a WAL file, or others that have its shape."""

    first_lsn: int
    next_lsn: int
    begun: int
    written: int
    names: dict[str, tuple[int, ...]]
    uids: dict[str, int]
    merges: dict[str, int]
    lives: dict[int, list[tuple[int, Life]]]

    @property
    def streams(self) -> Collection[int]:
        """The ids of the streams that have some of them."""

    def chunks(self, stream: int, row: int) -> Iterator[Chunk]:
        """The stream's chunks, from row `row` on."""


class Sealer:
    """Turns ended WAL files into segments; `turns` orders the sealers of a shared store.

    reach: makes a WAL file durable up to a place. Nothing is sealed while `paused` is held.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        epoch: int,
        turns: Lock | None,
        reach: Callable[[Wal, int], None],
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._epoch = epoch
        self._turns = turns
        self._reach = reach
        self._snapshots = Snapshots(catalog)
        self.paused = threading.Lock()
        self._stopped = False
        self.error: TransitError | None = None
        # How long each segment took, with its commit, and how often it failed.
        self.timings = Timings()
        self.failed = 0

    def seal_ended(self) -> None:
        """Seal every WAL file that has ended, oldest first; the WAL stays when anything fails."""
        order = self._catalog.order
        order.check(SEAL)
        order.run(SEAL, self.paused, self._seal_unless_stopped)

    def _seal_unless_stopped(self) -> None:
        if self._stopped:
            raise ClosedError(f"{self._catalog.root}: this store handle is closed")
        if isinstance(self.error, SyncFailedError):
            # Whatever the disk says the next time, it may have dropped what it could not write.
            raise PoisonedError(f"sealing has stopped: {self.error}; open the store again")
        try:
            self._seal_in_place()
            self.error = None
        except TransitError as error:
            self.error = error
            self.failed += 1
            raise

    def _seal_in_place(self) -> None:
        self._catalog.check_place()
        in_place(self._catalog.check_place, self._seal_in_turn)

    def _seal_in_turn(self) -> None:
        if self._turns is None:
            self._seal_all()
            return
        try:
            self._turns.acquire(timeout_s=self._settings.lock_timeout_s)
            self._seal_all()
            self._turns.release()
        except BaseException:
            # Again, where an interrupt kept it from being let go.
            self._turns.release()
            raise

    def _seal_all(self) -> None:
        # With what this process committed too, if it was interrupted before it took note of it.
        self._catalog.load_commits()
        while (wal := self._oldest()) is not None:
            with self.timings.timed():
                self._seal(wal)
        self.drop_covered()

    def stop(self) -> None:
        """Seal nothing more: every later call is told that the handle is closed."""
        with self.paused:
            self._stopped = True

    def drop_covered(self) -> None:
        """Remove the WAL files whose records commits cover, a killed sealer's too."""
        self._catalog.check_place()
        for name in list_folder(self._catalog.places.wal):
            first_lsn = parse_wal_name(name)
            if first_lsn is not None and first_lsn < self._catalog.commits.next_lsn:
                self._catalog.check_place()
                remove(self._catalog.places.wal_file(first_lsn))

    def fail(self, error: BaseException) -> None:
        """Remember an error that was not foreseen; the next explicit seal tries again."""
        self.failed += 1
        self.error = TransitError(f"sealing failed: {say(error)}")

    def _oldest(self) -> Wal | None:
        wals = self._catalog.view.wals
        return wals[0] if wals and wals[0].ended else None

    def _seal(self, wal: Wal) -> None:
        # Appends did not wait for it when the file ended.
        self._reach(wal, wal.tail)
        folder, check_place = self._catalog.places.segments, self._catalog.check_place
        check_place()
        keys, owners = self._sealing_keys(), {}
        if keys is not None:
            owners = {stream: self._owner(stream) for stream in wal.index}
            keys.keyring.current_all(owner for owner, gone in owners.values() if not gone)
        writer = SegmentWriter(
            folder, self._catalog.store_id, self._settings, check_place, keys, owners
        )
        ref = writer.write(wal)
        self._commit(ref, encrypted=keys is not None)

    def _owner(self, stream_id: int) -> tuple[str, bool]:
        """Whose key encrypts a stream, and whether the stream was deleted."""
        if stream_id in BY_RECORD:
            return STORE_OWNER, False
        owner = self._catalog.record(stream_id).owner
        life = None if owner == STORE_OWNER else self._catalog.life(stream_id)
        return owner, life is not None and life.deleted

    def _sealing_keys(self) -> StoreKeys | None:
        """What the next segment is encrypted with; None where it is not.

        `SealedError` where it has to be, and no keyring was given: what is published next would
        be readable.
        """
        catalog = self._catalog
        if catalog.keys is not None and catalog.keys.writes:
            return catalog.keys
        if catalog.commits.encrypted or any(wal.needs for wal in catalog.view.wals):
            raise SealedError(f"{catalog.root}: the store is encrypted; open it with keyring=")
        return None

    def _commit(self, ref: SegmentRef, *, encrypted: bool = False) -> None:
        commit = partial(self._commit_now, ref, encrypted=encrypted)
        self._catalog.order.run(VIEW, self._catalog.changing, commit)

    def _commit_now(self, ref: SegmentRef, *, encrypted: bool) -> None:
        catalog = self._catalog
        index = self._snapshots.take()
        commit = catalog.commits.add((ref,), self._epoch, index, encrypted=encrypted)
        if commit is not None:
            catalog.take_segments(catalog.segments_of(commit))
            return
        # Another process sealed this file; its commit holds the same records.
        catalog.load_commits()
        if catalog.commits.next_lsn <= ref.lsn[1]:
            raise CorruptError(
                catalog.root,
                expected=f"a commit up to LSN {ref.lsn[1]}",
                found=f"one up to {catalog.commits.next_lsn - 1}",
            )


class SegmentWriter:
    """Writes one segment. check_place: as `NewFile` takes it.

    keys: chunks go into envelopes. owners: of each stream who has the key for it, and whether the
    stream was deleted.
    """

    def __init__(
        self,
        folder: str,
        store_id: bytes,
        settings: Settings,
        check_place: Callable[[], None],
        keys: StoreKeys | None = None,
        owners: Mapping[int, tuple[str, bool]] = _NOBODY,
    ) -> None:
        self._keys, self._owners = keys, owners
        self._folder = folder
        self._check_place = check_place
        self._store_id = store_id
        self._block_bytes = settings.block_bytes
        # Envelopes were compressed before they were encrypted; the index is clear.
        self._level = settings.compression_level if settings.compression == "zstd" else None
        self._block_level = self._level if keys is None else None
        self._digester = Digester()
        self._parts: list[bytes] = []
        self._raw_bytes = 0
        self._blocks: list[Block] = []
        self._extents: list[Extent] = []
        self._times = (2**63 - 1, -(2**63))
        self._tree = ChunkTree()

    def write(self, wal: Sealable) -> SegmentRef:
        """The segment of all records in `wal`, synced and linked, as a commit names it."""
        self._file = NewFile(self._folder, self._check_place)
        try:
            self._put(encode_header(self._store_id, encrypted=self._keys is not None))
            for stream_id in sorted(wal.streams):
                self._add_all(stream_id, wal)
            self._end_block()
            self._parts = [encode_index(self._extents, _keys(wal, self._keys))]
            self._block_level = self._level
            self._end_block()
            footer = self._footer(wal)
            self._put(footer)
            name = self._digester.digest()
            if not self._file.publish(segment_name(name)):
                # Sealed before a crash, down to the same bytes; the name may not be synced yet.
                sync_folder(self._folder)
        finally:
            self._file.discard()
        return SegmentRef(
            digest=name.hex(),
            footer=digest(footer[: -TAIL.size]).hex(),
            chunks=self._tree.root(),
            bytes=self._file.size,
            records=wal.next_lsn - wal.first_lsn,
            streams=len(wal.streams),
            lsn=(wal.first_lsn, wal.next_lsn - 1),
            time=self._times,
            written=(wal.begun, wal.written),
        )

    def _add_all(self, stream_id: int, wal: Sealable) -> None:
        """All chunks of a stream."""
        chunks = wal.chunks(stream_id, 0)
        owner, gone = self._owners.get(stream_id, (STORE_OWNER, False))
        if self._keys is not None and gone and self._add_lost(stream_id, owner, wal):
            return
        for pieces in _fill(chunks, self._block_bytes):
            self._add(pieces, owner)

    def _add_lost(self, stream_id: int, owner: str, wal: Sealable) -> bool:
        """What was deleted and whose key was destroyed: not its bytes; whether that is so."""
        assert self._keys is not None
        for chunk in wal.chunks(stream_id, 0):
            first, count, last_written = chunk.first, chunk.count, chunk.last_written
            stored = self._keys.lost(owner, stream_id, first, count, last_written)
            if stored is None:
                return False
            # A hollow chunk has no timestamps: when they were written stands for them.
            self._take(stream_id, first, count, last_written, stored, stored)
            self._times = (
                min(self._times[0], chunk.written_at(0)),
                max(self._times[1], last_written),
            )
        return True

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._digester.update(data)

    def _add(self, pieces: Sequence[Piece], owner: str) -> None:
        """One chunk of `pieces`, which are records of one stream that follow one another."""
        chunk, start, _ = pieces[0]
        columns = columns_of(pieces)
        first, count = chunk.first + start, len(columns.payloads)
        encoded = stored = b"".join(encode_chunk(chunk.stream, first, columns))
        last_written = pieces[-1][0].written_at(pieces[-1][2] - 1)
        if self._keys is not None:
            stored = self._keys.sealed(owner, chunk.stream, first, count, last_written, encoded)
        times = columns.timestamps
        low, high = (times, times) if isinstance(times, int) else (min(times), max(times))
        # Of the store's own streams the records are leaves, of all others what is stored.
        leaf = encoded if chunk.stream in BY_RECORD else stored
        self._take(chunk.stream, first, count, last_written, stored, leaf)
        self._times = (min(self._times[0], low), max(self._times[1], high))

    def _take(
        self, stream: int, first: int, count: int, last_written: int, stored: bytes, leaf: bytes
    ) -> None:
        """Put a chunk, as it is to be stored, into a block, the index and the tree."""
        if self._raw_bytes and self._raw_bytes + len(stored) > self._block_bytes:
            self._end_block()
        self._extents.append(
            Extent(stream, first, last_written, count, len(self._blocks), self._raw_bytes)
        )
        self._tree.add(stream, first, count, leaf)
        self._parts.append(stored)
        self._raw_bytes += len(stored)

    def _end_block(self) -> None:
        if self._parts:
            raw = b"".join(self._parts)
            block, stored = encode_block(raw, self._file.size, self._block_level)
            self._put(stored)
            self._blocks.append(block)
        self._parts = []
        self._raw_bytes = 0

    def _footer(self, wal: Sealable) -> bytes:
        return encode_footer(
            Footer(
                store_id=self._store_id,
                first_lsn=wal.first_lsn,
                last_lsn=wal.next_lsn - 1,
                records=wal.next_lsn - wal.first_lsn,
                time_first=self._times[0],
                time_last=self._times[1],
                written_first=wal.begun,
                written_last=wal.written,
                streams=len(wal.streams),
                blocks=tuple(self._blocks),
            )
        )


def _keys(wal: Sealable, hidden: StoreKeys | None) -> list[tuple[int, int]]:
    names = [(name_key(name), stream) for name, streams in wal.names.items() for stream in streams]
    uids = [(uid_key(uid), stream_id) for uid, stream_id in wal.uids.items()]
    merges = [(merge_key(merge_id), stream_id) for merge_id, stream_id in wal.merges.items()]
    lives = [(life_key(stream), at) for stream, each in wal.lives.items() for at, _ in each]
    found = names + uids + merges + lives
    if hidden is not None:
        found = [(hidden.hidden_key(key), stream) for key, stream in found]
    return sorted(found)


def _fill(chunks: Iterator[Chunk], block_bytes: int) -> Iterator[list[Piece]]:
    """Records of `chunks`, in order, in groups of about `block_bytes` of payload and headers.

    Those of a group have one writer.
    """
    pieces: list[Piece] = []
    room, places = block_bytes, CHUNK_RECORDS_MAX
    for chunk in chunks:
        if pieces and pieces[0][0].writer != chunk.writer:
            yield pieces
            pieces, room, places = [], block_bytes, CHUNK_RECORDS_MAX
        ends = _ends(chunk)
        start = 0
        while start < chunk.count:
            before = ends[start - 1] if start else 0
            stop = min(bisect_right(ends, before + room, start), start + places)
            if stop == start and not pieces:
                # A record larger than a block has a block to itself.
                stop = start + 1
            if stop > start:
                pieces.append((chunk, start, stop))
                room -= ends[stop - 1] - before
                places -= stop - start
                start = stop
            if start < chunk.count or room <= 0 or not places:
                yield pieces
                pieces, room, places = [], block_bytes, CHUNK_RECORDS_MAX
    if pieces:
        yield pieces


def _ends(chunk: Chunk) -> Sequence[int]:
    """Where each record would end if payloads and headers were laid back to back."""
    headers = chunk.encoded_headers()
    if headers is None:
        return chunk.ends
    if isinstance(headers, bytes):
        headers = [headers] * chunk.count
    return list(accumulate(map(add, chunk.sizes(), map(len, headers))))


def columns_of(pieces: Sequence[Piece]) -> Columns:
    """The records of `pieces`, all of one writer, one after another, as they are written."""
    payloads: list[bytes] = []
    timestamps: list[int] = []
    written: list[int] = []
    headers: list[bytes] = []
    for chunk, start, stop in pieces:
        payloads += chunk.payloads(start, stop)
        timestamps.extend(chunk.timestamps[start:stop])
        written.extend(chunk.written[start:stop])
        encoded = chunk.encoded_headers()
        if isinstance(encoded, list):
            headers += encoded[start:stop]
        else:
            headers += [encoded or b"{}"] * (stop - start)
    return Columns(payloads, measure(payloads), timestamps, headers, written, pieces[0][0].writer)
