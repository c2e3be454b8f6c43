"""What runs a program's parts beside each other: asyncio, and trio.

A program says what it waits for; a loop says how that is done. So the same random program runs
under either: parts at once, waits with deadlines, the first of two, another thread.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

Part = Callable[[], Awaitable[Any]]

DEADLINE_S: Final = 0.005


class Loop(Protocol):
    """How parts are run and waited for. Variants are other ways to say the same."""

    def run(self, part: Part) -> Any:
        """Run a part in a loop of its own, to its end."""

    async def sleep(self, seconds: float) -> None:
        """Let others run, and wait."""

    async def cut_short(self, part: Part, variant: int) -> bool:
        """Run a part that a deadline ends; whether it did."""

    async def gathered(self, parts: list[Part]) -> list[Any]:
        """Run parts beside each other; what each gave, in the order of the parts."""

    async def grouped(self, parts: list[Part]) -> list[Any]:
        """The same in the loop's own block of tasks."""

    async def completed(self, parts: list[Part]) -> list[Any]:
        """The same, in the order in which they came."""

    async def first(self, quick: Part, slow: Part) -> list[Any]:
        """What the first of two gave, and how the other ended, which is cancelled."""

    async def in_thread(self, part: Part) -> Any:
        """Run a part in another thread, with a loop of its own."""

    async def plainly_in_thread(self, call: Callable[[], Any]) -> Any:
        """Make a plain call in another thread."""


class Asyncio:
    """Python's own."""

    def run(self, part: Part) -> Any:
        """As `asyncio.run`."""

        async def main() -> Any:
            return await part()

        return asyncio.run(main())

    async def sleep(self, seconds: float) -> None:
        """As `asyncio.sleep`."""
        await asyncio.sleep(seconds)

    async def cut_short(self, part: Part, variant: int) -> bool:
        """By `wait_for` or `timeout`."""
        try:
            if variant % 2:
                await asyncio.wait_for(part(), DEADLINE_S)
            else:
                async with asyncio.timeout(DEADLINE_S):
                    await part()
        except TimeoutError:
            return True
        return False

    async def gathered(self, parts: list[Part]) -> list[Any]:
        """By `gather`."""
        return list(await asyncio.gather(*(part() for part in parts)))

    async def grouped(self, parts: list[Part]) -> list[Any]:
        """By a `TaskGroup`."""

        async def one(part: Part) -> Any:
            return await part()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(part)) for part in parts]
        return [task.result() for task in tasks]

    async def completed(self, parts: list[Part]) -> list[Any]:
        """By `as_completed`."""
        return [await each for each in asyncio.as_completed([part() for part in parts])]

    async def first(self, quick: Part, slow: Part) -> list[Any]:
        """By `wait`."""
        tasks = [asyncio.ensure_future(quick()), asyncio.ensure_future(slow())]
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        return [[task.result() for task in done], [type(end).__name__ for end in ends]]

    async def in_thread(self, part: Part) -> Any:
        """By `to_thread`."""
        return await asyncio.to_thread(self.run, part)

    async def plainly_in_thread(self, call: Callable[[], Any]) -> Any:
        """By `to_thread`."""
        return await asyncio.to_thread(call)


class Trio:
    """trio, which shuffles by itself who comes first."""

    def __init__(self) -> None:
        # Loaded here: the rig runs without it, under asyncio alone.
        import trio

        self._trio: Any = trio

    def run(self, part: Part) -> Any:
        """As `trio.run`."""
        return self._trio.run(part)

    async def sleep(self, seconds: float) -> None:
        """As `trio.sleep`."""
        await self._trio.sleep(seconds)

    async def cut_short(self, part: Part, variant: int) -> bool:
        """By `fail_after` or `move_on_after`."""
        if variant % 2:
            try:
                with self._trio.fail_after(DEADLINE_S):
                    await part()
            except self._trio.TooSlowError:
                return True
            return False
        with self._trio.move_on_after(DEADLINE_S) as scope:
            await part()
        return bool(scope.cancelled_caught)

    async def gathered(self, parts: list[Part]) -> list[Any]:
        """By tasks of a nursery."""
        found: dict[int, Any] = {}

        async def one(number: int) -> None:
            found[number] = await parts[number]()

        async with self._trio.open_nursery() as nursery:
            for number in range(len(parts)):
                nursery.start_soon(one, number)
        return [found[number] for number in range(len(parts))]

    async def grouped(self, parts: list[Part]) -> list[Any]:
        """By a nursery, of which the last part is the body."""
        found: dict[int, Any] = {}

        async def one(number: int, task_status: Any = self._trio.TASK_STATUS_IGNORED) -> None:
            task_status.started()
            found[number] = await parts[number]()

        last = len(parts) - 1
        async with self._trio.open_nursery() as nursery:
            for number in range(last):
                await nursery.start(one, number)
            found[last] = await parts[last]()
        return [found[number] for number in range(len(parts))]

    async def completed(self, parts: list[Part]) -> list[Any]:
        """By a memory channel that each part sends to."""
        send, receive = self._trio.open_memory_channel(0)

        async def one(part: Part, sender: Any) -> None:
            async with sender:
                await sender.send(await part())

        async with self._trio.open_nursery() as nursery:
            async with send:
                for part in parts:
                    nursery.start_soon(one, part, send.clone())
            async with receive:
                return [value async for value in receive]
        raise AssertionError("a nursery hides nothing")

    async def first(self, quick: Part, slow: Part) -> list[Any]:
        """By a nursery that the first to come cancels."""
        found: list[Any] = []
        ends: list[str] = []

        async def one(part: Part, nursery: Any) -> None:
            try:
                found.append(await part())
            except self._trio.Cancelled:
                ends.append("CancelledError")
                raise
            nursery.cancel_scope.cancel()

        async with self._trio.open_nursery() as nursery:
            nursery.start_soon(one, quick, nursery)
            nursery.start_soon(one, slow, nursery)
        return [found, ends]

    async def in_thread(self, part: Part) -> Any:
        """By `to_thread.run_sync`."""
        return await self._trio.to_thread.run_sync(self.run, part)

    async def plainly_in_thread(self, call: Callable[[], Any]) -> Any:
        """By `to_thread.run_sync`."""
        return await self._trio.to_thread.run_sync(call)


LOOPS: Final[dict[str, Callable[[], Loop]]] = {"asyncio": Asyncio, "trio": Trio}


def here(name: str) -> bool:
    """Whether programs can run under this one: trio is no dependency."""
    return importlib.util.find_spec(name) is not None
