"""How a run is replayed, what it finds, and which recorded run one without a name is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from transit import Stream, TransitError
from transit.trace.events import ChildRun
from transit.trace.matching import Recording

Children = list[tuple[int, ChildRun]]
End = Literal["end"]


class ReplayDivergenceError(TransitError):
    """The program did not do what it did when it was recorded.

    `offset` is that of the record where they part, `expected` and `actual` the two calls as text.
    """

    exit_code = 10

    def __init__(self, stream: str, offset: int, *, expected: str, actual: str) -> None:
        super().__init__(f"{stream}@{offset}: expected {expected}, got {actual}")
        self.stream = stream
        self.offset = offset
        self.expected = expected
        self.actual = actual


class Shared:
    """What a replay and those of the runs begun in it have in common."""

    def __init__(self) -> None:
        self.divergence: ReplayDivergenceError | None = None


class Way(msgspec.Struct, frozen=True):
    """How a run is replayed; the arguments of `replay`."""

    live_from: int | End | None = None
    branch_name: str | None = None
    allow_redacted: bool = False

    @property
    def inside(self) -> Way:
        """How the runs begun inside it are."""
        return Way(allow_redacted=self.allow_redacted)


class Parent(Protocol):
    """The replay of a run in which others were begun."""

    def take_child(
        self, children: Children, fits: Callable[[Recording], bool]
    ) -> tuple[Stream, Recording] | None:
        """The first of these runs that is free and fits, or is free; None when none is."""
        ...


class Alike:
    """Runs begun inside one run that nothing tells apart but what they do.

    They were given no name, and begun for the same purpose by parts of the program that ran beside
    each other.
    """

    def __init__(self, begun_in: Parent, children: Children) -> None:
        self._begun_in = begun_in
        self._children = children

    def choose(self, fits: Callable[[Recording], bool]) -> tuple[Stream, Recording] | None:
        """The first that is free and fits, or is free; it is taken then."""
        return self._begun_in.take_child(self._children, fits)


def children_of(recording: Recording, name: str | None, purpose: str) -> Children:
    """The recorded runs that one begun with this name, None: without one, may be."""
    if name is not None:
        return [each for each in recording.children if each[1].run == name]
    return [e for e in recording.children if not e[1].named and e[1].purpose == purpose]
