"""The records of stream 0 (`$lineage`): one for each stream ever created.

A stream's numeric id is the offset of its record in stream 0. A record is canonical JSON (keys
sorted, no white space, UTF-8) of one of three shapes, told apart by "kind":

    root    {"kind": "root", "name", "uid"}
    branch  {"kind": "branch", "name", "uid", "parent": id, "fork": offset}
    merge   {"kind": "merge", "name", "uid", "merge_id", "parents": [[id, head], …], "base": [id,
             offset] or null, "policy", "version", "params": {…}, "plan": [id, offset, count, …]}

The uid, 32 lower-case hex digits, names the stream for ever, in whatever history it is
(`transit.format.uid`). Each record may have a "metadata" object of scalars, a "codec" name, and
"protect", whose key encrypts the stream in an encrypted store: "stream" for one of its own,
"stream:" and a uid for that of the stream it is about, "subject:" and a name for one that all
streams of the subject have; without it the store's. The params of policy "select" are {"selected":
place in "parents", counted from 0}. A merge id is any name; one that was not given is the BLAKE3 of
the JSON array [name, parents, base, policy, version, params].

Valid if and only if: the bytes decode to one of these shapes and encoding that value again gives
the same bytes; there is a uid, but for record 0, which is about `$lineage` itself and has none;
every offset is at least -1, every count at least 1, every id smaller than the record's own offset;
a merge has two or more distinct parents; numbers fit in 64 bits, and what a stream inherits in 63.
Unknown fields or kinds are refused: they can only come from a newer transit. That no two streams
have one uid is for a verifier to see: it has all records.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from transit.errors import CorruptError, InvalidInputError
from transit.format.uid import UID_DIGITS

LINEAGE_ID: Final = 0
LINEAGE_NAME: Final = "$lineage"
METADATA_BYTES_MAX: Final = 64 * 1024

Scalar = str | int | float | bool | None
Metadata = Mapping[str, Scalar]
Kind = Literal["root", "branch", "merge"]


# What a record may hold: as `Scalar`, with numbers of 64 bits.
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Stored = str | Int64 | float | bool | None
Uid = Annotated[str, Meta(pattern="^([0-9a-f]{32})?$", max_length=UID_DIGITS)]


Protect = Annotated[
    str, Meta(pattern=r"^(stream(:[0-9a-f]{32})?|subject:[\s\S]{1,200})$", max_length=208)
]
STORE_OWNER: Final = "store"


_PROTECT: Final = re.compile(r"stream(:[0-9a-f]{32})?|subject:[\s\S]{1,200}")


class _Shape(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="kind",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    name: str
    # Empty for the store's own two streams, and until a stream is made.
    uid: Uid = ""
    metadata: dict[str, Stored] = {}
    codec: str | None = None
    protect: Protect | None = None

    @property
    def owner(self) -> str:
        """Whose key encrypts the stream, as a keyring names it."""
        if self.protect is None:
            return STORE_OWNER
        return f"stream:{self.uid}" if self.protect == "stream" else self.protect


class Root(_Shape, tag="root", frozen=True, kw_only=True):
    """A stream that inherits nothing."""

    @property
    def start(self) -> int:
        """Offset of the stream's first own record."""
        return 0


class Branch(_Shape, tag="branch", frozen=True, kw_only=True):
    """A stream that inherits `parent` up to and including offset `fork` (-1: nothing)."""

    parent: Int64
    fork: Int64

    @property
    def start(self) -> int:
        """Offset of the stream's first own record."""
        return self.fork + 1


class Merge(_Shape, tag="merge", frozen=True, kw_only=True):
    """A stream whose inherited history is `plan`, made from `parents` under `policy`.

    `parents` are (stream id, head offset); `plan` is flat triples of origin stream id, first
    origin offset and count, in order.
    """

    merge_id: str
    parents: tuple[tuple[Int64, Int64], ...]
    base: tuple[Int64, Int64] | None
    policy: str
    version: Int64
    params: dict[str, Stored]
    plan: tuple[Int64, ...]

    @property
    def start(self) -> int:
        """Offset of the stream's first own record: the number of records merged."""
        return sum(self.plan[2::3])


LineageRecord = Root | Branch | Merge

LINEAGE_RECORD: Final = Root(name=LINEAGE_NAME)
"""The first record of stream 0: the one that says what stream 0 is."""

_encoder = msgspec.json.Encoder(order="sorted")
_decoder: msgspec.json.Decoder[LineageRecord] = msgspec.json.Decoder(LineageRecord)


def kind_of(record: LineageRecord) -> Kind:
    """ "root", "branch" or "merge"."""
    if isinstance(record, Branch):
        return "branch"
    return "merge" if isinstance(record, Merge) else "root"


