"""Lists that are looked at, kept up to date: each is made once for all who look at it.

Owns when lists are made anew, and what a page that is open is sent: the order of the rows, and
those that changed since the version it has. One watch of the store and one task serve all lists.
However much happens in the store, they are made a few times a second at the most, one after the
other, and for no more than a third of the time. A list nobody looks at is forgotten after a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from typing import Final, NamedTuple

import msgspec

from transit import Stream, TransitError, Watch
from transit.server.access import Grant
from transit.server.page.trees import trees_of
from transit.server.refusals import RefusedError
from transit.server.service import Service

LISTS_MAX: Final = 64
READERS_MAX: Final = 1024
LINGER_S: Final = 30.0
# Between two rounds; when they take long, twice as long as the last one took.
PAUSE_S: Final = 0.2
PAUSE_S_MAX: Final = 10.0
_RETRY: Final = b"retry: 300\n\n"
LOGGER = logging.getLogger("transit.server")


class Shown(NamedTuple):
    """What a list shows. rows: of each what names it, and its HTML. pager: HTML."""

    rows: Sequence[tuple[str, str]]
    counted: str
    pager: str


class _Row(NamedTuple):
    """A row. version: that in which it came to be like this."""

    version: int
    html: str
    tree: msgspec.Raw


class LiveList:
    """A list that is looked at. look: makes it, in a thread. version: how often it changed.

    grant: by which it was made; it is held, so long its id is no other's.
    """

    def __init__(self, look: Callable[[], Shown], grant: Grant) -> None:
        self.look = look
        self.grant = grant
        self.readers = 0
        self.error: BaseException | None = None
        self.version = 0
        self.changed = asyncio.Event()
        self._epoch = secrets.token_hex(6)
        self._shown: Shown | None = None
        self._rows: dict[str, _Row] = {}

    def take(self, shown: Shown) -> None:
        """What it shows now."""
        if shown == self._shown:
            return
        self._shown, self.version = shown, self.version + 1
        rows: dict[str, _Row] = {}
        for uid, html in shown.rows:
            known = self._rows.get(uid)
            if known is None or known.html != html:
                tree = msgspec.Raw(msgspec.json.encode(trees_of(html)[0]))
                known = _Row(self.version, html, tree)
            rows[uid] = known
        self._rows = rows
        self.tell()

    def tell(self) -> None:
        """Let those who wait look."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def since(self, version: str) -> tuple[str, bytes] | None:
        """What changed since that version, and the one that there is; None: nothing."""
        if self._shown is None:
            return None
        known = self._number(version)
        if known == self.version:
            return None
        rows = [(uid, row.tree) for uid, row in self._rows.items() if row.version > known]
        pager = trees_of(self._shown.pager)
        data = {
            "order": list(self._rows),
            "rows": rows,
            "count": self._shown.counted,
            "pager": pager,
        }
        return f"{self._epoch}.{self.version}", msgspec.json.encode(data)

    def _number(self, version: str) -> int:
        epoch, _, number = version.partition(".")
        if epoch != self._epoch or not (number.isascii() and number.isdigit()):
            return 0
        return min(int(number[:18]), self.version)


