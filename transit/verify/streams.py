"""What the records say: streams that go on where they were, and a lineage that can be.

streams    offsets contiguous from each stream's start, in the order of the log
lineage    records canonical; uids and merge ids unique; forks and heads exist; every merge run
           again gives the plan that was recorded
names      records of `$names` canonical and about streams there were; no two streams with one name
           that are not hidden; a finished stream has the records it was finished with, a deleted
           one stays deleted
cursors    records of cursors canonical, and not past the stream they are on
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from transit.errors import (
    ConflictError,
    CorruptError,
    ErasedError,
    InvalidInputError,
    NotFoundError,
)
from transit.format.cursor import CURSORS_PREFIX, decode_cursor, owner_of
from transit.format.life import LIFE_BYTES_MIN, NAMES_ID, Life, decode_life, life_key
from transit.format.lineage import (
    LINEAGE_ID,
    Branch,
    LineageRecord,
    Merge,
    decode_lineage,
    triples,
)
from transit.format.names import merge_key, name_key
from transit.format.record import Chunk
from transit.format.uid import uid_key
from transit.lineage.policy import CUSTOM_PREFIX, Request
from transit.lineage.spans import Span, to_plan
from transit.log.catalog import Catalog
from transit.verify.findings import Ledger
from transit.verify.names import NameCheck
from transit.verify.redacted import EraseCheck

RunPolicy = Callable[[Catalog, Request], tuple[Span, ...]]

# No lineage record is shorter: {"kind":"root","name":"$lineage"}.
_LINEAGE_BYTES_MIN: Final = 33


def lineage_of(chunk: Chunk, ledger: Ledger, place: str) -> list[tuple[int, LineageRecord]]:
    """The lineage records in a chunk of stream 0, by stream id; those that are none are found."""
    found: list[tuple[int, LineageRecord]] = []
    if chunk.payload_bytes < chunk.count * _LINEAGE_BYTES_MIN:
        # Not unfolded: a chunk of a few bytes may state millions of empty records.
        ledger.find(place, f"{chunk.count} lineage records", f"{chunk.payload_bytes} bytes")
        return found
    _without_headers(chunk, ledger, place)
    for stream_id, payload in enumerate(chunk.payloads(), chunk.first):
        with ledger.catching():
            found.append((stream_id, decode_lineage(payload, stream_id)))
    return found


def lives_of(chunk: Chunk, ledger: Ledger, place: str) -> list[tuple[int, Life]]:
    """The records in a chunk of `$names`, by offset; those that are none are found."""
    found: list[tuple[int, Life]] = []
    if chunk.payload_bytes < chunk.count * LIFE_BYTES_MIN:
        ledger.find(place, f"{chunk.count} records of streams", f"{chunk.payload_bytes} bytes")
        return found
    _without_headers(chunk, ledger, place)
    for offset, payload in enumerate(chunk.payloads(), chunk.first):
        with ledger.catching():
            found.append((offset, decode_life(payload, offset)))
    return found


def cursors_of(chunk: Chunk, ledger: Ledger, place: str) -> Iterator[int]:
    """The positions in a chunk of a cursor's stream; records that say none are found."""
    if chunk.payload_bytes < chunk.count:
        # Not unfolded, as above.
        ledger.find(place, f"{chunk.count} positions", f"{chunk.payload_bytes} bytes")
        return
    _without_headers(chunk, ledger, place)
    for payload in chunk.payloads():
        with ledger.catching():
            yield decode_cursor(payload, place).position


def _without_headers(chunk: Chunk, ledger: Ledger, place: str) -> None:
    if chunk.has_headers:
        ledger.find(place, f"records of stream {chunk.stream} without headers", "headers")


def keys_in(chunk: Chunk, ledger: Ledger, place: str) -> list[tuple[int, int]]:
    """The keys under which a segment's index lists what a chunk says of streams."""
    if chunk.stream == LINEAGE_ID:
        records = lineage_of(chunk, ledger, place)
        return [key for stream_id, record in records for key in keys_of(stream_id, record)]
    if chunk.stream == NAMES_ID:
        return [(life_key(life.stream), offset) for offset, life in lives_of(chunk, ledger, place)]
    return []


