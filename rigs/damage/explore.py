"""Damage after damage, judged: a part of them for CI, all of them for as long as there is time.

Owns which damages a sample gets. Every byte of every file has one flipped bit, and all eight where
there is a header, a footer or a document; every sector is zeroed, every size cut; files grow, are
full of zeros, are gone; parts, and files of one class, change places; older versions come back.
"""

from __future__ import annotations

import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from rigs.damage.judge import LocalJudge, Parts, parts_of
from rigs.damage.kinds import (
    Damage,
    Files,
    Span,
    all_bits,
    cuts,
    flips,
    gone,
    grown,
    misplaced,
    older,
    sectors,
    spread,
    swapped,
)
from rigs.damage.publish import PublishJudge
from rigs.damage.rebase import RebaseJudge
from rigs.damage.remote import RemoteJudge
from rigs.damage.stores import (
    Sample,
    class_of,
    make_erased,
    make_evicted_and_whole,
    make_killed_and_closed,
    make_rebasing,
    put_files,
)

# Parts of which every bit is tried, and whole documents.
_EVERY_BIT: Final = ("header", "footer", "tail", "mark", "end")
_DOCUMENTS: Final = ("FORMAT", "HEAD", "commits")
_FRAME_HEADER_BYTES: Final = 56
# What a store may need that has its segments in a remote which is not attached.
_ALONE: Final = ("cache", "index", "REMOTE", "segments", "commits", "wal")
_LOCAL: Final = ("cache", "rooms", "index", "REMOTE", "segments", "wal", "checkpoints")
_MEMORY: Final = Path("/dev/shm")
PROCESSES: Final = 2
# So many parts are tried alternately, each of every task.
_SHARES: Final = 1_000


class Judge(Protocol):
    """What tells whether a damaged copy keeps its word."""

    def judge(self, damage: Damage) -> list[str]:
        """What is not as it must be; nothing when all is."""


class Outcome(NamedTuple):
    """What was tried, by (class of file, kind of damage), and what was wrong."""

    tried: Counter[tuple[str, str]]
    problems: list[str]

    def __str__(self) -> str:
        counts = ", ".join(f"{a} {b} {n}" for (a, b), n in sorted(self.tried.items()))
        return f"{self.tried.total()} damages, {len(self.problems)} violations: {counts}"


def fast_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory where there is one: each damage makes a few stores."""
    parent = _MEMORY if _MEMORY.is_dir() else None
    return tempfile.TemporaryDirectory(prefix="transit-damage-", dir=parent)


# Which damages


def damages_of(sample: Sample, folder: Path) -> list[Damage]:
    """Every damage of a sample's own files; `folder` is used to look at them."""
    put_files(folder, sample.files)
    parts = {name: parts_of(folder / name) for name in sample.files}
    return list(_damages(sample.files, sample, parts))


def damages_of_remote(sample: Sample, folder: Path) -> list[Damage]:
    """Every damage of the objects in a sample's remote."""
    put_files(folder, sample.remote)
    parts = {name: parts_of(folder / name) for name in sample.remote}
    return list(_damages(sample.remote, sample, parts))


def _damages(files: Files, sample: Sample, parts: dict[str, Parts]) -> Iterator[Damage]:
    for name, data in files.items():
        yield from flips(name, data)
        yield from all_bits(name, _telling(name, data, parts[name]))
        yield from sectors(name, data)
        yield from cuts(name, data)
        yield from grown(name)
        yield from gone(name)
        kinds = ("frame", "block")
        movable = [Span(start, stop) for start, stop, kind in parts[name] if kind in kinds]
        yield from misplaced(name, data, movable)
        yield from older(name, data, sample.older.get(name, ()))
    for one in sorted({class_of(name) for name in files}):
        yield from swapped([name for name in files if class_of(name) == one], files)


def _telling(name: str, data: bytes, parts: Parts) -> list[Span]:
    """The bytes that say what the others are."""
    if class_of(name) in _DOCUMENTS:
        return [Span(0, len(data))]
    spans = [Span(start, stop) for start, stop, kind in parts if kind in _EVERY_BIT]
    frames = [start for start, _, kind in parts if kind == "frame"]
    return spans + [Span(start, start + _FRAME_HEADER_BYTES) for start in frames]


def sampled(damages: Iterable[Damage], each: int, rng: random.Random) -> list[Damage]:
    """At most `each` damages of every class of file and kind of damage, evenly spread."""
    groups: dict[tuple[str, str], list[Damage]] = {}
    for damage in damages:
        groups.setdefault((class_of(damage.name), damage.kind), []).append(damage)
    return [damage for group in groups.values() for damage in spread(group, each, rng)]


# Trying them


def try_all(judge: Judge, damages: Iterable[Damage], until: float = float("inf")) -> Outcome:
    """Judge each damage, until all are tried or the clock (`time.monotonic`) says `until`."""
    tried: Counter[tuple[str, str]] = Counter()
    problems: list[str] = []
    for damage in damages:
        if time.monotonic() > until:
            break
        tried[class_of(damage.name), damage.kind] += 1
        try:
            problems += judge.judge(damage)
        except Exception as error:
            # Whatever damage does, what is raised must be transit's, and a judge expects that.
            problems.append(f"{damage}: raised {error!r}")
    return Outcome(tried, problems)


