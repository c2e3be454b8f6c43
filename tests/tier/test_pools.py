"""Calls made ahead by threads: in order, within a number of bytes, and none left behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from weakref import ref

import pytest

from transit.tier import pools
from transit.tier.pools import at_once, in_turn


def ahead_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("transit-ahead")]


class Held:
    """Counts the bytes of values that are being made, wait, or are with the caller."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = 0

    def add(self, size: int) -> None:
        with self._lock:
            self.now += size
            self.most = max(self.most, self.now)


def run_counted(sizes: list[int], threads: int, room: int) -> int:
    """The most bytes held at once while values of these sizes are taken in turn."""
    held = Held()

    def make(number: int) -> int:
        held.add(sizes[number])
        return number

    with in_turn(make, enumerate(sizes), threads, room) as coming:
        for expected, number in enumerate(coming):
            assert number == expected
            held.add(-sizes[number])
    assert held.now == 0
    return held.most


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_values_come_in_the_order_of_their_keys(threads: int) -> None:
    with in_turn(lambda n: n * n, ((n, n % 3) for n in range(200)), threads, 7) as coming:
        assert list(coming) == [n * n for n in range(200)]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_all_values_asked_for_at_once_come_in_order(count: int, threads: int) -> None:
    assert at_once(lambda n: n * n, range(count), threads) == [n * n for n in range(count)]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_as_many_calls_are_made_at_the_same_time_as_there_are_threads(count: int) -> None:
    met = threading.Barrier(count, timeout=20)
    assert sorted(at_once(lambda n: met.wait(), range(count), count)) == list(range(count))
    with in_turn(lambda n: met.wait(), ((n, 1) for n in range(count)), count, count) as coming:
        assert sorted(coming) == list(range(count))


def test_one_call_alone_is_made_by_the_caller() -> None:
    me = threading.get_ident()
    assert at_once(lambda n: threading.get_ident(), [1], 5) == [me]
    with in_turn(lambda n: threading.get_ident(), [(1, 1), (2, 1)], 1, 9) as coming:
        assert list(coming) == [me, me]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_no_more_is_held_than_there_is_room_for(threads: int) -> None:
    assert run_counted([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5] * 20, threads, 10) <= 10


def test_what_is_larger_than_the_room_is_held_alone() -> None:
    assert run_counted([3, 30, 3, 30, 30, 3] * 20, 4, 10) == 30


def test_calls_are_made_while_the_caller_works_on_what_came_before() -> None:
    made = [threading.Event() for _ in range(4)]
    with in_turn(lambda n: made[n].set(), ((n, 1) for n in range(4)), 2, 4) as coming:
        next(coming)
        assert all(event.wait(60) for event in made)


def test_the_first_error_in_order_is_raised_though_a_later_one_came_first() -> None:
    second = threading.Event()

    def fail(number: int) -> None:
        if number == 0:
            assert second.wait(60)
            raise KeyError("first")
        second.set()
        raise ValueError("second")

    with (
        pytest.raises(KeyError, match="first"),
        in_turn(fail, ((n, 1) for n in range(2)), 2, 8) as coming,
    ):
        list(coming)
    assert ahead_threads() == []


def test_an_interrupt_leaves_no_thread_and_no_call_behind() -> None:
    running: list[int] = []

    def call(number: int) -> int:
        running.append(number)
        running.remove(number)
        return number

    def interrupted() -> None:
        with in_turn(call, ((n, 1) for n in range(100)), 3, 20) as coming:
            for number in coming:
                if number == 5:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert running == []
    assert ahead_threads() == []


def fail_in_turn(call: Callable[[int], object]) -> None:
    with in_turn(call, ((n, 1) for n in range(9)), 2, 4) as coming:
        list(coming)


@pytest.mark.parametrize("way", [fail_in_turn, lambda call: at_once(call, range(9), 3)])
def test_an_error_is_gone_with_the_last_that_keeps_it(
    way: Callable[[Callable[[int], object]], object],
) -> None:
    class PlantedError(Exception):
        pass

    def call(number: int) -> int:
        if number == 3:
            raise PlantedError
        return number

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(PlantedError) as caught:
            way(call)
        error = ref(caught.value)
        del caught
        assert error() is None
    finally:
        gc.enable()


def test_values_come_where_there_can_be_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    with in_turn(lambda n: n, ((n, 1) for n in range(9)), 3, 2) as coming:
        assert list(coming) == list(range(9))


# The same checks, with a bug put in.


def test_values_kept_past_their_turn_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_at_once(call: object, keys: object, pool: object, room: int) -> Iterator[object]:
        return real(call, keys, pool, 1 << 60)  # type: ignore[arg-type]

    real = pools._in_turn
    monkeypatch.setattr(pools, "_in_turn", all_at_once)
    with pytest.raises(AssertionError):
        test_no_more_is_held_than_there_is_room_for(2)


def test_values_in_the_order_they_were_ready_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Latest(pools.deque):  # type: ignore[type-arg]
        def popleft(self) -> object:
            return self.pop()

    monkeypatch.setattr(pools, "deque", Latest)
    with pytest.raises(AssertionError):
        test_values_come_in_the_order_of_their_keys(2)
