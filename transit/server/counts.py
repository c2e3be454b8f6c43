"""What a server counts of its own: requests, how long they took, bytes, what it refused.

Owns the counts; changed by the event loop alone, read by any thread. No name of a stream, no token
and nothing that a client made up is a key of them: routes are templates, methods and reasons are
known words, so there are so many keys and no more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from operator import add
from typing import Final

import msgspec

from transit import Histogram
from transit.server.exchange import Served

OTHER: Final = "other"
_METHODS: Final = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))
LIVE: Final = "?live"
_BOUNDS_S: Final = Histogram().bounds


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one moment.

    requests: by route template, method and status; 499: the client went away. durations: until an
    answer begins, by route and method. refused: by class of error, or status. bytes_in, bytes_out:
    of bodies. connections: None where nobody counts them.
    """

    requests: dict[tuple[str, str, int], int]
    durations: dict[tuple[str, str], Histogram]
    refused: dict[str, int]
    bytes_in: int
    bytes_out: int
    connections: int | None


class _Route:
    """Answers of one route, method and status; counted by one thread without a lock."""

    __slots__ = ("counts", "number", "sum_s")

    def __init__(self) -> None:
        self.number = 0
        self.counts = [0] * len(Histogram().counts)
        self.sum_s = 0.0


class Counts:
    """The counts of one server. connections: says how many are open, where the server knows it."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str, int], _Route] = {}
        self._refused: dict[str, int] = {}
        self.bytes_in = self.bytes_out = 0
        self.connections: Callable[[], int] | None = None

    def answered(self, served: Served) -> None:
        """Count a request that was answered, or whose client went away."""
        begins_s = served.begins_s
        key = served.template, served.method, served.status
        found = None if served.is_live else self._routes.get(key)
        if found is None:
            found = self._route_of(served)
        found.number += 1
        self.bytes_in += served.bytes_in
        self.bytes_out += served.bytes_out
        if served.reason:
            self._refused[served.reason] = self._refused.get(served.reason, 0) + 1
        if begins_s:
            found.counts[bisect_left(_BOUNDS_S, begins_s)] += 1
            found.sum_s += begins_s

    def _route_of(self, served: Served) -> _Route:
        """Where a request is counted, by words that are known."""
        method, route = served.method, served.template or OTHER
        if method not in _METHODS:
            method = OTHER
        if served.is_live:
            # Waits for more are no measure of how fast the others are.
            route += LIVE
        return self._routes.setdefault((route, method, served.status), _Route())

    def now(self) -> Counted:
        """The counts of this moment; for any thread."""
        routes = self._routes.copy()
        return Counted(
            requests={key: each.number for key, each in routes.items()},
            durations=_durations(routes),
            refused=self._refused.copy(),
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            connections=None if self.connections is None else self.connections(),
        )


def _durations(routes: dict[tuple[str, str, int], _Route]) -> dict[tuple[str, str], Histogram]:
    """By route and method, whatever the status."""
    found: dict[tuple[str, str], Histogram] = {}
    for (route, method, _), each in routes.items():
        before = found.get((route, method), Histogram())
        counts = tuple(map(add, before.counts, each.counts))
        if any(counts):
            found[route, method] = Histogram(counts=counts, sum_s=before.sum_s + each.sum_s)
    return found
