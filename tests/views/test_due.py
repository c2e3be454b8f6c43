"""Due times: intervals, rules in time zones, one-shots; what was missed; clocks set back."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from rigs.seeds import run_seed
from transit import InvalidInputError
from transit.views.loops.due import (
    SECOND,
    Cron,
    Every,
    ManualClock,
    Once,
    Rule,
    SystemClock,
    Wake,
    after,
    beyond,
    first,
    missed,
    moment_ns,
    moment_text,
    rule_of,
    settled,
)

pytest.importorskip("cronsim")

HOUR = 3600 * SECOND
START = moment_ns("2026-01-01T00:00Z")


def dues(rule: Rule, since: str, count: int) -> list[str]:
    found, due = [], first(rule, moment_ns(since))
    while due is not None and len(found) < count:
        found.append(moment_text(due)[:16])
        due = after(rule, due)
    return found


def test_intervals_are_added_to_due_times_without_drift() -> None:
    rule = Every(100_000_000)
    due = first(rule, START)
    assert due == START
    for _ in range(1_000):
        due = after(rule, due)
    assert due == START + 100 * SECOND


@pytest.mark.parametrize(
    ("start", "since", "expected"),
    [
        ("2026-01-01T06:00Z", "2026-01-01T00:00Z", "2026-01-01T06:00Z"),
        ("2026-01-01T06:00Z", "2026-01-01T06:00Z", "2026-01-01T06:00Z"),
        ("2020-01-01T06:00Z", "2026-01-01T00:30Z", "2026-01-01T06:00Z"),
        ("2020-01-01T06:00Z", "2026-01-01T06:00:00.000001Z", "2026-01-02T06:00Z"),
    ],
)
def test_an_interval_with_a_start_keeps_its_phase(start: str, since: str, expected: str) -> None:
    rule = rule_of(86_400, None, None, start=start)
    assert first(rule, moment_ns(since)) == moment_ns(expected)


def test_rules_are_due_after_a_time_and_not_at_it() -> None:
    rule = rule_of(None, "*/15 9-10 * * MON-FRI", None)
    assert dues(rule, "2026-01-02T09:30Z", 4) == [
        "2026-01-02T09:45", "2026-01-02T10:00", "2026-01-02T10:15", "2026-01-02T10:30",
    ]  # fmt: skip
    assert dues(rule, "2026-01-02T10:45Z", 1) == ["2026-01-05T09:00"]


# Clocks of Berlin go forward on 2026-03-29 at 02:00 and back on 2026-10-25 at 03:00.
@pytest.mark.parametrize(
    ("cron", "zone", "since", "expected"),
    [
        # A time that does not exist: the first minute that does, 03:00 CEST, once.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00Z",
         ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z",
         ["2026-03-29T01:00", "2026-03-30T00:00", "2026-03-30T00:30"]),
        # A time that comes twice: the first of them.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z",
         ["2026-10-25T00:30", "2026-10-26T01:30"]),
        # Begun between the two: not again.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45Z", ["2026-10-26T01:30"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:15Z", ["2026-10-26T01:30"]),
        # `*` follows real time: no hour is left out, none is due once.
        ("0 * * * *", "Europe/Berlin", "2026-10-24T23:30Z",
         ["2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T02:00"]),
        ("0 * * * *", "Europe/Berlin", "2026-03-29T00:30Z",
         ["2026-03-29T01:00", "2026-03-29T02:00"]),
        # A zone that left out a whole day: 2011-12-30 in Samoa.
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00Z",
         ["2011-12-30T10:00", "2012-12-29T22:00"]),
        # Leap days eight years apart.
        ("0 0 29 2 *", "UTC", "2096-03-01T00:00Z", ["2104-02-29T00:00"]),
        # Half-hour and 45-minute zones, and one that moves by two hours.
        ("50 3 * * *", "Pacific/Chatham", "2026-09-25T15:05Z",
         ["2026-09-26T14:05", "2026-09-27T14:05"]),
        ("50 3 * * *", "Pacific/Chatham", "2026-04-03T14:05Z",
         ["2026-04-04T15:05", "2026-04-05T15:05"]),
        ("0 23 * * *", "Antarctica/Troll", "2026-10-24T21:00Z",
         ["2026-10-25T23:00", "2026-10-26T23:00"]),
        ("30 1 * * *", "Australia/Lord_Howe", "2026-04-03T14:30Z",
         ["2026-04-04T14:30", "2026-04-05T15:00"]),
    ],
)  # fmt: skip
def test_times_that_are_left_out_or_come_twice_are_due_once(
    cron: str, zone: str, since: str, expected: list[str]
) -> None:
    assert dues(rule_of(None, cron, None, zone=zone), since, len(expected)) == expected


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu", "Europe/Dublin"])
@pytest.mark.parametrize("cron", ["7 * * * *", "*/20 1-3 * * *", "0 0 1 * MON", "15 1 * * SUN"])
def test_due_times_only_go_forward_and_what_was_missed_is_counted(cron: str, zone: str) -> None:
    seed = run_seed()
    print(f"TRANSIT_SEED={seed}")
    draw = random.Random(f"{seed}{cron}{zone}")
    rule = rule_of(None, cron, None, zone=zone)
    start = START + draw.randrange(300 * 86_400) * SECOND
    found = [due := first(rule, start)]
    while len(found) < 120:
        found.append(due := after(rule, due))
    assert all(before < later for before, later in pairwise(found))
    for _ in range(20):
        one, other = sorted(draw.sample(range(len(found)), 2))
        now = (
            found[other] + draw.randrange(found[other + 1] - found[other])
            if (other + 1 < len(found))
            else found[other]
        )
        assert missed(rule, found[one], now) == (other - one + 1, found[other])
        assert beyond(rule, found[one], now) == after(rule, found[other])


def test_many_missed_dues_of_a_rule_are_counted_up_to_a_limit_and_the_last_is_right() -> None:
    rule = rule_of(None, "* * * * *", None)
    now = START + 400 * 24 * HOUR + 30 * SECOND
    assert missed(rule, START, now) == (10_000, now - 30 * SECOND)


def test_missed_dues_of_an_interval_are_counted_however_many() -> None:
    assert missed(Every(SECOND), START, START + 10**9 * SECOND + 5) == (
        10**9 + 1, START + 10**9 * SECOND,
    )  # fmt: skip
    assert missed(Once(START), START, START + HOUR) == (1, START)
    assert after(Once(START), START) is None


def test_an_interval_does_not_wait_for_a_clock_that_was_set_back() -> None:
    rule, due = Every(10 * SECOND), START + 8 * HOUR
    before = due - 10 * SECOND
    assert settled(rule, due, before, START) == START
    assert settled(rule, due, before, due - 10 * SECOND) == due
    # Another machine's clock may be ahead of ours; our own was seen to be set back, or was not.
    assert settled(rule, due, before, due - HOUR) == due
    assert settled(rule, due, before, due - HOUR, slack=0) == due - HOUR
    # The first due may be as far ahead as it was meant to be.
    assert settled(rule, due, None, START) == due


def test_a_rule_goes_by_the_clock_again_only_when_it_was_corrected_by_hours() -> None:
    rule = rule_of(None, "0 * * * *", None)
    due = START + 9 * HOUR
    assert settled(rule, due, due - HOUR, START + 60 * SECOND) == START + HOUR
    back = due - HOUR - 120 * SECOND
    assert settled(rule, due, due - HOUR, back) == due, "a due within three hours is not repeated"


@pytest.mark.parametrize(
    "given",
    [
        {}, {"every": 1, "cron": "* * * * *"}, {"every": 0.05}, {"every": 0}, {"every": -1},
        {"every": float("nan")}, {"every": float("inf")}, {"every": True}, {"every": "1"},
        {"every": 367 * 86_400}, {"cron": "* * * *"}, {"cron": "* * * * * *"}, {"cron": ""},
        {"cron": "61 * * * *"}, {"cron": "0 0 31 2 *"}, {"cron": "* * */20 * 1L"},
        {"cron": "x" * 300}, {"cron": 5},
        {"cron": "* * * * *", "zone": "Mars/Base"}, {"cron": "* * * * *", "zone": "../etc"},
        {"cron": "* * * * *", "zone": ""}, {"cron": "* * * * *", "zone": "America"},
        {"at": "2026-12-01T02:00"}, {"at": "tomorrow"}, {"at": datetime(2026, 1, 1)},
        {"at": -1}, {"at": 2**63}, {"at": 1.5}, {"at": True},
        {"at": "2026-12-01T02:00Z", "start": START}, {"every": 1, "zone": "Europe/Berlin"},
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused(given: dict[str, object]) -> None:
    options = {key: given.pop(key) for key in ("zone", "start") if key in given}
    wanted = {"every": None, "cron": None, "at": None, **given}
    with pytest.raises(InvalidInputError):
        rule_of(**wanted, **options)  # type: ignore[arg-type]


def test_moments_are_text_datetimes_and_nanoseconds() -> None:
    expected = 1_796_090_400_000_000_000
    assert moment_ns("2026-12-01T02:00Z") == moment_ns("2026-12-01T03:00+01:00") == expected
    assert moment_ns(datetime(2026, 12, 1, 2, tzinfo=UTC)) == moment_ns(expected) == expected
    assert moment_text(expected + 1_500) == "2026-12-01T02:00:00.000001Z"
    assert rule_of(timedelta(minutes=1), None, None) == Every(60 * SECOND)
    assert rule_of(None, " 0  0 * * * ", None) == Cron("0 0 * * *")


def test_the_clock_for_tests_wakes_who_waits_when_it_goes_on() -> None:
    clock, wake = ManualClock(START), Wake()
    clock.wait(wake, START)
    waiting = threading.Thread(target=clock.wait, args=(wake, START + SECOND))
    waiting.start()
    while waiting.is_alive():
        clock.advance(1)
        # Its turn, or the clock runs for hours on a busy machine.
        waiting.join(0.01)
    assert clock.now() > START
    clock.advance(-3600)
    assert clock.now() < START + HOUR


def test_the_machines_clock_waits_until_it_is_woken_or_it_is_time() -> None:
    clock, wake = SystemClock(), Wake()
    clock.wait(wake, clock.now() - SECOND)
    clock.wait(wake, clock.now() + 1_000_000)
    wake.set()
    clock.wait(wake, None)
