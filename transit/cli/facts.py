"""What is told of a stream where streams are listed and drawn."""

from __future__ import annotations

from collections.abc import Mapping

from transit import Scalar, Stream
from transit.cli.graph import Parent, StreamFacts

# The metadata keys in which a program says what a branch or merge is, and why it made it.
_SAYING = ("branch_kind", "trace_kind", "kind", "reason")


def facts_of(stream: Stream) -> StreamFacts:
    """The facts of one stream of an open store."""
    plan = stream.merge_plan
    return StreamFacts(
        name=stream.name,
        kind=stream.kind,
        records=stream.next_offset,
        parents=tuple(Parent(place.stream, place.offset) for place in stream.parents),
        policy="" if plan is None else plan.policy,
        detail=_detail(stream.kind, stream.metadata),
    )


def _detail(kind: str, metadata: Mapping[str, Scalar]) -> str:
    found = (metadata.get(key) for key in _SAYING)
    return ": ".join(dict.fromkeys(str(each) for each in found if each not in (None, "", kind)))
