"""The records of one conversation.

A conversation is the stream `pydantic-ai/<conversation>`. Kinds of records (header `kind`):

    entry     an entry: id, parent_id, message
    record    the conversation's record as it was saved: the last one of its own counts

A save is one frame: new entries, then the record, on the condition that nobody wrote since the
revision was compared. A fork is a branch of the stream at the entry that it goes on from, and so
has all entries before it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from pydantic_ai.conversation_store import (
    ConversationConflict,
    ConversationEntry,
    ConversationRecord,
)

from transit import (
    AlreadyExistsError,
    ConflictError,
    DependentsError,
    ErasedError,
    Log,
    NotFoundError,
    Record,
    Stream,
    StreamFinishedError,
)
from transit.adapters.encoding import LARGE, Encoded, decode, stored, value_of
from transit.adapters.naming import described, quoted
from transit.adapters.pydantic_ai.forms import entry_form, entry_of, record_form, record_of
from transit.adapters.removing import delete_or_hide
from transit.trace import Redaction

PREFIX: Final = "pydantic-ai/"
KIND: Final = "kind"
ID: Final = "id"
PARENT: Final = "parent_id"
_TRIES: Final = 1000
_LOST: Final = (ConflictError, StreamFinishedError, ErasedError, AlreadyExistsError)


class Place(NamedTuple):
    """Where an entry is, and the id of the one before it."""

    offset: int
    parent: str | None


class _Ids(msgspec.Struct):
    id: str
    parent_id: str | None = None


_ids_of: Final = msgspec.json.Decoder(_Ids)


class ConversationLog:
    """One conversation. Safe for threads."""

    def __init__(
        self, conversation_id: str, redact: Redaction | None, durability: str | None
    ) -> None:
        self.conversation_id = conversation_id
        self.name = PREFIX + quoted(conversation_id, redact)
        self._redact, self._durability = redact, durability
        self._lock = threading.RLock()
        self._forget()

    def _forget(self) -> None:
        self._stream: Stream | None = None
        self._seen = 0
        self._record: Record | None = None
        self.places: dict[str, Place] = {}

    # Reading

    def record(self, log: Log) -> ConversationRecord | None:
        """The record; None where there is no such conversation."""
        with self._lock:
            self._refresh(log)
            if self._record is None:
                return None
            found = record_of(value_of(log, self._record))
            # A policy may have changed it; by this id it was found.
            found.conversation_id = self.conversation_id
            return found

    def holds(self, log: Log, entry_id: str) -> bool:
        """Whether an entry is here."""
        with self._lock:
            self._refresh(log)
            return entry_id in self.places

    def history(self, log: Log, head_id: str, limit: int | None) -> list[ConversationEntry]:
        """The entries up to `head_id`, or the last `limit` of them; `KeyError`."""
        with self._lock:
            self._refresh(log)
            offsets: list[int] = []
            entry_id: str | None = head_id
            while entry_id is not None and (limit is None or len(offsets) < limit):
                place = self.places[entry_id]
                offsets.append(place.offset)
                entry_id = place.parent
            offsets.reverse()
            return [entry_of(value_of(log, each)) for each in self._records(offsets)]

    def _records(self, offsets: list[int]) -> list[Record]:
        """The records at these offsets, read in runs."""
        stream = self._stream
        if not offsets or stream is None:
            return []
        found: dict[int, Record] = {}
        start = offsets[0]
        for before, after in zip(offsets, [*offsets[1:], -1], strict=True):
            # A few records that are not asked for cost less than another run.
            if not before < after <= before + 8:
                found.update((each.offset, each) for each in stream.read(start, before + 1))
                start = after
        return [found[offset] for offset in offsets]

    # Writing

    def write(
        self,
        log: Log,
        record: ConversationRecord,
        entries: Sequence[ConversationEntry],
        expected: str | None,
        source: ConversationLog | None,
    ) -> None:
        """Save; `ConversationConflict` where the revision is another, or an entry is missing."""
        forms = [self._entry(entry) for entry in entries]
        last = record_form(record, self._redact)
        forms.append(Encoded(last.payload, {KIND: "record", **last.headers}))
        new = {entry.id for entry in entries}
        for _ in range(_TRIES):
            try:
                with self._lock:
                    # Nobody else may take up what was written in between.
                    self._check(log, expected)
                    self._write(log, record, forms, new, source)
                return
            except NotFoundError:
                break
            except _LOST:
                continue
        raise ConversationConflict(record.conversation_id)

    def _check(self, log: Log, expected: str | None) -> None:
        found = self.record(log)
        if (None if found is None else found.revision) != expected:
            raise ConversationConflict(self.conversation_id)

    def _entry(self, entry: ConversationEntry) -> Encoded:
        form = entry_form(entry, self._redact)
        form.headers[KIND] = "entry"
        return form

    def _write(
        self,
        log: Log,
        record: ConversationRecord,
        forms: list[Encoded],
        new: set[str],
        source: ConversationLog | None,
    ) -> None:
        head = record.head_id
        missing = head is not None and head not in new and head not in self.places
        kept = [self._stored(log, each) for each in forms]
        payloads, headers = [each.payload for each in kept], [each.headers for each in kept]
        if self._stream is not None:
            if missing:
                raise NotFoundError(f"{self.name}: no entry {head}")
            self._stream.append_many(
                payloads, headers=headers, expect=self._seen, durability=self._durability
            )
            return
        if missing and source is None:
            raise NotFoundError(f"{self.name}: no entry {head}")
        ids = {
            "conversation_id": record.conversation_id,
            "scope": record.scope,
            "forked_from": record.forked_from,
        }
        about = {key: value for key, value in ids.items() if value is not None}
        metadata = described("pydantic-ai", "pydantic-ai-slim", about, self._redact)
        with log.batch(durability=self._durability) as batch:
            if source is None or source._stream is None:
                staged = batch.create(self.name, metadata)
            elif head is None or head in new:
                staged = batch.branch(source._stream, self.name, metadata=metadata, empty=True)
            else:
                at = source.places[head].offset
                staged = batch.branch(source._stream, self.name, at, metadata)
            batch.append_many(staged, payloads, headers=headers)

    def _stored(self, log: Log, given: Encoded) -> Encoded:
        kept = stored(log, given, self._durability)
        if LARGE in kept.headers and kept.headers[KIND] == "entry":
            ids = _ids_of.decode(given.payload)
            kept.headers[ID] = ids.id
            if ids.parent_id is not None:
                kept.headers[PARENT] = ids.parent_id
        return kept

    def delete(self, log: Log, expected: str | None, reason: str, basis: str) -> tuple[str, bool]:
        """Delete: the stream's name, and whether its records are gone for readers.

        expected: the revision; `ConversationConflict` where it is another. They are not gone where
        forks need them, or a server does not let this client delete: the stream is hidden then.
        """
        for _ in range(_TRIES):
            with self._lock:
                if expected is not None:
                    self._check(log, expected)
                found, stream, seen = self.record(log), self._stream, self._seen
            if found is None or stream is None:
                break
            try:
                return stream.name, self._delete(log, stream, seen, reason, basis)
            except _LOST:
                continue
        raise ConversationConflict(self.conversation_id)

    @staticmethod
    def _delete(log: Log, stream: Stream, seen: int, reason: str, basis: str) -> bool:
        try:
            done = delete_or_hide(log, stream, reason=reason, basis=basis, expect=seen)
        except DependentsError:
            log.hide(stream, reason=reason, expect=seen)
            return False
        return bool(done.deleted)

    # Inside

    def _refresh(self, log: Log) -> None:
        """Take up what was written since, by whomever."""
        try:
            stream = log.stream(self.name)
        except NotFoundError:
            self._forget()
            return
        if self._stream is None or stream.uid != self._stream.uid:
            self._forget()
        # Of the store as it is open now: it may have been opened again.
        self._stream = stream
        own = stream.own_start
        try:
            for record in stream.read(self._seen):
                self._take(record, own)
        except ErasedError:
            self._forget()

    def _take(self, record: Record, own: int) -> None:
        kind = record.headers.get(KIND)
        if kind == "record" and record.offset >= own:
            self._record = record
        elif kind == "entry":
            entry_id = record.headers.get(ID)
            parent = record.headers.get(PARENT)
            if entry_id is None:
                entry_id, parent = _ids(record.payload)
            self.places.setdefault(entry_id, Place(record.offset, parent))
        self._seen = record.offset + 1


def last_record(log: Log, stream: Stream) -> ConversationRecord | None:
    """The record of a conversation that is not looked at otherwise; None where there is none."""
    if len(stream) <= stream.own_start:
        return None
    last = stream[-1]
    if last.headers.get(KIND) != "record":
        return None
    found = record_of(value_of(log, last))
    said = stream.metadata.get("conversation_id")
    if isinstance(said, str) and quoted(said) == stream.name.removeprefix(PREFIX):
        found.conversation_id = said
    return found


def _ids(payload: bytes) -> tuple[str, str | None]:
    try:
        found: Any = _ids_of.decode(payload)
    except ValueError:
        # What only Python's JSON has.
        form = decode(payload)
        return str(form["id"]), form.get("parent_id")
    return found.id, found.parent_id
