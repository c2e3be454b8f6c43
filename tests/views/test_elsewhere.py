"""What becomes of ticks and schedules elsewhere: rebase, restore, export, import, a connection."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from rigs.server.serving import Serving
from tests.cli.shell import transit as command
from transit.views.loops.due import ManualClock
from transit.views.loops.reconcile import Reconciler, Reconcilers, reconciler
from transit.views.loops.running import runner
from transit.views.loops.scheduling import schedule, schedules
from transit.views.loops.ticks import Tick


def counter() -> Reconciler:
    @reconciler(name="count", every=10.0)
    def count(tick: Tick) -> None:
        tick.kv["n"] = tick.kv.get("n", 0) + 1  # type: ignore[operator]
        tick.batch.append("effects", b"%d" % tick.n)

    return count


def work(log: transit.Log, clock: ManualClock, ticks: int) -> None:
    """So many ticks, and as many records of a schedule."""
    if "effects" not in log:
        log.create("effects")
        log.create("fired")
    schedule(log, "s", every=10, append=("fired", b"x"), clock=clock)
    with runner(log, [counter()], clock=clock) as running:
        for _ in range(ticks):
            running.run_due()
            clock.advance(10)


def test_after_a_rebase_the_remotes_history_goes_on_and_ours_is_a_branch(
    tmp_path: Path, clock: ManualClock
) -> None:
    remote = str(tmp_path / "remote")
    with transit.open(tmp_path / "a", remote=remote, durability="os") as log:
        work(log, clock, 2)
        log.publish()
    transit.restore(remote, tmp_path / "b")
    with transit.open(tmp_path / "b", remote=remote, durability="os") as log:
        work(log, clock, 3)
        log.publish()
    with transit.open(tmp_path / "a", durability="os") as log:
        work(log, clock, 4)
        schedule(log, "own", every=1_000_000, append=("fired", b"own"), clock=clock)
    with transit.open(tmp_path / "a", remote=remote, durability="os") as log:
        with pytest.raises(transit.FencedError):
            log.publish()
        moved = log.rebase_onto_remote().streams
    assert not any(name.startswith(("$views/claims/", "$views/names")) for name in moved)
    with transit.open(tmp_path / "a", remote=remote, durability="os") as log:
        branch = log.stream(moved["$views/ticks/count"])
        assert (len(log.stream("$views/ticks/count")), len(branch)) == (5, 6)
        assert (len(log.stream("effects")), len(log.stream(moved["effects"]))) == (5, 6)
        # Branches are history: nothing runs or fires twice for them.
        assert [each.name for each in Reconcilers(log).list()] == ["count"]
        assert [each.name for each in schedules(log)] == ["s", "own"]
        with runner(log, [counter()], clock=clock) as running:
            (tick,) = running.run_due()
            assert (tick.n, tick.kv) == (5, {"n": 6})
        assert [record.payload for record in log.stream("fired")][5:] == [b"x", b"own"]
        assert log.verify().ok


def test_restored_whole_or_with_its_layer_a_store_goes_on(
    tmp_path: Path, clock: ManualClock
) -> None:
    remote = str(tmp_path / "remote")
    with transit.open(tmp_path / "a", remote=remote, durability="os") as log:
        work(log, clock, 3)
        log.publish()
    named = ["effects", "fired", "$views/"]
    for place, options in {"b": {}, "c": {"streams": named}}.items():
        transit.restore(remote, tmp_path / place, **options)  # type: ignore[arg-type]
        with transit.open(tmp_path / place, durability="os") as log:
            with runner(log, [counter()], clock=clock) as running:
                (tick,) = running.run_due()
                assert (tick.n, tick.kv) == (3, {"n": 4})
            assert len(log.stream("fired")) == 4


def test_restored_without_its_layer_a_store_says_where_the_ticks_are(
    tmp_path: Path, clock: ManualClock
) -> None:
    remote = str(tmp_path / "remote")
    with transit.open(tmp_path / "a", remote=remote, durability="os") as log:
        log.create("only")
        log.publish()
        work(log, clock, 3)
        log.publish()
    transit.restore(remote, tmp_path / "b", streams=["only"])
    with (
        transit.open(tmp_path / "b", durability="os") as log,
        pytest.raises(transit.RetentionGapError),
        runner(log, [counter()], clock=clock) as running,
    ):
        running.run_due()
    with (
        transit.open(tmp_path / "b", remote=remote, durability="os") as log,
        runner(log, [counter()], clock=clock) as running,
    ):
        assert running.run_due()[0].n == 3


def test_exported_and_imported_they_go_on_in_another_store(
    tmp_path: Path, clock: ManualClock
) -> None:
    with transit.open(tmp_path / "a", durability="os", mode="shared") as log:
        work(log, clock, 3)
        assert [stream.name for stream in log.streams("$views/claims/")] == ["$views/claims/count"]
    exported = command(tmp_path / "a", "export", "--all")
    assert exported.code == 0, exported.err
    imported = command(tmp_path / "b", "import", stdin=exported.out)
    assert imported.code == 0, imported.err
    with transit.open(tmp_path / "b", durability="os") as log:
        assert [stream.name for stream in log.streams("$views/claims/")] == []
        assert [each.name for each in Reconcilers(log).list()] == ["count"]
        with runner(log, [counter()], clock=clock) as running:
            (tick,) = running.run_due()
            assert (tick.n, tick.kv) == (3, {"n": 4})
        assert (len(log.stream("effects")), len(log.stream("fired"))) == (4, 4)


def test_over_a_connection_it_is_the_same_and_claims_are_kept(
    path: Path, clock: ManualClock
) -> None:
    with transit.open(path, durability="os") as opened:
        serving = Serving(opened)
        try:
            with (
                transit.connect(serving.url, timeout_s=120) as one,
                transit.connect(serving.url, timeout_s=120) as two,
            ):
                work(one, clock, 3)
                with (
                    runner(one, [counter()], clock=clock) as first,
                    runner(two, [counter()], clock=clock) as second,
                ):
                    assert (len(first.run_due()), second.run_due()) == (1, [])
                    second.disable("count")
                    clock.advance(10)
                    assert first.run_due() == []
                    second.enable("count")
                    clock.advance(10)
                    assert (len(first.run_due()), second.run_due()) == (1, [])
                ticks = Reconcilers(two).ticks("count")
                assert [tick.n for tick in ticks] == [0, 1, 2, 3, 4]
                assert ticks[-1].kv == {"n": 5}
                assert len(one.stream("fired")) == 6
        finally:
            serving.close()
