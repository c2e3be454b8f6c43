"""The Durable Streams protocol: create, append, close, read, delete, fork.

Owns what each request does to the store and what is answered: sections 4 to 10 of the protocol.
What a request checks and what it writes happen in one step, so no other request comes between. In
mode "shared" each write has the condition that what it relies on has not changed, and is tried
again.

Sources: the Durable Streams protocol 1.0; RFC 9110.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from transit import (
    AlreadyExistsError,
    ConflictError,
    Durability,
    InvalidInputError,
    Stream,
    StreamFinishedError,
)
from transit.protocol import fields, offsets, paths
from transit.protocol.fields import Producer
from transit.protocol.messages import json_messages
from transit.server.access import APPEND, BRANCH, READ
from transit.server.asgi import Answer, Request
from transit.server.live import EventReader
from transit.server.lives import DEFAULT_TYPE, DELETED, Configuration, Lives, Named
from transit.server.reading import (
    NEAR,
    Chunk,
    Chunks,
    cursor_after,
    is_unchanged,
    read_chunk,
    tag_of,
)
from transit.server.refusals import NO_STORE, Header, RefusedError
from transit.server.service import Service
from transit.server.states import Change, States
from transit.server.tails import Tails

T = TypeVar("T")
TRIES: Final = 16
METHODS: Final = "GET, HEAD, PUT, POST, DELETE, OPTIONS"
PART: Final = "http.part"
"""Header of a record that holds the first bytes of another: `<stream>@<offset>:<bytes>`."""

_CLOSED: Final = (b"stream-closed", b"true")
_UP_TO_DATE: Final = (b"stream-up-to-date", b"true")
_BASE64: Final = (b"stream-sse-data-encoding", b"base64")


class Streams:
    """The streams of a store as the protocol serves them."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._log = service.log
        self.states = States(service.log)
        self.lives = Lives(service.log, self.states)
        self.tails = Tails()
        self._chunks = Chunks(service.settings.answers_bytes_max)
        kept = "public" if service.settings.public else "private"
        self._cached = (
            b"cache-control",
            f"{kept}, max-age=60, stale-while-revalidate=300".encode(),
        )
        # Set when the server ends: readers are sent what there is, and go.
        self.is_ending = False

    async def answer(self, request: Request) -> Answer:
        """The answer to a request for a stream."""
        name = paths.check_segments(request.path.removeprefix(paths.STREAMS))
        if name.partition("/")[0] == paths.RESERVED:
            raise RefusedError(404, "this server has no such control route", (NO_STORE,))
        match request.method:
            case "GET":
                request.grant.check(READ, name)
                return await self._get(request, name)
            case "POST":
                request.grant.check(APPEND, name)
                return await self._post(request, name)
            case "HEAD":
                request.grant.check(READ, name)
                return self._head(name)
            case "PUT":
                return await self._put(request, name)
            case "DELETE":
                request.grant.check(APPEND, name)
                return await self._delete(request, name)
        raise RefusedError(405, f"method {request.method}", ((b"allow", METHODS.encode()),))

    async def _body(self, request: Request) -> bytes:
        settings = self._service.settings
        return await request.body(settings.body_bytes_max, settings.body_s)

    async def _write(self, work: Callable[[], T]) -> T:
        """Do `work`, again when another process came between its looking and its writing."""
        for _ in range(TRIES - 1):
            try:
                return await self._service.write(work)
            except (AlreadyExistsError, ConflictError):
                continue
        return await self._service.write(work)

    # Creating and forking

    async def _put(self, request: Request, name: str) -> Answer:
        headers = request.headers
        body = await self._body(request)
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
            payloads = _payloads(wanted.content_type, body)
            closes = fields.is_closing(headers)
            made, named = await self._write(
                lambda: self._create(request, name, wanted, payloads, closes)
            )
        else:
            request.grant.check(BRANCH, name)
            made, named = await self._write(
                lambda: self._fork(request, name, source, content_type, ttl, expires, body)
            )
        await self._service.reach(durability)
        answer = self._described(named, [durability_header(durability)])
        answer.status = 201 if made else 200
        if made:
            url = request.base_url + paths.stream_path(name)
            answer.headers.append((b"location", url.encode()))
        return answer

    def _existing(self, name: str) -> Named | None:
        """The stream of that name; None where there is none and one may be made."""
        try:
            return self.lives.find(name, touch=False)
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
        return True, self.lives.find(name)

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
        at, part = self._fork_place(request, source)
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
            return False, _same(named, self._is_same_fork(request, named, wanted))
        prefix = self._part_of(source, at, part)
        payloads = _payloads(given.content_type, body)
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
        return True, self.lives.find(name)

    def _source(self, name: str) -> Named:
        try:
            return self.lives.find(name)
        except RefusedError as error:
            if error.status == 410:
                raise RefusedError(409, str(error), (NO_STORE,)) from None
            raise

    def _fork_place(self, request: Request, source: Named) -> tuple[int, int]:
        """Where a fork parts from its source: the offset, and how much of the record there."""
        token = request.headers.get("stream-fork-offset")
        text = request.headers.get("stream-fork-sub-offset")
        part = 0 if text is None else fields.whole_number(text, "Stream-Fork-Sub-Offset")
        count = len(source.stream)
        if token is None:
            if part:
                raise InvalidInputError("Stream-Fork-Sub-Offset needs Stream-Fork-Offset")
            return count, 0
        at = offsets.decode_offset(token)
        at = {offsets.START: 0, offsets.NOW: count}.get(at, at)
        if at > count:
            raise InvalidInputError(f"Stream-Fork-Offset {token} is past the end of the source")
        return at, part

    def _is_same_fork(self, request: Request, named: Named, wanted: Configuration) -> bool:
        mine = named.configuration
        if "stream-fork-offset" not in request.headers:
            # No place was asked for: whichever the source's end was then.
            wanted = wanted._replace(fork=mine.fork)
            if not mine.fork.startswith(wanted.fork.partition("@")[0]):
                return False
        closes = fields.is_closing(request.headers)
        return mine.is_like(wanted) and named.stream.finished == closes

    def _part_of(self, source: Named, at: int, part: int) -> bytes:
        """The first bytes of the record at `at`; none for JSON, where parts are whole records."""
        if not part:
            return b""
        stream, is_json = source.stream, fields.is_json(source.configuration.content_type)
        if is_json:
            if at + part > len(stream):
                raise InvalidInputError(f"Stream-Fork-Sub-Offset {part} is past the messages")
            return b""
        payload = stream[at].payload if at < len(stream) else b""
        if part > len(payload):
            raise InvalidInputError(f"Stream-Fork-Sub-Offset {part} is past the record's bytes")
        return payload[:part]

    # Appending and closing

    async def _post(self, request: Request, name: str) -> Answer:
        body = await self._body(request)
        durability = self._service.wanted(asked_durability(request))
        work = self._append_plain if _is_plain(request) else self._append
        answer = await self._write(lambda: work(request, name, body))
        if answer.status < 300:
            await self._service.reach(durability)
            answer.headers.append(durability_header(durability))
        return answer

    def _append_plain(self, request: Request, name: str, body: bytes) -> Answer:
        """An append that nothing is remembered of but its records."""
        stream, configuration = self.lives.find(name)
        if not body:
            raise InvalidInputError("the body is empty")
        payloads = self._checked(request, configuration, body)
        try:
            receipt = stream.append_many(
                payloads,
                durability="os",
                writer=request.grant.name,
                expect=expected(request),
            )
        except StreamFinishedError:
            return self._refused_closed(stream)
        except ConflictError as error:
            return self._conflict(stream, str(error))
        token = offsets.encode_offset(receipt.last + 1)
        return Answer(204, [(b"stream-next-offset", token.encode()), NO_STORE])

    def _append(self, request: Request, name: str, body: bytes) -> Answer:
        """An append of a producer, of a sequence, or one that closes the stream."""
        stream, configuration = self.lives.find(name)
        closes, producer = fields.is_closing(request.headers), fields.producer_of(request.headers)
        if not body and not closes:
            raise InvalidInputError("the body is empty")
        if stream.finished:
            if (not body and closes and producer is None) or (
                producer is not None and producer == self.states.of(stream).closed_by
            ):
                return self._appended(stream, producer, is_new=False)
            return self._refused_closed(stream)
        payloads = self._checked(request, configuration, body) if body else []
        if producer is not None and (known := self._check_producer(stream, producer)) is not None:
            return known
        sequence = self._check_order(request, stream)
        change = Change(seq=sequence)
        with self._log.batch(durability="os", writer=request.grant.name) as batch:
            for payload in payloads:
                batch.append(stream, payload)
            if closes:
                batch.finish(stream)
            if producer is not None:
                stop = len(stream) + len(payloads)
                change.producers = {producer.id: (producer.epoch, producer.seq, stop)}
                change.closed_by = producer if closes else None
            if producer is not None or sequence is not None:
                change = self.states.stage(batch, stream, change)
        if producer is not None or sequence is not None:
            self.states.written(stream, change)
        return self._appended(stream, producer, is_new=bool(payloads))

    def _check_order(self, request: Request, stream: Stream) -> str | None:
        """The sequence that a request gives, once it and the offset it expects are looked at."""
        sequence, last = request.headers.get("stream-seq"), self.states.of(stream).seq
        if sequence is not None:
            if len(sequence) > fields.SEQUENCE_BYTES_MAX:
                raise InvalidInputError("Stream-Seq is too long")
            if last is not None and sequence.encode() <= last.encode():
                self._conflict(stream, f"Stream-Seq is not after {last!r}")
        wanted = expected(request)
        if wanted is not None and wanted != len(stream):
            self._conflict(stream, f"the next offset is {len(stream)}")
        return sequence

    def _checked(self, request: Request, configuration: Configuration, body: bytes) -> list[bytes]:
        """The records of a body whose content type is the stream's."""
        given = fields.content_type_of(request.headers)
        if given is None:
            raise InvalidInputError("Content-Type is missing")
        wanted = configuration.content_type
        if given != wanted and fields.media_type(given) != fields.media_type(wanted):
            raise RefusedError(409, f"the stream's content type is {wanted}, not {given}")
        payloads = _payloads(wanted, body)
        if not payloads:
            raise InvalidInputError("an empty array has no message")
        return payloads

    def _check_producer(self, stream: Stream, producer: Producer) -> Answer | None:
        """The answer where a request is not the producer's next: section 5.2.1."""
        state = self.states.of(stream)
        known = state.producers.get(producer.id)
        if known is None:
            if producer.seq:
                return self._gap(0, producer)
            if len(state.producers) >= self._service.settings.producers_max:
                raise RefusedError(429, "the stream has too many producers")
            return None
        epoch, seq, _ = known
        if producer.epoch < epoch:
            current = (b"producer-epoch", b"%d" % epoch)
            raise RefusedError(403, f"the producer's epoch is {epoch}", (current, NO_STORE))
        if producer.epoch > epoch:
            if producer.seq:
                raise InvalidInputError("a new epoch begins with Producer-Seq 0")
            return None
        if producer.seq <= seq:
            return self._appended(stream, Producer(producer.id, epoch, seq), is_new=False)
        return self._gap(seq + 1, producer) if producer.seq > seq + 1 else None

    def _gap(self, expected_seq: int, producer: Producer) -> Answer:
        numbers = (
            (b"producer-expected-seq", b"%d" % expected_seq),
            (b"producer-received-seq", b"%d" % producer.seq),
            NO_STORE,
        )
        raise RefusedError(409, f"Producer-Seq {producer.seq} is not {expected_seq}", numbers)

    def _appended(self, stream: Stream, producer: Producer | None, *, is_new: bool) -> Answer:
        headers: list[Header] = [*self._place(stream), NO_STORE]
        if producer is not None:
            headers.append((b"producer-epoch", b"%d" % producer.epoch))
            headers.append((b"producer-seq", b"%d" % producer.seq))
        if stream.finished:
            headers.append(_CLOSED)
        return Answer(200 if producer is not None and is_new else 204, headers)

    def _refused_closed(self, stream: Stream) -> Answer:
        place = (*self._place(stream), _CLOSED, NO_STORE)
        raise RefusedError(409, f"stream {stream.name!r} is closed", place)

    def _conflict(self, stream: Stream, detail: str) -> Answer:
        raise RefusedError(409, detail, (*self._place(stream), NO_STORE))

    def _place(self, stream: Stream) -> list[Header]:
        return [(b"stream-next-offset", offsets.encode_offset(len(stream)).encode())]

    # Metadata and deleting

    def _head(self, name: str) -> Answer:
        return self._described(self.lives.find(name, touch=False), [])

    def _described(self, named: Named, more: list[Header]) -> Answer:
        stream, (content_type, ttl, expires, _) = named
        headers = [(b"content-type", content_type.encode()), *self._place(stream), NO_STORE, *more]
        if ttl is not None:
            headers.append((b"stream-ttl", b"%d" % ttl))
        if expires is not None:
            headers.append((b"stream-expires-at", fields.show_time(expires).encode()))
        if stream.finished:
            headers.append(_CLOSED)
        return Answer(200, headers)

    async def _delete(self, request: Request, name: str) -> Answer:
        durability = self._service.wanted(asked_durability(request))
        stream = await self._write(lambda: self._hide(name))
        await self._service.reach(durability)
        self.tails.wake(stream)
        return Answer(204, [NO_STORE, durability_header(durability)])

    def _hide(self, name: str) -> Stream:
        stream = self.lives.find(name, touch=False).stream
        self.lives.hide(stream, DELETED)
        return stream

    # Reading

    async def _get(self, request: Request, name: str) -> Answer:
        query, live = request.query, request.query.get("live")
        token = query.get("offset")
        if live not in (None, "long-poll", "sse"):
            raise InvalidInputError(f"live {live[:32]!r}: not long-poll or sse")
        if token is None and live is not None:
            raise InvalidInputError(f"live={live} needs an offset")
        named = self.lives.find(name)
        start = offsets.decode_offset("-1" if token is None else token)
        count = len(named.stream)
        if start > count:
            raise InvalidInputError(f"offset {token}: the stream has {count} records")
        is_now = start == offsets.NOW
        start = count if is_now else max(start, 0)
        if live == "sse":
            return self._sse(request, named, start)
        if live == "long-poll" and start == count and not named.stream.finished:
            await self._wait(named.stream, start)
            named = self.lives.find(name, touch=False)
        return await self._chunk(request, named, start, live == "long-poll", is_now)

    async def _wait(self, stream: Stream, start: int) -> None:
        self._check_readers()
        tail = self.tails.join(stream)
        try:
            await tail.wait(start, self._service.settings.long_poll_s)
        finally:
            self.tails.leave(tail)

    def _check_readers(self) -> None:
        if self.is_ending:
            raise RefusedError(503, "the server ends", ((b"retry-after", b"1"),))
        if self.tails.count >= self._service.settings.readers_max:
            raise RefusedError(503, "too many readers wait", ((b"retry-after", b"5"),))

    async def _chunk(
        self, request: Request, named: Named, start: int, is_poll: bool, is_now: bool
    ) -> Answer:
        stream, (content_type, *_) = named
        # In this order: nothing is appended after a stream was finished.
        is_finished, count = stream.finished, len(stream)
        cursor = cursor_after(request.query.get("cursor"))
        live: list[Header] = []
        if is_poll and not is_finished:
            live = [(b"stream-cursor", cursor.encode())]
        if start == count and is_poll:
            ended = [_CLOSED] if is_finished else []
            return Answer(204, [*self._place(stream), _UP_TO_DATE, NO_STORE, *live, *ended])
        asked = request.headers.get("if-none-match")
        if asked and not is_now and is_unchanged(asked, stream, start, count, is_finished):
            tag = asked.split(",")[0].strip().encode()
            return Answer(304, [(b"etag", tag), self._cached])
        chunk = await self._read(named, start, count)
        token = offsets.encode_offset(chunk.stop).encode()
        headers = [(b"content-type", content_type.encode()), (b"stream-next-offset", token), *live]
        if not chunk.is_full:
            headers.append(_UP_TO_DATE)
            if is_finished:
                headers.append(_CLOSED)
        if is_now or is_poll:
            headers.append(NO_STORE)
        else:
            headers.append(self._cached)
        if not is_now:
            tag = tag_of(
                stream, start, chunk.stop, is_full=chunk.is_full, is_closed=is_finished
            ).encode()
            headers.append((b"etag", tag))
        if fields.media_type(content_type) in _ACTIVE:
            headers += _INERT
        return Answer(200, headers, chunk.body)

    async def _read(self, named: Named, start: int, count: int) -> Chunk:
        stream, (content_type, *_) = named
        chunk = self._chunks.get(stream, start, count)
        if chunk is None:
            limit = self._service.settings.chunk_bytes

            def work() -> Chunk:
                return read_chunk(stream, content_type, start, count, limit)

            is_near = count - start <= NEAR and not self._service.has_remote
            chunk = work() if is_near else await self._service.read(work)
            if chunk.stop > start:
                self._chunks.keep(stream, start, chunk)
        return chunk

    def _sse(self, request: Request, named: Named, start: int) -> Answer:
        self._check_readers()
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        if not fields.is_text(named.configuration.content_type):
            headers.append(_BASE64)
        cursor = request.query.get("cursor")
        return Answer(200, headers, parts=self._events(named, start, cursor))

    async def _events(self, named: Named, start: int, cursor: str | None) -> AsyncIterator[bytes]:
        tail = self.tails.join(named.stream)
        try:
            reader = EventReader(self._service, tail, named.configuration.content_type, cursor)
            async for part in reader.events(start, lambda: self.is_ending):
                yield part
        finally:
            self.tails.leave(tail)


