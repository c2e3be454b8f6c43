"""Listings and descriptions of streams."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from transit import InvalidInputError, Log, Scalar, Stream
from transit.protocol.calls import Description
from transit.server.access import READ, Grant
from transit.server.api.naming import find, uid_name
from transit.server.api.serving import (
    PAGE,
    PAGE_MAX,
    Call,
    NoQuery,
    listing_answer,
    look,
    query_of,
    value_answer,
    where_of,
)
from transit.server.asgi import Answer, Request
from transit.server.service import Service

Limit = Annotated[int, Meta(ge=1, le=PAGE_MAX)]


class StreamsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What to list.

    prefix: of names; of a layer's streams with `layer`. after: the stream to begin behind. where:
    metadata they all have, a JSON object. hidden: those that are hidden instead. uid: this one
    alone, as one value.
    """

    prefix: str = ""
    after: str | None = None
    limit: Limit = PAGE
    where: str | None = None
    hidden: bool = False
    layer: str | None = None
    uid: str | None = None


def describe(stream: Stream, *, whole: bool = False) -> Description:
    """A stream as it stands now; whole: with how it was merged."""
    # In this order: nothing is appended after a stream was finished.
    finished, count = stream.finished, stream.next_offset
    return Description(
        name=stream.name,
        id=stream.id,
        uid=stream.uid,
        kind=stream.kind,
        metadata=stream.metadata,
        codec=stream.codec,
        parents=stream.parents,
        parent_uids=stream.parent_uids,
        fork_offset=stream.fork_offset,
        next_offset=count,
        finished=finished,
        hidden=stream.hidden,
        merge_plan=stream.merge_plan if whole else None,
        first_offset=stream.first_offset,
        deleted=stream.deleted,
    )


class Listings:
    """The routes that tell of streams."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._log: Final = service.log

    def calls(self) -> list[Call]:
        """Their table."""
        return [
            Call("GET", "/v1/streams", self._list, "Streams, in order of creation.",
                 Description, StreamsQuery, kind="page"),
            Call("GET", "/v1/streams/{name}", self._one, "One stream.", Description, NoQuery),
        ]  # fmt: skip

    async def _one(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        return await self._described(request, request.name)

    async def _described(self, request: Request, name: str) -> Answer:
        def work() -> Description:
            return describe(find(self._log, request.grant, READ, name), whole=True)

        return value_answer(request, await look(self._service, work))

    async def _list(self, request: Request) -> Answer:
        query = query_of(request, StreamsQuery)
        if query.uid is not None:
            return await self._described(request, "$$" + query.uid)
        where = where_of(query.where, dict[str, Scalar])
        work = partial(page, self._log, request.grant, query, where)
        found, after = await self._service.read(work)
        return listing_answer(request, found, after)


def page(
    log: Log, grant: Grant, query: StreamsQuery, where: dict[str, Scalar] | None
) -> tuple[list[Description], str | None]:
    """The streams of one page, and what to give as `after` for the next."""
    found: list[Stream] = list(islice(_allowed(log, grant, query, where), query.limit + 1))
    shown = found[: query.limit]
    after = uid_name(shown[-1]) if len(found) > len(shown) else None
    return [describe(stream) for stream in shown], after


def _allowed(
    log: Log, grant: Grant, query: StreamsQuery, where: dict[str, Scalar] | None
) -> Iterator[Stream]:
    prefix = query.prefix
    if query.layer is not None:
        prefix = f"${log.layer(query.layer).name}/{prefix}"
    after = None
    if query.after is not None:
        after = find(log, grant, READ, query.after)
    streams: Iterator[Stream]
    if query.hidden:
        if where is not None:
            raise InvalidInputError("where does not go with hidden=true")
        start = -1 if after is None else after.id
        streams = (stream for stream in log.hidden(prefix) if stream.id > start)
    else:
        streams = log.streams(prefix, where=where, after=after)
    return (stream for stream in streams if grant.allows(READ, stream.name))
