"""The model's side that lets records go: deleting and trimming.

A stream keeps its whole history in the model, and `first` says from which offset it shows it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

from transit.errors import DependentsError, ErasedError, OffsetError
from transit.testing.modelled import ModelPosition, ModelStream


class Removing:
    """What a `ModelLog` has for records that go."""

    streams: dict[str, ModelStream]

    @property
    @abstractmethod
    def known(self) -> dict[str, ModelStream]:
        """All streams, hidden ones too."""

    @abstractmethod
    def hide(self, name: str) -> str:
        """Out of sight; the key it goes by from here on."""

    def dependents(self, name: str, before: int) -> Iterator[str]:
        """The streams that need records of a stream before an offset."""
        for other in self.known.values():
            if other.deleted or other.name == name:
                continue
            if other.kind == "branch":
                ((parent, fork),) = other.parents
                if parent == name and fork >= other.first and other.first < before:
                    yield other.name
            elif any(
                record.origin.stream == name and record.origin.offset < before
                for record in other.records[other.first : other.start]
            ):
                yield other.name

    def inherited_gone(self, name: str, origins: Sequence[ModelPosition]) -> int:
        """How many records at the start of a merge are gone; none may be gone after one is not."""
        gone = [
            self.known[origin.stream].deleted or origin.offset < self.known[origin.stream].first
            for origin in origins
        ]
        if any(gone[sum(gone) :]):
            raise ErasedError(f"{name}: records in its midst are gone")
        return sum(gone)

    def delete(self, name: str) -> None:
        """Its records are gone; finished and hidden."""
        stream = self.streams[name]
        if any(self.dependents(name, len(stream.records) + 1)):
            raise DependentsError(f"{name}: needed")
        stream.deleted = stream.finished = True
        self.hide(name)

    def trim(self, name: str, before: int) -> None:
        """It begins at an offset."""
        stream = self.streams[name]
        if not 0 <= before <= len(stream.records):
            raise OffsetError(f"{name}: no offset {before}")
        if before > stream.first:
            if any(self.dependents(name, before)):
                raise DependentsError(f"{name}: needed")
            stream.first = before
