"""What `doctor` finds out about a remote: what it allows, and whether it keeps writers apart.

Reading is tried. Writing is tried only when that was asked for, with objects of its own below
`probes/`, which are deleted again where deleting is allowed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Final, Protocol, TypeVar, runtime_checkable

from transit import AlreadyExistsError, ObjectStore, Status, TransitError
from transit.cli.health import Found

FORMAT_BYTES_MAX: Final = 4096
# A WAL file without records.
WAL_HEADER_BYTES: Final = 64
SKEW_S: Final = 60.0
T = TypeVar("T")
_RIGHTS: Final = "give the rights that docs/remote.md lists"


@runtime_checkable
class _Bucket(Protocol):
    def bucket_facts(self) -> Mapping[str, str]: ...


def remote_findings(
    store: ObjectStore, path: str, write: bool, now_s: Callable[[], float] = time.time
) -> Iterator[Found]:
    """Everything about `store`, the remote of the folder `path`; "" when there is no folder.

    now_s: this machine's clock, in seconds since 1970.
    """
    there = _tried(lambda: store.get("FORMAT", FORMAT_BYTES_MAX))
    if isinstance(there, TransitError):
        yield Found("remote", "fail", str(there), "transit config")
        return
    yield Found("remote", "ok", f"{store.url} answers")
    if there is not None:
        yield _same_store(there, path)
    yield Found("right to get", "ok", "FORMAT was read" if there else "no FORMAT is there yet")
    listed = _tried(lambda: next(iter(store.list("commits/")), None))
    if isinstance(listed, TransitError):
        yield Found("right to list", "ok", "not given, and needed by nothing")
    else:
        yield Found("right to list", "ok", "commits/ was listed")
    yield from (
        _writing(store)
        if write
        else (
            Found(about, "unknown", "not tried: it takes an object", "transit doctor --write")
            for about in ("right to put", "exclusion", "right to delete")
        )
    )
    if isinstance(store, _Bucket):
        yield from _bucket(store.bucket_facts(), now_s)


def _tried(call: Callable[[], T]) -> T | TransitError:
    """What `call` returns, or the error of transit's that it ended with."""
    try:
        return call()
    except TransitError as error:
        return error


def _same_store(there: bytes, path: str) -> Found:
    try:
        with open(os.path.join(path, "FORMAT"), "rb") as file:
            here = file.read(FORMAT_BYTES_MAX)
    except OSError:
        return Found("store", "ok", "a store is there")
    if here == there:
        return Found("store", "ok", "the folder and the remote are one store")
    return Found("store", "fail", "another store is published there", "transit config")


def unpublished(status: Status, published: int, path: str) -> Found:
    """What a remote with so many commits lacks of the store in the folder `path`; since when."""
    waiting = max(0, status.commits - published)
    if not waiting and status.wal_bytes <= WAL_HEADER_BYTES * status.wal_files:
        return Found("published", "ok", f"all of {status.commits} commits")
    if waiting:
        oldest = os.path.join(path, "commits", f"{published:020d}.json")
    else:
        wals = sorted(os.listdir(os.path.join(path, "wal")))
        oldest = os.path.join(path, "wal", wals[0]) if wals else path
    since_s = max(0.0, time.time() - os.stat(oldest).st_mtime)
    said = f"not yet: {waiting} commits, and {status.wal_bytes:,} bytes that are not sealed"
    return Found("published", "warn", f"{said}, for {since_s:,.0f} s", "transit publish")


def _writing(store: ObjectStore) -> Iterator[Found]:
    """Puts, creates and deletes of two objects that no other program knows."""
    key = f"probes/doctor-{os.urandom(8).hex()}"
    made = _tried(lambda: store.create(key, b"1"))
    if isinstance(made, TransitError):
        yield Found("right to put", "fail", str(made), _RIGHTS)
        return
    yield Found("right to put", "ok", "an object was made")
    again = _tried(lambda: store.create(key, b"2"))
    if isinstance(again, AlreadyExistsError):
        yield Found("exclusion", "ok", "a name that is taken is refused")
    elif isinstance(again, TransitError):
        yield Found("exclusion", "fail", str(again), "use another bucket, or another server")
    else:
        yield Found(
            "exclusion", "fail", "a second create of one name was let through",
            "use another bucket, or another server: two writers would overwrite each other",
        )  # fmt: skip
    gone = _tried(lambda: store.delete(key))
    if isinstance(gone, TransitError):
        yield Found("right to delete", "ok", f"not given, and not needed; {key} stays there")
    else:
        yield Found("right to delete", "ok", "given, and needed by nothing")


def _bucket(facts: Mapping[str, str], now_s: Callable[[], float]) -> Iterator[Found]:
    """What only buckets have, where they tell it."""
    for about in ("versioning", "object lock"):
        known = about in facts
        yield Found(about, "ok" if known else "unknown", facts.get(about, "not told to you"))
    theirs_s = _seconds(facts.get("time", ""))
    if theirs_s is None:
        yield Found("clock of the remote", "unknown", "not told to you")
        return
    skew_s = abs(now_s() - theirs_s)
    if skew_s > SKEW_S:
        yield Found(
            "clock of the remote", "warn", f"{skew_s:,.0f} s from this one; S3 refuses 900",
            "set this machine's clock: timedatectl set-ntp true",
        )  # fmt: skip
    else:
        yield Found("clock of the remote", "ok", "within a minute of this one")


def _seconds(date: str) -> float | None:
    """A Date header in seconds since 1970; None when it is no date."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
