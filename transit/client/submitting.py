"""Submitted records on their way: gathered into frames by a thread, their futures resolved.

Owns the order (records go out as they were submitted), what one frame takes, and how much memory
all that waits may take: `submit` itself waits beyond that. While one frame is on its way the next
one gathers, so a slow network has larger frames, not more of them.

`submit` may be called in the middle of another call of its thread, as by a signal handler. So what
it does takes no lock; what it cannot do there is wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from transit import (
    InvalidInputError,
    NotFoundError,
    Receipt,
    StorePermissionError,
    StreamFinishedError,
    TransitError,
)
from transit.config import Durability, Encrypted
from transit.handle.background import Worker
from transit.handle.callbacks import Promise
from transit.handle.promises import Callbacks
from transit.protocol.calls import AppendMany, FrameAnswer, FrameRequest
from transit.watches import Latch

FRAME_RECORDS: Final = 8192
FRAME_BYTES: Final = 1024 * 1024
WAITING_BYTES_MAX: Final = 16 * 1024 * 1024
# What a record takes beside its payload: its future, its place in the queue.
_RECORD_BYTES: Final = 1024
_WAIT_S: Final = 3600.0

# Nothing of the frame was written, and it may be because of one stream.
_OF_ONE_STREAM: Final = (
    InvalidInputError,
    NotFoundError,
    StorePermissionError,
    StreamFinishedError,
)


class Item(NamedTuple):
    """A submitted record. reference: the stream, as the server takes it. name: as receipts do."""

    reference: str
    name: str
    payload: bytes
    headers: Mapping[str, str] | None
    timestamp: int | None
    durability: Durability
    future: Promise[Receipt]


Group = list[Item]
Send = Callable[[FrameRequest], FrameAnswer]


class Submitting:
    """What was submitted and not answered yet.

    send: has a frame written. may_wait: whether this thread is in no other call. frame_bytes_max:
    the most that a server takes. encrypted: as receipts say it.
    """

    def __init__(
        self,
        send: Send,
        may_wait: Callable[[], bool],
        frame_bytes_max: int,
        encrypted: Encrypted = "none",
    ) -> None:
        self._send = send
        self._encrypted = encrypted
        self._may_wait = may_wait
        self._frame_bytes = min(FRAME_BYTES, frame_bytes_max // 2)
        self._waiting: deque[Item | Latch] = deque()
        # About: it only bounds memory.
        self._bytes = 0
        self._is_awake = False
        self._error: BaseException | None = None
        self._worker = Worker("transit-submit", self._work, self._fail)
        self.callbacks = Callbacks()

    def add(self, item: Item) -> None:
        """Take a record; waits while too much is on its way."""
        self._bytes += len(item.payload) + _RECORD_BYTES
        self._waiting.append(item)
        if not self._is_awake:
            self._wake()
        if self._bytes > WAITING_BYTES_MAX and self._may_wait():
            self.settle()

    def settle(self) -> None:
        """Return once all that was submitted before was answered."""
        if not self._waiting and not self._is_awake:
            return
        if self._worker.is_here:
            return
        latch = Latch()
        self._waiting.append(latch)
        self._wake()
        latch.wait(_WAIT_S)

    def close(self) -> None:
        """Send what waits, and end the threads."""
        self.settle()
        self._worker.stop()
        self.callbacks.close()

    def _wake(self) -> None:
        self._is_awake = True
        if not self._worker.wake_now():
            # There can be no thread, as when the interpreter ends.
            self._work()

    def _fail(self, error: BaseException) -> None:
        """A bug of our own ends the thread: nothing may wait for it."""
        self._error = error
        while self._waiting:
            each = self._waiting.popleft()
            if isinstance(each, Latch):
                each.rouse()
            else:
                each.future.set_exception(error)

    # In the thread

    def _work(self) -> None:
        while True:
            while self._waiting:
                each = self._waiting[0]
                if isinstance(each, Latch):
                    self._waiting.popleft()
                    each.rouse()
                else:
                    # See `_write`.
                    del each
                    self._write(self._take())
            # Taken back before the last look: what is added while it is set is seen then.
            self._is_awake = False
            if not self._waiting:
                return
            self._is_awake = True

    def _take(self) -> list[Group]:
        """The records of the next frame, by stream."""
        groups: dict[str, Group] = {}
        waiting, count, size = self._waiting, 0, 0
        durability: Durability | None = None
        # Most records are for the stream of the one before.
        reference, group = "", Group()
        while waiting and count < FRAME_RECORDS:
            each = waiting[0]
            if isinstance(each, Latch) or durability not in (None, each.durability):
                break
            size += len(each.payload) + (64 * len(each.headers) if each.headers else 0)
            if count and size > self._frame_bytes:
                break
            if each.reference != reference:
                reference = each.reference
                group = groups.setdefault(reference, [])
            # A step has times or has none: after a change the next frame goes on.
            if group and (group[0].timestamp is None) is not (each.timestamp is None):
                break
            durability = each.durability
            group.append(each)
            waiting.popleft()
            count += 1
        return [group for group in groups.values() if group]

    def _write(self, groups: Sequence[Group]) -> None:
        try:
            answer = self._send(FrameRequest(list(map(_as_step, groups)), groups[0][0].durability))
        except TransitError as error:
            if len(groups) > 1 and isinstance(error, _OF_ONE_STREAM):
                for group in groups:
                    self._write([group])
                return
            for group in groups:
                self._end(group, None, error)
            # Each of them has the error now, and that has this frame.
            del groups, group
        else:
            for group, made in zip(groups, answer.receipts, strict=True):
                self._end(group, (made.offset, made.timestamp, answer.durability), None)
        self.callbacks.wake()

    def _end(
        self, group: Group, made: tuple[int, int, Durability] | None, error: TransitError | None
    ) -> None:
        """Resolve the futures of a step."""
        first, time, durability = made or (0, 0, "os")
        self._bytes -= sum([len(item.payload) for item in group]) + _RECORD_BYTES * len(group)
        receipt: Receipt | None = None
        for offset, (_, name, _, _, timestamp, _, future) in enumerate(group, first):
            if error is None:
                given = time if timestamp is None else timestamp
                receipt = Receipt(name, offset, given, durability, 1, self._encrypted)
            # One that was cancelled stays so: the record is written all the same.
            if future.end(receipt, error):
                self.callbacks.add(future)


def _as_step(group: Group) -> AppendMany:
    headers: list[Mapping[str, str] | None] | None = None
    if any(item.headers for item in group):
        headers = [item.headers or None for item in group]
    times = None
    if group[0].timestamp is not None:
        times = [item.timestamp or 0 for item in group]
    return AppendMany(
        stream=group[0].reference,
        payloads=[item.payload for item in group],
        headers=headers,
        timestamps=times,
    )
