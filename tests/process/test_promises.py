"""Futures that need no lock unless somebody waits: otherwise as those of `concurrent.futures`."""

from __future__ import annotations

import concurrent.futures
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError

import pytest

from transit.handle.callbacks import Promise

DEADLINE_S = 120.0
Touch = Callable[[Future[int]], object]

TOUCHES: list[Touch] = [
    lambda future: None,
    lambda future: future.running(),
    lambda future: future.cancelled(),
    repr,
    lambda future: concurrent.futures.wait([future], 0),
]
"""What may come before the end: nothing, or somebody who looks."""


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def outcome(future: Future[int]) -> list[object]:
    """What it says of itself in all ways."""
    found: list[object] = [future.done(), future.running(), future.cancelled(), future.cancel()]
    for ask in (future.result, future.exception):
        try:
            found.append(repr(ask(0)))
        except BaseException as error:
            found.append(repr(error))
    done, waiting = concurrent.futures.wait([future], 0)
    found += [len(done), len(waiting), str(future).partition(" state=")[2]]
    return found


@pytest.mark.parametrize("touch", TOUCHES)
@pytest.mark.parametrize("end", ["result", "exception", "cancel", "nothing"])
def test_a_future_says_what_one_of_the_standard_library_says(touch: Touch, end: str) -> None:
    found = []
    for kind in (Future, Promise):
        future: Future[int] = kind()
        touch(future)
        if end == "result":
            future.set_result(5)
        elif end == "exception":
            future.set_exception(ValueError("x"))
        elif end == "cancel":
            assert future.cancel()
        if end in ("result", "exception"):
            with pytest.raises(InvalidStateError):
                future.set_result(6)
            with pytest.raises(InvalidStateError):
                future.set_exception(KeyError())
        found.append(outcome(future))
    assert found[0] == found[1]


@pytest.mark.parametrize("touch", TOUCHES)
def test_a_future_ends_once_and_is_not_ended_where_it_was_cancelled(touch: Touch) -> None:
    kept: Promise[int] = Promise()
    touch(kept)
    assert not kept.end(5, None)
    assert (kept.result(), kept.exception()) == (5, None)
    failed: Promise[int] = Promise()
    failed.add_done_callback(lambda future: None)
    touch(failed)
    assert failed.end(None, ValueError("x"))
    with pytest.raises(ValueError, match="x"):
        failed.result()
    cancelled: Promise[int] = Promise()
    touch(cancelled)
    assert cancelled.cancel()
    assert not cancelled.end(5, None)
    assert cancelled.cancelled()
    # Whoever waits for several is told.
    assert len(concurrent.futures.wait([cancelled], DEADLINE_S).done) == 1


def test_a_future_that_nobody_waits_for_makes_no_lock() -> None:
    future: Promise[int] = Promise()
    future.add_done_callback(lambda future: None)
    assert not future.done()
    future.end(5, None)
    assert future.done()
    assert future.result() == 5
    assert "_condition" not in vars(future)
    with pytest.raises(AttributeError):
        _ = future.nothing_of_the_kind


WAITS: list[Callable[[list[Promise[int]]], object]] = [
    lambda futures: [future.exception(DEADLINE_S) for future in futures],
    lambda futures: concurrent.futures.wait(futures, DEADLINE_S).not_done,
    lambda futures: len(list(concurrent.futures.as_completed(futures, DEADLINE_S))),
    lambda futures: [future.done() for future in futures],
]


@pytest.mark.usefixtures("hasty")
def test_threads_that_wait_while_futures_end_all_see_the_end() -> None:
    count, numbers = 40, random.Random(7)
    for _ in range(60):
        futures: list[Promise[int]] = [Promise() for _ in range(count)]
        answers: dict[int, object] = {}
        gate = threading.Barrier(len(WAITS) + 1)

        def wait(place: int, futures: list[Promise[int]], gate: threading.Barrier) -> None:
            gate.wait(DEADLINE_S)
            answers[place] = WAITS[place](futures)  # noqa: B023 - joined before the next round

        threads = [
            threading.Thread(target=wait, args=(place, futures, gate), daemon=True)
            for place in range(len(WAITS))
        ]
        for thread in threads:
            thread.start()
        gate.wait(DEADLINE_S)
        for future in numbers.sample(futures, count):
            future.end(5, None)
        for thread in threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        assert [answers[place] for place in range(3)] == [[None] * count, set(), count]
        assert [future.result(0) for future in futures] == [5] * count


@pytest.mark.usefixtures("hasty")
def test_of_cancelling_and_ending_one_comes_first() -> None:
    for _ in range(400):
        futures: list[Promise[int]] = [Promise() for _ in range(8)]
        cancelled: list[bool] = []
        gate = threading.Barrier(2)

        def cancel(futures: list[Promise[int]], gate: threading.Barrier) -> None:
            gate.wait(DEADLINE_S)
            cancelled.extend([future.cancel() for future in futures])  # noqa: B023 - as above

        thread = threading.Thread(target=cancel, args=(futures, gate), daemon=True)
        thread.start()
        gate.wait(DEADLINE_S)
        for future in futures:
            future.end(5, None)
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        assert all(future.done() for future in futures)
        assert [future.cancelled() for future in futures] == cancelled
        for future in futures:
            if future.cancelled():
                with pytest.raises(CancelledError):
                    future.result(0)
            else:
                assert future.result(0) == 5
