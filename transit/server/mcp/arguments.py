"""What each tool takes: checked strictly, and described as JSON Schema.

An argument that is not known is refused: a misspelled one would change nothing, silently. Schemas
hold no references, which some clients cannot follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from transit import InvalidInputError, Scalar

ITEMS: Final = 20
ITEMS_MAX: Final = 100
ANSWER_BYTES: Final = 16 * 1024
ANSWER_BYTES_MAX: Final = 64 * 1024
WAIT_S: Final = 20.0
# Clients give up after a minute, by custom.
WAIT_S_MAX: Final = 50.0
TEXT_CHARS_MAX: Final = 4 * 1024 * 1024
OFFSET_MAX: Final = (1 << 63) - 1

Name = Annotated[str, Meta(min_length=1, max_length=512)]
StreamName = Annotated[Name, Meta(description="Name of a stream, exactly as it was given.")]
Prefix = Annotated[str, Meta(max_length=512, description="What the names begin with.")]
Offset = Annotated[int, Meta(ge=0, le=OFFSET_MAX)]
Limit = Annotated[int, Meta(ge=1, le=ITEMS_MAX, description="How many items at most.")]
Skip = Annotated[int, Meta(ge=0, le=OFFSET_MAX, description="Leave out as many of the first.")]
Reason = Annotated[str, Meta(max_length=1024, description="Why; kept with the new stream.")]
View = Annotated[
    Literal["summary", "full", "raw"],
    Meta(
        description="summary: 300 characters of each record. full: whole, events of runs with "
        "what they refer to. raw: payloads as they are stored."
    ),
]
ChannelName = Annotated[Name, Meta(description="Name of a channel.")]
Message = Annotated[Offset, Meta(description="Offset of any message of the thread.")]
Said = Annotated[str, Meta(min_length=1, max_length=TEXT_CHARS_MAX, description="What to say.")]
MessageId = Annotated[
    Annotated[str, Meta(min_length=1, max_length=200)] | None,
    Meta(description="An id of your own: with it the same message again is said once."),
]
T = TypeVar("T", bound="Arguments")


class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The arguments of one tool."""


class Place(Arguments, frozen=True, kw_only=True):
    """A stream, or a record of it."""

    stream: StreamName
    offset: Annotated[Offset | None, Meta(description="A record; null: the whole stream.")] = None


class After(Arguments, frozen=True, kw_only=True):
    """The item after which to go on."""

    stream: StreamName
    offset: Offset


class ListRuns(Arguments, frozen=True, kw_only=True):
    """Of `list_runs`."""

    prefix: Prefix = ""
    status: Annotated[
        Literal["completed", "failed", "cancelled", "unfinished"] | None,
        Meta(description="Only those that stand so."),
    ] = None
    limit: Limit = ITEMS
    after: Annotated[Name | None, Meta(description="The run after which to go on.")] = None


class Read(Arguments, frozen=True, kw_only=True):
    """Of `read`."""

    stream: StreamName
    start: Annotated[
        Annotated[int, Meta(ge=-OFFSET_MAX, le=OFFSET_MAX)],
        Meta(description="First offset; below 0 it counts from the end."),
    ] = 0
    skip: Annotated[
        int,
        Meta(ge=0, le=OFFSET_MAX, description="Characters to leave out of the first record's text"),
    ] = 0
    limit: Limit = ITEMS
    view: View = "summary"
    max_bytes: Annotated[
        int, Meta(ge=1024, le=ANSWER_BYTES_MAX, description="Largest answer, bytes.")
    ] = ANSWER_BYTES


class Search(Arguments, frozen=True, kw_only=True):
    """Of `search`."""

    text: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1024)] | None,
        Meta(description="Said in a message, argument, result or error; in any case of letters."),
    ] = None
    kind: Annotated[
        Name | None, Meta(description="Kind of event, such as tool_result or model_response.")
    ] = None
    tool: Annotated[Name | None, Meta(description="Name of a tool that was called.")] = None
    failed: Annotated[
        bool | None, Meta(description="true: outcomes that are failures; false: the others.")
    ] = None
    prefix: Prefix = ""
    limit: Limit = ITEMS
    after: Annotated[After | None, Meta(description="As `next` of the answer before.")] = None


class Wait(Arguments, frozen=True, kw_only=True):
    """Of `wait`."""

    stream: StreamName
    after: Annotated[
        Annotated[int, Meta(ge=-1, le=OFFSET_MAX)] | None,
        Meta(description="The last offset you know, -1 for none; null: the last one now."),
    ] = None
    timeout_s: Annotated[
        float, Meta(ge=0, le=WAIT_S_MAX, description="How long to wait, seconds.")
    ] = WAIT_S
    limit: Limit = ITEMS


