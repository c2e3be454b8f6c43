"""One reconciler as a runner has it: what is due, running its body, and what came of it.

Owns the decisions. What was decided is in the log: a loop that is made again from there, in this
process or another, goes on where the records end. The state of a loop is changed by the runner's
thread alone, under the runner's lock; the body and the writing of its record are a worker's.

    due -> started -> body -> record, kv and the tick's batch in one frame, at offset n
                           -> or nothing: noop
              -> timeout: the record says so, and what the body does later is refused
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from transit import (
    ClosedError,
    ConflictError,
    FencedError,
    InvalidInputError,
    Log,
    OutcomeUnknownError,
    ReadOnlyError,
    StoreUnavailableError,
    TransitError,
)
from transit.views.loops.claims import Claim, Claims
from transit.views.loops.due import (
    CORRECTED,
    SECOND,
    Clock,
    after,
    missed,
    settled,
)
from transit.views.loops.making import (
    BACKOFF_S_MAX,
    Planned,
    Running,
    backoff,
    drop_batch,
    failed_of,
    late_max,
    went_of,
)
from transit.views.loops.naming import made
from transit.views.loops.reconcile import Change, Reconciler, last_change
from transit.views.loops.seats import Hold, Tell, Went, body_of, seat_of
from transit.views.loops.ticks import (
    KeyValues,
    Result,
    State,
    Tick,
    TickLostError,
    TickRecord,
    error_text,
)

# Errors of the store, not of what was to be written.
_STORE_ERRORS: Final = (
    ClosedError, FencedError, OutcomeUnknownError, ReadOnlyError, StoreUnavailableError,
)  # fmt: skip


class Loop:
    """A reconciler whose code this runner has."""

    def __init__(
        self, log: Log, reconciler: Reconciler, claims: Claims, runner: str, clock: Clock
    ) -> None:
        self.reconciler = reconciler
        self.name = reconciler.name
        names = f"reconcilers/{self.name}", f"ticks/{self.name}"
        self.definitions, self.ticks = made(log, *names)
        self.claims = claims
        self.seat = seat_of(log, self.name)
        # Whether another runner of this process had the seat when a tick was to be made.
        self.is_kept_out = False
        self.running: Running | None = None
        # When to look at it again.
        self.look = 0
        # Why the store could not be asked or written to the last time.
        self.error: TransitError | None = None
        self._log = log
        self._runner = runner
        self._clock = clock
        self._seen = 0
        self._change: Change | None = None
        self._kv = KeyValues()
        self._last: TickRecord | None = None
        self._next_due: int | None = None
        self._answered_due: int | None = None
        self._retry_at: int | None = None
        self._failures = 0
        self._noops = 0
        self._answered = -1
        self._errors = 0
        self._hold_until = 0
        # A body that went on after its time; the next waits for it.
        self._stuck: Running | None = None
        self._heard: Claim | None = None
        self._went: Went | None = None
        # How many had the seat when this one had it the last time.
        self._number = 0

    # What the log says

    def refresh(self) -> None:
        """Take up what was recorded since, by whomever."""
        if self.definitions.next_offset != self._seen:
            self._seen, change = last_change(self.definitions)
            is_anew = self._change is None or change is None or self._change.epoch != change.epoch
            self._change = change
            if is_anew:
                self._stand()
        if self.ticks.next_offset != self._kv.n:
            self._last = self._kv.read(self.ticks) or self._last
            self._stand()
        self.hear()

    def hear(self) -> None:
        """Take up what ticks answered that wrote nothing, whichever runner of this process's."""
        went = self.seat.went
        if went is not None and went is not self._went and went[:2] == self.so_far()[:2]:
            self._went, self._next_due, self._noops = went, went.next_due, went.noops
            self._answered_due = went.due

    def _stand(self) -> None:
        """Go by the last record; where dues began anew since, by the definition."""
        last, change = self._last, self._change
        self._next_due, self._retry_at, self._failures = None, None, 0
        self._answered_due, self._noops = None, 0
        if last is not None:
            self._answered = max(self._answered, last.answered)
        if change is None:
            return
        if last is None or last.epoch != change.epoch or last.result == "deleted":
            self._next_due = change.next_due
        else:
            self._next_due, self._retry_at = last.next_due, last.retry_at
            self._failures = last.failures
            self._answered_due = change.at if last.due is None else last.due

    def _go_by_claim(self, change: Change) -> None:
        """Ticks of the runner before, that wrote nothing, came after the last record."""
        claim = self.claims.other
        if claim is None or (claim.epoch, claim.n) != (change.epoch, self._kv.n):
            return
        if claim.next_due is not None and claim.next_due > (self._next_due or 0):
            self._next_due, self._answered_due = claim.next_due, change.at

    def so_far(self) -> tuple[int, int, int | None]:
        """What a claim says of how far its runner is."""
        return self._change.epoch if self._change else 0, self._kv.n, self._next_due

    # What is due

    def plan(self, now: int) -> Planned | None:
        """The tick to make now; None when there is none."""
        change = self._change
        if change is None or not change.is_there or self._is_busy() or self._hold_until > now:
            return None
        if self._noops == 0 and self._heard is not self.claims.other:
            self._heard = self.claims.other
            self._go_by_claim(change)
        if change.asked > self._answered:
            return Planned(None, 0, self._next_due, change.asked)
        due = self._due(change, now) if change.enabled else None
        if due is None or due > now or (self._retry_at or 0) > now:
            return None
        definition = change.definition
        count, latest = missed(definition.rule, due, now)
        if definition.catch_up == "all":
            return Planned(due, 0, after(definition.rule, due), self._answered)
        following = after(definition.rule, latest)
        is_tried = self._failures > 0
        is_late = now - latest > late_max(definition.rule)
        if definition.catch_up == "none" and is_late and not is_tried:
            return Planned(latest, count, following, self._answered, is_let_go=True)
        # The first of them was not skipped where it was tried.
        skipped = count - 1 - (1 if is_tried and count > 1 else 0)
        return Planned(latest, skipped, following, self._answered)

    def set_back(self, now: int) -> None:
        """The clock was: wait for no due that was worked out by what it said before."""
        change = self._change
        if change is not None and change.is_there:
            self._due(change, now, slack=0)
            self._hold_until = min(self._hold_until, now + BACKOFF_S_MAX * SECOND)

    def asked_here(self) -> Planned | None:
        """The tick that somebody asks this very runner for; None while one is made."""
        change = self._change
        if change is None or not change.is_there or self._is_busy():
            return None
        return Planned(None, 0, self._next_due, max(self._answered, change.asked))

    def _due(self, change: Change, now: int, slack: int = CORRECTED) -> int | None:
        rule, due = change.definition.rule, self._next_due
        settled_due = settled(rule, due, self._answered_due, now, slack=slack)
        if settled_due != due:
            self._next_due, self._answered_due = settled_due, None
        if self._retry_at is not None:
            self._retry_at = min(self._retry_at, now + BACKOFF_S_MAX * SECOND)
        return self._next_due

    @property
    def is_held_up(self) -> bool:
        """Whether another has the seat, but not for long."""
        return self.is_kept_out and not self.seat.is_making

    def _is_busy(self) -> bool:
        if self._stuck is not None and self._stuck.is_over:
            self._stuck = None
        return self.running is not None or self._stuck is not None

    def look_at(self, now: int) -> int | None:
        """When to look at it again; None: when it is told that something changed."""
        change = self._change
        if change is None:
            return None
        if self.running is not None:
            # It says when it has ended.
            latest = self.running.deadline or now + change.definition.timeout
            following = self.running.planned.next_due
            if following is not None and following > now:
                latest = min(latest, following)
            return min(latest, now + self.claims.length // 4)
        if not change.is_there or self._stuck is not None:
            return None
        is_asked = change.asked > self._answered
        due = now if is_asked else self._next_due if change.enabled else None
        if due is None:
            return None
        free = self.seat.ends(now) if self.is_kept_out else now
        return max(due, self._retry_at or 0, self._hold_until, self.claims.ends(now), free)

    # Making a tick

    def take(
        self, now: int, planned: Planned, again: Callable[[], Planned | None], tell: Tell
    ) -> tuple[Planned, Hold] | None:
        """The seat and the claim, and what is to be made with them; None where another has one.

        again: plans once more, where another may have made it meanwhile. tell: see `Seat.take`.
        """
        hold = self.seat.take(now, tell)
        self.is_kept_out = hold is None
        if hold is None:
            return None
        found: Planned | None = None
        try:
            is_known = self._number == hold.number - 1 and self.claims.is_ours
            other = self.claims.other
            if self.claims.hold(now, self.so_far()):
                is_known = is_known and self.claims.other is other
                if not is_known:
                    self.refresh()
                self._number = hold.number
                found = planned if is_known else again()
        finally:
            if found is None:
                self.seat.give_up(hold)
        return None if found is None else (found, hold)

    def start(self, planned: Planned, hold: Hold) -> Running:
        """Prepare a tick; `work` is what a worker then does."""
        hold.make(True)
        state = State(self._kv.values)
        running: Running | None = None

        def check() -> None:
            assert running is not None
            self._check(running)

        tick = Tick(
            self._log, self.name, self._kv.n, planned.due, attempt=self._failures + 1,
            skipped=planned.skipped, kv=state, now=self._clock.now, check=check,
        )  # fmt: skip
        running = self.running = Running(planned, tick, state, hold)
        return running

    def work(self, running: Running, tell: Callable[[Running], None]) -> None:
        """Run the body, write what came of it, and tell that it is over; raises nothing."""
        change = self._change
        assert change is not None
        with running.lock:
            running.started = self._clock.now()
            running.deadline = running.started + change.definition.timeout
            if not running.is_refused:
                lasts = change.definition.timeout + self.claims.length
                running.hold.last(running.started, lasts)
        error: BaseException | None = None
        try:
            if not running.is_refused:
                with body_of(running.hold):
                    self.reconciler.body(running.tick)
        except BaseException as raised:
            error = raised
        with running.lock:
            running.is_ending = not running.is_refused
        running.hold.make(False)
        try:
            if running.is_ending:
                self._end(running, change, error)
            else:
                drop_batch(running.tick)
        except TransitError as problem:
            running.problem = problem
        except Exception as problem:
            # Nothing may end a worker, whatever a body put into its batch.
            running.problem = InvalidInputError(error_text(problem))
        finally:
            # What the body refers to is let go.
            error = None
            self.seat.give_up(running.hold, went_of(running))
            running.is_over = True
            running.woken.set()
            tell(running)

    def is_urgent(self, running: Running) -> bool:
        """Whether what came of it must be looked at before the next due."""
        record, following = running.outcome, running.planned.next_due
        if record is None or record.due is None or record.result not in ("ok", "noop"):
            return True
        if self._change is None or self._change.asked > record.answered or following is None:
            return True
        return self._clock.now() >= following

    def _check(self, running: Running) -> None:
        """See `Tick.check`."""
        name, n = self.name, running.tick.n
        if running.is_refused:
            raise TickLostError(f"{name}: tick {n} has ended without its body")
        if self.ticks.next_offset != n:
            raise TickLostError(f"{name}: tick {n} was made by another runner")
        _, change = last_change(self.definitions)
        is_asked = running.planned.due is None
        if change is None or not change.is_there or not (change.enabled or is_asked):
            raise TickLostError(f"{name}: disabled or deleted since tick {n} began")
        is_ours = self.seat.has(running.hold)
        if not (is_ours and self.claims.hold(self._clock.now(), self.so_far())):
            raise TickLostError(f"{name}: another runner has taken over at tick {n}")

    def _end(self, running: Running, change: Change, error: BaseException | None) -> None:
        tick, planned = running.tick, running.planned
        if isinstance(error, TickLostError):
            drop_batch(tick)
            raise error
        if error is not None:
            drop_batch(tick)
            self._write(running, self._failed(running, change, "failed", error_text(error)))
            return
        record = self._ended(running, change, tick.result, running.state)
        is_wanted = (
            change.definition.noops == "written"
            or planned.due is None
            or planned.skipped > 0
            or self._failures > 0
        )
        if tick.is_noop and not is_wanted:
            running.outcome = record
            return
        try:
            self._write(running, record)
        except ConflictError:
            # The body's own conditions may not hold; or the tick is another's.
            if self.ticks.next_offset != tick.n:
                raise
            self._write_refused(running, change, "a condition of its batch does not hold")
        except _STORE_ERRORS:
            raise
        except TransitError as refused:
            self._write_refused(running, change, error_text(refused))

    def _write_refused(self, running: Running, change: Change, why: str) -> None:
        """What the body staged cannot be written, whatever it is."""
        record = self._failed(running, change, "failed", why)
        self._write(running, msgspec.structs.replace(record, lines=(), actions=()))

    def _write(self, running: Running, record: TickRecord) -> None:
        data, batch = msgspec.json.encode(record), running.tick.staged
        if batch is None or record.result in ("failed", "timeout"):
            self.ticks.append(data, expect=record.n)
        else:
            batch.append(self.ticks, data, expect=record.n)
            batch.__exit__(None, None, None)
        running.outcome, running.is_written = record, True

    def expire(self, running: Running, now: int) -> bool:
        """Whether its time is over and its record says so now."""
        with running.lock:
            if running.is_ending or running.is_refused or running.deadline is None:
                return False
            if now < running.deadline:
                return False
            running.is_refused = True
        running.hold.last(now, self.claims.length)
        self._stuck = running
        change = self._change
        assert change is not None
        seconds = (running.deadline - running.started) / SECOND
        record = self._failed(running, change, "timeout", f"took more than {seconds:g} s")
        try:
            self._write(running, record)
        except TransitError as problem:
            running.problem = problem
        return True

    def refuse(self, running: Running) -> None:
        """Write nothing more of a tick whose runner ends."""
        with running.lock:
            running.is_refused = not running.is_ending
        running.hold.last(self._clock.now(), self.claims.length)
        self.running = None

    def let_go(self, planned: Planned, now: int) -> TickRecord:
        """Record that dues have passed that nothing is done for."""
        record = TickRecord(
            n=self._kv.n, result="skipped", due=planned.due, started=now, ended=now,
            skipped=planned.skipped, noops=self._noops, next_due=planned.next_due,
            answered=planned.answered, epoch=self.so_far()[0], runner=self._runner,
            **self._kv.written(None),  # type: ignore[arg-type]
        )  # fmt: skip
        self.ticks.append(msgspec.json.encode(record), expect=record.n)
        self._take(record, None)
        return record

    # What came of it

    def collect(self, running: Running) -> TickRecord | None:
        """Take up what came of a tick that has ended; None when it was lost."""
        self.running = None
        record = running.outcome
        if running.problem is not None or record is None:
            self._note_problem(running.problem)
            return None
        self.error, self._errors = None, 0
        if running.is_written:
            is_kept = record.result in ("ok", "noop")
            self._take(record, running.state if is_kept else None)
        else:
            self.hear()
        if record.kv:
            kv = msgspec.json.decode(msgspec.json.encode(record.kv))
            record = running.outcome = msgspec.structs.replace(record, kv=kv)
        return record

    def hold(self, problem: TransitError) -> None:
        """Wait a little after the store refused, longer each time."""
        self.error = problem
        self._errors += 1
        self._hold_until = self._clock.now() + backoff(self._errors)

    def _note_problem(self, problem: TransitError | None) -> None:
        # A tick that another made is no problem of the store: its record is taken up.
        if problem is not None and not isinstance(problem, ConflictError):
            self.hold(problem)
        elif isinstance(problem, TickLostError):
            # Not again at once: the body would be told the same.
            self._hold_until = self._clock.now() + SECOND

    def _take(self, record: TickRecord, state: State | None) -> None:
        self._kv.go_on(record, state)
        self._last = record
        self._stand()

    def has_noops(self) -> bool:
        """Whether ticks that wrote nothing came after the last record."""
        return self._noops > 0

    # Records

    def _ended(
        self, running: Running, change: Change, result: Result, state: State | None
    ) -> TickRecord:
        """The record of a tick that ended well."""
        tick, planned = running.tick, running.planned
        is_asked = planned.due is None
        return TickRecord(
            n=tick.n, result=result, due=planned.due, started=running.started,
            ended=self._clock.now(), actions=tuple(tick.actions), lines=tuple(tick.lines),
            cut=tick.cut, skipped=planned.skipped, noops=self._noops,
            failures=self._failures if is_asked else 0,
            next_due=planned.next_due, retry_at=self._retry_at if is_asked else None,
            answered=planned.answered, epoch=change.epoch, runner=self._runner,
            **self._kv.written(state),  # type: ignore[arg-type]
        )  # fmt: skip

    def _failed(self, running: Running, change: Change, result: Result, why: str) -> TickRecord:
        record = self._ended(running, change, result, None)
        return failed_of(record, why, self._failures + 1, change.definition.retries)
