"""ConnectedBatch: several streams of a store that is served, one atomic frame.

It is staged here, and sent when its block ends: what does not hold then is refused by the server,
and nothing is written. Records of one stream that follow one another go as one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any, NamedTuple, NoReturn

from transit.client.absent import refuse
from transit.client.asking import merge_step, position_of
from transit.client.connection import Connection
from transit.client.cursor import ConnectedCursor
from transit.client.kept import check_no_writer
from transit.client.listing import reference_of
from transit.client.stream import (
    ConnectedStream,
    branch_step,
    checked_headers,
    sent_headers,
)
from transit.engine.batch import StagedStream, Target, WriteBatch
from transit.engine.checks import (
    Payload,
    as_bytes,
    as_columns,
    as_several,
    check_numbers,
    check_times,
)
from transit.engine.creation import new_name, root_record
from transit.engine.cursor import Cursor
from transit.engine.merging import check_sequence
from transit.engine.stream import Receipt, Stream
from transit.errors import InvalidInputError
from transit.format.headers import HeaderMap
from transit.format.life import check_reason
from transit.format.lineage import Scalar
from transit.protocol.calls import (
    Append,
    AppendMany,
    Create,
    Finish,
    FrameReceipt,
    Hide,
    Parent,
    Show,
    Step,
)
from transit.replay import Position


class _Row(NamedTuple):
    """A record to append. reference: its stream's. name: as its receipt has it."""

    reference: str
    name: str
    payload: bytes
    headers: HeaderMap | None
    timestamp: int | None
    expect: int | None

    def follows(self, other: _Row) -> bool:
        """Whether it may go into one step with the one before it."""
        return (
            self.reference == other.reference
            and self.expect is None
            and (self.timestamp is None) is (other.timestamp is None)
        )


