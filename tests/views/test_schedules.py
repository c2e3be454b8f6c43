"""Schedules: records that are appended when they are due, once."""

from __future__ import annotations

import threading

import pytest

import transit
from transit import InvalidInputError, NotFoundError
from transit.views.loops.due import SECOND, ManualClock
from transit.views.loops.firing import FIRED_MAX
from transit.views.loops.reconcile import reconciler
from transit.views.loops.running import Runner, runner
from transit.views.loops.scheduling import (
    Schedule,
    disable_schedule,
    enable_schedule,
    schedule,
    schedules,
    unschedule,
)
from transit.views.loops.ticks import Tick


def fire(running: Runner, clock: ManualClock, seconds: float) -> None:
    """Let so many seconds pass, looked at each second."""
    for _ in range(round(seconds)):
        clock.advance(1)
        running.run_due()


def only(log: transit.Log) -> Schedule:
    (found,) = schedules(log)
    return found


def test_a_one_shot_appends_its_record_once(log: transit.Log, clock: ManualClock) -> None:
    task = log.create("task")
    for _ in range(2):
        made = schedule(
            log, "nightly", at="2026-01-01T00:00:05Z", append=(task, b"{}"),
            headers={"kind": "go"}, clock=clock,
        )  # fmt: skip
        assert (made.name, made.stream, made.enabled) == ("nightly", "task", True)
    with runner(log, [], clock=clock) as running:
        fire(running, clock, 4)
        assert len(task) == 0
        fire(running, clock, 10)
    # The same again: it has fired.
    schedule(
        log, "nightly", at="2026-01-01T00:00:05Z", append=(task, b"{}"), headers={"kind": "go"},
        clock=clock,
    )  # fmt: skip
    with runner(log, [], clock=clock) as running:
        fire(running, clock, 5)
    assert [(record.payload, record.headers) for record in task] == [(b"{}", {"kind": "go"})]
    fired = log.stream("$views/schedules/nightly")[1]
    assert fired.written == task[0].written
    assert only(log).next_due is None


def test_an_interval_and_a_rule_append_at_each_due(log: transit.Log, clock: ManualClock) -> None:
    pytest.importorskip("cronsim")
    log.create("a")
    log.create("b")
    schedule(log, "each-10", every=10, append=("a", b"x"), clock=clock)
    schedule(log, "each-minute", cron="* * * * *", append=("b", b"y"), clock=clock)
    with runner(log, [], clock=clock) as running:
        running.run_due()
        fire(running, clock, 125)
    assert (len(log.stream("a")), len(log.stream("b"))) == (13, 2)


@pytest.mark.parametrize(("catch_up", "count"), [("one", 2), ("all", 7), ("none", 1)])
def test_dues_that_passed_are_caught_up_as_the_policy_says(
    log: transit.Log, clock: ManualClock, catch_up: str, count: int
) -> None:
    log.create("a")
    schedule(log, "s", every=10, append=("a", b"x"), catch_up=catch_up, clock=clock)  # type: ignore[arg-type]
    with runner(log, [], clock=clock) as running:
        running.run_due()
    clock.advance(66)
    with runner(log, [], clock=clock) as running:
        running.run_due()
        last = only(log).last
        assert last is not None
        assert last.skipped == {"one": 5, "all": 0, "none": 6}[catch_up]
        assert len(log.stream("a")) == count
        fire(running, clock, 4)
        assert len(log.stream("a")) == count + 1


def test_a_long_backlog_is_fired_in_order_and_lets_others_have_their_turn(
    log: transit.Log, clock: ManualClock
) -> None:
    log.create("a")
    log.create("b")
    schedule(log, "many", every=1, append=("a", b"x"), catch_up="all", clock=clock)
    schedule(log, "few", every=100, append=("b", b"x"), clock=clock)
    clock.advance(4 * FIRED_MAX)
    with runner(log, [], clock=clock) as running:
        running.run_due()
        assert (len(log.stream("a")), len(log.stream("b"))) == (FIRED_MAX, 1)
        for _ in range(5):
            running.run_due()
        assert len(log.stream("a")) == 4 * FIRED_MAX + 1


def test_one_that_is_made_while_a_runner_runs_is_taken_up(log: transit.Log) -> None:
    log.create("a")
    with runner(log, []) as running:
        running.start()
        schedule(log, "late", at="2020-01-01T00:00Z", append=("a", b"x"))
        for record in log.stream("a").tail(start=0, timeout=60):
            assert record.payload == b"x"
            break
        schedule(log, "later", every=3_600, append=("a", b"y"))
        for record in log.stream("a").tail(start=1, timeout=60):
            assert record.payload == b"y"
            break


def test_disabled_it_rests_and_enabled_it_goes_on_with_the_next_due(
    log: transit.Log, clock: ManualClock
) -> None:
    log.create("a")
    schedule(log, "s", every=10, append=("a", b"x"), clock=clock)
    schedule(log, "once", at="2026-01-01T00:00:20Z", append=("a", b"once"), clock=clock)
    with runner(log, [], clock=clock) as running:
        running.run_due()
        for name in ("s", "once"):
            disable_schedule(log, name, clock)
            disable_schedule(log, name, clock)
        fire(running, clock, 35)
        assert len(log.stream("a")) == 1
        for name in ("s", "once"):
            enable_schedule(log, name, clock)
            enable_schedule(log, name, clock)
        fire(running, clock, 1)
        assert [record.payload for record in log.stream("a")] == [b"x", b"once"]
        fire(running, clock, 4)
        assert len(log.stream("a")) == 3


