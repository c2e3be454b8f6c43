"""One process of a history, run for real: each step is tried, done, and marked as acknowledged.

The marks go into the recording (`rigs.crash.recording_fs`), as JSON: {"lane", "tried"}
before a step, {"lane", "done", "level", "receipts"} after it. A lane is a process: [life, number].
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from rigs.crash.histories import HISTORIES, History, Plan
from rigs.crash.recording_fs import MARK_FILE
from rigs.crash.steps import Die, DieWriting, Session
from rigs.faults.session import receipts_of
from rigs.plants import plant

_TIMEOUT_S: Final = 120
Lane = tuple[int, int]


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a process says: `tried` step number, or `done` with the strength it reached.

    level: 0 "memory" to 3 "tiered", of this step and all before; -1 for one that promises nothing.
    receipts: (stream, offset of the first record, digests of the payloads). signed: a text that is
    about to be signed.
    """

    lane: Lane
    tried: int = -1
    done: int = -1
    level: int = -1
    receipts: tuple[tuple[str, int, tuple[str, ...]], ...] = ()
    signed: str = ""


def run_plan(root: Path, lane: Lane, plan: Plan, meet: Callable[[], object]) -> None:
    """Do the steps of one process below `root`, and mark them there.

    After the first, which opens the store, `meet` waits for all that run at once: none of them may
    be done before another has begun, or no two processes would write at the same time.
    """
    session = Session(root)
    marks = (root / MARK_FILE).open("r+b", buffering=0)
    session.sign = lambda text: marks.write(msgspec.json.encode(Mark(lane, signed=text)))
    for number, step in enumerate(plan):
        marks.write(msgspec.json.encode(Mark(lane, tried=number)))
        level = step.run(session)
        receipts = receipts_of(session, step)
        done = Mark(lane, -1, number, -1 if level is None else level, receipts)
        marks.write(msgspec.json.encode(done))
        if number == 0:
            meet()


def run_history(root: Path, history: History, planted: str = "") -> None:
    """Run all lives below `root`, each process for real; `planted` names a bug to run with.

    `RuntimeError` when a process ends in another way than its plan says.
    """
    for life, plans in enumerate(history.lives):
        with contextlib.ExitStack() as stack:
            processes = [
                stack.enter_context(_process(root, history, (life, number), planted))
                for number in range(len(plans))
            ]
            for process in processes:
                assert process.stdout is not None
                process.stdout.readline()
            for process in processes:
                assert process.stdin is not None
                process.stdin.close()
                process.stdin = None
            endings = [process.communicate(timeout=_TIMEOUT_S)[1] for process in processes]
        for process, plan, said in zip(processes, plans, endings, strict=True):
            dies = isinstance(plan[-1], Die | DieWriting)
            if process.returncode != (-signal.SIGKILL if dies else 0):
                raise RuntimeError(f"{history.name} {history.seed}, life {life}: {said.decode()}")


def _process(root: Path, history: History, lane: Lane, planted: str) -> subprocess.Popen[bytes]:
    arguments = [str(root), history.name, str(history.seed), *map(str, lane), planted]
    return subprocess.Popen(
        [sys.executable, "-m", __name__, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def main(root: str, name: str, seed: str, life: str, number: str, planted: str) -> None:
    """Be one process of a history."""
    if planted:
        plant(planted)
    lane = (int(life), int(number))
    plan = HISTORIES[name](int(seed)).lives[lane[0]][lane[1]]
    run_plan(Path(root), lane, plan, _meet)


def _meet() -> None:
    """Say that this process is ready, and wait until all are."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
