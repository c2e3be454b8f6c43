"""Situations that other schedulers were reported to fail in, each with where it was reported."""

from __future__ import annotations

import itertools
import threading
from importlib import import_module
from typing import Any

import pytest

import transit
from transit.views.loops.due import SECOND, ManualClock, moment_text
from transit.views.loops.reconcile import reconciler
from transit.views.loops.running import runner
from transit.views.loops.scheduling import schedule, schedules
from transit.views.loops.ticks import Tick


def test_a_clock_that_was_set_back_does_not_stop_what_is_due_by_intervals(
    log: transit.Log, clock: ManualClock
) -> None:
    """agronholm/apscheduler 351: set back by two minutes, jobs rested for two minutes."""

    @reconciler(every=10.0)
    def often(tick: Tick) -> None:
        tick.emit("ran")

    log.create("a")
    schedule(log, "s", every=10, append=("a", b"x"), clock=clock)
    with runner(log, [often], clock=clock) as running:
        for _ in range(3):
            running.run_due()
            clock.advance(10)
        clock.advance(-3_600)
        for _ in range(3):
            running.run_due()
            clock.advance(10)
        assert (len(running.ticks("often")), len(log.stream("a"))) == (6, 6)


def test_a_clock_that_was_hours_wrong_does_not_stop_a_rule(
    log: transit.Log, clock: ManualClock
) -> None:
    """citusdata/pg_cron 105: after an error of NTP nothing ran for eight hours."""
    pytest.importorskip("cronsim")

    @reconciler(cron="*/10 * * * *")
    def often(tick: Tick) -> None:
        tick.emit("ran")

    with runner(log, [often], clock=clock) as running:
        clock.advance(8 * 3_600)
        running.run_due()
        clock.advance(-8 * 3_600)
        for _ in range(3):
            running.run_due()
            clock.advance(600)
        assert [moment_text(tick.due or 0)[11:16] for tick in running.ticks("often")] == [
            "08:00", "00:10", "00:20",
        ]  # fmt: skip


def test_runs_do_not_pile_up_behind_one_that_takes_long(
    log: transit.Log, clock: ManualClock
) -> None:
    """citusdata/pg_cron 300: runs that came due behind a long one were made one by one later."""

    @reconciler(every=60.0, timeout=3_600.0)
    def long(tick: Tick) -> None:
        if tick.n == 0:
            clock.advance(1_000)

    with runner(log, [long], clock=clock) as running:
        running.run_due()
        running.run_due()
        assert running.run_due() == []
        first, second = running.ticks("long")
        assert (second.skipped, second.due) == (15, (first.due or 0) + 960 * SECOND)


def test_a_tick_that_waits_for_a_thread_begins_when_it_begins(
    log: transit.Log, clock: ManualClock
) -> None:
    """citusdata/pg_cron 342: with one job at a time the recorded beginnings overlapped."""

    def body(tick: Tick) -> None:
        clock.advance(5)

    names = ("a", "b", "c")
    made = [reconciler(name=name, every=600.0, timeout=8.0)(body) for name in names]
    with runner(log, made, clock=clock, threads=1) as running:
        running.run_due()
        spans = sorted((t.started, t.ended) for name in names for t in running.ticks(name))
    assert [ended - started for started, ended in spans] == [5 * SECOND] * 3
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_one_that_is_deleted_while_it_runs_takes_nothing_with_it(
    log: transit.Log, clock: ManualClock
) -> None:
    """citusdata/pg_cron 180: unscheduled while it ran, the scheduler crashed after its end."""

    @reconciler(every=10.0)
    def other(tick: Tick) -> None:
        tick.emit("ran")

    @reconciler(every=10.0)
    def one(tick: Tick) -> None:
        running.delete("one")

    with runner(log, [one, other], clock=clock) as running:
        for _ in range(4):
            running.run_due()
            clock.advance(10)
        assert [tick.result for tick in running.ticks("one")] == ["deleted"]
        assert len(running.ticks("other")) == 4


