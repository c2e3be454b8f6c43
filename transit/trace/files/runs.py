"""What every format is turned into: runs with their events, ready for `writing` to store.

Owns the shape of a run that is imported, how its events are collected, and the small readings all
formats share: times, texts, counts of tokens. Says nothing of any format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from blake3 import blake3

from transit import Scalar
from transit.trace.events import (
    CallRequest,
    CallResult,
    Checkpoint,
    ChildRun,
    Custom,
    ErrorInfo,
    Evaluation,
    Event,
    Message,
    ModelCall,
    Note,
    RunEnd,
    ToolRequest,
    ToolResult,
    ToolStatus,
    encode_json,
)
from transit.trace.files.source import DEPTH_MAX, depth_of
from transit.trace.forms import Forms

INT64_MAX: Final = 2**63 - 1
UNKNOWN_MODEL: Final = "unknown"
UNKNOWN_TOOL: Final = "unknown"
_SECOND_NS: Final = 1_000_000_000
_TIME: Final = re.compile(r"(.*?:\d\d)[.,](\d+)(.*)", re.DOTALL)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# A number this large counts nanoseconds, microseconds, milliseconds; all are after 1973.
_UNITS_NS: Final = ((10**17, 1), (10**14, 1000), (10**11, 1_000_000))

JsonObject = dict[str, object]


class ImportedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of a run, or a note on it, and what its source says of it.

    timestamp: UTC nanoseconds; None where the source says none. place: in the source, for messages.
    source_id: the source's id of it, "" where there is none; of a note, that of what it is about.
    """

    event: Event
    timestamp: int | None = None
    place: str = ""
    source_id: str = ""


class ImportedRun(msgspec.Struct, kw_only=True):
    """A run in a source. Its events are read before the next run is asked for.

    name: of its stream, after the prefix. branch_of: the run it is a branch of, and the index among
    that run's own events of the last one it inherits. child_of: the run it was begun inside of, and
    the index of the `ChildRun` event there, which names this run.
    """

    name: str
    events: Iterable[ImportedEvent]
    metadata: Mapping[str, Scalar] = {}
    branch_of: tuple[str, int] | None = None
    child_of: tuple[str, int] | None = None


