"""Offset tokens: the offset of the next record to read, as 20 digits.

They compare as text as the offsets do as numbers, and are the same in a branch as in its parent.
"""

from __future__ import annotations

import re
from typing import Final

from transit import InvalidInputError

START: Final = -1
NOW: Final = -2

_TOKEN: Final = re.compile(r"[0-9]{20}")
# How the protocol's own server writes the beginning of a stream; clients and suites write it too.
_ZERO: Final = "0000000000000000_0000000000000000"


def encode_offset(offset: int) -> str:
    """The token of an offset."""
    return f"{offset:020d}"


def decode_offset(token: str) -> int:
    """The offset of a token; `START` for "-1", `NOW` for "now"; `InvalidInputError` otherwise."""
    if _TOKEN.fullmatch(token):
        return int(token)
    if token == "-1":
        return START
    if token == "now":
        return NOW
    if token == _ZERO:
        return 0
    raise InvalidInputError(f"offset {token[:64]!r}: not a token of this server, '-1' or 'now'")
