"""Ticks: what a body keeps, says and appends is in one frame with its record, or nowhere."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import transit
from rigs.seeds import run_seed
from transit import InvalidInputError
from transit.views.loops.due import ManualClock
from transit.views.loops.reconcile import Reconciler, reconciler
from transit.views.loops.running import runner
from transit.views.loops.ticks import (
    ACTIONS_MAX,
    KV_BYTES_MAX,
    LINES_MAX,
    State,
    Tick,
    TickLostError,
    TickRecord,
)

Run = Callable[..., TickRecord]


@pytest.fixture
def run(log: transit.Log, clock: ManualClock) -> Run:
    """Makes one tick of a reconciler "r" with this body."""

    def once(body: Callable[[Tick], object]) -> TickRecord:
        with runner(log, [named(body)], clock=clock) as running:
            clock.advance(60)
            made = running.run_due()
            return made[-1]

    return once


def named(body: Callable[[Tick], object]) -> Reconciler:
    return reconciler(name="r", every=60.0)(body)


def test_lines_and_actions_are_in_the_history(run: Run, clock: ManualClock) -> None:
    def body(tick: Tick) -> None:
        tick.debug("a")
        clock.advance(1)
        tick.info("b")
        tick.warning("c")
        tick.error("d\ud800")
        tick.emit("push", commits=2, to=["x"], at=None)

    tick = run(body)
    assert [(line.level, line.text) for line in tick.lines] == [
        ("debug", "a"), ("info", "b"), ("warning", "c"), ("error", "d\\ud800"),
    ]  # fmt: skip
    assert tick.lines[1].at - tick.lines[0].at == 1_000_000_000
    assert [(action.name, action.fields) for action in tick.actions] == [
        ("push", {"commits": 2, "to": ["x"], "at": None})
    ]
    assert tick.result == "ok"


def test_too_much_is_counted_and_not_kept(run: Run) -> None:
    def body(tick: Tick) -> None:
        for number in range(LINES_MAX + 5):
            tick.info("x" * 3_000 if not number else "y")
        for _ in range(ACTIONS_MAX + 2):
            tick.emit("a")
        tick.emit("large", data="x" * 5_000)

    tick = run(body)
    assert (len(tick.lines), len(tick.actions), tick.cut) == (LINES_MAX, ACTIONS_MAX, 8)
    assert len(tick.lines[0].text) == 1_000
    assert tick.lines[0].text.endswith("…")


def test_what_a_failed_tick_said_is_kept_and_what_it_did_is_not(log: transit.Log, run: Run) -> None:
    stream = log.create("s")

    def body(tick: Tick) -> None:
        tick.kv["x"] = 1
        tick.batch.append(stream, b"never")
        tick.info("said")
        raise LookupError("gone")

    tick = run(body)
    assert (tick.result, tick.kv, tick.lines[0].text) == ("failed", {}, "said")
    assert len(stream) == 0


def test_the_batch_the_state_and_the_record_are_one_frame(log: transit.Log, run: Run) -> None:
    stream = log.create("s")

    def body(tick: Tick) -> None:
        tick.batch.append(stream, b"a", expect=0)
        made = tick.batch.create("made")
        tick.batch.append(made, b"b")
        tick.batch.finish(stream)
        tick.kv["x"] = 1
        tick.noop()

    tick = run(body)
    assert (tick.result, tick.kv) == ("ok", {"x": 1}), "it is no noop: it appended"
    record = log.stream("$views/ticks/r")[tick.n]
    assert {record.written, stream[0].written} == {log.stream("made")[0].written}
    assert stream.finished


def test_a_condition_of_the_body_that_does_not_hold_fails_the_tick(
    log: transit.Log, run: Run
) -> None:
    stream = log.create("s")

    def body(tick: Tick) -> None:
        tick.kv["x"] = 1
        tick.batch.append(stream, b"a", expect=5)

    tick = run(body)
    assert (tick.result, tick.kv, tick.failures) == ("failed", {}, 1)
    assert "condition" in tick.error
    log.stream("s").finish()
    tick = run(lambda tick: tick.batch.append(stream, b"a"))
    assert tick.error.startswith("StreamFinishedError: ")
    assert tick.failures == 2


def test_a_tick_that_another_runner_made_is_lost_with_all_it_did(
    path: Path, clock: ManualClock
) -> None:
    told: list[str] = []
    # By this clock every claim of the first has ended.
    ahead = ManualClock("2026-01-01T01:00Z")

    def other(tick: Tick) -> None:
        tick.kv["who"] = "other"

    def body(tick: Tick) -> None:
        tick.kv["who"] = "one"
        tick.batch.append("s", b"one")
        tick.check()
        with runner(elsewhere, [named(other)], clock=ahead) as second:
            assert second.tick("r").n == tick.n
        try:
            tick.check()
        except TickLostError as error:
            told.append(str(error))

    with (
        transit.open(path, mode="shared", durability="os") as log,
        transit.open(path, mode="shared", durability="os") as elsewhere,
        runner(log, [named(body)], clock=clock) as first,
    ):
        log.create("s")
        assert first.run_due() == []
        ahead.advance(3_600)
        with pytest.raises(TickLostError, match="tick 1 was made by another runner"):
            first.tick("r")
        assert first.problems() == {}
        ticks = first.ticks("r")
        assert [tick.kv for tick in ticks] == [{"who": "other"}, {}]
        assert len(log.stream("s")) == 0
    assert told[0] == "r: tick 0 was made by another runner"


def test_a_key_is_the_same_for_a_tick_that_is_tried_again(
    log: transit.Log, clock: ManualClock
) -> None:
    keys = []

    def body(tick: Tick) -> None:
        keys.append((tick.key, tick.attempt, tick.due))
        if len(keys) == 1:
            raise TickLostError("let go")

    with runner(log, [named(body)], clock=clock) as running:
        running.run_due()
        clock.advance(1)
        running.run_due()
        clock.advance(60)
        running.run_due()
    assert [key for key, *_ in keys] == ["r/0", "r/0", "r/1"]
    assert repr(Tick(log, "r", 3, None, attempt=1, skipped=0, kv=State({}), now=clock.now,
                     check=lambda: None)) == "<views.Tick 3 of 'r'>"  # fmt: skip


# Key-value state


def test_state_is_folded_from_the_ticks_whatever_it_went_through(
    log: transit.Log, clock: ManualClock
) -> None:
    seed = run_seed()
    print(f"TRANSIT_SEED={seed}")
    wrong: list[object] = []
    draw, model = random.Random(seed), {}  # type: random.Random, dict[str, object]

    def body(tick: Tick) -> None:
        if dict(tick.kv) != model:
            wrong.append((tick.n, dict(tick.kv), dict(model)))
        if draw.random() < 0.2:
            raise ValueError("nothing of it")
        for _ in range(draw.randrange(4)):
            key = f"k{draw.randrange(8)}"
            if draw.random() < 0.3:
                model.pop(key, None)
                tick.kv.pop(key, None)
            else:
                value = draw.choice([None, True, 1, 2.5, "ü", [1, [2]], {"a": {"b": []}}])
                model[key] = tick.kv[key] = value

    for _ in range(12):
        with runner(log, [named(body)], clock=clock) as running:
            for _ in range(draw.randrange(1, 40)):
                clock.advance(61)
                running.run_due()
    assert wrong == []
    ticks = log.stream("$views/ticks/r")
    whole = [record.offset for record in ticks
             if msgspec.json.decode(record.payload).get("kv_from", 0) == record.offset]  # fmt: skip
    assert all(later - before <= 65 for before, later in itertools.pairwise(whole))
    assert len(whole) > 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a", float("nan")), ("a", (1, 2)), ("a", {1: 2}), ("a", {1, 2}), ("a", b"x"),
        ("a", object()), ("a", "\ud800"), ("a", "x" * KV_BYTES_MAX),
        ("", 1), ("x" * 257, 1), (5, 1), ("\ud800", 1),
    ],
)  # fmt: skip
def test_what_would_not_come_back_is_refused(key: object, value: object) -> None:
    state = State({"z": b"1"})
    with pytest.raises(InvalidInputError):
        state[key] = value  # type: ignore[index]
    assert dict(state) == {"z": 1}
    assert (state.changed(), state.gone(), len(state)) == ({}, (), 1)


def test_a_value_that_is_changed_in_place_is_not_kept(run: Run) -> None:
    def body(tick: Tick) -> None:
        tick.kv.setdefault("list", [])
        tick.kv["list"].append(1)  # type: ignore[attr-defined]

    assert run(body).kv == {"list": []}


def test_fields_that_are_no_json_are_refused(run: Run) -> None:
    tick = run(lambda tick: tick.emit("a", x=object()))
    assert (tick.result, tick.error.partition(":")[0]) == ("failed", "InvalidInputError")


def test_a_body_whose_error_cannot_be_told_fails_all_the_same(run: Run) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    def body(tick: Tick) -> None:
        raise Mute

    assert run(body).error.startswith("Mute (test_ticks.py:")
