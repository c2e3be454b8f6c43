"""Streams of an open store as the lines of an export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from transit import Batch, Log, MergePlan, Stream
from transit.cli.chain import ChainWriter
from transit.cli.exchange import ABOUT_UID, STREAM_TYPE, At, StreamEntry
from transit.cli.records import RECORDS_AT_ONCE, RecordLine, batch_lines

_encoder: Final = msgspec.json.Encoder()
_NAME_PART: Final = 100


def export_streams(streams: Iterable[Stream], form: str, lineage: bool) -> Iterator[bytes]:
    """Lines, many at a time. `form`: "jsonl" or "chain". `lineage`: own records only."""
    chosen = tuple(streams)
    names = _Names(chosen)
    for stream in chosen:
        count = stream.next_offset
        entry = _described(stream, count, names) if lineage else _whole(stream, count)
        first = entry.inherited
        batches = stream.batches(first, count)
        yield from _chained(entry, batches) if form == "chain" else _plain(entry, batches)


def all_streams(log: Log) -> list[Stream]:
    """The user's streams, what they descend from, and what layers keep and could not make again."""
    layers = (stream for stream in log.streams("$") if stream.metadata.get("derived") is not True)
    return with_ancestors(log, [*log.streams(), *layers])


class _Names:
    """What the streams of an export are called there: as in the store, but no two alike.

    A hidden stream may have the name of one that was made after it was hidden.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._count = Counter(stream.name for stream in streams)
        self._by_uid = {stream.uid: self._name_of(stream) for stream in streams}

    def _name_of(self, stream: Stream) -> str:
        if self._count[stream.name] == 1 or not stream.hidden:
            return stream.name
        # A name has 512 bytes of UTF-8 at most.
        return f"{stream.name[:_NAME_PART]}~{stream.uid}"

    def of(self, uid: str) -> str:
        """The name of the stream with this uid."""
        return self._by_uid[uid]

    def base(self, plan: MergePlan | None) -> At | None:
        """The base of a merge."""
        if plan is None or plan.base is None:
            return None
        return At(self.of(plan.base_uid), plan.base.offset)


def _described(stream: Stream, count: int, names: _Names) -> StreamEntry:
    """What a stream with `count` records is, with its place in the lineage."""
    plan = stream.merge_plan
    inherited = stream.own_start
    return StreamEntry(
        type=STREAM_TYPE,
        name=names.of(stream.uid),
        kind=stream.kind,
        uid=stream.uid,
        codec=stream.codec,
        metadata=stream.metadata,
        parents=tuple(
            At(names.of(uid), place.offset)
            for uid, place in zip(stream.parent_uids, stream.parents, strict=True)
        ),
        inherited=inherited,
        own=count - inherited,
        policy=plan.policy if plan else None,
        version=plan.version if plan else None,
        params=plan.params if plan else {},
        base=names.base(plan),
        hidden=stream.hidden,
    )


def _whole(stream: Stream, count: int) -> StreamEntry:
    return StreamEntry(
        type=STREAM_TYPE,
        name=stream.name,
        kind="root",
        uid=stream.uid,
        codec=stream.codec,
        metadata=stream.metadata,
        own=count,
    )


def with_ancestors(log: Log, streams: Iterable[Stream]) -> list[Stream]:
    """The streams and all that was needed to make them, in order of creation."""
    found: dict[int, Stream] = {}
    waiting = list(streams)
    while waiting:
        stream = waiting.pop()
        if stream.id not in found:
            found[stream.id] = stream
            waiting += log.lineage.parents(stream)
    return [found[stream_id] for stream_id in sorted(found)]


def with_what_is_about(log: Log, streams: Sequence[Stream]) -> list[Stream]:
    """The streams, and those of layers that are about one of them, such as notes on a run."""
    uids = {stream.uid for stream in streams}
    about = [
        stream
        for stream in log.streams("$")
        if stream.metadata.get(ABOUT_UID) in uids and stream.metadata.get("derived") is not True
    ]
    return with_ancestors(log, [*streams, *about])


def _plain(entry: StreamEntry, batches: Iterable[Batch]) -> Iterator[bytes]:
    yield _encoder.encode(entry) + b"\n"
    for lines in _runs(entry.name, batches):
        yield _encoder.encode_lines(lines)


def _chained(entry: StreamEntry, batches: Iterable[Batch]) -> Iterator[bytes]:
    writer = ChainWriter()
    yield writer.stream(entry)
    for lines in _runs(entry.name, batches):
        yield b"".join(map(writer.record, lines))


def _runs(name: str, batches: Iterable[Batch]) -> Iterator[list[RecordLine]]:
    """Records as lines, without where they came from: an import appends them."""
    for batch in batches:
        lines = batch_lines(name, batch, origins=False)
        for start in range(0, len(lines), RECORDS_AT_ONCE):
            yield lines[start : start + RECORDS_AT_ONCE]
