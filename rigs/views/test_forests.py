"""Of every stream, at every offset, a view is what a plain fold of its records is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import transit
from rigs.seeds import run_seed
from rigs.views.forests import POLICIES, Forest, models_of, places_of
from rigs.views.programs import Model, event, everything, root_of, rows_of
from transit import views

pytestmark = pytest.mark.slow
PERSIST = ["logged", "ephemeral", *(["stateful"] if hasattr(transit.Log, "cache") else [])]


@pytest.fixture
def chance() -> random.Random:
    """Numbers drawn with a seed that a test that fails shows."""
    seed = run_seed()
    print(f"TRANSIT_SEED={seed}")
    return random.Random(seed)


def wrong(
    view: views.View, models: dict[str, list[Model]], places: list[tuple[transit.Stream, int]]
) -> list[str]:
    """Where a view is not what the model is."""
    found = []
    for stream, at in places:
        state, model = view.of(stream, at), models[stream.name][at]
        is_same = rows_of(state) == model.rows() and state.root == root_of(model)
        if not is_same or state.applied != at:
            found.append(f"{stream.name}[:{at}]")
    return found


@pytest.mark.parametrize("persist", PERSIST)
@pytest.mark.parametrize("every", [3, 7, 50, 10_000])
def test_any_offset_of_any_branch_and_merge(
    every: int, persist: str, tmp_path: Path, chance: random.Random
) -> None:
    with transit.open(tmp_path / "store", durability="memory") as log:
        forest = Forest(log, chance)
        view = views.open(log, everything, persist=persist, savepoint_records=every)
        for _ in range(4):
            forest.grow(12)
            models = {each.name: models_of(each) for each in forest.streams}
            places = places_of(forest.streams, chance, 200)
            assert wrong(view, models, places) == []
        for policy in POLICIES:
            forest.merge(policy)
        models = {each.name: models_of(each) for each in forest.streams}
        places = places_of(forest.streams, chance, 200)
        assert wrong(view, models, places) == []
        cold = views.open(log, everything, persist=persist, savepoint_records=max(1, every // 2))
        assert wrong(cold, models, places) == []
        assert view.unsaved is None
        assert cold.unsaved is None
        longest = max(forest.streams, key=len)
        assert cold.verify(longest).ok
        names = [(each.name, at) for each, at in places]
    with transit.open(tmp_path / "store") as log:
        view = views.open(log, everything, persist=persist, savepoint_records=every)
        again = [(log.stream(name), at) for name, at in names]
        assert wrong(view, models, again) == []


def test_every_offset_of_2000_records(tmp_path: Path, chance: random.Random) -> None:
    with transit.open(tmp_path / "store", durability="memory") as log:
        forest = Forest(log, chance)
        while max(map(len, forest.streams)) < 2000:
            parent = max(forest.streams, key=len)
            forest.append(parent, 150)
            other = forest.branch(parent)
            forest.append(other, 40)
            name = f"merge-{len(forest.streams)}"
            policy = chance.choice(("append", "interleave", "custom:by-turns"))
            forest.streams.append(log.merge(name, [parent, other], policy=policy))
        stream = max(forest.streams, key=len)
        models = {stream.name: models_of(stream)}
        places = [(stream, at) for at in range(len(stream) + 1)]
        view = views.open(log, everything, savepoint_records=50)
        assert wrong(view, models, places) == []
        cold = views.open(log, everything, savepoint_records=50)
        assert wrong(cold, models, chance.sample(places, 400)) == []


def test_a_line_of_100_branches(tmp_path: Path, chance: random.Random) -> None:
    with transit.open(tmp_path / "store", durability="memory") as log:
        forest = Forest(log, chance)
        for depth in range(100):
            last = forest.streams[-1]
            at = chance.randrange(len(last) - 4, len(last))
            made = last.branch(f"deep-{depth}", at=at)
            forest.append(made, chance.randrange(1, 5))
            forest.streams.append(made)
        models = {each.name: models_of(each) for each in forest.streams}
        view = views.open(log, everything, savepoint_records=7)
        assert wrong(view, models, places_of(forest.streams[-1:], chance, 400)) == []
        assert wrong(view, models, places_of(forest.streams, chance, 300)) == []
        assert view.verify(forest.streams[-1]).ok


def test_criss_cross_merges(tmp_path: Path, chance: random.Random) -> None:
    with transit.open(tmp_path / "store", durability="memory") as log:
        forest = Forest(log, chance)
        one, two = (forest.streams[0].branch(name) for name in ("one", "two"))
        for turn in range(4):
            forest.append(one, 5)
            forest.append(two, 5)
            pair = [one, two]
            one = log.merge(f"one-{turn}", pair, policy="interleave")
            two = log.merge(f"two-{turn}", pair[::-1], policy="append")
            forest.streams += [one, two]
        assert len(log.lineage.merge_bases(one, two)) > 1
        both = log.merge("both", [one, two], policy="append")
        forest.streams.append(both)
        models = {each.name: models_of(each) for each in forest.streams}
        view = views.open(log, everything, savepoint_records=7)
        assert wrong(view, models, places_of(forest.streams, chance, 1_000)) == []


@pytest.mark.parametrize("policy", POLICIES)
def test_neither_side_of_a_fork_sees_the_others_records(
    policy: str, tmp_path: Path, chance: random.Random
) -> None:
    """What happened to langgraph: a fork replayed what the abandoned side had written."""
    path = tmp_path / "store"
    with transit.open(path) as log:
        forest = Forest(log, chance)
        thread = forest.streams[0]
        view = views.open(log, everything, savepoint_records=3)
        view.of(thread)
        at = chance.randrange(len(thread))
        fork = thread.branch("fork", at=at)
        for _ in range(3):
            forest.append(fork, 4)
            view.of(fork)
            forest.append(thread, 4)
            view.of(thread)
        view.save(fork)
        if policy not in ("fast-forward", "base"):
            params = {"selected": "fork"} if policy == "select" else None
            merged = log.merge("merged", [thread, fork], policy=policy, params=params)
        else:
            merged = log.merge("merged", [thread.branch("aside"), thread], policy=policy)
        view.save(merged)
    with transit.open(path) as log:
        view = views.open(log, everything, savepoint_records=3)
        for name in ("merged", "fork", thread.name):
            stream = log.stream(name)
            stream.append(event(chance))
            models = {name: models_of(stream)}
            places = [(stream, at) for at in range(len(stream) + 1)]
            assert wrong(view, models, places) == []
