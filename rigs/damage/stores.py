"""Small stores with every class of file, kept as bytes, and what they answer.

Each sample is a folder (and, for two of them, its remote) as names and bytes, the answers of the
whole store, and for the WAL file that was written last the answers after each of its frames, noted
by the process that wrote them. They are small, so that every byte can be damaged in turn:

    killed    sealed segments, an ended WAL that is not sealed yet, an open WAL; its writer died
    closed    the same, closed: the open WAL ends in a mark
    evicted   ten commits, one with a snapshot; most segments are in the remote alone; a cache, a
              file of a room above the engine, and a checkpoint over all commits but the last
    whole     the same before anything was evicted, without the remote
    rebasing  a rebase that was cut short between READY and the first move
    erased    one segment that a stream was erased from
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import transit
from rigs.damage.answers import Answers, ask_all
from rigs.damage.kinds import Files, Span
from rigs.damage.plants import replaced
from transit.format.checksum import wal_seed
from transit.format.frame import (
    DATA,
    FRAME_BYTES,
    WAL_HEADER,
    decode_frame_header,
    decode_wal_header,
)
from transit.handle import switching

# Of the zeros that a WAL file reserves after its last frame, so many are kept.
ZEROS_KEPT: Final = 520
# Nothing is written but when a test says so.
STILL: Final = transit.Settings(
    flush_interval_ms=60_000, block_bytes=4096, compression="zstd", transfers_max=2
)
PLAIN: Final = transit.Settings(flush_interval_ms=60_000, block_bytes=4096, compression="none")
_TIME: Final = 1_700_000_000_000_000_000
_COMMITS: Final = 10
_LAYOUT: Final = (
    "wal", "segments", "commits", "index", "cache", "rooms", "probes", "rebase", "diverged",
    "redacted", "checkpoints", "tile",
)  # fmt: skip


class Frame(NamedTuple):
    """A frame of a WAL file: its bytes, how far it says the file is durable, whether it has data.

    A frame without data, a mark or an end, says that everything before it is durable.
    """

    span: Span
    durable: int
    data: bool

    @property
    def vouches(self) -> int:
        """Everything before this byte was synced, says the frame."""
        return self.durable if self.data else self.span.start


class WrittenWal(NamedTuple):
    """The WAL file that was written last: its frames, and what the store shows after each.

    answers: one more than frames; the first is before all of them.
    """

    name: str
    frames: tuple[Frame, ...]
    answers: tuple[Answers, ...]


class Sample(NamedTuple):
    """One store: its folder, its remote if it has one, and what it answers.

    older: earlier bytes of files that change. wal: None where no WAL file is looked at closely.
    commits: what the store answers after each commit, where that was noted. key: of the log, where
    it signed a checkpoint.
    """

    name: str
    files: Files
    expected: Answers
    wal: WrittenWal | None = None
    older: Mapping[str, Sequence[bytes]] = MappingProxyType({})
    remote: Files = MappingProxyType({})
    commits: tuple[Answers, ...] = ()
    key: transit.VerifyingKey | None = None


def class_of(name: str) -> str:
    """The class of a file by its place in the folder: "wal", "segments", "FORMAT", ..."""
    first = name.split("/", maxsplit=1)[0]
    return first if first in _LAYOUT else name


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by its name there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kept_files(folder: Path) -> dict[str, bytes]:
    """`files_in`, with WAL files that have only a little of their unused end."""
    found = files_in(folder)
    for name, data in found.items():
        if name.endswith(".wal"):
            found[name] = data[: len(data.rstrip(b"\0")) + ZEROS_KEPT]
    return found


def put_files(folder: Path, files: Files) -> None:
    """Make `folder` hold these files."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def frames_of(data: bytes) -> tuple[Frame, ...]:
    """The frames of an undamaged WAL file."""
    seed = wal_seed(*decode_wal_header(data[: WAL_HEADER.size], "a sample")[:2])
    found: list[Frame] = []
    at = WAL_HEADER.size
    while len(data) - at >= FRAME_BYTES:
        header = decode_frame_header(data, at, at, seed)
        if header is None:
            break
        found.append(Frame(Span(at, header.stop), header.durable, header.kind == DATA))
        at = header.stop
    return tuple(found)


# Making


