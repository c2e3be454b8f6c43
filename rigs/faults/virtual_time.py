"""Time that passes only when a thread waits, for the loops that wait for a remote.

Owns a clock for each thread and putting it in place of `time` where `transit.store` and
`transit.tier` wait between tries and look at deadlines. A minute of an outage then costs nothing,
and what a call took is known exactly.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Coroutine, Iterator
from types import ModuleType
from typing import TypeVar

from transit.store import objects, s3, sessions
from transit.tier import conditional, probe

T = TypeVar("T")


class Hang(BaseException):
    """Raised by a simulated request that gets no answer: its caller waits out its deadline."""


class VirtualClock:
    """A `time` for each thread, which begins at the latest there was. Safe for threads."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._latest = 0.0

    def monotonic(self) -> float:
        """Seconds until now, as this thread has waited for them."""
        if not hasattr(self._local, "now"):
            # The thread that started this one may have given it a deadline.
            self._local.now = self._latest
        now: float = self._local.now
        return now

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass for this thread, at once."""
        self._local.now = self.monotonic() + max(0.0, seconds)
        self._latest = max(self._latest, self._local.now)

    def wait_for(self, _loop: object, coroutine: Coroutine[object, object, T], left_s: float) -> T:
        """As `transit.store.loops.wait_for`, for a coroutine that waits for nothing itself."""
        try:
            coroutine.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        except Hang:
            self.sleep(left_s)
            raise TimeoutError from None
        finally:
            coroutine.close()
        raise AssertionError("a simulated request waited for something")

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Have this clock, and its way to wait, used for remotes in the whole process."""
        places: list[tuple[ModuleType, str, object]] = [
            (module, "time", self) for module in (objects, s3, conditional, probe)
        ]
        places += [(module, "wait_for", self.wait_for) for module in (s3, sessions)]
        kept = [(module, name, vars(module)[name]) for module, name, _ in places]
        try:
            for module, name, mine in places:
                vars(module)[name] = mine
            yield
        finally:
            for module, name, real in kept:
                vars(module)[name] = real
