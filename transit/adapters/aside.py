"""Work for a store that a server has, done in order by a thread, so that the program need not wait.

Owns how much may wait (beyond that the newest is dropped and counted) and that a child made by fork
begins with nothing. A job that fails is not tried again: the client has tried.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final

from transit import TransitError
from transit.trace.failures import dropped

JOBS_MAX: Final = 4096


class Aside:
    """A thread that begins with the first job. Safe for threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """In a child made by fork: the parent does what it was given."""
        self._changed = threading.Condition(threading.RLock())
        self._jobs: deque[Callable[[], object]] = deque()
        self._busy = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def do(self, job: Callable[[], object]) -> None:
        """Have a job done; raises nothing."""
        with self._changed:
            if self._closed or len(self._jobs) >= JOBS_MAX:
                why = "closed" if self._closed else f"{len(self._jobs)} wait for the server"
                dropped.add(self._name, TransitError(why))
                return
            self._jobs.append(job)
            if self._thread is None:
                name = f"transit-{self._name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def settle(self, timeout_s: float) -> bool:
        """Whether all jobs are done, within a time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs and not self._busy, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Take no more, once what there is was done or the time is over."""
        self.settle(timeout_s)
        with self._changed:
            self._closed = True
            for _ in self._jobs:
                dropped.add(self._name, TransitError("closed before the server took it"))
            self._jobs.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._jobs) or self._closed)
                if not self._jobs:
                    return
                job = self._jobs.popleft()
                self._busy = True
            try:
                job()
            except Exception as error:
                dropped.add(self._name, error)


_all: Final[weakref.WeakSet[Aside]] = weakref.WeakSet()


def _forget_all() -> None:
    for each in list(_all):
        each.forget()


os.register_at_fork(after_in_child=_forget_all)