def asked_durability(request: Request) -> str | None:
    """The durability that a request prefers (RFC 7240); None for none."""
    for part in request.headers.get("prefer", "").split(","):
        name, _, value = part.partition("=")
        if name.strip().lower() == "durability":
            return value.strip().strip('"')
    return None


def durability_header(durability: Durability) -> Header:
    """What an answer says that it reached."""
    return b"transit-durability", durability.encode()


def expected(request: Request) -> int | None:
    """The next offset that a request expects, as a token or a number; None for any."""
    token = request.headers.get("transit-expect-offset")
    if token is None:
        return None
    return int(token) if token.isascii() and token.isdigit() else offsets.decode_offset(token)


def _is_plain(request: Request) -> bool:
    headers = request.headers
    return not (
        "producer-id" in headers
        or "producer-epoch" in headers
        or "producer-seq" in headers
        or "stream-seq" in headers
        or "stream-closed" in headers
    )


def _payloads(content_type: str, body: bytes) -> list[bytes]:
    """The records that a body stands for; none for an empty one."""
    if not body:
        return []
    return json_messages(body) if fields.is_json(content_type) else [body]


def _same(named: Named, is_like: bool) -> Named:
    if not is_like:
        raise RefusedError(
            409, f"stream {named.stream.name!r} exists, configured otherwise", (NO_STORE,)
        )
    return named


# What a browser would run if it showed it as a page of this server's.
_ACTIVE: Final = {
    "text/html", "text/xml", "application/xml", "application/xhtml+xml", "image/svg+xml",
    "application/javascript", "text/javascript", "application/octet-stream",
}  # fmt: skip
_INERT: Final[list[Header]] = [
    (b"content-disposition", b"attachment"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
]
