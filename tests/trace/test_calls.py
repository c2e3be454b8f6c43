"""Calls out of the program: what is recorded of them, and how it comes back."""

from __future__ import annotations

import asyncio
import functools
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import transit
from tests.trace.conftest import lose
from transit import trace


def recorded_calls(log: transit.Log, name: str = "t") -> list[Any]:
    found = [record.event for record in trace.read(log, name)]
    return [e for e in found if isinstance(e, trace.CallRequest | trace.CallResult)]


class Service:
    """Something outside, which counts how often it is reached."""

    def __init__(self) -> None:
        self.reached = 0

    @trace.recorded("service.get")
    def get(self, url: str, *parts: str, retries: int = 3, **more: object) -> dict[str, object]:
        self.reached += 1
        return {"url": url, "parts": list(parts), "retries": retries, **more}


def test_a_call_is_recorded_with_its_arguments_by_name_and_its_result(log: transit.Log) -> None:
    with trace.task(log, "t"):
        Service().get("a", "b", "c", deep={"x": 1})
    request, result = recorded_calls(log)
    assert request.call_name == result.call_name == "service.get"
    assert request.call_id == result.call_id != ""
    assert request.arguments == {
        "url": "a", "parts": ["b", "c"], "retries": 3, "more": {"deep": {"x": 1}}
    }  # fmt: skip
    assert (result.call_status, result.error) == ("success", None)
    assert result.result["deep"] == {"x": 1}


def test_the_digest_is_that_of_the_arguments_however_they_are_given(log: transit.Log) -> None:
    @trace.recorded("f")
    def f(a: object, b: object = 2) -> None:
        pass

    with trace.task(log, "t") as task:
        f({"x": 1, "y": 2})
        f(b=2, a={"y": 2, "x": 1})
        f({"x": 1, "y": 2}, 3)
        f({"x": "\ud800", "y": "é"})
        f({"y": "é", "x": "\ud800"})
        task.call("f", {"a": 1}, lambda a: None)
        task.call("f", [1], lambda a: None)
    digests = [e.arguments_digest for e in recorded_calls(log) if isinstance(e, trace.CallRequest)]
    assert digests[0] == digests[1] != digests[2]
    assert digests[3] == digests[4] != digests[0]
    assert digests[5] != digests[6]
    assert {len(digest) for digest in digests} == {32}


def test_outside_of_a_task_a_function_is_called_as_it_is(log: transit.Log) -> None:
    returned = object()

    @trace.recorded("f")
    def f(value: object) -> object:
        return value

    @trace.recorded("g")
    async def g(value: object) -> object:
        return value

    assert f(returned) is returned
    assert asyncio.run(g(returned)) is returned
    assert f.__name__ == "f"
    assert asyncio.iscoroutinefunction(g) or hasattr(g, "__wrapped__")


