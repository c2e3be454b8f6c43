"""All contests, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.contests.agents import AgentWork, TracedAgentWork
from benchmarks.contests.append import AppendBatches, AppendOne
from benchmarks.contests.contest import Contest
from benchmarks.contests.fork import Fork
from benchmarks.contests.read import RandomRead, ReplayColumns, ReplayObjects
from benchmarks.contests.size import Size
from benchmarks.contests.tail import Tail

ContestMaker = Callable[[], Contest]

ALL: tuple[ContestMaker, ...] = (
    partial(AppendBatches, "buffered", 1_000, 400_000),
    partial(AppendBatches, "durable", 100, 40_000),
    partial(AppendOne, "buffered", 1, 100_000),
    partial(AppendOne, "durable", 1, 2_000),
    partial(AppendOne, "durable", 8, 8_000),
    ReplayObjects,
    ReplayColumns,
    RandomRead,
    partial(Fork, "fork-10k", 10_000),
    partial(Fork, "fork-1m", 1_000_000),
    partial(Tail, 50),
    partial(Tail, 99),
    Size,
    TracedAgentWork,
    AgentWork,
)


def contests(starts: Sequence[str] = ()) -> list[ContestMaker]:
    """Those whose names start with one of `starts`; all with none."""
    wanted = tuple(starts) or ("",)
    return [make for make in ALL if make().facts.name.startswith(wanted)]