def test_a_release_in_the_middle_of_an_interval_loses_no_due(
    log: transit.Log, clock: ManualClock
) -> None:
    """temporalio/temporal 4866: an update to the same schedule lost the run that was next."""
    log.create("a")
    for _ in range(20):
        schedule(log, "s", every=300, append=("a", b"x"), clock=clock)
        with runner(log, [], clock=clock) as running:
            running.run_due()
        clock.advance(100)
    assert len(log.stream("a")) == 7
    assert len(log.stream("$views/schedules/s")) == 8


def test_one_that_cannot_run_does_not_keep_the_others_from_starting(
    log: transit.Log, clock: ManualClock
) -> None:
    """citusdata/pg_cron 399: one job of a user that was gone kept the scheduler from starting."""
    log.create("a")
    schedule(log, "gone", every=10, append=("no-such-stream", b"x"), clock=clock)
    schedule(log, "here", every=10, append=("a", b"x"), clock=clock)
    for _ in range(3):
        with runner(log, [], clock=clock) as running:
            running.run_due()
        clock.advance(10)
    assert len(log.stream("a")) == 3
    assert [each.last.op for each in schedules(log) if each.last] == ["failed", "fired"]


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_a_claim_is_not_given_up_while_the_body_of_its_runner_goes_on(
    path: object, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    """kubernetes-sigs/controller-runtime 1132: the lease was released, and the work went on."""
    monkeypatch.setattr(import_module("transit.views.loops.running"), "CLOSE_S", 0.05)
    entered, go_on = threading.Event(), threading.Event()
    bodies: list[str] = []

    @reconciler(name="r", every=10.0)
    def long(tick: Tick) -> None:
        bodies.append("long")
        entered.set()
        go_on.wait(60)

    @reconciler(name="r", every=10.0)
    def short(tick: Tick) -> None:
        bodies.append("short")

    with transit.open(str(path), mode=mode, durability="os") as log:
        with runner(log, [long], clock=clock, claim=30.0) as running:
            threading.Thread(target=running.run_due, daemon=True).start()
            entered.wait(60)
        with runner(log, [short], clock=clock) as running:
            clock.advance(20)
            assert running.run_due() == []
            clock.advance(20)
            assert len(running.run_due()) == 1
        go_on.set()
        assert bodies == ["long", "short"]


def test_a_claim_is_taken_again_after_it_could_not_be_renewed(
    path: object, clock: ManualClock
) -> None:
    """kubernetes/client-go 1155: a leader that failed to renew stopped, and nobody led."""

    @reconciler(name="r", every=10.0)
    def quick(tick: Tick) -> None:
        tick.emit("ran")

    with transit.open(str(path), mode="shared", durability="os") as log:
        with runner(log, [quick], clock=clock, claim=5.0) as one:
            one.run_due()
            clock.advance(10)
            with runner(log, [quick], clock=clock, claim=5.0) as two:
                assert len(two.run_due()) == 1
                assert one.run_due() == []
            clock.advance(10)
            assert len(one.run_due()) == 1
        ticks = one.ticks("r")
        assert [tick.n for tick in ticks] == [0, 1, 2]
        assert ticks[0].runner == ticks[2].runner != ticks[1].runner


def test_a_runner_with_a_fast_clock_does_not_hold_a_claim_for_ever(path: object) -> None:
    """A claim until tomorrow, by a clock that is a day ahead, ends when it was not renewed."""
    ahead, ours = ManualClock("2026-01-02T00:00Z"), ManualClock("2026-01-01T00:00Z")

    @reconciler(name="r", every=10.0)
    def quick(tick: Tick) -> None:
        tick.emit("ran")

    with transit.open(str(path), mode="shared", durability="os") as log:
        gone = runner(log, [quick], clock=ahead, claim=30.0).__enter__()
        gone.run_due()
        with runner(log, [quick], clock=ours) as running:
            assert running.run_due() == []
            ours.advance(31)
            running.ask("r")
            assert len(running.run_due()) == 1
        gone.close()
