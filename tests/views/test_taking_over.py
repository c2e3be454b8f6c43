"""The reconciler that takes over: what it counts, when it acts, and that it acts once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit import InvalidInputError
from transit.views.loops.due import ManualClock
from transit.views.loops.reconcile import Reconciler
from transit.views.loops.running import Runner, runner
from transit.views.loops.standing import answers, succeeds, take_over

Make = Callable[..., Reconciler]


class Watched:
    """A store that is watched by another, and what its health check says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.remote = path / "remote"
        self.says: list[bool | Exception] = []
        self.opened: list[transit.Log] = []
        self.log = transit.open(path / "a", remote=self.remote, durability="os")
        self.log.create("s").append(b"0", durability="tiered")

    def healthy(self) -> bool:
        said = self.says.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def reconciler(self, **options: object) -> Reconciler:
        options.setdefault("on_takeover", self.opened.append)
        return take_over(self.path / "b", self.remote, self.healthy, **options)  # type: ignore[arg-type]

    def takeovers(self) -> list[transit.Takeover]:
        with transit.open(str(self.remote), mode="read") as log:
            return list(transit.takeovers(log))

    def close(self) -> None:
        for log in (self.log, *self.opened):
            log.close()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "watched")


def step(running: Runner, clock: ManualClock, watched: Watched, *says: object) -> list[str]:
    """So many ticks, one for each answer of the check: how each ended."""
    ends = []
    for said in says:
        watched.says = [said]  # type: ignore[list-item]
        clock.advance(10)
        (tick,) = running.run_due()
        ends.append(tick.actions[0].name if tick.actions else tick.result)
    return ends


def test_after_so_many_failures_in_a_row_it_takes_over_once(
    log: transit.Log, clock: ManualClock, watched: Watched
) -> None:
    with runner(log, [watched.reconciler()], clock=clock) as running:
        assert step(running, clock, watched, True) == ["follow"]
        watched.log.stream("s").append(b"1", durability="tiered")
        assert step(running, clock, watched, True, True) == ["follow", "noop"]
        ends = step(running, clock, watched, False, OSError("x"), True, False, False, False, False)
        assert ends == ["ok", "ok", "noop", "ok", "ok", "take_over", "noop"]
        tick = running.ticks("take-over")[-1]
        assert tick.actions[0].fields["reason"] == "not healthy 3 times: the check says so"
    (takeover,) = watched.takeovers()
    assert takeover.commit == 2
    (opened,) = watched.opened
    assert [record.payload for record in opened.stream("s").read()] == [b"0", b"1"]
    watched.log.stream("s").append(b"late")
    with pytest.raises(transit.FencedError):
        watched.log.publish()
    watched.close()


def test_a_writer_that_was_opened_anew_begins_the_count_again(
    log: transit.Log, clock: ManualClock, watched: Watched
) -> None:
    with runner(log, [watched.reconciler(failures=2)], clock=clock) as running:
        step(running, clock, watched, True, False)
        watched.log.close()
        watched.log = transit.open(watched.path / "a", remote=watched.remote, durability="os")
        watched.log.stream("s").append(b"1", durability="tiered")
        assert step(running, clock, watched, False) == ["ok"]
        assert watched.takeovers() == []
        assert step(running, clock, watched, False) == ["take_over"]
    watched.close()


def test_a_tick_that_is_cut_short_after_it_took_over_finds_that_again(
    log: transit.Log, clock: ManualClock, watched: Watched
) -> None:
    calls = []

    def on_takeover(opened: transit.Log) -> None:
        calls.append(opened)
        if len(calls) == 1:
            raise OSError("the program did not start")
        watched.opened.append(opened)

    with runner(
        log, [watched.reconciler(failures=1, on_takeover=on_takeover)], clock=clock
    ) as running:
        step(running, clock, watched, True)
        assert step(running, clock, watched, False) == ["failed"]
        assert calls[0].closed
        assert step(running, clock, watched, True) == ["take_over"]
        assert step(running, clock, watched, True) == ["noop"]
    assert len(watched.takeovers()) == 1
    assert len(calls) == 2
    watched.close()


def test_without_a_function_for_it_the_store_is_closed(
    log: transit.Log, clock: ManualClock, watched: Watched
) -> None:
    given = watched.reconciler(failures=1, on_takeover=None)
    with runner(log, [given], clock=clock) as running:
        assert step(running, clock, watched, True, False) == ["follow", "take_over"]
    transit.open(watched.path / "b", remote=watched.remote).close()
    watched.close()


def test_a_remote_that_is_away_makes_the_tick_fail_and_takes_nothing_over(
    log: transit.Log, clock: ManualClock, watched: Watched
) -> None:
    with runner(log, [watched.reconciler(failures=1)], clock=clock) as running:
        step(running, clock, watched, True)
        watched.remote.rename(watched.path / "away")
        assert step(running, clock, watched, False) == ["failed"]
        (watched.path / "away").rename(watched.remote)
        assert step(running, clock, watched, True) == ["noop"]
    assert watched.takeovers() == []
    watched.close()


def test_checks_say_whether_a_program_and_an_address_are_well() -> None:
    assert succeeds([sys.executable, "-c", ""], timeout=60)()
    assert not succeeds([sys.executable, "-c", "raise SystemExit(3)"], timeout=60)()
    assert not succeeds(["/no/such/program"])()
    assert not answers("http://127.0.0.1:9/healthz")()
    for wrong in ("ftp://x", "file:///etc/passwd", "x"):
        with pytest.raises(InvalidInputError):
            answers(wrong)
    with pytest.raises(InvalidInputError):
        succeeds([])
    for count in (0, -1, True, 1.5):
        with pytest.raises(InvalidInputError):
            take_over("x", "y", lambda: True, failures=count)  # type: ignore[arg-type]
