"""Views and reconcilers as an operator declares them, and a store that they are of."""

from __future__ import annotations

from typing import Any

import msgspec

from transit import Log, views
from transit.views.loading import Declared


class Run(msgspec.Struct, frozen=True):
    """A row: what is known of a run."""

    name: str
    status: str = "open"
    tokens: int = 0


class Visit(msgspec.Struct, frozen=True):
    """A row with a key of two fields."""

    run: str
    number: int
    offset: int


class Result(msgspec.Struct):
    """An event."""

    run: str
    status: str
    tokens: int = 0


runs = views.table("runs", Run, key="name", index=["status"])
visits = views.table("visits", Visit, key=["run", "number"])


@views.reducer(runs, visits, reads=Result)
def tally(runs: Any, visits: Any, event: Result, at: views.At) -> None:
    """Count tokens by run, and note each visit."""
    row = runs.get(event.run) or Run(event.run)
    runs.put(Run(row.name, event.status, row.tokens + event.tokens))
    visits.put(Visit(event.run, at.offset, at.offset))


@views.reducer(runs, reads=Result, on_error="skip", name="other")
def another(runs: Any, event: Result, at: views.At) -> None:
    """Another view: the last status alone."""
    runs.put(Run(event.run, event.status))


@views.reconciler(every=3_600.0, labels={"host": "local"})
def count(tick: views.Tick) -> None:
    """Count the streams."""
    found = sum(1 for _ in tick.log.streams())
    tick.info(f"there are {found} streams")
    tick.emit("count", streams=found)


DECLARED = Declared((tally, another), (count,))


def event(run: str, status: str = "ok", tokens: int = 10) -> bytes:
    """One record."""
    return msgspec.json.encode({"run": run, "status": status, "tokens": tokens})


def fill(log: Log) -> None:
    """A stream `task`, a branch of it, and one that nobody else may read."""
    task = log.create("runs/task")
    for number in range(6):
        task.append(event(f"run-{number % 3}", "ok" if number % 2 else "error"))
    task.branch("runs/retry", at=2).append(event("run-9", "late", 5))
    log.create("secret/plan").append(event("hidden-run", "hidden", 99))
