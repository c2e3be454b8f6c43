"""Large frames: their beginning alone, and all of them in steps."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest

from transit.errors import CorruptError
from transit.format.compression import beginning, compress, decompress
from transit.format.digest import digest

MIB = 1024 * 1024


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


def peak(data: bytes, size: int) -> int:
    """Bytes of memory that unfolding takes at most, or refusing to."""
    tracemalloc.start()
    try:
        with contextlib.suppress(CorruptError):
            decompress(data, size, "here")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_large_output_is_held_once() -> None:
    assert peak(compress(bytes(64 * MIB), 1), 64 * MIB) < 90 * MIB


@pytest.mark.parametrize("stated", [MIB - 1, MIB, MIB + 1, 3 * MIB + 5])
def test_a_frame_that_holds_more_than_it_says_is_refused_in_little_memory(stated: int) -> None:
    data = bytearray(compress(bytes(64 * MIB), 1))
    # Magic, descriptor and window come before the size (RFC 8878).
    assert data[6:10] == (64 * MIB).to_bytes(4, "little")
    data[6:10] = stated.to_bytes(4, "little")
    assert peak(bytes(data), stated) < 3 * stated
    with pytest.raises(CorruptError, match="here"):
        decompress(bytes(data), stated, "here")
