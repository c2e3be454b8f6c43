"""Model calls as one event: formats of other tools know no request without its response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from transit.trace.events import ErrorInfo, ModelCall, ModelChunk, ModelRequest, ModelResponse
from transit.trace.records import EventRecord


def joined(records: Iterable[EventRecord]) -> Iterator[EventRecord]:
    """The records, each request to a model and its response as one `ModelCall`.

    It stands where the response came; a request without one stands at the end.
    """
    waiting: dict[str, EventRecord] = {}
    for record in records:
        event = record.event
        if isinstance(event, ModelRequest):
            waiting[event.model_id] = record
        elif isinstance(event, ModelResponse):
            sent = waiting.pop(event.model_id, None)
            yield msgspec.structs.replace(record, event=_call(sent, event))
        elif not isinstance(event, ModelChunk):
            yield record
    for record in waiting.values():
        yield msgspec.structs.replace(record, event=_call(record, None))


def _call(sent: EventRecord | None, response: ModelResponse | None) -> ModelCall:
    request = sent.event if sent is not None and isinstance(sent.event, ModelRequest) else None
    call = ModelCall(request_model="")
    if request is not None:
        call = ModelCall(
            request_model=request.request_model,
            operation=request.operation,
            provider=request.provider,
            request=request.request,
        )
    if response is None:
        return call
    return msgspec.structs.replace(
        call,
        request_model=response.request_model,
        response_model=response.response_model,
        response_id=response.response_id,
        finish_reasons=response.finish_reasons,
        input_tokens=response.input_tokens,
        output_tokens=response.output_tokens,
        usage=response.usage,
        duration_ns=response.duration_ns,
        response=response.response if response.error is None else _failure(response.error),
    )


def _failure(error: ErrorInfo) -> dict[str, object]:
    return {"error": {"type": error.type, "message": error.message}}
