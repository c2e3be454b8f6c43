"""What a connected store has for records that are to go: asked of the server.

A request whose answer is lost is sent again, which writes nothing more: what comes back then is a
deletion of nothing, since all of it was gone.
"""

from __future__ import annotations

from typing import Any, NoReturn, cast

from transit.client.absent import refuse
from transit.client.connection import Connection
from transit.client.kept import check_no_writer
from transit.client.listing import reference_of
from transit.engine.deleting import Deletion
from transit.engine.removal import Removal
from transit.engine.retaining import Due
from transit.engine.stream import Stream
from transit.format.life import check_basis, check_reason
from transit.protocol.calls import UID_PREFIX
from transit.protocol.keeping import Basis, DeleteRequest, DueRequest
from transit.protocol.paths import encode_name


class ConnectedRemoval(Removal):
    """See `Log`. The token needs the right admin."""

    _connection: Connection

    def delete(
        self,
        stream: Stream | str,
        *,
        reason: str,
        basis: str = "owner",
        dry_run: bool = False,
        cascade: bool = False,
        expect: int | None = None,
        writer: str = "",
        durability: str | None = None,
    ) -> Deletion:
        """See `Log.delete`; the server says who writes. A cascade needs the right for all streams.

        Streams in the way that the token may not read are not named.
        """
        check_no_writer(writer)
        check_basis(basis)
        connection = self._connection
        reference = reference_of(connection, stream)
        if not reference.startswith(UID_PREFIX):
            # By its uid: its name is free once it is deleted, and the request may be sent again.
            reference = UID_PREFIX + connection.describe(reference).uid
        asked = DeleteRequest(
            reason=check_reason(reason), basis=cast("Basis", basis), dry_run=dry_run,
            cascade=cascade, expect=expect, durability=connection.wanted(durability),
        )  # fmt: skip
        return connection.post(f"/v1/delete/{encode_name(reference)}", asked, Deletion)

    def retain(self, *, dry_run: bool = False, durability: str | None = None) -> tuple[Due, ...]:
        """See `Log.retain`."""
        asked = DueRequest(dry_run=dry_run, durability=self._connection.wanted(durability))
        return self._connection.post("/v1/retain", asked, tuple[Due, ...])

    def gc(self, *_: Any, **__: Any) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "gc")

    def erase(self, *_: Any, **__: Any) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "erase")
