"""Processes that append, fold and save at once, and are killed at any moment."""

from __future__ import annotations

import random
import signal
import sys
import time
from typing import Final

import transit
from rigs.views.children import begin, start
from rigs.views.programs import event, everything
from rigs.views.roots import EVERY
from transit import views

_BUSY_S: Final = 30.0


def append(path: str, seed: int) -> None:
    """Append until killed."""
    chance = random.Random(seed)
    with transit.open(path, mode="shared", durability="os") as log:
        stream = log.stream("s")
        end = time.monotonic() + _BUSY_S
        while time.monotonic() < end:
            stream.append(event(chance))
            time.sleep(0.002)


def fold(path: str, seed: int) -> None:
    """Fold and save until killed."""
    chance = random.Random(seed)
    with transit.open(path, mode="shared", durability="os") as log:
        stream = log.stream("s")
        view = views.open(log, everything, savepoint_records=EVERY)
        end = time.monotonic() + _BUSY_S
        while time.monotonic() < end:
            view.of(stream)
            if chance.random() < 0.3:
                view.save(stream)
            if chance.random() < 0.2:
                view = views.open(log, everything, savepoint_records=EVERY)


def killed(path: str, rounds: int, seed: int, planted: str = "") -> int:
    """Kill processes so many times in a store that has a stream "s"; how many were."""
    chance = random.Random(seed)
    with transit.open(path, durability="os") as log:
        if "s" not in log:
            log.create("s").append(event(chance))
    for turn in range(rounds):
        children = [
            start(__name__, path, role, str(seed + turn * 10 + number), planted)
            for number, role in enumerate(("append", "fold", "fold"))
        ]
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        time.sleep(chance.uniform(0.05, 0.6))
        for child in children:
            child.send_signal(signal.SIGKILL)
        for child in children:
            _, said = child.communicate()
            if child.returncode != -signal.SIGKILL:
                raise RuntimeError(said)
    return rounds * 3


if __name__ == "__main__":
    begin(sys.argv[4])
    {"append": append, "fold": fold}[sys.argv[2]](sys.argv[1], int(sys.argv[3]))
