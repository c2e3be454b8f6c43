"""Many tasks of an event loop that follow streams: how soon they wake, what they cost appends."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import transit
from benchmarks.latency import GAP_S, WARM_UP, lateness_ns, stamped
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.workload import Aim, Facts

FOLLOWERS = 1_000
_REST = payloads(1)[0]
# Until all of them wait, and before anything is measured.
_SETTLED_S = 0.5


class Followers:
    """1,000 streams with a follower each; a thread appends to one after another, at random."""

    def __init__(self, percentile: int, aim: float) -> None:
        self._percentile = percentile
        self.remark = ""
        self.facts = Facts(
            name=f"followers-p{percentile}",
            work='append "os" in a thread, 1,000 streams followed in one event loop; until its '
            f"follower has the record: p{percentile}",
            raw="os.write and call_soon_threadsafe, 1,000 tasks of one event loop wait by hand",
            unit="µs",
            better="less",
            aim=Aim("value", aim),
            records=2_000,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._count = records + WARM_UP
        self._run = 0

    def raw(self) -> float:
        path = os.path.join(self._folder, "raw")
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        late: list[int] = []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            inboxes: list[asyncio.Queue[bytes]] = [asyncio.Queue() for _ in range(FOLLOWERS)]

            async def wait(inbox: asyncio.Queue[bytes]) -> None:
                while True:
                    late.append(lateness_ns(await inbox.get()))

            def append(which: int) -> None:
                payload = stamped(_REST)
                os.write(number, payload)
                loop.call_soon_threadsafe(inboxes[which].put_nowait, payload)

            await _beside([wait(inbox) for inbox in inboxes], self._count, append, late)

        try:
            asyncio.run(main())
        finally:
            os.close(number)
            os.unlink(path)
        return self._figure(late)

    def ours(self) -> float:
        self._run += 1
        late: list[int] = []

        async def main(streams: Sequence[transit.Stream]) -> None:
            async def follow(stream: transit.Stream) -> None:
                async for record in stream.follow():
                    late.append(lateness_ns(record.payload))

            def append(which: int) -> None:
                streams[which].append(stamped(_REST))

            before = threading.active_count()
            most = await _beside(list(map(follow, streams)), self._count, append, late)
            # One of them appends.
            self.remark = f"{FOLLOWERS:,} followers have {most - before - 1} thread"

        with transit.open(os.path.join(self._folder, f"{self._run}"), durability="os") as log:
            asyncio.run(main([log.create(f"s{n}") for n in range(FOLLOWERS)]))
        return self._figure(late)

    def _figure(self, late: list[int]) -> float:
        return statistics.quantiles(late[WARM_UP:], n=100)[self._percentile - 1] / 1_000

    def close(self) -> None:
        pass


async def _beside(
    followers: Sequence[Awaitable[None]],
    count: int,
    append: Callable[[int], None],
    late: list[int],
) -> int:
    """Have a thread append `count` records while `followers` run; the most threads there were."""
    tasks = [asyncio.ensure_future(follower) for follower in followers]
    await asyncio.sleep(_SETTLED_S)
    rng = random.Random("gaps")

    def write() -> None:
        for _ in range(count):
            time.sleep(rng.uniform(0.5, 1.5) * GAP_S)
            append(rng.randrange(FOLLOWERS))

    writer = threading.Thread(target=write)
    writer.start()
    most = 0
    while len(late) < count:
        await asyncio.sleep(0.05)
        most = max(most, threading.active_count())
    writer.join()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return most


class AppendWatched:
    """Appends to a stream without followers, while 1,000 others are followed or not."""

    remark = ""

    def __init__(self) -> None:
        self.facts = Facts(
            name="watched-append-os",
            work='1 × 256 B, append "os", while 1,000 other streams are followed',
            raw="the same, while none is followed",
            unit="records/s",
            better="more",
            aim=Aim("ratio", 0.9),
            records=20_000,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._count = records
        # Sealing beside the appends would hide what is measured.
        settings = transit.Settings(seal_bytes=1 << 30)
        self._log = transit.open(os.path.join(folder, "s"), durability="os", settings=settings)
        self._stream = self._log.create("s")
        self._others = [self._log.create(f"s{n}") for n in range(FOLLOWERS)]

    def raw(self) -> float:
        # As long as followers take to settle: a processor that rested is slower at first.
        time.sleep(_SETTLED_S)
        return self._rate()

    def ours(self) -> float:
        with _followed(self._others):
            return self._rate()

    def _rate(self) -> float:
        start = time.perf_counter()
        for _ in range(self._count):
            self._stream.append(_REST)
        return self._count / (time.perf_counter() - start)

    def close(self) -> None:
        self._log.close()


@contextmanager
def _followed(streams: Sequence[transit.Stream]) -> Iterator[None]:
    """A block beside which a thread's event loop follows all of `streams`."""
    stop: list[Callable[[], object]] = []
    ready = threading.Event()

    async def follow(stream: transit.Stream) -> None:
        async for _ in stream.follow():
            pass

    async def main() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        tasks = [asyncio.create_task(follow(stream)) for stream in streams]
        await asyncio.sleep(_SETTLED_S)
        stop.append(lambda: loop.call_soon_threadsafe(ended.set))
        ready.set()
        await ended.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        stop[0]()
        thread.join()
