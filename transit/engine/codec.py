"""Typed values on top of payloads: the "json" codec.

A value is compact UTF-8 JSON; NaN and infinities are refused, because JSON has no word for them.
"""

from __future__ import annotations

import msgspec

from transit.errors import InvalidInputError
from transit.replay import Record


def encode_value(value: object) -> bytes:
    """`value` as JSON; `InvalidInputError` when it is not JSON's."""
    try:
        payload = msgspec.json.encode(value)
        if b"null" in payload:
            # The encoder writes NaN and infinities as null; the standard library refuses them.
            import json

            json.dumps(msgspec.to_builtins(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"not encodable as JSON: {error}") from None
    return payload


def decode_value(record: Record) -> object:
    """The value in a record; `InvalidInputError` when its payload is not JSON."""
    try:
        value: object = msgspec.json.decode(record.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"{record.origin}: not JSON: {error}") from None
    return value
