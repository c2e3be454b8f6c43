"""Routes: reconcilers, their ticks, and what is said to them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from transit import InvalidInputError
from transit.protocol.calls import MSGPACK, NDJSON, encode_page
from transit.protocol.views import AskedAnswer
from transit.server.access import ADMIN, READ, Grant
from transit.server.api.naming import check_reader
from transit.server.api.serving import (
    Call,
    NoQuery,
    listing_answer,
    page_answer,
    query_of,
    value_answer,
    wants_msgpack,
    where_of,
)
from transit.server.asgi import Answer, Request
from transit.server.views.declared import no_reconciler
from transit.server.views.serving import Views
from transit.views.loops.naming import matches
from transit.views.loops.reconcile import Reconcilers, ReconcilerStatus
from transit.views.loops.ticks import TickRecord

RECONCILERS: Final = "$views/reconcilers/"
TICKS: Final = "$views/ticks/"
TICKS_MAX: Final = 1_000
Op = str


class ReconcilersQuery(msgspec.Struct, forbid_unknown_fields=True):
    """labels: which they all have, a JSON object of text with text."""

    labels: str | None = None


class TicksQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The last `limit` ticks of those before number `before`; oldest first."""

    before: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    limit: Annotated[int, Meta(ge=1, le=TICKS_MAX)] = 100


class ReconcilerCalls:
    """The routes of reconcilers."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._said = Reconcilers(views.log)

    def calls(self) -> list[Call]:
        """Their table."""
        path = "/v1/reconcilers/{reconciler}"
        return [
            Call("GET", "/v1/reconcilers", self._list, "Reconcilers, as they stand.",
                 ReconcilerStatus, ReconcilersQuery, kind="page"),
            Call("GET", path, self._one, "One reconciler, as it stands.",
                 ReconcilerStatus, NoQuery),
            Call("DELETE", path, partial(self._say, "delete"),
                 "Take a reconciler out; its history stays.", AskedAnswer, NoQuery),
            Call("GET", path + "/ticks", self._ticks, "What a reconciler did.",
                 TickRecord, TicksQuery, kind="page"),
            Call("POST", path + "/tick", partial(self._say, "tick"),
                 "Ask whoever runs it for a tick now.", AskedAnswer, NoQuery),
            Call("POST", path + "/enable", partial(self._say, "enable"),
                 "Let it be due again.", AskedAnswer, NoQuery),
            Call("POST", path + "/disable", partial(self._say, "disable"),
                 "Let it rest.", AskedAnswer, NoQuery),
        ]  # fmt: skip

    # Also for tools and pages

    def statuses(
        self, grant: Grant, labels: dict[str, str] | None = None
    ) -> list[ReconcilerStatus]:
        """Those that a client may read, as they stand."""
        return [
            self._with_code(each)
            for each in self._said.list()
            if grant.allows(READ, RECONCILERS + each.name) and matches(each.labels, labels or {})
        ]

    def status(self, grant: Grant, name: str) -> ReconcilerStatus:
        """One, as it stands; `NotFoundError`, also where the client may not read it."""
        found = self._status(name) if grant.allows(READ, RECONCILERS + name) else None
        if found is None:
            raise no_reconciler(name)
        return self._with_code(found)

    def ticks(
        self, grant: Grant, name: str, limit: int, before: int | None = None
    ) -> tuple[TickRecord, ...]:
        """Its last ticks, oldest first; `NotFoundError` as `status`."""
        if not grant.allows(READ, TICKS + name) or not grant.allows(READ, RECONCILERS + name):
            raise no_reconciler(name)
        return tuple(self._said.ticks(name, limit, before))

    def say(self, grant: Grant, name: str, op: Op) -> AskedAnswer:
        """Say something to a reconciler; `NotFoundError` as `status`, `RefusedError` (403)."""
        grant.check(ADMIN, RECONCILERS + name)
        if op == "tick":
            return AskedAnswer(name, "tick", self._said.ask(name))
        if op == "enable":
            self._said.enable(name)
            return AskedAnswer(name, "enable")
        if op == "disable":
            self._said.disable(name)
            return AskedAnswer(name, "disable")
        self._said.delete(name)
        return AskedAnswer(name, "delete")

    def _status(self, name: str) -> ReconcilerStatus | None:
        try:
            return self._said.status(name)
        except InvalidInputError:
            # What cannot be a name names nothing.
            return None

    def _with_code(self, status: ReconcilerStatus) -> ReconcilerStatus:
        """Whether this server runs it."""
        runs = self._views.runs(status.name)
        return msgspec.structs.replace(status, has_code=runs)

    # Routes

    async def _list(self, request: Request) -> Answer:
        query = query_of(request, ReconcilersQuery)
        labels = where_of(query.labels, dict[str, str])
        check_reader(request.grant)
        work = partial(self.statuses, request.grant, labels)
        return listing_answer(request, await self._views.service.read(work), None)

    async def _one(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        work = partial(self.status, request.grant, request.parts["reconciler"])
        return value_answer(request, await self._views.service.read(work))

    async def _ticks(self, request: Request) -> Answer:
        query = query_of(request, TicksQuery)
        name = request.parts["reconciler"]
        work = partial(self.ticks, request.grant, name, query.limit, query.before)
        found = await self._views.service.read(work)
        earlier = str(found[0].n) if found and found[0].n else None
        kind = MSGPACK if wants_msgpack(request) else NDJSON
        return page_answer(request, encode_page(found, kind), len(found), earlier)

    async def _say(self, op: Op, request: Request) -> Answer:
        query_of(request, NoQuery)
        work = partial(self.say, request.grant, request.parts["reconciler"], op)
        service = self._views.service
        said = await service.read(work)
        await service.reach(service.wanted(None))
        return value_answer(request, said)
