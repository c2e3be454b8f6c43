"""The commit by which a standby takes over: made without a WAL, and told from other commits.

Owns what is in it: one segment with the lineage record of a takeover's stream, and that stream's
first record (`transit.format.takeover`). The segment is made in the folder and the commit is only
encoded: it belongs to the folder once the remote has it. So a takeover that loses its number, or is
killed, leaves at most a segment that no commit names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from transit.config import Settings
from transit.format.commit import Commit, SegmentRef
from transit.format.life import Life
from transit.format.lineage import (
    LINEAGE_ID,
    LINEAGE_RECORD,
    STORE_OWNER,
    Root,
    decode_lineage,
    encode_lineage,
)
from transit.format.names import layer_of
from transit.format.record import Chunk, Columns, chunks_of, encode_chunk, measure
from transit.format.takeover import TAKEOVERS
from transit.format.uid import new_uid
from transit.log.catalog import Catalog
from transit.log.clock import EngineClock
from transit.log.seal import SegmentWriter
from transit.log.segments import Segment

# Records and streams of such a segment; in a store without commits `$lineage` has one more record.
_SHAPES: Final = ((2, 2), (3, 2))


class SealedTakeover(NamedTuple):
    """A takeover's segment, which is in the folder, and its commit, which is in no place yet."""

    ref: SegmentRef
    number: int
    data: bytes


class _Records:
    """Two streams' records, as a segment is made of them; a `Sealable`."""

    def __init__(self, first_lsn: int, written: int) -> None:
        self.first_lsn = self.next_lsn = first_lsn
        self.begun = self.written = written
        self.names: dict[str, tuple[int, ...]] = {}
        self.uids: dict[str, int] = {}
        self.merges: dict[str, int] = {}
        self.lives: dict[int, list[tuple[int, Life]]] = {}
        self._chunks: dict[int, Chunk] = {}

    @property
    def streams(self) -> Collection[int]:
        """See `Sealable.streams`."""
        return self._chunks.keys()

    def chunks(self, stream: int, row: int) -> Iterator[Chunk]:
        """See `Sealable.chunks`; each stream has one."""
        yield self._chunks[stream]

    def add(self, stream: int, first: int, payloads: list[bytes]) -> None:
        """Records of one stream, from offset `first` on."""
        columns = Columns(payloads, measure(payloads), self.written, None)
        place = f"records of stream {stream}"
        (chunk,) = chunks_of(b"".join(encode_chunk(stream, first, columns)), place)
        chunk.date(self.written, place)
        self._chunks[stream] = chunk
        self.next_lsn += len(payloads)


def time_of_next(catalog: Catalog) -> int:
    """When a record that is written now was written, by the engine's clock, UTC nanoseconds."""
    clock = EngineClock()
    if catalog.view.segments:
        clock.begin(catalog.view.segments[-1].ref.written[1])
    return clock.now()


def seal_takeover(
    catalog: Catalog, settings: Settings, name: str, payload: bytes, written: int
) -> SealedTakeover:
    """Make the segment and the commit that follow the last one, with a stream `name` in it.

    written: as `time_of_next` gives it. For who holds LOCK, of a folder without other records.
    Raises `KeyringError` where the store's key cannot be had.
    """
    first = catalog.stream_count()
    told = [] if first else [LINEAGE_RECORD]
    made = Root(name=name, uid=new_uid(), codec="json")
    stream = first + len(told)
    records = _Records(catalog.commits.next_lsn, written)
    records.add(LINEAGE_ID, first, list(map(encode_lineage, [*told, made])))
    records.add(stream, 0, [payload])
    records.names.update({each.name: (first + row,) for row, each in enumerate([*told, made])})
    records.uids[made.uid] = stream
    keys = catalog.keys if catalog.keys is not None and catalog.keys.writes else None
    if keys is not None:
        keys.keyring.current_all((STORE_OWNER,))
    folder = catalog.places.segments
    ref = SegmentWriter(folder, catalog.store_id, settings, catalog.check_place, keys).write(
        records
    )
    head = catalog.commits.head
    epoch = head.epoch + 1 if head else 0
    # The next sealing names a snapshot, if one is due: here it would take requests of its own.
    commit, data = catalog.commits.next((ref,), epoch, None, encrypted=keys is not None)
    return SealedTakeover(ref, commit.number, data)


def may_be_takeover(commit: Commit, before: Commit | None) -> bool:
    """Whether a commit that follows `before` has the shape of a takeover's; asks for no segment."""
    if len(commit.segments) != 1 or (before is not None and commit.epoch <= before.epoch):
        return False
    ref = commit.segments[0]
    return (ref.records, ref.streams) in _SHAPES


def takeovers_in(segment: Segment) -> Iterator[tuple[int, str]]:
    """The takeovers' streams that a segment introduces: id and name.

    `SealedError` where the segment is encrypted, and its key is not here.
    """
    for row in segment.index.rows(LINEAGE_ID):
        chunk = segment.chunk(row)
        for stream, payload in enumerate(chunk.payloads(), chunk.first):
            record = decode_lineage(payload, stream)
            # What a rebase made a branch of is no takeover of its own.
            if isinstance(record, Root) and layer_of(record.name) == TAKEOVERS:
                yield stream, record.name
