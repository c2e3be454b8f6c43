"""Reconcilers: loops that look at what is, and do what is missing.

Owns what a reconciler is, and the stream `$views/reconcilers/<name>`: a record each time it is
registered, changed, enabled, disabled, deleted or asked for a tick. Each record says all that holds
from there on, so the last one is the state. Runners read it before every tick, wherever they are.

These streams are the user's, as the ticks are (`transit.views.loops.ticks`), and go along with a
rebase, a whole restore, an export of all and an import. What a rebase makes a branch of, named with
`@`, is history and no reconciler: a name has no `@`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, Literal

import msgspec

from transit import (
    ConflictError,
    FormatError,
    InvalidInputError,
    Log,
    NotFoundError,
    Stream,
)
from transit.views.loops.due import (
    SECOND,
    Clock,
    Cron,
    Every,
    Moment,
    Rule,
    SystemClock,
    beyond,
    first,
    rule_of,
)
from transit.views.loops.naming import TRIES, Labels, check_labels, check_name, find, made, names_in
from transit.views.loops.ticks import KeyValues, Tick, TickRecord, decode_tick, read_ticks

TIMEOUT_S: Final = 60.0
TIMEOUT_S_MAX: Final = 3_600.0

CatchUp = Literal["one", "all", "none"]
Noops = Literal["forgotten", "written"]
Body = Callable[[Tick], object]


class Definition(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a reconciler is due, and how its ticks are run. timeout in nanoseconds."""

    rule: Every | Cron
    timeout: int
    catch_up: CatchUp = "one"
    retries: int | None = None
    noops: Noops = "forgotten"
    labels: dict[str, str] = {}


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """What holds of a reconciler from here on.

    epoch: one more each time its dues begin anew, with `next_due`. asked: offset of the last record
    that asked for a tick, -1 before the first.
    """

    op: Literal["registered", "changed", "enabled", "disabled", "deleted", "asked"]
    at: int
    by: str
    definition: Definition
    enabled: bool
    epoch: int
    next_due: int | None
    asked: int = -1

    @property
    def is_there(self) -> bool:
        """Whether it was not deleted."""
        return self.op != "deleted"


class Reconciler(msgspec.Struct, frozen=True):
    """A body with its name and definition; made by `reconciler`. Calling it calls the body."""

    name: str
    body: Body
    definition: Definition

    def __call__(self, tick: Tick) -> object:
        """Run the body once, outside any runner."""
        return self.body(tick)


class ReconcilerStatus(msgspec.Struct, frozen=True):
    """A reconciler as it stands; times in UTC nanoseconds.

    has_code: whether the runner that was asked has its body; None: no runner was asked. n: ticks
    recorded. last: of them. error: why its records cannot be read, "" where they can.
    """

    name: str
    rule: Rule | None
    enabled: bool
    labels: dict[str, str]
    has_code: bool | None
    n: int
    next_due: int | None
    retry_at: int | None
    runner: str
    last: TickRecord | None
    error: str = ""


def reconciler(  # noqa: PLR0913 - as many things define one
    body: Body | None = None,
    *,
    name: str | None = None,
    every: float | timedelta | None = None,
    cron: str | None = None,
    zone: str = "UTC",
    start: Moment | None = None,
    timeout: float = TIMEOUT_S,
    catch_up: CatchUp = "one",
    retries: int | None = None,
    noops: Noops = "forgotten",
    labels: Labels | None = None,
) -> Callable[[Body], Reconciler]:
    """A decorator that makes a reconciler of a function that takes a `Tick`.

    every: seconds; cron: five fields, in `zone`. timeout: seconds, up to an hour, after which the
    tick ends as "timeout". catch_up: what is done about dues that have passed: "one" tick for the
    last of them, "all" of them in order, or "none": those that come too late are let go.
    retries: how often a due is tried again after failures; None: until it works. noops: "written"
    where ticks that had nothing to do are recorded too, as with "all" they always are.
    """
    if body is not None:
        raise InvalidInputError("write @views.reconciler(every=…): it needs to know when")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise InvalidInputError(f"timeout must be seconds, not {type(timeout).__name__}")
    if not 0 < timeout <= TIMEOUT_S_MAX:
        raise InvalidInputError(f"timeout must be up to {TIMEOUT_S_MAX} s, not {timeout}")
    if catch_up not in ("one", "all", "none"):
        raise InvalidInputError(f'catch_up must be "one", "all" or "none", not {catch_up!r}')
    if noops not in ("forgotten", "written"):
        raise InvalidInputError(f'noops must be "forgotten" or "written", not {noops!r}')
    if retries is not None and (type(retries) is not int or retries < 0):
        raise InvalidInputError(f"retries must be a count, or None, not {retries!r}")
    rule = rule_of(every, cron, None, zone=zone, start=start)
    assert isinstance(rule, Every | Cron)
    # A due that "all" must not lose is one that some record answers.
    noops = "written" if catch_up == "all" else noops
    made = Definition(rule, round(timeout * SECOND), catch_up, retries, noops, check_labels(labels))

    def decorate(function: Body) -> Reconciler:
        if inspect.iscoroutinefunction(function) or not callable(function):
            raise InvalidInputError("a body is a plain function that takes a tick")
        return Reconciler(check_name(name or function.__name__), function, made)

    return decorate


