"""Frames at the limits of what their fields can say."""

from __future__ import annotations

import pytest

import transit.format.frame as module
from transit.errors import CorruptError, InvalidInputError
from transit.format.checksum import checksum, wal_seed
from transit.format.frame import (
    CHECKSUM,
    DATA,
    FRAME,
    FRAME_BYTES,
    FRAME_MAGIC,
    WAL_HEADER,
    WAL_MAGIC,
    decode_frame_header,
    decode_wal_header,
    encode_frame,
    encode_wal_header,
    join_frame,
)

STORE = bytes(range(16))
SEED = wal_seed(STORE, 0)


def join(size: int) -> bytearray:
    return join_frame([b"x" * size, b"yz"], 64, 0, 64, 1, DATA, 0, SEED)


def test_a_body_larger_than_its_field_can_say_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.BODY_BYTES_MAX == 2**32 - 1
    # 4 GiB are too much for a test.
    monkeypatch.setattr(module, "BODY_BYTES_MAX", 1000)
    assert len(join(998)) == FRAME_BYTES + 1000 + 8
    with pytest.raises(InvalidInputError, match="1001 bytes in one frame; it holds 1000"):
        join(999)


def test_what_is_not_bytes_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="payloads must be bytes"):
        join_frame([b"x", "text"], 64, 0, 64, 1, DATA, 0, SEED)  # type: ignore[list-item]


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_header_of_another_size_is_refused_and_its_size_told(size: int) -> None:
    with pytest.raises(CorruptError, match=f"found {size} bytes"):
        decode_wal_header(encode_wal_header(STORE, 0).ljust(65)[:size], "here")


# Bytes whose checksum fits and that are something else all the same


@pytest.mark.parametrize("magic", [b"TRANSWAK", b"TRANSWAM", bytes(8), b"\xff" * 8])
def test_another_magic_is_refused_by_that_name_though_the_checksum_fits(magic: bytes) -> None:
    head = WAL_HEADER.pack(magic, 1, 0, STORE, 0, 0, bytes(8), 0)[:-8]
    data = head + CHECKSUM.pack(checksum(head))
    with pytest.raises(CorruptError) as caught:
        decode_wal_header(data, "here")
    error = caught.value
    assert (error.place, error.expected) == ("here, byte 0", repr(WAL_MAGIC))
    assert error.found == repr(magic)


@pytest.mark.parametrize("zero", [1, 2**32 - 1])
def test_reserved_numbers_are_refused_though_the_checksum_fits(zero: int) -> None:
    for head in (
        WAL_HEADER.pack(WAL_MAGIC, 1, zero, STORE, 0, 0, bytes(8), 0)[:-8],
        WAL_HEADER.pack(WAL_MAGIC, 1, 0, STORE, 0, 0, zero.to_bytes(8, "big"), 0)[:-8],
    ):
        with pytest.raises(CorruptError, match="reserved zeros") as caught:
            decode_wal_header(head + CHECKSUM.pack(checksum(head)), "here")
        assert caught.value.place == "here, byte 12"


@pytest.mark.parametrize("magic", [b"TrFl", b"TrFn", bytes(4), b"\xff" * 4])
def test_a_frame_of_another_magic_is_none_though_its_checksum_fits(magic: bytes) -> None:
    good = encode_frame(b"body", 64, 0, 64, 1, DATA, 0, SEED)
    assert decode_frame_header(good, 0, 64, SEED) is not None
    assert good.startswith(FRAME_MAGIC)
    head = magic + good[4 : FRAME.size]
    data = head + CHECKSUM.pack(checksum(head, SEED)) + good[FRAME_BYTES:]
    assert decode_frame_header(data, 0, 64, SEED) is None


@pytest.mark.parametrize("position", [56, 72, 0, 2**64 - 8])
def test_a_frame_at_another_position_is_none(position: int) -> None:
    good = encode_frame(b"body", 64, 0, 64, 1, DATA, 0, SEED)
    assert decode_frame_header(good, 0, position, SEED) is None


def test_a_header_is_read_where_the_bytes_end_with_it_and_not_where_one_is_missing() -> None:
    good = encode_frame(b"body", 64, 0, 64, 1, DATA, 0, SEED)[:FRAME_BYTES]
    header = decode_frame_header(good, 0, 64, SEED)
    assert header is not None
    assert (header.position, header.body_bytes, header.records) == (64, 4, 1)
    assert decode_frame_header(b"\1\2\3" + good, 3, 64, SEED) == header
    assert decode_frame_header(good[:-1], 0, 64, SEED) is None
    assert decode_frame_header(b"\1\2\3" + good[:-1], 3, 64, SEED) is None
