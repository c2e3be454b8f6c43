"""What is remembered of those who send frames, so that a request sent again writes nothing.

A producer (`Producer-Id`, of one token) numbers its requests. What it sent last is kept in layer
`server`, in one of `SLOTS` streams `frames/<slot>`, as a record in the same frame as all that the
request wrote: a crash leaves both or neither. Each record is written on the condition that nobody
wrote another one there meanwhile.

    producer  digest of the token's name and the producer's id
    epoch     and
    seq       of the request
    request   digest of what was asked: another request under the same number is refused
    receipts  (first offset, last timestamp, count) of each step that appended, in their order
    made      uids of the streams that were made, in their order
    all       every `WHOLE`th record: all producers of the slot, the one idle longest first, by
              digest: (epoch, seq, offset here of the record of its last request)

So opening reads `WHOLE` records of a slot at the most. A slot holds its share of
`frame_producers_max` producers; of more, the one that was idle longest is forgotten: what it sends
next under a number but 0 is refused as a gap, under number 0 it counts as new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from transit import InvalidInputError, Log, NotFoundError, Stream, WriteBatch
from transit.protocol.calls import FrameRequest
from transit.protocol.fields import Producer
from transit.server.refusals import NO_STORE, Header, RefusedError

SLOTS: Final = 16
WHOLE: Final = 256
LAYER: Final = "server"


class Sent(NamedTuple):
    """A producer's last request: what it was, and which record of its slot tells of it."""

    epoch: int
    seq: int
    offset: int


class Entry(msgspec.Struct, omit_defaults=True):
    """A record of a slot."""

    producer: str
    epoch: int
    seq: int
    request: str
    receipts: list[tuple[int, int, int]] = []
    made: list[str] = []
    all: dict[str, Sent] | None = None


_DECODER: Final = msgspec.json.Decoder(Entry)


class Slot:
    """The producers of one slot, as the store has them."""

    def __init__(self, log: Log, name: str, producers_max: int) -> None:
        self._layer = log.layer(LAYER)
        self._name = name
        self._producers_max = producers_max
        self._stream: Stream | None = None
        self._next = 0
        self._producers: dict[str, Sent] = {}
        # Held while a request is looked at and written, so that one comes after the other.
        self.turn = asyncio.Lock()

    def take_up(self) -> bool:
        """Read what was written since; whether there was anything."""
        if self._stream is None:
            try:
                self._stream = self._layer.stream(self._name)
            except NotFoundError:
                return False
        count = len(self._stream)
        if count == self._next:
            return False
        # The newest first, down to one that holds all, or to what is known.
        entries: list[tuple[int, Entry]] = []
        for stop in range(count, self._next, -32):
            start = max(self._next, stop - 32)
            part = [
                (each.offset, _DECODER.decode(each.payload))
                for each in self._stream.read(start, stop)
            ]
            entries[:0] = part
            if any(entry.all is not None for _, entry in part):
                break
        for offset, entry in entries:
            self._apply(entry, offset)
        self._next = count
        return True

    def _apply(self, entry: Entry, offset: int) -> None:
        if entry.all is not None:
            self._producers = dict(entry.all)
        else:
            self._put(self._producers, entry, offset)

    def _put(self, producers: dict[str, Sent], entry: Entry, offset: int) -> None:
        # The one that sent last stands last.
        producers.pop(entry.producer, None)
        producers[entry.producer] = Sent(entry.epoch, entry.seq, offset)
        while len(producers) > self._producers_max:
            del producers[next(iter(producers))]

    def sent(self, producer: str) -> Sent | None:
        """The last request of a producer; None for one that is new, or forgotten."""
        return self._producers.get(producer)

    def entry(self, sent: Sent) -> Entry:
        """What was kept of a request."""
        assert self._stream is not None
        return _DECODER.decode(self._stream[sent.offset].payload)

    def stage(
        self, batch: WriteBatch, entry: Entry, counts: Sequence[int], made_count: int
    ) -> None:
        """Add the record about a request to `batch`, which holds all that was asked for.

        counts: how many records each step appends. made_count: how many streams are made.
        """
        # It may be staged again, behind a record that another process wrote.
        entry.all = None
        if self._next % WHOLE == WHOLE - 1:
            entry.all = dict(self._producers)
            self._put(entry.all, entry, self._next)

        def account(appended: Sequence[tuple[str, int, int]], made: Sequence[str]) -> bytes:
            entry.receipts = grouped(appended, counts)
            entry.made = list(made[:made_count])
            return msgspec.json.encode(entry)

        if self._stream is None:
            batch.append_account(batch.create(self._name, layer=LAYER), account)
        else:
            batch.append_account(self._stream, account, expect=self._next)

    def written(self, entry: Entry) -> None:
        """Take up the record that was staged, once it is written: where it was expected to be."""
        if self._stream is not None:
            self._apply(entry, self._next)
            self._next += 1


def grouped(
    appended: Sequence[tuple[str, int, int]], counts: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Records appended, so many by each step, as (first offset, last timestamp, count)."""
    receipts, place = [], 0
    for count in counts:
        receipts.append((appended[place][1], appended[place + count - 1][2], count))
        place += count
    return receipts


class Producers:
    """Those who send frames to one store."""

    def __init__(self, log: Log, producers_max: int) -> None:
        each = max(1, -(-producers_max // SLOTS))
        self._slots = [Slot(log, f"frames/{number:02x}", each) for number in range(SLOTS)]

    def slot(self, producer: str) -> Slot:
        """The slot of a producer, by its digest."""
        return self._slots[int(producer[:2], 16) % SLOTS]


def producer_digest(token: str, producer: Producer) -> str:
    """What a producer is remembered by: another token's producer of the same id is another."""
    return blake2b(f"{token}\0{producer.id}".encode(), digest_size=16).hexdigest()


def request_digest(frame: FrameRequest) -> str:
    """What a request is known again by: all of it but the durability it asks for."""
    data = msgspec.msgpack.encode(frame.steps)
    return blake2b(data, digest_size=16).hexdigest()


def check_next(producer: Producer, sent: Sent | None) -> bool:
    """Whether a request is the producer's next; False for its last one, sent again.

    `RefusedError` for all others, `InvalidInputError` for an epoch that does not begin with 0.
    """
    if sent is None:
        if producer.seq:
            raise _gap(0, producer)
        return True
    if producer.epoch < sent.epoch:
        current = (b"producer-epoch", b"%d" % sent.epoch)
        raise RefusedError(403, f"the producer's epoch is {sent.epoch}", (current, NO_STORE))
    if producer.epoch > sent.epoch:
        if producer.seq:
            raise InvalidInputError("a new epoch begins with Producer-Seq 0")
        return True
    if producer.seq == sent.seq:
        return False
    if producer.seq < sent.seq:
        detail = f"Producer-Seq {producer.seq} was written, and others after it: its answer is gone"
        raise RefusedError(409, detail, _numbers(sent.seq + 1, producer))
    if producer.seq > sent.seq + 1:
        raise _gap(sent.seq + 1, producer)
    return True


def _gap(expected: int, producer: Producer) -> RefusedError:
    detail = f"Producer-Seq {producer.seq} is not {expected}"
    return RefusedError(409, detail, _numbers(expected, producer))


def _numbers(expected: int, producer: Producer) -> tuple[Header, ...]:
    return (
        (b"producer-expected-seq", b"%d" % expected),
        (b"producer-received-seq", b"%d" % producer.seq),
        NO_STORE,
    )
