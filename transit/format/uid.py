"""Uids: what a stream is called for ever, in whatever store and history it is.

A name may go to another stream, and an id is a place in one history. A uid is 128 bits, written as
32 lower-case hex digits. It is made once, with the stream, and stays the stream's in every store.
It is made as a random UUID (RFC 9562, version 4); a reader takes any 128 bits.

No other module of transit draws uids: a test that needs the same ones each time replaces `urandom`
here.
"""

from __future__ import annotations

import re
from os import urandom
from typing import Final

from transit.errors import InvalidInputError
from transit.format.checksum import checksum

UID_DIGITS: Final = 32

_SPELLING: Final = re.compile(
    r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
)
# Where a UUID says its version and its variant.
_FIXED: Final = 0xF << 76 | 0b11 << 62
_RANDOM: Final = 0x4 << 76 | 0b10 << 62


def new_uid() -> str:
    """A uid that no stream has."""
    number = int.from_bytes(urandom(16), "big")
    return f"{number & ~_FIXED | _RANDOM:032x}"


def check_uid(uid: object) -> str:
    """`uid`, in one of the spellings of a UUID, as a store writes it; or `InvalidInputError`."""
    if not isinstance(uid, str) or not _SPELLING.fullmatch(uid):
        raise InvalidInputError(f"a uid is text of 32 hex digits, not {uid!r}")
    return str.__str__(uid).replace("-", "").lower()


def uid_key(uid: str) -> int:
    """The 64-bit key under which a segment's index lists a uid, apart from names and merges."""
    return checksum(b"$uid/" + uid.encode())
