"""A tick that is being made: what was planned, and what its worker has.

Also how long is waited after a failure, and how late is too late.
"""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

import msgspec

from transit import TransitError
from transit.views.loops.due import SECOND, Every, Rule, Wake
from transit.views.loops.seats import Hold, Went
from transit.views.loops.ticks import State, Tick, TickLostError, TickRecord

BACKOFF_S_MAX: Final = 30
LATE_S_MAX: Final = 60.0


class Planned(NamedTuple):
    """A tick to make: for which due, how many it skips, what is due after it, what it answers."""

    due: int | None
    skipped: int
    next_due: int | None
    answered: int
    is_let_go: bool = False


class Running:
    """A tick that a worker has.

    outcome: its record, None when it was lost or not written; `problem` says which.
    """

    def __init__(self, planned: Planned, tick: Tick, state: State, hold: Hold) -> None:
        self.planned = planned
        self.tick = tick
        self.state = state
        self.hold = hold
        self.lock = threading.Lock()
        self.started = 0
        self.deadline: int | None = None
        self.is_ending = False
        self.is_refused = False
        self.outcome: TickRecord | None = None
        self.is_written = False
        self.problem: TransitError | None = None
        # That its worker has done with it; `woken` is set after that, and whenever a clock says so.
        self.is_over = False
        self.woken = Wake()


def went_of(running: Running) -> Went | None:
    """How far its reconciler is after a tick that wrote nothing; None where a record says it."""
    record = running.outcome
    if record is None or running.is_written:
        return None
    return Went(record.epoch, record.n, record.due, record.next_due, record.noops + 1)


def failed_of(record: TickRecord, why: str, failures: int, retries: int | None) -> TickRecord:
    """A record as it is where the tick failed, and so many before it; when it is tried again."""
    if record.due is None or (retries is not None and failures > retries):
        # One that was asked for, or it is let be; the next due is tried as ever.
        return msgspec.structs.replace(record, error=why)
    retry_at = record.ended + backoff(failures)
    return msgspec.structs.replace(
        record, error=why, failures=failures, next_due=record.due, retry_at=retry_at
    )


def drop_batch(tick: Tick) -> None:
    """Let go of what a body staged."""
    if tick.staged is not None:
        tick.staged.__exit__(TickLostError, None, None)


def backoff(failures: int) -> int:
    """How long to wait after so many failures in a row, ns: 1, 2, 4 … 30 s."""
    return min(BACKOFF_S_MAX, 1 << min(failures - 1, 8)) * SECOND


def late_max(rule: Rule) -> int:
    """How late a tick of policy "none" is still made, ns."""
    longest = round(LATE_S_MAX * SECOND)
    return min(rule.period // 2, longest) if isinstance(rule, Every) else longest
