"""Seats: which runner of this process makes a tick of a reconciler, so that its body runs once.

The runners on one open store share a seat for each reconciler. Who has it makes a tick; the others
see that somebody does, and leave it. It is free again once what came of the tick is written and the
body has ended. A claim (`transit.views.loops.claims`) keeps runners of other processes and of other
handles away, and lasts from tick to tick; in mode "exclusive" there is the seat alone.

A body that goes on after its tick has ended keeps the seat for as long as a claim lasts, and no
longer: what it does is refused, and the others must not wait for ever.

Bodies may ask for ticks of other reconcilers. Which body waits for which tick is known here, so
that one that would wait for itself is told so at once. All of this is this process's: after fork()
the child has seats of its own, and none is taken.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple
from weakref import WeakMethod, WeakValueDictionary

from transit import Log, ReentrantCallError
from transit.views.loops.due import SECOND

IDLE: Final = 10 * SECOND
"""When to look again at what says when it changes."""

Tell = Callable[[], None]


class Went(NamedTuple):
    """How far a reconciler is after ticks that wrote nothing, which no record tells.

    n: the tick to come. due: the last that was answered. noops: such ticks since the last record.
    """

    epoch: int
    n: int
    due: int | None
    next_due: int | None
    noops: int


class Hold:
    """That a runner has a seat, the `number`th to have it.

    is_making: its body is to run, or runs; before and after that others need not wait for long.
    thread: which is at it then; 0 while it is the body.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_making = False
        self.thread = threading.get_ident()
        self.is_over = False
        # When it ends at the latest, and after how long it does at the latest.
        self.ends: int | None = None
        self._lasts = 0
        # Ticks that its body waits for.
        self.awaited: list[Hold] = []
        self._process = os.getpid()

    def make(self, is_making: bool) -> None:
        """The body is about to run, or has ended."""
        self.thread = 0 if is_making else threading.get_ident()
        self.is_making = is_making

    def last(self, now: int, span: int) -> None:
        """Let it end by itself after so long."""
        self.ends, self._lasts = now + span, span

    def is_past(self, now: int) -> bool:
        """Whether it has ended by itself, or is the parent's from before fork()."""
        if self._process != os.getpid():
            return True
        if self.ends is not None:
            # A clock that was set back makes it no longer.
            self.ends = min(self.ends, now + self._lasts)
        return self.ends is not None and self.ends <= now


class Seat:
    """The seat of one reconciler on one open store; made by `seat_of`."""

    def __init__(self, log: Log) -> None:
        # Kept, so that no other store has its identity while there is this seat.
        self.log = log
        self.went: Went | None = None
        self._hold: Hold | None = None
        self._count = 0
        self._told: set[WeakMethod[Tell]] = set()

    def take(self, now: int, tell: Tell) -> Hold | None:
        """Have it; None while another has, and then `tell`, a method, is called once it is free."""
        with _lock:
            if self._hold is not None and not self._hold.is_past(now):
                self._told = {each for each in self._told if each() is not None}
                self._told.add(WeakMethod(tell))
                return None
            self._count += 1
            self._hold = Hold(self._count)
            return self._hold

    def give_up(self, hold: Hold, went: Went | None = None) -> None:
        """Let others have it. went: how far this one was, where no record says it."""
        with _lock:
            hold.is_over = True
            if self._hold is not hold:
                # It had ended by itself, and another has it.
                return
            self._hold = None
            if went is not None:
                self.went = went
            told, self._told = self._told, set()
        for each in told:
            tell = each()
            if tell is not None:
                tell()

    def has(self, hold: Hold) -> bool:
        """Whether this one has it still."""
        return self._hold is hold

    @property
    def is_making(self) -> bool:
        """Whether somebody runs the body, or is about to."""
        hold = self._hold
        return hold is not None and hold.is_making

    def ends(self, now: int) -> int:
        """When to look again whether it is free; `now` where it is."""
        hold = self._hold
        if hold is None:
            return now
        return now + IDLE if hold.ends is None else hold.ends

    def check(self, inside: Hold | None, name: str) -> None:
        """`ReentrantCallError` where what has it waits for the body, or the thread, that asks."""
        hold = self._hold
        _check(inside, hold, name)
        if hold is not None and hold.thread == threading.get_ident():
            raise ReentrantCallError(f"{name}: called in the middle of another call of this thread")


# A signal handler may ask for a tick in the middle of what is done with it.
_lock = threading.RLock()
_seats: WeakValueDictionary[tuple[int, str], Seat] = WeakValueDictionary()
_inside: Final[ContextVar[Hold | None]] = ContextVar("transit-tick", default=None)


def seat_of(log: Log, name: str) -> Seat:
    """The seat of a reconciler on this open store."""
    with _lock:
        return _seats.setdefault((id(log), name), Seat(log))


# Bodies inside bodies


@contextmanager
def body_of(hold: Hold) -> Iterator[None]:
    """Run the body of a tick in this block."""
    token = _inside.set(hold)
    try:
        yield
    finally:
        _inside.reset(token)


def inside() -> Hold | None:
    """The tick whose body makes this call, in its thread or by `asyncio.to_thread`; or None."""
    hold = _inside.get()
    return None if hold is None or hold.is_over else hold


def await_from(inside: Hold | None, hold: Hold, name: str) -> None:
    """Note that a body is going to wait for a tick; `ReentrantCallError` as `Seat.check`."""
    if inside is not None:
        with _lock:
            _check(inside, hold, name)
            others = [each for each in inside.awaited if not each.is_over and each is not hold]
            inside.awaited = [*others, hold]


def _check(inside: Hold | None, hold: Hold | None, name: str) -> None:
    if inside is not None and hold is not None and _waits(hold, inside):
        raise ReentrantCallError(
            f"{name}: a tick was asked for in its own body, or in one that this body waits for: "
            "ask() has it made when that has ended"
        )


def _waits(hold: Hold, other: Hold) -> bool:
    """Whether one waits for the other, or is it."""
    if hold is other:
        return True
    return any(not each.is_over and _waits(each, other) for each in hold.awaited)


def _begin_anew() -> None:
    # The lock may have been held by a thread that the child does not have.
    global _lock, _seats
    _lock, _seats = threading.RLock(), WeakValueDictionary()


os.register_at_fork(after_in_child=_begin_anew)
