"""Contests against the clock: what `transit` does, beside the least that does the same.

Owns how `transit bench` measures. Contestants take turns in rounds, the first of a pair being the
second in the next round, so that a disk that is slow for a while is slow for both. A round's ratio
is of that round's two turns; the median of the rounds is shown. What comes before a call and
after a turn is not timed. What the contestants do is `contests`' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Final, NamedTuple

import msgspec

# Fewer calls have no 99th percentile.
P99_CALLS_MIN: Final = 100


def _nothing() -> None:
    return


class Contestant(NamedTuple):
    """A call to be timed. `before` each timing and `after` the turn something else may be done.

    group: calls a timing; more than one where reading the clock would take as long as the call.
    """

    name: str
    call: Callable[[], object]
    group: int = 1
    before: Callable[[], object] = _nothing
    after: Callable[[], object] = _nothing


class Contest(NamedTuple):
    """Two contestants for one task. A call handles `records` records, `size` bytes in all.

    calls_max: the most calls of one turn, however fast they are. single: whether the time of a
    single call is worth showing.
    """

    task: str
    ours: Contestant
    raw: Contestant
    records: int
    size: int
    calls_max: int
    single: bool = True


class Turn(NamedTuple):
    """One turn: how many calls, the seconds of all of them, and of each timing."""

    calls: int
    seconds: float
    each: Sequence[float]

    @property
    def call_s(self) -> float:
        """Mean seconds of a call."""
        return self.seconds / self.calls


class Measured(msgspec.Struct, frozen=True):
    """What a contest came to; medians of the rounds, times in seconds.

    times_raw: our time for the same work, in times of the raw one's. p50_s, p99_s: of single calls
    of all rounds; None where calls were not timed one by one, p99_s also where they were too few.
    """

    task: str
    mode: str
    times_raw: float
    records_per_s: float
    bytes_per_s: float
    p50_s: float | None
    p99_s: float | None
    raw: str
    raw_records_per_s: float
    raw_bytes_per_s: float
    raw_p50_s: float | None
    raw_p99_s: float | None
    records_per_call: int
    bytes_per_call: int
    calls: int
    raw_calls: int
    rounds: int


def measure(
    contests: Sequence[Contest],
    rounds: int,
    end: float,
    report: Callable[[int, Contest], None],
) -> list[Measured]:
    """Hold all contests in `rounds` rounds until about `end`, a reading of `perf_counter`.

    Later turns use the time that a fast turn left over. Each turn makes at least one timing.
    """
    pairs: list[list[tuple[Turn, Turn]]] = [[] for _ in contests]
    turns_left = 2 * rounds * len(contests)
    for number in range(rounds):
        for contest, pair in zip(contests, pairs, strict=True):
            report(number, contest)
            both = (contest.ours, contest.raw)
            done = {}
            for contestant in both if number % 2 == 0 else reversed(both):
                seconds = max(0.0, end - perf_counter()) / turns_left
                done[contestant] = take_turn(contestant, seconds, contest.calls_max)
                turns_left -= 1
            pair.append((done[contest.ours], done[contest.raw]))
    return [_summary(contest, pair) for contest, pair in zip(contests, pairs, strict=True)]


def take_turn(contestant: Contestant, seconds: float, calls_max: int) -> Turn:
    """Call for so many seconds, or until there were `calls_max` calls; one timing at least."""
    call, group = contestant.call, contestant.group
    each: list[float] = []
    end = perf_counter() + seconds
    while not each or (len(each) * group < calls_max and perf_counter() < end):
        contestant.before()
        start = perf_counter()
        for _ in range(group):
            call()
        each.append(perf_counter() - start)
    contestant.after()
    return Turn(len(each) * group, sum(each), each)


def _summary(contest: Contest, pairs: Sequence[tuple[Turn, Turn]]) -> Measured:
    ours, raws = zip(*pairs, strict=True)
    ours_s, raw_s = (median(turn.call_s for turn in turns) for turns in (ours, raws))
    p50_s, p99_s = _percentiles(contest, contest.ours, ours)
    raw_p50_s, raw_p99_s = _percentiles(contest, contest.raw, raws)
    return Measured(
        task=contest.task,
        mode=contest.ours.name,
        times_raw=median(our.call_s / raw.call_s for our, raw in pairs),
        records_per_s=contest.records / ours_s,
        bytes_per_s=contest.size / ours_s,
        p50_s=p50_s,
        p99_s=p99_s,
        raw=contest.raw.name,
        raw_records_per_s=contest.records / raw_s,
        raw_bytes_per_s=contest.size / raw_s,
        raw_p50_s=raw_p50_s,
        raw_p99_s=raw_p99_s,
        records_per_call=contest.records,
        bytes_per_call=contest.size,
        calls=sum(turn.calls for turn in ours),
        raw_calls=sum(turn.calls for turn in raws),
        rounds=len(pairs),
    )


def _percentiles(
    contest: Contest, contestant: Contestant, turns: Sequence[Turn]
) -> tuple[float | None, float | None]:
    if contestant.group > 1 or not contest.single:
        return None, None
    each = sorted(took for turn in turns for took in turn.each)
    p99_s = each[len(each) * 99 // 100] if len(each) >= P99_CALLS_MIN else None
    return median(each), p99_s
