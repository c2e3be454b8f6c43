"""Runners of one process: a body is run by one of them at a time, and each tick's once."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from rigs.server.serving import Serving
from transit.views.loops import seats
from transit.views.loops.due import ManualClock, Wake
from transit.views.loops.reconcile import Reconciler, reconciler
from transit.views.loops.running import Runner, runner
from transit.views.loops.ticks import Tick, TickLostError

WAIT_S = 60


class Gate:
    """A body that says that it has begun, and goes on when it is let."""

    def __init__(self) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.bodies: list[int] = []

    def __call__(self, tick: Tick) -> None:
        self.bodies.append(tick.n)
        # Only the first waits: a second that runs at the same time is seen, and hangs nothing.
        if len(self.bodies) == 1:
            self.entered.set()
            assert self.go_on.wait(WAIT_S)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.go_on.set()


def named(body: Callable[[Tick], object], name: str = "r", **options: Any) -> Reconciler:
    return reconciler(name=name, **{"every": 10.0, **options})(body)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def begun(gate: Gate, work: Callable[[], object]) -> threading.Thread:
    """A thread that does it, once the body has begun."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert gate.entered.wait(WAIT_S)
    return thread


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_a_body_is_not_run_by_two_runners_of_one_process(
    path: Path, clock: ManualClock, gate: Gate, mode: Any
) -> None:
    made = named(gate)
    with (
        transit.open(path, mode=mode, durability="os") as log,
        runner(log, [made], clock=clock) as one,
        runner(log, [made], clock=clock) as two,
    ):
        thread = begun(gate, one.run_due)
        assert two.run_due() == []
        with pytest.raises(TickLostError, match="another runner has it"):
            two.tick("r")
        assert gate.bodies == [0]
        gate.go_on.set()
        thread.join(WAIT_S)
        assert [tick.runner for tick in two.ticks("r")] == [one.id]
        clock.advance(40)
        # Whoever comes first makes the next.
        assert [tick.n for tick in two.run_due()] == [1]
        assert one.run_due() == []
    assert gate.bodies == [0, 1]


def test_over_one_connection_too(path: Path, clock: ManualClock, gate: Gate) -> None:
    made = named(gate)
    with transit.open(path, durability="os") as opened:
        serving = Serving(opened)
        try:
            with (
                transit.connect(serving.url, timeout_s=WAIT_S) as log,
                runner(log, [made], clock=clock) as one,
                runner(log, [made], clock=clock) as two,
            ):
                thread = begun(gate, one.run_due)
                assert two.run_due() == []
                with pytest.raises(TickLostError, match="another runner has it"):
                    two.tick("r")
                gate.go_on.set()
                thread.join(WAIT_S)
                assert len(two.ticks("r")) == 1
        finally:
            gate.go_on.set()
            serving.close()
    assert gate.bodies == [0]


