"""Whether what a view keeps in a store is what its records come to."""

from __future__ import annotations

from typing import NoReturn

import transit
from rigs.views.programs import event_of, everything, folded, rows_of
from transit import views
from transit.views.nodes import RecordedNodes, StateNodes, all_nodes
from transit.views.savepoints import LogKeeper, Savepoint

EVERY = 5


class NotThereError(Exception):
    """A node that a savepoint needs is in no pack."""


def judge(log: transit.Log) -> str:
    """What is wrong with the savepoints of a store, or with going on from them; "" for nothing."""
    view = views.open(log, everything, savepoint_records=EVERY)
    fresh = views.open(log, everything, persist="ephemeral")
    for stream in list(log.streams()):
        problem = _of_points(log, view, fresh, stream) or _going_on(view, stream)
        if problem:
            return f"{stream.name}: {problem}"
    return ""


def _of_points(
    log: transit.Log, view: views.View, fresh: views.View, stream: transit.Stream
) -> str:
    keeper = LogKeeper(log, everything.spec)
    keeper.look(stream)
    points = keeper.points(stream)
    if len(points) != len(view.points(stream)):
        return "a savepoint is about records that are not there"
    for point in points:
        again = fresh.of(stream, point.next)
        if again.root != point.root:
            return f"[:{point.next}] is {again.root[:8]}, kept was {point.root[:8]}"
        if again.applied != point.applied:
            return f"[:{point.next}] came of {again.applied} records, kept was {point.applied}"
        try:
            _read_all(keeper, point)
        except (transit.TransitError, NotThereError) as error:
            return f"[:{point.next}]: {type(error).__name__} {error}"
    return ""


def _read_all(keeper: LogKeeper, point: Savepoint) -> None:
    def again() -> NoReturn:
        raise NotThereError("a node is in no pack")

    recorded = RecordedNodes(keeper.read_pack)
    root = bytes.fromhex(point.root)
    if point.place is not None:
        recorded.places[root] = point.place
    all_nodes(StateNodes({}, recorded, again), root)


def _going_on(view: views.View, stream: transit.Stream) -> str:
    if rows_of(view.of(stream)) != folded(stream).rows():
        return "the view is not what its records come to"
    if view.log.mode == "read":
        return ""
    stream.append(event_of(len(stream)))
    if rows_of(view.save(stream)) != folded(stream).rows():
        return "one record later the view is not what its records come to"
    return "" if view.savepoints(stream)[-1] == len(stream) else "no savepoint can be written"
