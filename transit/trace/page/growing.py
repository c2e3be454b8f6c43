"""A page of a run that goes on: what is new of it, for a page that is open.

Owns how a run and the runs begun in it are read a second time without reading again what was read,
and the shape of what came since. `data` owns the steps themselves, as for a page that is a file.

A page that grows has in its JSON, beside what `data` says:

    keys       of each step, in order, the number by which it is meant when it changes

What came since is

    side       the head, as in `sides`
    at, drop, keys
               in the order of steps, the keys to put at place `at`, where `drop` of them were
    steps      [key, step] of each step that is new, or says something else now
    chunks     [key, records] of each step of which only more parts of the answer came
    runs, values
               those to be put behind the ones that are there
    notes      all notes, where there are more
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

import msgspec

from transit import InvalidInputError, Log, NotFoundError, Stream
from transit.trace.events import ChildRun, RunEnd
from transit.trace.noting import stream_of_notes
from transit.trace.page.data import PageData, harmless, levels
from transit.trace.page.heads import notes_of
from transit.trace.page.values import encoded
from transit.trace.prices import Prices
from transit.trace.reading import Trace
from transit.trace.records import EventReader, EventRecord
from transit.trace.steps import DEPTH_MAX, Step, StepReader

_WHOLE: Final = -1


class TooLargeError(InvalidInputError):
    """A run that is more than a page shows."""


class Limits(msgspec.Struct, frozen=True):
    """How much a page shows. events: of the run and those in it; size: of its JSON, bytes."""

    events: int = 50_000
    size: int = 64 * 1024 * 1024


class _Reading:
    """One run as far as it was read. within: the step that began it; None for the run itself."""

    def __init__(self, log: Log, stream: Stream, within: Step | None, depth: int) -> None:
        self.stream = stream
        self.within = within
        self.depth = depth
        event = None if within is None else within.first.event
        self._start = event.start if isinstance(event, ChildRun) else 0
        self._events = EventReader(log, stream)
        self.reader = StepReader(stream.name, stream.own_start)
        self._next = 0
        self.is_over = False

    def take(self) -> Iterator[tuple[Step, bool]]:
        """The steps that more was recorded of since; True where only a part of an answer came."""
        for record in self.stream.read(self._next):
            event = self._events.take(record)
            self._next = record.offset + 1
            if record.offset < self._start:
                continue
            step, phase = self.reader.add(event)
            yield step, phase == "went on"
            if self.within is not None and self._is_end(event):
                self.within.last = event
                self.is_over = True
                yield self.within, False
                return

    def _is_end(self, record: EventRecord) -> bool:
        return isinstance(record.event, RunEnd) and record.offset >= self.stream.own_start


class GrowingPage:
    """The page of a run in this store, as far as it was read. Used by one thread at a time.

    may_read: whether a run of this name may be shown inside the page. steps: those that were read.
    """

    def __init__(
        self,
        log: Log,
        run: Stream,
        *,
        may_read: Callable[[str], bool] = lambda _: True,
        limits: Limits | None = None,
        prices: Prices | None = None,
    ) -> None:
        self._log = log
        self._may_read = may_read
        self._limits = limits or Limits()
        self.trace = Trace(log, run)
        self._readings = [_Reading(log, run, None, 0)]
        self.steps = self._readings[0].reader.steps
        # Children whose stream was not there yet.
        self._missing: list[tuple[Step, int]] = []
        self._seen: set[tuple[str, int]] = set()
        self._data = PageData(prices)
        self._keys: dict[int, int] = {}
        # By key: the step, which is held so that its id is no other's, its level, its JSON but for
        # the chunks, and that of each of these.
        self._known: list[Step] = []
        self._levels: list[int] = []
        self._made: list[bytes] = []
        self._chunks: list[list[bytes]] = []
        self._order: list[int] = []
        self._notes: list[object] = []
        self._notes_seen = 0
        self._events = 0
        self._size = 0
        self._head: dict[str, object] = {}

    @property
    def uids(self) -> set[str]:
        """The runs that are read."""
        return {each.stream.uid for each in self._readings if not each.is_over}

    @property
    def is_waiting(self) -> bool:
        """Whether a run was begun whose stream is not there yet."""
        return bool(self._missing)

    def read(self) -> bytes | None:
        """What came since, as JSON; None where nothing did. `TooLargeError`: it is too much."""
        values, runs = len(self._data.values), len(self._data.runs)
        touched = self._take()
        notes = self._take_notes()
        if not touched and not notes and self._head:
            return None
        if not self._order:
            self._data.begin(self.trace, self.steps)
        changed, grown = self._changes(touched)
        order, splice = self._reordered()
        self._order = order
        self._head = self._data.head(self.trace, self.steps, 0)
        whole: dict[str, object] = {"side": self._head, **splice, "chunks": grown}
        if notes:
            whole["notes"] = self._notes
        whole["runs"] = self._data.runs[runs:]
        steps = [b"[%d,%b]" % (key, self._step(key)) for key in changed]
        data = _joined(whole, steps, self._data.values[values:])
        self._grow_by(len(data))
        return data

    def whole(self) -> bytes:
        """The JSON of the page, as of the last reading."""
        said: dict[str, object] = {
            "version": 1, "title": self.trace.task_id, "sides": [self._head],
            "notes": self._notes, "runs": self._data.runs, "keys": self._order,
        }  # fmt: skip
        return _joined(said, [self._step(key) for key in self._order], self._data.values)

    def _take(self) -> dict[int, tuple[Step, bool]]:
        """Read on; the steps that more is known of, by id, and whether that is chunks alone."""
        touched: dict[int, tuple[Step, bool]] = {}
        self._open(touched)
        # Runs that are found on the way come behind.
        for reading in self._readings:
            if reading.is_over:
                continue
            for step, is_chunk in reading.take():
                self._events += 1
                if self._events > self._limits.events:
                    raise TooLargeError(
                        f"{self.trace.name}: more than {self._limits.events:,} events"
                    )
                before = touched.get(id(step), (step, is_chunk))
                touched[id(step)] = step, before[1] and is_chunk
                if step.kind == "run" and id(step) not in self._keys and step.first is step.last:
                    self._missing.append((step, reading.depth + 1))
            self._open(touched)
        return touched

    def _open(self, touched: dict[int, tuple[Step, bool]]) -> None:
        """Begin to read the runs that were begun, of which the stream is there."""
        left: list[tuple[Step, int]] = []
        for step, depth in self._missing:
            event = step.first.event
            assert isinstance(event, ChildRun)
            if (event.uid, event.start) in self._seen or depth > DEPTH_MAX:
                continue
            try:
                stream = self._log.stream(uid=event.uid)
            except NotFoundError:
                left.append((step, depth))
                continue
            except InvalidInputError:
                continue
            if not self._may_read(stream.name):
                continue
            self._seen.add((event.uid, event.start))
            reading = _Reading(self._log, stream, step, depth)
            step.steps = reading.reader.steps
            self._readings.append(reading)
            touched.setdefault(id(step), (step, False))
        self._missing = left

    def _take_notes(self) -> bool:
        """Whether there are more notes."""
        stream = stream_of_notes(self._log, self.trace.stream)
        if stream is None or len(stream) == self._notes_seen:
            return False
        self._notes_seen = len(stream)
        found = notes_of(self.trace.notes, self.trace.name)
        self._notes = [self._data.note(note) for note in found]
        return True

    def _changes(self, touched: dict[int, tuple[Step, bool]]) -> tuple[list[int], list[object]]:
        """The keys of steps that are said anew, and the chunks of those that only grew."""
        changed: list[int] = []
        grown: list[object] = []
        for level, step in levels(self.steps):
            key = self._keys.get(id(step))
            if key is None:
                key = self._keys[id(step)] = len(self._known)
                self._known.append(step)
                self._levels.append(_WHOLE)
                self._made.append(b"")
                self._chunks.append([])
            is_touched, is_chunk = id(step) in touched, touched.get(id(step), (step, False))[1]
            if self._levels[key] == level and not is_touched:
                continue
            if self._levels[key] == level and is_chunk:
                more = step.chunks[len(self._chunks[key]) :]
                records = [self._data.record(step.run, each) for each in more]
                grown.append([key, records])
                self._chunks[key] += map(encoded, records)
                continue
            made = self._data.step(level, step)
            self._chunks[key] = list(map(encoded, cast("list[object]", made.pop("chunks", []))))
            self._made[key], self._levels[key] = encoded(made), level
            changed.append(key)
        return changed, grown

    def _step(self, key: int) -> bytes:
        chunks = self._chunks[key]
        if not chunks:
            return self._made[key]
        return b'%b,"chunks":[%b]}' % (self._made[key][:-1], b",".join(chunks))

    def _reordered(self) -> tuple[list[int], dict[str, object]]:
        """The order of the keys now, and how it comes of the one before."""
        before = self._order
        order = [self._keys[id(step)] for _, step in levels(self.steps)]
        most = min(len(before), len(order))
        at = next((n for n in range(most) if before[n] != order[n]), most)
        end = 0
        while end < most - at and before[-1 - end] == order[-1 - end]:
            end += 1
        keys = order[at : len(order) - end]
        return order, {"at": at, "drop": len(before) - end - at, "keys": keys}

    def _grow_by(self, size: int) -> None:
        self._size += size
        if self._size > self._limits.size:
            raise TooLargeError(f"{self.trace.name}: more than {self._limits.size:,} bytes")


def _joined(said: dict[str, object], steps: Sequence[bytes], values: Sequence[bytes]) -> bytes:
    parts = (
        encoded(said)[:-1], b',"steps":[', b",\n".join(steps),
        b'],"values":[', b",\n".join(values), b"]}",
    )  # fmt: skip
    return harmless(b"".join(parts))
