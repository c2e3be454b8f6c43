"""What is served, plans of merges, and what an administrator asks of the store.

One request of an administrator is done at a time, in a thread of its own: the others wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from transit import InvalidInputError, MergePlan, Position, Published, Report, Status, Stream
from transit import __version__ as version
from transit.protocol.calls import (
    Parent,
    PlanRequest,
    StoreAnswer,
    SyncAnswer,
    SyncRequest,
)
from transit.server.access import ADMIN, READ, Grant
from transit.server.api.naming import check_reader, find
from transit.server.api.serving import (
    Call,
    NoQuery,
    body_of,
    check_durability,
    in_turn,
    query_of,
    value_answer,
)
from transit.server.asgi import Answer, Request
from transit.server.asking import durability_header
from transit.server.service import Service

T = TypeVar("T")


class StoreCalls:
    """The routes of the store itself."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._log = service.log
        self._turn = asyncio.Lock()

    def calls(self) -> list[Call]:
        """Their table."""
        reached = ("Transit-Durability",)
        return [
            Call("GET", "/v1/store", self._store, "What is served.", StoreAnswer, NoQuery),
            Call("GET", "/v1/status", self._status, "What the store holds.", Status, NoQuery),
            Call("POST", "/v1/plan", self._plan, "What a merge would make.",
                 MergePlan, NoQuery, PlanRequest),
            Call("POST", "/v1/sync", self._sync, "Make all that was written durable.",
                 SyncAnswer, NoQuery, SyncRequest, headers=reached, has_empty_body=True),
            Call("POST", "/v1/seal", self._seal, "Seal what was written.",
                 SyncAnswer, NoQuery, headers=reached),
            Call("POST", "/v1/publish", self._publish, "Publish what the remote lacks.",
                 Published, NoQuery),
            Call("POST", "/v1/verify", self._verify, "Check every byte of the store.",
                 Report, NoQuery),
        ]  # fmt: skip

    async def _store(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        check_reader(request.grant)
        log, settings = self._log, self._service.settings
        answer = StoreAnswer(
            log.store_id,
            log.mode,
            log.durability,
            version,
            log.settings.record_bytes_max,
            log.settings.frame_bytes_max,
            settings.body_bytes_max,
            log.encryption,
        )
        return value_answer(request, answer)

    async def _status(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        check_reader(request.grant)
        return value_answer(request, await self._service.read(self._log.status))

    async def _plan(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        asked = await body_of(request, self._service, PlanRequest)
        work = partial(self._planned, request.grant, asked)
        return value_answer(request, await self._service.read(work))

    def _planned(self, grant: Grant, asked: PlanRequest) -> MergePlan:
        def place(parent: Parent) -> Stream | Position:
            if isinstance(parent, str):
                return find(self._log, grant, READ, parent)
            return Position(find(self._log, grant, READ, parent[0]).name, parent[1])

        base = None if asked.base is None else place(asked.base)
        if isinstance(base, Stream):
            raise InvalidInputError("a merge base is a position")
        parents = [place(parent) for parent in asked.parents]
        return self._log.plan(parents, policy=asked.policy, base=base, params=asked.params)

    async def _alone(self, request: Request, work: Callable[[], T]) -> T:
        request.grant.check(ADMIN, "")
        return await in_turn(self._turn, lambda: asyncio.to_thread(work))

    async def _sync(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        request.grant.check(ADMIN, "")
        asked = await body_of(request, self._service, SyncRequest, SyncRequest())
        if asked.level not in ("local", "tiered", "replicated"):
            raise InvalidInputError(
                f'level must be "local", "tiered" or "replicated", not {asked.level[:32]!r}'
            )
        level = check_durability(self._service, asked.level)
        await self._service.reach(level)
        return value_answer(request, SyncAnswer(level), [durability_header(level)])

    async def _seal(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        await self._alone(request, self._log.seal)
        return value_answer(request, SyncAnswer("local"), [durability_header("local")])

    async def _publish(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        return value_answer(request, await self._alone(request, self._log.publish))

    async def _verify(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        return value_answer(request, await self._alone(request, self._log.verify))
