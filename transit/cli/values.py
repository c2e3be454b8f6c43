"""Values as people write them: positions, durations, sizes, moments, key=value.

Pure functions from text; each raises `ValueError` with a message that says what is wanted.
"""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

SECOND_NS: Final = 1_000_000_000
_POSITION: Final = re.compile(r"(?P<stream>.+)@(?P<offset>-?[0-9]+)(?::(?P<stop>[0-9]+))?", re.S)
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?")
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]i?)?b?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_MOMENT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Place(NamedTuple):
    """`STREAM[@OFFSET[:STOP]]`; an offset below 0 counts from the end."""

    stream: str
    offset: int | None = None
    stop: int | None = None


def parse_place(text: str) -> Place:
    """A stream, and what follows the last `@` if that is offsets; names may hold `@` too."""
    found = _POSITION.fullmatch(text)
    if found is None:
        if not text:
            raise ValueError("a stream's name is wanted")
        return Place(text)
    stop = found["stop"]
    return Place(found["stream"], int(found["offset"]), None if stop is None else int(stop))


def parse_pair(text: str) -> tuple[str, str]:
    """`KEY=VALUE`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(f"{text!r} is not KEY=VALUE")
    return key, value


def parse_duration(text: str) -> float:
    """Seconds: `250ms`, `10s`, `5m`, `2h`, `1d`; a number alone is seconds."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration like 10s, 5m, 2h or 1d")
    return _finite(float(found[1]) * _SECONDS[found[2] or "s"])


def parse_size(text: str) -> int:
    """Bytes: `10MiB` (1024), `10MB` (1000), `10M` (1024), or a number of bytes."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a size like 512, 64KiB or 10MiB")
    unit = (found[2] or "").lower()
    thousand = 1000 if text[-1:] in "bB" and len(unit) == 1 else 1024
    factor = thousand ** _POWERS[unit[:1]] if unit else 1
    return int(_finite(float(found[1]) * factor))


def _finite(value: float) -> float:
    if math.isinf(value):
        raise ValueError("too large a number")
    return value


def parse_moment(text: str) -> int:
    """UTC nanoseconds: an RFC 3339 time, a day, or a duration before now; no zone means UTC."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        try:
            return time.time_ns() - round(_finite(parse_duration(text) * SECOND_NS))
        except ValueError:
            raise ValueError(
                f"{text!r} is not a time like 2026-01-31T12:00:00Z, or a duration ago like 2h"
            ) from None
    day, clock, fraction, zone = found.groups()
    try:
        seconds = _seconds(day, clock, zone)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    return seconds * SECOND_NS + int((fraction or "0").ljust(9, "0"))


# Neighbours in an export share their second.
@lru_cache(maxsize=256)
def _seconds(day: str, clock: str | None, zone: str | None) -> int:
    moment = datetime.fromisoformat(f"{day}T{clock or '00:00:00'}+00:00")
    ahead = timedelta()
    if zone and zone not in "Zz":
        ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        ahead *= -1 if zone[0] == "-" else 1
    return (moment - _EPOCH - ahead) // timedelta(seconds=1)


def moment_text(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, in UTC."""
    seconds, rest = divmod(nanoseconds, SECOND_NS)
    return f"{second_text(seconds)}.{rest:09d}Z"


def second_text(seconds: int) -> str:
    """Date and time of a second since 1970, without a zone."""
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
