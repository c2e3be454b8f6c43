"""Whether a remote really lets only one of several writers create an object.

Two writers are kept apart by nothing but that. Some servers ignore the condition and say yes to
both, some refuse it altogether: they are found out before anything is published, by a create that
must win and creates, one after another and at once, that must not.

All of it is done to one object, which stays: the first attach makes it, later ones find it there.
So nothing is deleted, which not every writer may do, and a bucket that keeps versions keeps no more
of them with each attach.
"""

from __future__ import annotations

import os
import time
from typing import Final

from transit.errors import (
    AlreadyExistsError,
    CorruptError,
    InvalidInputError,
    OutcomeUnknownError,
    RemoteSetupError,
    RemoteUnavailableError,
    StorePermissionError,
    UnsuitableRemoteError,
)
from transit.store import ObjectStore
from transit.tier.conditional import put_if_absent, read_twice
from transit.tier.pools import at_once

_RIVALS: Final = 4
_BYTES_MAX: Final = 1024
_PAUSE_S: Final = 0.05
_PAUSE_MAX_S: Final = 1.0


PROBE_KEY: Final = "probes/exclusion"


def probe_exclusion(store: ObjectStore, timeout_s: float) -> None:
    """`UnsuitableRemoteError` unless creates of a taken name leave what is there."""
    try:
        _probe(store, timeout_s)
    except UnsuitableRemoteError:
        raise
    except InvalidInputError as error:
        raise UnsuitableRemoteError(f"{store.url}: refuses put-if-absent ({error})") from error


def _probe(store: ObjectStore, timeout_s: float) -> None:
    ours, *others = (os.urandom(32).hex().encode() for _ in range(2 + _RIVALS))
    try:
        first = read_twice(store, PROBE_KEY, _BYTES_MAX, b"")
    except StorePermissionError:
        # It may be absent: a client that may not list is not told so before it has read anything.
        first = None
    if first is None:
        first = _create_first(store, ours, timeout_s)
    deadline = time.monotonic() + timeout_s

    def try_again(other: bytes) -> bool:
        """Whether the store says yes to another writer; asked until it answers."""
        pause = _PAUSE_S
        while True:
            try:
                store.create(PROBE_KEY, other)
            except AlreadyExistsError:
                return False
            except RemoteSetupError:
                raise
            except RemoteUnavailableError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(pause)
                pause = min(pause * 2, _PAUSE_MAX_S)
            else:
                return True

    won = try_again(others[0])
    if not won:
        won = any(at_once(try_again, others[1:], _RIVALS))
    kept = _read_back(store, (first, *others), deadline)
    if won or kept in others:
        raise UnsuitableRemoteError(
            f"{store.url}: ignores the condition of put-if-absent, so two writers could publish "
            "different commits under one number; it can be read, not written. Some servers do so "
            "only where the bucket keeps versions: look at its versioning, and suspend it, or "
            "publish to a bucket without"
        )
    if kept != first:
        raise UnsuitableRemoteError(f"{store.url}: does not give back what was written")


def _create_first(store: ObjectStore, ours: bytes, timeout_s: float) -> bytes:
    """Make the object; what is in it: our bytes, or those of a faster writer."""
    try:
        found = put_if_absent(store, PROBE_KEY, ours, _BYTES_MAX, timeout_s)
    except OutcomeUnknownError as error:
        if isinstance(error.__cause__, StorePermissionError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, AlreadyExistsError | CorruptError):
            # It answered each time, and what it answered was never true.
            raise UnsuitableRemoteError(
                f"{store.url}: answers put-if-absent, and does not do what it says ({error})"
            ) from error
        raise
    return ours if found is None else found


def _read_back(store: ObjectStore, written: tuple[bytes, ...], deadline: float) -> bytes | None:
    """What is there, read until it is something `written`.

    "Absent" once is no verdict, and other bytes are none: they were damaged on their way.
    """
    pause = _PAUSE_S
    while True:
        found = store.get(PROBE_KEY, _BYTES_MAX)
        if found in written or time.monotonic() >= deadline:
            return found
        time.sleep(pause)
        pause = min(pause * 2, _PAUSE_MAX_S)
