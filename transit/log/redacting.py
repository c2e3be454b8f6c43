"""Making what is left of a segment once chunks of it are erased.

Owns the bytes of the redacted file: made from the original, or from what was left of it before,
and from nothing that was not checked against the root over the chunks. Each block of the source
becomes one without the chunks that go, compressed anew: a compressed block refers to the bytes of
one chunk in what it says of another.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import NamedTuple

from transit.config import Settings
from transit.errors import CorruptError
from transit.format.digest import digest
from transit.format.envelope import is_envelope
from transit.format.redacted import GONE, Table, encode_header, encode_table
from transit.format.segment import (
    FORMAT_VERSION,
    HEADER,
    TAIL,
    TAIL_MAGIC,
    Block,
    encode_block,
)
from transit.log.redactions import Redacted
from transit.log.segments import Guide, Segment
from transit.log.sizes import row_bytes
from transit.proof.chunks import BY_RECORD, leaves_of, record_leaves
from transit.proof.tree import root_over


class Redaction(NamedTuple):
    """What is left of a segment. records, bytes: that went with it, `bytes` unfolded."""

    data: bytes
    records: int
    bytes: int


def redact(segment: Segment, gone: Container[int], settings: Settings) -> Redaction:
    """The file that stands for `segment` without the chunks in the rows `gone` of its index.

    Rows that are gone already stay so. `CorruptError` when its bytes are not what the commit says.
    """
    index, left = segment.index, segment.redacted()
    level = settings.compression_level if settings.compression == "zstd" else None
    source = _original(segment, gone) if left is None else _from_left(left, gone)
    blocks: list[Block] = []
    encrypted = is_envelope(segment.stored_chunk(_any_row(segment, left)), 0)
    parts = [encode_header(segment.footer.store_id, encrypted=encrypted)]
    places, positions = [GONE] * len(index.streams), [GONE] * len(index.streams)
    digests: list[bytes] = []
    at = HEADER.size
    for kept, found in source:
        digests += found
        if not kept:
            continue
        position = 0
        for row, data in kept:
            places[row], positions[row] = len(blocks), position
            position += len(data)
        block, stored = encode_block(b"".join(data for _, data in kept), at, level)
        blocks.append(block)
        parts.append(stored)
        at += len(stored)
    _check_root(segment, digests)
    guide = segment.guide()
    table = Table(tuple(blocks), places, positions, b"".join(digests))
    parts += [guide.index, encode_table(table), guide.footer, _tail(guide)]
    went = [row for row in range(len(places)) if places[row] == GONE and _was(left, row)]
    return Redaction(
        b"".join(parts),
        sum(index.counts[row] for row in went),
        sum(row_bytes(segment.footer, index, row) for row in went),
    )


def _was(left: Redacted | None, row: int) -> bool:
    return left is None or left.has(row)


_Block = tuple[list[tuple[int, bytes]], list[bytes]]
"""The rows of a block that stay, with their bytes; and the digests of all rows of it, in order."""


def _original(segment: Segment, gone: Container[int]) -> Iterator[_Block]:
    index, row = segment.index, 0
    for number in range(len(segment.footer.blocks) - 1):
        kept: list[tuple[int, bytes]] = []
        digests: list[bytes] = []
        while row < len(index.streams) and index.blocks[row] == number:
            data = segment.stored_chunk(row)
            digests += _digests(segment, row, data)
            if row not in gone:
                kept.append((row, data))
            row += 1
        yield kept, digests


def _from_left(left: Redacted, gone: Container[int]) -> Iterator[_Block]:
    table = left.table
    rows = range(len(table.places))
    start = 0
    for number in range(len(table.blocks) + 1):
        kept: list[tuple[int, bytes]] = []
        digests: list[bytes] = []
        # Rows that are gone already go with the block after them, or with none at the end.
        while start < len(rows) and (table.places[start] in (number, GONE)):
            digests.append(left.digests_of(start))
            if left.has(start) and start not in gone:
                kept.append((start, left.stored_chunk(start)))
            start += 1
        yield kept, digests


def _digests(segment: Segment, row: int, data: bytes) -> list[bytes]:
    if segment.index.streams[row] in BY_RECORD:
        return [leaf[-32:] for leaf in record_leaves(segment.chunk(row))]
    return [digest(data)]


def _any_row(segment: Segment, left: Redacted | None) -> int:
    """A row whose chunk is there."""
    if left is None:
        return 0
    return next(row for row in range(len(left.table.places)) if left.has(row))


def _check_root(segment: Segment, digests: list[bytes]) -> None:
    found = root_over(leaves_of(segment.index, b"".join(digests))).hex()
    if found != segment.ref.chunks:
        raise CorruptError(
            f"{segment.path}, chunks",
            expected=f"the root {segment.ref.chunks}",
            found=f"the root {found}",
        )


def _tail(guide: Guide) -> bytes:
    return TAIL.pack(digest(guide.footer), len(guide.footer), FORMAT_VERSION, TAIL_MAGIC)