def test_two_handles_of_one_process_go_by_the_claim_in_the_log(
    path: Path, clock: ManualClock, gate: Gate
) -> None:
    made = named(gate)
    with (
        transit.open(path, mode="shared", durability="os") as log,
        transit.open(path, mode="shared", durability="os") as other,
        runner(log, [made], clock=clock) as one,
        runner(other, [made], clock=clock) as two,
    ):
        thread = begun(gate, one.run_due)
        assert two.run_due() == []
        with pytest.raises(TickLostError, match="another runner has it"):
            two.tick("r")
        gate.go_on.set()
        thread.join(WAIT_S)
    assert gate.bodies == [0]


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_runners_in_threads_run_each_body_once(path: Path, clock: ManualClock, mode: Any) -> None:
    bodies: list[int] = []
    made = named(lambda tick: bodies.append(tick.n))
    with (
        transit.open(path, mode=mode, durability="os") as log,
        runner(log, [made], clock=clock) as one,
        runner(log, [made], clock=clock) as two,
        runner(log, [made], clock=clock) as three,
    ):
        for _ in range(30):
            together = threading.Barrier(3)

            def due(each: Runner, together: threading.Barrier = together) -> None:
                together.wait(WAIT_S)
                each.run_due()

            threads = [threading.Thread(target=due, args=(each,)) for each in (one, two, three)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(WAIT_S)
            clock.advance(10)
    assert bodies == list(range(30))


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_the_tick_is_looked_for_again_once_it_can_be_made(
    path: Path, clock: ManualClock, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another runner makes it, and gives up its claim, after this one has seen that it is due."""
    bodies: list[int] = []
    made = named(lambda tick: bodies.append(tick.n))
    with (
        transit.open(path, mode=mode, durability="os") as log,
        runner(log, [made], clock=clock) as late,
    ):
        loop = late._loops["r"]
        plan = loop.plan

        def planned(now: int) -> object:
            found = plan(now)
            monkeypatch.undo()
            with runner(log, [made], clock=clock) as quick:
                assert len(quick.run_due()) == 1
            return found

        monkeypatch.setattr(loop, "plan", planned)
        assert late.run_due() == []
    assert bodies == [0]


def test_dues_that_nothing_is_written_for_are_answered_once(
    log: transit.Log, clock: ManualClock
) -> None:
    bodies: list[int | None] = []
    quiet = True

    def idle(tick: Tick) -> None:
        bodies.append(tick.due)
        if quiet:
            tick.noop()

    made = named(idle)
    with runner(log, [made], clock=clock) as one, runner(log, [made], clock=clock) as two:
        for number in range(12):
            first, second = (one, two) if number % 3 else (two, one)
            assert (len(first.run_due()), second.run_due()) == (1, [])
            clock.advance(10)
        quiet = False
        (tick,) = two.run_due()
        assert (tick.n, tick.noops, tick.skipped) == (0, 12, 0)
    assert len(set(bodies)) == len(bodies) == 13


def test_what_was_answered_is_known_after_both_runners_are_closed(
    log: transit.Log, clock: ManualClock
) -> None:
    made = named(lambda tick: tick.noop())
    with runner(log, [made], clock=clock) as one, runner(log, [made], clock=clock) as two:
        for each in (one, two, one, one, two):
            assert len(each.run_due()) == 1
            clock.advance(10)
        assert len(one.run_due()) == 1
    with runner(log, [made], clock=clock) as three:
        assert three.run_due() == []


def test_one_that_is_kept_out_is_told_and_does_not_look_all_the_time(
    log: transit.Log, clock: ManualClock, gate: Gate
) -> None:
    made = named(gate)
    with runner(log, [made], clock=clock) as one, runner(log, [made], clock=clock) as two:
        thread = begun(gate, one.run_due)
        # Asked for meanwhile: `one` does not look again, so this is the other's.
        two.ask("r")
        assert two.run_due() == []
        loop = two._loops["r"]
        assert loop.is_kept_out
        assert (loop.look_at(clock.now()) or 0) > clock.now()
        two.start()
        gate.go_on.set()
        thread.join(WAIT_S)
        until(lambda: len(two.ticks("r")) == 2)
        assert [tick.runner for tick in two.ticks("r")] == [one.id, two.id]
    assert gate.bodies == [0, 1]


def test_a_tick_whose_body_has_ended_is_waited_for(
    log: transit.Log, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be seen in the log a moment before its runner lets others have the next."""
    written, go_on = threading.Event(), threading.Event()
    made = named(lambda tick: tick.info("x"))
    found: list[int] = []
    with runner(log, [made], clock=clock) as one, runner(log, [made], clock=clock) as two:
        loop = one._loops["r"]
        write = loop._write

        def slowly(*given: Any) -> None:
            write(*given)
            written.set()
            assert go_on.wait(WAIT_S)

        monkeypatch.setattr(loop, "_write", slowly)
        first = threading.Thread(target=one.run_due, daemon=True)
        first.start()
        assert written.wait(WAIT_S)
        assert len(two.ticks("r")) == 1
        second = threading.Thread(target=lambda: found.append(two.tick("r").n), daemon=True)
        second.start()
        until(lambda: bool(loop.seat._told))
        go_on.set()
        first.join(WAIT_S)
        second.join(WAIT_S)
    assert found == [1]


def test_a_body_that_never_ends_keeps_others_away_for_as_long_as_a_claim_lasts(
    log: transit.Log, clock: ManualClock, gate: Gate
) -> None:
    told: list[str] = []

    def stuck(tick: Tick) -> None:
        gate(tick)
        try:
            tick.check()
        except TickLostError as error:
            told.append(str(error))

    made = named(stuck, timeout=5.0)
    with runner(log, [made], clock=clock) as one, runner(log, [made], clock=clock) as two:
        thread = begun(gate, one.run_due)
        clock.advance(5)
        thread.join(WAIT_S)
        assert [tick.result for tick in two.ticks("r")] == ["timeout"]
        clock.advance(20)
        assert (one.run_due(), two.run_due()) == ([], [])
        clock.advance(11)
        assert [tick.n for tick in two.run_due()] == [1]
        # What ends late lets nobody in beside one that has begun since.
        seat = two._loops["r"].seat
        hold = seat.take(clock.now(), two._hear_seat)
        assert hold is not None
        gate.go_on.set()
        until(lambda: bool(told))
        until(lambda: not (one.run_due() or one._loops["r"]._is_busy()))
        assert seat.has(hold)
        seat.give_up(hold)
    assert told[0] == "r: tick 0 has ended without its body"
    assert gate.bodies == [0, 1]


def test_a_runner_that_nobody_steps_keeps_others_away_until_its_claim_would_have_ended(
    log: transit.Log, clock: ManualClock, gate: Gate
) -> None:
    told: list[str] = []

    def slow(tick: Tick) -> None:
        gate(tick)
        try:
            tick.check()
        except TickLostError as error:
            told.append(str(error))

    made = named(slow, timeout=5.0)
    with runner(log, [made], clock=clock) as one, runner(log, [made], clock=clock) as two:
        with one._lock:
            # Begun, and never looked at again.
            one._step()
        assert gate.entered.wait(WAIT_S)
        clock.advance(34)
        assert two.run_due() == []
        clock.advance(1)
        assert len(two.run_due()) == 1
        gate.go_on.set()
        until(lambda: bool(told))
    assert told == ["r: tick 0 was made by another runner", *told[1:]]


# Bodies inside bodies


@pytest.mark.parametrize("how", ["itself", "thread", "other", "due", "round"])
def test_a_body_that_would_wait_for_itself_is_told_so(
    log: transit.Log, clock: ManualClock, how: str
) -> None:
    def body(tick: Tick) -> None:
        if how == "thread":
            asyncio.run(asyncio.to_thread(running.tick, "r"))
        elif how == "due":
            running.run_due()
        else:
            {"itself": running, "other": other, "round": running}[how].tick(
                "s" if how == "round" else "r"
            )

    def back(tick: Tick) -> None:
        other.tick("r")

    made = [named(body), named(back, "s", start="2030-01-01T00:00Z")]
    with runner(log, made, clock=clock) as running, runner(log, made, clock=clock) as other:
        ended = [tick for tick in running.run_due() if tick.n == 0]
        assert {tick.result for tick in ended} <= {"failed", "ok"}
        errors = [tick.error for name in ("r", "s") for tick in running.ticks(name)]
        assert sum(error.startswith("ReentrantCallError: r: ") for error in errors) == 1
        assert [tick.n for tick in running.ticks("r")] == [0]


def test_a_call_in_the_middle_of_another_of_its_thread_is_refused(
    log: transit.Log, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a signal handler makes it: between having the seat and beginning the tick."""
    made = named(lambda tick: None)
    with runner(log, [made], clock=clock) as running, runner(log, [made], clock=clock) as other:
        loop = running._loops["r"]
        refresh, tried = loop.refresh, list[str]()

        def interrupted() -> None:
            refresh()
            if loop.seat._hold is not None and not tried:
                tried.append("begun")
                for call in (other.run_due, lambda: other.tick("r"), lambda: running.tick("r")):
                    with pytest.raises(transit.ReentrantCallError, match="middle of another"):
                        call()
                    tried.append("refused")

        loop._number = -1
        monkeypatch.setattr(loop, "refresh", interrupted)
        assert [tick.n for tick in running.run_due()] == [0]
        assert len(tried) == 4


def test_two_bodies_that_would_wait_for_each_other_are_told_so(
    log: transit.Log, clock: ManualClock
) -> None:
    both = threading.Barrier(2)

    def asks(name: str) -> Callable[[Tick], object]:
        def body(tick: Tick) -> None:
            if tick.n == 0:
                both.wait(WAIT_S)
                running.tick(name)

        return body

    made = [named(asks("s")), named(asks("r"), "s")]
    with runner(log, made, clock=clock) as running:
        running.run_due()
        ticks = {name: running.ticks(name) for name in ("r", "s")}
    first = [ticks[name][0] for name in ("r", "s")]
    assert sorted(tick.result for tick in first) == ["failed", "ok"]
    (error,) = (tick.error for tick in first if tick.error)
    assert error.startswith("ReentrantCallError")
    # The one that waited had its tick.
    assert sorted(map(len, ticks.values())) == [1, 2]


def test_a_body_may_ask_for_ticks_of_others_though_there_is_one_thread(
    log: transit.Log, clock: ManualClock
) -> None:
    found: list[str] = []

    def outer(tick: Tick) -> None:
        found.extend(running.tick(name).result for name in ("s", "s"))

    def inner(tick: Tick) -> None:
        running.tick("t")

    later = "2030-01-01T00:00Z"
    made = [
        named(outer), named(inner, "s", start=later), named(lambda tick: None, "t", start=later),
    ]  # fmt: skip
    with runner(log, made, clock=clock, threads=1) as running:
        assert [tick.result for tick in running.run_due() if tick.due is not None] == ["ok"]
        assert found == ["ok", "ok"]
        assert [len(running.ticks(name)) for name in ("r", "s", "t")] == [1, 2, 2]


# Ends of processes, stores and runners


def test_a_child_is_not_kept_out_by_what_its_parent_had_begun(
    log: transit.Log, clock: ManualClock
) -> None:
    seat = seats.seat_of(log, "r")
    assert seat.take(clock.now(), Wake().set) is not None
    with seats._lock:
        child = os.fork()
        if not child:
            try:
                mine = seats.seat_of(log, "r")
                first = seat.take(clock.now(), Wake().set) is not None
                fresh = mine is not seat and mine.take(clock.now(), Wake().set) is not None
                os._exit(0 if first and fresh else 1)
            finally:
                os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert seat.take(clock.now(), Wake().set) is None


def test_a_seat_keeps_neither_stores_nor_runners(path: Path, clock: ManualClock) -> None:
    made = named(lambda tick: None)
    gone: list[weakref.ref[object]] = []

    def work() -> None:
        with transit.open(path, durability="os") as log:
            with runner(log, [made], clock=clock) as one, runner(log, [made], clock=clock) as two:
                one.run_due()
                seat = seats.seat_of(log, "r")
                hold = seat.take(clock.now(), one._hear_seat)
                assert two._loops["r"].seat is seat
                # Kept out, and told when it is free: no reason to keep it.
                assert seat.take(clock.now(), two._hear_seat) is None
                assert hold is not None
            gone.extend((weakref.ref(log), weakref.ref(two), weakref.ref(seat)))

    before = len(seats._seats)
    work()
    gc.collect()
    assert [each() for each in gone] == [None, None, None]
    assert len(seats._seats) <= before


def test_closing_a_store_or_a_runner_lets_go_of_one_that_waits(
    path: Path, clock: ManualClock, gate: Gate
) -> None:
    made = named(gate)
    raised: list[BaseException] = []
    log = transit.open(path, durability="os")
    with runner(log, [made], clock=clock) as one, runner(log, [made], clock=clock) as two:
        thread = begun(gate, one.run_due)
        two.start()
        two.close()
        three = runner(log, [made], clock=clock).__enter__()

        def run() -> None:
            try:
                three.run()
            except transit.ClosedError as error:
                raised.append(error)

        waits = threading.Thread(target=run, daemon=True)
        waits.start()
        until(lambda: three._loops["r"].is_kept_out)
        log.close()
        three._wake_all()
        waits.join(WAIT_S)
        three.close()
        gate.go_on.set()
        thread.join(WAIT_S)
    assert len(raised) == 1
    assert gate.bodies == [0]
