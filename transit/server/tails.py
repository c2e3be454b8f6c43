"""Readers that wait for more of a stream, woken together.

However many wait for one stream, one task follows it, and what came is encoded once for all of
them. The task ends with the last reader. Each delivery costs what one reader takes, so what all of
them look at is kept here, and one timer wakes whoever has waited for long enough.

What a request of this process appended is handed over by it (`Tails.give`), and need not be read
again; the task brings what is written elsewhere, and passes over what it finds here already. A
reader that waits where a run begins, and whose connection has room, is sent the run as it waits;
any other is woken, and reads.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from transit import Stream, TransitError
from transit.server.reading import cursor_after

FRAMES: Final = 16
"""How many of the last runs of records are kept for readers that come a little later."""
KEPT_BYTES_MAX: Final = 1024 * 1024
"""And of how many bytes, but for the last run, which all readers are about to send."""
_CLOCK_S: Final = 0.002
"""A timer may ring so much before its time."""


class Taker(Protocol):
    """A reader that can be sent what came while it waits."""

    def take(self, start: int, run: list[bytes], now: float) -> float | None:
        """Send the run that begins at `start`, all there is; until when to wait from now on.

        None: nothing was sent, and it must be woken: it stands elsewhere, or has no room.
        """


class Tail:
    """What waits for one stream.

    stop: up to which offset the readers were told of records. runs: the last payloads by the offset
    of the first of them. made: what was made of a run, for the first reader to fill in, by keys
    that begin with its offset. cursor: what readers that gave none were told with the last run.
    is_finished, is_hidden: of the stream, as it was when the readers were last woken.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.stop = len(stream)
        self.is_finished = False
        self.is_hidden = False
        self.error: TransitError | None = None
        self.readers = 0
        self.runs: OrderedDict[int, list[bytes]] = OrderedDict()
        self.made: dict[tuple[object, ...], bytes] = {}
        self.cursor = cursor_after(None)
        # Bytes of payloads in the runs that are kept.
        self._kept = 0
        self._loop = asyncio.get_running_loop()
        # Who waits, until when, and what can be sent to whom meanwhile.
        self._waiting: dict[asyncio.Future[bool], tuple[float, Taker | None]] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")
        self._come: list[bytes] = []
        self._is_due = False
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        try:
            async for record in self.stream.follow(start=self.stop):
                self.give(record.offset, [record.payload])
            self.is_finished = True
        except TransitError as error:
            self.error = error
        self._flush()

    def give(self, first: int, payloads: list[bytes]) -> None:
        """Take records that can be read, from offset `first` on, if they are the next ones.

        Those that are here already came another way. Where some are missing the task brings all.
        """
        if first != self.stop + len(self._come):
            return
        self._come += payloads
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Tell the readers what came."""
        self._is_due = False
        start, run = self.stop, self._come
        if run:
            self.runs[start] = run
            self._kept += sum(map(len, run))
            self.stop += len(run)
            self._come = []
            while len(self.runs) > FRAMES or (self._kept > KEPT_BYTES_MAX and len(self.runs) > 1):
                self._drop_first()
            self.cursor = cursor_after(None)
        self._look()
        if run and not (self.is_finished or self.is_hidden or self.error):
            self._send(start, run)
        else:
            self._wake_all()

    def _send(self, start: int, run: list[bytes]) -> None:
        """Have those that can take the last run, and wake the others."""
        waiting, now = self._waiting, self._loop.time()
        for future, (_, taker) in list(waiting.items()):
            # One that is done was woken already, or is being cut off.
            if not future.done():
                until = None if taker is None else taker.take(start, run, now)
                if until is not None:
                    waiting[future] = until, taker
                    continue
                future.set_result(True)
            del waiting[future]

    def _drop_first(self) -> None:
        start, run = self.runs.popitem(last=False)
        self._kept -= sum(map(len, run))
        for key in [key for key in self.made if key[0] == start]:
            del self.made[key]

    def wake(self) -> None:
        """Let all readers look."""
        self._look()
        self._wake_all()

    def _look(self) -> None:
        # A store that is closed says so to `_follow`.
        with suppress(TransitError):
            self.is_hidden = self.stream.hidden

    def _wake_all(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(True)

    async def wait(self, position: int, timeout_s: float, taker: Taker | None = None) -> bool:
        """Return once there is more than `position`, or the stream has ended; False: time ran out.

        taker: is sent what comes meanwhile, where it can be. Raises what kept the stream from being
        followed.
        """
        if self.stop > position or self.is_finished:
            return True
        if self.error is not None:
            raise self.error
        future: asyncio.Future[bool] = self._loop.create_future()
        until = self._loop.time() + timeout_s
        self._waiting[future] = until, taker
        if until < self._alarm_at:
            self._set_alarm(until)
        try:
            was_woken = await future
        finally:
            self._waiting.pop(future, None)
        if self.error is not None:
            raise self.error
        return was_woken

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = self._loop.call_at(at, self._ring), at

    def _ring(self) -> None:
        """Wake those whose time ran out: seldom any, while records come."""
        self._alarm, self._alarm_at = None, float("inf")
        now = self._loop.time() + _CLOCK_S
        for future in [each for each, (until, _) in self._waiting.items() if until <= now]:
            del self._waiting[future]
            if not future.done():
                future.set_result(False)
        if self._waiting:
            self._set_alarm(min(until for until, _ in self._waiting.values()))

    def close(self) -> None:
        """Follow no more."""
        self._task.cancel()
        if self._alarm is not None:
            self._alarm.cancel()


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
        tail.is_hidden = stream.hidden
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

    def give(self, stream: Stream, first: int, payloads: list[bytes]) -> None:
        """Hand over records that were appended to `stream` here, from offset `first` on."""
        tail = self._tails.get(stream.uid)
        if tail is not None:
            tail.give(first, payloads)

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
