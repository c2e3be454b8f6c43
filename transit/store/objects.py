"""What an object store is: a flat place of objects under text keys.

Owns the contract that all stores keep, the spelling of keys, the counts of requests, and how often
and how long a request is tried again. Leaves the requests to the stores.

An object is written once, whole, and read whole or in ranges. A key is written again only where the
caller says so (`put`). Nothing here keeps what was read, and nothing is decided by a listing.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, Literal, Protocol, TypeVar

from transit.errors import (
    CorruptError,
    InvalidInputError,
    RemoteSetupError,
    RemoteUnavailableError,
)

Request = Literal["get", "put", "create", "size", "delete", "list"]
T = TypeVar("T")

_PART: Final = r"(?:[a-z0-9._-]+|HEAD|FORMAT)"
_KEY: Final = re.compile(rf"{_PART}(?:/{_PART})*")
KEY_SIZE_MAX: Final = 512
# Of a file name, with room for what a file system adds.
_PART_SIZE_MAX: Final = 200
# Files that are being made end in it: see `transit.disk`.
TEMPORARY: Final = ".temporary"

_PAUSE_FIRST_S: Final = 0.1
_PAUSE_MAX_S: Final = 5.0


class Traffic:
    """Counts the requests a store made, tries included, and the bytes of objects in and out.

    `bytes_in` and `bytes_out` count objects' bytes, not what the protocol adds. Safe for threads.
    """

    def __init__(self) -> None:
        self.get = self.put = self.create = self.size = self.delete = self.list = 0
        self.bytes_in = self.bytes_out = 0
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, int]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, int]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()

    def sent(self, request: Request, size: int = 0) -> None:
        """Count one request that carried an object of `size` bytes."""
        with self._lock:
            setattr(self, request, getattr(self, request) + 1)
            self.bytes_out += size

    def received(self, size: int) -> None:
        """Count `size` bytes of an object that came in."""
        with self._lock:
            self.bytes_in += size

    @property
    def requests(self) -> int:
        """All requests."""
        return self.get + self.put + self.create + self.size + self.delete + self.list

    def __repr__(self) -> str:
        counts = {name: value for name, value in self.__getstate__().items() if value}
        return f"Traffic({', '.join(f'{name}={value}' for name, value in counts.items())})"


class ObjectStore(Protocol):
    """A flat place of objects under text keys such as `segments/<64 hex>.seg`.

    Keys are what `check_key` lets pass (`InvalidInputError`), sizes and positions are bytes. Safe
    for threads; used only in the process that made it.

    `NotFoundError`: there is no bucket. `StorePermissionError`: not allowed, or no credentials.
    `UnsuitableRemoteError`: the store cannot do this. `RemoteUnavailableError`: no answer in time,
    or a temporary error: every call but `create` is tried again before, until the store's deadline.
    `RemoteSetupError`: a lasting error, raised at once. A folder raises what `transit.disk` raises
    instead of `RemoteUnavailableError`.
    """

    @property
    def traffic(self) -> Traffic:
        """Counts of what this store was asked."""

    @property
    def url(self) -> str:
        """Where the objects are, to be shown; it holds no credentials."""

    @property
    def refuses_damage(self) -> bool:
        """Whether the store refuses a `put` or `create` whose bytes were damaged on the way."""

    def get(self, key: str, bytes_max: int) -> bytes | None:
        """The whole object, in one request; None when there is none.

        `CorruptError` when it is larger than `bytes_max`; no more than one byte more is read.
        """

    def get_range(self, key: str, position: int, size: int) -> bytes:
        """`size` bytes from `position`, in one request; fewer only at the end, none past it.

        `NotFoundError` when there is no such object; `size` is at least 1.
        """

    def size(self, key: str) -> int | None:
        """Size of the object in bytes; None when there is none."""

    def put(self, key: str, data: bytes) -> None:
        """Write the whole object, in place of what is there, in one request."""

    def create(self, key: str, data: bytes) -> None:
        """Write the whole object where there is none, in one request that is not tried again.

        `AlreadyExistsError`: the store said that there is one. It may be this very write: layers
        below may send a request again whose answer was lost. `RemoteUnavailableError`: it is not
        known whether the object was written. The caller finds out by reading.
        """

    def delete(self, key: str) -> None:
        """Remove the object, if it is there."""

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(key, size) of all objects below folder `prefix` ("" or "segments/"), in no set order.

        Keys are as the store has them and may be none that `check_key` lets pass.
        """

    def close(self) -> None:
        """Give connections back; further calls raise `ClosedError`, closing again does nothing."""


def folder_of_store(store: ObjectStore) -> str | None:
    """The folder of this machine that a store's objects are in; None when they are elsewhere.

    A store tells it by an attribute `folder`. One without that is taken to be elsewhere.
    """
    folder = getattr(store, "folder", None)
    return folder if isinstance(folder, str) else None


def server_of_store(store: ObjectStore) -> str:
    """The server that a store's objects are on; "" where that is not known.

    A store tells it by an attribute `server`.
    """
    server = getattr(store, "server", None)
    return server if isinstance(server, str) else ""


def check_key(key: str) -> str:
    """`key`, if it can name an object; `InvalidInputError` otherwise."""
    parts = key.split("/")
    if (
        not _KEY.fullmatch(key)
        or len(key) > KEY_SIZE_MAX
        or any(part in (".", "..") or len(part) > _PART_SIZE_MAX for part in parts)
        or key.endswith(TEMPORARY)
    ):
        raise InvalidInputError(f"not an object key: {key!r:.200}")
    return key


def check_prefix(prefix: str) -> str:
    """`prefix`, if it is "" or a folder of keys with a slash; `InvalidInputError` otherwise."""
    if prefix and not prefix.endswith("/"):
        raise InvalidInputError(f"a prefix ends with a slash: {prefix!r:.200}")
    if prefix:
        check_key(prefix[:-1])
    return prefix


def check_range(position: int, size: int) -> None:
    """`InvalidInputError` unless the range has a byte and begins in the object."""
    if position < 0 or size < 1:
        raise InvalidInputError(f"not a range of bytes: {size} from {position}")


def too_large(place: str, bytes_max: int, found: int | None = None) -> CorruptError:
    """The error for an object that is larger than it may be; `found`: its size, where known."""
    more = f"{found} bytes" if found is not None else "more"
    return CorruptError(place, expected=f"at most {bytes_max} bytes", found=more)


def persist(attempt: Callable[[float], T], timeout_s: float) -> T:
    """The result of `attempt(seconds left)`, tried again while it raises `RemoteUnavailableError`.

    Pauses double from 0.1 to 5 seconds, each shortened by chance, so that many clients do not come
    back at the same moment. After `timeout_s` seconds the last error is raised.
    """
    # Loaded here: it brings OpenSSL along, and only a store with a remote needs it.
    import random

    deadline = time.monotonic() + timeout_s
    pause = _PAUSE_FIRST_S
    while True:
        try:
            return attempt(max(0.0, deadline - time.monotonic()))
        except RemoteSetupError:
            raise
        except RemoteUnavailableError:
            wait = pause * random.uniform(0.5, 1.0)
            if time.monotonic() + wait >= deadline:
                raise
        time.sleep(wait)
        pause = min(2 * pause, _PAUSE_MAX_S)
