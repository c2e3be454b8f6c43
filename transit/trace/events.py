"""What a trace consists of: typed events, one to a record, as JSON.

An event is a JSON object whose member `event` says which kind it is; the others are the fields of
the class below. Members that are at their default are left out. Names of fields about models are
those of the OpenTelemetry semantic conventions for generative AI, where these have one.

Fields marked *packed* are stored in the form `transit.trace.parts` describes: what the lineage
holds already is referred to. A record of a kind or with a value this version does not know is given
as `Unknown`, whole.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from transit import InvalidInputError

ToolStatus = Literal["success", "failure", "timeout", "partial"]
CallStatus = Literal["success", "failure"]
ModelStatus = Literal["success", "failure", "cancelled"]
CheckpointKind = Literal["final", "intermediate", "handoff", "resume"]
CheckpointStatus = Literal["success", "incomplete", "failed", "superseded"]
EndStatus = Literal["completed", "failed", "cancelled"]
# Read and written beside the tokens of a request, read and written among them.
Cached = tuple[int, int, int, int]
GivenAs = Literal["", "awaited", "generated", "generated_async"]

CHECKPOINT_KINDS: Final[tuple[str, ...]] = get_args(CheckpointKind)
CHECKPOINT_STATUSES: Final[tuple[str, ...]] = get_args(CheckpointStatus)


class _Event(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event", gc=False
):
    """A kind of event.

    large: fields whose values are too large for a record, each with the artifact stream that holds
    its JSON. redacted: count of places that a redaction policy changed.
    """

    large: dict[str, str] = {}
    redacted: int = 0


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An exception: the name of its class with its module's, its text, where it came from.

    args: what it was made with. state: its attributes. Both in the exact form of
    `transit.trace.values`; what that cannot hold is left out of `state`, and named in `lost`.
    bases: names of the classes above its own, nearest first, without Python's own.
    is_exit: whether it is no `Exception`, as `KeyboardInterrupt` is none. cause: what it was raised
    from.
    """

    type: str
    message: str = ""
    traceback: str = ""
    args: tuple[object, ...] = ()
    state: dict[str, object] = {}
    bases: tuple[str, ...] = ()
    is_exit: bool = False
    lost: tuple[str, ...] = ()
    cause: ErrorInfo | None = None


