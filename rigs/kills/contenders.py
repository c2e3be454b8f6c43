"""Processes that race for the same commit numbers.

Owns the programs of these processes, which `multiprocessing` starts afresh, and the
judgement: exactly one winner of each number, the others told what it wrote, nothing overwritten.
A writer that is stopped in the middle is `rigs.kills.stopped_writer`.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import transit
from transit.store import ObjectStore, open_store
from transit.tier.conditional import put_if_absent
from transit.tier.remote import commit_key

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext
    from multiprocessing.synchronize import Barrier

# A process that waits longer than this for the others has been left alone.
MEET_TIMEOUT_S: Final = 300.0
JOIN_TIMEOUT_S: Final = 600.0
_BYTES_MAX: Final = 4096
_TIMEOUT_S: Final = 60.0
SETTINGS: Final = transit.Settings(remote_timeout_s=_TIMEOUT_S)


class Place(NamedTuple):
    """Where the contenders meet: an address and what fsspec needs for it."""

    url: str
    options: Mapping[str, object] | None

    def open(self) -> ObjectStore:
        """The store there."""
        return open_store(self.url, self.options, _TIMEOUT_S)


class Outcome(NamedTuple):
    """What one contender was told of one round: the bytes that won, and whether they were its."""

    who: int
    number: int
    won: bool
    winner: bytes


# Racing for names, without an engine


def race(place: Place, processes: int, rounds: int) -> list[str]:
    """Let processes create commits 0 to `rounds` - 1, all of one number at once; what went wrong.

    Each contender writes bytes of its own, as a commit has, and is told what it was told by
    `put_if_absent`; the store is read at the end.
    """
    told = _run(_contend, place, processes, rounds)
    store = place.open()
    try:
        there = [store.get(commit_key(number), _BYTES_MAX) for number in range(rounds)]
    finally:
        store.close()
    return list(judge(told, there, processes))


def _contend(place: Place, who: int, rounds: int, barrier: Barrier) -> list[Outcome]:
    store = place.open()
    outcomes = []
    for number in range(rounds):
        mine = f"{who} {number} {os.urandom(16).hex()}".encode()
        barrier.wait(MEET_TIMEOUT_S)
        other = put_if_absent(store, commit_key(number), mine, _BYTES_MAX, _TIMEOUT_S)
        outcomes.append(Outcome(who, number, other is None, other or mine))
    store.close()
    return outcomes


def judge(told: Sequence[Outcome], there: Sequence[bytes | None], processes: int) -> Iterator[str]:
    """What was told wrongly, round by round."""
    for number, found in enumerate(there):
        here = [outcome for outcome in told if outcome.number == number]
        winners = [outcome.who for outcome in here if outcome.won]
        if len(here) != processes:
            yield f"commit {number}: {len(here)} of {processes} were told anything"
        if len(winners) != 1:
            yield f"commit {number}: won by {winners or 'nobody'}"
        for outcome in here:
            if outcome.winner != found:
                yield f"commit {number}: {outcome.who} was told of other bytes than are there"


# Whole engines


def race_engines(place: Place, folder: Path, processes: int, rounds: int) -> list[str]:
    """Let stores with one history publish at once, each its own record; what went wrong.

    In each round one wins. The others are fenced, throw their folder away, and take up the
    remote's history in a new one.
    """
    remote = place.open()
    with transit.open(folder / "0", remote=remote, settings=SETTINGS) as log:
        log.create("s").append(b"first", durability="tiered")
        log.release()
    for who in range(1, processes):
        shutil.copytree(folder / "0", folder / str(who))
    told = _run(_publish, place, processes, rounds, folder)
    wrong = list(_judge_engines(told, processes, rounds))
    wins = [outcome.winner for outcome in told if outcome.won]
    transit.restore(remote, folder / "restored", settings=SETTINGS)
    with transit.open(folder / "restored", mode="read") as log:
        payloads = [record.payload for record in log.stream("s").read()]
    if sorted(payloads) != sorted([b"first", *wins]):
        wrong.append(f"{len(payloads)} records are published, {len(wins) + 1} were acknowledged")
    report = transit.audit(remote, settings=SETTINGS)
    remote.close()
    return [*wrong, *(f"{f.place}: {f.found}" for f in report.findings)]


def _judge_engines(told: Sequence[Outcome], processes: int, rounds: int) -> Iterator[str]:
    for number in range(rounds):
        here = [outcome for outcome in told if outcome.number == number]
        winners = [outcome.who for outcome in here if outcome.won]
        if len(here) != processes or len(winners) != 1:
            yield f"round {number}: {len(here)} were told, won by {winners or 'nobody'}"


def _publish(place: Place, who: int, rounds: int, barrier: Barrier, folder: Path) -> list[Outcome]:
    own = folder / str(who)
    store = place.open()
    outcomes = []
    for number in range(rounds):
        with transit.open(own, remote=store, durability="os", settings=SETTINGS) as log:
            mine = f"{who} {number}".encode()
            # All processes have taken up the history before any of them goes on with it.
            barrier.wait(MEET_TIMEOUT_S)
            try:
                log.stream("s").append(mine, durability="tiered")
                outcomes.append(Outcome(who, number, True, mine))
            except transit.FencedError:
                outcomes.append(Outcome(who, number, False, b""))
        if not outcomes[-1].won:
            shutil.rmtree(own)
        # And all have been told the outcome before any of them takes up the next history.
        barrier.wait(MEET_TIMEOUT_S)
    store.close()
    return outcomes


# Processes


def fresh_processes() -> ForkServerContext:
    """How processes are started: afresh, but with what takes long to load loaded once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["s3fs", "transit"])
    return context


