"""Sealed segments, read block by block, from this folder or from a remote.

A segment that some chunks were erased from is read from what is left of it, in the same way
(`transit.log.redactions`). Owns segments' footers and indexes in memory. Everything read is
checked: the footer against the digest the commit names, each block against its checksum. A
segment's index is loaded when first needed.
"""

from __future__ import annotations

import threading
from typing import Protocol

import msgspec

from transit.disk import File, file_size
from transit.errors import CorruptError, NotFoundError
from transit.format.commit import SegmentRef
from transit.format.envelope import Opener, chunk_at, end_of, is_envelope, unfolded_bytes
from transit.format.names import Places
from transit.format.record import CHUNK_BEGIN, Chunk
from transit.format.segment import (
    HEADER,
    TAIL,
    Block,
    Footer,
    SegmentIndex,
    check_header,
    decode_block,
    decode_footer,
    decode_tail,
)
from transit.format.snapshot import SnapshotSegment, covered_by
from transit.guards import leaf
from transit.log.blocks import BlockCache, DecodedBlock
from transit.log.redactions import Bytes, Redacted, local_bytes, read_parts


class Guide(msgspec.Struct, frozen=True):
    """What a reader needs to find a segment's blocks, as stored: its footer and its index block."""

    footer: bytes
    index: bytes


class Elsewhere(Protocol):
    """Where the segments are that are not in the store's own folder. Safe for threads.

    Each call raises `StoreUnavailableError` when it cannot tell now, `RetentionGapError` when no
    remote is attached that could, `CorruptError` when the segment cannot be anywhere else or is not
    what the commit says.
    """

    def check(self, ref: SegmentRef) -> None:
        """Raise unless the segment may be there."""

    def guide(self, ref: SegmentRef) -> Guide:
        """The segment's footer and index; the footer's digest is checked by the caller."""

    def stored(self, ref: SegmentRef, footer: Footer, number: int) -> bytes:
        """The stored bytes of block `number`, whose BLAKE3 is the one the footer states."""

    def read(self, ref: SegmentRef, position: int, size: int) -> bytes:
        """Bytes of the segment's file, unchecked; fewer only at its end."""

    def redacted(self, ref: SegmentRef) -> Bytes | None:
        """What is left of the segment; None where there is nothing, or not to be had."""