class LiveLists:
    """The lists of one store that are looked at, each by those with the same rights."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lists: dict[Hashable, LiveList] = {}
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._watch: Watch | None = None
        # Whether the loop was told that something changed, and has not made the lists since.
        self._is_due = False
        self.readers = 0
        self.rounds = 0
        self.is_ending = False

    async def events(
        self, key: Hashable, found: LiveList, version: str, gone: asyncio.Future[None]
    ) -> AsyncGenerator[bytes, None]:
        """What one page is sent of a list, until its time is over, or it is gone."""
        if self.readers >= READERS_MAX:
            raise RefusedError(503, "too many pages are open", ((b"retry-after", b"5"),))
        found, settings = self._held(key, found), self._service.settings
        clock = asyncio.get_running_loop()
        ends = clock.time() + settings.sse_s
        self.readers += 1
        found.readers += 1
        ping = b"event: ping\ndata: %g\n\n" % settings.ping_s
        try:
            yield _RETRY + ping
            while not gone.done() and not self.is_ending and (left := ends - clock.time()) > 0:
                changed = found.changed
                if found.error is not None:
                    yield b"event: problem\ndata: %b\n\n" % msgspec.json.encode(str(found.error))
                    return
                told = found.since(version)
                if told is not None:
                    version, data = told
                    yield b"id: %b\ndata: %b\n\n" % (version.encode(), data)
                elif not await _either(changed, gone, min(settings.ping_s, left)):
                    # Notes are in streams of layers, of which a watch of all is not told.
                    self.wake()
                    yield ping
        finally:
            self.readers -= 1
            found.readers -= 1
            self._linger(key, found)

    def wake(self) -> None:
        """Something changed."""
        self._is_due = True
        self._woken.set()

    def end(self) -> None:
        """Let all pages go: the server ends."""
        self.is_ending = True
        for key in list(self._lists):
            self._lists[key].tell()
            self._forget(key)

    def _held(self, key: Hashable, made: LiveList) -> LiveList:
        """The list of that key that others look at already, or this one."""
        found = self._lists.get(key)
        if found is None or found.error is not None:
            self._make_room()
            found = self._lists[key] = made
        self._begin()
        # Nobody may have looked at it for a while.
        self.wake()
        return found

    def _begin(self) -> None:
        if self._watch is None or self._watch.closed:
            loop = asyncio.get_running_loop()

            def changed(_: tuple[Stream, ...]) -> None:
                # Told once, however much changes until the lists are made.
                if not self._is_due:
                    self._is_due = True
                    # The loop may have ended before the store does.
                    with contextlib.suppress(RuntimeError):
                        loop.call_soon_threadsafe(self._woken.set)

            self._watch = self._service.log.watch(changed)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while self._lists:
            await self._woken.wait()
            begun = loop.time()
            self._woken.clear()
            # Taken back before it is looked: what changes from now on is told again.
            self._is_due = False
            self.rounds += 1
            for found in [each for each in self._lists.values() if each.readers]:
                await self._make(found)
            await asyncio.sleep(min(max(2 * (loop.time() - begun), PAUSE_S), PAUSE_S_MAX))

    async def _make(self, found: LiveList) -> None:
        if found.error is not None:
            return
        try:
            found.take(await self._service.read(found.look))
        except TransitError as error:
            found.error = error
        except Exception as error:
            # The other lists go on.
            LOGGER.exception("a list could not be made")
            found.error = error
        if found.error is not None:
            found.tell()

    def _make_room(self) -> None:
        if len(self._lists) < LISTS_MAX:
            return
        idle = next((key for key, found in self._lists.items() if not found.readers), None)
        if idle is None:
            refused = f"{LISTS_MAX} lists are looked at already"
            raise RefusedError(503, refused, ((b"retry-after", b"5"),))
        self._forget(idle)

    def _linger(self, key: Hashable, found: LiveList) -> None:
        """Forget a list that nobody looks at, unless somebody does soon."""

        def look() -> None:
            if self._lists.get(key) is found and not found.readers:
                self._forget(key)

        if not found.readers:
            asyncio.get_running_loop().call_later(LINGER_S, look)

    def _forget(self, key: Hashable) -> None:
        self._lists.pop(key)
        if self._lists:
            return
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._task is not None:
            self._task.cancel()
            self._task = None


async def _either(changed: asyncio.Event, gone: asyncio.Future[None], timeout_s: float) -> bool:
    """Wait for one of them; False: time ran out."""
    waiting = asyncio.ensure_future(changed.wait())
    try:
        done, _ = await asyncio.wait(
            (waiting, gone), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        waiting.cancel()
    return bool(done)
