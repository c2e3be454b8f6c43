"""ConnectedLineage: questions about how streams of a store that is served descend from another."""

from __future__ import annotations

from transit.client.asking import place_of, position_of
from transit.client.connection import Connection
from transit.client.stream import ConnectedStream
from transit.engine.finding import Which
from transit.engine.lineage import Lineage, LineageGraph
from transit.engine.provenance import Difference, HistorySpan, Provenance
from transit.engine.stream import Stream
from transit.errors import InvalidInputError
from transit.protocol.calls import AncestorAnswer, Description
from transit.replay import Position

_PATH = "/v1/lineage/"


class ConnectedLineage(Lineage):
    """See `Lineage`; each question is a request."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def parents(self, x: Which) -> tuple[Stream, ...]:
        """See `Lineage.parents`."""
        return self._found("parents", x)

    def children(self, x: Which, *, hidden: bool = False) -> tuple[Stream, ...]:
        """See `Lineage.children`."""
        return self._found("children", x, hidden=hidden or None)

    def ancestors(self, x: Which) -> tuple[Stream, ...]:
        """See `Lineage.ancestors`."""
        return self._found("ancestors", x)

    def is_ancestor(self, a: Which, b: Which) -> bool:
        """See `Lineage.is_ancestor`."""
        query = self._pair(a, b)
        return self._connection.value(_PATH + "is-ancestor", AncestorAnswer, query).is_ancestor

    def merge_base(self, a: Which, b: Which) -> Position | None:
        """See `Lineage.merge_base`."""
        return next(iter(self.merge_bases(a, b)), None)

    def merge_bases(self, a: Which, b: Which) -> tuple[Position, ...]:
        """See `Lineage.merge_bases`."""
        return self._connection.value(_PATH + "merge-bases", tuple[Position, ...], self._pair(a, b))

    def spans(self, x: Which) -> tuple[HistorySpan, ...]:
        """See `Lineage.spans`."""
        return self._connection.value(_PATH + "spans", tuple[HistorySpan, ...], self._of(x))

    def diff(self, a: Which, b: Which) -> Difference:
        """See `Lineage.diff`."""
        return self._connection.value(_PATH + "diff", Difference, self._pair(a, b))

    def why(self, position: Position) -> Provenance:
        """See `Lineage.why`."""
        if isinstance(position, Stream | str):
            raise InvalidInputError(f"not a position but a stream: {position!r}")
        stream, offset = position_of(position)
        query = {"stream": stream, "offset": offset}
        return self._connection.value(_PATH + "why", Provenance, query)

    def graph(self) -> LineageGraph:
        """See `Lineage.graph`."""
        return self._connection.value(_PATH + "graph", LineageGraph)

    def _found(self, path: str, x: Which, *, hidden: bool | None = None) -> tuple[Stream, ...]:
        query = {**self._of(x), "hidden": hidden}
        found = self._connection.value(_PATH + path, list[Description], query)
        return tuple(ConnectedStream(self._connection, each) for each in found)

    def _of(self, x: Which) -> dict[str, object]:
        place = place_of(self._connection, x)
        if isinstance(place, str):
            return {"of": place}
        return {"of": place[0], "at": place[1]}

    def _pair(self, a: Which, b: Which) -> dict[str, object]:
        left, right = self._of(a), self._of(b)
        return {
            "a": left["of"], "a_at": left.get("at"), "b": right["of"], "b_at": right.get("at"),
        }  # fmt: skip
