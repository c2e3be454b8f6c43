"""Runs that are looked at, kept up to date: each is read once for all who look at it.

Owns when a run is read on, and what a page that is open is sent: what came since the version it
has, or all of it where that is no longer known. The reading itself is `GrowingPage`'s, in a thread
for reads. A run nobody looks at any more is forgotten after a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from transit import ClosedError, Stream, TransitError, Watch
from transit.server.access import READ, Grant
from transit.server.page.serving import Served
from transit.server.refusals import RefusedError
from transit.server.service import Service
from transit.trace.page.growing import GrowingPage, Limits

RUNS_MAX: Final = 64
READERS_MAX: Final = 1024
# What came last is kept so far for pages that were cut off, bytes.
KEPT_MAX: Final = 4 * 1024 * 1024
LINGER_S: Final = 30.0
# Between two readings of a run; a run that takes long to read is read less often.
PAUSE_S: Final = 0.05
PAUSE_S_MAX: Final = 5.0
_RETRY: Final = b"retry: 300\n\n"


class LiveRun:
    """A run that is looked at. version: how often something came since it was taken up."""

    def __init__(self, service: Service, page: GrowingPage) -> None:
        self._service = service
        self.page = page
        self.run = page.trace.stream
        self.epoch = secrets.token_hex(6)
        self.version = 0
        self.readers = 0
        self.error: BaseException | None = None
        self._kept: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._reading = asyncio.Lock()
        self._woken = asyncio.Event()
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._follow())
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.error = error
        self._tell()

    async def whole(self) -> tuple[str, bytes]:
        """The version that there is, and all of the run as JSON."""
        # A page that goes away meanwhile leaves the reading to the others.
        return await asyncio.shield(asyncio.ensure_future(self._whole()))

    async def _whole(self) -> tuple[str, bytes]:
        async with self._reading:
            await self._read()
            if self.error is not None:
                raise self.error
            data = await self._service.read(self.page.whole)
            return self._name(self.version), data

    def wake(self) -> None:
        """Something of the run, or in it, changed."""
        self._woken.set()

    def depends_on(self, uids: set[str]) -> bool:
        """Whether a change of these streams may be one of the run."""
        return self.page.is_waiting or not uids.isdisjoint(self.page.uids)

    def let_go(self) -> None:
        """Let those who wait look: the server ends."""
        self._tell()

    def close(self) -> None:
        """Follow it no more."""
        self._task.cancel()

    async def next(self, version: str | None, timeout_s: float) -> tuple[str, bytes] | None:
        """What came since `version`, with the version that there is then; None: time ran out.

        All of it, where nobody knows any more what came since. Raises what ended the reading.
        """
        known = self._number(version)
        if known is None:
            name, data = await self.whole()
            return name, b'{"whole":%b}' % data
        if known == self.version and self.error is None:
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await changed.wait()
        if self.error is not None:
            raise self.error
        if known == self.version:
            return None
        parts = [data for number, data in self._kept if number > known]
        if len(parts) < self.version - known:
            return await self.next(None, timeout_s)
        return self._name(self.version), b'{"more":[%b]}' % b",".join(parts)

    def _name(self, number: int) -> str:
        return f"{self.epoch}.{number}"

    def _number(self, version: str | None) -> int | None:
        epoch, _, number = (version or "").partition(".")
        if epoch != self.epoch or not (number.isascii() and number.isdigit()):
            return None
        known = int(number[:18])
        return known if known <= self.version else None

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while self.error is None:
            await self._woken.wait()
            begun = loop.time()
            async with self._reading:
                await self._read()
            await asyncio.sleep(min(max(loop.time() - begun, PAUSE_S), PAUSE_S_MAX))

    async def _read(self) -> None:
        """Read on; what keeps it from being read is for those who look."""
        if self.error is not None:
            raise self.error
        self._woken.clear()
        try:
            data = await self._service.read(self.page.read)
        except asyncio.CancelledError:
            # The thread goes on; what it read is told to nobody, so nobody may go on from here.
            self.error = ClosedError(f"{self.run.name}: no longer followed")
            self._tell()
            raise
        except TransitError as error:
            self.error = error
            self._tell()
            return
        if data is None:
            return
        self.version += 1
        self._kept.append((self.version, data))
        self._size += len(data)
        while self._size > KEPT_MAX:
            self._size -= len(self._kept.popleft()[1])
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class LiveRuns:
    """The runs that are looked at in this store, by those with the same rights."""

    def __init__(self, served: Served, limits: Limits | None = None) -> None:
        self._served = served
        self._service = served.service
        self._limits = limits
        self._runs: dict[tuple[str, int], tuple[LiveRun, Grant]] = {}
        self._watch: Watch | None = None
        self.readers = 0
        self.is_ending = False

    def of(self, run: Stream, grant: Grant) -> LiveRun:
        """A run as one with this grant may see it; `RefusedError` (503) when they are too many."""
        key = run.uid, id(grant)
        found = self._runs.get(key)
        if found is not None and found[0].error is None:
            return found[0]
        if found is not None:
            self._forget(key)
        self._make_room()
        page = GrowingPage(
            self._service.log, run, limits=self._limits, prices=self._served.prices,
            may_read=lambda name: grant.allows(READ, name),
        )  # fmt: skip
        live = LiveRun(self._service, page)
        # The grant is held: so long its id is no other's.
        self._runs[key] = live, grant
        self._watch_all()
        self._linger(key, live)
        return live

    async def events(
        self, run: Stream, grant: Grant, version: str | None, gone: asyncio.Future[None]
    ) -> AsyncGenerator[bytes, None]:
        """What one page is sent, until its time is over, or it is gone."""
        if self.readers >= READERS_MAX:
            raise RefusedError(503, "too many pages are open", ((b"retry-after", b"5"),))
        live, settings = self.of(run, grant), self._service.settings
        clock = asyncio.get_running_loop()
        ends = clock.time() + settings.sse_s
        ping = b"event: ping\ndata: %g\n\n" % settings.ping_s
        self.readers += 1
        live.readers += 1
        try:
            yield _RETRY + ping
            while not gone.done() and not self.is_ending and (left := ends - clock.time()) > 0:
                wait = asyncio.ensure_future(live.next(version, min(settings.ping_s, left)))
                try:
                    await asyncio.wait((wait, gone), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not wait.done():
                        wait.cancel()
                if not wait.done() or wait.cancelled():
                    return
                try:
                    found = wait.result()
                except TransitError as error:
                    # Such as a record that is damaged: the page says so, and does not ask at once.
                    yield b"event: problem\ndata: %b\n\n" % msgspec.json.encode(str(error))
                    return
                if found is None:
                    # Notes are in a stream of their own, which may have been made meanwhile.
                    live.wake()
                    yield ping
                    continue
                version, data = found
                yield b"id: %b\ndata: %b\n\n" % (version.encode(), data.replace(b"\n", b""))
        finally:
            self.readers -= 1
            live.readers -= 1
            self._linger((run.uid, id(grant)), live)

    def wake(self, uids: set[str]) -> None:
        """These streams changed."""
        for live, _ in list(self._runs.values()):
            if live.depends_on(uids):
                live.wake()

    def end(self) -> None:
        """Let all pages go: the server ends."""
        self.is_ending = True
        for key in list(self._runs):
            self._runs[key][0].let_go()
            self._forget(key)

    def _watch_all(self) -> None:
        if self._watch is None or self._watch.closed:
            loop = asyncio.get_running_loop()

            def changed(streams: tuple[Stream, ...]) -> None:
                uids = {each.uid for each in streams}
                # The loop may have ended before the store does.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self.wake, uids)

            self._watch = self._service.log.watch(changed)

    def _make_room(self) -> None:
        if len(self._runs) < RUNS_MAX:
            return
        idle = next((key for key, (live, _) in self._runs.items() if not live.readers), None)
        if idle is None:
            refused = f"{RUNS_MAX} runs are looked at already"
            raise RefusedError(503, refused, ((b"retry-after", b"5"),))
        self._forget(idle)

    def _linger(self, key: tuple[str, int], live: LiveRun) -> None:
        """Forget a run that nobody looks at, unless somebody does soon."""

        def look() -> None:
            found = self._runs.get(key)
            if found is not None and found[0] is live and not live.readers:
                self._forget(key)

        if not live.readers:
            asyncio.get_running_loop().call_later(LINGER_S, look)

    def _forget(self, key: tuple[str, int]) -> None:
        live, _ = self._runs.pop(key)
        live.close()
        if not self._runs and self._watch is not None:
            self._watch.close()
            self._watch = None
