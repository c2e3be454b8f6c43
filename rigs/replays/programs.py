"""Random programs: calls, runs inside runs, parallel parts, waits cut short, streams, exceptions.

A program is a tree of steps. Running it gives everything that it saw, so that two runs can be
compared. Its calls go through a door: in a replay the door is shut, and a function that runs all
the same is noted there. What runs its parts is a loop: see `loops`.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import transit
from rigs.replays.loops import Loop
from transit import trace

# What calls give: values of every kind, none equal to another.
MAKERS: list[Callable[[int], Any]] = [
    int,
    lambda n: f"text {n}",
    lambda n: f"bytes {n}".encode(),
    lambda n: (n, [n, {"a": n}]),
    lambda n: {n, -n - 1},
    lambda n: {n: "int key", str(n): "text key"},
    lambda n: Decimal(n) / 7,
    lambda n: datetime.fromtimestamp(n, UTC),
    lambda n: UUID(int=n),
    lambda n: complex(n, -n),
    lambda n: {"$type": "bytes", "value": n},
    lambda n: [None, True, n + 0.5],
]


class OwnError(Exception):
    """An error with an argument that only has a name."""

    def __init__(self, *, number: int) -> None:
        super().__init__(f"own {number}")
        self.number = number


class OtherError(OwnError):
    """One below it."""


ERRORS: list[Callable[[int], BaseException]] = [
    ValueError,
    lambda n: KeyError(f"k{n}"),
    lambda n: OSError(2, f"gone {n}", f"file {n}"),
    lambda n: OtherError(number=n),
    lambda n: ExceptionGroup("several", [ValueError(n), TypeError(str(n))]),
    lambda n: UnicodeDecodeError("utf-8", bytes([n % 256]), 0, 1, "no"),
]


@dataclass
class Door:
    """What the program's calls go through."""

    open: bool = True
    count: int = 0
    passed: list[str] = field(default_factory=list)

    def go(self, what: str) -> int:
        """The function of a call runs; a number no other has."""
        self.passed.append(what)
        self.count += 1
        return self.count


@dataclass
class World:
    """What a program runs in. chance: how long what is not recorded takes; of each run its own."""

    log: transit.Log
    door: Door
    chance: random.Random
    loop: Loop

    @trace.recorded("call", exclude=["self"], raises=[OwnError])
    def call(self, n: int, kind: int) -> Any:
        """A call that gives a value."""
        task = trace.current()
        if kind % 6 == 0 and task is not None:
            # Part of the call.
            task.message("tool", f"in call {n}")
            self.inner(n)
        return MAKERS[kind % len(MAKERS)](self.door.go(f"call {n}"))

    @trace.recorded("inner", exclude=["self"])
    def inner(self, n: int) -> None:
        """A call that only another call makes."""
        self.door.go(f"inner {n}")

    @trace.recorded("fail", raises=[OwnError])
    def fail(self, n: int, kind: int) -> Any:
        """A call that raises."""
        raise ERRORS[kind % len(ERRORS)](self.door.go(f"fail {n}"))

    @trace.recorded("wait", raises=[OwnError])
    async def wait(self, n: int, kind: int, rounds: int) -> Any:
        """A call that is awaited."""
        number = self.door.go(f"wait {n}")
        for _ in range(rounds):
            await self.loop.sleep(0)
        if kind % 5 == 4:
            raise ERRORS[kind % len(ERRORS)](number)
        return MAKERS[kind % len(MAKERS)](number)

    @trace.recorded("never")
    async def never(self, n: int) -> None:
        """A call that takes too long."""
        self.door.go(f"never {n}")
        await self.loop.sleep(600)

    @trace.recorded("values", raises=[OwnError])
    def values(self, n: int, count: int, kind: int) -> Iterator[Any]:
        """A stream."""
        for place in range(count):
            yield MAKERS[(kind + place) % len(MAKERS)](self.door.go(f"values {n}"))
        if kind % 4 == 3:
            raise ERRORS[kind % len(ERRORS)](n)

    @trace.recorded("later values", raises=[OwnError])
    async def later_values(self, n: int, count: int, kind: int) -> AsyncIterator[Any]:
        """A stream that is awaited."""
        for place in range(count):
            await self.loop.sleep(0)
            yield MAKERS[(kind + place) % len(MAKERS)](self.door.go(f"later values {n}"))

    @trace.recorded("change", raises=[OwnError])
    def change(self, n: int, kind: int, items: list[Any], notes: dict[Any, Any]) -> Any:
        """A call that changes what it is given, and may give it back."""
        number = self.door.go(f"change {n}")
        items.append(MAKERS[kind % len(MAKERS)](number))
        if kind % 3 == 0:
            notes[number] = number
            items[0] = number
        if kind % 7 == 6:
            raise ERRORS[kind % len(ERRORS)](number)
        return items if kind % 2 else number

    @trace.recorded("lazy", raises=[OwnError])
    def lazy(self, n: int, kind: int) -> Any:
        """A plain function that gives a coroutine, a generator or an async generator."""
        return (self._wait, self._values, self._later_values)[kind % 3](n, kind)

    async def _wait(self, n: int, kind: int) -> Any:
        number = self.door.go(f"lazy {n}")
        await self.loop.sleep(0)
        return MAKERS[kind % len(MAKERS)](number)

    def _values(self, n: int, kind: int) -> Iterator[Any]:
        for _ in range(kind % 4):
            yield MAKERS[kind % len(MAKERS)](self.door.go(f"lazy {n}"))

    async def _later_values(self, n: int, kind: int) -> AsyncIterator[Any]:
        for _ in range(kind % 4):
            await self.loop.sleep(0)
            yield MAKERS[kind % len(MAKERS)](self.door.go(f"lazy {n}"))

    async def pause(self) -> None:
        """Something that is not recorded, and takes as long as it likes."""
        for _ in range(self.chance.randrange(4)):
            await self.loop.sleep(0)
        if self.chance.random() < 0.1:
            await self.loop.sleep(0.002)


