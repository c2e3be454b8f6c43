"""References: how a record of one store is named in another, and how it is found again.

A reference is provenance, never inheritance: nothing is read through it, and no store needs another
to be read or verified. It is kept as text, in a record's header `ref`, or in a stream's metadata
as `parent_ref`:

    transit:<store>/<stream>@<offset>?digest=<digest>&root=<root>&commits=<count>&uid=<uid>

    store    the store's id, 32 hex digits
    stream   the stream's name at that time; what is not A-Z a-z 0-9 - . _ ~ / is %XX of its UTF-8
    offset   the record's in that stream, which may have inherited it
    digest   of the record, 64 hex digits: see below
    root     and commits: a `Head` of the store as of which the record is there; both are left out
             where it was not sealed yet
    uid      the stream's, 32 hex digits: it says which stream is meant, as names are given again

Valid if and only if it is at most 4,096 characters and spelled exactly so: these parts, in this
order, hex digits in lower case, numbers without leading zeros, and only what must be is escaped.

The digest is the BLAKE3 of these bytes. All numbers are little-endian.

    offset  size  field
         0    16  "transit record 1", ASCII
        16     8  timestamp, signed nanoseconds UTC
        24     4  count of headers
        28     .  each header, in ascending order of the UTF-8 of its key: size of the key, 4; the
                  key; size of the value, 4; the value, both UTF-8
         .     8  size of the payload
         .     .  the payload

So a copy has the digest of what it was copied from: when a record was written, by whom, and at
which offset is not part of it.
"""

from __future__ import annotations

import re
import struct
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import msgspec
from blake3 import blake3

from transit import (
    CorruptError,
    Head,
    InvalidInputError,
    Log,
    NotFoundError,
    Position,
    Record,
    Sealed,
    Stream,
)
from transit.fleet.members import Member
from transit.fleet.opening import Fleet

REF_HEADER: Final = "ref"
"""A record's header: the reference, as text, of a record of another store that it comes from."""
PARENT_REF: Final = "parent_ref"
"""Metadata of a stream: the reference, as text, of the record that it goes on from."""
TEXT_MAX: Final = 4096
NAME_BYTES_MAX: Final = 1024
RECORD_MARK: Final = b"transit record 1"
RECORD_BEGIN: Final = struct.Struct("<16sqI")
_SIZE: Final = struct.Struct("<I")
_PAYLOAD_SIZE: Final = struct.Struct("<Q")
_INT64: Final = 2**63

_HEX: Final = re.compile("[0-9a-f]*")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_TEXT: Final = re.compile(
    r"transit:([0-9a-f]{32})/([A-Za-z0-9._~%/-]+)@(0|[1-9][0-9]{0,18})"
    r"\?digest=([0-9a-f]{64})(?:&root=([0-9a-f]{64})&commits=([1-9][0-9]{0,18}))?&uid=([0-9a-f]{32})"
)


class Reference(msgspec.Struct, frozen=True):
    """A record of a store, for another store; `str()` gives its text, `parse` takes it.

    store: id of the store. stream, uid: of the stream; the uid says which is meant. offset: of the
    record in it. digest: of the record (`record_digest`). root, commits: a head of the store as of
    which the record is there; "" and 0 where it was not sealed yet.
    Fields that do not fit raise `InvalidInputError` when it is made.
    """

    store: str
    stream: str
    uid: str
    offset: int
    digest: str
    root: str = ""
    commits: int = 0

    def __post_init__(self) -> None:
        _check_hex(self.store, 32, "a store's id")
        _check_hex(self.uid, 32, "a stream's uid")
        _check_hex(self.digest, 64, "a record's digest")
        _check_name(self.stream)
        for number, what in ((self.offset, "an offset"), (self.commits, "a count of commits")):
            if type(number) is not int or not 0 <= number < _INT64:
                raise InvalidInputError(f"{what} is an int from 0 on, not {number!r:.100}")
        if self.root or self.commits:
            _check_hex(self.root, 64, "a root")
        if bool(self.root) != bool(self.commits):
            raise InvalidInputError("a root goes with its count of commits")

    def __str__(self) -> str:
        head = f"&root={self.root}&commits={self.commits}" if self.root else ""
        return f"{self.place}?digest={self.digest}{head}&uid={self.uid}"

    @classmethod
    def parse(cls, text: str) -> Reference:
        """The reference of a text; `InvalidInputError` for what is none, or spelled otherwise."""
        if not isinstance(text, str):
            raise InvalidInputError(f"a reference is text, not {type(text).__name__}")
        found = _TEXT.fullmatch(text) if len(text) <= TEXT_MAX else None
        if found is None:
            raise InvalidInputError(
                f"no reference: {text[:100]!r}; one is transit:<store>/<stream>@<offset>?digest=…"
            )
        store, name, offset, digest, root, commits, uid = found.groups()
        made = cls(store, _unquoted(name), uid, int(offset), digest, root or "", int(commits or 0))
        if str(made) != text:
            raise InvalidInputError(f"a reference that is spelled otherwise: {text[:100]!r}")
        return made

    @property
    def place(self) -> str:
        """The text without what it is checked by: the store, the stream and the offset."""
        return f"transit:{self.store}/{quote(self.stream, safe='/')}@{self.offset}"

    @property
    def head(self) -> Head | None:
        """As of which the record is in the store; None where it was not sealed yet."""
        return Head(self.commits, self.root) if self.root else None

    @property
    def record(self) -> tuple[str, str, int, str]:
        """The store, uid, offset and digest: equal of references to one record, whenever made."""
        return self.store, self.uid, self.offset, self.digest


