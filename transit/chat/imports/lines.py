"""A line of an IRC log, taken apart; and the clock that its times move.

Owns the shapes of lines. `head + text` is the line again, whatever its shape.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Container
from typing import NamedTuple

from transit.chat.imports.times import SECOND, believed, of_iso, seconds_of

_DAY_S = 24 * 3600
_FIRST_DAY = datetime.date(1970, 1, 1)
# How far a clock may go back within a day.
_BACK_S_MAX = 3600
# How far before midnight a line may be that comes after a line of the next day.
_LATE_S_MAX = 300

_STAMP = re.compile(
    r"\s{0,8}(?P<open>[\[(]?)"
    r"(?:(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[ T]+)?"
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.\d{1,9})?)?"
    r"(?P<zone>Z|[+-]\d\d:?\d\d)?[\])]?(?=[\s<*\[-]|$)"
)
_SPOKEN = re.compile(r"\s*<[ @+%&~!]?([^<>\s]+)>(?: |$)")
_NOTICE = re.compile(r"\s*-([^-\s:!][^\s:]*?)(?::\S+)?- ")
_ACTION = re.compile(r"\s*\* ([^\s*]+)(?: +|$)")
_MARKER = re.compile(r"\s*(===|-!-|\*\*\*|-->|<--|--(?=\s)|==>)")
_MARKED_ACTION = re.compile(r"=== (\S+)(?: +|$)")
# WeeChat: date, who or a sign, text.
_COLUMNS = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\t([^\t]*)\t")
_SIGNS = frozenset({"", "-->", "<--", "--", "=!=", "***"})

_MONTH_NAMES = "JanFebMarAprMayJunJulAugSepOctNovDec"
_DAY_LINE = re.compile(
    r"(?:--- (?:Log|Day)|Session |\*{4} (?:BEGIN|END)|\s*-+ ?(?:Day|Date) changed)[^\d]{0,40}?"
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?"
    r"(?:(?P<month>[A-Z][a-z]{2}) (?P<day>[ \d]?\d)|(?P<day2>\d{1,2}) (?P<month2>[A-Z][a-z]{2}))"
    r"(?: (?P<clock>\d\d:\d\d:\d\d))? (?P<year>\d{4})"
)
# A line as most are: a time without a zone, and who says what.
_PLAIN = re.compile(
    r"([\[(]?(?:(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})[ T]+)?"
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.[0-9]{1,9})?)?[\])]?)"
    r" *<[ @+%&~!]?(?P<who>[^<>\s]+)>(?: |$)"
)
_STAMPS_KEPT = 5000
_DAY_NAME = re.compile(r"(?<!\d)(\d{4})(-?)(\d\d)\2(\d\d)(?!\d)")


class Line(NamedTuple):
    """A line: what is before its text, who said it (None: nobody), and when.

    marker: what lines of the server begin with, "" if this is none. day, clock: what the line says
    of the time, None where it says nothing; -1 where it says what is no time. exact: UTC
    nanoseconds, of a line that says its zone.
    """

    stamp: str
    head: str
    text: str
    author: str | None = None
    action: bool = False
    marker: str = ""
    day: datetime.date | None = None
    clock: int | None = None
    exact: int | None = None


def line_of(text: str, nicks: Container[str]) -> Line:
    """Take a line apart. `nicks`: `=== nick does` is said by one of them, else by the server."""
    if found := _COLUMNS.match(text):
        return _of_columns(text, found)
    if found := _DAY_LINE.match(text):
        return _of_day(text, found)
    found = _STAMP.match(text)
    stamp = text[: found.end()] if found else ""
    line = Line(stamp, stamp, text[len(stamp) :])
    if found:
        line = line._replace(day=_day(found), clock=_clock(found))
        if found["zone"] and found["year"]:
            line = line._replace(exact=of_iso(stamp.strip(" \t[]()")))
    return _with_author(line, text, nicks)


class Plain(NamedTuple):
    """A line that somebody said: what is before its text, who said it, and when."""

    head: str
    author: str
    time: int


def day_of(name: str) -> datetime.date | None:
    """The date in a file's name, `2004-11-15` or `20041115`."""
    for year, _, month, day in _DAY_NAME.findall(name):
        if "1970" <= year <= "2199" and seconds_of(int(year), int(month), int(day)) is not None:
            return datetime.date(int(year), int(month), int(day))
    return None