def test_a_call_through_the_task_takes_a_mapping_or_a_sequence(log: transit.Log) -> None:
    task = trace.task(log, "t")
    assert task.call("pow", [2, 5], pow) == 32
    assert task.call("join", {"sep": "-"}, lambda sep: sep.join("ab")) == "a-b"

    async def later(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    assert asyncio.run(_await(task.call("later", {"n": 1}, later))) == 2
    assert asyncio.run(_await(task.call("later", {}, functools.partial(later, 5)))) == 6
    assert [e.result for e in recorded_calls(log)[1::2]] == [32, "a-b", 2, 6]


async def _await(awaitable: Any) -> Any:
    return await awaitable


def test_an_exception_is_recorded_and_raised(log: transit.Log) -> None:
    error = ValueError("no", 3)

    @trace.recorded("f")
    def f() -> None:
        raise error

    with trace.task(log, "t"):
        with pytest.raises(ValueError, match="no") as caught:
            f()
        assert caught.value is error
    _, result = recorded_calls(log)
    assert result.call_status == "failure"
    assert (result.error.type, result.error.args) == ("ValueError", ("no", 3))


def test_a_call_into_a_closed_store_says_so_and_keeps_the_error(path: Any) -> None:
    log = transit.open(path, durability="os")

    def close_and_fail() -> None:
        log.close()
        raise ValueError("mine")

    task = trace.task(log, "t")
    with pytest.raises(ValueError, match="mine"):
        task.call("f", [], close_and_fail)
    lose(1)
    with transit.open(path) as again:
        assert len(trace.read(again, "t").open_calls) == 1


# Excluded


def test_what_is_excluded_is_neither_recorded_nor_compared(log: transit.Log) -> None:
    @trace.recorded("f", exclude=["token", "session"])
    def f(url: str, token: str = "", **options: object) -> str:
        return url + token + str(options)

    with trace.task(log, "t"):
        f("u", "secret-1", session="secret-2", depth=1)
    request, _ = recorded_calls(log)
    assert request.arguments == {"url": "u", "options": {"depth": 1}}
    with trace.replay(log, "t"):
        assert f("u", "secret-3", session="secret-4", depth=1).startswith("u")


@pytest.mark.parametrize("exclude", ["token", ["tokne"], {"url", "x"}])
def test_an_exclusion_that_excludes_nothing_is_refused(exclude: Any) -> None:
    with pytest.raises(transit.InvalidInputError, match="exclude"):

        @trace.recorded("f", exclude=exclude)
        def f(url: str, token: str) -> None:
            pass


def test_methods_are_recorded_without_their_instance(log: transit.Log) -> None:
    class Client:
        @classmethod
        @trace.recorded("make")
        def make(cls, n: int) -> int:
            return n

        @trace.recorded("use", exclude=["secret"])
        def use(self, n: int, secret: object) -> int:
            return n

    with trace.task(log, "t"):
        assert Client.make(3) == 3
        assert Client().use(4, object()) == 4
    assert [e.arguments for e in recorded_calls(log)[::2]] == [{"n": 3}, {"n": 4}]


# Calls within calls


def test_a_call_made_by_a_call_is_part_of_it(log: transit.Log) -> None:
    reached = []

    @trace.recorded("inner")
    def inner(n: int) -> int:
        reached.append(n)
        task = trace.current()
        assert task is not None
        task.message("tool", f"inner {n}")
        return n * 2

    @trace.recorded("inner, awaited")
    async def inner_awaited(n: int) -> int:
        await asyncio.sleep(0)
        return inner(n)

    @trace.recorded("outer")
    def outer(n: int) -> int:
        return inner(n) + inner(n + 1)

    @trace.recorded("outer, awaited")
    async def outer_awaited(n: int) -> int:
        return sum(await asyncio.gather(inner_awaited(n), inner_awaited(n + 1)))

    def program() -> list[int]:
        task = trace.current()
        assert task is not None
        offsets = [task.message("user", "begin")]
        found = [outer(1), inner(9), asyncio.run(outer_awaited(5)), outer(2)]
        return [*found, *offsets, task.message("user", "end")]

    with trace.task(log, "t"):
        first = program()
    assert first[:4] == [6, 18, 22, 10]
    assert len(reached) == 7
    names = [e.call_name for e in recorded_calls(log)[::2]]
    assert names == ["outer", "inner", "outer, awaited", "outer"]
    with trace.replay(log, "t"):
        assert program() == first, "the offsets too: what a call records is not the program's"
    assert len(reached) == 7
    with trace.replay(log, "t", live_from=2):
        assert program()[:4] == first[:4]
    assert len(reached) == 7 + 4


def test_a_task_within_a_call_records_its_own_calls(log: transit.Log) -> None:
    @trace.recorded("get")
    def get(n: int) -> int:
        return n

    @trace.recorded("agent")
    def sub_agent(n: int) -> int:
        with trace.task(log, f"sub-{n}"):
            return get(n) + get(n)

    with trace.task(log, "t"):
        assert sub_agent(1) == 2
        assert get(1) == 1
    assert [e.call_name for e in recorded_calls(log)[::2]] == ["agent", "get"]
    assert [e.call_name for e in recorded_calls(log, "sub-1")[::2]] == ["get", "get"]


# How outcomes come back


class Point(msgspec.Struct):
    x: int
    y: int = 0


@dataclass
class Page:
    url: str
    at: datetime


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        (Point, Point(1, 2)),
        (list[Point], [Point(1), Point(2)]),
        (Page, Page("u", datetime(2026, 1, 2, tzinfo=UTC))),
        (tuple[int, str], (1, "a")),
        (set[int], {1, 2, 3}),
        (bytes, b"\x00\xff"),
        (dict[int, str], {1: "a"}),
        (Point | None, None),
        (None, {"a": [1, 2.5, None, "half \ud800"]}),
        (str, "half \ud800"),
        (None, "null"),
    ],
    ids=str,
)
def test_a_result_comes_back_as_the_type_it_returns(
    log: transit.Log, returns: Any, value: Any
) -> None:
    @trace.recorded("f", returns=returns)
    def f() -> Any:
        return value

    @trace.recorded("g", returns=returns)
    async def g() -> Any:
        return value

    with trace.task(log, "t"):
        assert f() is value
        assert asyncio.run(g()) is value
    with trace.replay(log, "t"):
        found = [f(), asyncio.run(g())]
    assert found == [value, value]
    assert [type(each) for each in found] == [type(value)] * 2


