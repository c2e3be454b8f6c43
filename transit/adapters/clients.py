"""The clients of OpenAI and Anthropic: each call of a model, as a request and what came of it.

    from transit.adapters.clients import TransitClients

    TransitClients.open("runs").instrument()

Every call goes through one method of the client's base, whatever the resource: chat completions,
responses, embeddings, messages, with `stream=True`, `.stream()` and `.parse()` too. So that method
is replaced, of the synchronous and of the asynchronous client. What the program gets is what it
would get without, the same object. A stream is recorded when it ends, or is let go of.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import threading
import weakref
from collections.abc import Mapping
from typing import Any, Final

import transit
from transit import InvalidInputError
from transit.adapters.answers import Answer
from transit.adapters.calling import ModelCalls, OpenCall
from transit.adapters.opening import Place
from transit.trace import Redaction
from transit.trace.failures import dropped
from transit.trace.ids import new_id
from transit.trace.values import plain

LIBRARIES: Final = ("openai", "anthropic")
_OPERATIONS: Final = (
    ("/chat/completions", "chat"), ("/responses", "responses"), ("/embeddings", "embeddings"),
    ("/v1/messages", "chat"), ("/completions", "text_completion"),
    ("/v1/complete", "text_completion"),
)  # fmt: skip
_ABANDONED: Final = "abandoned"
_patched: Final = threading.RLock()


class TransitClients(ModelCalls):
    """Records the calls that clients make, of those libraries that are installed.

    log: embedded or connected; None: the process's, which TRANSIT_STORE names. redact: a policy for
    all that is recorded. Calls are in the run whose block the program is in; others are in one
    run of this object and process, `clients/<id>`.
    """

    def __init__(
        self, log: transit.Log | Place | None = None, *, redact: Redaction | None = None
    ) -> None:
        super().__init__(log, "clients", {"adapter": "clients"}, redact=redact)
        self._libraries: tuple[str, ...] = ()
        self._undo: list[tuple[Any, Any]] = []

    def forget(self) -> None:
        """In a child made by fork: its calls are a run of its own."""
        super().forget()
        self._run_id = new_id("run")

    def instrument(self, *libraries: str) -> TransitClients:
        """Record what clients of these libraries do from now on, those made before too.

        libraries: "openai", "anthropic"; none: those that are installed. Twice is once. Raises
        `InvalidInputError` for a library that is not installed, or not one of these.
        """
        for name in libraries:
            if name not in LIBRARIES:
                raise InvalidInputError(f"{name!r} is none of {', '.join(LIBRARIES)}")
        with _patched:
            for name in libraries or LIBRARIES:
                try:
                    base = importlib.import_module(f"{name}._base_client")
                except ImportError:
                    if libraries:
                        raise InvalidInputError(f"{name} is not installed") from None
                    continue
                if name not in self._libraries:
                    self._libraries += (name,)
                    self._patch(name, base.SyncAPIClient, _sync)
                    self._patch(name, base.AsyncAPIClient, _async)
        return self

    def uninstrument(self) -> None:
        """Record nothing more; clients are as they were."""
        with _patched:
            for owner, made in self._undo:
                # Another's wrapper around ours stays, and ours does nothing.
                made.is_on = False
                if owner.__dict__.get("request") is made.function:
                    owner.request = made.before
            self._undo, self._libraries = [], ()

    def close(self) -> None:
        """Record nothing more, end the run, and close the store if it was opened here."""
        self.uninstrument()
        super().close()

    def _patch(self, library: str, owner: Any, make: Any) -> None:
        made = _Patch(self, library, owner.request)
        made.function = functools.wraps(owner.request)(make(made))
        owner.request = made.function
        self._undo.append((owner, made))

    def start(self, library: str, options: Any) -> OpenCall | None:
        """Record a request; None for what is no call of a model. Raises nothing."""
        try:
            url = str(options.url).partition("?")[0]
            operation = next((name for end, name in _OPERATIONS if url.endswith(end)), None)
            if operation is None or str(options.method).lower() != "post":
                return None
            body = plain(options.json_data)
            found: dict[str, object] = body if isinstance(body, dict) else {"body": body}
            extra = getattr(options, "extra_json", None)
            found = {**found, **(extra if isinstance(extra, Mapping) else {})}
            model = str(found.pop("model", "") or "unknown")
            return self.begin(self._run_id, model, found, operation=operation, provider=library)
        except Exception as error:
            dropped.add("clients", error)
            return None


class _Patch:
    """A method of a client's base that is replaced."""

    def __init__(self, calls: TransitClients, library: str, before: Any) -> None:
        self.calls, self.library, self.before = calls, library, before
        self.function: Any = None
        self.is_on = True


