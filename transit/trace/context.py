"""What code runs in: the runs whose blocks it is in, the recorded call, and the lane.

Context variables: what is started with `await`, `asyncio.create_task` or `asyncio.to_thread` sees
what it was started in. A plain thread begins without a run, unless `carry` takes it there. Runs
are plain objects here.

A *lane* is a part of a run that runs beside others: an asyncio or trio task, a call of `to_thread`,
a thread. What one lane does comes in the same order in every replay; between lanes any order may
come. A lane's label says how it was begun, from the lane that began it: `a2` for the second next
asyncio task, `c1` for the first that was carried, `t1` for the first thread that was seen.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
)
from contextvars import Context, ContextVar, copy_context
from functools import wraps
from itertools import count
from typing import Any, Final, Protocol, TypeVar, cast

_R = TypeVar("_R")


class Block(Protocol):
    """What a block can be entered of: a task."""

    @property
    def has_ended(self) -> bool:
        """Whether its end was recorded."""


# The runs whose blocks this code is in, from the outside in.
_runs: ContextVar[tuple[Block, ...]] = ContextVar("transit.trace.runs", default=())

# The run, or replay, in whose recorded call this code runs: what it does is part of that call.
in_call: ContextVar[object] = ContextVar("transit.trace.in_call", default=None)


class _Blocks:
    """How many blocks are entered in this process: is there a run that a thread may miss?"""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def add(self, count: int) -> None:
        """So many more are entered."""
        with self._lock:
            self.count += count


_blocks: Final = _Blocks()


def innermost() -> Block | None:
    """The run of the innermost block that has not ended, None outside of any."""
    for run in reversed(_runs.get()):
        if not run.has_ended:
            return run
    return None


def is_any_open() -> bool:
    """Whether some code of this process is in a block."""
    return _blocks.count > 0


def enter(run: Block) -> None:
    """Begin the block of a run."""
    _runs.set((*_runs.get(), run))
    _blocks.add(1)


def leave(run: Block) -> None:
    """End the innermost block of `run`; a generator's may end out of order, or elsewhere."""
    _blocks.add(-1)
    runs = _runs.get()
    for place in reversed(range(len(runs))):
        if runs[place] is run:
            _runs.set((*runs[:place], *runs[place + 1 :]))
            return


# Lanes


class Lane:
    """One of the parts of a program that run beside each other."""

    __slots__ = ("_begun", "_number", "_thread", "_unit", "label")

    def __init__(self, label: str, thread: int, unit: object) -> None:
        self.label = label
        self._thread = thread
        # The id of its task, and the number in that task's name; 0 without one.
        self._unit = id(unit) if unit is not None else 0
        self._number = _number_of(unit)
        self._begun: dict[str, count[int]] = {}

    def is_here(self, thread: int, unit: object) -> bool:
        """Whether this code runs in it."""
        return self._thread == thread and self._unit == (id(unit) if unit is not None else 0)

    def begin(self, kind: str, thread: int, unit: object) -> Lane:
        """A lane that this one began."""
        number = _number_of(unit)
        if kind == "a" and thread != self._thread:
            # A loop of its own.
            kind = "t"
        if kind == "a" and number and self._number:
            # Tasks are numbered in the order in which they were made.
            mark = f"a{number - self._number}"
        else:
            mark = f"{kind}{next(self._begun.setdefault(kind, count(1)))}"
        return Lane(f"{self.label}.{mark}" if self.label else mark, thread, unit)


def begin_lane() -> Lane:
    """Make the code that runs now a run's first lane; the one before it, for `end_lane`."""
    before = _lane.get()
    _lane.set(Lane("", threading.get_ident(), _unit()))
    return before or _ROOT


def end_lane(before: Lane) -> None:
    """Go on in the lane before a run's block."""
    _lane.set(None if before is _ROOT else before)


def lane() -> Lane:
    """The lane that this code runs in."""
    thread, unit, found = threading.get_ident(), _unit(), _lane.get()
    if found is not None and found.is_here(thread, unit):
        return found
    kind = "a" if unit is not None else "t"
    found = (found or _ROOT).begin(kind, thread, unit)
    _lane.set(found)
    return found


