"""Steps of a history: each does something to a store, and knows what that does to the model.

A step's `run` returns the strength of what it reached, 0 for "memory" to 3 for "tiered", of itself
and of every step before it; None when it promises nothing. `adds` names what it brings: the
streams it makes, and the records, by the stream they are appended to.
"""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import transit
from transit.config import Settings, durability_level
from transit.disk import File
from transit.handle.opening import make_store
from transit.testing.model import Advance as ModelAdvance
from transit.testing.model import Append as ModelAppend
from transit.testing.model import Create as ModelCreate
from transit.testing.model import Merge as ModelMerge
from transit.testing.model import ModelLog

STORE, REMOTE, COPY = "store", "remote", "copy"


class Added(NamedTuple):
    """What a step brings: names of streams it makes, and (stream, payload) of its records."""

    streams: tuple[str, ...] = ()
    records: tuple[tuple[str, bytes], ...] = ()


class Session:
    """What the steps of one process share: where everything is, and the open store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Told each text before it is signed.
        self.sign: Callable[[str], object] = lambda text: None
        self.store: transit.Log | None = None
        self.receipts: list[transit.Receipt] = []
        self.submitted: list[Future[transit.Receipt]] = []

    @property
    def log(self) -> transit.Log:
        """The open store."""
        assert self.store is not None
        return self.store

    def keep(self, receipt: transit.Receipt) -> int:
        """Take note of a receipt; the strength it states."""
        self.receipts.append(receipt)
        return durability_level(receipt.durability)


@dataclass(frozen=True)
class Step(ABC):
    """Something done to a store."""

    @abstractmethod
    def run(self, session: Session) -> int | None:
        """Do it; what it reached."""

    def foresee(self, model: ModelLog) -> None:
        """Do it to the model; most steps change nothing that a reader sees."""

    @property
    def adds(self) -> Added:
        """What it brings."""
        return Added()


@dataclass(frozen=True)
class MakeStore(Step):
    """Make an empty store that has a known id, 16 bytes."""

    store_id: bytes

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        make_store(str(session.root / STORE), self.store_id)
        return None


@dataclass(frozen=True)
class OpenStore(Step):
    """Open the store."""

    settings: Settings
    mode: str = "exclusive"
    remote: bool = False

    def run(self, session: Session) -> int | None:
        """As `Step`; all that was found when opening is durable then."""
        remote = str(session.root / REMOTE) if self.remote else None
        path = session.root / STORE
        session.store = transit.open(path, mode=self.mode, remote=remote, settings=self.settings)
        return None


@dataclass(frozen=True)
class Create(Step):
    """A new stream."""

    name: str
    durability: str = "local"

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log.create(self.name, durability=self.durability)
        return durability_level(self.durability)

    def foresee(self, model: ModelLog) -> None:
        """As `Step`."""
        model.create(self.name)

    @property
    def adds(self) -> Added:
        """As `Step`."""
        return Added(streams=(self.name,))


@dataclass(frozen=True)
class AppendOne(Step):
    """One record."""

    stream: str
    payload: bytes
    timestamp: int
    headers: Mapping[str, str]
    durability: str

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        return session.keep(
            session.log.stream(self.stream).append(
                self.payload, headers=self.headers, timestamp=self.timestamp,
                durability=self.durability,
            )
        )  # fmt: skip

    def foresee(self, model: ModelLog) -> None:
        """As `Step`."""
        model.append(self.stream, self.payload, self.timestamp, self.headers)

    @property
    def adds(self) -> Added:
        """As `Step`."""
        return Added(records=((self.stream, self.payload),))


@dataclass(frozen=True)
class PauseSealing(Step):
    """Nothing is sealed, and nothing synced by sealing, until it goes on or the process dies."""

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log._handle.sealer.paused.acquire()
        return None


@dataclass(frozen=True)
class GoOnSealing(Step):
    """What has ended may be sealed again."""

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log._handle.sealer.paused.release()
        return None


@dataclass(frozen=True)
class Submit(Step):
    """One record whose receipt comes later."""

    append: AppendOne

    def run(self, session: Session) -> int | None:
        """As `Step`; nothing is promised yet."""
        append = self.append
        session.submitted.append(
            session.log.stream(append.stream).submit(
                append.payload, headers=append.headers, timestamp=append.timestamp,
                durability=append.durability,
            )
        )  # fmt: skip
        return None

    def foresee(self, model: ModelLog) -> None:
        """As `Step`."""
        self.append.foresee(model)

    @property
    def adds(self) -> Added:
        """As `Step`."""
        return self.append.adds


@dataclass(frozen=True)
class Await(Step):
    """The receipts of all that was submitted."""

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        reached = [session.keep(future.result()) for future in session.submitted]
        session.submitted.clear()
        return min(reached, default=None)


@dataclass(frozen=True)
class AppendMany(Step):
    """Several records of one stream in one frame."""

    stream: str
    payloads: tuple[bytes, ...]
    timestamps: tuple[int, ...]
    durability: str

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        return session.keep(
            session.log.stream(self.stream).append_many(
                self.payloads, timestamps=self.timestamps, durability=self.durability
            )
        )

    def foresee(self, model: ModelLog) -> None:
        """As `Step`."""
        model.append_many(self.stream, self.payloads, self.timestamps)

    @property
    def adds(self) -> Added:
        """As `Step`."""
        return Added(records=tuple((self.stream, payload) for payload in self.payloads))


@dataclass(frozen=True)
class Atomic(Step):
    """Records of several streams in one frame; stream `new` is made with them, unless empty."""

    appends: tuple[tuple[str, bytes, int], ...]
    new: str
    durability: str

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        with session.log.batch(durability=self.durability) as batch:
            made = batch.create(self.new) if self.new else None
            for name, payload, timestamp in self.appends:
                stream = made if made is not None and name == self.new else None
                target = stream or session.log.stream(name)
                batch.append(target, payload, timestamp=timestamp)
        return min(session.keep(receipt) for receipt in batch.receipts)

    def foresee(self, model: ModelLog) -> None:
        """As `Step`."""
        made = [ModelCreate(self.new)] if self.new else []
        model.batch([*made, *(ModelAppend(*append) for append in self.appends)])

    @property
    def adds(self) -> Added:
        """As `Step`."""
        records = tuple((name, payload) for name, payload, _ in self.appends)
        return Added((self.new,) if self.new else (), records)


@dataclass(frozen=True)
class Reconcile(Step):
    """Records for streams, a merge that has them, and a cursor moved past them: one frame.

    reader: the stream and name of the cursor.
    """

    appends: tuple[tuple[str, bytes, int], ...]
    name: str
    policy: str
    reader: tuple[str, str]
    position: int
    durability: str

    @property
    def parents(self) -> tuple[str, ...]:
        """What is merged: the streams that get records."""
        return tuple(dict.fromkeys(name for name, _, _ in self.appends))

    @property
    def state(self) -> bytes:
        """What is kept with the cursor's position."""
        return f"read for {self.name}".encode()

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        stream, cursor = self.reader
        with session.log.batch(durability=self.durability) as batch:
            for name, payload, timestamp in self.appends:
                batch.append(name, payload, timestamp=timestamp)
            batch.merge(self.name, self.parents, policy=self.policy)
            moved = session.log.stream(stream).cursor(cursor)
            batch.advance(moved, self.position, state=self.state)
        return min(session.keep(receipt) for receipt in batch.receipts)

    def foresee(self, model: ModelLog) -> None:
        """As `Step`."""
        appends = (ModelAppend(*append) for append in self.appends)
        merge = ModelMerge(self.name, self.parents, self.policy)
        model.batch([*appends, merge, ModelAdvance(*self.reader, self.position, self.state)])

    @property
    def adds(self) -> Added:
        """As `Step`."""
        return Added((self.name,), tuple((name, payload) for name, payload, _ in self.appends))


