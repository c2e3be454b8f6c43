"""Summaries: what became of runs, of many at once, from the last record of each.

A run is a stream of the user's whose metadata say so: `task_id` is text. Its children are the runs
whose metadata name it as `parent_uid`. Of a run that ended nothing before its end is read; one that
did not is read whole, for nobody summed it up. Notes are read of the runs that are asked for.

Owns `runs` and what it selects by. What a summary is, and how many of them become a table, is in
`tabulating`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final, Literal, get_args

from transit import InvalidInputError, Log, Scalar, Stream
from transit.trace.artifacts import LAYER
from transit.trace.ends import Standing, noted_ends, standing_of
from transit.trace.events import (
    ErrorInfo,
    Note,
    ToolRequest,
    ToolResult,
    Totals,
    check_choice,
)
from transit.trace.families import rolled_up
from transit.trace.names import (
    ACTOR,
    BRANCH_KIND,
    CREATED,
    PARENT_RUN,
    PARENT_UID,
    REASON,
    TASK_ID,
    TRACE_KIND,
    HoldsStream,
    stream_of,
)
from transit.trace.noting import PREFIX, notes_in, scores_of
from transit.trace.prices import Prices, check_prices
from transit.trace.sums import OTHERS, tokens_told
from transit.trace.tabulating import Runs, RunSummary, Status
from transit.trace.views import seen

Sort = Literal["created", "name", "duration", "events", "tokens", "cost", "failures"]
STATUSES: Final[tuple[str, ...]] = get_args(Status)
SORTS: Final[tuple[str, ...]] = get_args(Sort)
FAILED: Final = ("failed", "cancelled")
UNFINISHED: Final = "unfinished"


def runs(  # noqa: PLR0913 - as many things are asked for
    log: Log,
    prefix: str = "",
    *,
    failed: bool | None = None,
    status: str | None = None,
    tool: str | None = None,
    since: int | None = None,
    until: int | None = None,
    where: Mapping[str, Scalar] | None = None,
    parent: str | Stream | HoldsStream | None = None,
    prices: Prices | None = None,
    sort: str = "created",
    limit: int | None = None,
) -> Runs:
    """What became of the runs whose names start with `prefix`, those that are hidden left out.

    failed: True for the status "failed" or "cancelled", False for the others; what failed below a
    run does not count. tool: those that called a tool of this name themselves. since, until: UTC
    nanoseconds of when they were created, `until` not among them. where: metadata they have, with
    exactly these values. parent: the run they were begun in. prices: what tokens cost. sort: by
    "created" (the newest first), "name", "duration", "events", "tokens", "cost" or "failures" (the
    most first); what is not known comes last. limit: how many at most.
    Raises `InvalidInputError` for an argument that is no such thing, `NotFoundError` for a parent
    that is not in the store.
    """
    _check(prefix, failed, status, tool, sort, limit)
    for bound, what in ((since, "since"), (until, "until")):
        if bound is not None and type(bound) is not int:
            raise InvalidInputError(f"{what} must be UTC nanoseconds, not {bound!r}")
    if where is not None and not isinstance(where, Mapping):
        raise InvalidInputError(f"where must be a mapping, not {where!r}")
    priced = check_prices(prices)
    listing = Listing(log)
    within = None if parent is None else stream_of(log, parent).uid
    wanted = [
        uid
        for uid in listing.runs
        if listing.runs[uid].name.startswith(prefix)
        and _is_between(listing.created(uid), since, until)
        and _has(listing.metadata[uid], where or {})
        and (within is None or listing.parents.get(uid) == within)
    ]
    wanted = [uid for uid in wanted if _is_status(listing.status(uid), failed, status)]
    if tool is not None:
        wanted = [uid for uid in wanted if listing.used(uid, tool)]
    found = sorted_runs(listing.summaries(wanted, priced), sort)
    return Runs(found if limit is None else found[:limit])


def _check(
    prefix: object, failed: object, status: object, tool: object, sort: object, limit: object
) -> None:
    if not isinstance(prefix, str):
        raise InvalidInputError(f"prefix must be text, not {prefix!r}")
    if failed is not None and not isinstance(failed, bool):
        raise InvalidInputError(f"failed must be True, False or None, not {failed!r}")
    if status is not None:
        check_choice(status, STATUSES, "status")
    if tool is not None and not isinstance(tool, str):
        raise InvalidInputError(f"tool must be the name of one, not {tool!r}")
    check_choice(sort, SORTS, "sort")
    if limit is not None and (type(limit) is not int or limit < 0):
        raise InvalidInputError(f"limit must be a count or None, not {limit!r}")


def _is_between(created: int | None, since: int | None, until: int | None) -> bool:
    if created is None:
        return since is None and until is None
    return (since is None or since <= created) and (until is None or created < until)


def _has(metadata: Mapping[str, Scalar], wanted: Mapping[str, Scalar]) -> bool:
    # To Python True equals 1; to the user who wrote the metadata it does not.
    return all(
        key in metadata
        and metadata[key] == value
        and isinstance(metadata[key], bool) == isinstance(value, bool)
        for key, value in wanted.items()
    )


def _is_status(found: str, failed: bool | None, status: str | None) -> bool:
    if status is not None and found != status:
        return False
    return failed is None or failed == (found in FAILED)


_KEYS: Final[Mapping[str, Callable[[RunSummary], int | float | None]]] = {
    "created": lambda run: run.created_at,
    "duration": lambda run: run.duration_ns,
    "events": lambda run: run.totals.events,
    "tokens": lambda run: _added(run.tokens_in, run.tokens_out),
    "cost": lambda run: run.cost,
    "failures": lambda run: run.failures,
}


def sorted_runs(found: list[RunSummary], sort: str) -> list[RunSummary]:
    """Summaries in the order that `runs` gives; they come in order of creation."""
    if sort == "name":
        return sorted(found, key=lambda run: run.name)
    key = _KEYS[sort]
    # Those made later come first among equals.
    found = found[::-1]
    known = [run for run in found if key(run) is not None]
    known.sort(key=lambda run: key(run) or 0, reverse=True)
    return known + [run for run in found if key(run) is None]


def _added(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


class Listing:
    """The runs of a store at one moment, by uid; how each stands is read when it is asked for."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.runs: dict[str, Stream] = {}
        self.metadata: dict[str, Mapping[str, Scalar]] = {}
        self.parents: dict[str, str] = {}
        self.children: dict[str, list[str]] = {}
        self._standing: dict[str, Standing] = {}
        self._noted = noted_ends(log)
        for stream in log.streams():
            metadata = stream.metadata
            if isinstance(metadata.get(TASK_ID), str):
                self.add(stream, metadata)

    def add(self, stream: Stream, metadata: Mapping[str, Scalar]) -> None:
        """Take in a run, unless it is there."""
        uid = stream.uid
        if uid in self.runs:
            return
        self.runs[uid], self.metadata[uid] = stream, metadata
        parent = metadata.get(PARENT_UID)
        if isinstance(parent, str):
            # As it is spelled in a UUID, or without hyphens.
            parent = parent.replace("-", "").lower()
            self.parents[uid] = parent
            self.children.setdefault(parent, []).append(uid)

    def standing(self, uid: str) -> Standing:
        """How a run stands, read once."""
        found = self._standing.get(uid)
        if found is None:
            stream, note = self.runs[uid], self._noted.get(uid)
            noted = None if note is None else note.standing(stream)
            found = self._standing[uid] = noted or standing_of(stream)
        return found

    def status(self, uid: str) -> Status:
        """How a run ended, or "unfinished"."""
        return status_of(self.standing(uid))

    def created(self, uid: str) -> int | None:
        """When a run was created, UTC nanoseconds; None where its metadata say nothing."""
        found = self.metadata[uid].get(CREATED)
        return found if type(found) is int else None

    def used(self, uid: str, tool: str) -> bool:
        """Whether a run called a tool itself."""
        tools = self.standing(uid).totals.tools
        # Of very many names not all are in the totals.
        return tool in tools or (OTHERS in tools and _calls(self.runs[uid], tool))

    def rolled_up(self, uids: Iterable[str]) -> dict[str, Totals]:
        """The totals of runs, each with those of all below it."""
        own = lambda uid: self.standing(uid).totals  # noqa: E731 - it is one expression
        return rolled_up(uids, self.children, self.parents, own)

    def summaries(self, uids: list[str], prices: Prices | None) -> list[RunSummary]:
        """What became of these runs, in the same order."""
        totals = self.rolled_up(uids)
        return [self._summary(uid, totals[uid], prices) for uid in uids]

    def notes(self, uid: str) -> tuple[Note, ...]:
        """The notes on a run."""
        stream = self._notes.get(f"{PREFIX}{uid}")
        return () if stream is None else notes_in(stream)

    @cached_property
    def _notes(self) -> dict[str, Stream]:
        layer = self._log.layer(LAYER)
        return {layer.local_name(stream): stream for stream in layer.streams(PREFIX)}

    def _summary(self, uid: str, totals: Totals, prices: Prices | None) -> RunSummary:
        stream, metadata, standing = self.runs[uid], self.metadata[uid], self.standing(uid)
        created, end = self.created(uid), standing.end
        error = None
        if end is not None and end.error is not None and not standing.resumed:
            error = ErrorInfo(type=end.error.type, message=end.error.message)
        # Without calls there were no tokens; with calls that told none it is not known.
        known = 0 if not totals.model_calls else None
        tokens_in, tokens_out = (known if n is None else n for n in tokens_told(totals))
        ended_at = None if standing.resumed else standing.ended_at
        return RunSummary(
            name=stream.name,
            uid=uid,
            task_id=_text(metadata, TASK_ID),
            trace_kind=_text(metadata, BRANCH_KIND) or _text(metadata, TRACE_KIND) or stream.kind,
            status=status_of(standing),
            created_at=created,
            ended_at=ended_at,
            duration_ns=duration_of(standing, created),
            own=standing.totals,
            totals=totals,
            failures=totals.failures,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost=None if prices is None else prices.cost(totals),
            error=error,
            parent=self._parent(uid),
            children=tuple(self.runs[child].name for child in self.children.get(uid, ())),
            actor=_text(metadata, ACTOR),
            reason=_text(metadata, REASON),
            scores=scores_of(standing.totals, self.notes(uid)),
            metadata=dict(metadata),
        )

    def _parent(self, uid: str) -> str | None:
        """The parent's name now, or as it was recorded."""
        parent = self.runs.get(self.parents.get(uid, ""))
        return _text(self.metadata[uid], PARENT_RUN) or None if parent is None else parent.name


