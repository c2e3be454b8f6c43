"""WAL headers and frames: whole, or refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import transit.format.frame as module
from transit.errors import CorruptError, InvalidInputError, UnsupportedVersionError
from transit.format.checksum import checksum, wal_seed
from transit.format.frame import (
    CHECKSUM,
    DATA,
    END,
    ENVELOPES,
    FRAME,
    FRAME_BYTES,
    MARK,
    TO_BE_ENCRYPTED,
    WAL_HEADER,
    body_is_valid,
    decode_frame_header,
    decode_wal_header,
    encode_frame,
    encode_one,
    encode_wal_header,
    frame_bytes,
    frame_chunks,
    join_frame,
)
from transit.format.record import Columns, encode_chunk
from transit.format.written import encode_writer

STORE = bytes(range(16))
SEED = wal_seed(STORE, 40)
INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)
BODY = b"".join(encode_chunk(3, 0, Columns([b"one", b"three"], [3, 5], 9, None)))
WAL = encode_wal_header(STORE, 40)


def frame(body: bytes = BODY, position: int = 64, records: int = 2, kind: int = DATA) -> bytes:
    return encode_frame(body, position, 40, 64, records, kind, 0, SEED)


def is_whole(data: bytes, position: int = 64, seed: int = SEED) -> bool:
    """Whether `data` begins with a valid frame that lies at `position`."""
    header = decode_frame_header(data, 0, position, seed)
    return header is not None and body_is_valid(header, data, 0, seed)


# WAL headers


@given(st.binary(min_size=16, max_size=16), UINT64, UINT64)
def test_a_wal_header_comes_back(store_id: bytes, one: int, other: int) -> None:
    unsynced, first_lsn = sorted((one, other))
    data = encode_wal_header(store_id, first_lsn, unsynced)
    assert len(data) == 64
    assert decode_wal_header(data, "here") == (store_id, first_lsn, unsynced, 0)


@pytest.mark.parametrize("needs", [TO_BE_ENCRYPTED, ENVELOPES | TO_BE_ENCRYPTED])
def test_a_wal_header_says_what_a_reader_must_know(needs: int) -> None:
    data = encode_wal_header(STORE, 40, 3, needs)
    assert decode_wal_header(data, "here") == (STORE, 40, 3, needs)
    assert data[12] == needs


@pytest.mark.parametrize("unsynced", [41, 2**64 - 1])
def test_a_wal_header_counts_no_more_records_before_its_first_than_there_are(unsynced: int) -> None:
    assert decode_wal_header(encode_wal_header(STORE, 40, 40), "here")[2] == 40
    with pytest.raises(CorruptError) as caught:
        decode_wal_header(encode_wal_header(STORE, 40, unsynced), "here")
    error = caught.value
    assert (error.place, error.expected) == ("here, byte 40", "a count up to 40")
    assert error.found == str(unsynced)


def test_every_truncated_wal_header_is_refused(cuts) -> None:
    for data in (*cuts(WAL), WAL + b"\0"):
        with pytest.raises(CorruptError):
            decode_wal_header(data, "here")


def test_every_flipped_bit_of_a_wal_header_is_refused(flips) -> None:
    for _, data in flips(WAL):
        with pytest.raises(CorruptError):
            decode_wal_header(data, "here")


def signed(data: bytearray) -> bytes:
    data[56:64] = CHECKSUM.pack(checksum(bytes(data[:56])))
    return bytes(data)


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_a_wal_of_another_version_is_refused_by_that_name(version: int) -> None:
    data = bytearray(WAL)
    data[8:12] = struct.pack("<I", version)
    with pytest.raises(UnsupportedVersionError) as caught:
        decode_wal_header(signed(data), "here")
    assert (caught.value.found, caught.value.supported) == (version, 1)


@pytest.mark.parametrize("place", [12, 15, 48, 55])
def test_reserved_bytes_of_a_wal_header_must_be_zero(place: int) -> None:
    data = bytearray(WAL)
    data[place] = 1
    with pytest.raises(CorruptError):
        decode_wal_header(signed(data), "here")


# Frames


@given(
    st.binary(max_size=200),
    UINT64,
    UINT64,
    UINT64,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2),
    INT64,
)
def test_a_frame_comes_back(
    body: bytes, position: int, lsn: int, durable: int, records: int, kind: int, written: int
) -> None:
    data = encode_frame(body, position, lsn, durable, records, kind, written, SEED)
    header = decode_frame_header(b"before" + data, 6, position, SEED)
    assert header is not None
    assert header[:-1] == (len(body), position, lsn, durable, records, kind, written)
    assert body_is_valid(header, b"before" + data + b"after", 6, SEED)
    assert header.stop == position + len(data)


@pytest.mark.parametrize("size", range(24))
def test_a_frame_is_padded_to_a_multiple_of_8_and_ends_in_a5(size: int) -> None:
    data = frame(bytes(size))
    padding = data[FRAME_BYTES + size :]
    assert len(data) == frame_bytes(size)
    assert len(data) % 8 == 0
    assert padding == bytes(len(padding) - 1) + b"\xa5"
    assert 1 <= len(padding) <= 8


@pytest.mark.parametrize("body", [b"", BODY], ids=["empty", "chunk"])
def test_every_truncated_frame_is_no_frame(body: bytes, cuts) -> None:
    good = frame(body)
    assert is_whole(good)
    for data in cuts(good):
        assert not is_whole(data)
        assert not is_whole(data.ljust(len(good), b"\0"))


@pytest.mark.parametrize("body", [b"", BODY], ids=["empty", "chunk"])
def test_every_flipped_bit_of_a_frame_makes_it_no_frame(body: bytes, flips) -> None:
    for place, data in flips(frame(body)):
        assert not is_whole(data)
        header_is_good = decode_frame_header(data, 0, 64, SEED) is not None
        assert header_is_good == (place >= FRAME_BYTES)


def test_a_frame_belongs_to_its_place_its_file_and_its_store() -> None:
    data = frame()
    assert is_whole(data)
    assert not is_whole(data, position=72)
    assert not is_whole(data, seed=wal_seed(STORE, 41))
    assert not is_whole(data, seed=wal_seed(STORE[::-1], 40))


def test_a_header_and_a_body_of_two_frames_are_no_frame() -> None:
    other = b"".join(encode_chunk(3, 0, Columns([b"one", b"third"], [3, 5], 9, None)))
    assert len(other) == len(BODY)
    assert not is_whole(frame()[:FRAME_BYTES] + frame(other)[FRAME_BYTES:])


def test_the_same_body_has_another_checksum_at_another_place() -> None:
    headers = [decode_frame_header(frame(position=at), 0, at, SEED) for at in (64, 512)]
    assert headers[0] is not None
    assert headers[1] is not None
    assert headers[0].body_checksum != headers[1].body_checksum


def test_seeds_wrap_around_at_64_bits() -> None:
    data = encode_frame(BODY, 2**64 - 8, 0, 0, 2, DATA, 0, 2**64 - 1)
    assert is_whole(data, 2**64 - 8, 2**64 - 1)


# What is in a frame


def chunks_in(data: bytes) -> list[int]:
    header = decode_frame_header(data, 0, 64, SEED)
    assert header is not None
    return [chunk.count for chunk in frame_chunks(header, data, 0, "here")]


def test_a_data_frame_gives_its_chunks() -> None:
    other = b"".join(encode_chunk(4, 7, Columns([b"x"], [1], 0, None)))
    assert chunks_in(frame(BODY + other, records=3)) == [2, 1]


@pytest.mark.parametrize("kind", [MARK, END])
def test_a_mark_and_an_end_have_no_chunks(kind: int) -> None:
    assert chunks_in(frame(b"", records=0, kind=kind)) == []


@pytest.mark.parametrize(
    ("body", "records", "kind"),
    [
        (BODY, 1, DATA),
        (BODY, 3, DATA),
        (BODY[:-1], 2, DATA),
        (BODY + b"\0", 2, DATA),
        (BODY + BODY, 4, DATA),
        (b"", 0, DATA),
        (b"", 1, MARK),
        (BODY, 2, MARK),
        (BODY, 2, END),
        (b"", 0, 3),
        (b"", 0, 2**32 - 1),
        (BODY, 2, 3),
    ],
    ids=[
        "fewer records stated",
        "more records stated",
        "body cut",
        "body too long",
        "one stream twice",
        "data without records",
        "mark with a count",
        "mark with records",
        "end with records",
        "unknown kind",
        "greatest kind",
        "unknown kind with records",
    ],
)
def test_a_valid_checksum_around_wrong_contents_is_corrupt(
    body: bytes, records: int, kind: int
) -> None:
    with pytest.raises(CorruptError):
        chunks_in(frame(body, records=records, kind=kind))


def test_the_tables_in_the_docstring_are_the_structs(tables, fields) -> None:
    wal, frames = tables(module)
    assert wal == fields(WAL_HEADER)
    assert frames == [*fields(FRAME), (FRAME.size, CHECKSUM.size)]
    assert "\n        64     .  body" in (module.__doc__ or "")
    assert (WAL_HEADER.size, FRAME_BYTES) == (64, 64)


@pytest.mark.parametrize("parts", [[], [b""], [b"one"], [b"a" * 48, b"", b"bc" * 5000]])
def test_a_frame_joined_from_parts_is_the_frame_of_the_whole(parts: list[bytes]) -> None:
    fields = (4096, 40, 64, 3, DATA, 99, SEED)
    assert join_frame(parts, *fields) == encode_frame(b"".join(parts), *fields)


@given(
    st.tuples(UINT64, UINT64, INT64),
    st.sampled_from([b"", b'{"kind":"note"}']),
    st.binary(max_size=300),
    st.tuples(UINT64, UINT64, UINT64),
    INT64,
    UINT64,
    st.sampled_from(["", "ann", "é" * 100]),
)
def test_a_frame_of_one_record_is_the_frame_around_its_chunk(
    record: tuple[int, int, int],
    headers: bytes,
    payload: bytes,
    place: tuple[int, int, int],
    written: int,
    seed: int,
    writer: str,
) -> None:
    stream, offset, timestamp = record
    columns = Columns([payload], len(payload), timestamp, headers, writer=writer)
    body = b"".join(encode_chunk(stream, offset, columns))
    whole = encode_frame(body, *place, 1, DATA, written, seed)
    name = encode_writer(writer) if writer else b""
    assert encode_one(*record, headers, payload, *place, written, seed, name) == whole


def test_a_part_that_is_not_bytes_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        join_frame([b"a", "b"], 64, 0, 64, 1, DATA, 0, SEED)  # type: ignore[list-item]
