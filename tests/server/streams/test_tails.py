"""Readers that wait for one stream: when each is woken, what is made once for all of them."""

from __future__ import annotations

import asyncio
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


def test_readers_of_a_store_that_is_closed_hear_of_it(caller: Caller) -> None:
    async def work(tail: Tail) -> None:
        waiting = asyncio.create_task(tail.wait(0, 600))
        await asyncio.sleep(0)
        caller.app.service.log.close()
        with pytest.raises(transit.ClosedError):
            await waiting

    with_tail(caller, work)
