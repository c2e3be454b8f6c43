"""Savepoints: states that are kept, so that a view begins where it was and reaches any offset soon.

    persist     savepoints                        nodes
    logged      `$views/<view>/roots/<stream>`    `$views/<view>/packs/<stream>`, in the same frame
    stateful    the same                          files of the store's cache, made again when gone
    ephemeral   memory                            memory

<view> is the id of the view, <stream> the uid of the stream it is of; `$views/<view>/spec` says
what the view is. Each stream has packs of its own, so that erasing one leaves the others. A frame
has the condition that nobody else wrote a savepoint meanwhile: of two processes one goes on from
what the other wrote. All of it can be derived again: a rebase and an export leave it behind, a
restore of the whole store brings it along, and one of a part of it has what is named.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec
from blake3 import blake3

from transit import (
    AlreadyExistsError,
    ConflictError,
    CorruptError,
    InvalidInputError,
    Log,
    NotFoundError,
    StoreUnavailableError,
    Stream,
)
from transit.views.pack import Layout, NodePlace, lay_out
from transit.views.spec import Spec

LAYER: Final = "views"
FRAME_BYTES_MAX: Final = 16 << 20
"""Packs of a savepoint that is larger are written in frames of their own before it."""


class Savepoint(msgspec.Struct, frozen=True):
    """A state that is kept.

    next: the first offset that is not in it. last: digest of the record before that. root: of the
    map, hex; "" for an empty one. place: of the root's node. applied: records that were events.
    skipped: those that were not, since the savepoint before, and why. stored_bytes: of its packs.
    """

    next: int
    last: str
    root: str
    place: NodePlace | None
    applied: int
    skipped: tuple[tuple[int, str], ...] = ()
    stored_bytes: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether it can be one: anybody may have written it."""
        place = self.place
        is_placed = place is None or (
            _is_hex(place.source, 32) and min(place.pack, place.number) >= 0
        )
        return is_placed and (not self.root or _is_hex(self.root, 64))


class NewNodes(msgspec.Struct, frozen=True):
    """What a savepoint adds. order: digests, each before its children. places: of recorded ones."""

    order: Sequence[bytes]
    nodes: Mapping[bytes, bytes]
    children_of: Mapping[bytes, Sequence[bytes]]
    places: Mapping[bytes, NodePlace]


Make = Callable[[Layout], Savepoint]
_READ_MIN: Final = 8
"""Savepoints that are read at once, at least; then as many as there are already."""
_decode: Final = msgspec.json.Decoder(Savepoint).decode
_HEX: Final = frozenset("0123456789abcdef")


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and _HEX.issuperset(text)


class Keeper(Protocol):
    """Where the savepoints of a view are."""

    def look(self, stream: Stream) -> None:
        """Take up that there are more of them for a stream; over a connection it is a request."""

    def points(self, stream: Stream, position: int = -1) -> Sequence[Savepoint]:
        """Those of a stream, in order, as of the last look: all with those after the newest at
        `position` or before, and perhaps more; all for -1."""

    def read_pack(self, place: NodePlace) -> bytes:
        """A pack; `NotFoundError` and others where it is not to be had."""

    def save(self, stream: Stream, new: NewNodes, make: Make) -> Layout:
        """Write packs and a savepoint; `ConflictError` where another was written meanwhile."""


def newest(points: Sequence[Savepoint], position: int) -> Savepoint | None:
    """The last savepoint at `position` or before."""
    at = bisect_right(points, position, key=lambda each: each.next)
    return points[at - 1] if at else None


class MemoryKeeper:
    """Keeps savepoints as long as the view is open."""

    def __init__(self) -> None:
        self._points: dict[str, list[Savepoint]] = {}
        self._packs: dict[NodePlace, bytes] = {}

    def look(self, stream: Stream) -> None:
        """Nobody else writes any."""

    def points(self, stream: Stream, position: int = -1) -> Sequence[Savepoint]:
        """Those of a stream, in order."""
        return self._points.get(stream.uid, ())

    def read_pack(self, place: NodePlace) -> bytes:
        """A pack."""
        found = self._packs.get(place._replace(number=0))
        if found is None:
            raise NotFoundError(f"pack {place.pack} of {place.source}")
        return found

    def save(self, stream: Stream, new: NewNodes, make: Make) -> Layout:
        """Keep packs and a savepoint."""
        start = len(self._packs)
        layout = _laid_out(new, stream.uid, lambda at, _: start + at)
        for number, pack in zip(layout.numbers, layout.packs, strict=True):
            self._packs[NodePlace(stream.uid, number, 0)] = pack
        self._points.setdefault(stream.uid, []).append(make(layout))
        return layout