def as_reference(given: Reference | str) -> Reference:
    """A reference that is given as itself or as its text; or `InvalidInputError`."""
    return given if isinstance(given, Reference) else Reference.parse(given)


def known_reference(text: object) -> Reference | None:
    """The reference of what anybody may have written, as a header or metadata; None for others."""
    try:
        return Reference.parse(text)  # type: ignore[arg-type]
    except InvalidInputError:
        return None


def record_digest(record: Record) -> str:
    """BLAKE3 of a record's timestamp, headers and payload, 64 hex digits: see the module."""
    headers = sorted((key.encode(), value.encode()) for key, value in record.headers.items())
    found = blake3(RECORD_BEGIN.pack(RECORD_MARK, record.timestamp, len(headers)))
    for text in (text for header in headers for text in header):
        found.update(_SIZE.pack(len(text)))
        found.update(text)
    found.update(_PAYLOAD_SIZE.pack(len(record.payload)))
    found.update(record.payload)
    return found.hexdigest()


def reference(log: Log, record: Stream | str | Position, offset: int | None = None) -> Reference:
    """The reference of a record of an open store, of a folder or of a remote.

    record: its position, or its stream, with `offset`: None for the last record, negative ones are
    counted from the end. It has a root where the record is sealed. `OffsetError` where there is no
    such record, `NotFoundError` where there is no such stream, `ErasedError` for what is gone.
    """
    if isinstance(record, tuple):
        if offset is not None or len(record) != 2:
            raise InvalidInputError(f"not a position, or one with an offset: {record!r:.100}")
        record, offset = record
    # A stream may have been got from another store, or another time that this one was open.
    stream = log.stream(uid=record.uid) if isinstance(record, Stream) else log.stream(record)
    found = stream[-1 if offset is None else offset]
    sealed = log.sealed()
    head = sealed.head if _holds(sealed, stream, found.offset) else Head(0, "")
    digest = record_digest(found)
    return Reference(
        log.store_id, stream.name, stream.uid, found.offset, digest, head.root, head.commits
    )


def open_member(fleet: Fleet, store: str) -> Log:
    """What the store with this id has published, opened for reading; it need not be listed yet."""
    return fleet.open(Member(store, store, "", 0))


def find(log: Log, ref: Reference) -> tuple[Stream, Record]:
    """The stream and the record that a reference names, in its store, which is open; checked.

    `NotFoundError` where the store has no such commit, stream or record, or not yet; `CorruptError`
    where it is another store, has another history than that with the reference's root, or another
    record; `ErasedError` where the record is gone.
    """
    if log.store_id != ref.store:
        raise CorruptError(log.path, expected=f"store {ref.store}", found=log.store_id)
    sealed = None if ref.head is None else log.sealed(ref.head)
    stream = log.stream(uid=ref.uid)
    if sealed is not None and not _holds(sealed, stream, ref.offset):
        expected = f"it among the first {ref.commits} commits"
        raise CorruptError(ref.place, expected=expected, found="a root without it")
    if ref.offset >= stream.next_offset:
        raise NotFoundError(f"{ref.place}: {log.path} has {stream.next_offset} records of it")
    record = stream[ref.offset]
    digest = record_digest(record)
    if digest != ref.digest:
        raise CorruptError(ref.place, expected=f"digest {ref.digest}", found=digest)
    return stream, record


def resolve(fleet: Fleet, ref: Reference | str) -> Record:
    """The record that a reference names, as its store published it; checked as by `find`.

    `RemoteUnavailableError` and others where the store cannot be read.
    """
    wanted = as_reference(ref)
    with open_member(fleet, wanted.store) as log:
        return find(log, wanted)[1]


def _holds(sealed: Sealed, stream: Stream, offset: int) -> bool:
    """Whether a record was sealed."""
    try:
        return offset < sealed.count(stream)
    except NotFoundError:
        return False


def _check_hex(value: object, digits: int, what: str) -> None:
    if not isinstance(value, str) or len(value) != digits or not _HEX.fullmatch(value):
        raise InvalidInputError(f"{what} is {digits} hex digits, not {value!r:.100}")


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name or _SURROGATE.search(name):
        raise InvalidInputError(f"a stream's name is text, not {name!r:.100}")
    if len(name) > NAME_BYTES_MAX or len(name.encode()) > NAME_BYTES_MAX:
        raise InvalidInputError(f"a stream's name has at most {NAME_BYTES_MAX} bytes of UTF-8")


def _unquoted(name: str) -> str:
    try:
        return unquote_to_bytes(name).decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"no reference: {name[:100]!r} is no text") from None
