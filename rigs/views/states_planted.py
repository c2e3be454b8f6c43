"""Planted bugs of views: each must be found by one of the rigs here.

Each replaces functions in the process that calls `plant(name)`; the views' own code has no switch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import msgspec

from transit import StorageFullError, Stream, WriteBatch
from transit.views import advancing, folding, histories, overlay, savepoints, subscribing, view
from transit.views.histories import last_digest
from transit.views.pack import NodePlace

LogKeeper, View = savepoints.LogKeeper, view.View


# What was there before, in order.
_replaced: Final[list[tuple[Any, str, Any]]] = []


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    right = getattr(owner, name)
    _replaced.append((owner, name, right))
    setattr(owner, name, make(right))


def _root_before_packs() -> None:
    """The savepoint is in a frame of its own, before its packs."""

    def make(right: Any) -> Any:
        def write(
            self: Any, stream: Any, packs: Any, uid: str, start: int, part: Any, point: Any
        ) -> None:
            right(self, stream, packs, uid, start, (), point)
            if packs is None and part:
                self._make_packs(stream, self._name("packs", stream), uid)
                packs = self._layer.stream(self._name("packs", stream))
            if part:
                self._write_packs(packs, start, part)

        return write

    _replace(LogKeeper, "_write", make)


def _position_too_far() -> None:
    """A savepoint is said to be of one record more, where there is one more."""

    def make(right: Any) -> Any:
        def write(self: Any, stream: Stream, *rest: Any) -> None:
            *others, point = rest
            if point.next < len(stream):
                at = point.next + 1
                point = msgspec.structs.replace(point, next=at, last=last_digest(stream, at))
            right(self, stream, *others, point)

        return write

    _replace(LogKeeper, "_write", make)


def _without_expect() -> None:
    """Nothing is said about where packs and savepoints must come to be."""

    def make(right: Any) -> Any:
        def append(self: Any, stream: Any, payload: Any, **more: Any) -> None:
            name = stream if isinstance(stream, str) else stream.name
            if name.startswith("$views/"):
                more.pop("expect", None)
            right(self, stream, payload, **more)

        return append

    _replace(WriteBatch, "append", make)


def _applied_twice() -> None:
    """What came of records is counted again in the next state."""

    def make(right: Any) -> Any:
        def begin_anew(self: Any) -> None:
            kept = self.applied
            right(self)
            self.applied = kept

        return begin_anew

    _replace(folding.PythonFold, "begin_anew", make)


def _last_node_not_packed() -> None:
    """The last of the new nodes is taken for a recorded one."""

    def make(right: Any) -> Any:
        def save(self: Any, stream: Any, new: Any, made: Any) -> Any:
            if len(new.order) > 1:
                gone = new.order[-1]
                places = {**new.places, gone: NodePlace("0" * 32, 0, 0)}
                order = new.order[:-1]
                new = savepoints.NewNodes(order, new.nodes, new.children_of, places)
            return right(self, stream, new, made)

        return save

    _replace(LogKeeper, "save", make)


def _fork_not_seen() -> None:
    """A branch begins with all that its parent knows, its later records too."""

    def make(right: Any) -> Any:
        def sources(self: Any, stream: Stream, stop: int) -> Iterator[tuple[Stream, int]]:
            for source, _ in right(self, stream, stop):
                yield source, min(stop, len(source))

        return sources

    _replace(View, "sources", make)


def _raised_is_kept() -> None:
    """What a reducer wrote before it raised stays."""

    def make(_: Any) -> Any:
        def stand(self: Any, position: int) -> None:
            self.reached = self._settle(self._fold.flush(), position)

        return stand

    _replace(advancing.Advance, "_stand", make)


def _old_index_entry_stays() -> None:
    """A row that has another value is still found by the one it had."""

    def make(right: Any) -> Any:
        def index_changes(self: Any, found: Any, place: Any, before: Any, row: Any) -> None:
            right(self, found, place, None if row is not None else before, row)

        return index_changes

    _replace(overlay.WritableTable, "_index_changes", make)


def _written_not_seen() -> None:
    """A search by an index does not see what was written since the last state."""

    def make(_: Any) -> Any:
        def written_like(self: Any, equal: Mapping[str, Any]) -> Iterator[Any]:
            return iter(())

        return written_like

    _replace(overlay.WritableTable, "_written_like", make)


def _about_anything() -> None:
    """A place is taken for one of any history."""
    for module in (histories, subscribing, view):
        _replace(module, "is_about", lambda _: lambda *__: True)


def _conflict_ignored() -> None:
    """A subscriber says how far it is, whoever did so meanwhile."""

    def make(right: Any) -> Any:
        def stage(self: Any, batch: Any, payload: bytes) -> None:
            if self._own in self._layer:
                batch.append(self._layer.stream(self._own), payload)
            else:
                right(self, batch, payload)

        return stage

    _replace(subscribing.Subscription, "_stage", make)


def _done_is_forgotten() -> None:
    """After a restart a subscriber begins at the last record whose changes it had."""

    def make(_: Any) -> Any:
        return lambda self: (self.offset, self.number)

    _replace(subscribing.Place, "next", make)


def _no_intent() -> None:
    """An effect outside is not announced."""

    def make(right: Any) -> Any:
        def note(self: Any, change: Any, step: str, batch: Any, durability: Any) -> None:
            if step == "done":
                right(self, change, step, batch, durability)

        return note

    _replace(subscribing.Subscription, "note", make)


def _branch_before_merge() -> None:
    """What a stream inherits is folded through the streams that share least of it first."""

    def make(right: Any) -> Any:
        def sources(self: Any, stream: Stream, stop: int) -> Iterator[tuple[Any, int]]:
            found: Sequence[tuple[Any, int]] = sorted(right(self, stream, stop), key=lambda e: e[1])
            return iter([(_Numbered(each, n), count) for n, (each, count) in enumerate(found)])

        return sources

    _replace(View, "sources", make)


class _Numbered:
    """A stream with another number."""

    def __init__(self, stream: Stream, number: int) -> None:
        self._stream, self.id = stream, number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __len__(self) -> int:
        return len(self._stream)

    def __getitem__(self, offset: int) -> Any:
        return self._stream[offset]


def _full_disk_not_told() -> None:
    """A savepoint that found no room is said to be there."""

    def make(right: Any) -> Any:
        def save(self: Any, stream: Any, settled: Any) -> None:
            with suppress(StorageFullError):
                right(self, stream, settled)

        return save

    _replace(View, "_save", make)


def _full_disk_taken_for_a_savepoint() -> None:
    """Nodes that found no room are taken for recorded ones."""

    def make(right: Any) -> Any:
        def save(self: Any, stream: Any, new: Any, made: Any) -> Any:
            layout = savepoints._laid_out(new, "0" * 32, lambda at, _: at)
            with suppress(StorageFullError):
                return right(self, stream, new, made)
            self._roots[stream.uid].points.append(made(layout))
            return layout

        return save

    _replace(LogKeeper, "save", make)


def _skipped_forgotten() -> None:
    """What was skipped since the savepoint before is not noted with a state."""

    def make(right: Any) -> Any:
        def settle(self: Any, map_: Any, position: int) -> Any:
            settled = right(self, map_, position)
            settled.skipped = ()
            return settled

        return settle

    _replace(advancing.Advance, "_settle", make)


def _headers_forgotten() -> None:
    """A fold that goes on reads records that its view leaves out."""

    def make(_: Any) -> Any:
        def take(self: Any, stop: int) -> None:
            where = self._view.program.spec.where if not self.reached.position else None
            for batch in self._stream.batches(self.reached.position, stop, where=where or None):
                self._fold.take(batch, 0, len(batch))

        return take

    _replace(advancing.Advance, "_take", make)


PLANTS: Final[Mapping[str, Callable[[], None]]] = {
    each.__name__.lstrip("_"): each
    for each in (
        _root_before_packs, _position_too_far, _without_expect, _applied_twice,
        _last_node_not_packed, _fork_not_seen, _raised_is_kept, _old_index_entry_stays,
        _written_not_seen, _about_anything, _conflict_ignored, _done_is_forgotten, _no_intent,
        _branch_before_merge, _full_disk_not_told, _full_disk_taken_for_a_savepoint,
        _skipped_forgotten, _headers_forgotten,
    )
}  # fmt: skip


def plant(name: str) -> None:
    """Plant the bug of that name in this process; "" is none."""
    if name:
        PLANTS[name]()


@contextmanager
def planted(name: str) -> Iterator[None]:
    """A block in which the bug of that name is planted."""
    first = len(_replaced)
    plant(name)
    try:
        yield
    finally:
        while len(_replaced) > first:
            setattr(*_replaced.pop())
