"""Stream: what a user holds to append and to read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from transit.config import Durability, Encrypted, Level
from transit.engine.checks import (
    Payload,
    as_bytes,
    as_columns,
    check_numbers,
    check_times,
    check_writer,
    known_writer,
    too_large,
)
from transit.engine.codec import encode_value
from transit.engine.creation import create_branch, finish_stream, new_name
from transit.engine.cursor import Cursor, cursors_of
from transit.engine.following import check_timeout, follow, tail
from transit.engine.keeping import Kept
from transit.engine.plans import MergePlan, recorded_plan
from transit.engine.reading import check_range
from transit.format.headers import HeaderMap, encode_headers
from transit.format.lineage import Branch, Kind, Merge, Scalar, heads_of, kind_of
from transit.guards import VIEW, inside
from transit.handle.handle import Handle
from transit.log.catalog import StreamState
from transit.log.frames import Written
from transit.replay import Position, Record

if TYPE_CHECKING:
    from concurrent.futures import Future

    from transit.handle.callbacks import Promise
    from transit.log.writer import Writer

# A member of an enumeration takes long to find.
_MEMORY: Final = Level.MEMORY
_OS: Final = Level.OS
_LOCAL: Final = Level.LOCAL


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What an append reached.

    stream: name. offset: of the first record; -1 for a "memory" record that was taken up in the
    middle of another call of its thread: it gets its offset, and its timestamp unless one is given,
    when that call ends. timestamp: of the last record, UTC nanoseconds.
    durability: what was reached when the receipt was made: "memory", "os", "local", "tiered" or
        "replicated".
    count: number of records. encryption: what the store encrypts: "none"; "remote", all that is
    sealed; "all", the WAL too.
    """

    stream: str
    offset: int
    timestamp: int
    durability: Durability
    count: int = 1
    encryption: Encrypted = "none"

    @property
    def first(self) -> int:
        """Offset of the first record."""
        return self.offset

    @property
    def last(self) -> int:
        """Offset of the last record."""
        return self.offset + self.count - 1