def _sync(patch: _Patch) -> Any:
    def request(self: Any, cast_to: Any, options: Any, **more: Any) -> Any:
        call = patch.calls.start(patch.library, options) if patch.is_on else None
        if call is None:
            return patch.before(self, cast_to, options, **more)
        try:
            found = patch.before(self, cast_to, options, **more)
        except BaseException as error:
            call.failure(error)
            raise
        return _answered(call, found, _Parts)

    return request


def _async(patch: _Patch) -> Any:
    async def request(self: Any, cast_to: Any, options: Any, **more: Any) -> Any:
        call = patch.calls.start(patch.library, options) if patch.is_on else None
        if call is None:
            return await patch.before(self, cast_to, options, **more)
        try:
            found = await patch.before(self, cast_to, options, **more)
        except BaseException as error:
            call.failure(error)
            raise
        return _answered(call, found, _AsyncParts)

    return request


def _answered(call: OpenCall, found: Any, parts: Any) -> Any:
    """What the program gets; what is recorded of it never fails it."""
    try:
        iterator = getattr(found, "_iterator", None)
        if isinstance(iterator, _Recorded):
            # Parsed once more: it is the same stream.
            return found
        if iterator is not None:
            found._iterator = parts(call, iterator)
        elif hasattr(found, "http_response") and hasattr(found, "parse"):
            _watch_raw(call, found, parts)
        else:
            call.response(plain(found))
    except Exception as error:
        dropped.add("clients", error)
    return found


def _watch_raw(call: OpenCall, raw: Any, parts: Any) -> None:
    """Record what the program parses of a raw response; its status, where it parses nothing."""
    parse = raw.parse

    @functools.wraps(parse)
    def read(*given: Any, **more: Any) -> Any:
        made = parse(*given, **more)
        return awaited(made) if inspect.isawaitable(made) else _answered(call, made, parts)

    async def awaited(made: Any) -> Any:
        return _answered(call, await made, parts)

    raw.parse = read
    status = {"raw": {"status_code": getattr(raw, "status_code", None)}}
    weakref.finalize(raw, call.response, status).atexit = False


class _Recorded:
    """What is common to both sorts of streams: each part is noted, the end recorded once."""

    def __init__(self, call: OpenCall, inner: Any) -> None:
        self._call, self._inner = call, inner
        self._answer = Answer()

    def _note(self, part: Any) -> None:
        try:
            self._answer.add(plain(part))
        except Exception as error:
            dropped.add("clients", error)

    def _end(self, *reasons: str) -> None:
        try:
            self._call.response(self._answer.whole, finish_reasons=reasons)
        except Exception as error:
            dropped.add("clients", error)

    def _fail(self, error: BaseException) -> None:
        with contextlib.suppress(Exception):
            self._call.failure(error)

    def __del__(self) -> None:
        self._end(_ABANDONED)


class _Parts(_Recorded):
    """The parts of an answer."""

    def __iter__(self) -> _Parts:
        return self

    def __next__(self) -> Any:
        try:
            part = next(self._inner)
        except StopIteration:
            self._end()
            raise
        except BaseException as error:
            self._fail(error)
            raise
        self._note(part)
        return part

    def close(self) -> None:
        """As of a generator."""
        self._inner.close()
        self._end(_ABANDONED)


class _AsyncParts(_Recorded):
    """The parts of an answer, asynchronously."""

    def __aiter__(self) -> _AsyncParts:
        return self

    async def __anext__(self) -> Any:
        try:
            part = await self._inner.__anext__()
        except StopAsyncIteration:
            self._end()
            raise
        except BaseException as error:
            self._fail(error)
            raise
        self._note(part)
        return part

    async def aclose(self) -> None:
        """As of an asynchronous generator."""
        await self._inner.aclose()
        self._end(_ABANDONED)
