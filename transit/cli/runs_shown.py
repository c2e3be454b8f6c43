"""How `transit show` shows runs: a transcript, two beside each other, events as JSON Lines."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from transit import Log, Position
from transit.cli.escapes import printable
from transit.cli.failures import CommandError
from transit.cli.output import Output, columns_of
from transit.cli.records import text_of
from transit.cli.transcripts import Transcript, counted, one_line
from transit.cli.values import moment_text
from transit.trace import Prices, RunEnd, Step, Trace, Unknown
from transit.trace.beside import Row, beside, first_difference
from transit.trace.events import encode_json
from transit.trace.records import EventReader, EventRecord
from transit.trace.steps import StepReader
from transit.trace.writing import encode_event

_WIDTH_MIN: Final = 60
_OFFSET_WIDTH: Final = 6
# Equal steps around a difference that are shown.
_AROUND: Final = 2


class EventLine(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An event as JSON: the whole event, no packed form. payload: of a record that is none."""

    run: str
    offset: int
    timestamp: str
    event: msgspec.Raw
    headers: dict[str, str] = {}
    origin: Position | None = None
    payload: str = ""
    encoding: str = ""


def show_run(
    output: Output, run: Trace, prices: Prices | None, *, full: bool, children: bool
) -> None:
    """Print a run. prices: of tokens, for what it cost."""
    if not output.tables:
        for record in run:
            output.raw(_line(run.name, record))
        return
    steps = run.steps(children=children)
    transcript = Transcript(output, full=full)
    transcript.head(run, steps, None if prices is None else run.cost(prices))
    transcript.steps(steps)
    transcript.notes(run.notes)


def follow_run(output: Output, log: Log, run: Trace, *, full: bool) -> None:
    """Print a run, and what is recorded of it, until it ends."""
    reader = EventReader(log, run.stream)
    steps = StepReader(run.name, run.stream.own_start)
    transcript = Transcript(output, full=full)
    for record in run.stream.tail(0):
        event = reader.take(record)
        if output.tables:
            _print_as_it_comes(transcript, steps, event)
        else:
            output.raw(_line(run.name, event))
        output.flush()
        is_newest = record.offset == run.stream.next_offset - 1
        is_own = record.offset >= run.stream.own_start
        if isinstance(event.event, RunEnd) and is_newest and is_own:
            return


def _print_as_it_comes(transcript: Transcript, steps: StepReader, record: EventRecord) -> None:
    before = None
    if steps.steps:
        before = _newest(steps.steps[-1])
    step, phase = steps.add(record)
    depth = steps.depth(step)
    if phase in ("begun", "whole"):
        transcript.open(step, depth)
    if phase in ("ended", "whole"):
        transcript.close(step, depth, apart=phase == "ended" and before is not step)


def _newest(step: Step) -> Step:
    while step.steps:
        step = step.steps[-1]
    return step


def _line(run: str, record: EventRecord) -> bytes:
    event = record.event
    payload, encoding = "", ""
    if isinstance(event, Unknown):
        data = encode_json(event.data)
        if event.data is None:
            payload, encoding = text_of(record.payload)
    else:
        data = encode_event(event)
    line = EventLine(
        run=run,
        offset=record.offset,
        timestamp=moment_text(record.timestamp),
        event=msgspec.Raw(data),
        headers=dict(record.headers),
        origin=None if record.origin == (run, record.offset) else record.origin,
        payload=payload,
        encoding=encoding,
    )
    return msgspec.json.encode(line) + b"\n"


# Two runs


def show_beside(output: Output, left: Trace, right: Trace, *, full: bool, children: bool) -> None:
    """Print two runs beside each other."""
    rows = beside(left.steps(children=children), right.steps(children=children))
    if not output.tables:
        for row in rows:
            output.raw(msgspec.json.encode(_as_json(row)) + b"\n")
        return
    width = max(shutil.get_terminal_size().columns, _WIDTH_MIN)
    column = (width - 3) // 2
    names = [output.style(printable(run.name), bold=True) for run in (left, right)]
    output.line(_padded(names[0], printable(left.name), column) + "   " + names[1])
    for line in _shown(output, rows, column, full=full):
        output.line(line)
    first = first_difference(rows)
    same = sum(row.same for row in rows)
    said = "no difference" if first is None else f"first difference: {_place(rows[first])}"
    output.line(f"{counted(same, 'equal step')} of {len(rows)}, {said}")


def _shown(output: Output, rows: Sequence[Row], column: int, *, full: bool) -> Iterator[str]:
    first = first_difference(rows)
    near: set[int] = set()
    for n, row in enumerate(rows):
        if not row.same:
            near.update(range(n - _AROUND, n + _AROUND + 1))
    left_out = 0
    for n, row in enumerate(rows):
        if not full and n not in near:
            left_out += 1
            continue
        if left_out:
            yield _dim(
                output, f"{'':>{_OFFSET_WIDTH}} … {counted(left_out, 'equal step')} (--full)"
            )
            left_out = 0
        if n == first:
            yield output.style("─── first difference ".ljust(2 * column + 3, "─"), fg="red")
        yield _row(output, row, column)
    if left_out:
        yield _dim(output, f"{'':>{_OFFSET_WIDTH}} … {counted(left_out, 'equal step')} (--full)")


def _row(output: Output, row: Row, column: int) -> str:
    mark = " " if row.same else ("<" if row.right is None else ">" if row.left is None else "|")
    texts = []
    for step in (row.left, row.right):
        indent = "  " * min(row.depth, 8)
        room = column - _OFFSET_WIDTH - 1 - len(indent)
        text = "" if step is None else f"{step.offset:>{_OFFSET_WIDTH}} {indent}"
        texts.append(text if step is None else text + one_line(step, room))
    left = _padded(texts[0], texts[0], column)
    line = f"{left} {mark} {texts[1]}".rstrip()
    return _dim(output, line) if row.same else output.style(line, fg="yellow")


def _padded(text: str, plain: str, column: int) -> str:
    return text + " " * max(column - columns_of(plain), 0)


def _dim(output: Output, text: str) -> str:
    return output.style(text, dim=True)


def _place(row: Row) -> str:
    sides = [f"{step.run}@{step.offset}" for step in (row.left, row.right) if step is not None]
    return printable(" and ".join(sides))


def _as_json(row: Row) -> dict[str, object]:
    return {"same": row.same, "left": _side(row.left), "right": _side(row.right)}


def _side(step: Step | None) -> dict[str, object] | None:
    if step is None:
        return None
    return {
        "run": step.run,
        "offset": step.offset,
        "kind": step.kind,
        "name": step.name,
        "status": step.status,
        "input": msgspec.Raw(encode_json(step.input)),
        "output": msgspec.Raw(encode_json(step.output)),
        "error": None if step.error is None else step.error.message,
    }


# A page


def write_html(
    output: Output,
    log: Log,
    run: Trace,
    other: Trace | None,
    path: str,
    prices: Prices | None,
    most: int,
) -> None:
    """Write the page of a run, of at most so many bytes; `-`: to the standard output.

    prices: as for `show_run`.
    """
    # Loaded here: nothing else needs the page.
    from transit.trace.page import write_page

    try:
        write_page(
            log, run, sys.stdout.buffer if path == "-" else path,
            beside=other, prices=prices, page_bytes_max=most,
        )  # fmt: skip
    except OSError as error:
        if path == "-":
            raise
        raise CommandError(f"{path}: {error.strerror}") from None
    if path != "-":
        output.text(f"{path}: the page of {run.name}")
