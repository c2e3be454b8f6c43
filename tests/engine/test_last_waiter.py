"""The last waiter of a store goes between the question whether there is one, and the call.

Nobody holds a lock for that: a call that appends asks in the middle of its write, and the thread
that waited leaves whenever it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit.log.writer import Writer

SETTINGS = transit.Settings(flush_interval_ms=60_000)


class AskedOnce:
    """In place of an attribute: there when it is asked for first, and gone from then on."""

    def __init__(self) -> None:
        self.asked = self.called = 0

    def __get__(self, owner: object, kind: type | None = None) -> Callable[[object], None] | None:
        self.asked += 1
        return self._called if self.asked == 1 else None

    def __set__(self, owner: object, value: object) -> None:
        pass

    def _called(self, state: object) -> None:
        self.called += 1


def _append(log: transit.Log) -> None:
    log.stream("s").append(b"new", durability="os")


def _memory(log: transit.Log) -> None:
    log.stream("s").append(b"new", durability="memory")


def _many(log: transit.Log) -> None:
    log.stream("s").append_many([b"new"])


def _create(log: transit.Log) -> None:
    log.create("made")


def _finish(log: transit.Log) -> None:
    log.stream("s").finish()


CALLS: list[Callable[[transit.Log], None]] = [_append, _memory, _many, _create, _finish]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__.strip("_"))
def test_a_call_goes_on_when_the_last_waiter_leaves_in_the_middle_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[transit.Log], None]
) -> None:
    with transit.open(tmp_path / "store", settings=SETTINGS) as log:
        log.create("s")
        asked = AskedOnce()
        monkeypatch.setattr(Writer, "on_append", asked, raising=False)
        call(log)
        assert asked.called
        monkeypatch.undo()
        assert log.verify().ok
