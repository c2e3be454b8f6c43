"""The records of a cursor's stream, `$cursors/<stream id>/<name>`: where the cursor stands.

The last record holds. A record is the cursor's position in decimal digits, and, when its owner
keeps something with the position, a line feed and that, byte for byte:

    position    1 to 19 digits, no zero before others: the next offset to read
    "\\n"        only with a state
    state       0 to 65,536 bytes, which mean nothing to the store

So a position alone reads `42`, and one with JSON beside it `42`, line feed, `{"sum":7}`.

Valid if and only if: the bytes are of this shape and the position is below 2^63. Nothing is said in
headers. A reader that knows no states takes a record that has one for damage.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from transit.errors import CorruptError, InvalidInputError

STATE_BYTES_MAX: Final = 64 * 1024
CURSORS_PREFIX: Final = "$cursors/"

_RECORD: Final = re.compile(rb"(0|[1-9][0-9]{0,18})(?:\n(.{0,65536}))?", re.DOTALL)
_OWNER: Final = re.compile(r"\$cursors/([1-9][0-9]{0,18})/(.+)", re.DOTALL)


class CursorRecord(NamedTuple):
    """Where a cursor stands: the next offset to read, and what its owner keeps with it, or None."""

    position: int
    state: bytes | None


START: Final = CursorRecord(0, None)
"""Where a cursor stands that was never moved."""


def encode_cursor(record: CursorRecord) -> bytes:
    """The record's bytes; what it holds is checked."""
    digits = b"%d" % record.position
    return digits if record.state is None else b"%b\n%b" % (digits, record.state)


def decode_cursor(payload: bytes, place: str) -> CursorRecord:
    """What `payload` says; `CorruptError`, naming `place`, when no cursor wrote it."""
    match = _RECORD.fullmatch(payload)
    position = int(match[1]) if match else -1
    if match is None or position >= 2**63:
        raise CorruptError(place, expected="a position", found=repr(payload[:40]))
    return CursorRecord(position, match[2])


def check_state(state: object) -> bytes | None:
    """`state` as bytes of its own, or None; or `InvalidInputError`."""
    if state is None:
        return None
    if not isinstance(state, bytes | bytearray | memoryview):
        raise InvalidInputError(f"state must be bytes, not {type(state).__name__}")
    data = bytes(state)
    if len(data) > STATE_BYTES_MAX:
        raise InvalidInputError(
            f"a cursor's state of {len(data)} bytes; the most is {STATE_BYTES_MAX}: append it to a "
            "stream, and keep its offset"
        )
    return data


def owner_of(stream_name: str) -> tuple[int, str] | None:
    """The id of the stream that a cursor is on, and the cursor's name; None for other streams."""
    match = _OWNER.fullmatch(stream_name)
    return (int(match[1]), match[2]) if match else None
