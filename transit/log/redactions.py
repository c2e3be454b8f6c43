"""Redacted segments, read in the place of their originals.

Owns what is checked when one is read: the table once, against the root over chunks that the commit
has, and each chunk against the table. So a reader that takes a redacted file for the original is
shown what the original held, or an error, whoever wrote the file. What a chunk that is not there
means is for the reader of its stream: see `transit.log.gone`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from transit.disk import File, file_size
from transit.errors import CorruptError, NotFoundError, SealedError
from transit.format.commit import SegmentRef
from transit.format.digest import digest
from transit.format.envelope import Opener, chunk_at, end_of, is_envelope, unfolded_bytes
from transit.format.record import CHUNK_BEGIN, Chunk
from transit.format.redacted import (
    GONE,
    TABLE_TAIL,
    check_header,
    decode_table,
    decode_table_tail,
    leaf_starts,
)
from transit.format.segment import (
    HEADER,
    TAIL,
    Block,
    Footer,
    SegmentIndex,
    decode_block,
    decode_footer,
    decode_index,
    decode_tail,
)
from transit.log.blocks import BlockCache, DecodedBlock
from transit.proof.chunks import BY_RECORD, leaves_of, record_leaves
from transit.proof.tree import root_over

_DIGEST: Final = 32


class Bytes(Protocol):
    """The bytes of a redacted file, wherever it is."""

    place: str
    size: int

    def read(self, position: int, size: int) -> bytes:
        """Bytes of the file, unchecked; fewer only at its end."""

    def stored(self, block: Block) -> bytes:
        """The stored bytes of one of its blocks, unchecked."""


class FileBytes:
    """Those of a file in this folder."""

    def __init__(self, path: str, size: int) -> None:
        self.place = path
        self.size = size

    def read(self, position: int, size: int) -> bytes:
        """See `Bytes.read`."""
        with File.open(self.place) as file:
            return file.read_at(position, size)

    def stored(self, block: Block) -> bytes:
        """See `Bytes.stored`."""
        return self.read(block.position, block.stored_bytes)


class MemoryBytes:
    """Those of a file that is in memory, whole."""

    def __init__(self, place: str, data: bytes) -> None:
        self.place = place
        self.size = len(data)
        self._data = data

    def read(self, position: int, size: int) -> bytes:
        """See `Bytes.read`."""
        return self._data[position : position + size]

    def stored(self, block: Block) -> bytes:
        """See `Bytes.stored`."""
        return self.read(block.position, block.stored_bytes)


def local_bytes(path: str) -> FileBytes | None:
    """Those of the file at `path`; None when there is none."""
    size = file_size(path)
    return None if size is None else FileBytes(path, size)


class Parts(NamedTuple):
    """The parts of a redacted file but its blocks. stored_index: as it is in the file.

    encrypted: whether its header says so; None where that was not looked at.
    """

    footer: bytes
    stored_index: bytes
    table: bytes
    table_digest: bytes
    blocks_end: int
    encrypted: bool | None


def read_parts(source: Bytes, ref: SegmentRef, store_id: bytes | None) -> Parts:
    """The parts of the file that stands for segment `ref`; the footer is the one that it names.

    store_id: None where the footer's is looked at by the caller.
    """
    place, size = source.place, source.size
    if size < HEADER.size + TABLE_TAIL.size + TAIL.size:
        raise CorruptError(place, expected="a redacted segment", found=f"{size} bytes")
    encrypted = None
    if store_id is not None:
        encrypted = check_header(source.read(0, HEADER.size), store_id, place)
    stated, footer_size = decode_tail(source.read(size - TAIL.size, TAIL.size), place)
    if stated.hex() != ref.footer:
        raise CorruptError(f"{place}, footer", expected=ref.footer, found=stated.hex())
    footer_at = size - TAIL.size - footer_size
    if footer_at < HEADER.size + TABLE_TAIL.size:
        raise CorruptError(f"{place}, tail", expected="a footer size", found=str(footer_size))
    footer = source.read(footer_at, footer_size)
    last = decode_footer(footer, stated, place).blocks[-1]
    tail_at = footer_at - TABLE_TAIL.size
    table_digest, table_size = decode_table_tail(source.read(tail_at, TABLE_TAIL.size), place)
    table_at = tail_at - table_size
    index_at = table_at - last.stored_bytes
    if index_at < HEADER.size:
        raise CorruptError(f"{place}, table", expected="a table's size", found=str(table_size))
    index = source.read(index_at, last.stored_bytes)
    if digest(index) != last.digest:
        raise CorruptError(
            f"{place}, byte {index_at}", expected=last.digest.hex(), found="another digest"
        )
    table = source.read(table_at, table_size)
    return Parts(footer, index, table, table_digest, index_at, encrypted)


class Redacted:
    """What is left of one segment, whose index is known. Safe for threads.

    cache: for blocks; None for one of its own.
    """

    def __init__(
        self,
        source: Bytes,
        parts: Parts,
        ref: SegmentRef,
        index: SegmentIndex,
        cache: BlockCache | None = None,
        opener: Opener | None = None,
    ) -> None:
        self._opener = opener
        self._source = source
        self.place = source.place
        self.bytes = source.size
        self.ref = ref
        self.index = index
        self.name = parts.table_digest
        self.parts = parts._replace(table=b"")
        self.table = decode_table(parts.table, parts.table_digest, parts.blocks_end, self.place)
        # Without a cache, room for the block whose chunks are asked for one after another.
        largest = max((block.raw_bytes for block in self.table.blocks), default=0)
        self._cache = BlockCache(3 * largest) if cache is None else cache
        self.starts = leaf_starts(index, BY_RECORD)
        self._check()

    def _check(self) -> None:
        table, index, place = self.table, self.index, f"{self.place}, table"
        if len(table.places) != len(index.streams):
            raise CorruptError(
                place, expected=f"{len(index.streams)} rows", found=str(len(table.places))
            )
        if len(table.digests) != _DIGEST * self.starts[-1]:
            raise CorruptError(
                place,
                expected=f"{self.starts[-1]} digests",
                found=str(len(table.digests) // _DIGEST),
            )
        for stream in BY_RECORD:
            if any(table.places[row] == GONE for row in index.rows(stream)):
                raise CorruptError(place, expected=f"records of stream {stream}", found="none")
        found = root_over(leaves_of(index, table.digests)).hex()
        if found != self.ref.chunks:
            raise CorruptError(
                f"{self.place}, chunks",
                expected=f"the root {self.ref.chunks}",
                found=f"the root {found}",
            )

    def digests_of(self, row: int) -> bytes:
        """The digests of the leaves that a row's chunk is, or was."""
        return self.table.digests[_DIGEST * self.starts[row] : _DIGEST * self.starts[row + 1]]

    @property
    def footer(self) -> Footer:
        """The original's footer."""
        return decode_footer(self.parts.footer, bytes.fromhex(self.ref.footer), self.place)

    def whole(self) -> bytes:
        """All bytes of the file."""
        return self._source.read(0, self.bytes)

    def has(self, row: int) -> bool:
        """Whether the chunk of a row of the index is still there."""
        return self.table.places[row] != GONE

    def chunk(self, row: int) -> Chunk:
        """The chunk of a row of the index; `CorruptError` when it was erased, or is another's."""
        block, number, position = self._there(row)
        chunk = block.chunks.get(position)
        if chunk is None:
            place = f"{self.place}, block {number}"
            self.check_stored(row, block.raw[position : end_of(block.raw, position, place)])
            chunk = chunk_at(block.raw, position, place, self._opener)
            self.check_own(row, chunk)
            block.chunks[position] = chunk
        return chunk

    def stored_chunk(self, row: int) -> bytes:
        """See `Segment.stored_chunk`."""
        block, number, position = self._there(row)
        data = block.raw[position : end_of(block.raw, position, f"{self.place}, block {number}")]
        self.check_stored(row, data)
        return data

    def keys_as_stored(self, keys: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Keys of the index, and what each leads to, as this segment has them."""
        opener = self._opener
        if opener is None or not keys or not self.encrypted:
            return keys
        return [(opener.hidden_key(key), found) for key, found in keys]

    @property
    def encrypted(self) -> bool:
        """Whether its chunks are in envelopes."""
        row = next((row for row in range(len(self.table.places)) if self.has(row)), None)
        return row is not None and is_envelope(self.stored_chunk(row), 0)

    def _there(self, row: int) -> tuple[DecodedBlock, int, int]:
        """The block of a row's chunk, its number, and where the chunk is in it."""
        number, position = self.table.places[row], self.table.positions[row]
        index = self.index
        if number == GONE:
            stop = index.stop(row) - 1
            raise CorruptError(
                self.place,
                expected=f"offsets {index.firsts[row]} to {stop} of stream {index.streams[row]}",
                found="that they were erased, which no record of $names known here says of them",
            )
        return self._block(number), number, position

    def check_stored(self, row: int, data: bytes) -> None:
        """`CorruptError` unless `data` is the chunk of a row, or its envelope.

        Of the store's own streams each record is a leaf: `check_own` looks at those.
        """
        index = self.index
        if self.parts.encrypted not in (None, is_envelope(data, 0)):
            raise CorruptError(
                f"{self.place}, byte 12",
                expected="what its chunks are: in envelopes, or not",
                found="the other",
            )
        wanted = (index.streams[row], index.firsts[row], index.counts[row])
        found = CHUNK_BEGIN.unpack_from(data)
        if found != wanted:
            raise CorruptError(
                f"{self.place}, block {self.table.places[row]}",
                expected=f"{wanted[2]} records of stream {wanted[0]}",
                found=f"{found[2]} of stream {found[0]}",
            )
        if wanted[0] not in BY_RECORD:
            self._check_leaves(row, digest(data))

    def check_own(self, row: int, chunk: Chunk) -> None:
        """`CorruptError` unless the records of `chunk`, if the store's own, are those of a row."""
        if chunk.stream in BY_RECORD:
            self._check_leaves(row, b"".join(leaf[-_DIGEST:] for leaf in record_leaves(chunk)))

    def _check_leaves(self, row: int, found: bytes) -> None:
        index = self.index
        place = f"{self.place}, block {self.table.places[row]}"
        if found != self.digests_of(row):
            raise CorruptError(
                place,
                expected="the chunk that the root over the chunks has",
                found=f"another one of stream {index.streams[row]}",
            )

    def _block(self, number: int) -> DecodedBlock:
        key = (f"{self.ref.digest}, redacted {self.name.hex()}", number)
        block = self._cache.get(key)
        if block is None:
            entry = self.table.blocks[number]
            try:
                stored = self._source.stored(entry)
            except NotFoundError:
                stored = b""
            raw = decode_block(entry, stored, self.place)
            block = DecodedBlock(raw, unfolded_bytes(raw, self.place))
            self._cache.put(key, block)
        return block


def open_left(
    source: Bytes, ref: SegmentRef, store_id: bytes | None, opener: Opener | None = None
) -> Redacted:
    """What is left of segment `ref`; its parts are checked, its chunks when they are read."""
    parts = read_parts(source, ref, store_id)
    footer = decode_footer(parts.footer, bytes.fromhex(ref.footer), source.place)
    index = decode_index(footer, parts.stored_index, source.place)
    return Redacted(source, parts, ref, index, opener=opener)


def check_left(
    source: Bytes, ref: SegmentRef, store_id: bytes, opener: Opener | None = None
) -> None:
    """`CorruptError` unless what is left of segment `ref` is whole, to its last chunk.

    What the store's own streams say is looked at where it can be read.
    """
    left = open_left(source, ref, store_id, opener)
    for row in range(len(left.index.streams)):
        if left.has(row):
            left.stored_chunk(row)
            if left.index.streams[row] in BY_RECORD:
                with suppress(SealedError):
                    left.chunk(row)