# All of it


class Task(NamedTuple):
    """Damages of one sample, and the judge of them."""

    name: str
    judge: Judge
    damages: list[Damage]


class Samples(NamedTuple):
    """The stores whose files are damaged."""

    killed: Sample
    closed: Sample
    evicted: Sample
    whole: Sample
    rebasing: Sample
    erased: Sample


def make_samples(folder: Path) -> Samples:
    """All samples, made below `folder`, which is empty."""
    for name in ("one", "two", "three", "four"):
        (folder / name).mkdir()
    killed, closed = make_killed_and_closed(folder / "one")
    evicted, whole = make_evicted_and_whole(folder / "two")
    return Samples(
        killed,
        closed,
        evicted,
        whole,
        make_rebasing(folder / "three"),
        make_erased(folder / "four"),
    )


def tasks(samples: Samples, folder: Path) -> list[Task]:
    """Every damage there is to try, by sample, in `folder`, which is empty and kept meanwhile.

    Classes of file that a sample shares with another one are tried once.
    """
    killed, closed, evicted, whole, rebasing, erased = samples
    look, place = folder / "look", folder / "judge"
    remote = damages_of_remote(evicted, look / "remote")
    every = {sample.name: damages_of(sample, look / sample.name) for sample in samples}

    def of(sample: Sample, *classes: str) -> list[Damage]:
        return [damage for damage in every[sample.name] if class_of(damage.name) in classes]

    # Without REMOTE and without a remote, segments that are not here are missing (decision 0020).
    alone = [
        damage
        for damage in of(evicted, *_ALONE)
        if (damage.name, damage.kind) != ("REMOTE", "removed")
    ]
    local = LocalJudge(evicted, place / "evicted", attached=True)
    published = of(whole, "index", "segments", "commits")
    return [
        Task("killed", LocalJudge(killed, place / "killed"), every["killed"]),
        Task("closed", LocalJudge(closed, place / "closed"), of(closed, "wal")),
        Task("evicted", local, of(evicted, *_LOCAL)),
        Task("alone", LocalJudge(evicted, place / "alone"), alone),
        Task("whole", LocalJudge(whole, place / "whole"), of(whole, "index", "wal")),
        Task("remote", RemoteJudge(evicted, place / "remote"), remote),
        Task("publishing", PublishJudge(whole, place / "publishing"), published),
        Task("erased", LocalJudge(erased, place / "erased"), of(erased, "redacted")),
        Task("rebasing", RebaseJudge(rebasing, place / "rebasing"), _rebased(every["rebasing"])),
    ]


def _rebased(damages: Iterable[Damage]) -> list[Damage]:
    """What a rebase can be asked about; its WAL is one written last, which others look at."""
    return [
        damage
        for damage in damages
        if class_of(damage.name) in ("rebase", "diverged")
        and not ("/wal/" in damage.name + damage.other and damage.kind != "flip")
    ]


class Share(NamedTuple):
    """What a part of one task's damages came to; of how many."""

    task: str
    damages: int
    outcome: Outcome


class _Worker:
    """One of the processes that judge: the same tasks in the same order, in a folder of its own."""

    def __init__(self, samples: Samples, parent: str, seed: int, until: float) -> None:
        self._tasks = tasks(samples, Path(tempfile.mkdtemp(dir=parent)))
        self._until = until
        for task in self._tasks:
            random.Random(f"{seed} {task.name}").shuffle(task.damages)

    def share(self, number: int) -> list[Share]:
        """Try a part of the damages of each task."""
        return [
            Share(
                task.name,
                len(task.damages),
                try_all(task.judge, task.damages[number::_SHARES], self._until),
            )
            for task in self._tasks
        ]


# The worker of a pool's process; there is none in others.
_own: list[_Worker] = []


def _start(samples: Samples, parent: str, seed: int, until: float) -> None:
    _own.append(_Worker(samples, parent, seed, until))


def _try_share(number: int) -> list[Share]:
    return _own[0].share(number)


def soak(seconds: float, seed: int, say: Callable[[str], object]) -> int:
    """Try damages in an order drawn from `seed` until all are tried or the time is over.

    By two processes. Returns the count of violations; each is said.
    """
    until = time.monotonic() + seconds
    found: dict[str, Share] = {}
    with fast_folder() as name:
        (Path(name) / "samples").mkdir()
        samples = make_samples(Path(name) / "samples")
        # A forked process inherits the samples as they are.
        context = multiprocessing.get_context("fork")
        with context.Pool(PROCESSES, _start, (samples, name, seed, until)) as pool:
            shares = pool.imap_unordered(_try_share, range(_SHARES))
            for share in chain.from_iterable(shares):
                for problem in share.outcome.problems:
                    say(problem)
                known = found.get(share.task)
                found[share.task] = share if known is None else _together(known, share)
    for task, share in found.items():
        say(f"damage, {task}, seed {seed}, of {share.damages}: {share.outcome}")
    return sum(len(share.outcome.problems) for share in found.values())


def _together(one: Share, other: Share) -> Share:
    tried = one.outcome.tried + other.outcome.tried
    problems = one.outcome.problems + other.outcome.problems
    return one._replace(outcome=Outcome(tried, problems))
