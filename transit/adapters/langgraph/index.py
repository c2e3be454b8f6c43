"""Index: what the threads of a store have, in memory, made again by reading their streams.

Owns how a thread is found, kept up with what other processes append, and written to. A checkpoint
whose parent is the newest of its namespace is appended to that one's stream; any other is a fork,
and begins a branch at its parent.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from transit import (
    AlreadyExistsError,
    ConflictError,
    ErasedError,
    Log,
    NotFoundError,
    Stream,
    StreamFinishedError,
)
from transit.adapters.langgraph.history import Entry, History, Pending, Value, Writing
from transit.adapters.langgraph.names import (
    OF,
    PREFIX,
    STARTS,
    THREAD,
    first_metadata,
    fork_metadata,
    member_name,
)
from transit.adapters.langgraph.records import (
    CheckpointRecord,
    ThreadRecord,
    WritesRecord,
    check_format,
    encode,
)

# Others may be faster so many times in a row.
_TRIES_MAX: Final = 200
# How often it is looked at what all threads take.
_USES: Final = 256
_THREADS_MAX: Final = 1000
_BYTES_MAX: Final = 256 * 1024 * 1024


class Plan:
    """A record to append to one stream, and, for a fork, where that stream begins."""

    def __init__(self, history: History, record: ThreadRecord, writing: Writing) -> None:
        self.history = history
        self.record = record
        self.writing = writing


class Appendable(Protocol):
    """What a thread appends. It is asked again where others were faster."""

    @property
    def ns(self) -> str:
        """The namespace of the checkpoint that it is about."""

    @property
    def after(self) -> str | None:
        """The checkpoint that it goes on from; None for none."""

    def knows(self) -> bool:
        """Whether the thread has all that it refers to, whatever others wrote since."""

    def fork(self) -> Entry | None:
        """The checkpoint at which a branch must begin first; None for none."""

    def plan(self) -> Plan | None:
        """The record, and where it goes; None where there is nothing to append."""


class Thread:
    """What one thread has. Used under its lock, after `refresh`."""

    def __init__(self, name: str, thread_id: str, told: str | None = None) -> None:
        self.lock = threading.RLock()
        self.name = name
        self.thread_id = thread_id
        # The id as streams may say it.
        self.told = thread_id if told is None else told
        self.members: list[History] = []
        self.checkpoints: dict[str, dict[str, Entry]] = {}
        # A channel's value by namespace, channel and version, for checkpoints without a parent.
        self._by_version: dict[tuple[str, str, object], tuple[History, Value]] = {}
        # Writes whose checkpoint is not there yet.
        self._early: dict[tuple[str, str], dict[tuple[str, int], Pending]] = {}
        # Checkpoints of the thread as it was before it was last removed.
        self._removed: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """Bytes of parts in memory, about."""
        return sum(history.size for history in self.members)

    # Reading

    def refresh(self, log: Log) -> None:
        """Take in what was written since, by any process; forget what was removed."""
        self.look()
        try:
            self._take_in(log)
        except (NotFoundError, ErasedError):
            # There is none, or it was removed this very moment.
            self._clear()

    def look(self) -> None:
        """Forget the thread where it was removed."""
        if self.members and self.members[0].stream.hidden:
            ids = (entry_id for of_ns in self.checkpoints.values() for entry_id in of_ns)
            self._removed = frozenset(ids)
            self._clear()

    def _take_in(self, log: Log) -> None:
        if not self.members:
            self._add(log.stream(self.name))
        while (name := member_name(self.name, len(self.members))) in log:
            self._add(log.stream(name))
        for history in self.members:
            if history.stream.next_offset > history.stop:
                for offset, record in history.catch_up():
                    self._apply(history, offset, record)

    def _add(self, stream: Stream) -> History:
        check_format(stream.metadata, stream.name)
        of, starts = stream.metadata.get(OF), stream.metadata.get(STARTS)
        if isinstance(of, int) and isinstance(starts, int) and of < len(self.members):
            history = History(stream, self.members[of], starts)
        else:
            history = History(stream)
        self.members.append(history)
        return history

    def _clear(self) -> None:
        self.members = []
        self.checkpoints = {}
        self._by_version = {}
        self._early = {}

    def _apply(self, history: History, offset: int, record: ThreadRecord) -> Mapping[str, Value]:
        """Take in a record whose parts are there; the values that it has."""
        if isinstance(record, CheckpointRecord):
            entry = history.take_checkpoint(offset, record)
            self._take_entry(entry, record)
            return entry.values
        values: dict[str, Value] = {}
        for number, channel, kind, pieces in record.writes:
            value = history.value_of(offset, kind, pieces)
            pending = Pending(history, record.path, channel, value)
            self._take_write(record, number, pending)
            values[channel] = value
        return values

    def _take_entry(self, entry: Entry, record: CheckpointRecord) -> None:
        of_ns = self.checkpoints.setdefault(entry.ns, {})
        replaced = of_ns.get(entry.id)
        if replaced is not None:
            entry.writes = replaced.writes
        of_ns[entry.id] = entry
        for channel, (version, _, _) in record.changed.items():
            key = (entry.ns, channel, version)
            self._by_version[key] = entry.history, entry.values.get(channel)
        entry.writes.update(self._early.pop((entry.ns, entry.id), {}))

    def _take_write(self, record: WritesRecord, number: int, pending: Pending) -> None:
        key = (record.task, number)
        writes = self.writes_of(record.ns, record.id)
        if number < 0 or key not in writes:
            writes[key] = pending

    def find(self, ns: str, checkpoint_id: str | None) -> Entry | None:
        """A checkpoint of a namespace, None: the newest."""
        found = self.checkpoints.get(ns)
        if not found:
            return None
        return found[max(found)] if checkpoint_id is None else found.get(checkpoint_id)

    def writes_of(self, ns: str, checkpoint_id: str) -> dict[tuple[str, int], Pending]:
        """The writes after a checkpoint, by task and number; it may not be there yet."""
        entry = self.checkpoints.get(ns, {}).get(checkpoint_id)
        if entry is None:
            return self._early.setdefault((ns, checkpoint_id), {})
        return entry.writes

    def value_at(self, ns: str, channel: str, version: object) -> tuple[History, Value] | None:
        """A channel's value at a version, whichever checkpoint had it."""
        return self._by_version.get((ns, channel, version))

    # Writing

    def append(
        self,
        log: Log,
        put: Appendable,
        headers: Mapping[str, str],
        durability: str | None,
    ) -> bool:
        """Append what is put; worked out anew while others are faster.

        False where there was nothing to append.
        """
        self.look()
        if not put.knows():
            self.refresh(log)
        for _ in range(_TRIES_MAX):
            if put.after in self._removed and self.find(put.ns, put.after) is None:
                raise ConflictError(
                    f"{self.name}: was removed since {put.after} was recorded", stream=self.name
                )
            try:
                if not self.members:
                    self._begin(log, durability)
                entry = put.fork()
                if entry is not None:
                    self._fork(log, entry, durability)
                planned = put.plan()
                if planned is None:
                    return False
                self._write(planned, headers, durability)
            except (ConflictError, AlreadyExistsError, StreamFinishedError):
                self.refresh(log)
                continue
            return True
        raise ConflictError(f"{self.name}: others append without a pause", stream=self.name)

    def _begin(self, log: Log, durability: str | None) -> None:
        self._add(log.create(self.name, first_metadata(self.told), durability=durability))

    def _fork(self, log: Log, entry: Entry, durability: str | None) -> None:
        of = self.members.index(entry.history)
        starts = entry.offset + 1
        name = member_name(self.name, len(self.members))
        metadata = fork_metadata(self.told, of, starts, "fork")
        stream = entry.history.stream.branch(
            name, at=entry.offset, metadata=metadata, durability=durability
        )
        self._add(stream)

    def _write(self, plan: Plan, headers: Mapping[str, str], durability: str | None) -> None:
        history, record = plan.history, plan.record
        payload = encode(record)
        offset = history.stop
        history.stream.append(payload, headers=headers, expect=offset, durability=durability)
        history.add_parts(offset, record, plan.writing.digests)
        history.stop = offset + 1
        plan.writing.done(self._apply(history, offset, record))

    def home(self, ns: str, parent: Entry | None) -> History | None:
        """The stream that a checkpoint after `parent` goes to; None where it is a fork."""
        last = self.members[-1]
        if parent is None:
            return last
        for history in (last, parent.history, *self.members):
            if history.tip(ns) is parent:
                return history
        return None


