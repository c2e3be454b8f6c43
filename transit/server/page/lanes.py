"""The lineage graph in lanes: which streams come in which order, and which lanes lead where.

Owns the order of rows and the lanes; characters, colours and curves are of those who draw. Takes
streams in order of creation, parents before children, and lays out the newest first, those that
belong together one after the other.

A lane leads from a stream down to the parent it waits for; two that wait for the same one are one
lane. At most `LANES_MAX` lead on beside each other, which bounds time and width: a parent that
would need one more has no lane.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from transit import Scalar, Stream

LANES_MAX: Final = 24
# The metadata keys in which a program says what a branch or merge is, and why it made it.
_SAYING: Final = ("branch_kind", "trace_kind", "kind", "reason")


class Parent(NamedTuple):
    """A stream inherited from, and the last inherited offset; -1 for an empty one.

    uid: as that of `StreamFacts`.
    """

    name: str
    offset: int
    uid: str = ""

    @property
    def key(self) -> str:
        """What no other stream has."""
        return self.uid or self.name


class StreamFacts(msgspec.Struct, frozen=True):
    """What is drawn of one stream. detail: why it was made, "" when that was not said.

    uid: "" where names tell the streams apart; not of a store, where a hidden one may have the same
    name as another.
    """

    name: str
    kind: str
    records: int
    parents: tuple[Parent, ...] = ()
    policy: str = ""
    detail: str = ""
    uid: str = ""

    @property
    def key(self) -> str:
        """What no other stream has."""
        return self.uid or self.name


class Laid(NamedTuple):
    """A stream in its lane.

    place: number of its lane. waited: whether a stream above leads to it. before: which lanes there
    are beside it. after: which there are below it. targets: lanes that it leads to.
    """

    stream: StreamFacts
    place: int
    waited: bool
    before: list[bool]
    after: list[bool]
    targets: frozenset[int]


def facts_of(stream: Stream) -> StreamFacts:
    """The facts of one stream of an open store."""
    plan = stream.merge_plan
    return StreamFacts(
        name=stream.name,
        kind=stream.kind,
        records=stream.next_offset,
        parents=tuple(
            Parent(place.stream, place.offset, uid)
            for place, uid in zip(stream.parents, stream.parent_uids, strict=True)
        ),
        uid=stream.uid,
        policy="" if plan is None else plan.policy,
        detail=_detail(stream.kind, stream.metadata),
    )


def _detail(kind: str, metadata: Mapping[str, Scalar]) -> str:
    found = (metadata.get(key) for key in _SAYING)
    return ": ".join(dict.fromkeys(str(each) for each in found if each not in (None, "", kind)))


def laid_out(streams: Sequence[StreamFacts]) -> Iterator[Laid]:
    """The streams in their lanes, from the top down.

    Takes time in proportion to the streams and edges, whatever their shape.
    """
    known = {stream.key: stream for stream in streams}
    lanes: list[str | None] = []
    for stream in _arranged(streams, known):
        waited = stream.key in lanes
        place = _place(lanes, stream.key)
        before = [lane is not None for lane in lanes]
        parents = [parent.key for parent in stream.parents if parent.key in known]
        targets = _hand_on(lanes, place, parents)
        after = [lane is not None for lane in lanes]
        yield Laid(stream, place, waited, before, after, frozenset(targets))
        while lanes and lanes[-1] is None:
            lanes.pop()


def _place(lanes: list[str | None], key: str) -> int:
    """The lane that waits for the stream with this key, or a free one for it."""
    if key in lanes:
        return lanes.index(key)
    place = _free(lanes)
    lanes[place : place + 1] = [key]
    return place


def _free(lanes: list[str | None]) -> int:
    return lanes.index(None) if None in lanes else len(lanes)


def _hand_on(lanes: list[str | None], place: int, parents: Iterable[str]) -> set[int]:
    """Let the lanes wait for `parents` instead of the stream at `place`; the lanes they have."""
    lanes[place] = None
    targets = set()
    for parent in parents:
        if parent not in lanes:
            free = place if lanes[place] is None else _free(lanes)
            if free >= LANES_MAX:
                continue
            lanes[free : free + 1] = [parent]
        targets.add(lanes.index(parent))
    return targets


def _arranged(
    streams: Sequence[StreamFacts], known: Mapping[str, StreamFacts]
) -> Iterator[StreamFacts]:
    """Children before parents, families one after the other, each beginning with its newest."""
    waiting: dict[str, int] = defaultdict(int)
    for stream in streams:
        for parent in stream.parents:
            waiting[parent.key] += 1
    for family in reversed(_families(streams, known)):
        ready = [stream for stream in family if not waiting[stream.key]]
        while ready:
            stream = ready.pop()
            yield stream
            for parent in reversed(stream.parents):
                waiting[parent.key] -= 1
                if not waiting[parent.key] and parent.key in known:
                    ready.append(known[parent.key])


def _families(
    streams: Sequence[StreamFacts], known: Mapping[str, StreamFacts]
) -> list[list[StreamFacts]]:
    """Connected streams, each family in order of creation; the one with the newest stream last."""
    leader = {key: key for key in known}

    def find(key: str) -> str:
        while leader[key] != key:
            # Every look halves the way for the next one, so that long chains stay cheap.
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    for stream in streams:
        for parent in stream.parents:
            if parent.key in known:
                leader[find(parent.key)] = find(stream.key)
    families: dict[str, list[StreamFacts]] = defaultdict(list)
    for stream in reversed(streams):
        families[find(stream.key)].append(stream)
    return [family[::-1] for family in reversed(families.values())]
