"""ConnectedWatch: a function of the user's, called with the streams of a server that changed.

A thread reads the server's events and notes the names; the thread for users' callbacks calls, once
for all that came meanwhile. Where the events break off they are asked for again: what may have
changed in between is told then. After `Patience` without an answer the watch ends.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Final, NoReturn

import msgspec

from transit.client.absent import refuse
from transit.client.connection import Connection, repeated_query
from transit.client.link import Events, Link, LostError, Patience
from transit.client.listing import find, listed
from transit.client.stream import ConnectedStream
from transit.engine.stream import Stream
from transit.engine.watching import Callback, Watch
from transit.errors import InvalidInputError, TransitError
from transit.handle.promises import Callbacks
from transit.protocol.calls import Changes

# The server says that it is there about every 15 seconds.
_SILENCE_S: Final = 60.0
_EVENT_BYTES_MAX: Final = 16 * 1024 * 1024


class ConnectedWatch(Watch):
    """See `Watch`. It does not keep the connection open."""

    def __init__(
        self,
        connection: Connection,
        callback: Callback,
        streams: Iterable[ConnectedStream] | None,
    ) -> None:
        self._connection = weakref.ref(connection)
        self._root = str(connection.address)
        self._link: Link = connection.link
        self._callbacks: Callbacks = connection.submitting.callbacks
        self._callback = callback
        self._known: dict[str, Stream] = {}
        self._names: set[str] = set()
        self._takes_all = streams is None
        if streams is not None:
            self._known = {each.name: each for each in streams}
        references = [each.reference for each in streams or ()]
        self._path = "/v1/changes" + repeated_query("stream", references)
        self._events: Events | None = None
        self._is_due = False
        self._calling = threading.RLock()
        self._ended = False
        self._said_end = False
        self._error: TransitError | None = None
        self._ready = threading.Event()
        threading.Thread(target=self._run, name="transit-watch", daemon=True).start()
        self._ready.wait()
        if self._error is not None:
            self._said_end = True
            raise self._error

    def close(self) -> None:
        """Call the function no more. A call that has begun goes on; closing again does nothing."""
        self._ended = self._said_end = True
        self._names.clear()
        events = self._events
        if events is not None:
            events.end()

    def tell(self, *given: object) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Watch", "tell")

    def call_all(self) -> None:
        """Call the function with what changed; what it raises, be it an exit, ends here."""
        # One call at a time: the last one comes from the thread that reads.
        with self._calling:
            self._is_due = False
            try:
                changed = self._changed()
            except TransitError as error:
                changed = ()
                self.end(error)
            if changed:
                self._call(changed)
            if self._ended and not self._said_end:
                self._said_end = True
                self._call(())

    def end(self, error: TransitError | None) -> None:
        """Have the function called once more, with none."""
        if not self._ended:
            self._error = error
            self._ended = True

    def _come_due(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._callbacks.add(self)
            self._callbacks.wake()

    def _changed(self) -> tuple[Stream, ...]:
        """The streams that changed, in order of creation."""
        names: set[str] = set()
        while self._names:
            with contextlib.suppress(KeyError):
                names.add(self._names.pop())
        connection = self._connection()
        if connection is None:
            return ()
        found = {name: self._stream(connection, name) for name in names}
        return tuple(sorted((each for each in found.values() if each), key=lambda each: each.id))

    def _stream(self, connection: Connection, name: str) -> Stream | None:
        stream = self._known.get(name)
        if stream is None or self._takes_all:
            # Its name may be another's by now; a hidden one is known from before.
            stream = find(connection, name) or stream
            if stream is not None:
                self._known[name] = stream
        return stream

    # In the thread

    def _run(self) -> None:
        patience = Patience(self._link.timeout_s)
        is_again = False
        while not self._ended:
            try:
                with self._link.stream(self._path, _SILENCE_S) as events:
                    self._events = events
                    for change in changes(events):
                        patience = Patience(self._link.timeout_s)
                        self._take(change, is_again=is_again)
                        is_again = True
                        if change.ended:
                            break
            except LostError as lost:
                if not patience.pause():
                    self.end(self._link.unavailable(str(lost)))
            except TransitError as error:
                self.end(error)
            finally:
                self._events = None
            if not self._ended and not patience.pause():
                self.end(self._link.unavailable("its events end at once"))
        if self._ready.is_set():
            # Here: what calls it otherwise may have ended, as when the connection was closed.
            self.call_all()
        self._ready.set()

    def _take(self, change: Changes, *, is_again: bool) -> None:
        self._names.update(change.streams)
        if change.all and is_again:
            connection = self._connection()
            if connection is not None:
                self._names.update(each.name for each in listed(connection, ""))
        if self._names:
            self._come_due()
        self._ready.set()


def changes(events: Events) -> Iterator[Changes]:
    """The changes that a stream of events tells of."""
    waiting = b""
    for part in events.parts:
        waiting += part
        *whole, waiting = waiting.split(b"\n\n")
        if len(waiting) > _EVENT_BYTES_MAX:
            raise LostError("an event without end", was_sent=False)
        for event in whole:
            data = [line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
            if data:
                try:
                    yield msgspec.json.decode(b"\n".join(data), type=Changes)
                except msgspec.DecodeError as error:
                    raise InvalidInputError(f"not an event of changes: {error}") from None
