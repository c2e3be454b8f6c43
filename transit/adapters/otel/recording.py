"""Documents on their way to the streams of their traces.

Owns names and metadata of those streams, the records' headers, and that recording is never the
program's affair: nothing is raised, what could not be recorded is counted in `trace.dropped`. A
store in this machine is written to before the call returns (durability "os"). A store that a server
has gets it from a thread, so that the program does not wait for the network (`queued`).

    otel/<trace id>     a trace; metadata: adapter, format, library, service, task_id, created_at
    otel/logs           log records that name no trace

Each record is an OTLP document. Its headers say what a filter needs:

    kind                "start", "end", "log", "completion"
    span, parent        ids of the span it is about, 16 hex digits; of a start and an end
    redacted            in how many places a policy changed it, where it did
    piece               "<number>/<count>": a document that is larger than a record may be
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache
from importlib import metadata as installed
from typing import Final, NamedTuple, Protocol

import transit
from transit import (
    AlreadyExistsError,
    ClosedError,
    ReentrantCallError,
    Scalar,
    StoreMovedError,
    Stream,
    TransitError,
)
from transit.trace.failures import dropped
from transit.trace.names import CREATED, TASK_ID

ADAPTER: Final = "otel"
FORMAT: Final = 1
PREFIX: Final = "otel/"
LOGS: Final = "otel/logs"
_STREAMS_MAX: Final = 1024
# No store has a smaller limit for records.
_SMALL_BYTES: Final = 64 * 1024


class Item(NamedTuple):
    """A document to record. trace_id: 0 for what names no trace. service: of its resource."""

    trace_id: int
    payload: bytes
    headers: dict[str, str]
    service: str


class Writer(Protocol):
    """What takes documents to a store."""

    def put(self, item: Item) -> None:
        """Record it; raises nothing."""

    def settle(self, timeout_s: float) -> bool:
        """Whether all that was put is durable now."""

    def close(self, timeout_s: float) -> None:
        """Take no more."""


@cache
def _library() -> str:
    try:
        return f"opentelemetry-sdk {installed.version('opentelemetry-sdk')}"
    except installed.PackageNotFoundError:
        return "opentelemetry-sdk"


def name_of(trace_id: int) -> str:
    """The stream of a trace."""
    return f"{PREFIX}{trace_id:032x}" if trace_id else LOGS


def metadata_of(item: Item) -> dict[str, Scalar]:
    """What the stream says of itself."""
    found: dict[str, Scalar] = {"adapter": ADAPTER, "format": FORMAT, "library": _library()}
    if item.trace_id:
        found[TASK_ID], found[CREATED] = f"{item.trace_id:032x}", time.time_ns()
        if item.service:
            found["service"] = item.service
    return found


def is_ours(stream: Stream) -> bool:
    """Whether an adapter made it."""
    return stream.metadata.get("adapter") == ADAPTER


def other_name(name: str) -> str:
    """Where a trace goes whose name is taken, as by a server that received spans of it."""
    return f"{name}/recorded"


def pieces_of(item: Item, record_bytes_max: int) -> list[tuple[bytes, Mapping[str, str]]]:
    """A document as records."""
    payload, headers = item.payload, item.headers
    if len(payload) <= record_bytes_max:
        return [(payload, headers)]
    cuts = range(0, len(payload), record_bytes_max)
    return [
        (payload[at : at + record_bytes_max], headers | {"piece": f"{number}/{len(cuts)}"})
        for number, at in enumerate(cuts)
    ]


class Direct:
    """Writes in the calling thread. Safe for threads, signal handlers and finalizers.

    let_go: closes a store that is gone from its place, so that `log` opens it anew; None where the
    store is the caller's.
    """

    def __init__(
        self, log: Callable[[], transit.Log], let_go: Callable[[], None] | None = None
    ) -> None:
        self._log = log
        self._let_go = let_go
        self.forget()
        _writers.add(self)

    def forget(self) -> None:
        """In a child made by fork nothing of the parent's is known."""
        self._streams: dict[int, Stream] = {}
        self._lock = threading.RLock()
        # What came in the middle of another call of its thread, such as in a finalizer.
        self._late: deque[Item] = deque()
        self._lost = 0

    def put(self, item: Item) -> None:
        """See `Writer.put`."""
        try:
            self._write(item)
        except ReentrantCallError:
            self._late.append(item)
            return
        except (StoreMovedError, ClosedError) as error:
            self._write_anew(item, error)
        except Exception as error:
            self._lose(item, error)
        if self._late:
            self._write_late()

    def _write_anew(self, item: Item, error: TransitError) -> None:
        """Write to what is in the store's place now: its folder was removed, or it was closed."""
        if self._let_go is None:
            self._lose(item, error)
            return
        try:
            self._streams = {}
            if isinstance(error, StoreMovedError):
                self._let_go()
            self._write(item)
        except Exception as second:
            self._lose(item, second)

    def _write(self, item: Item) -> None:
        stream = self._streams.get(item.trace_id)
        if stream is None:
            stream = self._find(item)
        if len(item.payload) <= _SMALL_BYTES:
            stream.append(item.payload, headers=item.headers, durability="os")
        else:
            append_pieces(self._log(), stream, item)

    def _find(self, item: Item) -> Stream:
        with self._lock:
            stream = self._streams.get(item.trace_id)
            if stream is None:
                log = self._log()
                if len(self._streams) >= _STREAMS_MAX:
                    for key in list(self._streams)[: _STREAMS_MAX // 2]:
                        del self._streams[key]
                stream = self._streams[item.trace_id] = open_stream(log, item)
        return stream

    def _write_late(self) -> None:
        while True:
            try:
                item = self._late.popleft()
            except IndexError:
                return
            try:
                self._write(item)
            except ReentrantCallError:
                self._late.appendleft(item)
                return
            except Exception as error:
                self._lose(item, error)

    def _lose(self, item: Item, error: Exception) -> None:
        self._lost += 1
        dropped.add(name_of(item.trace_id), error)

    def settle(self, timeout_s: float) -> bool:
        """See `Writer.settle`."""
        self._write_late()
        lost, self._lost = self._lost, 0
        if not self._streams:
            # Nothing was written: a store is not made for that.
            return not (lost or self._late)
        return synced(self._log(), timeout_s) and not (lost or self._late)

    def close(self, timeout_s: float) -> None:
        """See `Writer.close`."""
        self._write_late()
        self._streams = {}


_writers: Final[weakref.WeakSet[Direct]] = weakref.WeakSet()


def _forget_all() -> None:
    for each in list(_writers):
        each.forget()


os.register_at_fork(after_in_child=_forget_all)


def open_stream(log: transit.Log, item: Item) -> Stream:
    """The stream of an item's trace, made where there is none."""
    name = name_of(item.trace_id)
    for each in (name, other_name(name)):
        try:
            return log.create(each, metadata_of(item), codec="json", durability="os")
        except AlreadyExistsError:
            stream = log.stream(each)
        if is_ours(stream):
            return stream
    raise AlreadyExistsError(f"{name} and {other_name(name)} hold something else")


def append_pieces(log: transit.Log, stream: Stream, item: Item) -> None:
    """Append a document that may be larger than a record, in one frame."""
    records = pieces_of(item, log.settings.record_bytes_max)
    stream.append_many(
        [payload for payload, _ in records],
        headers=[headers for _, headers in records],
        durability="os",
    )


def synced(log: transit.Log, timeout_s: float) -> bool:
    """Whether all is as durable as the store's appends are, at least synced; within a time."""
    level = log.durability if log.durability in ("tiered", "replicated") else "local"
    done: list[bool] = []

    def sync() -> None:
        try:
            log.sync(level)
            done.append(True)
        except Exception as error:
            done.append(False)
            dropped.errors.append(f"sync: {error!r}")

    try:
        thread = threading.Thread(target=sync, name="transit-otel-sync", daemon=True)
        thread.start()
    except RuntimeError:
        # The interpreter ends: it starts no threads any more.
        sync()
    else:
        thread.join(max(0.0, timeout_s))
    return done == [True]
