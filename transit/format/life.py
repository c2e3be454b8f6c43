"""The records of stream `$names`: what became of streams after they were made.

`$names` has a fixed id, `NAMES_ID`, beyond every id that is ever given; no lineage record says that
it is there, and it has no records until the first stream is finished or hidden. A record is
canonical JSON (keys sorted, no white space, UTF-8):

    {"stream": id, "streams": count, "finished": count, "hidden": true, "deleted": true,
     "erased": true, "trimmed": offset, "freed": offset, "freed_bytes": size, "here": true,
     "locked_until": time, "keep": {…}, "holds": [text, …], "basis": text, "reason": text}

It says all that is so of one stream from this record on; the last record about a stream holds, and
a stream without one is neither finished nor hidden. What is not so is left out.

    stream     which stream it is about
    streams    how many streams there were, `$lineage` among them: those with ids from here on were
               made later, in the same frame or another
    finished   how many records the stream has for ever, inherited ones included
    hidden     the name is free for another stream, and listings and lookups leave this one out
    deleted    its records are gone for readers, and nothing may depend on it; always hidden and
               finished
    erased     its bytes are gone; always deleted
    trimmed    its records before this offset are gone for readers; at least 1
    freed      of these, the bytes of those before this offset are gone; at most `trimmed`
    freed_bytes  what its chunks took that are gone, unfolded, bytes: of all that was ever erased
    here       `erased` and `freed` are so of the folder alone: no remote was attached
    locked_until  a remote keeps versions of what was erased until then, UTC nanoseconds; -1 where
               it does not say until when
    keep       how long it is kept, whatever is asked (`Keep`); what is left out has no limit
    holds      why nobody may delete any of it, a text for each that asked; sorted, all different
    basis      what a deletion or a trim rests on, one of `BASES`; "owner" is left out
    reason     why this record was written, in its writer's words

What `keep` holds, each at least 1:

    keep_for      seconds after it was written before which no record is deleted
    expire_after  seconds after it was written from which a record is to be deleted
    bytes_max     of payloads: the oldest records over it are to be trimmed
    count_max     of records: the same

Valid if and only if: the bytes decode to this shape and encoding that value again gives the same
bytes; 0 < stream < streams < `NAMES_ID`; finished is at least 0; reason, and each of the holds, is
at most 1024 bytes, and there are at most 64 holds. Who deleted or trimmed, and when, is what the
chunk that holds the record says of it: its writer, and when it was written. That a finished stream
stays finished at the same count, a deleted one deleted, that `trimmed` and `freed` only grow, and
that no two streams that are not hidden have one name is for a verifier to see: it has all records.

The index of a segment lists each record under `life_key(stream)`, with the record's offset in
`$names` where other keys have a stream's id.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from transit.errors import CorruptError, InvalidInputError
from transit.format.checksum import checksum
from transit.format.lineage import Int64, Root

NAMES_ID: Final = 2**63 - 1
NAMES_NAME: Final = "$names"
NAMES_RECORD: Final = Root(name=NAMES_NAME)
REASON_BYTES_MAX: Final = 1024
HOLDS_MAX: Final = 64
ALL: Final = 2**63 - 1
"""As an offset: before it is every record that a stream can ever have."""

Basis = Literal["", "gdpr-17", "retention", "court"]
BASES: Final = ("owner", "gdpr-17", "retention", "court")
"""What a deletion may rest on: the owner's wish, Art. 17 GDPR, a limit of `keep`, a court."""
OVERRIDING: Final = ("gdpr-17", "court")
"""Those that go before `keep_for`; nothing goes before a hold."""
LIFE_BYTES_MIN: Final = len(b'{"stream":1,"streams":2}')


Limit = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Keep(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """How long records of a stream are kept; see above."""

    keep_for: Limit | None = None
    expire_after: Limit | None = None
    bytes_max: Limit | None = None
    count_max: Limit | None = None


NO_LIMITS: Final = Keep()


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
    trimmed: Int64 = 0
    freed: Int64 = 0
    freed_bytes: Int64 = 0
    here: bool = False
    locked_until: Int64 = 0
    keep: Keep | None = None
    holds: tuple[str, ...] = ()
    basis: Basis = ""
    reason: str = ""

    @property
    def gone(self) -> int:
        """Before which offset its records are gone for readers; `ALL` of a deleted stream."""
        return ALL if self.deleted else self.trimmed

    @property
    def gone_bytes(self) -> int:
        """Before which own offset the bytes of its records are gone; `ALL` of an erased stream."""
        return ALL if self.erased else self.freed


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
    return _state_problem(life) or _erasure_problem(life)


def _state_problem(life: Life) -> str:
    if life.finished is not None and life.finished < 0:
        return f"finished at {life.finished}"
    if life.deleted and (not life.hidden or life.finished is None):
        return "deleted, and not hidden and finished"
    return "erased, and not deleted" if life.erased and not life.deleted else ""


def _erasure_problem(life: Life) -> str:
    if not 0 <= life.freed <= life.trimmed:
        return f"freed to {life.freed}, and trimmed to {life.trimmed}"
    if life.here and not life.gone_bytes:
        return "erased here, and not erased"
    if life.keep == NO_LIMITS:
        return "limits that are none"
    if life.freed_bytes < 0 or life.locked_until < -1:
        return f"{life.freed_bytes} bytes freed, locked until {life.locked_until}"
    if len(life.holds) > HOLDS_MAX or list(life.holds) != sorted({*life.holds} - {""}):
        return f"{len(life.holds)} holds, not sorted and all different"
    texts = (life.reason, *life.holds)
    return "" if all(len(t.encode()) <= REASON_BYTES_MAX for t in texts) else "a long reason"


def check_basis(basis: object) -> Basis:
    """`basis` as a record has it; `InvalidInputError` unless it is one of `BASES`."""
    if basis not in BASES:
        raise InvalidInputError(f"basis must be one of {', '.join(BASES)}; not {basis!r}")
    return "" if basis == "owner" else msgspec.convert(basis, Basis)


def check_reason(reason: object, what: str = "reason") -> str:
    """`reason` as plain text; or `InvalidInputError`."""
    if not isinstance(reason, str):
        raise InvalidInputError(f"{what} must be text, not {type(reason).__name__}")
    try:
        size = len(reason.encode())
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{what} is not Unicode text: {error}") from None
    if size > REASON_BYTES_MAX:
        raise InvalidInputError(f"{what} takes {size} of {REASON_BYTES_MAX} bytes")
    return str.__str__(reason)


def life_key(stream_id: int) -> int:
    """The 64-bit key under which a segment's index lists the records about one stream."""
    return checksum(b"$names/%d" % stream_id)
