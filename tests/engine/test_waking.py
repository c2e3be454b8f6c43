"""What a change wakes: all waiters of that stream, and no others.

In the store's own process nothing looks now and then, so a wake-up that is lost is a test that ends
without its record.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from transit.handle.handle import Handle
from transit.handle.hub import Hub
from transit.handle.listeners import Listener, LoopFollower
from transit.log.catalog import StreamState

TIMEOUT_S = 120.0


@pytest.fixture(params=["exclusive", "shared"])
def log(request: pytest.FixtureRequest, path: Path) -> Iterator[transit.Log]:
    with transit.open(path, mode=request.param, durability="os") as opened:
        yield opened


@pytest.fixture
def alone(path: Path) -> Iterator[transit.Log]:
    with transit.open(path, durability="os") as opened:
        yield opened


def hubs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "transit-hub"]


def others() -> set[threading.Thread]:
    """All threads but the one that an append starts."""
    return {thread for thread in threading.enumerate() if thread.name != "transit-flusher"}


def come_true(condition: Callable[[], object]) -> bool:
    """Whether it does, in time."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


async def first(stream: transit.Stream, start: int = 0) -> transit.Record | None:
    async for record in stream.follow(start, timeout=TIMEOUT_S):
        return record
    return None


async def waiting(log: transit.Log, count: int) -> None:
    """Return when so many followers have been told at first, and wait."""
    hub = log._handle.hub

    def wait() -> bool:
        followers = [each for each in list(hub._following) if isinstance(each, LoopFollower)]
        return len(followers) == count and all(each.told for each in followers)

    # As long as it takes, also where a planted mistake is looked for in a short time.
    deadline = time.monotonic() + 120
    while not wait() and time.monotonic() < deadline:
        await asyncio.sleep(0.002)
    # A task that was told has had the time to look, and waits again.
    for _ in range(5):
        await asyncio.sleep(0)


