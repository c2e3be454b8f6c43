"""A classifier whose decisions are known beforehand: each message answers the one before it."""

from __future__ import annotations

from transit.chat.classifying import Candidate, Ranking, Said


class Last:
    """Everything answers what was said before it; the first message starts a thread."""

    name, version, digest = "last", "1", ""

    def __init__(self) -> None:
        self._before: int | None = None

    def decider(self) -> Last:
        """One that has seen nothing."""
        return Last()

    def see(self, said: Said) -> None:
        """A message that came next."""
        self._before = said.offset

    def decide(self, said: Said) -> Ranking:
        """The message before."""
        return [Candidate(self._before, 1.0)]
