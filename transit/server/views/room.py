"""All of it for one served store: what its routes, its tools and its pages share."""

from __future__ import annotations

from transit.server.api.serving import Call
from transit.server.service import Service
from transit.server.streams import Streams
from transit.server.views.changes import SubscriptionCalls
from transit.server.views.loops import ReconcilerCalls
from transit.server.views.queries import Queries
from transit.server.views.serving import Views
from transit.server.views.sql import SqlCalls
from transit.server.views.states import StateCalls
from transit.views.loading import Declared


class ViewRoom:
    """Views, queries and reconcilers of one served store; for one event loop."""

    def __init__(
        self, service: Service, declared: Declared | None = None, persist: str = "logged"
    ) -> None:
        self.views = Views(service, declared, persist)
        self.queries = Queries(self.views)
        self.loops = ReconcilerCalls(self.views)

    def calls(self, streams: Streams) -> list[Call]:
        """All routes."""
        return [
            *StateCalls(self.views).calls(),
            *SqlCalls(self.views, self.queries).calls(),
            *SubscriptionCalls(self.views, streams).calls(),
            *self.loops.calls(),
        ]

    def start(self) -> None:
        """Run the reconcilers that were named; in a thread."""
        self.views.start()

    def end(self) -> None:
        """Let all go that wait: the server ends."""
        self.views.end()

    def close(self) -> None:
        """End threads and processes; in a thread."""
        self.queries.close()
        self.views.close()
