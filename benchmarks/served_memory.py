"""What readers cost a server in memory: those who wait, and one that takes nothing.

Each server is new for each figure, beside the reference server. Memory a waiting reader is the
growth of the process's resident memory over so many readers of events, while nothing comes; so
many others came and went before, so that what is set up once is not counted. The reader that takes
nothing has a small buffer, and records are appended to its stream until the server cuts it off.

    python -m benchmarks.served_memory [--readers N] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.served import Server
from benchmarks.servers import (
    check_tools,
    install_reference,
    ours,
    reference,
    rss_bytes,
    working_place,
)

Start = Callable[[], AbstractContextManager[Server]]
MIB: Final = 1024 * 1024
APPENDED: Final = 50
"""Records of 1 MiB that come while a reader takes nothing."""
_PATIENCE_S: Final = 90.0
_AT_ONCE: Final = 50
_SETTLE_S: Final = 1.0


def _request(server: Server, name: str) -> bytes:
    address = urlsplit(server.url)
    return (
        f"GET /v1/stream/{name}?offset=now&live=sse HTTP/1.1\r\n"
        f"host: {address.hostname}:{address.port}\r\n\r\n"
    ).encode()


async def _join(server: Server, name: str, count: int) -> list[asyncio.StreamWriter]:
    address, opened = urlsplit(server.url), list[asyncio.StreamWriter]()
    while len(opened) < count:
        some = min(_AT_ONCE, count - len(opened))
        made = await asyncio.gather(
            *(asyncio.open_connection(address.hostname, address.port) for _ in range(some))
        )
        for _, writer in made:
            writer.write(_request(server, name))
        for reader, _ in made:
            await reader.readuntil(b"event: control")
        opened += [writer for _, writer in made]
    return opened


async def _waiting(server: Server, count: int) -> float:
    for writer in await _join(server, "w", count // 10):
        writer.transport.abort()
    await asyncio.sleep(_SETTLE_S)
    before = rss_bytes(server.pid)
    opened = await _join(server, "w", count)
    await asyncio.sleep(_SETTLE_S)
    grown = rss_bytes(server.pid) - before
    for writer in opened:
        writer.transport.abort()
    return grown / count / 1024


def waiting(server: Server, count: int) -> float:
    """KiB a reader that waits."""
    server.ask("PUT", "w", b"", "text/plain")
    return asyncio.run(_waiting(server, count))


def _sockets(pid: int) -> int:
    count = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += os.readlink(each).startswith("socket:")
    return count


def _append(server: Server, name: str) -> int:
    """Append many large records; the most memory that the server had meanwhile, bytes."""
    most = 0
    for _ in range(APPENDED):
        server.ask("POST", name, b"x" * MIB, "text/plain")
        most = max(most, rss_bytes(server.pid))
    return most


def stalled(server: Server) -> tuple[float, float]:
    """MiB that one such reader takes at most, seconds until it was cut off: -1 for never."""
    for name in ("alone", "read"):
        server.ask("PUT", name, b"", "text/plain")
    # The appends take memory too: as many come before, and nobody reads them.
    before = _append(server, "alone")
    address, sockets = urlsplit(server.url), _sockets(server.pid)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((address.hostname, address.port))
        client.sendall(_request(server, "read"))
        client.recv(64)
        began, cut_s = time.monotonic(), -1.0
        most = _append(server, "read")
        while cut_s < 0 and time.monotonic() - began < _PATIENCE_S:
            time.sleep(0.2)
            most = max(most, rss_bytes(server.pid))
            # A socket that is closed with bytes unsent tells its other end nothing.
            if _sockets(server.pid) <= sockets:
                cut_s = time.monotonic() - began
    return (most - before) / MIB, cut_s


def measure(starts: dict[str, Start], count: int) -> dict[str, dict[str, float]]:
    """Figures of each server."""
    found = {}
    for name, start in starts.items():
        with start() as server:
            kib = waiting(server, count)
        with start() as server:
            mib, cut_s = stalled(server)
        found[name] = {"reader_kib": kib, "stalled_mib": mib, "cut_s": cut_s}
        print(
            f"{name:18} {kib:6.1f} KiB a waiting reader of {count}; {mib:6.1f} MiB for one that"
            f" takes nothing of {APPENDED} MiB, cut off after {cut_s:.1f} s",
            flush=True,
        )
    return found


def main() -> None:
    """Measure, print, and keep the figures where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--readers", type=int, default=1_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    check_tools("npm")
    with working_place() as place:
        install_reference(place)
        starts: dict[str, Start] = {
            "reference, memory": partial(reference, place),
            "transit": partial(ours, place),
        }
        found = measure(starts, options.readers)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
