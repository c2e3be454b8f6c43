"""Calls out of the program: recorded when they happen, answered from the recording in a replay.

Owns what is compared (the name, and a digest of the arguments) and how an outcome comes back. A
result comes back as the value it was, where the exact form of `transit.trace.values` holds it, or
as the type that `returns` says; otherwise the replay says that it cannot. An exception comes back
as itself when its class is Python's own, of its standard library, or one that `raises` names, else
as `RecordedCallError`, or `RecordedExitError` where it is no `Exception`. A call made by a recorded
call is part of it, and not recorded on its own: a replay does not make it.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import msgspec

from transit import InvalidInputError, TransitError
from transit.trace.context import in_call, innermost, is_any_open
from transit.trace.errors import rebuilt
from transit.trace.events import CallChunk, CallResult, ErrorInfo, check_text, encode_json
from transit.trace.failures import warn
from transit.trace.forms import Forms
from transit.trace.values import restored

_R = TypeVar("_R")
_P = ParamSpec("_P")


class RecordedCallError(TransitError):
    """A recorded call raised; `type` is the name of its exception's class, with its module's."""

    def __init__(self, error: ErrorInfo) -> None:
        super().__init__(f"{error.type}: {error.message}")
        self.type = error.type


class RecordedExitError(BaseException):
    """A recorded call was left by what is no `Exception`; `type` as of `RecordedCallError`."""

    def __init__(self, error: ErrorInfo) -> None:
        super().__init__(f"{error.type}: {error.message}")
        self.type = error.type

    def __reduce__(self) -> tuple[object, ...]:
        # Made again without __init__: the text in `args` is not what it takes.
        return _make_again, (type(self), *self.args), self.__dict__ or None


def _make_again(kind: type[BaseException], *args: object) -> BaseException:
    return kind.__new__(kind, *args)


class NotReplayableError(TransitError):
    """What a call gave is not in the recording, or not as it was: a replay cannot give it.

    `place` says which value it is, and of what type.
    """

    def __init__(self, call: str, place: str, hint: str) -> None:
        super().__init__(f"{call}: {place} is not in the recording as it was: {hint}")
        self.place = place


class Call(msgspec.Struct, frozen=True):
    """A call about to be made. arguments: in exact form. digest: as `Forms` gives it.

    redacted: count of places that a redaction policy changed.
    """

    name: str
    arguments: object
    digest: str
    redacted: int = 0

    def __str__(self) -> str:
        text = encode_json(self.arguments).decode("utf-8", "replace")
        return f"{self.name}({text if len(text) <= 200 else text[:200] + '…'})"


class Given(msgspec.Struct, frozen=True):
    """Something the recording gives, and how the moment is awaited at which it came."""

    event: CallResult | CallChunk
    wait: Callable[[], Awaitable[None]]


class Outcome(msgspec.Struct, frozen=True):
    """What the recording says came of a call. chunks: what a generator gave before."""

    result: Given
    chunks: Callable[[], Iterator[Given]]
    allow_redacted: bool = False


class Recorder(Protocol):
    """What makes or answers calls: a task, or a replay of one."""

    @property
    def forms(self) -> Forms:
        """What it remembers of the values of its calls."""
        ...

    def begin_call(self, call: Call) -> str | Outcome:
        """The id of the call to make now, or what came of it when it was recorded."""
        ...

    def chunk_call(self, call_id: str, value: object) -> None:
        """Record a value that a generator gave."""
        ...

    def end_call(
        self,
        call_id: str,
        call: Call,
        result: object,
        error: BaseException | None,
        duration_ns: int,
    ) -> None:
        """Record what came of a call that was made."""
        ...

    def clean(self, value: object) -> tuple[object, int]:
        """A value in exact form as it may be recorded, and how many places were changed."""
        ...


def make_call(recorder: Recorder, name: str, arguments: object) -> Call:
    """A call with its digest, which is about what may be recorded of the arguments."""
    form, count = recorder.clean(recorder.forms.exact(arguments, "arguments").value)
    return Call(name, form, recorder.forms.digest(form), count)


class _Running:
    """A call being made."""

    def __init__(self, recorder: Recorder, call_id: str, call: Call) -> None:
        self._recorder = recorder
        self._call_id = call_id
        self._call = call
        self._begun_ns = time.monotonic_ns()

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
        self._recorder.end_call(self._call_id, self._call, result, error, duration)


@contextmanager
def _inside(recorder: Recorder) -> Iterator[None]:
    """What the block calls is part of the call being made."""
    token = in_call.set(recorder)
    try:
        yield
    finally:
        in_call.reset(token)


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
            return cast(_R, self._give(begun, begun.result.event))
        running = _Running(recorder, begun, call)
        try:
            with _inside(recorder):
                result = function()
        except BaseException as error:
            running.raised(error)
            raise
        running.returned(result)
        return result

    async def run_async(
        self, recorder: Recorder, call: Call, function: Callable[[], Awaitable[_R]]
    ) -> _R:
        """`run` for a function that is awaited."""
        begun = recorder.begin_call(call)
        if isinstance(begun, Outcome):
            await begun.result.wait()
            return cast(_R, self._give(begun, begun.result.event))
        running = _Running(recorder, begun, call)
        try:
            with _inside(recorder):
                result = await function()
        except BaseException as error:
            running.raised(error)
            raise
        running.returned(result)
        return result

    def run_generator(
        self, recorder: Recorder, call: Call, function: Callable[[], Generator[Any, Any, Any]]
    ) -> Generator[Any, Any, Any]:
        """`run` for a generator: what it gives is recorded as it comes."""
        begun = recorder.begin_call(call)
        if isinstance(begun, Outcome):
            for chunk in begun.chunks():
                value = self._give(begun, chunk.event)
                try:
                    yield value
                except Exception:
                    # Thrown into it: what it gave then is recorded.
                    continue
            return self._give(begun, begun.result.event)
        running = _Running(recorder, begun, call)
        try:
            with _inside(recorder):
                source = function()
            step, given = source.send, None
            while True:
                try:
                    with _inside(recorder):
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

    async def run_async_generator(
        self, recorder: Recorder, call: Call, function: Callable[[], AsyncGenerator[Any, Any]]
    ) -> AsyncGenerator[Any, Any]:
        """`run` for an async generator."""
        begun = recorder.begin_call(call)
        if isinstance(begun, Outcome):
            for chunk in begun.chunks():
                await chunk.wait()
                value = self._give(begun, chunk.event)
                try:
                    yield value
                except Exception:
                    # Thrown into it: what it gave then is recorded.
                    continue
            await begun.result.wait()
            self._give(begun, begun.result.event)
            return
        running = _Running(recorder, begun, call)
        try:
            with _inside(recorder):
                source = function()
            step: Any = source.asend
            given: Any = None
            while True:
                try:
                    with _inside(recorder):
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

    def _give(self, outcome: Outcome, event: CallResult | CallChunk) -> object:
        name = event.call_name if isinstance(event, CallResult) else "a value of a generator"
        if event.redacted and not outcome.allow_redacted:
            hint = (
                "the redaction policy took it; replay(..., allow_redacted=True) gives what is left"
            )
            raise NotReplayableError(name, "what it gave", hint)
        if isinstance(event, CallResult) and event.error is not None:
            raise self._rebuilt(event.error)
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


class _Arguments:
    """How the arguments of a function are recorded: by parameter, however they were passed."""

    def __init__(self, function: Callable[..., object], exclude: Collection[str]) -> None:
        self._signature = inspect.signature(function)
        kinds = {name: each.kind for name, each in self._signature.parameters.items()}
        more = [name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_KEYWORD]
        if isinstance(exclude, str):
            raise InvalidInputError(f"exclude must be names, not the text {exclude!r}")
        for name in exclude:
            # Misspelt, it would record what must not be.
            if name not in kinds and not more:
                raise InvalidInputError(f"exclude: no parameter {name!r}")
        # The instance, or the class, is no argument. Elsewhere `cls` is a name as others.
        first = next(iter(kinds), "")
        own = {first} if first in ("self", "cls") and _is_method(function) else set()
        self._exclude = {*own, *exclude}
        self._more = more[0] if more else ""
        rest = [name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_POSITIONAL]
        self._rest = rest[0] if rest else ""

    def of(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
        """The arguments of one call; `TypeError` when the function does not take them."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found = self._kept(bound.arguments)
        if self._rest in found:
            found[self._rest] = list(cast("tuple[object, ...]", found[self._rest]))
        if self._more in found:
            found[self._more] = self._kept(cast(Mapping[str, object], found[self._more]))
        return found

    def _kept(self, arguments: Mapping[str, object]) -> dict[str, object]:
        return {name: value for name, value in arguments.items() if name not in self._exclude}


