"""Doors through which a test lets an object store fail, at chosen requests.

`FaultDoor` stands between a store and its caller. Each request is numbered from 0; a rule decides
what becomes of it. What a rule can do is what networks and servers do: lose a request, or lose its
answer after it was carried out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

from transit.errors import AlreadyExistsError, RemoteUnavailableError
from transit.store import ObjectStore, Traffic

Fault = Literal["lost_before", "lost_after", "exists_after", "die_before", "die_after"]
Rule = Callable[[int, str, str], Fault | None]
_Result = TypeVar("_Result")


class ProcessDiedError(BaseException):
    """Stands for the death of the process: nothing may catch it and go on."""


class FaultDoor:
    """An `ObjectStore` over another one, whose requests fail as `rule(number, kind, key)` says.

    "lost_before": not carried out, `RemoteUnavailableError`. "lost_after": carried out, the same
    error. "exists_after": a create that was carried out and then answered "exists", as happens when
    a layer below sends it again. "die_before", "die_after": `ProcessDiedError` instead.
    `requests` lists (kind, key) of all requests.
    """

    def __init__(self, store: ObjectStore, rule: Rule | None = None) -> None:
        self._store = store
        self.rule = rule
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def _pass(self, kind: str, key: str, call: Callable[[], _Result]) -> _Result:
        with self._lock:
            number = len(self.requests)
            self.requests.append((kind, key))
            fault = self.rule(number, kind, key) if self.rule is not None else None
        if fault == "lost_before":
            raise RemoteUnavailableError(f"{key}: request {number} was lost")
        if fault == "die_before":
            raise ProcessDiedError(f"before request {number}")
        result = call()
        if fault == "die_after":
            raise ProcessDiedError(f"after request {number}")
        if fault == "exists_after" and kind == "create":
            raise AlreadyExistsError(f"{key}: exists")
        if fault is not None:
            raise RemoteUnavailableError(f"{key}: the answer to request {number} was lost")
        return result

    @property
    def traffic(self) -> Traffic:
        """See `ObjectStore.traffic`."""
        return self._store.traffic

    @property
    def url(self) -> str:
        """See `ObjectStore.url`."""
        return self._store.url

    @property
    def refuses_damage(self) -> bool:
        """See `ObjectStore.refuses_damage`."""
        return self._store.refuses_damage

    def get(self, key: str, bytes_max: int) -> bytes | None:
        """See `ObjectStore.get`."""
        return self._pass("get", key, lambda: self._store.get(key, bytes_max))

    def get_range(self, key: str, position: int, size: int) -> bytes:
        """See `ObjectStore.get_range`."""
        return self._pass("get", key, lambda: self._store.get_range(key, position, size))

    def size(self, key: str) -> int | None:
        """See `ObjectStore.size`."""
        return self._pass("size", key, lambda: self._store.size(key))

    def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        self._pass("put", key, lambda: self._store.put(key, data))

    def create(self, key: str, data: bytes) -> None:
        """See `ObjectStore.create`."""
        self._pass("create", key, lambda: self._store.create(key, data))

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        self._pass("delete", key, lambda: self._store.delete(key))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """See `ObjectStore.list`."""
        return self._pass("list", prefix, lambda: self._store.list(prefix))

    def close(self) -> None:
        """The store behind is left open: tests look into it afterwards."""


def fail_at(number: int, fault: Fault) -> Rule:
    """A rule by which request `number` fails, and no other."""
    return lambda at, kind, key: fault if at == number else None
