"""Schedules: a record that is appended to a stream when it is due, once.

Owns the stream `$views/schedules/<name>`: a record when a schedule is made, changed, enabled,
disabled or deleted, and one for each due. "fired" is in the frame of the record that it tells of,
and appended on the condition that nobody fired meanwhile: whatever crashes, and however many
runners there are, a due has its record once or not yet.

No claim is needed, as nothing is done outside the log. These streams are the user's, and go along
with a rebase, a whole restore, an export of all and an import, as they stand: a copy of a store
whose runner runs fires for itself. A rebase brings what was fired here along as a branch beside the
records that it appended; in the history that goes on, the remote's, a due that was not fired there
is fired there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Literal

import msgspec

from transit import ConflictError, InvalidInputError, Log, NotFoundError, Stream
from transit.views.loops.due import (
    Clock,
    Moment,
    Rule,
    SystemClock,
    beyond,
    first,
    rule_of,
)
from transit.views.loops.naming import TRIES, Labels, check_labels, check_name, find, made, names_in
from transit.views.loops.reconcile import CatchUp

KIND: Final = "schedules"
Op = Literal["made", "changed", "fired", "skipped", "failed", "enabled", "disabled", "deleted"]


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is appended, where and when."""

    rule: Rule
    stream: str
    payload: bytes
    headers: dict[str, str] = {}
    catch_up: CatchUp = "one"
    labels: dict[str, str] = {}


class ScheduleRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record of a schedule. Times in UTC nanoseconds.

    made: offset of the record that holds its order. next_due: None when nothing is due any more.
    due, skipped: of "fired" and "skipped". failures, retry_at, error: of "failed".
    """

    op: Op
    at: int
    made: int
    enabled: bool
    next_due: int | None
    order: Order | None = None
    due: int | None = None
    skipped: int = 0
    failures: int = 0
    retry_at: int | None = None
    error: str = ""


class Schedule(msgspec.Struct, frozen=True):
    """A schedule as it stands; times in UTC nanoseconds.

    stream: name of the stream it appends to. last: its last record. error: why its records cannot
    be read, "" where they can.
    """

    name: str
    rule: Rule | None
    stream: str
    payload: bytes
    enabled: bool
    labels: dict[str, str]
    next_due: int | None
    last: ScheduleRecord | None
    error: str = ""


class Standing(msgspec.Struct, frozen=True):
    """How many records a schedule's stream has, the last, and its order."""

    count: int
    last: ScheduleRecord
    order: Order

    @property
    def is_there(self) -> bool:
        """Whether it was not deleted."""
        return self.last.op != "deleted"


def standing(stream: Stream) -> Standing | None:
    """How a schedule stands; None without records, `InvalidInputError` for what is none."""
    count = stream.next_offset
    if not count:
        return None
    last = _decoded(stream, count - 1)
    order = last.order if last.order is not None else _decoded(stream, last.made).order
    if order is None:
        raise InvalidInputError(f"{stream.name}@{last.made}: no order")
    return Standing(count, last, order)


