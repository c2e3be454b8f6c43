"""Values as keys: bytes that sort as the values do, from which the values come back.

A value is a code of one byte and what follows it; numbers are big-endian:

    code         value                       what follows
    0x10         None                        nothing
    0x20, 0x21   False, True                 nothing
    0x2F         int of -2^64 and below      255 less the count of bytes, then as 0x30 to 0x37
    0x30 … 0x37  int of 8 … 1 bytes, below 0 its size without the sign, every bit turned
    0x38         0                           nothing
    0x39 … 0x40  int of 1 … 8 bytes          its bytes
    0x41         int of 2^64 and above       the count of bytes, then the bytes
    0x50         float                       8 bytes of IEEE 754, the sign bit turned; below 0 all
    0x60         str                         UTF-8, 0xFF behind each zero byte; then a zero byte
    0x70         bytes                       as for str
    0x80         datetime                    microseconds since 1970 in UTC, and 2^63, in 8 bytes
    0x90         tuple                       its values; inside another tuple then a zero byte

So the order is: None, bool, int, float, str, bytes, datetime, tuple, and within each of them its
own: text by code points, tuples value by value, a shorter one first. Values of two types are never
one key: 1, 1.0 and True are three. But -0.0 is 0.0, and datetimes are the same moment in any zone;
they come back in UTC. A tuple's key begins with the keys of the tuples that it begins with, so that
one range holds all that begin alike (`prefix_range`).

Valid if and only if: the bytes decode to one value, and that encodes to the same bytes again.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from transit import CorruptError, InvalidInputError
from transit.views.maps.node import KEY_BYTES_MAX

DEPTH_MAX: Final = 4
INT_BYTES_MAX: Final = 128

Value: TypeAlias = "bool | int | float | str | bytes | datetime | tuple[Value, ...] | None"

_END: Final = b"\0"
_ZERO: Final = b"\0\xff"
_BEHIND_ALL: Final = b"\xff"
_NONE, _FALSE, _TRUE, _INT, _FLOAT, _STR, _BYTES, _DATETIME, _TUPLE = (
    0x10, 0x20, 0x21, 0x38, 0x50, 0x60, 0x70, 0x80, 0x90,
)  # fmt: skip
# How far the codes of ints are from that of 0: one for each byte, then one for all that are longer.
_LONG: Final = 9
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def encode_key(value: Value) -> bytes:
    """The key of a value; tuples may be four deep.

    `InvalidInputError` for other types, NaN, datetimes without a zone, text that is no Unicode,
    ints of more than 128 bytes, and keys of more than 1,024.
    """
    parts: list[bytes] = []
    if isinstance(value, tuple):
        _add_tuple(parts, value, 1)
    else:
        parts.append(_encoded(value))
    key = b"".join(parts)
    if len(key) > KEY_BYTES_MAX:
        raise InvalidInputError(f"a key of {len(key)} bytes; the most is {KEY_BYTES_MAX}")
    return key


def prefix_range(value: tuple[Value, ...]) -> tuple[bytes, bytes]:
    """Where the keys of all tuples that begin with these values start, and where they stop."""
    if not isinstance(value, tuple):
        raise InvalidInputError(f"a prefix must be a tuple, not {type(value).__name__}")
    key = encode_key(value)
    return key, key + _BEHIND_ALL


def _add_tuple(parts: list[bytes], values: Iterable[Value], depth: int) -> None:
    if depth > DEPTH_MAX:
        raise InvalidInputError(f"tuples inside each other more than {DEPTH_MAX} deep")
    parts.append(bytes((_TUPLE,)))
    for value in values:
        if isinstance(value, tuple):
            _add_tuple(parts, value, depth + 1)
            parts.append(_END)
        else:
            parts.append(_encoded(value))


def _encoded(value: object) -> bytes:
    """A value that is no tuple."""
    if isinstance(value, str):
        try:
            data = value.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"a key's text is not Unicode: {error}") from None
        return b"%c%b\0" % (_STR, data.replace(_END, _ZERO))
    if isinstance(value, bytes):
        return b"%c%b\0" % (_BYTES, value.replace(_END, _ZERO))
    if value is None:
        return bytes((_NONE,))
    if isinstance(value, bool):
        return bytes((_TRUE if value else _FALSE,))
    if isinstance(value, int):
        return _int(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, datetime):
        return _datetime(value)
    raise InvalidInputError(
        "a key must be None, bool, int, float, str, bytes, datetime or a tuple of these, not "
        + type(value).__name__
    )


def _int(value: int) -> bytes:
    count = (abs(value).bit_length() + 7) // 8
    if count > INT_BYTES_MAX:
        raise InvalidInputError(f"a key's int of {count} bytes; the most is {INT_BYTES_MAX}")
    far = min(count, _LONG)
    head = bytes((_INT + far, count)) if value > 0 else bytes((_INT - far, 255 - count))
    number = value if value >= 0 else (1 << 8 * count) - 1 + value
    return head[: 1 if far < _LONG else 2] + number.to_bytes(count, "big")


def _float(value: float) -> bytes:
    if math.isnan(value):
        raise InvalidInputError("NaN has no place in an order, so it is no key")
    (bits,) = struct.unpack(">Q", struct.pack(">d", value + 0.0))
    return struct.pack(">BQ", _FLOAT, bits ^ (_ALL if bits & _SIGN else _SIGN))


def _datetime(value: datetime) -> bytes:
    if value.utcoffset() is None:
        raise InvalidInputError(f"a key's datetime needs a zone: {value.isoformat()}")
    try:
        passed = value.astimezone(UTC) - _EPOCH
    except OverflowError as error:
        raise InvalidInputError(f"{value.isoformat()} in UTC: {error}") from None
    return struct.pack(">BQ", _DATETIME, passed // _MICROSECOND + _SIGN)


def decode_key(data: bytes, place: str) -> Value:
    """The value that `data` is the key of; `CorruptError`, naming `place`, when it is none."""
    if len(data) > KEY_BYTES_MAX:
        raise CorruptError(
            place, expected=f"at most {KEY_BYTES_MAX} bytes", found=f"{len(data)} bytes"
        )
    reading = _Reading(data, place)
    if data[:1] == bytes((_TUPLE,)):
        reading.at = 1
        values = []
        while reading.at < len(data):
            values.append(reading.value(1))
        return tuple(values)
    value = reading.value(0)
    if reading.at != len(data):
        raise reading.wrong("the end of the key")
    return value


class _Reading:
    """How far the bytes of a key are read."""

    def __init__(self, data: bytes, place: str) -> None:
        self._data = data
        self._place = place
        self.at = 0

    def wrong(self, expected: str) -> CorruptError:
        """What is at this place is not what was expected."""
        found = repr(self._data[self.at : self.at + 16])
        return CorruptError(
            f"{self._place}: byte {self.at} of a key", expected=expected, found=found
        )

    def value(self, depth: int) -> Value:
        """The next value, which `depth` tuples are around."""
        code = self._take(1)[0]
        if abs(code - _INT) <= _LONG:
            return self._int(code - _INT)
        if code == _TUPLE:
            return self._tuple(depth + 1)
        if code in (_STR, _BYTES):
            data = self._unescaped()
            return data if code == _BYTES else self._text(data)
        if code in (_FLOAT, _DATETIME):
            return self._float() if code == _FLOAT else self._datetime()
        if code in _PLAIN:
            return _PLAIN[code]
        self.at -= 1
        raise self.wrong("the code of a value")

    def _take(self, count: int) -> bytes:
        data = self._data[self.at : self.at + count]
        if len(data) < count:
            raise self.wrong(f"{count} bytes")
        self.at += count
        return data

    def _tuple(self, depth: int) -> Value:
        if depth > DEPTH_MAX:
            raise self.wrong(f"tuples at most {DEPTH_MAX} deep")
        values = []
        while self._data[self.at : self.at + 1] != _END:
            values.append(self.value(depth))
        self.at += 1
        return tuple(values)

    def _int(self, far: int) -> int:
        count = abs(far)
        if count == _LONG:
            (count,) = self._take(1)
            count = count if far > 0 else 255 - count
            if not _LONG <= count <= INT_BYTES_MAX:
                raise self.wrong(f"an int of {_LONG} to {INT_BYTES_MAX} bytes")
        number = int.from_bytes(self._take(count), "big")
        if far < 0:
            number -= (1 << 8 * count) - 1
        if (abs(number).bit_length() + 7) // 8 != count:
            raise self.wrong(f"an int of {count} bytes before here")
        return number

    def _float(self) -> float:
        (bits,) = struct.unpack(">Q", self._take(8))
        (value,) = struct.unpack(">d", struct.pack(">Q", bits ^ (_SIGN if bits & _SIGN else _ALL)))
        found: float = value
        if math.isnan(found) or (not found and math.copysign(1.0, found) < 0):
            raise self.wrong("a float that is neither NaN nor -0.0 before here")
        return found

    def _datetime(self) -> datetime:
        (stated,) = struct.unpack(">Q", self._take(8))
        try:
            return _EPOCH + timedelta(microseconds=stated - _SIGN)
        except OverflowError:
            raise self.wrong("a moment of the years 1 to 9999 before here") from None

    def _unescaped(self) -> bytes:
        """Up to a zero byte that nothing says to keep."""
        start = stop = self.at
        while True:
            stop = self._data.find(_END, stop)
            if stop < 0:
                raise self.wrong("a zero byte behind this")
            if self._data[stop + 1 : stop + 2] != _BEHIND_ALL:
                break
            stop += 2
        self.at = stop + 1
        return self._data[start:stop].replace(_ZERO, _END)

    def _text(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self.wrong(f"UTF-8 before here ({error.reason})") from None


_PLAIN: Final[dict[int, Value]] = {_NONE: None, _FALSE: False, _TRUE: True}
