"""Blocks of zstd: back to the very bytes, or refused before memory is taken."""

from __future__ import annotations

import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import CorruptError
from transit.format.compression import beginning, compress, decompress
from transit.format.digest import digest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1024 * 1024
RAW = b"a line of a log\n" * 40


def frame(data: bytes, *, size_stated: bool = True, checksum: bool = False) -> bytes:
    """`data` as a zstd frame with the given features."""
    parameter = zstd.CompressionParameter
    options = {
        parameter.content_size_flag: int(size_stated),
        parameter.checksum_flag: int(checksum),
    }
    compressor = zstd.ZstdCompressor(options=options)
    if size_stated:
        compressor.set_pledged_input_size(len(data))
    return compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)


def bomb(raw_bytes: int) -> bytes:
    """A frame of a few bytes that states, and holds, `raw_bytes` zeros."""
    compressor = zstd.ZstdCompressor(level=1)
    compressor.set_pledged_input_size(raw_bytes)
    parts = [compressor.compress(bytes(MIB)) for _ in range(raw_bytes // MIB)]
    return b"".join((*parts, compressor.flush(zstd.ZstdCompressor.FLUSH_FRAME)))


def memory_taken(data: bytes, raw_bytes: int) -> int:
    """The most memory that refusing `data` takes."""
    tracemalloc.start()
    try:
        with pytest.raises(CorruptError):
            decompress(data, raw_bytes, "here")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@given(st.binary(min_size=1, max_size=4000), st.integers(1, 19))
def test_bytes_come_back(raw: bytes, level: int) -> None:
    assert decompress(compress(raw, level), len(raw), "here") == raw


@pytest.mark.parametrize("size", [1, 127, 128, 65535, 131072, 131073, 262144, 3 * MIB])
def test_sizes_around_those_of_zstds_own_blocks_come_back(size: int) -> None:
    for raw in (bytes(size), (RAW * (size // len(RAW) + 1))[:size]):
        assert decompress(compress(raw, 3), size, "here") == raw


def test_the_frame_states_its_size() -> None:
    assert zstd.get_frame_info(compress(RAW, 3)).decompressed_size == len(RAW)


def test_every_truncated_frame_is_refused(cuts) -> None:
    for data in cuts(compress(RAW, 3)):
        with pytest.raises(CorruptError):
            decompress(data, len(RAW), "here")


def test_every_flipped_bit_is_refused_or_gives_as_many_bytes(flips) -> None:
    for _, data in flips(compress(RAW, 3)):
        try:
            raw = decompress(data, len(RAW), "here")
        except CorruptError:
            continue
        assert len(raw) == len(RAW)


@pytest.mark.parametrize(
    "more", [b"\0", b"trailing", compress(b"x", 3), b"\x50\x2a\x4d\x18\0\0\0\0"]
)
def test_bytes_after_the_frame_are_refused(more: bytes) -> None:
    with pytest.raises(CorruptError):
        decompress(compress(RAW, 3) + more, len(RAW), "here")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"not zstd at all",
        b"\x28\xb5\x2f\xfd",
        b"\x50\x2a\x4d\x18\4\0\0\0abcd",
        bytes(99),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptError):
        decompress(data, 4, "here")


@pytest.mark.parametrize("expected", [1, len(RAW) - 1, len(RAW) + 1, 2**32])
def test_a_frame_that_states_another_size_is_refused(expected: int) -> None:
    with pytest.raises(CorruptError):
        decompress(compress(RAW, 3), expected, "here")


def test_a_frame_that_does_not_state_its_size_is_refused() -> None:
    data = frame(RAW, size_stated=False)
    assert zstd.get_frame_info(data).decompressed_size is None
    with pytest.raises(CorruptError):
        decompress(data, len(RAW), "here")


def test_a_frame_with_a_checksum_of_its_own_is_read_and_its_checksum_held() -> None:
    data = frame(RAW, checksum=True)
    assert decompress(data, len(RAW), "here") == RAW
    with pytest.raises(CorruptError):
        decompress(data[:-1] + bytes([data[-1] ^ 1]), len(RAW), "here")


def with_stated_size(data: bytes, size: int) -> bytes:
    """The same frame, stating another content size, which has 4 bytes in its header."""
    descriptor = data[4]
    assert descriptor >> 6 == 2, "a content size of 4 bytes"
    at = 5 + (0 if descriptor & 0x20 else 1)
    return data[:at] + size.to_bytes(4, "little") + data[at + 4 :]


def test_a_bomb_that_states_its_200_mib_is_refused_before_memory_is_taken() -> None:
    data = bomb(200 * MIB)
    assert len(data) < MIB
    assert memory_taken(data, 256 * 1024) < MIB


def test_a_bomb_that_states_less_than_it_holds_is_refused_at_what_it_states() -> None:
    data = with_stated_size(bomb(200 * MIB), MIB)
    assert zstd.get_frame_info(data).decompressed_size == MIB
    assert memory_taken(data, MIB) < 4 * MIB


def test_a_bomb_that_does_not_state_its_size_is_refused_before_memory_is_taken() -> None:
    data = frame(bytes(64 * MIB), size_stated=False)
    assert memory_taken(data, 256 * 1024) < MIB


def test_a_frame_that_states_more_than_it_holds_takes_no_more_than_it_holds(poor) -> None:
    data = with_stated_size(compress(bytes(128 * 1024), 3), 2**30)
    script = """
import sys, tracemalloc
from transit.errors import CorruptError
from transit.format.compression import decompress
tracemalloc.start()
try:
    decompress(bytes.fromhex(sys.argv[1]), 2**30, "here")
except CorruptError:
    print(tracemalloc.get_traced_memory()[1])
"""
    assert int(poor(script, data.hex())) < 4 * MIB


# Large frames: their beginning alone, and all of them in steps


def test_the_beginning_is_what_the_whole_begins_with() -> None:
    raw = b"".join(digest(b"%d" % n) for n in range(20_000))
    data = compress(raw, 3)
    for size in (1, 48, 300_000, len(raw)):
        assert beginning(data, size, len(raw), "here") == raw[:size]
    data = compress(bytes(100 * MIB), 3)
    tracemalloc.start()
    try:
        assert beginning(data, 48, 100 * MIB, "here") == bytes(48)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("raw_bytes", [0, 47, 49, 2**40])
def test_the_beginning_of_a_frame_of_another_size_is_refused(raw_bytes: int) -> None:
    with pytest.raises(CorruptError, match=f"expected {raw_bytes} bytes, found 48 stated"):
        beginning(compress(bytes(48), 3), 8, raw_bytes, "here")


def test_the_beginning_of_what_is_no_frame_is_refused() -> None:
    noise = compress(b"".join(digest(b"%d" % n) for n in range(100)), 3)
    for data in (b"", b"junk", noise[:9] + b"\xff" * 100):
        with pytest.raises(CorruptError, match="here: expected a zstd frame"):
            beginning(data, 48, 3200, "here")
    with pytest.raises(CorruptError, match="expected 3200 bytes, found 10"):
        beginning(noise[:20], 48, 3200, "here")


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 2 * MIB, 9 * MIB + 7])
def test_large_output_comes_back_in_steps(size: int) -> None:
    raw = (b"".join(digest(b"%d" % n) for n in range(1000)) * (size // 32_000 + 1))[:size]
    data = compress(raw, 1)
    assert decompress(data, size, "here") == raw
    for damaged in (data[:-1], data[: len(data) // 2], data + b"x"):
        with pytest.raises(CorruptError, match="here"):
            decompress(damaged, size, "here")


def test_large_output_is_held_once() -> None:
    data = compress(bytes(64 * MIB), 1)
    tracemalloc.start()
    try:
        decompress(data, 64 * MIB, "here")
        assert tracemalloc.get_traced_memory()[1] < 90 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("stated", [MIB - 1, MIB, MIB + 1, 3 * MIB + 5])
def test_a_frame_that_holds_more_than_it_says_is_refused_in_little_memory(stated: int) -> None:
    data = bytearray(compress(bytes(64 * MIB), 1))
    # Magic, descriptor and window come before the size (RFC 8878).
    assert data[6:10] == (64 * MIB).to_bytes(4, "little")
    data[6:10] = stated.to_bytes(4, "little")
    assert memory_taken(bytes(data), stated) < 3 * stated
