"""Going on after being fenced off: the remote's history is adopted, ours comes along as branches.

Owns what becomes of the records that only this folder has: a new store is made beside the old one
from the remote's commits and those records, and takes its place when it is whole
(`transit.handle.switching`).

What was acknowledged here is in the new store under the names the report gives, and, as it was, in
`diverged/<tag>/` with the segments it names. Offsets stay: a branch starts where the two histories
part, so the record at offset n of a stream is the record at offset n of its branch.

A branch is a stream of its own, with a uid of its own. A stream that only this folder has keeps its
uid: it has the same records under the same offsets, whatever it descends from.

What was finished here is finished there: the stream that has our last records, or a branch of it
where the stream went on in the remote's history. What was hidden here is hidden, in both histories'
stream and its branch; what was shown is, unless its name is another's there. What was deleted or
trimmed here is so there, in what has our last records, and in the stream itself unless records of
it are needed or kept there: then it is hidden. Of records that are gone only their number is
brought along, as records without a payload, so that offsets stay. Limits and holds are added.

Where a standby took over, what it missed is counted in the takeover's stream
(`transit.engine.missed`).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec

from transit.config import MIB
from transit.disk import put_if_absent, remove_tree
from transit.engine.cursor import Cursor
from transit.engine.deleting import Wish, delete, trim
from transit.engine.layer import is_derived
from transit.engine.missed import note_missed
from transit.engine.plans import default_id
from transit.engine.staging import Staging, last_place, stage
from transit.errors import (
    DependentsError,
    InvalidInputError,
    RemoteUnavailableError,
    RetainedError,
)
from transit.format.cursor import CURSORS_PREFIX, owner_of
from transit.format.life import ALL, HOLDS_MAX, NAMES_ID, Life
from transit.format.lineage import LINEAGE_ID, Branch, LineageRecord, Merge, sources, triples
from transit.format.names import DIVERGED_DIR, READY_FILE, Places, layer_of
from transit.format.record import COUNT_MAX, Columns, measure
from transit.format.takeover import TAKEOVERS
from transit.guards import CLOSE
from transit.handle.attaching import Attached
from transit.handle.handle import Handle
from transit.handle.switching import finish_rebase
from transit.lineage.spans import lay, to_plan
from transit.locks import in_place
from transit.log.catalog import Catalog, StreamState
from transit.log.frames import Group
from transit.log.seal import columns_of

FRAME_BYTES_MAX: Final = 64 * MIB


class Rebased(msgspec.Struct, frozen=True):
    """What a rebase made: for each stream with unpublished records the stream that has them now.

    records: copied. kept: the folder, in the store's, that holds the history as it was.
    """

    streams: Mapping[str, str]
    records: int
    kept: str


def rebase(handle: Handle) -> Rebased:
    """See `Log.rebase_onto_remote`. Closes the handle, whatever comes of it."""
    if handle.mode != "exclusive":
        raise InvalidInputError('rebase_onto_remote() needs mode "exclusive"')
    handle.catalog.order.check(CLOSE)
    publisher = handle.tiering.publisher
    if publisher.fenced is None:
        publisher.locate()
    if publisher.fenced is None:
        raise InvalidInputError(f"{handle.root}: not fenced off: publish() goes on")
    try:
        return in_place(
            handle.catalog.check_place, partial(_rebase, handle, publisher.fenced.number)
        )
    finally:
        handle.close()


def _rebase(handle: Handle, common: int) -> Rebased:
    """Make the store of `handle` continue the remote, which shares its first `common` commits.

    The handle writes nothing more from the start, and must be closed right after.
    """
    handle.writing.freeze(f"{handle.root}: rebased onto its remote; open it again")
    tag = f"rebased-{handle.catalog.commits.root[:8]}"
    place = Places(handle.root).rebase
    handle.catalog.check_place()
    remove_tree(place)
    borrowed = Attached(handle.tiering.remote.store, lambda: None)
    # In the background nothing may be sealed or published before it is whole; and what was one
    # block is written as one frame.
    settings = msgspec.structs.replace(
        handle.settings,
        publish_interval_s=None,
        publish_bytes=None,
        seal_interval_s=None,
        frame_bytes_max=max(handle.settings.frame_bytes_max, FRAME_BYTES_MAX),
    )
    new = Handle(
        place, "exclusive", "local", settings, [borrowed], encryption=handle.encryption_now
    )
    try:
        if new.catalog.commits.count <= common:
            # A new history would begin here, and take the place of the one that is continued.
            raise RemoteUnavailableError(
                f"{borrowed.store.url}: commit {common} was there, and is not now: try again"
            )
        copier = _Copier(handle.catalog, new, common, tag)
        copier.run()
        note_missed(new, common, tag, len(copier.missed), sum(copier.missed.values()))
    finally:
        new.close()
    handle.catalog.check_place()
    put_if_absent(place, READY_FILE, tag.encode())
    finish_rebase(handle.root)
    return Rebased(copier.names, copier.records, os.path.join(DIVERGED_DIR, tag))


class _Copier:
    """Copies what only the old store has to the new one."""

    def __init__(self, old: Catalog, new: Handle, common: int, tag: str) -> None:
        self._old = old
        self._new = new
        self._tag = tag
        self.names: dict[str, str] = {}
        self.records = 0
        # Of each stream, how many records a takeover of this store missed.
        self.missed: dict[int, int] = {}
        shared = [segment for segment in old.view.segments if segment.commit < common]
        own = [segment for segment in old.view.segments if segment.commit >= common]
        # Streams up to here are in both histories, under the same ids.
        self._known = 0
        for segment in shared:
            rows = segment.index.rows(LINEAGE_ID)
            if rows:
                self._known = segment.index.stop(rows[-1])
        # For each stream with records only we have: the offset of the first, and its new stream.
        self._parted: dict[int, int] = {}
        for segment in own:
            index = segment.index
            for row, stream in enumerate(index.streams):
                self._parted.setdefault(stream, index.firsts[row])
        self._moved: dict[int, int] = {}
        # Streams that were finished here, by the last record about each, and what else was said.
        self._ended: dict[int, Life] = {}
        self._said: dict[int, Life] = {}

    def run(self) -> None:
        """Copy streams in order of their ids: what a stream descends from comes before it."""
        lives = self._own_lives()
        for stream in self._wanted():
            # A name that was given up before this stream was made is free for it.
            while lives and lives[0].streams <= stream:
                self._tell(lives.popleft())
            record = self._old.record(stream)
            state = self._create(stream, record)
            self._moved[stream] = state.id
            self.names[record.name] = state.name
            if stream in self._parted:
                self._copy(stream, state)
        for life in lives:
            self._tell(life)
        for life in self._ended.values():
            self._finish(life)
        # Children first: what needs records of another goes before it.
        for _, life in sorted(self._said.items(), reverse=True):
            self._keep_or_take_away(life)
        for stream in self._parted:
            self._move_cursor(stream)
        self._new.writer.sync()

    def _wanted(self) -> list[int]:
        """The streams to bring along: not cursors, nor what a layer can make again.

        All that a stream descends from comes along with it.
        """
        made = range(self._known, self._old.stream_count())
        wanted: set[int] = set()
        needed: set[int] = set()
        for stream in sorted({*self._parted, *made} - {LINEAGE_ID, NAMES_ID}, reverse=True):
            record = self._old.record(stream)
            if record.name.startswith(CURSORS_PREFIX):
                continue
            if stream in needed or not is_derived(record):
                wanted.add(stream)
                needed.update(sources(record))
        return sorted(wanted)

    def _own_lives(self) -> deque[Life]:
        """What only we say of streams, in order."""
        start, stop = self._parted.get(NAMES_ID), self._old.names_state().next_offset
        return deque(self._old.life_at(at) for at in range(stop if start is None else start, stop))

    def _tell(self, life: Life) -> None:
        """Hide, or show, what was hidden or shown here, where the remote's history has it too."""
        self._said[life.stream] = life
        if life.finished is not None:
            self._ended[life.stream] = life
        here = life.stream if life.stream < self._known else None
        there = self._moved.get(life.stream)
        for stream in (here, there):
            if stream is not None:
                self._hide_or_show(self._new.catalog.state(stream), life)

    def _hide_or_show(self, state: StreamState, life: Life) -> None:
        if life.hidden:
            stage(self._new, lambda staging: staging.hide(state, None, life.reason))
        elif self._new.catalog.find(state.name) is None:
            # Otherwise its name is another's there, and it stays hidden.
            stage(self._new, lambda staging: staging.show(state, None, life.reason))

    def _finish(self, life: Life) -> None:
        """Finish what has our last records: the stream itself, where it did not go on there."""
        known = life.stream < self._known
        stream = self._moved.get(life.stream, life.stream)
        if not known and life.stream not in self._moved:
            return  # It was left behind.
        state = self._new.catalog.state(stream)
        if state.next_offset != life.finished and not state.finished:
            # It went on in the remote's history: what was finished here is a branch of its own.
            record = self._old.record(life.stream)
            branch = Branch(
                name=self._free(f"{record.name}@{self._tag}"),
                parent=stream,
                fork=(life.finished or 0) - 1,
                metadata={"rebased": True},
                codec=record.codec,
            )
            state, _ = stage(self._new, lambda staging: staging.create(branch))
            self.names[record.name] = state.name
        stage(self._new, lambda staging: staging.finish(state, None, life.reason))

    def _keep_or_take_away(self, life: Life) -> None:
        """Let records be gone, or kept, as was said here."""
        here = life.stream if life.stream < self._known else None
        for stream in (self._moved.get(life.stream), here):
            if stream is None or (state := self._new.catalog.state(stream)).gone == ALL:
                continue
            wanted = Wish(life.reason, life.basis, "")
            with suppress(DependentsError, RetainedError):
                if life.deleted:
                    delete(self._new, state, wanted, None, None)
                    continue
                if life.trimmed > state.gone:
                    trim(self._new, state, min(life.trimmed, state.next_offset), wanted, None, None)
            if life.keep is not None or life.holds:
                stage(self._new, partial(self._keep, state=state, life=life))

    def _keep(self, staging: Staging, state: StreamState, life: Life) -> None:
        now = staging.life(state)
        holds = tuple(sorted({*now.holds, *life.holds}))[:HOLDS_MAX]
        staging.change(state, life.reason, holds=holds, keep=life.keep or now.keep)

    def _create(self, stream: int, record: LineageRecord) -> StreamState:
        state, _ = stage(
            self._new, lambda staging: staging.create(self._translated(stream, record))
        )
        return state

    def _translated(self, stream: int, record: LineageRecord) -> LineageRecord:
        if stream < self._known:
            return Branch(
                name=self._free(f"{record.name}@{self._tag}"),
                parent=stream,
                fork=self._parted[stream] - 1,
                metadata={"rebased": True},
                codec=record.codec,
            )
        name = self._free(record.name)
        if self._new.catalog.find_uid(record.uid) is not None:
            # Both histories imported the same stream: there they are two.
            record = msgspec.structs.replace(record, uid="")
        if isinstance(record, Branch):
            parent, fork = self._position(record.parent, record.fork)
            return msgspec.structs.replace(record, name=name, parent=parent, fork=fork)
        if isinstance(record, Merge):
            merge = msgspec.structs.replace(
                record,
                name=name,
                parents=tuple(self._position(*head) for head in record.parents),
                base=None if record.base is None else self._position(*record.base),
                plan=to_plan(lay(self._runs(record.plan))),
            )
            # A digest of stream ids, which are others now, or the user's own.
            merge_id = record.merge_id
            merge_id = default_id(merge) if merge_id == default_id(record) else merge_id
            if self._new.catalog.find_merge(merge_id) is not None:
                merge_id = f"{merge_id}@{self._tag}"
            return msgspec.structs.replace(merge, merge_id=merge_id)
        return msgspec.structs.replace(record, name=name)

    def _free(self, name: str) -> str:
        """`name`, or with the tag and a number when the remote's history has taken it."""
        find = self._new.catalog.find
        if find(name) is None:
            return name
        tagged = name if name.endswith(self._tag) else f"{name}@{self._tag}"
        number, free = 1, tagged
        while find(free) is not None:
            number += 1
            free = f"{tagged}-{number}"
        return free

    def _position(self, stream: int, offset: int) -> tuple[int, int]:
        """Where the record at a position is in the new store."""
        if stream >= self._known or offset >= self._parted.get(stream, offset + 1):
            return self._moved.get(stream, stream), offset
        return stream, offset

    def _runs(self, plan: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
        for stream, first, count in triples(plan):
            parts_at = self._parted.get(stream, first + count)
            shared = 0 if stream >= self._known else max(0, min(count, parts_at - first))
            if shared:
                yield stream, first, shared
            if shared < count:
                yield self._moved.get(stream, stream), first + shared, count - shared

    def _copy(self, stream: int, state: StreamState) -> None:
        old = self._old.state(stream)
        start, stop = self._parted[stream], old.next_offset
        writer = self._new.writer
        while start < min(old.gone, stop):
            payloads = [b""] * min(COUNT_MAX, min(old.gone, stop) - start)
            empty = Columns(payloads, measure(payloads), writer.time, None)
            writer.frame(partial(writer.commit, [Group(state, empty)]))
            start += len(payloads)
        if start == stop:
            return
        for chunk in self._old.chunks(stream, start, stop):
            columns = columns_of([(chunk, max(start - chunk.first, 0), chunk.count)])
            # They are written anew.
            group = Group(state, columns._replace(written=None))
            writer.frame(partial(writer.commit, [group]))
            self._count(stream, len(columns.payloads))

    def _count(self, stream: int, records: int) -> None:
        self.records += records
        if layer_of(self._old.record(stream).name) != TAKEOVERS:
            # What is said about takeovers is nothing that one could miss.
            self.missed[stream] = self.missed.get(stream, 0) + records

    def _move_cursor(self, stream: int) -> None:
        """Bring a cursor that moved here to where its stream is now, unless it is further there."""
        name = self._old.record(stream).name
        found = owner_of(name)
        if found is None:
            return
        owner, cursor_name = found
        stands = last_place(self._old, self._old.state(stream))
        if owner >= self._known and owner not in self._moved:
            return  # Of a stream that was left behind.
        owner_state = self._new.catalog.state(self._moved.get(owner, owner))
        cursor = Cursor(self._new, owner_state, cursor_name)
        now = cursor.position
        # At the same place in both: the remote's state stays, unless only we moved the cursor.
        further = now < stands.position or (now == stands.position and self._is_ours(stream, owner))
        if further and stands.position <= owner_state.next_offset:
            cursor.advance(stands.position, state=stands.state, durability="os")

    def _is_ours(self, stream: int, owner: int) -> bool:
        """Whether only our history, and not the remote's, went on in a cursor's stream."""
        if owner in self._moved or stream >= self._known:
            return True
        return self._new.catalog.state(stream).next_offset == self._parted[stream]
