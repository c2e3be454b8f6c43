"""Waiters for more of a stream, as the hub knows them: threads, and tasks of event loops.

Owns how each is released. Refers to nothing that would keep the waiting call alive: what that call
holds is in `joining`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ReferenceType, ref

from transit.errors import TransitError
from transit.watches import Latch

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Event

Rung = dict["AbstractEventLoop", list["LoopFollower"]]
"""The followers to be woken, by the loop that has to do it."""


class Listener(Latch):
    """A thread that waits; `error` is what it is to raise."""

    def __init__(self) -> None:
        super().__init__()
        self.error: TransitError | None = None


class LoopFollower:
    """A task that waits, as `Follower`.

    told: how far the stream can be read, and whether it is finished; None before the first time.
    """

    def __init__(self, loop: AbstractEventLoop, rung: Rung, event: Event) -> None:
        self._loop = loop
        self._rung = rung
        self._event: ReferenceType[Event] = ref(event)
        self.told: tuple[int, bool] | None = None
        self.error: TransitError | None = None
        self.is_rung = False

    def tell(self, stream_id: int, reached: int, finished: bool) -> None:
        """See `Follower.tell`."""
        if self.told != (reached, finished):
            self.told = (reached, finished)
            self._ring()

    def end(self, error: TransitError | None) -> None:
        """See `Follower.end`."""
        self.error = error
        self.is_rung = False
        self._ring()

    def _ring(self) -> None:
        # Set before the task is asked to look, and taken back before it looks: what is told while
        # it is set is seen then.
        if not self.is_rung:
            self.is_rung = True
            self._rung.setdefault(self._loop, []).append(self)

    def set(self) -> None:
        """Wake the task; in the thread of its loop."""
        event = self._event()
        if event is not None:
            event.set()


def ring(loop: AbstractEventLoop, followers: list[LoopFollower]) -> bool:
    """Have the tasks woken in the thread of their loop; False when it was closed."""
    try:
        loop.call_soon_threadsafe(_set_all, followers)
    except RuntimeError:
        return False
    return True


def _set_all(followers: list[LoopFollower]) -> None:
    for follower in followers:
        follower.set()
