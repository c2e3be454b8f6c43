"""Headers: one record's as a JSON object, a chunk's as a table of them.

Owns their bytes and their limits; which record has which entry is for `transit.format.record`. A
table is a JSON array of objects with text values. Memory for it is bounded: a large one is checked
without being decoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final

import msgspec

from transit.errors import CorruptError, InvalidInputError

HEADER_BYTES_MAX: Final = 64 * 1024
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
HeaderMap = Mapping[str, str]

# A larger header table is checked without being decoded: three bytes of it may become a hundred.
TABLE_BYTES_DECODED: Final = 64 * 1024
_SPACE: Final = rb"[ \t\n\r]*+"
_ESCAPE: Final = (
    rb'\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
# What repeats is an atomic group: up to Python 3.11.4 `(...)*+` takes what does not match. An
# atomic group around `(...)*` would be right too, and takes a hundred bytes for each turn.
_TEXT: Final = _SPACE + rb'"(?:(?>[^"\\\x00-\x1f]++|' + _ESCAPE + rb'))*+"' + _SPACE
_PAIR: Final = _TEXT + b":" + _TEXT
_PAIRS: Final = _PAIR + b"(?:(?>," + _PAIR + b"))*+"
_ENTRY: Final = _SPACE + rb"\{(?:" + _PAIRS + b"|" + _SPACE + rb")\}" + _SPACE
_TABLE: Final = _SPACE + rb"\[" + _ENTRY + b"(?:(?>," + _ENTRY + rb"))*+\]" + _SPACE

_encoder = msgspec.json.Encoder(order="sorted")
_table_decoder = msgspec.json.Decoder(list[dict[str, str]])


def encode_headers(headers: HeaderMap) -> bytes:
    """One record's headers as a JSON object; `InvalidInputError` unless text keys and values."""
    if type(headers) is not dict and not isinstance(headers, Mapping):
        raise InvalidInputError(f"headers must be a mapping, not {type(headers).__name__}")
    for key, value in headers.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidInputError(f"header {key!r}: {value!r} must be text with a text value")
    try:
        data = _encoder.encode(dict(headers))
    except TypeError:
        # Text of a class of its own.
        return encode_headers({str.__str__(k): str.__str__(v) for k, v in headers.items()})
    except ValueError as error:
        raise InvalidInputError(f"headers are not Unicode text: {error}") from None
    if len(data) > HEADER_BYTES_MAX:
        raise InvalidInputError(f"headers take {len(data)} bytes; the limit is {HEADER_BYTES_MAX}")
    return data


def encode_plain(headers: HeaderMap) -> bytes:
    """One record's headers that were decoded before."""
    return _encoder.encode(dict(headers))


def decode_table(table: bytes, place: str) -> list[dict[str, str]]:
    """The entries of a header table; `CorruptError` when it is none."""
    try:
        return _table_decoder.decode(table)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptError(place, expected="a header table", found=str(error)) from None


def count_table(table: bytes, count_max: int) -> int:
    """The count of entries in a header table, `count_max` at most; 0 for what is none."""
    try:
        table.decode()
    except UnicodeDecodeError:
        return 0
    # Compiled when it is needed first: that takes as long as a tenth of importing transit.
    if not re.fullmatch(_TABLE, table):
        return 0
    return sum(1 for _ in islice(re.finditer(_ENTRY, table), count_max))
