"""A model call between its request and its response, and what the responses of services say.

Owns the names that counts of tokens have: OpenAI's, Anthropic's, Gemini's, and those of the
OpenTelemetry conventions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from transit import InvalidInputError
from transit.trace.enterable import Enterable
from transit.trace.errors import describe
from transit.trace.events import (
    Cached,
    ErrorInfo,
    Event,
    ModelCall,
    ModelChunk,
    ModelResponse,
    ModelStatus,
    check_text,
    check_texts,
)
from transit.trace.packing import Packing
from transit.trace.values import members_of, plain

WritePacked = Callable[[type[Event], Callable[[Packing], Event], int | None], int]

_INPUT: Final = ("input_tokens", "prompt_tokens", "promptTokenCount", "prompt_token_count")
_OUTPUT: Final = (
    "output_tokens", "completion_tokens", "candidatesTokenCount", "candidates_token_count"
)  # fmt: skip
# Of tokens in a cache: beside those of the request, as Anthropic counts them, and among them.
_READ_BESIDE: Final = "cache_read_input_tokens"
_WRITTEN_BESIDE: Final = "cache_creation_input_tokens"
_READ_WITHIN: Final = (
    "cachedContentTokenCount", "cached_content_token_count", "cached_input_tokens",
    "cache_read.input_tokens", "gen_ai.usage.cache_read.input_tokens", "cached_tokens",
)  # fmt: skip
_WRITTEN_WITHIN: Final = ("cache_creation.input_tokens", "gen_ai.usage.cache_creation.input_tokens")
_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details")
NONE_CACHED: Final[Cached] = (0, 0, 0, 0)
_USAGE: Final = ("usage", "usageMetadata", "usage_metadata")
_IDS: Final = ("id", "responseId", "response_id")
_MODELS: Final = ("model", "modelVersion", "model_version")
_REASONS: Final = ("finish_reason", "finishReason", "stop_reason")


def counts_of(usage: object) -> tuple[int, int, dict[str, object]]:
    """Tokens of the request and of the response, -1 where not told, and whatever else there is.

    `InvalidInputError` for what has no members.
    """
    if usage is None:
        return -1, -1, {}
    if type(usage) is dict or isinstance(usage, Mapping):
        members: dict[str, object] | None = dict(usage)
    else:
        members = members_of(usage)
    if members is None:
        raise InvalidInputError(f"usage must be a mapping, not {usage!r}")
    rest: dict[str, object] = {}
    for key, value in members.items():
        if type(value) is int and value.bit_length() < 64:
            rest[str(key)] = value
        elif value is not None:
            rest[str(key)] = plain(value)
    return _taken(rest, _INPUT), _taken(rest, _OUTPUT), rest


def cached_of(usage: Mapping[str, object]) -> Cached:
    """Tokens in a cache, of what `counts_of` gives besides; as `ModelCall.cached_tokens`.

    A usage with details of its tokens has them among those of the request, under whatever name:
    gateways that speak for several services tell them twice.
    """
    if not usage:
        return NONE_CACHED
    read, written = _count(usage.get(_READ_BESIDE)), _count(usage.get(_WRITTEN_BESIDE))
    for key in _DETAILS:
        details = usage.get(key)
        if isinstance(details, Mapping):
            return 0, 0, _count(details.get("cached_tokens")) or read, written
    return read, written, _first_of(usage, _READ_WITHIN), _first_of(usage, _WRITTEN_WITHIN)


def _first_of(usage: Mapping[str, object], keys: Sequence[str]) -> int:
    return next((_count(usage[key]) for key in keys if key in usage), 0)


def _count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def with_cached(event: Event) -> Event:
    """An event made elsewhere with what its usage, or its response, says of a cache."""
    if not isinstance(event, ModelCall | ModelResponse) or event.cached_tokens != NONE_CACHED:
        return event
    usage = event.usage or Said(event.response).usage
    found = cached_of(counts_of(usage)[2]) if isinstance(usage, Mapping) else NONE_CACHED
    return event if found == NONE_CACHED else msgspec.structs.replace(event, cached_tokens=found)


def _taken(members: dict[str, object], names: Sequence[str]) -> int:
    for name in names:
        value = members.get(name)
        if type(value) is int and value >= 0:
            del members[name]
            return value
    return -1


class Said:
    """What a response says of itself, where it has such members."""

    def __init__(self, response: object) -> None:
        # Another mapping has methods of its own, which may raise.
        members = response if type(response) is dict else members_of(response)
        self._members: dict[str, Any] = members or {}

    @property
    def usage(self) -> dict[str, object] | None:
        """Its counts, None without any."""
        for key in _USAGE:
            found: object = self._members.get(key)
            if found is not None:
                return found if type(found) is dict else members_of(found)
        return None

    @property
    def model(self) -> str:
        """The model that answered."""
        return self._text(_MODELS)

    @property
    def id(self) -> str:
        """The id the service gave it."""
        return self._text(_IDS)

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why the model stopped: of the response, or of its choices."""
        found: list[Mapping[str, Any]] = [self._members]
        for key in ("choices", "candidates"):
            items = self._members.get(key)
            if isinstance(items, list | tuple):
                made = (each if isinstance(each, Mapping) else members_of(each) for each in items)
                found += [each for each in made if each]
        texts = (getattr(m.get(key), "value", m.get(key)) for m in found for key in _REASONS)
        return tuple(text for text in texts if isinstance(text, str) and text)

    def _text(self, names: Sequence[str]) -> str:
        for name in names:
            found = self._members.get(name)
            if isinstance(found, str):
                return found
        return ""


