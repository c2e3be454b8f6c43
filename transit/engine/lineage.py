"""Questions about how streams descend from one another, by name."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from transit.engine.finding import Which, head_of
from transit.engine.provenance import (
    Difference,
    HistorySpan,
    Provenance,
    difference,
    history_spans,
    trace,
)
from transit.engine.scanning import lineage_records
from transit.engine.stream import Stream
from transit.errors import InvalidInputError
from transit.format.lineage import Kind, LineageRecord, heads_of, kind_of
from transit.guards import LOOK
from transit.handle.handle import Handle
from transit.log.catalog import StreamState
from transit.opened import Opened
from transit.replay import Position

Head = tuple[int, int]
_Item = TypeVar("_Item")


class Node(msgspec.Struct, frozen=True):
    """A stream in the lineage graph; `start` is the offset of its first own record."""

    name: str
    id: int
    kind: Kind
    start: int
    hidden: bool = False


class Edge(msgspec.Struct, frozen=True):
    """`child` descends from `parent` at `offset`, the last inherited; -1 for an empty parent.

    parent_id, child_id: the nodes' numbers, as a hidden stream's name may be another's, too.
    """

    parent: str
    offset: int
    child: str
    parent_id: int
    child_id: int


class LineageGraph(msgspec.Struct, frozen=True):
    """The user's streams in order of creation, and how they descend from one another."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def family(self, ids: Iterable[int]) -> set[int]:
        """Numbers of nodes: these, what they descend from, and what descends from them."""
        up: dict[int, list[int]] = defaultdict(list)
        down: dict[int, list[int]] = defaultdict(list)
        for edge in self.edges:
            up[edge.child_id].append(edge.parent_id)
            down[edge.parent_id].append(edge.child_id)
        start = list(ids)
        return _reached(start, up) | _reached(start, down)


def _reached(start: Iterable[int], along: Mapping[int, Sequence[int]]) -> set[int]:
    found: set[int] = set()
    waiting = list(start)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += along.get(number, ())
    return found


class Lineage(Opened):
    """Lineage queries on one open store: streams, names and positions in, the same out."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._children: dict[int, list[int]] = defaultdict(list)
        self._seen = 0
        self._looking = threading.Lock()

    def parents(self, x: Which) -> tuple[Stream, ...]:
        """The streams that the stream of `x` was made from, in declared order."""
        state, _ = self._resolve(x)
        return self._streams(_parent_ids(state.record))

    def children(self, x: Which, *, hidden: bool = False) -> tuple[Stream, ...]:
        """The branches and merges made from the stream of `x`, in order of creation.

        For a position: those that contain it. hidden: those too that are hidden.
        """
        state, head = self._resolve(x)
        self._look()
        left_out = frozenset() if hidden else self._handle.catalog.hidden()
        children = [i for i in _unique(self._children[state.id]) if i not in left_out]
        if not isinstance(x, Stream | str):
            children = [
                child
                for child in children
                if any(p == state.id and h >= head[1] for p, h in self._heads(child))
            ]
        return self._streams(children)

    def ancestors(self, x: Which) -> tuple[Stream, ...]:
        """The streams `x` descends from: its parents first, then theirs."""
        state, head = self._resolve(x)
        graph = self._handle.catalog.graph
        within = graph.ancestry(*head)
        del within[state.id]
        found: list[int] = []
        level = [state.id]
        while level:
            level = _unique(
                parent
                for stream_id in level
                for parent in _parent_ids(self._handle.catalog.record(stream_id))
                if parent in within and parent not in found
            )
            found += level
        # A position inside a merge descends from the records there, not from the merge's parents.
        found += sorted(within.keys() - set(found), reverse=True)
        return self._streams(found)

    def is_ancestor(self, a: Which, b: Which) -> bool:
        """Whether the record at `a` is the one at `b`, or went into it; a stream is its head."""
        return self._handle.catalog.graph.is_ancestor(self._resolve(a)[1], self._resolve(b)[1])

    def merge_base(self, a: Which, b: Which) -> Position | None:
        """The nearest common ancestor record, by its origin; None when there is none."""
        return next(iter(self.merge_bases(a, b)), None)

    def merge_bases(self, a: Which, b: Which) -> tuple[Position, ...]:
        """All nearest common ancestors: more than one after criss-cross merges."""
        catalog = self._handle.catalog
        bases = catalog.graph.merge_bases([self._resolve(a)[1], self._resolve(b)[1]])
        return tuple(Position(catalog.record(i).name, offset) for i, offset in bases)

    def spans(self, x: Which) -> tuple[HistorySpan, ...]:
        """Where the records of `x` were appended, in order; up to and including a position."""
        _, head = self._resolve(x)
        return history_spans(self._handle.catalog, head)

    def diff(self, a: Which, b: Which) -> Difference:
        """Which records only `a` has, which only `b`, and how many both have.

        Records are compared by where they were appended; a position stands for all up to it.
        """
        left, right = self._resolve(a)[1], self._resolve(b)[1]
        return difference(self._handle.catalog, left, right)

    def why(self, position: Position) -> Provenance:
        """How the record at `position` got there: its way, its file, its commit.

        `OffsetError` when there is no such record, `NotFoundError` without the stream,
        `RetentionGapError` when what names the streams is out of reach.
        """
        if isinstance(position, Stream | str):
            raise InvalidInputError(f"not a position but a stream: {position!r}")
        _, head = self._resolve(position)
        return trace(self._handle, head)

    def graph(self) -> LineageGraph:
        """The user's streams and their edges; of hidden ones those that others descend from."""
        records = dict(self._records(0))
        hidden = self._handle.catalog.hidden()
        wanted: set[int] = set()
        for stream_id in sorted(records, reverse=True):
            if stream_id in wanted or stream_id not in hidden:
                # Known before its turn comes: what a stream descends from has a lower id.
                wanted.update((stream_id, *_parent_ids(records[stream_id])))
        nodes, edges = [], []
        for stream_id, record in records.items():
            if stream_id in wanted and not record.name.startswith("$"):
                node = Node(
                    record.name, stream_id, kind_of(record), record.start, stream_id in hidden
                )
                nodes.append(node)
                edges += [
                    Edge(records[p].name, h, record.name, p, stream_id) for p, h in heads_of(record)
                ]
        return LineageGraph(tuple(nodes), tuple(edges))

    def _resolve(self, x: Which) -> tuple[StreamState, Head]:
        self._handle.refresh()
        return head_of(self._handle, x)

    def _streams(self, ids: Iterable[int]) -> tuple[Stream, ...]:
        return tuple(Stream(self._handle, self._handle.catalog.state(i)) for i in ids)

    def _heads(self, stream_id: int) -> tuple[Head, ...]:
        return heads_of(self._handle.catalog.record(stream_id))

    def _look(self) -> None:
        order = self._handle.catalog.order
        order.check(LOOK)
        order.run(LOOK, self._looking, self._take_up)

    def _take_up(self) -> None:
        for stream_id, record in self._records(self._seen):
            for parent in _parent_ids(record):
                self._children[parent].append(stream_id)
            self._seen = stream_id + 1

    def _records(self, start: int) -> Iterator[tuple[int, LineageRecord]]:
        self._handle.refresh()
        return lineage_records(self._handle, start)


def _parent_ids(record: LineageRecord) -> list[int]:
    return [parent for parent, _ in heads_of(record)]


def _unique(items: Iterable[_Item]) -> list[_Item]:
    return list(dict.fromkeys(items))
