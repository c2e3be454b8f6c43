"""How long records are kept, and taking them away: for who may read, and for administrators.

A stream's state is for who may read it. To keep, hold, trim or delete needs the right admin on the
stream's name; whatever is about several streams at once, cascades among it, needs it on all. What
is in the way of a deletion is told as far as the token may read it.

One change is made at a time, in a thread of its own: it may have much to read.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from transit import Deletion, DependentsError, Due, Log, Retention, Stream
from transit.protocol.keeping import (
    DeleteRequest,
    DueRequest,
    Hold,
    HoldRequest,
    ReleaseRequest,
    RetainRequest,
    RetentionAnswer,
    TrimRequest,
)
from transit.server.access import ADMIN, READ, Grant
from transit.server.api.naming import check_reader, find, uid_name
from transit.server.api.serving import (
    PAGE,
    PAGE_MAX,
    Call,
    NoQuery,
    body_of,
    check_durability,
    in_turn,
    listing_answer,
    query_of,
    value_answer,
)
from transit.server.asgi import Answer, Request
from transit.server.asking import durability_header
from transit.server.lives import Lives
from transit.server.service import Service

T = TypeVar("T")
_SECOND: Final = 10**9
_UNLIMITED: Final = Retention()
_OTHER: Final = "a stream that the token does not allow to read"


class KeptQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What to list: streams that are held, limited, trimmed or deleted.

    prefix: of names. after: the stream to begin behind.
    """

    prefix: str = ""
    after: str | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = PAGE


