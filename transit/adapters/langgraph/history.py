"""History of one stream of a thread: its records in order, and what they refer to.

Owns how forms of records become values, and how values become forms. A branch of the thread goes on
from the history of the stream that it branched off, up to there; offsets are the same in both.
Used under the lock of the thread; a view reads a stream through it alone.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol

from blake3 import blake3

from transit import CorruptError, Stream
from transit.adapters.langgraph.records import (
    LIST,
    NOTHING,
    WHOLE,
    CheckpointRecord,
    Gone,
    Part,
    Piece,
    ThreadRecord,
    Version,
    decode,
)
from transit.adapters.langgraph.remembering import Seen, as_it_is, is_as_it_was, is_heavy

# Larger ones are read from the store when they are needed.
_KEPT_BYTES_MAX: Final = 64 * 1024
_FRESH_MAX: Final = 256
_offset_of: Final = attrgetter("offset")

Ref = tuple[int, int]
"""A part: offset of its record, its number there."""


class Serde(Protocol):
    """What the saver's serializer does."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Type and bytes of an object."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The object again."""


class Pieces:
    """The list in a channel: the first `count` of parts that longer lists may share with it."""

    __slots__ = ("count", "refs", "seen")

    def __init__(self, refs: list[Ref], count: int) -> None:
        self.refs = refs
        self.count = count
        # As it was stored, and as it was last loaded.
        self.seen: list[Seen] = []

    def longer(self, more: list[Ref]) -> Pieces:
        """This list and more, which takes memory for what is more alone, unless it forks."""
        if len(self.refs) == self.count:
            self.refs += more
            return Pieces(self.refs, len(self.refs))
        return Pieces([*self.refs[: self.count], *more], self.count + len(more))


Value = Ref | Pieces | None

_NONE: Final[Mapping[int, Ref]] = {}


class Entry:
    """A checkpoint: where it stands, what it consists of, and the writes that follow it."""

    __slots__ = ("head", "history", "id", "ns", "offset", "parent", "values", "versions", "writes")

    def __init__(self, history: History, offset: int, record: CheckpointRecord) -> None:
        self.history = history
        self.offset = offset
        self.id = record.id
        self.ns = record.ns
        self.parent = record.parent
        self.head: Ref = (offset, record.head)
        self.values: dict[str, Value] = {}
        self.versions: dict[str, Version] = {}
        self.writes: dict[tuple[str, int], Pending] = {}


class Pending:
    """A write of a task: its channel and value, in the history that it was recorded in."""

    __slots__ = ("channel", "history", "path", "value")

    def __init__(self, history: History, path: str, channel: str, value: Value) -> None:
        self.history = history
        self.path = path
        self.channel = channel
        self.value = value


class Fresh(NamedTuple):
    """An object that `serde` serialized, a copy that tells whether it changed since, its part."""

    item: object
    copy: object
    serde: Serde
    ref: Ref


