"""Routes: views, their tables at any offset, and what differs between two states."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from transit import InvalidInputError, NotFoundError, OffsetError, Stream
from transit.protocol.views import ChangedRow, ViewInfo
from transit.server.api.naming import check_reader
from transit.server.api.serving import (
    PAGE,
    PAGE_MAX,
    Call,
    NoQuery,
    listing_answer,
    look,
    page_answer,
    query_of,
    value_answer,
    wants_msgpack,
)
from transit.server.asgi import Answer, Request
from transit.server.refusals import Header
from transit.server.views.rows import (
    Encode,
    Page,
    changes_of,
    describe,
    page_of,
    place_of,
    wanted_of,
)
from transit.server.views.serving import StoppedError, Views, is_tagged, tag_of
from transit.views.state import State
from transit.views.stopping import Stop
from transit.views.tables import Table
from transit.views.view import View

MIB: Final = 1024 * 1024
Place = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Limit = Annotated[int, Meta(ge=1, le=PAGE_MAX)]
_TAGGED: Final[list[Header]] = [(b"cache-control", b"private, no-cache"), (b"vary", b"accept")]
_NOT_STORED: Final = b"cache-control"


class RowsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which rows of a table.

    stream: whose state. at: after so many records; null: all. key: of one row, in JSON; a list
    where it has several fields. where: values of fields, a JSON object. start, stop: keys in JSON;
    stop is not read. limit: rows at the most. max_bytes: of the page. after: as Transit-Next said.
    """

    stream: str
    at: Place | None = None
    key: str | None = None
    where: str | None = None
    start: str | None = None
    stop: str | None = None
    limit: Limit = PAGE
    max_bytes: Annotated[int, Meta(ge=1)] = MIB
    after: str | None = None


class DiffQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which states are compared.

    stream: whose. start: after so many records. to: the stream of the other state, null for the
    same. stop: after so many records there; null: all. limit, max_bytes, after: as of tables.
    """

    stream: str
    start: Place = 0
    to: str | None = None
    stop: Place | None = None
    limit: Limit = PAGE
    max_bytes: Annotated[int, Meta(ge=1)] = MIB
    after: str | None = None


class StateCalls:
    """The routes of views."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def calls(self) -> list[Call]:
        """Their table."""
        return [
            Call("GET", "/v1/views", self._list, "The views that are served.",
                 ViewInfo, NoQuery, kind="page"),
            Call("GET", "/v1/views/{view}", self._one, "One view.", ViewInfo, NoQuery),
            Call("GET", "/v1/views/{view}/tables/{table}", self._rows,
                 "Rows of a table of a view, after any number of records of a stream.",
                 dict[str, Any], RowsQuery, kind="page",
                 headers=("Transit-Offset", "Transit-Root", "Transit-Rows", "ETag")),
            Call("GET", "/v1/views/{view}/diff", self._diff,
                 "The rows that two states of a view have otherwise.",
                 ChangedRow, DiffQuery, kind="page", headers=("Transit-Offset",)),
        ]  # fmt: skip

    async def _list(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        check_reader(request.grant)
        found = [describe(view) for view in self._views.allowed(request.grant)]
        return listing_answer(request, found, None)

    async def _one(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        return value_answer(
            request, describe(self._views.find(request.grant, request.parts["view"]))
        )

    async def _rows(self, request: Request) -> Answer:
        query, grant, views = query_of(request, RowsQuery), request.grant, self._views
        view = views.find(grant, request.parts["view"])
        table = table_of(view, request.parts["table"])
        wanted = wanted_of(table, query.key, query.where, query.start, query.stop)
        place = None if query.after is None else place_of(query.after, bytes)
        stream = await look(views.service, partial(views.stream, grant, query.stream))
        at = offset_of(stream, query.at, None if place is None else place.at)
        tag = views.known_tag(view, stream, at)
        asked = request.headers.get("if-none-match")
        if asked is not None and is_tagged(asked, tag):
            assert tag is not None
            return Answer(304, [(b"etag", tag.encode()), *_TAGGED])
        encode = _encoder(request)
        behind = b"" if place is None else place.behind
        assert isinstance(behind, bytes)

        def work(stop: Stop) -> tuple[State, Page]:
            state = views.state(view, stream, at, stop)
            rows = state.tables[table.name]
            return state, page_of(
                rows, at, wanted, behind, query.limit, query.max_bytes, encode, checking(stop)
            )

        state, page = await views.work(request, work)
        tag = tag_of(view, stream, at, state.root)
        headers = [
            (b"etag", tag.encode()),
            (b"transit-offset", b"%d" % at),
            (b"transit-root", state.root.encode()),
            (b"transit-rows", b"%d" % len(state.tables[table.name])),
        ]
        return _tagged(_page_answer(request, page, headers))

    async def _diff(self, request: Request) -> Answer:
        query, grant, views = query_of(request, DiffQuery), request.grant, self._views
        view = views.find(grant, request.parts["view"])
        place = None if query.after is None else place_of(query.after, int)

        def named() -> tuple[Stream, Stream]:
            one = views.stream(grant, query.stream)
            return one, one if query.to is None else views.stream(grant, query.to)

        one, other = await look(views.service, named)
        start = offset_of(one, query.start, None)
        stop_at = offset_of(other, query.stop, None if place is None else place.at)
        skip = 0 if place is None else place.behind
        assert isinstance(skip, int)
        encode = _encoder(request)

        def work(stop: Stop) -> Page:
            before = views.state(view, one, start, stop)
            after = views.state(view, other, stop_at, stop)
            return changes_of(
                before, after, skip, query.limit, query.max_bytes, encode, checking(stop)
            )

        page = await views.work(request, work)
        return _page_answer(request, page, [(b"transit-offset", b"%d" % stop_at)])


def table_of(view: View, name: str) -> Table:
    """The table of a view; `NotFoundError` where it has none of this name."""
    for table in view.program.tables:
        if table.name == name:
            return table
    known = ", ".join(each.name for each in view.program.tables)
    raise NotFoundError(f"view {view.name} has no table {name[:128]!r}; it has {known}")


def offset_of(stream: Stream, at: int | None, known: int | None) -> int:
    """After how many records: as asked, as a page before was, or all there are.

    `OffsetError` for more than there are.
    """
    if known is not None:
        if at is not None and at != known:
            raise InvalidInputError("after: it is of another offset than is asked for")
        at = known
    count = len(stream)
    if at is not None and at > count:
        raise OffsetError(f"{stream.name} has {count} records, not {at}")
    return count if at is None else at


def checking(stop: Stop) -> Any:
    """A function that raises once nobody waits any more, or time is over."""

    def check() -> None:
        if stop.is_set or stop.is_late:
            raise StoppedError

    return check


def _encoder(request: Request) -> Encode:
    if wants_msgpack(request):
        return msgspec.msgpack.encode

    def encode(value: object) -> bytes:
        return msgspec.json.encode(value) + b"\n"

    return encode


def _page_answer(request: Request, page: Page, headers: list[Header]) -> Answer:
    body = b"".join(page.lines)
    return page_answer(request, body, len(page.lines), page.after, headers)


def _tagged(answer: Answer) -> Answer:
    """An answer that a client may keep, and ask about again."""
    kept = [field for field in answer.headers if field[0] != _NOT_STORED]
    answer.headers = [*kept, *_TAGGED]
    return answer
