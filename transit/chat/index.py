"""What a reader has to know of a channel, or of a thread's branch, before it shows one message.

Owns which offsets are messages, whose they are, which changes each has, and which ids are taken: a
fold over the records' headers, gone on with when there are more. It takes 5 bytes a record and 24
to 48 an id; texts stay in the stream.

Invariants: it depends on the records and on nothing else; a record that is none of the room's is
passed over.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from transit import Stream
from transit.chat.identities import Identities, hash_of
from transit.chat.records import (
    AUTHOR,
    BACKLINK,
    CHANGES,
    KIND,
    MALFORMED,
    MESSAGE_ID,
    MESSAGES,
    PARTICIPANT,
    REMOVAL,
    SUMMARY,
    SYSTEM,
    decode_backlink,
    decode_participant,
    decode_summary,
    decode_target,
)

NOTHING: Final = 0
SAID: Final = 1
TOLD: Final = 2
"""A message of somebody; a line of the platform itself, such as that somebody joined."""
_NOBODY: Final = 0


class Index:
    """The fold of one stream's records from `start` on. Safe for threads."""

    def __init__(self, stream: Stream, start: int = 0) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self.start = self.stop = start
        self._kinds = bytearray()
        self._authors = array("I")
        self._names: dict[str, int] = {"": _NOBODY}
        self._identities = Identities()
        self.has = self._identities.has
        """Whether an id with this hash is taken."""
        self.first = self._identities.first
        """The first offset of an id with this hash, -1 where there is none."""
        self.changes: dict[int, list[int]] = {}
        """Offsets of edits, reactions and removals, by the message that they are about."""
        self.removed: set[int] = set()
        self.branches: dict[int, str] = {}
        """Names of the branches that replies are in, by the offset where they fork."""
        self.summaries: dict[int, list[int]] = {}
        """Offsets of summaries, by the message that their thread begins with."""
        self.members: dict[str, tuple[str, str]] = {}
        """What each participant is called, and whether they are there: "joined", "left"."""

    def refresh(self) -> Index:
        """Take in what came since."""
        if self._stream.next_offset > self.stop:
            with self._lock:
                self._read(self._stream.next_offset)
        return self

    def note(self, offset: int, headers: Mapping[str, str], payload: bytes) -> None:
        """Take in a record that was just appended here, where it is the next one."""
        with self._lock:
            if offset == self.stop:
                self._take_all(offset, (headers,), lambda: (payload,))

    def note_all(
        self, first: int, headers: Sequence[Mapping[str, str]], payloads: Sequence[bytes]
    ) -> None:
        """Take in records that were just appended here from `first` on, where it is the next."""
        with self._lock:
            if first == self.stop:
                self._take_all(first, headers, lambda: payloads)

    def note_message(self, offset: int, author: str, value: int) -> None:
        """Take in a message that was just appended here; value: the hash of its id."""
        with self._lock:
            if offset == self.stop:
                names = self._names
                number = names.get(author)
                if number is None:
                    number = names[author] = len(names)
                self._identities.add(value, offset)
                self._authors.append(number)
                self._kinds.append(SAID)
                self.stop = offset + 1

    def kind(self, offset: int) -> int:
        """NOTHING, SAID or TOLD."""
        place = offset - self.start
        return self._kinds[place] if 0 <= place < len(self._kinds) else NOTHING

    def author(self, offset: int) -> int:
        """The number of the author of a message, as `number_of` gives it."""
        return self._authors[offset - self.start]

    def number_of(self, author: str) -> int | None:
        """The number of an author; None where they wrote nothing here."""
        return self._names.get(author)

    def messages(self, start: int, stop: int | None = None) -> Iterator[int]:
        """The offsets of messages."""
        kinds, first = self._kinds, self.start
        end = self.stop if stop is None else min(stop, self.stop)
        for offset in range(max(start, first), end):
            if kinds[offset - first]:
                yield offset

    def find(self, message_id: str) -> int | None:
        """The offset of the record that was first given this id; None where there is none."""
        for offset in self._identities.find(hash_of(message_id)):
            if self._stream[offset].headers.get(MESSAGE_ID) == message_id:
                return offset
        return None

    def _read(self, stop: int) -> None:
        for batch in self._stream.batches(self.stop, stop):
            self._take_all(batch.offsets[0], batch.headers, partial(getattr, batch, "payloads"))

    def _take_all(
        self,
        first: int,
        headers: Sequence[Mapping[str, str]],
        payloads: Callable[[], Sequence[bytes]],
    ) -> None:
        """Take in records; `payloads` is called where not all are messages."""
        names, kinds, authors = self._names, self._kinds, self._authors
        given: Sequence[bytes] | None = None
        values, offsets = array("Q"), array("Q")
        for offset, each in enumerate(headers, first):
            kind, author = each.get(KIND), each.get(AUTHOR, "")
            if kind in MESSAGES:
                shown = TOLD if SYSTEM in each else SAID
            elif kind is None:
                shown = NOTHING
            else:
                given = payloads() if given is None else given
                shown = self._told(kind, author, offset, given[offset - first])
            number = names.get(author) if shown else _NOBODY
            if number is None:
                number = names[author] = len(names)
            called = each.get(MESSAGE_ID)
            if called is not None:
                values.append(hash_of(called))
                offsets.append(offset)
            authors.append(number)
            kinds.append(shown)
        self._identities.add_all(values, offsets)
        self.stop = first + len(headers)

    def _told(self, kind: str, author: str, offset: int, payload: bytes) -> int:
        """Take in what is no message; whether it is shown as one."""
        with suppress(*MALFORMED):
            if kind == PARTICIPANT:
                self._participant(author, payload)
            else:
                self._other(kind, offset, payload)
        return TOLD if kind == PARTICIPANT else NOTHING

    def _other(self, kind: str, offset: int, payload: bytes) -> None:
        if kind in CHANGES:
            of = decode_target(payload).of
            if self.kind(of):
                self.changes.setdefault(of, []).append(offset)
                if kind == REMOVAL:
                    self.removed.add(of)
        elif kind == BACKLINK:
            link = decode_backlink(payload)
            self.branches.setdefault(link.fork_offset, link.thread)
        elif kind == SUMMARY:
            self.summaries.setdefault(decode_summary(payload).of, []).append(offset)

    def _participant(self, author: str, payload: bytes) -> None:
        told = decode_participant(payload)
        before = self.members.get(author, ("", ""))
        there = before[1] if told.change == "renamed" else told.change
        self.members[author] = (told.name or before[0], there)
