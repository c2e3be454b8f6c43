"""Threads that do all that a store with a remote can do, at once.

In mode "exclusive" they share one handle, in mode "shared" two, which seal beside each other. Each
record says which stream it is in and at which offset, so that a reader can tell whether it is the
right one. What one call alone does is held elsewhere; here only that no other call disturbs it.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final, Literal, NamedTuple

import transit
from rigs.crowds import fates
from rigs.machines.machine import MEMORY_DISK
from rigs.resources import SETTINGS
from transit.format.snapshot import decode_snapshot

_NAMES: Final = ("a", "b", "c")
_LEVELS: Final = ("memory", "os", "os", "local", "tiered")
_SECONDS: Final = 10.0
"""How long one crowd of a soak goes on."""
End = Literal["idle", "closed", "moved"]
"""How a crowd ends: each thread after its last step, or all because the store closed or moved."""
_ENDS: Final[tuple[End, ...]] = ("idle", "closed", "idle", "moved")


class Tally(NamedTuple):
    """How often each thing was done, and what was wrong, one text each."""

    done: Counter[str]
    problems: list[str]


def payload(name: str, offset: int, size: int = 0) -> bytes:
    """What the record at `offset` of stream `name` says, and `size` bytes more."""
    return b"%s@%d " % (name.encode(), offset) + bytes(size)


def check(records: Iterable[transit.Record], name: str, start: int, stop: int) -> None:
    """Raise `ValueError` unless these are the records of the stream from `start` to `stop`."""
    offset = start
    for record in records:
        if record.offset != offset or not record.payload.startswith(payload(name, offset)):
            raise ValueError(f"{name}@{offset} is {record.payload[:40]!r}")
        offset += 1
    if offset != stop:
        raise ValueError(f"{name}: {offset - start} records from {start}, not {stop - start}")


class Crowd:
    """One store and its remote in `folder`, and the threads that use them."""

    def __init__(self, folder: Path, mode: str, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._store, self._remote = folder / "store", folder / "remote"
        self._numbers = count()
        self._done: Counter[str] = Counter()
        self._problems: list[str] = []
        # How far each stream was told to reach.
        self._reached: Counter[str] = Counter()
        self._leaving = self._moved = False
        self._noting = threading.Lock()
        self._logs = [
            transit.open(
                self._store, mode=mode, remote=self._remote, durability="os", settings=SETTINGS
            )
            for _ in range(2 if mode == "shared" else 1)
        ]
        for name in _NAMES:
            self._logs[0].create(name)

    def run(self, seconds: float, appends: int, end: End) -> Tally:
        """Be busy for so long, and until so many appends were made; then close, and look once more.

        end: whether the store is closed, or its folder moved, while all are still busy. The threads
        take turns after every few steps of Python.
        """
        self._deadline, self._appends = time.monotonic() + seconds, appends
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        works = [self._append, self._append, self._read, self._read, self._branch, self._seal]
        works += [self._publish, self._evict, self._verify, self._look, self._restore, self._open]
        works += [self._retire, self._keep, self._watch]
        threads = [
            threading.Thread(target=self._busy, args=(who, work)) for who, work in enumerate(works)
        ]
        try:
            for thread in threads:
                thread.start()
            if end != "idle":
                time.sleep(seconds)
                self._leaving = True
                if end == "moved":
                    self._move()
                    # What only reads what it has need not notice.
                    time.sleep(seconds)
                self._close()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
            self._close()
        with suppress(_StoppedError):
            self._try(self._at_the_end)
        return Tally(self._done, self._problems)

    def _move(self) -> None:
        """Move the folder; each thread goes on until it is told so, or the store is closed."""
        self._moved = True
        old, self._store = self._store, self._folder / "moved"
        old.rename(self._store)

    def _close(self) -> None:
        for log in self._logs:
            with suppress(_StoppedError):
                self._try(log.close)

    def _busy(self, who: int, work: Callable[[transit.Log, random.Random], None]) -> None:
        log = self._logs[who % len(self._logs)]
        lot = random.Random(f"{self._seed} {who}")
        with suppress(_StoppedError):
            while not self._problems and (
                self._leaving
                or time.monotonic() < self._deadline
                or self._done["append"] < self._appends
            ):
                self._try(lambda: work(log, lot))
                with self._noting:
                    self._done[work.__name__.strip("_")] += 1

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except transit.ClosedError as error:
            if not self._leaving:
                self._problems.append(traceback.format_exc())
            raise _StoppedError from error
        except transit.NotFoundError as error:
            # A reader of the folder, which has just gone.
            if not self._moved:
                self._problems.append(traceback.format_exc())
            raise _StoppedError from error
        except Exception as error:
            self._problems.append(traceback.format_exc())
            raise _StoppedError from error

    # What they do

    def _append(self, log: transit.Log, lot: random.Random) -> None:
        """One record or several, where no other append came first."""
        stream = log.stream(lot.choice(_NAMES))
        offset, level = len(stream), lot.choices(_LEVELS, (9, 9, 9, 9, 1))[0]
        data = [payload(stream.name, offset + n, lot.randrange(300)) for n in range(5)]
        with suppress(transit.ConflictError):
            if lot.random() < 0.3:
                receipt = stream.append_many(data, expect=offset, durability=level)
            else:
                receipt = stream.append(data[0], expect=offset, durability=level)
            with self._noting:
                reached = receipt.offset + receipt.count
                self._reached[stream.name] = max(self._reached[stream.name], reached)

    def _branch(self, log: transit.Log, lot: random.Random) -> None:
        """A branch, and records of its own, some of them told later."""
        parent = log.stream(lot.choice(_NAMES))
        before = len(parent)
        branch = parent.branch(f"branch {next(self._numbers)}")
        offset = len(branch)
        futures = [branch.submit(b"own", durability="local") for _ in range(3)]
        futures.append(branch.submit(b"own", durability="tiered"))
        found = [future.result(timeout=60).offset for future in futures]
        if offset < before or found != list(range(offset, offset + 4)):
            raise ValueError(f"{branch.name}: {found} after {before} and {offset}")
        check(branch.read(0, offset), parent.name, 0, offset)

    def _read(self, log: transit.Log, lot: random.Random) -> None:
        """Some records of a stream, one way or another."""
        stream = log.stream(lot.choice(_NAMES))
        stop = len(stream)
        start = lot.randrange(stop + 1)
        match lot.randrange(4):
            case 0 if start < stop:
                check([stream[start]], stream.name, start, start + 1)
            case 1:
                stop = min(stop, start + 50)
                check(stream.read(start, stop), stream.name, start, stop)
            case 2:
                batches = stream.batches(start, stop)
                shown = (record for batch in batches for record in batch.records())
                check(shown, stream.name, start, stop)
            case _:
                tail = list(stream.tail(start, timeout=0))
                check(tail, stream.name, start, start + len(tail))
                if start + len(tail) < stop:
                    raise ValueError(f"{stream.name}: a tail ends at {start + len(tail)}")

    def _seal(self, log: transit.Log, lot: random.Random) -> None:
        log.seal()
        time.sleep(lot.random() * 0.02)

    def _publish(self, log: transit.Log, lot: random.Random) -> None:
        log.publish()
        time.sleep(lot.random() * 0.02)

    def _evict(self, log: transit.Log, lot: random.Random) -> None:
        log.evict(bytes_max=lot.choice((0, 20_000)))
        time.sleep(lot.random() * 0.04)

    def _verify(self, log: transit.Log, lot: random.Random) -> None:
        """Every byte of the folder, or of the bucket."""
        report = log.verify() if lot.random() < 0.5 else transit.audit(self._remote, "roots")
        if not report.ok:
            raise ValueError(f"{report.findings}")
        time.sleep(lot.random() * 0.1)

    def _look(self, log: transit.Log, lot: random.Random) -> None:
        """Everything there is to ask about the store."""
        log.status()
        # Those of `_retire` may be hidden by now.
        streams = [each for each in log.streams() if not each.name.startswith("retired")]
        stream = lot.choice(streams)
        log.lineage.children(stream)
        log.lineage.merge_base(stream, log.stream("a"))
        if len(stream):
            log.lineage.why(transit.Position(stream.name, lot.randrange(len(stream))))

    def _restore(self, log: transit.Log, lot: random.Random) -> None:
        """What the bucket gives back, whole or lazily, while it grows."""
        if not log.status().published:
            return
        copy = self._folder / f"copy {next(self._numbers)}"
        try:
            transit.restore(self._remote, copy, lazy=lot.random() < 0.5)
            self._check_all(copy)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
        time.sleep(lot.random() * 0.2)

    def _open(self, log: transit.Log, lot: random.Random) -> None:
        """A reader of the folder, or of the bucket."""
        if log.status().published:
            self._check_all(lot.choice((self._store, f"file://{self._remote}")), lot.choice((0, 9)))
        time.sleep(lot.random() * 0.1)

    def _retire(self, log: transit.Log, lot: random.Random) -> None:
        """See `fates.retire`."""
        fates.retire(log, log.stream(lot.choice(_NAMES)), f"retired {next(self._numbers)}")
        time.sleep(lot.random() * 0.02)

    def _keep(self, log: transit.Log, lot: random.Random) -> None:
        """See `fates.keep`."""
        fates.keep(log, log.stream(lot.choice(_NAMES)), payload, "keeper")

    def _watch(self, log: transit.Log, lot: random.Random) -> None:
        """See `fates.watch`."""
        fates.watch(log, lot, f"watched {next(self._numbers)}")
        time.sleep(lot.random() * 0.02)

    # What there must be

    def _check_all(self, place: Path | str, last: int = 0) -> None:
        """Each stream's records there, or only the `last` of them."""
        remote = None if isinstance(place, str) else self._remote
        with transit.open(place, mode="read", remote=remote, settings=SETTINGS) as reader:
            for name in _NAMES:
                if name in reader:
                    stream = reader.stream(name)
                    stop = len(stream)
                    start = max(0, stop - last) if last else 0
                    check(stream.read(start, stop), name, start, stop)

    def _at_the_end(self) -> None:
        self._check_all(self._store)
        with transit.open(self._store, remote=self._remote, settings=SETTINGS) as log:
            for name, reached in self._reached.items():
                if len(log.stream(name)) < reached:
                    raise ValueError(f"{name} ends at {len(log.stream(name))}, not {reached}")
            log.publish()
            for report in (log.verify(), transit.audit(self._remote)):
                if not report.ok:
                    raise ValueError(f"{report.findings}")
            # A fault in one of these harms no reader, so no other judgement would see it.
            for place in self._store.glob("index/*"):
                decode_snapshot(place.read_bytes(), bytes.fromhex(log.store_id), str(place))


