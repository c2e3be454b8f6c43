"""Requests of exporters, as protobuf and as JSON, and what a server made of them."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from transit.server.otlp_wire import message_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "1bf7651916cd43dd8448eb211c80319c"
RUN = f"otel/{TRACE}"
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}


def fill(attributes: Any, values: dict[str, object]) -> None:
    """Add attributes."""
    for key, value in values.items():
        each = KeyValue(key=key)
        if isinstance(value, bool):
            each.value.bool_value = value
        elif isinstance(value, int):
            each.value.int_value = value
        elif isinstance(value, float):
            each.value.double_value = value
        elif isinstance(value, bytes):
            each.value.bytes_value = value
        elif isinstance(value, str):
            each.value.string_value = value
        elif isinstance(value, list):
            each.value.array_value.SetInParent()
            for item in value:
                each.value.array_value.values.add().string_value = item
        attributes.append(each)


def traces(*numbers: int, trace: str = TRACE, **attributes: object) -> ExportTraceServiceRequest:
    """Spans with these numbers; the first is the parent of all others."""
    request = ExportTraceServiceRequest()
    of_resource = request.resource_spans.add()
    fill(of_resource.resource.attributes, {"service.name": "shop"})
    of_scope = of_resource.scope_spans.add()
    of_scope.scope.name, of_scope.scope.version = "library", "1.2"
    for number in numbers:
        span = of_scope.spans.add()
        span.trace_id = bytes.fromhex(trace)
        span.span_id = number.to_bytes(8, "big")
        span.name = f"span {number}"
        span.start_time_unix_nano = 1_700_000_000_000_000_000 + number * 1000
        span.end_time_unix_nano = 1_700_000_000_000_900_000 - number * 1000
        if number > 1:
            span.parent_span_id = (1).to_bytes(8, "big")
        fill(span.attributes, {"number": number, **attributes})
    return request


def logs(
    *texts: str, trace: str = TRACE, span: int = 1, event: str = ""
) -> ExportLogsServiceRequest:
    """Log records with these texts."""
    request = ExportLogsServiceRequest()
    of_resource = request.resource_logs.add()
    fill(of_resource.resource.attributes, {"service.name": "shop"})
    of_scope = of_resource.scope_logs.add()
    for number, text in enumerate(texts):
        record = of_scope.log_records.add()
        record.time_unix_nano = 1_700_000_000_000_000_000 + number
        record.severity_text = "INFO"
        record.event_name = event
        record.body.string_value = text
        record.trace_id = bytes.fromhex(TRACE)
        record.span_id = (1).to_bytes(8, "big")
    return request


def as_json(request: Any) -> bytes:
    """The same request in JSON."""
    return json.dumps(message_of(request)).encode()
