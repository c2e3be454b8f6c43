"""The route `/metrics`: the numbers in the text format of Prometheus.

Owns how they are told. With tokens on it takes one that may read all streams, or administer all:
the numbers are of the whole store.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from transit import Histogram
from transit.server.access import ADMIN, READ
from transit.server.asgi import Answer, Request
from transit.server.numbers import Number, Numbers
from transit.server.refusals import NO_STORE
from transit.server.routes import Route
from transit.server.service import Service

if TYPE_CHECKING:
    from prometheus_client.core import Metric


class Collector:
    """A collector for a registry of prometheus-client: the numbers of one server."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterable[Metric]:
        """The numbers of this moment."""
        return [family_of(number) for number in self._numbers.now()]


def family_of(number: Number) -> Metric:
    """A number as prometheus-client has it."""
    # Loaded here: it takes long to load, and many servers are never asked for numbers.
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    name = "_".join(part for part in ("transit", number.name, number.unit) if part)
    about, labels = f"{number.about}.", number.labels
    if number.kind == "histogram":
        histograms = HistogramMetricFamily(name, about, labels=labels)
        for values, each in number.values:
            if isinstance(each, Histogram):
                histograms.add_metric(values, buckets_of(each), each.sum_s)
        return histograms
    family = CounterMetricFamily if number.kind == "counter" else GaugeMetricFamily
    found = family(name, about, labels=labels)
    for values, each in number.values:
        if not isinstance(each, Histogram):
            found.add_metric(values, each)
    return found


def buckets_of(found: Histogram) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound, as Prometheus has them."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*map(repr, found.bounds), "+Inf"), found.counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


def routes(numbers: Numbers, service: Service) -> list[Route]:
    """The route of this module."""

    async def metrics(request: Request) -> Answer:
        if not request.grant.allows(ADMIN, ""):
            request.grant.check(READ, "")

        def work() -> bytes:
            # As above.
            from prometheus_client import CollectorRegistry, generate_latest

            registry = CollectorRegistry(auto_describe=False)
            registry.register(Collector(numbers))
            return generate_latest(registry)

        body = await service.read(work)
        return Answer(200, [(b"content-type", _CONTENT_TYPE), NO_STORE], body)

    return [Route("GET", "/metrics", metrics)]


_CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
