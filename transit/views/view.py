"""A view of the streams of a store: states at any offset of any branch, by folding records once.

A state is a function of the view's id and the first records of a stream, and of nothing else. So it
is taken from the nearest state that is known of these records, of this stream or of one that it
inherits from, and folded on from there; a branch costs nothing until its own records are folded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from sys import maxsize
from time import time_ns
from typing import Final

from transit import ConflictError, InvalidInputError, Log, OffsetError, Stream, TransitError
from transit.views.advancing import Advance, Settled
from transit.views.errors import DivergedError, EventError, ReducerError
from transit.views.folding import Skipped
from transit.views.histories import common_count, is_about, last_digest
from transit.views.maps.map import EMPTY
from transit.views.merges import is_three_way, three_way
from transit.views.nodes import RecordedNodes, StateNodes, all_nodes, unrecorded
from transit.views.overlay import RowChange
from transit.views.pack import Layout
from transit.views.reducing import Folding, Program
from transit.views.savepoints import NewNodes, Savepoint, keeper_of, newest
from transit.views.state import State
from transit.views.subscribing import Change, SubscriberStatus, Subscription, subscribers
from transit.views.verifying import Verified, verified

RECORDS_MAX: Final = 10_000
"""Records between two savepoints: so many are folded again for any offset, at most."""
Check = Callable[[], None]
"""Asked whether to go on: it raises where not."""
_HELD_MAX: Final = 64
_SAVES_MAX: Final = 16
"""So often a savepoint is tried that other processes write before."""
_SHARED_MAX: Final = 1024


class View:
    """One reducer over the streams of an open store; made by `transit.views.open`.

    Safe for threads. It holds nothing that needs closing. unsaved: what kept the last savepoint
    from being written, None where it was: the states are right without.
    """

    def __init__(self, log: Log, program: Program, persist: str, records_max: int) -> None:
        self.log, self.program, self.persist = log, program, persist
        self.unsaved: TransitError | None = None
        self._records_max = records_max
        self._keeper = keeper_of(log, program.spec, persist)
        self._recorded = RecordedNodes(self._keeper.read_pack)
        # The newest state of each stream that was used lately.
        self._held: OrderedDict[str, Settled] = OrderedDict()
        # For streams that were asked for: the streams they descend from, and what they share.
        self._shared: dict[str, list[tuple[Stream, int]]] = {}
        self._about: set[tuple[str, int, str]] = set()
        self._lock = threading.RLock()
        # Within one look, which may be inside another: streams whose savepoints were asked for.
        self._looks = 0
        self._asked: set[str] = set()

    def __repr__(self) -> str:
        spec = self.program.spec
        return f"<transit.views.View {spec.name!r} version {spec.version}, {self.id[:8]}>"

    @property
    def id(self) -> str:
        """32 hex digits: another name, version, source or type of rows or events has another."""
        return self.program.spec.id

    @property
    def name(self) -> str:
        """The name of the reducer."""
        return self.program.spec.name

    def of(
        self,
        stream: Stream | str,
        at: int | None = None,
        *,
        time: datetime | int | None = None,
        check: Check | None = None,
    ) -> State:
        """The state after the first `at` records of a stream, of all where it is None.

        So the state that a branch made at offset n begins with is that of its parent at n + 1.
        time: the records written before this moment, a datetime with a zone or UTC nanoseconds by
        the engine's clock; not one to come, which others could still write before.
        check: called between savepoints; what it raises ends the folding, and what was folded
        until then need not be folded again.
        Raises `ReducerError` or `EventError` where the view stands before an earlier record:
        states up to there can be had. `OffsetError` for more records than there are,
        `NotFoundError` without the stream.
        """
        found = self._stream(stream)
        stop = _stop_of(found, at, time)
        with self._look():
            return self._state(found, self.reach(found, stop, check))

    def save(self, stream: Stream | str) -> State:
        """The state after all records, kept as a savepoint; raises what keeps it from being one.

        Savepoints are also written on the way, every so many records.
        """
        found = self._stream(stream)
        with self._look():
            settled = self.reach(found, len(found))
            if self._newest_point(found) < settled.position:
                self._save(found, settled)
            return self._state(found, settled)

    def diff(self, before: State, after: State) -> Iterator[RowChange]:
        """The rows that two states have otherwise; as `State.diff`."""
        return before.diff(after)

    def savepoints(self, stream: Stream | str) -> tuple[int, ...]:
        """The positions of a stream whose states are kept, those it inherits left out."""
        return tuple(each.next for each in self.points(self._stream(stream)))

    def skipped(self, stream: Stream | str, at: int | None = None) -> Iterator[Skipped]:
        """The records that were no events: their offsets in the stream, and why.

        Of those between two savepoints the first 1,000.
        """
        found = self._stream(stream)
        with self._look():
            state = self.of(found, at)
            kept = self._listed(found, state.position)
            kept.update(state.skipped)
        return iter(sorted(kept.items()))

    def changes(
        self,
        stream: Stream | str,
        subscriber: str,
        *,
        start: int = 0,
        timeout: float | None = 0.0,
    ) -> Iterator[Change]:
        """The rows that each record of a stream changes, in order, from where `subscriber` stands.

        Call `done()` on each before the next one, or use its `effect()`; after a crash those that
        were not done are delivered again. start: the first offset for a new subscriber. timeout:
        seconds to wait for more records before it ends; None: it never does.
        Raises `HistoryDiffersError` where the stream is not the one that was seen.
        """
        return Subscription(self, self._stream(stream), subscriber, start).changes(timeout)

    def subscribers(self, stream: Stream | str) -> list[SubscriberStatus]:
        """Who has seen changes of a stream, and how far they are."""
        return subscribers(self, self._stream(stream))

    def verify(
        self, stream: Stream | str, sample: float = 1.0, *, seed: int | None = None
    ) -> Verified:
        """Fold what lies between savepoints once more, in another process, and compare the roots.

        sample: the share of them, drawn with `seed`. What differs is named; nothing is changed.
        """
        return verified(self, self._stream(stream), sample, seed)

    # For the modules of this room

    def fold_from(self, stream: Stream, position: int, check: Check | None = None) -> Folding:
        """A fold that goes on from the state at `position`."""
        settled = self.reach(stream, position, check)
        again = self.settle(stream, position, settled.root, dict(settled.nodes.fresh), 0)
        return self.program.fold(again.map, stream.name)

    def points(self, stream: Stream) -> tuple[Savepoint, ...]:
        """The savepoints of a stream that are about the records it has, in order."""
        return tuple(each for each in self._kept(stream) if self._is_about(stream, each))

    def reach(self, stream: Stream, stop: int, check: Check | None = None) -> Settled:
        """The state after `stop` records of a stream; the caller holds no lock or this one."""
        with self._look():
            settled = self._nearest(stream, stop) or self._start(stream)
            inherited = min(stop, stream.own_start)
            if settled.position < inherited:
                # What is folded for a stream that others inherit from too is kept for all of them.
                # Those that were made first come first: a merge before the branches made of it.
                sources = self.sources(stream, inherited)
                for source, count in sorted(sources, key=lambda each: each[0].id):
                    settled = self._advance(source, settled, count, check)
            return self._advance(stream, settled, stop, check)

    def settle(
        self,
        stream: Stream,
        position: int,
        root: bytes,
        fresh: dict[bytes, bytes],
        applied: int,
    ) -> Settled:
        """A state with this root. stream: one whose first records it is of, to fold them again."""
        nodes = StateNodes(fresh, self._recorded, lambda: self._again(stream, position, root))
        return Settled(stream, position, root, nodes, applied)

    def take_over(self, old: View, stream: Stream) -> tuple[int, ...]:
        """Write the savepoints of another view as this one's; the positions of those written."""
        written = []
        with self._lock:
            for point in old.points(stream):
                save = partial(
                    self._keeper.save, stream, NewNodes((), {}, {}, {}), partial(_as_it_is, point)
                )
                if self._saved_after_others(stream, point.next, save) is not None:
                    written.append(point.next)
        return tuple(written)

    def sources(self, stream: Stream, stop: int) -> Iterator[tuple[Stream, int]]:
        """The streams that `stream` descends from, and how many of its first `stop` records each
        begins with too."""
        if not stream.own_start:
            return
        # What a stream inherits never changes.
        shared = self._shared.get(stream.uid)
        if shared is None:
            counts = [
                (each, common_count(self.log, stream, each))
                for each in self.log.lineage.ancestors(stream)
            ]
            shared = [(each, count) for each, count in counts if count]
            if len(self._shared) >= _SHARED_MAX:
                self._shared.clear()
            self._shared[stream.uid] = shared
        for source, count in shared:
            if min(stop, count):
                yield source, min(stop, count)

    def unlisted(self, settled: Settled, stream: Stream) -> tuple[Skipped, ...]:
        """What was skipped before a state, and is listed with no savepoint that `stream` has."""
        if self.program.spec.on_error != "skip":
            return ()
        known = self._listed(settled.stream, settled.position)
        known.update(settled.skipped)
        for offset in self._listed(stream, settled.position):
            known.pop(offset, None)
        return tuple(sorted(known.items()))

    def _listed(self, stream: Stream, stop: int) -> dict[int, str]:
        """What was skipped of the first records of a stream, as savepoints list it, those too of
        the streams that it descends from."""
        found: dict[int, str] = {}
        for source, count in ((stream, stop), *self.sources(stream, stop)):
            for point in self.points(source):
                found.update({offset: why for offset, why in point.skipped if offset < count})
        return found

    def is_recorded(self, digest: bytes) -> bool:
        """Whether a node is in a pack."""
        return digest in self._recorded.places

    def _stream(self, stream: Stream | str) -> Stream:
        if isinstance(stream, str):
            return self.log.stream(stream)
        if not isinstance(stream, Stream):
            raise InvalidInputError(f"not a stream or its name: {type(stream).__name__}")
        own = self.log.stream(uid=stream.uid)
        if own != stream:
            raise InvalidInputError(f"{stream.name} is a stream of another store")
        return own

    def _state(self, stream: Stream, settled: Settled) -> State:
        return State(
            self.program,
            stream,
            settled.position,
            settled.map,
            settled.applied,
            settled.skipped,
        )

    # Where to begin

    @contextmanager
    def _look(self) -> Iterator[None]:
        """Around what asks for savepoints: the lock, and one answer for each stream."""
        with self._lock:
            self._looks += 1
            try:
                yield
            finally:
                self._looks -= 1
                if not self._looks:
                    self._asked.clear()

    def _kept(self, stream: Stream, position: int = -1) -> Sequence[Savepoint]:
        """The savepoints of a stream, asked for once a look; as `Keeper.points`."""
        with self._lock:
            if stream.uid not in self._asked:
                self._keeper.look(stream)
                if self._looks:
                    self._asked.add(stream.uid)
            return self._keeper.points(stream, position)

    def _start(self, stream: Stream) -> Settled:
        return self.settle(stream, 0, EMPTY, {}, 0)

    def _nearest(self, stream: Stream, stop: int) -> Settled | None:
        """The state nearest to `stop` that is known, of this stream or of what it inherits."""
        best = self._known(stream, stop, -1)
        inherited = min(stop, stream.own_start)
        if best is not None and best.position >= inherited:
            return best
        for source, count in self.sources(stream, inherited):
            found = self._known(source, count, -1 if best is None else best.position)
            best = best if found is None else found
        return best

    def _known(self, stream: Stream, stop: int, above: int) -> Settled | None:
        """The nearest state of a stream itself at `stop` or before, and at more than `above`."""
        held = self._held.get(stream.uid)
        if held is None or not above < held.position <= stop:
            held = None
        above = above if held is None else held.position
        point = newest(self._kept(stream, stop), stop)
        while point is not None and point.next > above:
            if self._is_about(stream, point):
                return self._load(stream, point)
            point = newest(self._kept(stream, point.next - 1), point.next - 1)
        return held

    def _load(self, stream: Stream, point: Savepoint) -> Settled:
        root = bytes.fromhex(point.root)
        if point.place is not None:
            self._recorded.places.setdefault(root, point.place)
        settled = self.settle(stream, point.next, root, {}, point.applied)
        settled.is_saved = True
        return settled

    def _is_about(self, stream: Stream, point: Savepoint) -> bool:
        key = (stream.uid, point.next, point.last)
        if key in self._about or is_about(stream, point.next, point.last):
            self._about.add(key)
            return True
        return False

    # Folding and keeping

    def _advance(self, stream: Stream, settled: Settled, stop: int, check: Check | None) -> Settled:
        """Fold on to `stop`, and keep what is on the way."""
        if settled.position >= stop:
            return settled
        if settled.position < stream.own_start <= stop and is_three_way(self, stream):
            settled = three_way(self, stream)
            self._hold(stream, settled, is_due=False)
        start = max(self._newest_point(stream), min(stream.own_start, settled.position))
        limit = max(start + self._records_max, settled.position + 1)
        fold = Advance(self, stream, settled)
        try:
            while limit < stop:
                settled = fold.to(limit)
                self._hold(stream, settled, is_due=True)
                limit += self._records_max
                if check is not None:
                    check()
            settled = fold.to(stop)
        except (ReducerError, EventError):
            self._hold(stream, fold.reached, is_due=False)
            raise
        self._hold(stream, settled, is_due=stop == limit)
        return settled

    def _hold(self, stream: Stream, settled: Settled, *, is_due: bool) -> None:
        """Remember a state of a stream, and write a savepoint where it is time for one."""
        held = self._held.get(stream.uid)
        if held is None or held.position <= settled.position:
            self._held[stream.uid] = settled
            self._held.move_to_end(stream.uid)
            while len(self._held) > _HELD_MAX:
                self._held.popitem(last=False)
        if is_due and self._newest_point(stream) < settled.position and self.log.mode != "read":
            self._try_save(stream, settled)

    def _newest_point(self, stream: Stream) -> int:
        """The position of the last savepoint of a stream; 0 without one."""
        points = self._kept(stream, maxsize)
        return points[-1].next if points else 0

    def _try_save(self, stream: Stream, settled: Settled) -> None:
        try:
            self._save(stream, settled)
        except TransitError as error:
            # The state is right without it; `save` raises what keeps a savepoint from being made.
            self.unsaved = error

    def _save(self, stream: Stream, settled: Settled) -> None:
        fresh, below = unrecorded(settled.nodes, settled.root)
        order = list(fresh)
        last = last_digest(stream, settled.position)

        def make(layout: Layout) -> Savepoint:
            return Savepoint(
                settled.position,
                last,
                settled.root.hex(),
                layout.places.get(settled.root) or self._recorded.places.get(settled.root),
                settled.applied,
                settled.skipped,
                sum(map(len, layout.packs)),
            )

        new = NewNodes(order, fresh, below, self._recorded.places)
        save = partial(self._keeper.save, stream, new, make)
        layout = self._saved_after_others(stream, settled.position, save)
        if layout is not None:
            self._recorded.learn(layout.places)
            self._recorded.keep({each: fresh[each] for each in order})
            self._about.add((stream.uid, settled.position, last))
        settled.is_saved, self.unsaved = True, None

    def _saved_after_others(
        self, stream: Stream, position: int, save: Callable[[], Layout]
    ) -> Layout | None:
        """What writing a savepoint comes to; None where another process wrote one that is as far.

        One that is not so far does not matter: this one comes after it.
        """
        for left in reversed(range(_SAVES_MAX)):
            if self._newest_point(stream) >= position:
                break
            try:
                return save()
            except ConflictError:
                self._asked.discard(stream.uid)
                if not left:
                    raise
        return None

    def _again(self, stream: Stream, position: int, root: bytes) -> dict[bytes, bytes]:
        """All nodes of a state, folded from the first record on."""
        with self._lock:
            again = View(self.log, self.program, "ephemeral", self._records_max)
            settled = again.reach(stream, position)
        if settled.root != root:
            raise DivergedError(
                f"{self!r}: folded again, {stream.name}[:{position}] is "
                f"{settled.root.hex()[:16]}, not {root.hex()[:16]} as it was recorded"
            )
        return all_nodes(settled.nodes, root)


def _as_it_is(point: Savepoint, _: Layout) -> Savepoint:
    return point


def _stop_of(stream: Stream, at: int | None, time: datetime | int | None) -> int:
    count = len(stream)
    if at is not None and time is not None:
        raise InvalidInputError("at and time do not go together")
    if time is not None:
        moment = _nanoseconds(time)
        if moment > time_ns():
            raise InvalidInputError("time is to come: what is written until then is not known")
        return min(count, stream.offset_at(moment))
    if at is None:
        return count
    if type(at) is not int:
        raise InvalidInputError(f"at must be int, not {type(at).__name__}")
    if not 0 <= at <= count:
        raise OffsetError(f"{stream.name} has {count} records: at must be 0 to {count}, not {at}")
    return at


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _nanoseconds(time: datetime | int) -> int:
    if not isinstance(time, datetime):
        return time
    if time.tzinfo is None:
        raise InvalidInputError("time must have a zone, such as datetime.now(UTC)")
    since = time - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000
