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
from collections.abc import Iterator, Mapping
from contextlib import suppress
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
                self._take(offset, headers, payload)

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
            payloads = None
            for place, (offset, headers) in enumerate(
                zip(batch.offsets, batch.headers, strict=True)
            ):
                if headers.get(KIND) in MESSAGES:
                    self._take(offset, headers, b"")
                    continue
                if payloads is None:
                    payloads = batch.payloads
                self._take(offset, headers, payloads[place])

    def _take(self, offset: int, headers: Mapping[str, str], payload: bytes) -> None:
        kind, author = headers.get(KIND), headers.get(AUTHOR, "")
        shown = NOTHING
        if kind in MESSAGES:
            shown = TOLD if SYSTEM in headers else SAID
        elif kind == PARTICIPANT:
            shown = TOLD
            with suppress(*MALFORMED):
                self._participant(author, payload)
        elif kind is not None:
            with suppress(*MALFORMED):
                self._other(kind, author, offset, payload)
        number = self._names.setdefault(author, len(self._names)) if shown else _NOBODY
        if MESSAGE_ID in headers:
            self._identities.add(hash_of(headers[MESSAGE_ID]), offset)
        self._authors.append(number)
        self._kinds.append(shown)
        self.stop = offset + 1

    def _other(self, kind: str, author: str, offset: int, payload: bytes) -> None:
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
