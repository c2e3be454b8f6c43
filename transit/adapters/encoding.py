"""Payloads: values of other stacks as the JSON that the stacks themselves write, nothing lost.

Owns the way of a value into a record and back: redaction first, then JSON as Python's own module
has it (NaN and long integers included), and an artifact for what is above 1 MiB, to which the
record refers then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from blake3 import blake3

from transit import CorruptError, InvalidInputError, Log, Record
from transit.trace import Redaction
from transit.trace.artifacts import read_stored, store_bytes
from transit.trace.values import plain

LARGE_BYTES: Final = 1024 * 1024
# Headers: that the payload is a reference; in how many places something was replaced.
LARGE: Final = "large"
REDACTED: Final = "redacted"

_strict: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_lenient: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


_encoder: Final = msgspec.json.Encoder()


class Encoded(NamedTuple):
    """A payload, and the headers that say how it is to be read.

    value: what the payload says, where that is known and JSON of every kind can say it.
    """

    payload: bytes
    headers: dict[str, str]
    value: Any = None


def encode(value: object, redact: Redaction | None = None) -> Encoded:
    """A value of JSON's own types; `InvalidInputError` for anything else."""
    value, headers = _redacted(value, redact)
    if (found := _quickly(value)) is not None:
        return Encoded(found[0], headers, found[1])
    try:
        return Encoded(_as_bytes(_strict(value)), headers)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"not a value that JSON has: {error}") from None


def encode_any(value: object, redact: Redaction | None = None) -> Encoded:
    """Whatever a program says: what JSON has not is text, what goes round in circles is cut."""
    value, headers = _redacted(value, redact)
    if (found := _quickly(value)) is not None:
        return Encoded(found[0], headers, found[1])
    try:
        return Encoded(_as_bytes(_lenient(value)), headers)
    except Exception:
        # Circles, depths, keys that are no text, and methods of the value's own.
        return Encoded(_as_bytes(_lenient(plain(value))), headers)


def decode(data: bytes) -> Any:
    """The value that `encode` was given; `CorruptError` for what it did not write."""
    try:
        return msgspec.json.decode(data)
    except ValueError:
        # What only Python's JSON has: NaN, halves of characters.
        pass
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptError("an adapter's record", expected="JSON", found=str(error)) from None


def stored(log: Log, encoded: Encoded, durability: str | None) -> Encoded:
    """What is to be written: the same, or, above 1 MiB, a reference to an artifact, kept now."""
    if len(encoded.payload) <= LARGE_BYTES:
        return encoded
    digest = blake3(encoded.payload).hexdigest()
    name = store_bytes(log, encoded.payload, digest, durability or log.durability)
    reference = json.dumps({"artifact": name, "bytes": len(encoded.payload)}).encode()
    return Encoded(reference, {**encoded.headers, LARGE: "true"})


def whole(log: Log, payload: bytes, headers: Mapping[str, str]) -> bytes:
    """The payload that `stored` was given."""
    if headers.get(LARGE) != "true":
        return payload
    try:
        name = decode(payload)["artifact"]
    except (TypeError, KeyError, CorruptError):
        raise CorruptError(
            "an adapter's record", expected="a reference to an artifact", found=str(payload[:80])
        ) from None
    return read_stored(log, name)


def value_of(log: Log, record: Record) -> Any:
    """The value of a record that `stored` made."""
    return decode(whole(log, record.payload, record.headers))


def _redacted(value: object, redact: Redaction | None) -> tuple[object, dict[str, str]]:
    if redact is None:
        return value, {}
    cleaned, count = redact.value(value)
    return cleaned, {REDACTED: str(count)} if count else {}


def _quickly(value: object) -> tuple[bytes, Any] | None:
    """The same in a fraction of the time, where nothing is lost; and what it says."""
    try:
        data = _encoder.encode(value)
        said = msgspec.json.decode(data)
        # Not so for NaN, keys that are no text, tuples, and what JSON has not.
        return (data, said) if said == value else None
    except Exception:
        return None


def _as_bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Halves of characters, which JSON can escape and UTF-8 has not.
        return json.dumps(json.loads(text), separators=(",", ":")).encode()
