"""The hook that the GenAI instrumentations of OpenTelemetry call for each completion.

It has the content of every call, whatever they are told to capture in spans: messages, system
instructions, definitions of tools. Each message is written once (`conversations`).
"""

from __future__ import annotations

import base64
import dataclasses
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

import transit
from transit.adapters.opening import Place
from transit.adapters.otel.conversations import KnownConversations
from transit.adapters.otel.encoding import encode_plain
from transit.adapters.otel.recorder import Recorder
from transit.adapters.otel.recording import Item, name_of
from transit.adapters.otel.redacting import Rewriter
from transit.trace import Redaction
from transit.trace.failures import dropped

_TRACES_MAX: Final = 1024
_DEPTH_MAX: Final = 100
# Where the content of a span is.
REFERENCE: Final = "transit.completions"


class TransitCompletionHook(Recorder):
    """Records what each call of a model was given and gave.

    By its entry point: `OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK=transit`, with TRANSIT_STORE.
    Or in code, for `Instrumentor().instrument(completion_hook=TransitCompletionHook.open("runs"))`.
    The span gets the attribute `transit.completions`, the stream that has its content.
    """

    def __init__(
        self, log: transit.Log | Place | None = None, *, redact: Redaction | None = None
    ) -> None:
        super().__init__(log, redact=redact)
        self._known: OrderedDict[int, KnownConversations] = OrderedDict()
        self._lock = threading.RLock()

    def on_completion(
        self,
        *,
        inputs: Sequence[object],
        outputs: Sequence[object],
        system_instruction: Sequence[object],
        tool_definitions: Sequence[object] | None = None,
        span: Any = None,
        log_record: Any = None,
    ) -> None:
        """Record one completion; raises nothing."""
        if self._is_closed:
            return
        try:
            said = (inputs, outputs, system_instruction, tool_definitions or ())
            self._record(said, span, log_record)
        except Exception as error:
            dropped.add("otel completion", error)

    def _record(self, said: Sequence[Sequence[object]], span: Any, log_record: Any) -> None:
        trace_id, span_id = _ids(span, log_record)
        lists, count = self._plain(said)
        resource = getattr(span, "resource", None)
        found: dict[str, object] = {"timeUnixNano": str(time.time_ns())}
        headers = {"kind": "completion"}
        if trace_id:
            found["traceId"] = f"{trace_id:032x}"
        if span_id:
            found["spanId"] = headers["span"] = f"{span_id:016x}"
        if count:
            headers["redacted"] = str(count)
        inputs, outputs, system, tools = lists
        # What is known must be written before what refers to it.
        with self._lock:
            known = self._of(trace_id)
            found["after"], found["inputs"], digests = known.packed(inputs)
            found["outputs"] = outputs
            for key, each in (("system", system), ("tools", tools)):
                if each:
                    found[key], digest = known.packed_list(each)
                    digests.append(digest)
            payload = encode_plain({"completion": found})
            before = dropped.count
            self._put(Item(trace_id, payload, headers, self._service(resource)))
            if dropped.count == before:
                known.know(digests)
        if span is not None and trace_id and span.is_recording():
            span.set_attribute(REFERENCE, f"transit:{name_of(trace_id)}")

    def _of(self, trace_id: int) -> KnownConversations:
        known = self._known.get(trace_id)
        if known is None:
            known = self._known[trace_id] = KnownConversations()
            if len(self._known) > _TRACES_MAX:
                self._known.popitem(last=False)
        return known

    def _plain(self, said: Sequence[Sequence[object]]) -> tuple[list[list[object]], int]:
        if self._encoding.policy is None:
            return [[plain(each) for each in part] for part in said], 0
        rewriter = Rewriter(self._encoding.policy)
        try:
            found = [[rewriter.value(plain(each)) for each in part] for part in said]
        except Exception:
            return [[{"role": "user", "parts": [{"type": "text", "content": rewriter.failed}]}],
                    [], [], []], rewriter.count + 1  # fmt: skip
        return found, rewriter.count


def _ids(span: Any, log_record: Any) -> tuple[int, int]:
    """The ids of the span, or those that the log record names; 0 where there are none."""
    if span is not None:
        context = span.get_span_context()
        if context is not None and context.is_valid:
            return context.trace_id, context.span_id
    if log_record is not None:
        return log_record.trace_id or 0, log_record.span_id or 0
    return 0, 0


def plain(value: object, depth: int = 0) -> Any:
    """A value of the instrumentations, such as a dataclass with bytes in it, as JSON has it."""
    if isinstance(value, Enum):
        return plain(value.value, depth + 1)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    return "[too deep]" if depth > _DEPTH_MAX else _plain_container(value, depth)


def _plain_container(value: object, depth: int) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: plain(getattr(value, each.name), depth + 1)
            for each in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(each, depth + 1) for each in value]
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return plain(dump(), depth + 1)
    try:
        return str(value)
    except Exception:
        return f"[{type(value).__name__}]"
