"""The channels of a served store as they are looked at: each is folded once for all who look.

Owns what is kept of a channel between two looks, and how much of it is read: as much as is shown.
What is told is of `transit.server.talk`. Leaves to those who ask whether
a client may read the channel; which branches it may read is asked of them for each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from transit import ErasedError, Log, Receipt, Stream
from transit.chat.folding import Folding
from transit.chat.index import SAID, Index
from transit.chat.messages import message_at
from transit.chat.naming import frozen_prefix
from transit.chat.opening import Channel
from transit.chat.records import (
    AUTHOR,
    CHANNEL_ROOT,
    KIND,
    THREAD_FROZEN,
    decode_summary,
)
from transit.chat.threads import Thread, Threads
from transit.server.talk import (
    TEXT_MAX,
    WORD_MAX,
    ChannelRow,
    Frozen,
    Line,
    Lines,
    Said,
    Summed,
    ThreadRow,
    WholeThread,
    Why,
    cut,
    last_said,
    said_of,
    title_of,
    why_of,
)

FROZEN_MAX: Final = 20
CHANNELS_MAX: Final = 256
_SHOWN_MAX: Final = 2_000
_COUNTED_MAX: Final = 10_000
"""Records of a channel whose messages are counted only to be listed."""
Allows = Callable[[str], bool]


class Kept:
    """A channel that is looked at. For any thread: one looks at a time."""

    def __init__(self, log: Log, stream: Stream) -> None:
        self.channel = Channel(log, stream)
        self._lock = threading.RLock()
        self._said: dict[tuple[str, int], tuple[int, Said]] = {}
        # How many messages there are up to a record.
        self._counted = (0, 0)
        self._last: tuple[int, Said | None] = (0, None)
        self._roots: tuple[Folding | None, tuple[int, int], dict[str, list[int]]] = None, (0, 0), {}

    # Looking

    def row(self) -> ChannelRow:
        """The channel as it is listed."""
        stream = self.channel.stream
        count = stream.next_offset
        with self._lock:
            is_counted = self._counted[0] or count <= _COUNTED_MAX
            messages = self._count(self.channel.index) if is_counted else None
            if self._last[0] != count:
                self._last = count, last_said(stream, count)
            purpose = cut(self.channel.purpose, WORD_MAX)
            return ChannelRow(stream.uid, stream.name, purpose, count, messages, self._last[1])

    def lines(self, allows: Allows, start: int | None, limit: int) -> Lines:
        """The messages from an offset on; None: the last ones."""
        with self._lock:
            # In this order: of what is decided the messages are known.
            threads = self.channel.threads()
            index = self.channel.index
            offsets: list[int] = []
            if start is not None:
                offsets = _first(index.messages(start), limit)
            if not offsets:
                offsets = _before(index, index.stop, limit)
            begin = offsets[0] if offsets else 0
            end = offsets[-1] + 1 if offsets else index.stop
            earlier = _before(index, begin, limit)
            return Lines(
                [self._line(threads, index, offset, allows) for offset in offsets],
                begin,
                end,
                self._count(index),
                earlier[0] if earlier else None,
                next(index.messages(end), None),
            )

    def threads(
        self, allows: Allows, state: str, start: int, limit: int
    ) -> tuple[list[ThreadRow], int]:
        """Some threads, those spoken in last first, and how many there are of this state."""
        with self._lock:
            threads = self.channel.threads()
            roots = self._sorted(threads, self.channel.index).get(state, [])
            part = roots[start : start + limit]
            return [self._row(Thread(threads, root), allows) for root in part], len(roots)

    def thread(self, allows: Allows, message: int, start: int | None, limit: int) -> WholeThread:
        """The thread that a message is in, and some of its messages; None: the last page."""
        with self._lock:
            threads = self.channel.threads()
            index = self.channel.index
            thread = threads.of(message)
            stream = self.channel.stream
            places = [(stream, index, each) for each in thread.members if index.kind(each)]
            branches = list(_branches(thread, allows))
            for branch, known in branches:
                places += [(branch, known, each) for each in known.messages(known.start)]
            last = max(len(places) - 1, 0) // limit * limit
            start = last if start is None else start
            lines = [
                self._line(threads, index, offset, allows)
                if at is stream
                else self._reply(thread.root, at, known, offset)
                for at, known, offset in places[start : start + limit]
            ]
            return WholeThread(
                self._row(thread, allows),
                lines,
                start,
                len(places),
                self._state(threads, thread.root),
                [branch.name for branch, _ in branches],
                list(self._frozen(thread, allows)),
            )

    def write(self, work: Callable[[Channel], Receipt]) -> Receipt:
        """Say something; nobody looks at the same time."""
        with self._lock:
            return work(self.channel)

    # Parts of it

    def _count(self, index: Index) -> int:
        looked, count = self._counted
        if looked < index.stop:
            count += sum(1 for _ in index.messages(looked, index.stop))
            self._counted = index.stop, count
        return count

    def _line(self, threads: Threads, index: Index, offset: int, allows: Allows) -> Line:
        stream = self.channel.stream
        root = threads.fold.root(offset)
        replies = 0
        if offset in index.branches:
            for branch, known in _branches(Thread(threads, root), allows):
                if branch.own_start == offset + 1:
                    replies += sum(1 for _ in known.messages(known.start))
        return Line(
            stream.name,
            offset,
            self._shown(stream, index, offset),
            root,
            self._title(index, root),
            self._why(threads, offset, root),
            replies=replies,
        )

    def _reply(self, root: int, stream: Stream, known: Index, offset: int) -> Line:
        return Line(
            stream.name, offset, self._shown(stream, known, offset), root, "", Why(), is_reply=True
        )

    def _shown(self, stream: Stream, index: Index, offset: int) -> Said:
        """What a message says, read again once something was said of it."""
        key, changes = (stream.uid, offset), len(index.changes.get(offset, ()))
        known = self._said.get(key)
        if known is not None and known[0] == changes:
            return known[1]
        try:
            said = said_of(message_at(stream, index, offset))
        except ErasedError:
            said = Said("", "", 0, is_gone=True)
        if len(self._said) >= _SHOWN_MAX:
            self._said.clear()
        self._said[key] = changes, said
        return said

    def _title(self, index: Index, root: int) -> str:
        return title_of(self._shown(self.channel.stream, index, root)) if index.kind(root) else ""

    def _why(self, threads: Threads, offset: int, root: int) -> Why:
        fold = threads.fold
        found = threads.why(offset)
        is_merged = root != offset and fold.parent(offset) is None and fold.is_decided(offset)
        if found is None:
            return Why(is_merged=is_merged)
        return msgspec.structs.replace(why_of(found), is_merged=is_merged)

    def _state(self, threads: Threads, root: int) -> Why:
        """Who said how the thread stands."""
        place = threads.fold.state(root)[1]
        for found in threads.decisions(place) if place >= 0 else ():
            return why_of(found)
        return Why()

    def _row(self, thread: Thread, allows: Allows) -> ThreadRow:
        index, stream = self.channel.index, self.channel.stream
        members = [each for each in thread.members if index.kind(each)]
        first = self._shown(stream, index, thread.root)
        last = self._shown(stream, index, members[-1]).time if members else first.time
        replies = 0
        for branch, known in _branches(thread, allows):
            offsets = list(known.messages(known.start))
            replies += len(offsets)
            if offsets:
                last = max(last, self._shown(branch, known, offsets[-1]).time)
        return ThreadRow(
            thread.root, title_of(first), first.name, thread.state, len(members), replies,
            first.time, last, self._summary(thread, index),
        )  # fmt: skip

    def _summary(self, thread: Thread, index: Index) -> Summed | None:
        """The last summary alone: there may be many."""
        places = index.summaries.get(thread.root)
        if not places:
            return None
        try:
            record = self.channel.stream[places[-1]]
        except ErasedError:
            return None
        body, head = decode_summary(record.payload), thread.head
        is_stale = head.channel > body.covers or head.replies > body.covers_replies
        by = cut(record.headers.get(AUTHOR, ""), WORD_MAX)
        return Summed(cut(body.text, TEXT_MAX), by, record.timestamp, is_stale)

    def _sorted(self, threads: Threads, index: Index) -> dict[str, list[int]]:
        """The first messages of the threads by state, made anew when something changed."""
        fold, stops = threads.fold, (threads.fold.stop, index.stop)
        if self._roots[0] is not fold or self._roots[1] != stops:
            found: dict[str, list[int]] = {}
            lasts = (
                (each.members[-1], each)
                for each in threads.all()
                # Not lines of the platform that nobody answered.
                if index.kind(each.root) == SAID
                or len(each.members) > 1
                or each.root in index.branches
            )
            for _, thread in sorted(lasts, key=lambda each: -each[0]):
                found.setdefault(thread.state, []).append(thread.root)
            self._roots = fold, stops, found
        return self._roots[2]

    def _frozen(self, thread: Thread, allows: Allows) -> Iterator[Frozen]:
        prefix = f"{frozen_prefix(self.channel.name)}{thread.root}"
        wanted = {KIND: THREAD_FROZEN, "anchor_ref": thread.anchor_ref}
        for stream in self.channel.log.streams(prefix, where=wanted, limit=FROZEN_MAX):
            if allows(stream.name):
                by, reason = (str(stream.metadata.get(key, "")) for key in ("frozen_by", "reason"))
                yield Frozen(
                    stream.name, stream.next_offset, cut(by, WORD_MAX), cut(reason, WORD_MAX)
                )


class Channels:
    """The channels of one store. For any thread."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._kept: dict[str, Kept] = {}

    def of(self, stream: Stream) -> Kept:
        """A channel; `InvalidInputError` where the stream is none."""
        with self._lock:
            # The ones that were looked at last are at the end.
            found = self._kept.pop(stream.uid, None) or Kept(self._log, stream)
            self._kept[stream.uid] = found
            if len(self._kept) > CHANNELS_MAX:
                del self._kept[next(iter(self._kept))]
            return found

    def is_any(self, allows: Allows) -> bool:
        """Whether there is a channel that a client may read."""
        found = self._log.streams(where={KIND: CHANNEL_ROOT})
        return any(allows(each.name) for each in found)

    def streams(self, allows: Allows, prefix: str = "") -> list[Stream]:
        """The channels that a client may read, the newest first."""
        found = self._log.streams(prefix, where={KIND: CHANNEL_ROOT})
        return [each for each in found if allows(each.name)][::-1]


def _branches(thread: Thread, allows: Allows) -> Iterator[tuple[Stream, Index]]:
    # A branch may have any name.
    return ((stream, known) for stream, known in thread.replies() if allows(stream.name))


def _first(offsets: Iterator[int], limit: int) -> list[int]:
    return [offset for offset, _ in zip(offsets, range(limit), strict=False)]


def _before(index: Index, stop: int, limit: int) -> list[int]:
    """The last messages before an offset, in order."""
    found: list[int] = []
    offset = stop - 1
    while offset >= index.start and len(found) < limit:
        if index.kind(offset):
            found.append(offset)
        offset -= 1
    return found[::-1]
