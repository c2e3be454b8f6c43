"""Requests to a served store, beside the reference server of the Durable Streams protocol.

CPU time of the server's process and its children for each request, which says more than the rate on
a machine that does other work; rounds take turns, the least counts. Needs `wrk`, and Node.js with
npm, which installs the reference server into a folder of its own.

Beside both stands a server of a few lines that parses a request and answers 204, and does nothing
else: what no server in Python on the same parser and event loop can be below. It has no streams to
read.

    python -m benchmarks.served [--seconds S] [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

REFERENCE = "@durable-streams/server@0.3.7"
START = """
import { DurableStreamTestServer } from "@durable-streams/server"
const server = new DurableStreamTestServer({ port: 0, host: "127.0.0.1" })
await server.start()
console.log(server.url)
"""
SERVE = """
import sys, transit
from transit.server.run import serve
from transit.server.settings import ServerSettings

tokens = sys.argv[2] or None
# One token makes all requests: more than it may by default.
settings = ServerSettings(rate_max=1e6)
with transit.open(sys.argv[1], durability="os") as log:
    serve(log, "127.0.0.1:0", settings, tokens=tokens, ready=lambda it: print(it.url, flush=True))
"""
NOTHING = """
import asyncio, httptools, uvloop

ANSWER = (
    b"HTTP/1.1 204 No Content\\r\\ndate: Thu, 01 Jan 2026 00:00:00 GMT\\r\\n"
    b"stream-next-offset: 00000000000000000001\\r\\ncache-control: no-store\\r\\n"
    b"transit-durability: os\\r\\ncross-origin-resource-policy: same-origin\\r\\n"
    b"x-content-type-options: nosniff\\r\\nx-request-id: 0123456789-abcdef\\r\\n\\r\\n"
)

class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_message_begin(self):
        self.url, self.headers, self.parts = b"", [], []

    def on_url(self, url):
        self.url += url

    def on_header(self, name, value):
        self.headers.append((name.lower(), value))

    def on_body(self, body):
        self.parts.append(body)

    def on_message_complete(self):
        self.transport.write(ANSWER)

async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print("http://127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

uvloop.run(main())
"""


class Row(NamedTuple):
    """What is asked again and again: a path, a script of wrk's, connections, records to read."""

    name: str
    path: str
    script: str
    connections: int
    records: int


def post(body: str, content_type: str) -> str:
    """The script that posts `body`, an expression in Lua."""
    return (
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{content_type}"\nwrk.body = {body}\n'
    )


MESSAGE = "'{\"k\":\"' .. string.rep('x', 248) .. '\"}'"
ROWS = (
    Row("append 256 B", "a", post("string.rep('x', 256)", "text/plain"), 16, 0),
    Row(
        "batch of 100 JSON",
        "j",
        post(f"'[' .. string.rep({MESSAGE} .. ',', 99) .. {MESSAGE} .. ']'", "application/json"),
        4,
        0,
    ),
    Row("catch-up 64 KiB", "c64?offset=-1", "", 4, 64),
    Row("catch-up 1 MiB", "c1024?offset=-1", "", 2, 1000),
)


class Server(NamedTuple):
    """One that runs: its process and where it answers."""

    name: str
    pid: int
    url: str
    token: str = ""

    def ask(self, method: str, path: str, body: bytes, content_type: str) -> None:
        """One request."""
        headers = {"content-type": content_type}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        url = f"{self.url}/v1/stream/{path}"
        asked = urllib.request.Request(url, body, headers, method=method)
        urllib.request.urlopen(asked).read()


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children, which may have ended."""
    found = 0.0
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        found = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found += sum(map(cpu_s, map(int, children)))
    return found


@contextmanager
def running(arguments: list[str], name: str, folder: Path, token: str = "") -> Iterator[Server]:
    """A server that says its address on a line of its own."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=folder)
    try:
        assert process.stdout is not None
        yield Server(name, process.pid, process.stdout.readline().strip(), token)
    finally:
        process.terminate()
        process.wait()


def load(server: Server, row: Row, seconds: float, script: Path) -> float:
    """CPU microseconds of the server for each request of one round."""
    headers = ["-H", f"Authorization: Bearer {server.token}"] if server.token else []
    scripted = ["-s", str(script)] if row.script else []
    url = f"{server.url}/v1/stream/{row.path}"
    before = cpu_s(server.pid)
    said = subprocess.run(
        ["wrk", "-t1", f"-c{row.connections}", f"-d{seconds}s", *scripted, *headers, url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    used = cpu_s(server.pid) - before
    if "Non-2xx" in said:
        raise RuntimeError(f"{server.name}: {said}")
    counted = re.search(r"(\d+) requests in", said)
    assert counted is not None
    return used / max(int(counted[1]), 1) * 1e6


def prepare(server: Server, row: Row) -> None:
    """Make the stream of a row, with what it is to hold."""
    name = row.path.partition("?")[0]
    content_type = "application/json" if "json" in row.script else "text/plain"
    server.ask("PUT", name, b"", content_type)
    for _ in range(row.records):
        server.ask("POST", name, b"y" * 1024, content_type)


def measure(
    servers: list[Server], seconds: float, rounds: int, say: Callable[[str], object]
) -> dict[str, dict[str, float]]:
    """The least CPU a request of each row and server, microseconds."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "row.lua"
        for row in ROWS:
            script.write_text(row.script)
            asked = [each for each in servers if row.script or each.name != "nothing"]
            for server in asked:
                prepare(server, row)
            least = dict.fromkeys((server.name for server in asked), float("inf"))
            for _ in range(rounds):
                for server in asked:
                    least[server.name] = min(least[server.name], load(server, row, seconds, script))
            found[row.name] = least
            base = least["reference, memory"]
            shown = "  ".join(
                f"{each} {us:.0f} us ({us / base:.2f} x)" for each, us in least.items()
            )
            say(f"{row.name:20} {shown}")
    return found


def main() -> None:
    """Measure, print a row at a time, and keep the figures where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if shutil.which("wrk") is None or shutil.which("npm") is None:
        sys.exit("wrk and Node.js with npm are needed")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "package.json").write_text('{"type": "module"}')
        (place / "start.mjs").write_text(START)
        subprocess.run(["npm", "install", "--silent", REFERENCE], cwd=place, check=True)
        tokens = place / "tokens.toml"
        made = [sys.executable, "-m", "transit", "token", "new", "bench", "--allow", "=all"]
        said = subprocess.run(
            [*made, "--tokens", str(tokens)], capture_output=True, text=True, check=True
        ).stdout
        token = json.loads(said)["token"]
        serve = [sys.executable, "-c", SERVE]
        with (
            running(["node", "start.mjs"], "reference, memory", place) as reference,
            running([sys.executable, "-c", NOTHING], "nothing", place) as nothing,
            running([*serve, str(place / "open"), ""], "transit", place) as plain,
            running([*serve, str(place / "shut"), str(tokens)], "transit, tokens", place, token)
            as guarded,
        ):  # fmt: skip
            time.sleep(1)
            servers = [reference, nothing, plain, guarded]
            found = measure(servers, options.seconds, options.rounds, print)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
