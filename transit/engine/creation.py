"""New streams, the ends of streams, and mixed commits: worked out and written as one frame.

Owns `Staging`: in one turn of the writer it gives ids, offsets and timestamps to what
was asked for, checks names and conditions against the store and against itself, and commits it all
or nothing. Creating a stream, a branch or a merge is one record in stream 0; finishing, hiding or
showing a stream is one in `$names` (`transit.format.life`).

Invariants: of the streams with one name at most one is not hidden, and the name finds that one; a
finished stream has as many records for ever. Both hold after each step of a frame, in the order of
the steps, so that hiding a stream and giving its name to a new one is one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from msgspec.structs import replace

from transit.engine.checks import check_numbers
from transit.errors import AlreadyExistsError, InvalidInputError, OffsetError
from transit.format.life import Life, check_reason, encode_life
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
from transit.log.assign import assign, check_expected
from transit.log.catalog import StreamState
from transit.log.frames import Group, Written

CODECS: Final = ("json",)
T = TypeVar("T")


class Pending:
    """Records to append to one stream, and where its tail will be."""

    __slots__ = ("finished", "headers", "next_offset", "payloads", "state", "timestamps")

    def __init__(self, state: StreamState, finished: bool) -> None:
        self.state = state
        self.finished = finished
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
        # Names that go from one stream to another, or to none, in this frame.
        self._bound: dict[str, int | None] = {}
        self._lives: list[Life] = []
        self._pending: dict[int, Pending] = {}
        self._first_id = self._catalog.lineage_state().next_offset

    def create(self, record: LineageRecord) -> StreamState:
        """A new stream; `AlreadyExistsError` when its name is another's that is not hidden."""
        if self._find(record.name) is not None:
            raise AlreadyExistsError(f"stream {record.name!r} exists")
        state = StreamState(self._count, record)
        self._bound[record.name] = state.id
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
            finished = self._life(state).finished is not None
            pending = self._pending[state.id] = Pending(state, finished)
        offset, given = assign(pending, timestamp, expect, self._now)
        if len(pending.payloads) == COUNT_MAX:
            raise InvalidInputError(f"{state.name}: more than {COUNT_MAX} records in one frame")
        pending.payloads.append(payload)
        pending.timestamps.append(given)
        pending.headers.append(headers or b"{}")
        pending.next_offset = offset + 1
        return offset, given

    # What becomes of streams

    def finish(self, state: StreamState, expect: int | None, reason: str) -> None:
        """Take no more records, from here on; nothing when that is so already."""
        tail = self._pending.get(state.id) or state
        check_expected(tail, expect)
        if self._life(state).finished is None:
            self._change(state, reason, finished=tail.next_offset)
            if isinstance(tail, Pending):
                tail.finished = True

    def hide(self, state: StreamState, expect: int | None, reason: str) -> None:
        """Leave a stream out of listings and lookups; nothing when that is so already."""
        check_expected(self._pending.get(state.id) or state, expect)
        if not self._life(state).hidden:
            self._change(state, reason, hidden=True)
            self._bound[state.name] = None

    def show(self, state: StreamState, reason: str) -> None:
        """Undo `hide`; `AlreadyExistsError` when the name is another's by now."""
        if self._life(state).hidden:
            if self._find(state.name) is not None:
                raise AlreadyExistsError(f"stream {state.name!r} exists: hide that one first")
            self._change(state, reason, hidden=False)
            self._bound[state.name] = state.id

    @property
    def _count(self) -> int:
        """How many streams there are, those of this frame so far among them."""
        return self._first_id + len(self._created)

    def _find(self, name: str) -> int | None:
        """Whose the name is, as this frame has it so far."""
        return self._bound[name] if name in self._bound else self._catalog.find(name)

    def _life(self, state: StreamState) -> Life:
        """What is so of a stream, as this frame has it so far."""
        said = (life for life in reversed(self._lives) if life.stream == state.id)
        return next(said, None) or state.life or Life(stream=state.id, streams=self._count)

    def _change(self, state: StreamState, reason: str, **changes: int | bool) -> None:
        now = self._life(state)
        self._lives.append(replace(now, streams=self._count, reason=reason, **changes))

    def commit(self) -> Written | None:
        """Write the frame; where it ends, None when there was nothing to write."""
        groups = []
        if self._created:
            made = [encode_lineage(state.record) for state in self._created]
            groups.append(self._told(self._catalog.lineage_state(), made))
        if self._lives:
            lives = list(map(encode_life, self._lives))
            groups.append(self._told(self._catalog.names_state(), lives))
        for pending in self._pending.values():
            columns = Columns(
                pending.payloads, measure(pending.payloads), pending.timestamps, pending.headers
            )
            groups.append(Group(pending.state, columns))
        if not groups:
            return None
        return self._handle.writer.commit(groups, self._created, self._lives)

    def _told(self, state: StreamState, payloads: list[bytes]) -> Group:
        """Records of one of the store's own streams."""
        return Group(state, Columns(payloads, measure(payloads), self._now, None))


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


def finish_stream(
    handle: Handle, state: StreamState, expect: int | None, reason: str, durability: str | None
) -> None:
    """Take no more records."""
    check_numbers(None, expect)
    change_life(
        handle, lambda staging: staging.finish(state, expect, check_reason(reason)), durability
    )


def change_life(handle: Handle, work: Callable[[Staging], None], durability: str | None) -> None:
    """Do what `work` asks of `$names`, in a frame of its own."""
    level = handle.level_of(durability)
    _, written = stage(handle, work)
    # What is so already may have been written with less.
    handle.acknowledge(written, level)


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