class Threads:
    """The threads of a store that are in memory: the least used go when there are too many."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._threads: OrderedDict[str, Thread] = OrderedDict()
        self._log: Log | None = None
        self._uses = 0

    def thread(self, log: Log, name: str, thread_id: str, told: str | None = None) -> Thread:
        """The thread whose first stream is called `name`, as it was when it was last used.

        told: its id as streams may say it; None: as it is.
        """
        if self._process != os.getpid():
            # In a child made by fork a lock may be held by a thread that is not there.
            self._forget()
        with self._lock:
            if self._log is not log:
                self._threads.clear()
                self._log = log
            found = self._threads.pop(name, None) or Thread(name, thread_id, told)
            self._threads[name] = found
            self._uses += 1
            if self._uses % _USES == 0:
                self._shrink()
            return found

    def _shrink(self) -> None:
        size = sum(thread.size for thread in self._threads.values())
        while len(self._threads) > 1 and (size > _BYTES_MAX or len(self._threads) > _THREADS_MAX):
            size -= self._threads.popitem(last=False)[1].size

    def forget(self, name: str) -> None:
        """A thread is made anew when it is next used."""
        with self._lock:
            self._threads.pop(name, None)


def threads_in(log: Log) -> Iterator[tuple[str, str]]:
    """Name and id of each thread of a store, in the order in which they were begun."""
    for stream in log.streams(PREFIX):
        thread_id = stream.metadata.get(THREAD)
        if isinstance(thread_id, str) and "~" not in stream.name[len(PREFIX) + 1 :]:
            yield stream.name, thread_id