class Events:
    """Collects the events of one run."""

    def __init__(self, format_name: str) -> None:
        self._format = format_name
        self._context: JsonObject = {}
        self.all: list[ImportedEvent] = []
        # The tool of each call that was made, for results that name the call alone.
        self.tools: dict[str, str] = {}
        self._results = 0
        self.time: int | None = None
        self.place = ""
        self.source_id = ""

    def at(self, place: str, time: int | None = None, source_id: str = "") -> None:
        """Where the next events come from, and when they happened."""
        self.place, self.time, self.source_id = place, time, source_id

    def add(self, event: Event, time: int | None = None) -> int:
        """An event at the present place; its index. time: another than that place's."""
        when = self.time if time is None else time
        self.all.append(ImportedEvent(event, when, self.place, self.source_id))
        return len(self.all) - 1

    def take(self) -> list[ImportedEvent]:
        """The events since this was last called."""
        taken, self.all = self.all, []
        return taken

    def message(self, role: str, content: object, more: Mapping[str, object] | None = None) -> int:
        """A chat message."""
        return self.add(Message(message={"role": role, "content": content, **(more or {})}))

    def model_call(
        self,
        *,
        model: str,
        response: object,
        request: object = None,
        usage: object = None,
        finish_reason: object = None,
        response_id: object = None,
        provider: str = "",
        time: int | None = None,
    ) -> int:
        """A call of a model, its counts of tokens under whatever names they come."""
        counts, tokens_in, tokens_out = read_usage(usage)
        found = response.get("model") if isinstance(response, dict) else None
        return self.add(
            ModelCall(
                request_model=model or UNKNOWN_MODEL,
                response_model=text_of(found),
                response_id=text_of(response_id),
                finish_reasons=(finish_reason,) if isinstance(finish_reason, str) else (),
                provider=provider,
                input_tokens=tokens_in,
                output_tokens=tokens_out,
                usage=counts,
                request=request,
                response=response,
            ),
            time,
        )

    def tool_request(self, call_id: object, name: object, arguments: object) -> str:
        """A call of a tool; its id, which is made up where the source has none."""
        tool = text_of(name) or UNKNOWN_TOOL
        given = text_of(call_id) or f"{self._format}-{len(self.tools)}"
        self.tools[given] = tool
        self.add(
            ToolRequest(tool_call_id=given, tool_name=tool, arguments=read_arguments(arguments))
        )
        return given

    def tool_result(
        self,
        call_id: object,
        result: object,
        *,
        status: ToolStatus = "success",
        name: object = None,
        error: str = "",
        duration_ns: int = 0,
    ) -> int:
        """What came of a call; one without a call has an id of its own."""
        self._results += 1
        given = text_of(call_id) or f"{self._format}-result-{self._results}"
        return self.add(
            ToolResult(
                tool_call_id=given,
                tool_name=text_of(name) or self.tools.get(given, UNKNOWN_TOOL),
                tool_status=status,
                result=result,
                error=ErrorInfo(type="", message=error) if error or status != "success" else None,
                duration_ns=duration_ns,
            )
        )

    def call_begin(self, call_id: str, name: str, arguments: object) -> int:
        """A step of the program that others may lie within; `call_end` ends it."""
        forms = Forms()
        form = forms.exact(arguments, "arguments").value
        return self.add(
            CallRequest(
                call_id=call_id, call_name=name or "step", arguments=form,
                arguments_digest=forms.digest(form),
            )
        )  # fmt: skip

    def call_end(
        self, call_id: str, name: str, result: object = None, *, error: str | None = None
    ) -> int:
        """How that step ended; error: what it failed with, None for a success."""
        return self.add(
            CallResult(
                call_id=call_id,
                call_name=name or "step",
                call_status="success" if error is None else "failure",
                result=Forms().exact(result, "result").value,
                error=None if error is None else ErrorInfo(type="", message=error),
            )
        )

    def child(self, name: str) -> int:
        """The place at which the run `name` was begun inside this one."""
        return self.add(ChildRun(run=name))

    def evaluation(
        self, evaluator: object, decision: object, *, score: object = None, reason: object = None
    ) -> int:
        """An evaluator's decision on the run so far."""
        number = score if isinstance(score, int | float) and type(score) is not bool else None
        return self.add(
            Evaluation(
                evaluator_id=text_of(evaluator) or "unknown",
                subject_ref="",
                decision=plain_text(decision) or "none",
                score=number,
                reason=text_of(reason),
            )
        )

    def note(self, note: Note, about: str) -> None:
        """A note on what the source has this id for, "" on the run: no event of it."""
        self.all.append(ImportedEvent(note, self.time, self.place, about))

    def checkpoint(self, kind: str, status: str, reason: str = "") -> int:
        """How far the work is."""
        event = Checkpoint(checkpoint_kind=kind, status=status, reason=reason)  # type: ignore[arg-type]
        return self.add(event)

    def end(self, status: str, error: str = "") -> int:
        """How the run ended: "completed", "failed" or "cancelled"."""
        info = ErrorInfo(type="", message=error) if error else None
        return self.add(RunEnd(status=status, error=info))  # type: ignore[arg-type]

    def context(self, found: Mapping[str, object], kind: str = "context") -> None:
        """What is true of all that follows, such as the folder: an event where it changes."""
        changed = {k: v for k, v in found.items() if self._context.get(k, self) != v}
        if changed:
            self._context |= changed
            self.custom(kind, changed)

    def rest(self, whole: Mapping[str, object], taken: Iterable[str]) -> None:
        """What the events of a record leave of it, where they leave anything."""
        without = set(taken)
        left = {k: v for k, v in whole.items() if k not in without and v is not None and v != ""}
        if left:
            self.custom("rest", left)

    def custom(self, kind: str, data: object) -> int:
        """A part of the source that is kept as it is."""
        return self.add(Custom(name=f"{self._format}.{kind}", data=data))


# Small readings


def text_of(value: object) -> str:
    """`value` where it is text, else ""."""
    return value if isinstance(value, str) else ""


def plain_text(value: object) -> str:
    """Any JSON value as text."""
    if isinstance(value, str):
        return value
    return "" if value is None else encode_json(value).decode("utf-8", "backslashreplace")


def object_of(value: object) -> JsonObject:
    """`value` where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[object]:
    """`value` where it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def objects_of(value: object) -> list[JsonObject]:
    """The objects in `value` where it is a list."""
    return [each for each in list_of(value) if isinstance(each, dict)]


