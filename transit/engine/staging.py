"""Frames in the making: what a batch, or a single call, asks for, worked out in the writer's turn.

Owns `Staging`: in one turn of the writer it gives ids, offsets and timestamps to what
was asked for, checks names and conditions against the store and against itself, and commits it all
or nothing. A new stream, branch or merge is one record in stream 0; finishing, hiding or
showing a stream is one in `$names` (`transit.format.life`); moving a cursor is one in a stream of
its own (`transit.format.cursor`).

Merges may have much to read, and custom policies are the user's code: neither belongs in the
turn. So whatever has merges in it is staged twice: first outside, to read what they need, and then
in the turn (`stage_prepared`).

Invariants: of the streams with one name at most one is not hidden, and the name finds that one; a
finished stream has as many records for ever; a cursor moves forward, and stands within its stream.
All hold after each step of a frame, in the order of the steps, so that hiding a stream and giving
its name to a new one is one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from msgspec.structs import replace

from transit.engine.pending import Pending
from transit.engine.plans import (
    Head,
    check_heads,
    check_place,
    check_shown,
    fork_offset,
    merge_record,
    work_out,
)
from transit.engine.staged_parents import Prepared, StagedParents
from transit.errors import AlreadyExistsError, ConflictError, InvalidInputError, OffsetError
from transit.format.cursor import START, CursorRecord, decode_cursor, encode_cursor
from transit.format.life import ALL, Life, encode_life
from transit.format.lineage import (
    Branch,
    LineageRecord,
    Merge,
    Root,
    Scalar,
    check_metadata,
    encode_lineage,
)
from transit.format.names import cursor_stream_name
from transit.format.record import Columns, measure
from transit.format.uid import new_uid
from transit.handle.handle import Handle
from transit.lineage import policy as policies
from transit.log.assign import check_expected
from transit.log.catalog import Catalog, StreamState
from transit.log.dependents import about, inherited_gone
from transit.log.frames import Group, Written
from transit.log.gone import gone
from transit.replay import locate, record_in

# How often parents may go on while a custom policy of the user's works.
TRIES: Final = 8
T = TypeVar("T")
Place = tuple[StreamState, int | None]
"""A stream, and the offset of the last record that counts; None: the last one."""


class WantedMerge(NamedTuple):
    """A merge asked for, but for its parents and base; all of it is checked."""

    name: str
    policy: str
    params: Mapping[str, Scalar] | None
    metadata: dict[str, Scalar]
    merge_id: str | None
    expect: Sequence[int | None]
    uid: str = ""


class PolicyBehindError(Exception):
    """A custom policy worked on heads that have moved since: it must be asked again."""


class Staging:
    """One frame in the making: in a turn of the writer, or, to prepare it, before that.

    `writer`: who wrote the records that are appended, and those of `$names`; empty for this process
    itself. `now`: when they are written.
    """

    def __init__(self, handle: Handle, prepared: Prepared | None = None) -> None:
        self._handle = handle
        self._catalog = handle.catalog
        self.now = handle.writer.time
        self.writer = ""
        self._created: dict[int, StreamState] = {}
        # Names that go from one stream to another, or to none, in this frame.
        self._bound: dict[str, int | None] = {}
        self._lives: list[Life] = []
        self._pending: dict[int, Pending] = {}
        self._merges: dict[str, StreamState] = {}
        self._cursors: dict[str, CursorRecord] = {}
        self._first_id = self._catalog.lineage_state().next_offset
        self._prepared = prepared or Prepared()
        self._parents = StagedParents(self._catalog, self._created, self._pending, self._prepared)

    def create(self, record: LineageRecord) -> StreamState:
        """A new stream, with a uid of its own unless its record has one already.

        `AlreadyExistsError` when its name is another's that is not hidden, or its uid another's.
        """
        if self._find(record.name) is not None:
            raise AlreadyExistsError(f"stream {record.name!r} exists")
        record = self._protected(record)
        if not record.uid:
            record = replace(record, uid=new_uid())
        elif (other := self._with_uid(record.uid)) is not None:
            raise AlreadyExistsError(f"stream {other!r} has the uid {record.uid}")
        state = StreamState(self._count, record)
        self._bound[record.name] = state.id
        self._created[state.id] = state
        if trimmed := inherited_gone(record, lambda parent: self.life(self._state(parent))):
            self.change(state, "", trimmed=trimmed)
        return state

    def _protected(self, record: LineageRecord) -> LineageRecord:
        """A new stream's record with the protection of what the stream is made from."""
        keys, protect = self._catalog.keys, record.protect
        if keys is None or not keys.writes:
            if protect is not None:
                raise InvalidInputError(
                    f"stream {record.name!r}: protect= needs an encrypted store"
                )
            return record
        if protect is None:
            found = self._protections(record)
            # Of several subjects it is nobody's alone.
            protect = found.pop() if len(found) == 1 else "stream" if any(found) else None
        return record if protect is None else replace(record, protect=protect)

    def _protections(self, record: LineageRecord) -> set[str | None]:
        """Those of a branch's parent, of all that a merge is made from, of what a stream is about.

        What is about one stream alone has that stream's own key.
        """
        if isinstance(record, Branch):
            return {self._state(record.parent).record.protect}
        if isinstance(record, Merge):
            return {self._state(parent).record.protect for parent, _ in record.parents}
        known = map(self._catalog.find_uid, about(record))
        sources = [self._state(stream).record for stream in known if stream is not None]
        return {None if each.protect is None else each.owner for each in sources}

    def branch(
        self,
        parent: StreamState,
        name: str,
        at: int | None,
        metadata: Mapping[str, Scalar] | None,
        expect: int | None = None,
        uid: str = "",
        *,
        empty: bool = False,
    ) -> StreamState:
        """A new branch of `parent` at offset `at`, or at its head with everything staged so far.

        uid: checked; empty for a new one. empty: it inherits no record.
        """
        tail = self._tail(parent)
        check_expected(tail, expect)
        return self.create(
            Branch(
                name=name,
                parent=parent.id,
                fork=-1 if empty else fork_offset(parent.name, at, tail.next_offset),
                metadata=check_metadata(metadata, name),
                codec=parent.record.codec,
                uid=uid,
            )
        )

    def merge(
        self, wanted: WantedMerge, parents: Sequence[Place], base: Place | None
    ) -> StreamState:
        """The stream of a merge of heads with everything staged so far; the one there is when this
        merge was made before, whatever is expected."""
        made = self._made_by(wanted, wanted.merge_id)
        if made is not None:
            return made
        record = self._merge_record(wanted, parents, base)
        made = self._made_by(wanted, record.merge_id)
        if made is None:
            record = replace(record, uid=wanted.uid)
            made = self._merges[record.merge_id] = self.create(record)
        return made

    def prepare_merge(
        self, wanted: WantedMerge, parents: Sequence[Place], base: Place | None
    ) -> None:
        """Read what `merge` of the same will need; nothing is staged."""
        if self._made_by(wanted, wanted.merge_id) is None:
            self._merge_record(wanted, parents, base)

    def _merge_record(
        self, wanted: WantedMerge, parents: Sequence[Place], base: Place | None
    ) -> Merge:
        """What a merge of heads with everything staged so far is."""
        for (state, _), expect in zip(parents, wanted.expect, strict=True):
            check_expected(self._tail(state), expect)
        heads = check_heads([self._head(place, -1) for place in parents], self._parents)
        return self._known_or_new(wanted, heads, None if base is None else self._head(base, 0))

    def _known_or_new(
        self, wanted: WantedMerge, heads: tuple[Head, ...], base: Head | None
    ) -> Merge:
        """What a merge of these heads is; each is worked out once, where nothing is staged."""
        # What is no policy at all is told when it is worked out.
        is_custom = str(wanted.policy).startswith(policies.CUSTOM_PREFIX)
        prepared = self._prepared
        if self._parents.has_staged(heads):
            if is_custom:
                raise InvalidInputError(
                    f"{wanted.policy}: takes no record that its batch is about to write: give "
                    "positions of records that are there, or merge after the batch"
                )
            return self._work_out(wanted, heads, base)
        key = (id(wanted), heads, base)
        if key not in prepared.records:
            if is_custom and not prepared.asking:
                raise PolicyBehindError
            prepared.records[key] = self._work_out(wanted, heads, base)
        return prepared.records[key]

    def _work_out(self, wanted: WantedMerge, heads: tuple[Head, ...], base: Head | None) -> Merge:
        parents = self._parents
        worked = work_out(parents, heads, wanted.policy, base, wanted.params)
        return merge_record(parents, wanted.name, worked, wanted.merge_id, wanted.metadata)

    def _made_by(self, wanted: WantedMerge, merge_id: str | None) -> StreamState | None:
        """The stream that this merge made before, in this frame or another."""
        if merge_id is None:
            return None
        state = self._merges.get(merge_id)
        if state is None:
            made = self._catalog.find_merge(merge_id)
            if made is None:
                return None
            state = self._catalog.state(made)
        check_shown(state, merge_id, self.life(state))
        if state.name != wanted.name:
            raise AlreadyExistsError(f"merge id {merge_id!r} made stream {state.name!r}")
        return state

    def _head(self, place: Place, lowest: int) -> Head:
        state, offset = place
        count = self._tail(state).next_offset
        if offset is None:
            return state.id, count - 1
        check_place(state.name, offset, lowest, count)
        return state.id, offset

    def _tail(self, state: StreamState) -> Pending | StreamState:
        """Where a stream goes on, as this frame has it so far; `ErasedError` for a deleted one."""
        if state.gone == ALL:
            raise gone(self._catalog, state, 0)
        return self._pending.get(state.id) or state

    def _state(self, stream_id: int) -> StreamState:
        # What this frame made has no state in the catalog yet.
        return self._created.get(stream_id) or self._catalog.state(stream_id)

    def append(
        self,
        state: StreamState,
        payload: bytes,
        headers: bytes,
        timestamp: int | None,
        expect: int | None,
    ) -> tuple[int, int]:
        """One more record; its offset and timestamp."""
        return self._pending_of(state).append(payload, headers, timestamp, expect, self.now)

    def append_many(
        self,
        state: StreamState,
        columns: Columns,
        times: Sequence[int] | None,
        expect: int | None,
    ) -> tuple[int, Sequence[int]]:
        """More records; the offset of the first, and all timestamps. times: one a record."""
        return self._pending_of(state).append_many(columns, times, expect, self.now)

    def _pending_of(self, state: StreamState) -> Pending:
        pending = self._pending.get(state.id)
        if pending is None:
            finished = self.life(state).finished is not None
            pending = self._pending[state.id] = Pending(state, finished)
        return pending

    # What becomes of streams

    def finish(self, state: StreamState, expect: int | None, reason: str) -> None:
        """Take no more records, from here on; nothing when that is so already."""
        tail = self._tail(state)
        check_expected(tail, expect)
        if self.life(state).finished is None:
            self.change(state, reason, finished=tail.next_offset)
            if isinstance(tail, Pending):
                tail.finished = True

    def hide(self, state: StreamState, expect: int | None, reason: str) -> None:
        """Leave a stream out of listings and lookups; nothing when that is so already."""
        check_expected(self._tail(state), expect)
        if not self.life(state).hidden:
            self.change(state, reason, hidden=True)
            self._bound[state.name] = None

    def show(self, state: StreamState, expect: int | None, reason: str) -> None:
        """Undo `hide`; `AlreadyExistsError` when the name is another's by now."""
        check_expected(self._tail(state), expect)
        if self.life(state).hidden:
            if self._find(state.name) is not None:
                raise AlreadyExistsError(f"stream {state.name!r} exists: hide that one first")
            self.change(state, reason, hidden=False)
            self._bound[state.name] = state.id

    # Cursors

    def advance(
        self, stream: StreamState, name: str, wanted: CursorRecord, expect: int | None
    ) -> None:
        """Move cursor `name` on `stream`; nothing when it stands there, with that state or any."""
        own = cursor_stream_name(stream.id, name)
        places = self._cursor_stream(own)
        now, stop = self._stands(own, places), self._tail(stream).next_offset
        if expect is not None and expect != now.position:
            raise ConflictError(
                f"cursor {name!r} on {stream.name}: expected position {expect}, found "
                f"{now.position}",
                stream=stream.name,
                expected=expect,
                found=now.position,
            )
        if not now.position <= wanted.position <= stop:
            raise OffsetError(
                f"cursor {name!r} on {stream.name} is at {now.position} of {stop}; "
                f"it cannot move to {wanted.position}"
            )
        if wanted in (now, now._replace(state=None)):
            return
        if places is None:
            places = self.create(Root(name=own))
        self.append(places, encode_cursor(wanted), b"", None, None)
        self._cursors[own] = wanted

    def _cursor_stream(self, own: str) -> StreamState | None:
        stream_id = self._find(own)
        return None if stream_id is None else self._state(stream_id)

    def _stands(self, own: str, places: StreamState | None) -> CursorRecord:
        """Where a cursor stands, as this frame has it so far."""
        if own in self._cursors:
            return self._cursors[own]
        return START if places is None else last_place(self._catalog, places)

    @property
    def _count(self) -> int:
        """How many streams there are, those of this frame so far among them."""
        return self._first_id + len(self._created)

    def _find(self, name: str) -> int | None:
        """Whose the name is, as this frame has it so far."""
        return self._bound[name] if name in self._bound else self._catalog.find(name)

    def _with_uid(self, uid: str) -> str | None:
        """The name of the stream that has a uid, as this frame has it so far."""
        found = self._catalog.find_uid(uid)
        if found is not None:
            return self._catalog.record(found).name
        made = self._created.values()
        return next((state.name for state in made if state.record.uid == uid), None)

    def life(self, state: StreamState) -> Life:
        """What is so of a stream, as this frame has it so far."""
        said = (life for life in reversed(self._lives) if life.stream == state.id)
        return next(said, None) or state.life or Life(stream=state.id, streams=self._count)

    def check(self, state: StreamState, expect: int | None) -> None:
        """`ConflictError` unless a stream's next offset is `expect`; `ErasedError` if deleted."""
        check_expected(self._tail(state), expect)

    def change(self, state: StreamState, reason: str, **changes: object) -> None:
        """Say more of a stream: `changes` are fields of its `Life`."""
        now = self.life(state)
        self._lives.append(
            replace(now, **{"basis": "", **changes}, streams=self._count, reason=reason)
        )

    def commit(self) -> Written | None:
        """Write the frame; where it ends, None when there was nothing to write."""
        groups = []
        if self._created:
            made = [encode_lineage(state.record) for state in self._created.values()]
            groups.append(self._told(self._catalog.lineage_state(), made))
        if self._lives:
            lives = list(map(encode_life, self._lives))
            groups.append(self._told(self._catalog.names_state(), lives, self.writer))
        for pending in self._pending.values():
            groups.append(Group(pending.state, pending.columns(self.writer)))
        if not groups:
            return None
        return self._handle.writer.commit(groups, tuple(self._created.values()), self._lives)

    def _told(self, state: StreamState, payloads: list[bytes], writer: str = "") -> Group:
        """Records of one of the store's own streams."""
        return Group(state, Columns(payloads, measure(payloads), self.now, None, writer=writer))


