"""Lists on the page: runs, streams, and the lineage graph, a page of each at a time.

Owns what a row says and how many there are on a page. What a client may not read is not listed. All
functions read a store and may take a while: they run in a thread for reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from transit import Log, NotFoundError, Stream
from transit.server.page.lanes import Laid, StreamFacts, facts_of, laid_out
from transit.trace import Prices, RunSummary
from transit.trace.ends import Standing
from transit.trace.names import TASK_ID
from transit.trace.summaries import Listing, sorted_runs

T = TypeVar("T")
Allows = Callable[[str], bool]

ROWS: Final = 100
STANDINGS_MAX: Final = 20_000
GRAPH_ROWS: Final = 1000
LANE: Final = 14
ROW: Final = 28


class Paged(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list. number: of this page, from 1; count: of all rows."""

    rows: Sequence[T]
    number: int
    pages: int
    count: int


def paged(rows: Sequence[T], number: int, size: int = ROWS) -> Paged[T]:
    """The page of that number, or the last one."""
    pages = max(1, -(-len(rows) // size))
    number = min(max(number, 1), pages)
    return Paged(rows[(number - 1) * size : number * size], number, pages, len(rows))


class RunsAsked(msgspec.Struct, frozen=True):
    """Which runs are listed. text: in their names, in any case of letters. query: the same again,
    without the number of the page."""

    text: str = ""
    status: str = ""
    tool: str = ""
    sort: str = "created"
    number: int = 1
    query: str = ""


class StreamsAsked(msgspec.Struct, frozen=True):
    """Which streams are listed; as `RunsAsked`."""

    text: str = ""
    number: int = 1
    query: str = ""


class Standings:
    """How runs stood when they were last read, by uid, with the count of their records then.

    Records are only added: so long there are as many, the run stands as it did. For any thread.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, Standing]] = {}

    def get(self, uid: str, count: int) -> Standing | None:
        """How a run of so many records stands; None where that is not known."""
        known = self._known.get(uid)
        return None if known is None or known[0] != count else known[1]

    def keep(self, uid: str, count: int, standing: Standing) -> None:
        """Remember how a run stands."""
        if len(self._known) >= STANDINGS_MAX:
            self._known.clear()
        self._known[uid] = count, standing


class KeptListing(Listing):
    """The runs of a store, of which those that did not change are not read again."""

    def __init__(self, log: Log, standings: Standings) -> None:
        super().__init__(log)
        self._standings = standings
        # Looked at once: a run is of one moment in all of the list.
        self._found: dict[str, Standing] = {}

    def standing(self, uid: str) -> Standing:
        """See `Listing.standing`."""
        found = self._found.get(uid)
        if found is None:
            # Counted first: what comes while it is read makes it read again.
            count = len(self.runs[uid])
            found = self._standings.get(uid, count)
            if found is None:
                found = super().standing(uid)
                self._standings.keep(uid, count, found)
            self._found[uid] = found
        return found


def runs_of(
    log: Log, allows: Allows, asked: RunsAsked, prices: Prices | None, standings: Standings
) -> Paged[RunSummary]:
    """A page of the runs. Of those that are not on it as little is read as the order needs."""
    listing = KeptListing(log, standings)
    text = asked.text.casefold()
    wanted = [
        uid for uid, run in listing.runs.items() if text in run.name.casefold() and allows(run.name)
    ]
    if asked.status:
        wanted = [uid for uid in wanted if listing.status(uid) == asked.status]
    if asked.tool:
        wanted = [uid for uid in wanted if listing.used(uid, asked.tool)]
    if asked.sort == "created":
        wanted.reverse()
        wanted.sort(key=lambda uid: -(listing.created(uid) or 0))
        part = paged(wanted, asked.number)
        rows = listing.summaries(list(part.rows), prices)
        return Paged(rows, part.number, part.pages, part.count)
    return paged(sorted_runs(listing.summaries(wanted, prices), asked.sort), asked.number)


class StreamRow(msgspec.Struct, frozen=True):
    """A stream in the list."""

    uid: str
    facts: StreamFacts
    is_run: bool
    is_finished: bool


def streams_of(log: Log, allows: Allows, asked: StreamsAsked) -> Paged[StreamRow]:
    """A page of the streams, the newest first."""
    text = asked.text.casefold()
    wanted = [each for each in log.streams() if text in each.name.casefold() and allows(each.name)]
    wanted.reverse()
    part = paged(wanted, asked.number)
    rows = [StreamRow(each.uid, facts_of(each), is_run(each), each.finished) for each in part.rows]
    return Paged(rows, part.number, part.pages, part.count)


def is_run(stream: Stream) -> bool:
    """Whether a stream is a run of `trace`."""
    return isinstance(stream.metadata.get(TASK_ID), str)


# The graph


class GraphRow(msgspec.Struct, frozen=True):
    """A stream in the graph. place: number of its lane."""

    facts: StreamFacts
    is_run: bool
    place: int


class Drawing(msgspec.Struct, frozen=True):
    """The lanes as paths of SVG: of each, its lane's number modulo 6, and its commands."""

    rows: Paged[GraphRow]
    lines: list[tuple[int, str]]
    width: int
    height: int


def graph_of(log: Log, allows: Allows, name: str, number: int) -> Drawing:
    """The graph of all streams, or of the family of one; a page of it, the newest first."""
    streams = [each for each in log.streams() if allows(each.name)]
    if name:
        chosen = [each.id for each in streams if each.name == name]
        family = log.lineage.graph().family(chosen)
        streams = [each for each in streams if each.id in family]
        if not streams:
            raise NotFoundError(f"there is no stream {name!r}")
    streams.reverse()
    part = paged(streams, number, GRAPH_ROWS)
    runs = {each.uid for each in part.rows if is_run(each)}
    laid = list(laid_out([facts_of(each) for each in reversed(part.rows)]))
    rows = [GraphRow(each.stream, each.stream.uid in runs, each.place) for each in laid]
    lanes = max((len(each.after) for each in laid), default=0)
    lanes = max(lanes, max((len(each.before) for each in laid), default=0))
    whole = Paged(rows, part.number, part.pages, part.count)
    return Drawing(whole, _lines(laid), lanes * LANE + LANE, len(laid) * ROW)


def _lines(laid: Iterable[Laid]) -> list[tuple[int, str]]:
    """The paths of the lanes, those of one colour together."""
    found: dict[int, list[str]] = {}
    for number, each in enumerate(laid):
        top, middle = number * ROW, number * ROW + ROW // 2
        x = centre(each.place)
        if each.waited:
            found.setdefault(each.place % 6, []).append(f"M{x} {top}V{middle}")
        for lane, there in enumerate(each.after):
            if there and lane < len(each.before) and each.before[lane] and lane != each.place:
                line = f"M{centre(lane)} {top}V{top + ROW}"
                found.setdefault(lane % 6, []).append(line)
        for lane in sorted(each.targets):
            to, bottom = centre(lane), top + ROW
            bend = f"M{x} {middle}C{x} {bottom} {to} {middle} {to} {bottom}"
            line = f"M{x} {middle}V{bottom}" if lane == each.place else bend
            found.setdefault(lane % 6, []).append(line)
    return [(lane, "".join(lines)) for lane, lines in sorted(found.items())]


def centre(lane: int) -> int:
    """The middle of a lane, pixels from the left."""
    return lane * LANE + LANE