class KeepingCalls:
    """The routes of retention and removal."""

    def __init__(self, service: Service, lives: Lives) -> None:
        self._service = service
        self._log: Final[Log] = service.log
        self._lives = lives
        self._turn = asyncio.Lock()

    def calls(self) -> list[Call]:
        """Their table."""
        reached = ("Transit-Durability",)
        return [
            Call("GET", "/v1/retention", self._list,
                 "Streams that are held, limited, trimmed or deleted, in order of creation.",
                 RetentionAnswer, KeptQuery, kind="page"),
            Call("GET", "/v1/retention/{name}", self._one,
                 "How long a stream's records are kept, and what went.",
                 RetentionAnswer, NoQuery),
            Call("POST", "/v1/retain", self._due, "Let go what is due by the limits of streams.",
                 list[Due], NoQuery, DueRequest, headers=reached, has_empty_body=True),
            Call("POST", "/v1/retain/{name}", self._retain, "Limit how long records are kept.",
                 RetentionAnswer, NoQuery, RetainRequest, headers=reached),
            Call("POST", "/v1/hold/{name}", self._hold, "Let nobody delete or trim a stream.",
                 RetentionAnswer, NoQuery, HoldRequest, headers=reached),
            Call("POST", "/v1/release-hold/{name}", self._release, "End a hold.",
                 RetentionAnswer, NoQuery, ReleaseRequest, headers=reached),
            Call("POST", "/v1/trim/{name}", self._trim, "Let a stream begin later.",
                 Deletion, NoQuery, TrimRequest, headers=reached),
            Call("POST", "/v1/delete/{name}", self._delete, "Delete a stream.",
                 Deletion, NoQuery, DeleteRequest, headers=reached),
        ]  # fmt: skip

    # What is so

    async def _one(self, request: Request) -> Answer:
        query_of(request, NoQuery)

        def work() -> RetentionAnswer:
            return kept(find(self._log, request.grant, READ, request.name))

        return value_answer(request, await self._service.read(work))

    async def _list(self, request: Request) -> Answer:
        query = query_of(request, KeptQuery)
        check_reader(request.grant)
        work = partial(listed, self._log, request.grant, query)
        found, after = await self._service.read(work)
        return listing_answer(request, found, after)

    # What changes it

    async def _changed(
        self, request: Request, work: Callable[[], T], asked: str | None, *, is_dry: bool = False
    ) -> Answer:
        """Do a change alone, and answer what it gives once it is as durable as asked."""
        service = self._service
        level = check_durability(service, asked)
        found = await in_turn(self._turn, lambda: asyncio.to_thread(work))
        if is_dry:
            level = "os"
        await service.reach(level)
        return value_answer(request, found, [durability_header(level)])

    async def _due(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        request.grant.check(ADMIN, "")
        asked = await body_of(request, self._service, DueRequest, DueRequest())

        def work() -> tuple[Due, ...]:
            return self._log.retain(
                dry_run=asked.dry_run, durability=None if asked.dry_run else "os"
            )

        return await self._changed(request, work, asked.durability, is_dry=asked.dry_run)

    async def _retain(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        asked = await body_of(request, self._service, RetainRequest)
        limits = Retention(
            keep_for=asked.keep_for,
            expire_after=asked.expire_after,
            bytes_max=asked.bytes_max,
            count_max=asked.count_max,
        )

        def work() -> RetentionAnswer:
            stream = self._find(request)
            stream.retain(
                limits, expect=asked.expect, reason=asked.reason, writer=request.grant.name,
                durability="os",
            )  # fmt: skip
            return kept(stream)

        return await self._changed(request, work, asked.durability)

    async def _hold(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        asked = await body_of(request, self._service, HoldRequest)

        def work() -> RetentionAnswer:
            stream = self._find(request)
            stream.hold(asked.reason, writer=request.grant.name, durability="os")
            return kept(stream)

        return await self._changed(request, work, asked.durability)

    async def _release(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        asked = await body_of(request, self._service, ReleaseRequest)

        def work() -> RetentionAnswer:
            stream = self._find(request)
            if not _was_released(stream, asked):
                stream.release_hold(asked.reason, writer=request.grant.name, durability="os")
            return kept(stream)

        return await self._changed(request, work, asked.durability)

    async def _trim(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        asked = await body_of(request, self._service, TrimRequest)

        def work() -> Deletion:
            return self._find(request).trim(
                before=asked.before, reason=asked.reason, basis=asked.basis,
                dry_run=asked.dry_run, expect=asked.expect, writer=request.grant.name,
                durability="os",
            )  # fmt: skip

        allowed = partial(allowed_of, request.grant, work)
        return await self._changed(request, allowed, asked.durability, is_dry=asked.dry_run)

    async def _delete(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        asked = await body_of(request, self._service, DeleteRequest)
        if asked.cascade:
            # Who needs its records may be any stream, and may be made at this moment.
            request.grant.check(ADMIN, "")
        gone: list[Stream] = []

        def work() -> Deletion:
            stream = self._find(request)
            done = self._log.delete(
                stream, reason=asked.reason, basis=asked.basis, dry_run=asked.dry_run,
                cascade=asked.cascade, expect=asked.expect, writer=request.grant.name,
                durability="os",
            )  # fmt: skip
            if not asked.dry_run:
                gone.append(stream)
            return done

        allowed = partial(allowed_of, request.grant, work)
        answer = await self._changed(request, allowed, asked.durability, is_dry=asked.dry_run)
        for stream in gone:
            self._lives.note_hidden(stream)
        return answer

    def _find(self, request: Request) -> Stream:
        """The stream that is to be changed; who may not read it is told no more than that."""
        return find(self._log, request.grant, ADMIN, request.name)


def allowed_of(grant: Grant, work: Callable[[], Deletion]) -> Deletion:
    """What `work` gives or raises, without the names of streams that may not be read."""

    def shown(needs: tuple[tuple[str, int, int], ...]) -> tuple[tuple[str, int, int], ...]:
        return tuple(
            (name if grant.allows(READ, name) else _OTHER, first, last)
            for name, first, last in needs
        )

    try:
        done = work()
    except DependentsError as error:
        needs = shown(error.dependents)
        if needs == error.dependents:
            raise
        said = ", ".join(f"{name} ({first} to {last})" for name, first, last in needs[:10])
        raise DependentsError(
            f"{error.stream}: its records are needed by {said}",
            stream=error.stream,
            dependents=needs,
        ) from None
    return msgspec.structs.replace(done, dependents=shown(done.dependents))


def _was_released(stream: Stream, asked: ReleaseRequest) -> bool:
    """Whether the hold that is to be released was, since it was placed."""
    since = asked.since
    return since is not None and any(
        each.what == "released" and each.hold == asked.reason and each.when >= since
        for each in stream.became()
    )


# States


def kept(stream: Stream) -> RetentionAnswer:
    """How long a stream's records are kept, and what went."""
    became = stream.became()
    limits, holds = stream.retention, stream.holds
    since = {each.hold: each for each in became if each.what == "held"}
    first, count = stream.first_offset, stream.next_offset
    is_deleted = stream.deleted
    until: int | None = None
    expires: int | None = None
    if not is_deleted and first < count:
        if limits.keep_for is not None:
            until = stream[count - 1].written + limits.keep_for * _SECOND
        if limits.expire_after is not None:
            expires = stream[first].written + limits.expire_after * _SECOND
    return RetentionAnswer(
        stream=stream.name,
        uid=stream.uid,
        first_offset=first,
        next_offset=count,
        retention=limits,
        finished=stream.finished,
        hidden=stream.hidden,
        deleted=is_deleted,
        erased=is_deleted and any(each.what == "erased" for each in became[-1:]),
        # Placed while this was looked at, it is told the next time.
        holds=tuple(
            Hold(each, since[each].when, since[each].by) for each in holds if each in since
        ),
        kept_until=until,
        expires=expires,
        became=became,
    )


def listed(log: Log, grant: Grant, query: KeptQuery) -> tuple[list[RetentionAnswer], str | None]:
    """The streams of one page, and what to give as `after` for the next."""
    start = -1 if query.after is None else find(log, grant, READ, query.after).id
    allows = partial(grant.allows, READ)
    found = list(islice(notable(log, allows, query.prefix, start), query.limit + 1))
    shown = found[: query.limit]
    after = uid_name(shown[-1]) if len(found) > len(shown) else None
    return [kept(stream) for stream in shown], after


def notable(
    log: Log, allows: Callable[[str], bool], prefix: str = "", start: int = -1
) -> Iterator[Stream]:
    """The streams that are held, limited, trimmed or deleted, behind the one with id `start`."""
    both = heapq.merge(log.streams(prefix), log.hidden(prefix), key=lambda stream: stream.id)
    for stream in both:
        if stream.id > start and allows(stream.name) and _is_notable(stream):
            yield stream


def _is_notable(stream: Stream) -> bool:
    is_gone = stream.deleted or stream.first_offset
    return bool(is_gone or stream.holds or stream.retention != _UNLIMITED)
