"""What a classifier sees of a message, and what it says of it.

Owns the protocol between the channel's runner (`transit.chat.deciding`) and classifiers. A decision
is made from a message and what was said before it, never from what came later: a decider sees the
messages of a channel in order, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec


class Said(msgspec.Struct, frozen=True, gc=False):
    """A message as it was posted: not as it was edited later.

    offset: its place in the channel. author: id of who wrote it. name: what the author was called
    then. time: UTC nanoseconds. system: a line of the platform itself (a join, a rename), which
    nobody said. answers: the offset of the message that the poster, or the platform, says it
    answers; None where it says nothing. starts: whether it is said to start a thread.
    """

    offset: int
    author: str
    name: str
    text: str
    time: int
    system: bool = False
    answers: int | None = None
    starts: bool = False


class Candidate(NamedTuple):
    """A message that may be answered, and how likely it is.

    parent: its offset; None: the message starts a thread. score: a probability, 0 to 1.
    """

    parent: int | None
    score: float


Ranking = Sequence[Candidate]
"""Candidates, the likeliest first; their scores sum to 1 at most. Empty: nothing is said."""


class Decider(Protocol):
    """A classifier at work on one channel, from one message on."""

    def see(self, said: Said) -> None:
        """A message that came next, whatever was decided of it."""

    def decide(self, said: Said) -> Ranking:
        """Which of the messages seen so far `said` answers. It is not seen yet by that."""


class Classifier(Protocol):
    """What threads messages. Its decisions depend on nothing but what a decider was given.

    name, version: which one; digest: of its weights or rules, "" where it has none to name.
    """

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def version(self) -> str:
        """Another one where its decisions may differ."""

    @property
    def digest(self) -> str:
        """Of its weights or rules."""

    def decider(self) -> Decider:
        """One that has seen nothing."""


Judge = Callable[[Said, Sequence[Said]], Ranking]
"""A plain function as a classifier: the message, and those before it, the oldest first."""
