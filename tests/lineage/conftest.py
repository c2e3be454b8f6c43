"""A naive model of lineage, record by record, and random worlds made with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, pairwise

import pytest
from hypothesis import strategies as st

from transit.errors import NotFoundError
from transit.format.lineage import Branch, LineageRecord, Merge, Root
from transit.lineage.graph import Graph
from transit.lineage.policy import Request, plan
from transit.lineage.spans import Span, lay, to_plan

Position = tuple[int, int]


class World:
    """Streams as plain lists of (origin stream, offset); ancestors by recursion over names."""

    def __init__(self, clock: tuple[int, ...] = (0,)) -> None:
        self.records: dict[int, LineageRecord] = {}
        self.histories: dict[int, list[Position]] = {}
        self.clock = clock
        self.graph = Graph(self.lookup)

    def lookup(self, stream: int) -> LineageRecord:
        if stream not in self.records:
            raise NotFoundError(f"no stream {stream}")
        return self.records[stream]

    # Making streams.

    def root(self, own: int = 0) -> int:
        return self._add(Root(name="r"), [], own)

    def branch(self, parent: int, fork: int, own: int = 0) -> int:
        inherited = self.histories[parent][: fork + 1]
        assert len(inherited) == fork + 1
        return self._add(Branch(name="b", parent=parent, fork=fork), inherited, own)

    def merge(self, heads: Iterable[Position], merged: list[Position], own: int = 0) -> int:
        flat = to_plan(lay((stream, offset, 1) for stream, offset in merged))
        record = Merge(
            name="m",
            merge_id="m",
            parents=tuple(heads),
            base=None,
            policy="custom:test",
            version=1,
            params={},
            plan=flat,
        )
        return self._add(record, merged, own)

    def append(self, stream: int, count: int) -> None:
        history = self.histories[stream]
        start = len(history)
        history.extend((stream, start + i) for i in range(count))

    def _add(self, record: LineageRecord, inherited: list[Position], own: int) -> int:
        stream = len(self.records) + 1
        self.records[stream] = record
        self.histories[stream] = list(inherited)
        self.append(stream, own)
        return stream

    # What is true of them, the slow way.

    def head(self, stream: int) -> Position:
        return stream, len(self.histories[stream]) - 1

    def history(self, position: Position | None) -> list[Position]:
        return [] if position is None else self.histories[position[0]][: position[1] + 1]

    def names(self, position: Position) -> set[Position]:
        """Every ancestor by every name it has on the way up, offset -1 among them."""
        stream, offset = position
        record = self.records[stream]
        found = {(stream, i) for i in range(-1, offset + 1)}
        if isinstance(record, Branch):
            found |= self.names((record.parent, min(offset, record.fork)))
        elif isinstance(record, Merge) and offset >= record.start - 1:
            for parent in record.parents:
                found |= self.names(parent)
        elif isinstance(record, Merge):
            for source in self.history(position):
                found |= self.names(source)
        return found

    def own(self, position: Position) -> set[Position]:
        return {(s, i) for s, i in self.names(position) if i >= self.records[s].start}

    def node(self, position: Position) -> Position:
        stream, offset = position
        record = self.records[stream]
        if isinstance(record, Branch) and offset <= record.fork:
            return self.node((record.parent, offset))
        return position

    def canonical(self, position: Position) -> Position:
        node, origin = self.node(position), self.history(position)[-1]
        return origin if self.history(origin) == self.history(node) else node

    def is_ancestor(self, a: Position, b: Position) -> bool:
        return a[1] < 0 or self.history(a)[-1] in self.names(b)

    def merge_bases(self, heads: Iterable[Position]) -> list[Position]:
        shared = set.intersection(*(self.names(head) for head in heads))
        highest = {s: max(i for t, i in shared if t == s) for s, _ in shared}
        nodes = {self.node(position) for position in highest.items()}
        nearest = [
            node
            for node in nodes
            if not any(other != node and node in self.names(other) for other in nodes)
        ]
        return sorted({self.canonical(node) for node in nearest if node[1] >= 0}, reverse=True)

    def suffixes(self, heads: Iterable[Position], base: Position | None) -> list[list[Position]]:
        seen = set(self.history(base))
        parts = []
        for head in heads:
            parts.append([record for record in self.history(head) if record not in seen])
            seen.update(parts[-1])
        return parts

    def time(self, record: Position) -> int:
        stream, offset = record
        return self.clock[(stream * 7 + offset) % len(self.clock)]

    # Comparing.

    def timestamps(self, span: Span) -> list[int]:
        return [self.time(record) for record in flatten([span])]

    def plan(
        self, policy: str, heads: Iterable[Position], base: Position | None = None, **rest: object
    ) -> list[Position]:
        """The records of the plan under test, which must be well formed and without repeats."""
        order = rest.pop("order", None)
        request = Request(policy=policy, heads=tuple(heads), base=base, params=rest)
        records = well_formed(plan(request, self.graph, self.timestamps, order))
        assert len(set(records)) == len(records)
        return records


def flatten(spans: Iterable[Span]) -> list[Position]:
    return [(span.stream, span.origin + i) for span in spans for i in range(span.count)]


def well_formed(spans: tuple[Span, ...]) -> list[Position]:
    """The records of `spans`, which count from offset 0 on and could not be fewer."""
    first = 0
    for span in spans:
        assert span.first == first
        assert span.count >= 1
        first += span.count
    for left, right in pairwise(spans):
        assert (left.stream, left.origin + left.count) != (right.stream, right.origin)
    return flatten(spans)


@st.composite
def draw_worlds(draw: Callable[..., int]) -> World:
    """Some streams: roots, branches at any offset, merges and twin merges that lose and mix."""
    world = World(draw(st.lists(st.integers(0, 5), min_size=1, max_size=9).map(tuple)))
    world.root(draw(st.integers(0, 4)))
    for _ in range(draw(st.integers(0, 8))):
        own = draw(st.integers(0, 3))
        streams = sorted(world.records)
        kind = draw(st.sampled_from(["root", "branch", "branch", "merge", "merge", "append"]))
        if kind == "root":
            world.root(own)
        elif kind == "append":
            world.append(draw(st.sampled_from(streams)), own)
        elif kind == "branch":
            parent = draw(st.sampled_from(streams))
            world.branch(parent, draw(st.integers(-1, world.head(parent)[1])), own)
        elif len(streams) > 1:
            heads = draw(draw_heads(world, distinct=True))
            for _ in range(draw(st.integers(1, 2))):
                world.merge(heads, draw(draw_merged(world, heads)), own)
    return world


@st.composite
def draw_heads(draw: Callable[..., int], world: World, *, distinct: bool) -> list[Position]:
    streams = draw(
        st.lists(st.sampled_from(sorted(world.records)), min_size=2, max_size=4, unique=distinct)
    )
    return [
        (stream, draw(st.one_of(st.just(last), st.integers(-1, last))))
        for stream, last in map(world.head, streams)
    ]


@st.composite
def draw_merged(draw: Callable[..., int], world: World, heads: list[Position]) -> list[Position]:
    """A history some policy could have made: one parent's, all suffixes, or any of them mixed."""
    bases = world.merge_bases(heads)
    base = draw(st.sampled_from([None, *bases]))
    parts = list(chain.from_iterable(world.suffixes(heads, base)))
    return draw(
        st.one_of(
            st.sampled_from([world.history(head) for head in heads]),
            st.just(world.history(base) + parts),
            st.permutations(parts).map(lambda mixed: world.history(base) + mixed[::2]),
        )
    )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def worlds() -> st.SearchStrategy[World]:
    return draw_worlds()


@pytest.fixture(scope="session")
def heads_of() -> Callable[..., st.SearchStrategy[list[Position]]]:
    return draw_heads
