"""Plans: each record is in one part, whatever the parts, their order, and who publishes."""

from __future__ import annotations

import gc
import os
import pickle
import random
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transit
from transit import fleet
from transit.fleet import reading
from transit.fleet.planning import Item, cut

pytest.importorskip("pyarrow")

SMALL = transit.Settings(block_bytes=65536, seal_bytes=65536)
Row = tuple[str, str, int, bytes]


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[fleet.Fleet]:
    with fleet.create(str(tmp_path / "fleet"), settings=SMALL) as made:
        yield made


def more(log: transit.Log, rng: random.Random) -> None:
    """More records of streams, branches and merges, sealed in several segments."""
    for _ in range(rng.randrange(1, 4)):
        for _ in range(rng.randrange(1, 5)):
            name = f"{rng.choice(['runs', 'chat'])}/{rng.randrange(5)}"
            stream = log.stream(name) if name in log else log.create(name)
            count = rng.randrange(1, 60)
            stream.append_many(
                [rng.randbytes(rng.randrange(2000)) for _ in range(count)],
                headers=[{"kind": rng.choice("ab")} for _ in range(count)],
            )
        streams = list(log.streams())
        if rng.random() < 0.5:
            parent = rng.choice(streams)
            at = rng.randrange(len(parent)) if len(parent) else None
            name = os.urandom(6).hex()
            branch = parent.branch(f"runs/branch-{name}", at=at)
            branch.append(rng.randbytes(30))
            log.merge(f"chat/merge-{name}", [parent, branch], policy="append")
        if rng.random() < 0.3:
            log.hide(rng.choice(streams))
        log.layer("notes").create(f"n{len(streams)}-{rng.random()}").append(b"a layer's")
        log.seal()
    log.publish()


