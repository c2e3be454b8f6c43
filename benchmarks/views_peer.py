"""The peer of `benchmarks.views`: an aggregate of the `eventsourcing` library, rebuilt from SQLite.

Its events are objects of the library, stored as JSON in a database in memory, which is what its
users have where they do not write a projection of their own.
"""

from __future__ import annotations

from time import process_time
from typing import Any

import msgspec
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

import transit
from benchmarks.views import Event

_DECODE = msgspec.json.Decoder(Event).decode
_SAVED = 500


class Runs(Aggregate):  # type: ignore[misc]
    """Tokens by run."""

    def __init__(self) -> None:
        self.runs: dict[str, Any] = {}

    @event("Result")  # type: ignore[untyped-decorator]
    def result(self, run: str, status: str, tokens: int) -> None:
        """One event."""
        before = self.runs.get(run, ("open", 0))
        self.runs[run] = (status, before[1] + tokens)


def rebuild_s(stream: transit.Stream, count: int) -> float:
    """CPU seconds to make the aggregate again from its first `count` events."""
    environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": ":memory:"}
    app: Application[Any] = Application(environment)
    runs = Runs()
    for number, record in enumerate(stream.read(0, count)):
        found = _DECODE(record.payload)
        runs.result(found.run, found.status, found.tokens)
        if number % _SAVED == _SAVED - 1:
            app.save(runs)
    app.save(runs)
    begun = process_time()
    app.repository.get(runs.id)
    return process_time() - begun