class _StoppedError(Exception):
    """Another thread has found a problem, or the store is closed."""


def crowd(mode: str, seed: int, seconds: float, appends: int = 0, *, end: End = "idle") -> Tally:
    """What a crowd did on a new store, in memory where that is possible, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="transit-crowd-", dir=MEMORY_DISK))
    try:
        return Crowd(folder, mode, seed).run(seconds, appends, end)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def soak(seconds: float, seed: int, say: Callable[[str], object]) -> int:
    """One crowd after another until the time is over; the count of problems.

    Two of four end early: after a moment, while all are busy, the store is closed, or its folder is
    moved.
    """
    deadline = time.monotonic() + seconds
    broken = 0
    while True:
        mode, end = ("exclusive", "shared")[seed % 2], _ENDS[seed // 2 % len(_ENDS)]
        seconds = _SECONDS if end == "idle" else random.Random(seed).random() * 0.3
        left = max(0.0, deadline - time.monotonic())
        tally = crowd(mode, seed, min(seconds, left), 1, end=end)
        done = ", ".join(f"{number} {what}" for what, number in sorted(tally.done.items()))
        say(f"crowd, {mode}, {end}, seed {seed}: {done}, {len(tally.problems)} problems")
        for problem in tally.problems:
            say(problem)
        broken += len(tally.problems)
        seed += 1
        if broken or time.monotonic() >= deadline:
            return broken
