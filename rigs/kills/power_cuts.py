"""Power cuts on real file systems: a copy of the disk in the middle of everything, mounted, judged.

Writers, a publisher that also evicts, store and remote all live on an ext4 or XFS file system whose
image lies on another XFS that can share blocks. A copy of the image (FICLONE) is what the disk held
at that moment: what was synced, and whatever the kernel had written back by then. The file
system of the copy is mounted and repairs itself from its journal, as after a loss of power, and the
store on it is held to what was said before the copy began (`rigs.kills.receipts`):
"local" is there, "tiered" is in the remote, which alone gives it back, the rest is a prefix.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import transit
from rigs.kills.mounts import (
    FILE_SYSTEMS,
    XFS_BYTES_MIN,
    FileSystem,
    LoopDisk,
    clone,
    loop_disk,
    memory_disk,
    mounted,
)
from rigs.kills.receipts import Judge, Line, said, sizes
from rigs.kills.roles import SETTINGS, SHARED_STREAM, WRITERS, Flag, Job, make_streams
from rigs.kills.rounds import scratch
from rigs.kills.yard import Yard

# What was written before is judged again at each cut.
CUTS_EACH: Final = 10
_LOCAL, _TIERED = 2, 3


class Tally(NamedTuple):
    """What some cuts came to: records judged, lines that had to hold."""

    cuts: int
    records: int
    lines: int
    problems: list[str]


class Known(NamedTuple):
    """What had been said at a moment: lines, and how many commits were published."""

    lines: list[Line]
    published: int


class Mains:
    """A disk in use. `alone`: by one process with threads; otherwise by several."""

    def __init__(self, outer: Path, disk: LoopDisk, folder: Path, seed: int, alone: bool) -> None:
        self._image, self._copy = outer / "disk", outer / "copy"
        self._disk = disk
        self._folder = folder
        self._said = folder / "said"
        self._seed, self._alone = seed, alone
        self._lot = random.Random(f"{seed} {disk.kind} {alone}")
        self._pids: list[int] = []
        self.problems: list[str] = []
        self.cuts = self.records = self.lines = 0

    @contextlib.contextmanager
    def in_use(self, yard: Yard, plant: str = "") -> Iterator[None]:
        """A store on the disk that is written to, published and evicted, until the block ends."""
        with _open(self._disk.at) as log:
            make_streams(log)
        self._said.mkdir()
        flag = Flag.make(self._said)
        jobs = self._jobs(plant)
        self._pids = [yard.start(job) for job in jobs]
        try:
            yield
        finally:
            flag.raise_it()
            for job, status in zip(jobs, yard.reap(self._pids), strict=True):
                if status != 0:
                    failed = self._said / f"{job.name}.{job.life}.failed"
                    text = failed.read_text() if failed.exists() else ""
                    self.problems.append(f"{job.name} ended with {status}: {text}")

    def _jobs(self, plant: str) -> list[Job]:
        names = {"writers": "write_alone"} if self._alone else dict.fromkeys(WRITERS, "write")
        if not self._alone:
            names["publisher"] = "publish"
        return [
            Job(
                role=role, root=str(self._disk.at / "store"), remote=str(self._disk.at / "remote"),
                folder=str(self._said), name=name, life=1, seed=self._seed, evicts=True,
                plant=plant,
            )
            for name, role in names.items()
        ]  # fmt: skip

    def _known(self) -> Known:
        before = sizes(self._said)
        marks = [path.read_text().split("\n")[:-1] for path in self._said.glob("*.published")]
        published = max((int(mark[-1].split(" ")[0]) for mark in marks if mark), default=0)
        return Known(said(self._said, before), published)

    def cut(self) -> None:
        """Wait a little, copy the disk, and judge the copy."""
        time.sleep(0.15 * self._lot.random())
        known = self._known()
        clone(self._image, self._copy)
        later = said(self._said)
        self.cuts += 1
        self.lines += len(known.lines)
        with self._standing_still(), mounted(self._disk.kind, self._copy, self._folder) as disk:
            try:
                if self._lot.random() < 0.4:
                    self._judge_remote(disk.at, known)
                self._judge(disk.at, known, later)
            except transit.TransitError as error:
                self.problems.append(f"the judge was refused: {type(error).__name__}: {error}")

    @contextlib.contextmanager
    def _standing_still(self) -> Iterator[None]:
        """The writers stop meanwhile, or a slow judge would find the disk full."""
        try:
            for pid in self._pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in self._pids:
                os.kill(pid, signal.SIGCONT)

    def _judge(self, at: Path, known: Known, later: list[Line]) -> None:
        judge = Judge()
        with _open(at) as log:
            judge.look(log)
            judge.hold(known.lines, _LOCAL, later)
            refused = [line for line in later if line.level < 0]
            judge.problems.extend(f"refused: {line}" for line in refused)
            stream = log.stream(SHARED_STREAM)
            count = len(stream)
            if stream.append(b"goes on", durability="tiered").offset != count:
                judge.problems.append("appending does not go on")
            judge.problems.extend(str(finding) for finding in log.verify().findings)
        self.records += judge.records
        self.problems += judge.problems

    def _judge_remote(self, at: Path, known: Known) -> None:
        there = self._folder / "restored"
        try:
            restored = transit.restore(str(at / "remote"), there)
        except transit.NotFoundError:
            if known.published:
                self.problems.append(f"nothing to restore, {known.published} were published")
            return
        judge = Judge()
        with transit.open(there, settings=SETTINGS) as log:
            judge.look(log)
        judge.hold_places([line for line in known.lines if line.level == _TIERED], _TIERED)
        if restored.commits < known.published:
            judge.problems.append(f"{restored.commits} commits, {known.published} were published")
        report = transit.audit(str(at / "remote"), settings=SETTINGS)
        judge.problems.extend(str(finding) for finding in report.findings)
        self.problems += [f"restored: {problem}" for problem in judge.problems]
        shutil.rmtree(there)


def _open(at: Path) -> transit.Log:
    return transit.open(at / "store", remote=str(at / "remote"), settings=SETTINGS, durability="os")


def play(yard: Yard, kind: FileSystem, seed: int, cuts: int, alone: bool, plant: str = "") -> Tally:
    """Cuts on one disk, until something is wrong."""
    folder = scratch()
    try:
        with (
            memory_disk(folder, 3 << 30) as memory,
            loop_disk("xfs", memory / "outer", folder, 2 << 30) as outer,
            loop_disk(kind, outer.at / "disk", folder, XFS_BYTES_MIN) as disk,
        ):
            mains = Mains(outer.at, disk, folder, seed, alone)
            with mains.in_use(yard, plant):
                while mains.cuts < cuts and not mains.problems:
                    mains.cut()
            return Tally(mains.cuts, mains.records, mains.lines, mains.problems)
    finally:
        shutil.rmtree(folder)


def soak(seconds: float, seed: int, say: Callable[[str], object]) -> int:
    """Cuts on disk after disk for so long, the kinds alternately; the count of violations."""
    deadline = time.monotonic() + seconds
    cuts = records = broken = 0
    with Yard() as yard:
        while time.monotonic() < deadline:
            kind = FILE_SYSTEMS[seed % 2]
            tally = play(yard, kind, seed, CUTS_EACH, seed // 2 % 2 == 0)
            cuts, records = cuts + tally.cuts, records + tally.records
            broken += len(tally.problems)
            for problem in tally.problems:
                say(f"power cuts, {kind}, seed {seed}, cut {tally.cuts}: {problem}")
            seed += 1
    say(f"power cuts: {cuts} cuts, {records} records judged, {broken} violations")
    return broken
