"""Runs begun inside runs; threads, generators, and the end without a block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace import failures

reached: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_reached() -> None:
    reached.clear()


@trace.recorded("get")
def get(url: str) -> str:
    reached.append(url)
    return url * 2


def test_a_run_begun_inside_a_run_is_its_child(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        task.message("user", "x")
        with trace.task(log, "inner", actor="sub") as inner:
            get("a")
            with trace.task(log) as innermost:
                pass
        with trace.task(log, "other"):
            pass
    found = trace.read(log, "t")
    assert [child.name for child in found.children] == ["inner", "other"]
    child = found.children[0]
    assert child.parent_run == transit.Position("t", 1)
    assert child.parent is not None
    assert child.parent.name == "t"
    assert [each.name for each in child.children] == [innermost.name]
    assert (found.parent, found.parent_run) == (None, None)
    assert found.ended is not None
    assert (found.ended.totals.children, found.ended.totals.events) == (2, 4)
    assert inner.name == "inner"


def test_a_parent_may_be_given(log: transit.Log) -> None:
    task = trace.task(log, "t")
    child = trace.task(log, "child", parent=task)
    assert [each.name for each in trace.read(log, "t").children] == ["child"]
    assert trace.read(log, child.stream).parent_run == transit.Position("t", 0)
    with pytest.raises(transit.InvalidInputError, match="parent"):
        trace.task(log, "x", parent="t")  # type: ignore[arg-type]
    assert "x" not in log


def test_a_run_gone_on_with_inside_a_run_is_noted_there(log: transit.Log) -> None:
    with trace.task(log, "old"):
        get("before")
    with trace.task(log, "t"), trace.resume(log, "old"):
        get("a")
    (child,) = trace.read(log, "t").children
    assert (child.name, child.parent) == ("old", None)


def test_a_name_that_is_taken_is_refused_with_what_to_do(log: transit.Log) -> None:
    trace.task(log, "t")
    with trace.task(log, "outer"):
        with pytest.raises(transit.AlreadyExistsError, match="resume"):
            trace.task(log, "t")
        with pytest.raises(transit.AlreadyExistsError):
            trace.task(log, "outer")
    assert trace.task(log).name != trace.task(log).name
    assert trace.read(log, "outer").children == ()


def program(log: transit.Log) -> list[str]:
    found = [get("outside")]
    with trace.task(log, "sub-1"):
        found.append(get("in sub"))
        try:
            with trace.task(log, "sub-2"):
                get("deeper")
                raise ValueError("caught outside")
        except ValueError as error:
            found.append(str(error))
    with trace.resume(log, "old"):
        found.append(get("resumed"))
    return [*found, get("after")]


def test_a_replay_makes_no_call_and_no_record_in_runs_begun_inside(log: transit.Log) -> None:
    with trace.task(log, "old"):
        get("old")
    with trace.task(log, "t"):
        first = program(log)
    reached.clear()
    before = {stream.name: len(stream) for stream in log.streams()}
    with trace.replay(log, "t"):
        assert program(log) == first
    assert reached == []
    assert {stream.name: len(stream) for stream in log.streams()} == before


@pytest.mark.parametrize("swallow", [False, True])
def test_a_difference_in_a_run_begun_inside_is_found(log: transit.Log, swallow: bool) -> None:
    with trace.task(log, "t"), trace.task(log, "sub"):
        get("a")

    def changed() -> None:
        with trace.task(log, "sub"):
            if not swallow:
                get("b")
            try:
                get("b")
            except Exception:
                return

    with pytest.raises(trace.ReplayDivergenceError) as caught, trace.replay(log, "t"):
        changed()
    assert (caught.value.stream, caught.value.offset) == ("sub", 0)
    with pytest.raises(trace.ReplayDivergenceError, match="another"), trace.replay(log, "t"):
        trace.task(log, "another")
    assert reached == ["a"]


def test_current_leaves_out_runs_that_ended(log: transit.Log) -> None:
    outer = trace.task(log, "outer")
    with outer:
        inner = trace.task(log, "inner")
        inner.__enter__()
        assert trace.current() is inner
        inner.end()
        assert trace.current() is outer
        inner.__exit__(None, None, None)
        assert trace.current() is outer
    assert trace.current() is None
    assert len(trace.read(log, "inner")) == 1
    with inner:
        assert trace.current() is inner
    assert len(trace.read(log, "inner")) == 2


def test_a_task_without_a_block_is_ended_by_hand(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.message("user", "x")
    task.end(ValueError("no"), timestamp=5)
    *_, last = trace.read(log, "t")
    assert isinstance(last.event, trace.RunEnd)
    assert (last.event.status, last.timestamp) == ("failed", 5)


def test_async_with_works_as_with(log: transit.Log) -> None:
    async def main() -> None:
        async with trace.task(log, "t") as task:
            async with task.tool("bash") as call:
                call.result("x")
            async with task.model("m", {"q": 1}) as model:
                model.response({"a": 1})

    asyncio.run(main())
    assert (end := trace.read(log, "t").ended) is not None
    assert end.status == "completed"
    assert trace.read(log, "t").open_calls == ()


# Threads


def test_a_pool_records_what_is_carried_there(log: transit.Log) -> None:
    def work(n: int) -> list[str]:
        return [get(f"{n}"), get(f"{n} again")]

    def run() -> list[list[str]]:
        with ThreadPoolExecutor(3) as pool:
            futures = [pool.submit(trace.carry(work), n) for n in range(6)]
            return [future.result() for future in futures]

    with trace.task(log, "t"):
        first = run()
    assert len(reached) == 12
    lanes = [r.event.lane for r in trace.read(log, "t") if isinstance(r.event, trace.CallRequest)]
    assert sorted(set(lanes)) == [f"c{n}" for n in range(1, 7)]
    for _ in range(5):
        with trace.replay(log, "t"):
            assert run() == first
    assert len(reached) == 12


def test_a_thread_that_is_in_no_run_is_told_of_once(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(failures.warnings, "warn", lambda text, *_, **__: told.append(text))
    monkeypatch.setattr(failures, "_told", set())

    def elsewhere() -> None:
        thread = threading.Thread(target=get, args=("a",))
        thread.start()
        thread.join()

    elsewhere()
    assert told == []
    with trace.task(log, "t"):
        elsewhere()
        elsewhere()
    assert len(told) == 1
    assert "carry" in told[0]
    assert len(trace.read(log, "t")) == 1


# Generators


@pytest.mark.parametrize("how", ["generator", "async generator", "function", "coroutine"])
def test_each_call_of_a_traced_function_is_a_run(log: transit.Log, how: str) -> None:
    def inside() -> Any:
        current = trace.current()
        assert current is not None
        current.message("user", "x")
        return current.name

    @trace.traced(log, "run")
    def generator() -> Iterator[str]:
        yield inside()
        yield inside()

    @trace.traced(lambda: log, "run")
    async def async_generator() -> AsyncIterator[str]:
        yield inside()
        await asyncio.sleep(0)
        yield inside()

    @trace.traced(log, "run")
    def function() -> list[str]:
        return [inside(), inside()]

    @trace.traced(log, "run", actor="me")
    async def coroutine() -> list[str]:
        first = inside()
        await asyncio.sleep(0)
        return [first, inside()]

    async def consume() -> list[str]:
        found = []
        async for name in async_generator():
            assert trace.current() is None
            found.append(name)
        return found

    def use() -> list[str]:
        if how == "generator":
            found = []
            for name in generator():
                assert trace.current() is None, "what takes the values is not in the run"
                found.append(name)
            return found
        if how == "function":
            return function()
        return asyncio.run(consume() if how == "async generator" else coroutine())

    names = [use(), use()]
    for one, other in names:
        assert one == other
        assert (end := trace.read(log, one).ended) is not None
        assert (end.status, end.totals.events) == ("completed", 3)
    assert names[0] != names[1]
    assert all(name.startswith("run/") for name, _ in names)


def test_a_generator_that_is_left_ends_its_run(log: transit.Log) -> None:
    closed: list[str] = []

    @trace.traced(log, "run")
    def generator() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append("sync")

    @trace.traced(log, "run")
    async def async_generator() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append("async")

    source = generator()
    assert next(source) == 1
    source.close()  # type: ignore[attr-defined]

    async def main() -> None:
        values = async_generator()
        assert await anext(values) == 1
        await values.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert closed == ["sync", "async"]
    ends = [trace.read(log, stream).ended for stream in log.streams("run/")]
    assert [end.status for end in ends if end] == ["cancelled", "cancelled"]
