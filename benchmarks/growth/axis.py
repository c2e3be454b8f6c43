"""An axis: stores of growing size, and what is measured in each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from time import perf_counter
from typing import NamedTuple

MICROSECONDS = 1e6
Measure = Callable[[], float]


class Axis(NamedTuple):
    """What grows.

    name: what the command line calls it. across: what is counted. sizes: by default; more: with
    --full. store: makes the store of a size in a folder, with what to measure in it: each a run of
    it, in microseconds.
    """

    name: str
    across: str
    sizes: Sequence[int]
    more: Sequence[int]
    store: Callable[[str, int], AbstractContextManager[Mapping[str, Measure]]]


def microseconds(work: Callable[[], object], count: int = 1) -> float:
    """What one of `count` things that `work` does takes."""
    start = perf_counter()
    work()
    return MICROSECONDS * (perf_counter() - start) / count


def repeated(work: Callable[[], object], times: int) -> Measure:
    """Measures what `work` takes, each time it is asked, over some times in a row."""

    def measure() -> float:
        start = perf_counter()
        for _ in range(times):
            work()
        return MICROSECONDS * (perf_counter() - start) / times

    return measure
