"""Imports: a stream of another store, copied up to a record, to go on from there.

Owns how that is done once, whatever is killed and whoever else does it; and what an import says of
its records: where each was appended first. Leaves to `transit.fleet.references` what names a
record, and to the engine how records are written.

An import is a root stream with the same records under the same offsets: timestamps, headers and
payloads are copied. Its metadata is that of the stream it was copied from, and

    parent_ref      the reference of its last copied record, with a root of that store
    import_origins  where its copied records were appended first, as JSON: [[[store, stream, uid],
                    …], [[count, number in the list before, offset], …]], in order of offsets. Where
                    that would be long, "$fleet": then each record of the stream
                    `$fleet/origins/<uid>` is such a piece of it

What fits into one part is one frame. What does not is a stream that is hidden until all of it is
there; nothing else has its uid, which is made of the store, the name and the reference. So whoever
is asked for the same finds what there is, and goes on with it; two that do it at once take turns,
each part is there once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from blake3 import blake3

from transit import (
    AlreadyExistsError,
    ConflictError,
    CorruptError,
    HistorySpan,
    InvalidInputError,
    Log,
    NotFoundError,
    Scalar,
    Stream,
)
from transit.fleet.opening import Fleet
from transit.fleet.references import (
    PARENT_REF,
    Reference,
    as_reference,
    find,
    known_reference,
    open_member,
    record_digest,
)

IMPORT_ORIGINS: Final = "import_origins"
LAYER: Final = "fleet"
ELSEWHERE: Final = "$fleet"
"""What `import_origins` says where the origins are in a stream of the layer."""
ABOUT_UID: Final = "about_uid"
"""Metadata of a layer's stream: whose it is. It is exported and deleted with that."""
UNFINISHED: Final = "the import is not whole yet"
PART_BYTES: Final = 8 << 20
"""What is copied in one frame, about; at most half of what a frame of the store may have."""
_METADATA_BYTES: Final = 32 << 10
_SPANS: Final = 1024
_RECORD_REST: Final = 64
_HEADER_FACTOR: Final = 6
# Each time another writer had copied a part meanwhile.
_TRIES: Final = 1000


class Origin(msgspec.Struct, frozen=True):
    """`count` records of a stream from offset `first` on: those appended first at `offset` and on.

    store, stream, uid: of the stream that they were appended to.
    """

    first: int
    count: int
    store: str
    stream: str
    uid: str
    offset: int


class _Table(msgspec.Struct, frozen=True, array_like=True):
    """Origins as they are kept. streams: (store, name, uid); spans: (count, stream, offset)."""

    streams: tuple[tuple[str, str, str], ...]
    spans: tuple[tuple[int, int, int], ...]


_decoder: Final = msgspec.json.Decoder(_Table)


def import_stream(
    fleet: Fleet,
    log: Log,
    ref: Reference | str,
    name: str | None = None,
    *,
    durability: str | None = None,
) -> Stream:
    """A new stream of an open store with the history of another store's up to a record.

    ref: of the record that is to be the last, of what its store has published. name: of the new
    stream; None: as there. Asked for the same again, it goes on where it was killed, or finds what
    it made; that is shown once it is whole. durability: of all of it, in the end.

    The record must have the reference's digest, and the store the reference's root: otherwise
    `CorruptError`. `NotFoundError` where the store has published no such commit, stream or record
    yet; `ErasedError` where records of it are gone; `AlreadyExistsError` where the name is another
    stream's, or what was imported was hidden or deleted since; `InvalidInputError` for a reference
    of this very store. And what opening and reading the other store raises.
    """
    wanted = as_reference(ref)
    if wanted.store == log.store_id:
        raise InvalidInputError(f"{wanted.place} is of this store: branch the stream")
    making = _Import(log, wanted, wanted.stream if name is None else name)
    stream = making.whole()
    if stream is None:
        with open_member(fleet, wanted.store) as source:
            stream = making.copy(source)
    with log.batch(durability=durability) as batch:
        # Shown already, nothing is written; but what is there becomes as durable as asked.
        batch.show(stream)
    return stream


def imported_from(stream: Stream) -> Reference | None:
    """The record up to which a stream was copied from another store; None where it was not."""
    metadata = stream.metadata
    is_import = isinstance(metadata.get(IMPORT_ORIGINS), str)
    return known_reference(metadata.get(PARENT_REF)) if is_import else None


def origins(log: Log, stream: Stream | str) -> tuple[Origin, ...]:
    """Where each record of a stream was appended first, as far as its store knows, in order.

    What was copied from another store has its origin there, or where that had it from. No other
    store is asked. `CorruptError` where an import says something else.
    """
    found = log.stream(uid=stream.uid) if isinstance(stream, Stream) else log.stream(stream)
    copied: dict[str, tuple[Origin, ...]] = {}
    whole: list[Origin] = []
    for span in log.lineage.spans(found):
        if span.uid not in copied:
            copied[span.uid] = _copied(log, log.stream(uid=span.uid))
        whole += _origins_of(span, copied[span.uid], log.store_id)
    return tuple(whole)