@dataclass
class Step:
    """One step: what it is, its number, which is its own, and the steps inside."""

    kind: str
    number: int
    variant: int
    inside: list[list[Step]] = field(default_factory=list)
    changed: bool = False

    @property
    def argument(self) -> int:
        """What a call is given; another one once it was changed."""
        return self.number + (1_000_000 if self.changed else 0)


CALLS = ("call", "fail", "wait", "never", "values", "later values", "completed", "first", "change",
         "lazy", "aside")  # fmt: skip
SIMPLE = (*CALLS, "message", "tool", "pause")
NESTED = ("child", "gather", "group", "thread", "raise", "swallow")


def make_program(chance: random.Random, size: int = 10) -> list[Step]:
    """A random program of about so many steps."""
    numbers = iter(range(1, 1_000_000))
    left = [size]

    def steps(depth: int, least: int = 1) -> list[Step]:
        found: list[Step] = []
        for _ in range(max(least, chance.randint(1, 4))):
            if left[0] <= 0 and len(found) >= least:
                break
            left[0] -= 1
            nested = depth < 3 and chance.random() < 0.4
            kind = chance.choice(NESTED if nested else SIMPLE)
            step = Step(kind, next(numbers), chance.randrange(60))
            if nested:
                parts = chance.randint(2, 3) if kind in ("gather", "group") else 1
                step.inside = [steps(depth + 1) for _ in range(parts)]
            found.append(step)
        return found

    return steps(0, least=2)


def calls_of(program: list[Step]) -> list[Step]:
    """The steps that are calls, in order."""
    found: list[Step] = []
    for step in program:
        if step.kind in CALLS:
            found.append(step)
        for inside in step.inside:
            found += calls_of(inside)
    return found


async def run(world: World, program: list[Step]) -> list[Any]:
    """Run the steps; what they saw."""
    seen: list[Any] = []
    for step in program:
        seen.append((step.kind, step.number))
        seen.append(await RUNNERS[step.kind](world, step))
    return seen


def told(error: BaseException) -> Any:
    """An exception as a program sees it."""
    inner = [told(each) for each in error.exceptions] if isinstance(error, ExceptionGroup) else []
    return type(error).__name__, str(error), getattr(error, "number", None), inner


async def _simple(world: World, step: Step) -> Any:
    try:
        return await _call(world, step)
    except Exception as error:
        if isinstance(error, transit.TransitError):
            raise
        return told(error)


async def _call(world: World, step: Step) -> Any:
    n, variant = step.argument, step.variant
    if step.kind == "call":
        return world.call(n, variant)
    if step.kind == "fail":
        return world.fail(n, variant)
    if step.kind == "wait":
        return await world.wait(n, variant, variant % 5)
    if step.kind == "values":
        return _taken(world.values(n, variant % 4, variant), variant)
    if step.kind == "lazy":
        return await _lazy(world.lazy(n, variant), variant)
    return [value async for value in world.later_values(n, variant % 4, variant)]


