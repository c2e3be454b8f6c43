"""Subscriptions: what records change in the rows of a view, to each subscriber once it is done.

What a subscriber has done is records of the layer's stream `<view>/subscribers/<stream>/<name>`:

    offset   of the record whose changes are, or were, delivered
    number   of the change among those of that record, from 0
    step     "intent": its effect outside may have begun; "done": it is dealt with
    left     how many changes of that record come after it
    last     digest of the record, so that another history is not taken for this one

Each is written under the condition that it is the next, so of two processes that deliver the same
change one is told `ConflictError`, and what it wanted to write in the same frame is not written. An
effect outside the store cannot be in a frame: it is announced first, and a change whose effect was
announced and is not done is delivered again with `is_repeated`, under the same `key`.

They are the subscriber's history: a rebase, an export and a restore take them along.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, Final, Literal

import msgspec

from transit import (
    AlreadyExistsError,
    ConflictError,
    CorruptError,
    InvalidInputError,
    NotFoundError,
    StagedStream,
    Stream,
    WriteBatch,
)
from transit.views.advancing import AnyView
from transit.views.errors import HistoryDiffersError
from transit.views.histories import is_about, last_digest
from transit.views.overlay import RowChange
from transit.views.savepoints import LAYER

FLUSH_RECORDS: Final = 1_000
NAME_BYTES_MAX: Final = 128


Step = Literal["intent", "done"]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Place(msgspec.Struct, frozen=True):
    """How far a subscriber is: one record of its stream."""

    offset: _Count
    number: _Count
    step: Step
    left: _Count
    last: str

    def next(self) -> tuple[int, int]:
        """The record and the number of the change that comes next."""
        if self.step == "intent":
            return self.offset, self.number
        return (self.offset, self.number + 1) if self.left else (self.offset + 1, 0)


class SubscriberStatus(msgspec.Struct, frozen=True):
    """Where a subscriber stands. position: the offset of the record whose changes are next.

    lag: how many records there are from there on. open: the key of the change whose effect was
    announced and is not done, None without. is_lost: it has seen another history of the stream, so
    it stands nowhere: a subscriber of another name begins anew.
    """

    name: str
    stream: str
    position: int
    lag: int
    open: str | None
    is_lost: bool = False


class Change:
    """A row that a record changed, for one subscriber.

    table, key, before, after: as `RowChange`. offset: of the record. number: among the changes of
    that record, from 0. is_repeated: its effect outside may have happened, as it was announced.
    """

    def __init__(self, subscription: Subscription, row: RowChange, place: Place) -> None:
        self.table, self.key, self.before, self.after = row
        self.offset, self.number = place.offset, place.number
        self.is_repeated = False
        self._place = place
        self._subscription = subscription
        self._is_done = False

    def __repr__(self) -> str:
        return f"<transit.views.Change {self.id}: {self.table} {self.key!r}>"

    @property
    def left(self) -> int:
        """How many changes of the same record come after it."""
        return self._place.left

    @property
    def id(self) -> str:
        """Names the change for ever, the same whenever it is delivered: for what must not be done
        twice elsewhere."""
        return f"{self._subscription.name}/{self._subscription.uid}@{self.offset}.{self.number}"

    def done(self, batch: WriteBatch | None = None, *, durability: str | None = None) -> None:
        """Note that it is dealt with; with `batch` in the frame of what that came to.

        Changes are done in order. `ConflictError` where another process was first: from a batch
        when it ends, and then nothing of it is written.
        """
        self._subscription.note(self, "done", batch, durability)
        self._is_done = True

    @contextmanager
    def effect(self, *, durability: str | None = None) -> Iterator[str]:
        """Around an effect outside the store: announces it, gives the id, and is done after it.

        Where the block raises, it is not done: the change is delivered again, as repeated.
        """
        if not self.is_repeated:
            self._subscription.note(self, "intent", None, durability)
        yield self.id
        self.done(durability=durability)


class Subscription:
    """The changes of one stream for one subscriber; made by `View.changes`."""

    def __init__(self, view: AnyView, stream: Stream, name: str, start: int) -> None:
        self._view, self._stream, self.name = view, stream, _check_name(name)
        self._layer = view.log.layer(LAYER)
        self._own = f"{view.id}/subscribers/{stream.uid}/{name}"
        self._records: Stream | None = None
        self._next = 0
        self._start = _check_start(start)
        self._is_open = False
        self._at: tuple[int, int] = self._stands()

    @property
    def uid(self) -> str:
        """The uid of the stream."""
        return self._stream.uid

    def _stands(self) -> tuple[int, int]:
        """The record and the number of the change that is next."""
        try:
            self._records = self._layer.stream(self._own)
        except NotFoundError:
            return self._start, 0
        self._next = len(self._records)
        if not self._next:
            return self._start, 0
        place = self._decoded(self._records[self._next - 1].payload)
        if not is_about(self._stream, place.offset + 1, place.last):
            raise HistoryDiffersError(
                f"subscriber {self.name!r} has seen another history of {self._stream.name!r}: the "
                f"record at offset {place.offset} is not the one it saw"
            )
        self._is_open = place.step == "intent"
        return place.next()

    @property
    def place(self) -> tuple[int, int]:
        """The record, and the number of the change, where the subscriber stands."""
        return self._at

    def status(self) -> SubscriberStatus:
        """Where the subscriber stands."""
        offset, number = self._at
        lag = max(0, len(self._stream) - offset)
        key = f"{self.name}/{self.uid}@{offset}.{number}" if self._is_open else None
        return SubscriberStatus(self.name, self._stream.name, offset, lag, key)

    def changes(self, timeout: float | None) -> Iterator[Change]:
        """The changes from where the subscriber stands on; as `View.changes`."""
        offset, number = self._at
        while True:
            # More may be appended while these are dealt with.
            stop = len(self._stream)
            for each in self._until(stop, offset, number):
                yield each
                self._check_done(each)
            offset, number = max(offset, stop), 0
            if next(iter(self._stream.tail(offset, timeout)), None) is None:
                return

    def ahead(self, place: tuple[int, int], stop: int) -> Iterator[Change]:
        """The changes from `place` on, of records before `stop`: none need be done before the next.

        For who delivers them far away, and is told of those that are done by `settle`.
        """
        return self._until(stop, *place)

    def settle(
        self,
        offset: int,
        number: int,
        step: Step = "done",
        *,
        count: int | None = None,
        durability: str | None = None,
    ) -> SubscriberStatus:
        """Note that this change is dealt with, or begun, and all before it are dealt with.

        count: how many changes that record has, where that is known. Nothing is written where the
        subscriber is further on. `InvalidInputError` where there is no such change,
        `ConflictError` where another process was first.
        """
        if (offset, number) < self._at:
            return self.status()
        if offset >= len(self._stream):
            raise InvalidInputError(f"{self._stream.name} has no record {offset} yet")
        rows = self._count_at(offset) if count is None else count
        if not 0 <= number < rows:
            raise InvalidInputError(f"the record at offset {offset} makes {rows} changes")
        last = last_digest(self._stream, offset + 1)
        self._write(Place(offset, number, step, rows - 1 - number, last), None, durability)
        return self.status()

    def _count_at(self, offset: int) -> int:
        """How many changes a record makes."""
        where = self._view.program.spec.where or None
        for batch in self._stream.batches(offset, offset + 1, where=where):
            return len(self._view.fold_from(self._stream, offset).step(batch, 0))
        return 0

    def _check_done(self, change: Change) -> None:
        if not change._is_done:
            raise InvalidInputError(
                f"{change!r} is not done: call done() on each change before the next"
            )

    def _until(self, stop: int, offset: int, number: int) -> Iterator[Change]:
        if offset >= stop:
            return
        fold, begun = self._view.fold_from(self._stream, offset), offset
        for batch in self._stream.batches(
            offset, stop, where=self._view.program.spec.where or None
        ):
            for row, at in enumerate(batch.offsets):
                if at - begun >= FLUSH_RECORDS:
                    # What a fold holds grows with what it has changed.
                    fold, begun = self._view.fold_from(self._stream, at), at
                rows = fold.step(batch, row)
                yield from self._changes(at, rows, number if at == offset else 0)

    def _changes(self, offset: int, rows: list[RowChange], first: int) -> Iterator[Change]:
        if len(rows) <= first:
            return
        last = last_digest(self._stream, offset + 1)
        for number in range(first, len(rows)):
            place = Place(offset, number, "done", len(rows) - 1 - number, last)
            change = Change(self, rows[number], place)
            change.is_repeated = self._is_open and (offset, number) == self._at
            yield change

    def note(
        self, change: Change, step: Step, batch: WriteBatch | None, durability: str | None
    ) -> None:
        """Write how far the subscriber is."""
        self._write(msgspec.structs.replace(change._place, step=step), batch, durability)

    def _write(self, place: Place, batch: WriteBatch | None, durability: str | None) -> None:
        payload = msgspec.json.encode(place)
        if batch is not None:
            self._made()
            self._stage(batch, payload)
        else:
            try:
                with self._view.log.batch(durability=durability) as own:
                    self._stage(own, payload)
            except AlreadyExistsError as error:
                raise ConflictError(str(error)) from error
        self._next += 1
        self._is_open, self._at = place.step == "intent", place.next()

    def _stage(self, batch: WriteBatch, payload: bytes) -> None:
        if self._records is None and self._own in self._layer:
            self._records = self._layer.stream(self._own)
        if self._records is None:
            made = self._make(batch)
            batch.append(made, payload)
        else:
            batch.append(self._records, payload, expect=self._next)

    def _make(self, batch: WriteBatch) -> StagedStream:
        metadata: dict[str, Any] = {"about_uid": self._stream.uid}
        return batch.create(self._own, metadata, "json", layer=LAYER)

    def _made(self) -> None:
        """Have the subscriber's stream, for a batch of somebody else's.

        Were it made there, and by another process too, the batch would end with
        `AlreadyExistsError`, which says nothing of changes.
        """
        if self._records is None and self._own not in self._layer:
            with suppress(AlreadyExistsError), self._view.log.batch(durability="os") as own:
                self._make(own)

    def _decoded(self, payload: bytes) -> Place:
        try:
            return msgspec.json.decode(payload, type=Place)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CorruptError(
                f"${LAYER}/{self._own}@{self._next - 1}", expected="a place", found=str(error)
            ) from None


def subscribers(view: AnyView, stream: Stream) -> list[SubscriberStatus]:
    """Who subscribed to a stream of a view, in order of their first change."""
    prefix = f"{view.id}/subscribers/{stream.uid}/"
    layer = view.log.layer(LAYER)
    names = [layer.local_name(each).removeprefix(prefix) for each in layer.streams(prefix)]
    return [_status(view, stream, name) for name in names]


def _status(view: AnyView, stream: Stream, name: str) -> SubscriberStatus:
    try:
        return Subscription(view, stream, name, 0).status()
    except HistoryDiffersError:
        return SubscriberStatus(name, stream.name, 0, len(stream), None, is_lost=True)


def _check_name(name: str) -> str:
    if not isinstance(name, str) or not name or len(name.encode()) > NAME_BYTES_MAX:
        raise InvalidInputError(f"subscriber {name!r:.200}: text of 1 to {NAME_BYTES_MAX} bytes")
    return name


def _check_start(start: int) -> int:
    if type(start) is not int or start < 0:
        raise InvalidInputError(f"start must be 0 or more, not {start!r:.100}")
    return start
