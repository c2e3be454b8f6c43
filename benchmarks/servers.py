"""Servers to be measured beside each other: this one, and the reference server of the protocol.

Each is a process of its own. The reference server comes from npm into a folder of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.served import REFERENCE, START, Server, running

OURS: Final = "transit"
MEMORY: Final = "reference, memory"
FILE: Final = "reference, file"
# It tells of its recovery where its address is to stand.
_FILE: Final = """
import { DurableStreamTestServer } from "@durable-streams/server"
const say = console.log
console.log = console.info = console.error
const server = new DurableStreamTestServer({ port: 0, host: "127.0.0.1", dataDir: "./data" })
await server.start()
say(server.url)
"""
_SERVE: Final = """
import sys, transit
from transit.server.run import serve

with transit.open(sys.argv[1], durability=sys.argv[2]) as log:
    serve(log, "127.0.0.1:0", ready=lambda it: print(it.url, flush=True))
"""


def check_tools(*names: str) -> None:
    """End where a program is missing."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        sys.exit(f"needed: {', '.join(missing)}")


@contextmanager
def working_place(path: str | None = None) -> Iterator[Path]:
    """A new folder, below `path`, for stores and what npm installs."""
    with tempfile.TemporaryDirectory(dir=path, prefix=".benchmarks-") as folder:
        yield Path(folder).resolve()


def install_reference(place: Path) -> None:
    """Install the reference server into `place`."""
    (place / "package.json").write_text('{"type": "module"}')
    (place / "memory.mjs").write_text(START)
    (place / "file.mjs").write_text(_FILE)
    subprocess.run(["npm", "install", "--silent", REFERENCE], cwd=place, check=True)


@contextmanager
def ours(place: Path, name: str = OURS, durability: str = "os") -> Iterator[Server]:
    """This server, of a new store."""
    folder = tempfile.mkdtemp(dir=place)
    arguments = [sys.executable, "-c", _SERVE, folder, durability]
    with running(arguments, name, place) as server:
        yield server


@contextmanager
def reference(place: Path, name: str = MEMORY) -> Iterator[Server]:
    """The reference server, in memory or with files."""
    script = "file.mjs" if name == FILE else "memory.mjs"
    with running(["node", script], name, place) as server:
        yield server


@contextmanager
def both_servers() -> Iterator[list[Server]]:
    """The reference server in memory, and this one."""
    with working_place() as place, ExitStack() as stack:
        install_reference(place)
        yield [stack.enter_context(reference(place)), stack.enter_context(ours(place))]


def rss_bytes(pid: int) -> int:
    """The memory that a process has now, bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024
