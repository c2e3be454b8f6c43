"""What the store holds: its WALs and segments, its streams by name and id, their chunks by offset.

Owns the in-memory view that everything else reads. It is derived: opening builds it from the commit
chain, the segments' indexes and the WAL files, and nothing of it is written anywhere.

Invariants: `view` is replaced as a whole, so a reader that took it keeps a consistent picture; the
log sequence numbers of segments and WALs follow one another without a gap; a stream's chunks
in an earlier file come before those in a later one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from transit.config import Settings
from transit.disk import list_folder, remove
from transit.errors import CorruptError, NotFoundError
from transit.format.commit import Commit, SegmentRef, decode_commit
from transit.format.life import NAMES_ID, NAMES_RECORD, Life, decode_life, life_key
from transit.format.lineage import LINEAGE_ID, LINEAGE_RECORD, LineageRecord, Merge, decode_lineage
from transit.format.names import Places, merge_key, name_key, parse_wal_name
from transit.format.uid import uid_key
from transit.keyring.envelopes import StoreKeys
from transit.lineage.graph import Graph
from transit.locks import in_place
from transit.log.blocks import BlockCache
from transit.log.chunks import StoredChunks, StreamState, View, changing_the_view
from transit.log.commits import CommitChain, nowhere_else
from transit.log.dependents import Descent
from transit.log.files import WalFiles
from transit.log.keys import SealedKeys
from transit.log.lives import KnownLives, LivesRead
from transit.log.recover import ScannedFrame, look_ahead, scan
from transit.log.rows import SealedRows, one_uid
from transit.log.segments import Elsewhere, Segment
from transit.log.wal import Wal

__all__ = ["Catalog", "StreamState", "View"]

_STATES_KEPT: Final = 4096
_RECORDS_KEPT: Final = 65_536
_TRIES: Final = 20


class Catalog(StoredChunks):
    """The streams and files of one open store; `changing` is held while the view changes."""

    def __init__(
        self,
        root: str,
        store_id: bytes,
        settings: Settings,
        elsewhere: Elsewhere,
        check_place: Callable[[], None] = nowhere_else,
        keys: StoreKeys | None = None,
    ) -> None:
        super().__init__(root)
        self.keys = keys  # of an encrypted store, where a keyring was given
        # Raises `StoreMovedError` when what is at the folder's path is not this store any more.
        self.check_place = check_place
        self.elsewhere = elsewhere
        self.places = Places(root)
        self.store_id = store_id
        self.commits = CommitChain(root, store_id, check_place)
        self.cache = BlockCache(settings.cache_bytes_max)
        self.files = WalFiles(self.places, store_id, self.cache, keys)
        # The streams used last stay known even when the program holds no handle of them.
        self._recent: deque[StreamState] = deque(maxlen=_STATES_KEPT)
        self._records: dict[int, LineageRecord] = {}
        self._lineage = SealedRows()
        self._keys = SealedKeys(self.changing, root, keys)
        self._lives = LivesRead()
        self._descent = Descent()
        # Whether streams in use may reach further than their states say.
        self._stale = False
        # Up to which record of `$names` all streams in use surely know it.
        self._told = 0

    @property
    def graph(self) -> Graph:
        """Lineage, as the lineage records tell it."""
        # Made when it is asked for: kept, it would keep the catalog after its store was closed.
        return Graph(self.record)

    # Files

    @changing_the_view
    def follow(self, *, write: bool) -> Wal | None:
        """Take up what is on disk and was not read yet; the newest WAL, None when there is none.

        Safe beside a writer: a WAL that was sealed and dropped while it was looked for is found as
        a commit at the next try.
        """
        missed = 0
        self.reload_states()
        while True:
            wal = self.view.wals[-1] if self.view.wals else None
            if wal is not None:
                self._read_frames(wal)
                if not wal.ended:
                    return wal
            self.load_commits()
            reached = wal.next_lsn if wal is not None else 0
            expected = max(reached, self.commits.next_lsn)
            numbers = [number for number in self.wal_numbers() if number >= expected]
            if not numbers:
                return wal
            try:
                found = self._open_next(expected, numbers, write=write)
            except NotFoundError:
                missed += 1
                if missed == _TRIES:
                    self.check_place()
                    self.commits.check_no_gap()
                    self.files.check_torn(expected, numbers)
                    return wal
                time.sleep(0.001 * missed)
                continue
            if found is None:
                return wal
            missed = 0
            self.add_wal(found)

    def hold(self, *, shared: bool) -> Wal | None:
        """As `follow`, of files that from then on only this process writes, or those that share."""
        self.follow(write=True)
        for wal in self.view.wals:
            wal.file.hold(shared=shared)
        # With what was written before that.
        return self.follow(write=True)

    def _open_next(self, expected: int, numbers: list[int], *, write: bool) -> Wal | None:
        """The WAL from LSN `expected` on, when it is there; None when it is torn."""
        if numbers[0] != expected:
            raise NotFoundError(f"{self.places.wal}: no WAL from LSN {expected}")
        found = self.files.open(expected, write=write)
        # Asked after it was opened: what a folder that came in its place holds is not read.
        self.check_place()
        if found is None:
            self.files.check_torn(expected, numbers[1:])
        return found

    @changing_the_view
    def load_commits(self) -> None:
        """Take up commits made since the last time, and let go of the WALs they cover."""
        reached = self._reached()
        # First the commits that an interrupted call read and did not take up.
        segments = self._missed()
        try:
            for commit in self.commits.load():
                segments += self.segments_of(commit)
        finally:
            if self.commits.next_lsn > reached:
                self._stale = True
                self._say_segments(segments)
            # Whatever is wrong with a later commit, these are the store's.
            self.take_segments(segments)
        for segment in segments:
            segment.check_present()
        self.reload_states()

    @changing_the_view
    def committed(self) -> tuple[Commit | None, int, tuple[Segment, ...]]:
        """The last commit with a snapshot, the count of commits, and their segments, together."""
        return self.commits.indexed, self.commits.count, self.view.segments

    def _reached(self) -> int:
        """The LSN up to which the view has all records."""
        segments, wals = self.view
        if wals:
            return wals[-1].next_lsn
        return segments[-1].ref.lsn[1] + 1 if segments else 0

    def _missed(self) -> list[Segment]:
        """The segments of commits that are in the chain and not in the view."""
        segments: list[Segment] = []
        known = self.view.segments[-1].commit + 1 if self.view.segments else 0
        for number in range(known, self.commits.count):
            data = self.commits.read(number)
            if data is not None:
                segments += self.segments_of(decode_commit(data, f"commit {number} of {self.root}"))
        return segments

    @changing_the_view
    def take_others(self, segments: list[Segment]) -> None:
        """`take_segments` of records that others wrote, whose frames were never seen here."""
        self._stale = self._stale or bool(segments)
        self.take_segments(segments)
        self._say_segments(segments)

    def _say_segments(self, segments: list[Segment]) -> None:
        if (tell := self.changes.on_segments) is not None:
            tell(segments)

    def reload_states(self) -> None:
        """Move the streams in use to where others brought them, unless that was done before."""
        if not self._stale:
            return
        # Others wrote and sealed records whose frames were never seen here. Only streams in use
        # are looked at: a store whose segments are damaged, or out of reach, can be opened.
        states = list(self._states.values())
        for state in states:
            reached = self._tail(state.id)
            if reached > state.next_offset:
                state.next_offset = reached
                self.changes.say(state.id, state)
        if states and (reached := self.names_state().next_offset) > self._told:
            for state in states:
                state.take_life(self.life(state.id))
                self.changes.say(state.id, state)
            self._told = reached
        # Only now: what is looked at may be out of reach for a while.
        self._stale = False

    @changing_the_view
    def take_segments(self, segments: list[Segment]) -> None:
        """Add segments the chain has committed, in place of the WALs they were made from.

        A WAL goes only when it was read to its end: the next append relies on what was read.
        """
        taken = (*self.view.segments, *segments)
        covered = taken[-1].ref.lsn[1] if taken else -1
        for wal in self.view.wals:
            if wal.first_lsn <= covered:
                self.read_frames(wal)
                wal.durable = wal.tail  # as its sealer synced it
        self.view = View(taken, tuple(w for w in self.view.wals if w.first_lsn > covered))

    def segment(self, ref: SegmentRef, commit: int) -> Segment:
        """The segment that commit number `commit` added, read through this store's cache."""
        return Segment(self.root, ref, commit, self.store_id, self.cache, self.elsewhere, self.keys)

    def segments_of(self, commit: Commit) -> list[Segment]:
        """The segments that a commit added."""
        return [self.segment(ref, commit.number) for ref in commit.segments]

    def create_wal(self, first_lsn: int) -> Wal:
        """As `Wal.create`; the newest file from then on."""
        self.check_place()
        # A file of that name was never finished, or it would have been taken up.
        remove(self.places.wal_file(first_lsn))
        unsynced_from = next((wal.first_lsn for wal in self.view.unsynced), first_lsn)
        wal = in_place(self.check_place, partial(self.files.create, first_lsn, unsynced_from))
        self.add_wal(wal)
        return wal

    @changing_the_view
    def add_wal(self, wal: Wal) -> None:
        """Add the newest WAL file."""
        self.view = View(self.view.segments, (*self.view.wals, wal))

    def wal_numbers(self) -> list[int]:
        """First log sequence numbers of the WAL files no commit covers, in order."""
        names = map(parse_wal_name, list_folder(self.places.wal))
        return [lsn for lsn in names if lsn is not None and lsn >= self.commits.next_lsn]

    @changing_the_view
    def read_frames(self, wal: Wal) -> int:
        """Take up the frames after a WAL's tail; their count."""
        return self._read_frames(wal)

    def _read_frames(self, wal: Wal) -> int:
        if wal.loose:
            wal.drop_loose()
        if not (ahead := look_ahead(wal)):
            return 0
        count = 0
        for frame in scan(wal, ahead):
            try:
                self._apply(wal, frame)
            except BaseException:
                # Interrupted: it is taken up once more the next time.
                wal.retreat(frame.header)
                raise
            count += 1
        if count:
            self.view.believe(wal)
        return count

    def _apply(self, wal: Wal, frame: ScannedFrame) -> None:
        changed: list[int] = []
        for chunk in frame.chunks:
            wal.note(chunk.stream, chunk.first, frame.header.position)
            state = self._states.get(chunk.stream)
            if state is not None:
                state.next_offset = chunk.stop
            changed.append(chunk.stream)
            if chunk.stream == LINEAGE_ID:
                for stream_id, payload in enumerate(chunk.payloads(), chunk.first):
                    record = decode_lineage(payload, stream_id)
                    self._check_uid(wal, stream_id, record.uid)
                    self.note_stream(wal, stream_id, record)
                    changed.append(stream_id)
            elif chunk.stream == NAMES_ID:
                for offset, payload in enumerate(chunk.payloads(), chunk.first):
                    life = decode_life(payload, offset)
                    self.note_life(wal, offset, life)
                    changed.append(life.stream)
        for stream_id in changed:
            self.say_changed(stream_id)

    def say_changed(self, stream_id: int) -> None:
        """Tell waiters that a stream changed."""
        if self.changes.on_stream is not None:
            self.changes.say(stream_id, self._states.get(stream_id))

    def note_stream(self, wal: Wal, stream_id: int, record: LineageRecord) -> None:
        """Index name, uid and merge id of a stream whose lineage record is in `wal`."""
        known = wal.names.get(record.name, ())
        # Taken up once more after an interrupt, it is there already.
        if stream_id not in known:
            wal.names[record.name] = (*known, stream_id)
        if record.uid:
            wal.uids[record.uid] = stream_id
        if isinstance(record, Merge):
            wal.merges[record.merge_id] = stream_id

    def _check_uid(self, wal: Wal, stream_id: int, uid: str) -> None:
        """Refuse a uid that another stream has, as far as WAL files say it.

        Taking up frames reads no segment: a lookup of the uid finds a stream in one.
        """
        for each in (wal, *self.view.wals):
            if (known := each.uids.get(uid, stream_id)) != stream_id:
                raise one_uid(uid, (known, stream_id))

    def note_life(self, wal: Wal, offset: int, life: Life) -> None:
        """Know what became of a stream, as the record at `offset` of `$names`, in `wal`, says."""
        with self.changing:
            known = wal.lives.setdefault(life.stream, [])
            if not known or known[-1][0] < offset:
                known.append((offset, life))
            state = self._states.get(life.stream)
            if state is not None:
                state.take_life(life)

    # Streams

    def life(self, stream_id: int) -> Life | None:
        """What the last record about a stream says; None when it is neither finished nor hidden."""
        view = self.view
        for wal in reversed(view.wals):
            if stream_id in wal.lives:
                return wal.lives[stream_id][-1][1]
        lives = map(self.life_at, self._sealed_lives(view, stream_id))
        return next((life for life in lives if life.stream == stream_id), None)

    def _sealed_lives(self, view: View, stream_id: int) -> list[int]:
        if not self.names_state().next_offset:
            return []
        return sorted(self._sealed(view, life_key(stream_id)), reverse=True)

    def _sealed(self, view: View, key: int) -> list[int]:
        """What segments have under a key."""
        return self._keys.find(view.segments, key, self.commits.encrypted)

    def lives_about(self, stream_id: int) -> list[int]:
        """The offsets of the records of `$names` about a stream, and perhaps others, in order."""
        view = self.view
        unsealed = (at for wal in view.wals for at, _ in wal.lives.get(stream_id, ()))
        return sorted({*self._sealed_lives(view, stream_id), *unsealed})

    def life_at(self, offset: int) -> Life:
        """The record at `offset` of `$names`."""
        chunk = self.own_chunk(self.names_state(), offset)
        return decode_life(chunk.payload(offset - chunk.first), offset)

    def is_hidden(self, stream_id: int) -> bool:
        """Whether a stream is hidden now."""
        state = self._states.get(stream_id)
        life = state.life if state is not None else self.life(stream_id)
        return life is not None and life.hidden

    def hidden(self) -> frozenset[int]:
        """All streams that are hidden now; reads what `$names` has since the last time."""
        return self.known_lives().hidden

    def known_lives(self) -> KnownLives:
        """What became of all streams, as far as it matters to who asks about all of them."""
        state = self.names_state()
        return self._lives.up_to(state.next_offset, partial(self.chunks, NAMES_ID))

    def find(self, name: str) -> int | None:
        """The id of the stream with this name that is not hidden."""
        view = self.view
        for wal in reversed(view.wals):
            for stream_id in reversed(wal.names.get(name, ())):
                if not self.is_hidden(stream_id):
                    return stream_id
        for stream_id in sorted(self._sealed(view, name_key(name)), reverse=True):
            if self.record(stream_id).name == name and not self.is_hidden(stream_id):
                return stream_id
        return None

    def find_uid(self, uid: str) -> int | None:
        """The id of the stream with this uid, hidden or not; `CorruptError` when two have it."""
        view = self.view
        found = {wal.uids[uid] for wal in view.wals if uid in wal.uids}
        for stream_id in self._sealed(view, uid_key(uid)):
            if self.record(stream_id).uid == uid:
                found.add(stream_id)
        if len(found) > 1:
            raise one_uid(uid, sorted(found))
        return next(iter(found), None)

    def find_merge(self, merge_id: str) -> int | None:
        """The id of the stream made by the merge with this id."""
        view = self.view
        for wal in view.wals:
            if (found := wal.merges.get(merge_id)) is not None:
                return found
        for stream_id in self._sealed(view, merge_key(merge_id)):
            record = self.record(stream_id)
            if isinstance(record, Merge) and record.merge_id == merge_id:
                return stream_id
        return None

    def record(self, stream_id: int) -> LineageRecord:
        """The lineage record of a stream; `NotFoundError` for an id that was never given."""
        record = NAMES_RECORD if stream_id == NAMES_ID else self._records.get(stream_id)
        if record is None:
            try:
                chunk = self._own_chunk(LINEAGE_ID, self._lineage, stream_id)
            except CorruptError:
                if stream_id < self.stream_count():
                    raise
                raise NotFoundError(f"there is no stream with id {stream_id}") from None
            record = decode_lineage(chunk.payload(stream_id - chunk.first), stream_id)
            if len(self._records) >= _RECORDS_KEPT:
                self._records.clear()
            self._records[stream_id] = record
        return record

    def descent(self) -> Descent:
        """Which streams were made from which; reads what `$lineage` has since the last time."""
        state = self.lineage_state()
        self._descent.up_to(state.next_offset, partial(self.chunks, LINEAGE_ID))
        return self._descent

    def stream_count(self) -> int:
        """Number of streams ever made, the store's own among them."""
        return self._tail(LINEAGE_ID)

    def state(self, stream_id: int, record: LineageRecord | None = None) -> StreamState:
        """The state of a stream, one for all callers; record: of its lineage, where it was read."""
        return self._states.get(stream_id) or self._make_state(stream_id, record)

    @changing_the_view
    def _make_state(self, stream_id: int, record: LineageRecord | None) -> StreamState:
        state = self._states.get(stream_id)
        if state is None:
            state = StreamState(stream_id, record or self.record(stream_id), self.life(stream_id))
            state.next_offset = self._tail(stream_id) or state.next_offset
            self._states[stream_id] = state
            self._recent.append(state)
        return state

    def adopt(self, state: StreamState) -> None:
        """Know the state of a stream just made."""
        self._records[state.id] = state.record
        self._states[state.id] = state
        self._recent.append(state)

    def lineage_state(self) -> StreamState:
        """The state of stream 0, which may not have its own lineage record yet."""
        return self._own_state(LINEAGE_ID, LINEAGE_RECORD)

    def names_state(self) -> StreamState:
        """The state of `$names`, which may have no records yet, and never has a lineage record."""
        return self._own_state(NAMES_ID, NAMES_RECORD)

    def _own_state(self, stream_id: int, record: LineageRecord) -> StreamState:
        return self._states.get(stream_id) or self._make_own_state(stream_id, record)

    @changing_the_view
    def _make_own_state(self, stream_id: int, record: LineageRecord) -> StreamState:
        # Always the same record, so that it need not be read: it may be far away.
        state = StreamState(stream_id, record)
        state.next_offset = self._tail(stream_id)
        self.adopt(state)
        return state

    def _tail(self, stream_id: int) -> int:
        """The next offset after a stream's own records; 0 when it has none."""
        view = self.view
        for wal in reversed(view.wals):
            chunks = wal.index.get(stream_id)
            if chunks is not None:
                return wal.chunk(stream_id, len(chunks.firsts) - 1).stop
        for segment in reversed(view.segments):
            index = segment.index
            rows = index.rows(stream_id)
            if rows:
                return index.stop(rows[-1])
        return 0
