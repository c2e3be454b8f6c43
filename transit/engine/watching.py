"""A watch: a function of the user's that is called with the streams that changed.

Owns what it is called with, and how often: changes that come while it runs are told in one call
after it. It runs in the thread for users' callbacks, with no lock held, so it may use the store,
and close it; what it raises is reported and affects nothing else (decision 0032).
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final

from transit.engine.finding import state_of
from transit.engine.stream import Stream
from transit.errors import ClosedError, InvalidInputError, TransitError
from transit.format.life import NAMES_ID
from transit.format.lineage import LINEAGE_ID
from transit.handle.handle import Handle
from transit.handle.hub import Hub
from transit.log.catalog import StreamState
from transit.opened import Opened

_OF_THE_STORE: Final = {LINEAGE_ID, NAMES_ID}
Callback = Callable[[tuple[Stream, ...]], object]


class Watch(Opened):
    """Made by `Log.watch`; ends with `close()`, with a `with` block, or with the store.

    It does not keep the store open. But what its function refers to it does keep.
    """

    def __init__(
        self, handle: Handle, callback: Callback, states: Sequence[StreamState] | None
    ) -> None:
        self._handle = weakref.ref(handle)
        self._hub: Hub = handle.hub
        self._root = handle.root
        self._callback = callback
        self._takes_all = states is None
        self._pending: set[int] = set()
        # Whether it is among those to be called.
        self._is_due = False
        self._ended = False
        self._said_end = False
        self._error: TransitError | None = None
        self._hub.add(self, states)

    def __repr__(self) -> str:
        return f"<transit.Watch of {self._root!r}{', closed' if self.closed else ''}>"

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether its function is called no more, but for the call that says so."""
        return self._ended

    @property
    def error(self) -> TransitError | None:
        """Why it ended; None while it goes on, and after `close()`."""
        return self._error

    def close(self) -> None:
        """Call the function no more. A call that has begun goes on; closing again does nothing."""
        self._ended = self._said_end = True
        self._pending.clear()
        self._hub.remove(self)

    # For the hub, as `Follower`, and for the thread that calls

    def tell(self, stream_id: int, reached: int, finished: bool) -> None:
        """See `Follower.tell`."""
        self._pending.add(stream_id)
        self._come_due()

    def end(self, error: TransitError | None) -> None:
        """See `Follower.end`."""
        if not self._ended:
            self._error = error or ClosedError(f"{self._root}: this store handle is closed")
            self._ended = True
            self._come_due()

    def _come_due(self) -> None:
        # Taken back before what is pending is taken: what is added while it is set is taken then.
        if not self._is_due:
            self._is_due = True
            self._hub.callbacks.add(self)

    def call_all(self) -> None:
        """Call the function with what changed; what it raises, be it an exit, ends here."""
        self._is_due = False
        try:
            changed = self._changed()
        except TransitError as error:
            changed = ()
            self._hub.remove(self)
            self.end(error)
        if changed:
            self._call(changed)
        if self._ended and not self._said_end:
            self._said_end = True
            self._call(())

    def _changed(self) -> tuple[Stream, ...]:
        """The streams that changed, in order of creation."""
        ids: set[int] = set()
        while self._pending:
            with contextlib.suppress(KeyError):
                ids.add(self._pending.pop())
        handle = self._handle()
        if handle is None:
            return ()
        states = map(handle.catalog.state, sorted(ids - _OF_THE_STORE))
        # A stream of a layer is told to a watch that names it, and to no other.
        named = (s for s in states if not (self._takes_all and s.name.startswith("$")))
        return tuple(Stream(handle, state) for state in named)

    def _call(self, changed: tuple[Stream, ...]) -> None:
        try:
            self._callback(changed)
        except BaseException as error:
            # A logging handler may raise too. Then there is no way left to report it.
            with contextlib.suppress(BaseException):
                _report(self, error)


def watch(handle: Handle, callback: Callback, streams: Iterable[Stream | str] | None) -> Watch:
    """The watch that `Log.watch` makes."""
    handle.check()
    if not callable(callback):
        raise InvalidInputError(f"callback must be a function, not {type(callback).__name__}")
    if streams is None:
        return Watch(handle, callback, None)
    if isinstance(streams, str | Stream) or not isinstance(streams, Iterable):
        raise InvalidInputError("streams must be a sequence of streams or names")
    return Watch(handle, callback, [state_of(handle, each) for each in streams])


def _report(watch: Watch, error: BaseException) -> None:
    # Loaded here: only programs whose functions fail need it.
    import logging

    logging.getLogger("transit").error("exception calling callback of %r", watch, exc_info=error)
