"""Sealed segments, read block by block.

Owns segments' footers and indexes in memory. Everything read is checked: the footer against the
digest the commit names, each block against its checksum. A segment's index is loaded
when first needed.
"""

from __future__ import annotations

import os
import threading

from transit.disk import File, file_size
from transit.errors import CorruptError, NotFoundError
from transit.format.commit import SegmentRef
from transit.format.names import SEGMENT_DIR, segment_name
from transit.format.record import Chunk
from transit.format.segment import (
    HEADER,
    TAIL,
    Footer,
    SegmentIndex,
    check_header,
    decode_block,
    decode_footer,
    decode_tail,
)
from transit.log.blocks import BlockCache, DecodedBlock


class Segment:
    """One sealed segment of the local store."""

    def __init__(self, root: str, ref: SegmentRef, store_id: bytes, cache: BlockCache) -> None:
        self.ref = ref
        self.path = os.path.join(root, SEGMENT_DIR, segment_name(bytes.fromhex(ref.digest)))
        self._store_id = store_id
        self._cache = cache
        self._loaded: tuple[Footer, SegmentIndex] | None = None
        self._lock = threading.Lock()

    def check_present(self) -> None:
        """`CorruptError` unless the file is there with the size the commit names."""
        size = file_size(self.path)
        if size != self.ref.bytes:
            found = "no file" if size is None else f"{size} bytes"
            raise CorruptError(self.path, expected=f"{self.ref.bytes} bytes", found=found)

    def _open(self) -> File:
        # Opened for each read: a store has more segments than a process may have open files.
        try:
            return File.open(self.path)
        except NotFoundError:
            raise CorruptError(self.path, expected="a segment", found="no file") from None

    def _load(self) -> tuple[Footer, SegmentIndex]:
        with self._lock:
            if self._loaded is None:
                self.check_present()
                file = self._open()
                footer = self._read_footer(file)
                raw = self._read_block(file, footer, len(footer.blocks) - 1)
                self._loaded = (footer, SegmentIndex(raw, f"{self.path}, index"))
                file.close()
        return self._loaded

    def _read_footer(self, file: File) -> Footer:
        check_header(file.read_at(0, HEADER.size), self._store_id, self.path)
        tail_at = self.ref.bytes - TAIL.size
        stated, size = decode_tail(file.read_at(tail_at, TAIL.size), self.path)
        if size > tail_at - HEADER.size:
            raise CorruptError(f"{self.path}, tail", expected="a footer size", found=str(size))
        if stated.hex() != self.ref.footer:
            raise CorruptError(f"{self.path}, footer", expected=self.ref.footer, found=stated.hex())
        footer = decode_footer(file.read_at(tail_at - size, size), stated, self.path)
        last = footer.blocks[-1]
        if footer.store_id != self._store_id or last.position + last.stored_bytes != tail_at - size:
            raise CorruptError(
                f"{self.path}, footer", expected="blocks up to the footer", found="others"
            )
        return footer

    def _read_block(self, file: File, footer: Footer, number: int) -> bytes:
        entry = footer.blocks[number]
        return decode_block(entry, file.read_at(entry.position, entry.stored_bytes), self.path)

    def read_stored(self, number: int) -> bytes:
        """The stored bytes of block `number`, unchecked."""
        entry = self.footer.blocks[number]
        file = self._open()
        stored = file.read_at(entry.position, entry.stored_bytes)
        file.close()
        return stored

    @property
    def index(self) -> SegmentIndex:
        """Where the segment's chunks are, and which names it introduces."""
        return (self._loaded or self._load())[1]

    @property
    def footer(self) -> Footer:
        """The segment's blocks."""
        return (self._loaded or self._load())[0]

    def block(self, number: int) -> DecodedBlock:
        """Block `number`, from the cache or the file."""
        key = (self.ref.digest, number)
        block = self._cache.get(key)
        if block is None:
            footer = self.footer
            stored = self.read_stored(number)
            block = DecodedBlock(decode_block(footer.blocks[number], stored, self.path))
            self._cache.put(key, block)
        return block

    def chunk(self, row: int) -> Chunk:
        """The chunk in `row` of the index."""
        index = self.index
        position = index.positions[row]
        block = self.block(index.blocks[row])
        chunk = block.chunks.get(position)
        if chunk is None:
            chunk = Chunk(block.raw, position, f"{self.path}, block {index.blocks[row]}")
            if (chunk.stream, chunk.first, chunk.count) != (
                index.streams[row], index.firsts[row], index.counts[row],
            ):  # fmt: skip
                raise CorruptError(
                    f"{self.path}, block {index.blocks[row]}, byte {position}",
                    expected=f"{index.counts[row]} records of stream {index.streams[row]}",
                    found=f"{chunk.count} of stream {chunk.stream}",
                )
            block.chunks[position] = chunk
        return chunk
