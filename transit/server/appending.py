"""Appending to a stream and closing it: sections 5.2 and 5.3 of the protocol.

Owns the order in which reasons to refuse are looked for: the stream is closed, its content type is
another, the producer or the sequence is not next. A producer's request that was taken before is
answered as it was then, from what was written in the frame of its data.
"""

from __future__ import annotations

from typing import Final

from transit import ConflictError, InvalidInputError, Log, Stream, StreamFinishedError
from transit.protocol import fields
from transit.protocol.fields import Producer
from transit.server.asgi import Answer, Request
from transit.server.asking import (
    EXPECT,
    asked_durability,
    body_of,
    durability_header,
    expected,
    payloads_of,
)
from transit.server.lives import CLOSED, Configuration, Lives, place_of
from transit.server.refusals import NO_STORE, Header, RefusedError
from transit.server.service import Service
from transit.server.states import Change, States
from transit.server.tails import Tails


class Appending:
    """Answers to POST."""

    def __init__(self, service: Service, lives: Lives, states: States, tails: Tails) -> None:
        self._service = service
        self._log: Log = service.log
        self._lives = lives
        self._states = states
        self._tails = tails
        self._is_alone = service.log.mode == "exclusive"
        self._usual = service.wanted(None)

    async def answer(self, request: Request, name: str) -> Answer:
        """The answer to a POST."""
        service, headers = self._service, request.headers
        body = request.body_here(service.settings.body_bytes_max)
        if body is None:
            body = await body_of(service, request)
        durability = self._usual
        if "prefer" in headers:
            durability = service.wanted(asked_durability(request))
        is_plain = _PRODUCED.isdisjoint(headers)
        if is_plain and self._is_alone:
            # `write_again` would do no more: it waits for nothing, and leaves no conflict.
            answer = self._append_plain(request, name, body)
        else:
            work = self._append_plain if is_plain else self._append
            answer = await service.write_again(lambda: work(request, name, body))
        if answer.status < 300:
            if durability != "os":
                await service.reach(durability)
            answer.headers.append(durability_header(durability))
        return answer

    def _append_plain(self, request: Request, name: str, body: bytes) -> Answer:
        """An append that nothing is remembered of but its records."""
        stream, configuration = self._lives.find(name)
        if not body:
            raise InvalidInputError("the body is empty")
        headers, wanted = request.headers, configuration.content_type
        payloads = None
        if fields.is_json(wanted) or headers.get("content-type") != wanted:
            payloads = self._checked(request, configuration, body)
        try:
            writer = request.grant.name
            expect = expected(request) if EXPECT in headers else None
            if payloads is None or len(payloads) == 1:
                record = body if payloads is None else payloads[0]
                last = stream.append(record, durability="os", writer=writer, expect=expect).offset
                taken = [record]
            else:
                last = stream.append_many(
                    payloads, durability="os", writer=writer, expect=expect
                ).last
                taken = payloads
        except StreamFinishedError:
            return self._refused_closed(stream)
        except ConflictError as error:
            return self._conflict(stream, str(error))
        if self._tails.count and self._is_alone:
            self._tails.give(stream, last + 1 - len(taken), taken)
        return Answer(204, [(b"stream-next-offset", b"%020d" % (last + 1)), NO_STORE])

    def _append(self, request: Request, name: str, body: bytes) -> Answer:
        """An append of a producer, of a sequence, or one that closes the stream."""
        stream, configuration = self._lives.find(name)
        closes, producer = fields.is_closing(request.headers), fields.producer_of(request.headers)
        if not body and not closes:
            raise InvalidInputError("the body is empty")
        if stream.finished:
            if (not body and closes and producer is None) or (
                producer is not None and producer == self._states.of(stream).closed_by
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
                change = self._states.stage(batch, stream, change)
        if producer is not None or sequence is not None:
            self._states.written(stream, change)
        if payloads and self._is_alone and not closes:
            # What ends a stream is told together with its end.
            self._tails.give(stream, batch.receipts[0].offset, payloads)
        return self._appended(stream, producer, is_new=bool(payloads))

    def _check_order(self, request: Request, stream: Stream) -> str | None:
        """The sequence that a request gives, once it and the offset it expects are looked at."""
        sequence, last = request.headers.get("stream-seq"), self._states.of(stream).seq
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
        payloads = payloads_of(wanted, body)
        if not payloads:
            raise InvalidInputError("an empty array has no message")
        return payloads

    def _check_producer(self, stream: Stream, producer: Producer) -> Answer | None:
        """The answer where a request is not the producer's next: section 5.2.1."""
        state = self._states.of(stream)
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
        headers: list[Header] = [*place_of(stream), NO_STORE]
        if producer is not None:
            headers.append((b"producer-epoch", b"%d" % producer.epoch))
            headers.append((b"producer-seq", b"%d" % producer.seq))
        if stream.finished:
            headers.append(CLOSED)
        return Answer(200 if producer is not None and is_new else 204, headers)

    def _refused_closed(self, stream: Stream) -> Answer:
        place = (*place_of(stream), CLOSED, NO_STORE)
        raise RefusedError(409, f"stream {stream.name!r} is closed", place)

    def _conflict(self, stream: Stream, detail: str) -> Answer:
        raise RefusedError(409, detail, (*place_of(stream), NO_STORE))


_PRODUCED: Final = frozenset(
    ("producer-id", "producer-epoch", "producer-seq", "stream-seq", "stream-closed")
)
"""Fields of requests of which more is remembered than their records."""
