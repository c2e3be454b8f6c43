"""Any plain function as a classifier: a language model, embeddings, a rule of one's own.

Owns what the function is given, and the check of what it says. What a judge says is written into
the channel's decisions as it stands, so it has to be a ranking: nothing that is none gets through.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import msgspec

from transit import InvalidInputError
from transit.chat.classifying import Candidate, Decider, Judge, Ranking, Said

LOOK_BACK_MAX: Final = 10_000
# Sums of floats are seldom exact.
_ABOVE_ONE_MAX: Final = 1e-9


class _JudgeDecider:
    def __init__(self, judged: Judged) -> None:
        self._name = judged.name
        self._function = judged.function
        self._before: deque[Said] = deque(maxlen=judged.look_back)

    def see(self, said: Said) -> None:
        if not said.system:
            self._before.append(said)

    def decide(self, said: Said) -> Ranking:
        if said.system:
            return [Candidate(None, 1.0)]
        before = tuple(self._before)
        return checked(self._function(said, before), before, self._name)


class Judged(msgspec.Struct, frozen=True):
    """A function as a classifier; it is given `look_back` messages that people said, at most."""

    name: str
    version: str
    function: Judge
    digest: str
    look_back: int

    def decider(self) -> Decider:
        """One that has seen nothing."""
        return _JudgeDecider(self)


def judged(
    name: str, version: str, function: Judge, digest: str = "", look_back: int = 50
) -> Judged:
    """`function` as a classifier.

    It is called with a message and those before it, the oldest first, and returns candidates: pairs
    of the offset that is answered, None for the start of a thread, and a probability, the likeliest
    first. It should say the same of the same messages; `digest` names what it depends on.
    InvalidInputError: no name or version, or `look_back` out of bounds; and later, when what the
    function says is no ranking: a score outside 0 to 1, scores that sum to more than 1, a parent
    that it was not given or names twice, or a likelier candidate after a less likely one.
    """
    if not name or not version:
        raise InvalidInputError("a judge has a name and a version")
    if not 1 <= look_back <= LOOK_BACK_MAX:
        raise InvalidInputError(f"look_back is 1 to {LOOK_BACK_MAX}, not {look_back}")
    return Judged(name, version, function, digest, look_back)


def checked(ranking: Ranking, before: tuple[Said, ...], name: str) -> Ranking:
    """The ranking, once it is one; InvalidInputError otherwise."""
    try:
        found = [Candidate(parent, float(score)) for parent, score in ranking]
    except (TypeError, ValueError):
        raise InvalidInputError(f"{name} gave no pairs of parent and score: {ranking!r}") from None
    offsets: set[int | None] = {each.offset for each in before} | {None}
    for parent, score in found:
        if type(parent) not in (int, type(None)) or parent not in offsets:
            raise InvalidInputError(
                f"{name} says that {parent!r} is answered: it was not given, or is named twice"
            )
        offsets.remove(parent)
        # Not a number is neither.
        if not 0.0 <= score <= 1.0:
            raise InvalidInputError(f"{name} gave a score of {score}: it is 0 to 1")
    scores = [each.score for each in found]
    if scores != sorted(scores, reverse=True):
        raise InvalidInputError(f"{name} does not give the likeliest candidate first: {scores}")
    if math.fsum(scores) > 1.0 + _ABOVE_ONE_MAX:
        raise InvalidInputError(f"{name} gave scores that sum to {math.fsum(scores)}: 1 at most")
    return found
