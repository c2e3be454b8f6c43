"""What is asked of the routes beside the protocol, and what they answer: as values.

Bodies are JSON (`application/json`), or msgpack with the same names (`application/msgpack`): bytes
are base64 in JSON and raw in msgpack. Positions are arrays `[stream, offset]`. Times are UTC
nanoseconds. Names of streams are text; those of layers `$room/name`. Wherever the name of a stream
that is there can stand, `$$<uid>` can: it means that stream, whatever became of its name. What a
request leaves out is as in the embedded engine. A field that is not known is refused.

Answers that are values of the engine's are these values: `Status`, `MergePlan`, `CursorStatus`,
`Published`, `Report`, and of the lineage `HistorySpan`, `Difference`, `Provenance`, `LineageGraph`.

A page of many is NDJSON, or msgpack objects one after the other (`decode_page` reads both). Its
header `Transit-Count` says how many. `Transit-Next` says what the parameter `after` of the next
request is, where there are more, percent-encoded already: for streams a name or `$$<uid>`, for
cursors `<uid of the stream>/<name of the cursor>`. A page of records always has it: the number to
give as `start`. `Stream-Closed: true` comes with the page after which no record ever comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from transit import (
    Durability,
    Encrypted,
    InvalidInputError,
    MergePlan,
    Mode,
    Position,
    Record,
    Scalar,
)
from transit.protocol.lines import OriginLine

T = TypeVar("T")

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
NDJSON: Final = "application/x-ndjson"
COUNT_HEADER: Final = "Transit-Count"
NEXT_HEADER: Final = "Transit-Next"
HEAD_HEADER: Final = "Stream-Next-Offset"
CLOSED_HEADER: Final = "Stream-Closed"
DURABILITY_HEADER: Final = "Transit-Durability"
REPEATED_HEADER: Final = "Transit-Repeated"
UID_PREFIX: Final = "$$"
"""What comes before a uid where a name can stand too; no stream's name begins with it."""
STEPS_MAX: Final = 1_000
"""Steps of one frame."""

_TOLD_MAX: Final = 300
_INT64_MAX: Final = 2**63 - 1
Offset = Annotated[int, Meta(ge=0, le=_INT64_MAX)]
Time = Annotated[int, Meta(ge=-(2**63), le=_INT64_MAX)]
Name = Annotated[str, Meta(min_length=1, max_length=512)]
Value = str | Time | float | bool | None
"""Of metadata and parameters: `Scalar`, with numbers of 64 bits."""
Short = Annotated[str, Meta(max_length=512)]
Text = Annotated[str, Meta(max_length=1024)]
Headers = Mapping[str, str]
# Without limits on the text: msgspec 0.22 mistakes them where a tuple is the other choice (it takes
# the tuple's size for the text's, and crashes when it collects the type). The engine checks names.
Parent = str | tuple[str, int]
"""A stream, which stands for its head, or a position in it."""
Parents = Annotated[list[Parent], Meta(max_length=STEPS_MAX)]


class _Step(msgspec.Struct, tag_field="op", kw_only=True, omit_defaults=True, frozen=True,
            forbid_unknown_fields=True):  # fmt: skip
    """One step of a frame; `op` says which."""


class Create(_Step, tag="create", frozen=True):
    """A new stream, of a layer too. derived: as `Layer.create` takes it, of a layer's alone.

    protect: as `Log.create` takes it.
    """

    name: Name
    metadata: Mapping[str, Value] | None = None
    codec: Short | None = None
    uid: Short | None = None
    derived: bool = False
    protect: Short | None = None


class Append(_Step, tag="append", frozen=True):
    """One record: `payload`, or `text` for its UTF-8."""

    stream: Name
    payload: bytes | None = None
    text: str | None = None
    headers: Headers | None = None
    timestamp: Time | None = None
    expect: Offset | None = None


class AppendMany(_Step, tag="append_many", frozen=True):
    """Several records. headers: for all of them, or one (or null) a record."""

    stream: Name
    payloads: list[bytes]
    headers: Headers | list[Headers | None] | None = None
    timestamps: list[Time] | None = None
    expect: Offset | None = None


class Branch(_Step, tag="branch", frozen=True):
    """A new stream `name` that inherits `stream` up to and including `at` (null: the head)."""

    stream: Name
    name: Name
    at: Offset | None = None
    metadata: Mapping[str, Value] | None = None
    uid: Short | None = None
    expect: Offset | None = None
    empty: bool = False


class Merge(_Step, tag="merge", frozen=True):
    """A new stream `name`, made from heads of others by a policy."""

    name: Name
    parents: Parents
    policy: Short
    base: tuple[str, int] | None = None
    params: Mapping[str, Value] | None = None
    metadata: Mapping[str, Value] | None = None
    merge_id: Short | None = None
    uid: Short | None = None
    expect: list[Offset | None] | None = None


class Finish(_Step, tag="finish", frozen=True):
    """No more records."""

    stream: Name
    expect: Offset | None = None
    reason: Text = ""


class Hide(_Step, tag="hide", frozen=True):
    """Out of listings and lookups; the name is free."""

    stream: Name
    expect: Offset | None = None
    reason: Text = ""


class Show(_Step, tag="show", frozen=True):
    """Undo `hide`; by its uid, since a hidden stream is found by no name."""

    stream: Name
    expect: Offset | None = None
    reason: Text = ""


