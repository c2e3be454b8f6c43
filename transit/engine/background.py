"""The threads of an open store: one that syncs, one that seals.

Owns their start, pace and end. They are made when first needed and hold no reference to the user's
handle, so that a forgotten store is still collected. Work that fails leaves its error where the
next call finds it: the writer refuses, the sealer remembers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from transit.errors import TransitError

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
        self._woken = threading.Event()
        self._hurried = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        if beat_s is not None:
            self._start()

    def wake(self) -> None:
        """Have the work done soon."""
        if self._thread is None:
            self._start()
        self._woken.set()

    def hurry(self) -> None:
        """Have the work done now."""
        self._hurried.set()
        self.wake()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._woken.wait(self._beat_s)
            if self._delay_s and not self._stopped:
                self._hurried.wait(self._delay_s)
            self._woken.clear()
            self._hurried.clear()
            if self._stopped:
                return
            try:
                self._work()
            except TransitError:
                # The part that failed keeps its error and shows it to the next caller.
                time.sleep(self._delay_s)
            except BaseException as error:
                self._on_failure(error)
                raise

    def stop(self, join_s: float = _JOIN_S) -> None:
        """End the thread after the round it is in; waits for that, `join_s` seconds at most."""
        self._stopped = True
        self._hurried.set()
        self._woken.set()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(join_s)
