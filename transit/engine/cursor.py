"""Cursor: a durable place in a stream, and how cursors are listed.

A cursor is a reserved stream of its own, `$cursors/<stream id>/<name>`; its last record is where it
stands (`transit.format.cursor`). It is on one stream, whatever that is named, for as long as there
is a store:

    hide, show           nothing changes; listings of the log leave those on hidden streams out
    name bound again     those of the stream that had the name stay with it
    finish               they move on, up to the stream's end
    branch, merge        what is made has none
    rebase               moved here, they stand as far in what has our records now, with their
                         state; a cursor that is further in the remote's history stays
    restore(streams=)    they stay in the remote, as all that is not named: read and moved with
                         `remote=`, `RetentionGapError` without
    export, import       none: they are places of readers of this store
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from transit.engine.checks import Payload, check_limit, check_numbers
from transit.engine.scanning import lineage_records
from transit.engine.staging import Staging, last_place, stage
from transit.errors import CorruptError, InvalidInputError, NotFoundError
from transit.format.cursor import START, CursorRecord, check_state, owner_of
from transit.format.lineage import LINEAGE_NAME
from transit.format.names import cursor_stream_name, known_name, layer_of
from transit.handle.handle import Handle
from transit.log.catalog import StreamState
from transit.opened import Opened


class CursorStatus(msgspec.Struct, frozen=True):
    """Where a cursor stood at one moment.

    stream: name of the stream it is on. position: the next offset to read. lag: how many records
    the stream has from there on. state: what was kept with the position, or None.
    """

    name: str
    stream: str
    position: int
    lag: int
    state: bytes | None


class Cursor(Opened):
    """A durable place in a stream: the next offset its owner will read. It only moves forward.

    Safe for threads. Equal to another of the same name, stream and store.
    """

    __slots__ = ("_handle", "_state", "_stream_name", "name")

    def __init__(self, handle: Handle, state: StreamState, name: str) -> None:
        self._handle = handle
        self._state = state
        self.name = known_name(name, "cursor name", self._exists)
        self._stream_name = cursor_stream_name(state.id, self.name)

    def __repr__(self) -> str:
        return f"<transit.Cursor {self.name!r} on {self._state.name!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cursor):
            return NotImplemented
        return self._handle is other._handle and self._stream_name == other._stream_name

    def __hash__(self) -> int:
        return hash((id(self._handle), self._stream_name))

    def _exists(self, name: str) -> bool:
        self._handle.refresh()
        return self._handle.catalog.find(cursor_stream_name(self._state.id, name)) is not None

    def is_of(self, handle: Handle) -> bool:
        """Whether the cursor was got from this open store."""
        return self._handle is handle

    @property
    def stream(self) -> str:
        """The name of the stream it is on."""
        return self._state.name

    @property
    def position(self) -> int:
        """The next offset to read."""
        return self._stands().position

    @property
    def state(self) -> bytes | None:
        """What was kept with the position; None without.

        Where others may move the cursor meanwhile, `status` has the two of one moment.
        """
        return self._stands().state

    @property
    def lag(self) -> int:
        """How many records the stream has from the position on."""
        return self.status().lag

    def status(self) -> CursorStatus:
        """Where it stands: position and state as they were written together."""
        position, state = self._stands()
        # After that of the cursor, so that it is no less.
        lag = self._handle.next_offset(self._state) - position
        return CursorStatus(self.name, self.stream, position, max(0, lag), state)

    def _stands(self) -> CursorRecord:
        self._handle.refresh()
        catalog = self._handle.catalog
        stream_id = catalog.find(self._stream_name)
        return START if stream_id is None else last_place(catalog, catalog.state(stream_id))

    def advance(
        self,
        position: int,
        *,
        state: Payload | None = None,
        expect: int | None = None,
        durability: str | None = None,
    ) -> None:
        """Move to `position`, and return when that is as durable as asked.

        state: up to 64 KiB that are kept with the position, so a move without one leaves none.
        expect: the position that the caller expects; `ConflictError` when it is another.
        Staying is allowed, and writes nothing but another state. `OffsetError` for a position
        behind the cursor or past the stream's next offset.
        """
        handle = self._handle
        level = handle.level_of(durability)
        wanted = wanted_place(position, state, expect)
        _, written = stage(handle, lambda staging: self._move(staging, wanted, expect))
        # The position it has already may have been written with a weaker durability.
        handle.acknowledge(written, level)

    def _move(self, staging: Staging, wanted: CursorRecord, expect: int | None) -> None:
        staging.advance(self._state, self.name, wanted, expect)


def wanted_place(position: int, state: Payload | None, expect: int | None) -> CursorRecord:
    """Where a cursor shall stand, with what; or `InvalidInputError`."""
    if type(position) is not int:
        raise InvalidInputError(f"position must be int, not {type(position).__name__}")
    check_numbers(None, expect)
    return CursorRecord(position, check_state(state))


def cursors_of(
    handle: Handle, state: StreamState, prefix: str, after: Cursor | None, limit: int | None
) -> Iterator[Cursor]:
    """The cursors on one stream whose names start with `prefix`, in order of creation."""
    return _listed(handle, prefix, after, limit, lambda owner: owner.id == state.id)


def all_cursors(
    handle: Handle, prefix: str, streams: str, after: Cursor | None, limit: int | None
) -> Iterator[Cursor]:
    """Those on streams that are not hidden, whose names start with `streams`.

    Those on streams of layers only where that begins with `$`.
    """
    _check_prefix(streams)
    layers = streams.startswith("$")

    def is_wanted(owner: StreamState) -> bool:
        hidden = owner.life is not None and owner.life.hidden
        is_layers = layer_of(owner.name) is not None
        return not hidden and is_layers is layers and owner.name.startswith(streams)

    return _listed(handle, prefix, after, limit, is_wanted)


def known_cursors(handle: Handle, after: Cursor | None, limit: int) -> Iterator[Cursor]:
    """Those on the user's streams, hidden ones too."""
    return _listed(handle, "", after, limit, lambda owner: layer_of(owner.name) is None)


def is_on_hidden(cursor: Cursor) -> bool:
    """Whether a cursor is on a stream that is hidden now."""
    life = cursor._state.life
    return life is not None and life.hidden


def _listed(
    handle: Handle,
    prefix: str,
    after: Cursor | None,
    limit: int | None,
    is_wanted: Callable[[StreamState], bool],
) -> Iterator[Cursor]:
    _check_prefix(prefix)
    check_limit(limit, "cursors")
    handle.refresh()
    start = 0 if after is None else _made_at(handle, after) + 1
    return islice(_found(handle, start, prefix, is_wanted), limit)


def _found(
    handle: Handle, start: int, prefix: str, is_wanted: Callable[[StreamState], bool]
) -> Iterator[Cursor]:
    for stream_id, record in lineage_records(handle, start):
        owner = owner_of(record.name)
        if owner is None or not owner[1].startswith(prefix):
            continue
        if owner[0] >= stream_id:
            place = f"{LINEAGE_NAME}@{stream_id}"
            raise CorruptError(
                place, expected="a cursor on a stream made before it", found=record.name
            )
        state = handle.catalog.state(owner[0])
        if is_wanted(state):
            yield Cursor(handle, state, owner[1])


def _made_at(handle: Handle, cursor: Cursor) -> int:
    """When a cursor was first moved, as the id of its own stream."""
    if not isinstance(cursor, Cursor) or not cursor.is_of(handle):
        raise InvalidInputError(f"after must be a cursor of this store, not {cursor!r}")
    made = handle.catalog.find(cursor_stream_name(cursor._state.id, cursor.name))
    if made is None:
        raise NotFoundError(f"{cursor!r} was never moved: it is in no list")
    return made


def _check_prefix(prefix: object) -> None:
    if not isinstance(prefix, str):
        raise InvalidInputError(f"prefix must be str, not {type(prefix).__name__}")
