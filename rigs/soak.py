"""Look for broken promises for a long time: `python rigs/soak.py SECONDS [SEED] [RIG ...]`.

Each rig that can run here, or each that is named, gets an equal share of the time and all of the
seed (default: the clock's). Each line says what was run and with which seed. Ends with 1 when a
promise was broken, with 2 when nothing could be tried.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rigs import resources
from rigs.crash import explore as crash_explore
from rigs.crash import recording_fs
from rigs.crowds import crowd
from rigs.damage import explore as damage_explore
from rigs.faults import broken_disks
from rigs.faults import remote as remote_faults
from rigs.faults import syscalls as syscall_faults
from rigs.faults.syscalls import Fault, Rig, all_faults
from rigs.fuzz import targets as fuzz_targets
from rigs.interrupts import calls as interrupted_calls
from rigs.kills import mounts, power_cuts
from rigs.kills import rounds as kill_rounds
from rigs.linearizability import runs as linearizability_runs
from rigs.machines import machines
from rigs.scale import stores as scale

SEEDS = Path(__file__).parent / "fuzz" / "seeds"
FOUND = SEEDS.with_name("found")
SoakRig = Callable[[float, int, Callable[[object], object]], int]


def say(text: object) -> None:
    """Print at once."""
    print(text, flush=True)


def break_calls(seconds: float, seed: int, say: Callable[[object], object]) -> int:
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


def fuzz(seconds: float, seed: int, say: Callable[[object], object]) -> int:
    """All decoders, from the kept inputs on; what breaks one is kept."""
    seeds = {
        place.name: [file.read_bytes() for file in place.iterdir()] for place in SEEDS.iterdir()
    }

    def keep(target: str, data: bytes) -> None:
        (FOUND / target).mkdir(parents=True, exist_ok=True)
        (FOUND / target / f"soak-{seed}-{len(data)}").write_bytes(data)

    return fuzz_targets.soak(seconds, seed, say, seeds, keep)


RIGS: Mapping[str, SoakRig] = {
    "syscalls": break_calls,
    "crash": crash_explore.soak,
    "damage": damage_explore.soak,
    "kill": kill_rounds.soak,
    "power": power_cuts.soak,
    "disks": broken_disks.soak,
    "remote": remote_faults.soak,
    "model": machines.soak,
    "histories": linearizability_runs.soak,
    "crowd": crowd.soak,
    "interrupts": interrupted_calls.soak,
    "fuzz": fuzz,
    "flat": resources.soak,
    "scale": scale.soak,
}


def why_not(name: str) -> str:
    """Why a rig cannot run here; empty when it can."""
    if name == "syscalls":
        return recording_fs.why_unavailable() or syscall_faults.why_unavailable()
    if name == "crash":
        return recording_fs.why_unavailable()
    return mounts.why_unavailable() if name in ("power", "disks") else ""


def main() -> int:
    """Run the rigs that are named, or all; the exit code."""
    seconds, *rest = sys.argv[1:]
    seed = int(rest.pop(0)) if rest and rest[0].isdigit() else int(time.time())
    unknown = set(rest) - RIGS.keys()
    if unknown:
        say(f"no such rig: {', '.join(sorted(unknown))}; there are {', '.join(RIGS)}")
        return 2
    reasons = {name: why_not(name) for name in rest or RIGS}
    for name, reason in reasons.items():
        if reason:
            say(f"{name} cannot run here: {reason}")
    able = [name for name, reason in reasons.items() if not reason]
    broken = 0
    for name in able:
        say(f"{name}, {float(seconds) / len(able):.0f} s, seed {seed}")
        broken += RIGS[name](float(seconds) / len(able), seed, say)
    say(f"{len(able)} rigs, {broken} violations")
    return 1 if broken else 0 if able else 2


if __name__ == "__main__":
    sys.exit(main())