def test_a_result_that_is_not_the_type_any_more_is_refused(log: transit.Log) -> None:
    def f_returning(returns: Any) -> Any:
        return trace.recorded("f", returns=returns)(lambda: {"x": 1})

    with trace.task(log, "t"):
        f_returning(Point)()
    with (
        pytest.raises(transit.InvalidInputError, match=r"f: .*no .*Expected `int`, got `object`"),
        trace.replay(log, "t"),
    ):
        f_returning(int)()


class OwnError(Exception):
    pass


class TwoTextsError(Exception):
    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def undecodable() -> None:
    b"\xff".decode()


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (ValueError("no", 3), ValueError, "('no', 3)"),
    (ValueError(), ValueError, ""),
    (ValueError(["a list"]), ValueError, "['a list']"),
    (KeyError("k"), KeyError, "'k'"),
    (FileNotFoundError(2, "gone", "x.py"), FileNotFoundError, "[Errno 2] gone: 'x.py'"),
    (OSError("plain"), OSError, "plain"),
    (TimeoutError("slow"), TimeoutError, "slow"),
    (json.JSONDecodeError("bad", "doc", 1), json.JSONDecodeError,
     "bad: line 1 column 2 (char 1)"),
    (UnicodeDecodeError("utf-8", b"x", 0, 1, "why"), UnicodeDecodeError,
     "'utf-8' codec can't decode byte 0x78 in position 0: why"),
    (OwnError("mine"), trace.RecordedCallError, f"{__name__}.OwnError: mine"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind", "text"), ERRORS, ids=lambda value: repr(value)[:40])
def test_an_exception_comes_back(
    log: transit.Log, error: Exception, kind: type[Exception], text: str
) -> None:
    def fail() -> None:
        raise error

    @trace.recorded("g")
    async def g() -> None:
        raise error

    with trace.task(log, "t") as task:
        for _ in range(2):
            with pytest.raises(type(error)):
                task.call("f", [], fail)
        with pytest.raises(type(error)):
            asyncio.run(g())
    with trace.replay(log, "t") as replay:
        for _ in range(2):
            with pytest.raises(kind) as caught:
                replay.call("f", [], fail)
            assert type(caught.value) is kind
            assert str(caught.value) == text
        with pytest.raises(kind):
            asyncio.run(g())


def test_an_exception_that_is_named_comes_back_as_itself(log: transit.Log) -> None:
    errors: list[Exception] = [OwnError("mine", 3), TwoTextsError("a", "b"), OwnError()]

    @trace.recorded("f", raises=[OwnError, TwoTextsError])
    def f(n: int) -> None:
        raise errors[n]

    def program() -> list[tuple[type, str]]:
        found = []
        for n in range(3):
            try:
                f(n)
            except Exception as error:
                found.append((type(error), str(error)))
        return found

    with trace.task(log, "t"):
        assert program() == [(OwnError, "('mine', 3)"), (TwoTextsError, "a and b"), (OwnError, "")]
    with trace.replay(log, "t"):
        # One that takes other arguments than it keeps, too.
        assert program() == [
            (OwnError, "('mine', 3)"), (TwoTextsError, "a and b"), (OwnError, "")
        ]  # fmt: skip


@pytest.mark.parametrize("name", ["print", "SystemExit", "os.system", "__import__", "type", ""])
def test_a_name_from_a_log_loads_and_runs_nothing(
    log: transit.Log, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with trace.task(log, "t") as task, pytest.raises(ValueError, match="x"):
        task.call("f", [], lambda: int("x"))
    payloads = [record.payload for record in log.stream("t")]
    changed = b'"type":"%s"' % name.encode()
    log.create("u").append_many(
        [payload.replace(b'"type":"ValueError"', changed) for payload in payloads]
    )
    with trace.replay(log, "u") as replay, pytest.raises(trace.RecordedCallError) as caught:
        replay.call("f", [], print)
    assert caught.value.type == name
    assert capsys.readouterr().out == ""


def test_wrong_arguments_fail_as_they_would_and_are_not_recorded(log: transit.Log) -> None:
    with trace.task(log, "t"), pytest.raises(TypeError, match="url"):
        Service().get()  # type: ignore[call-arg]
    assert recorded_calls(log) == []