def fill(agents: fleet.Fleet, folder: Path, stores: int, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(stores):
        labels = {"zone": "eu" if number % 2 else "us"}
        how: dict[str, Any] = {"name": f"host-{number}", "labels": labels, "durability": "os"}
        with agents.record(folder / f"{number}", **how) as log:
            more(log, rng)


def appended(agents: fleet.Fleet) -> list[Row]:
    """Every own record of the streams that are not hidden, as the engine reads them."""
    rows: list[Row] = []
    for member in agents.members(retired=True):
        with agents.open(member) as log:
            for stream in log.streams():
                start = max(stream.own_start, stream.first_offset)
                rows += [
                    (member.store, stream.name, record.offset, record.payload)
                    for record in stream.read(start)
                ]
    return sorted(rows)


def whole(agents: fleet.Fleet) -> list[Row]:
    """Every record of every stream that is not hidden, those that it inherits too."""
    rows: list[Row] = []
    for member in agents.members(retired=True):
        with agents.open(member) as log:
            rows += [
                (member.store, stream.name, record.offset, record.payload)
                for stream in log.streams()
                for record in stream.read()
            ]
    return sorted(rows)


def rows_of(parts: Sequence[fleet.Part], **how: Any) -> list[Row]:
    rows: list[Row] = []
    for part in parts:
        table = fleet.read(part, ["store", "stream", "offset", "payload"], settings=SMALL, **how)
        rows += zip(*(column.to_pylist() for column in table.columns), strict=True)
    return sorted(rows)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("by", ["blocks", "stream"])
def test_every_record_is_in_one_part(
    agents: fleet.Fleet, tmp_path: Path, seed: int, by: str
) -> None:
    fill(agents, tmp_path, 3, seed)
    expected = appended(agents) if by == "blocks" else whole(agents)
    stores = {row[0] for row in expected}
    for how in ({}, {"n": 1}, {"n": 7}, {"n": 1000}, {"bytes_per_part": 1}):
        plan = agents.plan(by=by, **how)  # type: ignore[arg-type]
        assert set(plan.cut.stores) >= stores
        assert not plan.cut.missing
        parts = [pickle.loads(pickle.dumps(part)) for part in plan]
        assert parts == list(plan.parts)
        assert all(len(pickle.dumps(part)) <= 1024 for part in parts)
        random.Random(seed).shuffle(parts)
        assert rows_of(parts) == expected
        if "n" in how and by == "blocks":
            assert len(parts) <= how["n"] + len(stores)


def test_a_part_says_the_same_whatever_is_published_meanwhile(
    agents: fleet.Fleet, tmp_path: Path
) -> None:
    fill(agents, tmp_path, 2, 1)
    plans = {by: agents.plan(n=9, by=by) for by in ("blocks", "stream")}  # type: ignore[arg-type]
    expected = {"blocks": appended(agents), "stream": whole(agents)}
    before = {by: [rows_of([part]) for part in plan] for by, plan in plans.items()}
    stop = threading.Event()

    def publish(number: int) -> None:
        rng = random.Random(number)
        with agents.record(tmp_path / f"{number}", durability="os") as log:
            while not stop.is_set():
                more(log, rng)

    with ThreadPoolExecutor(2) as pool:
        writing = [pool.submit(publish, number) for number in range(2)]
        try:
            for by, plan in plans.items():
                for _ in range(2):
                    assert [rows_of([part]) for part in plan] == before[by]
                assert rows_of(plan.parts) == expected[by]
                # As of the cut it is planned again alike.
                again = agents.plan(n=9, by=by, at=plan.cut)  # type: ignore[arg-type]
                assert again.parts == plan.parts
        finally:
            stop.set()
    for each in writing:
        each.result()
    assert agents.plan().cut != plans["blocks"].cut


def test_what_came_after_a_cut_is_what_the_cut_lacks(agents: fleet.Fleet, tmp_path: Path) -> None:
    fill(agents, tmp_path, 2, 3)
    first = agents.plan()
    found = rows_of(first.parts)
    fill(agents, tmp_path, 3, 4)
    then = agents.plan(after=first.cut, n=5)
    assert Counter(found) + Counter(rows_of(then.parts)) >= Counter(appended(agents))
    assert not set(found) & set(rows_of(then.parts))
    assert agents.plan(after=then.cut).parts == ()
    with pytest.raises(transit.InvalidInputError, match="after goes with a plan by blocks"):
        agents.plan(after=first.cut, by="stream")
    store, head = next(iter(first.cut.stores.items()))
    wrong = fleet.Cut({store: transit.Head(head.commits, "0" * 64)})
    with pytest.raises(transit.CorruptError, match="root"):
        agents.plan(after=wrong)


def test_records_of_a_time_and_of_streams(agents: fleet.Fleet, tmp_path: Path) -> None:
    moments = []
    with agents.record(tmp_path / "a", durability="os") as log:
        for number in range(6):
            moments.append(datetime.now(UTC))
            for name in ("runs/a", "runs/b", "chat/a"):
                stream = log.stream(name) if name in log else log.create(name)
                stream.append_many([b"%d" % number] * 5)
            if number % 2:
                log.seal()
        log.publish()
    moments.append(datetime.now(UTC) + timedelta(seconds=1))
    for by in ("blocks", "stream"):
        for low in range(7):
            for high in range(low, 7):
                plan = agents.plan(
                    since=moments[low],
                    until=moments[high],
                    streams="runs/",
                    by=by,
                    n=3,  # type: ignore[arg-type]
                )
                found = Counter(payload for *_, payload in rows_of(plan.parts))
                assert found == {b"%d" % number: 10 for number in range(low, high)}
    table = fleet.read(agents.plan(since=moments[2], n=1)[0], ["written"])
    written = table["written"].cast("int64").to_pylist()
    assert min(written) >= int(moments[2].timestamp() * 1e6) * 1000
    with pytest.raises(transit.InvalidInputError, match="zone"):
        agents.plan(since=datetime(2026, 1, 1))


def test_a_part_is_read_in_another_process_and_after_a_fork(
    agents: fleet.Fleet, tmp_path: Path
) -> None:
    fill(agents, tmp_path, 2, 5)
    plan = agents.plan(n=4)
    expected = rows_of(plan.parts)
    code = (
        "import pickle, sys\nfrom transit import fleet\n"
        "parts = pickle.load(sys.stdin.buffer)\n"
        "print(sum(len(fleet.read(part)) for part in parts))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(list(plan)),
        capture_output=True,
        check=True,
    )
    assert int(done.stdout) == len(expected)
    with ThreadPoolExecutor(8) as pool:
        # One opened store serves them all.
        found = [row for rows in pool.map(lambda part: rows_of([part]), plan) for row in rows]
    assert sorted(found) == expected


def test_stores_are_closed_when_nobody_reads_them(
    agents: fleet.Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of many stores at once, and room for none of them: each stays open while it is read."""
    monkeypatch.setattr(reading, "OPEN_MAX", 0)
    stores = reading._Stores()
    monkeypatch.setattr(reading, "_stores", stores)
    fill(agents, tmp_path, 4, 12)
    parts = list(agents.plan(n=12))
    expected = [rows_of([part]) for part in parts]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            assert list(pool.map(lambda part: rows_of([part]), parts)) == expected
    assert not stores._known
    # One that is read slowly is not closed by others that end meanwhile.
    slow = fleet.scan([parts[0], *parts], ["payload"], settings=SMALL)
    first = next(iter(slow))
    assert rows_of(parts) == sorted(row for rows in expected for row in rows)
    assert len(first) + sum(map(len, slow)) == len(expected[0]) + sum(map(len, expected))


def test_a_store_that_opens_slowly_keeps_no_other_from_being_read(
    agents: fleet.Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(agents, tmp_path, 2, 13)
    slow, quick = (agents.plan(n=1)[number] for number in range(2))
    monkeypatch.setattr(reading, "_stores", reading._Stores())
    opens, began, may_open = transit.open, threading.Event(), threading.Event()

    def opened(place: str, **how: Any) -> transit.Log:
        if place == slow.remote:
            began.set()
            may_open.wait(60)
        return opens(place, **how)

    monkeypatch.setattr(transit, "open", opened)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(rows_of, [slow])
        try:
            assert began.wait(60)
            assert rows_of([quick])
            assert not waiting.done()
        finally:
            may_open.set()
        assert waiting.result()


def test_what_a_store_was_opened_with_is_kept_as_long_as_the_store(
    agents: fleet.Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is in the key: another keyring that got the number would read the first one's."""
    stores = reading._Stores()
    monkeypatch.setattr(reading, "_stores", stores)
    fill(agents, tmp_path, 1, 14)
    ring = transit.Keyring.create(tmp_path / "ring", wrap=bytes, unwrap=bytes)
    known = weakref.ref(ring)
    part = agents.plan(n=1)[0]
    assert rows_of([part], keyring=ring)
    del ring
    gc.collect()
    assert known() is not None
    stores.close()
    gc.collect()
    assert known() is None


def test_labels_missing_stores_and_columns(agents: fleet.Fleet, tmp_path: Path) -> None:
    fill(agents, tmp_path, 4, 6)
    stores = {member.name: member.store for member in agents.members()}
    eu = agents.plan(labels={"zone": "eu"})
    assert set(eu.cut.stores) == {stores["host-1"], stores["host-3"]}
    gone = stores["host-1"]
    (tmp_path / "fleet" / "stores" / gone / "FORMAT").write_bytes(b"damaged")
    with pytest.raises(transit.CorruptError):
        agents.plan()
    some = agents.plan(missing_ok=True)
    assert set(some.cut.missing) == {gone}
    assert {part.store for part in some} <= set(stores.values()) - {gone}
    part = some[0]
    table = fleet.read(part)
    assert tuple(table.column_names) == fleet.COLUMNS
    assert fleet.read(part, ["payload", "store"]).column_names == ["payload", "store"]
    assert set(table["store"].to_pylist()) == {part.store}
    whole_table = fleet.scan(some).read_all()
    assert len(whole_table) == sum(len(fleet.read(each)) for each in some)
    for wrong in ("payload", ["nothing"]):
        with pytest.raises(transit.InvalidInputError):
            fleet.read(part, wrong)
    with pytest.raises(transit.InvalidInputError):
        fleet.read("part")  # type: ignore[arg-type]
    for how in (
        {"n": 0}, {"bytes_per_part": -1}, {"n": 1, "bytes_per_part": 1}, {"by": "rows"},
        {"streams": 3}, {"at": "cut"}, {"after": 3},
    ):  # fmt: skip
        with pytest.raises(transit.InvalidInputError):
            agents.plan(**how, missing_ok=True)  # type: ignore[arg-type]


def test_a_part_of_another_store_or_history_is_refused(agents: fleet.Fleet, tmp_path: Path) -> None:
    fill(agents, tmp_path, 2, 7)
    one, other = (agents.plan(n=1)[number] for number in range(2))
    fields = {name: getattr(one, name) for name in one.__struct_fields__}
    with pytest.raises(transit.CorruptError, match="store"):
        fleet.read(fleet.Part(**{**fields, "remote": other.remote}))
    with pytest.raises(transit.CorruptError, match="root"):
        fleet.read(fleet.Part(**{**fields, "head": transit.Head(one.head.commits, "0" * 64)}))
    with pytest.raises(transit.NotFoundError):
        fleet.read(fleet.Part(**{**fields, "head": transit.Head(999, one.head.root)}))


items = st.lists(st.integers(0, 300), max_size=60)


@settings(max_examples=300)
@given(items, st.integers(1, 500))
def test_runs_of_items_are_all_of_them_and_of_about_one_size(sizes: list[int], size: int) -> None:
    made = [Item((n, 0), (n + 1, 0), 1, each) for n, each in enumerate(sizes)]
    runs = list(cut(made, size))
    assert [item for run in runs for item in run] == made
    assert all(runs)
    total = sum(sizes)
    assert len(runs) <= max(1, -(-total // size))
    most = max(sizes, default=0)
    for run in runs:
        assert sum(item.size for item in run) <= -(-total // max(1, -(-total // size))) + most


# Snapshots


def test_a_plan_of_a_snapshot_asks_no_store(agents: fleet.Fleet, tmp_path: Path) -> None:
    fill(agents, tmp_path, 3, 8)
    assert agents.newest_snapshot() is None
    first = agents.snapshot()
    assert agents.newest_snapshot() == first
    expected = appended(agents)
    live = agents.plan(n=7)
    fill(agents, tmp_path, 4, 9)
    stores = tmp_path / "fleet" / "stores"
    stores.rename(tmp_path / "away")
    plan = agents.plan(n=7, at=agents.newest_snapshot())
    (tmp_path / "away").rename(stores)
    assert plan == live
    assert rows_of(plan.parts) == expected
    assert rows_of(agents.plan(at=first, by="stream").parts)
    second = agents.snapshot()
    assert second.number == first.number + 1
    assert agents.plan(at=second) == agents.plan()
    for _ in range(4):
        agents.snapshot()
    assert len(list((tmp_path / "fleet" / "snapshots").iterdir())) == 3


def test_a_snapshot_says_what_is_missing_and_a_damaged_one_is_passed_over(
    agents: fleet.Fleet, tmp_path: Path
) -> None:
    fill(agents, tmp_path, 3, 10)
    sound = agents.snapshot()
    gone = next(agents.members()).store
    (tmp_path / "fleet" / "stores" / gone / "FORMAT").write_bytes(b"damaged")
    partial = agents.snapshot()
    assert set(partial.missing) == {gone}
    with pytest.raises(transit.NotFoundError, match=gone):
        agents.plan(at=partial)
    assert gone not in agents.plan(at=partial, missing_ok=True).cut.stores
    newest = max((tmp_path / "fleet" / "snapshots").iterdir())
    for damaged in (b"", b"nothing", newest.read_bytes()[:-9]):
        newest.write_bytes(damaged)
        assert agents.newest_snapshot() == sound
    again = agents.snapshot()
    assert again.number == partial.number + 1
