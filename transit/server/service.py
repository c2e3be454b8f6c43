"""The store that is served, and which thread does what on it.

The event loop must not wait for a disk or a bucket. On it runs what takes microseconds: appends of
a store that is this process's alone, up to durability "os", and reads of what is near the end. One
thread syncs: requests that come while it does share the next sync. What may wait for other
processes, or for a remote, is done in a thread of a bounded pool.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from transit import (
    AlreadyExistsError,
    ConflictError,
    Durability,
    InvalidInputError,
    Log,
    TransitError,
)
from transit.server.settings import ServerSettings
from transit.server.soon import Reached

LOGGER = logging.getLogger("transit.server")
TRIES = 16
T = TypeVar("T")
_RANK = {"memory": 0, "os": 1, "local": 2, "tiered": 3, "replicated": 4}


class Round:
    """Calls of one function in a thread, shared by all who asked for it before it began."""

    def __init__(self, pool: ThreadPoolExecutor, work: Callable[[], object]) -> None:
        self._pool = pool
        self._work = work
        # Who waits for the call that begins next.
        self._next: list[Reached] = []
        self._is_running = False
        # How often a call was asked for, and how many there were.
        self.asked = self.made = 0

    async def reach(self) -> None:
        """Return when a call that began from now on has ended; raises what it raised."""
        self.asked += 1
        future = Reached(loop=asyncio.get_running_loop())
        self._next.append(future)
        if not self._is_running:
            # It takes `_next`: who asks from then on waits for the call after it.
            self._start()
        await future

    def _start(self) -> None:
        current, self._next, self._is_running = self._next, [], True
        self.made += 1
        done = asyncio.get_running_loop().run_in_executor(self._pool, self._work)
        done.add_done_callback(partial(self._end, current))

    def _end(self, current: list[Reached], done: asyncio.Future[object]) -> None:
        self._is_running = False
        error = done.exception()
        if self._next:
            # First: the disk works while the answers are sent.
            self._start()
        for future in current:
            # Whoever asked may have gone away.
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


class Service:
    """An open store, its threads, and what was set; for one event loop.

    The store stays the caller's: `close` ends the threads, not the store.
    """

    def __init__(self, log: Log, settings: ServerSettings) -> None:
        self.log = log
        self.settings = settings
        self.is_writable = log.mode != "read"
        # Whether what is read may have to be fetched from afar.
        status = log.status()
        self.has_remote = bool(status.remote)
        self.has_replicas = bool(status.replicas)
        self._is_alone = log.mode == "exclusive"
        self._writer = ThreadPoolExecutor(1, "transit-server-write")
        self._reader = ThreadPoolExecutor(settings.reading_threads, "transit-server-read")
        self._syncer = ThreadPoolExecutor(1, "transit-server-sync")
        self._publisher = ThreadPoolExecutor(1, "transit-server-publish")
        self.syncs = Round(self._syncer, log.sync)
        self._replicator = ThreadPoolExecutor(1, "transit-server-replicate")
        self.publishes = Round(self._publisher, partial(log.sync, "tiered"))
        self.replicates = Round(self._replicator, partial(log.sync, "replicated"))

    def close(self) -> None:
        """End the threads; what they do is finished first."""
        for pool in (
            self._writer, self._reader, self._syncer, self._publisher, self._replicator,
        ):  # fmt: skip
            pool.shutdown()

    async def look_for_more(self) -> None:
        """Where a remote is read that others write: see what was published, now and then."""
        if self.log.mode != "read" or not self.has_remote:
            return
        while True:
            await asyncio.sleep(self.log.settings.refresh_interval_s)
            try:
                await self.read(self.log.refresh)
            except TransitError as error:
                # What is known is served on; a remote that is away may come back.
                LOGGER.warning("the remote could not be looked at: %s", type(error).__name__)

    async def write(self, work: Callable[[], T]) -> T:
        """Do `work`, which writes with durability "os", at once or after other writes."""
        if self._is_alone:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def write_again(self, work: Callable[[], T]) -> T:
        """`write`, again where another process came between its looking and its writing."""
        for _ in range(TRIES - 1):
            try:
                return await self.write(work)
            except (AlreadyExistsError, ConflictError):
                continue
        return await self.write(work)

    async def read(self, work: Callable[[], T]) -> T:
        """Do `work`, which may have to fetch what it reads, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, work)

    def wanted(self, durability: str | None) -> Durability:
        """The durability that a request asks for, "os" at least; None: the store's."""
        wanted = self.log.durability if durability is None else durability
        if wanted not in _RANK:
            raise InvalidInputError(f"durability {wanted!r}: not one of {', '.join(_RANK)}")
        return "os" if wanted == "memory" else wanted  # type: ignore[return-value]

    async def reach(self, durability: Durability) -> None:
        """Return when all that was written before this call is as durable."""
        if durability == "local":
            await self.syncs.reach()
        elif durability == "tiered":
            await self.publishes.reach()
        elif durability == "replicated":
            await self.replicates.reach()
