"""What users give, checked before anything is done with it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from transit.errors import InvalidInputError
from transit.format.headers import HeaderMap, encode_headers
from transit.format.record import COUNT_MAX, Columns, measure
from transit.format.written import encode_writer

Payload = bytes | bytearray | memoryview

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1


def as_bytes(payload: object) -> bytes:
    """A payload as bytes of its own; `InvalidInputError` for anything that is not bytes."""
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(payload)
    raise InvalidInputError(f"payload must be bytes, not {type(payload).__name__}")


def too_large(size: int, limit: int) -> InvalidInputError:
    """The error for a record over the limit."""
    return InvalidInputError(f"a record of {size} bytes; record_bytes_max is {limit}")


def as_index(value: object, what: str) -> int:
    """A number that counts, as a sequence takes it: an int, or what has `__index__` (NumPy's)."""
    if type(value) is int:
        return value
    try:
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise InvalidInputError(f"{what} must be int, not {type(value).__name__}")


def check_numbers(timestamp: object, expect: object) -> None:
    """`InvalidInputError` unless both are None or plain ints in range."""
    if timestamp is not None and (
        type(timestamp) is not int or not _INT64_MIN <= timestamp <= _INT64_MAX
    ):
        raise InvalidInputError(f"timestamp must be a signed 64-bit int, not {timestamp!r}")
    if expect is not None and (type(expect) is not int or expect < 0):
        raise InvalidInputError(f"expect must be an offset, not {expect!r}")


def check_writer(writer: object) -> str:
    """Who writes, as records keep it: at most 255 bytes of UTF-8; empty for this process itself."""
    if not isinstance(writer, str):
        raise InvalidInputError(f"writer must be str, not {type(writer).__name__}")
    encode_writer(writer)
    return writer


@lru_cache(maxsize=1024)
def known_writer(writer: str) -> bytes:
    """A writer's name as a chunk holds it; checked as `check_writer` does."""
    return encode_writer(check_writer(writer))


def check_limit(limit: object, what: str) -> None:
    """`InvalidInputError` unless `limit` is None or a count."""
    if limit is not None and (type(limit) is not int or limit < 0):
        raise InvalidInputError(f"limit must be a count of {what}, not {limit!r}")


def encode_all(
    headers: HeaderMap | Sequence[HeaderMap | None] | None, count: int
) -> bytes | list[bytes] | None:
    """Headers of `count` records as `Columns` takes them."""
    if headers is None:
        return None
    if isinstance(headers, Mapping):
        return encode_headers(headers) if headers else None
    if isinstance(headers, str | bytes) or not isinstance(headers, Sequence):
        raise InvalidInputError("headers must be one mapping, or a sequence of one a record")
    if len(headers) != count:
        raise InvalidInputError(f"{len(headers)} headers for {count} payloads")
    return [encode_headers(entry) if entry is not None else b"{}" for entry in headers]


def as_several(payloads: Iterable[Payload]) -> list[Payload]:
    """Payloads as a list of their own; `InvalidInputError` for what is one, or none at all."""
    if isinstance(payloads, str | bytes | bytearray | memoryview):
        raise InvalidInputError("payloads must be several; append() takes one")
    try:
        # A copy: what the caller does to its list meanwhile must not reach the frame.
        return list(payloads)
    except TypeError:
        raise InvalidInputError(f"payloads must be iterable, not {payloads!r}") from None


def as_columns(
    payloads: Iterable[Payload],
    headers: HeaderMap | Sequence[HeaderMap | None] | None,
    record_bytes_max: int,
) -> Columns:
    """Records as columns; their timestamps are given when they are written."""
    given = as_several(payloads)
    if not given:
        raise InvalidInputError("payloads are empty")
    # One look at the types is cheaper than one call a payload.
    plain = set(map(type, given)) == {bytes}
    taken: list[bytes] = given if plain else list(map(as_bytes, given))  # type: ignore[assignment]
    if len(taken) > COUNT_MAX:
        raise InvalidInputError(f"{len(taken)} records in one frame; the limit is {COUNT_MAX}")
    sizes = measure(taken)
    largest = sizes if isinstance(sizes, int) else max(sizes)
    if largest > record_bytes_max:
        raise too_large(largest, record_bytes_max)
    return Columns(taken, sizes, 0, encode_all(headers, len(taken)))


def check_times(timestamps: Sequence[int] | None, count: int) -> list[int] | None:
    """The timestamps given for `count` records, checked; None when none are given."""
    if timestamps is None:
        return None
    if isinstance(timestamps, str | bytes) or not isinstance(timestamps, Sequence):
        raise InvalidInputError("timestamps must be a sequence of one a record")
    times = list(timestamps)
    if len(times) != count:
        raise InvalidInputError(f"{len(times)} timestamps for {count} payloads")
    for timestamp in times:
        check_numbers(timestamp, None)
    return times
