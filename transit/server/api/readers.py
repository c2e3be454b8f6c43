"""What one watch is to be told, found when it is ready to hear it.

Nothing is kept for a reader but the names of streams, each once: a reader that does not keep up is
told less often, of all that changed. Each stream is told as it stands then; whatever it does after
that is told again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from transit import Log, Stream, Watch
from transit.protocol.calls import Description
from transit.protocol.changes import Known, Told, WatchRequest
from transit.server.access import READ, Grant
from transit.server.api.recent import Recent
from transit.server.api.streams import describe

Standing = tuple[int | None, bool, bool]
"""How far a stream reaches, whether it is finished, whether it is hidden."""


class Due(NamedTuple):
    """What is to be told now: streams, and what else the last event of these says."""

    streams: Sequence[Stream]
    also: Told


class Reader(Protocol):
    """One watch. moved: set when there may be more. ended: why nothing comes, None: it may."""

    moved: asyncio.Event

    @property
    def ended(self) -> str | None:
        """Why there is nothing to come; None while there may be."""

    def due(self) -> Due | None:
        """What is to be told now; None: nothing."""

    def idle(self) -> Told | None:
        """What is said beside that it is there."""

    def allows(self, stream: Stream) -> bool:
        """Whether it may be told of a stream."""

    def described(self, streams: Iterable[Stream]) -> list[Description]:
        """Those of them that it is to be told of, as they stand now."""


class NamedReader:
    """A watch of these streams, which are told unless they stand as they are known to.

    known: by uid.
    """

    def __init__(self, grant: Grant, known: Mapping[str, Standing]) -> None:
        self._loop = asyncio.get_running_loop()
        self._grant = grant
        self._known = dict(known)
        # The store calls once for each at first; until then nothing is whole.
        self._awaited = set(known)
        self._pending: dict[str, Stream] = {}
        self._has_begun = False
        self._watch: Watch | None = None
        self._is_closed = False
        self._is_ended = False
        self.moved = asyncio.Event()

    def begin(self, log: Log, streams: Sequence[Stream]) -> None:
        """Watch them; in any thread."""
        watch = self._watch = log.watch(self._call, streams)
        if self._is_closed:
            watch.close()

    def close(self) -> None:
        """Watch no more."""
        self._is_closed = True
        if self._watch is not None:
            self._watch.close()

    @property
    def ended(self) -> str | None:
        """See `Reader.ended`."""
        if not self._is_ended:
            return None
        error = None if self._watch is None else self._watch.error
        return str(error or "the store was closed")

    def due(self) -> Due | None:
        """See `Reader.due`."""
        if self._awaited or (self._has_begun and not self._pending):
            return None
        self._has_begun = True
        streams, self._pending = self._pending, {}
        return Due(list(streams.values()), Told())

    def idle(self) -> Told | None:
        """See `Reader.idle`."""
        return None

    def allows(self, stream: Stream) -> bool:
        """See `Reader.allows`."""
        return self._grant.allows(READ, stream.name)

    def described(self, streams: Iterable[Stream]) -> list[Description]:
        """See `Reader.described`."""
        found = []
        for stream in streams:
            about, known = describe(stream), self._known.pop(stream.uid, None)
            stands = known == (about.next_offset, about.finished, about.hidden)
            if not stands and self.allows(stream):
                found.append(about)
        return found

    def _call(self, streams: tuple[Stream, ...]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._take, streams)
        except RuntimeError:
            # The loop is closed: nobody reads any more.
            return

    def _take(self, streams: tuple[Stream, ...]) -> None:
        for stream in streams:
            self._pending[stream.uid] = stream
            self._awaited.discard(stream.uid)
        self._is_ended = self._is_ended or not streams
        self.moved.set()


class RecentReader:
    """A watch of all streams of users whose names begin so, from a position on.

    Where that is not known, it begins with now, and says so.
    """

    def __init__(
        self, recent: Recent, moved: asyncio.Event, grant: Grant, asked: WatchRequest
    ) -> None:
        self._recent = recent
        self._grant = grant
        self._prefix = asked.prefix
        self._number = recent.number_of(asked.since)
        # The number in the last position that was said.
        self._said: int | None = None
        self.moved = moved

    @property
    def ended(self) -> str | None:
        """See `Reader.ended`."""
        return self._recent.ended

    def due(self) -> Due | None:
        """See `Reader.due`."""
        number = self._number
        changed = None if number is None else self._recent.since(number)
        self._number = self._recent.number
        if changed is None:
            return Due((), self._place(is_all=True))
        told = [each for each in changed if self.allows(each)]
        return Due(told, self._place()) if told or self._said is None else None

    def idle(self) -> Told | None:
        """See `Reader.idle`: a position, so that it does not grow old where nothing is told."""
        return self._place() if self._said != self._number else None

    def described(self, streams: Iterable[Stream]) -> list[Description]:
        """See `Reader.described`."""
        return [describe(stream) for stream in streams]

    def allows(self, stream: Stream) -> bool:
        """See `Reader.allows`."""
        name = stream.name
        return name.startswith(self._prefix) and self._grant.allows(READ, name)

    def _place(self, *, is_all: bool = False) -> Told:
        number = self._said = self._number or 0
        return Told(position=self._recent.position(number), all=is_all)


def standing_of(known: Known) -> Standing:
    """How a stream is known to stand."""
    return known.next_offset, known.finished, known.hidden


FIRST: Final[Standing] = (None, False, False)
"""That of a stream of which nothing is known."""
