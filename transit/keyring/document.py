"""A keyring's file: one JSON document, keys in the order below, no white space, UTF-8.

    kind        "transit-keyring"
    version     1
    id          of the keyring: 32 hex digits, random, never changed
    generation  how often the file was written, from 1
    store       id of the store that the keys are for, 32 hex digits; null until it is attached
    unlock      how the master secret is had: "by" and what goes with it, see below
    check       64 hex digits: shows a wrong master secret
    index       the wrapped key of name indexes
    keys        the data keys, oldest first: id (16 hex digits), owner, made (UTC nanoseconds),
                state, wrapped (null once destroyed), destroyed (when, or null), reason
    mac         64 hex digits: over all of the document

    unlock.by "passphrase"   salt (16 bytes); n, r, p of scrypt (RFC 7914)
    unlock.by "key-file"     nothing more
    unlock.by "service"      wrapped: the secret of check and mac, wrapped by the service

Wrapped keys and salts are in base64. `mac` is HMAC-SHA256 over the document with an empty `mac`,
`check` HMAC-SHA256 over a label, `id` and `unlock`; the key of both comes from the master secret.

Valid if and only if: at most 64 MiB; exactly the bytes that encoding it again gives; both MACs
hold; numbers are below 2^63; ids differ; an owner is "store", "stream:" with a uid, or "subject:"
with 1 to 1,024 bytes of text, and has at most one key in state "current"; a key that is "current"
or "old" is wrapped and not destroyed, one that is "destroyed" has a time and no wrapped bytes, and
no key of "store" is. A reader refuses a newer version.

`check` is looked at before anything else is believed, then `mac`. An older file that was whole
when it was written passes: that a file was rolled back is only seen by who knows a newer one.
"""

from __future__ import annotations

import hmac
import re
from typing import Annotated, Final, Literal

import msgspec

from transit.errors import CorruptError, InvalidInputError, UnsupportedVersionError

VERSION: Final = 1
BYTES_MAX: Final = 64 * 1024 * 1024
KEY_ID_BYTES: Final = 8
SECRET_BYTES: Final = 32
OWNER_BYTES_MAX: Final = 1024
REASON_BYTES_MAX: Final = 4096
STORE: Final = "store"
INDEX: Final = "index"
"""What the key of name indexes is wrapped for; no owner can be called so."""

State = Literal["current", "old", "destroyed"]
_Hex8 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
_Hex16 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
_Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_OWNER: Final = re.compile(r"store|stream:[0-9a-f]{32}|subject:.+", re.DOTALL)
_CHECK: Final = b"transit keyring check 1\0"


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What may be known of a key: everything but the key.

    id: 16 hex digits. made, destroyed: UTC nanoseconds. reason: what was given to `destroy`.
    """

    id: str
    owner: str
    made: int
    state: State
    destroyed: int | None = None
    reason: str = ""


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the document: its fields in their order, and no others."""


class ByPassphrase(_Shape, frozen=True, tag_field="by", tag="passphrase"):
    """The master secret is scrypt of a passphrase."""

    salt: bytes
    n: _Number
    r: _Number
    p: _Number


class ByKeyFile(_Shape, frozen=True, tag_field="by", tag="key-file"):
    """The master secret is in a file."""


class ByService(_Shape, frozen=True, tag_field="by", tag="service"):
    """The master secret is elsewhere; what wraps and unwraps with it was given as callables."""

    wrapped: bytes


Unlock = ByPassphrase | ByKeyFile | ByService


def name_of(unlock: Unlock) -> str:
    """What `unlock.by` says in the file."""
    return str(unlock.__struct_config__.tag)


class Entry(_Shape, frozen=True):
    """A data key as the file has it."""

    id: _Hex8
    owner: str
    made: _Number
    state: State
    wrapped: bytes | None
    destroyed: _Number | None
    reason: str

    @property
    def info(self) -> KeyInfo:
        """What may be known of it."""
        return KeyInfo(
            id=self.id,
            owner=self.owner,
            made=self.made,
            state=self.state,
            destroyed=self.destroyed,
            reason=self.reason,
        )


class Document(_Shape, frozen=True):
    """The file."""

    kind: Literal["transit-keyring"]
    version: int
    id: _Hex16
    generation: _Number
    store: _Hex16 | None
    unlock: Unlock
    check: _Hex32
    index: bytes
    keys: tuple[Entry, ...]
    mac: str


class _Version(msgspec.Struct):
    kind: Literal["transit-keyring"]
    version: int


