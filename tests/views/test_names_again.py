"""Views where a stream's name was bound again: only records that are the same are shared."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import transit
from transit import views


class Row(msgspec.Struct, frozen=True):
    """A row."""

    key: bytes
    count: int = 0


rows = views.table("rows", Row, key="key")
merged_rows = views.table("rows", Row, key="key", merge=lambda base, ours, theirs: theirs or ours)


@views.reducer(rows, reads=bytes)
def counted(rows: object, event: bytes, at: views.At) -> None:
    """Count payloads."""
    row = rows.get(event) or Row(event)  # type: ignore[attr-defined]
    rows.put(Row(event, row.count + 1))  # type: ignore[attr-defined]


@views.reducer(merged_rows, reads=int, on_error="skip", merge="three-way")
def lenient(rows: object, event: int, at: views.At) -> None:
    """Count integers."""
    key = str(event).encode()
    row = rows.get(key) or Row(key)  # type: ignore[attr-defined]
    rows.put(Row(key, row.count + 1))  # type: ignore[attr-defined]


@pytest.fixture
def log(tmp_path: Path):  # type: ignore[no-untyped-def]
    with transit.open(tmp_path / "s", durability="os") as made:
        yield made


def counts(view: views.View, stream: transit.Stream) -> dict[bytes, int]:
    return {row.key: row.count for row in view.of(stream).rows}  # type: ignore[attr-defined]


def plain(stream: transit.Stream) -> dict[bytes, int]:
    payloads = [record.payload for record in stream]
    return {each: payloads.count(each) for each in payloads}


def test_a_merge_shares_no_records_with_another_stream_of_the_same_name(log: transit.Log) -> None:
    view = views.open(log, counted, savepoint_records=2)
    old = log.create("left")
    old.append_many([b"old"] * 3)
    other = log.create("other")
    other.append(b"o")
    first = log.merge("first", [old, other], policy="append")
    assert counts(view, first) == {b"old": 3, b"o": 1}
    log.hide(old)
    new = log.create("left")
    new.append_many([b"new"] * 3)
    second = log.merge("second", [new, first], policy="append")
    assert counts(view, second) == plain(second) == {b"new": 3, b"old": 3, b"o": 1}


def test_what_sides_of_one_name_skipped_is_told_apart(log: transit.Log) -> None:
    view = views.open(log, lenient)
    base = log.create("base")
    base.append(b"1")
    old = base.branch("side")
    old.append_many([b"bad", b"2"])
    log.hide(old)
    new = base.branch("side")
    new.append_many([b"3", b"worse"])
    merged = log.merge("m", [old, new], policy="append")
    wanted = [each.offset for each in merged if not each.payload.isdigit()]
    assert [offset for offset, _ in view.skipped(merged)] == wanted == [1, 4]
