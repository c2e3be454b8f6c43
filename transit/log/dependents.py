"""Which streams need which records: what may go, and what must stay.

A branch needs of its parent what it inherits, a merge of each origin what its plan has. A record
below a stream's own first offset (`Life.trimmed`) is needed by it no more. A deleted stream needs
nothing.

Invariant: each record that a stream shows, that is from its first offset on, is there. Deleting and
trimming are refused where that would end (`dependents_of`). A stream that is made from one that was
trimmed begins, where the first records of its history are gone, after these (`inherited_gone`); one
in whose midst records would be missing is refused.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from transit.errors import ErasedError
from transit.format.cursor import owner_of
from transit.format.life import Life
from transit.format.lineage import Branch, LineageRecord, Merge, decode_lineage, triples
from transit.format.names import layer_of
from transit.format.record import Chunk
from transit.guards import leaf

NO_LIFE: Final = Life(stream=1, streams=2)
Chunks = Callable[[int, int], Iterable[Chunk]]
"""The chunks of `$lineage` from one offset to before another."""
T = TypeVar("T")
ABOUT: Final = "about_uid"
"""Metadata of a layer's stream: the uid of the stream it is about."""
_UID: Final = re.compile("[0-9a-f]{32}")


class Need(NamedTuple):
    """A stream, and the records of another that it has: offsets there, from `first` to `last`."""

    stream: int
    of: int
    first: int
    last: int


def needs_of(stream: int, record: LineageRecord, life: Life) -> Iterator[Need]:
    """What a stream, whose lineage record and life are given, needs of others."""
    if life.deleted:
        return
    if isinstance(record, Branch):
        if record.fork >= life.trimmed:
            yield Need(stream, record.parent, life.trimmed, record.fork)
    elif isinstance(record, Merge):
        at = 0
        for source, first, count in triples(record.plan):
            skipped = min(max(life.trimmed - at, 0), count)
            if skipped < count:
                yield Need(stream, source, first + skipped, first + count - 1)
            at += count


def about(record: LineageRecord) -> set[str]:
    """The uids of the streams that a stream of a layer belongs to."""
    if layer_of(record.name) is None:
        return set()
    parts = {*record.name.split("/")[1:], record.metadata.get(ABOUT)}
    return {part for part in parts if isinstance(part, str) and _UID.fullmatch(part)}


class Descent:
    """Which streams were made from which, and which belong to which, read as `$lineage` grows.

    A cursor belongs to the stream it is on. A stream of a layer belongs to the one whose uid is a
    part of its name, between slashes, or its metadata's `about_uid`: what a room above keeps about
    one stream says so. Safe for threads.
    """

    def __init__(self) -> None:
        self._made_from: dict[int, list[int]] = {}
        self._on: dict[int, list[int]] = {}
        self._about: dict[str, list[int]] = {}
        self._seen = 0
        self._lock = threading.Lock()

    def up_to(self, stop: int, chunks: Chunks) -> None:
        """Read the lineage of the streams with ids before `stop`."""
        if self._seen < stop:
            leaf(self._lock, partial(self._read, stop, chunks))

    def _read(self, stop: int, chunks: Chunks) -> None:
        for chunk in chunks(self._seen, stop) if self._seen < stop else ():
            for stream in range(max(self._seen, chunk.first), min(stop, chunk.stop)):
                self._take(stream, decode_lineage(chunk.payload(stream - chunk.first), stream))
                self._seen = stream + 1

    def _take(self, stream: int, record: LineageRecord) -> None:
        for source in needed_by(record):
            _note(self._made_from, source, stream)
        if (owner := owner_of(record.name)) is not None:
            _note(self._on, owner[0], stream)
        else:
            for uid in about(record):
                _note(self._about, uid, stream)

    def made_from(self, stream: int) -> Sequence[int]:
        """The branches and merges that may have records of a stream, in order of creation."""
        return self._made_from.get(stream, ())

    def belonging(self, stream: int, uid: str) -> Sequence[int]:
        """The streams that belong to one, whose uid is given too."""
        return [*self._on.get(stream, ()), *self._about.get(uid, ())]


def _note(known: dict[T, list[int]], key: T, stream: int) -> None:
    # Taken up once more after an interrupt, it is there already.
    found = known.setdefault(key, [])
    if not found or found[-1] < stream:
        found.append(stream)


def needed_by(record: LineageRecord) -> set[int]:
    """The streams whose records a stream may have, by its lineage record."""
    if isinstance(record, Branch):
        return {record.parent} if record.fork >= 0 else set()
    return set(record.plan[0::3]) if isinstance(record, Merge) else set()


def inherited_gone(record: LineageRecord, life: Callable[[int], Life]) -> int:
    """How many records at the start of a new stream's history are gone already.

    `ErasedError` where one is gone after one that is there.
    """
    if isinstance(record, Branch):
        return min(max(life(record.parent).gone, 0), record.fork + 1)
    if not isinstance(record, Merge):
        return 0
    at = trimmed = 0
    for source, first, count in triples(record.plan):
        missing = min(max(life(source).gone - first, 0), count)
        if missing and trimmed < at:
            raise ErasedError(
                f"{record.name}: record {at} would be one that was deleted or trimmed, after one "
                "that is there: merge from positions after it",
                stream=record.name,
                first_offset=None,
                state="trimmed",
            )
        if missing:
            trimmed = at + missing
        at += count
    return trimmed
