"""Recorded calls that change what they are given, give it back, or give something to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import transit
from transit import trace


class Opaque:
    """An object that no recording holds."""


def both(log: transit.Log, program: Callable[[], Any]) -> tuple[Any, Any]:
    """What a program saw when it was recorded, and in a replay."""
    with trace.task(log, "t"):
        then = program()
    with trace.replay(log, "t"):
        return then, program()


def results(log: transit.Log) -> list[trace.CallResult]:
    return [r.event for r in trace.read(log, "t") if isinstance(r.event, trace.CallResult)]


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda: [1], lambda given: given.append(2)),
        (lambda: [1, [2]], lambda given: given[1].append(b"x")),
        (lambda: [3, 1], lambda given: given.sort()),
        (lambda: {"a": 1}, lambda given: given.update({2: "b"})),
        (lambda: {"a": 1}, lambda given: given.clear()),
        (lambda: {1, 2}, lambda given: given.discard(1)),
        (lambda: bytearray(b"ab"), lambda given: given.extend(b"c")),
        (
            lambda: [{"role": "user", "content": "x" * 600}] * 9,
            lambda given: given.append({"a": 1}),
        ),
    ],
    ids=["append", "inside", "sort", "update", "clear", "discard", "extend", "long"],
)
def test_an_argument_that_a_call_changed_is_changed_again(
    log: transit.Log, make: Callable[[], Any], change: Callable[[Any], Any]
) -> None:
    @trace.recorded("change")
    def call(given: Any) -> None:
        change(given)

    def program() -> Any:
        given = make()
        call(given)
        call(given)
        return given

    then, again = both(log, program)
    assert again == then
    assert again != make()
    assert results(log)[0].changed is not None


def test_a_conversation_that_a_call_goes_on_with_grows_linearly(log: transit.Log) -> None:
    @trace.recorded("step")
    def step(messages: list[dict[str, str]]) -> None:
        messages.append({"role": "assistant", "content": f"{len(messages)} {'x' * 400}"})

    def program() -> list[dict[str, str]]:
        messages = [{"role": "user", "content": "go"}]
        for _ in range(60):
            step(messages)
        return messages

    then, again = both(log, program)
    assert again == then
    unique = sum(len(message["content"]) for message in then)
    assert sum(len(record.payload) for record in log.stream("t")) < 2 * unique + 60 * 900


def test_a_call_that_failed_may_have_changed_its_argument(log: transit.Log) -> None:
    @trace.recorded("fail")
    def fail(seen: list[str]) -> None:
        seen.append("before")
        raise ValueError("no")

    def program() -> list[str]:
        seen: list[str] = []
        with pytest.raises(ValueError, match="no"):
            fail(seen)
        return seen

    assert both(log, program) == (["before"], ["before"])


def test_a_default_that_is_changed_is_changed_again(log: transit.Log) -> None:
    def program() -> list[int]:
        @trace.recorded("collect")
        def collect(n: int, into: list[int] = []) -> int:  # noqa: B006 - that it is kept is the point
            into.append(n)
            return len(into)

        collect(1)
        return [collect(2), *collect.__wrapped__.__defaults__[0]]  # type: ignore[attr-defined]

    assert both(log, program) == ([2, 1, 2], [2, 1, 2])


def test_arguments_of_task_call_are_changed_again(log: transit.Log) -> None:
    def program() -> Any:
        task = trace.current()
        assert task is not None
        by_place, by_name = [1], {"a": 1}
        task.call("place", [by_place], lambda given: given.append(2))
        task.call("name", {"given": by_name}, lambda given: given.pop("a"))
        return by_place, by_name

    assert both(log, program) == (([1, 2], {}), ([1, 2], {}))


def test_an_argument_that_is_not_changed_costs_no_byte(log: transit.Log) -> None:
    @trace.recorded("look")
    def look(given: list[int]) -> int:
        return len(given)

    with trace.task(log, "t"):
        look([1, 2])
    (result,) = results(log)
    assert result.changed is None
    assert b"changed" not in log.stream("t")[1].payload


def test_a_change_that_no_recording_holds_is_told(log: transit.Log) -> None:
    @trace.recorded("put")
    def put(state: dict[str, object]) -> None:
        state["client"] = Opaque()

    with trace.task(log, "t"):
        put({})
    with (
        pytest.raises(trace.NotReplayableError, match=r"state\.client.*Opaque.*exclude="),
        trace.replay(log, "t"),
    ):
        put({})


def test_an_excluded_argument_is_left_alone(log: transit.Log) -> None:
    @trace.recorded("put", exclude=["cache"])
    def put(cache: dict[str, object]) -> int:
        cache["x"] = Opaque()
        return 1

    with trace.task(log, "t"):
        put({})
    with trace.replay(log, "t"):
        cache: dict[str, object] = {}
        assert (put(cache), cache) == (1, {})


def test_a_change_that_was_redacted_is_given_only_where_that_is_allowed(log: transit.Log) -> None:
    @trace.recorded("login")
    def login(state: dict[str, str]) -> None:
        state["user"] = "ada@example.org"

    policy = trace.Redaction([trace.EMAIL])
    with trace.task(log, "t", redact=policy):
        login({})
    assert b"ada@" not in b"".join(record.payload for record in log.stream("t"))
    with pytest.raises(trace.NotReplayableError), trace.replay(log, "t", redact=policy):
        login({})
    state: dict[str, str] = {}
    with trace.replay(log, "t", redact=policy, allow_redacted=True):
        login(state)
    assert state == {"user": "[redacted]"}


# What a call gives back


@pytest.mark.parametrize("make", [list, dict, set, Opaque], ids=lambda kind: kind.__name__)
def test_a_result_that_was_an_argument_is_that_argument(
    log: transit.Log, make: Callable[[], Any]
) -> None:
    @trace.recorded("same")
    def same(given: Any) -> Any:
        return given

    def program() -> bool:
        given = make()
        return same(given) is given

    assert both(log, program) == (True, True)


def test_a_task_is_the_same_argument_in_a_replay(log: transit.Log) -> None:
    @trace.recorded("with task")
    def work(task: trace.Task, log: transit.Log, stream: transit.Stream) -> str:
        return "done"

    def program() -> str:
        task = trace.current()
        assert task is not None
        return work(task, log, task.stream)

    assert both(log, program) == ("done", "done")


# What a plain function gives to wait for


def test_a_coroutine_that_a_plain_function_gives_is_recorded_when_it_is_awaited(
    log: transit.Log,
) -> None:
    ran = []

    async def inner(n: int) -> bytes:
        await asyncio.sleep(0)
        ran.append(n)
        return b"x" * n

    @trace.recorded("lazy")
    def lazy(n: int) -> Any:
        return inner(n)

    async def work() -> Any:
        first, second = lazy(1), lazy(2)
        return await asyncio.gather(second, first)

    assert both(log, lambda: asyncio.run(work())) == ([b"xx", b"x"], [b"xx", b"x"])
    assert sorted(ran) == [1, 2]
    assert {result.given_as for result in results(log)} == {"awaited"}


def test_a_generator_that_a_plain_function_gives_is_recorded_as_it_is_taken(
    log: transit.Log,
) -> None:
    ran = []

    def words(n: int) -> Iterator[str]:
        for each in range(n):
            ran.append(each)
            yield f"word {each}"

    @trace.recorded("chat")
    def chat(n: int, stream: bool) -> Any:
        return words(n) if stream else "whole"

    def program() -> Any:
        return [chat(1, stream=False), list(chat(3, stream=True)), list(chat(0, stream=True))]

    then, again = both(log, program)
    assert again == then == ["whole", ["word 0", "word 1", "word 2"], []]
    assert ran == [0, 1, 2]


def test_an_async_generator_that_an_awaited_function_gives_is_recorded_as_it_is_taken(
    log: transit.Log,
) -> None:
    async def words(n: int) -> AsyncIterator[int]:
        for each in range(n):
            await asyncio.sleep(0)
            yield each

    @trace.recorded("create")
    async def create(n: int, stream: bool) -> Any:
        await asyncio.sleep(0)
        return words(n) if stream else n

    async def work() -> Any:
        found = [word async for word in await create(3, stream=True)]
        return found, await create(4, stream=False)

    assert both(log, lambda: asyncio.run(work())) == (([0, 1, 2], 4), ([0, 1, 2], 4))


def test_an_error_in_what_a_plain_function_gives_comes_when_it_is_awaited(
    log: transit.Log,
) -> None:
    async def broken() -> None:
        raise KeyError("k")

    @trace.recorded("lazy")
    def lazy() -> Any:
        return broken()

    async def work() -> str:
        waiting = lazy()
        try:
            await waiting
        except KeyError as error:
            return f"caught {error}"
        return "nothing"

    assert both(log, lambda: asyncio.run(work())) == ("caught 'k'", "caught 'k'")
