"""A route as an entry of a table; queries, bodies and answers in JSON and in msgpack.

Owns what is the same for all routes of the superset: how a query and a body become values, in which
of the two media types an answer is sent, and pages. A query is read by a struct, from which it is
described too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from transit import Durability, InvalidInputError
from transit.protocol import calls
from transit.protocol.calls import JSON, MSGPACK, NDJSON
from transit.protocol.fields import media_type
from transit.server.asgi import Answer, Request
from transit.server.refusals import NO_STORE, Header, RefusedError
from transit.server.service import Service

T = TypeVar("T")
Q = TypeVar("Q", bound=msgspec.Struct)
Handler = Callable[[Request], Awaitable[Answer]]

PAGE: Final = 1_000
"""Streams or cursors of one page, unless a request says otherwise."""
PAGE_MAX: Final = 10_000
WHERE_BYTES_MAX: Final = 8 * 1024


class Call(NamedTuple):
    """One route: what serves it, and what describes it.

    about: a sentence. query, body: what it takes; None for none. answer: what it answers; None for
    what is described by hand. kind: one value, a page of them, events, rows of SQL, or a file.
    headers: of the answer. has_empty_body: whether the body may be left out. media: the types of a
    file. has_tag: whether the answer has an ETag, by which it is asked for again.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler
    about: str
    answer: object = None
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    kind: Literal["value", "page", "events", "rows", "file"] = "value"
    headers: tuple[str, ...] = ()
    has_empty_body: bool = False
    media: tuple[str, ...] = ()
    has_tag: bool = False


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """A query without parameters."""


def query_of(request: Request, kind: type[Q]) -> Q:
    """The parameters of a request; `InvalidInputError` for what is none of them."""
    try:
        return msgspec.convert(dict(request.query), kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"query: {calls.told(error)}") from None


def where_of(text: str | None, kind: type[T]) -> T | None:
    """The parameter `where`, which is JSON."""
    if text is None:
        return None
    if len(text) > WHERE_BYTES_MAX:
        raise InvalidInputError(f"where is longer than {WHERE_BYTES_MAX} characters")
    try:
        return msgspec.json.decode(text.encode(), type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"where: {calls.told(error)}") from None


async def body_of(request: Request, service: Service, kind: type[T], default: T | None = None) -> T:
    """The body of a request; `default` where it is empty and may be."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise RefusedError(415, f"Content-Encoding {encoding[:32]!r}: send the body as it is")
    settings = service.settings
    data = await request.body(settings.body_bytes_max, settings.body_s)
    if not data and default is not None:
        return default
    given = media_type(request.headers.get("content-type", ""))
    if given not in (JSON, MSGPACK):
        raise RefusedError(415, f"Content-Type must be {JSON} or {MSGPACK}", _ACCEPT_POST)
    return calls.decode(data, given, kind)


_ACCEPT_POST: Final = ((b"accept-post", f"{JSON}, {MSGPACK}".encode()),)


def wants_msgpack(request: Request) -> bool:
    """Whether the answer is to be msgpack."""
    for part in request.headers.get("accept", "").split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        if name == MSGPACK and not any(each in _NEVER for each in parameters):
            return True
    return False


_NEVER: Final = ("q=0", "q=0.0", "q=0.00", "q=0.000")


def value_answer(request: Request, value: object, headers: Sequence[Header] = ()) -> Answer:
    """The answer that is one value."""
    kind = MSGPACK if wants_msgpack(request) else JSON
    fields = [(b"content-type", kind.encode()), NO_STORE, *headers]
    return Answer(200, fields, calls.encode(value, kind))


def page_answer(
    request: Request, body: bytes, count: int, after: str | None, headers: Sequence[Header] = ()
) -> Answer:
    """The answer that is a page of `count` values; after: what comes next begins behind it."""
    kind = MSGPACK if wants_msgpack(request) else NDJSON
    fields: list[Header] = [
        (b"content-type", kind.encode()),
        NO_STORE,
        (b"transit-count", b"%d" % count),
        *headers,
    ]
    if after is not None:
        fields.append((b"transit-next", quote(after, safe="/$").encode()))
    return Answer(200, fields, body)


def listing_answer(request: Request, values: Sequence[object], after: str | None) -> Answer:
    """The answer that is a page of values of one kind."""
    kind = MSGPACK if wants_msgpack(request) else NDJSON
    return page_answer(request, calls.encode_page(values, kind), len(values), after)


async def look(service: Service, work: Callable[[], T]) -> T:
    """Do `work`, which reads what is in memory, unless the store is partly elsewhere."""
    return await service.read(work) if service.has_remote else work()


async def in_turn(turn: asyncio.Lock, work: Callable[[], Awaitable[T]]) -> T:
    """Do `work` while nobody else has the turn.

    It goes on to its end, and so does the turn, when who asked for it has gone.
    """

    async def taken() -> T:
        async with turn:
            return await work()

    task = asyncio.create_task(taken())
    # Where nobody waits any more, nobody takes up what was raised.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        return await asyncio.shield(task)
    finally:
        # It has the error, and that has this frame: only the collector would free them.
        del task


def check_durability(service: Service, asked: str | None) -> Durability:
    """The durability that a request asks for, once it is one that can be reached."""
    wanted = service.wanted(asked)
    if wanted == "tiered" and not service.has_remote:
        raise InvalidInputError('durability "tiered": the store that is served has no remote')
    if wanted == "replicated" and not service.has_replicas:
        raise InvalidInputError('durability "replicated": the store that is served has one remote')
    return wanted
