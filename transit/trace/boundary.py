"""The boundary of recorded calls: how a call is made, and how its outcome comes back in a replay.

A result comes back as the value it was, where the exact form of `transit.trace.values` holds it, or
as the type that `returns` says; otherwise the replay says that it cannot. An exception comes back
as itself when its class is Python's own, of its standard library, or one that `raises` names, else
as `RecordedCallError`, or `RecordedExitError` where it is no `Exception`. A list, dict, set or
bytearray that the call was given and changed in place is changed again; a result that was one of
the arguments is that argument again. A call made by a recorded call is part of it, and not recorded
on its own: a replay does not make it.

A coroutine, a generator or an async generator that a plain function returns is recorded as what it
gives.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    MutableMapping,
    MutableSequence,
    MutableSet,
)
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

import msgspec

from transit import InvalidInputError
from transit.trace.calls import (
    Call,
    Ended,
    NotReplayableError,
    Outcome,
    RecordedCallError,
    RecordedExitError,
    Recorder,
)
from transit.trace.context import in_call
from transit.trace.errors import rebuilt
from transit.trace.events import CallChunk, CallResult, ErrorInfo, GivenAs
from transit.trace.values import restored

_R = TypeVar("_R")
# Arguments that a call may change in place.
_CHANGEABLE: Final = (list, dict, set, bytearray)
# Values of which nothing shows whether two are one object.
_ATOMS: Final = frozenset((type(None), bool, int, float, str, bytes))


class _Running:
    """A call being made. given_as: how its result is had."""

    def __init__(self, recorder: Recorder, call_id: str, call: Call) -> None:
        self._recorder = recorder
        self._call_id = call_id
        self._call = call
        self._begun_ns = time.monotonic_ns()
        self.given_as: GivenAs = ""

    def gave(self, value: object) -> None:
        """A generator gave a value."""
        self._recorder.chunk_call(self._call_id, value)

    def returned(self, result: object) -> None:
        """Record the result."""
        self._end(result, None)

    def raised(self, error: BaseException) -> None:
        """Record what the call raised."""
        self._end(None, error)

    def _end(self, result: object, error: BaseException | None) -> None:
        duration = time.monotonic_ns() - self._begun_ns
        changed, lost, count = _changes(self._recorder, self._call)
        ended = Ended(
            result=result,
            error=error,
            given_as=self.given_as,
            is_argument=_argument_of(self._call, result),
            changed=changed or None,
            lost_change=lost,
            redacted=count,
            duration_ns=duration,
        )
        self._recorder.end_call(self._call_id, self._call, ended)


def _pairs_of(call: Call) -> list[tuple[str | int, object]]:
    """The arguments of a call, each with its parameter or place."""
    given = call.given
    return [*(given.items() if isinstance(given, dict) else enumerate(given or ()))]


def _argument_of(call: Call, result: object) -> str:
    """The parameter whose argument a result is, itself; "" for any other."""
    if type(result) in _ATOMS:
        return ""
    return next((str(key) for key, value in _pairs_of(call) if value is result), "")


def _changes(recorder: Recorder, call: Call) -> tuple[dict[str, object], str, int]:
    """Arguments that were changed in place, in exact form; the first that it cannot hold; a count.

    The count is of places that a redaction policy changed.
    """
    before, pairs = call.arguments, _pairs_of(call)
    if not any(isinstance(value, _CHANGEABLE) for _, value in pairs):
        return {}, "", 0
    exact = recorder.forms.exact(call.given, "arguments")
    after, _ = recorder.clean(exact.value)
    if recorder.forms.digest(after) == call.digest:
        return {}, "", 0
    changed: dict[str, object] = {}
    lost, redacted = "", 0
    for key, value in pairs:
        if isinstance(value, _CHANGEABLE) and _at(after, key) != _at(before, key):
            form = recorder.forms.exact(value, f"the argument {key}")
            changed[str(key)], count = recorder.clean(form.value)
            lost, redacted = lost or form.lost, redacted + count
    return changed, lost, redacted


def _at(arguments: object, key: str | int) -> object:
    """The form of one argument, of the form of all."""
    if isinstance(arguments, dict):
        return arguments.get(key)
    return arguments[key] if isinstance(arguments, list) and isinstance(key, int) else None


def _change_again(call: Call, event: CallResult) -> None:
    """Make the arguments what the call made of them."""
    if event.lost_change:
        hint = "it was changed in place; exclude= leaves the parameter out"
        raise NotReplayableError(event.call_name, event.lost_change, hint)
    for key, form in (event.changed or {}).items():
        target = _given(call, key)
        value = restored(form)
        if isinstance(target, MutableSequence):
            target[:] = value
        elif isinstance(target, MutableMapping | MutableSet):
            target.clear()
            cast(Any, target).update(value)


def _given(call: Call, key: str) -> object:
    given = cast(Any, call.given)
    return given[key if isinstance(given, dict) else int(key)]


@contextmanager
def _inside(recorder: Recorder) -> Iterator[None]:
    """What the block calls is part of the call being made."""
    token = in_call.set(recorder)
    try:
        yield
    finally:
        in_call.reset(token)


class _Made:
    """A call that is made: runs what it consists of, and records what it gives."""

    def __init__(self, recorder: Recorder, running: _Running) -> None:
        self._recorder = recorder
        self._running = running

    def plain(self, function: Callable[[], Any]) -> Any:
        """What a function returns."""
        try:
            with _inside(self._recorder):
                result = function()
        except BaseException as error:
            self._running.raised(error)
            raise
        return self._result(result)

    async def awaited(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """What is awaited of it."""
        try:
            with _inside(self._recorder):
                result = await function()
        except BaseException as error:
            self._running.raised(error)
            raise
        return self._result(result)

    def _result(self, result: Any) -> Any:
        """A result as the program is given it: its own steps are recorded, where it has some."""
        running = self._running
        if inspect.iscoroutine(result) and not running.given_as:
            running.given_as = "awaited"
            return self.awaited(lambda: cast("Awaitable[Any]", result))
        if inspect.isgenerator(result):
            running.given_as = "generated"
            return self.generated(lambda: cast("Generator[Any, Any, Any]", result))
        if inspect.isasyncgen(result):
            running.given_as = "generated_async"
            return self.generated_async(lambda: cast("AsyncGenerator[Any, Any]", result))
        running.returned(result)
        return result

    def generated(
        self, function: Callable[[], Generator[Any, Any, Any]]
    ) -> Generator[Any, Any, Any]:
        """What a generator gives, as it comes."""
        running = self._running
        try:
            with _inside(self._recorder):
                source = function()
            step, given = source.send, None
            while True:
                try:
                    with _inside(self._recorder):
                        value = step(given)
                except StopIteration as done:
                    running.returned(done.value)
                    return done.value
                running.gave(value)
                try:
                    given, step = (yield value), source.send
                except GeneratorExit:
                    source.close()
                    raise
                except BaseException as error:
                    given, step = error, cast(Any, source.throw)
        except BaseException as error:
            running.raised(error)
            raise

    async def generated_async(
        self, function: Callable[[], AsyncGenerator[Any, Any]]
    ) -> AsyncGenerator[Any, Any]:
        """What an async generator gives, as it comes."""
        running = self._running
        try:
            with _inside(self._recorder):
                source = function()
            step: Any = source.asend
            given: Any = None
            while True:
                try:
                    with _inside(self._recorder):
                        value = await step(given)
                except StopAsyncIteration:
                    running.returned(None)
                    return
                running.gave(value)
                try:
                    given, step = (yield value), source.asend
                except GeneratorExit:
                    await source.aclose()
                    raise
                except BaseException as error:
                    given, step = error, source.athrow
        except BaseException as error:
            running.raised(error)
            raise


class Boundary(msgspec.Struct, frozen=True):
    """How results and exceptions come back from a recording.

    returns: the type of results, or of what a generator gives; None for what they were.
    raises: exceptions to raise as themselves, with those below them.
    """

    returns: object = None
    raises: tuple[type[BaseException], ...] = ()

    def run(self, recorder: Recorder, call: Call, function: Callable[[], _R]) -> _R:
        """Make the call, or give what is recorded of it."""
        begun = recorder.begin_call(call)
        if isinstance(begun, Outcome):
            return cast(_R, self._given(begun, call))
        return cast(_R, _Made(recorder, _Running(recorder, begun, call)).plain(function))

    async def run_async(
        self, recorder: Recorder, call: Call, function: Callable[[], Awaitable[_R]]
    ) -> _R:
        """`run` for a function that is awaited."""
        begun = recorder.begin_call(call)
        if isinstance(begun, Outcome):
            event = begun.result.event
            if isinstance(event, CallResult) and event.given_as.startswith("generated"):
                return cast(_R, self._given(begun, call))
            return cast(_R, await self._awaited(begun, call))
        return cast(_R, await _Made(recorder, _Running(recorder, begun, call)).awaited(function))

    def run_generator(
        self, recorder: Recorder, call: Call, function: Callable[[], Generator[Any, Any, Any]]
    ) -> Generator[Any, Any, Any]:
        """`run` for a generator: what it gives is recorded as it comes."""
        begun = recorder.begin_call(call)
        if isinstance(begun, Outcome):
            return (yield from self._generated(begun, call))
        made = _Made(recorder, _Running(recorder, begun, call))
        return (yield from made.generated(function))

    async def run_async_generator(
        self, recorder: Recorder, call: Call, function: Callable[[], AsyncGenerator[Any, Any]]
    ) -> AsyncGenerator[Any, Any]:
        """`run` for an async generator."""
        begun = recorder.begin_call(call)
        if isinstance(begun, Outcome):
            source = self._generated_async(begun, call)
        else:
            source = _Made(recorder, _Running(recorder, begun, call)).generated_async(function)
        given, step = None, cast(Any, source.asend)
        try:
            while True:
                try:
                    value = await step(given)
                except StopAsyncIteration:
                    return
                try:
                    given, step = (yield value), cast(Any, source.asend)
                except GeneratorExit:
                    raise
                except BaseException as error:
                    given, step = error, cast(Any, source.athrow)
        finally:
            await source.aclose()

    # Out of the recording

    def _given(self, outcome: Outcome, call: Call) -> object:
        """What is recorded of a call, as the program was given it."""
        event = outcome.result.event
        match event.given_as if isinstance(event, CallResult) else "":
            case "awaited":
                return self._awaited(outcome, call)
            case "generated":
                return self._generated(outcome, call)
            case "generated_async":
                return self._generated_async(outcome, call)
            case _:
                return self._give(outcome, event, call)

    def _awaited(self, outcome: Outcome, call: Call) -> Coroutine[Any, Any, object]:
        async def wait() -> object:
            await outcome.result.wait()
            return self._give(outcome, outcome.result.event, call)

        return wait()

    def _generated(self, outcome: Outcome, call: Call) -> Generator[Any, Any, Any]:
        for chunk in outcome.chunks():
            value = self._give(outcome, chunk.event, call)
            try:
                yield value
            except Exception:
                # Thrown into it: what it gave then is recorded.
                continue
        return self._give(outcome, outcome.result.event, call)

    async def _generated_async(self, outcome: Outcome, call: Call) -> AsyncGenerator[Any, Any]:
        for chunk in outcome.chunks():
            await chunk.wait()
            value = self._give(outcome, chunk.event, call)
            try:
                yield value
            except Exception:
                # Thrown into it: what it gave then is recorded.
                continue
        await outcome.result.wait()
        self._give(outcome, outcome.result.event, call)

    def _give(self, outcome: Outcome, event: CallResult | CallChunk, call: Call) -> object:
        name = event.call_name if isinstance(event, CallResult) else "a value of a generator"
        if event.redacted and not outcome.allow_redacted:
            hint = (
                "the redaction policy took it; replay(..., allow_redacted=True) gives what is left"
            )
            raise NotReplayableError(name, "what it gave", hint)
        if isinstance(event, CallResult):
            _change_again(call, event)
            if event.error is not None:
                raise self._rebuilt(event.error)
            if event.is_argument:
                return _given(call, event.is_argument)
        value = event.result if isinstance(event, CallResult) else event.value
        if self.returns is not None and not (
            isinstance(event, CallResult) and value is None and not event.not_replayable
        ):
            return self._converted(name, value)
        if event.not_replayable:
            raise NotReplayableError(name, event.not_replayable, "give its type with returns=")
        return restored(value)

    def _converted(self, name: str, form: object) -> object:
        try:
            value = restored(form)
        except InvalidInputError:
            value = form
        if isinstance(self.returns, type) and type(value) is self.returns:
            return value
        validate = getattr(self.returns, "model_validate", None)
        try:
            if validate is not None:
                return validate(value)
            return msgspec.convert(value, cast(Any, self.returns), str_keys=True)
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            raise InvalidInputError(
                f"{name}: what is recorded is no {self.returns}: {error}"
            ) from None

    def _rebuilt(self, error: ErrorInfo) -> BaseException:
        """Never imports: what a log names is not loaded."""
        found = rebuilt(error, self.raises)
        if found is None or isinstance(found, Exception) is error.is_exit:
            return RecordedExitError(error) if error.is_exit else RecordedCallError(error)
        return found


def runner_of(boundary: Boundary, function: Callable[..., object]) -> Callable[..., object]:
    """How calls of a function of this kind are made."""
    if inspect.iscoroutinefunction(function):
        return boundary.run_async
    if inspect.isgeneratorfunction(function):
        return boundary.run_generator
    if inspect.isasyncgenfunction(function):
        return boundary.run_async_generator
    return boundary.run
