"""ConnectedStream: a stream of a store that a server serves, used as an embedded one.

It is a `Stream`, so whatever takes one takes it. What an embedded stream keeps it does not have: a
test holds that no method of its parents that needs those parts is left.

What never changes of a stream is known here. Whatever may have changed is asked for: each look at
`next_offset`, `finished` or `hidden` is a request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn, cast, overload

from transit.client.absent import refuse
from transit.client.connection import Connection
from transit.client.cursor import ConnectedCursor, listed
from transit.client.following import follow, tail
from transit.client.kept import ConnectedKept, check_no_writer
from transit.client.pages import Page, Pages
from transit.client.submitting import Item
from transit.engine.checks import (
    Payload,
    as_bytes,
    as_columns,
    as_index,
    check_limit,
    check_numbers,
    check_times,
)
from transit.engine.creation import check_offset, given_uid, new_name
from transit.engine.following import check_timeout
from transit.engine.plans import MergePlan
from transit.engine.stream import Receipt, Stream
from transit.errors import ErasedError, InvalidInputError, OffsetError, StreamFinishedError
from transit.format.headers import HeaderMap, encode_headers
from transit.format.life import check_reason
from transit.format.lineage import Kind, Scalar, check_metadata
from transit.handle.callbacks import Promise
from transit.picking import Where, check_where
from transit.protocol.calls import (
    UID_PREFIX,
    Append,
    AppendMany,
    Branch,
    Description,
    Finish,
    OffsetAnswer,
)
from transit.protocol.paths import encode_name
from transit.replay import Batch, Position, Record

if TYPE_CHECKING:
    from concurrent.futures import Future

    from transit.engine.cursor import Cursor


class ConnectedStream(ConnectedKept, Stream):
    """One stream of a store that is served. Safe for threads; equal when they name the same one."""

    __slots__ = ("_about", "_connection", "_pages", "_reference")

    def __init__(self, connection: Connection, about: Description) -> None:
        self._connection = connection
        self._about = about
        # By its uid a stream is found whatever becomes of its name.
        self._reference = UID_PREFIX + about.uid
        self._pages = Pages(connection, about.name, self._reference)

    def __repr__(self) -> str:
        return f"<transit.Stream {self.name!r} at {self._connection}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConnectedStream):
            return NotImplemented
        return (
            self._about.uid == other._about.uid
            and self._connection.store.store_id == other._connection.store.store_id
        )

    def __hash__(self) -> int:
        return hash(self._about.uid)

    def is_of(self, handle: object) -> bool:
        """Whether the stream was got over this connection."""
        return self._connection is handle

    @property
    def reference(self) -> str:
        """What names the stream in a request."""
        return self._reference

    # What it is

    @property
    def name(self) -> str:
        """The stream's name."""
        return self._about.name

    @property
    def id(self) -> int:
        """The stream's number: the offset of its record in stream 0."""
        return self._about.id

    @property
    def uid(self) -> str:
        """See `Stream.uid`."""
        return self._about.uid

    @property
    def kind(self) -> Kind:
        """ "root", "branch" or "merge"."""
        return cast("Kind", self._about.kind)

    @property
    def metadata(self) -> Mapping[str, Scalar]:
        """What was given when the stream was made."""
        return dict(self._about.metadata)

    @property
    def codec(self) -> str | None:
        """The codec of typed values, or None."""
        return self._about.codec

    @property
    def parents(self) -> tuple[Position, ...]:
        """See `Stream.parents`."""
        return self._about.parents

    @property
    def parent_uids(self) -> tuple[str, ...]:
        """See `Stream.parent_uids`."""
        return self._about.parent_uids

    @property
    def fork_offset(self) -> int | None:
        """See `Stream.fork_offset`."""
        return self._about.fork_offset

    @property
    def own_start(self) -> int:
        """See `Stream.own_start`."""
        plan = self.merge_plan
        if plan is not None:
            return plan.count
        return self._about.parents[0].offset + 1 if self._about.parents else 0

    @property
    def merge_plan(self) -> MergePlan | None:
        """See `Stream.merge_plan`."""
        if self._about.kind == "merge" and self._about.merge_plan is None:
            self._look()
        return self._about.merge_plan

    @property
    def next_offset(self) -> int:
        """The offset the next record will have; also the number of records."""
        return self._look().next_offset

    @property
    def last_offset(self) -> int | None:
        """The last record's offset; None when the stream is empty."""
        count = self.next_offset
        return count - 1 if count else None

    @property
    def finished(self) -> bool:
        """Whether the stream takes no more records, ever."""
        return self._look().finished

    @property
    def hidden(self) -> bool:
        """Whether listings and lookups leave the stream out; its name may be another's."""
        return self._look().hidden

    def _look(self) -> Description:
        self._about = self._connection.describe(self._reference)
        return self._about

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
        """See `Stream.append`; the server says who writes."""
        check_no_writer(writer)
        check_numbers(timestamp, expect)
        step = Append(
            stream=self._reference,
            payload=self._connection.check_size(as_bytes(payload)),
            headers=checked_headers(headers),
            timestamp=timestamp,
            expect=expect,
        )
        answer = self._connection.write((step,), durability)
        (made,) = answer.receipts
        encrypted = self._connection.store.encryption
        return Receipt(self.name, made.offset, made.timestamp, answer.durability, 1, encrypted)

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
        """See `Stream.append_many`; the server says who writes."""
        check_no_writer(writer)
        columns = as_columns(payloads, headers, self._connection.store.record_bytes_max)
        times = check_times(timestamps, len(columns.payloads))
        check_numbers(None, expect)
        step = AppendMany(
            stream=self._reference,
            payloads=list(columns.payloads),
            headers=None if columns.headers is None else _sent(headers),
            timestamps=times,
            expect=expect,
        )
        answer = self._connection.write((step,), durability)
        (made,) = answer.receipts
        return Receipt(
            self.name, made.offset, made.timestamp, answer.durability, made.count,
            self._connection.store.encryption,
        )  # fmt: skip

    def submit(
        self,
        payload: Payload,
        *,
        headers: HeaderMap | None = None,
        timestamp: int | None = None,
        durability: str | None = None,
    ) -> Future[Receipt]:
        """Append one record soon and be told later that it is as durable as asked.

        The record is sent with others that are submitted meanwhile, in their order; it has its
        offset, and readers see it, when the future resolves to its receipt. Whatever else this
        connection is asked for after it sees the record. Waits while too much is on its way.
        """
        connection = self._connection
        connection.link.check()
        if self._about.finished:
            # For ever: there is no need to ask.
            count = self._about.next_offset
            raise StreamFinishedError(
                f"{self.name}: finished with {count} records; append to a branch of it",
                stream=self.name,
                next_offset=count,
            )
        if timestamp is not None:
            check_numbers(timestamp, None)
        data = payload if type(payload) is bytes else as_bytes(payload)
        level = connection.durability if durability is None else connection.level(durability)
        future: Promise[Receipt] = Promise()
        connection.submitting.add(
            Item(
                self._reference, self._about.name, connection.check_size(data),
                checked_headers(headers) if headers else None, timestamp, level, future,
            )
        )  # fmt: skip
        return future

    def finish(
        self, *, expect: int | None = None, reason: str = "", durability: str | None = None
    ) -> None:
        """See `Stream.finish`."""
        check_numbers(None, expect)
        step = Finish(stream=self._reference, expect=expect, reason=check_reason(reason))
        self._connection.write((step,), durability)

    # Reading

    @overload
    def __getitem__(self, offset: int) -> Record: ...
    @overload
    def __getitem__(self, offset: slice) -> list[Record]: ...
    def __getitem__(self, offset: int | slice) -> Record | list[Record]:
        """The record at `offset`, counted from the end when negative; a list for a slice."""
        if isinstance(offset, slice):
            return self._slice(offset, self.next_offset)
        place = offset = as_index(offset, "offset")
        if offset < 0:
            place += self.next_offset
        if place >= 0:
            # Past the head there is nothing to read, and far past it the server says so.
            page = self._page_at(place)
            if page.records:
                return self._pages.records(page)[0]
        raise OffsetError(f"{self.name} has no offset {offset}; it has {self.next_offset} records")

    def _slice(self, wanted: slice, count: int) -> list[Record]:
        try:
            start, stop, step = wanted.indices(count)
        except TypeError as error:
            raise InvalidInputError(f"{self.name}: {error}") from None
        if step != 1:
            raise InvalidInputError("a slice of a stream has no step")
        if wanted.start is None:
            return list(self.read(None, stop))
        return list(self.read(start, max(start, stop)))

    def _page_at(self, place: int) -> Page:
        try:
            return self._pages.page(place, place + 1, limit=1)
        except OffsetError:
            return Page([], "", 0, False)

    def read(
        self, start: int | None = None, stop: int | None = None, *, where: Where | None = None
    ) -> Iterator[Record]:
        """See `Stream.read`. Records come a page at a time, about 1 MiB."""
        pages = self._paged(start, stop, where)
        return chain.from_iterable(map(self._pages.records, pages))

    def batches(
        self, start: int | None = None, stop: int | None = None, *, where: Where | None = None
    ) -> Iterator[Batch]:
        """The same records as `read` gives, as columns."""
        pages = self._paged(start, stop, where)
        return chain.from_iterable(map(self._pages.batches, pages))

    def _paged(self, begin: int | None, stop: int | None, where: Where | None) -> Iterator[Page]:
        wanted = None if where is None else check_where(where)
        start = 0 if begin is None else as_index(begin, "start")
        stop = None if stop is None else as_index(stop, "stop")
        if start < 0 or (stop is not None and stop < 0):
            raise OffsetError(f"{self.name}: no offsets {start} to {stop}")
        try:
            return self._pages.ranged(start, stop, wanted)
        except ErasedError as error:
            # Only of a stream that was trimmed is its first offset another: that is told here.
            if begin is not None or error.first_offset is None:
                raise
            first = error.first_offset
            return self._pages.ranged(first, stop if stop is None else max(first, stop), wanted)

    def pieces(self, start: int | None = None, stop: int | None = None) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Stream", "pieces")

    def spans(self, start: int = 0, stop: int | None = None) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Stream", "spans")

    def offset_at(self, time: int) -> int:
        """See `Stream.offset_at`."""
        path = "/v1/records/" + encode_name(self._reference)
        query = {"times": as_index(time, "UTC nanoseconds")}
        return self._connection.value(path, OffsetAnswer, query).offset

    def tail(self, start: int | None = None, timeout: float | None = None) -> Iterator[Record]:
        """See `Stream.tail`. Waits on the server, which says when there is more."""
        check_timeout(timeout)
        return tail(self._pages, self._start(start), timeout)

    def follow(
        self, start: int | None = None, timeout: float | None = None
    ) -> AsyncIterator[Record]:
        """`tail` for asyncio. All followers of a connection share a few threads."""
        return follow(self._connection.waiters, self._pages, self._start, start, timeout)

    def _start(self, start: int | None) -> int:
        """Where to begin; `OffsetError` where the stream has no such offset."""
        count = self.next_offset
        if start is None:
            return count
        if not 0 <= (start := as_index(start, "start")) <= count:
            raise OffsetError(f"{self.name}: no offsets {start} to None; it has {count} records")
        return start

    def _need_codec(self) -> None:
        if self.codec is None:
            raise InvalidInputError(f'{self.name} has no codec; create it with codec="json"')

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
        """See `Stream.branch`."""
        step = branch_step(self._reference, new_name(name, None), at, metadata, uid, expect)
        return ConnectedStream(
            self._connection, self._connection.write((step,), durability).made[0]
        )

    def cursor(self, name: str) -> Cursor:
        """The durable cursor `name` on this stream, at 0 until it is first advanced."""
        return ConnectedCursor(self._connection, self._about, name)

    def cursors(
        self, prefix: str = "", *, after: Cursor | None = None, limit: int | None = None
    ) -> Iterator[Cursor]:
        """The cursors on this stream that were ever advanced; as `Log.cursors`."""
        check_limit(limit, "cursors")
        return listed(self._connection, prefix, self._about, after, limit)


