"""When something is due: by an interval, by a cron-like rule, or once; and the clocks that tell.

Times are UTC nanoseconds since 1970. A due time comes from the due time before it, never from when
something ended, so that nothing drifts.

    Every   first + k × period
    Cron    five fields (minute, hour, day of month, month, day of week) in a time zone; UTC unless
            one is named. As Debian's cron: where clocks go forward, a time that does not exist is
            due at the first minute that does; where they go back, a time that comes twice is due
            the first time only. Rules with `*` at the start of minute or hour follow real time: in
            the hour that is left out nothing is due, in the one that comes twice all is due twice.
    Once    one time

A clock that was set back does not stop a rule: see `settled`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from types import ModuleType
from typing import Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import msgspec

from transit import InvalidInputError

SECOND: Final = 1_000_000_000
PERIOD_S_MIN: Final = 0.1
PERIOD_S_MAX: Final = 366 * 86_400.0
CRON_CHARS_MAX: Final = 200
COUNT_MAX: Final = 10_000
"""Missed dues of a cron rule are counted up to here."""
CORRECTED: Final = 3 * 3600 * SECOND
"""Debian's cron takes a clock that was set back further than this as corrected."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NS_MAX: Final = 2**63 - 1
_LOOK_S: Final = 10.0
_WINDOWS_S: Final = (3600, 86_400, 32 * 86_400, 366 * 86_400, 12 * 366 * 86_400, 50 * 366 * 86_400)

Moment = str | datetime | int
"""A time: ISO 8601 text with an offset or Z, an aware datetime, or UTC nanoseconds since 1970."""


class Every(msgspec.Struct, frozen=True, tag="every", omit_defaults=True):
    """Each `period`, nanoseconds, from `start` on; None: from when it was registered."""

    period: int
    start: int | None = None


class Cron(msgspec.Struct, frozen=True, tag="cron", omit_defaults=True):
    """A rule of five fields, in the time zone with this name."""

    text: str
    zone: str = "UTC"


class Once(msgspec.Struct, frozen=True, tag="once"):
    """One time."""

    at: int


Rule = Every | Cron | Once


class Missed(NamedTuple):
    """The dues that have come: how many, and the last of them."""

    dues: int
    latest: int


def rule_of(
    every: float | timedelta | None,
    cron: str | None,
    at: Moment | None,
    *,
    zone: str = "UTC",
    start: Moment | None = None,
) -> Rule:
    """The rule that one of `every`, `cron` and `at` gives; `InvalidInputError` for anything else.

    every: seconds, 0.1 to 366 days, or a timedelta. start: with `every`, the first due.
    zone: with `cron`, an IANA name.
    """
    if sum(given is not None for given in (every, cron, at)) != 1:
        raise InvalidInputError("give one of every=, cron= and at=")
    if start is not None and every is None:
        raise InvalidInputError("start= goes with every=")
    if zone != "UTC" and cron is None:
        raise InvalidInputError("zone= goes with cron=")
    if every is not None:
        first = None if start is None else moment_ns(start)
        return Every(period_ns(every), first)
    if cron is not None:
        rule = Cron(_checked_cron(cron), _checked_zone(zone))
        # A rule that never comes is found now, and not when its runner starts.
        if after(rule, 0) is None:
            raise InvalidInputError(f"cron {cron!r} is never due")
        return rule
    assert at is not None
    return Once(moment_ns(at))


def period_ns(every: object) -> int:
    """An interval in nanoseconds; `InvalidInputError` for what is none, too short or too long."""
    if isinstance(every, timedelta):
        every = every.total_seconds()
    if isinstance(every, bool) or not isinstance(every, int | float):
        raise InvalidInputError(f"every must be seconds, not {type(every).__name__}")
    if not PERIOD_S_MIN <= every <= PERIOD_S_MAX:
        raise InvalidInputError(f"every must be {PERIOD_S_MIN} to {PERIOD_S_MAX} s, not {every}")
    return round(every * SECOND)


