"""Durable appends from many connections to a served store, beside the same store without syncs.

The rate by wall clock of appends that are on the disk when they are answered (durability `local`),
of such that are not (`os`), and of the reference server's file store; rounds take turns, the
medians count. The folder must be on a disk. Needs `wrk` and Node.js with npm.

    python -m benchmarks.served_durable [--seconds S] [--rounds N] [--connections N] [--path FOLDER]
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.report import machine
from benchmarks.served import ROWS, Server, cpu_s
from benchmarks.servers import (
    FILE,
    check_tools,
    install_reference,
    ours,
    reference,
    working_place,
)

LOCAL: Final = "transit, local"
OS: Final = "transit, os"
_UNITS: Final = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_LATENCY: Final = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)


def load(server: Server, connections: int, seconds: int, script: Path) -> dict[str, float]:
    """One round: requests a second, latency in milliseconds, microseconds of CPU a request."""
    before = cpu_s(server.pid)
    said = subprocess.run(
        [
            "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s",
            "-s", str(script), f"{server.url}/v1/stream/{ROWS[0].path}",
        ],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    used = cpu_s(server.pid) - before
    rate, count = re.search(r"Requests/sec:\s+([\d.]+)", said), re.search(r"(\d+) requests", said)
    if "Non-2xx" in said or "Socket errors" in said or rate is None or count is None:
        raise RuntimeError(f"{server.name}: {said}")
    waits = {f"p{cut}_ms": float(n) * _UNITS[unit] for cut, n, unit in _LATENCY.findall(said)}
    return {"rate": float(rate[1]), **waits, "cpu_us": used / max(1, int(count[1])) * 1e6}


def measure(
    servers: list[Server], connections: int, seconds: int, rounds: int, script: Path
) -> dict[str, dict[str, float]]:
    """The medians of each server's rounds."""
    script.write_text(ROWS[0].script)
    found: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for server in servers:
        server.ask("PUT", ROWS[0].path, b"", "text/plain")
    for number in range(rounds):
        for server in servers if number % 2 else reversed(servers):
            found[server.name].append(load(server, connections, seconds, script))
    # A round in which hardly anything was answered has no 99th percentile.
    return {
        name: {key: statistics.median(each[key] for each in rows if key in each) for key in rows[0]}
        for name, rows in found.items()
    }


def main() -> None:
    """Measure, print, and keep the figures where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--path", default=".", help="work in a new folder below it")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    check_tools("wrk", "npm")
    with working_place(options.path) as place, ExitStack() as stack:
        if machine(str(place)).file_system == "tmpfs":
            sys.exit("the folder is in memory: nothing there is durable")
        install_reference(place)
        servers = [
            stack.enter_context(reference(place, FILE)),
            stack.enter_context(ours(place, LOCAL, "local")),
            stack.enter_context(ours(place, OS, "os")),
        ]
        script = place / "append.lua"
        found = measure(servers, options.connections, options.seconds, options.rounds, script)
    for name, row in found.items():
        print(f"{name:16}", *(f"{key} {value:,.1f}" for key, value in row.items()))
    rate = found[LOCAL]["rate"]
    for other in (OS, FILE):
        print(f"{LOCAL} to {other}: {rate / found[other]['rate']:.2f} x the rate")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
