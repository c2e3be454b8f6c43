"""Write batches: several streams, one atomic frame.

A batch is staged without holding any lock, and worked out when its block ends: offsets, ids, names
and conditions are those of that moment. If anything does not hold then, nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType

from transit.engine.checks import (
    Payload,
    as_bytes,
    as_columns,
    as_several,
    check_numbers,
    check_times,
    check_writer,
    too_large,
)
from transit.engine.creation import check_offset, given_uid, new_name, root_record
from transit.engine.cursor import Cursor, wanted_place
from transit.engine.finding import find_state, state_of
from transit.engine.merging import (
    check_expectations,
    check_sequence,
    made_before,
    wanted_merge,
)
from transit.engine.plans import check_asked, check_shown, version_of
from transit.engine.staging import Staging, WantedMerge, stage, stage_prepared
from transit.engine.stream import Receipt, Stream
from transit.errors import InvalidInputError
from transit.format.headers import HeaderMap, encode_headers
from transit.format.life import check_reason
from transit.format.lineage import Scalar, check_metadata
from transit.handle.handle import Handle
from transit.log.catalog import StreamState
from transit.log.frames import Written
from transit.opened import Opened
from transit.replay import Position


class StagedStream(Opened):
    """A stream that a batch will make; `stream` is it once the batch is written.

    For a merge that was made before it is the stream that there is.
    """

    __slots__ = ("_batch", "_state", "_stream", "name")

    def __init__(self, batch: WriteBatch, name: str) -> None:
        self._batch = batch
        self._state: StreamState | None = None
        self._stream: Stream | None = None
        self.name = name

    @property
    def stream(self) -> Stream:
        """The stream; `InvalidInputError` before the batch is written."""
        if self._stream is None:
            raise InvalidInputError(f"{self.name}: its batch is not written")
        return self._stream


Target = Stream | StagedStream | str
"""A stream, one that the batch makes, or the name of either."""

Account = Callable[[Sequence[tuple[str, int, int]], Sequence[str]], bytes]
"""What `WriteBatch.append_account` calls."""

_Source = StagedStream | StreamState


class WriteBatch(Opened):
    """What to write when the `with` block ends; made by `Log.batch()`, for one thread, used once.

    `receipts`, one for each append in order, is there after the block.
    """

    def __init__(self, handle: Handle, durability: str | None, writer: str = "") -> None:
        self._handle = handle
        self._level = handle.level_of(durability)
        self._writer = check_writer(writer)
        self._steps: list[Callable[[Staging], None]] = []
        self._staged: list[StagedStream] = []
        self._appended: list[tuple[str, int, int]] = []
        # Work that merges is staged twice.
        self._stage: Callable[..., tuple[None, Written | None]] = stage
        self._entered = False
        self._finished = False
        self.receipts: list[Receipt] = []

    def __enter__(self) -> WriteBatch:
        if self._entered:
            raise InvalidInputError("a batch is used once")
        self._entered = True
        self._handle.writer.check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finished = True
        try:
            if kind is None and self._steps:
                self._write()
        finally:
            # They know the batch: what was written would stay with it until it is collected.
            self._steps, self._staged = [], []

    def create(
        self,
        name: str,
        metadata: Mapping[str, Scalar] | None = None,
        codec: str | None = None,
        *,
        layer: str | None = None,
        uid: str | None = None,
        protect: str | None = None,
    ) -> StagedStream:
        """A new root stream, of the user's or of a layer; as `Log.create`.

        Its one condition is that the name is free (`AlreadyExistsError`).
        """
        self._check()
        record = root_record(new_name(name, layer), metadata, codec, uid, protect)
        staged = StagedStream(self, record.name)

        def step(staging: Staging) -> None:
            staged._state = staging.create(record)

        self._staged.append(staged)
        self._steps.append(step)
        return staged

    def append(
        self,
        stream: Target,
        payload: Payload,
        *,
        headers: HeaderMap | None = None,
        timestamp: int | None = None,
        expect: int | None = None,
    ) -> None:
        """One record for `stream`; as `Stream.append`."""
        self._check()
        target = self._target(stream)
        data = payload if type(payload) is bytes else as_bytes(payload)
        limit = self._handle.settings.record_bytes_max
        if len(data) > limit:
            raise too_large(len(data), limit)
        check_numbers(timestamp, expect)
        encoded = encode_headers(headers) if headers else b""

        def step(staging: Staging) -> None:
            state = self._state_of(target)
            offset, given = staging.append(state, data, encoded, timestamp, expect)
            self._appended.append((state.name, offset, given))

        self._steps.append(step)

    def append_account(
        self, stream: Target, account: Account, *, expect: int | None = None
    ) -> None:
        """One record for `stream` that tells of its own frame; it has no receipt.

        account: makes the payload from the (stream, offset, timestamp) of each record appended
        before it here, and the uids of the streams made before it, in order. It is called while the
        frame is worked out, perhaps twice, and does nothing else: it must not use the store.
        """
        self._check()
        target = self._target(stream)
        check_numbers(None, expect)
        limit, before = self._handle.settings.record_bytes_max, tuple(self._staged)

        def step(staging: Staging) -> None:
            uids = [self._state_of(each).record.uid for each in before]
            data = as_bytes(account(tuple(self._appended), uids))
            if len(data) > limit:
                raise too_large(len(data), limit)
            staging.append(self._state_of(target), data, b"", None, expect)

        self._steps.append(step)

    def append_many(
        self,
        stream: Target,
        payloads: Iterable[Payload],
        *,
        headers: HeaderMap | Sequence[HeaderMap | None] | None = None,
        timestamps: Sequence[int] | None = None,
        expect: int | None = None,
    ) -> None:
        """Several records for `stream`, or none, that follow one another; a receipt each.

        As `Stream.append_many`; without a record nothing else is looked at.
        """
        self._check()
        target, given = self._target(stream), as_several(payloads)
        if not given:
            return
        columns = as_columns(given, headers, self._handle.settings.record_bytes_max)
        times = check_times(timestamps, len(given))
        check_numbers(None, expect)

        def step(staging: Staging) -> None:
            state = self._state_of(target)
            first, stamps = staging.append_many(state, columns, times, expect)
            name = state.name
            self._appended += [(name, place, time) for place, time in enumerate(stamps, first)]

        self._steps.append(step)

    def branch(
        self,
        stream: Target,
        name: str,
        at: int | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        *,
        layer: str | None = None,
        uid: str | None = None,
        expect: int | None = None,
        empty: bool = False,
    ) -> StagedStream:
        """A new branch, of the user's or of a layer; as `Stream.branch`.

        Records staged before it here can be forked, and count for `expect`. empty: it descends from
        `stream` and inherits no record of it, whatever there is; without `at`.
        """
        self._check()
        if empty and at is not None:
            raise InvalidInputError("a branch that is empty has no offset to fork at")
        target = self._target(stream)
        name = new_name(name, layer)
        check_offset(at)
        check_numbers(None, expect)
        checked, given = check_metadata(metadata, name), given_uid(uid)
        staged = StagedStream(self, name)

        def step(staging: Staging) -> None:
            parent = self._state_of(target)
            staged._state = staging.branch(parent, name, at, checked, expect, given, empty=empty)

        self._staged.append(staged)
        self._steps.append(step)
        return staged

    def merge(  # noqa: PLR0913 - as many things decide a merge
        self,
        name: str,
        parents: Sequence[Target | Position],
        *,
        policy: str,
        base: Position | None = None,
        params: Mapping[str, Scalar] | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        merge_id: str | None = None,
        layer: str | None = None,
        uid: str | None = None,
        expect: Sequence[int | None] | None = None,
    ) -> StagedStream:
        """A merge, of the user's or in a layer; as `Log.merge`, but for the moment.

        Streams stand for their heads when the batch is written, with all that is staged for them
        before the merge here; what the batch makes can be a parent, and be named by a position.
        expect: as `Log.merge` takes it, with the records staged so far.

        A custom policy takes no record that its batch is about to write (`InvalidInputError`), and
        is asked again when others append to its parents meanwhile, a few times (`ConflictError`
        then). Where the plan does not fit into the frame with the rest: `InvalidInputError`.
        """
        self._check()
        wanted = wanted_merge(self._handle, name, policy, params, metadata, merge_id, layer, uid)
        staged = StagedStream(self, wanted.name)
        made = made_before(self._handle, wanted)
        if made is None:
            step = self._merge_step(staged, wanted, check_sequence(parents), base, expect)
        else:
            step = _found_step(staged, made, wanted.merge_id)
        self._staged.append(staged)
        self._steps.append(step)
        return staged

    def _merge_step(
        self,
        staged: StagedStream,
        wanted: WantedMerge,
        parents: Sequence[Target | Position],
        base: Position | None,
        expect: Sequence[int | None] | None,
    ) -> Callable[[Staging], None]:
        check_asked(wanted.policy, wanted.params)
        version_of(wanted.policy)
        sources = [self._place(parent) for parent in parents]
        source = None if base is None else self._place(base)
        if source is not None and source[1] is None:
            raise InvalidInputError(f"a merge base is a position, not {base!r}")
        wanted = wanted._replace(expect=check_expectations(expect, len(sources)))
        self._stage = stage_prepared

        def step(staging: Staging) -> None:
            heads = [(self._state_of(target), offset) for target, offset in sources]
            given = None if source is None else (self._state_of(source[0]), source[1])
            staged._state = staging.merge(wanted, heads, given)

        return step

    def _place(self, given: Target | Position) -> tuple[_Source, int | None]:
        if isinstance(given, str | Stream | StagedStream):
            return self._target(given), None
        if not isinstance(given, tuple) or len(given) != 2:
            raise InvalidInputError(f"not a stream, a name or a position: {given!r}")
        name, offset = given
        if type(offset) is not int:
            raise InvalidInputError(f"{name}: offset must be int, not {type(offset).__name__}")
        target = self._target(name) if isinstance(name, str) else find_state(self._handle, name)
        return target, offset

    def finish(self, stream: Target, *, expect: int | None = None, reason: str = "") -> None:
        """Take no more records after those staged so far; as `Stream.finish`."""
        self._check()
        target = self._target(stream)
        check_numbers(None, expect)
        why = check_reason(reason)
        self._steps.append(lambda staging: staging.finish(self._state_of(target), expect, why))

    def hide(self, stream: Target, *, expect: int | None = None, reason: str = "") -> None:
        """Leave a stream out of listings and lookups; as `Log.hide`.

        A stream that the batch makes after it can have the name.
        """
        self._check()
        target = self._target(stream)
        check_numbers(None, expect)
        why = check_reason(reason)
        self._steps.append(lambda staging: staging.hide(self._state_of(target), expect, why))

    def show(self, stream: Target, *, expect: int | None = None, reason: str = "") -> None:
        """Undo `hide`; as `Log.show`."""
        self._check()
        target = self._target(stream)
        check_numbers(None, expect)
        why = check_reason(reason)
        self._steps.append(lambda staging: staging.show(self._state_of(target), expect, why))

    def advance(
        self,
        cursor: Cursor,
        position: int,
        *,
        state: Payload | None = None,
        expect: int | None = None,
    ) -> None:
        """Move a cursor together with the rest: what was read, and what came of it, in one frame.

        As `Cursor.advance`. Records staged before it here can be passed. A consumer that writes its
        results into this store, and moves its cursor in the same batch with `expect`, handles each
        record once, whatever crashes and however many consumers share the cursor.
        """
        self._check()
        if not isinstance(cursor, Cursor):
            raise InvalidInputError(f"not a cursor: {type(cursor).__name__}")
        if not cursor.is_of(self._handle):
            raise InvalidInputError(f"{cursor!r} is of another open store")
        wanted = wanted_place(position, state, expect)
        self._steps.append(lambda staging: cursor._move(staging, wanted, expect))

    def _check(self) -> None:
        if not self._entered or self._finished:
            raise InvalidInputError("a batch is used inside its with block")
        self._handle.check()

    def _target(self, stream: Target) -> _Source:
        if isinstance(stream, str):
            # What is made here is not in the store yet.
            stream = next((each for each in self._staged if each.name == stream), stream)
        if not isinstance(stream, StagedStream):
            return state_of(self._handle, stream)
        if stream._batch is not self:
            raise InvalidInputError(f"{stream.name} is staged in another batch")
        return stream

    def _state_of(self, target: _Source) -> StreamState:
        if isinstance(target, StreamState):
            return target
        if target._state is None:
            raise InvalidInputError(f"{target.name} is not made yet")
        return target._state

    def _take_steps(self, staging: Staging) -> None:
        self._appended.clear()
        staging.writer = self._writer
        for step in self._steps:
            step(staging)

    def _write(self) -> None:
        handle = self._handle
        _, written = self._stage(handle, self._take_steps)
        for staged in self._staged:
            staged._stream = Stream(handle, self._state_of(staged))
        # What is there already may have been written with a weaker durability.
        reached = handle.acknowledge(written, self._level)
        self.receipts = [
            Receipt(name, offset, given, reached, 1, handle.encrypted)
            for name, offset, given in self._appended
        ]


def _found_step(
    staged: StagedStream, made: StreamState, merge_id: str | None
) -> Callable[[Staging], None]:
    """A merge that was made before."""

    def step(staging: Staging) -> None:
        check_shown(made, merge_id, made.life)
        staged._state = made

    return step