def summary_of(log: Log, stream: Stream, prices: Prices | None = None) -> RunSummary:
    """What became of one run, whether it is listed or not."""
    listing = Listing(log)
    listing.add(stream, stream.metadata)
    return listing.summaries([stream.uid], check_prices(prices))[0]


def status_of(standing: Standing) -> Status:
    """How a run ended, or "unfinished"."""
    return UNFINISHED if standing.end is None or standing.resumed else standing.end.status


def duration_of(standing: Standing, created: int | None) -> int | None:
    """How long a run took, nanoseconds; None while it is unfinished, and where nothing tells."""
    if standing.end is None or standing.ended_at is None or standing.resumed:
        return None
    if standing.end.duration_ns > 0:
        return standing.end.duration_ns
    if created is None or standing.ended_at < created:
        return None
    return standing.ended_at - created


def _text(metadata: Mapping[str, Scalar], key: str) -> str:
    found = metadata.get(key)
    return found if isinstance(found, str) else ""


def _calls(stream: Stream, tool: str) -> bool:
    """Whether a stream's own records have a call of this tool."""
    return any(event.tool_name == tool for event in _tool_events(stream))


def _tool_events(stream: Stream) -> Iterator[ToolRequest | ToolResult]:
    for _, event in seen(stream, stream.own_start):
        if isinstance(event, ToolRequest | ToolResult):
            yield event
