"""Locks that a call made in the middle of another call of the same thread never waits for.

A signal handler runs between any two steps of the main thread, and a `__del__` method wherever the
collector does. A call made by such code interrupts its own thread in the middle of another call.
The thread may hold a lock, and another thread may wait for that lock while it holds the very lock
that the new call would take.

Owns the order of locks and where in it each thread is. Every lock of a store has a rank; a thread
takes locks of higher ranks only, and is marked with the highest one from before it waits for it
until after it let it go. A public call first asks whether its thread is marked with the lowest rank
the call needs, or a higher one, and is refused then, before anything has changed
(`ReentrantCallError`). So no thread ever waits for itself, nor two for each other. The ranks of a
store opened later are higher than all of one opened before: a handler may use a store it opened.

What is asked is stable: only the thread itself changes its mark. No lock is taken by anything but
`with`, and marks are set and taken back by single instructions, so an exception raised by a
handler leaves neither behind.

Which call may be made inside which, of the same store (rows: the call that is interrupted):

    in the middle of          append os  append  read    seal,   publish,  close   submit,
                              batch ...  local   status  verify  tiered            memory, trace
    ------------------------  ---------  ------  ------  ------  --------  ------  -------------
    its turn to write         refused    refused *       refused refused   refused taken up
    a sync, a wait for one    refused    refused *       refused refused   refused taken up
    taking up files, a guide  refused    refused refused refused refused   refused taken up
    seal, verify, evict       works      works   works   refused refused   refused works
    publish, a tiered append  works      works   works   works   refused   refused works
    close                     works until the writer refuses             refused works, the same
    between these, reading    works      works   works   works   works     works   works

    *  works, unless records accepted as "memory" would have to be framed first; refused in mode
       "shared", where reading takes the lock of the turn
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from threading import get_ident
from typing import Final, TypeVar

from transit.errors import ReentrantCallError

CLOSE: Final = 1
FLUSH: Final = 2
PUBLISH: Final = 3
CHAIN: Final = 4
LOOK: Final = 5
SEAL: Final = 6
TURN: Final = 7
SYNC: Final = 8
VIEW: Final = 9
_RANKS: Final = 16
# Locks that are held while nothing else is waited for have one rank in all stores.
_LEAF: Final = 2**62

_NO_LOCK: Final = nullcontext()

T = TypeVar("T")

inside: Final[dict[int, int]] = {}
"""The mark of each thread that is in the middle of something."""
_stores: Final = count(1)


class Order:
    """The ranks of one store's locks, those of a store opened later being higher."""

    def __init__(self) -> None:
        self._base = next(_stores) * _RANKS

    def mark(self, rank: int) -> int:
        """What a thread is marked with that takes the lock of this rank."""
        return self._base + rank

    def is_inside(self, rank: int) -> bool:
        """Whether this thread may not take the lock of this rank now."""
        return inside.get(get_ident(), 0) >= self._base + rank

    def check(self, rank: int) -> None:
        """`ReentrantCallError` when this thread may not take the lock of this rank now."""
        if inside and inside.get(get_ident(), 0) >= self._base + rank:
            raise reentrant()

    def run(self, rank: int, lock: AbstractContextManager[object], step: Callable[[], T]) -> T:
        """Do `step` with `lock`, which has this rank; what it returns."""
        return _run(self._base + rank, lock, step)

    def during(self, rank: int, step: Callable[[], T]) -> T:
        """Do `step`, as if it had a lock of this rank; what it returns."""
        return _run(self._base + rank, _NO_LOCK, step)


def leaf(lock: AbstractContextManager[object], step: Callable[[], T]) -> T:
    """Do `step`, which waits for nothing else of a store, with `lock`; what it returns."""
    return _run(_LEAF, lock, step)


def _run(mark: int, lock: AbstractContextManager[object], step: Callable[[], T]) -> T:
    me = get_ident()
    before = inside.get(me, 0)
    try:
        # No call before it, so that an exception finds it set whenever it is taken back.
        inside[me] = mark if mark > before else before
        with lock:
            return step()
    finally:
        if before:
            inside[me] = before
        else:
            del inside[me]


def reentrant() -> ReentrantCallError:
    """The error for a call in the middle of another that is in its way."""
    return ReentrantCallError(
        "called in the middle of another call of this thread, by a signal handler or a __del__ "
        'method: use submit() or durability="memory", which are taken up and written when that '
        "call ends, or set a flag and call later"
    )
