"""Functions whose calls are recorded: the decorator, and how their arguments are named."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from transit import InvalidInputError
from transit.trace.boundary import Boundary, runner_of
from transit.trace.calls import Call, Recorder, make_call
from transit.trace.context import in_call, innermost, is_any_open
from transit.trace.events import check_text
from transit.trace.failures import warn

_R = TypeVar("_R")
_P = ParamSpec("_P")


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