class History:
    """The records of a stream, those too that it inherits; `before` has those up to `start`."""

    def __init__(
        self,
        stream: Stream,
        before: History | None = None,
        start: int = 0,
        *,
        kept_bytes_max: int | None = _KEPT_BYTES_MAX,
    ) -> None:
        self.stream = stream
        self._kept_max = math.inf if kept_bytes_max is None else kept_bytes_max
        self.stop = start
        self.start = start
        self.size = 0
        self._before = before
        self._parts: dict[int, list[Part | None]] = {}
        self.entries: dict[int, Entry] = {}
        self._by_ns: dict[str, list[Entry]] = {}
        self._known: dict[bytes, Ref] = {}
        # What was written a moment ago, and is about to be a part of a list.
        self._fresh: dict[int, Fresh] = {}

    @property
    def place(self) -> str:
        """For errors: the stream's name."""
        return self.stream.name

    # Reading

    def catch_up(self) -> Iterator[tuple[int, ThreadRecord]]:
        """Take in what was appended since; gives each record, before the next is read."""
        for record in self.stream.read(self.stop):
            found = decode(record.payload, f"{self.place}@{record.offset}")
            self.stop = record.offset + 1
            if not isinstance(found, Gone):
                self.add_parts(record.offset, found)
                yield record.offset, found

    def add_parts(self, offset: int, record: ThreadRecord, digests: Sequence[bytes] = ()) -> None:
        """The parts of the record at `offset`. digests: theirs, where they are known."""
        kept: list[Part | None] = []
        # No other record has the head of a checkpoint.
        head = record.head if isinstance(record, CheckpointRecord) else -1
        for number, part in enumerate(record.parts):
            size = len(part[1])
            self.size += min(size, _KEPT_BYTES_MAX)
            if number != head:
                digest = digests[number] if digests else _digest(part)
                self._known.setdefault(digest, (offset, number))
            kept.append(part if size <= self._kept_max else None)
        self._parts[offset] = kept

    def part(self, ref: Ref) -> Part:
        """A part; `CorruptError` where there is none."""
        history = self._of(ref[0])
        try:
            found = history._parts[ref[0]][ref[1]]
        except (KeyError, IndexError):
            raise CorruptError(self.place, expected=f"part {ref}", found="none") from None
        if found is None:
            payload = history.stream[ref[0]].payload
            record = decode(payload, f"{self.place}@{ref[0]}")
            if isinstance(record, Gone):
                raise CorruptError(self.place, expected=f"part {ref}", found="none")
            found = record.parts[ref[1]]
        return found

    def _of(self, offset: int) -> History:
        history = self
        while offset < history.start and history._before is not None:
            history = history._before
        return history

    def entry_at(self, offset: int) -> Entry | None:
        """The checkpoint whose record is at `offset`."""
        return self._of(offset).entries.get(offset)

    def tip(self, ns: str) -> Entry | None:
        """The last checkpoint of a namespace in this history."""
        history: History | None = self
        stop = self.stop
        while history is not None:
            found = history._by_ns.get(ns, [])
            place = bisect_left(found, stop, key=_offset_of)
            if place:
                return found[place - 1]
            stop, history = history.start, history._before
        return None

    def take_checkpoint(self, offset: int, record: CheckpointRecord) -> Entry:
        """A checkpoint that was recorded at `offset`, whose parts are there."""
        entry = Entry(self, offset, record)
        if record.base:
            base = self.entry_at(offset - record.base)
            if base is None:
                raise CorruptError(f"{self.place}@{offset}", expected="its base", found="none")
            entry.values, entry.versions = dict(base.values), dict(base.versions)
        for channel, (version, kind, pieces) in record.changed.items():
            before = entry.values.get(channel)
            entry.versions[channel] = version
            value = self.value_of(offset, kind, pieces, before)
            if kind == NOTHING:
                entry.values.pop(channel, None)
            else:
                entry.values[channel] = value
        for channel in record.dropped:
            entry.values.pop(channel, None)
            entry.versions.pop(channel, None)
        self.entries[offset] = entry
        self._by_ns.setdefault(entry.ns, []).append(entry)
        return entry

    def value_of(self, offset: int, kind: int, pieces: list[Piece], before: Value = None) -> Value:
        """The value that a form of the record at `offset` stands for."""
        if kind == NOTHING:
            return None
        if kind == WHOLE and len(pieces) == 1 and pieces[0][0] >= 0:
            return offset - pieces[0][0], pieces[0][1]
        if kind != LIST:
            raise CorruptError(f"{self.place}@{offset}", expected="a form", found=str(kind))
        new = pieces[1:]
        goes_on = isinstance(before, Pieces) and pieces[:1] == [(-1, before.count)]
        if isinstance(before, Pieces) and goes_on and all(first >= 0 for first, _ in new):
            # The usual case: it takes memory for what is new alone.
            return before.longer([(offset - back, n) for back, n in new])
        refs: list[Ref] = []
        for first, second in pieces:
            if first >= 0:
                refs.append((offset - first, second))
                continue
            start = -first - 1
            if not isinstance(before, Pieces) or start + second > before.count:
                raise CorruptError(
                    f"{self.place}@{offset}", expected="a list before", found="none as long"
                )
            refs += before.refs[start : start + second]
        return Pieces(refs, len(refs))

    def load(self, value: Value, serde: Serde) -> object:
        """The object that a value stands for."""
        if not isinstance(value, Pieces):
            return None if value is None else self._load(value, serde)
        items: list[object] = []
        for ref in value.refs[: value.count]:
            found = self._load(ref, serde)
            if self.part(ref)[2]:
                items += found
            else:
                items.append(found)
        return items

    def _load(self, ref: Ref, serde: Serde) -> Any:
        kind, data, _ = self.part(ref)
        return serde.loads_typed((kind, data))

    def find(self, digest: bytes) -> Ref | None:
        """Where this history has a part, None where it does not."""
        history: History | None = self
        stop = self.stop
        while history is not None:
            found = history._known.get(digest)
            if found is not None and found[0] < stop:
                return found
            stop, history = min(stop, history.start), history._before
        return None

    # Writing

    def remember(self, fresh: Fresh) -> None:
        """An object was written; the next list may have it."""
        if len(self._fresh) >= _FRESH_MAX:
            del self._fresh[next(iter(self._fresh))]
        self._fresh[id(fresh.item)] = fresh

    def fresh(self, item: object, serde: Serde) -> Fresh | None:
        """Where an object was written a moment ago, None where it was not or has changed."""
        found = self._fresh.get(id(item))
        if found is None or found.item is not item or found.serde is not serde:
            return None
        return found if is_as_it_was(item, found.copy) else None


