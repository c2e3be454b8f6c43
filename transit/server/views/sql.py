"""The route of SQL: POST /v1/sql."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from transit.protocol.calls import MSGPACK, NDJSON
from transit.protocol.views import ARROW, MORE_HEADER, SqlColumn, SqlHead, SqlRequest
from transit.server.api.serving import Call, NoQuery, body_of, query_of, wants_msgpack
from transit.server.asgi import Answer, Request
from transit.server.refusals import NO_STORE, Header
from transit.server.views.queries import Queries
from transit.server.views.serving import Views

if TYPE_CHECKING:
    from transit.views.scans.querying import Found
    from transit.views.scans.results import Result

_HEADERS: Final = ("Transit-Count", MORE_HEADER)


class SqlCalls:
    """The route of queries."""

    def __init__(self, views: Views, queries: Queries) -> None:
        self._views = views
        self._queries = queries

    def calls(self) -> list[Call]:
        """Its table."""
        return [
            Call("POST", "/v1/sql", self._answer,
                 "Rows that one SELECT gives, over records and tables of views.",
                 SqlHead, NoQuery, SqlRequest, kind="rows", headers=_HEADERS),
        ]  # fmt: skip

    async def _answer(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        asked = await body_of(request, self._views.service, SqlRequest)
        found = await self._queries.run(request, request.grant, asked)
        kind = _kind(request)
        body = await self._views.service.read(partial(encode, found, kind))
        headers: list[Header] = [
            (b"content-type", kind.encode()),
            NO_STORE,
            (b"transit-count", b"%d" % found.table.num_rows),
            (MORE_HEADER.lower().encode(), b"true" if found.is_cut else b"false"),
        ]
        return Answer(200, headers, body)


def _kind(request: Request) -> str:
    for part in request.headers.get("accept", "").split(","):
        if part.partition(";")[0].strip().lower() == ARROW:
            return ARROW
    return MSGPACK if wants_msgpack(request) else NDJSON


def encode(found: Found, kind: str) -> bytes:
    """What a query gave as a body of this media type."""
    # Loaded here: pyarrow is an extra and slow to load.
    from transit.views.scans.results import Result

    result = Result(found.table)
    if kind == ARROW:
        return arrow_of(result)
    one = msgspec.msgpack.encode if kind == MSGPACK else _line
    rows = (one(row, enc_hook=plain) for row in result)
    return b"".join([one(head_of(result, is_cut=found.is_cut)), *rows])


def _line(value: object, enc_hook: Any = None) -> bytes:
    return msgspec.json.encode(value, enc_hook=enc_hook) + b"\n"


def head_of(result: Result, *, is_cut: bool) -> SqlHead:
    """What comes before the rows."""
    schema = result.to_arrow().schema
    columns = [SqlColumn(field.name, str(field.type)) for field in schema]
    return SqlHead(columns, len(result), is_cut)


def arrow_of(result: Result) -> bytes:
    """The rows as an Arrow stream."""
    # Loaded here: pyarrow is an extra and slow to load.
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    table = result.to_arrow()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def plain(value: object) -> object:
    """A value that JSON has no word for, as text."""
    return str(value)
