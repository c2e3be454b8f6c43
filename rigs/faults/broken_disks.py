"""A real disk that breaks under a real process: writes are taken, and their sync fails.

Writers work on an ext4 or XFS file system whose image lies in a full tmpfs
(`rigs.kills.mounts.BreakingDisk`). They go on after errors for a while. Then:

    errors          come, are of the kinds that say so, and after a writer's first error nothing
                    that was begun later through its handle is acknowledged, in any thread
    opened again    with space again, while the kernel still has its cache: what was acknowledged as
                    "local" is there, and what is there and was not acknowledged was named in doubt
    built upon      more is appended as "local"
    mounted again   with the cache gone everything is as it was shown, and `verify` finds nothing
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import transit
from rigs.kills.mounts import FILE_SYSTEMS, BreakingDisk, FileSystem, disk_that_breaks
from rigs.kills.receipts import Judge, Line, Tag, payload, said
from rigs.kills.roles import SETTINGS, SHARED_STREAM, WRITERS, Flag, Job, make_streams
from rigs.kills.rounds import scratch
from rigs.kills.yard import Yard

# Steps that a writer tries after the first that failed.
STUBBORN: Final = 10
_LOCAL: Final = 2
_AFTER: Final = "after"
_WORDS: Final = ("OutcomeUnknownError", "PoisonedError", "SyncFailedError", "StoreUnavailableError")
_NAMED: Final = re.compile(r"([^\s,]+)@(\d+)…(\d+)")


class Tally(NamedTuple):
    """What one disk came to: records judged, lines said, steps refused."""

    records: int
    lines: int
    refused: int
    problems: list[str]


def _write(yard: Yard, store: Path, said_in: Path, seed: int, alone: bool, plant: str) -> list[str]:
    """Let writers work until each has failed often enough; what was wrong with them."""
    Flag.make(said_in)
    names = {"writers": "write_alone"} if alone else dict.fromkeys(WRITERS, "write")
    jobs = [
        Job(
            role=role, root=str(store), folder=str(said_in), name=name, life=1, seed=seed,
            stubborn=STUBBORN, plant=plant,
        )
        for name, role in names.items()
    ]  # fmt: skip
    problems = []
    for job, status in zip(jobs, yard.reap([yard.start(job) for job in jobs]), strict=True):
        failed = said_in / f"{job.name}.{job.life}.failed"
        text = failed.read_text() if failed.exists() else ""
        # Closing a store whose sync failed says so once more.
        if status is None or (status and "\ntransit.errors." not in text):
            problems.append(f"{job.name} ended with {status}: {text}")
    return problems


def _told_right(lines: list[Line], said_in: Path) -> list[str]:
    """What is wrong with what the writers were told."""
    problems = []
    failed: dict[str, int] = {}
    for line in lines:
        if line.level < 0:
            failed.setdefault(line.writer, line.number)
            if not line.text.startswith(_WORDS):
                problems.append(f"another error: {line}")
        elif line.writer in failed:
            problems.append(f"acknowledged after an error: {line}")
    for path in said_in.glob("*.late"):
        if path.read_text() != "0":
            problems.append(f"{path.read_text()} steps acknowledged that began after an error")
    if not failed:
        problems.append("nothing failed")
    return problems


def _in_doubt(judge: Judge, lines: list[Line]) -> list[str]:
    """Records that are there, were not acknowledged, and were not named in doubt.

    An error names a stream as its user does: a name's second stream is no other there.
    """
    named = {
        (stream, offset)
        for line in lines
        for stream, first, last in _NAMED.findall(line.text)
        for offset in range(int(first), int(last) + 1)
    }
    for line in lines:
        for stream, offset, count in line.places:
            named.update((stream, at) for at in range(offset, offset + count))
    return [
        f"{name}@{offset} is there, and no error named it"
        for name, offset in judge.places()
        if (name, offset) not in named and (name.rstrip("'"), offset) not in named
    ]


def _build_upon(store: Path, lines: list[Line], more: int) -> Judge:
    """Open the store, judge it, and append some records that are certain."""
    judge = Judge()
    with transit.open(store, settings=SETTINGS) as log:
        judge.look(log)
        judge.hold(lines, _LOCAL)
        judge.problems += _in_doubt(judge, lines)
        for number in range(more):
            log.stream(SHARED_STREAM).append(payload(Tag(_AFTER, 1, number, 0, 1)))
        judge.look(log)
    return judge


def _make(store: Path) -> None:
    with transit.open(store, settings=SETTINGS, durability="os") as log:
        make_streams(log)


def _break(broken: BreakingDisk, yard: Yard, said_in: Path, seed: int, plant: str) -> Tally:
    store = broken.at / "store"
    _make(store)
    with broken.broken_down():
        problems = _write(yard, store, said_in, seed, seed % 3 != 2, plant)
    lines = said(said_in)
    problems += _told_right(lines, said_in)
    judge = _build_upon(store, lines, seed % 2 * 5)
    broken.disk.remount()
    with transit.open(store, settings=SETTINGS) as log:
        judge.compare(log)
        problems += [str(finding) for finding in log.verify().findings]
    refused = sum(line.level < 0 for line in lines)
    return Tally(judge.records, len(lines), refused, problems + judge.problems)


def play(yard: Yard, kind: FileSystem, seed: int, plant: str = "") -> Tally:
    """Break one disk; `seed` decides how many processes write: one on two of three disks."""
    folder = scratch()
    said_in = folder / "said"
    said_in.mkdir()
    try:
        with disk_that_breaks(kind, folder) as broken:
            return _break(broken, yard, said_in, seed, plant)
    except transit.TransitError as error:
        return Tally(0, 0, 0, [f"the judge was refused: {type(error).__name__}: {error}"])
    finally:
        shutil.rmtree(folder)


def soak(seconds: float, seed: int, say: Callable[[str], object]) -> int:
    """Break disk after disk for so long, the kinds alternately; the count of violations."""
    deadline = time.monotonic() + seconds
    disks = refused = broken = 0
    with Yard() as yard:
        while time.monotonic() < deadline:
            kind = FILE_SYSTEMS[seed % 2]
            tally = play(yard, kind, seed // 2)
            disks, refused = disks + 1, refused + tally.refused
            broken += len(tally.problems)
            for problem in tally.problems:
                say(f"broken disks, {kind}, seed {seed // 2}: {problem}")
            seed += 1
    say(f"broken disks: {disks} disks, {refused} steps refused, {broken} violations")
    return broken
