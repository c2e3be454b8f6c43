"""What a connected stream says of how long its records are there.

It says how far it was trimmed, and that it was deleted. What lets records go, or keeps them, is
done where the store is: see `transit.client.absent`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NoReturn

from transit.client.absent import refuse
from transit.engine.keeping import Kept
from transit.protocol.calls import Description


class ConnectedKept(Kept):
    """The side of a stream that says how long its records are there."""

    __slots__ = ()

    @abstractmethod
    def _look(self) -> Description:
        """The stream, as the server says that it is now."""

    @property
    def first_offset(self) -> int:
        """See `Stream.first_offset`."""
        return self._look().first_offset

    @property
    def deleted(self) -> bool:
        """See `Stream.deleted`."""
        return self._look().deleted

    @property
    def retention(self) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Stream", "retention")

    @property
    def holds(self) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Stream", "holds")

    def trim(self, *_: object, **__: object) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Stream", "trim")

    def retain(self, *_: object, **__: object) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Stream", "retain")

    def hold(self, *_: object, **__: object) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Stream", "hold")

    def release_hold(self, *_: object, **__: object) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Stream", "release_hold")
