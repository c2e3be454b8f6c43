"""Histories to crash: what a program does to a store, step by step, and what must come of it.

A history is a list of lives, one after another. A life is one process, or several at once in mode
"shared"; it ends by closing the store or by dying. Each step says what it does to a store and what
that does to `ModelLog`, so that what a store may hold after any number of steps is known exactly.
Payloads are unique, timestamps are given, and everything follows from the history's name and seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rigs.crash.erasures import SECRET
from rigs.crash.removals import Delete, Erase, Trim, secrets
from rigs.crash.signing import STORE_ID, SignCheckpoint
from rigs.crash.steps import (
    AppendMany,
    AppendOne,
    Atomic,
    Await,
    BranchOff,
    Close,
    Create,
    Die,
    DieWriting,
    Evict,
    GoOnSealing,
    MakeStore,
    Merge,
    MergeAgain,
    MoveCursor,
    OpenStore,
    PauseSealing,
    Publish,
    Reconcile,
    Restore,
    Seal,
    Step,
    Submit,
    Sync,
)
from transit.config import Settings
from transit.format.checksum import wal_seed
from transit.format.frame import MARK, encode_frame
from transit.testing.model import ModelLog

# Small files, so that a few records already make several of them.
SMALL: Final = Settings(seal_bytes=6 * 1024, block_bytes=4 * 1024, flush_interval_ms=60_000)
QUICK: Final = Settings(seal_bytes=6 * 1024, block_bytes=4 * 1024, flush_interval_ms=5)
PATIENT: Final = Settings(flush_interval_ms=60_000)

Plan = Sequence[Step]


@dataclass(frozen=True)
class History:
    """`lives`: for each life the plans of its processes. `remote`: whether there is one."""

    name: str
    seed: int
    lives: Sequence[Sequence[Plan]]
    remote: bool

    @property
    def alone(self) -> bool:
        """Whether never two processes write at once, so that what comes of it has one order."""
        return all(len(life) == 1 for life in self.lives)

    @property
    def steps(self) -> list[Step]:
        """All steps of a history with one process at a time."""
        return [step for life in self.lives for step in life[0]]


class Author:
    """Writes plans: unique payloads of `writer`, and steps a model agrees to."""

    def __init__(self, seed: str, writer: str = "w") -> None:
        self.dice = random.Random(seed)
        self.model = ModelLog()
        self.writer = writer
        self.steps: list[Step] = []
        self._payloads = 0
        self._now = 1_700_000_000_000_000_000

    def take(self) -> list[Step]:
        """The steps so far, as one plan; the next ones begin another."""
        steps, self.steps = self.steps, []
        return steps

    def do(self, *steps: Step) -> None:
        """Go on with `steps`."""
        for step in steps:
            step.foresee(self.model)
            self.steps.append(step)

    def payload(self) -> bytes:
        """Bytes that were never used before: text, noise, zeros, or the start of a frame."""
        self._payloads += 1
        head = f"{self.writer} {self._payloads} ".encode()
        size = self.dice.choice([0, 3, 40, 200, 700, 1800])
        bodies = (b"text " * (size // 5), self.dice.randbytes(size), bytes(size), b"TrFm" * 9)
        return head + self.dice.choice(bodies)

    def time(self) -> int:
        """A timestamp, later than all before, by little."""
        self._now += self.dice.randrange(1, 1000)
        return self._now

    def one(self, stream: str, durability: str, payload: bytes | None = None) -> AppendOne:
        """One record."""
        headers = self.dice.choice([{}, {}, {"kind": "note"}, {"kind": "result", "by": "tool"}])
        return AppendOne(stream, payload or self.payload(), self.time(), headers, durability)

    def many(self, stream: str, count: int, durability: str) -> AppendMany:
        """Several records in one frame."""
        payloads = tuple(self.payload() for _ in range(count))
        times = tuple(self.time() for _ in range(count))
        return AppendMany(stream, payloads, times, durability)

    def reconcile(
        self, streams: Sequence[str], name: str, reader: tuple[str, str], durability: str
    ) -> Reconcile:
        """A record for each of some streams, their merge, and a cursor at the end of one."""
        appends = tuple((each, self.payload(), self.time()) for each in streams)
        position = len(self.model.stream(reader[0]).records) + streams.count(reader[0])
        return Reconcile(appends, name, "interleave", reader, position, durability)

    def batch(self, streams: Sequence[str], durability: str, new: str = "") -> Atomic:
        """Records of several streams, one of which may be new, in one frame."""
        appends = [(name, self.payload(), self.time()) for name in [*streams, *([new] * bool(new))]]
        return Atomic(tuple(appends), new, durability)


def modes(seed: int) -> History:
    """Every durability in turn, on few streams, in one WAL file."""
    author = Author(f"modes {seed}")
    author.do(OpenStore(PATIENT), Create("a"), Create("b", "os"))
    for durability in ("memory", "os", "local", "memory", "local", "os", "memory", "memory"):
        author.do(author.one("a", durability), author.one("b", durability))
    author.do(author.many("a", 3, "os"), author.many("b", 5, "local"), Sync())
    submitted = [Submit(author.one(name, "local")) for name in "abab"]
    author.do(*submitted, Await(), author.one("a", "memory"), author.one("b", "memory"), Close())
    return History("modes", seed, [[author.take()]], remote=False)


def lineage(seed: int) -> History:
    """Batches, branches, merges by every policy, and a cursor."""
    author = Author(f"lineage {seed}")
    author.do(OpenStore(SMALL), Create("task"))
    author.do(*(author.one("task", "os") for _ in range(4)))
    author.do(BranchOff("task", "try-1", 1, "local"), BranchOff("task", "try-2", 3, "os"))
    author.do(author.one("try-1", "local"), author.many("try-2", 3, "os"))
    author.do(author.batch(["task", "try-1", "try-2"], "local", new="notes"))
    author.do(Merge("joined", ("try-1", "try-2"), "append", {}, "local"))
    for merge, durability in ((Merge, "os"), (MergeAgain, "local")):
        author.do(merge("picked", ("try-1", "try-2"), "select", {"selected": "try-2"}, durability))
    author.do(author.one("joined", "local"), BranchOff("joined", "again", 4, "os"))
    author.do(Merge("mixed", ("again", "joined"), "interleave", {}, "local"))
    author.do(MoveCursor("task", "reader", 2, "os"), MoveCursor("task", "reader", 2, "local"))
    author.do(MoveCursor("task", "reader", 4, "os"))
    author.do(author.reconcile(["task", "try-1"], "both", ("task", "reader"), "os"))
    author.do(author.reconcile(["try-2", "task"], "all", ("task", "reader"), "local"))
    author.do(
        author.batch(["mixed", "again"], "os"), Merge("end", ("mixed", "task"), "base", {}, "os")
    )
    author.do(author.many("end", 2, "local"), Close())
    return History("lineage", seed, [[author.take()]], remote=False)


def sealing(seed: int) -> History:
    """WAL files that end by size and by hand, sealed beside the appends, then opened again."""
    author = Author(f"sealing {seed}")
    author.do(OpenStore(QUICK), Create("a"), Create("b"))
    for number in range(14):
        durability = ("os", "local", "memory")[number % 3]
        author.do(author.one("a", durability), author.one("b", "os", author.payload() + bytes(900)))
        if number % 5 == 4:
            author.do(Seal())
    first = [*author.take(), Close()]
    author.do(OpenStore(SMALL), author.one("a", "local"), author.one("b", "os"), Seal())
    author.do(BranchOff("a", "c", 3, "os"), author.many("c", 4, "os"), Seal(), Seal())
    author.do(author.one("b", "memory"), Close())
    return History("sealing", seed, [[first], [author.take()]], remote=False)


def unended(seed: int) -> History:
    """Files that end while those before them are not synced, and syncs of the newest in between."""
    author = Author(f"unended {seed}")
    author.do(OpenStore(SMALL), Create("a"), Create("b"), PauseSealing())
    _fill(author, 4)
    author.do(author.one("b", "os" if seed % 2 else "local"))
    _fill(author, 2)
    first = [*author.take(), Die()]
    author.do(OpenStore(SMALL), author.one("a", "os"), PauseSealing())
    _fill(author, 2)
    author.do(author.batch(["a", "b"], "local"))
    _fill(author, 3)
    author.do(GoOnSealing(), Seal(), author.one("b", "os"), Close())
    return History("unended", seed, [[first], [author.take()]], remote=False)


def _fill(author: Author, files: int) -> None:
    """Records of durability "os" that end so many files, about."""
    for _ in range(files):
        author.do(
            author.one("a", "os", author.payload() + bytes(author.dice.randrange(2000, 3000)))
        )
        author.do(author.one("b", "os", author.payload() + author.dice.randbytes(4000)))


def deaths(seed: int) -> History:
    """Processes that die between writes and within them; each is followed by one that goes on."""
    author = Author(f"deaths {seed}")
    lives = []
    author.do(OpenStore(PATIENT), Create("a"), author.one("a", "local"), author.one("a", "os"))
    lives.append([*author.take(), Die()])
    for number in range(4):
        author.do(OpenStore(SMALL if number % 2 else PATIENT))
        author.do(author.one("a", "os"), author.many("a", 2, "local"), author.one("a", "os"))
        if number == 1:
            author.do(Seal(), author.one("a", "os"))
        lost = author.one("a", "local", author.payload() + bytes(1200))
        lives.append([*author.take(), DieWriting(lost, (3, 60, 700, 1290)[number])])
    author.do(OpenStore(SMALL), author.one("a", "local"), author.one("a", "memory"), Close())
    lives.append(author.take())
    return History("deaths", seed, [[life] for life in lives], remote=False)


def tiered(seed: int) -> History:
    """Publishing to a folder, appends that wait for it, eviction, reading back, restoring."""
    author = Author(f"tiered {seed}")
    author.do(OpenStore(SMALL, remote=True), Create("a"), author.one("a", "local"), Publish())
    author.do(author.one("a", "tiered"), Create("b"), author.many("b", 3, "os"), Publish())
    author.do(Restore(), Evict(), author.one("a", "os"), BranchOff("a", "c", 1, "local"))
    author.do(Seal(), Evict())
    author.do(author.many("c", 3, "tiered"), author.one("b", "memory"), Publish(), Evict())
    author.do(author.one("c", "os"))
    first = [*author.take(), Die()]
    author.do(OpenStore(QUICK, remote=True), author.one("a", "local"), Publish())
    for _ in range(3):
        author.do(author.batch(["a", "b", "c"], "os"), Publish())
    author.do(Evict(), author.one("b", "tiered"), author.one("a", "os"), Close())
    return History("tiered", seed, [[first], [author.take()]], remote=True)


def erasing(seed: int) -> History:
    """A stream that shares its blocks with others is deleted, another trimmed, both are erased."""
    author = Author(f"erasing {seed}")
    author.do(OpenStore(SMALL, remote=True), Create("a"), Create(SECRET), Create("b"))
    author.do(author.many("a", 3, "os"), secrets(4, author.time()), author.one("b", "os"))
    author.do(Publish(), author.many("a", 2, "os"), secrets(2, author.time() + 10), Seal())
    if seed % 2:
        author.do(Publish(), Evict())
    author.do(Delete(SECRET, "os"), Trim("a", 3, "local"), Erase(), author.one("a", "os"))
    first = [*author.take(), Close() if seed % 3 else Die()]
    author.do(OpenStore(QUICK, remote=True), author.one("b", "local"), Trim("a", 5, "os"))
    author.do(Erase(), author.one("b", "tiered"), Close())
    return History("erasing", seed, [[first], [author.take()]], remote=True)


def snapshots(seed: int) -> History:
    """Commits enough for index snapshots, and an eviction that makes one of its own."""
    author = Author(f"snapshots {seed}")
    author.do(OpenStore(SMALL, remote=True), Create("a"))
    for number in range(10):
        author.do(author.one("a", "local" if number % 2 else "os"), Seal())
        if number in (4, 8):
            author.do(Publish(), Evict())
    author.do(Publish(), Restore(), author.one("a", "os"), Close())
    return History("snapshots", seed, [[author.take()]], remote=True)


def checkpoints(seed: int) -> History:
    """Checkpoints of a growing store, with its remote or without one, over deaths between."""
    author = Author(f"checkpoints {seed}")
    remote = seed % 2 == 0
    lives: list[Plan] = []
    author.do(MakeStore(STORE_ID))
    for life in range(3):
        author.do(OpenStore(SMALL, remote=remote))
        if not life:
            author.do(Create("a"))
        author.do(author.one("a", "local"), SignCheckpoint(remote), author.one("a", "os"))
        author.do(author.many("a", 3, "memory"), SignCheckpoint(remote), SignCheckpoint(remote))
        author.do(author.one("a", "memory"), Seal(), author.one("a", "os"))
        lives.append([*author.take(), Die() if life < 2 else Close()])
    return History("checkpoints", seed, [[life] for life in lives], remote=remote)


def steps_of(history: History) -> list[Step]:
    """All steps, of all processes."""
    return [step for life in history.lives for plan in life for step in plan]


def echo(seed: int) -> History:
    """Payloads that hold frames of their own WAL file, valid but for the place they lie at."""
    author = Author(f"echo {seed}")
    store_id = author.dice.randbytes(16)
    wal = wal_seed(store_id, 0)
    # 64 bytes and one more, so that one of eight copies lies where a frame could start.
    mark = encode_frame(b"", 8 << 20, 0, 1 << 40, 0, MARK, 0, wal) + b" "
    author.do(MakeStore(store_id), OpenStore(PATIENT), Create("a"))
    for durability in ("local", "os", "os", "local", "memory", "os"):
        author.do(author.one("a", durability, author.payload() + bytes(500) + mark * 16))
    author.do(Close())
    return History("echo", seed, [[author.take()]], remote=False)


def everything(seed: int) -> History:
    """Each kind of step at least once, in one short life."""
    author = Author(f"everything {seed}")
    author.do(OpenStore(SMALL, remote=True), Create("a"), author.one("a", "local"))
    author.do(author.one("a", "memory"), author.many("a", 2, "os"), BranchOff("a", "b", 1, "local"))
    author.do(author.batch(["a", "b"], "local", new="c"), Seal(), author.one("b", "os"))
    author.do(Merge("d", ("a", "b"), "append", {}, "local"), MoveCursor("a", "reader", 1, "os"))
    author.do(author.reconcile(["a", "c"], "e", ("a", "reader"), "os"))
    author.do(Publish(), Submit(author.one("c", "local")), Await(), author.one("d", "tiered"))
    author.do(Evict(), Restore(), author.one("a", "os"), Sync(), author.one("b", "memory"))
    author.do(author.one("a", "local"), Close())
    return History("everything", seed, [[author.take()]], remote=True)


def shared(seed: int) -> History:
    """Two processes that append to one stream and to their own, branch and seal, at once."""
    first = Author(f"shared {seed}")
    first.do(OpenStore(SMALL), Create("both"), first.one("both", "local"), Close())
    plans = []
    for writer in ("x", "y"):
        author = Author(f"shared {seed} {writer}", writer)
        author.model.create("both")
        author.do(OpenStore(SMALL, mode="shared"), Create(writer))
        for number in range(9):
            durability = ("os", "local", "memory")[number % 3]
            author.steps.append(author.one("both", durability))
            author.do(author.one(writer, "os"))
            if number % 4 == 3:
                author.do(BranchOff(writer, f"{writer}-{number}", 0, "os"))
                author.steps += [author.batch(["both", f"{writer}-{number}"], "local"), Seal()]
        plans.append([*author.take(), Close() if writer == "x" else Die()])
    last = Author(f"shared {seed} z", "z")
    last.model.create("both")
    last.do(OpenStore(SMALL), last.one("both", "local"), last.one("both", "os"), Close())
    return History("shared", seed, [[first.take()], plans, [last.take()]], remote=False)


def shared_unended(seed: int) -> History:
    """As `unended`, by two processes that end each other's files."""
    first = Author(f"shared_unended {seed}")
    first.do(OpenStore(SMALL), Create("both"), first.one("both", "local"), Close())
    plans = []
    for writer in ("x", "y"):
        author = Author(f"shared_unended {seed} {writer}", writer)
        author.model.create("both")
        author.do(OpenStore(SMALL, mode="shared"), Create(writer), PauseSealing())
        for number in range(6):
            size = author.dice.randrange(2000, 5000)
            durability = "local" if number == 3 else "os"
            author.steps.append(author.one("both", durability, author.payload() + bytes(size)))
            author.do(author.one(writer, "os", author.payload() + author.dice.randbytes(2000)))
        end = [GoOnSealing(), Close()] if writer == "x" else [Die()]
        plans.append([*author.take(), *end])
    last = Author(f"shared_unended {seed} z", "z")
    last.model.create("both")
    last.do(OpenStore(SMALL), last.one("both", "local"), last.one("both", "os"), Close())
    return History("shared_unended", seed, [[first.take()], plans, [last.take()]], remote=False)


