"""The records of stream `$names`: what became of streams after they were made.

`$names` has a fixed id, `NAMES_ID`, beyond every id that is ever given; no lineage record says that
it is there, and it has no records until the first stream is finished or hidden. A record is
canonical JSON (keys sorted, no white space, UTF-8):

    {"stream": id, "streams": count, "finished": count, "hidden": true, "deleted": true,
     "erased": true, "reason": text}

It says all that is so of one stream from this record on; the last record about a stream holds, and
a stream without one is neither finished nor hidden. What is not so is left out.

    stream     which stream it is about
    streams    how many streams there were, `$lineage` among them: those with ids from here on were
               made later, in the same frame or another
    finished   how many records the stream has for ever, inherited ones included
    hidden     the name is free for another stream, and listings and lookups leave this one out
    deleted    kept for later: nothing may depend on it; always hidden and finished
    erased     kept for later: its bytes are gone; always deleted

Valid if and only if: the bytes decode to this shape and encoding that value again gives the same
bytes; 0 < stream < streams < `NAMES_ID`; finished is at least 0; reason is at most 1024 bytes. A
reader that knows nothing of deletion treats a deleted stream rightly: it is hidden and finished.
That a finished stream stays finished at the same count, a deleted one deleted, and that no two
streams that are not hidden have one name is for a verifier to see: it has all records.

The index of a segment lists each record under `life_key(stream)`, with the record's offset in
`$names` where other keys have a stream's id.
"""

from __future__ import annotations

from typing import Final

import msgspec

from transit.errors import CorruptError, InvalidInputError
from transit.format.checksum import checksum
from transit.format.lineage import Int64, Root

NAMES_ID: Final = 2**63 - 1
NAMES_NAME: Final = "$names"
NAMES_RECORD: Final = Root(name=NAMES_NAME)
REASON_BYTES_MAX: Final = 1024
LIFE_BYTES_MIN: Final = len(b'{"stream":1,"streams":2}')


class Life(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What is so of one stream from a record on."""

    stream: Int64
    streams: Int64
    finished: Int64 | None = None
    hidden: bool = False
    deleted: bool = False
    erased: bool = False
    reason: str = ""


_encoder = msgspec.json.Encoder(order="sorted")
_decoder: Final = msgspec.json.Decoder(Life)


def encode_life(life: Life) -> bytes:
    """The record's canonical bytes."""
    return _encoder.encode(life)


def decode_life(payload: bytes, offset: int) -> Life:
    """The record at `offset` of `$names`; `CorruptError` when it is not valid."""
    place = f"{NAMES_NAME}@{offset}"
    try:
        life = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptError(place, expected="the life of a stream", found=str(error)) from None
    if _encoder.encode(life) != payload:
        raise CorruptError(place, expected="canonical JSON", found="another spelling of it")
    problem = _problem(life)
    if problem:
        raise CorruptError(place, expected="the life of a stream", found=problem)
    return life


def _problem(life: Life) -> str:
    if not 0 < life.stream < life.streams < NAMES_ID:
        return f"stream {life.stream} of {life.streams}"
    if life.finished is not None and life.finished < 0:
        return f"finished at {life.finished}"
    if life.deleted and (not life.hidden or life.finished is None):
        return "deleted, and not hidden and finished"
    if life.erased and not life.deleted:
        return "erased, and not deleted"
    return "" if len(life.reason.encode()) <= REASON_BYTES_MAX else "a long reason"


def check_reason(reason: object) -> str:
    """`reason` as plain text; or `InvalidInputError`."""
    if not isinstance(reason, str):
        raise InvalidInputError(f"reason must be text, not {type(reason).__name__}")
    try:
        size = len(reason.encode())
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"reason is not Unicode text: {error}") from None
    if size > REASON_BYTES_MAX:
        raise InvalidInputError(f"reason takes {size} of {REASON_BYTES_MAX} bytes")
    return str.__str__(reason)


def life_key(stream_id: int) -> int:
    """The 64-bit key under which a segment's index lists the records about one stream."""
    return checksum(b"$names/%d" % stream_id)
