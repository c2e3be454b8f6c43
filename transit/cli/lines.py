"""Input for `append`: bytes as they arrive, cut into lines or taken whole.

What a pipe holds is handed on at once, so a slow producer's lines are not held back; memory is
bounded by one record and one read.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedIOBase
from typing import Final, NamedTuple

from transit.cli.json_lines import MARK, problem_of

READ_SIZE: Final = 1024 * 1024


class Line(NamedTuple):
    """A line without its newline. `problem` says why it is no record; then `data` is empty."""

    number: int
    data: bytes
    problem: str = ""


def read_lines(source: BufferedIOBase, bytes_max: int, must_be_json: bool) -> Iterator[list[Line]]:
    """The lines of `source` in runs as they arrive; the last needs no newline.

    bytes_max: a longer line is a problem. must_be_json: what is not JSON is a problem too, and a
    byte-order mark at the very beginning is left away.
    """
    number, held, size = 0, [b""], 0
    while data := source.read1(READ_SIZE):
        *complete, rest = data.split(b"\n")
        lines: list[Line] = []
        for piece in complete:
            number += 1
            size += len(piece)
            held.append(piece)
            lines.append(_line(number, b"".join(held), size, bytes_max, must_be_json))
            held, size = [], 0
        size += len(rest)
        # Of a line that is too long already only its size is kept.
        held = [] if size > bytes_max else [*held, rest]
        if lines:
            yield lines
    if size:
        yield [_line(number + 1, b"".join(held), size, bytes_max, must_be_json)]


def _line(number: int, data: bytes, size: int, bytes_max: int, must_be_json: bool) -> Line:
    if must_be_json and number == 1 and data.startswith(MARK):
        data, size = data[len(MARK) :], size - len(MARK)
    if size > bytes_max:
        return Line(number, b"", f"{size} bytes; the limit is {bytes_max}")
    problem = problem_of(data) if must_be_json else ""
    if problem:
        problem = f"not JSON: {problem}"
    return Line(number, b"" if problem else data, problem)


def read_whole(source: BufferedIOBase, bytes_max: int) -> bytes | None:
    """Everything in `source`; None when it is more than `bytes_max`."""
    parts, size = [], 0
    while data := source.read1(READ_SIZE):
        parts.append(data)
        size += len(data)
        if size > bytes_max:
            return None
    return b"".join(parts)
