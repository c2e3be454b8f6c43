"""The lineage records of all streams, in order of creation: what listings and lineage read."""

from __future__ import annotations

from collections.abc import Iterator

from transit.format.lineage import LineageRecord, decode_lineage
from transit.handle.handle import Handle
from transit.replay import batches


def lineage_records(handle: Handle, start: int = 0) -> Iterator[tuple[int, LineageRecord]]:
    """Ids and lineage records of all streams from id `start` on."""
    state = handle.catalog.lineage_state()
    for batch in batches(handle.catalog, state, start, state.next_offset):
        for stream_id, payload in zip(batch.offsets, batch.payloads, strict=True):
            yield stream_id, decode_lineage(payload, stream_id)
