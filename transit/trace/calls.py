"""Calls out of the program: recorded when they happen, answered from the recording in a replay.

Owns what is compared (the name, and a digest of the arguments) and what is kept of an outcome. A
result is kept as JSON: it must be encodable, and where it should come back as another type than
JSON's own, `returns` says which. An exception comes back as itself when it is one of Python's own
or one that `raises` names, otherwise as `RecordedCallError`. A call made by a recorded call is part
of it, and not recorded on its own: a replay does not make it.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import json
import math
import traceback
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import msgspec
from blake3 import blake3

from transit import InvalidInputError, TransitError
from transit.trace.context import in_call, innermost
from transit.trace.events import CallResult, ErrorInfo, check_text, encode_json

_R = TypeVar("_R")
_P = ParamSpec("_P")
_TRACEBACK_CHARS_MAX = 16 * 1024
_digest_encoder = msgspec.json.Encoder(order="deterministic")


class RecordedCallError(TransitError):
    """A recorded call raised; `type` is the name of its exception's class, with its module's."""

    def __init__(self, error: ErrorInfo) -> None:
        super().__init__(f"{error.type}: {error.message}")
        self.type = error.type


class Call(msgspec.Struct, frozen=True):
    """A call about to be made. digest: BLAKE3 of the arguments, 32 hex digits."""

    name: str
    arguments: object
    digest: str

    def __str__(self) -> str:
        text = encode_json(self.arguments).decode("utf-8", "replace")
        return f"{self.name}({text if len(text) <= 200 else text[:200] + '…'})"


class Outcome(msgspec.Struct, frozen=True):
    """What the recording says came of a call.

    wait: awaits the moment it came, beside other calls; only where the call is awaited.
    """

    result: CallResult
    wait: Callable[[], Awaitable[None]]


class Recorder(Protocol):
    """What makes or answers calls: a task, or a replay of one."""

    def begin_call(self, call: Call) -> str | Outcome:
        """The id of the call to make now, or what came of it when it was recorded."""
        ...

    def end_call(self, call_id: str, call: Call, result: object, error: ErrorInfo | None) -> None:
        """Record what came of a call that was made."""
        ...


def make_call(name: str, arguments: object) -> Call:
    """A call with its digest; `InvalidInputError` when the arguments are not JSON's."""
    check_text(name, "call name")
    data = encode_json(arguments)
    try:
        data = _digest_encoder.encode(arguments)
    except UnicodeEncodeError:
        # Half a surrogate pair. Decoded it is JSON's own, and its keys are text.
        data = json.dumps(json.loads(data), sort_keys=True).encode()
    return Call(name, arguments, blake3(data).hexdigest(16))


def describe_error(error: BaseException) -> ErrorInfo:
    """An exception as it is recorded."""
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    trace = "".join(traceback.format_exception(error))
    try:
        message = str(error)
    except Exception:
        # It is the program's own method. The end of a run must be recorded all the same.
        message = "its text could not be made"
    return ErrorInfo(
        type=name, message=message, traceback=trace[-_TRACEBACK_CHARS_MAX:], args=_plain(error)
    )


def _plain(error: BaseException) -> tuple[object, ...]:
    """The arguments it was made with, when they can be recorded as they are."""
    args = error.args
    if isinstance(error, OSError) and isinstance(error.filename, str) and len(args) == 2:
        # It hides the rest of what it was made with.
        args = (*args, error.filename)
    plain = all(type(each) in (str, int, bool, type(None)) or _finite(each) for each in args)
    return args if plain else ()


def _finite(value: object) -> bool:
    return type(value) is float and math.isfinite(value)


