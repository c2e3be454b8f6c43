"""Events that refer to parts the history holds, and bring the others along.

Owns what a task knows of the parts in its history, and the order in which such events are written.
One made in the middle of another call of the same thread, by a signal handler or a `__del__`
method, is kept and written after it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from transit import ConflictError, ReentrantCallError, Stream, TransitError
from transit.trace.events import Event, encode_json
from transit.trace.packing import Memory, Packing
from transit.trace.parts import KnownParts

# The offset of an event that is not written yet.
TAKEN_UP: Final = -1
Make = Callable[[Packing], Event]
# Gives an event's payload as it is written, from what makes the event and the whole payload.
Fit = Callable[[Make, bytes], bytes]


class PackedEvents:
    """Writes one task's events that have parts. Safe for threads.

    fit: what is written of an event, given what makes it and its whole payload. written: told each
    event that was.
    """

    def __init__(
        self,
        stream: Stream,
        durability: str,
        known: KnownParts,
        fit: Fit,
        written: Callable[[Event], None],
    ) -> None:
        self._fit = fit
        self._written = written
        self._memory = Memory()
        self._stream = stream
        self._durability = durability
        self._known = known
        self._lock = threading.RLock()
        # Whether an event is being written, and what was made in the middle of that.
        self._writing = False
        self._later: deque[tuple[Make, Mapping[str, str] | None, int | None]] = deque()

    def write(
        self, make: Make, headers: Mapping[str, str] | None, timestamp: int | None = None
    ) -> int:
        """Write an event: its offset, `TAKEN_UP` in the middle of another call of this thread."""
        with self._lock:
            if self._writing:
                return self._take_up(make, headers, timestamp)
            try:
                self._writing = True
                offset = self._append(make, headers, timestamp)
            except ReentrantCallError:
                return self._take_up(make, headers, timestamp)
            finally:
                self._writing = False
        if self._later:
            self.write_later()
        return offset

    def write_later(self) -> None:
        """Write what was taken up, unless this is the middle of another call."""
        while self._later:
            with self._lock:
                if self._writing or not self._later:
                    return
                try:
                    self._writing = True
                    self._append(*self._later[0])
                    self._later.popleft()
                except TransitError:
                    # It stays, for the next event or for the end of the block.
                    return
                finally:
                    self._writing = False

    def pass_over(self, offset: int) -> None:
        """Take note of a record without parts at `offset`."""
        with self._lock:
            if offset == self._known.stop:
                self._known.stop = offset + 1

    def known_until(self, stop: int) -> KnownParts:
        """What the history before `stop` holds."""
        with self._lock:
            return self._known.until(stop)

    def _take_up(self, make: Make, headers: Mapping[str, str] | None, timestamp: int | None) -> int:
        self._later.append((make, headers, timestamp))
        return TAKEN_UP

    def _append(self, make: Make, headers: Mapping[str, str] | None, timestamp: int | None) -> int:
        """Append under the condition that the history is the one the references are about.

        When another writer was faster, they are worked out again.
        """
        while True:
            packing = Packing(self._known, self._memory)
            event = make(packing)
            whole = packing.finish(encode_json(event))
            payload = self._fit(make, whole)
            try:
                receipt = self._stream.append(
                    payload,
                    headers=headers,
                    timestamp=timestamp,
                    expect=self._known.stop,
                    durability=self._durability,
                )
            except ConflictError:
                self._known.catch_up(self._stream)
                continue
            if payload is whole:
                self._known.passed(packing.parts.digests, packing.lists.digests)
                self._memory.keep(packing.packed)
            else:
                self._known.passed()
            self._written(event)
            return receipt.offset