def _decoded(stream: Stream, offset: int) -> ScheduleRecord:
    try:
        return msgspec.json.decode(stream[offset].payload, type=ScheduleRecord)
    except (msgspec.MsgspecError, IndexError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{stream.name}@{offset}: no schedule: {error}") from None


def schedule(  # noqa: PLR0913 - as many things make one
    log: Log,
    name: str,
    *,
    append: tuple[Stream | str, bytes],
    at: Moment | None = None,
    every: float | timedelta | None = None,
    cron: str | None = None,
    zone: str = "UTC",
    start: Moment | None = None,
    headers: Mapping[str, str] | None = None,
    catch_up: CatchUp = "one",
    labels: Labels | None = None,
    clock: Clock | None = None,
) -> Schedule:
    """Have a record appended to a stream when it is due: at a time, at intervals, or by a rule.

    append: the stream, which is there by then, and the payload. catch_up: what becomes of dues that
    passed while no runner ran: "one" record for the last of them, "all", or "none" where they are
    more than half an interval, or a minute, late. A runner whose `select` the labels match fires.
    The same again changes nothing, also after it has fired; else its dues begin anew.
    """
    order = _order(append, rule_of(every, cron, at, zone=zone, start=start), headers, catch_up,
                   check_labels(labels))  # fmt: skip
    (stream,), clock = made(log, f"{KIND}/{check_name(name)}"), clock or SystemClock()
    for _ in range(TRIES):
        found = _readable(stream)
        if found is not None and found.is_there and found.order == order:
            return _shown(name, found)
        now, count = clock.now(), stream.next_offset if found is None else found.count
        op: Op = "changed" if found is not None and found.is_there else "made"
        said = ScheduleRecord(op, now, count, True, first(order.rule, now), order)
        if say(stream, said, count):
            return _shown(name, Standing(count + 1, said, order))
    raise ConflictError(f"{name}: others changed it {TRIES} times", stream=stream.name)


def _order(
    append: tuple[Stream | str, bytes],
    rule: Rule,
    headers: Mapping[str, str] | None,
    catch_up: CatchUp,
    labels: dict[str, str],
) -> Order:
    if not isinstance(append, tuple) or len(append) != 2:
        raise InvalidInputError("append is (stream, payload)")
    stream, payload = append
    name = stream if isinstance(stream, str) else getattr(stream, "name", None)
    if not isinstance(name, str) or not isinstance(payload, bytes):
        raise InvalidInputError("append is (stream, payload): a stream or its name, and bytes")
    if catch_up not in ("one", "all", "none"):
        raise InvalidInputError(f'catch_up must be "one", "all" or "none", not {catch_up!r}')
    return Order(rule, name, payload, dict(headers or {}), catch_up, labels)


def schedules(log: Log) -> list[Schedule]:
    """All schedules, those too that have nothing more to append, in order of creation."""
    found = (_status(name, stream) for name, stream in names_in(log, KIND))
    return [each for each in found if each is not None]


def _status(name: str, stream: Stream) -> Schedule | None:
    try:
        found = standing(stream)
    except InvalidInputError as error:
        return Schedule(name, None, "", b"", False, {}, None, None, str(error))
    return _shown(name, found) if found is not None and found.is_there else None


def _shown(name: str, found: Standing) -> Schedule:
    order, last = found.order, found.last
    return Schedule(
        name, order.rule, order.stream, order.payload, last.enabled, order.labels,
        last.next_due if last.enabled else None, last,
    )  # fmt: skip


def unschedule(log: Log, name: str) -> None:
    """Take a schedule out; its history stays. `NotFoundError` when there is none."""
    _change(log, name, "deleted", SystemClock())


def enable_schedule(log: Log, name: str, clock: Clock | None = None) -> None:
    """Let it fire again, from the next due on: those that passed meanwhile were none.

    One that is due once is fired, late, unless its `catch_up` is "none".
    """
    _change(log, name, "enabled", clock or SystemClock())


def disable_schedule(log: Log, name: str, clock: Clock | None = None) -> None:
    """Fire it no more until it is enabled."""
    _change(log, name, "disabled", clock or SystemClock())


def _change(
    log: Log, name: str, op: Literal["enabled", "disabled", "deleted"], clock: Clock
) -> None:
    stream = find(log, f"{KIND}/{check_name(name)}")
    for _ in range(TRIES):
        found = None if stream is None else standing(stream)
        if stream is None or found is None or not found.is_there:
            raise NotFoundError(f"there is no schedule {name!r}")
        last, now = found.last, clock.now()
        if op != "deleted" and last.enabled is (op == "enabled"):
            return
        due = None if op == "deleted" else last.next_due
        if op == "enabled" and due is not None:
            due = beyond(found.order.rule, due, now) or due
        said = ScheduleRecord(op, now, last.made, op == "enabled", due)
        if say(stream, said, found.count):
            return
    raise ConflictError(f"{name}: others changed it {TRIES} times", stream=name)


def say(stream: Stream, said: ScheduleRecord, count: int) -> bool:
    """Whether this is the next record now; not when somebody wrote another."""
    try:
        stream.append(msgspec.json.encode(said), expect=count)
    except ConflictError:
        return False
    return True


def _readable(stream: Stream) -> Standing | None:
    """As `standing`; what cannot be read is made anew."""
    try:
        return standing(stream)
    except InvalidInputError:
        return None
