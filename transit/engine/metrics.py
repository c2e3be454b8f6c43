"""Metrics: what an open store did since it was opened, in numbers.

Owns which numbers there are. Nothing is counted for them when a single record is appended: how many
records and bytes were written is what the log's own places say. What waits for a disk or a remote
is timed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import msgspec

from transit.engine.cursor import Cursor, is_on_hidden, known_cursors
from transit.errors import TransitError
from transit.handle.handle import Handle
from transit.handle.replicas import ReplicaStatus
from transit.handle.tiering import Tiering
from transit.log.timings import Histogram
from transit.tier.fetch import Fetcher

CURSORS_MAX: Final = 10_000


class RemoteTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """What a remote was asked since the store was opened.

    requests: by kind ("get", "put", "create", "size", "delete", "list"), tries included; of an
    object store that was given open, all it ever made. bytes_in, bytes_out: of objects. latencies:
    by kind, with all tries of a request; listings are not timed. failed: requests that were given
    up; unanswered: those of them that got no answer in time.
    """

    requests: Mapping[str, int]
    bytes_in: int
    bytes_out: int
    latencies: Mapping[str, Histogram]
    failed: int
    unanswered: int


class PublishLag(msgspec.Struct, frozen=True, kw_only=True):
    """What the remote does not have yet: records, bytes, and the age of the oldest, seconds."""

    records: int
    bytes: int
    age_s: float


class CacheUse(msgspec.Struct, frozen=True, kw_only=True):
    """How often what was read was at hand.

    hits: blocks found in memory; counted without a lock, so that threads at the same moment may
    count as one. loads: blocks taken into memory. bytes: of memory in use. disk_hits: found in the
    folder `cache`. ahead: read ahead and then asked for. fetched: requests for blocks to a remote.
    """

    hits: int
    loads: int
    bytes: int
    disk_hits: int = 0
    ahead: int = 0
    fetched: int = 0


class CursorLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far cursors are behind their streams, those on hidden streams and layers left out.

    cursors: how many there are, of at most 10,000. behind: those with records to read. records: to
    read, of all; records_max: of the one furthest behind.
    """

    cursors: int = 0
    behind: int = 0
    records: int = 0
    records_max: int = 0


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """What an open store did since it was opened. Sizes in bytes; counts only grow.

    records, appends, bytes: written by this process: records, the frames they came in, a batch is
    one, and the bytes of these; the store's own records count too. All 0 in mode "read".
    syncs, seals, publishes: how often, and how long each took. waits: how long callers waited until
    what they wrote was as durable as they asked, by durability: "local", "tiered", "replicated".
    seal_failures, publish_failures: rounds that failed. refusal: why nothing more is written, ""
    while it is.
    unsynced_bytes, wal_files, wal_bytes: of the WAL now. commits, segments, segment_bytes: now.
    waiting: followers that wait for records now: threads, tasks and callbacks.
    publish_lag, remote: None without a remote; the lag also in mode "read".
    replicas: the remotes that follow the first. cursors: None where their places cannot be read
    now.
    """

    records: int
    appends: int
    bytes: int
    syncs: Histogram
    seals: Histogram
    publishes: Histogram
    waits: Mapping[str, Histogram]
    seal_failures: int
    publish_failures: int
    refusal: str
    unsynced_bytes: int
    wal_files: int
    wal_bytes: int
    commits: int
    segments: int
    segment_bytes: int
    waiting: int
    cache: CacheUse
    publish_lag: PublishLag | None
    remote: RemoteTraffic | None
    cursors: CursorLag | None
    replicas: tuple[ReplicaStatus, ...] = ()


class KnownCursors:
    """The cursors of one open store, looked for once: later calls look at new streams alone."""

    def __init__(self) -> None:
        # As a set, in order.
        self._found: dict[Cursor, None] = {}
        self._last: Cursor | None = None

    def lag(self, handle: Handle) -> CursorLag | None:
        """How far they are behind now; None where that cannot be read."""
        try:
            return self._lag(handle)
        except TransitError:
            # What cannot be read is told by what reads it; the other numbers are wanted then.
            return None

    def _lag(self, handle: Handle) -> CursorLag:
        room = CURSORS_MAX - len(self._found)
        if room:
            self._found.update(dict.fromkeys(known_cursors(handle, self._last, room)))
            self._last = next(reversed(self._found), None)
        lags = [each.lag for each in list(self._found) if not is_on_hidden(each)]
        return CursorLag(
            cursors=len(lags),
            behind=sum(lag > 0 for lag in lags),
            records=sum(lags),
            records_max=max(lags, default=0),
        )


