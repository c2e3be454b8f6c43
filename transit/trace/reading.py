"""Reading: a stream's records as typed events, in order, with how the stream came to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from transit import InvalidInputError, Log, NotFoundError, Position, Stream
from transit.trace.ends import standing_of
from transit.trace.events import (
    CallRequest,
    CallResult,
    Checkpoint,
    ChildRun,
    Manifest,
    ModelRequest,
    ModelResponse,
    Note,
    RunEnd,
    ToolRequest,
    ToolResult,
    Totals,
)
from transit.trace.names import (
    ACTOR,
    BRANCH_KIND,
    CREATED,
    PARENT_OFFSET,
    PARENT_RUN,
    PARENT_UID,
    REASON,
    TASK_ID,
    TRACE_KIND,
)
from transit.trace.noting import Score, notes, scores_of
from transit.trace.prices import Prices
from transit.trace.records import EventRecord, event_record, events_of
from transit.trace.steps import Step, steps_of
from transit.trace.summaries import duration_of, summary_of
from transit.trace.tabulating import frame_of, table_of
from transit.trace.views import seen

if TYPE_CHECKING:
    import pandas
    import pyarrow


class Trace:
    """One stream of a trace. Iterating gives an `EventRecord` for each record, anew each time."""

    def __init__(self, log: Log, stream: Stream) -> None:
        self._log = log
        self.stream = stream

    def __repr__(self) -> str:
        return f"<transit.trace.Trace {self.name!r}>"

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.stream.name

    @property
    def task_id(self) -> str:
        """The id of the task; the stream's name where none was recorded."""
        return self._text(TASK_ID) or self.name

    @property
    def trace_kind(self) -> str:
        """ "task", or as it was named; "retry", "critique", "alternate-plan", or "merge"."""
        if self.stream.kind == "root":
            return self._text(TRACE_KIND) or "root"
        return self._text(BRANCH_KIND) or self.stream.kind

    @property
    def actor_id(self) -> str:
        """Who began it, "" where it was not said."""
        return self._text(ACTOR)

    @property
    def reason(self) -> str:
        """Why it was begun, "" where it was not said."""
        return self._text(REASON)

    @property
    def created_at(self) -> int | None:
        """When it was begun, UTC nanoseconds; None where it was not recorded."""
        found = self.stream.metadata.get(CREATED)
        return found if isinstance(found, int) else None

    @property
    def parent_run(self) -> Position | None:
        """The run this one was begun in, and the offset of that there; None for others."""
        name, offset = self._text(PARENT_RUN), self.stream.metadata.get(PARENT_OFFSET)
        return Position(name, offset) if name and isinstance(offset, int) else None

    @property
    def parent(self) -> Trace | None:
        """The run this one was begun in; None for others, and where it is not in this store."""
        uid = self._text(PARENT_UID)
        try:
            return Trace(self._log, self._log.stream(uid=uid)) if uid else None
        except (NotFoundError, InvalidInputError):
            return None

    @property
    def children(self) -> tuple[Trace, ...]:
        """The runs that were begun, or gone on with, inside this one, in order."""
        found: dict[str, Trace] = {}
        for _, event in seen(self.stream, self.stream.own_start):
            if isinstance(event, ChildRun) and event.uid not in found:
                try:
                    child = self._log.stream(uid=event.uid)
                except (NotFoundError, InvalidInputError):
                    # It was to begin when the process died.
                    continue
                found[event.uid] = Trace(self._log, child)
        return tuple(found.values())

    @property
    def manifest(self) -> dict[str, object] | None:
        """What the run was made with; None where it was not recorded."""
        for _, event in seen(self.stream, self.stream.own_start):
            if isinstance(event, Manifest):
                return event.data
        return None

    @property
    def parents(self) -> tuple[Position, ...]:
        """What it was branched off or merged from: each parent's last inherited record."""
        return self.stream.parents

    @property
    def fork_offset(self) -> int | None:
        """A branch's last inherited offset."""
        return self.stream.fork_offset

    @property
    def policy(self) -> str | None:
        """The policy of a merge; None for other streams."""
        plan = self.stream.merge_plan
        return None if plan is None else plan.policy

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the streams branched off or merged from this one, in order of creation."""
        return tuple(child.name for child in self._log.lineage.children(self.stream))

    def __len__(self) -> int:
        return len(self.stream)

    def __bool__(self) -> bool:
        """True, for an empty trace too: it is there."""
        return True

    def __iter__(self) -> Iterator[EventRecord]:
        """The events in order; `CorruptError` when a reference does not lead where it should.

        Requests of one reading have the objects in common that they have in common, such as
        messages: copy what you change.
        """
        return events_of(self._log, self.stream)

    def steps(self, *, children: bool = True) -> list[Step]:
        """What the run did, in order: each call with its outcome, and what was done inside it.

        children: whether the steps of child runs are read too.
        """
        return steps_of(self._log, self.stream, children=children)

    def to_arrow(self, *, children: bool = True) -> pyarrow.Table:
        """The steps as a table, a row a step; see `transit.trace.tabulating`.

        Raises `InvalidInputError` without pyarrow.
        """
        return table_of(self.steps(children=children))

    def to_pandas(self, *, children: bool = True) -> pandas.DataFrame:
        """The same as a `pandas.DataFrame`; `InvalidInputError` without pandas."""
        return frame_of(self.to_arrow(children=children))

    @property
    def open_calls(self) -> tuple[EventRecord, ...]:
        """Requests of tools, models and recorded calls without an outcome, in order."""
        waiting: dict[int, EventRecord] = {}
        by_id: dict[str, list[int]] = {}
        for record, event in seen(self.stream):
            if isinstance(event, ToolRequest | CallRequest | ModelRequest):
                waiting[record.offset] = event_record(record, event)
                by_id.setdefault(_id_of(event), []).append(record.offset)
            elif isinstance(event, ToolResult | CallResult | ModelResponse):
                # Models use an id again: a result says which request it is about.
                opened = by_id.get(_id_of(event), [])
                told = event.request if isinstance(event, ToolResult) else -1
                if told in opened:
                    opened.remove(told)
                    waiting.pop(told, None)
                elif opened:
                    waiting.pop(opened.pop(), None)
        return tuple(waiting.values())

    @property
    def ended(self) -> RunEnd | None:
        """How the run of this very stream ended; None while it is open, or died."""
        ended = None
        for _, event in seen(self.stream, self.stream.own_start):
            if isinstance(event, RunEnd):
                ended = event
            elif isinstance(event, Checkpoint) and event.checkpoint_kind == "resume":
                ended = None
        return ended

    @property
    def totals(self) -> Totals:
        """What the run did itself, as the totals of its end would say."""
        return standing_of(self.stream).totals

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        """Tokens of requests and of responses, of all runs below it too; as those of `runs`."""
        found = summary_of(self._log, self.stream)
        return found.tokens_in, found.tokens_out

    def cost(self, prices: Prices) -> float | None:
        """What the tokens cost, of all runs below it too; None where it is not known."""
        return summary_of(self._log, self.stream, prices).cost

    @property
    def duration_ns(self) -> int | None:
        """How long it took, nanoseconds, as `runs` says; None while it is unfinished."""
        return duration_of(standing_of(self.stream), self.created_at)

    @property
    def notes(self) -> tuple[Note, ...]:
        """All notes on the run, in the order in which they were written."""
        return notes(self._log, self)

    @property
    def scores(self) -> tuple[Score, ...]:
        """The newest score or label by each author under each name, the run's evaluations first."""
        return scores_of(self.totals, self.notes)

    def _text(self, key: str) -> str:
        found = self.stream.metadata.get(key)
        return found if isinstance(found, str) else ""


def read(log: Log, stream: str | Stream) -> Trace:
    """The trace in `stream`; `NotFoundError` when there is none of this name."""
    return Trace(log, find_stream(log, stream))


def find_stream(log: Log, stream: str | Stream) -> Stream:
    """The stream with this name, or the stream itself."""
    if isinstance(stream, Stream):
        return stream
    if not isinstance(stream, str):
        raise InvalidInputError(f"not a stream or the name of one: {stream!r}")
    return log.stream(stream)


def _id_of(
    event: ToolRequest | ToolResult | CallRequest | CallResult | ModelRequest | ModelResponse,
) -> str:
    if isinstance(event, ToolRequest | ToolResult):
        return f"tool {event.tool_call_id}"
    if isinstance(event, ModelRequest | ModelResponse):
        return f"model {event.model_id}"
    return f"call {event.call_id}"
