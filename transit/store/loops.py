"""Running a file system's coroutines from plain threads, with a deadline.

fsspec runs all its coroutines on one event loop in a thread of its own, which does not survive
fork().
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

T = TypeVar("T")


def wait_for(
    loop: AbstractEventLoop, coroutine: Coroutine[object, object, T], timeout_s: float
) -> T:
    """The coroutine's result; `TimeoutError` after `timeout_s` seconds.

    After a timeout or an interrupt the request is cancelled. What it already sent may still arrive.
    """
    # Only remotes need it, and it takes longer to import than all of transit.
    import asyncio

    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result(timeout_s)
    finally:
        # Of a future that is done this does nothing.
        future.cancel()
        # It has the error, and that has this frame: with both only the collector would free them.
        del future


def let_go(error: BaseException) -> None:
    """Have the calls that ended with `error` forget their variables; its traceback stays.

    s3fs keeps an error in the very call that raises it. Only the collector would free the two, and
    with them the bytes that were sent, and the store.
    """
    # As above.
    import traceback

    traceback.clear_frames(error.__traceback__)