class Stream(Kept):
    """One stream of an open store.

    Handles are cheap, safe for threads, and equal when they name the same stream.
    """

    __slots__ = ("_plain", "_quick", "_record_bytes_max", "_writer")

    def __init__(self, handle: Handle, state: StreamState) -> None:
        super().__init__(handle, state)
        self._writer: Writer | None = handle.writer if handle.mode != "read" else None
        self._record_bytes_max = handle.settings.record_bytes_max
        # The writer, where an append of durability "os" is what it does and nothing more, and what
        # else is that durability: None, where it is the store's.
        self._plain = self._writer if handle.mode == "exclusive" else None
        self._quick = None if handle.level is _OS else "os"

    def __repr__(self) -> str:
        return f"<transit.Stream {self.name!r} in {self._handle.root!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream):
            return NotImplemented
        return self._state.id == other._state.id and self._handle.root == other._handle.root

    def __hash__(self) -> int:
        return hash((self._handle.root, self._state.id))

    def is_of(self, handle: Handle) -> bool:
        """Whether the stream was got from this open store."""
        return self._handle is handle

    # What it is

    @property
    def name(self) -> str:
        """The stream's name."""
        return self._state.name

    @property
    def id(self) -> int:
        """The stream's number: the offset of its record in stream 0."""
        return self._state.id

    @property
    def uid(self) -> str:
        """What the stream is called for ever, in every store: 32 hex digits, as `UUID` takes them.

        Kept where the stream is published, restored, exported and imported.
        """
        return self._state.record.uid

    @property
    def kind(self) -> Kind:
        """ "root", "branch" or "merge"."""
        return kind_of(self._state.record)

    @property
    def metadata(self) -> Mapping[str, Scalar]:
        """What was given when the stream was made."""
        return dict(self._state.record.metadata)

    @property
    def codec(self) -> str | None:
        """The codec of typed values, or None."""
        return self._state.record.codec

    @property
    def parents(self) -> tuple[Position, ...]:
        """Where it descends from: the fork position, or each merged head; -1 for an empty one."""
        record, catalog = self._state.record, self._handle.catalog
        catalog.order.check(VIEW)
        return tuple(Position(catalog.record(i).name, head) for i, head in heads_of(record))

    @property
    def parent_uids(self) -> tuple[str, ...]:
        """The uids of the streams in `parents`, whose names may be other streams' by now."""
        record, catalog = self._state.record, self._handle.catalog
        catalog.order.check(VIEW)
        return tuple(catalog.record(parent).uid for parent, _ in heads_of(record))

    @property
    def fork_offset(self) -> int | None:
        """A branch's last inherited offset; None when nothing is inherited."""
        record = self._state.record
        return record.fork if isinstance(record, Branch) and record.fork >= 0 else None

    @property
    def own_start(self) -> int:
        """The offset of its first own record, be it there or not: how many it was made with.

        Those before are a branch's parent's, or those that a merge put together; a root has none.
        """
        return self._state.record.start

    @property
    def merge_plan(self) -> MergePlan | None:
        """How a merged stream was made: policy, base, parameters, spans; None for other streams."""
        record = self._state.record
        return recorded_plan(self._handle.catalog, record) if isinstance(record, Merge) else None

    @property
    def next_offset(self) -> int:
        """The offset the next record will have; also the number of records."""
        return self._handle.next_offset(self._state)

    @property
    def last_offset(self) -> int | None:
        """The last record's offset; None when the stream is empty."""
        return self.next_offset - 1 if self.next_offset else None

    def __len__(self) -> int:
        return self.next_offset

    def __bool__(self) -> bool:
        """True, for an empty stream too: it is there."""
        return True

    @property
    def finished(self) -> bool:
        """Whether the stream takes no more records, ever."""
        self._handle.refresh()
        return self._state.finished

    @property
    def hidden(self) -> bool:
        """Whether listings and lookups leave the stream out; its name may be another's."""
        self._handle.refresh()
        life = self._state.life
        return life is not None and life.hidden

    # Appending

    def append(
        self,
        payload: Payload,
        *,
        headers: HeaderMap | None = None,
        timestamp: int | None = None,
        expect: int | None = None,
        durability: str | None = None,
        writer: str = "",
    ) -> Receipt:
        """Append one record and return when it is as durable as asked.

        headers: text to text. timestamp: UTC nanoseconds; None: now, or the last record's if later.
        expect: the next offset the caller believes in; `ConflictError` when it is another.
        durability: as `transit.open` takes it; None: the store's. writer: on whose behalf,
        as `Log.batch` takes it; such a record is written at once, whatever the durability.
        Raises `InvalidInputError`, `ConflictError`, `StorageFullError`, `OutcomeUnknownError`. When
        "tiered" is not reached (`FencedError`, `RemoteUnavailableError`, ...), the record is in the
        local log all the same, and published with the next.
        """
        if (
            type(payload) is not bytes
            or len(payload) > self._record_bytes_max
            or timestamp is not None
            or (expect is not None and (type(expect) is not int or expect < 0))
        ):
            payload = self._checked(payload, timestamp, expect)
        plain = self._plain
        if plain is None or (durability is not self._quick and durability != "os"):
            return self._append(payload, headers, timestamp, expect, durability, writer)
        state = self._state
        encoded = encode_headers(headers) if headers else b""
        name = known_writer(writer) if writer else b""
        offset, given, _, _ = plain.append_one(state, payload, encoded, timestamp, expect, name)
        return Receipt(state.record.name, offset, given, "os", 1, self._handle.encrypted)

    def _append(
        self,
        payload: bytes,
        headers: HeaderMap | None,
        timestamp: int | None,
        expect: int | None,
        durability: str | None,
        writer: str,
    ) -> Receipt:
        handle, state = self._handle, self._state
        level = handle.level_of(durability)
        name = known_writer(writer) if writer else b""
        framing = self._writer or handle.writer
        encoded = encode_headers(headers) if headers else b""
        if level is _MEMORY and not name:
            if inside and expect is None and framing.is_inside():
                late = framing.take_up(state, payload, encoded, timestamp)
                return Receipt(
                    state.record.name, late.offset, late.timestamp, "memory", 1, handle.encrypted
                )
            if not handle.shared:
                offset, given = framing.accept_one(state, payload, encoded, timestamp, expect)
                return Receipt(state.record.name, offset, given, "memory", 1, handle.encrypted)
        if handle.shared:
            handle.check()  # A closed handle has no lock left to take its turn with.
        offset, given, wal, stop = framing.append_one(
            state, payload, encoded, timestamp, expect, name
        )
        if level < _LOCAL:
            return Receipt(state.record.name, offset, given, "os", 1, handle.encrypted)
        reached = handle.acknowledge(Written(wal, stop), level)
        return Receipt(state.record.name, offset, given, reached, 1, handle.encrypted)

    def _checked(self, payload: Payload, timestamp: int | None, expect: int | None) -> bytes:
        data = payload if type(payload) is bytes else as_bytes(payload)
        if len(data) > self._record_bytes_max:
            raise too_large(len(data), self._record_bytes_max)
        if timestamp is not None or expect is not None:
            check_numbers(timestamp, expect)
        return data

    def append_many(
        self,
        payloads: Iterable[Payload],
        *,
        headers: HeaderMap | Sequence[HeaderMap | None] | None = None,
        timestamps: Sequence[int] | None = None,
        expect: int | None = None,
        durability: str | None = None,
        writer: str = "",
    ) -> Receipt:
        """Append records as one atomic frame: all of them or none.

        headers: one mapping for all, or one (or None) a record. timestamps: one a record.
        writer: as `Log.batch` takes it. Otherwise as `append`.
        """
        handle = self._handle
        level = handle.level_of(durability)
        columns = as_columns(payloads, headers, self._record_bytes_max)
        if writer:
            columns = columns._replace(writer=check_writer(writer))
        times = check_times(timestamps, len(columns.payloads))
        check_numbers(None, expect)
        offset, last, written = handle.writer.append_many(self._state, columns, times, expect)
        reached = handle.acknowledge(written, level)
        return Receipt(self.name, offset, last, reached, len(columns.payloads), handle.encrypted)

    def submit(
        self,
        payload: Payload,
        *,
        headers: HeaderMap | None = None,
        timestamp: int | None = None,
        durability: str | None = None,
    ) -> Future[Receipt]:
        """Append one record now and be told later that it is as durable as asked.

        The record has its offset, and readers see it, when this returns; the future resolves to its
        receipt when it is durable, together with all others submitted meanwhile. In the middle of
        another call of the same thread the record is taken up, and has its offset when that ends.
        """
        handle = self._handle
        level = handle.level_of(durability)
        if inside and handle.writer.is_inside():
            return self._submit_late(payload, headers, timestamp)
        if level < Level.LOCAL:
            receipt = self.append(
                payload, headers=headers, timestamp=timestamp, durability=durability
            )
            return _resolved(receipt)
        data = self._checked(payload, timestamp, None)
        encoded = encode_headers(headers) if headers else b""
        offset, given, wal, stop = handle.writer.append_one(
            self._state, data, encoded, timestamp, None
        )
        future = _new_future()
        result = partial(Receipt, self.name, offset, given, level.durability, 1, handle.encrypted)
        handle.submit(Written(wal, stop), result, future, level)
        return future

    def _submit_late(
        self, payload: Payload, headers: HeaderMap | None, timestamp: int | None
    ) -> Future[Receipt]:
        """`submit` in the middle of another call of this thread."""
        data = self._checked(payload, timestamp, None)
        encoded = encode_headers(headers) if headers else b""
        future = _new_future()
        late = self._handle.writer.take_up(self._state, data, encoded, timestamp)
        encrypted = self._handle.encrypted

        def result() -> Receipt:
            return Receipt(self.name, late.offset, late.timestamp, "local", 1, encrypted)

        self._handle.submit(late, result, future, Level.LOCAL)
        return future

    def append_value(
        self,
        value: object,
        *,
        headers: HeaderMap | None = None,
        timestamp: int | None = None,
        expect: int | None = None,
        durability: str | None = None,
    ) -> Receipt:
        """Append `value`, encoded by the stream's codec; otherwise as `append`."""
        self._need_codec()
        payload = encode_value(value)
        return self.append(
            payload, headers=headers, timestamp=timestamp, expect=expect, durability=durability
        )

    def finish(
        self, *, expect: int | None = None, reason: str = "", durability: str | None = None
    ) -> None:
        """Take no more records, ever: appending raises `StreamFinishedError` from here on.

        Reading, branching and merging go on. expect: the next offset the caller believes in.
        reason: kept with it. `WriteBatch.finish` does it in the frame of the last records. Again,
        it writes nothing.
        """
        finish_stream(self._handle, self._state, expect, reason, durability)

    # Reading

    def tail(self, start: int | None = None, timeout: float | None = None) -> Iterator[Record]:
        """The records from `start` (None: the head as it is now) on, waiting for more.

        Ends after `timeout` seconds without a record (None: never), and where a stream is finished.
        Sees what other processes write. `ErasedError` where records are gone before it came there.
        """
        check_timeout(timeout)
        count = self.next_offset
        position = count if start is None else check_range(self._state, count, start, None)[0]
        return tail(self._handle, self._state, position, timeout)

    def follow(
        self, start: int | None = None, timeout: float | None = None
    ) -> AsyncIterator[Record]:
        """`tail` for asyncio, which costs no thread of its own however many follow.

        Errors, of the arguments too, are raised where the records are awaited.
        """
        return follow(self._handle, self._state, start, timeout)

    # Descendants

    def branch(
        self,
        name: str,
        at: int | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        *,
        uid: str | None = None,
        expect: int | None = None,
        durability: str | None = None,
    ) -> Stream:
        """A new stream that inherits this one up to and including offset `at` (None: the head).

        Nothing is copied, and this stream does not change. expect: this stream's next offset.
        `OffsetError` past the head, `AlreadyExistsError` when the name, or the uid, is taken. uid:
        as `Log.create` takes it.
        """
        handle, whole = self._handle, new_name(name, None)
        state = create_branch(handle, self._state, whole, at, metadata, expect, durability, uid)
        return Stream(handle, state)

    def cursor(self, name: str) -> Cursor:
        """The durable cursor `name` on this stream, at 0 until it is first advanced."""
        return Cursor(self._handle, self._state, name)

    def cursors(
        self, prefix: str = "", *, after: Cursor | None = None, limit: int | None = None
    ) -> Iterator[Cursor]:
        """The cursors on this stream that were ever advanced; as `Log.cursors`."""
        return cursors_of(self._handle, self._state, prefix, after, limit)


def _resolved(receipt: Receipt) -> Promise[Receipt]:
    future = _new_future()
    future.set_result(receipt)
    return future


def _new_future() -> Promise[Receipt]:
    # Loaded here: it brings logging along, which takes longer to load than the rest of transit.
    from transit.handle.callbacks import Promise

    return Promise()
