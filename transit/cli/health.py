"""What `doctor` finds out about a store's folder: facts, and the command that mends each.

Nothing is changed. What can only be known by writing is tried when that was asked for, in files of
its own that are removed again; otherwise it is reported as unknown.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Final, Literal

import msgspec

import transit
from transit import Log, SealedError, TransitError

State = Literal["ok", "warn", "fail", "unknown"]
PACKAGES: Final = ("msgspec", "blake3", "xxhash", "fsspec", "s3fs", "pyarrow", "click", "rich")
# File systems on other machines, where locks and syncs are what the other machine makes of them.
NETWORK: Final = ("nfs", "cifs", "smb", "9p", "fuse", "ceph", "glusterfs", "lustre", "afs", "davfs")
SLOW_SYNC_MS: Final = 50.0
STREAMS_LOOKED_AT: Final = 1_000
AHEAD_S: Final = 5.0
SYNCS: Final = 5


class Found(msgspec.Struct, frozen=True):
    """One finding. mend: the command that mends it, "" when nothing is wrong or nothing can."""

    about: str
    state: State
    said: str
    mend: str = ""


def folder_findings(path: str, log: Log | None, write: bool) -> Iterator[Found]:
    """Everything about the folder `path`; `log`: the store in it, opened to read, if it opens."""
    yield from _lock(path)
    yield from _leftovers(path)
    yield from _disk(path, write)
    if log is not None:
        try:
            yield _clock(log)
        except SealedError as error:
            yield Found("records", "unknown", f"not read: {error}", "--keyring FILE")
    yield _versions()


def _lock(path: str) -> Iterator[Found]:
    lock = os.path.join(path, "LOCK")
    try:
        facts = os.stat(lock)
    except OSError:
        yield Found("lock", "warn", "LOCK is not there: it is made when the store is opened")
        return
    lost = _holders_of_a_removed_lock(lock)
    if lost:
        who = ", ".join(map(str, lost))
        yield Found(
            "lock", "fail", f"process {who} writes with a LOCK that is no longer in this folder",
            f"end it first: kill {lost[0]}",
        )  # fmt: skip
    holders = _holders(facts)
    if holders is None:
        yield Found("lock", "unknown", "this system does not tell which process holds LOCK")
    elif holders:
        yield Found("lock", "ok", f"held by process {', '.join(map(str, holders))}")
    else:
        yield Found("lock", "ok", "nobody has the store open for writing")


def _flocks() -> list[tuple[int, str]] | None:
    """(process, device and inode) of each flock(2) of this machine; None where it does not tell."""
    try:
        with open("/proc/locks", encoding="ascii") as file:
            fields = [line.split() for line in file if " FLOCK " in line]
    except OSError:
        return None
    # A waiting one has an arrow before its kind.
    return [(int(each[4]), each[5]) for each in fields if each[1] == "FLOCK"]


def _holders(facts: os.stat_result) -> list[int] | None:
    locks = _flocks()
    if locks is None:
        return None
    device = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    return sorted({pid for pid, place in locks if place == device})


def _holders_of_a_removed_lock(lock: str) -> list[int]:
    """Processes that hold a lock on a file that was once `lock` and was removed or replaced."""
    gone, found = f"{os.path.realpath(lock)} (deleted)", set()
    for pid, _ in _flocks() or ():
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{number}") == gone:
                        found.add(pid)
    return sorted(found)


def _leftovers(path: str) -> Iterator[Found]:
    half = not os.path.exists(os.path.join(path, "FORMAT"))
    if half and os.path.isdir(os.path.join(path, "commits")):
        yield Found(
            "leftovers", "fail", "a restore, or the making of this store, was cut short",
            f"transit restore REMOTE {path}",
        )  # fmt: skip
    if os.path.exists(os.path.join(path, "rebase", "READY")):
        yield Found(
            "leftovers", "warn", "a rebase was cut short: the next opening for writing ends it",
            f"transit seal {path}",
        )  # fmt: skip
    left = [
        os.path.join(folder, name)
        for folder in (path, *(os.path.join(path, each) for each in ("wal", "segments", "commits")))
        for name in _names(folder)
        if name.endswith(".temporary")
    ]
    if left:
        yield Found(
            "leftovers", "warn",
            f"{len(left)} temporary files; the next opening for writing removes those of the dead",
            f"transit seal {path}",
        )  # fmt: skip
    elif not half:
        yield Found("leftovers", "ok", "none")


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _disk(path: str, write: bool) -> Iterator[Found]:
    kind = _file_system(path)
    if kind is None:
        yield Found("file system", "unknown", "this system does not tell which it is")
    elif kind.startswith(NETWORK):
        yield Found(
            "file system", "warn", f"{kind}: locks and syncs are a courtesy there",
            "keep the store on a local disk, and publish it: transit publish",
        )  # fmt: skip
    else:
        yield Found("file system", "ok", kind)
    room = os.statvfs(path)
    free = room.f_bavail * room.f_frsize
    enough = free > 4 * transit.Settings().seal_bytes
    mend = "" if enough else "transit evict --bytes-max 0, or make room"
    yield Found("room", "ok" if enough else "warn", f"{free / 2**20:,.0f} MiB free", mend)
    yield (
        _sync(path)
        if write
        else Found("sync", "unknown", "not tried: it takes a file", "transit doctor --write")
    )


def _file_system(path: str) -> str | None:
    """The kind of the file system `path` lies on."""
    place, kinds = os.path.realpath(path), {}
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="backslashreplace") as file:
            for line in file:
                before, _, after = line.partition(" - ")
                kinds[before.split()[4]] = after.split()[0]
    except OSError:
        return None
    while place not in kinds and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return kinds.get(place)


def _sync(path: str) -> Found:
    """A few syncs of 4 KiB, as an append with `local` makes them."""
    name = os.path.join(path, f"{os.urandom(8).hex()}.temporary")
    times = []
    try:
        number = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for _ in range(SYNCS):
                os.write(number, bytes(4096))
                begun = time.perf_counter()
                getattr(os, "fdatasync", os.fsync)(number)
                times.append((time.perf_counter() - begun) * 1000)
        finally:
            os.close(number)
            os.unlink(name)
    except OSError as error:
        return Found("sync", "fail", f"{error.strerror}", f"look at the disk of {path}")
    middle = sorted(times)[SYNCS // 2]
    if middle > SLOW_SYNC_MS:
        return Found(
            "sync", "warn", f"{middle:.1f} ms a sync: each append with `local` waits for one",
            'use durability = "os", or batches',
        )  # fmt: skip
    return Found("sync", "ok", f"{middle:.2f} ms a sync")


def _clock(log: Log) -> Found:
    """Whether records are of a time that is still to come."""
    last, streams = 0, 0
    for stream in islice(log.streams(), STREAMS_LOOKED_AT):
        streams += 1
        if len(stream):
            with contextlib.suppress(TransitError):
                last = max(last, stream[-1].timestamp)
    ahead_s = (last - time.time_ns()) / 1e9
    if ahead_s > AHEAD_S:
        return Found(
            "clock", "warn", f"a record is of a time {ahead_s:,.0f} s ahead of this clock",
            "set the clock of the machine that wrote it, or of this one",
        )  # fmt: skip
    return Found("clock", "ok", f"no last record of {streams} streams is ahead of it")


def _versions() -> Found:
    found = [f"transit {transit.__version__}", f"Python {sys.version.split()[0]}"]
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return Found("versions", "ok", ", ".join(found))
