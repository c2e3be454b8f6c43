"""One WAL file: frames appended at its tail, read back by position, and indexed by stream.

Owns the file, its tail, how much of it is durable, and the positions of each stream's chunks.
Leaves locking to the writer, and judging damaged bytes to `transit.log.recover`.

Invariants: bytes before `tail` are valid frames; bytes before `durable` are synced; `durable` is
never more than `tail`. Where it is not 0, the file's header and name are durable, and all files
before it: who syncs a file syncs those first (`transit.log.syncs`). After an end frame nothing is
written.
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from transit.config import KIB, MIB
from transit.disk import File, sync_folder
from transit.errors import CorruptError
from transit.format.checksum import checksum, wal_seed
from transit.format.envelope import Opener
from transit.format.frame import (
    DATA,
    END,
    ENVELOPES,
    WAL_HEADER,
    FrameHeader,
    body_is_valid,
    decode_frame_header,
    decode_wal_header,
    encode_wal_header,
    frame_chunks,
    join_frame,
)
from transit.format.life import Life
from transit.format.names import wal_name
from transit.format.record import Chunk
from transit.keyring.envelopes import StoreKeys
from transit.log.blocks import BlockCache, DecodedBlock
from transit.log.clock import EARLIEST
from transit.log.gather import gather
from transit.log.stated import stated_beyond

READ_BYTES: Final = 4 * KIB
SLAB_BYTES: Final = MIB
ALLOCATE_BYTES: Final = MIB
_UINT64: Final = 2**64 - 1
# Frames of more streams than this are kept: after one stream a reader soon reads the next.
CACHED_CHUNKS: Final = 8
_NEVER: Final = sys.maxsize
# After a file's path in the cache: runs of frames by where the first begins.
_RUNS: Final = ", runs"


@contextmanager
def _closed_if_it_fails(file: File) -> Iterator[None]:
    """Close `file` on an error in the block: a caller that keeps the error would keep it open."""
    try:
        yield
    except BaseException:
        file.close()
        raise


class StreamChunks:
    """Where one stream's chunks are in one WAL file: first offsets and frame positions."""

    __slots__ = ("firsts", "positions")

    def __init__(self, first: int, position: int) -> None:
        self.firsts = array("Q", (first,))
        self.positions = array("Q", (position,))


