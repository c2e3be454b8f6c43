"""Text logs of IRC: those of irssi, WeeChat, ZNC, XChat, Limnoria, and what looks like them.

Each line of a log is one item, and line n, from 1, is the item with `place.number` n. A line that
says who joined, left or has another name is a `Member`; any other line that nobody said is `Said`
with `system`, and so is an empty one. No line is lost: `source["head"]` and the text make the line
again, and `source["line"]` is the whole line of a `Member`. `source["encoding"]` names it where it
is not UTF-8.

Ids are `irc:<file name>/<line number>`. Logs grow at their end, so ids stay as they are when a log
is read again; they do not if lines are removed at its beginning, or the file gets another name.

Times are the clock of the log, taken as UTC. The day comes from lines that say it, from the
argument `date`, or from a date in the file's name; without any of them it is 1970-01-01. A clock
that goes back by more than an hour begins a new day: an hour is what the end of summer time takes.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from transit import InvalidInputError
from transit.chat.imports.documents import skip_line
from transit.chat.imports.faults import bad, label, told
from transit.chat.imports.items import Item, Member, Place, Said
from transit.chat.imports.lines import Clock, Line, day_of, line_of

LINE_BYTES_MAX = 1 << 20
DAY_BY_DEFAULT = datetime.date(1970, 1, 1)

_UTF_8: Mapping[str, object] = {}
_ENCODINGS = ("utf-8", "cp1252", "latin-1")
_DATED = re.compile(r"[ ._-]?\(?(?<!\d)\d{4}-?\d\d-?\d\d(?!\d).*")
_CHANGES = {"Joins:": "joined", "Parts:": "left", "Quits:": "left"}
_OF_ZNC = re.compile(r"(Joins:|Parts:|Quits:)\s+(\S+)")
# Who, perhaps the address in brackets, and what; limits keep a hostile line cheap.
_CHANGED = re.compile(
    r"(\S+)\s+(?:[\[(<][^\])>]*[\])>]\s+)?(?:(has joined|has left|has quit|was kicked)\b"
    r"|is now known as\s+(\S+))"
)


def read(
    path: str | Path, *, channel: str | None = None, date: datetime.date | None = None
) -> Iterator[Item]:
    """The lines of the log at `path`; `date` is the day of the first one."""
    path = Path(path)
    name = label(path.name)
    clock = Clock(date or day_of(name) or DAY_BY_DEFAULT)
    log = _Log(name, channel or channel_of(name), clock)
    with told(path), path.open("rb") as file:
        number = 0
        while raw := file.readline(LINE_BYTES_MAX + 1):
            number += 1
            place = Place(name, number)
            if len(raw) > LINE_BYTES_MAX:
                skip_line(file)
                yield bad(place, f"the line is longer than {LINE_BYTES_MAX} bytes", raw)
                continue
            if number == 1:
                raw = _without_bom(raw, name)
            yield log.item(place, raw)


def channel_of(name: str) -> str:
    """The channel in a file's name: from its `#` on, else all up to its first dot."""
    if "#" in name:
        name = name[name.index("#") :]
        stem = re.sub(r"\.(log|txt|weechatlog|ascii\.txt)$", "", name)
        return _DATED.sub("", stem) or stem
    return name.split(".")[0] or name


class _Log:
    """What is known of a log up to a line: the clock, and who is there."""

    def __init__(self, name: str, channel: str, clock: Clock) -> None:
        self._channel = channel
        self._clock = clock
        self._nicks: set[str] = set()
        self._id = f"irc:{name}/"

    def item(self, place: Place, raw: bytes) -> Item:
        text, source = _decoded(raw.removesuffix(b"\n").removesuffix(b"\r"))
        plain = self._clock.plain(text)
        if plain is None:
            return self._other(place, raw, text, source)
        head, author, time = plain
        self._nicks.add(author)
        return Said(
            place=place,
            channel=self._channel,
            id=f"{self._id}{place.number}",
            author=author,
            name=author,
            text=text[len(head) :],
            time=time,
            source={"head": head, **source} if source else {"head": head},
        )

    def _other(self, place: Place, raw: bytes, text: str, source: Mapping[str, object]) -> Item:
        line = line_of(text, self._nicks)
        time = self._clock.time_of(line)
        if time is None:
            return bad(place, f"{line.stamp.strip()!r} is no time of a day", raw)
        about = _About(place, self._channel, f"{self._id}{place.number}", time)
        if line.author is None:
            member = _member(about, text, line, source)
            if member is not None:
                self._nicks.update((member.author, member.name))
            return member or _said(about, line, source)
        self._nicks.add(line.author)
        return _said(about, line, source)


class _About(NamedTuple):
    """What all items of a line have."""

    place: Place
    channel: str
    id: str
    time: int


def _said(about: _About, line: Line, source: Mapping[str, object]) -> Said:
    author = line.author or ""
    if line.head:
        source = {"head": line.head, **source}
    if line.action:
        source = {**source, "action": True}
    return Said(
        **about._asdict(),
        author=author,
        name=author,
        text=line.text,
        system=line.author is None,
        source=source,
    )


def _member(about: _About, text: str, line: Line, source: Mapping[str, object]) -> Member | None:
    """Who joined, left or is called otherwise, if the line tells of that."""
    if not line.marker:
        return None
    told_of = line.text.removeprefix(line.marker).lstrip()
    source = {"line": text, **source}
    if found := _OF_ZNC.match(told_of):
        nick, change, name = found[2], _CHANGES[found[1]], found[2]
    elif found := _CHANGED.match(told_of):
        nick, name = found[1], found[3] or found[1]
        joined = "joined" if found[2] == "has joined" else "left"
        change = "renamed" if found[3] else joined
    else:
        return None
    return Member(**about._asdict(), author=nick, name=name, change=change, source=source)


def _decoded(raw: bytes) -> tuple[str, Mapping[str, object]]:
    for encoding in _ENCODINGS:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        return text, _UTF_8 if encoding == "utf-8" else {"encoding": encoding}
    raise AssertionError("latin-1 has every byte")


def _without_bom(raw: bytes, name: str) -> bytes:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidInputError(f"{name}: is UTF-16; save it as UTF-8 and read that")
    return raw.removeprefix(b"\xef\xbb\xbf")
