"""The records of a takeover: what a standby says of it, and what a fenced writer counted after.

Each takeover has a stream of its own, `$takeovers/<id>`. Its records are JSON of one of two shapes,
told apart by "kind":

    takeover   {"kind": "takeover", "at", "by", "reason", "commit", "root", "records", "written",
                "epoch", "lost"}: the first record, once
    rebased    {"kind": "rebased", "at", "by", "tag", "streams", "records"}: each time a writer
                that was fenced by this takeover brought along what it had not published

at        when this was said, UTC nanoseconds
by        who said it: the name of a machine, or what a caller gave
commit    number of the commit that this record is in: the fence
root      root of the commit before, 64 hex digits; "" where there was none
records   of the takeover: all that the commits before it hold; of "rebased": those brought along
written   when the last of the records before was written, UTC nanoseconds; 0 where there was none
epoch     of the commit before, -1 where there was none
lost      how often the writer published while this takeover was tried
tag       what the branches of the rebase are named with, behind `@`
streams   how many streams have records that were brought along

A record is valid if and only if it decodes to one of these shapes. Unknown fields are left out: a
newer transit may say more.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from transit.errors import CorruptError
from transit.format.life import check_reason
from transit.format.names import check_name, layer_stream_name

TAKEOVERS: Final = "takeovers"
"""The layer of these streams."""

_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class TakeoverRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="takeover"):
    """The first record of a takeover's stream."""

    at: _Int64
    by: str
    reason: str
    commit: _Count
    root: str
    records: _Count
    written: _Int64
    epoch: _Int64
    lost: _Count


class RebasedRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rebased"):
    """What a fenced writer had that the takeover missed."""

    at: _Int64
    by: str
    tag: str
    streams: _Count
    records: _Count


Said = TakeoverRecord | RebasedRecord

_decoder: Final[msgspec.json.Decoder[Said]] = msgspec.json.Decoder(Said)


def encode_takeover(record: Said) -> bytes:
    """The record's bytes."""
    return msgspec.json.encode(record)


def decode_takeover(payload: bytes, place: str) -> Said:
    """What `payload` says; `CorruptError`, naming `place`, for bytes that are no such record."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptError(place, expected="a takeover", found=str(error)) from None


def takeover_stream_name(takeover_id: object) -> str:
    """The name in the store of a takeover's stream; `InvalidInputError` for what is no id."""
    return layer_stream_name(TAKEOVERS, check_name(takeover_id, "takeover_id"))


def check_by(by: object) -> str:
    """Who takes over, as text that can be written; or `InvalidInputError`."""
    return check_reason(by, "by")
