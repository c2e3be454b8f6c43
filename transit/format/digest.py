"""Digests that identify bytes: BLAKE3-256, 32 bytes, written as 64 lower-case hex digits.

Source: "BLAKE3: one function, fast everywhere", O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020.
"""

from __future__ import annotations

import blake3


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """BLAKE3 of `data`, 32 bytes."""
    return blake3.blake3(data).digest()


class Digester:
    """BLAKE3 of bytes that come in pieces."""

    def __init__(self) -> None:
        self._state = blake3.blake3()

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next piece."""
        self._state.update(data)

    def digest(self) -> bytes:
        """The digest of everything taken so far, 32 bytes."""
        return self._state.digest()


def keyed_digest(key: bytes, data: bytes) -> bytes:
    """BLAKE3 of `data` under a key of 32 bytes; 32 bytes, which tell nothing without the key."""
    return blake3.blake3(data, key=key).digest()