def _unit() -> object:
    """The asyncio or trio task that runs, None outside of both."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        loop = asyncio._get_running_loop()
        if loop is not None:
            return cast(object, asyncio.current_task(loop))
    trio = sys.modules.get("trio")
    if trio is not None:
        try:
            return cast(object, trio.lowlevel.current_task())
        except RuntimeError:
            return None
    return None


def _number_of(unit: object) -> int:
    """The number asyncio, in a name, or trio gives a task in the order they are made; 0: none."""
    make = getattr(unit, "get_name", None)
    if make is None:
        counted = getattr(unit, "_counter", 0)
        return counted if type(counted) is int else 0
    stem, _, number = str(make()).rpartition("-")
    return int(number) if stem == "Task" and number.isdecimal() else 0


# The lane this code runs in, or was begun by.
_lane: ContextVar[Lane | None] = ContextVar("transit.trace.lane", default=None)
_ROOT: Final = Lane("", 0, None)


# Elsewhere


def carry(function: Callable[..., _R]) -> Callable[..., _R]:
    """`function`, to be called in another thread as a part of what runs here now.

    A thread of a pool begins without a run: `pool.submit(trace.carry(work), item)`. The function
    may be called any number of times; each has its own context.
    """
    context, here = copy_context(), lane()
    # Numbered here, in the order of the program, and not when a thread comes to it.
    numbered = here.begin("c", 0, None).label

    @wraps(function)
    def carried(*args: object, **kwargs: object) -> _R:
        def work() -> _R:
            _lane.set(Lane(numbered, threading.get_ident(), _unit()))
            return function(*args, **kwargs)

        return context.copy().run(work)

    return carried


class _Inside(Awaitable[_R]):
    """A coroutine whose steps run in a context of their own, by whatever loop."""

    def __init__(self, context: Context, coroutine: Coroutine[Any, Any, _R]) -> None:
        self._context = context
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, _R]:
        run, coroutine = self._context.run, self._coroutine
        try:
            waited = run(coroutine.send, None)
            while True:
                try:
                    given = yield waited
                except GeneratorExit:
                    run(coroutine.close)
                    raise
                except BaseException as error:
                    waited = run(coroutine.throw, error)
                else:
                    waited = run(coroutine.send, given)
        except StopIteration as done:
            return cast(_R, done.value)


def stepped(make: Callable[[], Generator[_R, Any, Any]]) -> Generator[_R, Any, Any]:
    """The generator that `make` makes, each step in a context of its own."""
    context = copy_context()
    source = context.run(make)
    step, given = source.send, None
    try:
        while True:
            try:
                value = context.run(step, given)
            except StopIteration as done:
                return done.value
            try:
                given, step = (yield value), source.send
            except GeneratorExit:
                context.run(source.close)
                raise
            except BaseException as error:
                given, step = error, cast(Any, source.throw)
    finally:
        context.run(source.close)


async def stepped_async(make: Callable[[], AsyncGenerator[_R, Any]]) -> AsyncGenerator[_R, Any]:
    """The async generator that `make` makes, each step in a context of its own."""
    context = copy_context()
    source = context.run(make)
    step: Callable[[Any], Coroutine[Any, Any, _R]] = cast(Any, source.asend)
    given: Any = None
    try:
        while True:
            try:
                value = await _Inside(context, cast(Any, _awaited(step, given)))
            except StopAsyncIteration:
                return
            try:
                given, step = (yield value), cast(Any, source.asend)
            except GeneratorExit:
                raise
            except BaseException as error:
                given, step = error, cast(Any, source.athrow)
    finally:
        await _Inside(context, cast(Any, _closed(source)))


async def _awaited(step: Callable[[Any], Coroutine[Any, Any, _R]], given: Any) -> _R:
    return await step(given)


async def _closed(source: AsyncGenerator[Any, Any]) -> None:
    await source.aclose()


async def inside(make: Callable[[], Coroutine[Any, Any, _R]]) -> _R:
    """What the coroutine that `make` makes gives, its steps in a context of their own."""
    context = copy_context()
    return await _Inside(context, context.run(make))
