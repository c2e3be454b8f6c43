"""What records of one stream take in files: counted by chunks, unfolded.

Owns how large a chunk of a segment is without reading it: it ends where the next one in the order
of the segment begins, or where its block does.
"""

from __future__ import annotations

from typing import NamedTuple

from transit.disk import file_size
from transit.format.segment import Footer, SegmentIndex
from transit.log.catalog import Catalog, StreamState
from transit.log.segments import Segment


class Weight(NamedTuple):
    """Records of a stream, and what their chunks take, unfolded, in the folder and the remote."""

    records: int
    here: int
    remote: int


def weigh(
    catalog: Catalog, state: StreamState, start: int, stop: int, published: int | None
) -> Weight:
    """Of a stream's own records from `start` to before `stop`; the sizes, of chunks whole in there.

    Of what is not sealed only payloads are counted. published: how many commits are in the remote;
    None without one.
    """
    start = max(min(start, state.next_offset), state.record.start)
    stop = min(stop, state.next_offset)
    if stop <= start:
        return Weight(0, 0, 0)
    here = remote = 0
    for segment, rows in catalog.sealed_rows(state.id, start, stop):
        index, footer = segment.index, segment.footer
        inside = [row for row in rows if index.stop(row) <= stop]
        size = sum(row_bytes(footer, index, row) for row in inside)
        here += size if _is_here(segment) else 0
        remote += size if published is not None and segment.commit < published else 0
    for wal in catalog.view.wals:
        for chunk in wal.chunks(state.id, 0) if state.id in wal.index else ():
            if start <= chunk.first and chunk.stop <= stop:
                here += chunk.payload_bytes
    return Weight(stop - start, here, remote)


def row_bytes(footer: Footer, index: SegmentIndex, row: int) -> int:
    """The size of the chunk in a row of a segment's index, unfolded."""
    block, at = index.blocks[row], index.positions[row]
    if row + 1 < len(index.streams) and index.blocks[row + 1] == block:
        return index.positions[row + 1] - at
    return footer.blocks[block].raw_bytes - at


def _is_here(segment: Segment) -> bool:
    """Whether a segment, or what is left of it, is in the folder."""
    return any(file_size(path) is not None for path in (segment.path, segment.redacted_path))
