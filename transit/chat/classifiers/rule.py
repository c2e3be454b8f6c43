"""A hand rule: who is addressed, who spoke last, and how long ago.

Owns the rule, its limits, and how often each of its cases is right: shares counted in ten annotated
logs of a busy help channel (2,500 messages), which are the scores that it gives. It needs no
training, and each decision can be followed by reading the cases of `guess`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import blake3
import msgspec

from transit.chat.classifiers.history import History
from transit.chat.classifiers.reading import Line
from transit.chat.classifying import Candidate, Decider, Ranking, Said

BOT_MINUTES: Final = 2.0
# How long a conversation rests before the next message is taken for something else.
TALK_MINUTES: Final = 15.0
# Who asks again after this has another question.
QUESTION_MINUTES: Final = 5.0
STRANGER_MINUTES: Final = 3.0

SHARES: Final = {
    "bot": 0.95,
    "goes-on": 0.5,
    "told": 0.85,
    "heard": 0.5,
    "theirs": 0.65,
    "newly-addressed": 0.4,
    "stranger": 0.5,
    "answers": 0.7,
    "greets": 0.9,
    "talks": 0.45,
    "adds": 0.6,
    "new": 0.75,
    "system": 0.98,
}
"""How often each case is right."""


class Guess(NamedTuple):
    """What the rule says, and in which case; parent: None where a thread starts."""

    parent: Line | None
    case: str


def guess(line: Line, history: History) -> Guess:
    """Which of the candidates of `history` the message answers."""
    if line.bot:
        for each in _late(line, history, BOT_MINUTES):
            if each.command:
                return Guess(each, "bot")
    own = history.candidate(history.spoke.get(line.author))
    if line.target is not None:
        return _addressed(line, line.target, own, history)
    if line.stranger:
        near = own is not None and line.minutes - own.minutes <= STRANGER_MINUTES
        return Guess(own if near else None, "stranger")
    return _open(line, own, history)


def _open(line: Line, own: Line | None, history: History) -> Guess:
    """A message to nobody: it answers what its author was told, or goes on with their own talk."""
    told = history.candidate(history.addressed.get(line.author))
    if told is not None and _follows(told, own) and line.minutes - told.minutes <= TALK_MINUTES:
        return Guess(told, "answers")
    if line.opening == "greeting":
        return Guess(None, "greets")
    limit = QUESTION_MINUTES if line.question else TALK_MINUTES
    if own is None or line.minutes - own.minutes > limit:
        return Guess(None, "new")
    theirs = None if line.partner is None else history.candidate(history.spoke.get(line.partner))
    if theirs is not None and theirs.target is None and _follows(theirs, own):
        return Guess(theirs, "talks")
    return Guess(own, "adds")


def _addressed(line: Line, target: str, own: Line | None, history: History) -> Guess:
    """A message to somebody: it answers what they said to its author, or last to all."""
    theirs = history.candidate(history.spoke.get(target))
    if own is not None and own.target == target and not _follows(theirs, own):
        return Guess(own, "goes-on")
    if theirs is None:
        return Guess(None, "newly-addressed")
    for each in _late(line, history, TALK_MINUTES):
        if each.author == target and each.target == line.author:
            if theirs.target is None and theirs is not each:
                return Guess(theirs, "heard")
            return Guess(each, "told")
    return Guess(theirs, "theirs")


def _late(line: Line, history: History, minutes: float) -> Iterator[Line]:
    """The candidates of the last so many minutes, the latest first."""
    for each in reversed(history.candidates):
        if line.minutes - each.minutes > minutes:
            return
        yield each


def _follows(later: Line | None, earlier: Line | None) -> bool:
    """Whether there is a `later`, and it was said after `earlier`, if that was."""
    return later is not None and (earlier is None or later.number > earlier.number)


class _RuleDecider:
    def __init__(self) -> None:
        self._history = History()

    def see(self, said: Said) -> None:
        self._history.see(said)

    def decide(self, said: Said) -> Ranking:
        if said.system:
            return [Candidate(None, SHARES["system"])]
        found, case = guess(self._history.read(said), self._history)
        return [Candidate(None if found is None else found.offset, SHARES[case])]


class Rule(msgspec.Struct, frozen=True):
    """The hand rule as a classifier."""

    name: str
    version: str
    digest: str

    def decider(self) -> Decider:
        """One that has seen nothing."""
        return _RuleDecider()


def rule() -> Rule:
    """The hand rule: it explains itself, and needs no weights."""
    limits = [BOT_MINUTES, TALK_MINUTES, QUESTION_MINUTES, STRANGER_MINUTES]
    digest = blake3.blake3(msgspec.json.encode([limits, SHARES], order="sorted")).hexdigest()
    return Rule("rule", "1", digest)
