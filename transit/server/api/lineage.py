"""How streams descend from one another: the questions of `Log.lineage`.

Lists of streams and the graph show what the client may read; a position in an answer about a stream
it may read can name another stream, as the stream's own records do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from transit import (
    Difference,
    HistorySpan,
    LineageGraph,
    Position,
    Provenance,
    Stream,
)
from transit.protocol.calls import AncestorAnswer, Description
from transit.server.access import READ, Grant
from transit.server.api.naming import find
from transit.server.api.serving import Call, NoQuery, query_of, value_answer
from transit.server.api.streams import describe
from transit.server.asgi import Answer, Request
from transit.server.service import Service

At = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
Place = Stream | Position


class OfQuery(msgspec.Struct, forbid_unknown_fields=True):
    """of: a stream. at: an offset in it; null is its head."""

    of: str
    at: At | None = None


class ChildrenQuery(msgspec.Struct, forbid_unknown_fields=True):
    """of, at: as elsewhere. hidden: those too that are hidden."""

    of: str
    at: At | None = None
    hidden: bool = False


class PairQuery(msgspec.Struct, forbid_unknown_fields=True):
    """a, b: two streams. a_at, b_at: offsets in them; null is the head."""

    a: str
    b: str
    a_at: At | None = None
    b_at: At | None = None


class WhyQuery(msgspec.Struct, forbid_unknown_fields=True):
    """stream, offset: one record."""

    stream: str
    offset: At


class LineageCalls:
    """The routes of lineage."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._log = service.log
        self._lineage = service.log.lineage

    def calls(self) -> list[Call]:
        """Their table."""
        path, streams = "/v1/lineage/", list[Description]
        return [
            Call("GET", path + "parents", self._parents, "What a stream was made from.",
                 streams, OfQuery),
            Call("GET", path + "children", self._children, "What was made from a stream.",
                 streams, ChildrenQuery),
            Call("GET", path + "ancestors", self._ancestors, "All that a stream descends from.",
                 streams, OfQuery),
            Call("GET", path + "spans", self._spans, "Where a stream's records were appended.",
                 list[HistorySpan], OfQuery),
            Call("GET", path + "is-ancestor", self._is_ancestor, "Whether a went into b.",
                 AncestorAnswer, PairQuery),
            Call("GET", path + "merge-bases", self._merge_bases, "The nearest common ancestors.",
                 list[Position], PairQuery),
            Call("GET", path + "diff", self._diff, "What two histories have in common, and not.",
                 Difference, PairQuery),
            Call("GET", path + "why", self._why, "How a record got where it is.",
                 Provenance, WhyQuery),
            Call("GET", path + "graph", self._graph, "All streams, and how they descend.",
                 LineageGraph, NoQuery),
        ]  # fmt: skip

    def _place(self, grant: Grant, name: str, at: int | None) -> Place:
        stream = find(self._log, grant, READ, name)
        return stream if at is None else Position(stream.name, at)

    async def _answered(self, request: Request, work: Callable[[], object]) -> Answer:
        return value_answer(request, await self._service.read(work))

    def _shown(self, grant: Grant, streams: tuple[Stream, ...]) -> list[Description]:
        return [describe(stream) for stream in streams if grant.allows(READ, stream.name)]

    async def _parents(self, request: Request) -> Answer:
        query, grant = query_of(request, OfQuery), request.grant
        place = partial(self._place, grant, query.of, query.at)
        return await self._answered(
            request, lambda: self._shown(grant, self._lineage.parents(place()))
        )

    async def _children(self, request: Request) -> Answer:
        query, grant = query_of(request, ChildrenQuery), request.grant
        place = partial(self._place, grant, query.of, query.at)

        def work() -> list[Description]:
            return self._shown(grant, self._lineage.children(place(), hidden=query.hidden))

        return await self._answered(request, work)

    async def _ancestors(self, request: Request) -> Answer:
        query, grant = query_of(request, OfQuery), request.grant
        place = partial(self._place, grant, query.of, query.at)
        return await self._answered(
            request, lambda: self._shown(grant, self._lineage.ancestors(place()))
        )

    async def _spans(self, request: Request) -> Answer:
        query = query_of(request, OfQuery)
        place = partial(self._place, request.grant, query.of, query.at)
        return await self._answered(request, lambda: self._lineage.spans(place()))

    def _pair(self, request: Request) -> Callable[[], tuple[Place, Place]]:
        query, grant = query_of(request, PairQuery), request.grant

        def work() -> tuple[Place, Place]:
            left = self._place(grant, query.a, query.a_at)
            return left, self._place(grant, query.b, query.b_at)

        return work

    async def _is_ancestor(self, request: Request) -> Answer:
        pair = self._pair(request)
        return await self._answered(
            request, lambda: AncestorAnswer(self._lineage.is_ancestor(*pair()))
        )

    async def _merge_bases(self, request: Request) -> Answer:
        pair = self._pair(request)
        return await self._answered(request, lambda: self._lineage.merge_bases(*pair()))

    async def _diff(self, request: Request) -> Answer:
        pair = self._pair(request)
        return await self._answered(request, lambda: self._lineage.diff(*pair()))

    async def _why(self, request: Request) -> Answer:
        query = query_of(request, WhyQuery)

        def work() -> Provenance:
            stream = find(self._log, request.grant, READ, query.stream)
            return self._lineage.why(Position(stream.name, query.offset))

        return await self._answered(request, work)

    async def _graph(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        return await self._answered(request, partial(self._allowed_graph, request.grant))

    def _allowed_graph(self, grant: Grant) -> LineageGraph:
        graph = self._lineage.graph()
        nodes = tuple(node for node in graph.nodes if grant.allows(READ, node.name))
        names = {node.name for node in nodes}
        edges = (edge for edge in graph.edges if edge.parent in names and edge.child in names)
        return LineageGraph(nodes, tuple(edges))
