"""The engine against the model, step by step, on operations that hypothesis chooses.

TRANSIT_MODEL_EXAMPLES and TRANSIT_MODEL_STEPS say how many examples of how many steps, in all; a
failure prints the steps that lead to it and names the machine and its seed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from unittest.mock import patch

import pytest
from hypothesis import Phase

import transit
from rigs.machines.evidence import Evidence
from rigs.machines.machine import World
from rigs.machines.machines import Alone, Followed, Going, Named, Tiered, explore, rules_of, soak
from rigs.machines.plants import planted

EXAMPLES = int(os.environ.get("TRANSIT_MODEL_EXAMPLES", "500"))
STEPS = int(os.environ.get("TRANSIT_MODEL_STEPS", "50"))
PARTS = 3

# Each with the machine that must find it.
FOUND_BY = {
    "fork_before_the_head": Alone,
    "batch_without_conditions": Alone,
    "records_at_once_are_miscounted": Alone,
    "merge_id_forgotten": Alone,
    "interleave_appends": Alone,
    "cursor_stays": Alone,
    "cursor_moves_before_its_batch": Alone,
    "cursor_state_is_kept": Alone,
    "cursor_without_conditions": Alone,
    "merge_without_what_is_staged": Alone,
    "staged_times_forgotten": Alone,
    "merge_without_conditions": Alone,
    "clock_steps_back": Alone,
    "given_times_bind": Alone,
    "closing_forgets": Alone,
    "others_not_read": Alone,
    "wal_dropped_unread": Alone,
    "checkpoint_without_the_last_commit": Alone,
    "bytes_of_a_leaf_unchecked": Alone,
    "finished_goes_on": Named,
    "hidden_name_kept": Named,
    "hidden_after_sealing_is_shown": Named,
    "needs_forgotten": Going,
    "begins_at_nothing": Going,
    "a_chunk_is_left": Going,
    "nothing_adopted": Tiered,
    "fence_forgotten": Tiered,
    "rebase_onto_their_head": Tiered,
    "restore_without_the_last_commit": Tiered,
}

SURFACE = (transit.Log, transit.Stream, transit.Lineage, transit.Cursor, transit.WriteBatch)
# What the machine of names asks for.
FATES = {
    "Log.hide", "Log.show", "Log.hidden", "Log.layer", "Stream.finish", "WriteBatch.finish",
    "WriteBatch.hide", "WriteBatch.show",
}  # fmt: skip
# What only says how something looks, or ends a block; what counts this process's own doings, a
# record that the model cannot foresee, files of rooms above, and whole segments: they have tests of
# their own.
ASIDE = {"is_of", "metrics", "append_account", "cache", "segments"}


def methods() -> Iterator[tuple[type, str]]:
    for kind in SURFACE:
        for name, value in vars(kind).items():
            if callable(value) and not name.startswith("_") and name not in ASIDE:
                yield kind, name


def counted(called: Counter[str], kind: type, name: str) -> Callable[..., object]:
    right = getattr(kind, name)

    def call(*arguments: object, **options: object) -> object:
        called[f"{kind.__name__}.{name}"] += 1
        return right(*arguments, **options)

    return call


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("machine", [Alone, Tiered, Followed, Named, Going])
def test_engine_and_model_never_differ(machine: type[World], part: int) -> None:
    examples = EXAMPLES // 2 // PARTS + (part < EXAMPLES // 2 % PARTS)
    called: Counter[str] = Counter()
    with ExitStack() as stack:
        for kind, name in methods():
            stack.enter_context(patch.object(kind, name, counted(called, kind, name)))
        fired = explore(machine, examples, STEPS, part)
    print(f"{machine.__name__}, seed {part}: {examples} examples, {fired.total()} steps")
    if examples * STEPS >= 1500:
        assert rules_of(machine) - {"create_two"} - set(fired) == set()
    if machine in (Tiered, Named) and examples * STEPS >= 1500:
        # The machines together ask for the whole of the store's public surface.
        surface = {f"{kind.__name__}.{name}" for kind, name in methods()}
        asked = surface & FATES if machine is Named else surface - FATES
        assert asked - set(called) == set()


def test_there_are_rules_enough() -> None:
    assert len(rules_of(Alone)) >= 25
    assert len(rules_of(Tiered)) >= len(rules_of(Alone) - rules_of(Evidence)) + 15


@pytest.mark.parametrize("name", FOUND_BY)
def test_planted_bug_is_found(name: str) -> None:
    with planted(name), pytest.raises(Exception) as found:  # noqa: PT011
        explore(FOUND_BY[name], 600, 30, 1, (Phase.generate,))
    assert "state = " in "\n".join(found.value.__notes__)


def test_soak_says_what_it_did_and_tells_the_seed_of_a_difference() -> None:
    said: list[str] = []
    with planted("fork_before_the_head"):
        assert soak(600, 7, said.append, (Phase.generate,)) == 1
    assert said[0].startswith("Alone, seed 7: ")
    assert soak(0, 7, said.append) == 0
    assert said[-1] == "0 examples of 100 steps, 0 steps in all, 0 differences"


def test_a_merge_that_was_lost_is_not_asked_for_again_where_another_took_its_name() -> None:
    world = Tiered()
    try:
        world.create_two(metadata={})
        world.rival_begins(added=[(b"theirs", 5, None)], name="x", spot=0)
        world.merge(
            base=None, durability="os", given=False, metadata={}, name="x", number=0,
            parents=[(0, None), (1, None)], policy="append",
        )  # fmt: skip
        assert set(world.merges) == {"x"}
        world.lose_the_disk(how=0)
        assert world.merges == {}
        assert world.log.stream("x").kind == "root"
    finally:
        world.teardown()
