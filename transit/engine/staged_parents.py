"""The streams that merges are made from, as a frame in the making has them.

Owns what is read for the merges of one frame, once, before the writer's turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transit.engine.pending import Pending
from transit.engine.plans import Head, Parents
from transit.format.lineage import LineageRecord, Merge
from transit.lineage.graph import Graph
from transit.lineage.spans import Span
from transit.log.catalog import Catalog, StreamState


class Prepared:
    """What the merges of one frame have read, and what came of them, so far.

    `asking`: whether the user's policies may be called now, which they never are in the turn.
    """

    def __init__(self) -> None:
        self.asking = True
        # By the merge, its heads and its base.
        self.records: dict[tuple[object, ...], Merge] = {}
        # By stream and offset of the first record.
        self.timestamps: dict[tuple[int, int], list[int]] = {}


class StagedParents(Parents):
    """The streams that merges are made from, as a frame in the making has them."""

    def __init__(
        self,
        catalog: Catalog,
        created: Mapping[int, StreamState],
        pending: Mapping[int, Pending],
        prepared: Prepared,
    ) -> None:
        super().__init__(catalog)
        self._created = created
        self._pending = pending
        self._prepared = prepared

    @property
    def graph(self) -> Graph:
        """How they descend from one another, streams that the frame makes among them."""
        return Graph(self.record)

    def record(self, stream: int) -> LineageRecord:
        """The lineage record of a stream, of one that the frame makes too."""
        made = self._created.get(stream)
        return made.record if made else super().record(stream)

    def timestamps(self, span: Span) -> list[int]:
        """The timestamps of a span's records, staged ones too."""
        stop = span.origin + span.count
        pending = self._pending.get(span.stream)
        staged_from = pending.first if pending else stop
        known = self._prepared.timestamps.setdefault((span.stream, span.origin), [])
        missing = min(stop, staged_from) - span.origin - len(known)
        if missing > 0:
            known += super().timestamps(Span(0, span.stream, span.origin + len(known), missing))
        if pending is None or stop <= staged_from:
            return known[: span.count]
        low = max(0, span.origin - staged_from)
        return known + pending.timestamps[low : stop - staged_from]

    def has_staged(self, heads: Sequence[Head]) -> bool:
        """Whether one of the heads is a stream, or a record, that the frame is to bring."""
        return any(
            stream in self._created
            or (stream in self._pending and offset >= self._pending[stream].first)
            for stream, offset in heads
        )
