"""What was skipped is listed whole, whichever streams a state was folded on by the way."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

import transit
from transit import views


class Row(msgspec.Struct, frozen=True):
    """A row."""

    key: int
    count: int = 0


rows = views.table("rows", Row, key="key")


@views.reducer(rows, reads=int, on_error="skip")
def lenient(rows: object, event: int, at: views.At) -> None:
    """Count integers."""
    row = rows.get(event) or Row(event)  # type: ignore[attr-defined]
    rows.put(Row(event, row.count + 1))  # type: ignore[attr-defined]


def skipped(view: views.View, stream: transit.Stream) -> list[int]:
    return [offset for offset, _ in view.skipped(stream)]


def bad(stream: transit.Stream) -> list[int]:
    return [record.offset for record in stream if not record.payload.isdigit()]


@pytest.fixture
def log(tmp_path: Path):  # type: ignore[no-untyped-def]
    with transit.open(tmp_path / "s", durability="os") as made:
        yield made


@pytest.mark.parametrize("anew", [False, True])
def test_a_state_that_was_begun_on_another_stream_lists_all_that_was_skipped(
    log: transit.Log, anew: bool
) -> None:
    """Two merges of the same streams have the same records, and neither descends from the other."""
    one, two = log.create("one"), log.create("two")
    one.append_many([b"1", b"x", b"2", b"x"])
    two.append_many([b"3", b"x", b"4", b"x", b"x", b"5"])
    first = log.merge("first", [one, two], policy="append")
    second = log.merge("second", [one, two], policy="append", merge_id="again")
    second.append_many([b"x", b"6", b"x", b"7", b"x", b"8"])
    both = log.merge("both", [first, second], policy="select", params={"selected": "second"})
    view = views.open(log, lenient, savepoint_records=3)
    view.of(both)
    if anew:
        view = views.open(log, lenient, savepoint_records=3)
    for stream in (both, second, first, two, one):
        assert skipped(view, stream) == bad(stream), stream.name


@pytest.mark.parametrize("seed", range(40))
def test_what_was_skipped_is_as_a_loop_says(log: transit.Log, seed: int) -> None:
    chance = random.Random(seed)
    streams = [log.create("root")]
    view = views.open(log, lenient, savepoint_records=3)
    for number in range(30):
        what = chance.randrange(6)
        stream = chance.choice(streams)
        if what < 2:
            count = chance.randrange(1, 9)
            stream.append_many([chance.choice((b"1", b"2", b"x", b"y")) for _ in range(count)])
        elif what == 2 and len(stream):
            at = chance.randrange(len(stream))
            streams.append(stream.branch(f"branch/{number}", at=at))
        elif what == 3 and len(streams) > 2:
            parents = [each for each in chance.sample(streams, 2) if len(each)]
            policy = chance.choice(["append", "interleave", "base"])
            if len(parents) == 2:
                streams.append(log.merge(f"merge/{number}", parents, policy=policy))
        elif what == 4:
            view = views.open(log, lenient, savepoint_records=3)
        else:
            view.of(stream, chance.randrange(len(stream) + 1))
        if chance.random() < 0.3:
            view.save(stream)
        looked_at = chance.choice(streams)
        assert skipped(view, looked_at) == bad(looked_at), looked_at.name
    for stream in streams:
        assert skipped(view, stream) == bad(stream), stream.name
