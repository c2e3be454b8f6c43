"""Put-if-absent with the three outcomes it has: won, lost, unknown.

A store's answer alone decides nothing. A request whose answer was lost may have been sent again by
the libraries below, and then meets its own object: "exists" for our own write. A request that timed
out may still arrive. So whatever the store says but a plain yes, the object is read back:

    the store said yes, and refuses damage    won
    the object has our bytes                  won: they hold a random write id, so they are ours
    the object has other bytes, read twice    lost
    there is no object                        asked again, until the deadline
    no answer until the deadline              unknown: `OutcomeUnknownError`

Two reads must agree before anything is lost: one may have been damaged on its way.
"""

from __future__ import annotations

import time
from typing import Final

from transit.errors import (
    AlreadyExistsError,
    CorruptError,
    OutcomeUnknownError,
    RemoteSetupError,
    RemoteUnavailableError,
    StorePermissionError,
    TransitError,
    UnsuitableRemoteError,
)
from transit.store import ObjectStore

_PAUSE_S: Final = 0.05
_READS_MAX: Final = 8


def put_if_absent(
    store: ObjectStore, key: str, data: bytes, bytes_max: int, timeout_s: float
) -> bytes | None:
    """Make object `key` with `data`; None when it is ours, otherwise the bytes that are there.

    Raises `OutcomeUnknownError` when neither can be told within about `timeout_s` seconds,
    `RemoteSetupError`, `StorePermissionError`, `UnsuitableRemoteError` when the first request was
    refused or could not be made.
    """
    deadline = time.monotonic() + timeout_s
    pause = _PAUSE_S
    asked = False
    while True:
        reason: TransitError
        try:
            store.create(key, data)
            if store.refuses_damage:
                return None
            reason = CorruptError(f"{store.url}/{key}", expected="our bytes", found="no object")
        except (RemoteSetupError, StorePermissionError, UnsuitableRemoteError) as error:
            # After a request that may have arrived, a refusal says nothing about that one.
            if not asked:
                raise
            reason = error
        except (AlreadyExistsError, RemoteUnavailableError) as error:
            reason = error
        asked = True
        try:
            found = read_twice(store, key, bytes_max, data)
        except (RemoteUnavailableError, StorePermissionError) as error:
            raise _unknown(store, key, error) from error
        if found is not None:
            return None if found == data else found
        if time.monotonic() >= deadline:
            raise _unknown(store, key, reason) from reason
        time.sleep(pause)
        pause = min(pause * 2, 1.0)


def read_twice(store: ObjectStore, key: str, bytes_max: int, expected: bytes) -> bytes | None:
    """The object's bytes once they are `expected` or two reads agree; None when there is none."""
    before: bytes | None = None
    for _ in range(_READS_MAX):
        found = store.get(key, bytes_max)
        if found is None or found in (expected, before):
            return found
        before = found
    raise CorruptError(f"{store.url}/{key}", expected="the same bytes twice", found="others")


def _unknown(store: ObjectStore, key: str, error: TransitError) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"{store.url}/{key}: whether it was created is not known ({error}); publish again"
    )
