"""Imports of chat exports beside `append_many` of what they write: records a second of CPU time.

A log of IRC and an export of Slack with the same number of messages, a third of Slack's in threads.
The reader alone goes over all items; the import writes them to an empty store; the import again
finds all of them there. The append writes the same payloads, headers and times in frames of 1,000,
made before the clock runs. Each run has stores of its own, and the best of the runs counts. Each
format has a process of its own, whose peak of memory is that of reading and importing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import gmtime, process_time_ns, strftime
from typing import Any, Final

import msgspec

import transit
from benchmarks.commandline import working_folder
from benchmarks.report import Machine, aligned, number, to_json
from transit import chat
from transit.chat.imports import read

MESSAGES: Final = 200_000
RUNS: Final = 3
FRAME: Final = 1_000
HEAD: Final = ("export", "reader", "import", "again", "append_many", "import ÷ append_many", "MB")
_AUTHORS: Final = 97
_OF_A_DAY: Final = 2_000
_START_S: Final = 1_500_000_000
_DAY_S: Final = 24 * 3600


class Row(msgspec.Struct, frozen=True):
    """One format: records a second of CPU time, the ratio to the append, and peak memory, MB."""

    name: str
    reader: float
    whole: float
    again: float
    append: float
    ratio: float
    memory_mb: float


class Imports(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    messages: int
    runs: int
    rows: list[Row]


def text_of(number: int) -> str:
    """What message `number` says."""
    return f"message number {number} about the wheel that does not build"


def irc(folder: Path, count: int) -> Path:
    """A log with a line a second."""
    path = folder / "2020-01-01.txt"
    with path.open("w") as file:
        for at in range(count):
            clock = f"[{at // 3600 % 24:02d}:{at // 60 % 60:02d}]"
            file.write(f"{clock} <nick{at % _AUTHORS}> {text_of(at)}\n")
    return path


def slack(folder: Path, count: int) -> Path:
    """A workspace of one channel; each third message answers the first one of its day."""
    path = folder / "slack"
    (path / "general").mkdir(parents=True)
    users = [{"id": f"U{each}", "name": f"n{each}"} for each in range(_AUTHORS)]
    (path / "users.json").write_text(json.dumps(users))
    (path / "channels.json").write_text(json.dumps([{"id": "C1", "name": "general"}]))
    for first in range(0, count, _OF_A_DAY):
        day_s = _START_S + first // _OF_A_DAY * _DAY_S
        name = strftime("%Y-%m-%d", gmtime(day_s))
        day = [_posted(first + at, at, day_s) for at in range(min(_OF_A_DAY, count - first))]
        (path / "general" / f"{name}.json").write_text(json.dumps(day))
    return path


def _posted(number: int, at: int, day_s: int) -> dict[str, str]:
    posted = {
        "type": "message",
        "user": f"U{at % _AUTHORS}",
        "text": text_of(number),
        "ts": f"{day_s + at}.{at % 1000:06d}",
    }
    if at % 3 == 0:
        posted["thread_ts"] = f"{day_s}.000000"
    return posted


FORMATS: Final[dict[str, Callable[[Path, int], Path]]] = {"irc": irc, "slack": slack}


class Turns:
    """The runs of one format in `folder`; `best`: records a second of each part."""

    def __init__(self, folder: Path, path: Path, count: int) -> None:
        self._folder, self._path, self._count = folder, path, count
        self.best: dict[str, float] = {}

    def run(self, turn: int) -> None:
        """Read, import, and import again."""
        assert self._timed("reader", self._read) == self._count
        with transit.open(self._folder / f"store-{turn}", durability="os") as log:
            imported = partial(chat.import_chat, log, self._path)
            assert self._timed("whole", imported).new == self._count
            again = self._timed("again", imported)
            assert (again.new, again.known) == (0, self._count)

    def append(self, turn: int) -> None:
        """Append what the import of this turn wrote."""
        with transit.open(self._folder / f"store-{turn}", durability="os") as log:
            (stream,) = log.streams()
            frames = list(_frames(stream))
        with transit.open(self._folder / f"append-{turn}", durability="os") as log:
            self._timed("append", partial(_append, log.create("channel"), frames))

    def _read(self) -> int:
        return sum(1 for _ in read(self._path))

    def _timed(self, part: str, work: Callable[[], Any]) -> Any:
        begun = process_time_ns()
        made = work()
        speed = self._count / ((process_time_ns() - begun) / 1e9)
        self.best[part] = max(self.best.get(part, 0), speed)
        return made


Frame = tuple[list[bytes], list[dict[str, str]], list[int]]


def _frames(stream: transit.Stream) -> Iterator[Frame]:
    for first in range(0, len(stream), FRAME):
        found = list(stream.read(first, min(first + FRAME, len(stream))))
        yield (
            [each.payload for each in found],
            [dict(each.headers) for each in found],
            [each.timestamp for each in found],
        )


def _append(stream: transit.Stream, frames: list[Frame]) -> None:
    for payloads, headers, times in frames:
        stream.append_many(payloads, headers=headers, timestamps=times)


def measured(name: str, path: Path, folder: Path, count: int, runs: int) -> Row:
    """One format. In a process of its own: its memory is measured."""
    turns = Turns(folder, path, count)
    for turn in range(runs):
        turns.run(turn)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    for turn in range(runs):
        turns.append(turn)
    best = turns.best
    ratio = best["whole"] / best["append"]
    return Row(name, best["reader"], best["whole"], best["again"], best["append"], ratio, memory)


def measure(folder: Path, count: int, runs: int) -> list[Row]:
    """All formats, one after the other."""
    rows = []
    for name, make in FORMATS.items():
        below = folder / name
        below.mkdir()
        path = make(below, count)
        # Started anew: a fork would have this process's memory.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            rows.append(pool.submit(measured, name, path, below, count, runs).result())
    return rows


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.chatimports")
    made.add_argument("--messages", type=int, default=MESSAGES, help=f"of each ({MESSAGES:,})")
    made.add_argument("--runs", type=int, default=RUNS, help=f"of each ({RUNS})")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    made.add_argument("--path", default=".", metavar="FOLDER", help="work below it (.)")
    arguments = made.parse_args()
    with working_folder(arguments.path) as (folder, here):
        rows = measure(Path(folder), arguments.messages, arguments.runs)
    if arguments.json is not None:
        arguments.json.write_bytes(to_json(Imports(here, arguments.messages, arguments.runs, rows)))
    print(aligned([HEAD, *map(_shown, rows)]))
    return 0


def _shown(row: Row) -> tuple[str, ...]:
    figures = (row.reader, row.whole, row.again, row.append, row.ratio, row.memory_mb)
    return row.name, *map(number, figures)


if __name__ == "__main__":
    sys.exit(main())
