"""TransitConversationStore: pydantic-ai's conversations in a store."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from pydantic_ai.conversation_store import (
    ConversationConflict,
    ConversationEntry,
    ConversationRecord,
    ConversationStore,
)

from transit import (
    DependentsError,
    ErasedError,
    InvalidInputError,
    Log,
    NotFoundError,
    StorePermissionError,
    Stream,
)
from transit.adapters.opening import Adapter, Place
from transit.adapters.pydantic_ai.conversation import PREFIX, ConversationLog, last_record
from transit.adapters.removing import Removed, is_embedded
from transit.adapters.waiting import Workers
from transit.trace import Redaction

_KNOWN_MAX: Final = 256
_T = TypeVar("_T")


class TransitConversationStore(Adapter, ConversationStore):
    """A `ConversationStore` of pydantic-ai; `cls(log)`, or `cls.open(folder)`.

    Each message is stored once; a save is written whole or not at all, and only over the revision
    it was made for, whichever process wrote that. A fork is a branch of the conversation's stream.
    `delete` deletes the records of a conversation (the bytes go with `Log.erase`), but for what
    forks of it need, or a server does not let this client delete: `remove` says what became of it.

    redact: a policy for what messages say, the ids of conversations and scopes; a conversation that
    is continued has what it left, and a scope that it changes is nobody's. durability: what is
    waited for; None: the store's.
    """

    def __init__(
        self,
        log: Log | Place,
        *,
        redact: Redaction | None = None,
        durability: str | None = None,
    ) -> None:
        super().__init__(log, redact=redact)
        self._durability = durability
        self._workers = Workers()
        self._lock = threading.Lock()
        self._known: OrderedDict[str, ConversationLog] = OrderedDict()

    # The primitives

    async def read_record(self, conversation_id: str) -> ConversationRecord | None:
        """The record of a conversation, or None."""
        known = self._conversation(conversation_id)
        return await self._workers.ask(conversation_id, lambda: known.record(self.log))

    async def read_records(
        self, *, scope: str | None = None, limit: int | None = None
    ) -> Sequence[ConversationRecord]:
        """The records, or those of a scope, the newest first."""
        if self._redact is not None and scope is not None:
            scope = self._redact.text(scope)[0]

        def found() -> list[ConversationRecord]:
            records = [each for each in map(self._last, self.log.streams(PREFIX)) if each]
            mine = [each for each in records if scope is None or each.scope == scope]
            mine.sort(key=lambda record: record.updated_at, reverse=True)
            return mine[:limit]

        return await self._workers.ask("", found)

    async def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Sequence[ConversationEntry] = (),
        expected_revision: str | None,
    ) -> None:
        """Save a record with its new entries, in one frame, over the revision that is expected."""
        known, entries = self._conversation(record.conversation_id), list(new_entries)

        def write() -> None:
            source = self._source(record, expected_revision)
            known.write(self.log, record, entries, expected_revision, source)

        await self._change(record.conversation_id, write)

    async def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        """Delete a conversation, over the revision that is expected: see `remove`."""
        reason = "the conversation was deleted"
        await self._change(
            conversation_id,
            lambda: self._remove(conversation_id, expected_revision, reason, "owner"),
        )

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        """The entry with this id; `KeyError`."""
        (found,) = await self.read_history(entry_id, limit=1)
        return found

    async def read_history(
        self, head_id: str | None, *, limit: int | None = None
    ) -> list[ConversationEntry]:
        """The entries up to `head_id`, or the last `limit` of them; `KeyError`.

        At once for conversations whose record was read before; for others all are looked at.
        """
        if head_id is None or limit == 0:
            return []

        def found() -> list[ConversationEntry]:
            return self._holder(head_id).history(self.log, head_id, limit)

        return await self._workers.ask("", found)

    # Beyond pydantic-ai

    async def remove(self, conversation_id: str, *, reason: str, basis: str = "owner") -> Removed:
        """Delete a conversation, and say what became of each stream. None is there: nothing does.

        reason, basis: as `Log.delete` takes them. What forks need is hidden, and is deleted with
        the last fork of it.
        """

        def remove() -> Removed:
            try:
                return self._remove(conversation_id, None, reason, basis)
            except ConversationConflict:
                return Removed((), ())

        return await self._change(conversation_id, remove)

    def close(self) -> None:
        """Wait for what is being written; close the store if it was opened here."""
        self._workers.close()
        super().close()

    # Inside

    def _conversation(self, conversation_id: str) -> ConversationLog:
        if not isinstance(conversation_id, str):
            raise InvalidInputError(f"a conversation's id is text, not {conversation_id!r}")
        with self._lock:
            found = self._known.get(conversation_id)
            if found is None:
                found = ConversationLog(conversation_id, self._redact, self._durability)
                self._known[conversation_id] = found
            self._known.move_to_end(conversation_id)
            while len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
            return found

    def _source(self, record: ConversationRecord, expected: str | None) -> ConversationLog | None:
        """The conversation that a new one is forked from."""
        if expected is not None or record.forked_from is None:
            return None
        source = self._conversation(record.forked_from)
        if record.head_id is None:
            return source if source.record(self.log) is not None else None
        return source if source.holds(self.log, record.head_id) else None

    def _holder(self, entry_id: str) -> ConversationLog:
        """The conversation that has an entry."""
        with self._lock:
            known = list(reversed(self._known.values()))
        log = self.log
        for conversation in known:
            if entry_id in conversation.places and conversation.holds(log, entry_id):
                return conversation
        for stream in log.streams(PREFIX):
            said = stream.metadata.get("conversation_id")
            if isinstance(said, str):
                conversation = self._conversation(said)
                if conversation.name == stream.name and conversation.holds(log, entry_id):
                    return conversation
        raise KeyError(entry_id)

    def _last(self, stream: Stream) -> ConversationRecord | None:
        try:
            return last_record(self.log, stream)
        except (ErasedError, NotFoundError):
            # Deleted meanwhile.
            return None

    def _remove(
        self, conversation_id: str, expected: str | None, reason: str, basis: str
    ) -> Removed:
        log, known = self.log, self._conversation(conversation_id)
        parents = self._hidden_parents(log, known.name)
        name, is_deleted = known.delete(log, expected, reason, basis)
        if not is_deleted:
            return Removed((), (name,))
        gone = [name]
        for parent in parents:
            try:
                # It was deleted before, and kept for this fork.
                done = log.delete(parent, reason=reason, basis=basis)
                gone += done.streams or (parent.name,)
            except DependentsError:
                break
            except StorePermissionError:
                if is_embedded(log):
                    raise
                break
        return Removed(tuple(gone), ())

    @staticmethod
    def _hidden_parents(log: Log, name: str) -> list[Stream]:
        """The conversations that were deleted and kept for this one, the nearest first."""
        found: list[Stream] = []
        # The stream itself, and not its name: there may be other hidden ones of that name.
        parents = log.lineage.parents(name) if name in log else ()
        while parents and parents[0].hidden and not parents[0].deleted:
            found.append(parents[0])
            parents = log.lineage.parents(parents[0])
        return found

    async def _change(self, conversation_id: str, call: Callable[[], _T]) -> _T:
        return await self._workers.change(conversation_id, call)
