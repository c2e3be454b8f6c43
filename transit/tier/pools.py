"""Calls made several at once, by threads that end with them.

Owns that the calls are made where there can be no threads too: when the interpreter ends, or the
process has as many as it may. The thread that asks makes them itself then, one after another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Pool:
    """Up to `threads_max` threads; at the end of a `with` block all calls that began have ended."""

    def __init__(self, threads_max: int, name: str) -> None:
        # Loaded here: it brings logging along, and only a store with a remote needs it.
        from concurrent.futures import Future, ThreadPoolExecutor

        self._executor = ThreadPoolExecutor(threads_max, name)
        self._new_future = Future

    def submit(self, call: Callable[[], _Value]) -> Future[_Value]:
        """Have `call` made; what becomes of it."""
        future: Future[_Value] = self._new_future()
        task = _Task(call, future)
        try:
            self._executor.submit(task.run)
        except RuntimeError:
            # It may be waiting all the same for threads that are there: one of us makes it.
            task.run()
        return future

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


class _Task(Generic[_Value]):
    """A call, made once by one of those that try; it lets go of its future then."""

    def __init__(self, call: Callable[[], _Value], future: Future[_Value]) -> None:
        self._calls = [(call, future)]

    def run(self) -> None:
        try:
            call, future = self._calls.pop()
        except IndexError:
            return
        try:
            result = call()
        except BaseException as error:
            # Raised again in the thread that asks for the result.
            future.set_exception(error)
            # The error holds this frame: with the future in it, only the collector would free them.
            del future
        else:
            future.set_result(result)


def at_once(call: Callable[[_Key], _Value], keys: Sequence[_Key], threads_max: int) -> list[_Value]:
    """`call` of each key, several at once, in order."""
    if len(keys) < 2:
        return [call(key) for key in keys]
    with Pool(min(threads_max, len(keys)), "transit-fetch") as pool:
        futures = deque([pool.submit(partial(call, key)) for key in keys])
        found = []
        while futures:
            # Not in a variable, which an error would hold.
            found.append(futures.popleft().result())
        return found


@contextmanager
def in_turn(
    call: Callable[[_Key], _Value],
    keys: Iterable[tuple[_Key, int]],
    threads_max: int,
    room: int,
) -> Iterator[Iterator[_Value]]:
    """`call` of each key, in order, several at once while the caller works on what came before.

    keys: each with what its value takes of `room`. What is being made, waits or is with the caller
    takes no more than that, but for a value that is larger alone. At the end of the `with` block no
    call runs.
    """
    if threads_max < 2:
        yield (call(key) for key, _ in keys)
        return
    with Pool(threads_max, "transit-ahead") as pool:
        yield _in_turn(call, keys, pool, room)


def _in_turn(
    call: Callable[[_Key], _Value], keys: Iterable[tuple[_Key, int]], pool: Pool, room: int
) -> Iterator[_Value]:
    coming: deque[tuple[Future[_Value], int]] = deque()
    taken = 0
    for key, size in keys:
        while coming and taken + size > room:
            cost = coming[0][1]
            # Not in a variable, which an error would hold.
            yield coming.popleft()[0].result()
            # The caller is done with it when it asks for the next.
            taken -= cost
        coming.append((pool.submit(partial(call, key)), size))
        taken += size
    while coming:
        yield coming.popleft()[0].result()
