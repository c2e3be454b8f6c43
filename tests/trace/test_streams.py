"""Recorded generators: values are recorded as they come, and come again as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

import transit
from transit import trace

reached: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_reached() -> None:
    reached.clear()


@trace.recorded("tokens")
def tokens(prompt: str, fail: bool = False) -> Generator[object, None, str]:
    reached.append(prompt)
    yield b"one"
    yield (prompt, 2)
    if fail:
        raise ConnectionError("broken")
    yield {"three"}
    return "whole"


@trace.recorded("words")
async def words(prompt: str) -> AsyncIterator[str]:
    reached.append(prompt)
    for n in range(3):
        await asyncio.sleep(0)
        yield f"{prompt} {n}"


def kinds(log: transit.Log) -> list[str]:
    return [type(record.event).__name__ for record in trace.read(log, "t")]


def whole(prompt: str) -> Iterator[object]:
    found = yield from tokens(prompt)
    yield found


def test_values_are_recorded_as_they_come_and_come_again(log: transit.Log) -> None:
    seen = []
    with trace.task(log, "t"):
        first = []
        for value in whole("p"):
            seen.append(len(trace.read(log, "t")))
            first.append(value)
    assert first == [b"one", ("p", 2), {"three"}, "whole"]
    assert seen == [2, 3, 4, 5]
    assert kinds(log) == ["CallRequest", *["CallChunk"] * 3, "CallResult", "RunEnd"]
    with trace.replay(log, "t"):
        assert list(whole("p")) == first
    assert reached == ["p"]


def test_a_stream_that_breaks_is_seen_as_broken(log: transit.Log) -> None:
    for block in (lambda: trace.task(log, "t"), lambda: trace.replay(log, "t")):
        found: list[object] = []
        with block(), pytest.raises(ConnectionError, match="broken"):
            found.extend(tokens("p", fail=True))
        assert found == [b"one", ("p", 2)]
    assert reached == ["p"]


def test_a_stream_that_is_left_is_left_again(log: transit.Log) -> None:
    def program() -> object:
        source = tokens("p")
        first = next(source)
        source.close()
        return first, list(tokens("q"))

    with trace.task(log, "t"):
        first = program()
    with trace.replay(log, "t"):
        assert program() == first
    assert reached == ["p", "q"]


def test_async_streams_beside_each_other_come_again(log: transit.Log) -> None:
    async def take(prompt: str) -> list[str]:
        return [word async for word in words(prompt)]

    async def main() -> list[list[str]]:
        return await asyncio.gather(*map(take, "abc"))

    with trace.task(log, "t"):
        first = asyncio.run(main())
    with trace.replay(log, "t"):
        assert asyncio.run(main()) == first
    assert sorted(map(str, reached)) == ["a", "b", "c"]


def test_a_generator_is_sent_and_thrown_into(log: transit.Log) -> None:
    @trace.recorded("talk")
    def talk() -> Generator[Any, Any, str]:
        found = yield "ready"
        try:
            yield f"heard {found}"
        except ValueError as error:
            yield f"caught {error}"
        return "done"

    def program() -> list[object]:
        source = talk()
        return [next(source), source.send("hello"), source.throw(ValueError("v")), *source]

    with trace.task(log, "t"):
        first = program()
    assert first == ["ready", "heard hello", "caught v"]
    with trace.replay(log, "t"):
        assert program() == first


def test_a_difference_is_found_when_the_stream_is_used(log: transit.Log) -> None:
    with trace.task(log, "t"):
        list(tokens("p"))
    with pytest.raises(trace.ReplayDivergenceError) as caught, trace.replay(log, "t"):
        list(tokens("q"))
    assert caught.value.offset == 0
