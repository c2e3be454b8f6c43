"""The calls that are interrupted: one of each kind, on a stage of `interrupt_judge`.

`sweep` interrupts a call at every place there is, each time on a store of its own; `soak` does so
with all of them, and with real signals, for as long as it may.
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import transit
from rigs.interrupts.judge import (
    RECONCILED,
    Broken,
    History,
    Stage,
    history,
    judge,
    make_template,
)
from rigs.interrupts.places import Shower, count_places, interrupt, showered

POOLS = ("concurrent/futures/thread.py", "concurrent/futures/_base.py", "threading.py")
"""Where a call that uses a pool of threads is not interrupted: CPython's pools, futures and threads
hang after an interrupt at the wrong place, in any program."""


class Call(NamedTuple):
    """One call: the mode of its handle, whether it needs a remote, and what it does."""

    mode: str
    remote: bool
    make: Callable[[Stage], object]


def _append(durability: str) -> Callable[[Stage], object]:
    return lambda stage: stage.append(stage.log, "a", durability)


def _append_many(stage: Stage) -> None:
    with stage.attempt("a", "a", "a") as group:
        stage.log.stream("a").append_many([payload for _, payload in group], durability="local")


def _submit(stage: Stage) -> None:
    # Not waited for: the future's own condition, CPython's, does not survive every interrupt.
    stage.possible.append(group := stage.fresh("b"))
    stage.log.stream("b").submit(group[0][1], durability="local")


def _batch(stage: Stage) -> None:
    with stage.attempt("a", "batch", "b") as group, stage.log.batch() as batch:
        made = batch.create("batch")
        batch.append(stage.log.stream("a"), group[0][1])
        batch.append(made, group[1][1])
        batch.append(stage.log.stream("b"), group[2][1])


def _create(stage: Stage) -> None:
    stage.log.create("created", {"by": "the call"})


def _branch(stage: Stage) -> None:
    stage.log.stream("a").branch("branched", at=7, durability="local")


def _merge(stage: Stage) -> None:
    parents = [stage.log.stream("branch"), stage.log.stream("merged"), stage.log.stream("b")]
    stage.log.merge("made", parents, policy="interleave")


def _reconcile(stage: Stage) -> None:
    """Records, a merge that has them, and a cursor moved past them, in one frame."""
    with stage.attempt("a", "b", merged=RECONCILED) as group, stage.log.batch() as batch:
        for name, payload in group:
            batch.append(name, payload)
        batch.merge(RECONCILED, ["branch", "a", "b"], policy="interleave")
        place = stage.log.stream("a").cursor("place")
        batch.advance(place, len(stage.log.stream("a")) + 1, state=b"moved")


def _rotate(stage: Stage) -> None:
    """Appends over the size of a WAL file: it ends, and is sealed in the background."""
    for _ in range(3):
        with stage.attempt("a") as group:
            stage.log.stream("a").append(group[0][1], headers={"filler": "x" * 1800})


def _waiting(stage: Stage) -> None:
    """Records accepted as "memory", framed by the read that follows."""
    stage.append(stage.log, "a", "memory")
    stage.append(stage.log, "b", "memory")
    list(stage.log.stream("a").read())


def _cursor(stage: Stage) -> None:
    stage.log.stream("a").cursor("place").advance(5)


def _read(stage: Stage) -> None:
    for name in ("a", "branch", "merged", "b"):
        list(stage.log.stream(name).read())


def _tail(stage: Stage) -> None:
    list(stage.log.stream("b").tail(start=2, timeout=0.001))


def _watch(stage: Stage) -> None:
    """A watch, and a tail, of what is appended meanwhile."""
    stream = stage.log.stream("b")
    tail = stream.tail(start=len(stream))
    with stage.log.watch(_unheard, [stream]):
        if stage.mode != "read":
            stage.append(stage.log, "b")
            next(tail)
    tail.close()  # type: ignore[attr-defined]


def _unheard(changed: tuple[transit.Stream, ...]) -> None:
    pass


def _others_write(stage: Stage) -> None:
    """What another process wrote and sealed is taken up, and written on to."""
    with stage.open("shared") as other:
        stage.append(other, "b")
        stage.append(other, "a")
        other.seal()
        stage.append(other, "a")
        other.stream("a").branch("of another")


def _taken_up(stage: Stage) -> None:
    stage.append(stage.log, "a")
    list(stage.log.stream("b").read())


def _open(mode: str) -> Callable[[Stage], object]:
    return lambda stage: stage.open(mode).close()


PREPARE: dict[str, Callable[[Stage], object]] = {
    "take up": _others_write,
    "follow": _others_write,
    "follow a tail": _others_write,
    "open": lambda stage: stage.log.close(),
    "open shared": lambda stage: stage.log.close(),
    "open with a remote": lambda stage: stage.log.close(),
}

CALLS: dict[str, Call] = {
    "append": Call("exclusive", False, _append("os")),
    "append local": Call("exclusive", False, _append("local")),
    "append memory": Call("exclusive", False, _waiting),
    "append_many": Call("exclusive", False, _append_many),
    "submit": Call("exclusive", False, _submit),
    "batch": Call("exclusive", False, _batch),
    "batch that merges": Call("exclusive", False, _reconcile),
    "create": Call("exclusive", False, _create),
    "branch": Call("exclusive", False, _branch),
    "merge": Call("exclusive", False, _merge),
    "rotate": Call("exclusive", False, _rotate),
    "cursor": Call("exclusive", False, _cursor),
    "sync": Call("exclusive", False, lambda stage: stage.log.sync()),
    "seal": Call("exclusive", False, lambda stage: stage.log.seal()),
    "read": Call("exclusive", False, _read),
    "tail": Call("exclusive", False, _tail),
    "watch": Call("exclusive", False, _watch),
    "verify": Call("exclusive", False, lambda stage: stage.log.verify()),
    "close": Call("exclusive", False, lambda stage: stage.log.close()),
    "open": Call("exclusive", False, _open("exclusive")),
    "append shared": Call("shared", False, _append("local")),
    "batch shared": Call("shared", False, _batch),
    "seal shared": Call("shared", False, lambda stage: stage.log.seal()),
    "take up": Call("shared", False, _taken_up),
    "watch shared": Call("shared", False, _watch),
    "close shared": Call("shared", False, lambda stage: stage.log.close()),
    "open shared": Call("shared", False, _open("shared")),
    "open to read": Call("exclusive", False, _open("read")),
    "follow": Call("read", False, _read),
    "follow a tail": Call("read", False, _tail),
    "watch a folder": Call("read", False, _watch),
    "append tiered": Call("exclusive", True, _append("tiered")),
    "publish": Call("exclusive", True, lambda stage: stage.log.publish()),
    "evict": Call("exclusive", True, lambda stage: stage.log.evict(bytes_max=0)),
    "open with a remote": Call("exclusive", True, _open("exclusive")),
    "close with a remote": Call("exclusive", True, lambda stage: stage.log.close()),
}


class Sweep:
    """Interrupts one call at many places; `broken` lists what did not hold."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.call = CALLS[name]
        self._spared = POOLS if self.call.remote else ()
        self._folder = folder
        self._template = make_template(folder)
        self._number = 0
        self.broken: list[str] = []
        self.control: History = {}
        self.places = self._count()

    def _stage(self) -> Stage:
        self._number += 1
        place = self._folder / f"{self._number}"
        place.mkdir()
        stage = Stage(self._template, place, self.call.mode, self.call.remote)
        if self.name in PREPARE:
            PREPARE[self.name](stage)
        return stage

    def _made_on(self, stage: Stage) -> Callable[[], object]:
        return lambda: self.call.make(stage)

    def _count(self) -> int:
        """Run the call in peace, once to load what it loads, once to count; what it leaves."""
        places = 0
        for _ in range(2):
            stage = self._stage()
            places = count_places(self._made_on(stage), self._spared)
            stage.log.close()
            with stage.open("exclusive") as log:
                self.control = history(log)
            judge(stage, self.control)
            stage.drop()
        return places

    def at(self, place: int) -> str:
        """Interrupt the call at one place and judge; where it was, "" past its last."""
        stage = self._stage()
        where = ""
        try:
            where = interrupt(self._made_on(stage), place, self._spared)
        except (transit.TransitError, RuntimeError):
            # The call is judged by what it leaves. A RuntimeError is what CPython's own locks and
            # pools make of an interrupt: "release unlocked lock".
            where = "answered"
        try:
            judge(stage, self.control)
        except (Broken, TimeoutError, transit.TransitError) as error:
            kind = type(error).__name__
            self.broken.append(f"{self.name}, place {place}, {where}: {kind}: {error}")
            stage.forget()
            return where
        stage.drop()
        return where