class Writing:
    """A record in the making, to be appended to `history` at its stop."""

    def __init__(self, history: History, serde: Serde) -> None:
        self.history = history
        self.offset = history.stop
        self.parts: list[Part] = []
        # Of each part; nothing where none is asked for.
        self.digests: list[bytes] = []
        self._serde = serde
        self._new: dict[bytes, Ref] = {}
        self._fresh: list[Fresh] = []
        # Of the items that were looked at, by identity.
        self._copies: dict[int, object] = {}
        # Of each list that is written: whose memory of it is taken, and what is new.
        self._lists: dict[str, tuple[Pieces | None, list[object], Seen | None]] = {}

    def part(self, part: Part) -> Ref:
        """Where a part stands: where it stood before, or in this record."""
        digest = _digest(part)
        ref = self._new.get(digest) or self.history.find(digest)
        if ref is None:
            ref = (self.offset, len(self.parts))
            self.parts.append(part)
            self.digests.append(digest)
            self._new[digest] = ref
        return ref

    def alone(self, part: Part) -> int:
        """The number of a part that stands in this record whatever was before."""
        self.parts.append(part)
        self.digests.append(b"")
        return len(self.parts) - 1

    def piece(self, ref: Ref) -> Piece:
        """A part as a form says it."""
        return self.offset - ref[0], ref[1]

    def value(self, value: object) -> tuple[int, list[Piece]]:
        """The form of a value of a write."""
        if type(value) is not list:
            ref = self.fresh_or_new(value)
            return WHOLE, [self.piece(ref)]
        return LIST, [self.piece(ref) for ref in self._items(value)]

    def fresh_or_new(self, item: object) -> Ref:
        """A value or a heavy item, serialized unless it was a moment ago."""
        if not is_heavy(item):
            return self.part((*self._serde.dumps_typed(item), 0))
        found = self.history.fresh(item, self._serde)
        if found is None:
            # Before it is serialized: a change that comes in between is noticed later.
            copy = as_it_is(item)
            ref = self.part((*self._serde.dumps_typed(item), 0))
            found = Fresh(item, copy, self._serde, ref)
            self._fresh.append(found)
        self._copies[id(item)] = found.copy
        return found.ref

    def _items(self, items: list[object], known: Mapping[int, Ref] = _NONE) -> list[Ref]:
        """Parts for the items of a list: a heavy one each, and light ones in a row together.

        known: where items stand already, by their identity.
        """
        refs: list[Ref] = []
        light: list[object] = []
        for item in items:
            if is_heavy(item):
                self._flush(light, refs)
                refs.append(known.get(id(item)) or self.fresh_or_new(item))
            else:
                light.append(item)
        self._flush(light, refs)
        return refs

    def _flush(self, light: list[object], refs: list[Ref]) -> None:
        if light:
            refs.append(self.part((*self._serde.dumps_typed(list(light)), len(light))))
            light.clear()

    def channel(self, name: str, value: object, before: Value) -> tuple[int, list[Piece]]:
        """The form of a channel's value; before: the base's."""
        if type(value) is not list:
            return self.value(value)
        if not isinstance(before, Pieces):
            self._lists[name] = (None, value, None)
            return LIST, [self.piece(ref) for ref in self._items(value)]
        for seen in before.seen:
            if seen.serde is self._serde and seen.begins(value):
                more = value[len(seen.items) :]
                self._lists[name] = (before, more, seen)
                pieces = [(-1, before.count)] if before.count else []
                return LIST, pieces + [self.piece(ref) for ref in self._items(more)]
        self._lists[name] = (before, value, None)
        return LIST, self._changed_list(value, before)

    def _changed_list(self, items: list[object], base: Pieces) -> list[Piece]:
        """A list of which the base may have some, in any order."""
        known: dict[Ref, int] = {}
        for place, ref in enumerate(base.refs[: base.count]):
            known.setdefault(ref, place)
        pieces: list[Piece] = []
        for ref in self._items(items, self._unchanged(items, base)):
            found = known.get(ref)
            if found is None:
                pieces.append(self.piece(ref))
            elif pieces and pieces[-1][0] < 0 and -pieces[-1][0] - 1 + pieces[-1][1] == found:
                pieces[-1] = pieces[-1][0], pieces[-1][1] + 1
            else:
                pieces.append((-found - 1, 1))
        return pieces

    def _unchanged(self, items: list[object], base: Pieces) -> dict[int, Ref]:
        """Where those items of a list stand that the base has as they are, by their identity."""
        found: dict[int, Ref] = {}
        for seen in base.seen:
            # With light items a part is not an item.
            if seen.serde is not self._serde or len(seen.items) != base.count:
                continue
            place_of = seen.places()
            for item in items:
                place = place_of(item) if is_heavy(item) else None
                if place is not None:
                    found[id(item)] = base.refs[place]
        return found

    def done(self, values: Mapping[str, Value]) -> None:
        """The record was appended: what was serialized for it is remembered. values: as stored."""
        for fresh in self._fresh:
            self.history.remember(fresh)
        for name, (base, more, of_base) in self._lists.items():
            stored = values.get(name)
            if not isinstance(stored, Pieces):
                continue
            seen = Seen(self._serde) if of_base is None else of_base
            if base is not None:
                # Only the newest is worth the memory.
                base.seen = []
            seen.add(more, self._copies)
            stored.seen = [seen]


def _digest(part: Part) -> bytes:
    kind, data, count = part
    return blake3(b"%s\0%d\0" % (kind.encode(), count) + data).digest(16)