_decoder: Final = msgspec.json.Decoder(Document)
_version_decoder: Final = msgspec.json.Decoder(_Version)
_encoder: Final = msgspec.json.Encoder()


def check_owner(owner: object) -> str:
    """`owner`, when keys may belong to it; else `InvalidInputError`."""
    if not isinstance(owner, str) or not _OWNER.fullmatch(owner):
        raise InvalidInputError(
            'the owner of a key is "store", "stream:" and a uid of 32 lower hex digits, or '
            f'"subject:" and a text, not {owner!r}'
        )
    try:
        size = len(owner.encode())
    except UnicodeEncodeError:
        raise InvalidInputError(f"an owner is Unicode text, not {owner!r}") from None
    if size - len("subject:") > OWNER_BYTES_MAX:
        raise InvalidInputError(f"an owner has at most {OWNER_BYTES_MAX} bytes, not {size}")
    return owner


def check_value(mac_key: bytes, keyring: str, unlock: Unlock) -> str:
    """By which a wrong master secret is told."""
    said = _CHECK + bytes.fromhex(keyring) + _encoder.encode(unlock)
    return hmac.digest(mac_key, said, "sha256").hex()


def encode(document: Document, mac_key: bytes) -> bytes:
    """The file's bytes, whatever `mac` the document states."""
    bare = _encoder.encode(msgspec.structs.replace(document, mac=""))
    mac = hmac.digest(mac_key, bare, "sha256").hex()
    # `mac` is the last of the fields.
    return bare[: -len('"}')] + f'{mac}"}}'.encode()


def decode(data: bytes, place: str) -> Document:
    """The document in a keyring's file, of which only `unlock` and `check` may be believed yet."""
    if len(data) > BYTES_MAX:
        raise CorruptError(place, expected=f"at most {BYTES_MAX} bytes", found="more")
    try:
        document = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        _refuse_newer(data, place)
        raise CorruptError(place, expected="a keyring", found=_said(error)) from None
    if document.version > VERSION:
        raise UnsupportedVersionError(place, found=document.version, supported=VERSION)
    if document.version != VERSION:
        raise CorruptError(place, expected=f"version {VERSION}", found=str(document.version))
    if not re.fullmatch("[0-9a-f]{64}", document.mac) or _encoder.encode(document) != data:
        raise CorruptError(place, expected="a keyring", found="another spelling of one")
    return document


def authenticate(document: Document, mac_key: bytes, place: str) -> None:
    """`CorruptError` unless all of the document is as a holder of the master secret wrote it."""
    bare = _encoder.encode(msgspec.structs.replace(document, mac=""))
    if not hmac.compare_digest(hmac.digest(mac_key, bare, "sha256").hex(), document.mac):
        raise CorruptError(place, expected="what was written", found="something changed")
    seen: set[str] = set()
    current: set[str] = set()
    for entry in document.keys:
        wrong = _wrong(entry, seen, current)
        if wrong:
            raise CorruptError(f"{place}: key {entry.id}", expected="a key's entry", found=wrong)


def _wrong(entry: Entry, seen: set[str], current: set[str]) -> str:
    """What makes an entry none; "" for one that is right, which is noted as seen."""
    try:
        check_owner(entry.owner)
    except InvalidInputError as error:
        return str(error)
    if entry.id in seen:
        return "one of the same id"
    seen.add(entry.id)
    if entry.state == "current":
        if entry.owner in current:
            return "a second current key of its owner"
        current.add(entry.owner)
    is_destroyed = entry.state == "destroyed"
    if is_destroyed and entry.owner == STORE:
        return "a destroyed key of the store"
    if (entry.wrapped is None, entry.destroyed is not None) != (is_destroyed, is_destroyed):
        return "another state than its fields say"
    return ""


def _refuse_newer(data: bytes, place: str) -> None:
    try:
        found = _version_decoder.decode(data).version
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return
    if found > VERSION:
        raise UnsupportedVersionError(place, found=found, supported=VERSION)


def _said(error: Exception) -> str:
    return "what is nested too deep" if isinstance(error, RecursionError) else str(error)


def new_document(keyring: bytes, unlock: Unlock, mac_key: bytes, index: bytes) -> Document:
    """The document of a keyring without data keys."""
    name = keyring.hex()
    return Document(
        kind="transit-keyring",
        version=VERSION,
        id=name,
        generation=1,
        store=None,
        unlock=unlock,
        check=check_value(mac_key, name, unlock),
        index=index,
        keys=(),
        mac="",
    )
