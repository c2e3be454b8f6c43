"""The control routes of subscriptions, under `/v1/stream/__ds/`."""

from __future__ import annotations

import re
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from transit import InvalidInputError
from transit.protocol import fields, paths
from transit.server.access import APPEND, READ
from transit.server.asgi import Answer, Request
from transit.server.gate import CONTROL, WORKER_ACTIONS
from transit.server.refusals import NO_STORE, RefusedError
from transit.server.service import Service
from transit.server.subscriptions.globs import SEGMENTS_MAX, fixed_part
from transit.server.subscriptions.records import Asked, Kind, Subscription
from transit.server.subscriptions.waking import SubscriptionError, Waking
from transit.server.subscriptions.webhooks import RefusedAddressError, Webhooks

T = TypeVar("T")
LEASE_MIN_MS: Final = 1_000
LEASE_MAX_MS: Final = 600_000
BODY_BYTES_MAX: Final = 1024 * 1024
LINKS_MAX: Final = 10_000

_ID: Final = re.compile(r"[A-Za-z0-9_.~-]{1,128}")
_JSON: Final = (b"content-type", b"application/json")


class WebhookBody(msgspec.Struct):
    """Where a webhook is."""

    url: str


class SubscriptionBody(msgspec.Struct):
    """A request for a subscription."""

    type: Kind
    pattern: str = ""
    streams: list[str] = []
    webhook: WebhookBody | None = None
    wake_stream: str = ""
    lease_ttl_ms: int = 30_000
    description: str = ""


class StreamsBody(msgspec.Struct):
    """Streams to link."""

    streams: list[str]


class WorkerBody(msgspec.Struct):
    """Who claims."""

    worker: str


class AckBody(msgspec.Struct):
    """How far one stream was processed."""

    offset: str
    stream: str = ""
    path: str = ""


class DoneBody(msgspec.Struct):
    """What a worker says of its wake."""

    wake_id: str = ""
    generation: int = -1
    acks: list[AckBody] = []
    done: bool = False


