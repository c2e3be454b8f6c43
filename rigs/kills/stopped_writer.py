"""A writer that is stopped (SIGSTOP) at a chosen request, while another takes over, and goes on.

Owns the process that stops itself, and the judgement: what the stopped writer publishes after it
goes on is nothing, and it is told so; what it published before is part of the history.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import transit
from rigs.kills.contenders import SETTINGS, Place
from rigs.plants.replacing import replace
from transit.store import ObjectStore
from transit.testing.doors import FaultDoor
from transit.tier.publish import Publisher
from transit.tier.remote import Remote, commit_key

TIMEOUT_S: Final = 120.0
LATER: Final = 3
_POLL_S: Final = 0.005


class Stop(NamedTuple):
    """Stop while opening ("open") or publishing ("publish"), on one side of a request of that."""

    during: str
    number: int
    side: str


class Said(NamedTuple):
    """What the stopped writer was told: of the call it was stopped in, and of the next publish."""

    first: str
    later: str
    stopped: bool


class StoppingDoor(FaultDoor):
    """An `ObjectStore` at one of whose requests the process stops itself."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.stopped = False
        self._stop: Stop | None = None
        self._start = 0

    def arm(self, stop: Stop) -> None:
        """Stop at a request counted from now."""
        self._start, self._stop = len(self.requests), stop

    def _pass(self, kind: str, key: str, call: Callable[[], Any]) -> Any:
        number = len(self.requests) - self._start
        self._pause(number, "before")
        try:
            return super()._pass(kind, key, call)
        finally:
            # "It exists" is an answer too, and raised.
            self._pause(number, "after")

    def _pause(self, number: int, side: str) -> None:
        if self._stop is not None and (self._stop.number, self._stop.side) == (number, side):
            self.stopped, self._stop = True, None
            os.kill(os.getpid(), signal.SIGSTOP)


def _told(call: Callable[[], object]) -> str:
    try:
        call()
    except transit.TransitError as error:
        return type(error).__name__
    return "done"


def _not_fenced() -> None:
    replace(Publisher, "check", lambda publisher: None)


def _commits_forced() -> None:
    def force(remote: Remote, number: int, data: bytes) -> None:
        remote.store.put(commit_key(number), data)

    replace(Remote, "create_commit", force)


# Bugs on purpose, which the judgement must find.
PLANTS: Final[Mapping[str, Callable[[], None]]] = {
    "not_fenced": _not_fenced,
    "commits_forced": _commits_forced,
}


def _write(place: Place, folder: Path, stops: Sequence[Stop], plant: str, results: Any) -> None:
    """Be stopped once for each of `stops`, in a store of its own each time."""
    if plant:
        PLANTS[plant]()
    for count, stop in enumerate(stops):
        store = place._replace(url=f"{place.url}/{count}").open()
        results.put(_stopped_once(StoppingDoor(store), folder / str(count), stop))
        store.close()


def _stopped_once(door: StoppingDoor, folder: Path, stop: Stop) -> Said:
    with transit.open(folder, remote=door, durability="os", settings=SETTINGS) as log:
        log.create("s").append(b"before", durability="tiered")
    if stop.during == "open":
        door.arm(stop)
    with transit.open(folder, remote=door, durability="os", settings=SETTINGS) as log:
        if stop.during == "publish":
            door.arm(stop)
        log.stream("s").append(b"stopped")
        first = _told(log.publish)
        log.stream("s").append(b"later")
        later = [_told(log.publish) for _ in range(LATER)]
    return Said(first, later[0] if len(set(later)) == 1 else str(later), door.stopped)


def stop_writers(
    place: Place, folder: Path, stops: Sequence[Stop], plant: str = ""
) -> Iterator[str]:
    """Stop a writer at each of `stops`, take over meanwhile, let it go on; what went wrong.

    plant: a bug of `PLANTS` that the writer is given.
    """
    # Only a child can be waited for; one that was forked would share threads and locks.
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    writer = context.Process(target=_write, args=(place, folder / "a", stops, plant, results))
    writer.start()
    try:
        for count, stop in enumerate(stops):
            store = place._replace(url=f"{place.url}/{count}").open()
            try:
                wrong = list(_take_over(writer, results, store, folder / "b" / str(count), stop))
            except transit.TransitError as error:
                wrong = [f"the history cannot be read: {error!r}"]
            yield from (f"{stop}: {each}" for each in wrong)
            store.close()
        writer.join(TIMEOUT_S)
    finally:
        if writer.is_alive():
            os.kill(writer.pid or 0, signal.SIGCONT)
            writer.kill()


def _take_over(
    writer: Any, results: Any, store: ObjectStore, folder: Path, stop: Stop
) -> Iterator[str]:
    said = _await_stop(writer, results)
    if said is not None:
        yield f"the writer was never stopped: {said}"
        return
    with transit.open(folder, remote=store, settings=SETTINGS) as log:
        log.create("b").append(b"taken over", durability="tiered")
        log.release()
    before = _commits(store)
    os.kill(writer.pid, signal.SIGCONT)
    said = results.get(timeout=TIMEOUT_S)
    went_on = _commits(store) != before
    if went_on and said.later == "FencedError":
        yield "the writer that was stopped published, and was told that it is fenced"
    # Stopped while opening, it may still see what the other published, and go on after it.
    if said.later != "FencedError" and (stop.during, said.later) != ("open", "done"):
        yield f"the writer that was stopped was told {said.later}"
    yield from _judge_history(store, folder.with_name(f"{folder.name}-restored"), said)


def _judge_history(store: ObjectStore, folder: Path, said: Said) -> Iterator[str]:
    transit.restore(store, folder, settings=SETTINGS)
    with transit.open(folder, mode="read") as log:
        mine = [record.payload for record in log.stream("s").read()]
        others = [record.payload for record in log.stream("b").read()]
    if others != [b"taken over"]:
        yield f"of the writer that took over there is {others}"
    told = [(said.first, b"stopped"), (said.later, b"later")]
    expected = [b"before", *(payload for word, payload in told if word == "done")]
    if mine != expected:
        yield f"it was told {said.first}, then {said.later}, and {mine} is published"
    report = transit.audit(store, settings=SETTINGS)
    yield from (f"{finding.place}: {finding.found}" for finding in report.findings)


def _await_stop(writer: Any, results: Any) -> Said | None:
    """Wait until the writer has stopped itself; what it said instead, if it did not."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        # WNOWAIT: the process that started it must still be able to wait for it.
        flags = os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG
        state = os.waitid(os.P_PID, writer.pid, flags)
        if state is not None and state.si_code == os.CLD_STOPPED:
            # Taken up, so that the next stop is told from this one.
            os.waitid(os.P_PID, writer.pid, os.WSTOPPED)
            return None
        try:
            said: Said = results.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        return said
    raise AssertionError("the writer neither stopped nor ended")


def _commits(store: ObjectStore) -> dict[str, bytes | None]:
    return {key: store.get(key, size) for key, size in store.list("commits/")}
