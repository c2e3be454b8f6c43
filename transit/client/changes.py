"""Changes of rows of a served view, to one subscriber.

They come as events of the server's, over a connection of their own that is made again where it
breaks off. Each is done before the next, so what comes then is what was not done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NoReturn
from urllib.parse import quote

import msgspec

from transit import InvalidInputError, TransitError
from transit.client.absent import missing
from transit.client.connection import Connection, query_text
from transit.client.link import Events, LostError, Patience
from transit.client.states import key_of, row_of
from transit.client.watching import blocks_of
from transit.protocol.problems import error_of
from transit.protocol.views import ChangeEvent, DoneRequest, SubscriberInfo, TableInfo, ViewInfo
from transit.views.errors import EventError, ReducerError

# The server says that it is there about every 15 seconds.
_SILENCE_S: Final = 60.0
_ERRORS: Final[Mapping[str, type[TransitError]]] = {
    "EventError": EventError,
    "ReducerError": ReducerError,
}


class ConnectedChange:
    """A row that a record changed, for one subscriber; as `Change` of `transit.views`."""

    def __init__(self, changes: ConnectedChanges, event: ChangeEvent, table: TableInfo) -> None:
        self.table, self.key = event.table, key_of(event.key)
        self.before, self.after = row_of(table, event.before), row_of(table, event.after)
        self.offset, self.number = event.offset, event.number
        self.id, self.position = event.id, event.position
        self.is_repeated = event.is_repeated
        self.is_done = False
        self._changes = changes

    def __repr__(self) -> str:
        return f"<transit.client change {self.id}: {self.table} {self.key!r}>"

    def __getattr__(self, name: str) -> NoReturn:
        missing("Change", name)

    def done(self, batch: object = None, *, durability: str | None = None) -> None:
        """Note that it is dealt with; not in a batch, which `views.open(log, reducer)` here can.

        `ConflictError` where another process was first.
        """
        if batch is not None:
            _refuse_batch()
        self._changes.settle(self, "done", durability)
        self.is_done = True

    @contextmanager
    def effect(self, *, durability: str | None = None) -> Iterator[str]:
        """Around an effect outside the store: announces it, gives the id, and is done after it."""
        if not self.is_repeated:
            self._changes.settle(self, "intent", durability)
        yield self.id
        self.done(durability=durability)


def _refuse_batch() -> NoReturn:
    raise InvalidInputError(
        "done(batch): a served view notes it in a frame of its own: open the view here with its"
        " reducer, views.open(log, reducer), to have both in one frame"
    )


class ConnectedChanges:
    """The changes of one stream for one subscriber."""

    def __init__(
        self, connection: Connection, view: ViewInfo, stream: str, subscriber: str, start: int
    ) -> None:
        self._connection, self._stream, self._subscriber = connection, stream, subscriber
        self._tables = {each.name: each for each in view.tables}
        self._base = f"/v1/views/{quote(view.name)}"
        query = {"stream": stream, "subscriber": subscriber, "start": start}
        self._path = f"{self._base}/changes{query_text(query)}"
        # Since when there is nothing more for now, by `time.monotonic`.
        self._idle_since: float | None = None
        self._is_heard = self._is_ended = False

    def changes(self, timeout: float | None) -> Iterator[ConnectedChange]:
        """As `View.changes`."""
        link = self._connection.link
        patience, silence = Patience(link.timeout_s), _SILENCE_S
        if timeout is not None:
            silence = min(silence, max(timeout, 1.0))
        while True:
            self._is_heard, why = False, "its events end at once"
            try:
                with link.stream(self._path, silence) as events:
                    yield from self._heard(events, timeout)
            except LostError as lost:
                why = str(lost)
            if self._is_ended or _is_over(self._idle_since, timeout):
                return
            if self._is_heard:
                patience = Patience(link.timeout_s)
            if self._idle_since is None and not patience.pause():
                raise link.unavailable(why)

    def _heard(self, events: Events, timeout: float | None) -> Iterator[ConnectedChange]:
        """The changes of one connection."""
        for kind, data in _read(blocks_of(events)):
            self._is_heard = True
            if kind == "change":
                self._idle_since = None
                yield from self._delivered(data)
            elif kind == "finished":
                self._is_ended = True
                return
            elif kind == "stopped":
                raise _error(data)
            elif kind == "current" and self._idle_since is None:
                self._idle_since = time.monotonic()
            if _is_over(self._idle_since, timeout):
                return

    def _delivered(self, data: bytes) -> Iterator[ConnectedChange]:
        event = _decoded(data)
        table = self._tables.get(event.table)
        if table is None:
            raise InvalidInputError(f"the view has no table {event.table!r}: connect anew")
        change = ConnectedChange(self, event, table)
        yield change
        if not change.is_done:
            raise InvalidInputError(
                f"{change!r} is not done: call done() on each change before the next"
            )

    def settle(self, change: ConnectedChange, step: str, durability: str | None) -> None:
        """Note how far the subscriber is."""
        given = {
            "stream": self._stream, "subscriber": self._subscriber, "position": change.position,
            "step": step,
        }  # fmt: skip
        asked = msgspec.convert(given, DoneRequest)
        headers = {} if durability is None else {"prefer": f"durability={durability}"}
        # The same again changes nothing, so it may be asked again.
        self._connection.post(f"{self._base}/done", asked, SubscriberInfo, headers)


def _read(blocks: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
    """Kind and data of each event; of a comment "" and nothing."""
    for block in blocks:
        fields: dict[bytes, bytes] = {}
        for line in block.split(b"\n"):
            name, _, value = line.partition(b":")
            fields[name] = value.removeprefix(b" ")
        yield fields.get(b"event", b"").decode(), fields.get(b"data", b"")


def _decoded(data: bytes) -> ChangeEvent:
    try:
        return msgspec.json.decode(data, type=ChangeEvent)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"not an event of changes: {error}") from None


def _error(data: bytes) -> TransitError:
    return error_of(data, _ERRORS) or InvalidInputError("the view stands")


def _is_over(since: float | None, timeout: float | None) -> bool:
    """Whether there was nothing more for as long as is waited."""
    return since is not None and timeout is not None and time.monotonic() - since >= timeout
