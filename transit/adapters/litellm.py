"""LiteLLM: each call of a model that goes through it, as a request and what came of it.

    import litellm
    from transit.adapters.litellm import TransitLogger

    litellm.callbacks = [TransitLogger.open("runs")]

Calls that belong together are one run, `litellm/<session or trace id>`, or the run whose block the
program is in. The request is recorded before it is sent. What came of it LiteLLM tells from threads
and tasks of its own, a moment after the program has it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from importlib import metadata as installed
from typing import Any, Final

from litellm.integrations.custom_logger import CustomLogger

import transit
from transit.adapters.calling import ModelCalls, OpenCall
from transit.adapters.opening import Place
from transit.trace import Redaction
from transit.trace.failures import dropped
from transit.trace.values import plain

PREFIX: Final = "litellm"
_OPEN_MAX: Final = 8192
_OFF: Final = "[message logging is off]"
_OPERATIONS: Final = (
    ("embedding", "embeddings"), ("text_completion", "text_completion"),
    ("responses", "responses"), ("image", "image_generation"), ("transcription", "transcription"),
    ("speech", "speech"), ("rerank", "rerank"), ("moderation", "moderation"),
)  # fmt: skip


class TransitLogger(ModelCalls, CustomLogger):
    """A callback of LiteLLM that records into a store.

    log: embedded or connected; None: the process's, which TRANSIT_STORE names. redact: a policy for
    all that is recorded. turn_off_message_logging: record no content; LiteLLM's own setting of that
    name counts too. Raises nothing into LiteLLM: what is lost is counted in `trace.dropped`.
    """

    def __init__(
        self,
        log: transit.Log | Place | None = None,
        *,
        redact: Redaction | None = None,
        turn_off_message_logging: bool = False,
    ) -> None:
        about = {"adapter": PREFIX, "library": f"litellm {installed.version('litellm')}"}
        ModelCalls.__init__(self, log, PREFIX, about, redact=redact)
        CustomLogger.__init__(self, turn_off_message_logging=turn_off_message_logging)
        self._open: OrderedDict[str, OpenCall] = OrderedDict()
        # Calls whose outcome was told: streams of LiteLLM tell it to both sorts of methods.
        self._told: OrderedDict[str, None] = OrderedDict()
        self._guard = threading.RLock()

    def forget(self) -> None:
        """In a child made by fork: its calls are the parent's."""
        super().forget()
        self._open, self._told = OrderedDict(), OrderedDict()
        self._guard = threading.RLock()

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        """A request is about to be sent."""
        try:
            self._begin(_call_id(kwargs), kwargs, messages)
        except Exception as error:
            dropped.add(PREFIX, error)

    def log_success_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """The whole response is there."""
        try:
            self._succeed(kwargs, response_obj, start_time, end_time)
        except Exception as error:
            dropped.add(PREFIX, error)

    def log_failure_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """There is none."""
        try:
            self._fail(kwargs, response_obj)
        except Exception as error:
            dropped.add(PREFIX, error)

    async def async_log_success_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """As `log_success_event`."""
        self.log_success_event(kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """As `log_failure_event`."""
        self.log_failure_event(kwargs, response_obj, start_time, end_time)

    def _begin(self, call_id: str, kwargs: Mapping[str, Any], messages: Any) -> OpenCall:
        with self._guard:
            before = self._open.pop(call_id, None)
        if before is not None:
            # It is sent again under the same id.
            before.failure("sent again")
        self._told.pop(call_id, None)
        call = self.begin(
            _run_id(kwargs, call_id),
            str(kwargs.get("model") or "unknown"),
            self._request(kwargs, messages),
            operation=_operation(str(kwargs.get("call_type") or "")),
            provider=str(kwargs.get("custom_llm_provider") or ""),
        )
        with self._guard:
            self._open[call_id] = call
            if len(self._open) > _OPEN_MAX:
                self._open.popitem(last=False)
        return call

    def _take(self, kwargs: Mapping[str, Any]) -> OpenCall | None:
        """The call that this is about; None where its outcome was told."""
        call_id = _call_id(kwargs)
        with self._guard:
            if call_id in self._told:
                return None
            self._told[call_id] = None
            if len(self._told) > _OPEN_MAX:
                self._told.popitem(last=False)
            call = self._open.pop(call_id, None)
        if call is None:
            # Answered from a cache, or refused before it was sent.
            call = self._begin(call_id, kwargs, kwargs.get("messages"))
            with self._guard:
                self._open.pop(call_id, None)
                self._told[call_id] = None
        return call

    def _succeed(
        self, kwargs: Mapping[str, Any], response: Any, start_time: Any, end_time: Any
    ) -> None:
        call = self._take(kwargs)
        if call is None:
            return
        # A stream's parts, put together by LiteLLM.
        whole = kwargs.get("async_complete_streaming_response")
        whole = kwargs.get("complete_streaming_response") if whole is None else whole
        found = plain(response if whole is None else whole)
        usage = found.pop("usage", None) if isinstance(found, dict) else None
        usage = dict(usage) if isinstance(usage, dict) else {}
        cost = kwargs.get("response_cost")
        if isinstance(cost, int | float):
            usage["cost"] = cost
        if kwargs.get("cache_hit"):
            usage["cache_hit"] = True
        if self._is_off(kwargs):
            found = _without_content(found)
        call.response(found, usage=usage or None, duration_ns=_duration(start_time, end_time))

    def _fail(self, kwargs: Mapping[str, Any], response: Any) -> None:
        call = self._take(kwargs)
        if call is None:
            return
        error = kwargs.get("exception") or kwargs.get("original_exception") or response
        if isinstance(error, BaseException) and not self._is_off(kwargs):
            call.failure(error)
        else:
            call.failure(type(error).__name__ if self._is_off(kwargs) else str(error))

    def _request(self, kwargs: Mapping[str, Any], messages: Any) -> dict[str, object]:
        given = kwargs.get("messages") if messages is None else messages
        if given is None or (isinstance(given, list) and not given):
            given = kwargs.get("input")
        key = "messages" if isinstance(given, list) else "input"
        parameters = kwargs.get("optional_params")
        found: dict[str, object] = dict(parameters) if isinstance(parameters, Mapping) else {}
        for name in _NOT_CONTENT:
            found.pop(name, None)
        if self._is_off(kwargs):
            kept = {name: each for name, each in found.items() if isinstance(each, int | float)}
            return {**kept, key: _OFF}
        found[key] = given
        return found

    def _is_off(self, kwargs: Mapping[str, Any]) -> bool:
        if self.turn_off_message_logging:
            return True
        # Loaded here: a module of LiteLLM's own that may be elsewhere in another version.
        from litellm.litellm_core_utils.redact_messages import should_redact_message_logging

        return bool(should_redact_message_logging(dict(kwargs)))


# What LiteLLM passes beside what is sent.
_NOT_CONTENT: Final = ("api_key", "extra_headers", "headers", "client", "http_client")


def _without_content(response: object) -> object:
    if not isinstance(response, dict):
        return _OFF
    return {key: response[key] for key in ("id", "model", "object", "created") if key in response}


def _call_id(kwargs: Mapping[str, Any]) -> str:
    return str(kwargs.get("litellm_call_id") or id(kwargs))


def _run_id(kwargs: Mapping[str, Any], call_id: str) -> str:
    """What a call belongs to: the session that the program named, else LiteLLM's trace."""
    parameters = kwargs.get("litellm_params")
    parameters = parameters if isinstance(parameters, Mapping) else {}
    told = parameters.get("metadata")
    told = told if isinstance(told, Mapping) else {}
    for found in (
        parameters.get("litellm_session_id"), kwargs.get("litellm_session_id"),
        told.get("session_id"), parameters.get("litellm_trace_id"), kwargs.get("litellm_trace_id"),
        told.get("trace_id"),
    ):  # fmt: skip
        if found:
            return str(found)
    return call_id


def _operation(call_type: str) -> str:
    return next((name for part, name in _OPERATIONS if part in call_type), "chat")


def _duration(start_time: Any, end_time: Any) -> int | None:
    try:
        seconds: float = (end_time - start_time).total_seconds()
        return max(0, round(seconds * 1e9))
    except (AttributeError, TypeError):
        return None
