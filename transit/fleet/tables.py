"""Block tables: how large the blocks of each store are, which is all that a plan needs to know.

Made of the indexes of a store's segments. A segment never changes, so its table is made once.
"""

from __future__ import annotations

import msgspec

from transit import Head, Log, SealedSegment


class SegmentTable(msgspec.Struct, frozen=True, array_like=True):
    """The blocks of a segment.

    digest: its BLAKE3, 64 hex digits. commit: number of the one that added it. first, last: when
    its first and its last record were written, UTC nanoseconds. sizes: bytes of each block as it is
    stored. records: how many each has, the store's own among them.
    """

    digest: str
    commit: int
    first: int
    last: int
    sizes: tuple[int, ...]
    records: tuple[int, ...]


class StoreTable(msgspec.Struct, frozen=True, array_like=True):
    """The segments of a store as of a head, in the order of its log.

    store: its id. names: how many records said what became of streams, as `Sealed.names`.
    """

    store: str
    head: Head
    names: int
    segments: tuple[SegmentTable, ...]


def table_of(log: Log, head: Head | None = None, known: StoreTable | None = None) -> StoreTable:
    """The table of an open store, as of a head or of now.

    known: an earlier one of the same store, whose segments are not looked at again.
    """
    sealed = log.sealed(head)
    found = {each.digest: each for each in known.segments} if known else {}
    tables = tuple(found.get(each.digest) or _table(each) for each in sealed.segments())
    return StoreTable(log.store_id, sealed.head, sealed.names, tables)


def _table(segment: SealedSegment) -> SegmentTable:
    blocks = segment.blocks()
    first, last = segment.written
    return SegmentTable(
        segment.digest,
        segment.commit,
        first,
        last,
        tuple(block.stored_bytes for block in blocks),
        tuple(block.records for block in blocks),
    )
