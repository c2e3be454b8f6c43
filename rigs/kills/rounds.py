"""Rounds of kill -9: writers, a publisher and a reader; some or all die; the store is judged.

A round starts four writing processes (or one with four threads), one that publishes to a folder
and one that follows, on the store as the rounds before left it. At a moment drawn at random
one, several or all of them are killed, at once or one after another. The others must go on without
an error, and end well when told to. In some rounds the folder is moved first. Then the others may
end because of that, and for no other reason, and nothing is written where it was. Then the store is
opened, and held to what was said
(`rigs.kills.receipts`): what was acknowledged as "os" or more is there, "memory" is a
prefix of what was accepted; what the follower saw is there as it saw it; now and then the
remote alone gives back what was published, its replica what was acknowledged as "replicated", and
`verify` and an audit find nothing.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import transit
from rigs.kills.fates import FateJudge, told
from rigs.kills.receipts import Judge, Line, said
from rigs.kills.roles import SETTINGS, SHARED_STREAM, WRITERS, Flag, Job, make_streams
from rigs.kills.yard import Yard
from transit.format.digest import digest

# Rounds on one store, until the next begins with nothing.
ROUNDS_EACH: Final = 20
_OS: Final = 1
_TIERED: Final = 3
_REPLICATED: Final = 4
# How often the folder goes in the middle of a round.
_MOVES: Final = 0.12
_MOVED: Final = "StoreMovedError"


class Tally(NamedTuple):
    """What some rounds came to: records judged, lines said, processes killed, folders moved."""

    rounds: int
    records: int
    lines: int
    killed: int
    moved: int
    problems: list[str]


class Arena:
    """One store, its remote, and the rounds on it. `alone`: one process with threads writes."""

    def __init__(self, folder: Path, yard: Yard, seed: int, alone: bool, plant: str = "") -> None:
        self._folder = folder
        self._store, self._remote = folder / "store", folder / "remote"
        self._replica = folder / "replica"
        self._yard = yard
        self._alone = alone
        self._plant = plant
        self._seed = seed
        self._lot = random.Random(f"{seed} {alone}")
        self._judge, self._fates = Judge(), FateJudge()
        self._seen = 0
        self._tiered: list[Line] = []
        self.lines = self.killed = self.moved = self.rounds = 0
        with self._open() as log:
            make_streams(log)

    @property
    def problems(self) -> list[str]:
        """What was wrong so far."""
        return self._judge.problems

    @property
    def records(self) -> int:
        """Records that were judged."""
        return self._judge.records

    def _open(self, mode: str = "exclusive") -> transit.Log:
        remotes = [str(self._remote), str(self._replica)]
        return transit.open(
            self._store, remote=remotes, mode=mode, settings=SETTINGS, durability="os"
        )

    def round(self) -> None:
        """Start, kill, stop, judge."""
        self.rounds += 1
        said_in = self._folder / f"round-{self.rounds}"
        said_in.mkdir()
        flag = Flag.make(said_in)
        jobs = self._jobs(said_in)
        pids = [self._yard.start(job) for job in jobs]
        left = self._move(said_in, len(jobs)) if self._lot.random() < _MOVES else None
        dead = self._kill(pids, said_in)
        flag.raise_it()
        for job, pid, status in zip(jobs, pids, self._yard.reap(pids), strict=True):
            if status is None:
                self.problems.append(f"{job.name} does not end")
            elif status != 0 and not (pid in dead and status == -9):
                failed = said_in / f"{job.name}.{job.life}.failed"
                text = failed.read_text() if failed.exists() else ""
                last = text.rpartition("Traceback (most recent call last)")[2]
                if left is None or f"\ntransit.errors.{_MOVED}: " not in last:
                    self.problems.append(f"{job.name} ended with {status}: {text}")
        if left is not None and left.exists():
            self.problems.append(f"written where the folder was: {sorted(left.rglob('*'))}")
        self.judge(said_in, _MOVED if left else "")
        shutil.rmtree(said_in)

    def _move(self, said_in: Path, jobs: int) -> Path | None:
        """Move the folder, once all have opened it: one that opens later would make a new one."""
        deadline = time.monotonic() + 10
        while len(list(said_in.glob("*.open"))) < jobs:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.001)
        time.sleep(0.01 * self._lot.random())
        old, self._store = self._store, self._folder / f"store-{self.rounds}"
        old.rename(self._store)
        self.moved += 1
        return old

    def _jobs(self, said_in: Path) -> list[Job]:
        def job(role: str, name: str, remote: bool) -> Job:
            return Job(
                role=role, root=str(self._store), folder=str(said_in), name=name,
                life=self.rounds, seed=self._seed, start=self._lot.randint(0, self._seen),
                remote=str(self._remote) if remote else "",
                replica=str(self._replica) if remote else "", evicts=self._alone, plant=self._plant,
            )  # fmt: skip

        reader = job("follow", "reader", self._alone)
        if self._alone:
            return [job("write_alone", "writers", True), reader]
        # One writer publishes too, when it appends as "tiered".
        writers = [job("write", name, name == WRITERS[0]) for name in WRITERS]
        return [*writers, job("publish", "publisher", True), reader]

    def _kill(self, pids: list[int], said_in: Path) -> set[int]:
        lot = self._lot
        if lot.random() < 0.75:
            self._await_lines(said_in)
        time.sleep(lot.choice((0.005, 0.04, 0.12)) * lot.random())
        chosen = lot.sample(pids, lot.choice((1, 2, len(pids), len(pids))))
        pause_s = lot.choice((0.0, 0.0, 0.005))
        for pid in chosen:
            self._yard.kill(pid)
            time.sleep(pause_s)
        self.killed += len(chosen)
        if len(chosen) < len(pids):
            time.sleep(0.02 * lot.random())
        return set(chosen)

    def _await_lines(self, said_in: Path) -> None:
        """Wait until a writer said something: opening, for so long, is not what is killed."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not any(
            path.stat().st_size for path in said_in.glob("*.said")
        ):
            time.sleep(0.001)

    # Judging

    def judge(self, said_in: Path, refusal: str) -> None:
        """Hold the store, and now and then the remote, to what was said in this round.

        refusal: the one error that a process may have met, "" for none.
        """
        lines = said(said_in)
        self.lines += len(lines)
        self._tiered += [line for line in lines if line.level >= _TIERED]
        # A process that was killed met no error before that, and the others met none at all.
        refused = [line for line in lines if line.level < 0]
        allowed = [line for line in refused if refusal and line.text.startswith(refusal)]
        self.problems.extend([f"refused: {line}" for line in refused if line not in allowed])
        with self._open(self._lot.choice(("exclusive", "shared"))) as log:
            self._judge.look(log)
            self._judge.hold(lines, _OS)
            self.problems.extend(self._fates.hold(log, told(said_in)))
            self._hold_reader(said_in)
            if self._lot.random() < 0.15:
                self._judge.compare(log)
                self.problems.extend([str(finding) for finding in log.verify().findings])
            if self._lot.random() < 0.15:
                log.publish()
        if self._lot.random() < 0.25:
            self.judge_remote(said_in)
            self.judge_replica()

    def _hold_reader(self, said_in: Path) -> None:
        kept = self._judge.history.get(SHARED_STREAM, [])
        for path in said_in.glob("reader.*.seen"):
            for text in path.read_text().split("\n")[:-1]:
                offset, seen = text.split(" ")
                at = int(offset)
                if at >= len(kept) or digest(kept[at]).hex() != seen:
                    self.problems.append(f"the follower saw another {SHARED_STREAM}@{at}")
        self._seen = len(kept)

    def judge_remote(self, said_in: Path) -> None:
        """The remote alone gives back a prefix of the store, and what was called "tiered"."""
        marks = [path.read_text().split("\n")[:-1] for path in said_in.glob("*.published")]
        reached = max((int(mark[-1].split(" ")[0]) for mark in marks if mark), default=0)
        there = self._folder / "restored"
        try:
            restored = transit.restore(str(self._remote), there)
        except transit.NotFoundError as error:
            if reached or self._tiered:
                self.problems.append(f"the remote is empty: {error}")
            return
        if restored.commits < reached:
            self.problems.append(f"{restored.commits} commits restored, {reached} were published")
        judge = Judge()
        with transit.open(there, settings=SETTINGS) as log:
            judge.look(log)
        for name, kept in judge.history.items():
            if self._judge.history.get(name, [])[: len(kept)] != kept:
                judge.problems.append(f"{name} is not a prefix of what is in the store")
        judge.hold_places(self._tiered, _TIERED)
        report = transit.audit(str(self._remote), settings=SETTINGS)
        judge.problems += [str(finding) for finding in report.findings]
        self.problems.extend([f"restored: {problem}" for problem in judge.problems])
        shutil.rmtree(there)

    def judge_replica(self) -> None:
        """It is a beginning of the remote, and has what was called "replicated"."""
        lines = [line for line in self._tiered if line.level >= _REPLICATED]
        for path in sorted((self._replica / "commits").glob("*.json")):
            there = self._remote / "commits" / path.name
            if not there.exists() or there.read_bytes() != path.read_bytes():
                self.problems.append(f"replica: {path.name} is not that of the remote")
        there = self._folder / "restored"
        try:
            transit.restore(str(self._replica), there)
        except transit.NotFoundError as error:
            if lines:
                self.problems.append(f"the replica is empty: {error}")
            return
        judge = Judge()
        with transit.open(there, settings=SETTINGS) as log:
            judge.look(log)
        judge.hold_places(lines, _REPLICATED)
        report = transit.audit(str(self._replica), settings=SETTINGS)
        judge.problems += [str(finding) for finding in report.findings]
        self.problems.extend([f"replica: {problem}" for problem in judge.problems])
        shutil.rmtree(there)