class Wal:
    """An open WAL file.

    `index` maps stream id to its chunks; `names` to all streams made with a name, `uids` to the
    stream of a uid, `merges` to that of a merge, `lives` from a stream's id to the records about
    it, with their offsets.
    """

    def __init__(
        self,
        file: File,
        store_id: bytes,
        first_lsn: int,
        cache: BlockCache,
        keys: Opener | None = None,
    ) -> None:
        self.file = file
        self._cache = cache
        # What its envelopes are opened with; `needs`: what its header says of them.
        self.keys = keys
        self.needs = 0
        self._store_id = store_id
        self.first_lsn = first_lsn
        # From which LSN on records before the first were not known to be durable when it was made.
        self.unsynced_from = first_lsn
        self.seed = wal_seed(store_id, first_lsn)
        self.tail = WAL_HEADER.size
        self.durable = 0
        self.next_lsn = first_lsn
        self.ended = False
        # Whether nothing is to be said by a mark when the store is closed.
        self.marked = True
        # Whether its header or a mark says that all files before it are durable.
        self.vouches = True
        self.index: dict[int, StreamChunks] = {}
        # When its first and its last record were written, if it has any.
        self.begun = self.written = EARLIEST
        self.names: dict[str, tuple[int, ...]] = {}
        self.uids: dict[str, int] = {}
        self.merges: dict[str, int] = {}
        self.lives: dict[int, list[tuple[int, Life]]] = {}
        self.born = time.monotonic()
        # The last frame a scan decoded, which is the one a follower reads next.
        self.recent: tuple[int, list[Chunk]] = (-1, [])
        # Whether a scan stopped at bytes that are not zeros.
        self.stopped = False
        # Whether the index may hold more than there is before the tail.
        self.loose = False
        self._allocated = 0

    @classmethod
    def create(
        cls,
        folder: str,
        store_id: bytes,
        first_lsn: int,
        unsynced_from: int,
        cache: BlockCache,
        keys: StoreKeys | None = None,
    ) -> Wal:
        """Make a WAL file; nothing of it is synced, not even its name.

        unsynced_from: the LSN from which on records before the first may not be durable.
        """
        path = os.path.join(folder, wal_name(first_lsn))
        file = File.create(path)
        with _closed_if_it_fails(file):
            needs = 0 if keys is None else keys.wal_needs
            head = encode_wal_header(store_id, first_lsn, first_lsn - unsynced_from, needs)
            file.write_at(0, head)
            wal = cls(file, store_id, first_lsn, cache, keys)
            wal.needs = needs
            wal._take_unsynced_from(unsynced_from)
            return wal

    @classmethod
    def open(
        cls,
        folder: str,
        store_id: bytes,
        first_lsn: int,
        cache: BlockCache,
        keys: StoreKeys | None = None,
        *,
        write: bool,
    ) -> Wal | None:
        """Open a WAL file; None when it was never finished: nothing in it was ever durable.

        `CorruptError` when its header is damaged, and for the file of another store.
        """
        path = os.path.join(folder, wal_name(first_lsn))
        if first_lsn > _UINT64:
            raise CorruptError(path, expected=f"an LSN up to {_UINT64}", found=f"{first_lsn}")
        file = File.open(path, write=write)
        with _closed_if_it_fails(file):
            wal = cls(file, store_id, first_lsn, cache, keys)
            # Asked before it is read, because its writer may write both in between.
            bare = file.size <= WAL_HEADER.size
            head = file.read_at(0, WAL_HEADER.size)
            try:
                found = decode_wal_header(head, path)
            except CorruptError:
                if bare or wal._is_torn(head):
                    file.close()
                    return None
                raise
            if found[:2] != (store_id, first_lsn):
                raise CorruptError(
                    path,
                    expected=f"store {store_id.hex()}, LSN {first_lsn}",
                    found=f"store {found.store_id.hex()}, LSN {found.first_lsn}",
                )
            wal.needs = found.needs
            wal._take_unsynced_from(first_lsn - found.unsynced)
            return wal

    def state_needs(self, needs: int) -> None:
        """Say in the header of a file without records what a reader of it must know. Synced."""
        unsynced = self.first_lsn - self.unsynced_from
        head = encode_wal_header(self._store_id, self.first_lsn, unsynced, needs)
        self.file.write_at(0, head)
        self.file.sync_data()
        self.needs = needs

    def _is_torn(self, head: bytes) -> bool:
        """Whether a header that is not valid, with more behind it, may never have been durable.

        A write that never finished leaves a zero at its end, and no frame says otherwise.
        """
        if head[-1] or checksum(head[:-8]) == int.from_bytes(head[-8:], "little"):
            return False
        return stated_beyond(self.file, self.seed, 0) is None

    def _take_unsynced_from(self, lsn: int) -> None:
        self.unsynced_from = lsn
        self.vouches = self.marked = lsn == self.first_lsn

    @property
    def path(self) -> str:
        """Where the file is."""
        return self.file.path

    @property
    def streams(self) -> Collection[int]:
        """The ids of the streams that have records in it."""
        return self.index.keys()

    def encode(self, parts: list[bytes], records: int, written: int, kind: int = DATA) -> bytearray:
        """The frame around the joined `parts`, written at that time, that may go to the tail."""
        return join_frame(
            parts, self.tail, self.next_lsn, self.durable, records, kind, written, self.seed
        )

    def append(self, parts: list[bytes], records: int, written: int, kind: int = DATA) -> int:
        """Write one frame around the joined `parts` at the time `written`; its position.

        Nothing is synced. On an error the tail has not moved, and what was half written lies beyond
        it.
        """
        position = self.tail
        frame = self.encode(parts, records, written, kind)
        self.file.write_at(position, frame)
        self.advance(position + len(frame), records, kind, written)
        return position

    def advance(self, tail: int, records: int, kind: int, written: int) -> None:
        """Take note of a frame that ends at `tail`."""
        if kind == DATA:
            if self.next_lsn == self.first_lsn:
                self.begun = written
            self.written = written
        self.tail = tail
        self.next_lsn += records
        self.marked = kind != DATA
        self.ended = kind == END

    def retreat(self, header: FrameHeader) -> None:
        """Forget the last frame, which is to be taken up once more."""
        self.loose = True
        self.tail, self.next_lsn, self.ended = header.position, header.lsn, False

    def drop_loose(self) -> None:
        """Take frames beyond the tail out of the index, which an exception may have left in it."""
        for stream, chunks in list(self.index.items()):
            count = bisect_left(chunks.positions, self.tail)
            if count:
                # In this order, for readers without a lock.
                del chunks.firsts[count:]
                del chunks.positions[count:]
            else:
                del self.index[stream]
        self.loose = False

    def note(self, stream: int, first: int, position: int) -> None:
        """Index the chunk of `stream` that starts at offset `first` in the frame at `position`."""
        chunks = self.index.get(stream)
        # Readers look without a lock: what they find must have a row, and a row a position.
        if chunks is None:
            self.index[stream] = StreamChunks(first, position)
        else:
            chunks.positions.append(position)
            chunks.firsts.append(first)

    def note_all(self, chunks: Iterable[tuple[int, int]], position: int) -> None:
        """`note` each of `chunks`, (stream, first offset), of the frame at `position`."""
        for stream, first in chunks:
            self.note(stream, first, position)

    def sync(self) -> None:
        """Make everything before the tail of this moment durable, the file's name too.

        All files before it are durable.
        """
        target = self.tail
        self.file.sync_data()
        if not self.durable:
            sync_folder(os.path.dirname(self.path))
        self.durable = max(self.durable, target)

    @property
    def wants_space(self) -> bool:
        """Whether the file's size is so near the tail that it should be extended."""
        return (
            self._allocated >= 0
            and not self.ended
            and self.tail + ALLOCATE_BYTES // 4 > self._allocated
        )

    def allocate(self) -> None:
        """Extend the file beyond its tail, so that a sync need not write the size.

        For the one writer, and not while it appends.
        """
        start = max(self._allocated, self.tail)
        done = self.file.allocate(start, ALLOCATE_BYTES)
        self._allocated = start + ALLOCATE_BYTES if done else -1

    def cut(self) -> None:
        """Drop every byte after the tail: torn ones, or space that was reserved and not used."""
        self.file.truncate(self.tail)
        self._allocated = 0

    def frame_at(self, position: int, size: int = READ_BYTES) -> tuple[FrameHeader, bytes]:
        """The valid frame at `position`, which the index names; reads `size` bytes at first."""
        data = self.file.read_at(position, size)
        header = decode_frame_header(data, 0, position, self.seed)
        if header is not None and len(data) < header.stop - position <= self.file.size - position:
            data = self.file.read_at(position, header.stop - position)
        if header is None or not body_is_valid(header, data, 0, self.seed):
            raise CorruptError(
                f"{self.path}, byte {position}", expected="a valid frame", found="damaged bytes"
            )
        return header, data

    def chunk(self, stream: int, row: int) -> Chunk:
        """The chunk in `row` of the stream's index."""
        # Reading a large frame again for each of its records would cost more than all.
        return self._chunk_at(stream, self.index[stream].positions[row], READ_BYTES, READ_BYTES)

    def _chunk_at(self, stream: int, position: int, size: int, cached_from: int) -> Chunk:
        """The stream's chunk in the frame at `position`; reads `size` bytes at first.

        Frames of many streams, and those larger than `cached_from` bytes, are kept in the cache.
        """
        key = (self.path, position)
        block = self._cache.get(key)
        chunk = block.chunks.get(stream) if block is not None else None
        if chunk is not None:
            return chunk
        header, data = self.frame_at(position, size)
        place = f"{self.path}, frame at {position}"
        found = frame_chunks(header, data, 0, place, self.keys)
        chunks = {chunk.stream: chunk for chunk in found}
        if len(chunks) > CACHED_CHUNKS or header.body_bytes > cached_from:
            apart = sum(len(chunk.data) for chunk in found if chunk.data is not data)
            block = DecodedBlock(data, apart)
            block.chunks = chunks
            self._cache.put(key, block)
        if stream not in chunks:
            raise CorruptError(place, expected=f"records of stream {stream}", found="none")
        return chunks[stream]

    def row_of(self, stream: int, offset: int) -> int:
        """The row whose chunk holds `offset` of `stream`; -1 when this file starts after it."""
        chunks = self.index.get(stream)
        return bisect_right(chunks.firsts, offset) - 1 if chunks is not None else -1

    def chunks(self, stream: int, row: int) -> Iterator[Chunk]:
        """The chunks of `stream` from `row` on; runs of frames of one record come as one chunk."""
        index = self.index[stream]
        while row < len(index.positions):
            stop = self._run(index, row)
            if stop - row > 1:
                chunk = self._run_chunk(stream, index, row, stop)
                if chunk is not None:
                    yield chunk
                    row += chunk.count
                    continue
            while row < stop:
                yield self._next_chunk(stream, index, row)
                row += 1

    def _run_chunk(self, stream: int, index: StreamChunks, row: int, stop: int) -> Chunk | None:
        """The rows from `row` on as one chunk, up to `stop` or to where they were read before.

        None when a frame is not valid, or not of one record, and where each is in an envelope.
        """
        if self.needs & ENVELOPES:
            return None
        key = (self.path + _RUNS, index.positions[row])
        block = self._cache.get(key)
        known = block.chunks.get(stream) if block is not None else None
        # Read anew once as many more are there: so a stream is in few chunks however often it is
        # looked at while it grows, and each of its frames is read few times.
        if known is not None and known.count * 2 > stop - row:
            return known
        run = index.positions[row : stop + 1]
        chunk = gather(self.file, self.seed, stream, index.firsts[row], run)
        if chunk is not None:
            block = DecodedBlock(chunk.data)
            block.chunks[stream] = chunk
            self._cache.replace(key, block)
        return chunk

    def _next_chunk(self, stream: int, index: StreamChunks, row: int) -> Chunk:
        position = index.positions[row]
        recent, known = self.recent
        if recent == position:
            return next(chunk for chunk in known if chunk.stream == stream)
        # Where the stream's next frame starts is often where this one ends.
        following = index.positions[row + 1 : row + 2]
        size = following[0] - position if following else READ_BYTES
        size = min(max(size, READ_BYTES), SLAB_BYTES)
        return self._chunk_at(stream, position, size, _NEVER)

    def _run(self, index: StreamChunks, row: int) -> int:
        """One past the last of the rows from `row` on that are of one record each, or `row + 1`.

        The row after a run is never part of it: where it starts tells how far to read.
        """
        firsts, positions = index.firsts, index.positions
        stop = bisect_right(positions, positions[row] + SLAB_BYTES, row, len(firsts)) - 1
        while stop > row + 1 and firsts[stop] - firsts[row] != stop - row:
            stop = (row + stop) // 2
        return max(stop, row + 1)
