"""What a system under comparison offers: named streams of payloads, each record with a timestamp.

An adapter does what a user of that system would do, no less and no more: every record is stored
with the time of its append, in nanoseconds, and found again by its offset. A stream begins with its
first append. What a system cannot do raises `NotSupported` with the reason, which the report shows;
a fork that copies is made by copying, and `fork_by` says so.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import ClassVar, Literal, NamedTuple, TypeVar

Level = Literal["buffered", "durable"]
"""buffered: handed on, so that it survives the process. durable: synced, survives the power."""
POLL_S = 0.001
_T = TypeVar("_T")


class NotSupported(Exception):
    """What was asked for is not something this system does; the message says why."""


class Columns(NamedTuple):
    """Records as a system hands out columns: how many, and the bytes of their payloads."""

    records: int
    data: memoryview


class System(ABC):
    """One system, closed until `open` is called; `append_one` is safe for several threads.

    name: what the command line calls it. title: what the report does. version: of what is measured.
    durability: what a record that was appended survives, and which setting makes it so; a level
    that is not there cannot be had. lacks: why, by the name of a method or level. fork_by: how.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[str]
    durability: ClassVar[Mapping[Level, str]]
    lacks: ClassVar[Mapping[str, str]] = {}
    fork_by: ClassVar[str] = "copying"

    def open(self, folder: str, level: Level) -> None:
        """Begin an empty store in the empty folder `folder`."""
        if level not in self.durability:
            raise self.lack(level)
        self._open(folder, level)

    @abstractmethod
    def _open(self, folder: str, level: Level) -> None: ...

    @abstractmethod
    def append_one(self, stream: str, payload: bytes) -> None:
        """Append one record; returns once the level it was opened with is reached."""

    @abstractmethod
    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        """Append records in as few steps as the system allows."""

    def sync(self) -> None:
        """Make everything appended so far durable."""
        raise self.lack("sync")

    def settle(self) -> None:
        """What an operator does when nothing more comes: seal, checkpoint, compact, pack."""
        return

    @abstractmethod
    def replay(self, stream: str) -> Iterator[object]:
        """Every record in order, one object each as the system hands it out; see `payload_of`."""

    def payload_of(self, row: object) -> bytes:
        """The payload of what `replay` gave: the second of a pair, unless said otherwise."""
        assert isinstance(row, tuple)
        payload = row[1]
        assert isinstance(payload, bytes)
        return payload

    def batches(self, stream: str) -> Iterator[Columns]:
        """Every record in order, as columns."""
        raise self.lack("batches")

    def get(self, stream: str, offset: int) -> bytes:
        """The payload at an offset."""
        raise self.lack("get")

    def tail(self, folder: str, stream: str) -> Iterator[bytes]:
        """Payloads of `stream` as another process appends them in `folder`; never opened itself."""
        raise self.lack("tail")

    def fork(self, stream: str, name: str, at: int) -> None:
        """A new stream `name` that has the records of `stream` up to and including offset `at`."""
        raise self.lack("fork")

    @abstractmethod
    def close(self) -> None:
        """Let go of everything that is open."""

    def lack(self, what: str) -> NotSupported:
        """The error that says why there is no `what`."""
        return NotSupported(self.lacks.get(what, f"no {what}"))


class Offsets:
    """The next offset of each stream, for systems that have none of their own."""

    def __init__(self) -> None:
        self._next: dict[str, count[int]] = {}

    def take(self, stream: str) -> int:
        """An offset that no other call gets."""
        # One step of C: threads need no lock.
        return next(self._next.setdefault(stream, count()))

    def take_many(self, stream: str, wanted: int) -> range:
        """`wanted` offsets in a row; not for threads that append to the same stream."""
        first = self.take(stream)
        self.start(stream, first + wanted)
        return range(first, first + wanted)

    def start(self, stream: str, offset: int) -> None:
        """Go on from `offset`."""
        self._next[stream] = count(offset)


def plain(stream: str) -> str:
    """The name of a stream in letters, digits, "-" and "_", as files and branches may be called."""
    return stream.replace("_", "_u").replace("/", "_s")


def polled(look: Callable[[], Sequence[_T]]) -> Iterator[_T]:
    """What `look` finds anew, once a millisecond; for systems that do not notify readers."""
    while True:
        yield from look()
        time.sleep(POLL_S)