def moment_ns(moment: object) -> int:
    """A time as UTC nanoseconds; `InvalidInputError` for what is none, or says no zone."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise InvalidInputError(
                f"{moment!r} is no time: write it as 2026-12-01T02:00Z"
            ) from None
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise InvalidInputError(f"{moment.isoformat()} says no time zone: add Z or an offset")
        since = moment - _EPOCH
        moment = (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1000
    if isinstance(moment, bool) or not isinstance(moment, int):
        raise InvalidInputError(f"a time is text, a datetime or ns, not {type(moment).__name__}")
    if not 0 <= moment <= _NS_MAX:
        raise InvalidInputError(f"{moment} is no time in nanoseconds since 1970")
    return moment


def moment_text(moment: int) -> str:
    """UTC nanoseconds as ISO 8601 text, to the microsecond."""
    when = _EPOCH + timedelta(microseconds=moment // 1000)
    return when.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _checked_zone(zone: object) -> str:
    if not isinstance(zone, str) or not zone:
        raise InvalidInputError(f"zone must be the name of a time zone, not {zone!r}")
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise InvalidInputError(f"there is no time zone {zone!r}") from None
    return zone


def _checked_cron(text: object) -> str:
    if not isinstance(text, str) or len(text) > CRON_CHARS_MAX:
        raise InvalidInputError("cron must be text of five fields")
    if len(text.split()) != 5:
        raise InvalidInputError(f"cron {text!r} has {len(text.split())} fields, not 5")
    simulator = _simulator()
    try:
        simulator.CronSim(text, _EPOCH)
    except simulator.CronSimError as error:
        raise InvalidInputError(f"cron {text!r}: {error}") from None
    return " ".join(text.split())


# Due times


def first(rule: Rule, since: int) -> int | None:
    """The first due of a rule that holds from `since` on; a one-shot's even if it has passed."""
    if isinstance(rule, Once):
        return rule.at
    if isinstance(rule, Cron):
        return after(rule, since)
    if rule.start is None or rule.start >= since:
        return since if rule.start is None else rule.start
    return rule.start + -(-(since - rule.start) // rule.period) * rule.period


def after(rule: Rule, due: int) -> int | None:
    """The due that follows `due`; None when there is none."""
    if isinstance(rule, Every):
        return due + rule.period
    if isinstance(rule, Once):
        return None
    return _cron_after(rule, due)


def beyond(rule: Rule, due: int, now: int) -> int | None:
    """The first due after `now`, of those that `due` is one of."""
    if due > now:
        return due
    return after(rule, missed(rule, due, now).latest)


def missed(rule: Rule, due: int, now: int) -> Missed:
    """The dues from `due`, which has come, up to `now`.

    Those of a cron rule are counted up to 10,000; the last is always right.
    """
    if isinstance(rule, Once):
        return Missed(1, due)
    if isinstance(rule, Every):
        more = (now - due) // rule.period
        return Missed(more + 1, due + more * rule.period)
    count, latest = 1, due
    while count < COUNT_MAX:
        following = _cron_after(rule, latest)
        if following is None or following > now:
            return Missed(count, latest)
        count, latest = count + 1, following
    return Missed(count, _cron_latest(rule, latest, now))


def settled(
    rule: Rule, due: int | None, answered: int | None, now: int, *, slack: int = CORRECTED
) -> int | None:
    """`due`, or an earlier one where the clock was set back since it was worked out.

    answered: the due before it that something was done for, None for the first one. slack: how much
    further ahead than one interval `due` may be: clocks of other machines may go before ours, and
    only 0 where our own was seen to be set back. A rule whose last due is more than three hours
    ahead goes by the clock again; within three hours nothing is due twice, as in Debian's cron.
    `now` must have been read after `due` was.
    """
    if due is None or answered is None:
        return due
    if isinstance(rule, Every):
        return due if due <= now + rule.period + slack else now
    if isinstance(rule, Cron) and answered > now + CORRECTED:
        return _cron_after(rule, now)
    return due


def _cron_after(rule: Cron, due: int) -> int | None:
    found = _simulator().CronSim(rule.text, _local(due, rule.zone))
    # What is ambiguous may be told a second time: at most an hour of minutes.
    for _ in range(COUNT_MAX):
        try:
            following = moment_ns(next(found))
        except (StopIteration, OverflowError, InvalidInputError):
            return None
        if following > due:
            return following
    return None


def _cron_latest(rule: Cron, known: int, now: int) -> int:
    """The last due up to `now`, which is at or after `known`."""
    for window in _WINDOWS_S:
        latest, following = None, _cron_after(rule, max(known, now - window * SECOND) - 1)
        for _ in range(COUNT_MAX):
            if following is None or following > now:
                break
            latest, following = following, _cron_after(rule, following)
        if latest is not None:
            return max(latest, known)
    return known


@cache
def _simulator() -> ModuleType:
    try:
        # Imported here: only rules like these need the extra.
        import cronsim
    except ImportError:
        raise InvalidInputError("cron= needs cronsim: pip install 'transit[cron]'") from None
    return cronsim


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _local(moment: int, zone: str) -> datetime:
    when = _EPOCH + timedelta(seconds=moment // SECOND)
    return when if zone == "UTC" else when.astimezone(_zone(zone))


# Clocks


class Wake:
    """As `threading.Event`, for one thread that waits: each tick pays for two."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._is_set = False

    def set(self) -> None:
        """Let the thread that waits, or waits next, go on."""
        self._is_set = True
        # Another thread may let it go at the same moment.
        with contextlib.suppress(RuntimeError):
            self._lock.release()

    def clear(self) -> None:
        """Let the thread that waits next wait."""
        self._is_set = False
        self._lock.acquire(blocking=False)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is set, or for so long; whether it is set."""
        if not self._is_set:
            self._lock.acquire(timeout=-1 if seconds is None else seconds)
        return self._is_set


class Clock(Protocol):
    """What tells a runner the time."""

    def now(self) -> int:
        """UTC nanoseconds since 1970."""
        ...

    def wait(self, wake: Wake, until: int | None) -> None:
        """Return when `wake` is set, or at `until`; perhaps earlier."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """UTC nanoseconds since 1970."""
        return time.time_ns()

    def wait(self, wake: Wake, until: int | None) -> None:
        """Return when `wake` is set, or at `until`, and at least every 10 s: it may be set."""
        seconds = _LOOK_S if until is None else (until - time.time_ns()) / SECOND
        if seconds > 0:
            wake.wait(min(seconds, _LOOK_S))


class ManualClock:
    """A clock for tests, which stands still until it is told to go on. Safe for threads."""

    def __init__(self, start: Moment = "2026-01-01T00:00Z") -> None:
        self._now = moment_ns(start)
        self._lock = threading.Lock()
        self._waiting: set[Wake] = set()

    def now(self) -> int:
        """UTC nanoseconds since 1970."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Go on by so many seconds, or back."""
        with self._lock:
            self._now += round(seconds * SECOND)
            waiting = list(self._waiting)
        for wake in waiting:
            wake.set()

    def wait(self, wake: Wake, until: int | None) -> None:
        """Return when `wake` is set, which `advance` does too."""
        with self._lock:
            if until is not None and until <= self._now:
                return
            self._waiting.add(wake)
        try:
            wake.wait()
        finally:
            with self._lock:
                self._waiting.discard(wake)
