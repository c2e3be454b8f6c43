"""An object store whose requests are timed, by kind, with those that failed counted.

Owns which threads are in the middle of one: a user's object store may call transit from there.
Owns nothing of the requests: each is passed on as it is. A request that is tried again is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import get_ident
from time import perf_counter
from typing import Final, TypeVar

from transit.errors import AlreadyExistsError, NotFoundError, RemoteUnavailableError, TransitError
from transit.log.timings import Timings
from transit.store import ObjectStore, Traffic, folder_of_store

T = TypeVar("T")
KINDS: Final = ("get", "put", "create", "size", "delete")


class TimedStore:
    """An `ObjectStore` over another one."""

    def __init__(self, store: ObjectStore) -> None:
        # Of a store that is timed already, as one that is passed on is, the one behind it.
        self._store: ObjectStore = store._store if isinstance(store, TimedStore) else store
        self.timings = {kind: Timings() for kind in KINDS}
        # Requests that were given up, and those among them that no answer came to in time.
        self.failed = self.unanswered = 0
        self._asking: set[int] = set()

    @property
    def is_here(self) -> bool:
        """Whether this thread is in the middle of a request."""
        return get_ident() in self._asking

    def _timed(self, kind: str, call: Callable[[], T]) -> T:
        me = get_ident()
        if me in self._asking:
            # By the store itself, in the middle of another.
            return self._request(kind, call)
        try:
            self._asking.add(me)
            return self._request(kind, call)
        finally:
            self._asking.discard(me)

    def _request(self, kind: str, call: Callable[[], T]) -> T:
        begun = perf_counter()
        try:
            found = call()
        except (NotFoundError, AlreadyExistsError):
            # Answers, as good as any.
            self.timings[kind].add(perf_counter() - begun)
            raise
        except TransitError as error:
            self.failed += 1
            self.unanswered += isinstance(error, RemoteUnavailableError)
            raise
        self.timings[kind].add(perf_counter() - begun)
        return found

    @property
    def traffic(self) -> Traffic:
        """See `ObjectStore.traffic`."""
        return self._store.traffic

    @property
    def url(self) -> str:
        """See `ObjectStore.url`."""
        return self._store.url

    @property
    def behind(self) -> ObjectStore:
        """The store itself: what only it can tell is asked there, and not timed."""
        return self._store

    @property
    def folder(self) -> str | None:
        """See `folder_of_store`."""
        return folder_of_store(self._store)

    @property
    def refuses_damage(self) -> bool:
        """See `ObjectStore.refuses_damage`."""
        return self._store.refuses_damage

    def get(self, key: str, bytes_max: int) -> bytes | None:
        """See `ObjectStore.get`."""
        return self._timed("get", lambda: self._store.get(key, bytes_max))

    def get_range(self, key: str, position: int, size: int) -> bytes:
        """See `ObjectStore.get_range`."""
        return self._timed("get", lambda: self._store.get_range(key, position, size))

    def size(self, key: str) -> int | None:
        """See `ObjectStore.size`."""
        return self._timed("size", lambda: self._store.size(key))

    def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        self._timed("put", lambda: self._store.put(key, data))

    def create(self, key: str, data: bytes) -> None:
        """See `ObjectStore.create`."""
        self._timed("create", lambda: self._store.create(key, data))

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        self._timed("delete", lambda: self._store.delete(key))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """See `ObjectStore.list`; what is listed lazily is not timed."""
        return self._store.list(prefix)

    def close(self) -> None:
        """See `ObjectStore.close`."""
        self._store.close()