@dataclass(frozen=True)
class BranchOff(Step):
    """A branch."""

    parent: str
    name: str
    at: int
    durability: str

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log.stream(self.parent).branch(self.name, self.at, durability=self.durability)
        return durability_level(self.durability)

    def foresee(self, model: ModelLog) -> None:
        """As `Step`."""
        model.branch(self.parent, self.name, self.at)

    @property
    def adds(self) -> Added:
        """As `Step`."""
        return Added(streams=(self.name,))


@dataclass(frozen=True)
class Merge(Step):
    """A merge of streams at their heads."""

    name: str
    parents: tuple[str, ...]
    policy: str
    params: Mapping[str, str]
    durability: str

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log.merge(
            self.name, [session.log.stream(name) for name in self.parents], policy=self.policy,
            params=self.params, durability=self.durability,
        )  # fmt: skip
        return durability_level(self.durability)

    def foresee(self, model: ModelLog) -> None:
        """As `Step`."""
        model.merge(self.name, self.parents, self.policy, params=self.params)

    @property
    def adds(self) -> Added:
        """As `Step`."""
        return Added(streams=(self.name,))


@dataclass(frozen=True)
class MergeAgain(Merge):
    """The same merge asked for once more: it is there already, perhaps not as durable as now."""

    @property
    def adds(self) -> Added:
        """As `Step`."""
        return Added()


@dataclass(frozen=True)
class MoveCursor(Step):
    """A cursor moved forward, or not at all."""

    stream: str
    cursor: str
    position: int
    durability: str

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        cursor = session.log.stream(self.stream).cursor(self.cursor)
        cursor.advance(self.position, durability=self.durability)
        return durability_level(self.durability)

    def foresee(self, model: ModelLog) -> None:
        """As `Step`."""
        model.advance(self.stream, self.cursor, self.position)


@dataclass(frozen=True)
class Sync(Step):
    """Everything so far made durable."""

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log.sync()
        return 2


@dataclass(frozen=True)
class Seal(Step):
    """Everything so far made a segment."""

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log.seal()
        return 2


@dataclass(frozen=True)
class Publish(Step):
    """Everything so far brought to the remote."""

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log.publish()
        return 3


@dataclass(frozen=True)
class Evict(Step):
    """Everything published let go here."""

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log.evict(bytes_max=0)
        return None


@dataclass(frozen=True)
class Restore(Step):
    """The store made again beside itself, from the remote."""

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        transit.restore(str(session.root / REMOTE), session.root / COPY)
        return None


@dataclass(frozen=True)
class Close(Step):
    """The end of a life, in good order."""

    def run(self, session: Session) -> int | None:
        """As `Step`."""
        session.log.close()
        return 2


@dataclass(frozen=True)
class Die(Step):
    """The end of a life, at once."""

    def run(self, session: Session) -> int | None:
        """As `Step`; does not return."""
        die()


@dataclass(frozen=True)
class DieWriting(Step):
    """The end of a life in the middle of an append: `size` bytes of its frame are written."""

    append: AppendOne
    size: int

    def run(self, session: Session) -> int | None:
        """As `Step`; does not return."""
        whole = File.write_at

        def torn(file: File, position: int, data: bytes | bytearray) -> None:
            whole(file, position, bytes(data[: self.size]))
            die()

        name = "write_at"
        setattr(File, name, torn)
        self.append.run(session)
        raise AssertionError("it lives")


def die() -> NoReturn:
    """End this process as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it lives")