def scratch() -> Path:
    """A new folder, in memory where possible: a killed process loses nothing that was written."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="transit-kill-", dir=memory if memory.is_dir() else None))


def play(yard: Yard, seed: int, rounds: int, alone: bool, plant: str = "") -> Tally:
    """Rounds on one store, until something is wrong."""
    folder = scratch()
    try:
        arena = Arena(folder, yard, seed, alone, plant)
        while arena.rounds < rounds and not arena.problems:
            try:
                arena.round()
            except transit.TransitError as error:
                arena.problems.append(f"the judge was refused: {type(error).__name__}: {error}")
        return Tally(
            arena.rounds, arena.records, arena.lines, arena.killed, arena.moved, arena.problems
        )
    finally:
        shutil.rmtree(folder)


def soak(seconds: float, seed: int, say: Callable[[str], object]) -> int:
    """Rounds on store after store for so long; the count of violations."""
    deadline = time.monotonic() + seconds
    rounds = records = broken = 0
    with Yard() as yard:
        while time.monotonic() < deadline:
            # One store in four has one writing process.
            tally = play(yard, seed, ROUNDS_EACH, seed % 4 == 3)
            rounds, records = rounds + tally.rounds, records + tally.records
            broken += len(tally.problems)
            for problem in tally.problems:
                say(f"kill -9, seed {seed}, round {tally.rounds}: {problem}")
            seed += 1
    say(f"kill -9: {rounds} rounds, {records} records judged, {broken} violations")
    return broken