def _run(
    program: Callable[..., list[Outcome]], place: Place, processes: int, rounds: int, *more: object
) -> list[Outcome]:
    """What `program` returned in each of several processes, each with a number from 0."""
    context = fresh_processes()
    barrier = context.Barrier(processes)
    results: Any = context.Queue()
    started = [
        context.Process(target=_report, args=(results, program, place, who, rounds, barrier, *more))
        for who in range(processes)
    ]
    told: list[Outcome] = []
    try:
        for process in started:
            process.start()
        for _ in started:
            outcomes, error = results.get(timeout=JOIN_TIMEOUT_S + rounds)
            if error:
                raise AssertionError(error)
            told += outcomes
        for process in started:
            process.join(JOIN_TIMEOUT_S)
    finally:
        for process in started:
            if process.is_alive():
                process.kill()
    return told


def _report(
    results: Any, program: Callable[..., list[Outcome]], place: Place, who: int, rounds: int,
    barrier: Barrier, *more: object,
) -> None:  # fmt: skip
    try:
        results.put((program(place, who, rounds, barrier, *more), ""))
    except BaseException as error:
        # The others wait for this one: they must not wait for ever.
        barrier.abort()
        results.put(([], f"contender {who}: {error!r}"))


def soak(place: Place, seconds: float, seed: int, say: Callable[[str], object]) -> int:
    """Races of names and of engines in turn, by 2 to 16 processes; the count of violations."""
    deadline = time.monotonic() + seconds
    chance = random.Random(seed)
    broken = rounds = 0
    while time.monotonic() < deadline:
        there = place._replace(url=f"{place.url}/{uuid.UUID(int=chance.getrandbits(128)).hex}")
        processes = chance.choice((2, 4, 16))
        wrong = race(there._replace(url=f"{there.url}/names"), processes, 100)
        with tempfile.TemporaryDirectory(prefix="transit-race-") as folder:
            wrong += race_engines(there, Path(folder), min(processes, 6), 6)
        for each in wrong:
            say(f"{processes} contenders, seed {seed}: {each}")
        broken += len(wrong)
        rounds += 106
    say(f"{rounds} rounds of two and more writers, {broken} violations")
    return broken