def filled(event: ModelCall | ModelResponse) -> ModelCall | ModelResponse:
    """An event with what its response says of itself, where nothing else was recorded."""
    said = Said(event.response)
    found: dict[str, object] = {}
    if not event.response_id and said.id:
        found["response_id"] = said.id
    if not event.finish_reasons and said.finish_reasons:
        found["finish_reasons"] = said.finish_reasons
    if not event.usage and isinstance(said.usage, Mapping):
        tokens_in, tokens_out, rest = counts_of(said.usage)
        if (tokens_in, tokens_out) == (event.input_tokens, event.output_tokens):
            found["usage"] = rest
    return msgspec.structs.replace(event, **found) if found else event


class OpenModelCall(Enterable):
    """A request to a model that was sent, until its response, or its failure, is recorded, once.

    As a context manager it records how the block was left when no response was given. `offset` is
    that of the request. Methods return the offset of what they record.
    """

    def __init__(
        self, write: WritePacked, write_plain: Callable[[Event, int | None], int], model_id: str,
        model: str, offset: int,
    ) -> None:  # fmt: skip
        self._write = write
        self._write_plain = write_plain
        self._begun_ns = time.monotonic_ns()
        self._done = False
        self.model_id = model_id
        self.model = model
        self.offset = offset

    def chunk(self, data: object, *, timestamp: int | None = None) -> int:
        """A part of the response came; `data` is any value."""
        return self._write(
            ModelChunk,
            lambda packing: ModelChunk(model_id=self.model_id, data=packing.pack(data)),
            timestamp,
        )

    def response(
        self,
        response: object = None,
        *,
        usage: object = None,
        response_id: str = "",
        finish_reasons: Sequence[str] = (),
        duration_ns: int | None = None,
        timestamp: int | None = None,
    ) -> int:
        """The whole response came. What is not given is taken from the response, where it says it.

        usage: counts of tokens, with the names of any service. duration_ns: where it was measured
        elsewhere; None: since the request.
        """
        check_texts(response_id=response_id)
        said = Said(response)
        tokens_in, tokens_out, rest = counts_of(said.usage if usage is None else usage)
        cached = cached_of(rest)
        # What the response says of itself is filled in when it is read.
        rest = {} if usage is None else rest
        reasons = texts(finish_reasons, "finish_reasons")
        duration = self._end() if duration_ns is None else duration_ns
        self._done = True
        return self._write(
            ModelResponse,
            lambda packing: ModelResponse(
                model_id=self.model_id,
                model_status="success",
                request_model=self.model,
                response_model=said.model,
                response_id=response_id,
                finish_reasons=reasons,
                input_tokens=tokens_in,
                output_tokens=tokens_out,
                cached_tokens=cached,
                usage=rest,
                response=packing.pack(response),
                duration_ns=duration,
            ),
            timestamp,
        )

    def failure(self, error: BaseException | str, *, timestamp: int | None = None) -> int:
        """There is no response: the exception, or what is said of it."""
        if isinstance(error, str):
            check_text(error, "error")
            return self._failed("failure", ErrorInfo(type="", message=error), timestamp)
        status: ModelStatus = "failure" if isinstance(error, Exception) else "cancelled"
        return self._failed(status, describe(error), timestamp)

    def _failed(self, status: ModelStatus, error: ErrorInfo, timestamp: int | None) -> int:
        duration = self._end()
        self._done = True
        event = ModelResponse(
            model_id=self.model_id,
            model_status=status,
            request_model=self.model,
            error=error,
            duration_ns=duration,
        )
        return self._write_plain(event, timestamp)

    def _end(self) -> int:
        if self._done:
            raise InvalidInputError(f"{self.model} {self.model_id}: has its response")
        return time.monotonic_ns() - self._begun_ns

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._done:
            if error is None:
                self.response()
            else:
                self.failure(error)


def texts(values: Sequence[str], what: str) -> tuple[str, ...]:
    """The texts of a sequence; `InvalidInputError` for anything else."""
    if type(values) is tuple and not values:
        return values
    if isinstance(values, str) or not all(isinstance(each, str) for each in values):
        raise InvalidInputError(f"{what} must be a sequence of texts, not {values!r}")
    return tuple(values)
