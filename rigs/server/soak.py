"""A served store for a long time: `python -m rigs.server.soak --seconds N [--seed S] [--folder F]`.

What is done is in `rigs.server.arena`. A store with which anything is wrong is kept.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from rigs.kills.rounds import scratch
from rigs.server.arena import soak


def say(text: object) -> None:
    """Print at once."""
    print(text, flush=True)


def main() -> int:
    """Soak, and say what came of it; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--folder", type=Path, help="for the store; else one in memory")
    options = parser.parse_args()
    folder = options.folder or scratch()
    folder.mkdir(parents=True, exist_ok=True)
    say(f"seed {options.seed}, {options.seconds:.0f} s, in {folder}")
    tally = soak(options.seconds, options.seed, folder, say)
    for problem in tally.problems:
        say(problem)
    say(
        f"{tally.rounds} rounds, {tally.records} records and {tally.lines} lines judged,"
        f" {tally.servers_killed} servers and {tally.clients_killed} clients killed,"
        f" {len(tally.problems)} violations"
    )
    if not tally.problems:
        shutil.rmtree(folder)
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
