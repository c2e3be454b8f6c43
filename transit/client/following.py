"""Waiting for more of a stream: in a thread, or in a task of an event loop.

The server does the waiting: a request is answered when there is a record, or after some seconds
without.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from transit.client.pages import Pages
from transit.client.waiters import WAIT_S, Waiters
from transit.engine.following import UNBROKEN, check_timeout
from transit.replay import Record


def tail(pages: Pages, position: int, timeout: float | None) -> Iterator[Record]:
    """The records from `position` on, as `Stream.tail` gives them."""
    deadline = _deadline(timeout)
    while True:
        left = deadline - time.monotonic()
        page = pages.page(position, wait_s=max(0.0, min(left, WAIT_S)))
        if page.records:
            yield from pages.records(page)
            deadline = _deadline(timeout)
        position = int(page.next)
        if page.finished or (not page.records and deadline <= time.monotonic()):
            return


async def follow(
    waiters: Waiters,
    pages: Pages,
    begin: Callable[[int | None], int],
    start: int | None,
    timeout: float | None,
) -> AsyncIterator[Record]:
    """The same for a task. begin: where to begin, by what the caller gave."""
    # Loaded here, as above.
    import asyncio

    check_timeout(timeout)
    position = await waiters.run(partial(begin, start))
    deadline = _deadline(timeout)
    unbroken = 0
    while True:
        left = deadline - time.monotonic()
        wait_s = max(0.0, min(left, waiters.wait_s))
        page = await waiters.run(partial(pages.page, position, wait_s=wait_s))
        for record in pages.records(page):
            if unbroken == UNBROKEN:
                await asyncio.sleep(0)
                unbroken = 0
            unbroken += 1
            yield record
        if page.records:
            deadline = _deadline(timeout)
        position = int(page.next)
        if page.finished or (not page.records and deadline <= time.monotonic()):
            return


def _deadline(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout
