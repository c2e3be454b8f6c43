"""Cursor: a durable place in a stream.

A cursor is a reserved stream of its own, `$cursors/<stream id>/<name>`; its last record is its
position, as decimal text.
"""

from __future__ import annotations

import re
from typing import Final

from transit.engine.creation import Staging, stage
from transit.errors import CorruptError, InvalidInputError, OffsetError
from transit.format.lineage import Root
from transit.format.names import cursor_stream_name, known_name
from transit.handle.handle import Handle
from transit.log.catalog import StreamState
from transit.opened import Opened
from transit.replay import locate, record_in

_POSITION: Final = re.compile(rb"[0-9]{1,19}")


class Cursor(Opened):
    """A durable place in a stream: the next offset its owner will read. It only moves forward."""

    __slots__ = ("_handle", "_state", "_stream_name", "name")

    def __init__(self, handle: Handle, state: StreamState, name: str) -> None:
        self._handle = handle
        self._state = state
        self.name = known_name(name, "cursor name", self._exists)
        self._stream_name = cursor_stream_name(state.id, self.name)

    def __repr__(self) -> str:
        return f"<transit.Cursor {self.name!r} on {self._state.name!r}>"

    def _exists(self, name: str) -> bool:
        self._handle.refresh()
        return self._handle.catalog.find(cursor_stream_name(self._state.id, name)) is not None

    @property
    def position(self) -> int:
        """The next offset to read."""
        self._handle.refresh()
        stream_id = self._handle.catalog.find(self._stream_name)
        return 0 if stream_id is None else self._position_in(stream_id)

    def _position_in(self, stream_id: int) -> int:
        catalog = self._handle.catalog
        places = catalog.state(stream_id)
        if not places.next_offset:
            return 0
        last = places.next_offset - 1
        payload = record_in(*locate(catalog, places, last), last).payload
        if not _POSITION.fullmatch(payload):
            # Somebody else's: no cursor writes this.
            place, found = f"{self._stream_name}@{last}", repr(payload[:40])
            raise CorruptError(place, expected="a position", found=found)
        return int(payload)

    def advance(self, position: int, *, durability: str | None = None) -> None:
        """Move to `position`, and return when that is as durable as asked.

        Staying is allowed and writes nothing. `OffsetError` for a position behind the cursor or
        past the stream's next offset.
        """
        handle = self._handle
        level = handle.level_of(durability)
        if type(position) is not int:
            raise InvalidInputError(f"position must be int, not {type(position).__name__}")
        _, written = stage(handle, lambda staging: self._move(staging, position))
        # Where it stands already may have been written with less.
        handle.acknowledge(written, level)

    def _move(self, staging: Staging, position: int) -> None:
        catalog = self._handle.catalog
        stream_id = catalog.find(self._stream_name)
        now = 0 if stream_id is None else self._position_in(stream_id)
        stop = self._state.next_offset
        if not now <= position <= stop:
            raise OffsetError(
                f"cursor {self.name!r} on {self._state.name} is at {now} of {stop}; "
                f"it cannot move to {position}"
            )
        if position == now:
            return
        if stream_id is None:
            places = staging.create(Root(name=self._stream_name))
        else:
            places = catalog.state(stream_id)
        staging.append(places, str(position).encode(), b"", None, None)
