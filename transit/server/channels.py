"""The channels of a served store as they are looked at: each is folded once for all who look.

Owns what is kept of a channel between two looks, and what is told of a channel, a message and a
thread, in bounds: texts are cut, and as many are read as are shown. Leaves to those who ask whether
a client may read the channel; which branches it may read is asked of them for each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from transit import ErasedError, Log, Stream
from transit.chat.folding import Folding
from transit.chat.index import Index
from transit.chat.messages import Message, fold, message_at
from transit.chat.naming import frozen_prefix
from transit.chat.posting import Channel
from transit.chat.records import (
    AUTHOR,
    CHANGES,
    CHANNEL_ROOT,
    KIND,
    MALFORMED,
    MESSAGES,
    SYSTEM,
    THREAD_FROZEN,
    decode_summary,
    decode_target,
)
from transit.chat.thread import Thread
from transit.chat.threads import Threads
from transit.chat.verdicts import Decision, Override

TEXT_MAX: Final = 4_000
WORD_MAX: Final = 200
TITLE_MAX: Final = 100
"""Characters of a message, of a name or a reason, of a thread's first message where it is named."""
REACTIONS_MAX: Final = 20
FROZEN_MAX: Final = 20
BACK_MAX: Final = 256
"""Records that the last message of a channel is sought in, where it is only listed."""
CHANNELS_MAX: Final = 256
_SHOWN_MAX: Final = 2_000
_COUNTED_MAX: Final = 10_000
"""Records of a channel whose messages are counted only to be listed."""
Allows = Callable[[str], bool]


class Said(msgspec.Struct, frozen=True):
    """What a message says. left: characters of its text that are not shown.

    removed, reason: who removed it, and why. is_gone: its record was deleted.
    """

    author: str
    name: str
    time: int
    text: str = ""
    left: int = 0
    edits: int = 0
    edited_by: str = ""
    reactions: tuple[tuple[str, int], ...] = ()
    is_removed: bool = False
    removed_by: str = ""
    reason: str = ""
    is_system: bool = False
    is_gone: bool = False
    answers: int | None = None
    id: str = ""


class Why(msgspec.Struct, frozen=True):
    """Why a message is in its thread.

    kind: decided, proposed, said (by a person), or "" where nobody said anything. by: the
    classifier, or the person. parent: what the message answers by that; None: it
    starts a thread. others: other parents and their scores. record: the offset in the decisions.
    is_merged: a person made its thread one with another.
    """

    kind: str = ""
    by: str = ""
    version: str = ""
    action: str = ""
    reason: str = ""
    parent: int | None = None
    score: float = 0.0
    threshold: float = 0.0
    others: tuple[tuple[int | None, float], ...] = ()
    record: int = -1
    is_merged: bool = False


class Line(msgspec.Struct, frozen=True):
    """A message in its place. thread: the first message of its thread; title: of that.

    replies: how many are in branches at this message.
    """

    stream: str
    offset: int
    said: Said
    thread: int
    title: str
    why: Why
    is_reply: bool = False
    replies: int = 0


class Lines(msgspec.Struct, frozen=True):
    """Some messages of a channel. begin, end: offsets; count: of all.

    earlier, later: where the messages before and behind them begin; None where none are.
    """

    lines: Sequence[Line]
    begin: int
    end: int
    count: int
    earlier: int | None
    later: int | None


class Summed(msgspec.Struct, frozen=True):
    """A summary of a thread. is_stale: there is more now."""

    text: str
    by: str
    time: int
    is_stale: bool


class ThreadRow(msgspec.Struct, frozen=True):
    """A thread as it is listed. last: when something was last said in it."""

    root: int
    title: str
    author: str
    state: str
    messages: int
    replies: int
    begun: int
    last: int
    summary: Summed | None


class Frozen(msgspec.Struct, frozen=True):
    """A frozen copy of a thread."""

    name: str
    records: int
    by: str
    reason: str


class WholeThread(msgspec.Struct, frozen=True):
    """A thread that is looked at: its row, a page of its messages, and what was made of it."""

    row: ThreadRow
    lines: Sequence[Line]
    number: int
    pages: int
    count: int
    state: Why
    branches: Sequence[str]
    frozen: Sequence[Frozen]


