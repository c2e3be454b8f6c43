"""Shelves: what the namespaces of a store have, in memory, made again by reading their streams.

A namespace is a stream, `langgraph-store/<label>/<label>`. A record is one change of an item: its
key and what happens in headers, its value in the payload as the serializer gave it:

    key        of the item
    kind       "put", "delete", or "touch": its time to live begins again
    type       of the payload, as the serializer names it
    created    of a put: when the item was first put, UTC nanoseconds; its timestamp says when last
    ttl        how long it lives, minutes, as text; none: for ever

What has expired is not there for readers. It is not deleted by that: its bytes stay, as those of
what was put over or deleted do, until the namespace is deleted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from blake3 import blake3

from transit import Log, NotFoundError, Record, Scalar, Stream
from transit.adapters.langgraph.records import FORMAT, FORMAT_KEY, check_format

PREFIX: Final = "langgraph-store/"
NAMESPACE: Final = "namespace"
_SPECIAL: Final = re.compile(r"[%/~]|[^!-~]")
_NAME_BYTES_MAX: Final = 480
_MINUTE_NS: Final = 60 * 10**9

Namespace = tuple[str, ...]


class Kept(msgspec.Struct, frozen=True, gc=False):
    """An item: its value as it is stored, and its times, UTC nanoseconds; expires: None: never."""

    kind: str
    data: bytes
    created: int
    updated: int
    ttl: float | None = None
    expires: int | None = None


class Shelf:
    """The items of one namespace, by key, as they were when `refresh` was called."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.name = shelf_name(namespace)
        self.stream: Stream | None = None
        self.size = 0
        self._items: dict[str, Kept] = {}
        self._stop = 0

    def refresh(self, log: Log) -> None:
        """Take in what was put since, by any process."""
        if self.stream is not None and self.stream.hidden:
            self.clear()
        if self.stream is None:
            try:
                self.stream = log.stream(self.name)
            except NotFoundError:
                return
            check_format(self.stream.metadata, self.name)
        if self.stream.next_offset > self._stop:
            for record in self.stream.read(self._stop):
                self._take(record)
                self._stop = record.offset + 1

    def clear(self) -> None:
        """Forget all: the namespace was deleted."""
        self.stream, self._items, self._stop, self.size = None, {}, 0, 0

    def _take(self, record: Record) -> None:
        headers = record.headers
        key, kind = headers.get("key", ""), headers.get("kind")
        before = self._items.get(key)
        if before is not None and kind in ("put", "delete"):
            self.size -= len(before.data)
            # What is put again comes last, as in LangGraph's own store.
            del self._items[key]
        if kind == "put":
            ttl = _minutes(headers)
            self.size += len(record.payload)
            self._items[key] = Kept(
                kind=headers.get("type", ""),
                data=record.payload,
                created=int(headers.get("created", record.timestamp)),
                updated=record.timestamp,
                ttl=ttl,
                expires=_end(record.timestamp, ttl),
            )
        elif kind == "touch" and before is not None:
            expires = _end(record.timestamp, before.ttl)
            self._items[key] = msgspec.structs.replace(before, expires=expires)

    def get(self, key: str) -> Kept | None:
        """The item with this key, unless it has expired."""
        found = self._items.get(key)
        return None if found is None or _has_expired(found) else found

    def items(self) -> Iterator[tuple[str, Kept]]:
        """All items that have not expired, in the order in which they were put."""
        for key, kept in list(self._items.items()):
            if not _has_expired(kept):
                yield key, kept


def _has_expired(kept: Kept) -> bool:
    return kept.expires is not None and kept.expires <= time.time_ns()


def _minutes(headers: Mapping[str, str]) -> float | None:
    return float(headers["ttl"]) if "ttl" in headers else None


def _end(begin: int, ttl: float | None) -> int | None:
    return None if ttl is None else begin + int(ttl * _MINUTE_NS)


def shelf_name(namespace: Namespace) -> str:
    """The name of a namespace's stream."""
    name = PREFIX + "/".join(_escaped(label) for label in namespace)
    if namespace and len(name) <= _NAME_BYTES_MAX:
        return name
    return f"{PREFIX}~{blake3(msgspec.json.encode(namespace)).hexdigest(16)}"


def _escaped(label: str) -> str:
    """A label without what would tell it from two; its bytes as %XX."""

    def escaped(match: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))

    return _SPECIAL.sub(escaped, label)


def shelf_metadata(namespace: Namespace) -> dict[str, Scalar]:
    """What the stream of a namespace says of itself."""
    return {
        "adapter": "langgraph-store",
        FORMAT_KEY: FORMAT,
        NAMESPACE: msgspec.json.encode(namespace).decode(),
    }


def namespaces_in(log: Log, prefix: Namespace) -> Iterator[Namespace]:
    """The namespaces of a store that begin with these labels, in order of creation."""
    for stream in log.streams(PREFIX):
        said = stream.metadata.get(NAMESPACE)
        if isinstance(said, str):
            namespace = tuple(msgspec.json.decode(said, type=list[str]))
            if namespace[: len(prefix)] == prefix:
                yield namespace
