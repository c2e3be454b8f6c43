"""The platform's own word: what a message says that it answers, or that it starts a thread.

Owns nothing but that. Where a message says neither, the ranking is empty: nothing is decided.
"""

from __future__ import annotations

import msgspec

from transit.chat.classifying import Candidate, Decider, Ranking, Said


class _SourceDecider:
    def see(self, said: Said) -> None:
        """Nothing is kept: the word is in the message itself."""

    def decide(self, said: Said) -> Ranking:
        if said.answers is not None:
            return [Candidate(said.answers, 1.0)]
        if said.starts or said.system:
            return [Candidate(None, 1.0)]
        return []


class Source(msgspec.Struct, frozen=True):
    """The word of a platform as a classifier."""

    name: str
    version: str = "1"
    digest: str = ""

    def decider(self) -> Decider:
        """One that has seen nothing."""
        return _SourceDecider()


def source(name: str = "source") -> Source:
    """The platform's own word; `name` says which platform: "source:slack"."""
    return Source(name)
