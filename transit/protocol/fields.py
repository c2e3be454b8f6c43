"""Header fields of the Durable Streams protocol, checked.

Owns what a field may hold; what a request with it means is the server's. Fields come with names in
lower case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from transit import InvalidInputError

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_MEDIA_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SAFE_INTEGER: Final = 2**53 - 1
"""The largest whole number that JavaScript holds exactly."""
PRODUCER_BYTES_MAX: Final = 256
SEQUENCE_BYTES_MAX: Final = 256


class Producer(NamedTuple):
    """Who sends a request, and which of its requests it is: section 5.2.1 of the protocol."""

    id: str
    epoch: int
    seq: int


def whole_number(text: str, what: str) -> int:
    """A number in decimal notation without sign, leading zeros or exponent."""
    if not _NUMBER.fullmatch(text):
        raise InvalidInputError(f"{what} must be a whole number, not {text[:64]!r}")
    return int(text)


def producer_of(headers: Mapping[str, str]) -> Producer | None:
    """The producer of a request; None when it names none, all three fields or an error."""
    given = [headers.get(f"producer-{each}") for each in ("id", "epoch", "seq")]
    if given == [None, None, None]:
        return None
    name, epoch, seq = given
    if name is None or epoch is None or seq is None:
        raise InvalidInputError("Producer-Id, Producer-Epoch and Producer-Seq go together")
    if not 0 < len(name) <= PRODUCER_BYTES_MAX:
        raise InvalidInputError(f"Producer-Id must have 1 to {PRODUCER_BYTES_MAX} bytes")
    numbers = whole_number(epoch, "Producer-Epoch"), whole_number(seq, "Producer-Seq")
    if max(numbers) > SAFE_INTEGER:
        raise InvalidInputError(f"Producer-Epoch and Producer-Seq go up to {SAFE_INTEGER}")
    return Producer(name, *numbers)


def is_closing(headers: Mapping[str, str]) -> bool:
    """Whether a request closes the stream: any value but "true" counts as none."""
    return headers.get("stream-closed", "").lower() == "true"


def ttl_of(headers: Mapping[str, str]) -> int | None:
    """Seconds without a read or a write after which a stream is gone."""
    text = headers.get("stream-ttl")
    return None if text is None else whole_number(text, "Stream-TTL")


def expiry_of(headers: Mapping[str, str]) -> int | None:
    """When a stream is gone, UTC nanoseconds, from an RFC 3339 time."""
    text = headers.get("stream-expires-at")
    return None if text is None else parse_time(text, "Stream-Expires-At")


def parse_time(text: str, what: str) -> int:
    """UTC nanoseconds of an RFC 3339 time; `InvalidInputError` for anything else."""
    found = _TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        zone = "+00:00" if found[4] in "Zz" else found[4]
        whole = datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}")
    except ValueError:
        raise InvalidInputError(f"{what} must be an RFC 3339 time, not {text[:64]!r}") from None
    fraction = int((found[3] or ".0")[1:10].ljust(9, "0"))
    return (whole - _EPOCH) // timedelta(seconds=1) * 1_000_000_000 + fraction


def show_time(time: int) -> str:
    """UTC nanoseconds as an RFC 3339 time, to the millisecond."""
    seconds, rest = divmod(time, 1_000_000_000)
    shown = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{shown}.{rest // 1_000_000:03d}Z"


def content_type_of(headers: Mapping[str, str]) -> str | None:
    """The content type of a request as it was given; `InvalidInputError` where it is none."""
    text = headers.get("content-type")
    return None if text is None else _checked_type(text)


@lru_cache(maxsize=256)
def _checked_type(text: str) -> str | None:
    if not text.strip():
        return None
    if not _MEDIA_TYPE.fullmatch(media_type(text)) or len(text) > 255:
        raise InvalidInputError(f"Content-Type {text[:64]!r}: not a media type")
    return text.strip()


@lru_cache(maxsize=256)
def media_type(content_type: str) -> str:
    """A content type without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


@lru_cache(maxsize=256)
def is_json(content_type: str) -> bool:
    """Whether a stream's records are JSON messages."""
    return media_type(content_type) == "application/json"


def is_text(content_type: str) -> bool:
    """Whether a stream's bytes go into an event as they are."""
    return is_json(content_type) or media_type(content_type).startswith("text/")
