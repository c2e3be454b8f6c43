"""The table of a redacted segment: round trip, every truncation and bit flip, what is refused."""

from __future__ import annotations

import re

import pytest

from transit.errors import CorruptError, UnsupportedVersionError
from transit.format import redacted
from transit.format.redacted import (
    GONE,
    TABLE_TAIL,
    Table,
    check_header,
    decode_table,
    decode_table_tail,
    encode_header,
    encode_table,
)
from transit.format.segment import HEADER, Block, encode_block

STORE = bytes(range(16))
RAWS = [b"a" * 200, b"b" * 100]


def blocks() -> tuple[Block, ...]:
    made, at = [], HEADER.size
    for raw in RAWS:
        block, stored = encode_block(raw, at, None)
        made.append(block)
        at += len(stored)
    return tuple(made)


END = HEADER.size + sum(map(len, RAWS))
DIGESTS = bytes(range(32)) * 5
TABLE = Table(blocks(), [0, GONE, 0, 1], [0, GONE, 100, 0], DIGESTS)


def decoded(data: bytes, end: int = END) -> Table:
    stated, size = decode_table_tail(data[-TABLE_TAIL.size :], "t")
    if size > len(data) - TABLE_TAIL.size:
        raise CorruptError("t", expected=f"{size} bytes", found="fewer")
    return decode_table(data[-TABLE_TAIL.size - size : -TABLE_TAIL.size], stated, end, "t")


def test_a_table_comes_back() -> None:
    found = decoded(encode_table(TABLE))
    assert found.blocks == TABLE.blocks
    assert (list(found.places), list(found.positions)) == (TABLE.places, TABLE.positions)
    assert found.digests == DIGESTS


def test_an_empty_table_is_that_of_a_segment_of_which_nothing_stays() -> None:
    found = decoded(encode_table(Table((), [GONE], [GONE], bytes(32))), HEADER.size)
    assert (found.blocks, list(found.places)) == ((), [GONE])


def test_the_bytes_are_those_of_the_format() -> None:
    data = encode_table(TABLE)
    assert data[:16] == b"\2\0\0\0\4\0\0\0\5\0\0\0\0\0\0\0"
    at = 16 + 2 * 64
    assert data[at : at + 16] == b"\0\0\0\0\xff\xff\xff\xff\0\0\0\0\1\0\0\0"
    assert data[at + 16 : at + 32] == b"\0\0\0\0\xff\xff\xff\xff\x64\0\0\0\0\0\0\0"
    assert data[at + 32 : -TABLE_TAIL.size] == DIGESTS
    assert encode_header(STORE)[:16] == b"TrnstSEG\1\0\0\0\1\0\0\0"
    said = redacted.__doc__ or ""
    assert re.search(rf"-48 +{48}  the original's tail", said)
    assert TABLE_TAIL.size == 40


def test_every_truncation_and_every_flipped_bit_is_refused() -> None:
    data = encode_table(TABLE)
    for size in range(TABLE_TAIL.size, len(data)):
        with pytest.raises(CorruptError):
            decoded(data[len(data) - size :])
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptError):
            decoded(bytes(flipped))


@pytest.mark.parametrize(
    "table",
    [
        Table(blocks(), [0, GONE, 0, 1], [0, 0, 100, 0], DIGESTS),
        Table(blocks(), [0, GONE, 0, 1], [0, GONE, 100, 4], DIGESTS),
        Table(blocks(), [0, GONE, 0, 2], [0, GONE, 100, 0], DIGESTS),
        Table(blocks(), [1, GONE, 0, 1], [0, GONE, 100, 0], DIGESTS),
        Table(blocks(), [0, GONE, 0, 1], [0, GONE, 20, 0], DIGESTS),
        Table(blocks(), [0, GONE, 0, 1], [0, GONE, 180, 0], DIGESTS),
        Table(blocks(), [0, GONE, 0, GONE], [0, GONE, 100, GONE], DIGESTS),
        Table(blocks(), [0], [0], DIGESTS),
        Table(blocks()[1:], [0, GONE], [0, GONE], DIGESTS),
        Table(blocks()[:1], [0, GONE], [0, GONE], DIGESTS),
        Table((), [], [], b""),
    ],
    ids=str,
)
def test_a_table_that_cannot_be_is_refused(table: Table) -> None:
    with pytest.raises(CorruptError):
        decoded(encode_table(table))


def test_a_header_of_something_else_is_refused() -> None:
    right = encode_header(STORE)
    check_header(right, STORE, "h")
    for wrong in (right[:-1], right[:12] + bytes(4) + right[16:], b"X" + right[1:]):
        with pytest.raises(CorruptError):
            check_header(wrong, STORE, "h")
    with pytest.raises(CorruptError):
        check_header(right, bytes(16), "h")
    check_header(encode_header(STORE, encrypted=True), STORE, "h")
    for newer in (b"\1\0\0\0\5\0\0\0", b"\2\0\0\0\1\0\0\0"):
        with pytest.raises(UnsupportedVersionError):
            check_header(right[:8] + newer + right[16:], STORE, "h")