# In the log


def last_change(stream: Stream) -> tuple[int, Change | None]:
    """How many records a stream of definitions has, and the last; `InvalidInputError` for rot."""
    count = stream.next_offset
    if not count:
        return 0, None
    try:
        return count, msgspec.json.decode(stream[count - 1].payload, type=Change)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{stream.name}@{count - 1}: no definition: {error}") from None


class Reconcilers:
    """The reconcilers of a store, as the log has them; what is said here every runner hears.

    Names that are not there: `NotFoundError`.
    """

    def __init__(self, log: Log, clock: Clock | None = None) -> None:
        self._log = log
        self._clock = clock or SystemClock()
        self._by = os.uname().nodename[:100]

    def list(self) -> Sequence[ReconcilerStatus]:
        """All that are there, in order of registration."""
        found = (self.status(name, stream) for name, stream in names_in(self._log, "reconcilers"))
        return tuple(status for status in found if status is not None)

    def status(self, name: str, stream: Stream | None = None) -> ReconcilerStatus | None:
        """How one stands; None when it is not there."""
        stream = stream or find(self._log, f"reconcilers/{check_name(name)}")
        if stream is None:
            return None
        try:
            _, change = last_change(stream)
            ticks = find(self._log, f"ticks/{name}")
            n, last = _last_tick(ticks)
        except (InvalidInputError, FormatError) as error:
            return ReconcilerStatus(
                name, None, False, {}, None, 0, None, None, "", None, str(error)
            )
        if change is None or not change.is_there:
            return None
        return _status_of(name, change, n, last)

    def ticks(
        self, name: str, last: int | None = None, before: int | None = None
    ) -> Sequence[TickRecord]:
        """Its ticks, oldest first; the last few, of those before number `before`.

        Those of one that was deleted too.
        """
        stream = find(self._log, f"ticks/{check_name(name)}")
        if stream is None:
            if find(self._log, f"reconcilers/{name}") is None:
                raise NotFoundError(f"there is no reconciler {name!r}")
            return ()
        return tuple(read_ticks(stream, last, before))

    def enable(self, name: str) -> None:
        """Let ticks be made again, from the next due on; those that passed meanwhile were none."""
        self._say(name, "enabled")

    def disable(self, name: str) -> None:
        """Begin no more ticks but those that are asked for; one that runs may end."""
        self._say(name, "disabled")

    def delete(self, name: str) -> None:
        """Take it out, and its key-value state; its history stays. A tick that runs is lost."""
        self._say(name, "deleted")

    def ask(self, name: str) -> int:
        """Ask whichever runner has it for a tick now; the number of the request."""
        return self._say(name, "asked")

    def register(self, given: Reconciler) -> None:
        """Make its definition the one that holds."""
        stream, _ = made(self._log, f"reconcilers/{given.name}", f"ticks/{given.name}")
        for _ in range(TRIES):
            count, change = _readable(stream)
            now = self._clock.now()
            if change is None or not change.is_there:
                epoch = 0 if change is None else change.epoch + 1
                asked = -1 if change is None else change.asked
                said = Change(
                    "registered", now, self._by, given.definition, True, epoch,
                    first(given.definition.rule, now), asked,
                )  # fmt: skip
            elif change.definition == given.definition:
                return
            else:
                said = self._changed(change, given.definition, now)
            if _append(stream, said, count):
                return
        raise ConflictError(f"{given.name}: others changed it {TRIES} times", stream=stream.name)

    def _changed(self, change: Change, definition: Definition, now: int) -> Change:
        same = change.definition.rule == definition.rule
        return msgspec.structs.replace(
            change,
            op="changed",
            at=now,
            by=self._by,
            definition=definition,
            # Dues go on where only the rest is another: a release must not put them off.
            epoch=change.epoch if same else change.epoch + 1,
            next_due=change.next_due if same else first(definition.rule, now),
        )

    def _say(self, name: str, op: Literal["enabled", "disabled", "deleted", "asked"]) -> int:
        stream = find(self._log, f"reconcilers/{check_name(name)}")
        for _ in range(TRIES):
            count, change = (0, None) if stream is None else last_change(stream)
            if stream is None or change is None or not change.is_there:
                raise NotFoundError(f"there is no reconciler {name!r}")
            said = msgspec.structs.replace(change, op=op, at=self._clock.now(), by=self._by)
            if op == "asked":
                said = msgspec.structs.replace(said, asked=count)
            elif op == "deleted":
                if self._delete(name, stream, said, count):
                    return count
                continue
            elif change.enabled is (op == "enabled"):
                return count
            else:
                said = self._switched(name, said)
            if _append(stream, said, count):
                return count
        raise ConflictError(f"{name}: others changed it {TRIES} times", stream=name)

    def _switched(self, name: str, said: Change) -> Change:
        if said.op == "disabled":
            return msgspec.structs.replace(said, enabled=False)
        _, last = _last_tick(find(self._log, f"ticks/{name}"))
        due = _next_due(said, last)
        due = None if due is None else beyond(said.definition.rule, due, said.at)
        return msgspec.structs.replace(said, enabled=True, epoch=said.epoch + 1, next_due=due)

    def _delete(self, name: str, stream: Stream, said: Change, count: int) -> bool:
        """The definition goes; in the same frame a record takes the place of a tick that runs."""
        (ticks,) = made(self._log, f"ticks/{name}")
        known = KeyValues()
        last = known.read(ticks)
        record = TickRecord(
            n=known.n,
            result="deleted",
            started=said.at,
            ended=said.at,
            answered=-1 if last is None else last.answered,
            epoch=said.epoch,
            kv_from=known.n,
        )
        said = msgspec.structs.replace(said, enabled=False, next_due=None)
        try:
            with self._log.batch() as batch:
                batch.append(stream, msgspec.json.encode(said), expect=count)
                batch.append(ticks, msgspec.json.encode(record), expect=known.n)
        except ConflictError:
            return False
        return True


