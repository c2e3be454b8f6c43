"""A linear model: each feature of a candidate has a weight, and the candidates share out 1.

Owns the weights, their file, and the sum. Candidates are the last messages that people wrote and
"starts a thread"; the exponentials of their sums, divided by the sum of all, are the scores. The
weights that come with the package were found by `scripts/train_threads.py`, and nothing else is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import resources
from itertools import accumulate
from pathlib import Path
from typing import Final

import blake3
import msgspec

from transit import InvalidInputError
from transit.chat.classifiers.features import (
    BETWEEN,
    CANDIDATE,
    COLUMNS,
    MESSAGE,
    RELATED,
    RELATION,
    STARTS,
    STEPS,
    WEIGHING,
    Watch,
    bits_of,
)
from transit.chat.classifying import Candidate, Decider, Ranking, Said

BEST_MAX: Final = 10
SUMS_MAX: Final = 4_096
"""How many sums of one kind a decider remembers."""
WEIGHT_MAX: Final = 100.0


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of weights.

    starts: by the names of features, two of them joined by " & ". columns: the features that
    candidates have, in the order of `any`. relations: for each a weight of its own, then one a
    column, then one for each of `weighing`, features of the message.
    """

    version: str
    attribution: str
    starts: dict[str, float]
    columns: tuple[str, ...]
    weighing: tuple[str, ...]
    any: tuple[float, ...]
    relations: dict[str, tuple[float, ...]]

    @property
    def digest(self) -> str:
        """BLAKE3 of the canonical JSON: names sorted, no spaces."""
        return blake3.blake3(msgspec.json.encode(self, order="sorted")).hexdigest()


class Linear(msgspec.Struct, frozen=True):
    """The linear model as a classifier."""

    name: str
    version: str
    digest: str
    weights: Weights

    def decider(self) -> Decider:
        """One that has seen nothing."""
        return _LinearDecider(self.weights)


def linear(weights: str | Path | Mapping[str, object] | None = None) -> Linear:
    """The linear model, with its own weights, those of a file, or those given.

    InvalidInputError: they are no weights for the features that this version finds.
    """
    if weights is None:
        own = resources.files(__package__).joinpath("weights.json").read_bytes()
        found = _decoded(own, "the weights of the package")
    elif isinstance(weights, Mapping):
        found = _decoded(msgspec.json.encode(dict(weights)), "weights")
    else:
        try:
            found = _decoded(Path(weights).read_bytes(), str(weights))
        except OSError as error:
            raise InvalidInputError(f"{weights}: no weights can be read: {error}") from error
    return Linear("linear", found.version, found.digest, found)


def _decoded(data: bytes, place: str) -> Weights:
    try:
        found = msgspec.json.decode(data, type=Weights)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{place}: no weights: {error}") from error
    numbers = [*found.starts.values(), *found.any]
    for own in found.relations.values():
        numbers += own
    fitting = (
        found.starts.keys() <= {" & ".join(names) for names in STARTS}
        and found.columns == COLUMNS
        and found.weighing == WEIGHING
        and len(found.any) == len(COLUMNS)
        and found.relations.keys() == set(RELATION)
        and all(len(own) == len(RELATED) for own in found.relations.values())
    )
    if not fitting:
        raise InvalidInputError(f"{place}: weights for other features: train them again")
    if not all(abs(number) <= WEIGHT_MAX for number in numbers):
        raise InvalidInputError(
            f"{place}: a weight is no number from -{WEIGHT_MAX} to {WEIGHT_MAX}"
        )
    return found


class _Sums:
    """The weights of a set of features, summed once for each set that comes up."""

    def __init__(self, weights: list[tuple[int, float]]) -> None:
        self._weights = weights
        self._known: dict[int, float] = {}

    def of(self, bits: int) -> float:
        found = self._known.get(bits)
        if found is None:
            found = math.fsum(weight for mask, weight in self._weights if bits & mask == mask)
            if len(self._known) >= SUMS_MAX:
                self._known.clear()
            self._known[bits] = found
        return found


class _Relation:
    """What a candidate of one relation weighs."""

    def __init__(self, weights: Weights, name: str) -> None:
        own = weights.relations[name]
        both = [a + b for a, b in zip(own[1:], weights.any, strict=False)]
        of_candidate, rest = both[: len(CANDIDATE)], both[len(CANDIDATE) :]
        of_both, rest = rest[: len(BETWEEN)], rest[len(BETWEEN) :]
        self.candidate = _Sums(list(zip(bits_of(CANDIDATE).values(), of_candidate, strict=True)))
        self.between = _Sums(list(zip(bits_of(BETWEEN).values(), of_both, strict=True)))
        self.steps = list(accumulate(rest[: len(STEPS)], initial=0.0))
        self.minutes = list(accumulate(rest[len(STEPS) :], initial=0.0))
        bits = bits_of(MESSAGE)
        weighing = zip(WEIGHING, own[-len(WEIGHING) :], strict=True)
        self.message = _Sums([(0, own[0]), *((bits[name], weight) for name, weight in weighing)])


class _LinearDecider:
    def __init__(self, weights: Weights) -> None:
        self._watch = Watch()
        self._relations = [_Relation(weights, name) for name in RELATION]
        bits = bits_of(MESSAGE) | {"": 0}
        self._starts = _Sums(
            [
                (sum(bits[each] for each in name.split(" & ")), weight)
                for name, weight in weights.starts.items()
            ]
        )

    def see(self, said: Said) -> None:
        self._watch.see(said)

    def decide(self, said: Said) -> Ranking:
        if said.system:
            return [Candidate(None, 1.0)]
        line = self._watch.read(said)
        bits = self._watch.message(line)
        parents: list[int | None] = [None]
        sums = [self._starts.of(bits)]
        of_message = [relation.message.of(bits) for relation in self._relations]
        for offset, place, candidate, between, steps, minutes in self._watch.sights(line):
            relation = self._relations[place]
            parents.append(offset)
            sums.append(
                of_message[place]
                + relation.candidate.of(candidate)
                + relation.between.of(between)
                + relation.steps[steps]
                + relation.minutes[minutes]
            )
        return _ranked(parents, sums)


def _ranked(parents: list[int | None], sums: list[float]) -> Ranking:
    """The likeliest, with their shares of all."""
    highest = max(sums)
    powers = [math.exp(each - highest) for each in sums]
    total = math.fsum(powers)
    best = sorted(range(len(sums)), key=powers.__getitem__, reverse=True)[:BEST_MAX]
    return [Candidate(parents[place], powers[place] / total) for place in best]
