"""What the processes do that are killed: write, publish, follow, until they are told to stop.

Each role is a process of its own, made by `rigs.kills.yard`. It says what it did in
files of its own (`rigs.kills.receipts`), which outlive it, and knows nothing of others.
"""

from __future__ import annotations

import mmap
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

import transit
from rigs.kills.fates import LAYER, Fate, FateMouth
from rigs.kills.receipts import Mouth, Tag, payload
from transit.format.digest import digest

# The stream that all writers share; each has one of its own too.
SHARED_STREAM: Final = "all"
WRITERS: Final = ("w0", "w1", "w2", "w3")
SETTINGS: Final = transit.Settings(
    seal_bytes=48 * 1024, block_bytes=4096, flush_interval_ms=5, lock_timeout_s=60
)


def make_streams(log: transit.Log) -> None:
    """The streams that the roles use, in a new store."""
    for name in (SHARED_STREAM, *WRITERS):
        log.create(name)
        log.layer(LAYER).create(name)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One process to be.

    role: a name in `ROLES`. name, life: who it is, and for which time. folder: where it says what
    it did. remote, replica: "" for none. start: the first offset a reader asks for. evicts: whether
    a publisher lets go of what it published. stubborn: steps a writer tries after one that failed.
    """

    role: str
    root: str
    folder: str
    name: str
    life: int
    seed: int
    remote: str = ""
    replica: str = ""
    start: int = 0
    evicts: bool = False
    stubborn: int = 0
    plant: str = ""

    @property
    def remotes(self) -> list[str]:
        """Those there are, the first first."""
        return [each for each in (self.remote, self.replica) if each]

    def open(self, mode: str) -> transit.Log:
        """The store, as this process opens it; a file says that it did."""
        log = transit.open(
            self.root, mode=mode, remote=self.remotes or None, settings=SETTINGS, durability="os"
        )
        (Path(self.folder) / f"{self.name}.{self.life}.open").touch()
        return log


class Flag:
    """Two bytes in a file that all processes see: whether to stop, and whether anything failed."""

    def __init__(self, folder: str) -> None:
        with (Path(folder) / "flag").open("r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), 2)

    @staticmethod
    def make(folder: Path) -> Flag:
        """A flag in `folder` that says "go on"."""
        (folder / "flag").write_bytes(bytes(2))
        return Flag(str(folder))

    @property
    def stop(self) -> bool:
        """Whether to stop."""
        return self._bytes[0] != 0

    def raise_it(self) -> None:
        """Tell all processes to stop."""
        self._bytes[0] = 1

    @property
    def failed(self) -> bool:
        """Whether some step of some writer ended with an error."""
        return self._bytes[1] != 0

    def fail(self) -> None:
        """Tell all processes that a step ended with an error."""
        self._bytes[1] = 1


class Program:
    """The steps of one writer, drawn at random; every kind of append there is."""

    def __init__(self, log: transit.Log, job: Job, name: str) -> None:
        self._log = log
        self._own, self._shared = log.stream(name), log.stream(SHARED_STREAM)
        self._name, self._life = name, job.life
        self._kept = log.layer(LAYER).stream(name)
        self._mouth = Mouth(Path(job.folder), name, job.life)
        self._fates = FateMouth(Path(job.folder), name, job.life)
        self._lot = random.Random(f"{job.seed} {name} {job.life}")
        self._has_replica = bool(job.replica)
        self._number = 0
        # Steps that were acknowledged although they began after some writer's step had failed.
        self.late = 0
        kinds: list[tuple[Callable[[], list[transit.Receipt]], int]] = [
            (self._one, 50), (self._many, 12), (self._batch, 15), (self._branch, 3),
            (self._tiered, 5 if job.remote else 0), (self._pass, 4),
        ]  # fmt: skip
        self._kinds = [kind for kind, _ in kinds]
        self._weights = [weight for _, weight in kinds]
        self._stubborn = job.stubborn
        # A busy writer and one that rests are killed at different places.
        self._rests = self._lot.choice((0.0, 0.1, 0.6))

    def run(self, flag: Flag) -> None:
        """Take steps until told to stop; an error ends it, or is told and put up with."""
        while not flag.stop:
            failed = flag.failed
            try:
                self._step()
                self.late += failed
                if self._lot.random() < self._rests:
                    time.sleep(self._lot.random() * 0.008)
            except transit.TransitError as error:
                self._mouth.refused(self._number, error)
                self._number += 1
                flag.fail()
                if not self._stubborn:
                    raise
                self._stubborn -= 1
                if not self._stubborn:
                    return

    def _step(self) -> None:
        drawn = self._lot.random()
        if drawn < 0.11:
            (self._burst if drawn < 0.08 else self._retire)()
            return
        (kind,) = self._lot.choices(self._kinds, self._weights)
        self._mouth.done(self._number, kind())
        self._number += 1

    def _payload(self, part: int = 0, parts: int = 1, ahead: int = 0) -> bytes:
        return payload(Tag(self._name, self._life, self._number + ahead, part, parts))

    def _level(self) -> str:
        return self._lot.choice(("memory", "os", "os", "local"))

    def _one(self) -> list[transit.Receipt]:
        stream = self._lot.choice((self._own, self._shared))
        return [stream.append(self._payload(), durability=self._level())]

    def _tiered(self) -> list[transit.Receipt]:
        level = "replicated" if self._has_replica and self._lot.random() < 0.5 else "tiered"
        return [self._own.append(self._payload(), durability=level)]

    def _many(self) -> list[transit.Receipt]:
        stream = self._lot.choice((self._own, self._shared))
        payloads = [self._payload(part, 3) for part in range(3)]
        return [stream.append_many(payloads, durability=self._lot.choice(("os", "local")))]

    def _batch(self) -> list[transit.Receipt]:
        with self._log.batch(durability=self._lot.choice(("os", "local"))) as batch:
            batch.append(self._own, self._payload(0, 2))
            batch.append(self._shared, self._payload(1, 2))
        return list(batch.receipts)

    def _branch(self) -> list[transit.Receipt]:
        name = f"{self._name}.{self._life}.{self._number}"
        branch = self._own.branch(name)
        return [branch.append(self._payload(), durability=self._level())]

    def _pass(self) -> list[transit.Receipt]:
        """A record, its copy in a layer, and a cursor moved past it, in one frame."""
        # Nobody else appends to this stream.
        stop = len(self._own) + 1
        with self._log.batch(durability=self._lot.choice(("os", "local"))) as batch:
            batch.append(self._own, self._payload(0, 2))
            batch.append(self._kept, self._payload(1, 2))
            batch.advance(self._own.cursor("c"), stop)
        self._fates.say(Fate("cursor", self._name, stop))
        return list(batch.receipts)

    def _retire(self) -> None:
        """A branch that is finished with its last record and hidden; its name may be another's."""
        name = f"{self._name}.{self._life}.{self._number}"
        with self._log.batch(durability=self._lot.choice(("os", "local"))) as batch:
            staged = batch.branch(self._own, name)
            batch.append(staged, self._payload(0, 2))
            batch.append(self._kept, self._payload(1, 2))
            batch.finish(staged)
        old = staged.stream
        self._mouth.done(self._number, batch.receipts)
        self._fates.say(Fate("finished", name, len(old)))
        self._number += 1
        self._log.hide(old)
        self._fates.say(Fate("hidden", name, len(old)))
        if self._lot.random() < 0.5:
            receipt = self._log.create(name).append(self._payload(), durability=self._level())
            self._mouth.done(self._number, [msgspec.structs.replace(receipt, stream=name + "'")])
            self._number += 1

    def _burst(self) -> None:
        futures: list[Future[transit.Receipt]] = []
        try:
            for ahead in range(3):
                data = self._payload(ahead=ahead)
                futures.append(self._own.submit(data, durability="local"))
        finally:
            for future in futures:
                self._mouth.done(self._number, [future.result(timeout=60)])
                self._number += 1


