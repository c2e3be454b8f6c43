"""Mistakes, planted into a process that runs reconcilers: the judge must find each.

expect      ticks are appended whatever was appended meanwhile
kv-apart    the key-value state is in a frame of its own, after the tick's
effects     what a tick appends is in a frame of its own, before the tick's
from-end    the next due is taken from the end of the tick
fired       a schedule's record is appended whoever fired meanwhile
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

import transit
from transit.views.loops import firing, looping
from transit.views.loops.due import Clock, Every, Rule
from transit.views.loops.looping import Loop
from transit.views.loops.making import Planned, Running
from transit.views.loops.scheduling import ScheduleRecord
from transit.views.loops.seats import Hold
from transit.views.loops.ticks import State, TickRecord

_write = Loop._write
_start = Loop.start


def _without_expect(self: Loop, running: Running, record: TickRecord) -> None:
    batch = running.tick.staged
    assert batch is not None
    batch.append(self.ticks, msgspec.json.encode(record))
    batch.__exit__(None, None, None)
    running.outcome, running.is_written = record, True


def _kv_apart(self: Loop, running: Running, record: TickRecord) -> None:
    state = running.state.encoded()
    _write(self, running, msgspec.structs.replace(record, kv={}))
    self._log.stream("kv").append(state.get("n", b"0"))


def _start_with_kv(self: Loop, planned: Planned, hold: Hold) -> Running:
    running = _start(self, planned, hold)
    try:
        kept = self._log.stream("kv")
    except transit.NotFoundError:
        try:
            kept = self._log.create("kv")
        except transit.AlreadyExistsError:
            kept = self._log.stream("kv")
    values = {"n": kept[-1].payload} if len(kept) else {}
    running.state = running.tick.kv = State(values)
    return running


def _effects_first(self: Loop, running: Running, record: TickRecord) -> None:
    batch = running.tick.staged
    assert batch is not None
    batch.__exit__(None, None, None)
    self.ticks.append(msgspec.json.encode(record), expect=record.n)
    running.outcome, running.is_written = record, True


def _take_dues_from_ends() -> None:
    _clock: list[Clock] = []

    def after_end(rule: Rule, due: int) -> int | None:
        assert isinstance(rule, Every)
        return _clock[0].now() + rule.period

    made = Loop.__init__

    def with_clock(self: Loop, *given: Any) -> None:
        _clock[:] = [given[-1]]
        made(self, *given)

    setattr(Loop, "__init__", with_clock)  # noqa: B010 - a method is replaced on purpose
    setattr(looping, "after", after_end)  # noqa: B010 - the same


def _fire_without_expect() -> None:
    encode: Callable[[object], bytes] = msgspec.json.encode

    def append(self: firing.Firing, known: firing._Known, said: ScheduleRecord) -> bool:
        found = known.standing
        assert found is not None
        with self._log.batch() as batch:
            batch.append(found.order.stream, found.order.payload)
            batch.append(known.stream, encode(said))
        known.refresh()
        return True

    setattr(firing.Firing, "_append", append)  # noqa: B010 - a method is replaced on purpose


def _replace(**methods: object) -> None:
    for name, method in methods.items():
        setattr(Loop, name, method)


PLANTS: Final[dict[str, Callable[[], None]]] = {
    "expect": lambda: _replace(_write=_without_expect),
    "kv-apart": lambda: _replace(_write=_kv_apart, start=_start_with_kv),
    "effects": lambda: _replace(_write=_effects_first),
    "from-end": _take_dues_from_ends,
    "fired": _fire_without_expect,
}


def plant(name: str) -> None:
    """Plant one of them; "" plants none."""
    if name:
        PLANTS[name]()
