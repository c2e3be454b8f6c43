"""The runner: the loop that makes ticks when they are due, and fires schedules.

Owns its threads and the order of its steps. Any number of runners may run, in one process or in
many, on a store or over connections: which of them makes a tick is decided by the log alone, where
tick n is the record at offset n. A runner that was stopped for an hour and goes on loses what it
had begun. Claims (`transit.views.loops.claims`) and, among the runners of one process, seats
(`transit.views.loops.seats`) only keep bodies from running in vain; in mode "exclusive" nobody else
can write, and there are no claims.

One lock guards the loops. It is held while the store is read and short records are written, not
while a body runs.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final

import msgspec

from transit import (
    ClosedError,
    ConflictError,
    InvalidInputError,
    Log,
    NotFoundError,
    Stream,
    TransitError,
    Watch,
)
from transit.views.loops.claims import Claims
from transit.views.loops.due import SECOND, Clock, Moment, SystemClock, Wake, moment_ns
from transit.views.loops.firing import Firing
from transit.views.loops.looping import Loop
from transit.views.loops.making import Planned, Running
from transit.views.loops.naming import Labels, check_labels, matches
from transit.views.loops.reconcile import (
    Reconciler,
    Reconcilers,
    ReconcilerStatus,
)
from transit.views.loops.seats import IDLE, Hold, await_from, inside
from transit.views.loops.ticks import TickLostError, TickRecord
from transit.views.loops.workers import THREADS_MAX, Workers

CLAIM_S: Final = 30.0
CLAIM_S_MAX: Final = 3_600.0
CLOSE_S: Final = 10.0
"""How long closing waits for bodies; what they do later is refused."""
_RENEWALS: Final = 4


class Runner:
    """Made by `runner`; a context. Safe for threads."""

    def __init__(
        self,
        log: Log,
        reconcilers: Sequence[Reconciler],
        clock: Clock,
        select: Labels,
        claim: int,
        threads: int,
    ) -> None:
        self.id = f"{os.uname().nodename[:64]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._log = log
        self._given = [each for each in reconcilers if matches(each.definition.labels, select)]
        self._names = {each.name for each in reconcilers}
        self._clock = clock
        self._claim = claim
        self._said = Reconcilers(log, clock)
        self._loops: dict[str, Loop] = {}
        self._workers = Workers(threads)
        self._lock = threading.RLock()
        # Of the threads that wait, and how many of them wait for bodies to end.
        self._wakes: list[Wake] = []
        self._awaiting = 0
        self._select = select
        self._firing: Firing | None = None
        self._watch: Watch | None = None
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self._ended: list[TickRecord] = []
        self._is_told = True
        # What the clock said last: an earlier time means that it was set back.
        self._latest = 0

    def __enter__(self) -> Runner:
        # In mode "exclusive" this process is the only writer; a server's clients are many.
        is_alone = self._log.mode == "exclusive" and "://" not in self._log.path
        for each in self._given:
            self._said.register(each)
            claims = Claims(self._log, each.name, self.id, self._claim, is_alone=is_alone)
            claims.look(self._clock.now())
            self._loops[each.name] = Loop(self._log, each, claims, self.id, self._clock)
        streams = [loop.definitions for loop in self._loops.values()]
        if not is_alone:
            streams += [loop.claims.stream() for loop in self._loops.values()]
        if streams:
            self._watch = self._log.watch(self._hear, streams)
        self._firing = Firing(self._log, self._select, self._clock, self._wake_all)
        return self

    def _opened(self) -> Firing:
        if self._firing is None:
            raise InvalidInputError("a runner is used inside its with block")
        return self._firing

    def _hear(self, changed: tuple[Stream, ...]) -> None:
        self._hear_seat()

    def _hear_seat(self) -> None:
        self._is_told = True
        self._wake_all()

    def _wake_all(self) -> None:
        for wake in tuple(self._wakes):
            wake.set()

    @contextmanager
    def _waking(self) -> Iterator[Wake]:
        wake = Wake()
        self._wakes.append(wake)
        try:
            yield wake
        finally:
            self._wakes.remove(wake)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # The loop

    def run(self, until: Moment | None = None) -> None:
        """Make ticks and fire schedules as they are due, until a time, or until `stop`.

        A body that raises ends nothing. `ClosedError` when the store is closed or poisoned.
        """
        end = None if until is None else moment_ns(until)
        with self._waking() as wake:
            while not self._is_stopped:
                if end is not None and self._clock.now() >= end:
                    return
                wake.clear()
                with self._lock:
                    if self._is_stopped:
                        return
                    self._step()
                    self._ended.clear()
                    look = self._look_at()
                self._clock.wait(wake, look if end is None else min(look, end))

    def start(self) -> None:
        """`run` in a thread of its own, until `close`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.run, name="transit-runner", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Let `run` return; from any thread, or a signal handler."""
        self._is_stopped = True
        self._wake_all()

    def run_due(self) -> Sequence[TickRecord]:
        """Make the ticks that are due now, fire what is due, and wait for the bodies to end.

        The ticks, those too that wrote nothing, in the order in which they ended. What another
        runner makes at that moment is left to it. `ReentrantCallError` in a body that runs here.
        """
        within = inside()
        with self._waking() as wake:
            with self._lock:
                self._check_awaited(within)
                self._awaiting += 1
            try:
                with self._lock:
                    self._ended.clear()
                    self._is_told = True
                    self._opened().tell()
                    self._step()
                while True:
                    wake.clear()
                    with self._lock:
                        if not self._is_due_done(within):
                            look = self._look_at()
                        else:
                            ended, self._ended = self._ended, []
                            return ended
                    self._clock.wait(wake, look)
            finally:
                with self._lock:
                    self._awaiting -= 1

    def _is_due_done(self, within: Hold | None) -> bool:
        self._collect(self._clock.now())
        for loop in self._loops.values():
            # It is looked at, or its record is written, by another: it may be this one's then.
            if loop.is_held_up:
                self._try(loop)
            if loop.is_held_up:
                loop.seat.check(within, loop.name)
        self._check_awaited(within)
        return not any(loop.running or loop.is_held_up for loop in self._loops.values())

    def _check_awaited(self, within: Hold | None) -> None:
        for loop in self._loops.values():
            if loop.running is not None:
                await_from(within, loop.running.hold, loop.name)

    def tick(self, name: str) -> TickRecord:
        """Make a tick now, whatever is due; its record, which says "noop" where nothing was done.

        The next due stays what it is. `NotFoundError` without such a reconciler here,
        `TickLostError` when another runner has it: `ask` asks that one. A body may call it of
        another reconciler; `ReentrantCallError` where it would wait for itself.
        """
        loop = self._loops.get(name)
        if loop is None:
            raise NotFoundError(f"this runner has no reconciler {name!r}")
        within = inside()
        with self._waking() as wake:
            while True:
                wake.clear()
                with self._lock:
                    running = self._asked(loop, within)
                    busy = loop.running
                if running is not None:
                    return self._await(loop, running)
                if busy is not None:
                    self._await(loop, busy)
                elif loop.is_kept_out:
                    # Another runner writes what came of its tick.
                    now = self._clock.now()
                    self._clock.wait(wake, loop.seat.ends(now))

    def _asked(self, loop: Loop, within: Hold | None) -> Running | None:
        """A tick that somebody asks for, begun; None where the one before it has to end first."""
        name, now = loop.name, self._clock.now()
        self._collect(now)
        loop.refresh()
        if loop.running is not None:
            await_from(within, loop.running.hold, name)
            return None
        planned = loop.asked_here()
        if planned is None:
            raise NotFoundError(f"{name}: deleted, or its last body never ended")
        taken = loop.take(now, planned, loop.asked_here, self._hear_seat)
        if taken is not None:
            return self._begin(loop, *taken, within)
        if loop.is_kept_out:
            loop.seat.check(within, name)
        if loop.seat.is_making if loop.is_kept_out else not loop.claims.is_ours:
            raise TickLostError(f"{name}: another runner has it: ask for the tick")
        return None

    def _await(self, loop: Loop, running: Running) -> TickRecord:
        while not running.is_over and not running.is_refused:
            look = self._clock.now() + loop.claims.length // _RENEWALS
            running.woken.clear()
            if not running.is_over:
                self._clock.wait(running.woken, min(look, running.deadline or look))
            with self._lock:
                loop.expire(running, self._clock.now())
        with self._lock:
            self._collect(self._clock.now())
        problem = running.problem
        if isinstance(problem, ConflictError) and not isinstance(problem, TickLostError):
            lost = f"{loop.name}: tick {running.tick.n} was made by another runner"
            raise TickLostError(lost) from problem
        if problem is not None:
            raise problem
        if running.outcome is None:
            raise TickLostError(f"{loop.name}: tick {running.tick.n} was not made")
        return running.outcome

    # Steps, with the lock held

    def _step(self) -> None:
        if self._log.closed:
            raise ClosedError(f"{self._log.path}: the store was closed, its runner ends")
        now = self._clock.now()
        is_told, self._is_told = self._is_told, False
        if now < self._latest - SECOND:
            for loop in self._loops.values():
                loop.set_back(now)
            self._opened().set_back(now)
            is_told = True
        self._latest = now
        self._collect(now)
        for loop in self._loops.values():
            if not is_told and loop.look > now:
                continue
            self._try(loop)
        self._opened().look()
        self._opened().fire(now)

    def _try(self, loop: Loop) -> None:
        try:
            self._start(loop)
        except ClosedError:
            raise
        except TransitError as error:
            loop.hold(error)
        self._plan(loop)

    def _start(self, loop: Loop) -> None:
        loop.is_kept_out = False
        loop.refresh()
        # Read after the records: what others wrote meanwhile is not ahead of it.
        now = self._clock.now()
        planned = loop.plan(now)
        if planned is None:
            return
        taken = loop.take(now, planned, lambda: loop.plan(self._clock.now()), self._hear_seat)
        if taken is None:
            return
        planned, hold = taken
        if not planned.is_let_go:
            self._begin(loop, planned, hold)
            return
        try:
            self._ended.append(loop.let_go(planned, now))
        finally:
            loop.seat.give_up(hold)

    def _begin(
        self, loop: Loop, planned: Planned, hold: Hold, within: Hold | None = None
    ) -> Running:
        running = loop.start(planned, hold)
        # Noted before its body runs: what that asks for in turn is judged by it.
        await_from(within, hold, loop.name)
        self._workers.give(lambda: loop.work(running, self._tell), is_nested=within is not None)
        return running

    def _tell(self, running: Running) -> None:
        """A tick is over: somebody who waits may have to look, or the next due is early enough."""
        if self._awaiting or self._loops[running.tick.name].is_urgent(running):
            self._wake_all()

    def _plan(self, loop: Loop) -> None:
        look = loop.look_at(now := self._clock.now())
        loop.look = now + IDLE if look is None else look

    def _collect(self, now: int) -> None:
        for loop in self._loops.values():
            running = loop.running
            if running is None:
                continue
            if running.is_over or loop.expire(running, now):
                record = loop.collect(running)
                if record is not None:
                    self._ended.append(record)
                self._plan(loop)
            elif loop.look <= now:
                try:
                    loop.claims.hold(now, loop.so_far())
                except ClosedError:
                    raise
                except TransitError as error:
                    loop.error = error

    def _look_at(self) -> int:
        looks = [loop.look for loop in self._loops.values()]
        fires = self._opened().look_at()
        looks.append(self._clock.now() + IDLE if fires is None else fires)
        return min(looks)

    # What is said of reconcilers

    def enable(self, name: str) -> None:
        """See `Reconcilers.enable`."""
        self._said.enable(name)

    def disable(self, name: str) -> None:
        """See `Reconcilers.disable`."""
        self._said.disable(name)

    def delete(self, name: str) -> None:
        """See `Reconcilers.delete`."""
        self._said.delete(name)

    def ask(self, name: str) -> int:
        """See `Reconcilers.ask`."""
        return self._said.ask(name)

    def list(self) -> Sequence[ReconcilerStatus]:
        """See `Reconcilers.list`; of those without code here it says so."""
        return tuple(
            msgspec.structs.replace(each, has_code=each.name in self._names)
            for each in self._said.list()
        )

    def ticks(self, name: str, last: int | None = None) -> Sequence[TickRecord]:
        """See `Reconcilers.ticks`."""
        return self._said.ticks(name, last)

    def problems(self) -> Mapping[str, TransitError]:
        """Why reconcilers cannot go on for now, by name: errors of the store, not of bodies."""
        return {name: loop.error for name, loop in self._loops.items() if loop.error is not None}

    # The end

    def close(self) -> None:
        """Stop, wait up to 10 s for bodies, and let other runners take over at once.

        What a body does that goes on is refused, and its claim is not given up: it runs out.
        """
        self.stop()
        if self._firing is not None:
            self._firing.close()
        if self._watch is not None:
            self._watch.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)
        end = time.monotonic() + CLOSE_S
        with self._lock:
            for loop in self._loops.values():
                if not self._log.closed:
                    self._let_go(loop, end)
            self._firing = None
        self._workers.close()

    def _let_go(self, loop: Loop, end: float) -> None:
        running = loop.running
        while running is not None and not running.is_over:
            left = end - time.monotonic()
            if left <= 0:
                loop.refuse(running)
                return
            running.woken.clear()
            if not running.is_over:
                running.woken.wait(left)
        try:
            if running is not None:
                loop.collect(running)
            loop.hear()
            now = self._clock.now()
            if loop.claims.is_held or loop.has_noops():
                loop.claims.give_up(now, loop.so_far())
        except TransitError:
            # Somebody took over, or the store is gone: a claim that is not given up runs out.
            return


def runner(
    log: Log,
    reconcilers: Sequence[Reconciler],
    *,
    clock: Clock | None = None,
    select: Labels | None = None,
    claim: float = CLAIM_S,
    threads: int = THREADS_MAX,
) -> Runner:
    """A runner of these reconcilers, and of the schedules of the store; a context.

    Its block registers them. Then `run`, `start`, `run_due` or `tick` make ticks. select: only
    those that have these labels. claim: for how many seconds a reconciler stays with a runner that
    says nothing more. threads: how many bodies run at once. Several runners may run, see above.
    """
    given = list(reconcilers)
    if not all(isinstance(each, Reconciler) for each in given):
        raise InvalidInputError("a runner takes functions made by @views.reconciler")
    names = [each.name for each in given]
    if len(set(names)) != len(names):
        raise InvalidInputError(f"two reconcilers have one name: {sorted(names)}")
    if (
        isinstance(claim, bool)
        or not isinstance(claim, int | float)
        or not 1 <= claim <= CLAIM_S_MAX
    ):
        raise InvalidInputError(f"claim must be 1 to {CLAIM_S_MAX} s, not {claim!r}")
    if type(threads) is not int or not 1 <= threads <= 1_000:
        raise InvalidInputError(f"threads must be 1 to 1000, not {threads!r}")
    return Runner(
        log, given, clock or SystemClock(), check_labels(select), round(claim * SECOND), threads
    )
