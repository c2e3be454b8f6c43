"""The numbers a server tells of its store and of itself, whoever asks for them.

Owns their names, units and labels, in one list for Prometheus and OpenTelemetry. A label is a known
word: never a stream's name, a token or a part of a payload.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from transit import Histogram, Metrics, RemoteTraffic, ReplicaStatus
from transit.server.counts import Counted, Counts
from transit.server.gate import Gate
from transit.server.service import Service
from transit.server.tails import Tails

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]
Value = int | float | Histogram
K = TypeVar("K", bound=Labels)
V = TypeVar("V", int, float, Histogram)


class Number(msgspec.Struct, frozen=True):
    """One number, or several that labels tell apart.

    name: without a unit's ending; unit: "", "bytes" or "seconds". about: what it is, a sentence
    without its stop. values: each after the values of its labels.
    """

    name: str
    kind: Kind
    unit: str
    about: str
    values: Sequence[tuple[Labels, Value]]
    labels: Labels = ()


class Shared(msgspec.Struct, frozen=True):
    """Requests being answered, waiting readers, syncs that were asked for and that there were."""

    active: int
    readers: int
    asked: int
    made: int


class Numbers:
    """Where the numbers of one server come from."""

    def __init__(self, service: Service, counts: Counts, tails: Tails, gate: Gate) -> None:
        self._service = service
        self._counts = counts
        self._tails = tails
        self._gate = gate

    def now(self) -> list[Number]:
        """All of this moment; may read the places of cursors, so not for an event loop."""
        syncs, publishes = self._service.syncs, self._service.publishes
        shared = Shared(
            self._gate.count,
            self._tails.count,
            syncs.asked + publishes.asked,
            syncs.made + publishes.made,
        )
        return [*of_store(self._service.log.metrics()), *of_server(self._counts.now(), shared)]


def of_store(found: Metrics) -> Iterator[Number]:
    """The numbers of a store."""
    yield _counter("records", "", "Records written", found.records)
    yield _counter("appends", "", "Frames written, a batch is one", found.appends)
    yield _counter("appended", "bytes", "Bytes of frames written", found.bytes)
    yield _timed("sync", "Syncs of the log", found.syncs)
    yield _timed("seal", "Segments sealed", found.seals)
    yield _timed("publish", "Rounds of publishing", found.publishes)
    yield _several(
        "wait", "histogram", "seconds", "Waits until what was written was as durable as asked",
        {(key,): each for key, each in found.waits.items()}, ("durability",),
    )  # fmt: skip
    failures = {("seal",): found.seal_failures, ("publish",): found.publish_failures}
    if found.remote is not None:
        failures |= {("remote",): found.remote.failed, ("unanswered",): found.remote.unanswered}
    yield _several("failures", "counter", "", "What failed", failures, ("kind",))
    yield _gauge("refusing", "", "1 where nothing is written any more", int(bool(found.refusal)))
    yield _gauge("unsynced", "bytes", "Bytes of the log that are not durable", found.unsynced_bytes)
    yield _gauge("wal_files", "", "Files of the log that are not sealed", found.wal_files)
    yield _gauge("wal", "bytes", "Bytes of the log that are not sealed", found.wal_bytes)
    yield _gauge("commits", "", "Commits", found.commits)
    yield _gauge("segments", "", "Segments", found.segments)
    yield _gauge("segment", "bytes", "Bytes of segments", found.segment_bytes)
    yield _gauge("waiting", "", "Followers that wait for records", found.waiting)
    cache = found.cache
    told = {
        ("memory",): cache.hits, ("disk",): cache.disk_hits, ("ahead",): cache.ahead,
        ("loaded",): cache.loads, ("fetched",): cache.fetched,
    }  # fmt: skip
    yield _several(
        "cache", "counter", "", "Where blocks that were read came from", told, ("place",)
    )
    yield _gauge("cache", "bytes", "Memory of decoded blocks", cache.bytes)
    if found.cursors is not None:
        lag = found.cursors
        yield _gauge("cursors", "", "Cursors", lag.cursors)
        yield _gauge("cursors_behind", "", "Cursors with records to read", lag.behind)
        yield _gauge("cursor_lag_records", "", "Records that cursors are behind", lag.records)
        yield _gauge("cursor_lag_records_max", "", "Of the cursor furthest behind", lag.records_max)
    if found.publish_lag is not None:
        behind = found.publish_lag
        yield _gauge("publish_lag_records", "", "Records not published", behind.records)
        yield _gauge("publish_lag", "bytes", "Bytes not published", behind.bytes)
        yield _gauge("publish_lag", "seconds", "Age of the oldest of them", behind.age_s)
    if found.remote is not None:
        yield from _of_remote(found.remote)
    yield from _of_replicas(found.replicas)


def _of_replicas(replicas: Sequence[ReplicaStatus]) -> Iterator[Number]:
    if replicas:
        # By their place in the list: an address is nobody's business here.
        numbered = list(enumerate(replicas, 1))
        late = {(str(number),): each.behind for number, each in numbered}
        failing = {(str(number),): int(bool(each.error)) for number, each in numbered}
        yield _several(
            "replica_behind_commits", "gauge", "",
            "Commits of the remote that are not known to be in this replica", late, ("replica",),
        )  # fmt: skip
        yield _several(
            "replica_failing", "gauge", "", "1 where the last try to follow failed", failing,
            ("replica",),
        )  # fmt: skip


def _of_remote(found: RemoteTraffic) -> Iterator[Number]:
    kinds = ("kind",)
    requests = {(kind,): count for kind, count in found.requests.items()}
    yield _several("remote_requests", "counter", "", "Requests to the remote", requests, kinds)
    durations = {(kind,): each for kind, each in found.latencies.items()}
    yield _several(
        "remote_request", "histogram", "seconds", "Requests to the remote, with all their tries",
        durations, kinds,
    )  # fmt: skip
    moved = {("in",): found.bytes_in, ("out",): found.bytes_out}
    yield _several("remote", "counter", "bytes", "Bytes of objects", moved, ("direction",))


def of_server(found: Counted, shared: Shared) -> Iterator[Number]:
    """The numbers of a server."""
    requests = {
        (route, method, str(status)): count
        for (route, method, status), count in found.requests.items()
    }
    labels = ("route", "method", "status")
    yield _several("http_requests", "counter", "", "Requests answered", requests, labels)
    yield _several(
        "http_request", "histogram", "seconds", "Until an answer began", found.durations,
        ("route", "method"),
    )  # fmt: skip
    moved = {("in",): found.bytes_in, ("out",): found.bytes_out}
    yield _several("http", "counter", "bytes", "Bytes of bodies", moved, ("direction",))
    refused = {(reason,): count for reason, count in found.refused.items()}
    yield _several("http_refused", "counter", "", "Requests refused", refused, ("reason",))
    yield _gauge("http_active", "", "Requests being answered", shared.active)
    if found.connections is not None:
        yield _gauge("http_connections", "", "Connections open", found.connections)
    yield _gauge("http_readers", "", "Readers that wait for records", shared.readers)
    yield _counter("syncs_asked", "", "Syncs and rounds that requests asked for", shared.asked)
    yield _counter("syncs_made", "", "Syncs and rounds that they shared", shared.made)


def _several(
    name: str,
    kind: Kind,
    unit: str,
    about: str,
    values: Mapping[K, V],
    labels: Labels,
) -> Number:
    return Number(name, kind, unit, about, list(values.items()), labels)


def _counter(name: str, unit: str, about: str, value: float) -> Number:
    return Number(name, "counter", unit, about, [((), value)])


def _gauge(name: str, unit: str, about: str, value: float) -> Number:
    return Number(name, "gauge", unit, about, [((), value)])


def _timed(name: str, about: str, found: Histogram) -> Number:
    return Number(name, "histogram", "seconds", about, [((), found)])