class ChannelRow(msgspec.Struct, frozen=True):
    """A channel as it is listed. messages: how many; None where only records are counted."""

    uid: str
    name: str
    purpose: str
    records: int
    messages: int | None
    last: Said | None


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

    def thread(self, allows: Allows, message: int, number: int | None, limit: int) -> WholeThread:
        """The thread that a message is in, and a page of its messages; None: the last page."""
        with self._lock:
            threads = self.channel.threads()
            index = self.channel.index
            thread = threads.of(message)
            stream = self.channel.stream
            places = [(stream, index, each) for each in thread.members if index.kind(each)]
            branches = list(_branches(thread, allows))
            for branch, known in branches:
                places += [(branch, known, each) for each in known.messages(known.start)]
            pages = max(1, -(-len(places) // limit))
            number = pages if number is None else min(max(number, 1), pages)
            lines = [
                self._line(threads, index, offset, allows)
                if at is stream
                else self._reply(thread.root, at, known, offset)
                for at, known, offset in places[(number - 1) * limit : number * limit]
            ]
            return WholeThread(
                self._row(thread, allows),
                sorted(lines, key=lambda line: line.said.time),
                number,
                pages,
                len(places),
                self._state(threads, thread.root),
                [branch.name for branch, _ in branches],
                list(self._frozen(thread, allows)),
            )

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
            lasts = ((each.members[-1], each) for each in threads.all())
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

    def streams(self, allows: Allows, prefix: str = "") -> list[Stream]:
        """The channels that a client may read, the newest first."""
        found = self._log.streams(prefix, where={KIND: CHANNEL_ROOT})
        return [each for each in found if allows(each.name)][::-1]


def last_said(stream: Stream, count: int) -> Said | None:
    """The last message among the last records of a channel, as it is shown."""
    records = list(stream.read(max(stream.first_offset, count - BACK_MAX), count))
    for place in range(len(records) - 1, -1, -1):
        record = records[place]
        if record.headers.get(KIND) in MESSAGES:
            changes = [
                each
                for each in records[place:]
                if each.headers.get(KIND) in CHANGES and _target(each.payload) == record.offset
            ]
            is_system = SYSTEM in record.headers
            return said_of(fold(stream.name, record, changes, is_system=is_system))
    return None


def said_of(message: Message) -> Said:
    """What a message says, in bounds."""
    reactions = [(cut(key, 40), len(who)) for key, who in message.reactions.items()]
    text = message.text
    return Said(
        author=cut(message.author, WORD_MAX),
        name=cut(message.name, WORD_MAX),
        time=message.time,
        text=text[:TEXT_MAX],
        left=max(0, len(text) - TEXT_MAX),
        edits=len(message.edits),
        edited_by=cut(message.edits[-1].author, WORD_MAX) if message.edits else "",
        reactions=tuple(reactions[:REACTIONS_MAX]),
        is_removed=message.removed,
        removed_by=cut(message.removed_by, WORD_MAX),
        reason=cut(message.removed_reason, WORD_MAX),
        is_system=message.system,
        answers=message.answers,
        id=cut(message.id, WORD_MAX),
    )


def title_of(said: Said) -> str:
    """The first message of a thread, where the thread is named."""
    if said.is_removed or said.is_gone:
        return "(removed)"
    line = said.text.strip().partition("\n")[0]
    return cut(line, TITLE_MAX) or "(empty)"


def why_of(found: Decision | Override) -> Why:
    """What a record of decisions says of a message."""
    if isinstance(found, Override):
        return Why(
            "said",
            cut(found.by, WORD_MAX),
            action=cut(found.action, WORD_MAX),
            reason=cut(found.reason, WORD_MAX),
            parent=found.parent,
            record=found.position.offset,
        )
    return Why(
        "decided" if found.decided else "proposed",
        cut(found.classifier, WORD_MAX),
        cut(found.version, WORD_MAX),
        parent=found.parent,
        score=found.score,
        threshold=found.threshold,
        others=tuple((each.parent, each.score) for each in found.alternatives[:3]),
        record=found.position.offset,
    )


def cut(text: str, most: int) -> str:
    """The beginning of a text."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _branches(thread: Thread, allows: Allows) -> Iterator[tuple[Stream, Index]]:
    # A branch may have any name.
    return ((stream, known) for stream, known in thread.replies() if allows(stream.name))


def _target(payload: bytes) -> int:
    try:
        return decode_target(payload).of
    except MALFORMED:
        return -1


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
