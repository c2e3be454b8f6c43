"""Where a stream's chunks are in sealed segments: taken up once, in order."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from transit.errors import CorruptError
from transit.format.segment import Extent, SegmentIndex, encode_index
from transit.log.rows import SealedRows

SETTINGS = transit.Settings(seal_interval_s=None)


class StandIn:
    """A segment of which only the index is asked, and chunks are named by their rows."""

    def __init__(self, *rows: tuple[int, int]) -> None:
        self.path = "here"
        extents = [Extent(stream, first, 0, 1, 0, 0) for stream, first in rows]
        self.index = SegmentIndex(encode_index(extents, []), "here")

    def chunk(self, row: int) -> Chunk:
        return Chunk(self, row)


class Chunk:
    def __init__(self, segment: StandIn, row: int) -> None:
        self.segment, self.row = segment, row


def rows_of(*segments: StandIn) -> SealedRows:
    rows = SealedRows()
    for segment in segments:
        rows.add(segment, 5)  # type: ignore[arg-type]
    return rows


def test_each_place_is_its_row_of_its_segment() -> None:
    first = StandIn((1, 0), (5, 0), (5, 4), (5, 9), (7, 0))
    without, second, third = StandIn((1, 1)), StandIn((5, 12)), StandIn((3, 0), (5, 20), (5, 21))
    rows = rows_of(first, without, second, third)
    assert rows.seen == 4
    assert list(rows.firsts) == [0, 4, 9, 12, 20, 21]
    expected = [(first, 1), (first, 2), (first, 3), (second, 0), (third, 1), (third, 2)]
    for place in (5, 0, 3, 1, 4, 2):
        chunk = rows.chunk(place)
        assert (chunk.segment, chunk.row) == expected[place]  # type: ignore[attr-defined]
        assert rows.chunk(place) is chunk


def test_rows_that_an_interrupt_left_are_taken_up_anew() -> None:
    first, second = StandIn((5, 0), (5, 4)), StandIn((2, 0), (5, 9))
    rows = rows_of(first)
    # What `add` has done when it is interrupted before it says so.
    rows._runs.append((2, second, 1))  # type: ignore[arg-type]
    rows._decoded.append(None)
    rows.add(second, 5)  # type: ignore[arg-type]
    assert list(rows.firsts) == [0, 4, 9]
    assert [rows.chunk(n).row for n in range(3)] == [0, 1, 1]  # type: ignore[attr-defined]
    assert (len(rows._runs), len(rows._decoded)) == (2, 3)


@pytest.mark.parametrize("rows", [[(5, 0), (5, 0)], [(5, 3), (5, 2)], [(5, 0), (5, 9), (5, 8)]])
def test_rows_without_an_order_are_refused(rows: list[tuple[int, int]]) -> None:
    known = rows_of(StandIn((5, 0)))
    with pytest.raises(CorruptError, match="here, index: expected chunks of stream 5 in order"):
        known.add(StandIn(*rows), 5)  # type: ignore[arg-type]
    assert (known.seen, list(known.firsts)) == (1, [0])


def test_lineage_is_looked_for_in_each_segment_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transit.open(tmp_path / "store", settings=SETTINGS) as log:
        for n in range(20):
            log.create(f"s{n}").append(b"x")
            log.seal()
    looked: list[int] = []
    add = SealedRows.add

    def counted(self: SealedRows, segment: object, stream_id: int) -> None:
        looked.append(stream_id)
        add(self, segment, stream_id)  # type: ignore[arg-type]

    monkeypatch.setattr(SealedRows, "add", counted)
    with transit.open(tmp_path / "store", mode="read", settings=SETTINGS) as log:
        assert [log.stream(f"s{n}").parents for n in range(20)] == [()] * 20
    # Once for the count of streams, once for what they are.
    assert looked.count(0) <= 2 * 20