def branch_step(
    reference: str,
    name: str,
    at: int | None,
    metadata: Mapping[str, Scalar] | None,
    uid: str | None,
    expect: int | None,
    *,
    empty: bool = False,
) -> Branch:
    """The step of a branch whose name is checked."""
    check_offset(at)
    if at is not None and at < 0:
        raise OffsetError(f"{name}: no offset {at} to fork at")
    check_numbers(None, expect)
    return Branch(
        stream=reference,
        name=name,
        at=at,
        metadata=check_metadata(metadata, name) or None,
        uid=given_uid(uid) or None,
        expect=expect,
        empty=empty,
    )


def checked_headers(headers: HeaderMap | None) -> HeaderMap | None:
    """Headers as they are sent; `InvalidInputError` for what are none."""
    if not headers:
        return None
    encode_headers(headers)
    return dict(headers)


def sent_headers(headers: Any, count: int) -> list[HeaderMap | None]:
    """Headers that were checked, one a record."""
    sent = _sent(headers)
    return [sent] * count if isinstance(sent, dict) else sent


def _sent(headers: Any) -> Any:
    """Headers that were checked, for one frame: a mapping, or one a record."""
    if isinstance(headers, Mapping):
        return dict(headers)
    return [dict(each) if each else None for each in headers]
