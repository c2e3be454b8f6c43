"""What two streams have in common, and how a place is bound to the history it is about.

A savepoint, or a place that a program outside keeps, is about the first records of one stream. It
holds the digest of the last of them, so that a stream that was made again under the same name, or a
store that was restored to another moment, is not taken for the same history.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from blake3 import blake3

from transit import HistorySpan, InvalidInputError, Log, OffsetError, Record, Stream
from transit.views.errors import HistoryDiffersError

Origin = tuple[str, int]
"""Where a record was appended: the stream's uid, as names are bound again, and its offset there."""


def record_digest(record: Record) -> str:
    """64 hex digits: of a record's timestamp, headers and payload."""
    head = msgspec.json.encode(
        [record.timestamp, len(record.payload), dict(record.headers)], order="deterministic"
    )
    return blake3(head + b"\n" + record.payload).hexdigest()


def last_digest(stream: Stream, position: int) -> str:
    """The digest of the last of the first `position` records; "" for none of them.

    `OffsetError` where the stream has fewer.
    """
    return record_digest(stream[position - 1]) if position else ""


def is_about(stream: Stream, position: int, digest: str) -> bool:
    """Whether a place that was kept belongs to the stream as it is."""
    try:
        return last_digest(stream, position) == digest
    except OffsetError:
        return False


def common_count(log: Log, stream: Stream, other: Stream) -> int:
    """How many records the two begin with in common."""
    mine, others = log.lineage.spans(stream), log.lineage.spans(other)
    return _common(mine, others)


def _common(mine: Sequence[HistorySpan], others: Sequence[HistorySpan]) -> int:
    found, left, right = 0, 0, 0
    mine_at, others_at = 0, 0
    while left < len(mine) and right < len(others):
        one, two = mine[left], others[right]
        if _place(one, mine_at) != _place(two, others_at):
            return found
        step = min(one.count - mine_at, two.count - others_at)
        found += step
        mine_at, others_at = mine_at + step, others_at + step
        if mine_at == one.count:
            left, mine_at = left + 1, 0
        if others_at == two.count:
            right, others_at = right + 1, 0
    return found


def _place(span: HistorySpan, at: int) -> Origin:
    return span.uid, span.origin.offset + at


def origin_of(spans: Sequence[HistorySpan], offset: int) -> Origin:
    """Where the record at an offset of a history with these spans was appended."""
    span = spans[bisect_right(spans, offset, key=lambda each: each.first) - 1]
    return _place(span, offset - span.first)


def offsets_of(
    spans: Sequence[HistorySpan], origins: Iterable[Origin]
) -> Iterator[tuple[int, Origin]]:
    """The offsets that records appended at `origins` have in a history, as far as it has them."""
    known: dict[str, list[int]] = {}
    for uid, offset in sorted(origins):
        known.setdefault(uid, []).append(offset)
    for span in spans:
        first = span.origin.offset
        offsets = known.get(span.uid, [])
        stop = bisect_left(offsets, first + span.count)
        for offset in offsets[bisect_left(offsets, first) : stop]:
            yield span.first + offset - first, (span.uid, offset)


class _Kept(msgspec.Struct):
    """What a cursor of `bookmark` keeps with its position."""

    uid: str
    last: str
    state: bytes


class Bookmark:
    """The durable place of a program outside, with what it keeps there; made by `bookmark`.

    It is a cursor of the stream whose state is bound to the history that it is about.
    """

    def __init__(self, stream: Stream, name: str) -> None:
        self._stream = stream
        self._cursor = stream.cursor(name)

    def __repr__(self) -> str:
        return f"<transit.views.Bookmark {self._cursor.name!r} on {self._stream.name!r}>"

    def read(self) -> tuple[int, bytes]:
        """The next offset to read, and what was kept with it; (0, b"") at first.

        `HistoryDiffersError` where the records before it are not those that were read.
        """
        stands = self._cursor.status()
        if stands.state is None:
            return stands.position, b""
        try:
            kept = msgspec.msgpack.decode(stands.state, type=_Kept)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise HistoryDiffersError(f"{self!r}: no state of a bookmark: {error}") from None
        is_same = kept.uid == self._stream.uid
        if not is_same or not is_about(self._stream, stands.position, kept.last):
            raise HistoryDiffersError(
                f"{self!r} is about another history of {self._stream.name!r}: the records before "
                f"offset {stands.position} are not those that were read"
            )
        return stands.position, kept.state

    def advance(
        self,
        position: int,
        state: bytes = b"",
        *,
        expect: int | None = None,
        durability: str | None = None,
    ) -> None:
        """Move to `position`, the next offset to read, and keep `state`, up to 63 KiB.

        As `Cursor.advance`: it only moves forward, and `expect` is where it must stand.
        """
        if type(position) is not int:
            raise InvalidInputError(f"position must be int, not {type(position).__name__}")
        kept = self._kept(position, state)
        self._cursor.advance(position, state=kept, expect=expect, durability=durability)

    def _kept(self, position: int, state: bytes) -> bytes:
        last = last_digest(self._stream, position)
        return msgspec.msgpack.encode(_Kept(self._stream.uid, last, state))


def bookmark(stream: Stream, name: str) -> Bookmark:
    """The place of this name in a stream, for a program that keeps its own state: a view outside.

    What it keeps is refused where the history before it is another, so that a program that folds
    records by itself never goes on from a state of other records.
    """
    return Bookmark(stream, name)