async def _lazy(given: Any, variant: int) -> Any:
    if variant % 3 == 0:
        return await given
    return list(given) if variant % 3 == 1 else [value async for value in given]


async def _change(world: World, step: Step) -> Any:
    """A call that changes its arguments, and what the program sees of them afterwards."""
    items: list[Any] = [step.number, "more"]
    notes: dict[Any, Any] = {"a": 1}
    found: list[Any] = []
    for turn in range(2):
        try:
            given = world.change(step.argument, step.variant + turn, items, notes)
            found += [list(given) if given is items else given, given is items]
        except Exception as error:
            if isinstance(error, transit.TransitError):
                raise
            found.append(told(error))
        found += [list(items), dict(notes)]
    return found


def _taken(values: Iterator[Any], variant: int) -> list[Any]:
    """What is taken of a stream, which may be left in the middle."""
    found = []
    try:
        for value in values:
            found.append(value)
            if variant % 7 == 0:
                break
    except Exception as error:
        if isinstance(error, transit.TransitError):
            raise
        found.append(told(error))
    finally:
        values.close()  # type: ignore[attr-defined]
    return found


async def _message(world: World, step: Step) -> Any:
    task = trace.current()
    assert task is not None
    task.message("user", f"step {step.number}")
    return None


async def _tool(world: World, step: Step) -> Any:
    task = trace.current()
    assert task is not None
    with task.tool("tool", {"n": step.number}) as call:
        call.result(world.call(step.number, step.variant))
    return None


async def _pause(world: World, step: Step) -> Any:
    await world.pause()


async def _never(world: World, step: Step) -> Any:
    """A wait that the program cuts short."""
    is_over = await world.loop.cut_short(partial(world.never, step.argument), step.variant)
    return "cut short" if is_over else "came"


async def _child(world: World, step: Step) -> Any:
    with trace.task(world.log, None if step.variant % 2 else f"child-{step.number}"):
        return await run(world, step.inside[0])


async def _gather(world: World, step: Step) -> Any:
    async def part(steps: list[Step]) -> Any:
        await world.pause()
        found = await run(world, steps)
        await world.pause()
        return found

    return await world.loop.gathered([partial(part, steps) for steps in step.inside])


async def _group(world: World, step: Step) -> Any:
    return await world.loop.grouped([partial(run, world, steps) for steps in step.inside])


async def _completed(world: World, step: Step) -> Any:
    """Calls beside each other, in the order in which they come."""

    async def one(n: int) -> Any:
        await world.pause()
        rounds = (step.variant * (n + 3)) % 7
        return await world.wait(step.argument * 10 + n, 0, rounds)

    return await world.loop.completed([partial(one, n) for n in range(3)])


async def _first(world: World, step: Step) -> Any:
    """The first of two; the other is cancelled."""
    return await world.loop.first(partial(_quick, world, step), partial(world.never, step.argument))


async def _quick(world: World, step: Step) -> Any:
    await world.pause()
    return await world.wait(step.number, 1, step.variant % 4)


async def _thread(world: World, step: Step) -> Any:
    """Steps in another thread, with a loop of their own."""
    return await world.loop.in_thread(partial(run, world, step.inside[0]))


async def _aside(world: World, step: Step) -> Any:
    """A plain call in another thread."""
    return await world.loop.plainly_in_thread(partial(world.call, step.argument, step.variant))


async def _raise(world: World, step: Step) -> Any:
    """A run that is left by an exception, which is caught outside."""
    try:
        with trace.task(world.log, f"left-{step.number}"):
            await run(world, step.inside[0])
            raise OwnError(number=step.number)
    except OwnError as error:
        return told(error)


async def _swallow(world: World, step: Step) -> Any:
    """Agents catch everything."""
    try:
        return await run(world, step.inside[0])
    except Exception:
        return "swallowed"


RUNNERS: dict[str, Callable[[World, Step], Any]] = {
    **dict.fromkeys(("call", "fail", "wait", "values", "later values", "lazy"), _simple),
    "change": _change,
    "message": _message,
    "tool": _tool,
    "pause": _pause,
    "never": _never,
    "child": _child,
    "gather": _gather,
    "group": _group,
    "completed": _completed,
    "first": _first,
    "aside": _aside,
    "thread": _thread,
    "raise": _raise,
    "swallow": _swallow,
}
