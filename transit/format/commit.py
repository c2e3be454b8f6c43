"""Commits: the links of the manifest chain, and the FORMAT file.

A commit is canonical JSON (keys sorted, no white space, UTF-8), at most 65,535 bytes, as much as an
entry of a log in the form of C2SP tlog-tiles may have:

    checksum   XXH3-64 of these bytes with 16 zeros in its place, 16 hex digits: against accidents;
               it sorts first, so its place is always the same
    format     1
    store      store id, 32 hex digits
    number     0, 1, 2, …
    epoch      of the writer that made it; never lower than the commit's before
    write_id   32 random hex digits: tells our own write from another's
    previous   root of the commit before, 64 hex digits; "" for commit 0
    segments   those it adds, in order of log sequence number:
               digest, footer, chunks (64 hex digits each; `chunks` is the root of the tree over
               the segment's chunks, see `transit.proof.chunks`), bytes, records, streams,
               lsn [first, last], time [earliest, latest] timestamps,
               written [first, last]: when the first and the last record were written
    index      optional snapshot of the index: digest, bytes
    needs      optional list of what a reader has to know: "envelopes", where one of the segments
               has such (`transit.format.envelope`)
    tree       RFC 6962 tree over the bytes of all earlier commits: size, range (the
               compact range's hashes, largest subtree first, 64 hex digits each)

The root of a commit is the BLAKE3 of its bytes. No path, ETag or host name is in it, and no clock
but the times of the records: the same commit has the same bytes everywhere.

Valid if and only if: the bytes decode to this shape, encode to the same bytes again, the checksum
fits, numbers and digests are in range, segments are contiguous in log sequence number, no segment
was written backwards, and the tree's size is the commit's number. `check_link` says whether a
commit follows another.

FORMAT, written once when a store is made, is canonical JSON too: kind "transit-store", format,
store. What 0.1.0 wrote, under the same version, is told by `transit.format.preview`.

Reserved, and refused until a reader knows them: "heads" of a commit, size and root of the tree of
streams' heads; other names in "needs" of a commit, and any in "needs" of a segment. A whole commit
with such raises `UnsupportedVersionError` with the names.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from transit.errors import CorruptError, InvalidInputError, UnsupportedVersionError
from transit.format.checksum import checksum
from transit.format.digest import digest
from transit.format.preview import refuse_document, refuse_needs

FORMAT_VERSION: Final = 1
COMMIT_BYTES_MAX: Final = 65_535
FORMAT_BYTES_MAX: Final = 4 * 1024
ENVELOPES: Final[tuple[Literal["envelopes"]]] = ("envelopes",)

Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{32}$", max_length=32)]
Hex64 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Timestamp = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

_NO_CHECKSUM: Final = "0" * 16
_VERSION: Final = re.compile(rb'"format":\s*(\d{1,9})[,}]')


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class SegmentRef(_Strict, frozen=True, kw_only=True):
    """A segment as a commit names it."""

    digest: Hex64
    footer: Hex64
    chunks: Hex64
    bytes: Count
    records: Count
    streams: Count
    lsn: tuple[Count, Count]
    time: tuple[Timestamp, Timestamp]
    written: tuple[Timestamp, Timestamp]


class IndexRef(_Strict, frozen=True, kw_only=True):
    """An index snapshot as a commit names it."""

    digest: Hex64
    bytes: Count


class TreeState(_Strict, frozen=True, kw_only=True):
    """The RFC 6962 tree over the commits before: leaf count and compact range."""

    size: Count
    range: tuple[Hex64, ...]


class Commit(_Strict, frozen=True, kw_only=True, omit_defaults=True):
    """One link of the manifest chain."""

    checksum: Annotated[str, Meta(pattern="^[0-9a-f]{16}$", max_length=16)] = ""
    format: Literal[1]
    store: Hex32
    number: Count
    epoch: Count
    write_id: Hex32
    previous: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$", max_length=64)]
    segments: tuple[SegmentRef, ...]
    tree: TreeState
    index: IndexRef | None = None
    needs: tuple[Literal["envelopes"]] | None = None

    @property
    def next_lsn(self) -> int:
        """The log sequence number after the last record this commit covers."""
        return self.segments[-1].lsn[1] + 1


class StoreFormat(_Strict, frozen=True, kw_only=True):
    """The FORMAT file."""

    kind: Literal["transit-store"]
    format: Literal[1]
    store: Hex32


_encoder = msgspec.json.Encoder(order="sorted")
_commit_decoder = msgspec.json.Decoder(Commit)
_format_decoder = msgspec.json.Decoder(StoreFormat)
_Shape = TypeVar("_Shape", Commit, StoreFormat)


def encode_commit(commit: Commit) -> bytes:
    """The commit's canonical bytes, whatever checksum it states.

    `InvalidInputError` when they are more than a reader takes.
    """
    data = _encoder.encode(msgspec.structs.replace(commit, checksum=_NO_CHECKSUM))
    if len(data) > COMMIT_BYTES_MAX:
        raise InvalidInputError(f"a commit of {len(data)} bytes; the limit is {COMMIT_BYTES_MAX}")
    return data.replace(_NO_CHECKSUM.encode(), f"{checksum(data):016x}".encode(), 1)


def root_of(data: bytes) -> str:
    """The root of the commit with these bytes, 64 hex digits."""
    return digest(data).hex()


def decode_commit(data: bytes, place: str) -> Commit:
    """The commit in `data`."""
    commit = _decode(_commit_decoder, data, COMMIT_BYTES_MAX, place)
    if encode_commit(commit) != data:
        raise CorruptError(place, expected="the commit's checksum", found=commit.checksum)
    expected = commit.segments[0].lsn[0] if commit.segments else 0
    for segment in commit.segments:
        first, last = segment.lsn
        if first != expected or last - first + 1 != segment.records or not segment.records:
            raise CorruptError(place, expected=f"a segment from LSN {expected}", found=str(first))
        if segment.written[0] > segment.written[1]:
            raise CorruptError(place, expected="times that go on", found=f"{segment.written}")
        expected = last + 1
    if not commit.segments:
        raise CorruptError(place, expected="a segment", found="none")
    tree = commit.tree
    if tree.size != commit.number or len(tree.range) != tree.size.bit_count():
        raise CorruptError(place, expected=f"a tree of {commit.number}", found=f"{tree.size}")
    if (commit.previous == "") != (commit.number == 0):
        raise CorruptError(place, expected="the root of the commit before", found="none or one")
    return commit


def check_link(commit: Commit, previous: Commit | None, root: str, place: str) -> None:
    """Refuse `commit` unless it follows `previous`, whose root is `root` (None, "": the start)."""
    number, epoch, lsn = -1, 0, 0
    if previous is not None:
        number, epoch, lsn = previous.number, previous.epoch, previous.next_lsn
        if commit.store != previous.store:
            raise CorruptError(place, expected=f"store {previous.store}", found=commit.store)
    if commit.number != number + 1:
        raise CorruptError(place, expected=f"number {number + 1}", found=str(commit.number))
    if commit.previous != root:
        raise CorruptError(place, expected=f"previous root {root}", found=commit.previous)
    if commit.epoch < epoch:
        raise CorruptError(place, expected=f"epoch {epoch} or later", found=str(commit.epoch))
    if commit.segments[0].lsn[0] != lsn:
        found = str(commit.segments[0].lsn[0])
        raise CorruptError(place, expected=f"LSN {lsn} next", found=found)


def encode_format(store_id: bytes) -> bytes:
    """The FORMAT file of a store."""
    return _encoder.encode(
        StoreFormat(kind="transit-store", format=FORMAT_VERSION, store=store_id.hex())
    )


def decode_format(data: bytes, place: str) -> bytes:
    """The store id, 16 bytes, in a FORMAT file."""
    return bytes.fromhex(_decode(_format_decoder, data, FORMAT_BYTES_MAX, place).store)


def _decode(
    decoder: msgspec.json.Decoder[_Shape], data: bytes, size_max: int, place: str
) -> _Shape:
    if len(data) > size_max:
        raise CorruptError(place, expected=f"at most {size_max} bytes", found=str(len(data)))
    version = _VERSION.search(data)
    if version and int(version[1]) > FORMAT_VERSION:
        raise UnsupportedVersionError(place, found=int(version[1]), supported=FORMAT_VERSION)
    try:
        value = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        refuse_document(data, place)
        refuse_needs(data, place)
        raise CorruptError(place, expected="canonical JSON", found=str(error)) from None
    if _encoder.encode(value) != data:
        raise CorruptError(place, expected="canonical JSON", found="another spelling of it")
    return value