class _Roots:
    """The savepoints of one stream, as far as they were read.

    stream: where they are, None before one. seen: how many records that has. first: those before
    this one were not read yet, as a view begins at the last ones. points: what was read.
    """

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.seen = self.first = 0
        self.points: list[Savepoint] = []


class LogKeeper:
    """Keeps savepoints and packs in the log."""

    def __init__(self, log: Log, spec: Spec) -> None:
        self.log, self._spec = log, spec
        self._layer = log.layer(LAYER)
        self._roots: dict[str, _Roots] = {}
        self._packs: dict[str, Stream] = {}

    def look(self, stream: Stream) -> None:
        """Take up how many there are."""
        roots = self._roots.setdefault(stream.uid, _Roots())
        if roots.stream is None:
            try:
                roots.stream = self._layer.stream(self._name("roots", stream))
            except (NotFoundError, StoreUnavailableError):
                # A part of a store was restored, and not what says whether it is there.
                return
        count = len(roots.stream)
        if roots.first == roots.seen:
            # None was read yet: they are from the end.
            roots.seen = roots.first = count
        elif roots.seen < count:
            last = roots.points[-1].next if roots.points else 0
            found = self._read(roots.stream, roots.seen, count, len(stream))
            roots.points += (each for each in found if each.next > last)
            roots.seen = count

    def points(self, stream: Stream, position: int = -1) -> Sequence[Savepoint]:
        """Those of a stream, in order; what cannot be read is left out."""
        roots = self._roots.get(stream.uid)
        if roots is None or roots.stream is None:
            return ()
        while roots.first and (position < 0 or not roots.points or roots.points[0].next > position):
            start = max(0, roots.first - max(_READ_MIN, roots.seen - roots.first))
            found = self._read(roots.stream, start, roots.first, len(stream))
            if roots.points:
                found = [each for each in found if each.next < roots.points[0].next]
            roots.points[:0] = found
            roots.first = start
        return roots.points

    def _read(self, roots: Stream, start: int, stop: int, length: int) -> list[Savepoint]:
        """Those of some records, in order. length: of the stream that they are about."""
        found: list[Savepoint] = []
        for payload in _payloads(roots, start, stop):
            try:
                point = _decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                # The view is folded from the one before it.
                continue
            last = found[-1].next if found else 0
            # None is of more records than there are: it is another history's.
            if last < point.next <= length and point.is_whole:
                found.append(point)
        return found

    def read_pack(self, place: NodePlace) -> bytes:
        """A pack; `NotFoundError` where its stream is not there."""
        stream = self._packs.get(place.source)
        if stream is None:
            stream = self.log.stream(uid=place.source)
            if not stream.name.startswith(f"${LAYER}/"):
                raise NotFoundError(f"{stream.name} has no packs of nodes")
            self._packs[place.source] = stream
        if place.pack >= len(stream):
            raise NotFoundError(f"{stream.name} has no pack {place.pack}")
        return stream[place.pack].payload

    def save(self, stream: Stream, new: NewNodes, make: Make) -> Layout:
        """Write packs and a savepoint in one frame; `ConflictError` where another is there."""
        try:
            layout = self._save(stream, new, make)
        except AlreadyExistsError as error:
            raise ConflictError(str(error)) from error
        # Its own is among them now, so that the next one has it as its condition.
        self.look(stream)
        return layout

    def _save(self, stream: Stream, new: NewNodes, make: Make) -> Layout:
        layer = self._layer
        name = self._name("packs", stream)
        packs = layer.stream(name) if name in layer else None
        uid = os.urandom(16).hex() if packs is None else packs.uid
        start = 0 if packs is None else len(packs)
        layout = _laid_out(new, uid, lambda at, _: start + at)
        parts = _split(layout.packs)
        for part in parts[:-1]:
            if packs is None:
                self._make_packs(stream, name, uid)
                packs = layer.stream(name)
            self._write_packs(packs, start, part)
            start += len(part)
        self._write(stream, packs, uid, start, parts[-1], make(layout))
        return layout

    def _make_packs(self, stream: Stream, name: str, uid: str) -> None:
        with self.log.batch(durability="os") as batch:
            batch.create(name, self._metadata(stream), layer=LAYER, uid=uid)

    def _write_packs(self, packs: Stream, start: int, part: Sequence[bytes]) -> None:
        with self.log.batch(durability="os") as batch:
            for at, pack in enumerate(part):
                batch.append(packs, pack, expect=start + at)

    def _write(
        self,
        stream: Stream,
        packs: Stream | None,
        uid: str,
        start: int,
        part: Sequence[bytes],
        point: Savepoint,
    ) -> None:
        roots = self._name("roots", stream)
        known = self._layer.stream(roots) if roots in self._layer else None
        metadata = self._metadata(stream)
        with self.log.batch(durability="os") as batch:
            if f"{self._spec.id}/spec" not in self._layer:
                spec = batch.create(f"{self._spec.id}/spec", _DERIVED, "json", layer=LAYER)
                batch.append(spec, msgspec.json.encode(self._spec, order="deterministic"))
            target = packs
            if part and target is None:
                target = batch.create(  # type: ignore[assignment]
                    self._name("packs", stream), metadata, layer=LAYER, uid=uid
                )
            for at, pack in enumerate(part):
                assert target is not None
                batch.append(target, pack, expect=start + at)
            if known is None:
                made = batch.create(roots, metadata, "json", layer=LAYER)
                batch.append(made, msgspec.json.encode(point))
            else:
                count = self._roots[stream.uid].seen if stream.uid in self._roots else len(known)
                batch.append(known, msgspec.json.encode(point), expect=count)

    def _name(self, kind: str, stream: Stream) -> str:
        return f"{self._spec.id}/{kind}/{stream.uid}"

    def _metadata(self, stream: Stream) -> dict[str, str | bool]:
        return {**_DERIVED, "about_uid": stream.uid, "view": self._spec.name}


