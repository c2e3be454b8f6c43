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
