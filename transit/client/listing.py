"""Which streams there are: listed page by page, found by name, and what names one in a request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain

from transit.client.connection import Connection, Encoded
from transit.client.stream import ConnectedStream
from transit.engine.checks import check_limit
from transit.engine.stream import Stream
from transit.errors import InvalidInputError
from transit.format.lineage import Metadata, check_metadata
from transit.format.names import findable
from transit.protocol.calls import Description

_PAGE = 1_000


def find(connection: Connection, name: str) -> ConnectedStream | None:
    """The stream of this name, a user's or a layer's; None when there is none."""
    about = connection.finds(name)
    return None if about is None else ConnectedStream(connection, about)


def reference_of(connection: Connection, stream: Stream | str) -> str:
    """What names a stream in a request, given as itself or by name."""
    if isinstance(stream, str):
        return findable(stream)
    if not isinstance(stream, Stream):
        raise InvalidInputError(f"not a stream or its name: {type(stream).__name__}")
    if not isinstance(stream, ConnectedStream) or not stream.is_of(connection):
        raise InvalidInputError(f"{stream.name} is a stream of another open store")
    return stream.reference


def listed(
    connection: Connection,
    prefix: str,
    where: Metadata | None = None,
    after: Stream | str | None = None,
    limit: int | None = None,
    *,
    hidden: bool = False,
) -> Iterator[Stream]:
    """The streams whose names start with `prefix`; as `Log.streams` and `Log.hidden`."""
    wanted = check_metadata(where, "where")
    check_limit(limit, "streams")
    query: dict[str, object] = {
        "prefix": prefix,
        "after": None if after is None else reference_of(connection, after),
        "where": json.dumps(wanted) if wanted else None,
        "hidden": True if hidden else None,
    }
    if limit == 0:
        return iter(())
    # Asked for at once, so that an error comes from the call.
    first = _page(connection, query, limit)
    return chain(first[0], _rest(connection, query, first, limit))


Page = tuple[list[Stream], str]


def _page(connection: Connection, query: dict[str, object], limit: int | None) -> Page:
    size = _PAGE if limit is None else min(limit, _PAGE)
    found, following = connection.page("/v1/streams", Description, {**query, "limit": size})
    return [ConnectedStream(connection, each) for each in found], following


def _rest(
    connection: Connection, query: dict[str, object], page: Page, limit: int | None
) -> Iterator[Stream]:
    while page[1]:
        limit = None if limit is None else limit - len(page[0])
        if limit is not None and limit <= 0:
            return
        page = _page(connection, {**query, "after": Encoded(page[1])}, limit)
        yield from page[0]