class CacheKeeper(LogKeeper):
    """Keeps savepoints in the log and packs in files that may be thrown away."""

    def __init__(self, log: Log, spec: Spec) -> None:
        super().__init__(log, spec)
        self._cache = log.cache(LAYER)

    def read_pack(self, place: NodePlace) -> bytes:
        """A pack; `NotFoundError` where its file is gone."""
        data = self._cache.read(_file(place))
        if data is None:
            raise NotFoundError(f"the file of pack {place.pack:016x} is gone")
        return data

    def _save(self, stream: Stream, new: NewNodes, make: Make) -> Layout:
        source = blake3(f"{self._spec.id} {stream.uid}".encode()).hexdigest(length=16)
        layout = _laid_out(new, source, lambda _, group: _number(group))
        for number, pack in zip(layout.numbers, layout.packs, strict=True):
            self._cache.put(_file(NodePlace(source, number, 0)), pack)
        self._write(stream, None, "", 0, (), make(layout))
        return layout


PERSIST: Final = ("logged", "stateful", "ephemeral")


def keeper_of(log: Log, spec: Spec, persist: str) -> Keeper:
    """Where the savepoints of a view are kept; `InvalidInputError` for no such place."""
    if persist == "ephemeral":
        return MemoryKeeper()
    if persist == "logged":
        return LogKeeper(log, spec)
    if persist == "stateful":
        return CacheKeeper(log, spec)
    raise InvalidInputError(f"persist {persist!r}: not one of {', '.join(PERSIST)}")


_DERIVED: Final[dict[str, str | bool]] = {"derived": True}


def _payloads(stream: Stream, start: int, stop: int) -> Iterator[bytes]:
    """The payloads of records, without those that cannot be had."""
    at = start
    while at < stop:
        try:
            for record in stream.read(at, stop):
                yield record.payload
                at += 1
        except (CorruptError, StoreUnavailableError):
            at += 1


def _laid_out(
    new: NewNodes, source: str, number_of: Callable[[int, Sequence[bytes]], int]
) -> Layout:
    return lay_out(new.order, new.nodes, new.children_of, new.places, source, number_of)


def _split(packs: Sequence[bytes]) -> list[list[bytes]]:
    """Packs as they go into frames; the last of these has the savepoint too."""
    parts: list[list[bytes]] = [[]]
    size = 0
    for pack in packs:
        if size + len(pack) > FRAME_BYTES_MAX:
            parts.append([])
            size = 0
        parts[-1].append(pack)
        size += len(pack)
    return parts


def _number(digests: Sequence[bytes]) -> int:
    """Names a pack by what is in it: two processes may write the same file, and no other one."""
    return int.from_bytes(blake3(b"".join(digests)).digest(length=8), "little")


def _file(place: NodePlace) -> str:
    return f"{place.source}-{place.pack:016x}.pack"
