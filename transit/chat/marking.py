"""Readers: which messages somebody has seen, for each thread apart, durably.

A reader is a stream of its own, so that one person's marks are nobody else's. What was seen stays
seen, whichever thread a message is in later; a mark in one thread says nothing of another; nothing
is marked but what the application says was seen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from transit import NotFoundError, Stream
from transit.chat.index import SAID, Index
from transit.chat.messages import Message, message_at
from transit.chat.naming import (
    LAYER,
    ensure,
    find,
    last_part,
    metadata_of,
    reader_name,
    readers_prefix,
)
from transit.chat.posts import Said
from transit.chat.records import (
    MALFORMED,
    POSITION,
    PositionBody,
    decode_position,
    encode,
    headers_of,
)
from transit.chat.threads import Thread, Threaded

_MARKS_MAX: Final = 10_000
"""Messages in one record."""


class Reader:
    """What one reader has seen of a channel; made by `Channel.reader`. Safe for threads."""

    def __init__(self, channel: Threaded, who: str) -> None:
        self.channel, self.who = channel, who
        self._name = reader_name(channel.stream.uid, who)
        self._lock = threading.RLock()
        self._stream: Stream | None = None
        self._stop = 0
        # One byte a record of the channel: whether it was seen.
        self._seen = bytearray()
        self._positions: dict[int, int] = {}
        self._replies: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<transit.chat.Reader {self.who!r} of {self.channel.name!r}>"

    # Marking

    def seen(self, message: Said | Thread) -> None:
        """The reader has seen a message, and those before it in its thread; or a whole thread.

        Seeing a reply in a branch says nothing of messages in the channel, nor the other way.
        """
        if isinstance(message, Thread):
            self._seen_thread(message)
            return
        stream, _, offset = self.channel.find(message)
        thread = self.channel.threads().of(message)
        if stream == self.channel.stream:
            self._mark(thread, offset + 1)
        else:
            self._mark_replies(thread, stream, offset + 1)

    def _seen_thread(self, thread: Thread) -> None:
        self._mark(thread, thread.members[-1] + 1)
        for stream in thread.branches:
            known = self.channel.branch(stream.name)[1]
            self._mark_replies(thread, stream, known.stop)

    def _mark(self, thread: Thread, stop: int) -> None:
        with self._lock:
            self._refresh()
            new = [each for each in thread.members if each < stop and not self._is_seen(each)]
            for start in range(0, len(new), _MARKS_MAX):
                marked = new[start : start + _MARKS_MAX]
                self._write(PositionBody(thread.root, stop, marked))

    def _mark_replies(self, thread: Thread, branch: Stream, stop: int) -> None:
        with self._lock:
            self._refresh()
            if self._replies.get(branch.name, 0) < stop:
                self._write(PositionBody(thread.root, branch=branch.name, seen_replies=stop))

    def _write(self, body: PositionBody) -> None:
        channel = self.channel
        if self._stream is None:
            metadata = {**metadata_of(channel.stream, "channel-reader"), "reader_id": self.who}
            self._stream = ensure(channel.log, self._name, metadata)
        self._stream.append(encode(body), headers=headers_of(POSITION, self.who))
        self._refresh()

    # Looking

    def position(self, thread: Thread) -> int:
        """The offset after the last message of a thread that was seen in the channel; 0: none."""
        with self._lock:
            self._refresh()
            return self._positions.get(thread.root, 0)

    def unread(self, thread: Thread | None = None) -> int:
        """How many messages of a thread, or of all, the reader has not seen.

        Not counted: what the reader wrote, lines of the platform, and what was removed.
        """
        if thread is None:
            return sum(self.counts().values())
        with self._lock:
            self._refresh()
            return self._count(thread, self.channel.index)

    def counts(self) -> dict[int, int]:
        """For each thread with messages that were not seen, how many; by its first message.

        A message of which nothing was decided is a thread of its own. Without threads that are
        suppressed.
        """
        fold = self.channel.threads().fold
        found: dict[int, int] = {}
        with self._lock:
            self._refresh()
            index = self.channel.index
            for offset in self._unseen_of(self._candidates(index), index):
                root = fold.root(offset)
                found[root] = found.get(root, 0) + 1
            for anchor, name in index.branches.items():
                count = self._count_replies(name)
                if count:
                    root = fold.root(anchor)
                    found[root] = found.get(root, 0) + count
        return {root: found[root] for root in sorted(found) if fold.state(root)[0] != "suppress"}

    def messages(self, thread: Thread) -> Iterator[Message]:
        """The messages of a thread that `unread` counts: of the channel, then of its branches."""
        with self._lock:
            self._refresh()
            index = self.channel.index
            offsets = list(self._unseen(thread, index))
            replies = [
                (stream, known, offset)
                for stream, known in thread.replies()
                for offset in self._unseen_replies(stream, known)
            ]
        for offset in offsets:
            yield message_at(self.channel.stream, index, offset)
        for stream, known, offset in replies:
            yield message_at(stream, known, offset)

    def _count(self, thread: Thread, index: Index) -> int:
        count = sum(1 for _ in self._unseen(thread, index))
        for stream, known in thread.replies():
            count += sum(1 for _ in self._unseen_replies(stream, known))
        return count

    def _count_replies(self, name: str) -> int:
        try:
            stream, known = self.channel.branch(name)
        except NotFoundError:
            # One that was deleted.
            return 0
        return sum(1 for _ in self._unseen_replies(stream, known))

    def _candidates(self, index: Index) -> Iterator[int]:
        """All offsets that were not seen."""
        seen = self._seen
        offset = seen.find(0)
        while offset >= 0:
            yield offset
            offset = seen.find(0, offset + 1)
        yield from range(max(len(seen), index.start), index.stop)

    def _unseen(self, thread: Thread, index: Index) -> Iterator[int]:
        return self._unseen_of(thread.members, index)

    def _unseen_of(self, offsets: Iterable[int], index: Index) -> Iterator[int]:
        me, removed, seen, size = (
            index.number_of(self.who),
            index.removed,
            self._seen,
            len(self._seen),
        )
        for offset in offsets:
            if offset < size and seen[offset]:
                continue
            if index.kind(offset) != SAID or index.author(offset) == me or offset in removed:
                continue
            yield offset

    def _unseen_replies(self, stream: Stream, known: Index) -> Iterator[int]:
        me = known.number_of(self.who)
        for offset in known.messages(self._replies.get(stream.name, 0)):
            if known.author(offset) != me and offset not in known.removed:
                yield offset

    def _is_seen(self, offset: int) -> bool:
        return offset < len(self._seen) and bool(self._seen[offset])

    def _refresh(self) -> None:
        if self._stream is None:
            self._stream = find(self.channel.log, self._name)
            if self._stream is None:
                return
        stop = self._stream.next_offset
        if stop == self._stop:
            return
        count = self.channel.stream.next_offset
        for record in self._stream.read(self._stop, stop):
            with suppress(*MALFORMED):
                self._take(decode_position(record.payload), count)
        self._stop = stop

    def _take(self, body: PositionBody, count: int) -> None:
        if body.branch:
            before = self._replies.get(body.branch, 0)
            self._replies[body.branch] = max(before, body.seen_replies)
            return
        self._positions[body.thread] = max(self._positions.get(body.thread, 0), body.seen)
        marked = [each for each in body.marked if 0 <= each < count]
        missing = max(marked, default=-1) + 1 - len(self._seen)
        if missing > 0:
            self._seen.extend(bytes(missing))
        for offset in marked:
            self._seen[offset] = 1


def readers(channel: Threaded) -> Iterator[str]:
    """Who has seen anything of a channel."""
    for stream in channel.log.layer(LAYER).streams(readers_prefix(channel.stream.uid)):
        yield last_part(stream.name)
