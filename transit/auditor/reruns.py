"""Running recorded merges again, within a number of steps.

An attacker may make lineage that costs much: merges of merges, deep chains, plans in the worst
order, millions of records in a few bytes. So each look at a record, each span and each timestamp is
a step, and steps grow with the streams and bytes that were read. What needs more is not run to its
end, and that is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from transit.auditor.bodies import Bodies
from transit.errors import InvalidInputError, NotFoundError
from transit.format.life import Life
from transit.format.lineage import LineageRecord, Merge
from transit.format.record import Chunk
from transit.keyring.envelopes import StoreKeys
from transit.lineage.graph import Graph, Lookup
from transit.lineage.policy import Request
from transit.lineage.spans import Span
from transit.log.catalog import Catalog
from transit.tier.remote import Remote
from transit.verify.streams import RunPolicy

STEPS_MIN: Final = 2_000_000
STEPS_A_STREAM: Final = 250
# Of all merges of one store; of one merge, records whose order is worked out in memory.
RECORDS_MIN: Final = 1_000_000
_RECORDS_A_STEP: Final = 16
_PLAN_NUMBERS_A_STEP: Final = 8
# Spans that go back are put between others, which moves these.
_SPANS_MOVED_A_STEP: Final = 512


class BoundedGraph(Graph):
    """A `Graph` that says what it costs."""

    def __init__(self, lookup: Lookup, spend: Callable[[int], None]) -> None:
        super().__init__(lookup)
        self._spend = spend

    def history(self, stream: int, stop: int) -> tuple[Span, ...]:
        """As `Graph.history`."""
        spans = super().history(stream, stop)
        self._spend(cost_of(spans))
        return spans


def cost_of(spans: tuple[Span, ...]) -> int:
    """The steps it takes to lay `spans` over others: those that go back cost in proportion."""
    reached: dict[int, int] = {}
    back = 0
    for span in spans:
        back += span.origin < reached.get(span.stream, 0)
        reached[span.stream] = span.origin
    return len(spans) + back * len(spans) // _SPANS_MOVED_A_STEP


class RerunCatalog(Catalog):
    """The view that merges are run again on: lineage as it was read, chunks from the remote."""

    def __init__(
        self,
        remote: Remote,
        store_id: bytes,
        bodies: Bodies,
        records: Mapping[int, LineageRecord],
        bytes_read: int,
        life: Callable[[int], Life | None],
        keys: StoreKeys | None = None,
    ) -> None:
        super().__init__(remote.url, store_id, remote.settings, bodies, keys=keys)
        self._known = records
        self._known_life = life
        # Where a merge's own records begin is added up from its plan each time.
        self._costs = {
            stream_id: 1 + len(record.plan) // _PLAN_NUMBERS_A_STEP
            for stream_id, record in records.items()
            if isinstance(record, Merge)
        }
        self._steps = STEPS_MIN + STEPS_A_STREAM * len(records) + bytes_read
        # A merge of more records than there are bytes is none that was ever made from them.
        self._records_max = RECORDS_MIN + bytes_read
        self._records_left = 0

    @property
    def graph(self) -> Graph:
        """As `Catalog.graph`."""
        return BoundedGraph(self.record, self._spend)

    def run_with(self, run_policy: RunPolicy) -> RunPolicy:
        """`run_policy`, with what one merge may take given anew each time."""

        def run(catalog: Catalog, request: Request) -> tuple[Span, ...]:
            self._records_left = self._records_max
            self._spend(len(request.heads))
            return run_policy(catalog, request)

        return run

    def _spend(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise self._too_many()

    def _too_many(self) -> InvalidInputError:
        return InvalidInputError("running the merges again takes too many steps")

    def record(self, stream_id: int) -> LineageRecord:
        """As `Catalog.record`."""
        found = self._known.get(stream_id)
        if found is None:
            raise NotFoundError(f"there is no stream with id {stream_id}")
        self._steps -= self._costs.get(stream_id, 1)
        if self._steps < 0:
            raise self._too_many()
        return found

    def life(self, stream_id: int) -> Life | None:
        """As `Catalog.life`, as it was read: not asked for far away."""
        return self._known_life(stream_id)

    def chunks(self, stream_id: int, start: int, stop: int) -> Iterator[Chunk]:
        """As `Catalog.chunks`."""
        self._records_left -= stop - start
        if self._records_left < 0:
            raise InvalidInputError("more records than the remote has bytes")
        known = self._states.get(stream_id)
        looked = known.sealed.seen if known is not None else 0
        # Where the stream's chunks are is remembered with its state, and looked up once.
        state = self.state(stream_id)
        self._spend(1 + (stop - start) // _RECORDS_A_STEP + len(self.view.segments) - looked)
        return super().chunks(state.id, start, stop)
