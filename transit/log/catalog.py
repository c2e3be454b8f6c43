"""What the store holds: its WALs and segments, its streams by name and id, their chunks by offset.

Owns the in-memory view that everything else reads. It is derived: opening builds it from the commit
chain, the segments' indexes and the WAL files, and nothing of it is written anywhere.

Invariants: `view` is replaced as a whole, so a reader that took it keeps a consistent picture; the
log sequence numbers of segments and WALs follow one another without a gap; a stream's chunks
in an earlier file come before those in a later one.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from transit.config import Settings
from transit.disk import list_folder, remove
from transit.errors import CorruptError, NotFoundError
from transit.format.commit import Commit, SegmentRef, decode_commit
from transit.format.lineage import LINEAGE_ID, LINEAGE_RECORD, LineageRecord, Merge, decode_lineage
from transit.format.names import Places, merge_key, name_key, parse_wal_name
from transit.format.record import Chunk
from transit.lineage.graph import Graph
from transit.lineage.spans import Span
from transit.log.blocks import BlockCache
from transit.log.clock import EARLIEST, Times
from transit.log.commits import CommitChain, nowhere_else
from transit.log.files import WalFiles
from transit.log.keys import KeyIndex
from transit.log.recover import ScannedFrame, scan
from transit.log.rows import SealedRows, holding, missing
from transit.log.segments import Elsewhere, Segment
from transit.log.wal import Wal

_STATES_KEPT: Final = 4096
_RECORDS_KEPT: Final = 65_536
_TRIES: Final = 20


class View(NamedTuple):
    """The files of the log, oldest first."""

    segments: tuple[Segment, ...]
    wals: tuple[Wal, ...]


class StreamState:
    """What is known of one stream while somebody uses it; guarded by the writer's lock.

    `waiting` holds records accepted but not yet framed, as (payload, timestamp, encoded headers).
    """

    __slots__ = (
        "__weakref__", "id", "inherited", "next_offset", "record", "sealed", "waiting",
    )  # fmt: skip

    def __init__(self, stream_id: int, record: LineageRecord) -> None:
        self.id = stream_id
        self.record = record
        self.next_offset = record.start
        self.inherited: tuple[Span, ...] | None = None
        self.waiting: list[tuple[bytes, int, bytes]] = []
        self.sealed = SealedRows()

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.record.name


class Catalog:
    """The streams and files of one open store; `changing` is held while the view changes."""

    def __init__(
        self,
        root: str,
        store_id: bytes,
        settings: Settings,
        elsewhere: Elsewhere,
        check_place: Callable[[], None] = nowhere_else,
    ) -> None:
        self.root = root
        # Raises `StoreMovedError` when what is at the folder's path is not this store any more.
        self.check_place = check_place
        self.elsewhere = elsewhere
        self.places = Places(root)
        self.store_id = store_id
        self.commits = CommitChain(root, store_id, check_place)
        self.view = View((), ())
        self._cache = BlockCache(settings.cache_bytes_max)
        self.files = WalFiles(self.places, store_id, self._cache)
        self._keys = KeyIndex()
        self._keyed = 0
        self._searched = 0
        self._states: WeakValueDictionary[int, StreamState] = WeakValueDictionary()
        # The streams used last stay known even when nobody holds a handle of theirs.
        self._recent: deque[StreamState] = deque(maxlen=_STATES_KEPT)
        self._records: dict[int, LineageRecord] = {}
        self._lineage = SealedRows()
        self.changing = threading.RLock()
        # Whether streams in use may reach further than their states say.
        self._stale = False

    @property
    def graph(self) -> Graph:
        """Lineage, as the lineage records tell it."""
        # Made when it is asked for: kept, it would keep the catalog after its store was closed.
        return Graph(self.record)

    # Files

    def follow(self, *, write: bool) -> Wal | None:
        """Take up what is on disk and was not read yet; the newest WAL, None when there is none.

        Safe beside a writer: a WAL that was sealed and dropped while it was looked for is found as
        a commit at the next try.
        """
        missed = 0
        with self.changing:
            self.reload_states()
            while True:
                wal = self.view.wals[-1] if self.view.wals else None
                if wal is not None:
                    self.read_frames(wal)
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
                        self.commits.check_no_gap()
                        raise CorruptError(
                            self.places.wal, expected=f"a WAL from LSN {expected}", found="none"
                        ) from None
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
        """The WAL from LSN `expected` on, when it is there; None when it was never finished."""
        if numbers[0] != expected:
            raise NotFoundError(f"{self.places.wal}: no WAL from LSN {expected}")
        found = self.files.open(expected, write=write)
        # Asked after it was opened: what a folder that came in its place holds is not read.
        self.check_place()
        if found is None and len(numbers) > 1:
            raise CorruptError(
                self.places.wal_file(expected),
                expected="a WAL header, because there is a later WAL",
                found="none",
            )
        return found

    def load_commits(self) -> None:
        """Take up commits made since the last time, and let go of the WALs they cover."""
        with self.changing:
            reached = self._reached()
            # What an interrupt kept from being taken up comes first.
            segments = self._missed()
            try:
                for commit in self.commits.load():
                    segments += self.segments_of(commit)
            finally:
                if self.commits.next_lsn > reached:
                    self._stale = True
                # Whatever is wrong with a later commit, these are the store's.
                self.take_segments(segments)
            for segment in segments:
                segment.check_present()
            self.reload_states()

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

    def take_others(self, segments: list[Segment]) -> None:
        """`take_segments` of records that others wrote, whose frames were never seen here."""
        with self.changing:
            self._stale = self._stale or bool(segments)
            self.take_segments(segments)

    def reload_states(self) -> None:
        """Move the streams in use to where others brought them, unless that was done before."""
        if not self._stale:
            return
        # Others wrote and sealed records whose frames were never seen here.
        for state in list(self._states.values()):
            state.next_offset = max(state.next_offset, self._tail(state.id))
        # Only now: what is looked at may be out of reach for a while.
        self._stale = False

    def take_segments(self, segments: list[Segment]) -> None:
        """Add segments the chain has committed, in place of the WALs they were made from.

        A WAL goes only when it was read to its end: its writer goes by what was read of it.
        """
        with self.changing:
            taken = (*self.view.segments, *segments)
            covered = taken[-1].ref.lsn[1] if taken else -1
            for wal in self.view.wals:
                if wal.first_lsn <= covered:
                    self.read_frames(wal)
            self.view = View(taken, tuple(w for w in self.view.wals if w.first_lsn > covered))

    def segment(self, ref: SegmentRef, commit: int) -> Segment:
        """The segment that commit number `commit` added, read through this store's cache."""
        return Segment(self.root, ref, commit, self.store_id, self._cache, self.elsewhere)

    def segments_of(self, commit: Commit) -> list[Segment]:
        """The segments that a commit added."""
        return [self.segment(ref, commit.number) for ref in commit.segments]

    def create_wal(self, first_lsn: int) -> Wal:
        """As `Wal.create`; the newest file from then on."""
        self.check_place()
        # A file of that name was never finished, or it would have been taken up.
        remove(self.places.wal_file(first_lsn))
        wal = self.files.create(first_lsn)
        self.add_wal(wal)
        return wal

    def add_wal(self, wal: Wal) -> None:
        """Add the newest WAL file."""
        with self.changing:
            self.view = View(self.view.segments, (*self.view.wals, wal))

    def wal_numbers(self) -> list[int]:
        """First log sequence numbers of the WAL files no commit covers, in order."""
        names = map(parse_wal_name, list_folder(self.places.wal))
        return [lsn for lsn in names if lsn is not None and lsn >= self.commits.next_lsn]

    def read_frames(self, wal: Wal) -> int:
        """Take up the frames after a WAL's tail; their count."""
        count = 0
        with self.changing:
            for frame in scan(wal):
                try:
                    self._apply(wal, frame)
                except BaseException:
                    # Interrupted: it is taken up once more the next time.
                    wal.retreat(frame.header)
                    raise
                count += 1
        return count

    def _apply(self, wal: Wal, frame: ScannedFrame) -> None:
        for chunk in frame.chunks:
            wal.note(chunk.stream, chunk.first, frame.header.position)
            state = self._states.get(chunk.stream)
            if state is not None:
                state.next_offset = chunk.stop
            if chunk.stream == LINEAGE_ID:
                for place, payload in enumerate(chunk.payloads()):
                    stream_id = chunk.first + place
                    self.note_stream(wal, stream_id, decode_lineage(payload, stream_id))

    def note_stream(self, wal: Wal, stream_id: int, record: LineageRecord) -> None:
        """Index the name, and the merge id, of a stream whose lineage record is in `wal`."""
        wal.names[record.name] = stream_id
        if isinstance(record, Merge):
            wal.merges[record.merge_id] = stream_id

    # Streams

    def find(self, name: str) -> int | None:
        """The id of the stream with this name."""
        view = self.view
        for wal in view.wals:
            if (found := wal.names.get(name)) is not None:
                return found
        key = name_key(name)
        return next((i for i in self._ids(view, key) if self.record(i).name == name), None)

    def find_merge(self, merge_id: str) -> int | None:
        """The id of the stream made by the merge with this id."""
        view = self.view
        for wal in view.wals:
            if (found := wal.merges.get(merge_id)) is not None:
                return found
        for stream_id in self._ids(view, merge_key(merge_id)):
            record = self.record(stream_id)
            if isinstance(record, Merge) and record.merge_id == merge_id:
                return stream_id
        return None

    def _ids(self, view: View, key: int) -> list[int]:
        # Read before the index of keys: what is taken up meanwhile is found twice, never missed.
        new = view.segments[self._keyed :]
        if new and self._searched > sum(len(segment.index.keys) for segment in new):
            self._take_keys(view)
            new = ()
        self._searched += len(new)
        found = self._keys.find(key)
        for segment in new:
            found += segment.index.find(key)
        return found

    def _take_keys(self, view: View) -> None:
        """Sort the segments' keys into one index, once searching each has cost as much as that."""
        with self.changing:
            for segment in view.segments[self._keyed :]:
                self._keys.add(segment.index.keys, segment.index.ids)
                self._keyed += 1
            self._searched = 0

    def record(self, stream_id: int) -> LineageRecord:
        """The lineage record of a stream; `NotFoundError` for an id that was never given."""
        record = self._records.get(stream_id)
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

    def stream_count(self) -> int:
        """Number of streams ever made, the store's own among them."""
        return self._tail(LINEAGE_ID)

    def state(self, stream_id: int) -> StreamState:
        """The state of a stream, shared by all who ask."""
        state = self._states.get(stream_id)
        if state is None:
            with self.changing:
                state = self._states.get(stream_id)
                if state is None:
                    state = StreamState(stream_id, self.record(stream_id))
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
        found = self._states.get(LINEAGE_ID)
        if found is not None:
            return found
        with self.changing:
            # Always the same record, so that it need not be read: it may be far away.
            state = StreamState(LINEAGE_ID, LINEAGE_RECORD)
            state.next_offset = self._tail(LINEAGE_ID)
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

    # Time

    def times(self) -> list[Times]:
        """When the records of each file were written, in the order of the log."""
        view = self.view
        times = [segment.ref.written for segment in view.segments]
        return times + [(wal.begun, wal.written) for wal in view.wals if wal.begun != EARLIEST]

    def written_before(self, wal: Wal) -> int:
        """When the last record before those of `wal` was written; the earliest time if none was."""
        view = self.view
        files = [(older.first_lsn, older.written) for older in view.wals]
        files += [(segment.ref.lsn[0], segment.ref.written[1]) for segment in view.segments[-1:]]
        before = [file for file in files if file[0] < wal.first_lsn]
        return max(before)[1] if before else EARLIEST

    # Chunks

    def chunk(self, stream_id: int, offset: int) -> Chunk:
        """The chunk that holds the own record at `offset` of stream `stream_id`."""
        state = self._states.get(stream_id)
        return self._own_chunk(stream_id, state.sealed if state else SealedRows(), offset)

    def recent_chunk(self, stream_id: int) -> Chunk | None:
        """The stream's chunk in the frame that was taken up last, if it has one there."""
        wals = self.view.wals
        chunks = wals[-1].recent[1] if wals else []
        return next((chunk for chunk in chunks if chunk.stream == stream_id), None)

    def own_chunk(self, state: StreamState, offset: int) -> Chunk:
        """The chunk that holds a stream's own record at `offset`."""
        return self._own_chunk(state.id, state.sealed, offset)

    def _own_chunk(self, stream_id: int, sealed: SealedRows, offset: int) -> Chunk:
        view = self.view
        for wal in reversed(view.wals):
            if stream_id in wal.index:
                row = wal.row_of(stream_id, offset)
                if row >= 0:
                    return holding(wal.chunk(stream_id, row), offset, wal.path)
        if sealed.seen < len(view.segments):
            self._look(view, stream_id, sealed)
        place = bisect_right(sealed.firsts, offset) - 1
        if place < 0:
            raise missing(self.root, stream_id, offset)
        chunk = sealed.chunk(place)
        return chunk if offset - chunk.first < chunk.count else holding(chunk, offset, self.root)

    def chunks(self, stream_id: int, start: int, stop: int) -> Iterator[Chunk]:
        """The chunks that hold a stream's own records from `start` to before `stop`, in order."""
        view = self.view
        state = self._states.get(stream_id)
        sealed = state.sealed if state else SealedRows()
        for chunk in self._chunks_from(view, stream_id, sealed, start):
            if chunk.stop <= start:
                # Sealed since the view was taken: met once more in the WAL it came from.
                continue
            if chunk.first > start:
                break
            yield chunk
            start = chunk.stop
            if start >= stop:
                return
        raise missing(self.root, stream_id, start)

    def _chunks_from(
        self, view: View, stream_id: int, sealed: SealedRows, start: int
    ) -> Iterator[Chunk]:
        first_wal = 0
        for place in reversed(range(len(view.wals))):
            if view.wals[place].row_of(stream_id, start) >= 0:
                first_wal = place
                break
        else:
            if sealed.seen < len(view.segments):
                self._look(view, stream_id, sealed)
            place = max(bisect_right(sealed.firsts, start) - 1, 0)
            yield from map(sealed.chunk, range(place, len(sealed.firsts)))
        for wal in view.wals[first_wal:]:
            if stream_id in wal.index:
                yield from wal.chunks(stream_id, max(wal.row_of(stream_id, start), 0))

    def _look(self, view: View, stream_id: int, sealed: SealedRows) -> None:
        with self.changing:
            for segment in view.segments[sealed.seen :]:
                sealed.add(segment, stream_id)