class _Running:
    """A call being made; what leaves the block is recorded."""

    def __init__(self, recorder: Recorder, call_id: str, call: Call) -> None:
        self._recorder = recorder
        self._call_id = call_id
        self._call = call

    def __enter__(self) -> _Running:
        return self

    def returned(self, result: _R) -> _R:
        """Record the result, and pass it on."""
        encode_json(result)
        self._recorder.end_call(self._call_id, self._call, result, None)
        return result

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        try:
            self._recorder.end_call(self._call_id, self._call, None, describe_error(error))
        except TransitError as second:
            error.add_note(f"recording it failed too: {second}")


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

    returns: the type of results, None for JSON's own. raises: exceptions to raise as themselves.
    """

    returns: object = None
    raises: tuple[type[Exception], ...] = ()

    def run(self, recorder: Recorder, call: Call, function: Callable[[], _R]) -> _R:
        """Make the call, or give what is recorded of it."""
        if in_call.get() is recorder:
            return function()
        begun = recorder.begin_call(call)
        if isinstance(begun, Outcome):
            return cast(_R, self._give(begun.result))
        with _Running(recorder, begun, call) as running:
            with _inside(recorder):
                result = function()
            return running.returned(result)

    async def run_async(
        self, recorder: Recorder, call: Call, function: Callable[[], Awaitable[_R]]
    ) -> _R:
        """`run` for a function that is awaited."""
        if in_call.get() is recorder:
            return await function()
        begun = recorder.begin_call(call)
        if isinstance(begun, Outcome):
            await begun.wait()
            return cast(_R, self._give(begun.result))
        with _Running(recorder, begun, call) as running:
            with _inside(recorder):
                result = await function()
            return running.returned(result)

    def _give(self, result: CallResult) -> object:
        if result.error is not None:
            raise self._rebuilt(result.error)
        if self.returns is None:
            return result.result
        try:
            return msgspec.convert(result.result, cast(Any, self.returns), str_keys=True)
        except msgspec.ValidationError as error:
            raise InvalidInputError(
                f"{result.call_name}: what is recorded is no {self.returns}: {error}"
            ) from None

    def _rebuilt(self, error: ErrorInfo) -> Exception:
        """Never imports: what a log names is not loaded."""
        found = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in self.raises}
        kind = found.get(error.type, getattr(builtins, error.type, None))
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                return kind(*(error.args or (error.message,)))
            except Exception:
                # Its class takes other arguments than its text.
                pass
        return RecordedCallError(error)


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
        self._exclude = {"self", "cls", *exclude}
        self._more = more[0] if more else ""

    def of(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
        """The arguments of one call; `TypeError` when the function does not take them."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found = self._kept(bound.arguments)
        if self._more in found:
            found[self._more] = self._kept(cast(Mapping[str, object], found[self._more]))
        return found

    def _kept(self, arguments: Mapping[str, object]) -> dict[str, object]:
        return {name: value for name, value in arguments.items() if name not in self._exclude}


def _recorder() -> Recorder | None:
    return cast(Recorder | None, innermost())


def recorded(
    name: str,
    *,
    returns: object = None,
    raises: Sequence[type[Exception]] = (),
    exclude: Collection[str] = (),
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Record each call of the decorated function, plain or async, in the current task.

    In a replay the function does not run: the recording answers. Outside of a task it is called as
    it is. returns: the type a recorded result is converted to (by `msgspec.convert`); None: JSON's
    own. raises: exceptions that come back as themselves. exclude: parameters that are neither
    recorded nor compared: credentials, connections; `self` and `cls` never are.
    Raises `InvalidInputError` for an excluded parameter that is none. Calls raise it when arguments
    or result are not JSON's, and in a replay `ReplayDivergenceError`.
    """
    check_text(name, "call name")
    boundary = Boundary(returns, tuple(raises))

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        arguments = _Arguments(function, exclude)

        def begin(args: Sequence[object], kwargs: Mapping[str, object]) -> Call:
            return make_call(name, arguments.of(args, kwargs))

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> object:
                task = _recorder()
                if task is None:
                    return await function(*args, **kwargs)
                run = functools.partial(function, *args, **kwargs)
                return await boundary.run_async(task, begin(args, kwargs), run)

            return cast(Callable[_P, _R], wrapper)

        @functools.wraps(function)
        def plain(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            task = _recorder()
            if task is None:
                return function(*args, **kwargs)
            run = functools.partial(function, *args, **kwargs)
            return boundary.run(task, begin(args, kwargs), run)

        return plain

    return decorate
