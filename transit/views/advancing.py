"""Folding on from one state of a view to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from transit import Log, Stream
from transit.views.errors import EventError, ReducerError
from transit.views.folding import ERRORS_MAX, Skipped
from transit.views.maps.map import Map
from transit.views.maps.node import made_children
from transit.views.nodes import StateNodes
from transit.views.pack import new_below
from transit.views.reducing import Folding, Program
from transit.views.savepoints import Savepoint


class AnyView(Protocol):
    """What the modules of this room ask of a view; `transit.views.view` has the one there is."""

    log: Log
    program: Program

    @property
    def id(self) -> str:
        """The id of the view."""

    def reach(self, stream: Stream, stop: int) -> Settled:
        """The state after `stop` records of a stream."""

    def sources(self, stream: Stream, stop: int) -> Iterator[tuple[Stream, int]]:
        """The streams that `stream` descends from, and how many of its first `stop` records each
        begins with too."""

    def settle(
        self,
        stream: Stream,
        position: int,
        root: bytes,
        fresh: dict[bytes, bytes],
        applied: int,
    ) -> Settled:
        """A state with this root. stream: one whose first records it is of, to fold them again."""

    def is_recorded(self, digest: bytes) -> bool:
        """Whether a node is in a pack."""

    def skipped(self, stream: Stream, at: int | None = None) -> Iterator[Skipped]:
        """The records that were no events: their offsets in the stream, and why."""

    def unlisted(self, settled: Settled, stream: Stream) -> tuple[Skipped, ...]:
        """What was skipped before a state, and is listed with no savepoint that `stream` has."""

    def points(self, stream: Stream) -> tuple[Savepoint, ...]:
        """The savepoints of a stream that are about the records it has, in order."""

    def fold_from(self, stream: Stream, position: int) -> Folding:
        """A fold that goes on from the state at `position`."""


class Settled:
    """A state as its view holds it, of any stream that begins with the same records.

    stream: the one that it was come to on. position: how many. nodes: those that are in no pack are
    in memory. is_saved: it is a savepoint of that stream. applied, skipped: records that were
    events; since the last savepoint of that stream those that were not.
    """

    __slots__ = ("applied", "is_saved", "map", "nodes", "position", "root", "skipped", "stream")

    def __init__(
        self, stream: Stream, position: int, root: bytes, nodes: StateNodes, applied: int
    ) -> None:
        self.stream, self.position, self.root = stream, position, root
        self.nodes, self.applied = nodes, applied
        self.skipped: tuple[Skipped, ...] = ()
        self.is_saved = False
        self.map = Map(nodes, root)


class Children(dict[bytes, Sequence[bytes]]):
    """The children of nodes that were made here, looked up when they are asked for."""

    def __init__(self, nodes: dict[bytes, bytes]) -> None:
        super().__init__()
        self._nodes = nodes

    def __missing__(self, digest: bytes) -> Sequence[bytes]:
        found = self[digest] = made_children(self._nodes[digest])
        return found


class Advance:
    """A fold of one stream under way. reached: the last state that it came to."""

    def __init__(self, view: AnyView, stream: Stream, start: Settled) -> None:
        self._view, self._stream = view, stream
        self.reached = start
        self._begin()

    def _begin(self) -> None:
        start = self.reached
        settled = self._view.settle(
            self._stream, start.position, start.root, dict(start.nodes.fresh), 0
        )
        self._nodes = settled.nodes
        self._fold = self._view.program.fold(settled.map, self._stream.name)

    def to(self, stop: int) -> Settled:
        """The state after `stop` records.

        `ReducerError` and `EventError` where it stands before an earlier one; `reached` is then the
        state there.
        """
        try:
            self._take(stop)
            self.reached = self._settle(self._fold.flush(), stop)
        except (ReducerError, EventError) as error:
            self._stand(error.offset)
            raise
        return self.reached

    def _stand(self, position: int) -> None:
        """Come as far as before the record that cannot be taken up."""
        self._begin()
        try:
            self._take(position)
            self.reached = self._settle(self._fold.flush(), position)
        except (ReducerError, EventError):
            # It does not come to the same twice: the state before all of them stands.
            self._begin()

    def _take(self, stop: int) -> None:
        where = self._view.program.spec.where or None
        for batch in self._stream.batches(self.reached.position, stop, where=where):
            self._fold.take(batch, 0, len(batch))

    def _settle(self, map_: Map, position: int) -> Settled:
        fold, before = self._fold, self.reached
        fresh = {
            digest: data
            for digest, data in self._fresh(map_.root).items()
            if not self._view.is_recorded(digest)
        }
        settled = self._view.settle(
            self._stream, position, map_.root, fresh, before.applied + fold.applied
        )
        if before.stream.uid != self._stream.uid:
            # What is listed with that stream's savepoints may be in none of this one's.
            earlier = self._view.unlisted(before, self._stream)
        else:
            earlier = () if before.is_saved else before.skipped
        settled.skipped = (*earlier, *fold.skipped)[:ERRORS_MAX]
        fold.begin_anew()
        self._nodes.fresh = dict(fresh)
        return settled

    def _fresh(self, root: bytes) -> dict[bytes, bytes]:
        nodes = self._nodes.fresh
        return {each: nodes[each] for each in new_below(root, nodes, Children(nodes))}
