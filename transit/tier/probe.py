"""Whether a remote really lets only one of several writers create an object.

Two writers are kept apart by nothing but that. Some servers ignore the condition and say yes to
both, some refuse it altogether: they are found out before anything is published, by a create that
must win and creates, one after another and at once, that must not.
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
    TransitError,
    UnsuitableRemoteError,
)
from transit.store import ObjectStore
from transit.tier.conditional import put_if_absent

_RIVALS: Final = 4
_BYTES_MAX: Final = 1024
_PAUSE_S: Final = 0.05
_PAUSE_MAX_S: Final = 1.0


def probe_exclusion(store: ObjectStore, timeout_s: float) -> None:
    """`UnsuitableRemoteError` unless a second create of one name leaves the first in place."""
    # Loaded here: it brings logging along, and only a store with a remote needs it.
    from concurrent.futures import ThreadPoolExecutor

    key = f"probes/{os.urandom(16).hex()}"
    first, *others = (os.urandom(32).hex().encode() for _ in range(2 + _RIVALS))
    _create_first(store, key, first, timeout_s)

    deadline = time.monotonic() + timeout_s

    def try_again(other: bytes) -> bool:
        """Whether the store says yes to another writer; asked until it says anything."""
        pause = _PAUSE_S
        while True:
            try:
                store.create(key, other)
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
        with ThreadPoolExecutor(_RIVALS) as pool:
            won = any(pool.map(try_again, others[1:]))
    kept = _read_back(store, key, (first, *others), deadline)
    _remove(store, key)
    if won or kept in others:
        raise UnsuitableRemoteError(
            f"{store.url}: ignores the condition of put-if-absent, so two writers could publish "
            "different commits under one number; it can be read, not written"
        )
    if kept != first:
        raise UnsuitableRemoteError(f"{store.url}: does not give back what was written")


def _create_first(store: ObjectStore, key: str, first: bytes, timeout_s: float) -> None:
    try:
        found = put_if_absent(store, key, first, _BYTES_MAX, timeout_s)
    except OutcomeUnknownError as error:
        if isinstance(error.__cause__, AlreadyExistsError | CorruptError):
            # It answered, again and again, and what it said was never so.
            raise UnsuitableRemoteError(
                f"{store.url}: answers put-if-absent, and does not do what it says ({error})"
            ) from error
        raise
    except UnsuitableRemoteError:
        raise
    except InvalidInputError as error:
        raise UnsuitableRemoteError(f"{store.url}: refuses put-if-absent ({error})") from error
    if found is not None:
        raise UnsuitableRemoteError(f"{store.url}: a new name is taken: writes cannot be told")


def _read_back(
    store: ObjectStore, key: str, written: tuple[bytes, ...], deadline: float
) -> bytes | None:
    """What is there, read until it is something `written`.

    "Absent" once is no verdict, and other bytes are none: they were damaged on their way.
    """
    pause = _PAUSE_S
    while True:
        found = store.get(key, _BYTES_MAX)
        if found in written or time.monotonic() >= deadline:
            return found
        time.sleep(pause)
        pause = min(pause * 2, _PAUSE_MAX_S)


def _remove(store: ObjectStore, key: str) -> None:
    try:
        store.delete(key)
    except TransitError:
        # Who may create may perhaps not delete; a probe left behind harms nobody.
        return
