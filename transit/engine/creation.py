"""New streams and mixed commits, worked out and written as one frame.

Owns `Staging`: in one turn of the writer it gives ids, offsets and timestamps to what
was asked for, checks names and conditions against the store and against itself, and commits it all
or nothing. Creating a stream, a branch or a merge is one record in stream 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from transit.errors import AlreadyExistsError, InvalidInputError, OffsetError
from transit.format.lineage import (
    Branch,
    LineageRecord,
    Root,
    Scalar,
    check_metadata,
    encode_lineage,
)
from transit.format.names import check_layer, check_name, layer_stream_name
from transit.format.record import COUNT_MAX, Columns, measure
from transit.handle.handle import Handle
from transit.log.assign import assign
from transit.log.catalog import StreamState
from transit.log.frames import Group, Written

CODECS: Final = ("json",)
T = TypeVar("T")


class Pending:
    """Records to append to one stream, and where its tail will be."""

    __slots__ = ("headers", "next_offset", "payloads", "state", "timestamps")

    def __init__(self, state: StreamState) -> None:
        self.state = state
        self.next_offset = state.next_offset
        self.payloads: list[bytes] = []
        self.timestamps: list[int] = []
        self.headers: list[bytes] = []

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.state.name


class Staging:
    """One frame in the making; only in a turn of the writer."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._catalog = handle.catalog
        self._now = handle.writer.time
        self._created: list[StreamState] = []
        self._names: set[str] = set()
        self._pending: dict[int, Pending] = {}
        self._first_id = self._catalog.lineage_state().next_offset

    def create(self, record: LineageRecord) -> StreamState:
        """A new stream; `AlreadyExistsError` when its name is taken."""
        if record.name in self._names or self._catalog.find(record.name) is not None:
            raise AlreadyExistsError(f"stream {record.name!r} exists")
        state = StreamState(self._first_id + len(self._created), record)
        self._names.add(record.name)
        self._created.append(state)
        return state

    def branch(
        self,
        parent: StreamState,
        name: str,
        at: int | None,
        metadata: Mapping[str, Scalar] | None,
    ) -> StreamState:
        """A new branch of `parent` at offset `at`, or at its head with everything staged so far."""
        pending = self._pending.get(parent.id)
        stop = pending.next_offset if pending else parent.next_offset
        return self.create(
            Branch(
                name=name,
                parent=parent.id,
                fork=fork_offset(parent.name, at, stop),
                metadata=check_metadata(metadata, name),
                codec=parent.record.codec,
            )
        )

    def append(
        self,
        state: StreamState,
        payload: bytes,
        headers: bytes,
        timestamp: int | None,
        expect: int | None,
    ) -> tuple[int, int]:
        """One more record; its offset and timestamp."""
        pending = self._pending.get(state.id)
        if pending is None:
            pending = self._pending[state.id] = Pending(state)
        offset, given = assign(pending, timestamp, expect, self._now)
        if len(pending.payloads) == COUNT_MAX:
            raise InvalidInputError(f"{state.name}: more than {COUNT_MAX} records in one frame")
        pending.payloads.append(payload)
        pending.timestamps.append(given)
        pending.headers.append(headers or b"{}")
        pending.next_offset = offset + 1
        return offset, given

    def commit(self) -> Written | None:
        """Write the frame; where it ends, None when there was nothing to write."""
        groups = []
        if self._created:
            payloads = [encode_lineage(state.record) for state in self._created]
            state = self._catalog.lineage_state()
            columns = Columns(payloads, measure(payloads), self._now, None)
            groups.append(Group(state, columns))
        for pending in self._pending.values():
            columns = Columns(
                pending.payloads, measure(pending.payloads), pending.timestamps, pending.headers
            )
            groups.append(Group(pending.state, columns))
        if not groups:
            return None
        return self._handle.writer.commit(groups, self._created)


def stage(handle: Handle, work: Callable[[Staging], T]) -> tuple[T, Written | None]:
    """Stage what `work` asks for and write it as one frame: what `work` returned, and its end."""

    def staged() -> tuple[T, Written | None]:
        staging = Staging(handle)
        return work(staging), staging.commit()

    return handle.writer.frame(staged)


def create_stream(handle: Handle, record: Root, durability: str | None) -> StreamState:
    """A new root stream, whose record is checked."""
    level = handle.level_of(durability)
    state, written = stage(handle, lambda staging: staging.create(record))
    handle.acknowledge(written, level)
    return state


def create_branch(
    handle: Handle,
    parent: StreamState,
    name: str,
    at: int | None,
    metadata: Mapping[str, Scalar] | None,
    durability: str | None,
) -> StreamState:
    """A new branch of `parent`; the name is checked."""
    level = handle.level_of(durability)
    check_offset(at)
    state, written = stage(handle, lambda staging: staging.branch(parent, name, at, metadata))
    handle.acknowledge(written, level)
    return state


def new_name(name: str, layer: str | None) -> str:
    """The name in the store of a stream to be made, of the user's or of a layer's; checked."""
    return check_name(name) if layer is None else layer_stream_name(check_layer(layer), name)


def root_record(name: str, metadata: Mapping[str, Scalar] | None, codec: str | None) -> Root:
    """The lineage record of a new root stream, checked; its name was."""
    if codec is not None and codec not in CODECS:
        raise InvalidInputError(f"codec must be one of {', '.join(CODECS)}, not {codec!r}")
    return Root(name=name, metadata=check_metadata(metadata, name), codec=codec)


def check_offset(offset: object, what: str = "fork offset") -> None:
    """`InvalidInputError` unless `offset` is None or a plain int."""
    if offset is not None and type(offset) is not int:
        raise InvalidInputError(f"{what} must be int, not {type(offset).__name__}")


def fork_offset(name: str, at: int | None, stop: int) -> int:
    """The fork offset for a branch at `at`, or at the head, of a stream with `stop` records."""
    if at is None:
        return stop - 1
    if not 0 <= at < stop:
        held = f"0 to {stop - 1}" if stop else "none: it is empty"
        raise OffsetError(f"{name}: cannot fork at offset {at}; its offsets are {held}")
    return at