def _origins_of(span: HistorySpan, copied: Sequence[Origin], store: str) -> Iterator[Origin]:
    """Those of a span. copied: the origins of what its stream was imported with."""
    at = span.origin.offset
    stop, shift = at + span.count, span.first - at
    first = max(bisect_right(copied, at, key=lambda each: each.first) - 1, 0)
    for number in range(first, len(copied)):
        each = copied[number]
        end = min(each.first + each.count, stop)
        if at < end:
            offset = each.offset + at - each.first
            yield Origin(at + shift, end - at, each.store, each.stream, each.uid, offset)
            at = end
        if at == stop:
            return
    yield Origin(at + shift, stop - at, store, span.origin.stream, span.uid, at)


def _copied(log: Log, stream: Stream) -> tuple[Origin, ...]:
    """The origins of the records that a stream was imported with; none where it was not."""
    ref = imported_from(stream)
    if ref is None:
        return ()
    place, found, at = f"the origins of {stream.name!r}", [], 0
    for table in _tables(log, stream, place):
        for count, number, offset in table.spans:
            if count < 1 or offset < 0 or not 0 <= number < len(table.streams):
                raise CorruptError(place, expected="spans", found=f"{(count, number, offset)}")
            found.append(Origin(at, count, *table.streams[number], offset))
            at += count
    return tuple(found)


def _tables(log: Log, stream: Stream, place: str) -> Iterator[_Table]:
    kept = stream.metadata[IMPORT_ORIGINS]
    if kept == ELSEWHERE:
        texts: Iterator[bytes | str] = (r.payload for r in _origin_stream(log, stream.uid))
    else:
        texts = iter((str(kept),))
    for text in texts:
        try:
            yield _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CorruptError(place, expected="a table of them", found=str(error)) from None


def _origin_stream(log: Log, uid: str) -> Stream:
    return log.layer(LAYER).stream(f"origins/{uid}")


def _table(origins: Sequence[Origin]) -> bytes:
    """Origins as they are kept."""
    streams: dict[tuple[str, str, str], int] = {}
    spans = []
    for each in origins:
        number = streams.setdefault((each.store, each.stream, each.uid), len(streams))
        spans.append((each.count, number, each.offset))
    return msgspec.json.encode(_Table(tuple(streams), tuple(spans)))


def _cut(origins: Sequence[Origin], start: int, stop: int) -> Iterator[Origin]:
    """The origins of the offsets from `start` to before `stop`."""
    for each in origins:
        low, high = max(each.first, start), min(each.first + each.count, stop)
        if low < high:
            offset = each.offset + low - each.first
            yield msgspec.structs.replace(each, first=low, count=high - low, offset=offset)


class _Part(NamedTuple):
    """Records that follow one another, as `append_many` takes them; size: bytes, about."""

    payloads: list[bytes]
    headers: list[Mapping[str, str]]
    timestamps: list[int]
    size: int


class _History:
    """What is copied: the records of a stream of another store up to one."""

    def __init__(self, source: Log, ref: Reference, part_bytes: int) -> None:
        self.stream, _ = find(source, ref)
        head = ref.head or source.sealed().head
        self.ref = msgspec.structs.replace(ref, root=head.root, commits=head.commits)
        self.count = ref.offset + 1
        self.origins = tuple(_cut(origins(source, self.stream), 0, self.count))
        self.part_bytes = part_bytes

    def parts(self, start: int) -> Iterator[_Part]:
        """The records from an offset on; each part has one at least, and few where they are large.

        A record that is larger than a part is one.
        """
        part, size = _Part([], [], [], 0), 0
        for record in self.stream.read(start, self.count):
            text = sum(len(key) + len(value) + 1 for key, value in record.headers.items())
            cost = len(record.payload) + _RECORD_REST + text * _HEADER_FACTOR
            if part.payloads and size + cost > self.part_bytes:
                yield part._replace(size=size)
                part, size = _Part([], [], [], 0), 0
            part.payloads.append(record.payload)
            part.headers.append(record.headers)
            part.timestamps.append(record.timestamp)
            size += cost
        if part.payloads:
            yield part._replace(size=size)

    def metadata(self) -> dict[str, Scalar]:
        """That of the copy."""
        ours = (PARENT_REF, IMPORT_ORIGINS)
        own = {key: value for key, value in self.stream.metadata.items() if key not in ours}
        text = _table(self.origins).decode()
        if len(msgspec.json.encode(own)) + len(text) > _METADATA_BYTES:
            text = ELSEWHERE
        return {**own, PARENT_REF: str(self.ref), IMPORT_ORIGINS: text}


