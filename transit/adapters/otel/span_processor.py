"""The span processor that records each span when it starts and when it ends.

It appends before the call returns, so a span that has begun is in the store though the process is
killed, and it never raises into the program.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import SpanProcessor

from transit.adapters.otel.reading import count
from transit.adapters.otel.recorder import Recorder
from transit.adapters.otel.recording import Item
from transit.adapters.otel.suppressing import is_own_thread
from transit.trace.failures import dropped


class TransitSpanProcessor(Recorder, SpanProcessor):
    """Records sampled spans: `provider.add_span_processor(TransitSpanProcessor.open("runs"))`.

    log: a store, embedded or connected; None: the process's, which TRANSIT_STORE names. redact: a
    policy for all that is recorded. Safe for threads, asyncio and children made by fork.
    """

    count = staticmethod(count)

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Record that it has begun."""
        if self._is_closed:
            return
        try:
            if span.context.trace_flags & 1 and not is_own_thread():
                payload, count = self._encoding.started(span)
                self._put(self._item(span, "start", payload, count))
        except Exception as error:
            dropped.add("otel", error)

    def on_end(self, span: Any) -> None:
        """Record it."""
        if self._is_closed:
            return
        try:
            if span.context.trace_flags & 1 and not is_own_thread():
                payload, count = self._encoding.ended(span)
                self._put(self._item(span, "end", payload, count))
        except Exception as error:
            dropped.add("otel", error)

    def _item(self, span: Any, kind: str, payload: bytes, count: int) -> Item:
        context = span.context
        return Item(
            context.trace_id,
            payload,
            span_headers(kind, context, span.parent, count),
            self._service(span.resource),
        )


def span_headers(kind: str, context: Any, parent: Any, count: int) -> dict[str, str]:
    """The headers of a span's record."""
    headers = {"kind": kind, "span": f"{context.span_id:016x}"}
    if parent is not None:
        headers["parent"] = f"{parent.span_id:016x}"
    if count:
        headers["redacted"] = str(count)
    return headers
