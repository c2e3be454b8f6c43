"""Objects in any file system that fsspec knows: `memory://`, and others at their users' risk.

Owns the calls to fsspec's general interface. A file system's own retries and timeouts stay as its
options set them; coroutines also get transit's deadline. Whether `create` really excludes others is
up to the file system, except in memory: there a lock of this process does it, since fsspec's own
`create` looks first and writes then.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, TypeVar

from transit.errors import ClosedError, ForkedError, TransitError
from transit.opened import Opened
from transit.store.answers import Meaning, answer, error_of
from transit.store.loops import wait_for
from transit.store.objects import (
    Traffic,
    check_key,
    check_prefix,
    check_range,
    persist,
    too_large,
)

T = TypeVar("T")
# File systems that are made of another one: caches, folders of one, what makes them asynchronous.
_WRAPPERS_MAX: Final = 8

# Stores at one memory:// address share their objects, so they share the lock too. Others do not: a
# finalizer that publishes elsewhere may run, on this thread, while one of them is written to.
_MEMORY: Final[dict[str, threading.Lock]] = {}


class FilesystemStore(Opened):
    """An `ObjectStore` below `root` of an fsspec file system; `url` is what to show for it.

    `in_memory`: the objects are fsspec's memory, for tests and for use within one process.
    """

    def __init__(
        self, filesystem: Any, root: str, url: str, timeout_s: float, in_memory: bool
    ) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._url = url
        self._timeout_s = timeout_s
        self._in_memory = in_memory
        self._pid = os.getpid()
        self._closed = False
        self.traffic = Traffic()

    @property
    def url(self) -> str:
        """The address given, without credentials."""
        return self._url

    @property
    def folder(self) -> str | None:
        """The folder of this machine that the objects are in; None when they are elsewhere."""
        filesystem, path = self._filesystem, self._root
        for _ in range(_WRAPPERS_MAX):
            if getattr(filesystem, "local_file", False) is True:
                return str(filesystem._strip_protocol(path))
            within = getattr(filesystem, "path", None)
            if isinstance(within, str):
                path = os.path.join(within, path.lstrip("/"))
            inner = getattr(filesystem, "fs", None) or getattr(filesystem, "sync_fs", None)
            if inner is None:
                break
            filesystem = inner
        return path if getattr(filesystem, "type_name", "") == "local" else None

    @property
    def refuses_damage(self) -> bool:
        """See `ObjectStore.refuses_damage`: true for memory, assumed false for all others."""
        return self._in_memory

    def __repr__(self) -> str:
        return f"FilesystemStore({self._url!r})"

    def get(self, key: str, bytes_max: int) -> bytes | None:
        """See `ObjectStore.get`."""
        path = self._path(key)

        def attempt(left_s: float) -> bytes | None:
            self.traffic.sent("get")
            try:
                return self._read(path, 0, bytes_max + 1, left_s)
            except Exception as error:
                return self._useful(error, key, {Meaning.ABSENT: None, Meaning.PAST_END: b""})

        data = persist(attempt, self._timeout_s)
        if data is not None and len(data) > bytes_max:
            raise too_large(self._place(key), bytes_max)
        return data

    def get_range(self, key: str, position: int, size: int) -> bytes:
        """See `ObjectStore.get_range`."""
        check_range(position, size)
        path = self._path(key)

        def attempt(left_s: float) -> bytes:
            self.traffic.sent("get")
            try:
                return self._read(path, position, size, left_s)
            except Exception as error:
                return self._useful(error, key, {Meaning.PAST_END: b""})

        return persist(attempt, self._timeout_s)

    def size(self, key: str) -> int | None:
        """See `ObjectStore.size`."""
        path = self._path(key)

        def attempt(left_s: float) -> int | None:
            self.traffic.sent("size")
            try:
                about = self._call("info", path, left_s=left_s)
                return int(about["size"]) if about["type"] == "file" else None
            except Exception as error:
                return self._useful(error, key, {Meaning.ABSENT: None})

        return persist(attempt, self._timeout_s)

    def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        path = self._path(key)

        def attempt(left_s: float) -> None:
            self.traffic.sent("put", len(data))
            try:
                self._write(path, data, left_s)
            except Exception as error:
                self._useful(error, key, {})

        persist(attempt, self._timeout_s)

    def create(self, key: str, data: bytes) -> None:
        """See `ObjectStore.create`."""
        path = self._path(key)
        self.traffic.sent("create", len(data))
        try:
            self._write(path, data, self._timeout_s, mode="create")
        except Exception as error:
            self._useful(error, key, {})

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        path = self._path(key)

        def attempt(left_s: float) -> None:
            self.traffic.sent("delete")
            try:
                with self._exclusion():
                    self._call("rm_file", path, left_s=left_s)
            except Exception as error:
                self._useful(error, key, {Meaning.ABSENT: None})

        persist(attempt, self._timeout_s)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """See `ObjectStore.list`; fsspec gives the whole list at once."""
        self._check_usable()
        return self._find(check_prefix(prefix))

    def close(self) -> None:
        """See `ObjectStore.close`."""
        self._closed = True

    def _find(self, prefix: str) -> Iterator[tuple[str, int]]:
        folder = f"{self._root}/{prefix}".rstrip("/")

        def attempt(left_s: float) -> dict[str, dict[str, Any]]:
            self.traffic.sent("list")
            try:
                found: dict[str, dict[str, Any]] = self._call(
                    "find", folder, left_s=left_s, detail=True
                )
            except Exception as error:
                return self._useful(error, prefix, {Meaning.ABSENT: {}})
            return found

        found = persist(attempt, self._timeout_s)
        start = len(self._root.lstrip("/"))
        for name, about in found.items():
            # Some file systems give the path itself when it is an object.
            if name.strip("/") != folder.strip("/"):
                yield name.lstrip("/")[start:].lstrip("/"), int(about["size"])

    def _read(self, path: str, position: int, size: int, left_s: float) -> bytes:
        data = self._call("cat_file", path, left_s=left_s, start=position, end=position + size)
        self.traffic.received(len(data))
        return bytes(data)

    def _write(self, path: str, data: bytes, left_s: float, **options: object) -> None:
        with self._exclusion():
            try:
                self._call("pipe_file", path, data, left_s=left_s, **options)
            except FileNotFoundError:
                # Some have folders, which must be there first; nothing was written without one.
                self._call("makedirs", path.rpartition("/")[0], left_s=left_s, exist_ok=True)
                self._call("pipe_file", path, data, left_s=left_s, **options)

    def _exclusion(self) -> AbstractContextManager[object]:
        if not self._in_memory:
            return nullcontext()
        return _MEMORY.setdefault(self._root, threading.Lock())

    def _call(self, method: str, *arguments: object, left_s: float, **options: object) -> Any:
        """The result of the file system's `method`; where there is a coroutine, in `left_s`."""
        if getattr(self._filesystem, "async_impl", False):
            call: Callable[..., Any] = getattr(self._filesystem, f"_{method}")
            return wait_for(self._filesystem.loop, call(*arguments, **options), left_s)
        return getattr(self._filesystem, method)(*arguments, **options)

    def _useful(self, error: Exception, key: str, useful: dict[Meaning, T]) -> T:
        """What `useful` has for the meaning of `error`, or transit's error for it."""
        if isinstance(error, TransitError):
            raise error
        said = answer(error)
        if said.meaning in useful:
            return useful[said.meaning]
        # Not chained: a file system may write anything, even secrets, into its errors.
        raise error_of(said, self._place(key)) from None

    def _check_usable(self) -> None:
        if self._closed:
            raise ClosedError(f"{self._url}: closed")
        if self._pid != os.getpid():
            raise ForkedError(f"{self._url}: opened in another process")

    def _path(self, key: str) -> str:
        self._check_usable()
        return f"{self._root}/{check_key(key)}"

    def _place(self, key: str) -> str:
        return f"{self._url}/{key}"