class Advance(_Step, tag="advance", frozen=True):
    """Move a cursor, with up to 64 KiB of state."""

    stream: Name
    cursor: Name
    position: Offset
    state: bytes | None = None
    expect: Offset | None = None


Step = Create | Append | AppendMany | Branch | Merge | Finish | Hide | Show | Advance


class FrameRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """POST /v1/frames: steps that are done together or not at all."""

    steps: Annotated[list[Step], Meta(min_length=1, max_length=STEPS_MAX)]
    durability: Durability | None = None


class FrameReceipt(msgspec.Struct, frozen=True):
    """What one `append` or `append_many` did, in the order of the steps.

    stream: as the step named it. offset: of the first record. timestamp: of the last.
    """

    stream: str
    offset: int
    timestamp: int
    count: int = 1


class Advanced(msgspec.Struct, frozen=True):
    """What one `advance` did. stream: as the step named it."""

    stream: str
    cursor: str
    position: int


class Description(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stream. merge_plan: only where one stream is asked for, and it is a merge.

    first_offset: the first that is still there. deleted: no record is.
    """

    name: str
    id: int
    uid: str
    kind: str
    metadata: Mapping[str, Scalar]
    codec: str | None
    parents: tuple[Position, ...]
    fork_offset: int | None
    next_offset: int
    finished: bool
    hidden: bool
    merge_plan: MergePlan | None = None
    first_offset: int = 0
    deleted: bool = False
    parent_uids: tuple[str, ...] = ()


class FrameAnswer(msgspec.Struct, frozen=True):
    """What a frame did, and how durable it is.

    made: the streams of create, branch and merge, in the order of the steps, as they stand now.
    cursors: those that were advanced. A repeated request has the receipts of the first.
    """

    durability: Durability
    receipts: list[FrameReceipt] = []
    made: list[Description] = []
    cursors: list[Advanced] = []


class PlanRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """POST /v1/plan: what a merge would make; answered with a `MergePlan`."""

    parents: Parents
    policy: Short
    base: tuple[str, int] | None = None
    params: Mapping[str, Value] | None = None


class SyncRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """POST /v1/sync: make all that was written so far as durable.

    level: "local", "tiered" or "replicated".
    """

    level: str = "local"


class SyncAnswer(msgspec.Struct, frozen=True):
    """What was reached by a sync or a seal."""

    durability: Durability


class StoreAnswer(msgspec.Struct, frozen=True):
    """GET /v1/store: what is served. Limits in bytes."""

    store_id: str
    mode: Mode
    durability: Durability
    version: str
    record_bytes_max: int
    frame_bytes_max: int
    body_bytes_max: int
    encryption: Encrypted = "none"


class OffsetAnswer(msgspec.Struct, frozen=True):
    """GET /v1/records/{name}?times=NS: as `Stream.offset_at`."""

    offset: int


class AncestorAnswer(msgspec.Struct, frozen=True):
    """GET /v1/lineage/is-ancestor."""

    is_ancestor: bool


class Changes(msgspec.Struct, frozen=True, omit_defaults=True):
    """The data of an event of GET /v1/changes.

    streams: names of those that have more records, or were finished or hidden. all: the first event
    where none were asked for: from now on all are watched, and any may have changed before. ended:
    the last event: why the store can be watched no more.
    """

    streams: list[str] = []
    all: bool = False
    ended: str = ""


class RecordData(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record in msgpack; in JSON it is a `transit.protocol.lines.RecordLine`."""

    offset: int
    timestamp: int
    written: int
    payload: bytes
    writer: str = ""
    headers: Mapping[str, str] = {}
    origin: OriginLine | None = None


def record_data(stream: str, record: Record) -> RecordData:
    """A record of `stream` as it is sent in msgpack."""
    origin = record.origin
    own = origin.stream == stream and origin.offset == record.offset
    return RecordData(
        record.offset,
        record.timestamp,
        record.written,
        record.payload,
        record.writer,
        dict(record.headers),
        None if own else OriginLine(origin.stream, origin.offset),
    )


def encode(value: object, media_type: str) -> bytes:
    """A value as a body of this media type."""
    return msgspec.msgpack.encode(value) if media_type == MSGPACK else msgspec.json.encode(value)


def decode(data: bytes, media_type: str, kind: type[T]) -> T:
    """The value of a body; `InvalidInputError` where it is none of that kind."""
    try:
        if media_type == MSGPACK:
            return msgspec.msgpack.decode(data, type=kind)
        # msgspec takes bytes in text as they are; others would not read what they wrote.
        data.decode()
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"body: {told(error)}") from None


def encode_page(values: Sequence[object], media_type: str) -> bytes:
    """Many values as a body."""
    if media_type == MSGPACK:
        return b"".join(map(msgspec.msgpack.encode, values))
    return b"".join(msgspec.json.encode(value) + b"\n" for value in values)


def decode_page(data: bytes, media_type: str, kind: type[T], count: int) -> list[T]:
    """The values of a page that holds `count` of them."""
    try:
        if media_type == MSGPACK:
            # With the head of an array before them they are one.
            whole = b"\xdd" + count.to_bytes(4) + data
            return msgspec.msgpack.decode(whole, type=list[kind])  # type: ignore[valid-type]
        return msgspec.json.Decoder(kind).decode_lines(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"page: {told(error)}") from None


def told(error: Exception) -> str:
    """What is wrong with what was sent; it may quote all of that, so only the beginning."""
    text = str(error)
    return text if len(text) <= _TOLD_MAX else f"{text[:_TOLD_MAX]}…"
