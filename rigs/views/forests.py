"""Streams that branch and merge at random, for views to be of."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from contextlib import suppress

import transit
from rigs.views.programs import Model, event

POLICIES = ("append", "interleave", "select", "fast-forward", "base", "custom:by-turns")


def by_turns(
    suffixes: tuple[tuple[transit.Record, ...], ...], _: Mapping[str, object]
) -> Iterable[transit.Record]:
    """A merge policy: one record of each parent after another, the last parent first."""
    longest = max(map(len, suffixes), default=0)
    return [each[at] for at in range(longest) for each in reversed(suffixes) if at < len(each)]


class Forest:
    """Streams of one store, made at random."""

    def __init__(self, log: transit.Log, chance: random.Random) -> None:
        transit.register_policy("by-turns", by_turns)
        self.log, self.chance = log, chance
        self.streams = [log.create("root-0")]
        self.policies: set[str] = set()
        self.append(self.streams[0], 12)

    def append(self, stream: transit.Stream, count: int) -> None:
        """Append so many records."""
        if count:
            stream.append_many([event(self.chance) for _ in range(count)])

    def grow(self, steps: int) -> None:
        """Do so many steps."""
        for _ in range(steps):
            step = self.chance.choice(("append", "append", "branch", "branch", "merge", "merge"))
            if step == "append":
                self.append(self.chance.choice(self.streams), self.chance.randrange(1, 12))
            elif step == "branch":
                self.branch(self.chance.choice(self.streams))
            else:
                self.merge(self.chance.choice(POLICIES))

    def branch(self, parent: transit.Stream) -> transit.Stream:
        """A branch somewhere, with some records of its own or none."""
        at = self.chance.choice((None, self.chance.randrange(len(parent)))) if parent else None
        made = parent.branch(f"branch-{len(self.streams)}", at=at)
        self.streams.append(made)
        self.append(made, self.chance.randrange(8))
        return made

    def merge(self, policy: str) -> None:
        """A merge of two or three, where there can be one."""
        count = self.chance.choice((2, 2, 3))
        if len(self.streams) < count:
            return
        parents = self.chance.sample(self.streams, count)
        params = {"selected": parents[0].name} if policy == "select" else None
        name = f"merge-{len(self.streams)}"
        # There is no merge of any parents by any policy.
        with suppress(transit.InvalidInputError, transit.ConflictError):
            made = self.log.merge(name, parents, policy=policy, params=params)
            self.streams.append(made)
            self.policies.add(policy)
            self.append(made, self.chance.randrange(5))


def places_of(
    streams: Iterable[transit.Stream], chance: random.Random, most: int
) -> list[tuple[transit.Stream, int]]:
    """Every offset of every stream, or so many of them, in any order."""
    found = [(each, at) for each in streams for at in range(len(each) + 1)]
    chance.shuffle(found)
    return found[:most]


def models_of(stream: transit.Stream) -> list[Model]:
    """The plain fold after each record, the empty one first."""
    models = [Model()]
    for record in stream.read(0, len(stream)):
        models.append(models[-1].take(record.payload, record.offset))
    return models
