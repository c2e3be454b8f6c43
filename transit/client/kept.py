"""What a connected stream says of how long its records are there, and its side that lets them go.

What changes it is asked of the server, where the token needs the right admin. A request whose
answer is lost is sent again: all of them write nothing the second time.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

from transit.client.connection import Connection
from transit.engine.became import Became, Retention
from transit.engine.checks import as_index, check_numbers, check_writer
from transit.engine.deleting import Deletion
from transit.engine.keeping import Kept, keep_of
from transit.errors import InvalidInputError, NotFoundError
from transit.format.life import check_basis, check_reason
from transit.protocol.calls import Description
from transit.protocol.keeping import (
    Basis,
    HoldRequest,
    ReleaseRequest,
    RetainRequest,
    RetentionAnswer,
    TrimRequest,
)
from transit.protocol.paths import encode_name


class ConnectedKept(Kept):
    """The side of a stream that says how long its records are there, and lets them go."""

    __slots__ = ()

    _connection: Connection

    @property
    @abstractmethod
    def reference(self) -> str:
        """What names the stream in a request."""

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
    def retention(self) -> Retention:
        """See `Stream.retention`."""
        return self._kept().retention

    @property
    def holds(self) -> tuple[str, ...]:
        """See `Stream.holds`."""
        return tuple(hold.reason for hold in self._kept().holds)

    def became(self) -> tuple[Became, ...]:
        """See `Stream.became`."""
        return self._kept().became

    def trim(
        self,
        *,
        before: int,
        reason: str = "",
        basis: str = "owner",
        dry_run: bool = False,
        expect: int | None = None,
        writer: str = "",
        durability: str | None = None,
    ) -> Deletion:
        """See `Stream.trim`; the server says who writes."""
        check_no_writer(writer)
        check_basis(basis)
        asked = TrimRequest(
            before=as_index(before, "before"), reason=check_reason(reason),
            basis=cast("Basis", basis), dry_run=dry_run, expect=expect,
            durability=self._connection.wanted(durability),
        )  # fmt: skip
        return self._connection.post(self._path("trim"), asked, Deletion)

    def retain(
        self,
        retention: Retention,
        *,
        expect: int | None = None,
        reason: str = "",
        writer: str = "",
        durability: str | None = None,
    ) -> None:
        """See `Stream.retain`; the server says who writes."""
        check_no_writer(writer)
        keep_of(retention)
        check_numbers(None, expect)
        asked = RetainRequest(
            keep_for=retention.keep_for, expire_after=retention.expire_after,
            bytes_max=retention.bytes_max, count_max=retention.count_max, expect=expect,
            reason=check_reason(reason), durability=self._connection.wanted(durability),
        )  # fmt: skip
        self._connection.post(self._path("retain"), asked, RetentionAnswer)

    def hold(self, reason: str, *, writer: str = "", durability: str | None = None) -> None:
        """See `Stream.hold`; the server says who writes."""
        check_no_writer(writer)
        asked = HoldRequest(
            reason=check_reason(reason), durability=self._connection.wanted(durability)
        )
        self._connection.post(self._path("hold"), asked, RetentionAnswer)

    def release_hold(self, reason: str, *, writer: str = "", durability: str | None = None) -> None:
        """See `Stream.release_hold`; the server says who writes."""
        check_no_writer(writer)
        reason = check_reason(reason)
        found = {hold.reason: hold.since for hold in self._kept().holds}
        if reason and reason not in found:
            name = self._look().name
            raise NotFoundError(f"{name}: no hold {reason!r}; it has {list(found)}")
        asked = ReleaseRequest(
            reason=reason, since=found.get(reason), durability=self._connection.wanted(durability)
        )
        self._connection.post(self._path("release-hold"), asked, RetentionAnswer)

    def _path(self, verb: str) -> str:
        return f"/v1/{verb}/{encode_name(self.reference)}"

    def _kept(self) -> RetentionAnswer:
        return self._connection.value(self._path("retention"), RetentionAnswer)


def check_no_writer(writer: str) -> None:
    """`InvalidInputError` where a program says on whose behalf it writes: the server says so."""
    if check_writer(writer):
        raise InvalidInputError("writer: over a connection it is the name of the token")
