"""Subscribers that are killed at any moment, and what they did."""

from __future__ import annotations

import random
import signal
import sys
import time
from pathlib import Path
from typing import Final

import transit
from rigs.views.children import begin, start
from rigs.views.programs import everything
from transit import views

_BUSY_S: Final = 30.0


def deliver(path: str, outside: str, seed: int) -> None:
    """Take up what is delivered: changes of people into the store, others outside; till killed."""
    chance = random.Random(seed)
    with transit.open(path, mode="shared", durability="os") as log:
        view, results = views.open(log, everything, savepoint_records=10), log.stream("results")
        end = time.monotonic() + _BUSY_S
        while time.monotonic() < end:
            try:
                for change in view.changes("s", "sub", timeout=0.05):
                    if change.table == "people":
                        with log.batch() as batch:
                            batch.append(results, change.id.encode())
                            change.done(batch)
                    else:
                        with change.effect() as key, Path(outside).open("a") as file:
                            file.write(f"{key}\n")
                    if chance.random() < 0.05:
                        time.sleep(0.01)
            except transit.ConflictError:
                # The other one was first.
                continue


def delivered(path: str, outside: str, rounds: int, seed: int, planted: str = "") -> None:
    """Kill two subscribers of one name so many times."""
    chance = random.Random(seed)
    for turn in range(rounds):
        children = [
            start(__name__, path, outside, str(seed + 2 * turn + number), planted)
            for number in (0, 1)
        ]
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        time.sleep(chance.uniform(0.05, 0.5))
        for child in children:
            child.send_signal(signal.SIGKILL)
        for child in children:
            _, said = child.communicate()
            if child.returncode != -signal.SIGKILL:
                raise RuntimeError(said)


def wrong(log: transit.Log, outside: str) -> str:
    """What is wrong with what was delivered up to where the subscriber stands; "" for nothing."""
    view, stream = views.open(log, everything), log.stream("s")
    (status,) = view.subscribers(stream)
    expected: list[tuple[str, bool]] = []
    for offset in range(status.position):
        changes = view.of(stream, offset).diff(view.of(stream, offset + 1))
        for number, change in enumerate(changes):
            expected.append((f"sub/{stream.uid}@{offset}.{number}", change.table == "people"))
    inside = [record.payload.decode() for record in log.stream("results")]
    wanted = [key for key, is_inside in expected if is_inside]
    # Of the record that it stands in some are done.
    if inside[: len(wanted)] != wanted or len(inside) != len({*inside}):
        return "records in the same frame are not there once, in order"
    said = Path(outside).read_text().splitlines()
    missing = {key for key, is_inside in expected if not is_inside} - {*said}
    if missing:
        return f"{len(missing)} effects were not had"
    return ""


def repeated(log: transit.Log, outside: str) -> list[str]:
    """The effects that were had more than once."""
    said = Path(outside).read_text().splitlines()
    return [key for key in dict.fromkeys(said) if said.count(key) > 1]


if __name__ == "__main__":
    begin(sys.argv[4])
    deliver(sys.argv[1], sys.argv[2], int(sys.argv[3]))
