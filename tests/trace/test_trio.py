"""Programs that run under trio: recorded, and replayed though trio shuffles who comes first."""

from __future__ import annotations

from typing import Any

import pytest

import transit
from transit import trace

trio: Any = pytest.importorskip("trio", reason="programs under trio need trio")

TIMES = 20


class Agent:
    """A program that calls functions at once, and what it saw. calls: how often one really ran."""

    def __init__(self) -> None:
        self.calls = 0
        self.seen: list[object] = []

    def recorded(self, name: str) -> Any:
        @trace.recorded(name)
        async def call(n: int, seconds: float = 0.0) -> int:
            self.calls += 1
            await trio.sleep(seconds)
            if n < 0:
                raise ValueError(n)
            return n * 10

        return call

    async def together(self) -> None:
        """Tasks of one nursery, which note what they get as it comes."""
        fetch = self.recorded("fetch")

        async def one(n: int) -> None:
            self.seen.append(await fetch(n, 0.001 * (n % 3)))
            self.seen.append(await fetch(n + 100))

        async with trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(one, n)

    async def cut_short(self) -> None:
        """A wait that a deadline ends, and one that the first to come ends."""
        fetch = self.recorded("fetch")
        with trio.move_on_after(0.01) as scope:
            await fetch(1, 60.0)
        self.seen.append(scope.cancelled_caught)

        async def first(n: int, seconds: float, nursery: Any) -> None:
            self.seen.append(await fetch(n, seconds))
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first, 2, 30.0, nursery)
            nursery.start_soon(first, 3, 0.001, nursery)

    async def failing(self) -> None:
        """An exception in one task, which cancels the others and comes out in a group."""
        fetch = self.recorded("fetch")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fetch, 1, 30.0)
                nursery.start_soon(fetch, -1, 0.001)
        except* ValueError as group:
            self.seen.append([repr(error) for error in group.exceptions])
        self.seen.append(await fetch(4))

    async def in_threads(self) -> None:
        """Calls of plain functions in trio's threads."""

        @trace.recorded("work")
        def work(n: int) -> int:
            self.calls += 1
            return n + 1

        async def one(n: int) -> None:
            self.seen.append(await trio.to_thread.run_sync(work, n))

        async with trio.open_nursery() as nursery:
            for n in range(3):
                nursery.start_soon(one, n)
        # What threads give first is not the program's order.
        self.seen.sort(key=str)

    async def alike(self) -> None:
        """Calls with the same arguments, of which each gives something else."""

        @trace.recorded("next")
        async def following() -> int:
            await trio.sleep(0)
            self.calls += 1
            return self.calls

        got: dict[int, list[int]] = {n: [] for n in range(4)}

        async def one(n: int) -> None:
            for _ in range(3):
                await trio.sleep(0)
                got[n].append(await following())

        async with trio.open_nursery() as nursery:
            for n in got:
                nursery.start_soon(one, n)
        self.seen.append(got)

    async def streamed(self) -> None:
        """A recorded async generator."""

        @trace.recorded("tokens")
        async def tokens() -> Any:
            for n in range(3):
                self.calls += 1
                await trio.sleep(0)
                yield n

        async for token in tokens():
            self.seen.append(token)


@pytest.mark.parametrize(
    "kind", ["together", "alike", "cut_short", "failing", "in_threads", "streamed"]
)
def test_a_program_of_trio_sees_in_a_replay_what_it_saw(log: transit.Log, kind: str) -> None:
    for turn in range(TIMES if kind in ("together", "alike") else 4):
        agent = Agent()

        async def record(agent: Agent = agent, turn: int = turn) -> None:
            async with trace.task(log, f"{kind}-{turn}"):
                await getattr(agent, kind)()

        trio.run(record)
        again = Agent()

        async def replay(again: Agent = again, turn: int = turn) -> None:
            async with trace.replay(log, f"{kind}-{turn}"):
                await getattr(again, kind)()

        trio.run(replay)
        assert again.seen == agent.seen
        assert (agent.calls > 0, again.calls) == (True, 0)


def test_another_call_under_trio_is_a_divergence(log: transit.Log) -> None:
    agent = Agent()

    async def record() -> None:
        async with trace.task(log, "t"):
            await agent.recorded("fetch")(1)

    async def other() -> None:
        async with trace.replay(log, "t"):
            await agent.recorded("fetch")(2)

    trio.run(record)
    with pytest.raises(trace.ReplayDivergenceError, match="t@0"):
        trio.run(other)
    assert agent.calls == 1


def test_tasks_of_trio_that_are_cancelled_leave_their_runs_cancelled(log: transit.Log) -> None:
    async def program() -> None:
        with trio.move_on_after(0.001):
            async with trace.task(log, "t"):
                await trio.sleep(60)

    trio.run(program)
    ended = trace.read(log, "t").ended
    assert ended is not None
    assert ended.status == "cancelled"
