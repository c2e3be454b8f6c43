"""Calls that are made in the middle of other calls, at every place where a signal handler may run.

At a place of the outer call a handler makes another call on the same handle. It works or is refused
with `ReentrantCallError`; then the outer call ends, and `judge` holds the store to its promises:
nothing acknowledged by either is lost or doubled, no lock is stuck, it opens and verifies. A call
that never comes back is told by a watchdog, which ends the process with all its stacks.
"""

from __future__ import annotations

import contextlib
import faulthandler
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import transit
from rigs.interrupts.calls import CALLS, PREPARE
from rigs.interrupts.judge import Broken, History, Stage, history, judge, make_template
from rigs.interrupts.places import count_places, interrupt_with

HANG_S: Final = 120.0
REFUSALS: Final = (
    transit.ReentrantCallError,
    transit.ClosedError,
    # An outer branch or batch has made the name.
    transit.AlreadyExistsError,
)

Inner = Callable[[Stage], object]


def _append(durability: str) -> Inner:
    def call(stage: Stage) -> None:
        stream, (group,) = stage.held["b"], (stage.fresh("b"),)
        _attempt(stage, group, lambda: stream.append(group[0][1], durability=durability))

    return call


def _attempt(stage: Stage, group: tuple[tuple[str, bytes], ...], call: Callable[[], Any]) -> None:
    """Make a call that writes `group`: there once if it worked, not there if it is refused."""
    stage.possible.append(group)
    try:
        call()
    except transit.ReentrantCallError:
        stage.refused.append(group)
        raise
    finally:
        stage.possible.remove(group)
    stage.certain.append(group)


def _append_many(stage: Stage) -> None:
    stream, group = stage.held["b"], stage.fresh("b", "b")
    _attempt(stage, group, lambda: stream.append_many([payload for _, payload in group]))


def _batch(stage: Stage) -> None:
    group = stage.fresh("a", "b")

    def call() -> None:
        with stage.log.batch() as batch:
            for name, payload in group:
                batch.append(stage.held[name], payload)

    _attempt(stage, group, call)


def _submit(stage: Stage) -> None:
    group = stage.fresh("b")
    stage.possible.append(group)
    future = stage.held["b"].submit(group[0][1], durability="local")
    stage.promised.append((group, future))


def _memory(stage: Stage) -> None:
    # Acknowledged for as long as the handle lives, and through its close.
    group = stage.fresh("b")
    stage.held["b"].append(group[0][1], durability="memory")
    (stage.certain if stage.mode == "exclusive" else stage.possible).append(group)


def _unheard(changed: tuple[transit.Stream, ...]) -> None:
    pass


INNER: dict[str, Inner] = {
    "append os": _append("os"),
    "append local": _append("local"),
    "append_many": _append_many,
    "batch": _batch,
    "submit": _submit,
    "append memory": _memory,
    "create": lambda stage: stage.log.create(f"inner {len(stage.certain)}"),
    "branch": lambda stage: stage.held["a"].branch("inner", at=3),
    "cursor": lambda stage: stage.held["a"].cursor("place").advance(3),
    "sync": lambda stage: stage.log.sync(),
    "seal": lambda stage: stage.log.seal(),
    "read": lambda stage: list(stage.held["a"].read()),
    "status": lambda stage: stage.log.status(),
    "verify": lambda stage: stage.log.verify(),
    "watch": lambda stage: stage.log.watch(_unheard, [stage.held["b"]]).close(),
    "tail": lambda stage: list(stage.held["b"].tail(timeout=0.001)),
    "close": lambda stage: stage.log.close(),
}
WRITING: Final = tuple(INNER)
READING: Final = ("read", "status", "verify", "watch", "tail", "close")
OUTER: Final = tuple(name for name in CALLS if not name.startswith(("open", "close")))


class Inside:
    """Makes one call in the middle of another at many places; `broken` lists what did not hold."""

    def __init__(self, outer: str, inner: str, folder: Path) -> None:
        self.name = f"{inner} inside {outer}"
        self._outer = outer
        self._inner = INNER[inner]
        self._folder = folder
        self._template = make_template(folder)
        self._number = 0
        self.broken: list[str] = []
        self.answers: set[str] = set()
        self.control: History = {}
        self.places = self._count()

    def _stage(self) -> Stage:
        self._number += 1
        place = self._folder / f"{self._number}"
        place.mkdir()
        call = CALLS[self._outer]
        stage = Stage(self._template, place, call.mode, call.remote)
        if self._outer in PREPARE:
            PREPARE[self._outer](stage)
        stage.held = {name: stage.log.stream(name) for name in ("a", "b")}
        return stage

    def _count(self) -> int:
        for _ in range(2):
            stage = self._stage()
            places = count_places(lambda stage=stage: CALLS[self._outer].make(stage))  # type: ignore[misc]
            stage.log.close()
            with stage.open("exclusive") as log:
                self.control = history(log)
            stage.drop()
        return places

    def at(self, place: int) -> str:
        """Make the call at one place of the other and judge; where it was, "" past its last."""
        stage = self._stage()
        where = ""

        def handler() -> None:
            try:
                self._inner(stage)
                self.answers.add("worked")
            except transit.TransitError as error:
                self.answers.add(type(error).__name__)
                if not isinstance(error, REFUSALS):
                    self.broken.append(f"{self.name}, place {place}: {error!r}")

        with _watched():
            # What closes inside refuses what comes outside of it.
            with contextlib.suppress(transit.ClosedError, transit.ReadOnlyError):
                where = interrupt_with(lambda: CALLS[self._outer].make(stage), place, handler)
            try:
                self._judge(stage)
            except (Broken, TimeoutError, transit.TransitError) as error:
                self.broken.append(
                    f"{self.name}, place {place}, {where}: {type(error).__name__}: {error}"
                )
                stage.forget()
                return where
        stage.drop()
        return where

    def _judge(self, stage: Stage) -> None:
        for group, future in stage.promised:
            _keep(stage, group, future)
        judge(stage, {**self.control, **_made_inside(stage)})
        gone = {record for group in stage.refused for record in group}
        with stage.open("exclusive") as log:
            found = {(name, each) for name, all_ in history(log).items() for each in all_}
        if gone & found:
            raise Broken(f"refused, and there: {gone & found}")


def _keep(stage: Stage, group: tuple[tuple[str, bytes], ...], future: Future[Any]) -> None:
    """A future that was given ends, and says what became of the record."""
    try:
        future.result(60)
    except transit.TransitError:
        return
    stage.possible.remove(group)
    stage.certain.append(group)


def _made_inside(stage: Stage) -> History:
    """Streams that an inner call made: a root is empty, a branch has what it inherits."""
    inherited = [b"a%d" % n for n in range(4)]
    return {name: inherited if name == "inner" else [] for name in ("inner", "inner 0", "inner 1")}


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """A block after which this process goes on; where it hangs, it ends with all its stacks."""
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def pairs(seed: int) -> Iterator[tuple[str, str]]:
    """Pairs of an outer and an inner call in random order, each once."""
    every = [
        (outer, inner)
        for outer in OUTER
        for inner in (READING if CALLS[outer].mode == "read" else WRITING)
    ]
    random.Random(seed).shuffle(every)
    yield from every
