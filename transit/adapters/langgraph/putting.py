"""Putting: what the saver is given, as records of a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transit.adapters.langgraph.history import Entry, History, Pieces, Serde, Value, Writing
from transit.adapters.langgraph.index import Plan, Thread
from transit.adapters.langgraph.records import (
    LIST,
    NOTHING,
    WHOLE,
    Change,
    CheckpointRecord,
    Piece,
    Write,
    WritesRecord,
)

# What of a checkpoint is kept beside its head.
_BESIDE = frozenset(("id", "channel_values", "channel_versions"))


def head_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """All of a checkpoint that is not kept in a form of its own."""
    return {key: value for key, value in checkpoint.items() if key not in _BESIDE}


class Put:
    """A checkpoint to be recorded. parent: id of the one before, None for none."""

    def __init__(
        self,
        thread: Thread,
        serde: Serde,
        ns: str,
        parent: str | None,
        checkpoint: Mapping[str, Any],
        metadata: Mapping[str, Any],
        new_versions: Mapping[str, Any],
    ) -> None:
        self._thread = thread
        self._serde = serde
        self.ns = ns
        self.after = parent
        self._id: str = checkpoint["id"]
        self._values: Mapping[str, Any] = checkpoint["channel_values"]
        self._versions: Mapping[str, Any] = checkpoint["channel_versions"]
        self._new = new_versions
        self._head = serde.dumps_typed([head_of(checkpoint), dict(metadata)])

    def knows(self) -> bool:
        """Whether the parent is known: what others append besides changes nothing then."""
        return bool(self._thread.members) and self._parent_entry() is not None

    def fork(self) -> Entry | None:
        """The checkpoint at which a branch begins first; None where there is none."""
        parent = self._parent_entry()
        if parent is None or self._replaced() is not None:
            return None
        return parent if self._thread.home(self.ns, parent) is None else None

    def plan(self) -> Plan:
        """The record, and where it goes."""
        parent = self._parent_entry()
        replaced = self._replaced()
        history = replaced.history if replaced is not None else self._thread.home(self.ns, parent)
        if history is None:
            history = self._thread.members[-1]
        base = parent
        if parent is not None and history.entry_at(parent.offset) is not parent:
            base = None
        writing = Writing(history, self._serde)
        changed = self._changed(writing, base)
        record = CheckpointRecord(
            id=self._id,
            ns=self.ns,
            parent=self.after,
            base=0 if base is None else writing.offset - base.offset,
            head=writing.alone((*self._head, 0)),
            changed=changed,
            dropped=[] if base is None else self._dropped(base),
            parts=writing.parts,
        )
        return Plan(history, record, writing)

    def _parent_entry(self) -> Entry | None:
        return None if self.after is None else self._thread.find(self.ns, self.after)

    def _replaced(self) -> Entry | None:
        return self._thread.checkpoints.get(self.ns, {}).get(self._id)

    def _changed(self, writing: Writing, base: Entry | None) -> dict[str, Change]:
        changed: dict[str, Change] = {}
        for channel, version in self._versions.items():
            form = self._form(writing, base, channel, version)
            if form is not None:
                changed[channel] = (version, *form)
        for channel, value in self._values.items():
            if channel not in self._versions:
                before = None if base is None else base.values.get(channel)
                changed[channel] = (None, *writing.channel(channel, value, before))
        return changed

    def _form(
        self, writing: Writing, base: Entry | None, channel: str, version: object
    ) -> tuple[int, list[Piece]] | None:
        """A channel's form, None where it is what it is in the base."""
        before = None if base is None else base.values.get(channel)
        is_same = base is not None and _same(base.versions.get(channel), version)
        if channel in self._values:
            if is_same and before is not None and channel not in self._new:
                return None
            return writing.channel(channel, self._values[channel], before)
        if channel in self._new:
            return None if is_same and before is None else (NOTHING, [])
        if is_same:
            return None
        found = self._thread.value_at(self.ns, channel, version)
        return (NOTHING, []) if found is None else moved(writing, *found)

    def _dropped(self, base: Entry) -> list[str]:
        named = base.versions.keys() | base.values.keys()
        return sorted(named - self._versions.keys() - self._values.keys())


def moved(writing: Writing, history: History, value: Value) -> tuple[int, list[Piece]]:
    """The form of a value that another history may have, its bytes as they are."""
    if value is None:
        return NOTHING, []
    if isinstance(value, Pieces):
        refs = [writing.part(history.part(ref)) for ref in value.refs[: value.count]]
        return LIST, [writing.piece(ref) for ref in refs]
    return WHOLE, [writing.piece(writing.part(history.part(value)))]


def _same(left: object, right: object) -> bool:
    return type(left) is type(right) and left == right


class PutWrites:
    """Writes of a task to be recorded: (number, channel, value) each."""

    def __init__(
        self,
        thread: Thread,
        serde: Serde,
        ns: str,
        checkpoint_id: str,
        writes: Sequence[tuple[int, str, Any]],
        task: tuple[str, str],
    ) -> None:
        self._thread = thread
        self._serde = serde
        self.ns = ns
        self.after: str | None = checkpoint_id
        self._id = checkpoint_id
        self._writes = writes
        self._task, self._path = task

    def knows(self) -> bool:
        """Whether the checkpoint is known, so that its stream is."""
        return self._thread.find(self.ns, self._id) is not None

    def fork(self) -> None:
        """Writes begin no branch."""

    def plan(self) -> Plan | None:
        """The record, and where it goes; None where all of it was recorded before."""
        known = self._thread.writes_of(self.ns, self._id)
        entry = self._thread.find(self.ns, self._id)
        history = self._thread.members[-1] if entry is None else entry.history
        writing = Writing(history, self._serde)
        writes: list[Write] = []
        for number, channel, value in self._writes:
            if number < 0 or (self._task, number) not in known:
                writes.append((number, channel, *writing.value(value)))
        if not writes:
            return None
        record = WritesRecord(
            id=self._id,
            ns=self.ns,
            task=self._task,
            path=self._path,
            writes=writes,
            parts=writing.parts,
        )
        return Plan(history, record, writing)