def reconcilers(log: Log) -> Reconcilers:
    """The reconcilers that a store knows."""
    return Reconcilers(log)


def _append(stream: Stream, said: Change, count: int) -> bool:
    try:
        stream.append(msgspec.json.encode(said), expect=count)
    except ConflictError:
        return False
    return True


def _readable(stream: Stream) -> tuple[int, Change | None]:
    """As `last_change`; what cannot be read is registered anew."""
    try:
        return last_change(stream)
    except InvalidInputError:
        return stream.next_offset, None


def _last_tick(ticks: Stream | None) -> tuple[int, TickRecord | None]:
    n = 0 if ticks is None else ticks.next_offset
    if ticks is None or not n:
        return 0, None
    return n, decode_tick(ticks[n - 1].payload, f"{ticks.name}@{n - 1}")


def _next_due(change: Change, last: TickRecord | None) -> int | None:
    """The next due by the log alone: the last tick says it, unless dues began anew since."""
    if last is not None and last.epoch == change.epoch and last.result != "deleted":
        return last.next_due
    return change.next_due


def _status_of(name: str, change: Change, n: int, last: TickRecord | None) -> ReconcilerStatus:
    return ReconcilerStatus(
        name=name,
        rule=change.definition.rule,
        enabled=change.enabled,
        labels=change.definition.labels,
        has_code=None,
        n=n,
        next_due=_next_due(change, last) if change.enabled else None,
        retry_at=None if last is None or last.epoch != change.epoch else last.retry_at,
        runner="" if last is None else last.runner,
        last=last,
    )
