"""What a call holds while it waits for more of a stream, in a thread or in a task.

Owns that what joined the hub leaves it: when the call ends, or when it is dropped, also in an event
loop that was closed and never ended its tasks.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from transit.errors import TransitError
from transit.handle.hub import Hub
from transit.handle.listeners import Listener, LoopFollower
from transit.handle.waiting import Source
from transit.log.catalog import StreamState
from transit.watches import Watcher

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Event


class Listening:
    """Waits for more of one stream; for one thread at a time."""

    def __init__(self, hub: Hub, state: StreamState) -> None:
        self._hub = hub
        self._state = state
        self._listener = Listener()
        # What is waited for while no other thread or task waits.
        self._source: Source | None = None

    def join(self) -> None:
        """Be woken from now on."""
        self._hub.listen(self._listener, self._state)

    def wait(self, timeout_s: float) -> bool:
        """Return when the stream may have changed, or after `timeout_s` seconds.

        True when the hub has looked, so that all that the state of the stream says can be read.
        Raises what kept the hub from looking. Where there can be no hub, returns after a moment.
        """
        roused = self._wait_alone(timeout_s) if self._hub.is_for_one else self._wait(timeout_s)
        _raise(self._listener.error)
        return roused and not self._hub.alone

    def _wait(self, timeout_s: float) -> bool:
        self._let_source_go()
        served = self._hub.is_running()
        return self._listener.wait(timeout_s if served else min(timeout_s, Watcher.POLL_S))

    def _wait_alone(self, timeout_s: float) -> bool:
        """Wait for what the hub would wait for: then the caller looks itself, which is sooner."""
        if self._source is None:
            self._source = self._hub.make_source()
        self._hub.source_of_one = self._source
        try:
            # Asked after that: whatever releases the listener from now on rouses the source too.
            if not self._listener.wait(0):
                self._source.wait(timeout_s)
        finally:
            if self._hub.source_of_one is self._source:
                self._hub.source_of_one = None
        return False

    def _let_source_go(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def close(self) -> None:
        """Be woken no more."""
        self._let_source_go()
        self._hub.leave(self._listener, self._state)

    __del__ = close


class Following:
    """Waits for more of one stream; for the thread of its task's loop."""

    def __init__(self, hub: Hub, state: StreamState, loop: AbstractEventLoop, event: Event) -> None:
        self._hub = hub
        self._state = state
        self._event = event
        self._follower = LoopFollower(loop, hub.rung, event)

    def join(self) -> None:
        """Be told from now on, and once at first."""
        self._hub.add(self._follower, [self._state])

    @property
    def is_served(self) -> bool:
        """Whether there is a hub, or can be one; without it, the task looks for itself."""
        return self._hub.is_running()

    async def wait(self) -> None:
        """Return when something was told since the last time."""
        await self._event.wait()

    def told(self) -> tuple[int, bool] | None:
        """How far the stream can be read, and whether it is finished; None: not known yet.

        Raises what kept the hub from looking.
        """
        self._follower.is_rung = False
        self._event.clear()
        _raise(self._follower.error)
        return self._follower.told

    def close(self) -> None:
        """Be told nothing more."""
        self._hub.remove(self._follower)

    __del__ = close


def _raise(error: TransitError | None) -> None:
    if error is not None:
        # Each waiter raises an error of its own.
        raise copy(error) from error
