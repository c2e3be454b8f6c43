"""Finding: the records of many runs in which something was said, or happened.

Owns what of an event is looked at: the text of its values, with the place where it stands. Each run
is read once, in order, and only its own records are looked at: what a branch or a merge inherits is
found in the run it belongs to. A model's request repeats the conversation; of that only what the
run has not said before is looked at, so that a text is found in the record that says it first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, get_args

import msgspec

from transit import InvalidInputError, Log, Stream
from transit.trace.events import (
    CallRequest,
    CallResult,
    ChildRun,
    ErrorInfo,
    Evaluation,
    Event,
    Message,
    ModelCall,
    ModelRequest,
    ModelResponse,
    RunEnd,
    ToolRequest,
    ToolResult,
    Unknown,
    check_choice,
)
from transit.trace.names import TASK_ID
from transit.trace.records import EventRecord, events_of

KINDS: Final = tuple(kind.__struct_config__.tag for kind in get_args(Event))
# Beside what was found, on either side.
_AROUND: Final = 40
_BAD: Final = frozenset(("failure", "timeout", "failed", "cancelled"))
# What of an event is looked at, when it is not looked at whole.
_REPEATED: Final = "request"
_TEXT_FIELDS: Final[dict[type, tuple[str, ...]]] = {
    Message: ("message",),
    ModelCall: ("request", "response"),
    ModelRequest: ("request",),
    ModelResponse: ("response", "error"),
    ToolRequest: ("arguments",),
    ToolResult: ("result", "error"),
    CallRequest: ("arguments",),
    CallResult: ("result", "error"),
    Evaluation: ("decision", "reason"),
    RunEnd: ("error",),
}
_LATER_FIELDS: Final = ("data", "value", "reason", "name", "comment", "label")
_ERROR_TEXTS: Final = ("type", "message", "traceback")
# A value is JSON's and of a record: nothing nests deeper that can be read.
_DEPTH_MAX: Final = 2000


class Found(msgspec.Struct, frozen=True, gc=False):
    """A record that was looked for.

    run: name of the stream. offset: in it. record: as `Trace` gives it. where: the place in the
    event, such as `message.content[0].text`; "" where no text was looked for and there is none.
    excerpt: the text there, of a long one what is around the match; start, stop: where the match
    stands in the excerpt.
    """

    run: str
    offset: int
    record: EventRecord
    where: str
    excerpt: str
    start: int = 0
    stop: int = 0


class Wanted(NamedTuple):
    """What is looked for."""

    tool: str | None
    failed: bool | None
    error: re.Pattern[str] | None
    text: re.Pattern[str] | None
    role: str | None
    kind: str | None
    model: str | None
    since: int | None
    until: int | None


def find(  # noqa: PLR0913 - as many things may be looked for
    log: Log,
    prefix: str = "",
    *,
    tool: str | None = None,
    failed: bool | None = None,
    error: str | re.Pattern[str] | None = None,
    text: str | re.Pattern[str] | None = None,
    role: str | None = None,
    kind: str | None = None,
    model: str | None = None,
    since: int | None = None,
    until: int | None = None,
    limit: int | None = None,
) -> Iterator[Found]:
    """The records of the runs whose names start with `prefix` that are all that is asked for.

    text: in messages, arguments, results, responses and errors, in any case of letters; or a
    pattern. error: the same, in errors alone. role: who says the text, or the message. kind: of the
    event, such as "tool_result". tool, model: its name. failed: True for outcomes that are failures
    (of tools, models, calls and runs), False for the other outcomes. since, until: UTC nanoseconds
    of the record, `until` not among them. limit: how many at most.
    In order of creation of the runs, and of their records. Raises `InvalidInputError` for an
    argument that is no such thing, and `CorruptError` where a record refers to what is not there.
    """
    if not isinstance(prefix, str):
        raise InvalidInputError(f"prefix must be text, not {prefix!r}")
    if limit is not None and type(limit) is not int:
        raise InvalidInputError(f"limit must be a number, not {limit!r}")
    wanted = asked_for(
        tool=tool, failed=failed, error=error, text=text, role=role, kind=kind, model=model,
        since=since, until=until,
    )  # fmt: skip
    return _found(log, prefix, wanted, limit)


def asked_for(  # noqa: PLR0913 - as many things may be looked for
    *,
    tool: str | None = None,
    failed: bool | None = None,
    error: str | re.Pattern[str] | None = None,
    text: str | re.Pattern[str] | None = None,
    role: str | None = None,
    kind: str | None = None,
    model: str | None = None,
    since: int | None = None,
    until: int | None = None,
) -> Wanted:
    """What is looked for, as `find` takes it; `InvalidInputError` for what is no such thing."""
    for value, what in ((tool, "tool"), (role, "role"), (model, "model")):
        if value is not None and not isinstance(value, str):
            raise InvalidInputError(f"{what} must be text, not {value!r}")
    for bound, what in ((since, "since"), (until, "until")):
        if bound is not None and type(bound) is not int:
            raise InvalidInputError(f"{what} must be a number, not {bound!r}")
    if failed is not None and not isinstance(failed, bool):
        raise InvalidInputError(f"failed must be True, False or None, not {failed!r}")
    if kind is not None:
        check_choice(kind, KINDS, "kind")
    return Wanted(
        tool, failed, _pattern(error, "error"), _pattern(text, "text"), role, kind, model,
        since, until,
    )  # fmt: skip


def _pattern(given: object, what: str) -> re.Pattern[str] | None:
    if given is None:
        return None
    if isinstance(given, str) and given:
        return re.compile(re.escape(given), re.IGNORECASE)
    if isinstance(given, re.Pattern) and isinstance(given.pattern, str):
        return given
    raise InvalidInputError(f"{what} must be text, not empty, or a pattern of text, not {given!r}")


def _found(log: Log, prefix: str, wanted: Wanted, limit: int | None) -> Iterator[Found]:
    left = limit
    for stream in log.streams(prefix):
        if not isinstance(stream.metadata.get(TASK_ID), str):
            continue
        for found in found_in(log, stream, wanted):
            if left is not None:
                if left <= 0:
                    return
                left -= 1
            yield found
        if left is not None and left <= 0:
            return


def found_in(log: Log, stream: Stream, wanted: Wanted) -> Iterator[Found]:
    """The records of one run that are looked for, in order."""
    start = stream.own_start
    if stream.next_offset <= start:
        return
    said = _Said()
    for record in events_of(log, stream):
        event = record.event
        matches = record.offset >= start and _is_wanted(record, wanted)
        if not matches and not isinstance(event, Message | ModelCall | ModelRequest):
            continue
        # What is not asked for is said all the same.
        place = _place(said.texts(event), wanted)
        if matches and place is not None:
            path, text, (first, last) = place
            yield Found(stream.name, record.offset, record, path, *_excerpt(text, first, last))


def _is_wanted(record: EventRecord, wanted: Wanted) -> bool:
    """Whether the event is one of those asked for, but for its texts."""
    event = record.event
    if wanted.kind is not None and kind_of(event) != wanted.kind:
        return False
    if wanted.since is not None and record.timestamp < wanted.since:
        return False
    if wanted.until is not None and record.timestamp >= wanted.until:
        return False
    if wanted.tool is not None and getattr(event, "tool_name", None) != wanted.tool:
        return False
    if wanted.model is not None:
        models = (getattr(event, name, None) for name in ("request_model", "response_model"))
        if wanted.model not in models:
            return False
    return wanted.failed is None or _outcome(event) is wanted.failed


def kind_of(event: Event | Unknown) -> str:
    """The kind of an event, as it is stored."""
    return event.event if isinstance(event, Unknown) else str(event.__struct_config__.tag)


def _outcome(event: object) -> bool | None:
    """Whether an outcome is a failure; None for what is no outcome."""
    if isinstance(event, ModelCall):
        return False
    if not isinstance(event, ToolResult | ModelResponse | CallResult | RunEnd):
        return None
    names = ("tool_status", "model_status", "call_status", "status")
    return any(getattr(event, name, None) in _BAD for name in names)


class _Text(NamedTuple):
    """A text in an event: where, who says it, and whether it is about an error."""

    where: str
    text: str
    role: str | None
    is_error: bool


_Place = tuple[str, str, tuple[int, int]]


def _place(texts: Iterator[_Text], wanted: Wanted) -> _Place | None:
    """Where the first text stands that is asked for; all are gone through: all were said."""
    first: _Place | None = None
    of_text: _Place | None = None
    of_error: _Place | None = None
    for each in texts:
        if wanted.role not in (None, each.role):
            continue
        first = first or (each.where, each.text, (0, 0))
        if wanted.text is not None:
            of_text = of_text or _at(each, wanted.text)
        if wanted.error is not None and each.is_error:
            of_error = of_error or _at(each, wanted.error)
    asked = ((wanted.text, of_text), (wanted.error, of_error), (wanted.role, first))
    if any(what is not None and place is None for what, place in asked):
        return None
    return of_text or of_error or first or ("", "", (0, 0))


def _at(each: _Text, pattern: re.Pattern[str]) -> _Place | None:
    match = pattern.search(each.text)
    return None if match is None else (each.where, each.text, match.span())


def _excerpt(text: str, first: int, last: int) -> tuple[str, int, int]:
    """What stands around a match, of a long match its beginning, and where it stands in that."""
    last = min(last, first + 2 * _AROUND)
    begin, end = max(0, first - _AROUND), min(len(text), last + _AROUND)
    before, after = "…" if begin else "", "…" if end < len(text) else ""
    start = first - begin + len(before)
    return f"{before}{text[begin:end]}{after}", start, start + last - first


class _Said:
    """What a run has said so far, as far as its requests repeat it.

    A part that several records have in common is one object in one reading. It is held, so that
    no other object takes its place.
    """

    def __init__(self) -> None:
        self._objects: dict[int, object] = {}

    def texts(self, event: object) -> Iterator[_Text]:
        """The texts of an event, in order, without those a request repeats."""
        fields = _TEXT_FIELDS.get(type(event))
        if fields is None:
            if isinstance(event, ChildRun):
                return
            fields = tuple(name for name in _LATER_FIELDS if hasattr(event, name))
        role = "assistant" if isinstance(event, ModelCall | ModelResponse) else None
        role = "tool" if isinstance(event, ToolResult) else role
        for field in fields:
            value = getattr(event, field)
            if isinstance(value, ErrorInfo):
                yield from _of_error(field, value, "tool" if role == "tool" else None)
            elif isinstance(event, ModelCall | ModelRequest) and field == _REPEATED:
                yield from self._walk(field, value, None, repeated=True)
            else:
                yield from self._walk(field, value, role, repeated=False)

    def _walk(
        self, where: str, value: object, role: str | None, *, repeated: bool
    ) -> Iterator[_Text]:
        waiting: list[tuple[str, object, str | None, int]] = [(where, value, role, 0)]
        while waiting:
            where, value, role, depth = waiting.pop()
            if isinstance(value, str):
                if not (self._is_said(value) and repeated) and value:
                    yield _Text(where, value, role, is_error=False)
            elif depth >= _DEPTH_MAX:
                continue
            elif isinstance(value, dict):
                if self._is_said(value) and repeated:
                    continue
                own = value.get("role")
                role = own if isinstance(own, str) else role
                members = [
                    (f"{where}.{key}", member, role, depth + 1)
                    for key, member in value.items()
                    if key != "role"
                ]
                waiting += reversed(members)
            elif isinstance(value, list | tuple):
                items = [
                    (f"{where}[{place}]", item, role, depth + 1) for place, item in enumerate(value)
                ]
                waiting += reversed(items)

    def _is_said(self, value: object) -> bool:
        """Whether this very object was said before; from now on it was."""
        if id(value) in self._objects:
            return True
        self._objects[id(value)] = value
        return False


def _of_error(where: str, error: ErrorInfo | None, role: str | None) -> Iterator[_Text]:
    while error is not None:
        for name in _ERROR_TEXTS:
            text = getattr(error, name)
            if text:
                yield _Text(f"{where}.{name}", text, role, is_error=True)
        where, error = f"{where}.cause", error.cause
