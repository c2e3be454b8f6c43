"""Who calls: names of streams to streams, within a grant, and waits that end with the server.

Streams of layers are never there for a caller; of others it sees names only where it may read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final, Protocol

from transit import AlreadyExistsError, InvalidInputError, Log, NotFoundError, Record, Stream
from transit.protocol.paths import check_segments
from transit.server.access import READ, Grant
from transit.server.channels import Channels
from transit.server.proving import Evidence
from transit.server.refusals import RefusedError
from transit.server.service import Service
from transit.server.views.room import ViewRoom

WAITS_MAX: Final = 256
"""How many calls may wait for records at once."""


class Named(Protocol):
    """Finds streams by the names that callers give."""

    def __call__(self, name: str) -> Stream | None:
        """The stream; None where there is none. `RefusedError` where it was deleted."""


class Room:
    """What all callers of one server share."""

    def __init__(
        self,
        service: Service,
        find: Named,
        views: ViewRoom | None = None,
        evidence: Evidence | None = None,
        channels: Channels | None = None,
    ) -> None:
        self.service = service
        # Of its own where none is shared: then it ends with the room.
        self.evidence = Evidence(service) if evidence is None else evidence
        self._has_own = evidence is None
        self.channels = Channels(service.log) if channels is None else channels
        # What is served of views; None where nothing is.
        self.views = views
        self.find = find
        # A search or a check reads much: one at a time, so that others can read meanwhile.
        self.heavy = asyncio.Lock()
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_ending = False

    def end(self) -> None:
        """Let those that wait go, with what there is."""
        self._is_ending = True
        if self._has_own:
            self.evidence.end()
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, stream: Stream, start: int, timeout_s: float) -> bool:
        """Return when `stream` has a record at `start`, or is finished; False: time ran out."""
        if len(stream) > start or stream.finished:
            return True
        if self._is_ending or len(self._waiting) >= WAITS_MAX:
            raise RefusedError(503, "too many calls wait, or the server ends: try again later")
        ending = asyncio.get_running_loop().create_future()
        coming = asyncio.create_task(_first(stream.follow(start=start)))
        self._waiting.add(ending)
        try:
            done, _ = await asyncio.wait(
                (ending, coming), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if coming in done:
                coming.result()
            return bool(done)
        finally:
            self._waiting.discard(ending)
            coming.cancel()
            # The wait may have ended otherwise: then nobody takes up what is raised.
            coming.add_done_callback(lambda task: task.cancelled() or task.exception())


async def _first(records: AsyncIterator[Record]) -> None:
    """Return with the first record, or with the end."""
    try:
        await anext(records, None)
    finally:
        if isinstance(records, AsyncGenerator):
            # Now, not when it is collected: a store that is let go has nobody who follows.
            await records.aclose()


class Caller:
    """One client: its grant, and the store as far as that goes."""

    def __init__(self, room: Room, grant: Grant) -> None:
        self.room = room
        self.grant = grant

    @property
    def log(self) -> Log:
        """The store."""
        return self.room.service.log

    def stream(self, name: str, right: str = READ) -> Stream:
        """The stream of this name; `RefusedError` without the right, `NotFoundError` for none."""
        if name.startswith("$"):
            raise NotFoundError(f"there is no stream {name!r}")
        self.grant.check(right, name)
        stream = self.room.find(name)
        if stream is None:
            raise NotFoundError(f"there is no stream {name!r}: `graph` and `list_runs` name them")
        return stream

    def new_name(self, name: str, right: str) -> str:
        """A name for a new stream; `AlreadyExistsError` where it is taken."""
        check_segments(name)
        self.grant.check(right, name)
        if self.room.find(name) is not None:
            raise AlreadyExistsError(f"there is a stream {name!r} already: choose another name")
        return name

    def sees(self, name: str) -> bool:
        """Whether the caller may know of this stream."""
        return not name.startswith("$") and self.grant.allows(READ, name)

    def shown(self, name: str | None) -> str | None:
        """A stream's name, None where the caller may not know it."""
        return name if name is not None and self.sees(name) else None


def found_in(log: Log) -> Named:
    """Streams by their names in the store, as a program that has it open finds them."""

    def find(name: str) -> Stream | None:
        try:
            return log.stream(name)
        except NotFoundError:
            return None

    return find


def found_on_server(look: Callable[[str], Stream]) -> Named:
    """Streams as the server's own paths find them: `look` refuses with 404 or 410."""

    def find(name: str) -> Stream | None:
        try:
            return look(name)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise
        except InvalidInputError:
            # What cannot be a name names nothing.
            return None

    return find