class Why(Arguments, frozen=True, kw_only=True):
    """Of `why`."""

    stream: StreamName
    offset: Offset
    skip: Skip = 0
    limit: Limit = ITEMS


class Diff(Arguments, frozen=True, kw_only=True):
    """Of `diff`."""

    a: Place
    b: Place
    skip: Skip = 0
    limit: Limit = ITEMS


class Graph(Arguments, frozen=True, kw_only=True):
    """Of `graph`."""

    stream: Annotated[
        Name | None,
        Meta(description="Only what it descends from, and its descendants; null: all streams."),
    ] = None
    after: Annotated[
        Annotated[int, Meta(ge=0, le=OFFSET_MAX)] | None,
        Meta(description="The stream's number after which to go on."),
    ] = None
    limit: Limit = ITEMS


class Verify(Arguments, frozen=True, kw_only=True):
    """Of `verify`."""

    skip: Skip = 0
    limit: Limit = ITEMS


class Prove(Arguments, frozen=True, kw_only=True):
    """Of `prove`."""

    stream: StreamName
    offset: Annotated[
        Offset | None, Meta(description="The record; null: only where the stream comes from.")
    ] = None


class Retention(Arguments, frozen=True, kw_only=True):
    """Of `retention`."""

    stream: Annotated[
        Name | None,
        Meta(description="What became of one; null: all that are held, limited, trimmed."),
    ] = None
    skip: Skip = 0
    limit: Limit = ITEMS


class Append(Arguments, frozen=True, kw_only=True):
    """Of `append`."""

    stream: StreamName
    text: Annotated[str, Meta(max_length=TEXT_CHARS_MAX, description="The record's payload.")]
    headers: Annotated[
        dict[str, str], Meta(max_length=64, description="Kept with the record, text to text.")
    ] = {}
    expect: Annotated[
        Offset | None,
        Meta(description="The offset it must get, or nothing is written: makes a retry safe."),
    ] = None
    create: Annotated[bool, Meta(description="Make the stream where there is none.")] = False


class ForkHere(Arguments, frozen=True, kw_only=True):
    """Of `fork_here`."""

    stream: StreamName
    at: Annotated[
        Annotated[int, Meta(ge=-1, le=OFFSET_MAX)],
        Meta(description="The last offset that the fork inherits; -1: none."),
    ]
    name: Annotated[Name, Meta(description="Name of the new stream.")]
    reason: Reason = ""


class Merge(Arguments, frozen=True, kw_only=True):
    """Of `merge`."""

    policy: Annotated[
        Name, Meta(description="append, interleave, select, fast-forward, base, or custom:<name>.")
    ]
    parents: Annotated[
        tuple[Place, ...],
        Meta(min_length=2, max_length=64, description="What is merged, in this order."),
    ]
    name: Annotated[
        Name | None, Meta(description="Name of the new stream; not wanted for a plan.")
    ] = None
    params: Annotated[
        dict[str, Scalar],
        Meta(max_length=16, description='What the policy takes: select takes "selected".'),
    ] = {}
    reason: Reason = ""
    plan_only: Annotated[
        bool, Meta(description="Show what would be made, and make nothing. Look at that first.")
    ] = True
    skip: Skip = 0
    limit: Limit = ITEMS


class ListViews(Arguments, frozen=True, kw_only=True):
    """Of `list_views`."""

    skip: Skip = 0
    limit: Limit = ITEMS


class ReadTable(Arguments, frozen=True, kw_only=True):
    """Of `read_table`."""

    view: Annotated[Name, Meta(description="Name of a view, as `list_views` has it.")]
    table: Annotated[Name, Meta(description="Name of one of its tables.")]
    stream: StreamName
    at: Annotated[
        Offset | None, Meta(description="The state after so many records; null: after all.")
    ] = None
    key: Annotated[
        Annotated[tuple[Scalar, ...], Meta(min_length=1, max_length=16)] | None,
        Meta(description="The one row with this key: the values of the key's fields."),
    ] = None
    where: Annotated[
        Annotated[dict[str, Scalar], Meta(min_length=1, max_length=16)] | None,
        Meta(description="Only rows whose fields have these values."),
    ] = None
    after: Annotated[
        Annotated[str, Meta(max_length=4096)] | None,
        Meta(description="As `next` of the answer before."),
    ] = None
    limit: Limit = ITEMS


