"""Steps that let records go, and a history of them."""

from __future__ import annotations

from dataclasses import dataclass

from rigs.crash.erasures import SECRET
from rigs.crash.steps import AppendMany, Session, Step
from transit.config import durability_level
from transit.testing.model import ModelLog


@dataclass(frozen=True)
class Delete(Step):
    """A stream that nothing depends on, deleted."""

    stream: str
    durability: str

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log.delete(self.stream, reason="crash", durability=self.durability)
        return durability_level(self.durability)

    def foresee(self, model: ModelLog) -> None:
        """As `Step`."""
        model.delete(self.stream)


@dataclass(frozen=True)
class Trim(Step):
    """A stream that begins later."""

    stream: str
    before: int
    durability: str

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        stream = session.log.stream(self.stream)
        stream.trim(before=self.before, durability=self.durability)
        return durability_level(self.durability)

    def foresee(self, model: ModelLog) -> None:
        """As `Step`."""
        model.trim(self.stream, self.before)


@dataclass(frozen=True)
class Erase(Step):
    """The bytes of what is gone, freed; everything is published by then."""

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log.erase()
        return 3


def secrets(count: int, time: int) -> AppendMany:
    """Records that must be nowhere once they are erased."""
    payloads = tuple(b"SECRET %d " % number * 30 for number in range(count))
    return AppendMany(SECRET, payloads, tuple(range(time, time + count)), "os")
