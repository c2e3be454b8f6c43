"""Short checks of views, one a process, so that bugs can be planted into it.

Each says what is wrong, or "".
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

import transit
from rigs.views.forests import Forest, models_of, places_of
from rigs.views.programs import everything, folded, refused, root_of, rows_of
from rigs.views.states_planted import plant
from transit import views

SEEDS: Final = 4


def forest(log: transit.Log, seed: int) -> str:
    """Any offset of any branch and merge."""
    chance = random.Random(seed)
    made = Forest(log, chance)
    view = views.open(log, everything, savepoint_records=4)
    for _ in range(3):
        made.grow(8)
        models = {each.name: models_of(each) for each in made.streams}
        for stream, at in places_of(made.streams, chance, 120):
            state, model = view.of(stream, at), models[stream.name][at]
            if rows_of(state) != model.rows() or state.root != root_of(model):
                return f"{stream.name}[:{at}]"
    return ""


def raising(log: transit.Log, seed: int) -> str:
    """What is there before a record that the reducer raises at."""
    chance = random.Random(seed)
    stream = Forest(log, chance).streams[0]
    stream.append(refused(chance))
    count = len(stream) - 1
    view = views.open(log, everything)
    try:
        view.of(stream)
    except views.ReducerError:
        is_right = rows_of(view.of(stream, count)) == folded(stream, count).rows()
        return "" if is_right else "what was done before it raised is there"
    return "it did not raise"


class Row(msgspec.Struct, frozen=True):
    """A row."""

    key: str
    text: str = ""


def _both(_: Row | None, one: Row | None, other: Row | None) -> Row | None:
    return (
        one if other is None else Row(other.key, f"{'' if one is None else one.text}+{other.text}")
    )


rows = views.table("rows", Row, key="key", merge=_both)


@views.reducer(rows, reads=Row, merge="three-way")
def last(rows: Any, event: Row, at: views.At) -> None:
    """The last one counts."""
    rows.put(event)


def merges(log: transit.Log, seed: int) -> str:
    """States of a merge of a three-way merge and a branch of it, known or not."""
    chance = random.Random(seed)

    def fill(stream: transit.Stream, count: int) -> None:
        for number in range(count):
            stream.append(msgspec.json.encode(Row(chance.choice("abc"), f"{stream.name}{number}")))

    root = log.create("root")
    fill(root, 4)
    sides = [root.branch("one"), root.branch("two")]
    for side in sides:
        fill(side, 5)
    both = log.merge("both", sides, policy="append")
    fill(both, 5)
    branch = both.branch("branch", at=len(both) - 2)
    fill(branch, 5)
    again = log.merge("again", [branch, both], policy="interleave")
    fill(again, 3)
    streams = [*sides, both, branch, again]
    view = views.open(log, last, savepoint_records=3)
    for _ in range(60):
        stream = chance.choice(streams)
        at = chance.randrange(len(stream) + 1)
        fresh = views.open(log, last, persist="ephemeral")
        if view.of(stream, at).root != fresh.of(stream, at).root:
            return f"{stream.name}[:{at}] depends on what is known"
    return ""


def histories(log: transit.Log, seed: int) -> str:
    """Savepoints and places that are about other records."""
    stream = Forest(log, random.Random(seed)).streams[0]
    view = views.open(log, everything, savepoint_records=4)
    view.save(stream)
    roots = log.layer("views").stream(f"{view.id}/roots/{stream.uid}")
    stream.append(b'{"do":[]}')
    point = msgspec.json.decode(roots[0].payload)
    roots.append(msgspec.json.encode({**point, "next": len(stream), "last": "ab" * 32}))
    cold = views.open(log, everything)
    if rows_of(cold.of(stream)) != folded(stream).rows():
        return "a savepoint of another history was taken"
    return ""


def delivering(log: transit.Log, seed: int) -> str:
    """Two subscribers of one name; one that is made anew; one whose effect fails."""
    stream = Forest(log, random.Random(seed)).streams[0]
    results = log.create("results")
    deliveries = [views.open(log, everything).changes(stream, "sub") for _ in range(2)]
    ids = []
    for each in deliveries:
        change = next(each)
        try:
            with log.batch() as batch:
                batch.append(results, change.id.encode())
                change.done(batch)
        except transit.ConflictError:
            continue
    try:
        change = next(views.open(log, everything).changes(stream, "sub"))
        change.done()
        ids = [record.payload.decode() for record in results] + [change.id]
    except transit.TransitError as error:
        return f"it does not go on: {error}"
    if len(ids) != len({*ids}):
        return "one change was done twice"
    return _effects(log, stream)


def _effects(log: transit.Log, stream: transit.Stream) -> str:
    view = views.open(log, everything)
    change = next(view.changes(stream, "other"))
    effect = change.effect()
    effect.__enter__()
    effect.__exit__(OSError, OSError("unplugged"), None)
    again = next(views.open(log, everything).changes(stream, "other"))
    return "" if again.is_repeated and again.id == change.id else "an effect was begun unannounced"


CHECKS: Final[Mapping[str, Callable[[transit.Log, int], str]]] = {
    each.__name__: each for each in (forest, raising, merges, histories, delivering)
}


def main(name: str, path: str, planted: str) -> None:
    """Say what one of the checks finds first, with a bug planted or none."""
    plant(planted)
    for seed in range(SEEDS):
        with transit.open(f"{path}-{seed}", durability="memory") as log:
            problem = CHECKS[name](log, seed)
        if problem:
            sys.stdout.write(f"seed {seed}: {problem}\n")
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
