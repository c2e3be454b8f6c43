"""Creating streams, new ones and forks: sections 4.2 and 5.1 of the protocol.

To create is to make sure that there is one: the same request again is answered 200, one for a
stream that is there and configured otherwise 409.
"""

from __future__ import annotations

from typing import Final

from transit import InvalidInputError, Log
from transit.protocol import fields, paths
from transit.server import forks
from transit.server.access import APPEND, BRANCH, READ
from transit.server.asgi import Answer, Request
from transit.server.asking import asked_durability, body_of, durability_header, payloads_of
from transit.server.lives import DEFAULT_TYPE, Configuration, Lives, Named, described
from transit.server.refusals import NO_STORE, RefusedError
from transit.server.service import Service

PART: Final = "http.part"
"""Header of a record that holds the first bytes of another: `<stream>@<offset>:<bytes>`."""


class Creating:
    """Answers to PUT."""

    def __init__(self, service: Service, lives: Lives) -> None:
        self._service = service
        self._log: Log = service.log
        self._lives = lives

    async def answer(self, request: Request, name: str) -> Answer:
        """The answer to a PUT."""
        headers = request.headers
        body = await body_of(self._service, request)
        durability = self._service.wanted(asked_durability(request))
        ttl, expires = fields.ttl_of(headers), fields.expiry_of(headers)
        if ttl is not None and expires is not None:
            raise InvalidInputError("Stream-TTL and Stream-Expires-At do not go together")
        content_type = fields.content_type_of(headers)
        source = headers.get("stream-forked-from")
        if source is None:
            if "stream-fork-offset" in headers or "stream-fork-sub-offset" in headers:
                raise InvalidInputError("a fork's offsets need Stream-Forked-From")
            request.grant.check(APPEND, name)
            wanted = Configuration(content_type or DEFAULT_TYPE, ttl, expires)
            payloads = payloads_of(wanted.content_type, body)
            closes = fields.is_closing(headers)
            made, named = await self._service.write_again(
                lambda: self._create(request, name, wanted, payloads, closes)
            )
        else:
            request.grant.check(BRANCH, name)
            made, named = await self._service.write_again(
                lambda: self._fork(request, name, source, content_type, ttl, expires, body)
            )
        await self._service.reach(durability)
        answer = described(named, [durability_header(durability)])
        answer.status = 201 if made else 200
        if made:
            url = request.base_url + paths.stream_path(name)
            answer.headers.append((b"location", url.encode()))
        return answer

    def _existing(self, name: str) -> Named | None:
        """The stream of that name; None where there is none and one may be made."""
        try:
            return self._lives.find(name, touch=False)
        except RefusedError as error:
            if error.status == 410:
                raise RefusedError(409, str(error), (NO_STORE,)) from None
            return None

    def _create(
        self,
        request: Request,
        name: str,
        wanted: Configuration,
        payloads: list[bytes],
        closes: bool,
    ) -> tuple[bool, Named]:
        named = self._existing(name)
        if named is not None:
            is_like = named.configuration.is_like(wanted) and named.stream.finished == closes
            return False, _same(named, is_like)
        with self._log.batch(durability="os", writer=request.grant.name) as batch:
            staged = batch.create(name, wanted.metadata)
            for payload in payloads:
                batch.append(staged, payload)
            if closes:
                batch.finish(staged)
        return True, self._lives.find(name)

    def _fork(
        self,
        request: Request,
        name: str,
        source_path: str,
        content_type: str | None,
        ttl: int | None,
        expires: int | None,
        body: bytes,
    ) -> tuple[bool, Named]:
        raw = source_path.encode("latin-1")
        source_name = paths.decode_path(raw).removeprefix(paths.STREAMS)
        request.grant.check(READ, paths.check_segments(source_name))
        source = self._source(source_name)
        at, part = forks.place_of(request, source)
        given = source.configuration
        if content_type is not None and fields.media_type(content_type) != fields.media_type(
            given.content_type
        ):
            raise RefusedError(409, f"a fork has its source's content type, {given.content_type}")
        if ttl is None and expires is None:
            ttl, expires = given.ttl, given.expires
        fork = f"{source.stream.uid}@{at}" + (f":{part}" if part else "")
        wanted = Configuration(given.content_type, ttl, expires, fork)
        named = self._existing(name)
        if named is not None:
            return False, _same(named, forks.is_same(request, named, wanted))
        prefix = forks.part_of(source, at, part)
        payloads = payloads_of(given.content_type, body)
        closes = fields.is_closing(request.headers)
        with self._log.batch(durability="os", writer=request.grant.name) as batch:
            inherited = at + (part if fields.is_json(given.content_type) else 0)
            place = inherited - 1 if inherited else None
            staged = batch.branch(source.stream, name, place, wanted.metadata, empty=inherited == 0)
            if prefix:
                origin = f"{source.stream.name}@{at}:{part}"
                batch.append(staged, prefix, headers={PART: origin})
            for payload in payloads:
                batch.append(staged, payload)
            if closes:
                batch.finish(staged)
        return True, self._lives.find(name)

    def _source(self, name: str) -> Named:
        try:
            return self._lives.find(name)
        except RefusedError as error:
            if error.status == 410:
                raise RefusedError(409, str(error), (NO_STORE,)) from None
            raise


def _same(named: Named, is_like: bool) -> Named:
    if not is_like:
        raise RefusedError(
            409, f"stream {named.stream.name!r} exists, configured otherwise", (NO_STORE,)
        )
    return named
