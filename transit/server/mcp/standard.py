"""The protocol on standard input and output, for a program that starts one process for itself.

Owns how lines are read: so that a signal ends the process though its input stays open, and so that
a line has a limit. A line that is over it, or no UTF-8, comes as one that the protocol refuses.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from mcp.server.stdio import stdio_server

from transit import Log
from transit.server.access import APPEND, BRANCH, MERGE, READ, Grant
from transit.server.mcp.calling import Room, found_in
from transit.server.mcp.serving import make_server
from transit.server.service import Service
from transit.server.settings import ServerSettings
from transit.server.views.declared import VIEWS
from transit.server.views.room import ViewRoom
from transit.views.loading import Declared

WRITER: Final = "mcp"
"""What records that come this way have as their writer."""
LINE_BYTES_MAX: Final = 8 * 1024 * 1024
_READ_BYTES: Final = 64 * 1024


def serve(log: Log, prefix: str, *, writes: bool, declared: Declared | None = None) -> None:
    """Answer until standard input ends; streams whose names begin with `prefix` alone.

    declared: the views that are served.

    Raises `BrokenPipeError` when nobody reads the answers any more.
    """
    rights = frozenset((READ, APPEND, BRANCH, MERGE) if writes else (READ,))
    try:
        allowed = ((prefix, rights), *_reading(declared))
        asyncio.run(_serve(log, Grant(WRITER, allowed), declared))
    except* BrokenPipeError:
        broken = True
    else:
        broken = False
    if broken:
        raise BrokenPipeError


def _reading(declared: Declared | None) -> Iterator[tuple[str, frozenset[str]]]:
    """Whoever names views may read them, of the streams there are."""
    programs = () if declared is None else declared.programs
    return ((VIEWS + each.spec.name, frozenset((READ,))) for each in programs)


async def _serve(log: Log, grant: Grant, declared: Declared | None) -> None:
    service = Service(log, ServerSettings())
    views = ViewRoom(service, declared)
    room = Room(service, found_in(log), views)
    server = make_server(room, grant)
    # Read as the package reads its own: line by line.
    given: Any = lines_of(0)
    try:
        async with stdio_server(stdin=given) as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        room.end()
        views.end()
        await asyncio.to_thread(views.close)
        service.close()


async def lines_of(descriptor: int) -> AsyncIterator[str]:
    """The lines of a file, a pipe or a terminal; none is waited for once the task is cancelled."""
    asked, told = os.pipe()

    def more() -> bytes:
        ready, _, _ = select.select((descriptor, asked), (), ())
        return os.read(descriptor, _READ_BYTES) if descriptor in ready else b""

    loop = asyncio.get_running_loop()
    held = bytearray()
    reading: asyncio.Future[bytes] | None = None
    try:
        while True:
            reading = loop.run_in_executor(None, more)
            data = await asyncio.shield(reading)
            if not data:
                if held:
                    yield held.decode("utf-8", "replace")
                return
            first, *others = data.split(b"\n")
            _hold(held, first)
            for part in others:
                yield held.decode("utf-8", "replace")
                held.clear()
                _hold(held, part)
    finally:
        os.write(told, b"x")
        if reading is not None:
            # The pipe is closed once nobody waits at it.
            await asyncio.wait((reading,))
        os.close(told)
        os.close(asked)


def _hold(held: bytearray, part: bytes) -> None:
    """Add to a line what it may hold; what is over the limit makes it no message."""
    room = LINE_BYTES_MAX - len(held)
    held += part if len(part) <= room else part[: max(room, 0)]
