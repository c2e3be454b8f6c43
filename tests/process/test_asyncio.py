"""Threads and event loops over one store: followers that are cancelled, timed out, or cut off."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit

DEADLINE_S = 60
QUICK = transit.Settings(flush_interval_ms=5, lock_timeout_s=5.0)


@pytest.fixture(params=["exclusive", "shared"])
def log(request: pytest.FixtureRequest, path: Path) -> Iterator[transit.Log]:
    """An open store with an empty stream `s`."""
    with transit.open(path, mode=request.param, durability="os", settings=QUICK) as opened:
        opened.create("s")
        yield opened


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def appending(stream: transit.Stream, count: int, threads: int) -> Iterator[None]:
    """A block beside which `threads` threads append `count` records each; ends when they have."""

    def append(thread: int) -> None:
        for n in range(count):
            stream.append(b"%d %d" % (thread, n))

    workers = [threading.Thread(target=append, args=(each,)) for each in range(threads)]
    for worker in workers:
        worker.start()
    yield
    for worker in workers:
        worker.join(DEADLINE_S)
        assert not worker.is_alive()


async def collect(stream: transit.Stream, count: int) -> list[int]:
    """The offsets that a follower sees, until it has seen `count`."""
    seen: list[int] = []
    async for record in stream.follow(start=0):
        seen.append(record.offset)
        if len(seen) == count:
            break
    return seen


def test_many_followers_see_every_record_that_threads_append_in_order(log: transit.Log) -> None:
    stream = log.stream("s")

    async def main() -> list[list[int]]:
        followers = [asyncio.create_task(collect(stream, 300)) for _ in range(5)]
        return await asyncio.wait_for(asyncio.gather(*followers), DEADLINE_S)

    with appending(stream, 100, 3):
        seen = asyncio.run(main())
    assert seen == [list(range(300))] * 5


def test_a_follower_that_is_cancelled_lets_go_and_the_next_one_goes_on(log: transit.Log) -> None:
    stream = log.stream("s")
    before = descriptors()

    async def main() -> None:
        for n in range(20):
            task = asyncio.create_task(collect(stream, 10**9))
            await asyncio.sleep(0.001 * (n % 4))
            stream.append(b"%d" % n)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(await asyncio.wait_for(collect(stream, 20), DEADLINE_S)) == 20

    asyncio.run(main())
    # The store's own thread lets go a moment after the last follower.
    deadline = time.monotonic() + DEADLINE_S
    while descriptors() > before:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert stream.append(b"after").offset == 20


def test_a_follower_that_is_timed_out_has_missed_nothing_when_it_is_asked_again(
    log: transit.Log,
) -> None:
    stream = log.stream("s")

    async def main() -> list[int]:
        seen: list[int] = []

        async def follow() -> None:
            async for record in stream.follow(start=len(seen)):
                seen.append(record.offset)

        while len(seen) < 200:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(follow(), 0.003)
        return seen

    with appending(stream, 100, 2):
        assert asyncio.run(main()) == list(range(200))


def test_a_descriptor_opened_after_a_cancelled_wait_is_not_read_by_it(path: Path) -> None:
    with transit.open(path, durability="os") as writer, transit.open(path, mode="read") as log:
        writer.create("s")
        stream = log.stream("s")

        async def main() -> None:
            for _ in range(30):
                task = asyncio.create_task(collect(stream, 10**9))
                await asyncio.sleep(0.002)
                task.cancel()
                await asyncio.wait([task])
                # It would take the number of the watcher, whose thread still polls.
                read, write = os.pipe()
                os.write(write, b"mine")
                writer.stream("s").append(b"x")
                await asyncio.sleep(0.002)
                assert os.read(read, 100) == b"mine"
                os.close(read)
                os.close(write)

        asyncio.run(main())


def test_a_store_that_is_closed_ends_what_follows_it(log: transit.Log) -> None:
    stream = log.stream("s")

    async def main() -> None:
        followers = [asyncio.create_task(collect(stream, 10**9)) for _ in range(3)]
        await asyncio.sleep(0.02)
        await asyncio.to_thread(log.close)
        done, waiting = await asyncio.wait(followers, timeout=DEADLINE_S)
        assert not waiting
        assert {type(task.exception()) for task in done} == {transit.ClosedError}

    asyncio.run(main())


def test_a_tail_in_a_thread_ends_when_the_store_is_closed(log: transit.Log) -> None:
    stream = log.stream("s")
    outcomes: list[str] = []
    waiting = threading.Barrier(4)

    def tail() -> None:
        waiting.wait(DEADLINE_S)
        try:
            for _ in stream.tail(start=0):
                outcomes.append("record")
        except transit.ClosedError:
            outcomes.append("closed")

    workers = [threading.Thread(target=tail) for _ in range(3)]
    for worker in workers:
        worker.start()
    waiting.wait(DEADLINE_S)
    stream.append(b"x")
    while outcomes.count("record") < 3:
        threading.Event().wait(0.005)
    log.close()
    for worker in workers:
        worker.join(DEADLINE_S)
    assert sorted(outcomes) == ["closed"] * 3 + ["record"] * 3


def test_a_loop_that_is_closed_while_a_follower_waits_leaves_the_store_usable(
    log: transit.Log,
) -> None:
    stream = log.stream("s")
    loop = asyncio.new_event_loop()
    follower = stream.follow(start=0)
    task = loop.create_task(anext(follower))  # type: ignore[arg-type]
    loop.run_until_complete(asyncio.sleep(0.02))
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.run_until_complete(follower.aclose())  # type: ignore[attr-defined]
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert stream.append(b"x").offset == 0
    assert [record.offset for record in stream.tail(start=0, timeout=0.05)] == [0]


def test_futures_of_submitted_records_are_awaited_by_several_loops_at_once(
    log: transit.Log,
) -> None:
    stream = log.stream("s")
    offsets: list[int] = []

    async def main() -> None:
        futures = [stream.submit(b"x", durability="local") for _ in range(50)]
        receipts = await asyncio.gather(*map(asyncio.wrap_future, futures))
        offsets.extend(receipt.offset for receipt in receipts)

    in_thread(lambda: asyncio.run(main()), 3)
    assert sorted(offsets) == list(range(150))


def in_thread(work: Callable[[], object], count: int) -> None:
    workers = [threading.Thread(target=work) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(DEADLINE_S)
        assert not worker.is_alive()
