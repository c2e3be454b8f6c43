"""Chunks by stream and offset, wherever they are: in a WAL file or a sealed segment.

Owns the view of the files as readers take it, and the state of a stream in use. What files and
streams there are is for `transit.log.catalog`.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import partial, wraps
from typing import Concatenate, Final, NamedTuple, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from transit.config import MIB
from transit.format.life import Life
from transit.format.lineage import LineageRecord
from transit.format.record import Chunk
from transit.guards import VIEW, Order
from transit.lineage.spans import Span
from transit.log.changes import NO_FOLLOWERS, NO_LISTENERS, Follower
from transit.log.clock import EARLIEST, Times
from transit.log.rows import SealedRows, holding, missing
from transit.log.segments import Segment
from transit.log.wal import Wal
from transit.watches import Latch

NEAR_BYTES: Final = MIB
P = ParamSpec("P")
S = TypeVar("S", bound="StoredChunks")
T = TypeVar("T")


class View(NamedTuple):
    """The files of the log, oldest first."""

    segments: tuple[Segment, ...]
    wals: tuple[Wal, ...]

    @property
    def unsynced(self) -> list[Wal]:
        """The WAL files that are not known to be durable to their tail, oldest first."""
        return [wal for wal in self.wals if wal.durable < wal.tail]

    def believe(self, wal: Wal) -> None:
        """Know of earlier files what `wal` says of them: that they were durable."""
        reach = wal.first_lsn if wal.durable else wal.unsynced_from
        for older in self.wals:
            if older.first_lsn < reach and older.ended:
                older.durable = older.tail


class StreamState:
    """What is known of one stream while it is in use; guarded by the writer's lock.

    `waiting` holds records accepted but not yet framed, as (payload, timestamp, encoded headers).
    `finished` is what `life` says, where every append looks; `gone`, before which offset records
    are gone, where every read does. `listeners` and `followers` wait for more of it, see
    `transit.handle.hub`.
    """

    __slots__ = (
        "__weakref__", "finished", "followers", "gone", "id", "inherited", "life", "listeners",
        "next_offset", "record", "sealed", "waiting",
    )  # fmt: skip

    def __init__(self, stream_id: int, record: LineageRecord, life: Life | None = None) -> None:
        self.id = stream_id
        self.record = record
        self.next_offset = record.start
        self.inherited: tuple[Span, ...] | None = None
        self.waiting: list[tuple[bytes, int, bytes]] = []
        self.sealed = SealedRows()
        # A set of its own once the stream has a waiter.
        self.listeners: AbstractSet[Latch] = NO_LISTENERS
        self.followers: AbstractSet[Follower] = NO_FOLLOWERS
        self.take_life(life)

    def take_life(self, life: Life | None) -> None:
        """Know what became of the stream."""
        self.life = life
        self.finished = life is not None and life.finished is not None
        self.gone = 0 if life is None else life.gone

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.record.name


class Changes:
    """What a catalog says of streams that changed; nothing while there are no waiters.

    A stream has changed when it has more records, was made, or something became of it (`$names`).
    It is said once that can be seen, by the thread that made it so, which may be in the middle of
    anything: what is called here waits for nothing.

    on_stream: called with a stream in use that changed. on_id: with the id of another one.
    on_segments: with segments whose records were not met one by one. Each is read once before it is
    called: the last waiter may go, and take it away, in between.
    """

    def __init__(self) -> None:
        self.on_stream: Callable[[StreamState], None] | None = None
        self.on_id: Callable[[int], None] | None = None
        self.on_segments: Callable[[Sequence[Segment]], None] | None = None

    def say(self, stream_id: int, state: StreamState | None) -> None:
        """The stream changed; `state` is None when it is not in use here."""
        if state is not None:
            if (tell := self.on_stream) is not None:
                tell(state)
        elif (tell_id := self.on_id) is not None:
            tell_id(stream_id)


def changing_the_view(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], T]:
    """A method that holds `changing`."""

    @wraps(method)
    def held(stored: S, /, *args: P.args, **options: P.kwargs) -> T:
        return stored.order.run(VIEW, stored.changing, partial(method, stored, *args, **options))

    return held


class StoredChunks:
    """The chunks in a view of files; `changing` is held while the view changes."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.view = View((), ())
        self.changing = threading.RLock()
        self.order = Order()
        self.changes = Changes()
        self._states: WeakValueDictionary[int, StreamState] = WeakValueDictionary()

    def chunk(self, stream_id: int, offset: int) -> Chunk:
        """The chunk that holds the own record at `offset` of stream `stream_id`."""
        state = self._states.get(stream_id)
        return self._own_chunk(stream_id, state.sealed if state else SealedRows(), offset)

    def is_near(self, state: StreamState, offset: int) -> bool:
        """Whether a stream's records from `offset` on are its own and at the end of the WAL.

        Reading them takes little time: there are at most `NEAR_BYTES`, which were written just now.
        """
        for wal in self.view.wals[-1:]:
            row = wal.row_of(state.id, offset)
            if row >= 0:
                return wal.tail - wal.index[state.id].positions[row] <= NEAR_BYTES
        return False

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

    def sealed_rows(self, stream_id: int, start: int, stop: int) -> Iterator[tuple[Segment, range]]:
        """Segments, and the rows of each, with a stream's own records from `start` to `stop`."""
        state = self._states.get(stream_id)
        sealed = state.sealed if state else SealedRows()
        view = self.view
        if sealed.seen < len(view.segments):
            self._look(view, stream_id, sealed)
        return sealed.runs(start, stop)

    @changing_the_view
    def _look(self, view: View, stream_id: int, sealed: SealedRows) -> None:
        for segment in view.segments[sealed.seen :]:
            sealed.add(segment, stream_id)

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
