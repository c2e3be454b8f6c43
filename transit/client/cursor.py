"""ConnectedCursor: a durable place in a stream of a store that is served."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from transit.client.connection import Connection, Encoded, page_of
from transit.engine.checks import Payload
from transit.engine.cursor import Cursor, CursorStatus, wanted_place
from transit.errors import InvalidInputError, NotFoundError, OffsetError
from transit.format.names import known_name
from transit.protocol.calls import UID_PREFIX, Advance, Description
from transit.protocol.paths import encode_name


class ConnectedCursor(Cursor):
    """A durable place in a stream that is served; see `Cursor`. Each look is a request."""

    __slots__ = ("_connection", "_on")

    def __init__(self, connection: Connection, on: Description, name: str) -> None:
        self._connection = connection
        self._on = on
        self.name = known_name(name, "cursor name", self._exists)

    def __repr__(self) -> str:
        return f"<transit.Cursor {self.name!r} on {self.stream!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConnectedCursor):
            return NotImplemented
        return self._connection is other._connection and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[str, str]:
        return self._on.uid, self.name

    @property
    def place(self) -> str:
        """What names it as the last of a page."""
        return f"{self._on.uid}/{self.name}"

    def is_known(self) -> bool:
        """Whether it was ever advanced."""
        return self._exists(self.name)

    def _exists(self, name: str) -> bool:
        return any(each.name == name for each in listed(self._connection, name, self._on, None, 1))

    def is_of(self, handle: object) -> bool:
        """Whether the cursor was got over this connection."""
        return self._connection is handle

    @property
    def stream(self) -> str:
        """The name of the stream it is on."""
        return self._on.name

    @property
    def position(self) -> int:
        """The next offset to read."""
        return self.status().position

    @property
    def state(self) -> bytes | None:
        """What was kept with the position; None without."""
        return self.status().state

    @property
    def lag(self) -> int:
        """How many records the stream has from the position on."""
        return self.status().lag

    def status(self) -> CursorStatus:
        """Where it stands: position and state as they were written together."""
        path = "/v1/cursors/" + encode_name(UID_PREFIX + self._on.uid)
        return self._connection.value(path, CursorStatus, {"cursor": self.name})

    def advance(
        self,
        position: int,
        *,
        state: Payload | None = None,
        expect: int | None = None,
        durability: str | None = None,
    ) -> None:
        """See `Cursor.advance`."""
        self._connection.write((self.step(position, state, expect),), durability)

    def step(self, position: int, state: Payload | None, expect: int | None) -> Advance:
        """The step of a frame that moves it there."""
        wanted = wanted_place(position, state, expect)
        if position < 0:
            raise OffsetError(f"{self.stream}: no offset {position}")
        return Advance(
            stream=UID_PREFIX + self._on.uid,
            cursor=self.name,
            position=position,
            state=wanted.state,
            expect=expect,
        )


def listed(
    connection: Connection,
    prefix: str,
    on: Description | str,
    after: Cursor | None,
    limit: int | None,
) -> Iterator[Cursor]:
    """Cursors whose names start with `prefix`, in order of creation.

    on: a stream; or what the names of their streams start with.
    """
    if not isinstance(prefix, str):
        raise InvalidInputError(f"prefix must be str, not {type(prefix).__name__}")
    given: str | None = None
    if after is not None:
        if not isinstance(after, ConnectedCursor) or not after.is_of(connection):
            raise InvalidInputError(f"after must be a cursor of this store, not {after!r}")
        if not after.is_known():
            raise NotFoundError(f"{after!r} was never moved: it is in no list")
        given = after.place
    query: dict[str, object] = {"prefix": prefix, "after": given}
    path = "/v1/cursors"
    if isinstance(on, str):
        query["streams"] = on
    else:
        path += "/" + encode_name(UID_PREFIX + on.uid)
    return islice(_paged(connection, path, query, on), limit)


def _paged(
    connection: Connection, path: str, query: dict[str, object], on: Description | str
) -> Iterator[Cursor]:
    streams: dict[str, Description] = {}
    while True:
        found, following = page_of(connection.get(path, query), CursorStatus)
        for each in found:
            if isinstance(on, Description):
                stream = on
            else:
                stream = streams.get(each.stream) or connection.describe(each.stream)
                streams[each.stream] = stream
            yield ConnectedCursor(connection, stream, each.name)
        if not following:
            return
        query = {**query, "after": Encoded(following)}