class Clock:
    """The day that a log is at, from what its lines say."""

    def __init__(self, day: datetime.date) -> None:
        self._day_s = _day_s(day)
        self._clock: int | None = None
        # What stamps say: many lines have the same.
        self._stamps: dict[str, tuple[int | None, int]] = {}

    def plain(self, text: str) -> Plain | None:
        """What `line_of` and `time_of` say of a line as most are; None of others."""
        found = _PLAIN.match(text)
        if found is None:
            return None
        stamp = found[1]
        said = self._stamps.get(stamp)
        if said is None:
            day, clock = _day(found), _clock(found)
            if clock < 0:
                return None
            if len(self._stamps) >= _STAMPS_KEPT:
                self._stamps.clear()
            said = self._stamps[stamp] = (None if day is None else _day_s(day), clock)
        time = self._at(*said)
        return None if time is None else Plain(found[0], found["who"].lstrip("@+%&~"), time)

    def time_of(self, line: Line) -> int | None:
        """UTC nanoseconds of a line; that of the line before if it says nothing; None: no time."""
        if line.clock == -1:
            return None
        time = self._at(None if line.day is None else _day_s(line.day), line.clock)
        return time if line.exact is None else line.exact

    def _at(self, day_s: int | None, clock: int | None) -> int | None:
        """UTC nanoseconds of a line that says this day, in seconds since 1970, and this clock."""
        if day_s is not None:
            self._day_s = day_s
        elif clock is not None and self._clock is not None:
            passed = clock - self._clock
            if passed < -_BACK_S_MAX:
                self._day_s += _DAY_S
            elif passed >= _DAY_S - _LATE_S_MAX and self._day_s >= _DAY_S:
                self._day_s -= _DAY_S
        if clock is not None:
            self._clock = clock
        return believed((self._day_s + (self._clock or 0)) * SECOND)


def _day_s(day: datetime.date) -> int:
    return (day - _FIRST_DAY).days * _DAY_S


def _with_author(line: Line, text: str, nicks: Container[str]) -> Line:
    body = line.text
    if found := _SPOKEN.match(body):
        return _spoken(line, found)
    if found := _MARKER.match(body):
        space = found.start(1)
        line = line._replace(head=line.head + body[:space], text=body[space:], marker=found[1])
        said = _MARKED_ACTION.match(line.text)
        if said and said[1] in nicks and not _is_of_server(line.text):
            return _spoken(line, said)._replace(action=True, marker="")
        return line
    if found := _ACTION.match(body):
        return _spoken(line, found)._replace(action=True)
    # Without a time before it, a line in dashes may be anything.
    if line.stamp and (found := _NOTICE.match(body)):
        return _spoken(line, found)
    return line


def _is_of_server(text: str) -> bool:
    """Whether a line after `===` says who is there, and not what somebody does."""
    return bool(re.search(r"(has (joined|left|quit)|is now known as \S+)\b", text))


def _spoken(line: Line, found: re.Match[str]) -> Line:
    return line._replace(
        head=line.head + found[0], text=line.text[found.end() :], author=found[1].lstrip("@+%&~")
    )


def _of_columns(text: str, found: re.Match[str]) -> Line:
    head, who = found[0], found[7]
    body = text[len(head) :]
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    valid = seconds_of(year, month, day) is not None and hour < 24 and minute < 60
    line = Line(
        head.split("\t")[0],
        head,
        body,
        day=datetime.date(year, month, day) if valid else None,
        clock=hour * 3600 + minute * 60 + second if valid else -1,
    )
    sign = who.strip()
    if sign in _SIGNS:
        return line._replace(marker=sign and "\t")
    if sign == "*":
        nick, space, rest = body.partition(" ")
        return line._replace(head=head + nick + space, text=rest, author=nick, action=True)
    return line._replace(author=sign.lstrip("@+%&~!"))


def _of_day(text: str, found: re.Match[str]) -> Line:
    at = _MONTH_NAMES.find(found["month"] or found["month2"])
    month = at // 3 + 1 if at % 3 == 0 else 0
    year, day = int(found["year"]), int(found["day"] or found["day2"])
    if seconds_of(year, month, day) is None or year < 1970:
        return Line("", "", text)
    hour, minute, second = (int(part) for part in (found["clock"] or "0:0:0").split(":"))
    clock = hour * 3600 + minute * 60 + second
    if hour > 23 or minute > 59 or second > 60:
        clock = 0
    return Line("", "", text, day=datetime.date(year, month, day), clock=clock)


def _day(found: re.Match[str]) -> datetime.date | None:
    if not found["year"]:
        return None
    year, month, day = int(found["year"]), int(found["month"]), int(found["day"])
    if seconds_of(year, month, day) is None:
        return None
    return datetime.date(year, month, day)


def _clock(found: re.Match[str]) -> int:
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"] or 0)
    if hour > 23 or minute > 59 or second > 60 or (found["year"] and _day(found) is None):
        return -1
    return hour * 3600 + minute * 60 + second
