"""Waiting without a timer for what is there already."""

from __future__ import annotations

import asyncio

import pytest

from transit.server.soon import soon


async def now() -> int:
    return 4


async def later(turns: int) -> int:
    for _ in range(turns):
        await asyncio.sleep(0)
    return turns


async def raises() -> int:
    await asyncio.sleep(0)
    raise LookupError("here")


def test_what_is_there_is_given_and_what_comes_is_waited_for() -> None:
    assert asyncio.run(soon(now(), 60)) == 4
    assert asyncio.run(soon(later(3), 60)) == 3


def test_what_is_raised_at_once_or_later_is_raised() -> None:
    async def at_once() -> int:
        raise LookupError("here")

    for awaited in (at_once, raises):
        with pytest.raises(LookupError, match="here"):
            asyncio.run(soon(awaited(), 60))


def test_a_wait_that_is_too_long_ends_and_so_does_what_it_waited_for() -> None:
    ended = []

    async def waits() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        return 0

    with pytest.raises(TimeoutError):
        asyncio.run(soon(waits(), 0.001))
    assert ended == [True]


def test_a_cancelled_wait_is_cancelled_within() -> None:
    async def cancelled() -> list[object]:
        task = asyncio.create_task(soon(asyncio.Event().wait(), 60))
        await asyncio.sleep(0)
        task.cancel()
        return await asyncio.gather(task, return_exceptions=True)

    assert isinstance(asyncio.run(cancelled())[0], asyncio.CancelledError)


def test_a_future_is_waited_for_too() -> None:
    async def with_future() -> object:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, 7)
        return await soon(future, 60)

    assert asyncio.run(with_future()) == 7