def test_one_that_is_taken_out_fires_no_more_and_can_be_made_again(
    log: transit.Log, clock: ManualClock
) -> None:
    log.create("a")
    schedule(log, "s", every=10, append=("a", b"x"), clock=clock)
    with runner(log, [], clock=clock) as running:
        running.run_due()
        unschedule(log, "s")
        fire(running, clock, 30)
        assert (len(log.stream("a")), schedules(log)) == (1, [])
        for call in (unschedule, enable_schedule, disable_schedule):
            with pytest.raises(NotFoundError):
                call(log, "s")
        schedule(log, "s", every=10, append=("a", b"y"), clock=clock)
        running.run_due()
        schedule(log, "s", every=5, append=("a", b"z"), clock=clock)
        running.run_due()
        fire(running, clock, 5)
    assert [record.payload for record in log.stream("a")] == [b"x", b"y", b"z", b"z"]


def test_a_stream_that_is_not_there_yet_is_tried_again_and_others_go_on(
    log: transit.Log, clock: ManualClock
) -> None:
    log.create("a")
    schedule(log, "early", at="2026-01-01T00:00:01Z", append=("none", b"x"), clock=clock)
    schedule(log, "s", every=10, append=("a", b"x"), clock=clock)
    with runner(log, [], clock=clock) as running:
        fire(running, clock, 10)
        early = schedules(log)[0]
        assert early.last is not None
        assert (early.last.op, early.last.failures) == ("failed", 4)
        assert early.last.error.startswith("NotFoundError: ")
        assert len(log.stream("a")) == 2
        log.create("none")
        fire(running, clock, 10)
        assert len(log.stream("none")) == 1


def test_a_stream_that_is_finished_disables_its_schedule(
    log: transit.Log, clock: ManualClock
) -> None:
    log.create("a").finish()
    schedule(log, "s", every=10, append=("a", b"x"), clock=clock)
    with runner(log, [], clock=clock) as running:
        fire(running, clock, 50)
    found = only(log)
    assert (found.enabled, len(log.stream("$views/schedules/s"))) == (False, 2)


def test_a_runner_fires_those_with_its_labels(log: transit.Log, clock: ManualClock) -> None:
    log.create("a")
    schedule(log, "s", every=10, append=("a", b"x"), labels={"host": "a"}, clock=clock)
    with runner(log, [], select={"host": "b"}, clock=clock) as running:
        running.run_due()
        assert len(log.stream("a")) == 0
    with runner(log, [], select={"host": "a"}, clock=clock) as running:
        running.run_due()
        assert len(log.stream("a")) == 1


def test_records_that_are_none_hold_up_no_other_schedule(
    log: transit.Log, clock: ManualClock
) -> None:
    log.create("a")
    for name in ("bad", "good", "worse"):
        schedule(log, name, every=10, append=("a", name.encode()), clock=clock)
    log.stream("$views/schedules/bad").append(b"\xff")
    log.stream("$views/schedules/worse").append(
        b'{"op":"fired","at":1,"made":77,"enabled":true,"next_due":1}'
    )
    with runner(log, [], clock=clock) as running:
        running.run_due()
        assert [record.payload for record in log.stream("a")] == [b"good"]
        assert [each.name for each in schedules(log) if each.error] == ["bad", "worse"]
        schedule(log, "bad", every=10, append=("a", b"again"), clock=clock)
        running.run_due()
    assert [record.payload for record in log.stream("a")] == [b"good", b"again"]


def test_several_runners_fire_each_due_once(log: transit.Log, clock: ManualClock) -> None:
    log.create("a")
    schedule(log, "s", every=1, append=("a", b"x"), catch_up="all", clock=clock)
    with (
        runner(log, [], clock=clock) as one,
        runner(log, [], clock=clock) as two,
        runner(log, [], clock=clock) as three,
    ):
        for _ in range(40):
            threads = [threading.Thread(target=each.run_due) for each in (one, two, three)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            clock.advance(1)
        one.run_due()
    assert len(log.stream("a")) == 41
    dues = [each.last for each in schedules(log)]
    assert dues[0] is not None
    assert dues[0].due == clock.now() // SECOND * SECOND


def test_what_is_no_schedule_is_refused(log: transit.Log) -> None:
    for options in (
        {"append": "a"}, {"append": ("a",)}, {"append": ("a", "text")}, {"append": (5, b"x")},
        {"append": ("a", b"x"), "catch_up": "some"}, {"append": ("a", b"x"), "labels": {"a": 1}},
    ):  # fmt: skip
        with pytest.raises(InvalidInputError):
            schedule(log, "s", every=10, **options)  # type: ignore[arg-type]
    for name in ("", "a/b", "a@b", "$x", 5):
        with pytest.raises(InvalidInputError):
            schedule(log, name, every=10, append=("a", b"x"))  # type: ignore[arg-type]
    assert schedules(log) == []


def test_a_body_can_make_schedules(log: transit.Log, clock: ManualClock) -> None:
    log.create("a")

    @reconciler(every=3_600.0)
    def plan(tick: Tick) -> None:
        schedule(tick.log, "s", every=10, append=("a", b"x"), clock=clock)
        tick.noop()

    with runner(log, [plan], clock=clock) as running:
        running.run_due()
        fire(running, clock, 1)
    assert len(log.stream("a")) == 1
