"""Documents for a store that a server has: gathered, and sent by a thread.

Owns their order, how much memory they may take (beyond that the newest are dropped and counted),
and that a server that is away is tried again until the adapter is closed. What waits is in this
process alone: `settle` says whether all of it is there.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final

import transit
from transit import AlreadyExistsError, StagedStream, Stream, TransitError
from transit.adapters.otel.recording import (
    Item,
    is_ours,
    metadata_of,
    name_of,
    other_name,
    pieces_of,
    synced,
)
from transit.adapters.otel.suppressing import uninstrumented
from transit.trace.failures import dropped

WAITING_BYTES_MAX: Final = 32 * 1024 * 1024
_FRAME_BYTES: Final = 1024 * 1024
_FRAME_RECORDS: Final = 1000
_STREAMS_MAX: Final = 8192
_PAUSE_S: Final = (0.1, 5.0)
# What an item takes beside its payload.
_ITEM_BYTES: Final = 1024


class Queued:
    """Sends from a thread of its own, which begins with the first document. Safe for threads."""

    def __init__(self, log: Callable[[], transit.Log]) -> None:
        self._log = log
        self.forget()
        _writers.add(self)

    def forget(self) -> None:
        """In a child made by fork: the parent sends what it has gathered, the child its own."""
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[Item] = deque()
        self._bytes = 0
        self._sending = 0
        self._lost = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self._streams: dict[int, Stream] = {}

    def put(self, item: Item) -> None:
        """See `Writer.put`."""
        try:
            with self._changed:
                size = len(item.payload) + _ITEM_BYTES
                if self._closed or self._bytes + size > WAITING_BYTES_MAX:
                    why = "closed" if self._closed else f"{self._bytes} bytes wait for the server"
                    self._lose(item, TransitError(why))
                    return
                self._waiting.append(item)
                self._bytes += size
                self._begin()
                self._changed.notify_all()
        except Exception as error:
            self._lose(item, error)

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="transit-otel", daemon=True)
            self._thread.start()

    def _lose(self, item: Item, error: Exception) -> None:
        self._lost += 1
        dropped.add(name_of(item.trace_id), error)

    def settle(self, timeout_s: float) -> bool:
        """See `Writer.settle`."""
        end = time.monotonic() + timeout_s
        with self._changed:
            self._changed.wait_for(
                lambda: not self._waiting and not self._sending, max(0.0, timeout_s)
            )
            is_sent = not self._waiting and not self._sending
            lost, self._lost = self._lost, 0
            if self._thread is None:
                return not lost
        return is_sent and synced(self._log(), end - time.monotonic()) and not lost

    def close(self, timeout_s: float) -> None:
        """See `Writer.close`."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._waiting and not self._sending, max(0.0, timeout_s)
            )
            self._closed = True
            for item in self._waiting:
                self._lose(item, TransitError("closed before the server took it"))
            self._waiting.clear()
            self._bytes = 0
            self._changed.notify_all()

    def _run(self) -> None:
        pause, longest = _PAUSE_S
        with uninstrumented():
            while group := self._take():
                try:
                    self._send(group)
                except transit.InvalidInputError as error:
                    # It will not be taken later either; one by one, the others are.
                    self._one_by_one(group, error)
                except Exception as error:
                    dropped.errors.append(f"the server: {error!r}")
                    self._put_back(group)
                    time.sleep(pause)
                    pause = min(2 * pause, longest)
                    continue
                pause = _PAUSE_S[0]
                self._sent()

    def _take(self) -> list[Item]:
        """What goes into one frame; empty when it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            group: list[Item] = []
            size = 0
            while self._waiting and len(group) < _FRAME_RECORDS:
                size += len(self._waiting[0].payload)
                if group and size > _FRAME_BYTES:
                    break
                group.append(self._waiting.popleft())
            self._sending = len(group)
            self._bytes -= sum(len(each.payload) + _ITEM_BYTES for each in group)
            return group

    def _put_back(self, group: list[Item]) -> None:
        with self._changed:
            self._sending = 0
            if self._closed:
                for item in group:
                    self._lose(item, TransitError("closed before the server took it"))
                return
            self._waiting.extendleft(reversed(group))
            self._bytes += sum(len(each.payload) + _ITEM_BYTES for each in group)

    def _sent(self) -> None:
        with self._changed:
            self._sending = 0
            self._changed.notify_all()

    def _one_by_one(self, group: list[Item], error: Exception) -> None:
        for item in group:
            try:
                self._send([item])
            except Exception as own:
                self._lose(item, own if len(group) > 1 else error)

    def _send(self, group: list[Item]) -> None:
        log = self._log()
        for _ in range(3):
            unknown = {each.trace_id: each for each in group if each.trace_id not in self._streams}
            made: dict[int, StagedStream] = {}
            try:
                with log.batch(durability="os") as batch:
                    for trace_id, first in unknown.items():
                        made[trace_id] = batch.create(name_of(trace_id), metadata_of(first), "json")
                    for item in group:
                        target = made.get(item.trace_id) or self._streams[item.trace_id]
                        for payload, headers in pieces_of(item, log.settings.record_bytes_max):
                            batch.append(target, payload, headers=headers)
            except AlreadyExistsError:
                for trace_id, first in unknown.items():
                    self._find(log, trace_id, first)
                continue
            self._keep({trace_id: staged.stream for trace_id, staged in made.items()})
            return
        raise TransitError("others make the streams of the same traces all the time")

    def _find(self, log: transit.Log, trace_id: int, first: Item) -> None:
        name = name_of(trace_id)
        if name not in log:
            return
        stream = log.stream(name)
        if not is_ours(stream):
            other = other_name(name)
            if other not in log:
                log.create(other, metadata_of(first), codec="json", durability="os")
            stream = log.stream(other)
        self._keep({trace_id: stream})

    def _keep(self, streams: dict[int, Stream]) -> None:
        if len(self._streams) >= _STREAMS_MAX:
            self._streams = {}
        self._streams |= streams


_writers: Final[weakref.WeakSet[Queued]] = weakref.WeakSet()


def _forget_all() -> None:
    for each in list(_writers):
        each.forget()


os.register_at_fork(after_in_child=_forget_all)
