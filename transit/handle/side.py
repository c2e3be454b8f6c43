"""Side: what the two sides of an open store have in common. `Reading` and `Writing` are such.

Owns what a handle may ask of a store without asking in which mode it was opened. Leaves everything
that only a writer does to `Writing`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from transit.errors import TransitError
from transit.handle.hub import Hub
from transit.handle.promises import Callbacks
from transit.handle.replicas import Replicas
from transit.log.catalog import Catalog
from transit.log.recover import Cut
from transit.tier.remote import Remote

T = TypeVar("T")


class Side(Protocol):
    """One side of an open store; it knows nothing of the handle."""

    @property
    def catalog(self) -> Catalog:
        """What there is to read."""

    @property
    def callbacks(self) -> Callbacks:
        """The thread for users' functions."""

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """What opening cut off the log's end."""

    @property
    def look(self) -> Callable[[], None]:
        """A function that sees what there is to read now."""

    # The remote

    @property
    def remote_url(self) -> str:
        """The remote's address; empty without one."""

    @property
    def remote(self) -> Remote | None:
        """The remote; None without one."""

    @property
    def replicas(self) -> Replicas | None:
        """The remotes that follow it; None without a remote, and in mode "read"."""

    @property
    def published(self) -> int | None:
        """Count of commits known to be in the remote; None without one."""

    @property
    def remote_error(self) -> str:
        """Why publishing did not go on the last time; empty when it did."""

    def is_published(self, number: int | None) -> bool | None:
        """Whether commit `number` (None: one yet to be made) is in the remote; None without one."""

    def commit_data(self, number: int) -> bytes | None:
        """The bytes of commit `number`, from the folder or the remote; None when in neither."""

    def refresh(self) -> int:
        """Take up the commits others published since the last time; their count."""

    # Sealing

    @property
    def seal_error(self) -> TransitError | None:
        """Why sealing does not go on; None while it does."""

    def while_sealing_pauses(self, work: Callable[[], T]) -> T:
        """Do `work` while this process seals nothing; what it returns."""

    # The end

    def make_hub(self) -> Hub:
        """Where threads and functions wait for changes; made once."""

    def close(self) -> None:
        """Make everything durable and let go; an error is raised after letting go."""

    def abandon(self, message: str) -> None:
        """Make this side unusable in a child made by fork(); the parent's is not touched."""
