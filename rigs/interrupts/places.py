"""Interrupts at chosen places: each place in a call where a signal handler could run.

CPython looks for signals in the main thread only, and there when a Python function is entered,
when a call into C returns, and where a loop jumps back (ceval.c: RESUME, CALL, JUMP_BACKWARD). A
tracer is called before each instruction. Before the n-th of those that lead there it marks a signal
as come, without a look of its own; CPython finds it at the next place, and its handler raises. So
the n-th place of a call can be interrupted, again and again, without a clock: `interrupt` does so.
`showered` sends real signals.

A tracer or profiler that itself raises would be simpler; but then CPython 3.11 takes the wrong
values from its stack, and now and then dies of it.

Left out: a second interrupt while the first is on its way out.
"""

from __future__ import annotations

import contextlib
import dis
import os
import random
import signal
import sys
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

T = TypeVar("T")
_HERE = os.path.dirname(__file__)
# What calls and judges; not the tests beside them.
_RIGS = tuple(
    os.path.join(_HERE, name) for name in ("calls.py", "inside.py", "judge.py", "places.py")
)
_LEADING: Final = {
    "CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD", "FOR_ITER", "SEND", "BEFORE_WITH",
    "WITH_EXCEPT_START",
}  # fmt: skip
"""Instructions that enter a Python function, call into C or jump back, in CPython 3.11 to 3.13."""
_mark: Final[Any] = type("Mark", (), {"__getitem__": interrupt_main})()
"""`_mark[number]` marks a signal as come. As a call it would be found right here."""


# By identity, and with the code so that it stays: code is hashed by all it holds.
_known: Final[dict[int, tuple[CodeType, set[int]]]] = {}


def _leading_in(code: CodeType) -> set[int]:
    """Where in `code` there are instructions that lead to a place."""
    if id(code) not in _known:
        offsets = {each.offset for each in dis.get_instructions(code) if each.opname in _LEADING}
        _known[id(code)] = code, offsets
    return _known[id(code)][1]


class Interrupt:
    """Interrupts one call at place number `at`, from 0; None: counts places only.

    Places in the test rigs and in files whose names end in one of `spared` are not counted; what
    would be interrupted there is interrupted later. `places` is the count of places met; `where`
    names the one that was interrupted, else it is "". call: what the handler does instead of
    raising. For the main thread.
    """

    def __init__(
        self,
        at: int | None = None,
        spared: tuple[str, ...] = (),
        call: Callable[[], object] | None = None,
    ) -> None:
        self._call = call
        self._at = at
        self._spared = spared
        self.places = 0
        self.where = ""

    def run(self, call: Callable[[], T]) -> T:
        """What `call` returns; `KeyboardInterrupt` when its place was met."""
        tracer = sys.gettrace()
        handler = signal.signal(signal.SIGINT, self._handle)
        sys.settrace(self._enter)
        try:
            return call()
        finally:
            sys.settrace(tracer)
            self._at = None
            signal.signal(signal.SIGINT, handler)

    def _is_spared(self, frame: FrameType) -> bool:
        file = frame.f_code.co_filename
        return file.startswith(_RIGS) or file.endswith(self._spared)

    def _enter(self, frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        """The tracer: what is to be called before each instruction of a frame."""
        if self._is_spared(frame):
            return None
        leading = _leading_in(frame.f_code)
        frame.f_trace_lines, frame.f_trace_opcodes = False, True

        def step(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
            if event == "opcode" and frame.f_lasti in leading:
                place = self.places
                self.places += 1
                if place == self._at:
                    _ = _mark[signal.SIGINT]
            return step

        return step

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler: interrupts, or puts it off to the next place."""
        if self._at is None or frame is None:
            return
        if self._is_spared(frame):
            self._at = self.places
            return
        self._at = None
        self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"
        if self._call is None:
            raise KeyboardInterrupt(self.where)
        self._call()


def interrupt(call: Callable[[], object], at: int, spared: tuple[str, ...] = ()) -> str:
    """Interrupt `call` at place `at`: which place that was, "" when it ended before.

    Whatever else `call` raises comes out.
    """
    chosen = Interrupt(at, spared)
    with contextlib.suppress(KeyboardInterrupt):
        chosen.run(call)
    return chosen.where


def interrupt_with(call: Callable[[], object], at: int, handler: Callable[[], object]) -> str:
    """Make `handler`'s call at place `at` of `call`: which place that was, "" when it ended before.

    Whatever `call` raises comes out.
    """
    chosen = Interrupt(at, call=handler)
    chosen.run(call)
    return chosen.where


def count_places(call: Callable[[], object], spared: tuple[str, ...] = ()) -> int:
    """How many places `call` could be interrupted at."""
    counted = Interrupt(spared=spared)
    counted.run(call)
    return counted.places


class Shower:
    """Real signals at random moments, one at a time, whose handler raises `KeyboardInterrupt`.

    SIGALRM comes from an interval timer of the kernel's, SIGINT from another thread, alternately.
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