def write(job: Job, flag: Flag) -> None:
    """One of several writing processes."""
    with job.open("shared") as log:
        Program(log, job, job.name).run(flag)


def write_alone(job: Job, flag: Flag) -> None:
    """The one writing process: threads that write, and one that publishes and evicts."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    with job.open("exclusive") as log:
        count = random.Random(f"{job.seed} {job.life}").choice((1, 2, len(WRITERS)))
        programs = [Program(log, job, name) for name in WRITERS[:count]]
        work: list[Callable[[], None]] = [partial(program.run, flag) for program in programs]
        if job.remote:
            work.append(partial(_publish, log, job, flag))
        threads = [threading.Thread(target=guarded, args=(each,), daemon=True) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        late = Path(job.folder) / f"{job.name}.{job.life}.late"
        late.write_text(str(sum(program.late for program in programs)))
    if failures and not job.stubborn:
        raise failures[0]


def publish(job: Job, flag: Flag) -> None:
    """A process that publishes what the others write."""
    with job.open("shared") as log:
        _publish(log, job, flag)


def _publish(log: transit.Log, job: Job, flag: Flag) -> None:
    lot = random.Random(f"{job.seed} publisher {job.life}")
    path = Path(job.folder) / f"publisher.{job.life}.published"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    while not flag.stop:
        published = log.publish()
        os.write(fd, f"{log.status().published} {published.head}\n".encode())
        if job.evicts and lot.random() < 0.5:
            log.evict(bytes_max=lot.choice((0, 20_000)))
        time.sleep(lot.random() * 0.01)


def follow(job: Job, flag: Flag) -> None:
    """A process that reads the shared stream from `start` on, and says what it saw."""
    path = Path(job.folder) / f"reader.{job.life}.seen"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    at = job.start
    with job.open("read") as log:
        stream = log.stream(SHARED_STREAM)
        while not flag.stop:
            for record in stream.tail(start=at, timeout=0.02):
                os.write(fd, f"{record.offset} {digest(record.payload).hex()}\n".encode())
                at = record.offset + 1
                if flag.stop:
                    break


ROLES: Final[dict[str, Callable[[Job, Flag], None]]] = {
    "write": write,
    "write_alone": write_alone,
    "publish": publish,
    "follow": follow,
}
