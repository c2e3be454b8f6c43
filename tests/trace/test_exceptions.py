"""Exceptions as they come back in a replay."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace.errors import describe, rebuilt
from transit.trace.values import exact, restored


class StatusError(Exception):
    """As errors of SDKs are: arguments that only have names."""

    def __init__(self, message: str, *, status: int, body: object) -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class RateError(StatusError):
    pass


class Stop(BaseException):
    pass


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError


def from_another() -> None:
    try:
        {}["k"]
    except KeyError as error:
        raise ValueError("v") from error


ERRORS: list[BaseException] = [
    ValueError("no", 3),
    raised(lambda: 1 / 0),
    raised(lambda: open("/nowhere/at/all")),  # noqa: SIM115
    OSError(2, "gone", "one", None, "two"),
    raised(b"\xff".decode),
    raised(lambda: json.loads("{")),
    subprocess.CalledProcessError(3, ["ls", "-l"], b"out", "err"),
    subprocess.TimeoutExpired("x", 3.5),
    ExceptionGroup("g", [ValueError(1), ExceptionGroup("h", [PermissionError(1, "x")])]),
    BaseExceptionGroup("g", [KeyboardInterrupt()]),
    KeyboardInterrupt(),
    SystemExit(0),
    GeneratorExit(),
    asyncio.CancelledError("why"),
    TimeoutError(),
    StopIteration({"a": (1, 2)}),
    raised(lambda: __import__("no_such_module")),
    raised(lambda: undefined),  # type: ignore[name-defined]  # noqa: F821
    SyntaxError("bad", ("file", 1, 2, "text")),
    raised(from_another),
    transit.NotFoundError("x"),
    RateError("slow down", status=429, body={"retry": (1, b"x")}),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_exception_comes_back_as_it_was(error: BaseException) -> None:
    found = rebuilt(describe(error), (StatusError, transit.TransitError))
    assert type(found) is type(error)
    assert str(found) == str(error)
    if not isinstance(error, BaseExceptionGroup):
        assert found.args == error.args
    assert found.__dict__ == error.__dict__
    assert repr(found.__cause__) == repr(error.__cause__)
    for name in ("filename", "filename2", "errno", "name", "value", "code", "start", "lineno"):
        assert getattr(found, name, None) == getattr(error, name, None)


def test_notes_come_back_and_what_does_not_is_named() -> None:
    error = RateError("x", status=1, body=object())
    error.add_note("a note")
    info = describe(error)
    assert info.lost == ("body: object",)
    found: Any = rebuilt(info, (RateError,))
    assert found.__notes__ == ["a note"]
    assert (found.status, hasattr(found, "body")) == (1, False)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RateError("x", status=1, body=None), trace.RecordedCallError),
        (Stop("x"), trace.RecordedExitError),
        (KeyboardInterrupt("x"), KeyboardInterrupt),
    ],
)
def test_what_is_no_exception_never_becomes_one(
    log: transit.Log, error: BaseException, kind: type[BaseException]
) -> None:
    def fail() -> None:
        raise error

    with trace.task(log, "t") as task, pytest.raises(type(error)):
        task.call("f", [], fail)
    with trace.replay(log, "t") as replay, pytest.raises(kind) as caught:
        replay.call("f", [], fail)
    assert isinstance(caught.value, Exception) == isinstance(error, Exception)


def test_a_subclass_of_a_named_class_comes_back(log: transit.Log) -> None:
    @trace.recorded("ask", raises=[StatusError])
    def ask() -> None:
        raise RateError("slow", status=429, body={"a": 1})

    for block in (lambda: trace.task(log, "t"), lambda: trace.replay(log, "t")):
        with block(), pytest.raises(RateError, match="slow") as caught:
            ask()
        assert (caught.value.status, caught.value.body) == (429, {"a": 1})


def test_an_exception_may_be_a_value(log: transit.Log) -> None:
    @trace.recorded("gather")
    def gather() -> list[object]:
        return [1, ValueError("x", 2), OSError(2, "gone", "f")]

    with trace.task(log, "t"):
        gather()
    with trace.replay(log, "t"):
        one, error, other = gather()
    assert (one, repr(error), str(other)) == (1, "ValueError('x', 2)", "[Errno 2] gone: 'f'")
    lost = exact([RateError("x", status=1, body=None)])
    assert lost.lost == "value[0]: tests.trace.test_exceptions.RateError"


def test_an_exception_that_holds_itself_is_described() -> None:
    error = ValueError()
    error.args = (error,)
    assert describe(error).lost
    assert exact(error).lost
    with pytest.raises(transit.InvalidInputError):
        restored({"$type": "exception", "value": {"type": "no.such.Error"}})


def test_a_run_that_calls_exit_0_is_completed(log: transit.Log) -> None:
    for name, code, status in (("a", 0, "completed"), ("b", None, "completed"), ("c", 3, "failed")):
        with pytest.raises(SystemExit), trace.task(log, name):
            raise SystemExit(code)
        assert (end := trace.read(log, name).ended) is not None
        assert end.status == status


@pytest.mark.parametrize("where", ["args", "state", "cause"])
def test_an_exception_that_holds_too_much_for_a_record_is_recorded_without_that(
    log: transit.Log, where: str
) -> None:
    page = "<html>" * 1_000_000
    error: Exception = ValueError(page if where == "args" else "small")
    if where == "state":
        error.body = page  # type: ignore[attr-defined]
    if where == "cause":
        error.__cause__ = RuntimeError(page)
    with trace.task(log, "t") as task:
        task.tool("fetch").failure(error)
    (result,) = [r.event for r in trace.read(log, "t") if isinstance(r.event, trace.ToolResult)]
    assert result.error is not None
    assert result.error.type == "ValueError"
    name = {"args": "args", "state": "body", "cause": "cause.args"}[where]
    assert result.error.lost == (f"{name}: {len(page) + (4 if name != 'body' else 2)} bytes",)
    assert result.error.message.startswith("<html>" if where == "args" else "small")
    assert len(log.stream("t")[1].payload) < 100_000
