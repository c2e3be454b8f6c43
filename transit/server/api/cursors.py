"""Where cursors stand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from transit import Cursor, CursorStatus, InvalidInputError, Stream
from transit.protocol.calls import UID_PREFIX
from transit.server.access import READ, Grant
from transit.server.api.naming import find
from transit.server.api.serving import (
    PAGE,
    Call,
    listing_answer,
    look,
    query_of,
    value_answer,
)
from transit.server.api.streams import Limit
from transit.server.asgi import Answer, Request
from transit.server.service import Service


class CursorsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """prefix: of names of cursors. streams: of names of their streams. after: `<uid>/<cursor>`."""

    prefix: str = ""
    streams: str = ""
    after: str | None = None
    limit: Limit = PAGE


class CursorQuery(msgspec.Struct, forbid_unknown_fields=True):
    """cursor: this one alone, as one value; otherwise as of all cursors."""

    cursor: str | None = None
    prefix: str = ""
    after: str | None = None
    limit: Limit = PAGE


class Cursors:
    """The routes of cursors."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._log = service.log

    def calls(self) -> list[Call]:
        """Their table."""
        return [
            Call("GET", "/v1/cursors", self._all, "Cursors that were advanced, as they were made.",
                 CursorStatus, CursorsQuery, kind="page"),
            Call("GET", "/v1/cursors/{name}", self._of_stream,
                 "Cursors on one stream; with cursor, that one as a value.",
                 CursorStatus, CursorQuery, kind="page"),
        ]  # fmt: skip

    async def _all(self, request: Request) -> Answer:
        query, grant = query_of(request, CursorsQuery), request.grant

        def work() -> tuple[list[CursorStatus], str | None]:
            after = self._after(grant, query.after)
            found = self._log.cursors(query.prefix, streams=query.streams, after=after)
            allowed = (each for each in found if grant.allows(READ, each.stream))
            return self._page(allowed, query.limit)

        return listing_answer(request, *await self._service.read(work))

    async def _of_stream(self, request: Request) -> Answer:
        query, grant, name = query_of(request, CursorQuery), request.grant, request.name
        if query.cursor is not None:
            cursor = query.cursor

            def status() -> CursorStatus:
                return find(self._log, grant, READ, name).cursor(cursor).status()

            return value_answer(request, await look(self._service, status))

        def work() -> tuple[list[CursorStatus], str | None]:
            stream, after = find(self._log, grant, READ, name), self._after(grant, query.after)
            return self._page(stream.cursors(query.prefix, after=after), query.limit, stream)

        return listing_answer(request, *await self._service.read(work))

    def _after(self, grant: Grant, text: str | None) -> Cursor | None:
        if text is None:
            return None
        uid, slash, name = text.partition("/")
        if not slash:
            raise InvalidInputError("after must be <uid of the stream>/<name of the cursor>")
        return find(self._log, grant, READ, UID_PREFIX + uid).cursor(name)

    def _page(
        self, found: Iterator[Cursor], limit: int, stream: Stream | None = None
    ) -> tuple[list[CursorStatus], str | None]:
        """So many of them, all on `stream` or on any that is not hidden, and where to go on."""
        some = list(islice(found, limit + 1))
        shown, after = some[:limit], None
        if len(some) > limit:
            last = shown[-1]
            owner = self._log.stream(last.stream) if stream is None else stream
            after = f"{owner.uid}/{last.name}"
        return [cursor.status() for cursor in shown], after
