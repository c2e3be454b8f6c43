"""Ready-made reconcilers of a fleet: they do what is missing, and ask little where nothing is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import fleet, views
from transit.views.loops.due import ManualClock

from . import icebergs
from .stores import Opens, filled

Step = Callable[..., list[tuple[str, dict[str, object]]]]


@pytest.fixture
def step(tmp_path: Path) -> Iterator[Step]:
    """What the ticks of a day later did, recorded in a store of its own or in another."""
    clock = ManualClock("2026-01-01T00:00Z")
    with transit.open(tmp_path / "ticks", durability="os") as aside:

        def run(*given: views.Reconciler, log: transit.Log = aside) -> Any:
            clock.advance(86_400)
            with views.runner(log, given, clock=clock) as runner:
                ticks = runner.run_due()
            return [(t.result, dict(t.actions[0].fields) if t.actions else {}) for t in ticks]

        yield run


def published(log: transit.Log, name: str = "run") -> transit.Log:
    if name in log:
        log.stream(name).append(b'"more"')
    else:
        filled(log, name)
    log.publish()
    return log


NOOP = [("noop", {})]


def test_a_snapshot_is_made_when_a_store_published_something(
    agents: fleet.Fleet, member: Opens, step: Step
) -> None:
    loop = fleet.keep_snapshot(agents)
    assert loop.name == "fleet-snapshot"
    logs = [published(member(name)) for name in ("a", "b")]
    ((result, told),) = step(loop)
    assert (result, told["number"], told["stores"], told["missing"]) == ("ok", 0, 2, 0)
    assert step(loop) == step(loop) == NOOP
    logs[1].stream("run").append(b'"not published"')
    assert step(loop) == NOOP
    published(logs[1])
    ((result, told),) = step(loop)
    assert (result, told["number"]) == ("ok", 1)
    made = agents.newest_snapshot()
    assert made is not None
    assert made.cut == agents.cut()
    assert step(loop) == NOOP


def test_a_store_that_joins_is_retired_or_comes_back_is_news(
    agents: fleet.Fleet, member: Opens, step: Step, tmp_path: Path
) -> None:
    loop = fleet.keep_snapshot(agents)
    published(member("a"))
    assert step(loop)[0][1]["stores"] == 1
    joined = published(member("b"))
    assert step(loop)[0][1]["stores"] == 2
    agents.retire("b")
    assert step(loop)[0][1]["stores"] == 2
    made = agents.newest_snapshot()
    assert made is not None
    assert {each.name for each in made.members if each.retired} == {"b"}
    assert step(loop) == NOOP
    third = member("c")
    assert step(loop)[0][1]["stores"] == 3
    assert step(loop) == NOOP
    # One that cannot be read any more is told, once.
    place = tmp_path / "fleet" / "stores" / joined.store_id / "FORMAT"
    kept = place.read_bytes()
    place.write_bytes(b"damaged")
    published(third)
    told = step(loop)[0][1]
    assert (told["stores"], told["missing"]) == (2, 1)
    assert step(loop) == NOOP
    place.write_bytes(kept)
    assert step(loop)[0][1]["stores"] == 3


def test_where_nothing_is_new_a_store_is_asked_with_one_request(
    agents: fleet.Fleet, member: Opens, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        published(member(f"{number}"))
    loop = fleet.keep_snapshot(agents)
    step(loop)
    before = agents.traffic.requests

    def opened(*given: object, **how: object) -> transit.Log:
        raise AssertionError("a store was opened")

    monkeypatch.setattr(transit, "open", opened)
    assert step(loop) == NOOP
    # The newest snapshot, members, who is retired, and each store.
    assert agents.traffic.requests - before == 2 + 2 + 5


def test_ticks_of_a_member_are_nothing_new(agents: fleet.Fleet, member: Opens, step: Step) -> None:
    """Else each tick would be published, and the next would be about that, for ever."""
    own, other = published(member("own")), published(member("other"))
    loop = fleet.keep_snapshot(agents)
    assert step(loop, log=own)[0][0] == "ok"
    # That it is there now is told once.
    own.publish()
    assert step(loop, log=own)[0][0] == "ok"
    for _ in range(3):
        own.publish()
        assert step(loop, log=own) == NOOP
    published(other)
    assert step(loop, log=own)[0][0] == "ok"
    own.publish()
    assert step(loop, log=own) == NOOP
    # Its other records are.
    own.stream("run").append(b'"more"')
    assert step(loop, log=own) == NOOP
    own.publish()
    assert step(loop, log=own)[0][0] == "ok"
    made = agents.newest_snapshot()
    assert made is not None
    assert made.cut == agents.cut()


def test_an_export_is_made_when_a_store_published_something(
    agents: fleet.Fleet, member: Opens, step: Step, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    loop = fleet.keep_export(agents, str(tmp_path / "tables"), every=60.0, streams="run")
    assert loop.name == "fleet-export"
    logs = [published(member(name)) for name in ("a", "b")]
    expected = {"number": 0, "added": 2, "records": 6, "removed": 0, "missing": 0}
    assert step(loop) == [("ok", expected)]
    assert step(loop) == step(loop) == NOOP
    published(logs[0])
    logs[1].delete("run", reason="asked for")
    logs[1].publish()
    ((result, told),) = step(loop)
    assert (result, told["number"], told["added"], told["removed"]) == ("ok", 1, 1, 1)
    assert step(loop) == NOOP
    rows = parquet.read_table(tmp_path / "tables" / "data")
    assert len(rows) == 4
    assert set(rows["store"].to_pylist()) == {logs[0].store_id}


def test_an_export_is_in_a_table_too_and_one_that_was_not_told_is_told_with_the_next_tick(
    agents: fleet.Fleet, member: Opens, step: Step, tmp_path: Path, uri: str, table: icebergs.Opens
) -> None:
    target = str(tmp_path / "tables")
    loop = fleet.keep_export(agents, target, iceberg=fleet.Iceberg(uri))
    log = published(member("a"))
    assert step(loop)[0][0] == "ok"
    assert len(icebergs.rows(table())) == 3
    assert step(loop) == NOOP
    published(log)
    # A run that is killed after its files: the table does not know of them.
    agents.export(target)
    assert len(icebergs.rows(table())) == 3
    assert step(loop) == [("ok", {"number": 1, "added": 1, "removed": 0})]
    assert len(icebergs.rows(table())) == 4
    assert step(loop) == NOOP


def test_a_store_that_cannot_be_read_stays_in_the_files_and_is_warned_of(
    agents: fleet.Fleet, member: Opens, step: Step, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    loop = fleet.keep_export(agents, str(tmp_path / "tables"))
    logs = [published(member(name)) for name in ("a", "b")]
    step(loop)
    (tmp_path / "fleet" / "stores" / logs[1].store_id / "FORMAT").write_bytes(b"damaged")
    published(logs[0])
    assert step(loop)[0][1]["missing"] == 1
    assert step(loop) == NOOP
    with transit.open(tmp_path / "ticks", mode="read") as log:
        ticks = views.reconcilers(log).ticks("fleet-export")
    # Those that passed over dues are written, too.
    tick = [each for each in ticks if each.result == "ok"][-1]
    assert [line.level for line in tick.lines] == ["warning"]
    assert tick.lines[0].text.startswith(logs[1].store_id)
    assert len(parquet.read_table(tmp_path / "tables" / "data")) == 3 + 4


def test_two_loops_make_a_snapshot_and_files_of_it(
    agents: fleet.Fleet, member: Opens, step: Step, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    log = published(member("own"))
    both = fleet.keep_snapshot(agents), fleet.keep_export(agents, str(tmp_path / "tables"))
    for _ in range(2):
        assert [result for result, _ in step(*both, log=log)] == ["ok", "ok"]
        log.publish()
    for _ in range(3):
        log.publish()
        assert step(*both, log=log) == NOOP * 2


def test_options_are_those_of_any_reconciler(agents: fleet.Fleet) -> None:
    made = fleet.keep_snapshot(agents, 60.0, name="hourly", labels={"host": "a"})
    assert (made.name, made.definition.labels) == ("hourly", {"host": "a"})
    pytest.importorskip("cronsim")
    assert fleet.keep_export(agents, "tables", cron="0 2 * * *", zone="Europe/Berlin").name
    for wrong in ("agents", None):
        with pytest.raises(transit.InvalidInputError, match="not a fleet"):
            fleet.keep_snapshot(wrong)  # type: ignore[arg-type]
