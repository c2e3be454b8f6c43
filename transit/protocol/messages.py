"""Bodies of requests and answers, and the records they stand for.

A body is one record, whatever its bytes; in a stream of JSON messages an array is one record an
element, and anything else is one message.

msgspec splits an array without decoding its elements, but takes bytes that are not UTF-8 inside
strings, so those are looked for first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from transit import InvalidInputError

_SPLIT: Final = msgspec.json.Decoder(list[msgspec.Raw])
_WHOLE: Final = msgspec.json.Decoder(msgspec.Raw)
_SPACE: Final = b" \t\n\r"


def json_messages(body: bytes) -> list[bytes]:
    """The messages of a body; none for an empty array, `InvalidInputError` for what is no JSON."""
    try:
        if not body.isascii():
            body.decode()
        text = body.strip(_SPACE)
        if text[:1] == b"[":
            return list(map(bytes, _SPLIT.decode(text)))
        return [bytes(_WHOLE.decode(text))]
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise InvalidInputError(f"the body is not JSON: {error}") from None


def json_body(messages: Sequence[bytes]) -> bytes:
    """The array of `messages`."""
    return b"[" + b",".join(messages) + b"]"
