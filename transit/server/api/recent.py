"""Which streams of the store changed lately, the last ones last: one watch for all who ask.

Each stream is kept once, however often it changed, so what a reader has not heard yet never grows
beyond the streams there are. A position is the number of a change in this server's life. Of
`KEPT_MAX` streams it is known when they changed; who comes from further back, or from another
server's life, is told that all may have changed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from typing import Final, NamedTuple

from transit import Log, Stream, Watch

KEPT_MAX: Final = 100_000
LINGER_S: Final = 300.0
"""How long it goes on without readers: they come back when their connections were ended."""


class Change(NamedTuple):
    """The last change of a stream. standing: how far it reached, and its flags."""

    number: int
    stream: Stream
    standing: tuple[int, bool, bool]


class Recent:
    """The changes of one store, for one event loop; watched from the first reader on."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._watch: Watch | None = None
        self._epoch = ""
        # The number of the last change, and of the last that was forgotten.
        self._number = self._floor = 0
        self._changed: OrderedDict[str, Change] = OrderedDict()
        self._readers: set[asyncio.Event] = set()
        # Why there is nothing to come; None while there may be.
        self.ended: str | None = None

    @property
    def number(self) -> int:
        """The number of the last change."""
        return self._number

    @contextmanager
    def read_by(self, moved: asyncio.Event) -> Iterator[None]:
        """Set `moved` at each change."""
        if self._watch is None or self._watch.closed:
            self._begin()
        self._readers.add(moved)
        try:
            yield
        finally:
            self._readers.discard(moved)
            if not self._readers:
                asyncio.get_running_loop().call_later(LINGER_S, self._end_idle, self._watch)

    def position(self, number: int) -> str:
        """What names the place behind this change."""
        return f"{self._epoch}.{number}"

    def number_of(self, position: str) -> int | None:
        """The number of the change that a position names; None for none of this server's life."""
        epoch, _, text = position.partition(".")
        if epoch != self._epoch or not (text.isascii() and text.isdigit() and len(text) < 19):
            return None
        return int(text) if int(text) <= self._number else None

    def since(self, number: int) -> list[Stream] | None:
        """The streams that changed after this change, the last ones last; None: not known."""
        if number < self._floor:
            return None
        last = takewhile(lambda each: each.number > number, reversed(self._changed.values()))
        return [each.stream for each in last][::-1]

    def _begin(self) -> None:
        self._epoch = secrets.token_hex(6)
        self._number = self._floor = 0
        self._changed.clear()
        self.ended = None
        call = partial(self._call, asyncio.get_running_loop(), self._epoch)
        self._watch = self._log.watch(call)

    def _call(
        self, loop: asyncio.AbstractEventLoop, epoch: str, streams: tuple[Stream, ...]
    ) -> None:
        """What the store calls: with those that changed, or with none at the end."""
        # In this order: nothing is appended after a stream was finished.
        found = [(each, (each.finished, each.hidden), len(each)) for each in streams]
        try:
            loop.call_soon_threadsafe(self._take, epoch, found)
        except RuntimeError:
            # The loop is closed: nobody reads any more.
            watch = self._watch
            if watch is not None:
                watch.close()

    def _take(self, epoch: str, found: list[tuple[Stream, tuple[bool, bool], int]]) -> None:
        if epoch != self._epoch:
            return
        if not found:
            error = None if self._watch is None else self._watch.error
            self.ended = str(error or "the store was closed")
        self._number += 1
        for stream, flags, reached in found:
            known, standing = self._changed.get(stream.uid), (reached, *flags)
            # The store tells it of streams too that others begin to watch.
            if known is None or known.standing != standing:
                self._changed[stream.uid] = Change(self._number, stream, standing)
                self._changed.move_to_end(stream.uid)
        while len(self._changed) > KEPT_MAX:
            self._floor = self._changed.popitem(last=False)[1].number
        for moved in self._readers:
            moved.set()

    def _end_idle(self, watch: Watch | None) -> None:
        if watch is not None and watch is self._watch and not self._readers:
            watch.close()
            self._watch = None
            self._changed.clear()