def _is_method(function: Callable[..., object]) -> bool:
    """Whether the function stands in a class."""
    stem, _, _ = getattr(function, "__qualname__", "").rpartition(".")
    return bool(stem) and not stem.endswith("<locals>")


def recorder() -> Recorder | None:
    """What records the calls of this code: a task, or the replay of one."""
    found = innermost()
    if (
        found is None
        and is_any_open()
        and threading.current_thread() is not threading.main_thread()
    ):
        warn(
            "a recorded function is called in a thread that is in no run, while there is one: its "
            "calls are not recorded. Hand the work over with transit.trace.carry(function)",
            key="thread",
        )
    return cast("Recorder | None", found)


def recorded(
    name: str,
    *,
    returns: object = None,
    raises: Sequence[type[BaseException]] = (),
    exclude: Collection[str] = (),
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Record each call of the decorated function in the current task.

    For functions, async functions, generators and async generators, whose values are recorded as
    they come. In a replay the function does not run: the recording answers. Outside of a task it is
    called as it is. returns: the type a recorded result, or each value of a generator, is converted
    to (`msgspec.convert`, or the type's `model_validate`); None: what it was. raises: exceptions
    that come back as themselves, with those below them. exclude: parameters that are neither
    recorded nor compared: credentials, connections; the instance or class of a method never is.
    Raises `InvalidInputError` for an excluded parameter that is none. Calls raise in a replay:
    `ReplayDivergenceError`, and `NotReplayableError` for what the recording does not hold.
    """
    check_text(name, "call name")
    boundary = Boundary(returns, tuple(raises))

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        arguments = _Arguments(function, exclude)
        run: Any = runner_of(boundary, function)

        def begun(args: Any, kwargs: Any) -> tuple[Recorder, Call, Callable[[], Any]] | None:
            here = recorder()
            if here is None or in_call.get() is here:
                return None
            call = make_call(here, name, arguments.of(args, kwargs))
            return here, call, functools.partial(function, *args, **kwargs)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> object:
                found = begun(args, kwargs)
                return await (run(*found) if found else function(*args, **kwargs))

            return cast("Callable[_P, _R]", wrapper)

        @functools.wraps(function)
        def plain(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            found = begun(args, kwargs)
            return cast(_R, run(*found)) if found else function(*args, **kwargs)

        return plain

    return decorate


def runner_of(boundary: Boundary, function: Callable[..., object]) -> Callable[..., object]:
    """How calls of a function of this kind are made."""
    if inspect.iscoroutinefunction(function):
        return boundary.run_async
    if inspect.isgeneratorfunction(function):
        return boundary.run_generator
    if inspect.isasyncgenfunction(function):
        return boundary.run_async_generator
    return boundary.run
