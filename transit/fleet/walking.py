"""The records that a part names, walked through in an open store, batch by batch.

Owns what of a store is in a part: which blocks or streams, without streams that are hidden or of
another name, and which rows of a batch are of the time asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

from transit import Batch, Sealed, SealedSegment
from transit.fleet.planning import Asked, Part

Wanted = Callable[[int, str], bool]


def batches_of(sealed: Sealed, part: Part) -> Iterator[tuple[str, Batch]]:
    """The batches that have the part's records, each with the name of the stream that it shows."""
    if part.by == "stream":
        yield from _of_streams(sealed, part)
        return
    wanted = wanted_of(sealed, part)
    for segment, blocks in segments_of(sealed, part):
        for _, batch in segment.batches(blocks, wanted):
            yield batch.source.stream, batch


def asked_of(batch: Batch, asked: Asked) -> range:
    """Which rows of a batch are of the time asked for; within one they are in order of that."""
    low = 0 if asked.since is None else bisect_left(batch.written, asked.since)
    high = len(batch) if asked.until is None else bisect_left(batch.written, asked.until)
    return range(low, high)


def wanted_of(sealed: Sealed, part: Part) -> Wanted:
    """Which streams a part by blocks has, by id and name."""
    hidden, prefix = sealed.hidden(), part.asked.prefix

    def wanted(stream_id: int, name: str) -> bool:
        is_users = not name.startswith("$")
        return is_users and name.startswith(prefix) and stream_id not in hidden

    return wanted


def segments_of(sealed: Sealed, part: Part) -> Iterator[tuple[SealedSegment, range]]:
    """The segments of a part by blocks that may have a record asked for, and which blocks."""
    (first, start), (last, stop) = part.start, part.stop
    for number, segment in enumerate(sealed.segments()):
        if number > last:
            return
        if number >= first and part.asked.may_hold(*segment.written):
            low = start if number == first else 0
            yield segment, range(low, stop if number == last else len(segment.blocks()))


def _of_streams(sealed: Sealed, part: Part) -> Iterator[tuple[str, Batch]]:
    for stream in sealed.streams(range(part.start[0], part.stop[0])):
        if stream.name.startswith(part.asked.prefix):
            first, count = stream.first_offset, sealed.count(stream)
            for batch in stream.batches(min(first, count), count):
                yield stream.name, batch
