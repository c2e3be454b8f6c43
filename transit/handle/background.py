"""The threads of an open store: one that syncs, one that seals, one that publishes.

Owns their start, pace and end. They are made when first needed and hold no reference to the user's
handle, so that a forgotten store is still collected. Work that fails leaves its error where the
next call finds it: the writer refuses, the sealer remembers.

The user's main thread may be interrupted by a signal handler in any of these methods. So they use
nothing that an interrupt could leave locked, as it could a `threading.Event`, but a queue and locks
whose methods are each one call into C.
"""

from __future__ import annotations

import threading
import time
from _thread import start_new_thread
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from transit.errors import TransitError
from transit.handle.launching import launches

# How long a closing store waits for work in progress; the threads are daemons.
_JOIN_S: Final = 60.0


class Worker:
    """A thread that does `work` some time after it is woken, and on a beat when it has one.

    on_failure: told of an error that is not transit's, which ends the thread.
    delay_s: pause between being woken and working, which lets more work gather.
    beat_s: longest time between two rounds; None: only when woken.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        delay_s: float = 0.0,
        beat_s: float | None = None,
    ) -> None:
        self._name = name
        self._work = work
        self._on_failure = on_failure
        self._delay_s = delay_s
        self._beat_s = beat_s
        # What is asked for since the last round: True to have it now, False to have it soon.
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._begun = False
        self._stopped = False
        self._ended = False
        self._thread: threading.Thread | None = None
        self._ident: int | None = None
        self._lock = threading.RLock()
        # Held from the thread's beginning to its end.
        self._alive = threading.Lock()
        if beat_s is not None:
            self._start()

    def wake(self) -> bool:
        """Have the work done soon; False when there can be no thread that does it."""
        self._asked.put(False)
        return self._begun or self._start()

    def wake_now(self) -> bool:
        """Have the work done now; False when there can be no thread that does it."""
        self._asked.put(True)
        return self._begun or self._start()

    @property
    def has_begun(self) -> bool:
        """Whether there is the thread, or was."""
        return self._begun

    @property
    def is_alive(self) -> bool:
        """Whether there is the thread, or will be when it is first woken."""
        return not self._ended or (self._thread is not None and self._thread.is_alive())

    @property
    def is_here(self) -> bool:
        """Whether this is the thread."""
        return threading.get_ident() == self._ident

    def _start(self) -> bool:
        with self._lock:
            if not self._begun and not self._stopped:
                self._alive.acquire(blocking=False)
                if self._begun:
                    # By a handler, right now.
                    return True
                if not launches.begin():
                    return False
                try:
                    # No call between the two, so that an interrupt comes before both or after.
                    self._begun = True
                    start_new_thread(self._launch, ())
                except RuntimeError:
                    # The process has as many threads as it may, or is about to end.
                    self._begun = False
                    launches.done()
            return self._begun

    def _launch(self) -> None:
        # In a thread of its own, where no signal handler runs: an interrupt in the middle of
        # `Thread.start` would leave a thread that never gets to run.
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:
            # There can be no further thread: this one has no name, and does as well.
            self._thread = None
        launches.done()
        if self._thread is None:
            self._run()

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            while self._wait():
                try:
                    self._work()
                except TransitError:
                    # The part that failed keeps its error and shows it to the next caller.
                    self._pause()
                except BaseException as error:
                    self._on_failure(error)
                    raise
        finally:
            # Its number may be another thread's soon.
            self._ident = None
            self._ended = True
            self._alive.release()

    def _wait(self) -> bool:
        """Return when there is work, True, or when the thread should end, False."""
        hurried = self._next(self._beat_s)
        deadline = time.monotonic() + self._delay_s
        while not hurried and not self._stopped and (left := deadline - time.monotonic()) > 0:
            hurried = self._next(left)
        while not self._asked.empty():
            # The round to come answers all of it.
            self._asked.get()
        return not self._stopped

    def _pause(self) -> None:
        """Let pass as long as after a wake; what is asked for meanwhile stays asked for."""
        deadline = time.monotonic() + self._delay_s
        while not self._stopped and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))

    def _next(self, timeout_s: float | None) -> bool:
        try:
            return self._asked.get(timeout=timeout_s)
        except Empty:
            return False

    def stop(self, join_s: float = _JOIN_S) -> None:
        """End the thread after the round it is in; waits for that, `join_s` seconds at most."""
        with self._lock:
            self._stopped = True
        self._asked.put(True)
        if not self._begun or self.is_here:
            return
        deadline = time.monotonic() + join_s
        while not self._ended and (left := deadline - time.monotonic()) > 0:
            # Not for long at once: several threads may stop it, and only one gets the lock.
            self._alive.acquire(timeout=min(left, 0.1))
        if self._ended and self._thread is not None:
            self._thread.join(join_s)
