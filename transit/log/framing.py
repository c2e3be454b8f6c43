"""The writer's turn, and frames: the one door for every write.

Owns which thread may write now, what comes before a frame, how one is written and noted, and what
an exception in the middle of that leaves. No other module writes frames. Leaves to the engine what
records mean, and to `transit.log.rotation` which file is written.

Invariants:
- A stream's next offset moves only in a turn, after its frame was written, or, for "memory",
  after the record was accepted; accepted records are framed before any later record.
- After a failed sync, or a write that the disk refused for any reason but lack of space, the writer
  is poisoned: it writes and acknowledges nothing more. The disk decides, at the next opening.
- The tail of a file moves last, when all else about a frame is noted. After an exception in the
  middle of a write, such as an interrupt, the next turn begins with what lies beyond the tail: a
  frame that is whole is taken up, anything else is cut off.
- A thread has one turn at a time; what it wants in the middle of it is refused or taken up for
  later (`transit.guards`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import starmap
from typing import Final, NamedTuple, TypeVar

from transit.config import MIB, Settings
from transit.errors import PoisonedError, StorageFullError, StoreUnavailableError, TransitError, say
from transit.format.frame import END
from transit.format.life import Life
from transit.locks import Lock
from transit.log.accepted import Accepted, Begun, Taken
from transit.log.catalog import Catalog, StreamState
from transit.log.frames import Group, Written, build_frame
from transit.log.recover import Cut
from transit.log.rotation import Rotation
from transit.log.syncs import Syncs
from transit.log.taking_up import TakingUp
from transit.log.timings import Timings
from transit.log.turns import SharedTurn, Turn
from transit.log.wal import Wal

# Records accepted as "memory" are framed when they reach this size, at the latest.
WAITING_BYTES_MAX: Final = MIB
Refusal = Callable[[], TransitError]
T = TypeVar("T")


class Counted(NamedTuple):
    """Records written, frames they came in, and bytes of these."""

    records: int
    appends: int
    bytes: int

    def plus(self, records: int, size: int) -> Counted:
        """One frame more."""
        return Counted(self.records + records, self.appends + 1, self.bytes + size)


class Framing:
    """Writes frames, one turn at a time; safe for threads.

    `turns`, for a store shared by processes, is the lock that orders their writes; None when the
    store is this process's alone.
    """

    def __init__(self, catalog: Catalog, settings: Settings, turns: Lock | None) -> None:
        self._catalog = catalog
        self._settings = settings
        self._refusal: Refusal | None = None
        self._accepted = Accepted(min(WAITING_BYTES_MAX, settings.frame_bytes_max))
        self._begun: Begun | None = None
        # Whether an exception ended a write in the middle.
        self._unsettled = False
        self._dirty = False
        # Frames hold one record each, but for so many more in frames of several.
        self._joined = 0
        # In a shared store others write too: what was written here.
        self._own = Counted(0, 0, 0)
        self._opened_lsn = 0
        # What frames are encrypted with; None where they are not.
        keys = catalog.keys
        self._frame_keys = keys if keys is not None and keys.covers_wal else None
        # Called without the lock's protection of their own state: they only set flags.
        self.on_dirty: Callable[[], bool] = _yes
        # Told of each stream that has more, while the store has waiters.
        self.on_append: Callable[[StreamState], None] | None = None
        self._turns = turns
        self._take_locks()
        shared = turns is not None
        end = partial(self._write_kind, kind=END)
        self.rotation = Rotation(catalog, settings, self._syncs, end, shared=shared)
        self._taking_up = TakingUp(catalog, self.rotation, self._syncs, shared=shared)

    def _take_locks(self) -> None:
        timeout_s, turns = self._settings.lock_timeout_s, self._turns
        shared = None
        if turns is not None:
            shared = SharedTurn(turns, timeout_s, self.check, self.catch_up)
        self._turn = Turn(self._catalog.order, shared, self._settle)
        self.lock = self._turn.lock
        self._syncs = Syncs(
            self._catalog, self.lock, self._give_up, self.check, allocates=turns is None
        )

    def run(self, work: Callable[[], T]) -> T:
        """Do `work` in a turn; what it returns. What came up meanwhile is written after it."""
        done = self._turn.run(work)
        if self._accepted.late:
            self._frame_late()
        return done

    def frame(self, work: Callable[[], T]) -> T:
        """Do `work`, which may `commit`, in a turn that is prepared for a frame; what it returns.

        The door for every write: what is accepted is framed, there is a file with room, and
        nothing changes meanwhile, not even the `time`.
        """

        return self.run(partial(self._prepared, work))

    def _prepared(self, work: Callable[[], T]) -> T:
        self._prepare()
        self.rotation.clock.now()
        return work()

    @property
    def time(self) -> int:
        """The engine's time in this turn, UTC nanoseconds; for the work of `frame`."""
        return self.rotation.clock.last

    def _prepare(self) -> Wal:
        """Whatever must come before a frame, in a turn; the file to write it to."""
        self.check()
        self._frame_accepted()
        return self.rotation.room()

    def _settle(self) -> None:
        """Take up, or cut off, what a call began that an exception ended: the file decides."""
        begun = self._begun
        if begun is not None:
            written = begun.written
            if written is not None:
                self._accepted.drop(begun.taken, written)
            self._begun = None
        if self._unsettled and self._turns is None and self._refusal is None:
            wal, reached = self.wal, self.wal.next_lsn
            frames = self._catalog.read_frames(wal)
            # A frame that was written and not taken note of; marks have no records.
            self._joined += max(0, wal.next_lsn - reached - frames)
            # No other process writes here, so a frame that is not whole is our own. In a shared
            # store the turn begins with all this.
            wal.cut()
            self._unsettled = False
            self._announce()

    def check(self) -> None:
        """Raise what stands against using this writer."""
        if self._refusal is not None:
            raise self._refusal()

    def refuse(self, refusal: Refusal) -> None:
        """Accept nothing more; every further call raises what `refusal` makes."""
        self._refusal = refusal

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The torn tails that were cut off."""
        return tuple(self._taking_up.cuts)

    @property
    def counted(self) -> Counted:
        """What was written here since the store was opened.

        Where no other process writes, the files say it: an append counts nothing.
        """
        if self._turns is not None:
            return self._own
        while True:
            # Both are changed in one call: what was joined before and after is that of the LSN.
            joined, lsn, written = self._joined, self.wal.next_lsn, self.rotation.bytes
            if joined == self._joined:
                records = lsn - self._opened_lsn
                return Counted(records, records - joined, written)

    @property
    def refused(self) -> TransitError | None:
        """What every call that writes raises; None while there is nothing."""
        return None if self._refusal is None else self._refusal()

    @property
    def syncs(self) -> Timings:
        """How long each sync took."""
        return self._syncs.timings

    @property
    def wal(self) -> Wal:
        """The file being written."""
        return self.rotation.wal

    def catch_up(self) -> None:
        """Take up what other processes wrote; the caller holds the turn."""
        # A writer that refuses reads on, and makes no file any more.
        self._taking_up.catch_up(write=self._refusal is None)

    def abandon(self, refusal: Refusal) -> None:
        """Give up in a child made by fork(): the threads that held the locks are not here."""
        self._refusal, self._turns = refusal, None
        self._take_locks()

    def _announce(self) -> None:
        """Tell the flusher that there is something to sync."""
        if not self._dirty:
            self._dirty = True
            if not self.on_dirty():
                # There can be no thread now: the next append asks again.
                self._dirty = False

    def _say_written(
        self,
        groups: Sequence[tuple[int, Group]],
        created: Sequence[StreamState],
        lives: Sequence[Life],
    ) -> None:
        """Tell waiters that these streams changed, or may have."""
        tell = self.on_append
        if tell is None:
            return
        for _, group in groups:
            tell(group.state)
        for state in created:
            tell(state)
        for life in lives:
            self._catalog.say_changed(life.stream)

    def frame_accepted(self) -> None:
        """Frame what was accepted as "memory", or late, so that it can be read."""
        if self._accepted.states:
            self.run(self._frame_accepted)
        elif self._accepted.late:
            self._frame_late()

    def _frame_late(self) -> None:
        """Frame what was taken up in the middle of a call that has ended, unless it cannot be yet.

        Then it stays: the flusher, and whatever is written next, come back to it.
        """
        with suppress(TransitError):
            self._turn.run(self._frame_accepted)

    def _frame_accepted(self) -> None:
        while self._accepted.states or self._accepted.late:
            self.rotation.room()
            taken = self._accepted.next(self.rotation.clock.now())
            if taken is None:
                return
            self._write(taken.groups, (), (), taken)

    def commit(
        self,
        groups: Sequence[Group],
        created: Sequence[StreamState] = (),
        lives: Sequence[Life] = (),
    ) -> Written:
        """Write `groups` as one frame; only for the work of `frame`. Where it ends.

        created: the streams whose lineage records are among them. lives: what the records of
        `$names` among them say.
        """
        return self._write(
            [(group.state.next_offset, group) for group in groups], created, lives, None
        )

    def _write(
        self,
        groups: Sequence[tuple[int, Group]],
        created: Sequence[StreamState],
        lives: Sequence[Life],
        taken: Taken | None,
    ) -> Written:
        wal, catalog = self.wal, self._catalog
        parts = build_frame(groups, self._settings.frame_bytes_max, self._frame_keys)
        position = wal.tail
        frame = wal.encode(parts.parts, parts.records, self.time)
        written = Written(wal, position + len(frame))
        changes: list[tuple[object, str, object]] = []
        for first, group in groups:
            changes.append((group.state, "next_offset", first + len(group.columns.payloads)))
        if wal.next_lsn == wal.first_lsn:
            changes.append((wal, "begun", self.time))
        changes.append((wal, "written", self.time))
        changes.append((wal, "next_lsn", wal.next_lsn + parts.records))
        changes.append((wal, "marked", False))
        if self._turns is None:
            changes.append((self, "_joined", self._joined + parts.records - 1))
        else:
            changes.append((self, "_own", self._own.plus(parts.records, len(frame))))
        changes.append((wal, "tail", written.stop))
        try:
            if taken is not None:
                self._begun = Begun(wal, position, frame, taken)
            wal.file.write_at(position, frame)
            for state in created:
                # First: a thread that finds the stream from here on must not make another state.
                catalog.adopt(state)
            wal.note_all(parts.chunks, position)
            for state in created:
                catalog.note_stream(wal, state.id, state.record)
            for offset, life in enumerate(lives, catalog.names_state().next_offset):
                catalog.note_life(wal, offset, life)
            # In a single call into C: no other thread, and no signal handler, sees a part of it.
            deque(starmap(setattr, changes), maxlen=0)
            if taken is not None:
                self._accepted.drop(taken, written)
                self._begun = None
            self._announce()
            self._say_written(groups, created, lives)
        except BaseException as error:
            wal.loose = self._unsettled = True
            self.rotation.limit = 0
            # An interrupt may have come after the records could be seen.
            self._say_written(groups, created, lives)
            self._write_failed(wal, error)
            raise
        return written

    def _write_kind(self, wal: Wal, kind: int) -> None:
        """Write a frame without records."""
        try:
            wal.append([], 0, self.rotation.clock.now(), kind)
        except BaseException as error:
            wal.loose = self._unsettled = True
            self.rotation.limit = 0
            self._write_failed(wal, error)
            raise

    def _write_failed(self, wal: Wal, error: BaseException) -> None:
        """After an error of the disk; after any other the next turn settles what was begun."""
        if isinstance(error, StorageFullError):
            self._begun = None
            try:
                wal.cut()
            except TransitError as second:
                self._poison(f"{error}; then {second}")
        elif isinstance(error, StoreUnavailableError):
            self._poison(f"a write failed: {say(error)}")

    def fail(self, error: BaseException) -> None:
        """Be poisoned by an error that was not foreseen."""
        self._poison(f"an unexpected error: {say(error)}")

    def _poison(self, reason: str) -> None:
        self._give_up(PoisonedError(f"{self._catalog.root}: {reason}; open the store again"))

    def _give_up(self, error: TransitError) -> None:
        self.refuse(lambda: type(error)(*error.args))
        with self.lock:
            self._begun = None
            self._accepted.forget()


def _yes() -> bool:
    return True
