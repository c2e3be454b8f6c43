"""Tables of runs, and of the steps of one, as Arrow's columns, and so as those of pandas.

Of runs, a row what a summary says:

name, uid, task_id, trace_kind, status, actor, reason, parent      text, null where there is none
created_at, ended_at                timestamps, nanoseconds, UTC
duration_ns, tokens_in, tokens_out, events, model_calls, tool_calls, calls, failures
                                    64-bit numbers; null where not known; with the runs below
cost                                double, null where not known
error_type, error_message           text, null where it ended without one
children                            a list of names
tools                               a list of {name, calls, failures}; with the runs below
scores                              a list of {name, author, score, label, at}; a bool is 0 or 1
metadata                            a map of text to text: what is no text as JSON

Of a run, a row a step, those of child runs after the one that begins them:

run, kind, name, status             text; the stream, and what `Step` says
offset, end_offset                  of the first record and of the outcome; null while it is open
depth                               how many steps it is inside of
begun_at                            timestamp, nanoseconds, UTC
duration_ns, input_tokens, output_tokens       64-bit numbers, null where not known
failed, inherited                   booleans
error_type, error_message           text, null without one
input, output                       JSON text, null where there is none
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, overload

import msgspec

from transit import InvalidInputError, Scalar
from transit.trace.events import ErrorInfo, Totals, encode_json
from transit.trace.noting import Score
from transit.trace.steps import Step

if TYPE_CHECKING:
    import pandas
    import pyarrow

_INT64: Final = range(-(1 << 63), 1 << 63)
Status = Literal["completed", "failed", "cancelled", "unfinished"]


class RunSummary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of a run.

    status: "completed", "failed" (it left with an exception), "cancelled" (with one that is no
    error, such as `KeyboardInterrupt`), or "unfinished": it runs, or died. created_at, ended_at:
    UTC nanoseconds. duration_ns: as its end says, which is since it was begun or last gone on with;
    where that says nothing, from created_at to ended_at. error: type and message it ended with.
    own: what the run did itself. totals: with all runs below it; so are failures, tokens_in,
    tokens_out and cost. tokens_in: of requests, those in a cache among them. None where they are
    not known: tokens where no call told any, the cost where anything that it is made of is missing.
    parent: name of the run it was begun in, children: names of those begun in it. scores: as
    `Trace.scores`. task_id, trace_kind, actor, reason, metadata: as they were recorded.
    """

    name: str
    uid: str
    task_id: str
    trace_kind: str
    status: Status
    created_at: int | None
    ended_at: int | None
    duration_ns: int | None
    own: Totals
    totals: Totals
    failures: int
    tokens_in: int | None
    tokens_out: int | None
    cost: float | None
    error: ErrorInfo | None
    parent: str | None
    children: tuple[str, ...]
    actor: str
    reason: str
    scores: tuple[Score, ...]
    metadata: dict[str, Scalar]


class Runs(Sequence[RunSummary]):
    """Summaries of runs, in order; `to_arrow` and `to_pandas` make a table of them."""

    def __init__(self, rows: Sequence[RunSummary]) -> None:
        self._rows = list(rows)

    def __repr__(self) -> str:
        return f"<transit.trace.Runs of {len(self)}>"

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> RunSummary: ...
    @overload
    def __getitem__(self, place: slice) -> list[RunSummary]: ...
    def __getitem__(self, place: int | slice) -> RunSummary | list[RunSummary]:
        return self._rows[place]

    def __iter__(self) -> Iterator[RunSummary]:
        return iter(self._rows)

    def to_arrow(self) -> pyarrow.Table:
        """The summaries as a table; `InvalidInputError` without pyarrow."""
        pa = _pyarrow()
        return pa.Table.from_pylist([_row(each) for each in self._rows], schema=_schema(pa))

    def to_pandas(self) -> pandas.DataFrame:
        """The summaries as a `pandas.DataFrame`; `InvalidInputError` without pandas."""
        return frame_of(self.to_arrow())


def _pyarrow() -> Any:
    try:
        # Loaded here: it is an extra, and takes longer to load than all of transit.
        import pyarrow
    except ImportError:
        raise InvalidInputError("Arrow needs pyarrow: pip install 'transit[arrow]'") from None
    return pyarrow


def frame_of(table: pyarrow.Table) -> pandas.DataFrame:
    """A table as a `pandas.DataFrame`; `InvalidInputError` without pandas."""
    try:
        # Asked for here: to Arrow it is no requirement, and its own error is any.
        import pandas  # noqa: F401
    except ImportError:
        raise InvalidInputError(
            "a data frame needs pandas: pip install pandas 'transit[arrow]'"
        ) from None
    return table.to_pandas()