class Totals(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a run did itself: without what it inherited, and without the runs begun inside it.

    events: count of records. failures: of tool, model and recorded calls. tokens: by model,
    [input, output], -1 where none were told. cached: by model, as `cached_tokens` of `ModelCall`.
    untold: by model, the calls of which one of both counts was not told. tools: by name, [calls,
    failures]. evaluations: of the run by itself, by evaluator the newest [decision, score]. Of
    these two at most 100 names; the other tools are under "".
    """

    events: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    calls: int = 0
    failures: int = 0
    children: int = 0
    tokens: dict[str, tuple[int, int]] = {}
    cached: dict[str, Cached] = {}
    untold: dict[str, int] = {}
    tools: dict[str, tuple[int, int]] = {}
    evaluations: dict[str, tuple[str, float | None]] = {}


class Message(_Event, frozen=True, tag="message"):
    """A chat message. message: an object with `role` and `content`, and whatever else; packed."""

    message: object

    @property
    def role(self) -> str:
        """Who speaks: "system", "user", "assistant", "tool", ..."""
        return str(self.message.get("role", "")) if isinstance(self.message, dict) else ""

    @property
    def content(self) -> object:
        """What is said: text, or a list of parts."""
        return self.message.get("content") if isinstance(self.message, dict) else None


class ModelCall(_Event, frozen=True, tag="model_call"):
    """A request to a model and its response, told when both were there; both packed.

    input_tokens, output_tokens: -1 where not given. usage: whatever else was counted.
    cached_tokens: read from a cache and written to it, beside input_tokens; then read and written
    as a part of input_tokens. duration_ns: from request to response, nanoseconds; 0 where it was
    not measured.
    """

    request_model: str = msgspec.field(name="gen_ai.request.model")
    operation: str = msgspec.field(name="gen_ai.operation.name", default="chat")
    provider: str = msgspec.field(name="gen_ai.provider.name", default="")
    response_model: str = msgspec.field(name="gen_ai.response.model", default="")
    response_id: str = msgspec.field(name="gen_ai.response.id", default="")
    finish_reasons: tuple[str, ...] = msgspec.field(
        name="gen_ai.response.finish_reasons", default=()
    )
    input_tokens: int = msgspec.field(name="gen_ai.usage.input_tokens", default=-1)
    output_tokens: int = msgspec.field(name="gen_ai.usage.output_tokens", default=-1)
    cached_tokens: Cached = (0, 0, 0, 0)
    usage: dict[str, object] = {}
    duration_ns: int = 0
    request: object = None
    response: object = None


class ModelRequest(_Event, frozen=True, tag="model_request"):
    """A request to a model, when it is sent; packed. What comes of it has the same `model_id`."""

    model_id: str
    request_model: str = msgspec.field(name="gen_ai.request.model")
    operation: str = msgspec.field(name="gen_ai.operation.name", default="chat")
    provider: str = msgspec.field(name="gen_ai.provider.name", default="")
    request: object = None


class ModelChunk(_Event, frozen=True, tag="model_chunk"):
    """A part of a response that comes as a stream. data: any JSON value; packed."""

    model_id: str
    data: object = None


class ModelResponse(_Event, frozen=True, tag="model_response"):
    """What came of a request: the response, packed, or why there is none.

    Fields as those of `ModelCall`; request_model is the request's.
    """

    model_id: str
    model_status: ModelStatus
    request_model: str = msgspec.field(name="gen_ai.request.model")
    response_model: str = msgspec.field(name="gen_ai.response.model", default="")
    response_id: str = msgspec.field(name="gen_ai.response.id", default="")
    finish_reasons: tuple[str, ...] = msgspec.field(
        name="gen_ai.response.finish_reasons", default=()
    )
    input_tokens: int = msgspec.field(name="gen_ai.usage.input_tokens", default=-1)
    output_tokens: int = msgspec.field(name="gen_ai.usage.output_tokens", default=-1)
    cached_tokens: Cached = (0, 0, 0, 0)
    usage: dict[str, object] = {}
    response: object = None
    error: ErrorInfo | None = None
    duration_ns: int = 0


class ToolRequest(_Event, frozen=True, tag="tool_request"):
    """A tool is called. arguments: any JSON value."""

    tool_call_id: str
    tool_name: str
    tool_phase: Literal["request"] = "request"
    arguments: object = None


class ToolResult(_Event, frozen=True, tag="tool_result"):
    """What came of a call. result: any JSON value; artifact_id: of the artifact that holds it.

    duration_ns: from request to result, nanoseconds. request: offset of the request, -1 where that
    is not known: models use an id more than once.
    """

    tool_call_id: str
    tool_name: str
    tool_status: ToolStatus
    tool_phase: Literal["result"] = "result"
    result: object = None
    artifact_id: str = ""
    error: ErrorInfo | None = None
    duration_ns: int = 0
    request: int = -1


class CallRequest(_Event, frozen=True, tag="call_request"):
    """A call out of the program that a replay answers from the recording.

    arguments: in the exact form of `transit.trace.values`; packed where it is large.
    arguments_digest: 32 hex digits; see `transit.trace.forms`. lane: which of the run's concurrent
    parts made the call, "" for the one that began it; see `transit.trace.context`.
    """

    call_id: str
    call_name: str
    arguments: object
    arguments_digest: str
    lane: str = ""


class CallChunk(_Event, frozen=True, tag="call_chunk"):
    """A value that a recorded generator gave. value: in exact form; packed where it is large."""

    call_id: str
    value: object = None
    not_replayable: str = ""


class CallResult(_Event, frozen=True, tag="call_result"):
    """What the call returned, or raised. result: in exact form; packed where it is large.

    not_replayable: the place and type of a value that is not held exactly, "" where all are.
    given_as: how a function that is none of these itself gave its result: as a coroutine, a
    generator or an async generator. is_argument: the parameter, or the place, of the argument that
    the result is, itself. changed: arguments that the call changed in place, by
    parameter, or by place, as they were afterwards; in exact form, packed as the result is.
    lost_change: as not_replayable, of these. duration_ns: of the call, nanoseconds.
    """

    call_id: str
    call_name: str
    call_status: CallStatus
    result: object = None
    error: ErrorInfo | None = None
    not_replayable: str = ""
    given_as: GivenAs = ""
    is_argument: str = ""
    changed: dict[str, object] | None = None
    lost_change: str = ""
    duration_ns: int = 0


class Evaluation(_Event, frozen=True, tag="evaluation"):
    """An evaluator's decision on `subject_ref` ("stream@offset").

    decision: text; "selected" is what a merge with policy "select" looks for.
    """

    evaluator_id: str
    subject_ref: str
    decision: str
    score: float | None = None
    reason: str = ""


class Note(_Event, frozen=True, tag="note"):
    """What was said of a run after it was recorded; see `transit.trace.noting`.

    name: what it is about, such as "correct". author: who says it, "" where that is not told.
    at: the record of the run it is about, None: all of the run. metadata: an object.
    noted_at: UTC nanoseconds.
    """

    name: str
    score: bool | int | float | None = None
    label: str | None = None
    comment: str = ""
    author: str = ""
    at: int | None = None
    metadata: dict[str, object] = {}
    noted_at: int = 0


class Checkpoint(_Event, frozen=True, tag="checkpoint"):
    """How far the work is."""

    checkpoint_kind: CheckpointKind
    status: CheckpointStatus
    reason: str = ""


class Artifact(_Event, frozen=True, tag="artifact"):
    """Bytes kept once in the store, in a stream of their own.

    ref: name of that stream. digest: BLAKE3 of the bytes, 64 hex digits. byte_length: bytes.
    producer_id: who made it. subject_ref: what it is about, "stream@offset".
    """

    artifact_id: str
    kind: str
    ref: str
    content_type: str
    byte_length: int
    digest: str
    producer_id: str = ""
    subject_ref: str = ""


class RunEnd(_Event, frozen=True, tag="run_end"):
    """The program left the task's `with` block, or ended it; `error` is what it left with.

    duration_ns: from the beginning of the task, or of going on with it, nanoseconds.
    """

    status: EndStatus
    error: ErrorInfo | None = None
    duration_ns: int = 0
    totals: Totals = Totals()


class Manifest(_Event, frozen=True, tag="manifest"):
    """What a run was made with. data: an object; see `transit.trace.manifests`."""

    data: dict[str, object] = {}


class ChildRun(_Event, frozen=True, tag="child_run"):
    """Another run was begun, or gone on with, inside this one.

    run: name of its stream; uid: that stream's UUID. start: offset of its first record that is due
    to this. lane: as of `CallRequest`. named: whether the program gave it its name. purpose: what
    it was begun for, 32 hex digits: a digest of kind, actor, reason and metadata.
    """

    run: str
    uid: str = ""
    start: int = 0
    lane: str = ""
    named: bool = True
    purpose: str = ""


class Custom(_Event, frozen=True, tag="custom"):
    """An event of the program's own. data: any JSON value; packed."""

    name: str
    data: object = None


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """A record that is no event this version knows: its kind, "" without one, and what it holds.

    data: the decoded JSON, or None when the record is no JSON.
    """

    event: str
    data: object


Event = (
    Message
    | ModelCall
    | ModelRequest
    | ModelChunk
    | ModelResponse
    | ToolRequest
    | ToolResult
    | CallRequest
    | CallChunk
    | CallResult
    | Evaluation
    | Checkpoint
    | Artifact
    | RunEnd
    | Manifest
    | ChildRun
    | Custom
    | Note
)

_PACKED: Final[dict[type, tuple[str, ...]]] = {
    Message: ("message",),
    ModelCall: ("request", "response"),
    ModelRequest: ("request",),
    ModelChunk: ("data",),
    ModelResponse: ("response",),
    CallRequest: ("arguments",),
    CallChunk: ("value",),
    CallResult: ("result", "changed"),
    Custom: ("data",),
}
# Packed where they are large.
_SOMETIMES_PACKED: Final = (CallRequest, CallChunk, CallResult)


def packed_fields(event: Event | Unknown) -> tuple[str, ...]:
    """The names of an event's packed fields, or of those that may be."""
    return _PACKED.get(type(event), ())


def is_always_packed(event: Event | Unknown) -> bool:
    """Whether the packed fields are packed in every record; else in those that bring parts."""
    return not isinstance(event, _SOMETIMES_PACKED)


_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)