def test_an_append_wakes_the_followers_of_its_stream_and_no_others(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [log.create(f"s{n}") for n in range(20)]
    woken: list[LoopFollower] = []
    right = LoopFollower.set

    def spy(follower: LoopFollower) -> None:
        woken.append(follower)
        right(follower)

    async def main() -> None:
        tasks = [asyncio.create_task(first(stream)) for stream in streams for _ in range(2)]
        await waiting(log, 40)
        monkeypatch.setattr(LoopFollower, "set", spy)
        streams[7].append(b"seven")
        found = await asyncio.gather(*tasks[14:16])
        assert [record and record.payload for record in found] == [b"seven", b"seven"]
        assert len(woken) == 2
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(main())


def test_an_append_wakes_the_tails_of_its_stream_and_no_others(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [log.create(f"s{n}") for n in range(6)]
    roused: list[Listener] = []
    right = Listener.rouse

    def spy(listener: Listener) -> None:
        roused.append(listener)
        right(listener)

    found: list[bytes] = []

    def tail(stream: transit.Stream) -> None:
        # Threads that a planted mistake leaves waiting end with the store.
        with contextlib.suppress(transit.ClosedError):
            found.extend(record.payload for record in stream.tail(0))

    threads = [threading.Thread(target=tail, args=(stream,), daemon=True) for stream in streams]
    for thread in threads:
        thread.start()
    assert come_true(lambda: len(log._handle.hub._listening) == 6)
    monkeypatch.setattr(Listener, "rouse", spy)
    streams[3].append(b"three")
    assert come_true(lambda: found == [b"three"])
    assert len(set(roused)) == 1
    for stream in streams:
        stream.finish()
    for thread in threads:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def test_any_number_of_followers_costs_one_thread_and_none_when_they_left(
    alone: transit.Log,
) -> None:
    streams = [alone.create(f"s{n}") for n in range(200)]
    before = others()
    assert not hubs()
    list(streams[0].tail(timeout=0.01))
    assert not hubs()

    async def main() -> None:
        tasks = [asyncio.create_task(first(stream)) for stream in streams]
        await waiting(alone, 200)
        assert len(others() - before) == 1
        for stream in streams:
            stream.append(b"x", durability="os")
        assert all(await asyncio.gather(*tasks))

    asyncio.run(main())
    assert come_true(lambda: not hubs())


def test_the_only_tail_of_a_folder_looks_itself_before_and_after_there_is_another(
    path: Path,
) -> None:
    found: dict[str, list[bytes]] = {"a": [], "b": []}

    def tail(name: str, count: int) -> None:
        with contextlib.suppress(transit.ClosedError):
            records = reader.stream(name).tail(0)
            found[name].extend(next(records).payload for _ in range(count))

    with transit.open(path, durability="os") as log:
        streams = {name: log.create(name) for name in found}
        with transit.open(path, mode="read") as reader:
            hub = reader._handle.hub
            threading.Thread(target=tail, args=("a", 3), daemon=True).start()
            assert come_true(lambda: hub.source_of_one)
            assert not hubs()
            streams["a"].append(b"alone")
            assert come_true(lambda: found["a"] == [b"alone"])
            other = threading.Thread(target=tail, args=("b", 1), daemon=True)
            other.start()
            assert come_true(hubs)
            streams["a"].append(b"with another")
            assert come_true(lambda: len(found["a"]) == 2)
            # It waits for the hub now.
            assert come_true(lambda: hub.source_of_one is None)
            streams["b"].append(b"the other's")
            other.join(TIMEOUT_S)
            assert come_true(lambda: not hubs())
            streams["a"].append(b"alone again")
            assert come_true(lambda: len(found["a"]) == 3)
    assert found["b"] == [b"the other's"]


@pytest.mark.parametrize("durability", ["memory", "os", "local"])
def test_a_follower_sees_records_of_every_durability(log: transit.Log, durability: str) -> None:
    stream = log.create("s")

    async def main() -> list[bytes]:
        async def collect() -> list[bytes]:
            found: list[bytes] = []
            async for record in stream.follow(0, timeout=TIMEOUT_S):
                found.append(record.payload)
                if len(found) == 50:
                    break
            return found

        task = asyncio.create_task(collect())
        for n in range(50):
            await asyncio.to_thread(stream.append, b"%d" % n, durability=durability)
        return await task

    assert asyncio.run(main()) == [b"%d" % n for n in range(50)]


def test_followers_in_several_loops_of_several_threads_see_everything(log: transit.Log) -> None:
    streams = [log.create(f"s{n}") for n in range(4)]
    found: list[list[int]] = []

    async def collect(stream: transit.Stream) -> list[int]:
        seen: list[int] = []
        async for record in stream.follow(0, timeout=TIMEOUT_S):
            seen.append(record.offset)
        return seen

    async def main() -> None:
        found.extend(await asyncio.gather(*map(collect, streams)))

    threads = [threading.Thread(target=lambda: asyncio.run(main()), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        for stream in streams:
            stream.append(b"x")
    for stream in streams:
        stream.finish()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert found == [list(range(50))] * 12


def test_a_follower_that_is_slow_gets_every_record_once_and_keeps_nobody(
    alone: transit.Log,
) -> None:
    stream = alone.create("s")

    async def collect(pause_s: float) -> list[int]:
        seen: list[int] = []
        async for record in stream.follow(0, timeout=TIMEOUT_S):
            seen.append(record.offset)
            await asyncio.sleep(pause_s)
        return seen

    async def main() -> None:
        slow = asyncio.create_task(collect(0.002))
        quick = asyncio.create_task(collect(0))
        for n in range(300):
            await asyncio.to_thread(stream.append, b"%d" % n)
        stream.finish()
        assert await quick == list(range(300))
        assert await slow == list(range(300))

    asyncio.run(main())


def test_a_long_history_is_followed_without_keeping_the_loop(alone: transit.Log) -> None:
    stream = alone.create("s")
    stream.append_many([b"x"] * 20_000)
    alone.seal()
    turns: list[int] = []

    async def main() -> int:
        async def others() -> None:
            while True:
                turns.append(1)
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        count = len([record async for record in stream.follow(0, timeout=0)])
        task.cancel()
        return count

    assert asyncio.run(main()) == 20_000
    assert len(turns) >= 20_000 // 256


@pytest.mark.parametrize("branched", ["branch", "merge"])
def test_a_follower_of_what_inherits_is_not_woken_by_its_parent(
    alone: transit.Log, branched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = alone.create("parent")
    parent.append_many([b"0", b"1"])
    child = parent.branch("child")
    if branched == "merge":
        child.append(b"of the child")
        child = alone.merge("merged", [parent, child], policy="interleave")
    count = len(child)
    woken: list[LoopFollower] = []
    right = LoopFollower.set

    def spy(follower: LoopFollower) -> None:
        woken.append(follower)
        right(follower)

    async def main() -> None:
        task = asyncio.create_task(first(child, count))
        await waiting(alone, 1)
        monkeypatch.setattr(LoopFollower, "set", spy)
        parent.append(b"2")
        await asyncio.to_thread(alone._handle.hub.rouse)
        await asyncio.sleep(0.02)
        assert not woken
        child.append(b"own")
        record = await task
        assert record is not None
        assert record.payload == b"own"

    asyncio.run(main())


def test_a_loop_that_is_closed_while_followers_wait_is_forgotten(alone: transit.Log) -> None:
    stream = alone.create("s")
    loop = asyncio.new_event_loop()
    task = loop.create_task(first(stream))
    loop.run_until_complete(waiting(alone, 1))
    loop.close()
    stream.append(b"x")
    assert come_true(lambda: not alone._handle.hub._following)
    assert come_true(lambda: not hubs())
    assert asyncio.run(first(stream)) is not None
    # Otherwise it would say that it was never ended.
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_follower_that_its_closed_loop_dropped_is_collected_and_its_store_too(path: Path) -> None:
    log = transit.open(path)
    stream = log.create("s")
    loop = asyncio.new_event_loop()
    task = loop.create_task(first(stream))
    loop.run_until_complete(waiting(log, 1))
    loop.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    kept = weakref.ref(log._handle)
    del task, loop, stream, log
    with pytest.warns(ResourceWarning):
        gc.collect()
    assert kept() is None
    assert come_true(lambda: not hubs())


def test_a_task_that_waits_is_told_when_the_store_closes_in_its_own_loop(
    log: transit.Log,
) -> None:
    stream = log.create("s")

    async def main() -> None:
        task = asyncio.create_task(first(stream))
        await waiting(log, 1)
        log.close()
        with pytest.raises(transit.ClosedError):
            await task
        with pytest.raises(transit.ClosedError):
            await first(stream)

    asyncio.run(main())
    assert not hubs()


def test_the_last_records_before_a_stream_is_finished_are_seen_by_tails(
    alone: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come after a tail looked how far the stream is, before it looks whether it goes on."""
    stream = alone.create("s")
    right = Handle.next_offset
    done: list[int] = []

    def look(handle: Handle, state: StreamState) -> int:
        count = right(handle, state)
        if not done:
            done.append(1)
            stream.append(b"last")
            stream.finish()
        return count

    tail = stream.tail(0, timeout=TIMEOUT_S)
    monkeypatch.setattr(Handle, "next_offset", look)
    assert [record.payload for record in tail] == [b"last"]


def test_the_last_records_before_a_stream_is_finished_are_seen_by_followers(
    alone: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come while the hub looks, and what it told then is taken before it looks again."""
    stream = alone.create("s")
    hub = alone._handle.hub
    right = hub._look
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 1:
            stream.append(b"last")
            stream.finish()
        else:
            found = [each for each in list(hub._following) if isinstance(each, LoopFollower)]
            come_true(lambda: not any(each.is_rung for each in found))
        right()

    monkeypatch.setattr(hub, "_look", look)

    async def main() -> list[bytes]:
        return [record.payload async for record in stream.follow(0, timeout=TIMEOUT_S)]

    assert asyncio.run(main()) == [b"last"]


def test_a_record_between_the_look_of_a_tail_and_its_wait_is_seen(
    alone: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = alone.create("s")
    right = Handle.next_offset
    looks: list[int] = []

    def look(handle: Handle, state: StreamState) -> int:
        count = right(handle, state)
        looks.append(count)
        if len(looks) == 2:
            stream.append(b"between")
        return count

    tail = stream.tail(0)
    found: list[transit.Record] = []

    def wait() -> None:
        with contextlib.suppress(transit.ClosedError):
            found.append(next(tail))

    monkeypatch.setattr(Handle, "next_offset", look)
    threading.Thread(target=wait, daemon=True).start()
    assert come_true(lambda: found)


def test_a_record_before_a_follower_is_told_at_first_is_seen(alone: transit.Log) -> None:
    stream = alone.create("s")
    stream.append(b"x")
    assert asyncio.run(asyncio.wait_for(first(stream), TIMEOUT_S)) is not None


def test_a_wake_up_that_an_interrupt_cut_short_is_made_up_for(
    alone: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = alone.create("s")
    hub = alone._handle.hub
    right = Hub._note
    calls: list[int] = []

    def interrupted(hub: Hub, state: StreamState) -> None:
        calls.append(state.id)
        if len(calls) == 1:
            raise KeyboardInterrupt
        right(hub, state)

    async def main() -> None:
        task = asyncio.create_task(first(stream))
        await waiting(alone, 1)
        monkeypatch.setattr(
            alone._handle.writer, "on_append", lambda state: interrupted(hub, state)
        )
        with pytest.raises(KeyboardInterrupt):
            stream.append(b"x")
        assert await task is not None

    asyncio.run(main())


def test_what_goes_wrong_while_looking_is_given_to_each_who_waits_and_others_go_on(
    alone: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = alone.create("s")
    hub = alone._handle.hub

    def fail() -> None:
        raise transit.StoreUnavailableError("no disk")

    async def main() -> None:
        tasks = [asyncio.create_task(first(stream)) for _ in range(3)]
        await waiting(alone, 3)
        with monkeypatch.context() as patch:
            patch.setattr(hub, "_look", fail)
            stream.append(b"x")
            await asyncio.wait(tasks, timeout=TIMEOUT_S)
        errors = [task.exception() for task in tasks]
        assert [type(error) for error in errors] == [transit.StoreUnavailableError] * 3
        assert len(set(map(id, errors))) == 3
        assert await first(stream) is not None

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_hub_that_breaks_lets_all_go_and_the_next_one_serves(
    alone: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = alone.create("s")

    def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        task = asyncio.create_task(first(stream))
        await waiting(alone, 1)
        with monkeypatch.context() as patch:
            patch.setattr(alone._handle.hub, "_look", fail)
            stream.append(b"x")
            with pytest.raises(transit.TransitError, match="ZeroDivisionError"):
                await task
        assert await first(stream) is not None

    asyncio.run(main())


def test_where_there_can_be_no_thread_followers_and_tails_look_for_themselves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    with transit.open(path, durability="os") as log, transit.open(path, mode="read") as reader:
        stream = log.create("s")
        stream.append(b"0", durability="local")
        monkeypatch.setattr("transit.handle.background.start_new_thread", refuse)

        async def main() -> list[int]:
            seen: list[int] = []
            async for record in reader.stream("s").follow(0, timeout=TIMEOUT_S):
                seen.append(record.offset)
                if len(seen) == 3:
                    break
                stream.append(b"x")
            return seen

        assert asyncio.run(main()) == [0, 1, 2]
        tail = reader.stream("s").tail(2, timeout=TIMEOUT_S)
        assert [next(tail).offset, stream.append(b"y").offset, next(tail).offset] == [2, 3, 3]
    assert not hubs()
