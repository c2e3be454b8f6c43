"""The process that `benchmarks.syscalls` watches: appends between two calls made nowhere else.

Run as `python -m benchmarks.watched NAME LEVEL FOLDER`.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from benchmarks.payloads import payloads
from benchmarks.places import STREAM
from benchmarks.systems import load
from benchmarks.systems.system import Level

WARM_UP: Final = 20
APPENDS: Final = 10
BEGIN: Final = "/benchmarks-begin"
END: Final = "/benchmarks-end"


def main(name: str, level: Level, folder: str) -> None:
    system = load(name)()
    system.open(folder, level)
    for payload in payloads(WARM_UP):
        system.append_one(STREAM, payload)
    given = payloads(APPENDS)
    os.access(BEGIN, os.F_OK)
    for payload in given:
        system.append_one(STREAM, payload)
    os.access(END, os.F_OK)
    system.close()


if __name__ == "__main__":
    main(sys.argv[1], "durable" if sys.argv[2] == "durable" else "buffered", sys.argv[3])