def sweep(name: str, folder: Path, count: int | None = None) -> Sweep:
    """Interrupt call `name` at every place, or at about `count` of them, evenly spread."""
    rig = Sweep(name, folder)
    step = 1 if count is None else max(1, rig.places // count)
    for place in range(0, rig.places, step):
        rig.at(place)
    return rig


STORM = (
    "append", "append local", "append_many", "submit", "batch", "create", "branch", "rotate",
    "cursor", "sync", "seal", "read", "tail", "verify",
)  # fmt: skip
"""Calls that any number of others may come before."""


class Storm:
    """Real signals at random moments of random calls; `broken` lists what did not hold."""

    def __init__(self, folder: Path, seed: int, mode: str) -> None:
        self._folder = folder
        self._mode = mode
        self._choices = random.Random(seed)
        self._template = make_template(folder)
        self._number = 0
        self.broken: list[str] = []
        stage = self._stage()
        for name in STORM:
            CALLS[name].make(stage)
        self.control = history(stage.log)
        stage.log.close()
        stage.drop()

    def _stage(self) -> Stage:
        self._number += 1
        place = self._folder / f"{self._number}"
        place.mkdir()
        return Stage(self._template, place, self._mode, remote=False)

    def round(self, shower: Shower) -> None:
        """Eight calls on one store, each in the shower, and then the judge."""
        stage = self._stage()
        names = [self._choices.choice(STORM) for _ in range(8)]
        for name in names:
            # The interrupt may come while disarming, and is the last one then.
            with contextlib.suppress(KeyboardInterrupt, transit.TransitError):
                try:
                    shower.arm()
                    CALLS[name].make(stage)
                except SystemError as error:
                    # Python says so of a second signal in the middle of a handler.
                    if not isinstance(error.__cause__, KeyboardInterrupt):
                        raise
                finally:
                    shower.disarm()
        try:
            judge(stage, self.control)
        except (Broken, TimeoutError, transit.TransitError) as error:
            self.broken.append(f"{self._mode}, {names}: {type(error).__name__}: {error}")
        stage.drop()


def storm(folder: Path, seed: int, mode: str, count: int, longest_s: float = 0.002) -> Storm:
    """Let `count` signals interrupt calls on stores in `mode`; for the main thread."""
    rig = Storm(folder, seed, mode)
    with showered(seed, longest_s) as shower:
        while shower.count < count:
            rig.round(shower)
    return rig


def rounds(seed: int) -> Iterator[tuple[str, int]]:
    """Calls in random order, for ever; with each a number to choose a place by."""
    choices = random.Random(seed)
    names = list(CALLS)
    while True:
        choices.shuffle(names)
        for name in names:
            yield name, choices.randrange(2**32)


def soak(seconds: float, seed: int, say: Callable[[object], object]) -> int:
    """Interrupt calls at random places for `seconds`, then by signals; the count of violations."""
    deadline = time.monotonic() + seconds
    tried = broken = 0
    where = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="transit-interrupts-", dir=where) as folder:
        rigs: dict[str, Sweep] = {}
        for name, number in rounds(seed):
            if time.monotonic() > deadline:
                break
            if name not in rigs:
                place = Path(folder, name.replace(" ", "-"))
                place.mkdir()
                rigs[name] = Sweep(name, place)
            rig = rigs[name]
            rig.at(number % rig.places)
            tried += 1
            for problem in rig.broken:
                say(f"seed {seed}: {problem}")
            broken += len(rig.broken)
            rig.broken.clear()
        for mode in ("exclusive", "shared"):
            place = Path(folder, mode)
            place.mkdir()
            rained = storm(place, seed, mode, 1000)
            for problem in rained.broken:
                say(f"seed {seed}: {problem}")
            broken += len(rained.broken)
    say(f"{tried} calls interrupted, 2,000 signals, seed {seed}, {broken} violations")
    return broken
