"""Log: an open store. Made by `transit.engine.opening`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType

from transit.config import Durability, Level, Mode, Settings, durability_level
from transit.engine.batch import WriteBatch
from transit.engine.became import Retention
from transit.engine.caching import Cache, cache_of
from transit.engine.checks import check_numbers
from transit.engine.creation import change_life, create_stream, root_record
from transit.engine.cursor import Cursor, all_cursors
from transit.engine.encrypted import EncryptedLog
from transit.engine.evidence import LogEvidence
from transit.engine.finding import StreamCount, Which, find_state, find_with_uid, listed, state_of
from transit.engine.keeping import keep_of
from transit.engine.layer import Layer
from transit.engine.lineage import Lineage
from transit.engine.merging import create_merge, plan_merge, wanted_merge
from transit.engine.metrics import KnownCursors, Metrics, metrics_of, refusal_of
from transit.engine.pieces import Piece, sealed_pieces
from transit.engine.plans import MergePlan
from transit.engine.rebasing import Rebased, rebase
from transit.engine.removal import Removal
from transit.engine.sealed import Head, Sealed, SealedSegment, sealed_at, sealed_segments
from transit.engine.status import Status, status_of
from transit.engine.stream import Stream
from transit.engine.watching import Callback, Watch, watch
from transit.errors import InvalidInputError, TransitError
from transit.format.life import check_reason
from transit.format.lineage import Metadata, Scalar
from transit.format.names import check_name, findable
from transit.handle.attaching import (
    check_eviction,
)
from transit.handle.handle import Handle
from transit.handle.tiering import Published
from transit.log.recover import Cut
from transit.replay import Position
from transit.tier.progress import Progress
from transit.tier.retain import Evicted, evict


class Log(LogEvidence, Removal, EncryptedLog):
    """An open store. Made by `transit.open`; safe for threads; closes at the end of a `with` block.

    A store that is not closed loses nothing it acknowledged; it is closed when the last
    handle on it, of a stream's too, is collected or the interpreter ends, with a `ResourceWarning`.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._lineage = Lineage(handle)
        self._counted = StreamCount()
        self._cursors = KnownCursors()
        self._caches: dict[str, Cache] = {}

    def __repr__(self) -> str:
        return f"<transit.Log {self.path!r}, mode {self.mode!r}>"

    def __enter__(self) -> Log:
        self._handle.check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except TransitError as second:
            error.add_note(f"closing the store failed too: {second}")

    @property
    def path(self) -> str:
        """The store's folder, absolute."""
        return self._handle.root

    @property
    def mode(self) -> Mode:
        """ "exclusive", "shared" or "read"."""
        return self._handle.mode

    @property
    def durability(self) -> Durability:
        """What appends wait for unless they say otherwise."""
        return self._handle.durability

    @property
    def settings(self) -> Settings:
        """Limits and sizes of this handle."""
        return self._handle.settings

    @property
    def store_id(self) -> str:
        """The store's id, 32 hex digits, given when it was made."""
        return self._handle.catalog.store_id.hex()

    @property
    def recovery(self) -> tuple[Cut, ...]:
        """The torn tails that opening cut off: bytes that were never acknowledged as durable."""
        return self._handle.cuts

    @property
    def closed(self) -> bool:
        """Whether the store was closed."""
        return self._handle.refusal is not None

    @property
    def refuses(self) -> str:
        """Why nothing is written any more, "" while it is; in mode "read" nothing is."""
        return refusal_of(self._handle)

    # Streams

    def create(
        self,
        name: str,
        metadata: Mapping[str, Scalar] | None = None,
        *,
        codec: str | None = None,
        uid: str | None = None,
        retention: Retention | None = None,
        protect: str | None = None,
        durability: str | None = None,
    ) -> Stream:
        """A new, empty stream; `AlreadyExistsError` when the name, or the uid, is taken.

        metadata: text keys, scalar values, kept as they are. codec: "json" for typed values.
        uid: that of the same stream in another store, a UUID as text; None: a new one.
        retention: how long its records are kept, as `Stream.retain` takes it.
        protect: in an encrypted store, whose key encrypts it: "stream", one of its own, which
        `delete` destroys; "subject:NAME", one that all streams of NAME have, which goes with the
        last of them. None: the store's. Branches and merges have what they are made from.
        """
        record = root_record(check_name(name), metadata, codec, uid, protect)
        keep = None if retention is None else keep_of(retention)
        return Stream(self._handle, create_stream(self._handle, record, durability, keep))

    def stream(self, name: str | None = None, *, uid: str | None = None) -> Stream:
        """The stream with this name, or this uid; `NotFoundError` when there is none.

        That of a layer is named `$<layer>/<name>`. By its uid a hidden one is found too.
        """
        if (name is None) == (uid is None):
            raise InvalidInputError("stream() takes a name or a uid")
        self._handle.refresh()
        find = find_state if uid is None else find_with_uid
        return Stream(self._handle, find(self._handle, name if uid is None else uid))

    def __contains__(self, name: object) -> bool:
        """Whether there is a stream with this name."""
        if not isinstance(name, str):
            raise InvalidInputError(f"stream name must be str, not {type(name).__name__}")
        self._handle.refresh()
        try:
            return self._handle.catalog.find(findable(name)) is not None
        except InvalidInputError:
            # What cannot be a name names nothing.
            return False

    def streams(
        self,
        prefix: str = "",
        *,
        where: Metadata | None = None,
        after: Stream | str | None = None,
        limit: int | None = None,
    ) -> Iterator[Stream]:
        """The streams whose names start with `prefix`, in order of creation.

        where: metadata they all have, with exactly these values. after: the stream, or its name,
        after which to begin: the last of the page before. limit: how many at most.
        Those of layers only with a prefix that begins with `$`: "$" for all of them.
        """
        if not isinstance(prefix, str):
            raise InvalidInputError(f"prefix must be str, not {type(prefix).__name__}")
        return listed(self._handle, prefix, where, after, limit)

    def pieces(self, since: int = -1, *, layer: str | None = None) -> Iterator[Piece]:
        """The sealed records of all streams, cut where they lie, in the order of the log.

        since: leave out what commits up to this number hold; `Piece.commit` of the last piece is
        where to go on. layer: the streams of this layer instead of the user's. Each piece holds a
        stream's own records of one segment; hidden streams are left out. Made when asked for.
        """
        return sealed_pieces(self._handle, since, layer)

    def segments(self, since: int = -1) -> Iterator[SealedSegment]:
        """What is sealed, in the order of the log: what a room that keeps columns reads once.

        since: leave out what commits up to this number added; `SealedSegment.commit` of the last
        one is where to go on.
        """
        return sealed_segments(self._handle, since)

    def sealed(self, head: Head | None = None) -> Sealed:
        """What is sealed: its segments, streams and counts of records, as of its head.

        head: as of this one, which the store had at some time, whatever was added since.
        `NotFoundError` where the store has fewer commits, `CorruptError` where it has others.
        """
        return sealed_at(self._handle, head)

    def cache(self, room: str) -> Cache:
        """A bounded folder of files that a room above the engine can make again from the log.

        Its own room's alone, named as a layer is. In the store's folder where that can be written
        to, also in mode "read"; else in a temporary one that ends with the process.
        """
        self._handle.check()
        if room not in self._caches:
            self._caches.setdefault(room, cache_of(self._handle, room))
        return self._caches[room]

    def layer(self, name: str) -> Layer:
        """The streams of layer `name`, which a room above the engine keeps for itself."""
        self._handle.check()
        return Layer(self._handle, name)

    def hide(
        self,
        stream: Stream | str,
        *,
        expect: int | None = None,
        reason: str = "",
        durability: str | None = None,
    ) -> None:
        """Leave a stream out of listings and lookups; its name is free for another from here on.

        Nothing else changes: its descendants go on, and a program that holds the stream reads on
        and appends. expect: its next offset. reason: kept with it. Hidden already, nothing is
        written.
        """
        state, why = state_of(self._handle, stream), check_reason(reason)
        check_numbers(None, expect)
        change_life(self._handle, lambda staging: staging.hide(state, expect, why), durability)

    def show(
        self,
        stream: Stream | str,
        *,
        expect: int | None = None,
        reason: str = "",
        durability: str | None = None,
    ) -> None:
        """Undo `hide`, of a stream from `hidden()`; shown already, nothing is written.

        expect: its next offset. `AlreadyExistsError` when its name is another stream's by now.
        """
        state, why = state_of(self._handle, stream), check_reason(reason)
        check_numbers(None, expect)
        change_life(self._handle, lambda staging: staging.show(state, expect, why), durability)

    def hidden(self, prefix: str = "") -> Iterator[Stream]:
        """As `streams`, of the streams that are hidden; several may have one name."""
        if not isinstance(prefix, str):
            raise InvalidInputError(f"prefix must be str, not {type(prefix).__name__}")
        return listed(self._handle, prefix, hidden=True)

    def cursors(
        self,
        prefix: str = "",
        *,
        streams: str = "",
        after: Cursor | None = None,
        limit: int | None = None,
    ) -> Iterator[Cursor]:
        """The cursors whose names start with `prefix`, in order of creation.

        Each has its stream, position, lag and state. streams: only those on streams whose names
        start with it; on those of layers only where it begins with `$`; on hidden ones never
        (`Stream.cursors` lists them). after: the cursor after which to begin. limit: how many at
        most. A cursor that was never advanced is not there. Reads every lineage record after
        `after`.
        """
        return all_cursors(self._handle, prefix, streams, after, limit)

    def watch(self, callback: Callback, streams: Iterable[Stream | str] | None = None) -> Watch:
        """Call `callback` with the streams that have more records, or were finished or hidden.

        streams: which; it is called with all of them once at first, so that nothing is missed that
        came while they were read. None: all of the user's, those too that are made from now on.
        Changes that come close together, or while it runs, are told in one call. It runs in a
        thread of the store's, and may use the store. When the watch ends, because the store was
        closed or cannot be looked at, it is called once more, with none: `Watch.error` says why.
        """
        return watch(self._handle, callback, streams)

    def batch(self, *, durability: str | None = None, writer: str = "") -> WriteBatch:
        """A batch over several streams, written as one atomic frame when its `with` block ends.

        writer: on whose behalf its records are appended, kept as `Record.writer`, at most 255 bytes
        of UTF-8; for programs that write for others, such as a server.
        """
        self._handle.check()
        return WriteBatch(self._handle, durability, writer)

    # Lineage

    @property
    def lineage(self) -> Lineage:
        """Questions about how streams descend from one another."""
        return self._lineage

    def merge(  # noqa: PLR0913 - as many things decide a merge
        self,
        name: str,
        parents: Sequence[Which],
        *,
        policy: str,
        base: Position | None = None,
        params: Mapping[str, Scalar] | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        merge_id: str | None = None,
        uid: str | None = None,
        expect: Sequence[int | None] | None = None,
        durability: str | None = None,
    ) -> Stream:
        """A new stream whose history `policy` makes from the heads of `parents`, which stay.

        parents: streams or names, at their heads of this moment, or positions. base: None finds the
        nearest common ancestor; `MergeBaseError` when the given one is none. params: what the
        policy takes.
        merge_id: the same id again returns the stream it made, once that is as durable as asked,
        whatever else is given; None: a digest of all that decides the result. uid: as in `create`.
        expect: the next offset that the caller expects of each parent, in their order, or None
        for one that may be anywhere; `ConflictError` when one is another.
        """
        handle = self._handle
        handle.writer.check()
        wanted = wanted_merge(handle, name, policy, params, metadata, merge_id, None, uid)
        return Stream(handle, create_merge(handle, wanted, parents, base, expect, durability))

    def plan(
        self,
        parents: Sequence[Which],
        *,
        policy: str,
        base: Position | None = None,
        params: Mapping[str, Scalar] | None = None,
    ) -> MergePlan:
        """What `merge` would make, without making it."""
        return plan_merge(self._handle, parents, policy, base, params)

    # The store

    def sync(self, level: str = "local") -> None:
        """Make everything written so far durable; returns at `level`.

        level: "local", "tiered" or "replicated".
        """
        wanted = durability_level(level)
        if wanted < Level.LOCAL:
            raise InvalidInputError(
                f'level must be "local", "tiered" or "replicated", not {level!r}'
            )
        writer = self._handle.writer
        writer.sync()
        if wanted is Level.REPLICATED:
            self._handle.check_replicas()
            self._handle.tiering.replicate(writer.wal.next_lsn)
        elif wanted is Level.TIERED:
            self._handle.tiering.reach(writer.wal.next_lsn)

    def seal(self) -> None:
        """Turn everything written so far into a segment and a commit, now."""
        handle = self._handle
        handle.writer.rotate()
        handle.sealer.seal_ended()

    # The remote

    def publish(self, progress: Callable[[Progress], None] | None = None) -> Published:
        """Seal, and bring what the remote lacks there; returns once all of it is "tiered".

        Then the replicas follow, all at once. One that cannot is told in `Published.replicas`, and
        tried again in the background.
        Interrupted and called again, it goes on where it stopped. `progress` is called now and then
        from several threads, one at a time.
        Raises `FencedError` when another writer went on in the remote, `OutcomeUnknownError` when a
        commit may or may not be there, `RemoteUnavailableError`, `StorePermissionError`.
        """
        return self._handle.tiering.publish(progress)

    def release(self) -> None:
        """Publish everything and close: the next writer, anywhere, goes on from there."""
        self.publish()
        self.close()

    def rebase_onto_remote(self) -> Rebased:
        """After `FencedError`: adopt the remote's history, and bring our own along as branches.

        Each stream with unpublished records becomes a branch, `<name>@rebased-<8 hex digits>`, at
        the offset where the histories part; streams, branches and merges made here are made again.
        The history as it was stays in the folder `diverged/`. Closes this handle: open the store
        again, and publish. Only in mode "exclusive".
        """
        return rebase(self._handle)

    def refresh(self) -> int:
        """In mode "read" with a remote: see what was published since; the count of new commits.

        `ConflictError` when the folder has another history than the remote.
        """
        return self._handle.refresh_remote()

    def evict(self, *, bytes_max: int | None = None, older_than: float | None = None) -> Evicted:
        """Drop local segments that are published; they are read from the remote from then on.

        bytes_max: drop the oldest until the local segments take no more, bytes. older_than: drop
        those whose records are all older, seconds. At least one of the two.
        """
        check_eviction(bytes_max, older_than)
        handle, tiering = self._handle, self._handle.tiering
        work = partial(evict, handle.catalog, tiering.remote, tiering.publisher.published)
        return handle.while_sealing_pauses(lambda: work(bytes_max, older_than))

    def status(self) -> Status:
        """What the store holds now; of a remote, what is known without asking it."""
        return status_of(self._handle, self._counted)

    def metrics(self) -> Metrics:
        """What was done since the store was opened, and how long it took; writes nothing.

        Takes no lock that an append holds, and works where the store refuses to be written to.
        """
        return metrics_of(self._handle, self._cursors)

    def close(self) -> None:
        """Make everything durable and let the store go; closing again does nothing."""
        self._handle.close()
