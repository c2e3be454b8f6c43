"""Maps that are edited at random, and compared with a model after each edit.

`broken` says what a map did wrong, or nothing. It is what planted bugs are found with.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from rigs.views import hostile_nodes, models
from rigs.views.models import Changes, MemoryNodes, Model, applied, crafted
from transit.views.maps.map import Map, Shelf

EDITS_OF_A_HISTORY: Final = 8
# The size of nodes of level 1 in a large map: those that end too often are much smaller.
_MEAN_MIN: Final = 2600
_MEAN_MAX: Final = 5000
# What building these maps has come to since there is the first version of the format.
ROOT_OF_SMALL: Final = "80c670c7dfd9e6e22690d3b6f9fb936ce1dec1f2ab00319e2922229cbf01eb0c"
ROOT_OF_LARGE: Final = "364e17a1719b3c90d1bb1b05d645acfee3f08d179a6908055f140a4361bcd6b1"


def value(chance: random.Random) -> bytes:
    """A value of 1 to 200 bytes; of many more now and then."""
    size = chance.randrange(1, 201) if chance.random() < 0.995 else chance.choice((0, 5000, 65_536))
    return chance.randbytes(size)


def key(chance: random.Random) -> bytes:
    """One of some thousand keys, most of them short."""
    number = chance.randrange(4000)
    return b"%d" % number if number % 400 else b"%04d" % number * 256


def edits(model: Model, chance: random.Random) -> Changes:
    """Changes of one kind or another."""
    kinds: list[Callable[[Model, random.Random], Changes]] = [
        _scattered, _scattered, _scattered, _few, _few, _neighbours, _behind, _overwritten,
        _range_deleted, _most_deleted, _all_deleted, _nothing,
    ]  # fmt: skip
    return chance.choice(kinds)(model, chance)


def _scattered(model: Model, chance: random.Random) -> Changes:
    return {
        key(chance): None if chance.random() < 0.3 else value(chance)
        for _ in range(chance.choice((30, 300, 2000)))
    }


def _few(model: Model, chance: random.Random) -> Changes:
    return {
        key(chance): None if chance.random() < 0.4 else value(chance)
        for _ in range(chance.randrange(1, 4))
    }


def _neighbours(model: Model, chance: random.Random) -> Changes:
    start = key(chance)[:1000]
    return {start + b"%03d" % n: value(chance) for n in range(chance.randrange(1, 200))}


def _behind(model: Model, chance: random.Random) -> Changes:
    last = max(model, default=b"")[:1000]
    return {last + b"z%03d" % n: value(chance) for n in range(chance.randrange(1, 100))}


def _overwritten(model: Model, chance: random.Random) -> Changes:
    """Other values of the same size."""
    some = chance.sample(sorted(model), min(len(model), chance.choice((1, 50))))
    return {each: chance.randbytes(len(model[each])) for each in some}


def _range_deleted(model: Model, chance: random.Random) -> Changes:
    start, stop = sorted((key(chance), key(chance)))
    return {each: None for each in model if start <= each < stop}


def _most_deleted(model: Model, chance: random.Random) -> Changes:
    left = set(chance.sample(sorted(model), min(len(model), chance.choice((1, 2, 40)))))
    return {each: None for each in model if each not in left}


def _all_deleted(model: Model, chance: random.Random) -> Changes:
    return dict.fromkeys(model)


def _nothing(model: Model, chance: random.Random) -> Changes:
    """Values that are there, and keys that go and are not there."""
    some = chance.sample(sorted(model), min(len(model), 20))
    return {**{each: model[each] for each in some}, b"never there": None}


def history(seed: int) -> int:
    """Edit a map at random, check it after each edit; how many keys were changed."""
    chance = random.Random(seed)
    nodes, model = MemoryNodes(), Model()
    shelf = Shelf(nodes, kept_bytes=chance.choice((0, 20_000, 16 << 20)))
    if chance.random() < 0.5:
        model = {key(chance): value(chance) for _ in range(3000)}
    made = Map.build(shelf, sorted(model.items()))
    changed = 0
    for _ in range(EDITS_OF_A_HISTORY):
        changes = edits(model, chance)
        changed += len(changes)
        nodes.made.clear()
        after, after_model = made.edit(changes), applied(model, changes)
        models.check_edit((made, model), (after, after_model), nodes, [*nodes.made])
        models.check_content(nodes, after, after_model, chance)
        models.check_shape(nodes, after.root)
        ours, theirs = edits(after_model, chance), edits(after_model, chance)
        models.check_merge((after, after_model), ours, theirs, chance)
        made, model = after, after_model
    return changed


def odd_keys(level: int, low: bool) -> None:
    """Keys that always end a node of a level, or never do: nodes stay within their bounds."""
    nodes = MemoryNodes()
    keys = sorted(crafted(level, 3000, low))
    model = {each: each * 3 for each in keys}
    made = Map.build(nodes, sorted(model.items()))
    models.check_shape(nodes, made.root)
    few = dict.fromkeys(keys[:: len(keys) // 5])
    nodes.made.clear()
    after = made.edit(few)
    models.check_edit((made, model), (after, applied(model, few)), nodes, [*nodes.made])
    models.check_shape(nodes, after.root)


def long_keys() -> None:
    """Keys as long as they may be: nodes above have eight children at least, but for the last."""
    nodes = MemoryNodes()
    made = Map.build(nodes, ((b"%04d" % n * 256, b"") for n in range(2000)))
    models.check_shape(nodes, made.root)
    widths = [len(node.keys) for node in nodes.below(made.root).values() if node.level]
    assert sum(width < 8 for width in widths) <= 4, "a level that hardly shrinks"


def large() -> None:
    """Of many entries, nodes have the size that is meant, edits make few, and diffs load few."""
    chance = random.Random(0)
    nodes = MemoryNodes()
    model = {b"%08d" % (n * 7): chance.randbytes(68) for n in range(40_000)}
    made = Map.build(nodes, model.items())
    assert made.root.hex() == ROOT_OF_LARGE, f"{made.root.hex()}: maps end their nodes otherwise"
    found = nodes.below(made.root)
    for level in (0, 1):
        sizes = [len(nodes.data[digest]) for digest, node in found.items() if node.level == level]
        mean = sum(sizes) / len(sizes)
        assert _MEAN_MIN < mean < _MEAN_MAX, f"nodes of {mean} bytes at level {level}"
    for changes, most in _small_edits(model, chance):
        nodes.saved = 0
        after = made.edit(changes)
        assert nodes.saved <= most, f"{nodes.saved} nodes for {len(changes)} changes"
        left, right = Map(nodes, made.root), Map(nodes, after.root)
        nodes.loaded = 0
        assert len(list(left.diff(right))) == len(changes)
        assert nodes.loaded <= 2 * most + 4, f"{nodes.loaded} nodes for {len(changes)} differences"


def _small_edits(model: Model, chance: random.Random) -> Iterator[tuple[Changes, int]]:
    """Changes, and how many nodes they may make at most."""
    keys = sorted(model)
    yield {keys[20_000]: b"x"}, 6
    yield {keys[0] + b"0": b"x"}, 8
    yield {keys[-1] + b"0": b"x"}, 8
    yield dict.fromkeys(keys[10000:10030]), 9
    yield dict.fromkeys(keys[5000:5100], b"x" * 68), 9
    yield {each + b"5": b"y" * 68 for each in chance.sample(keys, 20)}, 90


def growing() -> None:
    """Entries come behind the last one, wherever that ends a node; and go again."""
    nodes = MemoryNodes()
    pairs = [(b"%04d" % n, b"v" * 60) for n in range(400)]
    for count in range(300):
        part, more = pairs[:count], pairs[count : count + 1 + count // 4]
        made = Map.build(nodes, part)
        longer = made.edit(dict(more))
        assert longer.root == Map.build(nodes, part + more).root, f"grown behind {count}"
        shorter = longer.edit(dict.fromkeys(key for key, _ in more))
        assert shorter.root == made.root, f"cut behind {count}"


def small() -> None:
    """The same entries have the same root for ever."""
    made = Map.build(MemoryNodes(), ((b"%04d" % n, b"v" * (n % 97)) for n in range(900)))
    assert made.root.hex() == ROOT_OF_SMALL, f"{made.root.hex()}: the root of a known map"


def hostile() -> None:
    """Nodes and trees that are not right are refused."""
    found = hostile_nodes.unnoticed()
    assert not found, f"{found} went unnoticed"


def broken(seeds: Iterable[int]) -> str:
    """What a map does wrong in any of these histories, and in what is tried once; or ""."""
    steps: list[Callable[[], object]] = [small, large, long_keys, growing, hostile]
    steps += [partial(odd_keys, level, low) for level in (0, 1) for low in (True, False)]
    steps += [partial(history, seed) for seed in seeds]
    for step in steps:
        try:
            step()
        except Exception:
            return traceback.format_exc(limit=-4)
    return ""
