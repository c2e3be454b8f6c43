"""TransitSaver: LangGraph's checkpoints in a store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self

from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    CheckpointTuple,
    get_checkpoint_metadata,
)

from transit import ConflictError, ErasedError, InvalidInputError, Log
from transit.adapters.langgraph import removal
from transit.adapters.langgraph.configs import (
    Where,
    cleaned,
    config_of,
    headers_of,
    ordered,
    parent_of,
)
from transit.adapters.langgraph.history import Entry, Pieces
from transit.adapters.langgraph.index import Thread, Threads, threads_in
from transit.adapters.langgraph.names import hashed_name, thread_name
from transit.adapters.langgraph.putting import Put, PutWrites
from transit.adapters.langgraph.redacting import Cleaner, safe_name
from transit.adapters.langgraph.remembering import Seen
from transit.adapters.langgraph.removal import Removed
from transit.adapters.opening import Adapter, Place
from transit.adapters.removing import is_embedded
from transit.trace import Redaction

# Read at a time by asynchronous listing.
_AT_ONCE: Final = 32
_DURABLE: Final = ("local", "tiered", "replicated")
# The saver has a method of that name.
_List = list


class TransitSaver(Adapter, BaseCheckpointSaver):
    """Checkpoints of LangGraph, kept as records of a store that never change.

    log: a store, which stays the caller's to close; `TransitSaver.open` opens one. serde: what
    makes bytes of values; None: LangGraph's own. redact: what is not recorded; a run that is
    resumed then sees what stands for it. Safe for threads, for several processes on one store in
    mode "shared", and for synchronous and asynchronous graphs at once.
    """

    def __init__(
        self, log: Log | Place, *, serde: Any = None, redact: Redaction | None = None
    ) -> None:
        BaseCheckpointSaver.__init__(self, serde=serde)
        Adapter.__init__(self, log, redact=redact)
        self._threads = Threads()
        self._owed = False

    # Reading

    def get_tuple(self, config: Mapping[str, Any]) -> Any:
        """The checkpoint that a configuration names, or the newest of its thread; None for none."""
        place = self._where(config)
        thread = self._thread(place.thread_id)
        with thread.lock:
            thread.refresh(self.log)
            entry = thread.find(place.ns, place.checkpoint_id)
            if entry is None:
                return None
            newest = place.checkpoint_id is None or thread.find(place.ns, None) is entry
            return self._tuple(thread, entry, remembered=newest)

    def list(
        self,
        config: Mapping[str, Any] | None,
        *,
        filter: dict[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Iterator[Any]:
        """Checkpoints, the newest first: of a thread, or, where none is named, of all threads.

        filter: members that their metadata must have. before: only those older than its checkpoint.
        limit: how many at most.
        """
        left = limit
        for thread, entry in self._listed(config, before):
            if left is not None and left <= 0:
                return
            try:
                with thread.lock:
                    if filter and not self._matches(entry, filter):
                        continue
                    found = self._tuple(thread, entry)
            except ErasedError:
                # Deleted since the listing began.
                continue
            yield found
            left = None if left is None else left - 1

    def _listed(
        self, config: Mapping[str, Any] | None, before: Mapping[str, Any] | None
    ) -> _List[tuple[Thread, Entry]]:
        is_all = config is None or config.get("configurable", {}).get("thread_id") is None
        place = None if config is None or is_all else self._where(config)
        if place is None:
            threads = [self._threads.thread(self.log, *each) for each in threads_in(self.log)]
        else:
            threads = [self._thread(place.thread_id)]
        oldest = (before or {}).get("configurable", {}).get("checkpoint_id")
        found: _List[tuple[Thread, Entry]] = []
        for thread in threads:
            with thread.lock:
                thread.refresh(self.log)
                for ns, entries in thread.checkpoints.items():
                    if place is None or place.takes(ns):
                        found += [(thread, entry) for entry in entries.values()]
        if place is not None and place.checkpoint_id is not None:
            found = [each for each in found if each[1].id == place.checkpoint_id]
        if oldest is not None:
            found = [each for each in found if each[1].id < oldest]
        return sorted(found, key=lambda each: each[1].id, reverse=True)

    def _matches(self, entry: Entry, wanted: Mapping[str, Any]) -> bool:
        metadata = self._head(entry)[1]
        return all(metadata.get(key) == value for key, value in wanted.items())

    def _head(self, entry: Entry) -> Any:
        kind, data, _ = entry.history.part(entry.head)
        return self.serde.loads_typed((kind, data))

    def _tuple(self, thread: Thread, entry: Entry, *, remembered: bool = False) -> Any:
        head, metadata = self._head(entry)
        values: dict[str, Any] = {}
        for channel, value in entry.values.items():
            values[channel] = loaded = entry.history.load(value, self.serde)
            if remembered and isinstance(value, Pieces) and isinstance(loaded, _List):
                seen = Seen(self.serde)
                seen.add(loaded)
                value.seen = [*value.seen[:1], seen]
        versions = {name: v for name, v in entry.versions.items() if v is not None}
        checkpoint = {
            **head, "id": entry.id, "channel_values": values, "channel_versions": versions,
        }  # fmt: skip
        parent = None if entry.parent is None else config_of(thread, entry.ns, entry.parent)
        return CheckpointTuple(
            config=config_of(thread, entry.ns, entry.id),
            checkpoint=checkpoint,
            metadata=metadata,
            parent_config=parent,
            pending_writes=[
                (task, pending.channel, pending.history.load(pending.value, self.serde))
                for task, pending in ordered(entry)
            ],
        )

    def get_delta_channel_history(
        self, *, config: Mapping[str, Any], channels: Sequence[str]
    ) -> dict[str, Any]:
        """What channels that are kept as their changes are made of: see the base."""
        place = self._where(config)
        thread = self._thread(place.thread_id)
        with thread.lock:
            thread.refresh(self.log)
            target = thread.find(place.ns, place.checkpoint_id)
            return {channel: self._changes(thread, target, channel) for channel in channels}

    def _changes(self, thread: Thread, target: Entry | None, channel: str) -> dict[str, Any]:
        writes: _List[Any] = []
        entry = None if target is None else parent_of(thread, target)
        while entry is not None:
            writes += [
                (task, channel, pending.history.load(pending.value, self.serde))
                for task, pending in reversed(ordered(entry))
                if pending.channel == channel
            ]
            if channel in entry.values:
                seed = entry.history.load(entry.values[channel], self.serde)
                return {"writes": writes[::-1], "seed": seed}
            entry = parent_of(thread, entry)
        return {"writes": writes[::-1]}

    # Writing

    def put(
        self,
        config: Mapping[str, Any],
        checkpoint: Mapping[str, Any],
        metadata: Mapping[str, Any],
        new_versions: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Record a checkpoint, and return when it is as durable as the store is opened for.

        Raises `ConflictError` where its thread was removed since its parent was recorded.

        What was recorded of the thread before it is as durable then. Where its parent is not the
        newest of its namespace, a branch of the thread's stream begins at the parent.
        """
        place = self._where(config)
        whole = get_checkpoint_metadata(config, metadata)
        thread = self._thread(place.thread_id)
        count = 0
        if self._redact is not None:
            cleaner = Cleaner(self._redact)
            checkpoint, whole = cleaned(cleaner, checkpoint), cleaner.named(whole)
            new_versions = cleaner.named(new_versions)
            count = cleaner.count
        with thread.lock:
            put = Put(
                thread, self.serde, place.ns, place.checkpoint_id, checkpoint, whole, new_versions
            )
            headers = headers_of("checkpoint", place.ns, checkpoint["id"], whole, count)
            log = self.log
            thread.append(log, put, headers, _level_of(log))
        _settle(log)
        return config_of(thread, place.ns, checkpoint["id"])

    def put_writes(
        self,
        config: Mapping[str, Any],
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Record what a task wrote; it is durable with the checkpoint that follows.

        Errors, interrupts and answers to them, which none may follow, are durable at once.
        """
        place = self._where(config)
        if place.checkpoint_id is None:
            raise InvalidInputError("the configuration of writes has no checkpoint_id")
        numbered = [
            (WRITES_IDX_MAP.get(channel, number), channel, value)
            for number, (channel, value) in enumerate(writes)
        ]
        thread = self._thread(place.thread_id)
        task, count = (safe_name(self._redact, task_id), task_path), 0
        if self._redact is not None:
            cleaner = Cleaner(self._redact)
            numbered = [
                (number, cleaner.text(channel), cleaner.named({channel: value}).popitem()[1])
                for number, channel, value in numbered
            ]
            task, count = (task[0], cleaner.text(task_path)), cleaner.count
        with thread.lock:
            put = PutWrites(thread, self.serde, place.ns, place.checkpoint_id, numbered, task)
            headers = headers_of("writes", place.ns, place.checkpoint_id, {}, count)
            log = self.log
            written = thread.append(log, put, headers, _level_of(log))
        if written and any(number < 0 for number, _, _ in numbered):
            _settle(log)

    # Removal

    def delete_thread(self, thread_id: str) -> Removed:
        """Delete a thread; what is so afterwards, which a warning of the log says too.

        It is out of sight at once. In mode "exclusive" its bytes are freed, here and in the remote;
        in mode "shared" nobody can read them any more, and `close` of a saver that was opened here
        frees them when no other process has the store open. A server deletes for a token that has
        the right admin here, and frees bytes when its owner does. Its id stays in the lineage.
        Raises `RetainedError` when it is held, or must be kept.
        """
        return self._removed([self._remove(str(thread_id))])

    def _remove(self, thread_id: str) -> Removed:
        thread = self._thread(thread_id)
        with thread.lock:
            return removal.remove_thread(self.log, thread)

    def _removed(self, several: Iterable[Removed]) -> Removed:
        done = removal.erased(self.log, sum(several, Removed()))
        is_own = self._again is not None and is_embedded(self.log)
        if is_own and done.state == "deleted" and not done.kept:
            self._owed = True
        else:
            removal.warn(done)
        return done

    def close(self) -> None:
        """Close the store if it was opened here; publishes, and frees what was deleted, first."""
        super().close()
        if self._owed and self._again is not None:
            self._owed = False
            removal.free(self._again)

    def delete_for_runs(self, run_ids: Sequence[str]) -> Removed:
        """Delete the checkpoints of runs, in all threads, with the writes that they made."""
        if not run_ids:
            return Removed()
        wanted = frozenset(run_ids)

        def staying(thread: Thread) -> removal.Staying | None:
            return removal.without_runs(thread, self.serde, wanted)

        threads = [self._threads.thread(self.log, *each) for each in threads_in(self.log)]
        return self._removed(self._reduce(thread, staying) for thread in threads)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> Removed:
        """Delete old checkpoints of threads ("keep_latest"), or the threads ("delete").

        Of each namespace the newest checkpoint stays, with those before it that its delta channels
        are made of. What stays is written once more.
        """
        if strategy == "delete":
            return self._removed([self._remove(str(each)) for each in thread_ids])
        if strategy != "keep_latest":
            raise InvalidInputError(f"strategy must be keep_latest or delete, not {strategy!r}")

        def staying(thread: Thread) -> removal.Staying | None:
            return removal.newest(thread, self.serde)

        threads = [self._thread(str(each)) for each in thread_ids]
        return self._removed(self._reduce(thread, staying) for thread in threads)

    def _reduce(
        self, thread: Thread, staying: Callable[[Thread], removal.Staying | None]
    ) -> Removed:
        with thread.lock:
            while True:
                thread.refresh(self.log)
                found = staying(thread) if thread.members else None
                count = sum(map(len, thread.checkpoints.values()))
                if found is None or len(found.entries) == count:
                    return Removed()
                try:
                    if not found.entries:
                        return removal.remove_thread(self.log, thread)
                    return removal.keep_only(self.log, thread, found, self.serde)
                except ConflictError:
                    # Others wrote meanwhile.
                    continue

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Have a thread begin as another is now: as branches of its streams, which copy nothing.

        Raises `AlreadyExistsError` when the target is there.
        """
        source = self._thread(str(source_thread_id))
        with source.lock:
            source.refresh(self.log)
            removal.copy(self.log, source, self._thread(str(target_thread_id)))

    def _where(self, config: Mapping[str, Any]) -> Where:
        return Where(config, self._redact)

    def _thread(self, thread_id: str) -> Thread:
        """The thread of this id; its name says nothing of an id that has something to hide."""
        policy = self._redact
        if policy is None or safe_name(policy, thread_id) == thread_id:
            return self._threads.thread(self.log, thread_name(thread_id), thread_id)
        told = policy.text(thread_id)[0]
        return self._threads.thread(self.log, hashed_name(thread_id), thread_id, told)

    def get_next_version(self, current: Any, channel: None) -> Any:
        """The version after `current`: a number, or text where another saver gave text."""
        if current is None:
            return 1
        if isinstance(current, str):
            # As LangGraph's own savers make them.
            return f"{int(current.partition('.')[0]) + 1:032}.{random.random():016}"
        return current + 1

    # The same for asyncio: on threads, so that no file or socket keeps the loop waiting.

    async def aget_tuple(self, config: Mapping[str, Any]) -> Any:
        """See `get_tuple`."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(
        self,
        config: Mapping[str, Any] | None,
        *,
        filter: dict[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Any]:
        """See `list`."""
        found = self.list(config, filter=filter, before=before, limit=limit)
        while several := await asyncio.to_thread(lambda: [*islice(found, _AT_ONCE)]):
            for each in several:
                yield each

    async def aput(
        self,
        config: Mapping[str, Any],
        checkpoint: Mapping[str, Any],
        metadata: Mapping[str, Any],
        new_versions: Mapping[str, Any],
    ) -> dict[str, Any]:
        """See `put`."""
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: Mapping[str, Any],
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """See `put_writes`."""
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> Removed:
        """See `delete_thread`."""
        return await asyncio.to_thread(self.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> Removed:
        """See `delete_for_runs`."""
        return await asyncio.to_thread(self.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """See `copy_thread`."""
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> Removed:
        """See `prune`."""
        return await asyncio.to_thread(self.prune, thread_ids, strategy=strategy)

    async def aget_delta_channel_history(
        self, *, config: Mapping[str, Any], channels: Sequence[str]
    ) -> dict[str, Any]:
        """See `get_delta_channel_history`."""
        return await asyncio.to_thread(
            self.get_delta_channel_history, config=config, channels=channels
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)


def _level_of(log: Log) -> str | None:
    """What each record waits for before the next: nothing, where a sync follows.

    A server syncs for administrators alone: there each record waits for itself.
    """
    return "os" if is_embedded(log) and log.durability in _DURABLE else None


def _settle(log: Log) -> None:
    """Make what was recorded as durable as the store is opened for."""
    level = log.durability
    if is_embedded(log) and level in _DURABLE:
        log.sync(level)