class Sql(Arguments, frozen=True, kw_only=True):
    """Of `sql`."""

    query: Annotated[str, Meta(min_length=1, max_length=65536, description="One SELECT.")]
    streams: Annotated[
        tuple[Name, ...],
        Meta(max_length=100, description="Names, or patterns such as run-*; none: all."),
    ] = ()
    at: Annotated[
        Offset | None, Meta(description="Each stream with its first so many records; null: all.")
    ] = None
    runs: Annotated[
        bool,
        Meta(description="Table events has the columns of recorded runs, instead of payload."),
    ] = False
    view: Annotated[
        Name | None, Meta(description="With `stream`: the tables of this view's state too.")
    ] = None
    stream: Annotated[Name | None, Meta(description="The stream of the view's state.")] = None
    skip: Skip = 0
    limit: Limit = ITEMS


class ListChannels(Arguments, frozen=True, kw_only=True):
    """Of `list_channels`."""

    prefix: Prefix = ""
    skip: Skip = 0
    limit: Limit = ITEMS


class ReadChannel(Arguments, frozen=True, kw_only=True):
    """Of `read_channel`."""

    channel: ChannelName
    start: Annotated[
        Offset | None, Meta(description="Offset of the first message; null: the last ones.")
    ] = None
    limit: Limit = ITEMS


class ListThreads(Arguments, frozen=True, kw_only=True):
    """Of `list_threads`."""

    channel: ChannelName
    state: Literal["open", "resolved", "suppressed"] = "open"
    skip: Skip = 0
    limit: Limit = ITEMS


class ReadThread(Arguments, frozen=True, kw_only=True):
    """Of `read_thread`."""

    channel: ChannelName
    message: Message
    skip: Skip = 0
    limit: Limit = ITEMS


class Post(Arguments, frozen=True, kw_only=True):
    """Of `post`."""

    channel: ChannelName
    text: Said
    id: MessageId = None
    answers: Annotated[
        Offset | None, Meta(description="Offset of the message that it answers.")
    ] = None


class Reply(Arguments, frozen=True, kw_only=True):
    """Of `reply`."""

    channel: ChannelName
    message: Message
    text: Said
    id: MessageId = None


class ListReconcilers(Arguments, frozen=True, kw_only=True):
    """Of `list_reconcilers`."""

    name: Annotated[Name | None, Meta(description="One of them, with its last ticks.")] = None
    labels: Annotated[
        dict[str, str], Meta(max_length=16, description="Only those that have these labels.")
    ] = {}
    skip: Skip = 0
    limit: Limit = ITEMS


class TellReconciler(Arguments, frozen=True, kw_only=True):
    """Of `tell_reconciler`."""

    name: Annotated[Name, Meta(description="Name of a reconciler.")]
    action: Annotated[
        Literal["tick", "enable", "disable"],
        Meta(description="tick: ask for one now. enable, disable: whether it is ever due."),
    ]


def arguments_of(kind: type[T], given: Mapping[str, object] | None) -> T:
    """What a client gave, checked; `InvalidInputError` names what is wrong."""
    try:
        # By way of JSON, which has no half surrogate pairs and no NaN.
        return msgspec.json.decode(msgspec.json.encode(_undone(kind, given or {})), type=kind)
    except (msgspec.DecodeError, UnicodeEncodeError, OverflowError, RecursionError) as error:
        taken = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        raise InvalidInputError(f"{error}; the arguments are: {taken}") from None


def _undone(kind: type[Arguments], given: Mapping[str, object]) -> dict[str, object]:
    """The arguments without what some clients do: give a list or an object as its JSON, in text."""
    holding = _holding(kind)
    return {
        key: msgspec.json.decode(value)
        if key in holding and isinstance(value, str) and value[:1] in ("[", "{")
        else value
        for key, value in given.items()
    }


@cache
def _holding(kind: type[Arguments]) -> frozenset[str]:
    """The arguments that are lists or objects, and no text."""
    properties = schema_of(kind)["properties"]
    types = {
        name: {each.get("type") for each in schema.get("anyOf", (schema,))}
        for name, schema in properties.items()
    }
    return frozenset(name for name, found in types.items() if found & {"array", "object"})


def schema_of(kind: type[Arguments]) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments."""
    _, parts = msgspec.json.schema_components([kind], ref_template="{name}")
    found = _plain(parts[kind.__name__], parts)
    assert isinstance(found, dict)
    return {key: value for key, value in found.items() if key not in ("title", "description")}


def _plain(schema: Any, parts: Mapping[str, Any]) -> Any:
    """A schema with what it refers to in place, and a type beside each choice.

    Some clients know neither references nor choices alone. No type of ours holds itself.
    """
    if isinstance(schema, dict):
        if "$ref" in schema:
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return {**_plain(parts[schema["$ref"]], parts), **rest}
        made = {key: _plain(value, parts) for key, value in schema.items()}
        return {"type": "string", **made} if isinstance(made.get("enum"), list) else made
    return [_plain(each, parts) for each in schema] if isinstance(schema, list | tuple) else schema
