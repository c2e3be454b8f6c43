"""OTLP over HTTP: bytes of requests and answers, and the values they stand for.

Owns content types and encodings, protobuf as the JSON of the specification (ids in hexadecimal,
64-bit integers as texts), and the bodies of answers. Leaves what spans become to `transit.trace`.

Source: OTLP specification 1.9, "OTLP/HTTP"; the JSON mapping of proto3.
"""

from __future__ import annotations

import math
from base64 import b64encode
from typing import Final

from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from transit import InvalidInputError
from transit.server.asgi import Answer, Request
from transit.server.refusals import NO_STORE, RefusedError
from transit.trace.events import encode_json
from transit.trace.files.source import JsonObject, decode

JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"
TRACES: Final = "traces"
LOGS: Final = "logs"
_TYPES: Final = {JSON: JSON, PROTOBUF: PROTOBUF, "application/protobuf": PROTOBUF}
_REQUESTS: Final[dict[str, type[Message]]] = {
    TRACES: ExportTraceServiceRequest,
    LOGS: ExportLogsServiceRequest,
}
_MEMBERS: Final = {TRACES: "resourceSpans", LOGS: "resourceLogs"}
_SNAKE: Final = {TRACES: "resource_spans", LOGS: "resource_logs"}
_REJECTED: Final = {TRACES: "rejectedSpans", LOGS: "rejectedLogRecords"}
_IDS: Final = frozenset(("traceId", "spanId", "parentSpanId"))
_WIDE: Final = frozenset(
    (
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT64,
    )
)
# Codes of google.rpc.Status by HTTP status.
_CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 413: 8, 415: 3, 429: 8, 503: 14}
_UNKNOWN: Final = 2


def content_type(request: Request) -> str:
    """JSON or PROTOBUF, whatever its case and parameters; `RefusedError` 415 for another."""
    name, _, parameters = request.headers.get("content-type", "").partition(";")
    found = _TYPES.get(name.strip().lower())
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if found is None or (found == JSON and charset not in ("", "utf-8", "utf8")):
        raise RefusedError(415, f"Content-Type is {PROTOBUF}, or {JSON} in UTF-8")
    return found


def document_of(kind: str, type_: str, body: bytes) -> tuple[JsonObject, str]:
    """What a request says, as a document in JSON, and what of it was not understood, or ""."""
    if not body:
        return {}, ""
    if type_ == JSON:
        return _checked(kind, decode(body, "the body")), ""
    request = _REQUESTS[kind]()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise InvalidInputError(f"the body is not protobuf of {kind}: {error}") from None
    size = request.ByteSize()
    request.DiscardUnknownFields()
    lost = size - request.ByteSize()
    told = f"{lost} bytes of fields that this version does not know were left out" if lost else ""
    return message_of(request), told


def _checked(kind: str, value: object) -> JsonObject:
    """A document of this kind; one of something else is refused, or it would be lost in silence."""
    if not isinstance(value, dict):
        raise InvalidInputError("the body is no object")
    keys = [key for key in (_MEMBERS[kind], _SNAKE[kind]) if key in value]
    if value and not keys:
        raise InvalidInputError(f"the body has no {_MEMBERS[kind]!r}: are these {kind}?")
    for key in keys:
        if not isinstance(value[key], list):
            raise InvalidInputError(f"{key!r} is no list")
    return value


def message_of(message: Message) -> JsonObject:
    """A protobuf message as the specification has it in JSON; nothing is left out."""
    found: JsonObject = {}
    for field, value in message.ListFields():
        name = field.json_name
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            several = field.is_repeated
            found[name] = [message_of(each) for each in value] if several else message_of(value)
        else:
            # Of scalars OTLP has lists of texts alone.
            found[name] = list(value) if field.is_repeated else _scalar(field, value)
    return found


def _scalar(field: FieldDescriptor, value: object) -> object:
    if isinstance(value, bytes):
        return value.hex() if field.json_name in _IDS else b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if field.cpp_type in _WIDE:
        return str(value)
    return value


def answer_of(kind: str, type_: str, rejected: int, message: str) -> Answer:
    """What is answered to a request that was taken; `message`: why some of it was not."""
    if type_ == JSON:
        partial = {_REJECTED[kind]: str(rejected), "errorMessage": message}
        told = {"partialSuccess": partial} if rejected or message else {}
        return _answer(200, type_, encode_json(told))
    if kind == TRACES:
        traces = ExportTraceServiceResponse()
        if rejected or message:
            traces.partial_success.rejected_spans = rejected
            traces.partial_success.error_message = message
        return _answer(200, type_, traces.SerializeToString())
    logs = ExportLogsServiceResponse()
    if rejected or message:
        logs.partial_success.rejected_log_records = rejected
        logs.partial_success.error_message = message
    return _answer(200, type_, logs.SerializeToString())


def status_answer(status: int, type_: str, message: str) -> Answer:
    """The answer to a request that failed: a `google.rpc.Status` in the request's own format."""
    code = _CODES.get(status, _UNKNOWN)
    if type_ == JSON:
        return _answer(status, type_, encode_json({"code": code, "message": message}))
    text = message.encode("utf-8", "replace")
    return _answer(status, type_, b"\x08" + _varint(code) + b"\x12" + _varint(len(text)) + text)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _answer(status: int, type_: str, body: bytes) -> Answer:
    return Answer(status, [(b"content-type", type_.encode()), NO_STORE], body)