class _Notes:
    """What an open store answers, by the name and the tail of the WAL file it is writing."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, int], Answers] = {}

    def take(self, log: transit.Log) -> None:
        wal = log._handle.writer.wal
        self._answers[f"wal/{os.path.basename(wal.path)}", wal.tail] = ask_all(log)

    def of(self, name: str, data: bytes) -> WrittenWal:
        """The frames of WAL file `name`, each with the answers that were noted after it."""
        frames = frames_of(data)
        answers = [self._answers[name, WAL_HEADER.size]]
        for frame in frames:
            # A mark changes nothing that is shown.
            known = self._answers.get((name, frame.span.stop))
            answers.append(answers[-1] if known is None and not frame.data else known or {})
        return WrittenWal(name, frames, tuple(answers))


def _sealed_part(log: transit.Log, word: str, size: int) -> None:
    """A task, a branch, and a merge of both; `size` bytes a record that do not shrink."""
    rng = random.Random(word)
    task = log.create(word, {"n": 1, "word": word})
    for n in range(3):
        task.append_many([rng.randbytes(size) + b"%d" % n for _ in range(2)], headers={"n": str(n)})
    retry = task.branch(f"{word}/retry", at=3, metadata={"why": "again"})
    retry.append(b"another way", headers={"k": "v"})
    task.cursor("reader").advance(2)
    log.merge(f"{word}/both", [task, retry], policy="interleave")


def _steps(log: transit.Log, word: str) -> Iterator[Callable[[], object]]:
    """One frame each: every way there is to write one."""
    yield lambda: log.create(word, {"n": 1})
    task = log.stream(word)
    for n in range(3):
        # Frames of one size, so that each fits into the place of another.
        yield lambda n=n: task.append(b"%d" % n * 20, timestamp=_TIME + n)  # type: ignore[misc]
    yield lambda: task.append_many([b"a", b"", b"ccc"], headers={"of": "three"})
    yield lambda: task.branch(f"{word}/retry", at=2)
    retry = log.stream(f"{word}/retry")

    def batch() -> None:
        with log.batch() as staged:
            staged.append(task, b"in a batch")
            staged.append(retry, b"in the same", headers={"k": "v"})

    yield batch
    yield lambda: task.cursor("reader").advance(3)
    yield lambda: log.merge(f"{word}/both", [task, retry], policy="append")
    yield lambda: task.append(b"more than a sector " * 40)
    yield lambda: task.append(b"the last one", durability="os")


def _history(folder: Path) -> None:
    """A store with two segments: one of several compressed blocks, one stored as it is."""
    # Opened "shared" once, which leaves all three lock files.
    with transit.open(folder, mode="shared", settings=STILL) as log:
        log.create("first", codec="json").append_value({"a": 1})
    with transit.open(folder, settings=STILL) as log:
        long = log.create("long")
        for n in range(9):
            long.append(b"%d: the same again and again; " % n * 50, headers={"n": str(n % 2)})
        _sealed_part(log, "small", 12)
        log.seal()
    with transit.open(folder, settings=PLAIN) as log:
        _sealed_part(log, "plain", 40)
        log.seal()


def make_killed_and_closed(folder: Path) -> tuple[Sample, Sample]:
    """The samples "killed" and "closed", made in `folder`, which is empty."""
    store = folder / "store"
    _history(store)
    notes = _Notes()
    versions: dict[str, list[bytes]] = {}
    log = transit.open(store, settings=STILL)
    with log._handle.sealer.paused:
        for step in _steps(log, "ended"):
            step()
        log._handle.writer.rotate()
        notes.take(log)
        for number, step in enumerate(_steps(log, "open")):
            step()
            notes.take(log)
            if number in (2, 7):
                for name, data in kept_files(store).items():
                    if name.startswith("wal/"):
                        versions.setdefault(name, []).append(data)
        killed = kept_files(store)
    log.close()
    # As the process had left it, if it had been killed: with its ended WAL not sealed yet.
    again = folder / "again"
    put_files(again, killed)
    log = transit.open(again, settings=STILL)
    notes.take(log)
    for step in _steps(log, "closing"):
        step()
        notes.take(log)
    log.close()
    for each in killed:
        if each in versions:
            versions[each].append(killed[each])
    return (
        _with_wal("killed", killed, notes, versions),
        _with_wal("closed", kept_files(again), notes, versions),
    )


def _with_wal(
    name: str, files: Files, notes: _Notes, versions: Mapping[str, Sequence[bytes]]
) -> Sample:
    newest = max(each for each in files if each.startswith("wal/"))
    wal = notes.of(newest, files[newest])
    assert all(wal.answers), "a frame that no step was noted after"
    return Sample(name, files, wal.answers[-1], wal, versions)


def make_evicted_and_whole(folder: Path) -> tuple[Sample, Sample]:
    """The samples "evicted" and "whole", made in `folder`: a store and its remote, the store."""
    store, remote = folder / "store", folder / "remote"
    notes = _Notes()
    commits: list[Answers] = []
    heads: list[bytes] = []
    with transit.open(store, remote=remote, durability="os", settings=STILL) as log:
        for number in range(_COMMITS):
            task = log.create(f"t{number}", {"n": number})
            task.append_many([b"%d" % number * 30, b"two"], headers={"k": str(number)})
            if number % 4 == 3:
                parents = [task, log.stream(f"t{number - 1}")]
                log.merge(f"m{number}", parents, policy="interleave")
            log.publish()
            if number == _COMMITS - 2:
                key = transit.SigningKey.generate(f"example.com/damage/{log.store_id}")
                log.checkpoint(key)
            commits.append(ask_all(log))
            heads.append((remote / "HEAD").read_bytes())
        notes.take(log)
        whole = kept_files(store)
        sizes = [path.stat().st_size for path in (store / "segments").iterdir()]
        log.evict(bytes_max=sum(sorted(sizes)[:3]))
    with transit.open(store, remote=remote, settings=STILL, mode="read") as log:
        ask_all(log)
    with transit.open(store, remote=remote, settings=STILL) as log:
        log.stream("t9").append(b"not published")
        log.cache("room").put("kept.bin", b"made from the log, and lost at any time " * 9)
        notes.take(log)
    older = {"HEAD": [heads[0], heads[7], heads[-2]]}
    evicted = _with_wal("evicted", kept_files(store), notes, older)
    # As a writer leaves it that dies while it tries whether the remote excludes.
    there = {**files_in(remote), f"probes/{'5a' * 16}": b"a probe"}
    return (
        evicted._replace(remote=there, commits=tuple(commits), key=key.verifying),
        _with_wal("whole", whole, notes, {}),
    )


def make_erased(folder: Path) -> Sample:
    """The sample "erased", made in `folder`."""
    with transit.open(folder / "store", settings=STILL) as log:
        for name in ("kept", "gone", "kept too"):
            log.create(name).append_many([b"%d of " % n * 20 + name.encode() for n in range(3)])
        log.seal()
        log.delete("gone", reason="asked for")
        log.erase()
        return Sample("erased", kept_files(folder / "store"), ask_all(log))


class _CutShortError(BaseException):
    """The process died here."""


def _die(source: str, target: str) -> None:
    raise _CutShortError


def make_rebasing(folder: Path) -> Sample:
    """The sample "rebasing", made in `folder`: what it answers is after the rebase is finished.

    commits: what it answers when the rebase is given up.
    """
    ours, theirs, remote = folder / "ours", folder / "theirs", folder / "remote"
    with transit.open(ours, remote=remote, settings=STILL) as log:
        log.create("s").append(b"1")
        log.release()
    transit.restore(remote, theirs)
    with transit.open(theirs, remote=remote, settings=STILL) as log:
        log.stream("s").append(b"theirs")
        log.release()
    with transit.open(ours, settings=STILL) as log:
        log.stream("s").append_many([b"ours", b"and more of ours"], headers={"who": "us"})
        log.create("new").append(b"new")
        before = ask_all(log)
    log = transit.open(ours, remote=remote, settings=STILL)
    with replaced((switching, "move", _die)), contextlib.suppress(_CutShortError):
        log.rebase_onto_remote()
    files = kept_files(ours)
    with transit.open(ours, remote=remote, settings=STILL) as log:
        expected = ask_all(log)
    # What an earlier rebase left is kept for people; no code reads it.
    kept = {
        f"diverged/rebased-00000000/{name.split('/', 2)[2]}": data
        for name, data in kept_files(ours).items()
        if class_of(name) == "diverged"
    }
    sample = Sample("rebasing", {**files, **kept}, expected, remote=files_in(remote))
    return sample._replace(commits=(before,))
