"""One workload in a process of its own, which runs a side of it whenever it is told to.

Run as `python -m benchmarks.turns NAME FOLDER RECORDS_DIVISOR`. Each line of input, "raw" or
"ours", is answered by a line with the figure; the end of the input ends it. So two trees can take
turns without setting their stores up again for each run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

import transit
from benchmarks.runner import collected
from benchmarks.workload import Facts
from benchmarks.workloads import workload


class Ready(msgspec.Struct, frozen=True):
    """The first line: which package is measured, and what the workload is."""

    package: str
    facts: Facts


def main(name: str, folder: str, divisor: int) -> None:
    running = workload(name)
    running.setup(folder, max(1, running.facts.records // divisor))
    sides = {"raw": running.raw, "ours": running.ours}
    ready = Ready(str(Path(transit.__file__).parent), running.facts)
    print(msgspec.json.encode(ready).decode(), flush=True)
    try:
        for line in sys.stdin:
            print(collected(sides[line.strip()]), flush=True)
    finally:
        running.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