def last_place(catalog: Catalog, places: StreamState) -> CursorRecord:
    """Where the cursor of stream `places` stands; `CorruptError` for bytes no cursor writes."""
    if not places.next_offset:
        return START
    last = places.next_offset - 1
    payload = record_in(*locate(catalog, places, last), last).payload
    return decode_cursor(payload, f"{places.name}@{last}")


def stage(
    handle: Handle, work: Callable[[Staging], T], prepared: Prepared | None = None
) -> tuple[T, Written | None]:
    """Stage what `work` asks for and write it as one frame: what `work` returned, and its end."""

    def staged() -> tuple[T, Written | None]:
        staging = Staging(handle, prepared)
        return work(staging), staging.commit()

    return handle.writer.frame(staged)


def stage_prepared(
    handle: Handle,
    work: Callable[[Staging], T],
    prepare: Callable[[Staging], object] | None = None,
) -> tuple[T, Written | None]:
    """`stage` of work that merges, whose merges are read before the turn.

    prepare: asks for the same merges as `work`, and is done before the turn; None: `work` is.
    `ConflictError` when parents go on again and again while a custom policy works.
    """
    prepared = Prepared()
    for _ in range(TRIES):
        handle.refresh()
        prepared.asking = True
        (prepare or work)(Staging(handle, prepared))
        prepared.asking = False
        try:
            return stage(handle, work, prepared)
        except PolicyBehindError:
            continue
    raise ConflictError(
        f"{handle.root}: the parents of a merge went on {TRIES} times while its policy worked: "
        "give positions instead of streams"
    )
