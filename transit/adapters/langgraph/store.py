"""TransitStore: LangGraph's long-term memory in a store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from threading import RLock
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    PutOp,
    SearchItem,
    SearchOp,
)

from transit import AlreadyExistsError, InvalidInputError, Log
from transit.adapters.langgraph import removal
from transit.adapters.langgraph.matching import matches, matches_path
from transit.adapters.langgraph.redacting import Cleaner, safe_name
from transit.adapters.langgraph.removal import Removed
from transit.adapters.langgraph.shelves import (
    Kept,
    Namespace,
    Shelf,
    namespaces_in,
    shelf_metadata,
)
from transit.adapters.opening import Adapter, Place
from transit.trace import Redaction

_BYTES_MAX: Final = 256 * 1024 * 1024
_TRIES_MAX: Final = 100


class TransitStore(Adapter, BaseStore):
    """Items by namespace and key, each change of them a record of a store.

    log: a store, which stays the caller's to close; `TransitStore.open` opens one. serde: what
    makes bytes of values; None: LangGraph's own. redact: what is not recorded, of values, keys and
    labels. ttl: how long items live, as LangGraph's `TTLConfig` says it; None: for ever, unless
    they say otherwise. Safe for threads and, in mode "shared", for several processes.

    It has no index of meanings: a search with a query raises `NotImplementedError`.
    """

    supports_ttl = True

    def __init__(
        self,
        log: Log | Place,
        *,
        serde: Any = None,
        redact: Redaction | None = None,
        ttl: Mapping[str, Any] | None = None,
    ) -> None:
        Adapter.__init__(self, log, redact=redact)
        self.serde = JsonPlusSerializer() if serde is None else serde
        self.ttl_config = ttl
        self._shelves: dict[Namespace, Shelf] = {}
        self._seen_log: Log | None = None
        self._lock = RLock()

    def batch(self, ops: Iterable[Any]) -> list[Any]:
        """Do several operations. All that is put is written at once, or none of it.

        What is read is as it was before. Raises `NotImplementedError` for a search with a query.
        """
        several = list(ops)
        with self._lock:
            self._begin()
            results = [self._read(op) for op in several]
            puts = {(op.namespace, op.key): op for op in several if isinstance(op, PutOp)}
            if puts:
                self._put(list(puts.values()))
        return results

    async def abatch(self, ops: Iterable[Any]) -> list[Any]:
        """See `batch`; on a thread, so that nothing keeps the loop waiting."""
        return await asyncio.to_thread(self.batch, list(ops))

    def delete_namespace(self, namespace: Sequence[str]) -> Removed:
        """Delete all items of a namespace, those too that were put over, deleted or have expired.

        What is so afterwards is told as `TransitSaver.delete_thread` tells it. The labels stay in
        the lineage.
        """
        with self._lock:
            self._begin()
            shelf = self._shelf(self._safe(tuple(namespace)))
            if shelf.stream is None:
                return Removed()
            stream = shelf.stream
            shelf.clear()
            done = removal.erased(self.log, removal.remove_streams(self.log, [stream]))
            removal.warn(done)
            return done

    # Reading

    def _begin(self) -> None:
        """Streams of a store that was closed, or of a parent process, are not ours."""
        log = self.log
        if self._seen_log is not log or sum(s.size for s in self._shelves.values()) > _BYTES_MAX:
            self._shelves = {}
            self._seen_log = log

    def _shelf(self, namespace: Namespace) -> Shelf:
        shelf = self._shelves.get(namespace)
        if shelf is None:
            shelf = self._shelves[namespace] = Shelf(namespace)
        shelf.refresh(self.log)
        return shelf

    def _read(self, op: Any) -> Any:
        if isinstance(op, GetOp):
            return self._get(op)
        if isinstance(op, SearchOp):
            return self._search(op)
        if isinstance(op, ListNamespacesOp):
            return self._namespaces(op)
        if not isinstance(op, PutOp):
            raise InvalidInputError(f"not an operation of a store: {op!r}")
        return None

    def _get(self, op: Any) -> Any:
        key = safe_name(self._redact, op.key)
        shelf = self._shelf(self._safe(op.namespace))
        kept = shelf.get(key)
        if kept is None:
            return None
        self._touch(op, [(shelf, key, kept)])
        return Item(
            value=self._value(kept), key=op.key, namespace=op.namespace,
            created_at=_moment(kept.created), updated_at=_moment(kept.updated),
        )  # fmt: skip

    def _search(self, op: Any) -> list[Any]:
        if op.query:
            raise NotImplementedError(
                "Natural language search is not supported by TransitStore. Search with filter=, or"
                " use a store implementation that has an index."
            )
        stop = op.offset + op.limit
        found: list[tuple[Shelf, str, Kept]] = []
        values: list[Any] = []
        for namespace in namespaces_in(self.log, self._safe(op.namespace_prefix)):
            shelf = self._shelf(namespace)
            for key, kept in shelf.items():
                if len(found) == stop:
                    break
                value = self._value(kept)
                if matches(value, op.filter):
                    found.append((shelf, key, kept))
                    values.append(value)
        self._touch(op, found[op.offset : stop])
        items = [
            SearchItem(
                namespace=shelf.namespace, key=key, value=value,
                created_at=_moment(kept.created), updated_at=_moment(kept.updated),
            )
            for (shelf, key, kept), value in zip(found, values, strict=True)
        ]  # fmt: skip
        return items[op.offset : stop]

    def _namespaces(self, op: Any) -> list[Namespace]:
        conditions = op.match_conditions or ()
        found = [
            namespace
            for namespace in namespaces_in(self.log, ())
            if all(matches_path(each.match_type, each.path, namespace) for each in conditions)
            and any(True for _ in self._shelf(namespace).items())
        ]
        if op.max_depth is not None:
            found = list({namespace[: op.max_depth] for namespace in found})
        return sorted(found)[op.offset : op.offset + op.limit]

    def _value(self, kept: Kept) -> Any:
        return self.serde.loads_typed((kept.kind, kept.data))

    def _touch(self, op: Any, found: Iterable[tuple[Shelf, str, Kept]]) -> None:
        """Begin the time to live of what was read again."""
        if not op.refresh_ttl:
            return
        for shelf, key, kept in found:
            if kept.ttl is not None and shelf.stream is not None:
                headers = {"key": key, "kind": "touch"}
                shelf.stream.append(b"", headers=headers, durability="os")

    # Writing

    def _put(self, ops: list[Any]) -> None:
        for _ in range(_TRIES_MAX):
            changes = [change for op in ops if (change := self._change(op)) is not None]
            if not changes:
                return
            try:
                self._write(changes)
            except AlreadyExistsError:
                # Another process made the namespace at this moment.
                continue
            return
        raise AlreadyExistsError("others make and remove the namespaces without a pause")

    def _change(self, op: Any) -> _Change | None:
        shelf = self._shelf(self._safe(op.namespace))
        key = safe_name(self._redact, op.key)
        if op.value is None:
            there = shelf.get(key) is not None
            return _Change(shelf, b"", {"key": key, "kind": "delete"}) if there else None
        value, count = dict(op.value), 0
        if self._redact is not None:
            cleaner = Cleaner(self._redact)
            value, count = cleaner.named(value), cleaner.count
        kind, data = self.serde.dumps_typed(value)
        before = shelf.get(key)
        created = time.time_ns() if before is None else before.created
        headers = {"key": key, "kind": "put", "type": kind, "created": str(created)}
        ttl = op.ttl if op.ttl is not None else None
        if ttl is not None:
            headers["ttl"] = repr(float(ttl))
        if count:
            headers["redacted"] = str(count)
        return _Change(shelf, bytes(data), headers)

    def _write(self, changes: list[_Change]) -> None:
        made: dict[Namespace, Any] = {}
        with self.log.batch() as batch:
            for shelf, payload, headers in changes:
                target = shelf.stream or made.get(shelf.namespace)
                if target is None:
                    target = batch.create(shelf.name, shelf_metadata(shelf.namespace))
                    made[shelf.namespace] = target
                batch.append(target, payload, headers=headers)

    def _safe(self, namespace: Namespace) -> Namespace:
        return tuple(safe_name(self._redact, label) for label in namespace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)


class _Change(NamedTuple):
    shelf: Shelf
    payload: bytes
    headers: dict[str, str]


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 10**9, UTC)
