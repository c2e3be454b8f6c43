"""Look for broken promises for a long time: `python tests/crash/soak.py SECONDS [SEED]`.

First every system call fault there is, for half of the time at most; then all crash states of
history after history: the scripted ones and as many random ones, from SEED on (default: the clock).
Each line says what was run and with which seed. Ends with 1 when a promise was broken.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from transit.testing import recording_fs, syscall_faults
from transit.testing.crash_explore import soak
from transit.testing.syscall_faults import Fault, Rig, all_faults


def say(text: object) -> None:
    print(text, flush=True)


def break_calls(seconds: float, seed: int) -> int:
    """Try faults in random order until all are tried or the time is over; the count of problems."""
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="transit-soak-") as folder:
        rig = Rig(Path(folder))
        faults = all_faults(rig.count())
        random.Random(seed).shuffle(faults)

        def one(fault: Fault) -> str | None:
            return rig.run(fault) if time.monotonic() < deadline else None

        tried = broken = 0
        with ThreadPoolExecutor(2) as pool:
            for fault, problem in zip(faults, pool.map(one, faults), strict=True):
                tried += problem is not None
                if problem:
                    broken += 1
                    say(f"{fault}: {problem}")
    say(f"{tried} of {len(faults)} system call faults tried, {broken} violations")
    return broken


def main() -> int:
    seconds = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    start = time.monotonic()
    reason = recording_fs.why_unavailable() or syscall_faults.why_unavailable()
    if reason:
        say(f"nothing can be tried here: {reason}")
        return 1
    broken = break_calls(seconds / 2, seed)
    broken += soak(seconds - (time.monotonic() - start), seed, say)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
