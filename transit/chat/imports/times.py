"""Times as exports write them, as UTC nanoseconds, exactly.

Owns the range of times that are believed: from 1970 to 2262, what 63 bits of nanoseconds hold. Each
function gives None for what is no such time.
"""

from __future__ import annotations

import re
from calendar import timegm

SECOND = 1_000_000_000
TIME_MAX = 2**63 - 1

_DECIMAL = re.compile(r"(\d{1,12})(?:\.(\d{1,18}))?", re.ASCII)
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,18}))?)?"
    r"\s*(?:(Z|UTC)|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def believed(time: int) -> int | None:
    """`time`, if it is one that is believed."""
    return time if 0 <= time <= TIME_MAX else None


def of_decimal(text: str) -> int | None:
    """Seconds since 1970 as a decimal, `1355517523.000005`; no float comes in between."""
    if len(text) == 17 and text[10] == "." and text.isascii():
        # As nearly all are: ten digits, and microseconds.
        digits = text[:10] + text[11:]
        if digits.isdigit():
            return believed(int(digits) * 1000)
    found = _DECIMAL.fullmatch(text)
    if found is None:
        return None
    return believed(int(found[1]) * SECOND + _fraction(found[2]))


def of_milliseconds(value: object) -> int | None:
    """A whole number of milliseconds since 1970."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return believed(value * 1_000_000)


def of_iso(text: str) -> int | None:
    """`2020-07-04T15:49:15.02+00:00`, with up to nine digits of a second; without zone in UTC."""
    found = _ISO.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute = (int(part) for part in found.groups()[:5])
    second = int(found[6] or 0)
    seconds = seconds_of(year, month, day, hour * 3600 + minute * 60 + second)
    if seconds is None or hour > 23 or minute > 59 or second > 60:
        return None
    if found[9]:
        east = (int(found[10]) * 60 + int(found[11])) * 60
        seconds += east if found[9] == "-" else -east
    return believed(seconds * SECOND + _fraction(found[7]))


def seconds_of(year: int, month: int, day: int, clock: int = 0) -> int | None:
    """Seconds since 1970 at second `clock` of a day; None if there is no such day."""
    if not 1 <= month <= 12 or not 1 <= day <= _DAYS[month - 1] or not 1 <= year <= 9999:
        return None
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if month == 2 and day == 29 and not leap:
        return None
    return timegm((year, month, day, 0, 0, 0)) + clock


def _fraction(digits: str | None) -> int:
    return int((digits or "").ljust(9, "0")[:9])
