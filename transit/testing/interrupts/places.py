"""Interrupts at chosen places: each place in a call where a signal handler could run.

CPython runs signal handlers in the main thread only, and there when a Python function is entered,
when a call into C returns, and where a loop jumps back (CPython, ceval.c: RESUME and
CHECK_EVAL_BREAKER). A profiler is called at the first two, and an error that it raises comes out
where that of a signal handler would. So the n-th such place of a call can be interrupted, again and
again, without a signal and without a clock: `interrupt` does so. `showered` sends real signals.

Left out: loops without a call, generators where they go on, and a second interrupt while the first
is on its way out.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
_RIGS = os.path.dirname(__file__) + os.sep
_GENERATORS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Interrupt:
    """Interrupts one call at place number `at`, from 0; None: counts places only.

    Places in the test rigs and in files whose names end in one of `spared` are not counted.
    `places` is the count of places met; `where` names the one that was interrupted, else it is "".
    """

    def __init__(self, at: int | None = None, spared: tuple[str, ...] = ()) -> None:
        self._at = at
        self._spared = spared
        self.places = 0
        self.where = ""

    def _profile(self, frame: FrameType, event: str, function: object) -> None:
        if event == "call":
            possible = not frame.f_code.co_flags & _GENERATORS
        else:
            possible = event == "c_return"
        file = frame.f_code.co_filename
        if not possible or file.startswith(_RIGS) or file.endswith(self._spared):
            return
        place = self.places
        self.places += 1
        if place == self._at:
            name = getattr(function, "__qualname__", "")
            after = f" after {name}" if event == "c_return" else ""
            self.where = f"{file}:{frame.f_lineno} {frame.f_code.co_qualname}{after}"
            raise KeyboardInterrupt(self.where)

    def run(self, call: Callable[[], T]) -> T:
        """What `call` returns; `KeyboardInterrupt` when its place was met."""
        sys.setprofile(self._profile)
        try:
            return call()
        finally:
            sys.setprofile(None)


def interrupt(call: Callable[[], object], at: int, spared: tuple[str, ...] = ()) -> str:
    """Interrupt `call` at place `at`: which place that was, "" when it ended before.

    Whatever else `call` raises comes out.
    """
    chosen = Interrupt(at, spared)
    with contextlib.suppress(KeyboardInterrupt):
        chosen.run(call)
    return chosen.where


def count_places(call: Callable[[], object], spared: tuple[str, ...] = ()) -> int:
    """How many places `call` could be interrupted at."""
    counted = Interrupt(spared=spared)
    counted.run(call)
    return counted.places


class Shower:
    """Real signals at random moments, one at a time, whose handler raises `KeyboardInterrupt`.

    SIGALRM comes from an interval timer of the kernel's, SIGINT from another thread, in turns.
    `count` says how many interrupts were raised so far. For the main thread.
    """

    def __init__(self, seed: int, longest_s: float) -> None:
        self._random = random.Random(seed)
        self._longest_s = longest_s
        self._armed = False
        self._delays: SimpleQueue[float | None] = SimpleQueue()
        self.count = 0

    def arm(self) -> None:
        """Have one signal come within `longest_s` seconds."""
        delay_s = max(1e-6, self._random.random() * self._longest_s)
        by_timer = self._random.random() < 0.5
        self._armed = True
        if by_timer:
            signal.setitimer(signal.ITIMER_REAL, delay_s)
        else:
            self._delays.put(delay_s)

    def disarm(self) -> None:
        """Have none come; one that is on its way is let pass."""
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def send(self) -> None:
        """What the sending thread does, until it is told None."""
        while (delay_s := self._delays.get()) is not None:
            time.sleep(delay_s)
            os.kill(os.getpid(), signal.SIGINT)

    def end(self) -> None:
        """Have the sending thread end."""
        self.disarm()
        self._delays.put(None)

    def fall(self, number: int, frame: FrameType | None) -> None:
        """The handler: raises while armed."""
        if self._armed:
            self._armed = False
            self.count += 1
            raise KeyboardInterrupt(f"signal {number}")


@contextlib.contextmanager
def showered(seed: int, longest_s: float) -> Iterator[Shower]:
    """A block in which signals raise `KeyboardInterrupt`, whenever the shower is armed."""
    shower = Shower(seed, longest_s)
    before = {each: signal.signal(each, shower.fall) for each in (signal.SIGALRM, signal.SIGINT)}
    sender = threading.Thread(target=shower.send, name="transit-shower", daemon=True)
    sender.start()
    try:
        yield shower
    finally:
        shower.end()
        sender.join(60)
        for number, handler in before.items():
            signal.signal(number, handler)


def within(seconds: float, call: Callable[[], T]) -> T:
    """What `call` returns in another thread; `TimeoutError`, with the stacks, when it hangs."""
    done: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="transit-witness", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds} seconds\n{stacks()}")
    if failed:
        raise failed[0]
    return done[0]


def stacks() -> str:
    """Where every thread of this process is, innermost call first."""
    lines = []
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        calls: list[str] = []
        at: FrameType | None = frame
        while at is not None and len(calls) < 12:
            calls.append(f"{at.f_code.co_qualname}:{at.f_lineno}")
            at = at.f_back
        lines.append(f"{names.get(ident, ident)}: " + " < ".join(calls))
    return "\n".join(lines)
