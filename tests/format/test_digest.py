"""Digests and checksums are the published functions: their authors' values come out."""

from __future__ import annotations

import pytest

from transit.format.checksum import checksum, wal_seed
from transit.format.digest import Digester, digest

# From the test vectors of BLAKE3 (bytes 0, 1, …, 250, 0, …) and of "abc" in its reference.
VECTORS = {
    b"": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    b"\0": "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    b"abc": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
}


@pytest.mark.parametrize(("data", "expected"), VECTORS.items())
def test_a_digest_is_blake3(data: bytes, expected: str) -> None:
    assert digest(data).hex() == expected
    assert digest(bytearray(data)) == digest(memoryview(data)) == digest(data)


def test_bytes_in_pieces_have_the_digest_of_the_whole() -> None:
    data = bytes(range(256)) * 40
    for step in (1, 64, 1000, len(data)):
        digester = Digester()
        for start in range(0, len(data), step):
            digester.update(data[start : start + step])
        assert digester.digest() == digest(data)
    assert Digester().digest() == digest(b"")


def test_a_checksum_is_xxh3_of_64_bits() -> None:
    assert checksum(b"") == 0x2D06800538D394C2
    assert checksum(b"", 1) != checksum(b"")


def test_a_wals_seed_is_the_checksum_of_its_store_and_first_number() -> None:
    store = bytes(range(16))
    assert wal_seed(store, 0x0102030405060708) == checksum(store + bytes([8, 7, 6, 5, 4, 3, 2, 1]))
    assert wal_seed(store, 2**64 - 1) == checksum(store + b"\xff" * 8)
    assert len({wal_seed(store, 0), wal_seed(store, 1), wal_seed(bytes(16), 0)}) == 3
