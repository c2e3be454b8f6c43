"""Threads for bodies: as many as are needed, none that waits for another, and an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from transit.views.loops.workers import Workers

WAIT_S = 20.0


def until(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold."""
    end = time.monotonic() + WAIT_S
    while not holds() and time.monotonic() < end:
        time.sleep(0.002)
    return holds()


def alive(before: set[threading.Thread]) -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each not in before]


def waiting(free: threading.Event) -> Callable[[], None]:
    """Work that ends when it is let free."""

    def work() -> None:
        free.wait(WAIT_S)

    return work


@pytest.mark.parametrize("is_apart", [False, True])
def test_bodies_that_wait_have_a_thread_each(is_apart: bool) -> None:
    """Each waits until all have begun, whether they are given at once or one by one."""
    before = set(threading.enumerate())
    workers = Workers(8)
    for count in (2, 8, 3, 1, 8):
        barrier = threading.Barrier(count + 1)

        def meet(barrier: threading.Barrier = barrier) -> None:
            barrier.wait(WAIT_S)

        for _ in range(count):
            workers.give(meet)
            if is_apart:
                time.sleep(0.005)
        barrier.wait(WAIT_S)
    workers.close()
    assert until(lambda: not alive(before))


def test_no_more_threads_are_made_than_were_asked_for_and_all_is_done() -> None:
    before = set(threading.enumerate())
    workers, free = Workers(2), threading.Event()
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        free.wait(WAIT_S)

    for number in range(7):
        workers.give(lambda number=number: work(number))  # type: ignore[misc]
    assert until(lambda: len(begun) == 2)
    assert len(alive(before)) == 2
    assert sorted(begun) == [0, 1]
    free.set()
    assert until(lambda: sorted(begun) == [0, 1, 2, 3, 4, 5, 6])
    workers.close()
    assert until(lambda: not alive(before))


def test_bodies_that_end_at_once_take_few_threads() -> None:
    before = set(threading.enumerate())
    workers = Workers(32)
    done: list[int] = []
    for number in range(100):
        workers.give(lambda number=number: done.append(number))  # type: ignore[misc]
        assert until(lambda number=number: number in done)  # type: ignore[misc]
    # One that has ended may not wait yet when the next is given.
    assert len(alive(before)) < 32
    workers.close()
    assert until(lambda: not alive(before))


def test_what_was_given_is_done_after_closing() -> None:
    before = set(threading.enumerate())
    workers, free = Workers(1), threading.Event()
    done: list[int] = []
    workers.give(waiting(free))
    for number in range(5):
        workers.give(lambda number=number: done.append(number))  # type: ignore[misc]
    workers.close()
    free.set()
    assert until(lambda: done == [0, 1, 2, 3, 4])
    assert until(lambda: not alive(before))
    workers.give(lambda: done.append(5))
    assert until(lambda: done[-1] == 5)
    assert until(lambda: not alive(before))


def test_a_nested_body_waits_for_no_thread() -> None:
    workers, free = Workers(1), threading.Event()
    workers.give(waiting(free))
    workers.give(free.set, is_nested=True)
    assert free.wait(WAIT_S)
    workers.close()


def test_nothing_is_lost_where_many_threads_give() -> None:
    before = set(threading.enumerate())
    workers = Workers(4)
    lock, count = threading.Lock(), [0]

    def work() -> None:
        with lock:
            count[0] += 1

    def give() -> None:
        for number in range(500):
            workers.give(work)
            if number % 50 == 0:
                time.sleep(0.001)

    givers = [threading.Thread(target=give) for _ in range(4)]
    for each in givers:
        each.start()
    for each in givers:
        each.join()
    assert until(lambda: count[0] == 2_000)
    assert len(alive(before)) <= 4
    workers.close()
    assert until(lambda: not alive(before))


def test_a_body_that_never_ends_is_missing_from_the_pool_alone() -> None:
    workers, free = Workers(2), threading.Event()
    done: list[int] = []
    workers.give(waiting(free))
    for number in range(5):
        workers.give(lambda number=number: done.append(number))  # type: ignore[misc]
    assert until(lambda: done == [0, 1, 2, 3, 4])
    free.set()
    workers.close()


def test_where_no_further_thread_can_be_those_that_are_there_do_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = Workers(4)
    done: list[int] = []

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refused)
        with pytest.raises(RuntimeError):
            workers.give(lambda: done.append(-1))
    first, second = threading.Event(), threading.Event()
    workers.give(waiting(first))
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refused)
        workers.give(lambda: done.append(0))
        workers.give(waiting(second))
        workers.give(lambda: done.append(1))
        first.set()
        assert until(lambda: done == [0])
        second.set()
        assert until(lambda: done == [0, 1])
    workers.close()
