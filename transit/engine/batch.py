"""Write batches: several streams, one atomic frame.

A batch is staged without holding any lock, and worked out when its block ends: offsets, ids, names
and conditions are those of that moment. If anything does not hold then, nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from transit.engine.checks import Payload, as_bytes, check_numbers, too_large
from transit.engine.creation import Staging, check_offset, new_name, root_record, stage
from transit.engine.finding import state_of
from transit.engine.stream import Receipt, Stream
from transit.errors import InvalidInputError
from transit.format.headers import HeaderMap, encode_headers
from transit.format.life import check_reason
from transit.format.lineage import Scalar, check_metadata
from transit.handle.handle import Handle
from transit.log.catalog import StreamState
from transit.opened import Opened


class StagedStream(Opened):
    """A stream that a batch will make; `stream` is it once the batch is written."""

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


class WriteBatch(Opened):
    """What to write when the `with` block ends; made by `Log.batch()`, for one thread, used once.

    `receipts`, one for each append in order, is there after the block.
    """

    def __init__(self, handle: Handle, durability: str | None) -> None:
        self._handle = handle
        self._level = handle.level_of(durability)
        self._steps: list[Callable[[Staging], None]] = []
        self._staged: list[StagedStream] = []
        self._appended: list[tuple[str, int, int]] = []
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
        if kind is None and self._steps:
            self._write()

    def create(
        self,
        name: str,
        metadata: Mapping[str, Scalar] | None = None,
        codec: str | None = None,
        *,
        layer: str | None = None,
    ) -> StagedStream:
        """A new root stream, of the user's or of a layer."""
        self._check()
        record = root_record(new_name(name, layer), metadata, codec)
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

    def append_many(
        self,
        stream: Target,
        payloads: Iterable[Payload],
        *,
        headers: HeaderMap | None = None,
    ) -> None:
        """Several records for `stream`, with the same headers; a receipt each."""
        for payload in payloads:
            self.append(stream, payload, headers=headers)

    def branch(
        self,
        stream: Target,
        name: str,
        at: int | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        *,
        layer: str | None = None,
    ) -> StagedStream:
        """A new branch, of the user's or of a layer; as `Stream.branch`.

        Records staged before it here can be forked.
        """
        self._check()
        target = self._target(stream)
        name = new_name(name, layer)
        check_offset(at)
        checked = check_metadata(metadata, name)
        staged = StagedStream(self, name)

        def step(staging: Staging) -> None:
            staged._state = staging.branch(self._state_of(target), name, at, checked)

        self._staged.append(staged)
        self._steps.append(step)
        return staged

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

    def show(self, stream: Target, *, reason: str = "") -> None:
        """Undo `hide`; as `Log.show`."""
        self._check()
        target = self._target(stream)
        why = check_reason(reason)
        self._steps.append(lambda staging: staging.show(self._state_of(target), why))

    def _check(self) -> None:
        if not self._entered or self._finished:
            raise InvalidInputError("a batch is used inside its with block")
        self._handle.check()

    def _target(self, stream: Target) -> StagedStream | StreamState:
        if isinstance(stream, str):
            # What is made here is not in the store yet.
            stream = next((each for each in self._staged if each.name == stream), stream)
        if not isinstance(stream, StagedStream):
            return state_of(self._handle, stream)
        if stream._batch is not self:
            raise InvalidInputError(f"{stream.name} is staged in another batch")
        return stream

    def _state_of(self, target: StagedStream | StreamState) -> StreamState:
        if isinstance(target, StreamState):
            return target
        if target._state is None:
            raise InvalidInputError(f"{target.name} is not made yet")
        return target._state

    def _take_steps(self, staging: Staging) -> None:
        for step in self._steps:
            step(staging)

    def _write(self) -> None:
        handle = self._handle
        _, written = stage(handle, self._take_steps)
        if written is None:
            return
        for staged in self._staged:
            staged._stream = Stream(handle, self._state_of(staged))
        reached = handle.acknowledge(written, self._level)
        self.receipts = [
            Receipt(name, offset, given, reached) for name, offset, given in self._appended
        ]
