"""Steps, written as one frame: the only route that writes records.

Owns what each step needs a right for, and how it is staged; that all of them happen or none is the
engine's promise. A request with the three fields of a producer may be sent again: it is looked at
and written under the turn of the producer's slot (`producers`), and what was written before is
answered from what was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from transit import AlreadyExistsError, ConflictError, Durability, Stream
from transit.protocol.calls import (
    Advance,
    Advanced,
    Append,
    AppendMany,
    FrameAnswer,
    FrameReceipt,
    FrameRequest,
)
from transit.protocol.fields import Producer, producer_of
from transit.server.access import APPEND, Grant
from transit.server.api.naming import find
from transit.server.api.producers import (
    Entry,
    Producers,
    check_next,
    grouped,
    producer_digest,
    request_digest,
)
from transit.server.api.serving import (
    Call,
    NoQuery,
    body_of,
    check_durability,
    in_turn,
    look,
    query_of,
    value_answer,
)
from transit.server.api.steps import Steps, check_steps, is_heavy, records_of
from transit.server.api.streams import describe
from transit.server.asgi import Answer, Request
from transit.server.asking import asked_durability, durability_header
from transit.server.refusals import NO_STORE, Header, RefusedError
from transit.server.service import TRIES, Service
from transit.server.streams import Streams

T = TypeVar("T")
_REPEATED: Final = (b"transit-repeated", b"true")


class Done(NamedTuple):
    """What a frame did: receipts as (first offset, last timestamp, count), uids of streams made."""

    receipts: Sequence[tuple[int, int, int]]
    made: Sequence[str]
    hidden: Sequence[Stream] = ()
    is_repeated: bool = False


class Frames:
    """The route of frames."""

    def __init__(self, service: Service, streams: Streams) -> None:
        self._service = service
        self._log = service.log
        self._streams = streams
        self._producers = Producers(service.log, service.settings.frame_producers_max)

    def calls(self) -> list[Call]:
        """Its table."""
        headers = ("Transit-Durability", "Transit-Repeated", "Producer-Epoch", "Producer-Seq")
        return [
            Call("POST", "/v1/frames", self._post, "Steps that are done together or not at all.",
                 FrameAnswer, NoQuery, FrameRequest, headers=headers),
        ]  # fmt: skip

    async def _post(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        producer = producer_of(request.headers)
        frame = await body_of(request, self._service, FrameRequest)
        durability = check_durability(self._service, frame.durability or asked_durability(request))
        check_steps(self._log, request.grant, frame.steps)
        if producer is None:
            done = await self._write(frame, lambda: self._written(request.grant, frame))
        else:
            done = await self._once(request.grant, frame, producer)
        await self._service.reach(durability)
        return await self._answer(request, frame, producer, durability, done)

    async def _write(self, frame: FrameRequest, work: Callable[[], T]) -> T:
        """Do `work` where it keeps nobody waiting."""
        if self._log.mode == "exclusive" and is_heavy(frame):
            return await self._service.read(work)
        return await self._service.write(work)

    def _written(self, grant: Grant, frame: FrameRequest) -> Done:
        """Write a frame that nothing is remembered of."""
        if len(frame.steps) == 1 and isinstance(frame.steps[0], Append | AppendMany):
            return self._append_alone(grant, frame.steps[0])
        with self._log.batch(durability="os", writer=grant.name) as batch:
            steps = Steps(self._log, batch)
            steps.stage(frame.steps)
        appended = [(each.stream, each.offset, each.timestamp) for each in batch.receipts]
        made = [staged.stream.uid for staged in steps.made]
        return Done(grouped(appended, steps.counts), made, steps.hidden)

    def _append_alone(self, grant: Grant, step: Append | AppendMany) -> Done:
        records = records_of(step)
        receipt = find(self._log, grant, APPEND, step.stream).append_many(
            records.payloads,
            headers=records.headers,
            timestamps=records.timestamps,
            expect=step.expect,
            durability="os",
            writer=grant.name,
        )
        return Done([(receipt.offset, receipt.timestamp, receipt.count)], [])

    async def _once(self, grant: Grant, frame: FrameRequest, producer: Producer) -> Done:
        """Write a producer's frame, or find that it is written."""
        digest = producer_digest(grant.name, producer)
        slot = self._producers.slot(digest)
        entry = Entry(digest, producer.epoch, producer.seq, request_digest(frame))

        def work() -> Done:
            slot.take_up()
            sent = slot.sent(digest)
            if not check_next(producer, sent):
                assert sent is not None
                kept = slot.entry(sent)
                if kept.request != entry.request:
                    raise RefusedError(
                        422, f"Producer-Seq {producer.seq} was another request", (NO_STORE,)
                    )
                return Done(kept.receipts, kept.made, is_repeated=True)
            with self._log.batch(durability="os", writer=grant.name) as batch:
                steps = Steps(self._log, batch)
                steps.stage(frame.steps)
                slot.stage(batch, entry, steps.counts, len(steps.made))
            slot.written(entry)
            return Done(entry.receipts, entry.made, steps.hidden)

        def retried() -> Done:
            for _ in range(TRIES - 1):
                try:
                    return work()
                except (AlreadyExistsError, ConflictError):
                    # Another process may have written there meanwhile; otherwise it is ours to say.
                    if not slot.take_up():
                        raise
            return work()

        return await in_turn(slot.turn, lambda: self._write(frame, retried))

    async def _answer(
        self,
        request: Request,
        frame: FrameRequest,
        producer: Producer | None,
        durability: Durability,
        done: Done,
    ) -> Answer:
        for stream in done.hidden:
            self._streams.lives.note_hidden(stream)
            self._streams.tails.wake(stream)
        places = iter(done.receipts)
        receipts = [
            FrameReceipt(step.stream, *next(places))
            for step in frame.steps
            if isinstance(step, Append | AppendMany)
        ]
        cursors = [
            Advanced(step.stream, step.cursor, step.position)
            for step in frame.steps
            if isinstance(step, Advance)
        ]
        log = self._log
        made = await look(
            self._service, lambda: [describe(log.stream(uid=uid)) for uid in done.made]
        )
        headers: list[Header] = [durability_header(durability)]
        if producer is not None:
            headers.append((b"producer-epoch", b"%d" % producer.epoch))
            headers.append((b"producer-seq", b"%d" % producer.seq))
        if done.is_repeated:
            headers.append(_REPEATED)
        return value_answer(request, FrameAnswer(durability, receipts, made, cursors), headers)
