"""The writer: single records, records that wait, closing, rotation and durability.

Owns what an open store asks of its log. Leaves the turn and the making of frames to
`transit.log.framing`, to `transit.log.syncs` how a file becomes durable, and to `transit.log.seal`
what becomes of a WAL file that has ended.

Invariant: nothing is acknowledged as "local" before a sync that started after its frame was
written.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from threading import get_ident
from time import time_ns

from transit.errors import StorageFullError
from transit.format.frame import DATA, MARK, encode_frame, encode_one, one_chunk
from transit.format.record import Columns
from transit.guards import TURN, inside, reentrant
from transit.log.accepted import COST, Late
from transit.log.assign import assign, check_next
from transit.log.catalog import StreamState
from transit.log.clock import LATEST
from transit.log.frames import Group, Written, sealed
from transit.log.framing import Framing, Refusal
from transit.log.wal import Wal


class Writer(Framing):
    """The one writer of an open store; safe for threads."""

    # Opening and closing

    def recover(self) -> None:
        """Take up the WAL files on disk, cut a torn tail, and have a file to write to.

        A store shared by processes is recovered by one at a time: the caller holds the turn.
        """
        with self.lock:
            self._taking_up.recover()
            self._opened_lsn = self.wal.next_lsn

    def take_up_others(self) -> None:
        """Take up what other processes wrote, without keeping them from writing more."""
        if self._accepted.late:
            self._frame_late()
        order, wal = self._catalog.order, self.wal
        order.check(TURN)
        order.run(TURN, self.lock, partial(self._catalog.read_frames, wal))
        if wal.ended and self._refusal is not None:
            # It has no turn any more, and reads the files of others as a reader does.
            order.run(TURN, self.lock, partial(self._catalog.follow, write=False))
        elif wal.ended:
            # What others wrote is taken up even where there is no room for one file more.
            with suppress(StorageFullError):
                self.run(_nothing)

    def close(self) -> None:
        """Make everything durable and mark it so."""
        self.run(self._close)

    def _close(self) -> None:
        self.check()
        self._frame_accepted()
        self._syncs.now(wal := self.wal)
        if not wal.marked:
            # All records are durable without it.
            with suppress(StorageFullError):
                self._write_kind(wal, MARK)
            self._syncs.now(wal)

    # Appending

    def append_one(
        self,
        state: StreamState,
        payload: bytes,
        headers: bytes,
        timestamp: int | None,
        expect: int | None,
        writer: bytes = b"",
    ) -> tuple[int, int, Wal, int]:
        """Append one record: its offset and timestamp, its file and where it ends there.

        writer: as `encode_one` takes it. Nothing is synced.
        """
        turn = self._turn
        if turn.shared is not None:
            return self.run(
                partial(self._append_own, state, payload, headers, timestamp, expect, writer)
            )
        # `run`, with fewer steps.
        me, before = get_ident(), 0
        if me in inside:
            before = inside[me]
            if before >= turn.mark:
                raise reentrant()
        try:
            inside[me] = turn.mark
            with turn.lock:
                done = self._append_one(state, payload, headers, timestamp, expect, writer)
        finally:
            if before:
                inside[me] = before
            else:
                del inside[me]
        if self._accepted.late:
            self._frame_late()
        return done

    def _append_own(
        self,
        state: StreamState,
        payload: bytes,
        headers: bytes,
        timestamp: int | None,
        expect: int | None,
        writer: bytes,
    ) -> tuple[int, int, Wal, int]:
        """`_append_one` in a shared store, counted."""
        done = self._append_one(state, payload, headers, timestamp, expect, writer)
        _, _, wal, stop = done
        self._own = self._own.plus(1, stop - wal.index[state.id].positions[-1])
        return done

    def _append_one(
        self, state: StreamState, payload: bytes, headers: bytes, timestamp: int | None,
        expect: int | None, writer: bytes,
    ) -> tuple[int, int, Wal, int]:  # fmt: skip
        rotation, accepted = self.rotation, self._accepted
        wal, clock, now = rotation.wal, rotation.clock, time_ns()
        if (
            wal.tail >= rotation.limit
            or accepted.states
            or accepted.late
            or self._refusal
            or not clock.last <= now <= LATEST
        ):
            self._settle()
            wal = self._prepare()
            now = clock.now()
        clock.last = now
        offset, position, lsn = state.next_offset, wal.tail, wal.next_lsn
        # `assign`, with fewer steps.
        if expect is not None or state.finished:
            check_next(state, expect)
        given = now if timestamp is None else timestamp
        encode = encode_one if self._frame_keys is None else partial(self._encode_sealed, state)
        frame = encode(
            state.id, offset, given, headers, payload, position, lsn, wal.durable, now, wal.seed,
            writer,
        )  # fmt: skip
        stop = position + len(frame)
        try:
            wal.file.write_at(position, frame)
            rows = wal.index.get(state.id)
            if rows is None:
                wal.note(state.id, offset, position)
            else:
                # `note`, with fewer steps.
                rows.positions.append(position)
                rows.firsts.append(offset)
            # No call from here on: an exception finds all of it done or nothing.
            state.next_offset = offset + 1
            if lsn == wal.first_lsn:
                wal.begun = now
            wal.written = now
            wal.tail = stop
            wal.next_lsn = lsn + 1
            wal.marked = False
            if not self._dirty:
                self._announce()
            if (tell := self.on_append) is not None:
                tell(state)
        except BaseException as error:
            wal.loose = self._unsettled = True
            rotation.limit = 0
            if (tell := self.on_append) is not None:
                # An interrupt may have come after the record could be seen.
                tell(state)
            self._write_failed(wal, error)
            raise
        return offset, given, wal, stop

    def _encode_sealed(  # noqa: PLR0913, PLR0917
        self, state: StreamState, stream: int, offset: int, timestamp: int, headers: bytes,
        payload: bytes, position: int, lsn: int, durable: int, written: int, seed: int,
        writer: bytes,
    ) -> bytes:  # fmt: skip
        """As `encode_one`, in an envelope."""
        assert self._frame_keys is not None
        parts = one_chunk(stream, offset, timestamp, headers, payload, writer)
        body = sealed(self._frame_keys, state, offset, parts)
        return encode_frame(body, position, lsn, durable, 1, DATA, written, seed)

    def append_many(
        self,
        state: StreamState,
        columns: Columns,
        times: Sequence[int] | None,
        expect: int | None,
    ) -> tuple[int, int, Written]:
        """Append records as one frame: the first one's offset, the last one's timestamp, the end.

        times: one a record; None: all get the same.
        """

        def work() -> tuple[int, int, Written]:
            last = None if times is None else times[-1]
            offset, last = assign(state, last, expect, self.time)
            group = Group(state, columns._replace(timestamps=last if times is None else times))
            return offset, last, self.commit([group])

        return self.frame(work)

    def accept_one(
        self,
        state: StreamState,
        payload: bytes,
        headers: bytes,
        timestamp: int | None,
        expect: int | None,
    ) -> tuple[int, int]:
        """Take one record, to be framed with others later: its offset and timestamp.

        Only for a store of this process alone: others could give its offset away meanwhile.
        """
        turn, accepted, clock = self._turn, self._accepted, self.rotation.clock
        # `run`, with fewer steps.
        me, before = get_ident(), 0
        if me in inside:
            before = inside[me]
            if before >= turn.mark:
                raise reentrant()
        try:
            inside[me] = turn.mark
            with turn.lock:
                size = accepted.size + len(payload) + len(headers) + COST
                now = time_ns()
                if (
                    size > accepted.size_max
                    or self._unsettled
                    or self._refusal
                    or not clock.last <= now <= LATEST
                ):
                    self._settle()
                    self._prepare()
                    now = clock.now()
                clock.last = now
                offset, given = assign(state, timestamp, expect, now)
                accepted.add(state, payload, headers, offset, given)
        finally:
            if before:
                inside[me] = before
            else:
                del inside[me]
        if accepted.late:
            self._frame_late()
        if not self._dirty:
            self._announce()
        if (tell := self.on_append) is not None:
            tell(state)
        return offset, given

    def is_inside(self) -> bool:
        """Whether this thread is in the middle of something that its turn must not come into."""
        return self._catalog.order.is_inside(TURN)

    def take_up(
        self, state: StreamState, payload: bytes, headers: bytes, timestamp: int | None
    ) -> Late:
        """Take one record in the middle of another call of this thread, to be framed after it."""
        self.check()
        late = Late(state, payload, headers, timestamp)
        self._accepted.late.append(late)
        self._announce()
        if (tell := self.on_append) is not None:
            tell(state)
        return late

    # Rotation

    def rotate(self) -> None:
        """End the current WAL file, if it has records, so that it can be sealed; all is durable."""
        self.run(self._rotate)

    def _rotate(self) -> None:
        self.check()
        self._frame_accepted()
        if self.wal.next_lsn > self.wal.first_lsn:
            self.rotation.next_durable()

    def finish(self, refusal: Refusal) -> None:
        """`rotate`, and accept nothing more; no append comes between the two."""

        def work() -> None:
            self._rotate()
            self.refuse(refusal)

        self.run(work)

    # Durability

    def reached(self) -> Written:
        """Where all that is written so far ends."""
        return self.run(lambda: Written(self.wal, self.wal.tail))

    def sync(self) -> None:
        """Make everything written or accepted so far durable."""
        wals, full = self.run(self._before_sync)
        for wal in wals:
            self.sync_to(wal, wal.tail)
        if wals and not wals[-1].vouches:
            self.sync_to(*self.run(self._vouch))
        if full is not None:
            raise full

    def _vouch(self) -> Written:
        """Say in the newest file that those before it are durable, unless its frames soon do.

        Only what the files say tells damage from what a loss of power has torn. Where it ends.
        """
        wal = self.wal
        is_idle = wal.durable == wal.tail and not wal.ended
        if self._refusal is None and is_idle and not wal.vouches:
            with suppress(StorageFullError):
                self._write_kind(wal, MARK)
                wal.vouches = True
                return Written(wal, wal.tail)
        return Written(wal, 0)

    def _before_sync(self) -> tuple[tuple[Wal, ...], StorageFullError | None]:
        """The files to sync, and what kept accepted records from being among it."""
        self.check()
        # Whatever is written from here on has to announce itself again.
        self._dirty = False
        full: StorageFullError | None = None
        try:
            self._frame_accepted()
        except StorageFullError as error:
            # What is written can be durable all the same.
            full = error
        # The earlier ones may have been ended by another process.
        return self._catalog.view.wals, full

    def sync_to(self, wal: Wal, stop: int) -> None:
        """Return when `wal` is durable up to `stop`; `OutcomeUnknownError` when none can tell."""
        self._syncs.reach(wal, stop)
        if self._accepted.late:
            self._frame_late()


def _nothing() -> None:
    pass
