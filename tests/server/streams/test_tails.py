"""Readers that wait for one stream: when each is woken, what is made once for all of them."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

import transit
from tests.server.calling import TEXT, Caller, call, served
from transit.server.live import EventReader
from transit.server.settings import ServerSettings
from transit.server.tails import Tail


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    with served(tmp_path / "store", settings=ServerSettings(ping_s=0.02, sse_s=600)) as made:
        made("PUT", "s", headers=TEXT)
        yield made


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Caller]:
    """As `caller`, but only records wake a reader."""
    with served(tmp_path / "store", settings=ServerSettings(ping_s=600, sse_s=600)) as made:
        made("PUT", "s", headers=TEXT)
        yield made


def with_tail(caller: Caller, work: Callable[[Tail], Awaitable[None]]) -> None:
    """Do `work` with the tail of stream s, which has a reader."""

    async def joined() -> None:
        tails = caller.app.streams.tails
        tail = tails.join(caller.app.service.log.stream("s"))
        try:
            await work(tail)
        finally:
            tails.leave(tail)

    caller.run(joined())


async def append(caller: Caller, data: bytes, **headers: str) -> None:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    assert (await call(caller.app, "POST", "s", data, TEXT | given)).status < 300


def test_each_reader_waits_for_as_long_as_it_asked(caller: Caller) -> None:
    async def work(tail: Tail) -> None:
        patient = asyncio.create_task(tail.wait(0, 600))
        brief = [asyncio.create_task(tail.wait(0, wait_s)) for wait_s in (0.03, 0.01, 0.02)]
        assert await asyncio.gather(*brief) == [False] * 3
        # Another timer is set, and the first one is still waited for.
        assert not await tail.wait(0, 0.01)
        assert not patient.done()
        await append(caller, b"x")
        assert await patient
        assert not tail._waiting

    with_tail(caller, work)


def test_a_reader_that_goes_leaves_nothing_and_wakes_nobody(caller: Caller) -> None:
    async def work(tail: Tail) -> None:
        gone, left = (asyncio.create_task(tail.wait(0, 600)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        assert len(tail._waiting) == 1
        await append(caller, b"x")
        assert await left

    with_tail(caller, work)


async def _first(parts: EventReader, start: int, count: int) -> list[bytes]:
    events, found = parts.events(start, lambda: False), list[bytes]()
    async for part in events:
        if not part.startswith(b":"):
            found.append(part)
        if len(found) == count:
            break
    await events.aclose()
    return found


def test_events_that_are_alike_are_made_once_and_cursors_that_clients_choose_are_not_kept(
    caller: Caller,
) -> None:
    async def work(tail: Tail) -> None:
        service = caller.app.service
        ahead = [str(int(tail.cursor) + 10 + number) for number in range(20)]
        readers = [
            asyncio.create_task(_first(EventReader(service, tail, "text/plain", cursor), 0, 2))
            for cursor in [None, None, "1", *ahead]
        ]
        await asyncio.sleep(0)
        await append(caller, b"hello")
        found = [(await reader)[1] for reader in readers]
        assert found[0] is found[1]
        assert found[2] == found[0]
        assert all(
            event.startswith(b"event: data\ndata:hello\n\nevent: control\n") for event in found
        )
        assert len(set(found[3:])) > 1
        assert len(tail.made) == 2

    with_tail(caller, work)


def test_the_end_of_a_stream_is_told_with_the_records_that_came_with_it(caller: Caller) -> None:
    async def work(tail: Tail) -> None:
        reader = EventReader(caller.app.service, tail, "text/plain", None)
        reading = asyncio.create_task(_first(reader, 0, 99))
        await asyncio.sleep(0)
        await append(caller, b"last", stream_closed="true")
        begin, end = await reading
        assert b"streamClosed" not in begin
        assert end.count(b"event: control") == 1
        assert b"data:last" in end
        assert b'"streamClosed":true' in end

    with_tail(caller, work)


def test_a_reader_that_is_told_of_more_than_it_has_seen_reads_on_without_loss(
    caller: Caller,
) -> None:
    async def work(tail: Tail) -> None:
        reader = EventReader(caller.app.service, tail, "text/plain", None)
        events, seen = reader.events(0, lambda: False), b""
        for number in range(40):
            await append(caller, b"<%d>" % number)
            while tail.stop <= number:
                await asyncio.sleep(0.001)
            if number % 3 == 0:
                # Slower than what comes: a run that it stands in the middle of, and many at once.
                seen += await anext(events)
        while b"<39>" not in seen:
            seen += await anext(events)
        await events.aclose()
        found = b"".join(line[5:] for line in seen.split(b"\n") if line.startswith(b"data:<"))
        assert found == b"".join(b"<%d>" % number for number in range(40))

    with_tail(caller, work)


def test_a_reader_that_is_overtaken_while_it_catches_up_is_told_when_it_has_all(
    tmp_path: Path,
) -> None:
    settings = ServerSettings(chunk_bytes=1, ping_s=0.02, sse_s=600)
    with served(tmp_path / "small", settings=settings) as caller:
        caller("PUT", "s", b"a", headers=TEXT)

        async def work(tail: Tail) -> None:
            tail.stream.append(b"b")
            events = EventReader(caller.app.service, tail, "text/plain", None).events(0, bool)
            assert b"data:a" in await anext(events)
            tail.stream.append(b"c")
            while tail.stop < 3:
                await asyncio.sleep(0.001)
            told = b""
            while b"c\n" not in told or told.startswith(b":"):
                told = await anext(events)
            assert b'"upToDate":true' in told
            await events.aclose()

        with_tail(caller, work)


class Room:
    """A connection that has room for an event or has none; it and its task send to one client."""

    def __init__(self) -> None:
        self.has_room = True
        self.sent: list[bytes] = []
        self.at_once = 0

    def send(self, event: bytes) -> bool:
        if self.has_room:
            self.sent.append(event)
            self.at_once += 1
        return self.has_room

    async def read(self, reader: EventReader) -> None:
        """As the task of a request does."""
        async for event in reader.events(0, lambda: False):
            self.sent.append(event)

    @property
    def payloads(self) -> list[bytes]:
        """The records of all events, in the order in which they were sent."""
        return re.findall(rb"<\d+>", b"".join(self.sent))


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.001)


def test_a_reader_that_waits_where_a_run_begins_is_sent_it_and_not_woken(patient: Caller) -> None:
    async def work(tail: Tail) -> None:
        room = Room()
        reader = EventReader(patient.app.service, tail, "text/plain", None, room.send)
        reading = asyncio.create_task(room.read(reader))
        await _until(lambda: len(tail._waiting) == 1)
        (waiting,) = tail._waiting
        begun = len(room.sent)
        for number in range(3):
            await append(patient, b"<%d>" % number)
            await _until(lambda count=number + 1: room.at_once == count)  # type: ignore[misc]
            assert not waiting.done()
        sent = room.sent[begun:]
        assert [event.count(b"event: control") for event in sent] == [1, 1, 1]
        assert [f"{number + 1:020d}".encode() in sent[number] for number in range(3)] == [True] * 3
        await append(patient, b"", stream_closed="true")
        await reading
        assert room.payloads == [b"<0>", b"<1>", b"<2>"]
        assert b'"streamClosed":true' in room.sent[-1]

    with_tail(patient, work)


def test_events_keep_their_order_whoever_sends_them(caller: Caller) -> None:
    async def work(tail: Tail) -> None:
        rooms = [Room() for _ in range(3)]
        readers = [
            asyncio.create_task(
                room.read(EventReader(caller.app.service, tail, "text/plain", None, room.send))
            )
            for room in rooms
        ]
        numbers = random.Random(5)
        for number in range(200):
            for room in rooms:
                room.has_room = numbers.random() < 0.6
            if numbers.random() < 0.3:
                # As another room of the server, or the program around it, does.
                tail.stream.append(b"<%d>" % number)
            else:
                await append(caller, b"<%d>" % number)
            for _ in range(numbers.randrange(5)):
                await asyncio.sleep(0)
        await append(caller, b"", stream_closed="true")
        await asyncio.gather(*readers)
        wanted = [b"<%d>" % number for number in range(200)]
        assert [room.payloads for room in rooms] == [wanted] * 3
        assert all(0 < room.at_once < 200 for room in rooms)

    with_tail(caller, work)


def test_records_are_handed_over_once_and_only_where_they_are_the_next(caller: Caller) -> None:
    async def work(tail: Tail) -> None:
        tail.stream.append_many([b"a", b"b", b"c"])
        tail.give(1, [b"b"])
        tail.give(0, [b"a"])
        tail.give(0, [b"a"])
        tail.give(1, [b"b"])
        await _until(lambda: tail.stop == 3)
        assert [record for run in tail.runs.values() for record in run] == [b"a", b"b", b"c"]

    with_tail(caller, work)


def test_a_reader_that_was_sent_something_waits_for_as_long_again_but_not_beyond_its_time(
    caller: Caller,
) -> None:
    async def work(tail: Tail) -> None:
        room = Room()
        reader = EventReader(caller.app.service, tail, "text/plain", None, room.send)
        reading = asyncio.create_task(room.read(reader))
        await _until(lambda: len(tail._waiting) == 1)
        begins, ping_s = asyncio.get_running_loop().time(), caller.app.settings.ping_s
        assert reader.take(0, [b"<0>"], begins + 1) == begins + 1 + ping_s
        until = reader.take(1, [b"<1>"], begins + 1000)
        assert until is not None
        assert until < begins + 601
        assert reader.take(1, [b"<1>"], begins) is None
        room.has_room = False
        assert reader.take(2, [b"<2>"], begins) is None
        reading.cancel()
        await asyncio.wait([reading])
        assert room.payloads == [b"<0>", b"<1>"]

    with_tail(caller, work)


def test_a_reader_that_is_cut_off_is_sent_nothing_more(caller: Caller) -> None:
    async def work(tail: Tail) -> None:
        room, other = Room(), Room()
        reading, left = (
            asyncio.create_task(
                each.read(EventReader(caller.app.service, tail, "text/plain", None, each.send))
            )
            for each in (room, other)
        )
        await _until(lambda: len(tail._waiting) == 2)
        tail.give(0, [b"<0>"])
        reading.cancel()
        await _until(lambda: other.at_once == 1)
        assert room.payloads == []
        left.cancel()
        await asyncio.wait([reading, left])

    with_tail(caller, work)


def test_readers_of_a_store_that_is_closed_hear_of_it(caller: Caller) -> None:
    async def work(tail: Tail) -> None:
        waiting = asyncio.create_task(tail.wait(0, 600))
        await asyncio.sleep(0)
        caller.app.service.log.close()
        with pytest.raises(transit.ClosedError):
            await waiting

    with_tail(caller, work)