def encode_json(value: object) -> bytes:
    """`value` as compact JSON, keys in their order; `InvalidInputError` when it is not JSON's."""
    try:
        data = _encoder.encode(value)
        if b"null" in data:
            # The encoder writes NaN and infinities as null; the standard library refuses them.
            _strict(value)
        return data
    except UnicodeEncodeError:
        # Half a surrogate pair: JSON can say it, UTF-8 cannot.
        return _strict(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInputError(f"not encodable as JSON: {error}") from None


def _strict(value: object) -> bytes:
    # Loaded here: nearly nothing needs it.
    import json

    try:
        plain = msgspec.to_builtins(value)
        return json.dumps(plain, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInputError(f"not encodable as JSON: {error}") from None


def decode_json(data: bytes) -> object:
    """The value `encode_json` was given; `ValueError` when `data` is not JSON."""
    try:
        return msgspec.json.decode(data)
    except RecursionError as error:
        raise ValueError(f"too deep: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Half a surrogate pair, or no JSON at all: the standard library tells them apart.
        import json

        try:
            return json.loads(data)
        except RecursionError as error:
            raise ValueError(f"too deep: {error}") from None


def decode_event(payload: bytes) -> Event | Unknown:
    """The event in a record's payload, its packed fields as they are stored."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    unknown = decode_unknown(payload)
    try:
        # Of a kind that is known, with text that only the standard library reads.
        event: Event = msgspec.convert(unknown.data, Event)
        return event
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError):
        # The second where half a surrogate pair stands in the name of a member or of a kind.
        return unknown


def decode_unknown(payload: bytes) -> Unknown:
    """What is in a record, whatever it is."""
    try:
        data = decode_json(payload)
    except ValueError:
        return Unknown("", None)
    kind = data.get("event") if isinstance(data, dict) else None
    return Unknown(kind if isinstance(kind, str) else "", data)


def check_choice(value: object, choices: tuple[str, ...], what: str) -> None:
    """`InvalidInputError` unless `value` is one of `choices`."""
    if value not in choices:
        raise InvalidInputError(f"{what} must be one of {', '.join(choices)}, not {value!r}")


def check_text(value: object, what: str) -> None:
    """`InvalidInputError` unless `value` is text and not empty."""
    if not isinstance(value, str) or not value:
        raise InvalidInputError(f"{what} must be text and not empty, not {value!r}")


def check_texts(**values: object) -> None:
    """`InvalidInputError` unless all values are text; names are those of the arguments."""
    for what, value in values.items():
        if not isinstance(value, str):
            raise InvalidInputError(f"{what} must be text, not {value!r}")
