"""Readers that wait for more of a stream, woken together.

However many wait for one stream, one task follows it, and what came is encoded once for all of
them. The task ends with the last reader.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from transit import Stream, TransitError

FRAMES: Final = 16
"""How many of the last runs of records are kept for readers that come a little later."""
KEPT_BYTES_MAX: Final = 1024 * 1024
"""And of how many bytes, but for the last run, which all readers are about to send."""


class Tail:
    """What waits for one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.stop = len(stream)
        self.is_finished = False
        self.error: TransitError | None = None
        self.readers = 0
        # Payloads by the offset of the first of them.
        self.runs: OrderedDict[int, list[bytes]] = OrderedDict()
        # What was made of a run, by its offset and by what it is: for the first reader to fill in.
        self.made: dict[tuple[int, str], bytes] = {}
        # Bytes of payloads in the runs that are kept.
        self._kept = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._come: list[bytes] = []
        self._first = self.stop
        self._is_due = False
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        try:
            async for record in self.stream.follow(start=self.stop):
                self._come.append(record.payload)
                self.stop = record.offset + 1
                if not self._is_due:
                    self._is_due = True
                    asyncio.get_running_loop().call_soon(self._flush)
            self.is_finished = True
        except TransitError as error:
            self.error = error
        self._flush()

    def _flush(self) -> None:
        """Tell the readers what came."""
        self._is_due = False
        if self._come:
            last = self._first
            self.runs[last] = self._come
            self._first, self._come = self.stop, []
            self._kept += sum(map(len, self.runs[last]))
            while len(self.runs) > FRAMES or (self._kept > KEPT_BYTES_MAX and len(self.runs) > 1):
                self._drop_first()
        self.wake()

    def _drop_first(self) -> None:
        start, run = self.runs.popitem(last=False)
        self._kept -= sum(map(len, run))
        for key in [key for key in self.made if key[0] == start]:
            del self.made[key]

    def wake(self) -> None:
        """Let all readers look."""
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, position: int, timeout_s: float) -> bool:
        """Return once there is more than `position`, or the stream has ended; False: time ran out.

        Raises what kept the stream from being followed.
        """
        if self._first > position or self.is_finished:
            return True
        if self.error is not None:
            raise self.error
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(future)
        if self.error is not None:
            raise self.error
        return True

    def close(self) -> None:
        """Follow no more."""
        self._task.cancel()


class Tails:
    """The streams that readers wait for."""

    def __init__(self) -> None:
        self._tails: dict[str, Tail] = {}
        # Readers that wait for no one stream: what wakes them.
        self._others: set[asyncio.Event] = set()
        self.count = 0

    def join(self, stream: Stream) -> Tail:
        """What waits for `stream`, with one reader more, who leaves it by `leave`."""
        tail = self._tails.get(stream.uid)
        if tail is None or tail.error is not None:
            tail = self._tails[stream.uid] = Tail(stream)
        tail.readers += 1
        self.count += 1
        return tail

    def leave(self, tail: Tail) -> None:
        """One reader fewer."""
        tail.readers -= 1
        self.count -= 1
        if not tail.readers:
            tail.close()
            if self._tails.get(tail.stream.uid) is tail:
                del self._tails[tail.stream.uid]

    def wake(self, stream: Stream) -> None:
        """Let the readers of a stream look: its name leads elsewhere now."""
        tail = self._tails.get(stream.uid)
        if tail is not None:
            tail.wake()

    def wake_all(self) -> None:
        """Let all readers look: the server ends."""
        for tail in list(self._tails.values()):
            tail.wake()
        for event in self._others:
            event.set()

    @contextmanager
    def counted(self, event: asyncio.Event) -> Iterator[None]:
        """Count a reader that waits for no one stream; `event` wakes it when the server ends."""
        self._others.add(event)
        self.count += 1
        try:
            yield
        finally:
            self._others.remove(event)
            self.count -= 1
