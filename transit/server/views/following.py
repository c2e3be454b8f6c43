"""Changes of rows as they come, to one subscriber at a time.

Owns what is read ahead for a reader, and nothing durable: how far a subscriber is stands in the log
(`transit.views.subscribing`), and moves when it says so. A reader that comes back by itself says
what it heard last, and goes on behind that; one that begins anew gets what was not done.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import msgspec

from transit import Stream, TransitError
from transit.protocol.views import ChangeEvent, position_of, position_text
from transit.server.views.rows import plain_row
from transit.server.views.serving import StoppedError, Views
from transit.views.stopping import Stop
from transit.views.subscribing import Change, Step, SubscriberStatus, Subscription
from transit.views.view import View

EVENTS_MAX: Final = 256
EVENTS_BYTES: Final = 256 * 1024
WINDOW: Final = 10_000
"""Records that are looked at before a reader hears again that the server is there."""
COUNTS_MAX: Final = 65_536


class Counts:
    """How many changes a record makes, of those that were delivered lately."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, int], int] = OrderedDict()

    def keep(self, view: View, stream: Stream, change: Change) -> None:
        """Remember what a change says of its record."""
        self._known[view.id, stream.uid, change.offset] = change.number + 1 + change.left
        while len(self._known) > COUNTS_MAX:
            self._known.popitem(last=False)

    def get(self, view: View, stream: Stream, offset: int) -> int | None:
        """The count; None where it is not known."""
        return self._known.get((view.id, stream.uid, offset))


class Delivery:
    """What one reader is sent. place: the record and the number of the change that is next."""

    def __init__(
        self, views: Views, view: View, stream: Stream, subscriber: str, start: int, last: str
    ) -> None:
        self._views, self._view, self._stream = views, view, stream
        self._subscription = Subscription(view, stream, subscriber, start)
        heard = _place_after(stream, last)
        self.place = self._subscription.place if heard is None else heard
        self._changes: Iterator[Change] | None = None
        self._until = 0

    def next(self, counts: Counts, stop: Stop) -> bytes | None:
        """The next events; b"" where the records that were looked at changed nothing, None where
        there are no more for now. In a thread; raises as `Views.state` does."""
        if self._changes is None:
            count = len(self._stream)
            if self.place[0] >= count:
                return None
            self._views.state(self._view, self._stream, self.place[0], stop)
            self._until = min(count, self.place[0] + WINDOW)
            self._changes = self._subscription.ahead(self.place, self._until)
        events: list[bytes] = []
        try:
            if self._take(self._changes, events, counts, stop):
                return b"".join(events)
        except TransitError:
            self._changes = None
            if not events:
                raise
            # What comes before it is delivered first; then it is met again.
            return b"".join(events)
        self._changes = None
        self.place = max(self.place, (self._until, 0))
        return b"".join(events)

    def _take(
        self, changes: Iterator[Change], events: list[bytes], counts: Counts, stop: Stop
    ) -> bool:
        """Add events; False at the end of the records that are looked at."""
        size = 0
        for change in changes:
            if stop.is_set:
                raise StoppedError
            events.append(self._event(change))
            size += len(events[-1])
            counts.keep(self._view, self._stream, change)
            self.place = change.offset, change.number + 1
            if len(events) == EVENTS_MAX or size > EVENTS_BYTES:
                return True
        return False

    def _event(self, change: Change) -> bytes:
        position = position_text(change.offset, change.number)
        event = ChangeEvent(
            position, change.id, change.table, change.key, plain_row(change.before),
            plain_row(change.after), change.offset, change.number, change.is_repeated,
        )  # fmt: skip
        id = f"{self._stream.uid}:{position}".encode()
        return b"event: change\nid: %b\ndata: %b\n\n" % (id, msgspec.json.encode(event))


def settle(
    view: View, stream: Stream, subscriber: str, place: tuple[int, int], step: Step,
    count: int | None,
) -> SubscriberStatus:  # fmt: skip
    """Note how far a subscriber is; in a thread."""
    subscription = Subscription(view, stream, subscriber, 0)
    return subscription.settle(*place, step, count=count, durability="os")


def _place_after(stream: Stream, last: str) -> tuple[int, int] | None:
    """Where to go on behind the event with this id; None for one of another stream, or none."""
    uid, _, text = last.partition(":")
    place = position_of(text) if uid == stream.uid else None
    return None if place is None or place[0] >= len(stream) else (place[0], place[1] + 1)
