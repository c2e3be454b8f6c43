"""Removal: threads, runs and old checkpoints that are to go, and what can be said of them then.

Nothing is said to be gone that is not. A thread is out of sight at once, for every process. Its
streams are deleted, so that nobody can read them, where nothing else needs them; a copy of the
thread does, until it is deleted itself. A server deletes for a token that may; for others they are
hidden. Bytes are freed by `Log.erase`, which only a store in mode "exclusive" can do. Where some
checkpoints of a thread stay, these are written once more, without the others, into a new stream,
and the old ones are deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from transit import (
    ConflictError,
    DependentsError,
    LockedError,
    Log,
    NotFoundError,
    RetainedError,
    StorePermissionError,
    Stream,
)
from transit.adapters.langgraph.history import Entry, History, Pieces, Serde, Value, Writing
from transit.adapters.langgraph.index import Thread
from transit.adapters.langgraph.names import COPIED, first_metadata, fork_metadata, member_name
from transit.adapters.langgraph.putting import moved
from transit.adapters.langgraph.records import (
    LIST,
    Change,
    CheckpointRecord,
    Gone,
    Piece,
    ThreadRecord,
    WritesRecord,
    decode,
    encode,
)
from transit.adapters.removing import is_embedded

State = Literal["nothing", "erased", "deleted", "hidden"]
_STATES: Final[tuple[State, ...]] = ("nothing", "erased", "deleted", "hidden")
_TRIES_MAX: Final = 20
_REASON: Final = "langgraph"

_logger: Final = logging.getLogger(__name__)


class Removed(msgspec.Struct, frozen=True):
    """What is so after a removal.

    state: "nothing" was there; "erased": the bytes are gone, here and in the remote; "deleted":
    nobody can read the records, and the bytes stay until `Log.erase`, those of a served store until
    the server's owner erases; "hidden": out of sight, but the records are there. streams: whose
    records went. needed_by: streams of copies that need hidden records. kept: versions of objects
    that the remote keeps in spite of erasing. denied: streams that are hidden because the server
    does not let this client delete them.
    """

    state: State = "nothing"
    streams: tuple[str, ...] = ()
    needed_by: tuple[str, ...] = ()
    kept: int = 0
    denied: tuple[str, ...] = ()

    def __add__(self, other: Removed) -> Removed:
        """Both: the state is the worse one."""
        return Removed(
            _STATES[max(_STATES.index(self.state), _STATES.index(other.state))],
            self.streams + other.streams,
            self.needed_by + other.needed_by,
            self.kept + other.kept,
            self.denied + other.denied,
        )


def remove_thread(log: Log, thread: Thread) -> Removed:
    """Delete all of a thread; under its lock."""
    for _ in range(_TRIES_MAX):
        thread.refresh(log)
        if not thread.members:
            return Removed()
        gone = [history.stream for history in thread.members]
        try:
            removed = remove_streams(log, gone, [history.stop for history in thread.members])
        except ConflictError:
            continue
        thread.refresh(log)
        return removed
    raise ConflictError(f"{thread.name}: others append without a pause", stream=thread.name)


def remove_streams(
    log: Log, streams: list[Stream], expect: Sequence[int | None] | None = None
) -> Removed:
    """Hide streams all at once, and delete what nothing else needs; parents before branches."""
    _refuse_held(log, streams)
    with log.batch() as batch:
        for stream, count in zip(streams, expect or [None] * len(streams), strict=True):
            batch.append(stream, encode(Gone()), expect=count)
            batch.hide(stream, reason=_REASON)
    return _deleted(log, streams)


def _refuse_held(log: Log, streams: Iterable[Stream]) -> None:
    """`RetainedError` before anything is hidden that may not be deleted."""
    for stream in streams:
        try:
            found = log.delete(stream, reason=_REASON, dry_run=True)
        except StorePermissionError:
            if is_embedded(log):
                raise
            # It will be hidden alone, which a hold does not forbid.
            continue
        if found.holds or found.until is not None:
            raise RetainedError(
                f"{stream.name}: {found.hindrance}",
                streams=(stream.name,),
                holds=found.holds,
                until=found.until,
            )


def _deleted(log: Log, streams: list[Stream]) -> Removed:
    """Delete streams that are hidden, those that go on from others first, and what needed them."""
    names: list[str] = []
    needed: list[str] = []
    denied: list[str] = []
    waiting = streams[::-1]
    while waiting:
        stream = waiting.pop(0)
        try:
            log.delete(stream, reason=_REASON)
        except DependentsError as error:
            own = {each.name for each in streams}
            needed += [name for name, _, _ in error.dependents if name not in own]
            continue
        except StorePermissionError:
            if is_embedded(log):
                raise
            denied.append(stream.name)
            continue
        names.append(stream.name)
        source = _source_of(log, stream)
        if source is not None and source not in waiting:
            waiting.append(source)
    return Removed(
        "hidden" if needed or denied else "deleted",
        tuple(names),
        tuple(dict.fromkeys(needed)),
        denied=tuple(denied),
    )


def _source_of(log: Log, stream: Stream) -> Stream | None:
    """The stream that a copy was made of, where it was to be deleted and the copy needed it."""
    uid = stream.metadata.get(COPIED)
    if not isinstance(uid, str):
        return None
    try:
        source = log.stream(uid=uid)
    except NotFoundError:
        return None
    except StorePermissionError:
        if is_embedded(log):
            raise
        return None
    if source.deleted or not source.hidden:
        return None
    last = decode(source[-1].payload, source.name)
    return source if isinstance(last, Gone) else None


def erased(log: Log, removed: Removed) -> Removed:
    """Free the bytes of what was deleted, where that can be done here, and say what is so."""
    if removed.state == "nothing":
        return removed
    if is_embedded(log) and log.mode == "exclusive" and removed.streams:
        done = log.erase()
        removed = msgspec.structs.replace(removed, kept=done.kept)
        if removed.state == "deleted" and not done.kept:
            removed = msgspec.structs.replace(removed, state="erased")
    return removed


def free(again: Callable[..., Log]) -> None:
    """Free the bytes of what was deleted in mode "shared", unless others have the store open."""
    try:
        with again(mode="exclusive") as log:
            done = log.erase()
    except LockedError:
        warn(Removed("deleted"))
    else:
        if done.kept:
            warn(Removed("deleted", kept=done.kept))


def warn(removed: Removed) -> None:
    """Say what is there still."""
    if removed.needed_by:
        _logger.warning(
            "hidden, and not deleted: %s still need the records", ", ".join(removed.needed_by)
        )
    if removed.denied:
        _logger.warning(
            "hidden, and not deleted: the token lacks the right admin on %s; `transit delete`"
            " does it, where the store is", ", ".join(removed.denied),
        )  # fmt: skip
    if removed.state == "deleted":
        _logger.warning(
            "deleted for all readers; the bytes stay until log.erase() in mode exclusive, or"
            " `transit erase`, where the store is%s",
            f" ({removed.kept} kept by the remote)" if removed.kept else "",
        )


# Copies


def copy(log: Log, source: Thread, target: Thread) -> None:
    """Have `target` begin as `source` is now; `AlreadyExistsError` where it is there."""
    if not source.members:
        return
    with log.batch() as batch:
        for number, history in enumerate(source.members):
            said = history.stream.metadata
            of, starts = said.get("of"), said.get("starts")
            metadata = fork_metadata(
                target.told,
                of if isinstance(of, int) else 0,
                starts if isinstance(starts, int) else 0,
                "copy",
            )
            batch.branch(
                history.stream,
                member_name(target.name, number),
                at=history.stop - 1 if history.stop else None,
                metadata={**metadata, COPIED: history.stream.uid},
                empty=not history.stop,
            )


# Some checkpoints stay


class Staying(NamedTuple):
    """Checkpoints that stay, in an order in which none comes before its parent."""

    entries: list[Entry]
    # Those whose writes go: a run wrote them that is to be forgotten.
    without_writes: frozenset[str]


def newest(thread: Thread, serde: Serde) -> Staying:
    """The newest checkpoint of each namespace, with those that its delta channels are made of."""
    kept: dict[int, Entry] = {}
    for of_ns in thread.checkpoints.values():
        entry: Entry | None = of_ns[max(of_ns)] if of_ns else None
        if entry is None:
            continue
        kept[id(entry)] = entry
        kind, data, _ = entry.history.part(entry.head)
        counters = serde.loads_typed((kind, data))[1].get("counters_since_delta_snapshot") or {}
        missing = {name for name in counters if name not in entry.values}
        while missing and entry is not None and entry.parent is not None:
            entry = of_ns.get(entry.parent)
            if entry is not None:
                kept[id(entry)] = entry
                missing -= entry.values.keys()
    return Staying(_in_order(kept.values()), frozenset())


def without_runs(thread: Thread, serde: Serde, run_ids: Collection[str]) -> Staying | None:
    """The checkpoints of other runs; None where there are no others to be left out."""
    kept: list[Entry] = []
    parents_of_gone: set[str] = set()
    parents_of_kept: set[str] = set()
    for of_ns in thread.checkpoints.values():
        for entry in of_ns.values():
            kind, data, _ = entry.history.part(entry.head)
            is_gone = serde.loads_typed((kind, data))[1].get("run_id") in run_ids
            if not is_gone:
                kept.append(entry)
            if entry.parent is not None:
                (parents_of_gone if is_gone else parents_of_kept).add(entry.parent)
    if len(kept) == sum(map(len, thread.checkpoints.values())):
        return None
    return Staying(_in_order(kept), frozenset(parents_of_gone - parents_of_kept))


def _in_order(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.id)


def keep_only(log: Log, thread: Thread, staying: Staying, serde: Serde) -> Removed:
    """Write what stays into a new stream, and delete those that the thread had; under its lock.

    In one frame with what hides the old ones. `ConflictError` where others wrote meanwhile.
    """
    _refuse_held(log, [history.stream for history in thread.members])
    old = list(thread.members)
    records = _Rewriting(old[0], serde).records(staying)
    with log.batch() as batch:
        for history in old:
            batch.append(history.stream, encode(Gone()), expect=history.stop)
            batch.hide(history.stream, reason=_REASON)
        made = batch.create(thread.name, first_metadata(thread.told))
        batch.append_many(
            made,
            [encode(record) for record, _ in records],
            headers=[dict(of.history.stream[of.offset].headers) for _, of in records],
        )
    thread.refresh(log)
    return _deleted(log, [history.stream for history in old])


class _Rewriting:
    """Records of checkpoints that were recorded before, their bytes as they are."""

    def __init__(self, like: History, serde: Serde) -> None:
        self._history = History(like.stream, kept_bytes_max=None)
        self._serde = serde
        self._entries: dict[tuple[str, str], Entry] = {}

    def records(self, staying: Staying) -> list[tuple[ThreadRecord, Entry]]:
        """The records, each with the checkpoint it is about."""
        made: list[tuple[ThreadRecord, Entry]] = []
        for entry in staying.entries:
            made.append((self._checkpoint(entry), entry))
            if entry.id not in staying.without_writes:
                made += [(record, entry) for record in self._writes(entry)]
        return made

    def _checkpoint(self, entry: Entry) -> CheckpointRecord:
        writing = Writing(self._history, self._serde)
        base = None if entry.parent is None else self._entries.get((entry.ns, entry.parent))
        changed: dict[str, Change] = {}
        for channel, version in entry.versions.items():
            before = None if base is None else base.values.get(channel)
            value = entry.values.get(channel)
            kind, pieces = _on_from(writing, entry.history, value, before)
            changed[channel] = (version, kind, pieces)
        record = CheckpointRecord(
            id=entry.id,
            ns=entry.ns,
            parent=entry.parent,
            base=0 if base is None else writing.offset - base.offset,
            head=writing.alone(entry.history.part(entry.head)),
            changed=changed,
            dropped=[] if base is None else sorted(base.versions.keys() - entry.versions.keys()),
            parts=writing.parts,
        )
        self._take(record)
        self._entries[entry.ns, entry.id] = self._history.take_checkpoint(writing.offset, record)
        return record

    def _writes(self, entry: Entry) -> list[WritesRecord]:
        made: list[WritesRecord] = []
        for task in dict.fromkeys(task for task, _ in entry.writes):
            writing = Writing(self._history, self._serde)
            several = [
                (n, p) for (of, n), p in sorted(entry.writes.items(), key=_key) if of == task
            ]
            writes = [
                (number, pending.channel, *moved(writing, pending.history, pending.value))
                for number, pending in several
            ]
            record = WritesRecord(
                id=entry.id,
                ns=entry.ns,
                task=task,
                path=several[0][1].path,
                writes=writes,
                parts=writing.parts,
            )
            self._take(record)
            made.append(record)
        return made

    def _take(self, record: ThreadRecord) -> None:
        offset = self._history.stop
        self._history.add_parts(offset, record)
        self._history.stop = offset + 1


def _key(each: tuple[tuple[str, int], object]) -> tuple[str, int]:
    return each[0]


def _on_from(
    writing: Writing, history: History, value: Value, before: Value
) -> tuple[int, list[Piece]]:
    """The form of a value: as the list before and more, where it is that."""
    if not isinstance(value, Pieces) or not isinstance(before, Pieces) or not before.count:
        return moved(writing, history, value)
    refs = [writing.part(history.part(ref)) for ref in value.refs[: value.count]]
    if refs[: before.count] != before.refs[: before.count]:
        return LIST, [writing.piece(ref) for ref in refs]
    return LIST, [(-1, before.count), *map(writing.piece, refs[before.count :])]
