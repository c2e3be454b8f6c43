"""A run as a person reads it in a terminal: one step after the other, what is inside indented.

Owns the layout. A step opens with a line that says what was asked, and closes, after what was done
inside it, with one that says what came of it:

    OFFSET  ELAPSED  bash  {"cmd": "ls"}
                       └ success, 12 ms  setup.py

Long values are folded. What is printed was made printable: no payload can steer a terminal.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import Final

from transit.cli.escapes import printable
from transit.cli.output import Output, columns_of
from transit.cli.values import moment_text
from transit.trace import ErrorInfo, Step, Trace
from transit.trace.events import (
    Artifact,
    Checkpoint,
    Evaluation,
    Message,
    ModelCall,
    ModelRequest,
    Note,
    RunEnd,
    encode_json,
)
from transit.trace.files.turns import answer_in, calls_in, split_content, text_in
from transit.trace.steps import tokens_of

_LINES_SHOWN: Final = 8
# Columns of a line that are printed where the terminal is narrow.
_COLUMNS_MIN: Final = 30
_INDENT: Final = "  "
_GUTTER: Final = 17
# How far the second line of a text stands in from the first.
_HANGING: Final = 4
_ROLE_COLORS: Final = {"user": "cyan", "assistant": "green"}
_KIND_COLORS: Final = {
    "tool": "yellow", "call": "yellow", "model": "magenta", "run": "blue", "evaluation": "cyan",
}  # fmt: skip


class Transcript:
    """Prints runs. full: whether long values are printed whole."""

    def __init__(self, output: Output, *, full: bool = False) -> None:
        self._output = output
        self._full = full
        self._columns = shutil.get_terminal_size((100, 0)).columns
        self._begun_at: int | None = None

    # The head

    def head(self, trace: Trace, steps: Sequence[Step], cost: float | None = None) -> None:
        """What the run is, how it ended, and what it came to."""
        every = [each for step in steps for each in step.walk() if not each.inherited]
        end = next((s.first.event for s in reversed(steps) if s.kind == "end"), None)
        status = end.status if isinstance(end, RunEnd) and trace.ended else "unfinished"
        color = {"completed": "green", "failed": "red", "cancelled": "red"}.get(status, "yellow")
        facts = [counted(len(every), "step")]
        failures = sum(each.failed for each in every if each.kind in ("tool", "model", "call"))
        facts += [counted(failures, "failure")] if failures else []
        tokens = tokens_of(every)
        facts += [tokens_text(tokens)] if tokens != (-1, -1) else []
        facts += [f"cost {cost:.4g}"] if cost is not None else []
        if isinstance(end, RunEnd) and trace.ended and end.duration_ns:
            facts.append(duration_text(end.duration_ns))
        name = self._output.style(printable(trace.name), bold=True)
        words = ", ".join([self._output.style(status, fg=color), *facts])
        self._output.line(f"{name}  {words}")
        for line in _origin(trace):
            self._output.line(self._output.style(f"  {line}", dim=True))
        self._output.line("")

    # Notes

    def notes(self, notes: Sequence[Note]) -> None:
        """What was said of the run afterwards."""
        if notes:
            self._rule("notes")
        for note in notes:
            said = [] if note.score is None else [str(note.score)]
            said += [note.label] if note.label else []
            said += [f"on @{note.at}"] if note.at is not None else []
            said += [f"by {note.author}"] if note.author else []
            words = printable(", ".join(said))
            lines = self._folded(note.comment, _GUTTER + columns_of(note.name + words) + 4, 0)
            name = self._output.style(printable(note.name), fg="cyan")
            self._print(" " * _GUTTER, 0, "  ".join([name, words, *lines[:1]]).rstrip(), lines[1:])

    # Steps

    def steps(self, steps: Sequence[Step], depth: int = 0) -> None:
        """Print steps with all that are inside them."""
        # Each with what is to be printed after its inside.
        waiting: list[tuple[Step, int, bool]] = [(step, depth, False) for step in reversed(steps)]
        inherited = False
        while waiting:
            step, depth, is_closing = waiting.pop()
            if is_closing:
                self.close(step, depth, apart=bool(step.steps))
                continue
            if inherited and not step.inherited:
                self._rule("the run itself begins here")
            inherited = step.inherited
            self.open(step, depth)
            waiting.append((step, depth, True))
            waiting.extend((each, depth + 1, False) for each in reversed(step.steps))

    def open(self, step: Step, depth: int) -> None:
        """Print how a step begins."""
        if self._begun_at is None:
            self._begun_at = step.begun_at
        elapsed = (step.begun_at - self._begun_at) / 1e9
        gutter = f"{step.offset:>6} {elapsed:>+8.1f}s "
        label, text = _asked(step, full=self._full)
        color = _KIND_COLORS.get(step.kind)
        if step.kind == "message":
            color = _ROLE_COLORS.get(step.name)
        styled = self._output.style(printable(label), fg=color, bold=step.kind == "run" or None)
        used = _GUTTER + len(_INDENT) * depth + columns_of(label) + 2
        lines = self._folded(text, used, depth)
        self._print(gutter, depth, f"{styled}  {lines[0]}".rstrip() if lines else styled, lines[1:])

    def close(self, step: Step, depth: int, *, apart: bool) -> None:
        """Print what came of a step, if it has an outcome. apart: other lines are in between."""
        if step.kind not in ("tool", "model", "call", "run"):
            return
        words = [step.status]
        words += [duration_text(step.duration_ns)] if step.duration_ns else []
        if step.kind == "model" and step.tokens != (-1, -1):
            words.append(tokens_text(step.tokens))
        if step.chunks:
            words.append(counted(len(step.chunks), "chunk"))
        if apart:
            words.insert(0, f"{printable(step.name)} ({step.offset})")
        color = "red" if step.failed else ("yellow" if step.status == "open" else None)
        plain = ", ".join(words)
        said = self._output.style(plain, fg=color, dim=color is None or None)
        used = _GUTTER + len(_INDENT) * (depth + 1) + columns_of(plain) + 4
        lines = self._folded(_came(step), used, depth + 1)
        first = f"└ {said}" + (f"  {lines[0]}" if lines else "")
        self._print(" " * _GUTTER, depth + 1, first, lines[1:])

    def _rule(self, text: str) -> None:
        self._output.line(self._output.style(f"{'':>{_GUTTER}}── {text} ──", dim=True))

    def _print(self, gutter: str, depth: int, first: str, rest: Sequence[str]) -> None:
        indent = _INDENT * depth
        self._output.line(f"{self._output.style(gutter, dim=True)}{indent}{first}")
        for line in rest:
            self._output.line(f"{'':>{_GUTTER + _HANGING}}{indent}{line}")

    def _folded(self, text: str, used: int, depth: int) -> list[str]:
        """The lines of a text, made printable; where they are many or long, the first of them.

        used: columns that are taken on the first line.
        """
        lines = text.splitlines()
        if self._full:
            return [printable(line) for line in lines]
        first = max(self._columns - used, _COLUMNS_MIN)
        room = max(self._columns - _GUTTER - len(_INDENT) * depth - _HANGING, _COLUMNS_MIN)
        shown = [self._cut(line, first) for line in lines[:1]]
        shown += [self._cut(line, room) for line in lines[1:_LINES_SHOWN]]
        if len(lines) > len(shown):
            shown.append(self._note(f"… {counted(len(lines) - len(shown), 'more line')}"))
        return shown

    def _cut(self, line: str, room: int) -> str:
        """A line in `room` columns."""
        shown = printable(line[: room + 1])
        if len(line) <= room and columns_of(shown) <= room:
            return shown
        while columns_of(shown) >= room:
            shown = shown[: -max((columns_of(shown) - room) // 2, 1)]
        return f"{shown}…"

    def _note(self, text: str) -> str:
        return self._output.style(f" {text} (--full)", dim=True)


# What is said of a step


def one_line(step: Step, width: int) -> str:
    """A step in one line of at most `width` columns: what it is, asks, and comes to."""
    label, text = _asked(step, full=False)
    words = [label, " ".join(text[: 4 * width].split())]
    if step.kind in ("tool", "model", "call", "run"):
        came = " ".join(_came(step)[: 4 * width].split())
        words.append(f"→ {step.status if step.failed or not came else ''} {came}")
    whole = printable(" ".join(" ".join(words).split()))
    if columns_of(whole) <= width:
        return whole
    while columns_of(whole) >= width:
        whole = whole[: -max((columns_of(whole) - width) // 2, 1)]
    return f"{whole}…"


def _asked(step: Step, *, full: bool) -> tuple[str, str]:
    """The label of a step, and what it says or asks, as text."""
    event = step.first.event
    if isinstance(event, Message):
        return event.role or "message", _message_text(event.message)
    if isinstance(event, ModelCall | ModelRequest):
        return "model", f"{step.name}{_request_text(event.request, full=full)}"
    if step.kind in ("tool", "call"):
        return step.name, "" if step.input is None else text_in(step.input)
    if step.kind in ("run", "model"):
        return step.kind, step.name
    return _said_of(step, full=full)


def _said_of(step: Step, *, full: bool) -> tuple[str, str]:
    """The same of what asks for nothing."""
    event = step.first.event
    label: str = step.kind
    if isinstance(event, Evaluation):
        score = "" if event.score is None else f", score {event.score:g}"
        label = f"evaluation by {step.name}"
        text = _with_reason(f"{event.decision}{score} on {event.subject_ref}", event.reason)
    elif isinstance(event, Checkpoint):
        text = _with_reason(f"{step.name}, {event.status}", event.reason)
    elif isinstance(event, Artifact):
        size = f"{event.byte_length:,} bytes"
        text = f"{event.kind}, {event.content_type}, {size}, digest {event.digest}"
    elif isinstance(event, RunEnd):
        text = f"{event.status}{_error_text(event.error, full=full)}"
    else:
        said = "" if step.output is None else text_in(step.output)
        text = f"{step.name}  {said}" if step.name else said
    return label, text


def _with_reason(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text


def _came(step: Step) -> str:
    """What came of a step, as text."""
    if step.kind == "run":
        return ""
    error = step.error
    if error is not None:
        return _error_text(error, full=True).removeprefix(": ")
    if step.last is None or step.output is None:
        return ""
    if step.kind == "model":
        message = answer_in(step.output)
        calls = [f"→ {call.name} {text_in(call.arguments)}" for call in calls_in(message, 0)]
        content = split_content(message.get("content"))[0]
        said = _message_text(message) if content or not calls else ""
        return "\n".join(filter(None, [said, *calls]))
    return text_in(step.output)


def _message_text(message: object) -> str:
    if not isinstance(message, dict):
        return text_in(message)
    content = split_content(message.get("content"))[0]
    text = "" if content is None else text_in(content)
    rest = {key: each for key, each in message.items() if key not in ("role", "content")}
    if text or not rest:
        return text
    return encode_json(rest).decode()


def _request_text(request: object, *, full: bool) -> str:
    """How much was sent; with `full` all messages."""
    messages = request
    if isinstance(request, dict):
        names = ("messages", "contents", "input")
        messages = next((request[name] for name in names if name in request), request)
    if not isinstance(messages, list):
        return "" if messages is None else f", {text_in(messages)}"
    said = f", {counted(len(messages), 'message')}"
    if not full:
        return said
    lines = []
    for message in messages:
        role = message.get("role", "") if isinstance(message, dict) else ""
        lines.append(f"{role}: {_message_text(message)}")
    return "\n".join([said, *lines])


def _error_text(error: ErrorInfo | None, *, full: bool) -> str:
    if error is None:
        return ""
    words = ": ".join(word for word in (error.type, error.message) if word)
    if full and error.traceback:
        return f": {words}\n{error.traceback}"
    return f": {words}" if words else ""


def _origin(trace: Trace) -> Iterator[str]:
    """Where a run comes from, in lines."""
    facts = [trace.trace_kind]
    facts += [f"actor {trace.actor_id}"] if trace.actor_id else []
    facts += [trace.reason] if trace.reason else []
    facts += [f"begun {moment_text(trace.created_at)[:19]}Z"] if trace.created_at else []
    yield printable(" · ".join(facts))
    if trace.parent_run is not None:
        yield printable(f"child of {trace.parent_run.stream}@{trace.parent_run.offset}")
    if trace.parents:
        parents = ", ".join(f"{parent.stream}@{parent.offset}" for parent in trace.parents)
        how = "branch" if trace.policy is None else f"merge by {trace.policy}"
        yield printable(f"{how} of {parents}")
    if trace.branches:
        yield printable(f"went on in {', '.join(trace.branches)}")


def tokens_text(tokens: tuple[int, int]) -> str:
    """Counts of tokens, a question mark where there is none."""
    told = [f"{each:,}" if each >= 0 else "?" for each in tokens]
    return f"{told[0]} in, {told[1]} out"


def duration_text(nanoseconds: int) -> str:
    """A duration in the unit a person would use."""
    seconds = nanoseconds / 1e9
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, what: str) -> str:
    """A count with its noun."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
