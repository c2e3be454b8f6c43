"""Views against plain loops, step by step, on operations that hypothesis chooses.

TRANSIT_MODEL_EXAMPLES and TRANSIT_MODEL_STEPS say how many; a failure prints the steps that lead to
it and names the machine and its seed. Kept shorter than those of the engine, which they run too.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import Phase

from rigs.machines.folds import FOLDS
from rigs.machines.machine import World
from rigs.machines.machines import Shared, Viewed, explore, rules_of
from rigs.machines.viewing import Forking, Publishing, Viewing
from rigs.views.states_planted import planted
from transit import views

EXAMPLES = int(os.environ.get("TRANSIT_MODEL_EXAMPLES", "500")) // 4
STEPS = int(os.environ.get("TRANSIT_MODEL_STEPS", "50"))
PARTS = 2

# Planted bugs of views, each with the machine that must find it.
FOUND_BY: dict[str, type[World]] = {
    "fork_not_seen": Viewed,
    "written_not_seen": Viewed,
    "raised_is_kept": Viewed,
    "applied_twice": Viewed,
    "skipped_forgotten": Viewed,
    "headers_forgotten": Viewed,
    "done_is_forgotten": Viewed,
    "position_too_far": Shared,
}


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("machine", [Viewed, Shared])
def test_views_and_plain_loops_never_differ(machine: type[World], part: int) -> None:
    examples = EXAMPLES // 2 // PARTS
    fired = explore(machine, examples, STEPS, part)
    print(f"{machine.__name__}, seed {part}: {examples} examples, {fired.total()} steps")
    own = {Viewed: Forking, Shared: Publishing}[machine]
    if examples * STEPS >= 1500:
        asked = rules_of(own) - rules_of(World)
        assert len(asked & set(fired)) > len(asked) // 2


def test_a_machine_of_views_has_the_rules_of_views() -> None:
    assert rules_of(Viewing) < rules_of(Viewed)
    assert rules_of(Viewing) < rules_of(Shared)
    assert {"fork", "join", "subscribe", "lose_packs"} < rules_of(Viewed)


def test_packs_that_are_lost_were_there() -> None:
    """The rule that loses them finds some."""
    world = Viewed()
    try:
        world.create_two(metadata={})
        view = world.view(FOLDS[0], "stateful")
        view.save("left")
        assert list(world.folder.rglob("*.pack"))
        world.lose_packs(fold=FOLDS[0], spot=0)
    finally:
        world.teardown()


def test_some_records_are_refused_and_some_are_skipped() -> None:
    """What the machines' views say of those is tried, so there are some of them."""
    world = Viewed()
    try:
        world.create_two(metadata={})
        stream = world.stream("left")
        stream.append(b"x" * 36, timestamp=9)
        world.model.append("left", b"x" * 36, 9)
        with pytest.raises(views.ReducerError):
            world.view(FOLDS[0], "logged").of(stream)
        assert [offset for offset, _ in world.view(FOLDS[1], "logged").skipped(stream)] == [3]
        world.look(fold=FOLDS[0], persist="logged", spot=0, cut=None)
        world.look(fold=FOLDS[1], persist="logged", spot=0, cut=None)
    finally:
        world.teardown()


@pytest.mark.parametrize("name", FOUND_BY)
def test_planted_bug_of_views_is_found(name: str) -> None:
    with planted(name), pytest.raises(Exception) as found:  # noqa: PT011
        explore(FOUND_BY[name], 600, 30, 1, (Phase.generate,))
    assert "state = " in "\n".join(found.value.__notes__)
