"""Reconcilers: registered, listed, run when they are due, caught up, enabled, asked, deleted."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from importlib import import_module

import msgspec
import pytest

import transit
from transit import InvalidInputError, NotFoundError
from transit.views.loops.due import SECOND, Every, ManualClock
from transit.views.loops.reconcile import Reconciler, Reconcilers, reconciler
from transit.views.loops.running import Runner, runner
from transit.views.loops.ticks import Tick, TickLostError, TickRecord

Body = Callable[[Tick], object]


def counting(**options: object) -> Reconciler:
    """One that counts its ticks, and keeps which dues they were for."""

    @reconciler(name="count", **{"every": 10.0, **options})  # type: ignore[arg-type]
    def count(tick: Tick) -> None:
        tick.kv["n"] = tick.kv.get("n", 0) + 1  # type: ignore[operator]

    return count


def failing(times: int, **options: object) -> Reconciler:
    left = [times]

    @reconciler(name="fail", **{"every": 10.0, **options})  # type: ignore[arg-type]
    def fail(tick: Tick) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError("not now")

    return fail


def written(log: transit.Log) -> tuple[int, int]:
    status = log.status()
    return status.records, status.wal_bytes


def results(ticks: Sequence[TickRecord]) -> list[str]:
    return [tick.result for tick in ticks]


def at_seconds(ticks: Sequence[TickRecord], clock_start: int) -> list[float | None]:
    return [None if t.due is None else (t.due - clock_start) / SECOND for t in ticks]


def test_a_tick_is_made_at_once_and_then_at_each_interval(
    log: transit.Log, clock: ManualClock
) -> None:
    start = clock.now()
    with runner(log, [counting()], clock=clock) as running:
        for _ in range(5):
            running.run_due()
            clock.advance(4)
            running.run_due()
            clock.advance(6.1)
    ticks = running.ticks("count")
    # Each was noticed a little later than the one before, and due on the second.
    assert at_seconds(ticks, start) == [0, 10, 20, 30, 40]
    assert [tick.n for tick in ticks] == [0, 1, 2, 3, 4]
    assert ticks[-1].kv == {"n": 5}
    assert [tick.skipped for tick in ticks] == [0] * 5


@pytest.mark.parametrize(
    ("catch_up", "seconds", "skipped"),
    [
        ("one", [0, 50, 60], [0, 4, 0]),
        ("all", [0, 10, 20, 30, 40, 50, 60], [0] * 7),
        ("none", [0, 50, 60], [0, 5, 0]),
    ],
)
def test_dues_that_passed_are_caught_up_as_the_policy_says(
    log: transit.Log, clock: ManualClock, catch_up: str, seconds: list[float], skipped: list[int]
) -> None:
    start, made = clock.now(), counting(catch_up=catch_up)
    with runner(log, [made], clock=clock) as running:
        running.run_due()
    clock.advance(56)
    with runner(log, [made], clock=clock) as running:
        while running.run_due():
            pass
        clock.advance(4)
        running.run_due()
        ticks = running.ticks("count")
    assert at_seconds(ticks, start) == seconds
    assert [tick.skipped for tick in ticks] == skipped
    assert results(ticks)[1] == ("skipped" if catch_up == "none" else "ok")


def test_policy_none_makes_a_tick_that_is_a_little_late(
    log: transit.Log, clock: ManualClock
) -> None:
    with runner(log, [counting(catch_up="none")], clock=clock) as running:
        running.run_due()
        clock.advance(14)
        assert results(running.run_due()) == ["ok"]


def test_failures_back_off_and_keep_their_due(log: transit.Log, clock: ManualClock) -> None:
    waits = []
    with runner(log, [failing(8, every=86_400.0)], clock=clock) as running:
        start = clock.now()
        while not waits or running.ticks("fail")[-1].result == "failed":
            made = running.run_due()
            if made:
                waits.append(round((clock.now() - start) / SECOND))
            clock.advance(1)
        ticks = running.ticks("fail")
    assert [b - a for a, b in itertools.pairwise(waits)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert {tick.due for tick in ticks} == {start}
    assert [tick.failures for tick in ticks] == [1, 2, 3, 4, 5, 6, 7, 8, 0]
    assert ticks[0].error.startswith("OSError: not now (test_reconcilers.py:")


def test_backoff_goes_on_where_another_runner_left_it(log: transit.Log, clock: ManualClock) -> None:
    for expected in (1, 2, 3):
        with runner(log, [failing(9, every=86_400.0)], clock=clock) as running:
            assert running.run_due()[0].failures == expected
            assert running.run_due() == []
        clock.advance(2 ** (expected - 1))


def test_dues_within_a_backoff_are_counted_as_skipped_but_for_the_one_that_failed(
    log: transit.Log, clock: ManualClock
) -> None:
    with runner(log, [failing(3, every=1.0)], clock=clock) as running:
        for _ in range(12):
            running.run_due()
            clock.advance(1)
        ticks = running.ticks("fail")
    assert results(ticks)[:4] == ["failed"] * 3 + ["ok"]
    # At 0, 1, 3 and 7: the dues at 2, then 4, 5, 6 had no tick.
    assert [tick.skipped for tick in ticks[:4]] == [0, 0, 1, 3]


def test_after_so_many_retries_a_due_is_let_be(log: transit.Log, clock: ManualClock) -> None:
    with runner(log, [failing(3, every=60.0, retries=1)], clock=clock) as running:
        for _ in range(70):
            running.run_due()
            clock.advance(1)
        ticks = running.ticks("fail")
    assert results(ticks) == ["failed", "failed", "failed", "ok"]
    assert [tick.failures for tick in ticks] == [1, 0, 1, 0]
    assert ticks[1].next_due == ticks[2].due


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError(), Exception()])
def test_whatever_a_body_raises_the_runner_goes_on(
    log: transit.Log, clock: ManualClock, error: BaseException
) -> None:
    @reconciler(every=10.0)
    def bad(tick: Tick) -> None:
        raise error

    with runner(log, [bad, counting()], clock=clock) as running:
        for _ in range(3):
            running.run_due()
            clock.advance(10)
        assert set(results(running.ticks("bad"))) == {"failed"}
        assert results(running.ticks("count")) == ["ok"] * 3


def test_a_body_that_takes_too_long_is_a_timeout_and_what_it_does_later_is_refused(
    log: transit.Log, clock: ManualClock
) -> None:
    entered, go_on, done = threading.Event(), threading.Event(), threading.Event()
    said: list[str] = []
    stream = log.create("s")

    @reconciler(every=10.0, timeout=5.0)
    def slow(tick: Tick) -> None:
        tick.kv["x"] = tick.n
        tick.batch.append(stream, b"late")
        entered.set()
        go_on.wait(60)
        try:
            tick.check()
        except TickLostError as error:
            said.append(str(error))
        done.set()

    with runner(log, [slow], clock=clock) as running:
        thread = threading.Thread(target=running.run_due)
        thread.start()
        entered.wait(60)
        clock.advance(5)
        thread.join(60)
        (tick,) = running.ticks("slow")
        assert (tick.result, tick.error, tick.kv) == ("timeout", "took more than 5 s", {})
        clock.advance(10)
        # Its body still runs: no second one beside it.
        assert running.run_due() == []
        go_on.set()
        done.wait(60)
        while not (made := running.run_due()):
            pass
        assert made[0].n == 1
    assert said == ["slow: tick 0 has ended without its body"]
    assert [record.payload for record in stream] == [b"late"]
    assert [tick.kv for tick in running.ticks("slow")] == [{}, {"x": 1}]


def test_a_noop_writes_nothing(log: transit.Log, clock: ManualClock) -> None:
    @reconciler(every=1.0)
    def idle(tick: Tick) -> None:
        tick.noop()

    with runner(log, [idle], clock=clock) as running:
        before = written(log)
        for _ in range(50):
            assert results(running.run_due()) == ["noop"]
            clock.advance(1)
        assert written(log) == before
        assert running.ticks("idle") == ()


def test_noops_are_written_where_that_is_wanted_or_they_kept_something(
    log: transit.Log, clock: ManualClock
) -> None:
    @reconciler(every=1.0, noops="written")
    def written(tick: Tick) -> None:
        tick.noop()

    @reconciler(every=1.0)
    def keeps(tick: Tick) -> None:
        tick.kv["at"] = tick.due
        tick.noop()

    @reconciler(every=1.0)
    def says(tick: Tick) -> None:
        tick.info("nothing to do")
        tick.noop()

    with runner(log, [written, keeps, says], clock=clock) as running:
        running.run_due()
        clock.advance(1)
        running.run_due()
        for name in ("written", "keeps", "says"):
            assert results(running.ticks(name)) == ["noop", "noop"]


def test_after_noops_a_runner_that_was_closed_leaves_no_dues_behind(
    log: transit.Log, clock: ManualClock
) -> None:
    @reconciler(every=1.0)
    def idle(tick: Tick) -> None:
        if tick.attempt and log.path and tick.due is not None and quiet:
            tick.noop()

    quiet = True
    with runner(log, [idle], clock=clock) as running:
        for _ in range(30):
            running.run_due()
            clock.advance(1)
    quiet = False
    with runner(log, [idle], clock=clock) as running:
        (tick,) = running.run_due()
    assert (tick.skipped, tick.n) == (0, 0)


def test_the_definition_of_the_code_holds_and_a_release_does_not_put_dues_off(
    log: transit.Log, clock: ManualClock
) -> None:
    start = clock.now()
    with runner(log, [counting(every=3_600.0)], clock=clock) as running:
        running.run_due()
    for timeout in (1.0, 2.0, 3.0):
        clock.advance(1_000)
        with runner(log, [counting(every=3_600.0, timeout=timeout)], clock=clock) as running:
            assert running.run_due() == []
            assert running.list()[0].next_due == start + 3_600 * SECOND
    clock.advance(600)
    with runner(log, [counting(every=3_600.0, timeout=3.0)], clock=clock) as running:
        assert at_seconds(running.run_due(), start) == [3_600]
        ops = [msgspec.json.decode(r.payload)["op"] for r in log.stream("$views/reconcilers/count")]
    assert ops == ["registered", "changed", "changed", "changed"]


def test_a_changed_interval_begins_anew_and_nothing_is_caught_up(
    log: transit.Log, clock: ManualClock
) -> None:
    with runner(log, [counting(every=86_400.0, catch_up="all")], clock=clock) as running:
        running.run_due()
    clock.advance(80_000)
    with runner(log, [counting(every=1.0, catch_up="all")], clock=clock) as running:
        assert len(running.run_due()) == 1
        assert running.run_due() == []


def test_a_disabled_one_rests_and_what_passed_meanwhile_was_no_due(
    log: transit.Log, clock: ManualClock
) -> None:
    start = clock.now()
    with runner(log, [counting()], clock=clock) as running:
        running.run_due()
        running.disable("count")
        running.disable("count")
        clock.advance(35)
        assert running.run_due() == []
        assert running.list()[0].next_due is None
        assert running.tick("count").due is None, "asked for, it is made"
        running.enable("count")
        assert running.run_due() == []
        clock.advance(5)
        (tick,) = running.run_due()
        assert (tick.due, tick.skipped) == (start + 40 * SECOND, 0)


def test_a_tick_that_is_asked_for_leaves_the_next_due_as_it_is(
    log: transit.Log, clock: ManualClock
) -> None:
    start = clock.now()
    with runner(log, [counting()], clock=clock) as running:
        running.run_due()
        clock.advance(3)
        tick = running.tick("count")
        assert (tick.result, tick.due, tick.n, tick.kv) == ("ok", None, 1, {"n": 2})
        assert running.list()[0].next_due == start + 10 * SECOND
        with pytest.raises(NotFoundError):
            running.tick("none")


def test_a_tick_is_asked_for_in_the_log_and_answered_once(
    log: transit.Log, clock: ManualClock
) -> None:
    @reconciler(every=1_000.0)
    def idle(tick: Tick) -> None:
        tick.noop()

    with runner(log, [idle], clock=clock) as running:
        running.run_due()
        number = Reconcilers(log, clock).ask("idle")
        (tick,) = running.run_due()
        assert (tick.result, tick.due, tick.answered) == ("noop", None, number)
        assert running.run_due() == []
        assert running.ticks("idle") == (tick,)
    with runner(log, [idle], clock=clock) as running:
        assert running.run_due() == []


def test_a_deleted_one_is_gone_its_history_stays_and_its_state_does_not(
    log: transit.Log, clock: ManualClock
) -> None:
    with runner(log, [counting()], clock=clock) as running:
        running.run_due()
        running.delete("count")
        clock.advance(10)
        assert running.run_due() == []
        assert running.list() == ()
        for call in (running.enable, running.disable, running.delete, running.ask, running.tick):
            with pytest.raises(NotFoundError):
                call("count")
        assert results(running.ticks("count")) == ["ok", "deleted"]
    with runner(log, [counting()], clock=clock) as running:
        (tick,) = running.run_due()
        assert (tick.n, tick.kv) == (2, {"n": 1})


def test_a_tick_whose_reconciler_is_deleted_meanwhile_is_lost_and_one_disabled_is_told(
    log: transit.Log, clock: ManualClock
) -> None:
    said: list[str] = []
    meanwhile = "delete"

    @reconciler(name="count", every=10.0)
    def busy(tick: Tick) -> None:
        tick.kv["x"] = 1
        tick.check()
        getattr(running, meanwhile)("count")
        try:
            tick.check()
        except TickLostError as error:
            said.append(str(error))

    with runner(log, [busy], clock=clock) as running:
        assert running.run_due() == []
        assert results(running.ticks("count")) == ["deleted"]
        assert said == ["count: tick 0 was made by another runner"]
    meanwhile = "disable"
    with runner(log, [busy], clock=clock) as running:
        assert results(running.run_due()) == ["ok"]
        assert said[1] == "count: disabled or deleted since tick 1 began"
        clock.advance(20)
        assert running.run_due() == []


def test_one_without_code_is_shown_and_not_run(log: transit.Log, clock: ManualClock) -> None:
    with runner(log, [counting(), failing(0)], clock=clock) as running:
        running.run_due()
    clock.advance(100)
    with runner(log, [failing(0)], clock=clock) as running:
        assert [tick.result for tick in running.run_due()] == ["ok"]
        assert {each.name: each.has_code for each in running.list()} == {
            "count": False, "fail": True,
        }  # fmt: skip
    assert len(Reconcilers(log).ticks("count")) == 1
    assert [each.has_code for each in Reconcilers(log).list()] == [None, None]


def test_a_runner_takes_those_that_have_its_labels(log: transit.Log, clock: ManualClock) -> None:
    @reconciler(every=1.0, labels={"host": "local", "kind": "a"})
    def here(tick: Tick) -> None:
        tick.emit("ran")

    @reconciler(every=1.0, labels={"host": "other"})
    def there(tick: Tick) -> None:
        tick.emit("ran")

    with runner(log, [here, there], select={"host": "local"}, clock=clock) as running:
        assert len(running.run_due()) == 1
        assert [each.name for each in running.list()] == ["here"]
        with pytest.raises(NotFoundError):
            running.tick("there")
    with runner(log, [here, there], select={"host": "local", "kind": "b"}, clock=clock) as running:
        clock.advance(1)
        assert running.run_due() == []


def test_what_a_definition_cannot_be_is_refused(log: transit.Log) -> None:
    def body(tick: Tick) -> None: ...

    async def waits(tick: Tick) -> None: ...

    for options in (
        {"timeout": 0}, {"timeout": 3_601}, {"timeout": True}, {"timeout": "1"},
        {"catch_up": "some"}, {"retries": -1}, {"retries": 1.0}, {"noops": "no"},
        {"labels": {"a": 1}}, {"labels": ["a"]}, {"name": "a/b"}, {"name": "a@b"},
        {"name": "x" * 101}, {"name": "-a"},
    ):  # fmt: skip
        with pytest.raises(InvalidInputError):
            reconciler(every=1.0, **options)(body)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        reconciler(body)
    with pytest.raises(InvalidInputError):
        reconciler(every=1.0)(waits)
    with pytest.raises(InvalidInputError):
        reconciler(every=1.0)(5)  # type: ignore[arg-type]
    made = reconciler(every=1.0)(body)
    with pytest.raises(InvalidInputError):
        runner(log, [made, made])
    with pytest.raises(InvalidInputError):
        runner(log, [body])  # type: ignore[list-item]
    for options in ({"claim": 0.5}, {"claim": True}, {"threads": 0}, {"select": {"a": 1}}):
        with pytest.raises(InvalidInputError):
            runner(log, [made], **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        runner(log, [made]).run_due()
    assert made("tick") is None  # type: ignore[arg-type,func-returns-value]


def test_records_that_are_none_hold_up_nothing_else(log: transit.Log, clock: ManualClock) -> None:
    with runner(log, [counting(), failing(0)], clock=clock) as running:
        running.run_due()
        log.stream("$views/reconcilers/count").append(b"{}")
        log.stream("$views/ticks/fail").append(b"\xff")
        clock.advance(10)
        running.run_due()
        assert set(running.problems()) == {"count", "fail"}
        shown = {each.name: each.error for each in running.list()}
        assert "no definition" in shown["count"]
        assert "a tick" in shown["fail"]
    # Code that is started again says what holds.
    with runner(log, [counting()], clock=clock) as running:
        assert results(running.run_due()) == ["ok"]


def test_a_runner_in_a_thread_makes_ticks_until_it_is_closed(log: transit.Log) -> None:
    made = threading.Semaphore(0)

    @reconciler(every=0.1)
    def often(tick: Tick) -> None:
        tick.emit("ran")
        made.release()

    with runner(log, [often]) as running:
        running.start()
        for _ in range(3):
            assert made.acquire(timeout=60)
    count = len(running.ticks("often"))
    dues = [tick.due for tick in running.ticks("often")]
    assert count >= 3
    assert all((b - a) % (SECOND // 10) == 0 for a, b in itertools.pairwise(dues))
    assert not [t for t in threading.enumerate() if t.name == "transit-runner"]


def test_run_ends_at_its_time_when_it_is_stopped_and_with_the_store(
    path: object, log: transit.Log
) -> None:
    with runner(log, [counting()]) as running:
        running.run(until="2020-01-01T00:00Z")
        threading.Timer(0.05, running.stop).start()
        running.run()
    with runner(log, [counting()]) as running:
        threading.Timer(0.05, log.close).start()
        with pytest.raises(transit.ClosedError):
            running.run()


def test_closing_does_not_wait_for_ever_for_a_body(
    log: transit.Log, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("transit.views.loops.running"), "CLOSE_S", 0.05)
    entered, go_on, done = threading.Event(), threading.Event(), threading.Event()

    @reconciler(every=1.0)
    def stuck(tick: Tick) -> None:
        entered.set()
        go_on.wait(60)
        done.set()

    with runner(log, [stuck], clock=clock) as running:
        thread = threading.Thread(target=running.run_due, daemon=True)
        thread.start()
        entered.wait(60)
    go_on.set()
    done.wait(60)
    assert Reconcilers(log).ticks("stuck") == ()


def test_two_runners_of_one_process_make_each_tick_once(
    log: transit.Log, clock: ManualClock
) -> None:
    with runner(log, [counting()], clock=clock) as one:
        with runner(log, [counting()], clock=clock) as other:
            for _ in range(20):
                threads = [threading.Thread(target=each.run_due) for each in (one, other)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                clock.advance(10)
        ticks = one.ticks("count")
    assert [tick.n for tick in ticks] == list(range(20))
    assert [tick.kv.get("n") for tick in ticks] == list(range(1, 21))


def test_nothing_is_logged_by_a_runner_that_has_nothing_to_complain_of(
    log: transit.Log, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), runner(log, [failing(1)], clock=clock) as running:
        running.run_due()
    assert not [r for r in caplog.records if r.name.startswith("transit")]
    assert isinstance(running, Runner)
    assert running.list()[0].rule == Every(10 * SECOND)


def test_a_runner_that_saw_it_deleted_and_registered_again_begins_with_empty_state(
    log: transit.Log, clock: ManualClock
) -> None:
    made = counting()
    with runner(log, [made], clock=clock) as running:
        running.run_due()
        running.delete("count")
        Reconcilers(log, clock).register(made)
        (tick,) = running.run_due()
        assert (tick.n, tick.kv) == (2, {"n": 1})
