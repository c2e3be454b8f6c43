"""The description of the routes beside the protocol: OpenAPI 3.1, made from their table.

What a route takes and answers is described by the structs that read and make it, so the two cannot
part. The Durable Streams protocol itself is described by its own specification, not here.

Source: the OpenAPI Specification 3.1.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from transit import __version__ as version
from transit.protocol.calls import JSON, MSGPACK, NDJSON, FrameAnswer, OffsetAnswer, RecordData
from transit.protocol.lines import RecordLine
from transit.protocol.problems import CONTENT_TYPE
from transit.protocol.views import ARROW
from transit.server.api.changes import ChangesQuery
from transit.server.api.serving import Call, NoQuery, query_of, value_answer
from transit.server.asgi import Answer, Request
from transit.server.routes import NAME, PART

Schema = dict[str, object]
_REFS: Final = "#/components/schemas/{name}"
_EVENTS: Final = "text/event-stream"
# What a value is where one parameter asks for it in place of a page.
_INSTEAD: Final[Mapping[object, object]] = {RecordLine: OffsetAnswer}
_PROBLEM: Final[Schema] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457). What else an error carries has its own name here.",
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error": {"type": "string", "description": "the class of transit's error"},
        "exit_code": {"type": "integer", "description": "its code on a command line"},
        "request_id": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail", "exit_code"],
}
_REFUSALS: Final = {
    "400": "What was asked for cannot be used.",
    "401": "There is no token, or none that is known.",
    "403": "Not allowed; or the store is open for reading only.",
    "404": "There is no such stream, or nothing of this kind about it.",
    "408": "The body did not come in time.",
    "409": "The store moved on: a name is taken, an expectation is not met, a stream is finished, "
    "records are held or needed, a checkpoint is not of this history.",
    "410": "What is asked for is only in a remote that is not attached.",
    "413": "The body is too large.",
    "414": "The URL is too long.",
    "415": "The body is neither JSON nor msgpack.",
    "421": "The host is not this server.",
    "422": "The producer's number was given to another request.",
    "429": "Too many requests.",
    "500": "The store is damaged.",
    "501": "The server lacks what is needed for it.",
    "503": "The store, or its remote, does not answer; or too many readers wait.",
    "507": "The disk is full.",
}


class Describing:
    """The route of the description."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._described = calls
        self._made: Schema | None = None

    def calls(self) -> list[Call]:
        """Its table."""
        return [Call("GET", "/v1/openapi.json", self._answer, "This description.", query=NoQuery)]

    async def _answer(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        if self._made is None:
            self._made = document([*self._described, *self.calls()])
        return value_answer(request, self._made)


def document(calls: Sequence[Call]) -> Schema:
    """The description of these routes."""
    kinds = _kinds(calls)
    schemas, components = msgspec.json.schema_components(
        kinds, ref_template=_REFS, schema_hook=_schema_of
    )
    schema_of = dict(zip(map(repr, kinds), schemas, strict=True))
    paths: dict[str, Schema] = {}
    for call in calls:
        methods = paths.setdefault(call.path, {})
        methods[call.method.lower()] = _operation(call, schema_of, components)
    bodies = {call.body.__name__ for call in calls if call.body is not None}
    queries = {call.query.__name__ for call in calls if call.query is not None} - bodies
    shown = {name: schema for name, schema in components.items() if name not in queries}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "transit",
            "version": version,
            "description": "Streams, branches and declared merges of one store. "
            "Bodies are JSON, or msgpack with the same names.",
        },
        "paths": paths,
        "components": {
            "schemas": {**shown, "Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _schema_of(kind: type) -> Schema:
    """The schema of a type that msgspec has none for: of any value."""
    if kind is object:
        return {"description": "any value"}
    # What `msgspec.json.schema_components` asks of a hook that knows no more.
    raise NotImplementedError


def _kinds(calls: Sequence[Call]) -> list[object]:
    """All that is to be described, each once."""
    found: dict[str, object] = {}
    for call in calls:
        for kind in (call.query, call.body, call.answer, _INSTEAD.get(call.answer)):
            if kind is not None:
                found.setdefault(repr(kind), kind)
    found.setdefault(repr(RecordData), RecordData)
    return list(found.values())


def _operation(
    call: Call, schema_of: Mapping[str, Schema], components: Mapping[str, Schema]
) -> Schema:
    operation: Schema = {
        "operationId": _operation_id(call),
        "summary": call.about,
        "parameters": _parameters(call, components),
        "responses": {
            "200": _answered(call, schema_of),
            **{code: _refused(about) for code, about in _REFUSALS.items()},
        },
    }
    if call.has_tag:
        responses = operation["responses"]
        assert isinstance(responses, dict)
        responses["304"] = {"description": "It is as it was.", "headers": _TAG}
    if call.body is not None:
        schema = schema_of[repr(call.body)]
        operation["requestBody"] = {
            "required": not call.has_empty_body,
            "content": {JSON: {"schema": schema}, MSGPACK: {"schema": schema}},
        }
    return operation


def _operation_id(call: Call) -> str:
    path = call.path.removeprefix("/v1/").removesuffix(".json")
    words = PART.sub(r"by_\1", path.replace(NAME, "by_name")).replace("-", "_").replace("/", "_")
    return f"{call.method.lower()}_{words}"


def _parameters(call: Call, components: Mapping[str, Schema]) -> list[Schema]:
    parameters: list[Schema] = []
    if call.path.endswith(NAME):
        about = "A stream's name, which may hold slashes; or `$$<uid>`."
        name = {"type": "string", "minLength": 1}
        parameters.append(
            {"name": "name", "in": "path", "required": True, "schema": name, "description": about}
        )
    for word in PART.findall(call.path):
        one = {"type": "string", "minLength": 1, "pattern": "^[A-Za-z0-9._-]+$"}
        about = f"The {word}'s name."
        parameters.append(
            {"name": word, "in": "path", "required": True, "schema": one, "description": about}
        )
    if call.body is not None and call.path == "/v1/frames":
        parameters += _PRODUCER
    if call.has_tag:
        parameters.append({"name": "If-None-Match", "in": "header", "schema": {"type": "string"}})
    if call.query is None:
        return parameters
    schema = components.get(call.query.__name__, {})
    properties, required = schema.get("properties", {}), schema.get("required", [])
    assert isinstance(properties, dict)
    assert isinstance(required, list)
    for key, value in properties.items():
        parameter: Schema = {"name": key, "in": "query", "schema": value}
        if key in required:
            parameter["required"] = True
        if call.query is ChangesQuery:
            parameter |= {"style": "form", "explode": True}
        parameters.append(parameter)
    return parameters


_TAG: Final[Schema] = {"ETag": {"schema": {"type": "string"}}}
_PRODUCER: Final[list[Schema]] = [
    {"name": "Producer-Id", "in": "header", "schema": {"type": "string", "maxLength": 256},
     "description": "Who sends; with the other two, the request may be sent again."},
    {"name": "Producer-Epoch", "in": "header", "schema": {"type": "integer", "minimum": 0}},
    {"name": "Producer-Seq", "in": "header", "schema": {"type": "integer", "minimum": 0}},
    {"name": "Prefer", "in": "header", "schema": {"type": "string"},
     "description": "durability=os, local, tiered or replicated"},
]  # fmt: skip


def _link(operation: str, parameter: str) -> Schema:
    made = "$response.body#/made/0/name"
    return {"operationId": operation, "parameters": {parameter: made}}


_LINKS: Final = {
    "stream": _link("get_streams_by_name", "name"),
    "records": _link("get_records_by_name", "name"),
    "cursors": _link("get_cursors_by_name", "name"),
    "parents": _link("get_lineage_parents", "of"),
    "spans": _link("get_lineage_spans", "of"),
}
"""What can be asked of a stream that a frame made."""


def _answered(call: Call, schema_of: Mapping[str, Schema]) -> Schema:
    anything: Schema = {}
    schema = anything if call.answer is None else schema_of[repr(call.answer)]
    headers = {"Transit-Count", "Transit-Next"} if call.kind == "page" else set()
    headers |= {"ETag"} if call.has_tag else set()
    shown = {name: {"schema": {"type": "string"}} for name in sorted({*call.headers, *headers})}
    if call.kind == "events":
        about = "events whose `data` is a value of x-event in JSON"
        content: Schema = {
            _EVENTS: {"schema": {"type": "string", "description": about, "x-event": schema}}
        }
    elif call.kind == "file":
        content = {media: {"schema": {"type": "string"}} for media in call.media}
    elif call.kind == "rows":
        about = "first the value of x-head, then an array a row"
        content = {
            NDJSON: {"schema": {"type": "string", "description": about, "x-head": schema}},
            MSGPACK: {"schema": {"description": about, "x-head": schema}},
            ARROW: {"schema": {"type": "string", "description": "an Arrow stream"}},
        }
    elif call.kind == "page":
        one = schema_of[repr(_INSTEAD.get(call.answer, call.answer))]
        raw = schema_of[repr(RecordData)] if call.answer is RecordLine else schema
        content = {
            NDJSON: {"schema": {"type": "string", "description": "a line each", "x-line": schema}},
            MSGPACK: {"schema": {"description": "objects in a row", "x-object": raw}},
            JSON: {"schema": one},
        }
    else:
        content = {JSON: {"schema": schema}, MSGPACK: {"schema": schema}}
    answer: Schema = {"description": call.about, "content": content}
    if shown:
        answer["headers"] = shown
    if call.answer is FrameAnswer:
        answer["links"] = _LINKS
    return answer


def _refused(about: str) -> Schema:
    problem = {"$ref": "#/components/schemas/Problem"}
    return {"description": about, "content": {CONTENT_TYPE: {"schema": problem}}}
