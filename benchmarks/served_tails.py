"""How soon readers of a served stream have what is appended, beside the reference server.

One event loop holds all readers, of either server alike: raw sockets, and a parser that looks for
the time at which a record was sent. Rounds take turns. Latency is from the first byte of the
request that appends to the moment at which a reader has the record, p50 and p99 of a round's
deliveries; CPU is of the server's process. Needs Node.js with npm (see `benchmarks.served`).

    python -m benchmarks.served_tails [--seconds S] [--rounds N] [--readers N …] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import uvloop

from benchmarks.served import Server, cpu_s
from benchmarks.servers import both_servers, check_tools, rss_bytes

PACES: Final = {1: 50.0, 100: 20.0, 1000: 4.0}
"""Appends a second, by readers: so few that all have one before the next comes."""
PAYLOAD_BYTES: Final = 256
_MARK: Final = re.compile(rb"T(\d{20});")
_MARK_BYTES: Final = 22
_WAIT_S: Final = 60.0
_AT_ONCE: Final = 50
_WARM_UP_S: Final = 1.0


class Round(NamedTuple):
    """One round: milliseconds, microseconds of CPU a delivery, KiB a reader; what came, of what."""

    p50_ms: float
    p99_ms: float
    cpu_us: float
    reader_kib: float
    delivered: int
    expected: int


class Reader(asyncio.Protocol):
    """One reader of events; `latencies` is all readers'."""

    def __init__(self, request: bytes, latencies: list[int]) -> None:
        self._request = request
        self._latencies = latencies
        self._left = b""
        self.is_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter_ns()
        if not self.is_ready.done() and b"event: control" in self._left + data:
            self.is_ready.set_result(None)
        whole = self._left + data
        for found in _MARK.finditer(whole):
            self._latencies.append(now - int(found[1]))
        # A mark that came in part counts when the rest is there; a whole one must not count again.
        tail = whole[-(_MARK_BYTES - 1) :]
        self._left = tail[tail.rfind(b";") + 1 :]


class Appender(asyncio.Protocol):
    """A connection that appends, one request after the other."""

    def __init__(self) -> None:
        self._answered: asyncio.Future[bytes] | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(data)

    async def append(self, head: bytes) -> None:
        """Append a record that says when."""
        self._answered = asyncio.get_running_loop().create_future()
        body = b"T%020d;" % time.perf_counter_ns()
        self.transport.write(head + body.ljust(PAYLOAD_BYTES, b"."))
        answer = await self._answered
        if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 204")):
            raise RuntimeError(f"an append was answered {answer[:200]!r}")


async def run(server: Server, path: str, readers: int, seconds: float) -> Round:
    """One round: so many readers, appends for so long."""
    loop, latencies = asyncio.get_running_loop(), list[int]()
    address = urlsplit(server.url)
    place = address.hostname or "", address.port or 0
    host = b"%b:%d" % (place[0].encode(), place[1])
    where = f"/v1/stream/{path}".encode()
    reads = b"GET %b?offset=now&live=sse HTTP/1.1\r\nhost: %b\r\n\r\n" % (where, host)
    head = (
        b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-type: text/plain\r\n"
        b"content-length: %d\r\n\r\n" % (where, host, PAYLOAD_BYTES)
    )
    rss = rss_bytes(server.pid)
    opened: list[Reader] = []
    for _ in range(0, readers, _AT_ONCE):
        count = min(_AT_ONCE, readers - len(opened))
        made = [
            loop.create_connection(lambda: Reader(reads, latencies), *place) for _ in range(count)
        ]
        part = [protocol for _, protocol in await asyncio.gather(*made)]
        async with asyncio.timeout(_WAIT_S):
            await asyncio.gather(*(each.is_ready for each in part))
        opened += part
    _, appender = await loop.create_connection(Appender, *place)
    grown = rss_bytes(server.pid) - rss
    before = cpu_s(server.pid)
    appended = await _appends(appender, head, PACES.get(readers, 20.0), seconds)
    expected, deadline = appended * readers, loop.time() + _WAIT_S
    while len(latencies) < expected and loop.time() < deadline:
        await asyncio.sleep(0.02)
    used = cpu_s(server.pid) - before
    for transport in (appender.transport, *(each.transport for each in opened)):
        transport.abort()
    await asyncio.sleep(0.1)
    cuts = statistics.quantiles(latencies, n=100)
    return Round(
        cuts[49] / 1e6, cuts[98] / 1e6, used / len(latencies) * 1e6, grown / readers / 1024,
        len(latencies), expected,
    )  # fmt: skip


async def _appends(appender: Appender, head: bytes, pace: float, seconds: float) -> int:
    """Append at a pace; how many there were. One that comes late is not made up for."""
    loop, count = asyncio.get_running_loop(), 0
    ends = loop.time() + seconds
    while (now := loop.time()) < ends:
        await appender.append(head)
        count += 1
        await asyncio.sleep(max(0.0, now + 1 / pace - loop.time()))
    return count


Found = dict[str, dict[str, list[Round]]]


def measure(servers: Sequence[Server], counts: Sequence[int], seconds: float, rounds: int) -> Found:
    """Rounds by number of readers and server, in turns; each row is printed."""
    found: Found = {}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for readers in counts:
            row = found[f"{readers}"] = {server.name: [] for server in servers}
            for server in servers:
                server.ask("PUT", f"t{readers}", b"", "text/plain")
                runner.run(run(server, f"t{readers}", readers, _WARM_UP_S))
            for number in range(rounds):
                # Each is first as often as the other.
                for server in servers if number % 2 else reversed(servers):
                    made = runner.run(run(server, f"t{readers}", readers, seconds))
                    if made.delivered != made.expected:
                        raise RuntimeError(f"{server.name}: {made}")
                    row[server.name].append(made)
            for line in shown(readers, row, servers[0].name):
                print(line, flush=True)
    return found


def shown(readers: int, row: dict[str, list[Round]], base: str) -> list[str]:
    """Lines about one number of readers: medians of the rounds, and ratios to `base`."""
    lines = []
    for name, rounds in row.items():
        p50, p99, cpu, kib = (
            statistics.median(each[place] for each in rounds) for place in range(4)
        )
        lines.append(
            f"{readers:5} readers  {name:18} p50 {p50:7.2f} ms  p99 {p99:7.2f} ms"
            f"  {cpu:6.1f} us CPU a delivery  {kib:6.1f} KiB a reader"
        )
    for name in row.keys() - {base}:
        ratios = [
            statistics.median(a[place] for a in row[name])
            / statistics.median(b[place] for b in row[base])
            for place in range(3)
        ]
        lines.append(
            f"{readers:5} readers  {name} to {base}: p50 {ratios[0]:.2f} x, p99 {ratios[1]:.2f} x,"
            f" CPU {ratios[2]:.2f} x"
        )
    return lines


def main() -> None:
    """Measure, print, and keep the rounds where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--readers", type=int, nargs="+", default=list(PACES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    check_tools("npm")
    with both_servers() as servers:
        found = measure(servers, options.readers, options.seconds, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
