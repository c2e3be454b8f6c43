"""Workers: threads that bodies run in.

A body that never ends must keep neither the runner nor the process: the threads are daemons, and
one that is stuck is only missing from the pool.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

THREADS_MAX: Final = 32

Work = Callable[[], None]


class Workers:
    """At most `count` threads, made when they are needed, that do what they are given in order."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._given: SimpleQueue[Work | None] = SimpleQueue()
        self._made = 0
        # Threads that wait for work, less what is given and not taken yet.
        self._free = 0

    def give(self, work: Work, *, is_nested: bool = False) -> None:
        """Have this done by a thread. It must not raise.

        is_nested: a body waits for it, and does nothing meanwhile: so it gets a thread of its own,
        where it would wait for ever for the one that the body has.
        """
        if is_nested:
            threading.Thread(target=work, name="transit-ticks-nested", daemon=True).start()
            return
        with self._lock:
            if self._free <= 0 and self._made < self._count:
                self._made += 1
                name = f"transit-ticks-{self._made}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
            else:
                self._free -= 1
        self._given.put(work)

    def close(self) -> None:
        """Let the threads end once they have done what they were given."""
        with self._lock:
            made, self._made = self._made, 0
        for _ in range(made):
            self._given.put(None)

    def _work(self) -> None:
        while (work := self._given.get()) is not None:
            work()
            # Nothing of the last body is kept while waiting for the next.
            del work
            with self._lock:
                self._free += 1