class Subscriptions:
    """The control routes, over the subscriptions of one store."""

    def __init__(self, service: Service, webhooks: Webhooks) -> None:
        self._service = service
        self.webhooks = webhooks
        self.waking = Waking(service, webhooks)

    def end(self) -> None:
        """Wake nobody any more; what is on its way to a webhook is not waited for."""
        self.waking.end()
        self.webhooks.close()

    async def answer(self, request: Request) -> Answer:
        """The answer to a request on a control route."""
        try:
            return await self._answer(request)
        except SubscriptionError as error:
            told = {"code": error.code, "message": str(error), **error.fields}
            return _answered({"error": told}, error.status)
        except RefusedAddressError as error:
            told = {"code": "WEBHOOK_URL_REJECTED", "message": str(error)}
            return _answered({"error": told}, 400)

    async def _answer(self, request: Request) -> Answer:
        rest = request.path.removeprefix(CONTROL)
        if rest == "jwks.json":
            _need(request, "GET")
            public = (b"cache-control", b"public, max-age=300")
            body = msgspec.json.encode(self.webhooks.key_set)
            return Answer(200, [(b"content-type", b"application/jwk-set+json"), public], body)
        kind, _, rest = rest.partition("/")
        id, _, action = rest.partition("/")
        if kind != "subscriptions" or not id:
            raise RefusedError(404, "there is no such control route", (NO_STORE,))
        if not _ID.fullmatch(id):
            raise InvalidInputError("a subscription's id has 1 to 128 letters, digits and -_.~")
        if action in WORKER_ACTIONS:
            _need(request, "POST")
            return await self._worker(request, id, action)
        if not action:
            return await self._one(request, id)
        one = self._allowed(request, id)
        if action == "claim":
            _need(request, "POST")
            return await self._claim(request, one)
        if action == "streams":
            _need(request, "POST")
            wanted = await self._body(request, StreamsBody)
            names = [self._readable(request, each) for each in wanted.streams]
            if not names or len(names) + len(one.links) > LINKS_MAX:
                raise InvalidInputError(f"streams must be 1 to {LINKS_MAX} paths")
            self.waking.add(one, names)
            return await self._done()
        if action.startswith("streams/"):
            _need(request, "DELETE")
            self.waking.remove(one, action.removeprefix("streams/").strip("/"))
            return await self._done()
        raise RefusedError(404, "there is no such control route", (NO_STORE,))

    async def _body(self, request: Request, kind: type[T]) -> T:
        data = await request.body(BODY_BYTES_MAX, self._service.settings.body_s)
        try:
            return msgspec.json.decode(data or b"{}", type=kind)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise SubscriptionError(400, "INVALID_REQUEST", str(error)) from None

    async def _done(self) -> Answer:
        await self._service.reach(self._service.wanted(None))
        return Answer(204, [NO_STORE])

    # One subscription

    async def _one(self, request: Request, id: str) -> Answer:
        if request.method == "PUT":
            return await self._create(request, id)
        if request.method == "DELETE":
            try:
                self._allowed(request, id)
            except SubscriptionError:
                return Answer(204, [NO_STORE])
            self.waking.delete(id)
            return await self._done()
        _need(request, "GET", "HEAD", others="PUT, DELETE")
        return _answered(self._shown(request, self._allowed(request, id)), 200)

    async def _create(self, request: Request, id: str) -> Answer:
        body = await self._body(request, SubscriptionBody)
        pattern = body.pattern.strip("/")
        if not pattern and not body.streams:
            raise SubscriptionError(400, "INVALID_REQUEST", "a pattern or streams are needed")
        if pattern.count("/") >= SEGMENTS_MAX or len(pattern) > 512:
            raise SubscriptionError(400, "INVALID_REQUEST", "the pattern is too long")
        if len(body.streams) > LINKS_MAX:
            raise SubscriptionError(400, "INVALID_REQUEST", "too many streams")
        if not LEASE_MIN_MS <= body.lease_ttl_ms <= LEASE_MAX_MS:
            raise SubscriptionError(
                400, "INVALID_REQUEST", f"lease_ttl_ms is {LEASE_MIN_MS} to {LEASE_MAX_MS}"
            )
        url, wake_stream = "", ""
        if body.type == "webhook":
            if body.webhook is None:
                raise SubscriptionError(400, "INVALID_REQUEST", "webhook.url is missing")
            url = body.webhook.url
            self.webhooks.check(url)
        else:
            wake_stream = body.wake_stream.strip("/")
            if not wake_stream:
                raise SubscriptionError(400, "INVALID_REQUEST", "wake_stream is missing")
            request.grant.check(APPEND, paths.check_segments(wake_stream))
        if pattern:
            request.grant.check(READ, fixed_part(pattern))
        names = sorted({self._readable(request, each) for each in body.streams})
        asked = Asked(
            body.type, body.lease_ttl_ms, pattern, tuple(names), url, wake_stream, body.description
        )
        one, is_new = self.waking.create(id, asked, request.grant.name)
        await self._service.reach(self._service.wanted(None))
        return _answered(self._shown(request, one), 201 if is_new else 200)

    def _readable(self, request: Request, path: str) -> str:
        name = paths.check_segments(path.strip("/"))
        request.grant.check(READ, name)
        return name

    def _allowed(self, request: Request, id: str) -> Subscription:
        """The subscription, for those who may read what it is about."""
        one = self.waking.get(id)
        if one.asked.pattern:
            request.grant.check(READ, fixed_part(one.asked.pattern))
        for path in one.asked.streams:
            request.grant.check(READ, path)
        return one

    def _shown(self, request: Request, one: Subscription) -> dict[str, object]:
        asked = one.asked
        shown: dict[str, object] = {
            "id": one.id,
            "subscription_id": one.id,
            "type": asked.type,
            "streams": [
                {key: each[key] for key in ("path", "link_type", "acked_offset")}
                for each in self.waking.streams_of(one)
            ],
            "lease_ttl_ms": asked.lease_ms,
            "created_at": fields.show_time(one.created),
            "status": "failed" if one.attempts else "active",
        }
        if asked.pattern:
            shown["pattern"] = asked.pattern
        if asked.description:
            shown["description"] = asked.description
        if asked.wake_stream:
            shown["wake_stream"] = asked.wake_stream
        if asked.url:
            keys = f"{self.webhooks.base_url or request.base_url}{quote(CONTROL)}jwks.json"
            signing = {"alg": "ed25519", "kid": self.webhooks.key_id, "jwks_url": keys}
            shown["webhook"] = {"url": asked.url, "signing": signing}
        return shown

    # Workers

    async def _claim(self, request: Request, one: Subscription) -> Answer:
        worker = (await self._body(request, WorkerBody)).worker
        if not 0 < len(worker) <= 256:
            raise SubscriptionError(400, "INVALID_REQUEST", "worker has 1 to 256 characters")
        token = self.waking.claim(one, worker)
        await self._service.reach(self._service.wanted(None))
        wake = one.wake
        assert wake is not None
        shown = {
            "wake_id": wake.id,
            "generation": wake.generation,
            "token": token,
            "streams": self.waking.streams_of(one),
            "lease_ttl_ms": one.asked.lease_ms,
        }
        return _answered(shown, 200)

    async def _worker(self, request: Request, id: str, action: str) -> Answer:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise SubscriptionError(401, "TOKEN_INVALID", "the token is missing")
        said = await self._body(request, DoneBody)
        one = self.waking.get(id)
        if (one.asked.type == "webhook") != (action == "callback"):
            raise SubscriptionError(400, "INVALID_REQUEST", f"not for a {one.asked.type}")
        if action == "release":
            self.waking.release(one, token, said.wake_id, said.generation)
            return await self._done()
        acks = [((ack.stream or ack.path).strip("/"), ack.offset) for ack in said.acks]
        more = self.waking.acknowledge(one, token, said.wake_id, said.generation, acks, said.done)
        await self._service.reach(self._service.wanted(None))
        return _answered({"ok": True, "next_wake": more}, 200)


def _need(request: Request, *methods: str, others: str = "") -> None:
    if request.method not in methods:
        allowed = ", ".join((*methods, *filter(None, (others, "OPTIONS"))))
        raise RefusedError(405, f"method {request.method}", ((b"allow", allowed.encode()),))


def _answered(body: dict[str, object], status: int) -> Answer:
    return Answer(status, [_JSON, NO_STORE], msgspec.json.encode(body))
