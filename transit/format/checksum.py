"""Fast checksums against accidents: XXH3-64, seeded so that a checksum binds where its bytes lie.

A seed is made from the store's id and the WAL file's first log sequence number, so that a frame
of another store or another file never passes. A checksum is no proof against intent; digests
(`transit.format.digest`) are.
"""

from __future__ import annotations

import xxhash

checksum = xxhash.xxh3_64_intdigest


def wal_seed(store_id: bytes, first_lsn: int) -> int:
    """The seed of every frame in one WAL file; `store_id` is 16 bytes."""
    return checksum(store_id + first_lsn.to_bytes(8, "little"))