class _Import:
    """A stream that is copied, is going to be, or was."""

    def __init__(self, log: Log, ref: Reference, name: str) -> None:
        self._log, self._ref, self._name = log, ref, name
        self._count = ref.offset + 1
        known = ("transit import", log.store_id, *map(str, ref.record), str(name))
        self._uid = blake3("\n".join(known).encode("utf-8", "surrogatepass")).digest(16).hex()

    def whole(self) -> Stream | None:
        """The stream where it is whole; None where there is something to do."""
        stream = self._there()
        if stream is None or stream.hidden or stream.next_offset < self._count:
            return None
        return stream

    def _there(self) -> Stream | None:
        """The stream, as far as it is copied; `AlreadyExistsError` where there cannot be one."""
        try:
            stream = self._log.stream(self._name)
        except NotFoundError:
            pass
        else:
            if self._is_ours(stream):
                return stream
            raise AlreadyExistsError(f"stream {self._name!r} exists: give the import another name")
        try:
            stream = self._log.stream(uid=self._uid)
        except NotFoundError:
            return None
        if self._is_ours(stream) and (not stream.hidden or _is_unfinished(stream)):
            return stream
        what = "deleted" if stream.deleted else "hidden"
        raise AlreadyExistsError(
            f"{self._ref.place} was imported as {stream.name!r}, which was {what} since: give the "
            "import another name"
        )

    def _is_ours(self, stream: Stream) -> bool:
        parent = imported_from(stream)
        return parent is not None and parent.record == self._ref.record

    def copy(self, source: Log) -> Stream:
        """Copy what there is not yet; the stream, hidden where it was not one frame."""
        half = self._log.settings.frame_bytes_max // 2
        history = _History(source, self._ref, min(PART_BYTES, half))
        left = _TRIES
        while (stream := self.whole()) is None:
            try:
                stream = self._there() or self._begin(history)
                self._go_on(stream, history)
                break
            except (AlreadyExistsError, ConflictError):
                # Another writer copies the same: what it did is there now.
                left -= 1
                if not left or self._there() is None:
                    raise
        return stream

    def _begin(self, history: _History) -> Stream:
        """Make the stream, with all records where they are one part, else hidden and empty."""
        parts, metadata = history.parts(0), history.metadata()
        first = next(parts)
        size = first.size + len(msgspec.json.encode(metadata))
        fits = size <= history.part_bytes and next(parts, None) is None
        with self._log.batch(durability="os") as batch:
            made = batch.create(self._name, metadata, history.stream.codec, uid=self._uid)
            if metadata[IMPORT_ORIGINS] == ELSEWHERE:
                about: dict[str, Scalar] = {ABOUT_UID: self._uid}
                batch.create(f"origins/{self._uid}", about, "json", layer=LAYER)
                fits = False
            if fits:
                batch.append_many(
                    made, first.payloads, headers=first.headers, timestamps=first.timestamps
                )
            else:
                batch.hide(made, reason=UNFINISHED)
        return made.stream

    def _go_on(self, stream: Stream, history: _History) -> None:
        """Copy the rest, each frame on the condition that nobody else did.

        Frames become durable in the order of the log: the one that shows the stream stands for all.
        """
        at = stream.next_offset
        if at:
            self._check_last(stream, history.stream, min(at, self._count) - 1)
        if stream.metadata[IMPORT_ORIGINS] == ELSEWHERE:
            self._copy_origins(_origin_stream(self._log, stream.uid), history)
        for part in history.parts(min(at, self._count)):
            stream.append_many(
                part.payloads,
                headers=part.headers,
                timestamps=part.timestamps,
                expect=at,
                durability="os",
            )
            at += len(part.payloads)

    def _check_last(self, stream: Stream, source: Stream, offset: int) -> None:
        found, expected = record_digest(stream[offset]), record_digest(source[offset])
        if found != expected:
            place = f"{stream.name}@{offset}, which was imported"
            raise CorruptError(place, expected=f"digest {expected}", found=found)

    def _copy_origins(self, kept: Stream, history: _History) -> None:
        done = sum(count for r in kept for count, *_ in _decoder.decode(r.payload).spans)
        left = tuple(_cut(history.origins, done, self._count))
        for number, start in enumerate(range(0, len(left), _SPANS), kept.next_offset):
            table = _table(left[start : start + _SPANS])
            kept.append(table, expect=number, durability="os")


def _is_unfinished(stream: Stream) -> bool:
    """Whether a hidden stream is one of which the records are not all there yet."""
    told = [each for each in stream.became() if each.what in ("hidden", "shown", "deleted")]
    return [(each.what, each.reason) for each in told] == [("hidden", UNFINISHED)]