# Steps


def table_of(steps: Iterable[Step]) -> pyarrow.Table:
    """Steps, and those inside them, as a table; `InvalidInputError` without pyarrow."""
    pa = _pyarrow()
    text, number = pa.string(), pa.int64()
    schema = pa.schema(
        [
            ("run", text), ("offset", number), ("end_offset", number), ("depth", number),
            ("kind", text), ("name", text), ("status", text), ("failed", pa.bool_()),
            ("begun_at", pa.timestamp("ns", tz="UTC")), ("duration_ns", number),
            ("input_tokens", number), ("output_tokens", number), ("error_type", text),
            ("error_message", text), ("input", text), ("output", text),
            ("inherited", pa.bool_()),
        ]
    )  # fmt: skip
    rows = [_step_row(step, depth) for step, depth in _deep(steps)]
    return pa.Table.from_pylist(rows, schema=schema)


def _deep(steps: Iterable[Step]) -> Iterator[tuple[Step, int]]:
    waiting = [(step, 0) for step in reversed(list(steps))]
    while waiting:
        step, depth = waiting.pop()
        yield step, depth
        waiting.extend((each, depth + 1) for each in reversed(step.steps))


def _step_row(step: Step, depth: int) -> dict[str, object]:
    tokens_in, tokens_out = (count if count >= 0 else None for count in step.tokens)
    error = step.error
    row = {
        "run": step.run,
        "offset": step.offset,
        "end_offset": None if step.last is None else step.last.offset,
        "depth": depth,
        "kind": step.kind,
        "name": step.name,
        "status": step.status,
        "begun_at": step.begun_at,
        "duration_ns": step.duration_ns,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "error_type": None if error is None else error.type,
        "error_message": None if error is None else error.message,
        "input": None if step.input is None else encode_json(step.input).decode(),
        "output": None if step.output is None else encode_json(step.output).decode(),
    }
    fitting = {key: _fitting(value) for key, value in row.items()}
    return fitting | {"failed": step.failed, "inherited": step.inherited}


def _schema(pa: Any) -> pyarrow.Schema:
    text, number, time = pa.string(), pa.int64(), pa.timestamp("ns", tz="UTC")
    tool = pa.struct([("name", text), ("calls", number), ("failures", number)])
    score = pa.struct(
        [("name", text), ("author", text), ("score", pa.float64()), ("label", text), ("at", number)]
    )
    return pa.schema(
        [
            ("name", text), ("uid", text), ("task_id", text), ("trace_kind", text),
            ("status", text), ("created_at", time), ("ended_at", time), ("duration_ns", number),
            ("events", number), ("model_calls", number), ("tool_calls", number),
            ("calls", number), ("failures", number), ("tokens_in", number),
            ("tokens_out", number), ("cost", pa.float64()), ("error_type", text),
            ("error_message", text), ("parent", text), ("children", pa.list_(text)),
            ("actor", text), ("reason", text), ("tools", pa.list_(tool)),
            ("scores", pa.list_(score)), ("metadata", pa.map_(text, text)),
        ]
    )  # fmt: skip


_OWN: Final = (
    "name", "uid", "task_id", "trace_kind", "status", "created_at", "ended_at", "duration_ns",
    "failures", "tokens_in", "tokens_out", "cost", "parent", "actor", "reason",
)  # fmt: skip
_COUNTS: Final = ("events", "model_calls", "tool_calls", "calls")


def _row(run: RunSummary) -> dict[str, object]:
    row = {name: _fitting(getattr(run, name)) for name in _OWN}
    row |= {name: _fitting(getattr(run.totals, name)) for name in _COUNTS}
    row["error_type"] = None if run.error is None else _fitting(run.error.type)
    row["error_message"] = None if run.error is None else _fitting(run.error.message)
    row["children"] = list(run.children)
    row["tools"] = [
        {"name": _fitting(name), "calls": calls, "failures": failures}
        for name, (calls, failures) in run.totals.tools.items()
    ]
    row["scores"] = [
        {
            "name": _fitting(each.name),
            "author": _fitting(each.author),
            "score": None if each.score is None else float(each.score),
            "label": _fitting(each.label),
            "at": _fitting(each.at),
        }
        for each in run.scores
    ]
    row["metadata"] = [(_fitting(key), _as_text(value)) for key, value in run.metadata.items()]
    return row


def _as_text(value: Scalar) -> object:
    return _fitting(value) if isinstance(value, str) else msgspec.json.encode(value).decode()


def _fitting(value: object) -> object:
    """A value as a column takes it: text that UTF-8 can say, numbers of 64 bits."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return None if type(value) is int and value not in _INT64 else value
