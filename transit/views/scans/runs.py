"""The columns of runs that `transit.trace` recorded, or imported from files of other tools.

Owns the declaration alone. A run is a stream, so `_stream` is its name. What is stored packed
(messages, requests, responses) stays packed and is left out: `trace.read` gives it.
"""

from __future__ import annotations

from functools import cache

from transit.views.scans.declaring import Columns, columns

_FIELDS = {
    # The kind of event: message, model_call, tool_result, run_end, …
    "event": str,
    # Of a tool, a recorded call, an evaluator, a note; else the model's.
    "name": (
        ("tool_name", "call_name", "evaluator_id", "name", '"gen_ai.response.model"',
         '"gen_ai.request.model"'),
        str,
    ),
    # success, failure, timeout, …; of the end of a run completed, failed or cancelled.
    "status": (("tool_status", "model_status", "call_status", "status"), str),
    "call_id": (("tool_call_id", "model_id", "call_id"), str),
    "model": (('"gen_ai.response.model"', '"gen_ai.request.model"'), str),
    "operation": ('"gen_ai.operation.name"', str),
    "provider": ('"gen_ai.provider.name"', str),
    # NULL where they were not told.
    "tokens_in": ('"gen_ai.usage.input_tokens"', int),
    "tokens_out": ('"gen_ai.usage.output_tokens"', int),
    "finish_reasons": ('"gen_ai.response.finish_reasons"', list[str]),
    # From request to outcome, or of the whole run; NULL where it was not measured.
    "duration_ns": int,
    "error_type": ("error.type", str),
    "error_message": ("error.message", str),
    # Of a call; JSON text.
    "arguments": object,
    "result": object,
    "kind": (("checkpoint_kind", "kind"), str),
    "reason": str,
    "decision": str,
    "score": float,
    "label": str,
    "comment": str,
    "subject": ("subject_ref", str),
    "artifact_id": str,
    # A run that was begun inside this one.
    "child": ("run", str),
    "redacted": int,
}  # fmt: skip


@cache
def runs_columns() -> Columns:
    """The columns of recorded runs: what an event is, of what, how it ended, what it took.

    `arguments` and `result` are JSON text. `tokens_in` and `tokens_out` are of `model_call` and
    `model_response` events. See `transit.trace.events` for what the fields mean.
    """
    return columns("events", _FIELDS)