def member(value: object, *path: str) -> object:
    """The member of an object in an object in …; None where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def scalars(found: Mapping[str, object], keys: Iterable[str]) -> dict[str, Scalar]:
    """The members of these keys that metadata can hold, long texts cut."""
    kept: dict[str, Scalar] = {}
    for key in keys:
        value = found.get(key)
        if isinstance(value, str) and value:
            kept[key] = value[:1000].encode("utf-8", "replace").decode()
        elif isinstance(value, bool) or (isinstance(value, int) and abs(value) <= INT64_MAX):
            kept[key] = value
    return kept


def read_time(value: object) -> int | None:
    """When, as UTC nanoseconds: ISO 8601 (UTC where no zone is said), or a number since 1970.

    None for all else, and for what 64 bits do not hold.
    """
    if isinstance(value, str):
        return _read_iso(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    if value > INT64_MAX:
        return None
    if isinstance(value, float) and value < _UNITS_NS[-1][0]:
        # Microseconds are what such a number can hold.
        return round(value * 1e6) * 1000
    for least, unit in _UNITS_NS:
        if value >= least:
            return _bounded(int(value) * unit)
    return _bounded(int(value) * _SECOND_NS)


def _read_iso(text: str) -> int | None:
    if text.isdecimal():
        return read_time(int(text)) if len(text) <= 19 else None
    parts = _TIME.fullmatch(text)
    # The standard library reads microseconds; sources say nanoseconds, too.
    plain, fraction = (parts[1] + parts[3], parts[2][:9]) if parts else (text, "")
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        since = (moment - _EPOCH) // _MICROSECOND
    except OverflowError:
        return None
    return _bounded(since * 1000 + int(fraction.ljust(9, "0")))


def _bounded(nanoseconds: int) -> int | None:
    return nanoseconds if abs(nanoseconds) <= INT64_MAX else None


def read_arguments(given: object) -> object:
    """A call's arguments: the value that models write as JSON in a text, else as they are."""
    if isinstance(given, str) and given[:1] in ("{", "["):
        try:
            value: object = msgspec.json.decode(given.encode())
        except (ValueError, RecursionError):
            return given
        return value if depth_of(value) <= DEPTH_MAX else given
    return given


_INPUT: Final = ("input_tokens", "prompt_tokens", "promptTokenCount", "prompt_token_count")
_OUTPUT: Final = (
    "output_tokens", "completion_tokens", "candidatesTokenCount", "candidates_token_count",
)  # fmt: skip


def read_usage(usage: object) -> tuple[JsonObject, int, int]:
    """The counts of a model call: all but the two, input tokens, output tokens; -1 unknown."""
    counts = dict(object_of(usage))
    return counts, _take_first(counts, _INPUT), _take_first(counts, _OUTPUT)


def _take_first(counts: JsonObject, keys: Sequence[str]) -> int:
    for key in keys:
        value = counts.get(key)
        if type(value) is int and 0 <= value <= INT64_MAX:
            del counts[key]
            return value
    return -1


def in_order(events: Iterable[ImportedEvent]) -> Iterator[ImportedEvent]:
    """The same, those without a time right after the one before them, the others by time."""
    known = 0
    keyed = []
    for number, each in enumerate(events):
        known = known if each.timestamp is None else each.timestamp
        keyed.append((known, number, each))
    return (each for _, _, each in sorted(keyed, key=lambda item: item[:2]))


_UNNAMEABLE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+"
)
_NAME_CHARACTERS_MAX: Final = 120
# Of all parts together; what is left of a stream's name is for the prefix.
_NAME_BYTES_MAX: Final = 400


class Names:
    """Names for the runs of one source: what streams may be called, and each once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, *parts: object) -> str:
        """A name of these parts, with a number behind it where it was given before.

        A part that is a name given here stays as it is. A name that would be too long ends with a
        digest instead.
        """
        whole = "/".join(
            part if isinstance(part, str) and part in self._given else _nameable(part)
            for part in parts
        )
        plain = whole
        if len(whole.encode()) > _NAME_BYTES_MAX:
            cut = whole.encode()[: _NAME_BYTES_MAX - 20].decode("utf-8", "ignore")
            plain = f"{cut.rstrip()}-{blake3(whole.encode()).hexdigest(8)}"
        name, number = plain, 2
        while name in self._given:
            name, number = f"{plain}-{number}", number + 1
        self._given.add(name)
        return name


def _nameable(part: object) -> str:
    text = part if isinstance(part, str) else plain_text(part)
    text = _UNNAMEABLE.sub("-", text).strip().lstrip("$")[:_NAME_CHARACTERS_MAX].strip()
    return text or "run"
