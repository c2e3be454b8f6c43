"""Messages as a person reads them in a terminal.

Owns the layout:

    ── 2026-02-03 ──
       0  09:12  ● 0   ada  why does the wheel not build?
       1  09:13  ○ 1   cleo lunch at one?
       2  09:13  │ 0   bob  which python?

A line has the offset, the time (UTC), the thread, the author, the text. `●` starts a thread, `│`
goes on with it, `○` is alone; the number is the offset of the thread's first message, and each
thread has a colour. `?` is in no thread yet; the number is of the one that a classifier proposes.
What is printed was made printable: no text can steer a terminal.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from transit import chat
from transit.cli.escapes import printable
from transit.cli.output import Output, columns_of
from transit.cli.values import SECOND_NS, second_text

LINES_SHOWN: Final = 40
_COLUMNS_MIN: Final = 24
_AUTHOR_COLUMNS: Final = (6, 14)
_COLORS: Final = (
    "cyan", "yellow", "green", "magenta", "blue", "bright_red", "bright_cyan", "bright_yellow",
    "bright_green", "bright_magenta", "bright_blue", "red",
)  # fmt: skip

STARTS, GOES_ON, ALONE, UNKNOWN, HIDDEN = "●", "│", "○", "?", "×"


class Mark(NamedTuple):
    """A message's thread: what it is to it, and the thread's offset; quiet: in no colour."""

    glyph: str
    thread: int | None
    quiet: bool = False


NO_MARK: Final = Mark(" ", None)


class Conversation:
    """Prints messages, one after the other. full: whether long texts are printed whole."""

    def __init__(self, output: Output, *, full: bool = False, marks: bool = True) -> None:
        self._output, self._full, self._marks = output, full, marks
        self._columns = shutil.get_terminal_size((100, 0)).columns
        self._day = ""
        self._authors = _AUTHOR_COLUMNS[0]
        self._mark_columns = 4
        self._offset_columns = 4
        self._colors: dict[int, str] = {}

    def message(
        self, message: chat.Message, mark: Mark = NO_MARK, label: str = "", answers: str = ""
    ) -> None:
        """One message. label: instead of its offset. answers: what it answers, where said."""
        self._date(message.time)
        style = self._output.style
        offset = f"{label or message.offset:>{self._offset_columns}}"
        head = f"{style(offset, dim=True)}  {style(_clock(message.time), dim=True)}  "
        used = columns_of(offset) + 9
        if self._marks:
            head, used = head + self._mark(mark) + " ", used + self._mark_columns + 1
        author, columns = self._author(message, mark)
        head, used = f"{head}{author} ", used + columns + 1
        lines = self._lines(message, used, answers)
        self._output.line(f"{head}{lines[0]}".rstrip())
        for line in lines[1:]:
            self._output.line(f"{'':>{used}}{line}")

    def note(self, text: str, color: str | None = None, indent: int = 0) -> None:
        """A line beside the messages, of what was said of one."""
        room = max(self._columns - self._margin - indent, _COLUMNS_MIN)
        for number, line in enumerate(wrapped(text, room)):
            shown = self._output.style(line, fg=color, dim=color is None)
            self._output.line(f"{'':>{self._margin + indent + (2 if number else 0)}}{shown}")

    def rule(self, text: str) -> None:
        """A title between messages."""
        self._output.line(self._output.style(f"── {printable(text)} ──", dim=True))

    def color_of(self, thread: int) -> str:
        """The colour of a thread: the next one for each that comes."""
        return self._colors.setdefault(thread, _COLORS[len(self._colors) % len(_COLORS)])

    @property
    def _margin(self) -> int:
        return self._offset_columns + 9 + (self._mark_columns + 1 if self._marks else 0)

    def _date(self, time_ns: int) -> None:
        day = _second(time_ns)[:10]
        if day != self._day:
            self._day = day
            self.rule(day)

    def _mark(self, mark: Mark) -> str:
        glyph, thread, quiet = mark
        text = glyph if thread is None else f"{glyph} {thread}"
        self._mark_columns = max(self._mark_columns, len(text))
        padded = f"{text:<{self._mark_columns}}"
        if quiet or thread is None or glyph in (ALONE, UNKNOWN, HIDDEN):
            return self._output.style(padded, dim=True)
        return self._output.style(padded, fg=self.color_of(thread))

    def _author(self, message: chat.Message, mark: Mark) -> tuple[str, int]:
        name = cut(printable(message.name or message.author), _AUTHOR_COLUMNS[1])
        self._authors = max(self._authors, columns_of(name))
        padded = name + " " * (self._authors - columns_of(name))
        known = mark.thread is not None and mark.glyph in (STARTS, GOES_ON) and not mark.quiet
        color = self.color_of(mark.thread) if known and mark.thread is not None else None
        return self._output.style(padded, fg=color, bold=not message.system), self._authors

    def _lines(self, message: chat.Message, used: int, answers: str) -> list[str]:
        room = max(self._columns - used, _COLUMNS_MIN)
        style = self._output.style
        if message.removed:
            by, reason = message.removed_by, message.removed_reason
            told = f"(removed by {by}{f': {reason}' if reason else ''})"
            return [style(line, dim=True) for line in wrapped(told, room)]
        most = None if self._full else LINES_SHOWN
        lines = list(islice(wrapped(message.text, room), None if most is None else most + 1))
        if most is not None and len(lines) > most:
            lines[most:] = ["… there is more (--full)"]
        shown = [style(line, dim=True) if message.system else line for line in lines]
        beside = [answers] if answers else []
        beside += ["edited"] if message.edited else []
        beside += [f"{each} {len(who)}" for each, who in message.reactions.items()]
        told = printable(" · ".join(beside))
        if not told:
            return shown
        if columns_of(lines[-1]) + columns_of(told) + 3 <= room:
            shown[-1] += f"  {style(told, dim=True)}"
        else:
            shown += [style(line, dim=True) for line in wrapped(told, room)]
        return shown


def wrapped(text: str, room: int) -> Iterator[str]:
    """The lines of a text, made printable, each of at most `room` columns; at least one."""
    for line in text.splitlines() or [""]:
        yield from _folded(printable(line.expandtabs(4)), room)


def _folded(line: str, room: int) -> Iterator[str]:
    shown, used = "", 0
    for word in _pieces(line, room):
        columns = columns_of(word.rstrip(" "))
        if shown and used + columns > room:
            yield shown.rstrip(" ")
            shown, used = "", 0
        shown, used = shown + word, used + columns_of(word)
    yield shown.rstrip(" ")


def _pieces(line: str, room: int) -> Iterator[str]:
    """Words with the spaces after them, where one is too long in parts."""
    for word in line.split(" "):
        start = 0
        while len(word) - start > room or columns_of(word[start:]) > room:
            part = _fitting(word[start : start + room], room)
            yield part
            start += len(part)
        yield f"{word[start:]} "


def _fitting(text: str, room: int) -> str:
    """The beginning of a text that takes at most `room` columns; at least a character."""
    part = text[:room]
    # Wide characters take two.
    while len(part) > 1 and columns_of(part) > room:
        part = part[: -max((columns_of(part) - room) // 2, 1)]
    return part


def cut(text: str, room: int) -> str:
    """A printable text in at most `room` columns."""
    return text if columns_of(text) <= room else f"{_fitting(text, room - 1)}…"


def one_line(text: str, room: int) -> str:
    """The beginning of a text on one line."""
    return cut(printable(" ".join(text[: 4 * room].split())), room)


def people_text(names: Sequence[str], most: int = 4) -> str:
    """Who is there, the first of them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def counted(count: int, what: str) -> str:
    """A count with what it counts."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _second(time_ns: int) -> str:
    try:
        return second_text(time_ns // SECOND_NS)
    except (OverflowError, ValueError):
        return "at no known time"


def _clock(time_ns: int) -> str:
    second = _second(time_ns)
    return second[11:16] if second[10:11] == "T" else "     "
