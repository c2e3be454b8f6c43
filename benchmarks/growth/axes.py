"""What grows: records in a stream, streams in a store, branches of branches."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count

import transit
from benchmarks.growth.axis import Axis, Measure, microseconds, repeated
from benchmarks.payloads import payloads
from benchmarks.places import STREAM, filled_store

READS = 500
FORKS = 50
OPENINGS = 3
BATCH = 1_000
STREAMS_A_BATCH = 1_000
CHAIN_RECORDS = 10_000


@contextmanager
def records(folder: str, size: int) -> Iterator[Mapping[str, Measure]]:
    """One sealed stream of `size` records."""
    log = filled_store(folder, size, "sealed")
    try:
        stream, rng = log.stream(STREAM), random.Random("offsets")
        yield {
            "append_many of 1,000, a record": partial(_append_all, folder, size),
            "replay, a record": lambda: microseconds(lambda: _exhaust(stream), size),
            "random read": repeated(lambda: stream[rng.randrange(size)], READS),
            "fork and first append": repeated(_forks(stream), FORKS),
            "open, find, first record": repeated(_opening(log, STREAM), OPENINGS),
        }
    finally:
        log.close()


def _append_all(folder: str, size: int) -> float:
    path = os.path.join(folder, "appended")
    given = payloads(min(size, BATCH))
    try:
        with transit.open(path, durability="os") as log:
            stream = log.create(STREAM)

            def append() -> None:
                for _ in range(0, size, len(given)):
                    stream.append_many(given)

            return microseconds(append, size)
    finally:
        shutil.rmtree(path)


def _exhaust(stream: transit.Stream) -> None:
    for _ in stream.read():
        pass


def _forks(stream: transit.Stream) -> Callable[[], object]:
    """Makes a fork at the head and appends to it, each time under another name."""
    numbers, payload = count(), payloads(1)[0]
    return lambda: stream.branch(f"{stream.name}/fork-{next(numbers)}").append(payload)


def _opening(log: transit.Log, name: str) -> Callable[[], object]:
    """Opens the store anew, beside the writer, finds a stream and reads its first record."""
    path = log.path

    def opening() -> None:
        with transit.open(path, mode="read") as reader:
            reader.stream(name)[0]

    return opening


@contextmanager
def streams(folder: str, size: int) -> Iterator[Mapping[str, Measure]]:
    """`size` sealed streams of one record each."""
    with transit.open(os.path.join(folder, "store"), durability="os") as log:
        made, payload = [], payloads(1)[0]
        for start in range(0, size, STREAMS_A_BATCH):
            with log.batch() as batch:
                staged = [
                    batch.create(f"run-{n}")
                    for n in range(start, min(start + STREAMS_A_BATCH, size))
                ]
                for each in staged:
                    batch.append(each, payload)
            made += [each.name for each in staged]
        log.seal()
        numbers, rng = count(), random.Random("names")
        yield {
            "create": repeated(lambda: log.create(f"more-{next(numbers)}"), FORKS),
            "find a stream, append": repeated(
                lambda: log.stream(rng.choice(made)).append(payload), READS
            ),
            "fork and first append": repeated(_forks(log.stream(made[0])), FORKS),
            "open, find, first record": repeated(_opening(log, made[-1]), OPENINGS),
        }


@contextmanager
def depth(folder: str, size: int) -> Iterator[Mapping[str, Measure]]:
    """A chain of `size` branches, each forked at the head of the one before, 10,000 records in all.

    Measured in the last of them.
    """
    with transit.open(os.path.join(folder, "store"), durability="os") as log:
        given = payloads(max(1, CHAIN_RECORDS // size))
        last = log.create("0")
        last.append_many(given)
        for number in range(1, size):
            last = last.branch(str(number))
            last.append_many(given)
        log.seal()
        end, rng = len(last), random.Random("offsets")
        other = log.stream("0").branch("other")
        yield {
            "replay, a record": lambda: microseconds(lambda: _exhaust(last), end),
            "random read": repeated(lambda: last[rng.randrange(end)], READS),
            "fork and first append": repeated(_forks(last), FORKS),
            "merge base with the first branch": repeated(
                lambda: log.lineage.merge_base(last, other), OPENINGS
            ),
            "open, find, first record": repeated(_opening(log, last.name), OPENINGS),
        }


AXES: tuple[Axis, ...] = (
    Axis("records", "records in the stream", (10**3, 10**4, 10**5, 10**6), (10**7,), records),
    Axis("streams", "streams in the store", (1, 10, 10**2, 10**3, 10**4, 10**5), (), streams),
    Axis("depth", "branches of branches", (1, 3, 10, 30, 100, 300, 1_000), (), depth),
)
