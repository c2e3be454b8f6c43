"""Tools of views, SQL and reconcilers: as the routes of `transit.server.views`, bounded."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from transit import Stream
from transit.protocol.views import SqlRequest
from transit.server.mcp.arguments import (
    ListReconcilers,
    ListViews,
    ReadTable,
    Sql,
    TellReconciler,
)
from transit.server.mcp.calling import Caller
from transit.server.mcp.pages import Item, Page, numbered
from transit.server.refusals import RefusedError
from transit.server.views.room import ViewRoom
from transit.server.views.rows import SCAN, after_text, describe, place_of, plain_row, wanted_of
from transit.server.views.states import offset_of, table_of
from transit.views.loops.reconcile import ReconcilerStatus
from transit.views.loops.ticks import TickRecord
from transit.views.stopping import Stop
from transit.views.tables import Table, walk
from transit.views.view import View


def _room(caller: Caller) -> ViewRoom:
    room = caller.room.views
    if room is None:
        raise RefusedError(501, "nothing of views is served here")
    return room


async def list_views(caller: Caller, given: ListViews) -> Item:
    """The views that are served, with their tables."""
    found = _room(caller).views.allowed(caller.grant)
    return numbered({}, "views", map(_view_item, found), given.skip, given.limit)


def _view_item(view: View) -> Item:
    told = describe(view)
    return {
        "view": told.name,
        "version": told.version,
        "tables": [
            {"table": each.name, "key": list(each.key), "columns": list(each.columns)}
            for each in told.tables
        ],
    }


async def read_table(caller: Caller, given: ReadTable) -> Item:
    """Rows of a table, after any number of records of a stream."""
    views = _room(caller).views
    view = views.find(caller.grant, given.view)
    table = table_of(view, given.table)
    stream = caller.stream(given.stream)
    place = None if given.after is None else place_of(given.after, bytes)
    at = offset_of(stream, given.at, None if place is None else place.at)
    behind = b"" if place is None else place.behind
    assert isinstance(behind, bytes)
    return await views.work(None, partial(_fill, caller, view, table, stream, at, behind, given))


def _fill(
    caller: Caller, view: View, table: Table, stream: Stream, at: int, behind: bytes,
    given: ReadTable, stop: Stop,
) -> Item:  # fmt: skip
    key = None if given.key is None else _json(given.key[0] if table.is_single else given.key)
    where = None if given.where is None else _json(given.where)
    wanted = wanted_of(table, key, where, None, None)
    state = _room(caller).views.state(view, stream, at, stop)
    rows = state.tables[table.name]
    page = Page({"view": view.name, "stream": stream.name, "at": at, "count": len(rows)}, "rows")
    if wanted.key is not None:
        row = rows.get(wanted.key)
        if row is not None:
            page.take(_row_item(row))
        return page.answer(None)
    for looked, (place, row) in enumerate(walk(rows, wanted.equal, behind=behind)):
        is_full = len(page) >= given.limit or looked == SCAN
        if is_full or (row is not None and not page.take(_row_item(row))):
            return page.answer({"at": at, "after": after_text(at, behind)})
        behind = place
    return page.answer(None)


def _row_item(row: Any) -> Item:
    found: Item = msgspec.to_builtins(plain_row(row), str_keys=True)
    return found


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


async def sql(caller: Caller, given: Sql) -> Item:
    """Rows that a query gives."""
    asked = SqlRequest(
        given.query,
        list(given.streams) or None,
        given.at,
        columns="runs" if given.runs else None,
        view=given.view,
        stream=given.stream,
        limit=given.skip + given.limit + 1,
    )
    room = _room(caller)
    found = await room.queries.run(None, caller.grant, asked)
    # Loaded here: pyarrow is an extra and slow to load.
    from transit.views.scans.results import Result

    result = Result(found.table)
    names = _apart(result.columns)
    items = (dict(zip(names, map(_plain, row), strict=True)) for row in result)
    return numbered({"columns": list(names)}, "rows", items, given.skip, given.limit)


def _apart(names: tuple[str, ...]) -> list[str]:
    """Columns' names, each once."""
    found: list[str] = []
    for name in names:
        told, number = name, 2
        while told in found:
            told, number = f"{name}_{number}", number + 1
        found.append(told)
    return found


def _plain(value: object) -> object:
    return msgspec.to_builtins(value, str_keys=True, enc_hook=str)


async def list_reconcilers(caller: Caller, given: ListReconcilers) -> Item:
    """Reconcilers as they stand; of one, its last ticks too."""
    room = _room(caller)
    read = caller.room.service.read
    if given.name is None:
        statuses = await read(partial(room.loops.statuses, caller.grant, dict(given.labels)))
        return numbered({}, "reconcilers", map(_status_item, statuses), given.skip, given.limit)
    status = await read(partial(room.loops.status, caller.grant, given.name))
    count = given.skip + given.limit + 1
    ticks = await read(partial(room.loops.ticks, caller.grant, given.name, count))
    return numbered(
        _status_item(status), "ticks", _tick_items(ticks[::-1]), given.skip, given.limit
    )


def _status_item(status: ReconcilerStatus) -> Item:
    last = status.last
    return {
        "name": status.name,
        "enabled": status.enabled,
        "labels": dict(status.labels),
        "ticks_made": status.n,
        "next_due": status.next_due,
        "last": None if last is None else last.result,
        "error": status.error or ("" if last is None else last.error),
    }


def _tick_items(ticks: tuple[TickRecord, ...]) -> Iterator[Item]:
    for tick in ticks:
        yield {
            "n": tick.n,
            "result": tick.result,
            "started": tick.started,
            "ended": tick.ended,
            "error": tick.error,
            "actions": [{"action": each.name, **each.fields} for each in tick.actions],
            "lines": [f"{line.level}: {line.text}" for line in tick.lines],
        }


async def tell_reconciler(caller: Caller, given: TellReconciler) -> Item:
    """Ask for a tick now, or switch a reconciler."""
    room, service = _room(caller), caller.room.service
    said = await service.read(partial(room.loops.say, caller.grant, given.name, given.action))
    durability = service.wanted(None)
    await service.reach(durability)
    return {
        "name": said.name, "action": said.op, "number": said.number, "durability": durability,
        "next": None, "truncated": False,
    }  # fmt: skip
