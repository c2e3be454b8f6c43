"""How long a served store takes to answer, from the start of `transit serve` to a 200 of /healthz.

On an empty store and on one with streams in it; wall clock, and CPU of the process until then.
Bytecode is compiled before, as an installed program has it. Says what took longest to import, too.

    python -m benchmarks.served_start [--streams N] [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import transit
from benchmarks.processes import start
from benchmarks.served import cpu_s
from benchmarks.servers import working_place

_PAUSE_S: Final = 0.002
_WAIT_S: Final = 60.0
_IMPORT: Final = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|( *)(\S+)")
_LONGEST: Final = 15


class Start(NamedTuple):
    """One start, seconds: by wall clock, and of the process's CPU."""

    wall_s: float
    cpu_s: float


def begin(store: Path, compiled: str) -> Start:
    """One start."""
    began = time.perf_counter()
    process = start(
        "-m", "transit", "serve", "--quiet", "--store", str(store), "--bind", "127.0.0.1:0",
        "--format", "json", compiled=compiled,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = urlsplit(json.loads(process.stdout.readline())["url"])
        status = 0
        while status != 200 and time.perf_counter() - began < _WAIT_S:
            connection = http.client.HTTPConnection(address.hostname or "", address.port)
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
            connection.close()
            time.sleep(0 if status == 200 else _PAUSE_S)
        return Start(time.perf_counter() - began, cpu_s(process.pid))
    finally:
        process.terminate()
        process.communicate()


def imports(compiled: str) -> list[tuple[int, str]]:
    """What takes longest to import for a server, by itself: microseconds, module."""
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import transit.cli, transit.server.run"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPYCACHEPREFIX": compiled},
    ).stderr  # fmt: skip
    found = [(int(own), name) for own, _, _, name in _IMPORT.findall(said)]
    return sorted(found, reverse=True)[:_LONGEST]


def main() -> None:
    """Measure, print medians, and keep the rounds where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, list[Start]] = {}
    with working_place() as place:
        stores = {"empty": place / "empty", f"{options.streams} streams": place / "many"}
        for name, store in stores.items():
            with transit.open(store, durability="os") as log:
                for number in range(0 if name == "empty" else options.streams):
                    log.create(f"s{number}").append(b"x" * 200)
        compiled = str(place / "compiled")
        begin(stores["empty"], compiled)
        for _ in range(options.rounds):
            for name, store in stores.items():
                found.setdefault(name, []).append(begin(store, compiled))
        longest = imports(compiled)
    for name, rows in found.items():
        walls, cpus = ([each[part] for each in rows] for part in (0, 1))
        print(
            f"{name:14} wall {statistics.median(walls):.2f} s ({min(walls):.2f} to"
            f" {max(walls):.2f}), CPU {statistics.median(cpus):.2f} s (from {min(cpus):.2f})"
        )
    print("longest imports, ms:", ", ".join(f"{name} {us / 1e3:.1f}" for us, name in longest))
    print("load:", *(f"{each:.1f}" for each in os.getloadavg()), "on", os.cpu_count(), "cores")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