def heads_of(record: LineageRecord) -> tuple[tuple[int, int], ...]:
    """The streams that a stream was made of, each with its last inherited offset, -1 for none."""
    if isinstance(record, Branch):
        return ((record.parent, record.fork),)
    return record.parents if isinstance(record, Merge) else ()


def check_protect(protect: object) -> str | None:
    """Whose key encrypts a stream, when it is that; or `InvalidInputError`."""
    if protect is None:
        return None
    if not isinstance(protect, str) or not _PROTECT.fullmatch(protect):
        raise InvalidInputError(
            f'protect must be "stream" or "subject:NAME" of up to 200 characters, not {protect!r}'
        )
    return str.__str__(protect)


def encode_lineage(record: LineageRecord) -> bytes:
    """The record's canonical bytes; `InvalidInputError` when a string is not Unicode text."""
    try:
        return _encoder.encode(record)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"stream {record.name!r}: not encodable: {error}") from None


def decode_lineage(payload: bytes, stream_id: int) -> LineageRecord:
    """The record at offset `stream_id` of stream 0; `CorruptError` when it is not valid."""
    place = f"{LINEAGE_NAME}@{stream_id}"
    try:
        record = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptError(place, expected="a lineage record", found=str(error)) from None
    if _encoder.encode(record) != payload:
        raise CorruptError(place, expected="canonical JSON", found="another spelling of it")
    problem = _uid_problem(record.uid, stream_id) or _problem(record, stream_id)
    if problem:
        raise CorruptError(place, expected="a lineage record that fits", found=problem)
    return record


def _uid_problem(uid: str, stream_id: int) -> str:
    if len(uid) == (0 if stream_id == LINEAGE_ID else UID_DIGITS):
        return ""
    return "a uid" if uid else "no uid"


def _problem(record: LineageRecord, stream_id: int) -> str:
    if isinstance(record, Branch):
        return "" if _fits((record.parent, record.fork), stream_id) else "a parent out of range"
    if not isinstance(record, Merge):
        return ""
    ids = [parent for parent, _ in record.parents]
    if len(ids) < 2 or len(set(ids)) != len(ids):
        return f"{len(ids)} parents, {len(set(ids))} of them distinct"
    if not all(_fits(parent, stream_id) for parent in record.parents):
        return "a parent out of range"
    if record.base is not None and not _fits(record.base, stream_id):
        return "a base out of range"
    if len(record.plan) % 3 or not all(
        0 <= origin < stream_id and offset >= 0 and count >= 1
        for origin, offset, count in triples(record.plan)
    ):
        return "a plan out of range"
    return "" if record.start < 2**63 else "a plan of too many records"


def _fits(position: tuple[int, int], stream_id: int) -> bool:
    return 0 < position[0] < stream_id and -1 <= position[1] < 2**63 - 1


def sources(record: LineageRecord) -> set[int]:
    """The ids of all streams that a lineage record names."""
    if isinstance(record, Branch):
        return {record.parent}
    if isinstance(record, Merge):
        base = () if record.base is None else record.base[:1]
        return {*(parent for parent, _ in record.parents), *record.plan[0::3], *base}
    return set()


def triples(flat: tuple[int, ...]) -> zip[tuple[int, int, int]]:
    """The (stream id, offset, count) triples of a flat plan."""
    return zip(flat[0::3], flat[1::3], flat[2::3], strict=False)


def check_metadata(metadata: Metadata | None, place: str) -> dict[str, Scalar]:
    """A plain copy of `metadata`; `InvalidInputError` unless text keys with scalar values.

    Enumerations and others of a class of their own, as NumPy's float64, become what they stand for.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidInputError(
            f"{place}: metadata must be a mapping, not {type(metadata).__name__}"
        )
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str | int | float | bool | None):
            raise InvalidInputError(f"{place}: metadata {key!r} must be text with a scalar value")
        if isinstance(value, float) and not (value - value == 0.0):
            raise InvalidInputError(f"{place}: metadata {key!r} is not a finite number")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InvalidInputError(f"{place}: metadata {key!r} is beyond 64 bits")
    plain = {str.__str__(key): _plain(value) for key, value in metadata.items()}
    try:
        size = len(_encoder.encode(plain))
    except ValueError as error:
        raise InvalidInputError(f"{place}: metadata is not Unicode text: {error}") from None
    if size > METADATA_BYTES_MAX:
        raise InvalidInputError(f"{place}: metadata takes {size} of {METADATA_BYTES_MAX} bytes")
    return plain


def _plain(value: Scalar) -> Scalar:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    return int.__int__(value) if isinstance(value, int) else float.__float__(value)
