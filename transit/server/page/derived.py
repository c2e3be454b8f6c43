"""Views, SQL and reconcilers on the page.

Owns what of them is shown. What a client may see, and what a query may take, is as everywhere:
`transit.server.views`. A query is sent by a form of this page alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec

from transit import InvalidInputError, Stream, TransitError
from transit.protocol.views import SqlRequest
from transit.server.access import ADMIN
from transit.server.asgi import Answer, Request
from transit.server.page import answers, asking
from transit.server.page.serving import Served
from transit.server.refusals import RefusedError
from transit.server.routes import Route
from transit.server.views.loops import RECONCILERS
from transit.server.views.rows import Wanted, describe, page_of, place_of
from transit.server.views.states import checking, offset_of, table_of
from transit.views.loops.due import SECOND, Cron, Every, Rule
from transit.views.loops.reconcile import ReconcilerStatus
from transit.views.loops.ticks import TickRecord
from transit.views.stopping import Stop
from transit.views.tables import Table
from transit.views.view import View

ROWS: Final = 100
TICKS: Final = 50
CELL_CHARS: Final = 500
_BYTES: Final = 1024 * 1024
_QUERY: Final = """SELECT _stream, count(*) AS records, max(_time) AS last
FROM events
GROUP BY 1 ORDER BY 3 DESC"""
Handler = Callable[[Request], Awaitable[Answer]]


class Site(Protocol):
    """What all pages have; `transit.server.page.pages` has it."""

    def page(self, handler: Handler) -> Handler:
        """The handler, with what it raises as a page."""

    def shown(self, request: Request, template: str, **said: object) -> Answer:
        """A page, from its template."""

    def stream_of(self, request: Request, name: str) -> Awaitable[Stream]:
        """The stream of that name, which the client may read."""

    def form(self, request: Request, *names: str) -> Awaitable[dict[str, str]]:
        """The fields of a form of our own."""


class Loop(msgspec.Struct, frozen=True):
    """A reconciler as it is listed. due: when, in words."""

    status: ReconcilerStatus
    due: str


class TableRows(msgspec.Struct, frozen=True):
    """Rows of a table.

    at: after so many of the stream's `records`; count: of all rows; after: what comes next.
    """

    at: int
    records: int
    count: int
    root: str
    rows: Sequence[Sequence[str | None]]
    after: str | None


class DerivedPages:
    """The pages of views, SQL and reconcilers."""

    def __init__(self, site: Site, served: Served) -> None:
        self._site = site
        self._room = served.views
        self._service = served.service

    def routes(self) -> list[Route]:
        """What they answer."""
        page = self._site.page
        return [
            Route("GET", "/views", page(self._views)),
            Route("GET", "/view", page(self._view)),
            Route("GET", "/sql", page(self._sql_form)),
            Route("POST", "/sql", page(self._sql)),
            Route("GET", "/loop", page(self._loop)),
            Route("POST", "/loop", page(self._tell)),
        ]

    # Views

    async def _views(self, request: Request) -> Answer:
        asking.known(request)
        found = [describe(each) for each in self._room.views.allowed(request.grant)]
        statuses = await self._service.read(partial(self._room.loops.statuses, request.grant))
        loops = [Loop(each, rule_text(each.rule)) for each in statuses]
        return self._site.shown(request, "views.html", views=found, loops=loops)

    async def _view(self, request: Request) -> Answer:
        query = asking.known(request, "name", "table", "stream", "at", "after")
        view = self._room.views.find(request.grant, query.get("name", ""))
        table = table_of(view, query.get("table") or view.program.tables[0].name)
        name, text = query.get("stream", ""), query.get("at", "")
        found = None
        if name:
            stream = await self._site.stream_of(request, name)
            found = await self._rows(request, view, table, stream, text, query.get("after"))
        return self._site.shown(
            request, "view.html", view=describe(view), table=table.name, stream=name, at=text,
            found=found, columns=table.row.fields, numbers=_numbers(table),
            is_first="after" not in query,
        )  # fmt: skip

    async def _rows(
        self, request: Request, view: View, table: Table, stream: Stream, at: str, after: str | None
    ) -> TableRows:
        place = None if after is None else place_of(after, bytes)
        wanted = asking.number(at, "at") if at else None
        offset = offset_of(stream, wanted, None if place is None else place.at)
        behind = b"" if place is None else place.behind
        assert isinstance(behind, bytes)

        def work(stop: Stop) -> TableRows:
            state = self._room.views.state(view, stream, offset, stop)
            rows = state.tables[table.name]
            page = page_of(
                rows, offset, Wanted(), behind, ROWS, _BYTES, msgspec.json.encode, checking(stop)
            )
            values = [msgspec.json.decode(line, type=dict[str, Any]) for line in page.lines]
            shown = [[cell(each[name]) for name in table.row.fields] for each in values]
            return TableRows(offset, len(stream), len(rows), state.root, shown, page.after)

        return await self._room.views.work(request, work)

    # SQL

    async def _sql_form(self, request: Request) -> Answer:
        asking.known(request)
        return self._shown_sql(request, {"query": _QUERY}, None, "")

    async def _sql(self, request: Request) -> Answer:
        form = await self._site.form(request, "query", "streams", "at", "columns")
        try:
            found = await self._found(request, form)
        except (TransitError, RefusedError) as error:
            return self._shown_sql(request, form, None, str(error))
        return self._shown_sql(request, form, found, "")

    async def _found(self, request: Request, form: dict[str, str]) -> object:
        at = form.get("at", "").strip()
        asked = SqlRequest(
            form.get("query", ""),
            form.get("streams", "").split() or None,
            int(at) if at.isdigit() and len(at) < 19 else at or None,
            columns="runs" if form.get("columns") == "runs" else None,
            limit=2 * ROWS,
        )
        found = await self._room.queries.run(request, request.grant, asked)
        return await self._service.read(partial(_result, found))

    def _shown_sql(
        self, request: Request, form: dict[str, str], found: object, error: str
    ) -> Answer:
        given = {key: form.get(key, "") for key in ("query", "streams", "at", "columns")}
        is_served = self._room.queries.is_served
        return self._site.shown(
            request, "sql.html", given=given, found=found, error=error, is_served=is_served
        )

    # Reconcilers

    async def _loop(self, request: Request) -> Answer:
        query = asking.known(request, "name", "before")
        name, loops, grant = query.get("name", ""), self._room.loops, request.grant
        before = asking.number(query["before"], "before") if "before" in query else None

        def work() -> tuple[ReconcilerStatus, tuple[TickRecord, ...]]:
            return loops.status(grant, name), loops.ticks(grant, name, TICKS, before)

        status, ticks = await self._service.read(work)
        may_tell = self._service.is_writable and grant.allows(ADMIN, RECONCILERS + name)
        return self._site.shown(
            request, "loop.html", loop=Loop(status, rule_text(status.rule)), ticks=ticks[::-1],
            earlier=ticks[0].n if ticks and ticks[0].n else None, may_tell=may_tell,
            is_newest=before is None,
        )  # fmt: skip

    async def _tell(self, request: Request) -> Answer:
        form = await self._site.form(request, "name", "op")
        name, op = form.get("name", ""), form.get("op", "")
        if op not in ("tick", "enable", "disable"):
            raise InvalidInputError("op must be tick, enable or disable")
        # Whether it is there is told to who may read it alone.
        await self._service.read(partial(self._room.loops.status, request.grant, name))
        await self._service.read(partial(self._room.loops.say, request.grant, name, op))
        await self._service.reach(self._service.wanted(None))
        return answers.redirect(f"loop?name={quote(name, safe='')}")


def _result(found: Any) -> dict[str, object]:
    """What a query gave, as text."""
    # Loaded here: pyarrow is an extra and slow to load.
    import pyarrow as pa

    from transit.views.scans.results import Result  # and here for the same reason

    result = Result(found.table)
    kinds = result.to_arrow().schema.types
    numbers = [
        bool(pa.types.is_integer(k) or pa.types.is_floating(k) or pa.types.is_decimal(k))
        for k in kinds
    ]
    rows = [[cell(value) for value in row] for row in result]
    return {"columns": result.columns, "numbers": numbers, "rows": rows, "more": found.is_cut}


def cell(value: object) -> str | None:
    """A value as text; None for NULL."""
    if value is None or isinstance(value, str):
        text = value
    elif isinstance(value, bool | int | float):
        text = str(value).lower() if isinstance(value, bool) else str(value)
    elif isinstance(value, bytes):
        text = value.hex()
    elif isinstance(value, list | dict | tuple):
        text = msgspec.json.encode(value, enc_hook=str).decode()
    else:
        text = str(value)
    return text if text is None or len(text) <= CELL_CHARS else text[: CELL_CHARS - 1] + "…"


def _numbers(table: Table) -> list[bool]:
    """Which columns are numbers."""
    types = {each.name: each.type for each in msgspec.structs.fields(table.row.type)}
    return [types[name] in (int, float) for name in table.row.fields]


def rule_text(rule: Rule | None) -> str:
    """When a reconciler is due, in words."""
    if isinstance(rule, Every):
        return f"every {rule.period / SECOND:g} s"
    if isinstance(rule, Cron):
        return rule.text if rule.zone == "UTC" else f"{rule.text} {rule.zone}"
    return ""
