"""Reading a stream and waiting for more of it: in a thread, or in a task of an event loop.

Owns what is given out between two waits. Records that are gone before they were given out are an
error (`ErasedError`), and are never passed over. Leaves waiting, and why no wake-up is lost, to
`transit.handle.hub`.

A task must not keep its event loop from the others. So it never looks for new records: the hub
does, in its own thread, and says how far there is something to read. What is near the end of the
WAL is read in the loop, because that takes less time than asking another thread. Anything else is
read in a thread of asyncio's pool, a chunk at a time: what a follower has to catch up on, or what
lies in a remote. The loop has a turn after at most `UNBROKEN` records.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Final

from transit.engine.reading import check_range
from transit.errors import InvalidInputError
from transit.handle.handle import Handle
from transit.handle.joining import Following, Listening
from transit.log.catalog import StreamState
from transit.replay import Batch, Record, Source, batches
from transit.watches import Watcher

# Records that a follower gives out before its loop has a turn.
UNBROKEN: Final = 256


def check_timeout(timeout: float | None) -> None:
    """`InvalidInputError` unless it is seconds, or None."""
    if timeout is not None and (type(timeout) not in (int, float) or not timeout >= 0):
        raise InvalidInputError(f"timeout must be seconds, not {timeout!r}")


def tail(
    handle: Handle, state: StreamState, position: int, timeout: float | None
) -> Iterator[Record]:
    """The records from `position` on, as `Stream.tail` gives them."""
    listening: Listening | None = None
    deadline = _deadline(timeout)
    looked = False
    try:
        while True:
            handle.check()
            # In this order: nothing is appended after a stream was finished.
            finished = state.finished
            stop = state.next_offset if looked else handle.next_offset(state)
            looked = False
            if stop > position:
                for batch in _batches(handle, state, position, stop):
                    yield from batch.records()
                position, deadline = stop, _deadline(timeout)
            elif finished or (left := deadline - time.monotonic()) <= 0:
                return
            elif listening is None:
                # Listen first, then look once more: nothing falls between the two.
                listening = Listening(handle.hub, state)
                listening.join()
            else:
                looked = listening.wait(left)
    finally:
        if listening is not None:
            listening.close()


async def follow(
    handle: Handle, state: StreamState, start: int | None, timeout: float | None
) -> AsyncIterator[Record]:
    """The records from `start` on, as `Stream.follow` gives them."""
    # Loaded here: only programs with an event loop need it, and it is there then.
    import asyncio

    check_timeout(timeout)
    following = Following(handle.hub, state, asyncio.get_running_loop(), asyncio.Event())
    unbroken = 0
    try:
        following.join()
        reached, finished = await _first_told(handle, state, following)
        position = reached if start is None else check_range(state, reached, start, None)[0]
        deadline = _deadline(timeout)
        while True:
            if reached > position:
                found = _batches(handle, state, position, reached)
                while (batch := await _next_batch(handle, state, position, found)) is not None:
                    for record in batch.records():
                        if unbroken == UNBROKEN:
                            await asyncio.sleep(0)
                            unbroken = 0
                        unbroken += 1
                        yield record
                    position += len(batch)
                deadline = _deadline(timeout)
            elif finished or (left := deadline - time.monotonic()) <= 0:
                return
            else:
                await _wait(following, left)
                unbroken = 0
            reached, finished = _told(handle, state, following) or (reached, finished)
    finally:
        following.close()


async def _first_told(handle: Handle, state: StreamState, following: Following) -> tuple[int, bool]:
    while (told := _told(handle, state, following)) is None:
        await _wait(following, float("inf"))
    return told


def _told(handle: Handle, state: StreamState, following: Following) -> tuple[int, bool] | None:
    handle.check()
    if following.is_served:
        return following.told()
    # There can be no thread any more, as when the interpreter ends.
    finished = state.finished
    return handle.next_offset(state), finished


async def _wait(following: Following, left: float) -> None:
    """Return when something was told, or after `left` seconds."""
    # Loaded here, as in `follow`.
    import asyncio

    if not following.is_served:
        await asyncio.sleep(min(left, Watcher.POLL_S))
    elif left == float("inf"):
        await following.wait()
    else:
        try:
            async with asyncio.timeout(left):
                await following.wait()
        except TimeoutError:
            # The caller asks once more what was told, and then what time it is.
            return


async def _next_batch(
    handle: Handle, state: StreamState, position: int, found: Iterator[Batch]
) -> Batch | None:
    """The next of `found`, which begins at `position`; None after the last."""
    # Loaded here, as in `follow`.
    import asyncio

    if handle.catalog.is_near(state, position):
        return next(found, None)
    try:
        return await asyncio.to_thread(next, found, None)
    except RuntimeError:
        # As above; a generator that another thread is in the middle of is not asked again.
        return next(found, None)


def _batches(handle: Handle, state: StreamState, start: int, stop: int) -> Iterator[Batch]:
    catalog = handle.catalog
    chunk = catalog.recent_chunk(state.id)
    is_next = chunk is not None and (chunk.first, chunk.stop, chunk.writer) == (start, stop, "")
    if chunk is not None and is_next and start >= state.gone:
        # Just taken up, and all there is: no need to look for it.
        return iter([Batch(chunk, 0, chunk.count, start, Source(state.name, 0))])
    return batches(catalog, state, start, stop)


def _deadline(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout
