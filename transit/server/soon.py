"""Waiting for what is most often there already, without setting a timer for it.

A request's body mostly came with its head. A timer for each such request would cost as much as the
append it is about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Reached(asyncio.Future[None]):
    """Ends when a sync, or a round of publishing, has.

    What a request does after it waits for nothing, most often: so whoever waits for it may go on
    where it ends, without a task.
    """


async def soon(awaited: Awaitable[T], timeout_s: float) -> T:
    """What `awaited` gives; `TimeoutError` where it takes longer than `timeout_s` seconds."""
    if not asyncio.iscoroutine(awaited):
        async with asyncio.timeout(timeout_s):
            return await awaited
    try:
        waits_for = awaited.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    async with asyncio.timeout(timeout_s):
        return await going_on(awaited, waits_for)


@coroutine
def going_on(begun: Coroutine[Any, Any, T], waits_for: object) -> Generator[Any, Any, T]:
    """The rest of a coroutine that was begun outside, and has begun to wait for `waits_for`."""
    while True:
        try:
            given = yield waits_for
        except BaseException as error:
            step = partial(begun.throw, error)
        else:
            step = partial(begun.send, given)
        try:
            waits_for = step()
        except StopIteration as done:
            value: T = done.value
            return value