class Segment:
    """One sealed segment of a store, which commit number `commit` added."""

    def __init__(
        self,
        root: str,
        ref: SegmentRef,
        commit: int,
        store_id: bytes,
        cache: BlockCache,
        elsewhere: Elsewhere,
        opener: Opener | None = None,
    ) -> None:
        self.ref = ref
        # What opens its envelopes; None where nobody has keys.
        self.opener = opener
        self.commit = commit
        self.path = Places(root).segment(ref.digest)
        self._root = root
        self._store_id = store_id
        self._cache = cache
        self._elsewhere = elsewhere
        # Whether its header says so, once it was looked at.
        self._encrypted: bool | None = None
        self._loaded: tuple[Footer, SegmentIndex] | None = None
        # What is left of it, once the original was found to be nowhere.
        self._redacted: Redacted | None = None
        self._lock = threading.Lock()

    @property
    def redacted_path(self) -> str:
        """Where what is left of it is, once chunks were erased."""
        return Places(self._root).redacted_segment(self.ref.digest)

    def check_present(self) -> None:
        """Raise unless the file is here with the size the commit names, or elsewhere."""
        size = file_size(self.path)
        if size is None:
            if self._redacted is None and local_bytes(self.redacted_path) is None:
                self._elsewhere.check(self.ref)
        elif size != self.ref.bytes:
            raise CorruptError(self.path, expected=f"{self.ref.bytes} bytes", found=f"{size} bytes")

    def _open(self) -> File | None:
        # Opened for each read: a store has more segments than a process may have open files.
        try:
            return File.open(self.path)
        except NotFoundError:
            return None

    def load(self) -> tuple[Footer, SegmentIndex]:
        """The segment's blocks and index, read and checked the first time."""
        return leaf(self._lock, self._load)

    def _load(self) -> tuple[Footer, SegmentIndex]:
        if self._loaded is None:
            self._loaded = decode_guide(self.guide(), self.ref, self._store_id, self.path)
        return self._loaded

    def guide(self) -> Guide:
        """The segment's footer and index as they are stored; only the footer's place is checked."""
        self.check_present()
        file = self._open()
        if file is None:
            left = local_bytes(self.redacted_path)
            if left is None:
                return self._elsewhere.guide(self.ref)
            parts = read_parts(left, self.ref, self._store_id)
            return Guide(parts.footer, parts.stored_index)
        with file:
            head = file.read_at(0, HEADER.size)
            self._encrypted = check_header(head, self._store_id, self.path)
            tail_at = self.ref.bytes - TAIL.size
            size = footer_bytes(file.read_at(tail_at, TAIL.size), self.ref, self.path)
            footer = file.read_at(tail_at - size, size)
            last = decode_footer(footer, bytes.fromhex(self.ref.footer), self.path).blocks[-1]
            index = file.read_at(last.position, last.stored_bytes)
        return Guide(footer, index)

    def read(self, position: int, size: int) -> bytes:
        """Bytes of the segment's file, unchecked; fewer only at its end."""
        file = self._open()
        if file is None:
            return self._elsewhere.read(self.ref, position, size)
        with file:
            return file.read_at(position, size)

    def _stored(self, number: int, entry: Block) -> bytes | None:
        """The stored bytes of block `number`, checked when they come from elsewhere.

        None where only what is left of the segment is to be had.
        """
        file = self._open()
        if file is not None:
            with file:
                return file.read_at(entry.position, entry.stored_bytes)
        if self._look_for_redacted(local_bytes(self.redacted_path)) is not None:
            return None
        try:
            return self._elsewhere.stored(self.ref, self.footer, number)
        except CorruptError:
            if self._look_for_redacted(self._elsewhere.redacted(self.ref)) is None:
                raise
            return None

    @property
    def left(self) -> Redacted | None:
        """What is left of the segment, as far as a read has found that out; asks nothing."""
        return self._redacted

    def redacted(self) -> Redacted | None:
        """What is left of the segment, here or elsewhere, where the original is nowhere."""
        if self._redacted is not None or file_size(self.path) is not None:
            return self._redacted
        if self._look_for_redacted(local_bytes(self.redacted_path)) is None:
            try:
                self._elsewhere.read(self.ref, 0, 1)
            except CorruptError:
                self._look_for_redacted(self._elsewhere.redacted(self.ref))
        return self._redacted

    def _look_for_redacted(self, found: Bytes | None) -> Redacted | None:
        if found is not None:
            parts = read_parts(found, self.ref, self._store_id)
            self._redacted = Redacted(found, parts, self.ref, self.index, self._cache, self.opener)
        return self._redacted

    def forget_redacted(self) -> None:
        """Look for what is left of the segment anew: more of it was erased."""
        self._redacted = None

    @property
    def index(self) -> SegmentIndex:
        """Where the segment's chunks are, and which names it introduces."""
        return (self._loaded or self.load())[1]

    @property
    def footer(self) -> Footer:
        """The segment's blocks."""
        return (self._loaded or self.load())[0]

    def block(self, number: int) -> DecodedBlock | None:
        """Block `number`, from the cache or the file; None where chunks were erased from the
        segment."""
        key = (self.ref.digest, number)
        block = self._cache.get(key)
        if block is None:
            entry = self.footer.blocks[number]
            stored = self._stored(number, entry)
            if stored is None:
                return None
            raw = decode_block(entry, stored, self.path)
            block = DecodedBlock(raw, unfolded_bytes(raw, self.path))
            self._cache.put(key, block)
        return block

    def chunk(self, row: int) -> Chunk:
        """The chunk in `row` of the index."""
        if self._redacted is not None:
            return self._left(row)
        index = self.index
        position = index.positions[row]
        block = self.block(index.blocks[row])
        if block is None:
            return self._left(row)
        chunk = block.chunks.get(position)
        if chunk is None:
            place = f"{self.path}, block {index.blocks[row]}"
            stated = index.streams[row], index.firsts[row], index.counts[row]
            found = CHUNK_BEGIN.unpack_from(block.raw, position)
            if found != stated:
                raise CorruptError(
                    f"{place}, byte {position}",
                    expected=f"{stated[2]} records of stream {stated[0]}",
                    found=f"{found[2]} of stream {found[0]}",
                )
            if self._encrypted not in (None, is_envelope(block.raw, position)):
                raise CorruptError(
                    f"{self.path}, byte 12",
                    expected="what its chunks are: in envelopes, or not",
                    found="the other",
                )
            chunk = chunk_at(block.raw, position, place, self.opener)
            block.chunks[position] = chunk
        return chunk

    def stored_chunk(self, row: int) -> bytes:
        """The bytes of the chunk in a row as they stand in the unfolded block: an envelope's, too.

        `CorruptError` for a chunk that is not there.
        """
        index, left = self.index, self._redacted
        block = None if left is not None else self.block(index.blocks[row])
        if block is not None:
            position = index.positions[row]
            return block.raw[position : end_of(block.raw, position, self.path)]
        left = self.redacted()
        if left is None:
            raise CorruptError(self.path, expected="a segment", found="no file")
        return left.stored_chunk(row)

    def _left(self, row: int) -> Chunk:
        """A chunk of what is left; once more where more was erased since it was looked at."""
        known = self.redacted()
        if known is None:
            raise CorruptError(self.path, expected="a segment", found="no file")
        try:
            return known.chunk(row)
        except CorruptError:
            self.forget_redacted()
            found = self.redacted()
            if found is None or found.name == known.name:
                raise
        return found.chunk(row)


def footer_bytes(tail: bytes, ref: SegmentRef, place: str) -> int:
    """The footer's size from a segment's last bytes, which must name the footer of `ref`."""
    stated, size = decode_tail(tail, place)
    if size > ref.bytes - TAIL.size - HEADER.size:
        raise CorruptError(f"{place}, tail", expected="a footer size", found=str(size))
    if stated.hex() != ref.footer:
        raise CorruptError(f"{place}, footer", expected=ref.footer, found=stated.hex())
    return size


def decode_guide(
    guide: Guide, ref: SegmentRef, store_id: bytes, place: str
) -> tuple[Footer, SegmentIndex]:
    """The footer, checked against the digest in `ref`, and the index, against the footer's."""
    entry = SnapshotSegment(0, ref, guide.footer, guide.index)
    footer, index = covered_by(entry, place)
    if footer.store_id != store_id:
        raise CorruptError(
            f"{place}, footer", expected=f"store {store_id.hex()}", found=footer.store_id.hex()
        )
    return footer, index
