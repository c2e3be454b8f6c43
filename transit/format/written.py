"""Who wrote the records of a chunk, and when: what lies between a chunk's header and its columns.

Owns the flags of a chunk and the bytes they announce (`transit.format.record` has the table). When
records were written never goes back within a chunk, so its column has differences that are not
negative.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from operator import le, sub
from typing import Final, NamedTuple

from transit.errors import CorruptError, InvalidInputError

SAME: Final = 1
OWN: Final = 2
WRITER: Final = 4
FLAGS: Final = (0, SAME, OWN, WRITER, SAME | WRITER, OWN | WRITER)
WRITER_BYTES_MAX: Final = 255
MORE_BYTES_MAX: Final = 9 + 1 + WRITER_BYTES_MAX
"""Of a chunk of one record; longer ones have a column beside."""

_HEAD: Final = struct.Struct("<qB")
_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_SIGNED: Final = {1: "b", 2: "h", 4: "i", 8: "q"}
_INT64: Final = 2**63


class More(NamedTuple):
    """What the flags announce: `first`, `at` and `width` of the column of OWN, the writer's name.

    stop: where the chunk's columns begin.
    """

    first: int
    at: int
    width: int
    writer: str
    stop: int


def encode_more(
    written: int | Sequence[int] | None, timestamps: int | Sequence[int], writer: str
) -> tuple[int, bytes]:
    """Flags, and the bytes they announce; `InvalidInputError` for a writer's name that is none."""
    flags, data = (0, b"") if written is None else _encode_written(written, timestamps)
    return (flags | WRITER, data + encode_writer(writer)) if writer else (flags, data)


def _encode_written(
    written: int | Sequence[int], timestamps: int | Sequence[int]
) -> tuple[int, bytes]:
    if not isinstance(written, int) and written[0] == written[-1]:
        written = written[0]
    if not isinstance(timestamps, int) and timestamps.count(timestamps[0]) == len(timestamps):
        timestamps = timestamps[0]
    if written == timestamps:
        return SAME, b""
    if isinstance(written, int):
        return OWN, _HEAD.pack(written, 0)
    column = list(map(sub, written[1:], written))
    largest = max(column)
    width = next(width for width in _CODES if largest < 1 << 8 * width)
    return OWN, _HEAD.pack(written[0], width) + array(_CODES[width], column).tobytes()


def encode_writer(writer: str) -> bytes:
    """A writer's name with its length before it; `InvalidInputError` for what cannot be one."""
    try:
        data = writer.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"a writer's name is not Unicode text: {error}") from None
    if len(data) > WRITER_BYTES_MAX:
        raise InvalidInputError(
            f"a writer's name takes {len(data)} bytes; the limit is {WRITER_BYTES_MAX}"
        )
    return bytes((len(data),)) + data


def decode_more(flags: int, data: bytes, start: int, limit: int, count: int) -> More | None:
    """What `flags` announce at `data[start:]`, which ends before `limit`; None where it is none.

    count: of the chunk's records.
    """
    first, at, width, writer = 0, 0, 0, ""
    # Only the beginning of a chunk may be here.
    limit = min(limit, len(data))
    if flags & OWN:
        if start + _HEAD.size > limit:
            return None
        first, width = _HEAD.unpack_from(data, start)
        at = start + _HEAD.size
        if width and width not in _CODES:
            return None
        start = at + (count - 1) * width
    if flags & WRITER:
        size = data[start] if start < limit else 0
        stop = start + 1 + size
        if not size or stop > limit:
            return None
        try:
            writer = data[start + 1 : stop].decode()
        except UnicodeDecodeError:
            return None
        start = stop
    return More(first, at, width, writer, start)


def differences(data: bytes, at: int, width: int, count: int) -> array[int]:
    """The column of OWN of `count` records."""
    return array(_CODES[width], data[at : at + (count - 1) * width])


def reaches(first: int, column: array[int]) -> bool:
    """Whether the times of a column that begins with `first` have 64 bits."""
    return first + sum(column) < _INT64


def never_back(first: int, data: bytes, at: int, width: int, count: int) -> bool:
    """Whether the timestamps of `count` records, in a column of that width, never go back."""
    if not width or count == 1:
        return True
    column = array(_SIGNED[width], data[at : at + (count - 1) * width])
    if width < 8:
        return min(column) >= 0
    return first <= column[0] and all(map(le, column, memoryview(column)[1:]))


def unknown(place: str, position: int) -> CorruptError:
    """The error for a chunk whose flags announce what is not there."""
    return CorruptError(
        f"{place}, byte {position}",
        expected="when records were written, and by whom",
        found="other bytes",
    )
