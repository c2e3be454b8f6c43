"""Record a random program once, and replay it under other schedules.

A replay must show the program the very same values, make no call and write nothing. With one of its
calls changed, or left out, it must end with `ReplayDivergenceError`, whatever the program catches.
"""

from __future__ import annotations

import copy
import random
from functools import partial
from pathlib import Path
from typing import Any

import transit
from rigs.replays.loops import LOOPS, Loop
from rigs.replays.programs import Door, Step, World, calls_of, make_program, run
from transit import trace


class Failure(AssertionError):
    """A replay was not what the recording was."""


def check(folder: Path, seed: int, replays: int = 3, loop_name: str = "asyncio") -> None:
    """Record the program of this seed, replay it, and change its calls; raises `Failure`.

    loop_name: one of `LOOPS`, which runs it.
    """
    chance, loop = random.Random(seed), LOOPS[loop_name]()
    program = make_program(chance, chance.randint(3, 14))
    with transit.open(folder / f"store-{loop_name}-{seed}", durability="os") as log:
        world = World(log, Door(), random.Random(seed), loop)
        with trace.task(log, "t"):
            first = loop.run(partial(run, world, program))
        before = contents(log)
        for number in range(replays):
            try:
                found, door = replayed(log, program, seed * 1000 + number, loop)
            except BaseException as error:
                raise Failure(f"seed {seed}: {error!r}") from error
            if found != first:
                raise Failure(f"seed {seed}: saw {found!r}, was {first!r}")
            _check_untouched(log, door, before, seed)
        for step in chance.sample(calls_of(program), min(2, len(calls_of(program)))):
            _check_change(log, changed(program, step), step, seed, loop)
            _check_change(log, without(program, step), step, seed, loop)
            if contents(log) != before:
                raise Failure(f"seed {seed}: a changed program wrote")


def contents(log: transit.Log) -> dict[str, int]:
    """The count of records of every stream."""
    return {stream.name: len(stream) for stream in [*log.streams(), *log.streams("$")]}


def replayed(
    log: transit.Log, program: list[Step], seed: int, loop: Loop
) -> tuple[list[Any], Door]:
    """What the program sees in a replay, and its door."""
    door = Door(open=False)
    world = World(log, door, random.Random(seed), loop)
    with trace.replay(log, "t"):
        found = loop.run(partial(run, world, program))
    return found, door


def _check_untouched(log: transit.Log, door: Door, before: dict[str, int], seed: int) -> None:
    if door.passed:
        raise Failure(f"seed {seed}: a function ran: {door.passed}")
    if contents(log) != before:
        raise Failure(f"seed {seed}: a replay wrote")


def changed(program: list[Step], step: Step) -> list[Step]:
    """The program with another argument in one of its calls."""
    found = copy.deepcopy(program)
    place = [each.number for each in calls_of(program)].index(step.number)
    calls_of(found)[place].changed = True
    return found


def without(program: list[Step], step: Step) -> list[Step]:
    """The program without one of its calls."""
    found = copy.deepcopy(program)
    waiting = [found]
    while waiting:
        steps = waiting.pop()
        steps[:] = [each for each in steps if each.number != step.number]
        waiting += [inside for each in steps for inside in each.inside]
    return found


def _check_change(log: transit.Log, program: list[Step], step: Step, seed: int, loop: Loop) -> None:
    try:
        _, door = replayed(log, program, seed, loop)
    except trace.ReplayDivergenceError as error:
        if error.offset < 0 or not error.stream:
            raise Failure(f"seed {seed}: no place: {error}") from None
        return
    except BaseException as error:
        raise Failure(f"seed {seed}: step {step.number} changed or left out: {error!r}") from error
    raise Failure(
        f"seed {seed}: step {step.number} changed or left out, and nothing was found: {door}"
    )