def keys_of(stream_id: int, record: LineageRecord) -> list[tuple[int, int]]:
    """The keys under which a segment's index lists a stream."""
    keys = [(name_key(record.name), stream_id)]
    if record.uid:
        keys.append((uid_key(record.uid), stream_id))
    if isinstance(record, Merge):
        keys.append((merge_key(record.merge_id), stream_id))
    return keys


class StreamCheck:
    """Follows all streams of a log, chunk by chunk; `lineage` then looks at the whole.

    `erasures`: what is gone, and what `$names` says of it; here: as `EraseCheck` takes it.
    """

    def __init__(self, ledger: Ledger, *, here: bool = False) -> None:
        self._ledger = ledger
        self.erasures = EraseCheck(ledger, here=here)
        self._next: dict[int, int] = {}
        self.records: dict[int, LineageRecord] = {}
        # `Merge.start` adds up a plan each time it is asked for.
        self._starts: dict[int, int] = {NAMES_ID: 0}
        self._lives: dict[int, Life] = {}
        self._uids: dict[str, int] = {}
        self._merge_ids: set[str] = set()
        # Whether some segments are out of reach, and so some lineage is not known.
        self.partial = False
        # Whether some chunks are missing, so that streams may go on further ahead.
        self.holes = False
        # How far cursors were moved by chunks of the place that is looked at: (stream, position,
        # place). What they passed may come later in the same frame.
        self._moved: list[tuple[int, int, str]] = []

    def reach(self, stream: int, stop: int) -> None:
        """A stream goes on at `stop`, as an index says."""
        self._next[stream] = stop

    def chunk(self, chunk: Chunk, place: str) -> list[tuple[int, int]]:
        """Check that a chunk goes on where its stream was; the index keys it introduces."""
        self._ledger.counts["chunks"] += 1
        self._ledger.counts["records"] += chunk.count
        if self._moved and self._moved[0][2] != place:
            self._check_moved()
        keys = []
        if chunk.stream == LINEAGE_ID:
            for stream_id, record in lineage_of(chunk, self._ledger, place):
                self._add(stream_id, record)
                keys += keys_of(stream_id, record)
        elif chunk.stream == NAMES_ID:
            for offset, life in lives_of(chunk, self._ledger, place):
                self._lives[offset] = life
                written = chunk.written_at(offset - chunk.first)
                self.erasures.say(life, written, chunk.writer)
                keys.append((life_key(life.stream), offset))
        elif (owner := self._owner(chunk.stream)) is not None:
            self._cursor(owner, chunk, place)
        self.erasures.there(chunk.stream, chunk.stop, place)
        self._go_on(chunk.stream, chunk.first, chunk.stop, place)
        return keys

    def sealed(self) -> None:
        """A chunk does not open here: nobody can tell what lineage there is."""
        self.partial = self.holes = True

    def erased(self, stream: int, first: int, stop: int, place: str) -> None:
        """As `chunk`, of one that is gone."""
        self.erasures.gone(stream, first, stop, place)
        self._go_on(stream, first, stop, place)

    def _go_on(self, stream: int, first: int, stop: int, place: str) -> None:
        """Check that records go on where their stream was."""
        expected = self._next.get(stream)
        if expected is None:
            expected = self._starts.get(stream, -1)
        if first != expected and not self._excused(first, expected):
            self._ledger.find(
                place,
                f"offset {expected} of stream {stream}" if expected >= 0 else "a known stream",
                f"offset {first} of stream {stream}",
            )
        self._next[stream] = stop

    def _owner(self, stream: int) -> int | None:
        """The stream that the cursor is on whose stream this is; None for other streams."""
        record = self.records.get(stream)
        if record is None or not record.name.startswith(CURSORS_PREFIX):
            return None
        owner = owner_of(record.name)
        return None if owner is None else owner[0]

    def _cursor(self, owner: int, chunk: Chunk, place: str) -> None:
        """Note how far a cursor was moved."""
        furthest = max(cursors_of(chunk, self._ledger, place), default=0)
        self._moved.append((owner, furthest, place))

    def _check_moved(self) -> None:
        """Check that cursors were moved no further than their streams reached."""
        for owner, furthest, place in self._moved:
            reached = self._next.get(owner, self._starts.get(owner, -1))
            if furthest > reached and not (self.partial or self.holes):
                self._ledger.find(
                    place, f"a cursor at {reached} of stream {owner} at most", f"at {furthest}"
                )
        self._moved.clear()

    def _excused(self, first: int, expected: int) -> bool:
        if expected < 0:
            return self.partial or self.holes
        return self.holes and first > expected

    def _add(self, stream_id: int, record: LineageRecord) -> None:
        self._ledger.counts["streams"] += 1
        self.records[stream_id] = record
        self._starts[stream_id] = record.start
        place = f"$lineage@{stream_id}"
        if self._uids.setdefault(record.uid, stream_id) != stream_id:
            other = self._uids[record.uid]
            self._ledger.find(
                place, "a uid that no other stream has", f"that of stream {other}: {record.uid}"
            )
        if isinstance(record, Merge):
            if record.merge_id in self._merge_ids:
                self._ledger.find(place, "a new merge id", record.merge_id)
            self._merge_ids.add(record.merge_id)

    # Lineage

    def lineage(self, catalog: Catalog, run_policy: RunPolicy) -> None:
        """Check what lineage records refer to, and run every merge again, in order of creation.

        Then what became of the streams.
        """
        self._check_moved()
        self.erasures.end(self.records)
        for stream_id, record in self.records.items():
            place = f"$lineage@{stream_id} ({record.name!r})"
            with self._ledger.catching():
                if isinstance(record, Branch):
                    self._head(place, record.parent, record.fork)
                elif isinstance(record, Merge):
                    self._merge(place, record, catalog, run_policy)

        if not self.holes:
            names = NameCheck(self._ledger, self.records)
            for offset, life in sorted(self._lives.items()):
                names.life(offset, life)
            names.end({s: max(self._next.get(s, 0), start) for s, start in self._starts.items()})

    def _head(self, place: str, stream_id: int, offset: int) -> None:
        start = self._starts.get(stream_id)
        if start is None or offset >= max(self._next.get(stream_id, 0), start):
            raise CorruptError(
                place, expected=f"offset {offset} of stream {stream_id}", found="none"
            )

    def _merge(self, place: str, record: Merge, catalog: Catalog, run_policy: RunPolicy) -> None:
        for parent, head in record.parents:
            self._head(place, parent, head)
        if record.base is not None:
            self._head(place, *record.base)
        for stream_id, first, count in triples(record.plan):
            self._head(place, stream_id, first + count - 1)
            if first < self._starts[stream_id]:
                raise CorruptError(
                    place, expected=f"own records of stream {stream_id}", found=f"offset {first}"
                )
        self._ledger.counts["merges"] += 1
        request = Request(
            policy=record.policy, heads=record.parents, base=record.base, params=record.params
        )
        try:
            spans = run_policy(catalog, request)
        except NotFoundError as error:
            if not record.policy.startswith(CUSTOM_PREFIX):
                raise CorruptError(
                    place, expected="a merge policy", found=f"{record.policy!r}: {error}"
                ) from None
            # A custom policy this process does not know: its plan is all there is.
            self._ledger.counts["merges_not_rerun"] += 1
            return
        except ErasedError:
            # Its plan is all that says how it was made.
            self._ledger.counts["merges_not_rerun"] += 1
            self._ledger.counts["merges_of_erased"] += 1
            return
        except (InvalidInputError, ConflictError) as error:
            raise CorruptError(
                place, expected=f"a merge by {record.policy}", found=str(error)
            ) from None
        if to_plan(spans) != record.plan:
            raise CorruptError(place, expected=f"the plan of {record.policy}", found="another plan")