class ConnectedBatch(WriteBatch):
    """See `WriteBatch`."""

    def __init__(self, connection: Connection, durability: str | None, writer: str = "") -> None:
        check_no_writer(writer)
        self._connection = connection
        self._durability = None if durability is None else connection.level(durability)
        # Steps as they are sent, and between them runs of records, each one step.
        self._parts: list[Step | list[_Row]] = []
        self._staged: list[StagedStream] = []
        self._entered = False
        self._finished = False
        self.receipts: list[Receipt] = []

    def __enter__(self) -> WriteBatch:
        if self._entered:
            raise InvalidInputError("a batch is used once")
        self._entered = True
        self._connection.check()
        return self

    def __exit__(self, kind: type[BaseException] | None, *given: object) -> None:
        self._finished = True
        try:
            if kind is None and self._parts:
                self._write()
        finally:
            # As in the engine's: what was written does not stay with it.
            self._parts, self._staged = [], []

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
        """See `WriteBatch.create`."""
        self._check()
        return self._add(create_step(new_name(name, layer), metadata, codec, uid, protect))

    def append(
        self,
        stream: Target,
        payload: Payload,
        *,
        headers: HeaderMap | None = None,
        timestamp: int | None = None,
        expect: int | None = None,
    ) -> None:
        """See `WriteBatch.append`."""
        self._check()
        check_numbers(timestamp, expect)
        data = self._connection.check_size(as_bytes(payload))
        reference, name = self._reference(stream), _name_of(stream)
        sent = checked_headers(headers)
        self._add_rows([_Row(reference, name, data, sent, timestamp, expect)])

    def append_many(
        self,
        stream: Target,
        payloads: Iterable[Payload],
        *,
        headers: HeaderMap | Sequence[HeaderMap | None] | None = None,
        timestamps: Sequence[int] | None = None,
        expect: int | None = None,
    ) -> None:
        """See `WriteBatch.append_many`."""
        self._check()
        reference, name, given = self._reference(stream), _name_of(stream), as_several(payloads)
        if not given:
            return
        columns = as_columns(given, headers, self._connection.store.record_bytes_max)
        count = len(given)
        times = check_times(timestamps, count) or repeat(None, count)
        check_numbers(None, expect)
        sent = repeat(None, count) if columns.headers is None else sent_headers(headers, count)
        conditions = chain((expect,), repeat(None))
        rows = zip(columns.payloads, sent, times, conditions)  # noqa: B905 - the last has no end
        self._add_rows([_Row(reference, name, *row) for row in rows])

    def _add_rows(self, rows: list[_Row]) -> None:
        """Rows that can be one step: of one stream, the first alone on a condition."""
        last = self._parts[-1] if self._parts else None
        if isinstance(last, list) and rows[0].follows(last[-1]):
            last += rows
        else:
            self._parts.append(rows)

    def append_account(self, *given: Any, **options: Any) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("WriteBatch", "append_account")

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
        """See `WriteBatch.branch`."""
        self._check()
        if empty and at is not None:
            raise InvalidInputError("a branch that is empty has no offset to fork at")
        target, whole = self._reference(stream), new_name(name, layer)
        return self._add(branch_step(target, whole, at, metadata, uid, expect, empty=empty))

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
        """See `WriteBatch.merge`."""
        self._check()
        heads = [self._head(each) for each in check_sequence(parents)]
        step = merge_step(
            name, heads, policy=policy, base=base, params=params, metadata=metadata,
            merge_id=merge_id, layer=layer, uid=uid, expect=expect,
        )  # fmt: skip
        return self._add(step)

    def finish(self, stream: Target, *, expect: int | None = None, reason: str = "") -> None:
        """See `WriteBatch.finish`."""
        self._change(Finish, stream, expect, reason)

    def hide(self, stream: Target, *, expect: int | None = None, reason: str = "") -> None:
        """See `WriteBatch.hide`."""
        self._change(Hide, stream, expect, reason)

    def show(self, stream: Target, *, expect: int | None = None, reason: str = "") -> None:
        """See `WriteBatch.show`."""
        self._change(Show, stream, expect, reason)

    def _change(
        self,
        kind: Callable[..., Finish | Hide | Show],
        stream: Target,
        expect: int | None,
        reason: str,
    ) -> None:
        self._check()
        check_numbers(None, expect)
        why = check_reason(reason)
        self._parts.append(kind(stream=self._reference(stream), expect=expect, reason=why))

    def advance(
        self,
        cursor: Cursor,
        position: int,
        *,
        state: Payload | None = None,
        expect: int | None = None,
    ) -> None:
        """See `WriteBatch.advance`."""
        self._check()
        if not isinstance(cursor, Cursor):
            raise InvalidInputError(f"not a cursor: {type(cursor).__name__}")
        if not isinstance(cursor, ConnectedCursor) or not cursor.is_of(self._connection):
            raise InvalidInputError(f"{cursor!r} is of another open store")
        self._parts.append(cursor.step(position, state, expect))

    def _check(self) -> None:
        if not self._entered or self._finished:
            raise InvalidInputError("a batch is used inside its with block")
        self._connection.check()

    def _add(self, step: Step) -> StagedStream:
        staged = StagedStream(self, step.name)  # type: ignore[union-attr]
        self._parts.append(step)
        self._staged.append(staged)
        return staged

    def _reference(self, stream: Target) -> str:
        if not isinstance(stream, StagedStream):
            return reference_of(self._connection, stream)
        if stream._batch is not self:
            raise InvalidInputError(f"{stream.name} is staged in another batch")
        return stream.name

    def _head(self, given: Target | Position) -> Parent:
        if isinstance(given, str | Stream | StagedStream):
            return self._reference(given)
        return position_of(given)

    def _write(self) -> None:
        steps = [_as_step(part) if isinstance(part, list) else part for part in self._parts]
        answer = self._connection.write(steps, self._durability)
        for staged, about in zip(self._staged, answer.made, strict=True):
            staged._stream = ConnectedStream(self._connection, about)
        runs = (part for part in self._parts if isinstance(part, list))
        receipt = partial(Receipt, durability=answer.durability)
        self.receipts = [
            receipt(row.name, made.offset + place, _time(row, made))
            for run, made in zip(runs, answer.receipts, strict=True)
            for place, row in enumerate(run)
        ]


def _name_of(stream: Target) -> str:
    return stream if isinstance(stream, str) else stream.name


def create_step(
    name: str,
    metadata: Mapping[str, Scalar] | None,
    codec: str | None,
    uid: str | None,
    protect: str | None = None,
    *,
    derived: bool = False,
) -> Create:
    """The step of a new root whose name is checked."""
    record = root_record(name, metadata, codec, uid, protect)
    return Create(
        name=name,
        metadata=record.metadata or None,
        codec=record.codec,
        uid=record.uid or None,
        derived=derived,
        protect=record.protect,
    )


def _as_step(run: list[_Row]) -> Append | AppendMany:
    first = run[0]
    if len(run) == 1:
        return Append(
            stream=first.reference, payload=first.payload, headers=first.headers,
            timestamp=first.timestamp, expect=first.expect,
        )  # fmt: skip
    times = None if first.timestamp is None else [row.timestamp or 0 for row in run]
    headers = [row.headers for row in run] if any(row.headers for row in run) else None
    return AppendMany(
        stream=first.reference, payloads=[row.payload for row in run], headers=headers,
        timestamps=times, expect=first.expect,
    )  # fmt: skip


def _time(row: _Row, made: FrameReceipt) -> int:
    # All records of a frame that were given no time have one.
    return made.timestamp if row.timestamp is None else row.timestamp
