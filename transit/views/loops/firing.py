"""Firing: the schedules of a store as a runner has them.

Owns which are due and what is appended then. A schedule that cannot be read, or whose record cannot
be appended, holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from transit import (
    ClosedError,
    ConflictError,
    InvalidInputError,
    Log,
    NotFoundError,
    Stream,
    StreamFinishedError,
    TransitError,
    Watch,
)
from transit.views.loops.due import CORRECTED, SECOND, Clock, Every, after, missed, settled
from transit.views.loops.making import BACKOFF_S_MAX, LATE_S_MAX, backoff
from transit.views.loops.naming import Labels, Notes, find, matches, names_in, notes_of
from transit.views.loops.scheduling import KIND, ScheduleRecord, Standing, say, standing
from transit.views.loops.ticks import error_text

FIRED_MAX: Final = 100
"""How many missed dues of one schedule are fired before others have their turn."""


class Firing:
    """The schedules that a runner fires; `wake` is called when one was changed."""

    def __init__(self, log: Log, select: Labels, clock: Clock, wake: Callable[[], None]) -> None:
        self._log = log
        self._select = select
        self._clock = clock
        self._wake = wake
        # Noted before the store is asked: what is made meanwhile is not missed.
        stream = notes_of(log)
        self._notes = Notes(stream, stream.next_offset)
        self._known = {name: _Known(found) for name, found in names_in(log, KIND)}
        self._noted = stream
        self._watch: Watch | None = None
        self._is_told = True
        self._soonest: int | None = None
        self._listen()

    def _listen(self) -> None:
        """Watch all that is known; it tells of all of them at first."""
        self.close()
        streams = [self._noted, *(known.stream for known in self._known.values())]
        self._watch = self._log.watch(self._hear, streams)

    def close(self) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.close()

    def _hear(self, changed: tuple[Stream, ...]) -> None:
        self.tell()
        self._wake()

    def tell(self) -> None:
        """Have the next look see all that was said."""
        self._is_told = True

    def set_back(self, now: int) -> None:
        """The clock was: wait for no due that was worked out by what it said before."""
        for known in self._known.values():
            known.settle(now, slack=0)
            known.hold_until = 0
        self._plan()

    def look(self) -> None:
        """Take up schedules that were made since, and what was said of those that are known."""
        if not self._is_told:
            return
        self._is_told = False
        made = [name for name in self._notes.names(KIND) if name not in self._known]
        for name in made:
            stream = find(self._log, f"{KIND}/{name}")
            if stream is not None:
                self._known[name] = _Known(stream)
        if made:
            self._listen()
        for known in self._known.values():
            known.refresh()
        self._plan()

    def fire(self, now: int) -> int:
        """Append what is due; how many records."""
        if self._soonest is None or self._soonest > now:
            return 0
        fired = sum(self._fire(known, now) for known in self._known.values())
        self._plan()
        return fired

    def look_at(self) -> int | None:
        """When to look again; None: when something is said."""
        return self._soonest

    def _plan(self) -> None:
        dues = (known.look_at() for known in self._known.values() if self._is_mine(known))
        self._soonest = min((due for due in dues if due is not None), default=None)

    def _is_mine(self, known: _Known) -> bool:
        found = known.standing
        return found is not None and found.is_there and matches(found.order.labels, self._select)

    def _fire(self, known: _Known, now: int) -> int:
        fired = 0
        if not known.is_due(now):
            return 0
        try:
            known.refresh()
            # Read after the records: what others wrote meanwhile is not ahead of it.
            now = self._clock.now()
            known.settle(now)
            while fired < FIRED_MAX and self._is_mine(known) and known.is_due(now):
                said = self._next(known, now)
                if said is None or not self._append(known, said):
                    break
                fired += said.op == "fired"
        except ClosedError:
            raise
        except TransitError as error:
            known.hold_until = now + SECOND
            known.error = error
        return fired

    def _next(self, known: _Known, now: int) -> ScheduleRecord | None:
        """What is to be said of a schedule that is due."""
        found = known.standing
        assert found is not None
        rule, last, due = found.order.rule, found.last, known.due
        if due is None or due > now:
            return None
        count, latest = missed(rule, due, now)
        if found.order.catch_up == "all":
            return ScheduleRecord("fired", now, last.made, True, after(rule, due), due=due)
        late = min(rule.period // 2, _LATE) if isinstance(rule, Every) else _LATE
        following = after(rule, latest)
        if found.order.catch_up == "none" and now - latest > late and not last.failures:
            return ScheduleRecord(
                "skipped", now, last.made, True, following, due=latest, skipped=count
            )
        return ScheduleRecord(
            "fired", now, last.made, True, following, due=latest, skipped=count - 1
        )

    def _append(self, known: _Known, said: ScheduleRecord) -> bool:
        """Whether it is written; a record that cannot be appended is said to have failed."""
        found = known.standing
        assert found is not None
        order = found.order
        try:
            with self._log.batch() as batch:
                if said.op == "fired":
                    batch.append(order.stream, order.payload, headers=order.headers or None)
                batch.append(known.stream, msgspec.json.encode(said), expect=found.count)
        except ConflictError:
            # Another runner fired it, or somebody changed it: the next round finds out.
            known.refresh()
            return False
        except (NotFoundError, StreamFinishedError, InvalidInputError) as error:
            self._fail(known, said, error)
            return False
        known.stand(Standing(found.count + 1, said, order))
        return True

    def _fail(self, known: _Known, said: ScheduleRecord, error: TransitError) -> None:
        found = known.standing
        assert found is not None
        failures, now = found.last.failures + 1, self._clock.now()
        failed = ScheduleRecord(
            "failed", now, said.made, True, said.due, due=found.last.due, failures=failures,
            retry_at=now + backoff(failures), error=error_text(error),
        )  # fmt: skip
        if isinstance(error, StreamFinishedError):
            # It will never take a record again.
            failed = msgspec.structs.replace(failed, enabled=False, retry_at=None)
        say(known.stream, failed, found.count)
        known.refresh()


class _Known:
    """One schedule as it was last seen."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.standing: Standing | None = None
        self.hold_until = 0
        # The next due, and the one before it that something was done for.
        self.due: int | None = None
        self._answered: int | None = None
        self.error: TransitError | None = None
        self._seen = -1

    def refresh(self) -> None:
        """Read its last record where there is another."""
        count = self.stream.next_offset
        if count != (self._seen if self.standing is None else self.standing.count):
            self._seen = count
            try:
                self.stand(standing(self.stream))
            except InvalidInputError as error:
                self.stand(None)
                self.error = error

    def stand(self, found: Standing | None) -> None:
        """Go by this from here on."""
        self.standing = found
        self.due = self._answered = None
        if found is not None and found.is_there and found.last.enabled:
            self.due, self._answered = found.last.next_due, found.last.due

    def settle(self, now: int, slack: int = CORRECTED) -> None:
        """See `settled`."""
        if self.standing is not None:
            rule = self.standing.order.rule
            due = settled(rule, self.due, self._answered, now, slack=slack)
            if due != self.due:
                self.due, self._answered = due, None

    def look_at(self) -> int | None:
        """When something is to be done about it; None when nothing is."""
        if self.standing is None or self.due is None:
            return None
        return max(self.due, self.standing.last.retry_at or 0, self.hold_until)

    def is_due(self, now: int) -> bool:
        """Whether something is to be done about it now; a retry is never long ahead."""
        found, due = self.standing, self.due
        if found is None or due is None:
            return False
        retry = min(found.last.retry_at or 0, now + BACKOFF_S_MAX * SECOND)
        return max(due, retry, self.hold_until) <= now


_LATE: Final = round(LATE_S_MAX * SECOND)