def anything(seed: int) -> History:
    """Steps drawn at random from all there are, over three lives."""
    author = Author(f"anything {seed}")
    remote = author.dice.random() < 0.5
    lives = []
    for life in range(3):
        settings = author.dice.choice([SMALL, QUICK, PATIENT])
        author.do(OpenStore(settings, remote=remote))
        if not life:
            author.do(Create("s0"))
        for _ in range(author.dice.randrange(6, 14)):
            author.do(_drawn(author, remote))
        end: Step = Close()
        if author.dice.random() < 0.6:
            # What was only accepted would be lost, and the judge could not say how much of it.
            author.do(author.one("s0", "os"))
            torn = author.one("s0", "local")
            end = author.dice.choice([Die(), DieWriting(torn, author.dice.randrange(1, 90))])
        lives.append([[*author.take(), end]])
    return History("anything", seed, lives, remote)


def _drawn(author: Author, remote: bool) -> Step:
    dice, names = author.dice, list(author.model.streams)
    durability = dice.choice(["memory", "os", "local", *(["tiered"] if remote else [])])
    at_least_os = "os" if durability == "memory" else durability
    name = dice.choice(names)
    new = f"s{len(names)}"
    stop = len(author.model.streams[name].records)
    steps: list[Callable[[], Step]] = [
        *[lambda: author.one(name, durability)] * 4,
        lambda: author.many(name, dice.randrange(1, 5), at_least_os),
        lambda: author.batch(dice.sample(names, min(len(names), 2)), at_least_os),
        lambda: author.batch([name], at_least_os, new=new),
        lambda: Create(new, at_least_os),
        Seal,
        Sync,
    ]
    if stop:
        steps += [lambda: BranchOff(name, new, dice.randrange(stop), at_least_os)] * 2
    full = [each for each in names if author.model.streams[each].records]
    if len(full) > 1:
        parents = tuple(dice.sample(full, 2))
        steps.append(lambda: Merge(new, parents, "append", {}, at_least_os))
    if remote:
        steps += [Publish, Evict]
    return dice.choice(steps)()


SCRIPTED: Final[Mapping[str, Callable[[int], History]]] = {
    maker.__name__: maker
    for maker in (
        modes,
        lineage,
        sealing,
        deaths,
        echo,
        tiered,
        erasing,
        snapshots,
        checkpoints,
        everything,
        shared,
        unended,
        shared_unended,
    )
}
HISTORIES: Final[Mapping[str, Callable[[int], History]]] = {**SCRIPTED, "anything": anything}