def metrics_of(handle: Handle, cursors: KnownCursors) -> Metrics:
    """What an open store did; of a remote, what is known without asking it.

    Only the places of cursors are read: the newest record of each.
    """
    handle.check()
    catalog, writing = handle.catalog, handle.written_by
    view = catalog.view
    tiering = None if writing is None else writing.tiering
    empty = Histogram()
    counted = (0, 0, 0) if writing is None else writing.writer.counted
    return Metrics(
        records=counted[0],
        appends=counted[1],
        bytes=counted[2],
        syncs=empty if writing is None else writing.writer.syncs.histogram(),
        seals=empty if writing is None else writing.sealer.timings.histogram(),
        publishes=empty if tiering is None else tiering.rounds.histogram(),
        waits={
            "local": handle.local_waits.histogram(),
            "tiered": handle.tiered_waits.histogram(),
            "replicated": handle.replicated_waits.histogram(),
        },
        seal_failures=0 if writing is None else writing.sealer.failed,
        publish_failures=0 if tiering is None else tiering.failed,
        refusal=refusal_of(handle),
        unsynced_bytes=sum(wal.tail - wal.durable for wal in view.wals),
        wal_files=len(view.wals),
        wal_bytes=sum(wal.tail for wal in view.wals),
        commits=catalog.commits.count,
        segments=len(view.segments),
        segment_bytes=sum(segment.ref.bytes for segment in view.segments),
        waiting=handle.hub.waiting,
        cache=_cache_use(handle),
        publish_lag=None if tiering is None else _publish_lag(handle, tiering),
        remote=_traffic(handle),
        cursors=cursors.lag(handle),
        replicas=handle.replicas,
    )


def refusal_of(handle: Handle) -> str:
    """Why nothing is written to a store any more; "" while it is."""
    writing = handle.written_by
    if writing is None:
        return 'opened in mode "read"'
    error = handle.refusal or writing.writer.refused
    return "" if error is None else str(error)


def _cache_use(handle: Handle) -> CacheUse:
    cache, elsewhere = handle.catalog.cache, handle.catalog.elsewhere
    if not isinstance(elsewhere, Fetcher):
        return CacheUse(hits=cache.hits, loads=cache.loads, bytes=cache.bytes)
    return CacheUse(
        hits=cache.hits,
        loads=cache.loads,
        bytes=cache.bytes,
        disk_hits=elsewhere.disk_hits,
        ahead=elsewhere.ahead,
        fetched=elsewhere.fetched,
    )


def _publish_lag(handle: Handle, tiering: Tiering) -> PublishLag:
    published, view = tiering.publisher.published_lsn, handle.catalog.view
    reached = max((wal.next_lsn for wal in view.wals), default=published)
    if reached <= published:
        return PublishLag(records=0, bytes=0, age_s=0.0)
    oldest = next(
        (each.ref.written[0] for each in view.segments if each.ref.lsn[1] >= published),
        None,
    )
    if oldest is None:
        oldest = next(wal.begun for wal in view.wals if wal.next_lsn > wal.first_lsn)
    return PublishLag(
        records=reached - published,
        bytes=tiering.unpublished_bytes(),
        age_s=max(0.0, (time.time_ns() - oldest) / 1e9),
    )


def _traffic(handle: Handle) -> RemoteTraffic | None:
    if handle.remote is None:
        return None
    store = handle.remote.store
    traffic = store.traffic
    kinds = ("get", "put", "create", "size", "delete", "list")
    return RemoteTraffic(
        requests={kind: getattr(traffic, kind) for kind in kinds},
        bytes_in=traffic.bytes_in,
        bytes_out=traffic.bytes_out,
        latencies={kind: timings.histogram() for kind, timings in store.timings.items()},
        failed=store.failed,
        unanswered=store.unanswered,
    )
