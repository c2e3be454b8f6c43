"""Where a stream was at a time: what the search finds, beside what looking at each record finds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from transit.engine import times
from transit.log import clock, writer

SMALL = transit.Settings(seal_bytes=4096, block_bytes=4096)
SECOND = 10**9


class Machine:
    """The machine's clock, in the hands of the test."""

    def __init__(self) -> None:
        self.now = 1_000 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    for module in (clock, writer):
        monkeypatch.setattr(module, "time_ns", made)
    return made


@pytest.fixture
def log(machine: Machine, path: Path) -> Iterator[transit.Log]:
    with transit.open(path, durability="os", settings=SMALL) as opened:
        yield opened


def lived(
    log: transit.Log, machine: Machine, steps: tuple[int, ...]
) -> dict[transit.Position, int]:
    """Streams of each kind, written while the clock goes on, and set by `steps` in between.

    When each record was written, as far as it is believed: never later than one after it.
    """
    choice = random.Random(11)
    streams = [log.create("a"), log.create("b")]
    order: list[transit.Position] = []
    for turn, step in enumerate(steps):
        for _ in range(60):
            machine.now += choice.randrange(3) * SECOND
            stream = choice.choice(streams)
            made = stream.append_many([b"x" * 20] * choice.randrange(1, 4), timestamps=None)
            order += [transit.Position(stream.name, at) for at in range(made.first, made.last + 1)]
        streams.append(choice.choice(streams).branch(f"branch-{turn}"))
        machine.now += step
        if turn % 2:
            log.seal()
    merged = log.merge("merged", streams[1:4], policy="interleave")
    order.append(transit.Position("merged", merged.append(b"last").offset))
    believed: dict[transit.Position, int] = {}
    latest = 2**63
    for stream_name, offset in reversed(order):
        latest = min(latest, log.stream(stream_name)[offset].written)
        believed[transit.Position(stream_name, offset)] = latest
    return believed


def check_all(log: transit.Log, when: dict[transit.Position, int]) -> None:
    for stream in log.streams():
        seen = [when[record.origin] for record in stream]
        for time in sorted({each + more for each in seen for more in (-1, 0, 1)}):
            found = next((at for at, each in enumerate(seen) if each >= time), len(seen))
            assert stream.offset_at(time) == found, (stream.name, time)


STEPS = {
    "on": (0, 5 * SECOND, 0, 100 * SECOND, 0, 0),
    "held": (-10 * SECOND, 0, -30 * SECOND, 0, -59 * SECOND, 0),
    "back": (0, -200 * SECOND, 0, -90 * SECOND, 500 * SECOND, -300 * SECOND),
}


@pytest.mark.slow
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_the_search_finds_what_looking_at_each_record_finds(
    log: transit.Log, machine: Machine, steps: tuple[int, ...]
) -> None:
    when = lived(log, machine, steps)
    check_all(log, when)
    assert len(set(when.values())) > 20
    log.seal()
    check_all(log, when)
    with transit.open(log.path, mode="read") as reader:
        check_all(reader, when)


def test_before_all_after_all_and_of_nothing(log: transit.Log, machine: Machine) -> None:
    stream = log.create("a")
    assert (stream.offset_at(0), stream.offset_at(2**63 - 1)) == (0, 0)
    stream.append_many([b"x"] * 3)
    assert stream.offset_at(-(2**63)) == 0
    assert stream.offset_at(machine.now) == 0
    assert stream.offset_at(machine.now + 1) == 3


def test_the_users_timestamps_say_nothing(log: transit.Log, machine: Machine) -> None:
    stream = log.create("a")
    stream.append(b"0", timestamp=5 * machine.now)
    machine.now += 10
    stream.append(b"1", timestamp=3)
    assert stream.offset_at(machine.now) == 1


def test_records_not_written_yet_are_found(log: transit.Log, machine: Machine) -> None:
    stream = log.create("a")
    stream.append(b"0", durability="memory")
    assert stream.offset_at(machine.now) == 0
    assert stream.offset_at(machine.now + 1) == 1


@pytest.mark.parametrize("time", [1.5, "now", None, True])
def test_a_time_is_a_number_of_nanoseconds(log: transit.Log, time: object) -> None:
    with pytest.raises(transit.InvalidInputError, match="nanoseconds"):
        log.create("a").offset_at(time)  # type: ignore[arg-type]


def believe_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "believed", lambda files, now: [last for _, last in files])


def ask_the_first_span_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    right = times.spans_between
    monkeypatch.setattr(times, "spans_between", lambda *at: list(right(*at))[:1])


def forget_where_a_span_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    place_in = times._Search._place_in
    monkeypatch.setattr(
        times._Search,
        "_place_in",
        lambda search, chunk, start, _: place_in(search, chunk, start, 2**63),
    )


@pytest.mark.parametrize(
    "plant",
    [believe_every_time, ask_the_first_span_alone, forget_where_a_span_ends],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_mistake_is_found(
    log: transit.Log,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        test_the_search_finds_what_looking_at_each_record_finds(log, machine, STEPS["back"])


@pytest.mark.parametrize("durability", ["memory", "os"])
def test_a_clock_past_what_the_format_holds_gives_the_latest_time(
    log: transit.Log, machine: Machine, durability: str
) -> None:
    stream = log.create("a")
    machine.now = 2**63 + 7
    stream.append(b"0", durability=durability)
    stream.append_many([b"1", b"2"], durability=durability)
    log.seal()
    stream.append(b"3", durability=durability)
    assert {record.written for record in stream} == {2**63 - 1}
    assert {record.timestamp for record in stream} == {2**63 - 1}
    machine.now = 2_000 * SECOND
    stream.append(b"4", durability=durability)
    assert stream[4].written == machine.now
    assert log.verify().ok
