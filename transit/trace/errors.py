"""Exceptions as they are recorded, and as they come back in a replay.

Owns what is kept of an exception, and which class it comes back as. Nothing is imported for it,
and no code runs but that of classes which the program itself trusts: Python's own, those of its
standard library that are loaded, the ones that `raises` names, and subclasses of these.
"""

from __future__ import annotations

import builtins
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from transit import InvalidInputError
from transit.trace.events import ErrorInfo, encode_json
from transit.trace.values import Encode, exact, know_exceptions, name_of, restored, text_of

_TRACEBACK_CHARS_MAX: Final = 16 * 1024
# What an exception was made with, and each of its attributes, is kept up to so many bytes of JSON.
_VALUE_BYTES_MAX: Final = 256 * 1024
# Attributes that are not among those of `__dict__`.
_SLOTS: Final[tuple[tuple[type[BaseException], tuple[str, ...]], ...]] = (
    (ImportError, ("name", "path")),
    (NameError, ("name",)),
    (AttributeError, ("name",)),
)
# Of a longer chain of causes the rest is in the traceback.
_CAUSES_MAX: Final = 8


def describe(error: BaseException) -> ErrorInfo:
    """An exception as it is recorded; never raises."""
    lost: list[str] = []

    def encode(value: object, what: str) -> object:
        found = exact(value, what)
        if found.lost:
            lost.append(found.lost)
        return found.value

    parts = _fitted(parts_of(error, encode), lost)
    state = {
        name: form
        for name, form in parts.state.items()
        if not any(each.startswith((f"{name}:", f"{name}.", f"{name}[")) for each in lost)
    }
    try:
        trace = "".join(traceback.format_exception(error))
    except Exception:
        # Methods of the program's own run in it.
        trace = ""
    return msgspec.structs.replace(
        parts, traceback=trace[-_TRACEBACK_CHARS_MAX:], state=state, lost=tuple(lost)
    )


def _fitted(info: ErrorInfo, lost: list[str], of: str = "") -> ErrorInfo:
    """The parts of an exception without what is too large for a record; of: it is a cause."""
    state = dict(info.state)
    args = info.args
    for name, form in (("args", list(args)), *info.state.items()):
        size = len(encode_json(form))
        if size > _VALUE_BYTES_MAX:
            lost.append(f"{of}{name}: {size} bytes")
            args = () if name == "args" else args
            state.pop(name, None)
    cause = None if info.cause is None else _fitted(info.cause, lost, f"{of}cause.")
    return msgspec.structs.replace(info, args=args, state=state, cause=cause)


def parts_of(error: BaseException, encode: Encode, causes: int = _CAUSES_MAX) -> ErrorInfo:
    """What makes an exception again, each value as `encode` gives it; without its traceback.

    causes: how many of its causes at most.
    """
    kind, cause = type(error), error.__cause__
    args = list(error.args)
    if isinstance(error, OSError) and len(args) == 2 and error.filename is not None:
        args.append(error.filename)
        if error.filename2 is not None:
            args += [None, error.filename2]
    state = dict(getattr(error, "__dict__", None) or {})
    state.update(
        {name: value for name in _slots(kind) if (value := getattr(error, name)) is not None}
    )
    form = cast("list[object]", encode(args, "args"))
    bases = tuple(
        name_of(each) for each in kind.__mro__[1:] if each.__module__ != "builtins"
    )  # fmt: skip
    return ErrorInfo(
        type=name_of(kind),
        message=text_of(error),
        args=tuple(form) if isinstance(form, list) else (),
        state={name: encode(value, name) for name, value in state.items() if isinstance(name, str)},
        bases=bases,
        is_exit=not isinstance(error, Exception),
        cause=parts_of(cause, encode, causes - 1) if cause is not None and causes else None,
    )


def _slots(kind: type[BaseException]) -> tuple[str, ...]:
    return next((names for base, names in _SLOTS if issubclass(kind, base)), ())


def rebuilt(info: ErrorInfo, raises: Sequence[type[BaseException]] = ()) -> BaseException | None:
    """The exception that was recorded; None where its class is not to be had."""
    kind = _class_of(info, raises)
    if kind is None:
        return None
    try:
        args = tuple(map(restored, info.args))
        state = {name: restored(form) for name, form in info.state.items()}
        error = _made(kind, args, info)
        for name in _slots(kind):
            setattr(error, name, state.pop(name, None))
        error.__dict__.update(state)
        if info.cause is not None:
            error.__cause__ = rebuilt(info.cause, raises)
    except Exception:
        # Its class, or what was recorded of it, is another one today.
        return None
    return error


def _made(kind: type[BaseException], args: tuple[object, ...], info: ErrorInfo) -> BaseException:
    if kind.__module__ == "builtins":
        return kind(*(args or ((info.message,) if info.lost else ())))
    # Its own `__init__` may want other arguments than `args`.
    error = kind.__new__(kind, *args)
    error.args = args
    return error


def _class_of(info: ErrorInfo, raises: Sequence[type[BaseException]]) -> type[BaseException] | None:
    for named in raises:
        found = _named_below(named, info.type)
        if found is not None:
            return found
    module, _, name = info.type.rpartition(".")
    if not module:
        found = getattr(builtins, name, None)
    elif module.partition(".")[0] in sys.stdlib_module_names and module in sys.modules:
        found = getattr(sys.modules[module], name, None)
    else:
        found = None
    is_one = isinstance(found, type) and issubclass(found, BaseException)
    return cast("type[BaseException]", found) if is_one else None


def _named_below(kind: type[BaseException], name: str) -> type[BaseException] | None:
    """The class with this name among `kind` and those below it."""
    waiting: list[type[BaseException]] = [kind]
    while waiting:
        each = waiting.pop()
        if name_of(each) == name:
            return each
        waiting += cast("list[Any]", type.__subclasses__(each))
    return None


def _kept(error: BaseException, encode: Encode) -> object | None:
    """An exception as a value, without its traceback."""
    parts = parts_of(error, encode)
    return msgspec.to_builtins(parts) if _class_of(parts, ()) is type(error) else None


def _made_of(form: object) -> BaseException:
    info = msgspec.convert(form, ErrorInfo)
    error = rebuilt(info)
    if error is None:
        raise InvalidInputError(f"no exception of Python's own: {info.type!r}")
    return error


know_exceptions(_kept, _made_of)
