"""Situations that users of comparable systems reported, on fleets: what is right stays right."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import transit
from transit import fleet, views
from transit.fleet import exporting, reading, snapshots
from transit.fleet.members import Member
from transit.fleet.places import member_key, store_url

from .stores import Opens, filled

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
LONG = 1024


def published(member: Opens, name: str, count: int = 3) -> str:
    log = member(name)
    filled(log, "task", count)
    log.publish()
    return log.store_id


def one_store(folder: Path, *streams: str, count: int = 3) -> str:
    with transit.open(folder, durability="os") as log:
        for name in streams:
            log.create(name).append_many([name.encode()] * count)
        log.seal()
        return log.store_id


def rows(folder: Path) -> Any:
    return pa.concat_tables([pq.read_table(file) for file in (folder / "data").glob("*.parquet")])


def count(plan: fleet.Plan) -> int:
    return sum(len(fleet.read(part)) for part in plan)


# Addresses


def test_a_plan_of_a_relative_path_is_read_in_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with fleet.create("agents") as agents:
        with agents.record("a", durability="os") as log:
            filled(log, "task")
            log.publish()
        plans = agents.plan(), fleet.of_store("a").plan()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert [count(plan) for plan in plans] == [3, 3]
        assert [each.error for each in agents.status()] == [None]
        assert os.listdir() == []
    with pytest.raises(transit.InvalidInputError, match="did you mean s3://bucket"):
        fleet.of_store("s3:/bucket")
    (tmp_path / "elsewhere").rmdir()
    for made in fleet.of_store, fleet.open:
        with pytest.raises(transit.InvalidInputError, match="from the root on"):
            made("a")


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("memory://", "memory://"),
        ("file:///", "file:///"),
        ("/", "/"),
        ("s3://bucket", "s3://bucket/"),
        ("s3://bucket/agents//", "s3://bucket/agents/"),
    ],
)
def test_stores_lie_below_any_address(url: str, base: str) -> None:
    assert store_url(url, "ab") == f"{base}stores/ab"


def test_what_a_fleet_says_can_be_kept_where_its_folder_has_a_name_of_any_bytes(
    tmp_path: Path,
) -> None:
    folder = os.path.join(tmp_path, os.fsdecode(b"b\xff #%20"))
    with fleet.create(folder) as agents:
        stores = []
        for name in "ab":
            with agents.record(tmp_path / name, durability="os") as log:
                filled(log, "task")
                log.publish()
                stores.append(log.store_id)
        shutil.rmtree(os.path.join(folder, "stores", stores[0]))
        cut = agents.cut()
        assert fleet.Cut.decode(cut.encode()) == cut
        assert set(cut.missing) == {stores[0]}
        assert agents.snapshot().missing == cut.missing
        assert agents.newest_snapshot() is not None
        assert count(agents.plan(missing_ok=True)) == 3
        assert fleet.edges(agents).missing == cut.missing


def test_requests_for_a_fleet_take_no_longer_than_those_for_its_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def opened(url: str, options: object, timeout_s: float) -> transit.ObjectStore:
        asked.append(timeout_s)
        return transit.open_store(url, None, timeout_s)

    monkeypatch.setattr(exporting, "open_store", opened)
    monkeypatch.setattr("transit.fleet.opening.open_store", opened)
    one_store(tmp_path / "a", "s")
    settings = transit.Settings(remote_timeout_s=7)
    with fleet.create(str(tmp_path / "fleet"), settings=settings):
        pass
    fleet.of_store(tmp_path / "a", settings=settings).export(str(tmp_path / "out"))
    with fleet.open(str(tmp_path / "fleet")):
        pass
    assert asked == [7, 7, transit.Settings().remote_timeout_s]


# Members


@pytest.mark.parametrize("letter", ["v", "\N{SNOWMAN}", "\x01", "\N{GRINNING FACE}"])
def test_a_member_with_as_many_and_as_long_labels_as_there_may_be_is_read(
    agents: fleet.Fleet, tmp_path: Path, letter: str
) -> None:
    labels = {f"{n:04}{letter * (LONG - 4)}": letter * LONG for n in range(64)}
    with agents.record(tmp_path / "a", name=letter * LONG, labels=labels, durability="os"):
        pass
    (found,) = agents.members(labels=labels)
    assert found.labels == labels
    assert agents.retire(found.store, by=letter * LONG, reason=letter * LONG).retired is not None
    assert not agents.audit("roots").unreadable


@pytest.mark.parametrize("how", [{"name": "h\udcff"}, {"labels": {"\udcff": ""}}])
def test_a_name_that_is_no_text_makes_no_member(
    agents: fleet.Fleet, tmp_path: Path, how: dict[str, Any]
) -> None:
    with pytest.raises(transit.InvalidInputError, match="text"):
        agents.record(tmp_path / "a", **how)
    assert not list(agents.members())


def test_what_is_no_text_retires_nothing_and_is_no_beginning_of_a_name(
    agents: fleet.Fleet, member: Opens, tmp_path: Path
) -> None:
    store = published(member, "a")
    for call in (
        lambda: agents.retire(store, reason="\udcff"),
        lambda: agents.plan(streams="\udcff"),
        lambda: agents.export(str(tmp_path / "out"), streams="\udcff"),
    ):
        with pytest.raises(transit.InvalidInputError, match="text"):
            call()
    assert len(list(agents.members())) == 1


class _Late:
    """An object store whose listings lack some keys."""

    def __init__(self, inner: transit.ObjectStore, lacks: str) -> None:
        self._inner, self._lacks = inner, lacks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return (each for each in self._inner.list(prefix) if self._lacks not in each[0])


def test_a_plan_of_a_cut_has_all_its_stores_whatever_a_listing_says(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [published(member, name) for name in "ab"]
    cut = agents.cut()
    monkeypatch.setattr(agents, "_objects", _Late(agents._objects, stores[0]))
    assert count(agents.plan()) == 3
    assert count(agents.plan(at=cut)) == 6
    agents._objects.delete(member_key(stores[0]))
    with pytest.raises(transit.NotFoundError, match=stores[0]):
        agents.plan(at=cut)
    plan = agents.plan(at=cut, labels={}, missing_ok=True)
    assert (count(plan), set(plan.cut.missing)) == (3, {stores[0]})
    # A store alone has its part of a cut.
    assert count(fleet.of_store(agents.address(stores[1])).plan(at=cut)) == 3


def test_a_member_whose_object_is_damaged_is_left_out_of_no_plan_in_silence(
    agents: fleet.Fleet, member: Opens
) -> None:
    bad, good = (published(member, name) for name in "ab")
    Path(agents.url, member_key(bad)).write_bytes(b"{}")
    for labels in ({}, {"zone": "eu"}):
        with pytest.raises(transit.CorruptError, match=bad):
            agents.plan(labels=labels)
    plan = agents.plan(missing_ok=True)
    assert (set(plan.cut.stores), set(plan.cut.missing)) == ({good}, {bad})
    assert (set(agents.cut().stores), set(agents.cut().missing)) == ({good}, {bad})
    assert set(agents.snapshot().missing) == {bad}
    assert {each.member.store: each.error is None for each in agents.status()} == {
        bad: False, good: True,
    }  # fmt: skip
    report = agents.audit("roots")
    assert [each.store for each in report.unreadable] == [bad]
    assert [each.member.store for each in report.stores] == [good]
    assert [type(each) for each in agents.members()] == [Member]


# Parts


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_what_was_deleted_is_not_read_again_where_its_store_is_open(
    tmp_path: Path, kind: str
) -> None:
    url = f"memory://{uuid4().hex}" if kind == "memory" else str(tmp_path / "fleet")
    with fleet.create(url) as agents, agents.record(tmp_path / "a", durability="os") as log:
        for name in ("keep", "gone"):
            filled(log, name)
        log.seal()
        log.publish()
        plans = agents.plan(), fleet.of_store(tmp_path / "a").plan()
        assert [count(plan) for plan in plans] == [6, 6]
        log.delete("gone", reason="asked")
        log.seal()
        log.publish()
        assert [count(plan) for plan in plans] == [3, 3]
        log.erase()
        log.publish()
        assert [count(plan) for plan in plans] == [3, 3]


def test_a_store_that_was_made_where_another_was_is_read(tmp_path: Path) -> None:
    for _ in range(2):
        one_store(tmp_path / "s", "a")
        plan = fleet.of_store(tmp_path / "s").plan()
        assert count(plan) == 3
        shutil.rmtree(tmp_path / "s")


def test_records_are_counted_without_their_columns(tmp_path: Path) -> None:
    one_store(tmp_path / "s", "a", "b")
    store = fleet.of_store(tmp_path / "s")
    for by in ("blocks", "stream"):
        plan = store.plan(by=by)
        assert sum(fleet.read(part, []).num_rows for part in plan) == 6
        assert fleet.scan(plan, []).read_all().num_rows == 6
        declared = views.payload_columns()
        assert sum(fleet.read(part, declared, select=[]).num_rows for part in plan) == 6
    (first, *_) = fleet.read(store.plan()[0], ["written"])["written"].cast(pa.int64()).to_pylist()
    later = store.plan(since=first, until=first + 1)
    assert sum(fleet.read(part, []).num_rows for part in later) == len(fleet.read(later[0]))
    assert [fleet.read(store.plan()[0], names).num_columns for names in ([], ["store"])] == [0, 1]


class _Finer(timedelta):
    nanoseconds = 7


class _Moment(datetime):
    """As a time of pandas, which is a datetime, and finer."""

    def __sub__(self, other: Any) -> Any:
        since = super().__sub__(other)
        return _Finer(since.days, since.seconds, since.microseconds)


def test_a_time_that_is_finer_than_a_datetime_stays_so(tmp_path: Path) -> None:
    one_store(tmp_path / "s", "a")
    plan = fleet.of_store(tmp_path / "s").plan(since=_Moment(2020, 1, 1, tzinfo=UTC))
    assert plan[0].asked.since == 1_577_836_800_000_000_007


def test_times_that_no_record_has_are_bounds_all_the_same(tmp_path: Path) -> None:
    one_store(tmp_path / "s", "a")
    store = fleet.of_store(tmp_path / "s")
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
    assert count(store.plan(since=first, until=last)) == 3
    assert count(store.plan(since=datetime(2300, 1, 1, tzinfo=UTC))) == 0
    assert count(store.plan(until=datetime(1600, 1, 1, tzinfo=UTC))) == 0


def test_names_that_a_file_system_takes_for_something_else_are_names(tmp_path: Path) -> None:
    names = ["../../x", "a\u0301", "á", "A", "a", "x/", "%2F", "k=v/日本", "agents", "agents-2"]
    with transit.open(tmp_path / "s", durability="os") as log:
        for name in names:
            log.create(name).append(name.encode())
        log.seal()
    store = fleet.of_store(tmp_path / "s")
    (part,) = store.plan()
    table = fleet.read(part, ["stream", "payload"])
    assert table["stream"].to_pylist() == [each.decode() for each in table["payload"].to_pylist()]
    assert sorted(table["stream"].to_pylist()) == sorted(names)
    store.export(str(tmp_path / "out"))
    assert sorted(rows(tmp_path / "out")["stream"].to_pylist()) == sorted(names)
    assert {each.name for each in tmp_path.iterdir()} == {"s", "out"}


# Exports


def test_an_export_leaves_alone_what_it_did_not_write(tmp_path: Path) -> None:
    others = {"mine.parquet", "My File.parquet", f"{'0' * 64}.parquet.crc", "_SUCCESS"}
    (tmp_path / "lake" / "data").mkdir(parents=True)
    for name in others:
        (tmp_path / "lake" / "data" / name).write_bytes(b"somebody's")
    one_store(tmp_path / "s", "a")
    store = fleet.of_store(tmp_path / "s")
    for streams in ("b", "c"):
        (added,) = store.export(str(tmp_path / "lake")).added
        one_store(tmp_path / "s", streams)
        found = {each.name for each in (tmp_path / "lake" / "data").iterdir()}
        assert found >= others | {Path(added.key).name}


def test_a_file_that_somebody_removed_is_written_anew(tmp_path: Path) -> None:
    one_store(tmp_path / "s", "a")
    store = fleet.of_store(tmp_path / "s")
    (first,) = store.export(str(tmp_path / "out")).added
    for more in (), ("b",):
        (tmp_path / "out" / first.key).unlink()
        one_store(tmp_path / "s", *more)
        done = store.export(str(tmp_path / "out"))
        assert done.removed == (first.key,)
        assert {each.name for each in (tmp_path / "out" / "data").iterdir()} == {
            Path(each.key).name for each in done.export.files
        }
        first = next(each for each in done.added if each.rows == first.rows)
        assert sorted(rows(tmp_path / "out")["stream"].to_pylist()) == sorted(["a", *more] * 3)
    assert not store.export(str(tmp_path / "out")).added


def test_what_would_be_too_large_to_be_read_is_not_written(
    agents: fleet.Fleet, member: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(member, "a")
    monkeypatch.setattr(exporting, "EXPORT_BYTES_MAX", 100)
    monkeypatch.setattr(snapshots, "SNAPSHOT_BYTES_MAX", 100)
    for call in agents.snapshot, lambda: agents.export(str(tmp_path / "out")):
        with pytest.raises(transit.InvalidInputError, match=r"too many|nobody would read"):
            call()
    monkeypatch.undo()
    assert agents.newest_snapshot() is None
    assert len(agents.export(str(tmp_path / "out")).added) == 1


def test_microseconds_of_an_export_are_those_at_or_before_the_time(tmp_path: Path) -> None:
    times = [-1, -1000, -1001, 0, 1, 999, 1000, -(2**63), 2**63 - 1]
    with transit.open(tmp_path / "s", durability="os") as log:
        log.create("a").append_many([b""] * len(times), timestamps=times)
        log.seal()
    fleet.of_store(tmp_path / "s").export(str(tmp_path / "out"))
    table = rows(tmp_path / "out")
    assert table["timestamp_ns"].to_pylist() == times
    assert table["timestamp"].cast(pa.int64()).to_pylist() == [each // 1000 for each in times]


def test_an_export_of_a_later_version_is_not_called_damaged(tmp_path: Path) -> None:
    one_store(tmp_path / "s", "a")
    store = fleet.of_store(tmp_path / "s")
    store.export(str(tmp_path / "out"))
    (made,) = (tmp_path / "out" / "exports").iterdir()
    later = {**json.loads(made.read_bytes()), "number": 1, "format": 2, "files": {"in": "parts"}}
    (made.parent / f"{1:020}.json").write_text(json.dumps(later))
    with pytest.raises(transit.UnsupportedVersionError, match="2"):
        store.export(str(tmp_path / "out"))
    (made.parent / f"{1:020}.json").write_text(json.dumps({**later, "kind": "another's"}))
    with pytest.raises(transit.CorruptError, match="an export"):
        store.export(str(tmp_path / "out"))


def test_stores_that_are_open_for_parts_are_told_apart_by_their_ids() -> None:
    how = reading._How(None, None, None)
    parts = [
        fleet.Part("/s", each, transit.Head(0, ""), "blocks", (0, 0), (0, 1), fleet.Asked(), 0, 0)
        for each in ("a", "b")
    ]
    assert how.key(parts[0]) != how.key(parts[1])
