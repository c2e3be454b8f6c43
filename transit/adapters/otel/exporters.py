"""Exporters, for what the SDK is told by names: `OTEL_TRACES_EXPORTER=transit`.

They lie behind the SDK's batch processors, which lose what waits when the process is killed: where
you can, add `TransitSpanProcessor` by a line of code. An export that says success is as durable as
the store's appends are; one that failed says so, and nothing of it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import transit
from transit import AlreadyExistsError, Stream
from transit.adapters.otel.log_processor import log_item
from transit.adapters.otel.recorder import Recorder
from transit.adapters.otel.recording import (
    Item,
    is_ours,
    metadata_of,
    name_of,
    other_name,
    pieces_of,
    synced,
)
from transit.adapters.otel.span_processor import span_headers
from transit.adapters.otel.suppressing import uninstrumented
from transit.trace.failures import dropped

_TRIES = 5


class _Exporter(Recorder):
    """Writes a batch as frames, and says whether it is there."""

    def _export(self, batch: Iterable[Any], make: Callable[[Any], Item], what: str) -> bool:
        if self._is_closed:
            return False
        items: list[Item] = []
        is_whole = True
        for each in batch:
            try:
                items.append(make(each))
            except Exception as error:
                # One that cannot be encoded takes no other with it.
                is_whole = False
                dropped.add(what, error)
        try:
            with uninstrumented():
                for group in _groups(items, self.log.settings.frame_bytes_max // 2):
                    _write(self.log, group)
        except Exception as error:
            dropped.add(what, error)
            return False
        return is_whole

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """True when what was exported is synced."""
        try:
            return synced(self.log, timeout_millis / 1000)
        except Exception as error:
            dropped.errors.append(f"force_flush: {error!r}")
            return False

    def close(self) -> None:
        """See `shutdown`."""
        if not self._is_closed:
            self._is_closed = True
            super(Recorder, self).close()


class TransitSpanExporter(_Exporter, SpanExporter):
    """Writes spans that have ended. Arguments as of `TransitSpanProcessor`."""

    def export(self, spans: Sequence[Any]) -> Any:
        """SUCCESS when all of them are in the store, else FAILURE; raises nothing."""
        is_there = self._export(spans, self._item, "otel spans")
        return SpanExportResult.SUCCESS if is_there else SpanExportResult.FAILURE

    def _item(self, span: Any) -> Item:
        payload, count = self._encoding.ended(span)
        headers = span_headers("end", span.context, span.parent, count)
        return Item(span.context.trace_id, payload, headers, self._service(span.resource))


class TransitLogRecordExporter(_Exporter, LogRecordExporter):
    """Writes log records. Arguments as of `TransitSpanProcessor`."""

    def export(self, batch: Sequence[Any]) -> Any:
        """SUCCESS when all of them are in the store, else FAILURE; raises nothing."""
        is_there = self._export(batch, partial(log_item, self), "otel logs")
        return LogRecordExportResult.SUCCESS if is_there else LogRecordExportResult.FAILURE


def _groups(items: Iterable[Item], bytes_max: int) -> Iterator[list[Item]]:
    """Items in parts that fit into a frame each."""
    group: list[Item] = []
    size = 0
    for item in items:
        if group and size + len(item.payload) > bytes_max:
            yield group
            group, size = [], 0
        group.append(item)
        size += len(item.payload)
    if group:
        yield group


def _write(log: transit.Log, group: list[Item]) -> None:
    """Write a group as one frame, as durable as the store's appends are."""
    for _ in range(_TRIES):
        found = {
            item.trace_id: _stream(log, item.trace_id)
            for item in {each.trace_id: each for each in group}.values()
        }
        try:
            with log.batch() as batch:
                targets: dict[int, Any] = {}
                for item in group:
                    if item.trace_id not in targets:
                        there = found[item.trace_id]
                        targets[item.trace_id] = (
                            batch.create(there, metadata_of(item), "json")
                            if isinstance(there, str)
                            else there
                        )
                    for payload, headers in pieces_of(item, log.settings.record_bytes_max):
                        batch.append(targets[item.trace_id], payload, headers=headers)
            return
        except AlreadyExistsError:
            continue
    raise AlreadyExistsError("others make the streams of the same traces all the time")


def _stream(log: transit.Log, trace_id: int) -> Stream | str:
    """The stream of a trace, or the name that it is to have."""
    name = name_of(trace_id)
    for each in (name, other_name(name)):
        if each not in log:
            return each
        stream = log.stream(each)
        if is_ours(stream):
            return stream
    raise AlreadyExistsError(f"{name} and {other_name(name)} hold something else")
