"""OpenTelemetry: spans, log records and completions recorded as they happen, and sent on.

    from transit.adapters.otel import TransitSpanProcessor

    provider.add_span_processor(TransitSpanProcessor.open("runs"))

Each trace is a stream `otel/<trace id>` of OTLP documents; spans that have begun and not ended are
in it too. Reading them needs no SDK.

    span_processor, log_processor: a record before the call returns
    exporters          for what the SDK is told by names; completion: the hook for GenAI content
    rewriting          a processor that redacts for all other processors
    forwarding         what was recorded, on to a collector; posting: a request to it
    reading            documents and spans of a trace; conversations: completions put together
    typed              a trace as typed events
    encoding, redacting, recorder, recording, queued, suppressing: the way of a document
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transit.adapters.otel.completion import TransitCompletionHook
    from transit.adapters.otel.exporters import TransitLogRecordExporter, TransitSpanExporter
    from transit.adapters.otel.forwarding import Forwarded, OtlpForwarder
    from transit.adapters.otel.log_processor import TransitLogRecordProcessor
    from transit.adapters.otel.reading import count, spans
    from transit.adapters.otel.rewriting import RedactingSpanProcessor
    from transit.adapters.otel.span_processor import TransitSpanProcessor

# Loaded when first used: what only reads needs no SDK.
_HOMES = {
    "Forwarded": "forwarding",
    "OtlpForwarder": "forwarding",
    "RedactingSpanProcessor": "rewriting",
    "TransitCompletionHook": "completion",
    "TransitLogRecordExporter": "exporters",
    "TransitLogRecordProcessor": "log_processor",
    "TransitSpanExporter": "exporters",
    "TransitSpanProcessor": "span_processor",
    "count": "reading",
    "spans": "reading",
}

__all__ = [
    "Forwarded",
    "OtlpForwarder",
    "RedactingSpanProcessor",
    "TransitCompletionHook",
    "TransitLogRecordExporter",
    "TransitLogRecordProcessor",
    "TransitSpanExporter",
    "TransitSpanProcessor",
    "count",
    "spans",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found
