"""ConnectedWatch: a function of the user's, called with the streams of a server that changed.

A thread reads the server's events and notes the streams; the thread for users' callbacks calls,
once for all that came meanwhile. One connection watches any number of streams. It breaks off now
and then, if only because the server ends it. Then the server is told how the streams are known to
stand, or the position that was reached, and tells of those that changed meanwhile, and of no
others. After `Patience` without an answer the watch ends.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Final, NoReturn

import msgspec

from transit.client.absent import refuse
from transit.client.connection import Connection, Encoded
from transit.client.link import Events, Link, LostError, Patience
from transit.client.stream import ConnectedStream
from transit.engine.stream import Stream
from transit.engine.watching import Callback, Watch
from transit.errors import InvalidInputError, StoreUnavailableError, TransitError
from transit.handle.promises import Callbacks
from transit.protocol.calls import MSGPACK, UID_PREFIX, Description, encode
from transit.protocol.changes import WATCHED_MAX, Known, Told, WatchRequest

# The server says that it is there about every 15 seconds.
_SILENCE_S: Final = 60.0
_EVENT_BYTES_MAX: Final = 16 * 1024 * 1024
_PATH: Final = "/v1/changes"
_PAGE: Final = 1_000


class ConnectedWatch(Watch):
    """See `Watch`. It does not keep the connection open. references: None for all streams."""

    def __init__(
        self, connection: Connection, callback: Callback, references: Iterable[str] | None
    ) -> None:
        self._connection = weakref.ref(connection)
        self._root = str(connection.address)
        self._link: Link = connection.link
        self._callbacks: Callbacks = connection.submitting.callbacks
        self._callback = callback
        self._takes_all = references is None
        # How what is watched is known to stand, by what names it in a request.
        self._watched = {each: Known(each) for each in references or ()}
        if len(self._watched) > WATCHED_MAX:
            raise InvalidInputError(
                f"{len(self._watched)} streams; one watch names {WATCHED_MAX} at the most, or "
                "watches all: leave streams out"
            )
        # Of a watch of all: up to where its changes are known.
        self._position = ""
        # The streams that were told, as they stood then, by uid.
        self._told: dict[str, Description] = {}
        # Of these, those that the function has not been called with since.
        self._uids: set[str] = set()
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
        self._uids.clear()
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

    def _changed(self) -> tuple[Stream, ...]:
        """The streams that changed, in order of creation."""
        uids: set[str] = set()
        while self._uids:
            with contextlib.suppress(KeyError):
                uids.add(self._uids.pop())
        connection = self._connection()
        if connection is None:
            return ()
        found = sorted((self._told[uid] for uid in uids), key=lambda about: about.id)
        return tuple(ConnectedStream(connection, about) for about in found)

    # In the thread

    def _run(self) -> None:
        patience = Patience(self._link.timeout_s)
        while not self._ended:
            try:
                body = encode(self._request(), MSGPACK)
                with self._link.stream(_PATH, _SILENCE_S, body) as events:
                    self._events = events
                    for told in events_of(events):
                        self._take(told)
                        patience = Patience(self._link.timeout_s)
                        if told.ended:
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

    def _request(self) -> WatchRequest:
        if self._takes_all:
            return WatchRequest(since=self._position)
        return WatchRequest(streams=list(self._watched.values()))

    def _take(self, told: Told) -> None:
        for about in told.streams:
            self._note(about)
        if told.more:
            return
        if told.all and self._ready.is_set():
            self._look_again()
        # Not before: where looking failed, it is done again.
        self._position = told.position
        if self._uids and not self._is_due:
            self._is_due = True
            self._callbacks.add(self)
            self._callbacks.wake()
        self._ready.set()

    def _note(self, about: Description) -> None:
        """A stream as it stands, which the function is called with if it stood otherwise."""
        if not self._takes_all:
            if not about.hidden:
                # From now on it is named by what stays its own.
                self._watched.pop(about.name, None)
            reference = UID_PREFIX + about.uid
            known = Known(reference, about.next_offset, about.finished, about.hidden)
            self._watched[reference] = known
        before = self._told.get(about.uid)
        self._told[about.uid] = about
        if before is None or _standing(before) != _standing(about):
            self._uids.add(about.uid)

    def _look_again(self) -> None:
        """Note all streams there are: nobody knows any more which of them changed."""
        connection = self._connection()
        if connection is None:
            return
        seen: set[str] = set()
        following: str | None = None
        while following != "":
            query = {"limit": _PAGE, "after": None if following is None else Encoded(following)}
            try:
                found, following = connection.page("/v1/streams", Description, query)
            except StoreUnavailableError as error:
                # As if the events had broken off: the watch goes on where it was.
                raise LostError(str(error), was_sent=False) from error
            for about in found:
                seen.add(about.uid)
                self._note(about)
        for uid in self._told.keys() - seen:
            about = self._told[uid]
            if not about.hidden:
                self._note(msgspec.structs.replace(about, hidden=True))


def _standing(about: Description) -> tuple[int, bool, bool]:
    return about.next_offset, about.finished, about.hidden


def events_of(events: Events) -> Iterator[Told]:
    """What a stream of events tells."""
    for event in blocks_of(events):
        data = [line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
        if data:
            try:
                yield msgspec.json.decode(b"\n".join(data), type=Told)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                raise InvalidInputError(f"not an event of changes: {error}") from None


def blocks_of(events: Events) -> Iterator[bytes]:
    """The lines of each event, or comment."""
    # Begun anew with each event, so that a long one is not copied with each of its parts.
    waiting = bytearray()
    for part in events.parts:
        looked = max(0, len(waiting) - 1)
        waiting += part
        while (end := waiting.find(b"\n\n", looked)) >= 0:
            event, looked = bytes(waiting[:end]), 0
            del waiting[: end + 2]
            yield event
        if len(waiting) > _EVENT_BYTES_MAX:
            raise LostError("an event without end", was_sent=False)
