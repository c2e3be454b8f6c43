"""Followers: what a thread of the store's own tells of changes, as a stream's state knows them.

Owns what they are told. When, and in which thread, is for `transit.handle.hub`.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final, Protocol

from transit.errors import TransitError
from transit.watches import Latch


class Follower(Protocol):
    """Something that is told by a thread of the store's own; known by its identity."""

    def tell(self, stream_id: int, reached: int, finished: bool) -> None:
        """The stream's records before offset `reached` can be read; `finished`: no more come."""

    def end(self, error: TransitError | None) -> None:
        """Nothing more will be told; None: the store was closed."""


NO_LISTENERS: Final[AbstractSet[Latch]] = frozenset()
NO_FOLLOWERS: Final[AbstractSet[Follower]] = frozenset()
