"""Pauses: awaited outcomes come in a replay in the order in which they came when recorded.

An outcome is held back until the calls recorded before it were made, and the outcomes recorded
before it that are awaited too were given. The wait ends when the program stands still for longer
than it did when it was recorded: it does something else, and its next call shows that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from transit.trace.events import RunEnd
from transit.trace.matching import RecordedCall, Recording

# How long a program may stand still, beside the time that the recording says: seconds.
_IDLE_S: Final = 1.0
_IDLE_ROUNDS: Final = 600
_QUICK_ROUNDS: Final = 100
_ROUND_S: Final = 0.001
_CANCELLED: Final = frozenset(
    ("asyncio.exceptions.CancelledError", "trio.Cancelled", "trio._core._exceptions.Cancelled")
)


class Pauses:
    """The outcomes of one replay that are awaited.

    progress: something that changes whenever the program goes on, its last member whether calls are
    made.
    """

    def __init__(self, recording: Recording, progress: Callable[[], tuple[int, bool]]) -> None:
        self._recording = recording
        self._progress = progress
        self._awaited: set[int] = set()
        self._given = 0

    async def until_result(self, call: RecordedCall) -> None:
        """Return when the outcome of `call` is to be given."""
        assert call.result is not None
        offset, timestamp, result = call.result
        error = result.error
        if error is not None and error.type in _CANCELLED and not self._ended_the_run(offset):
            # The program ended the wait, and does again.
            await _forever()
        await self._until(offset, (timestamp - call.timestamp) / 1e9)

    async def until(self, offset: int) -> None:
        """Return when what is recorded at `offset` is to be given."""
        await self._until(offset, 0.0)

    def _ended_the_run(self, offset: int) -> bool:
        """Whether the run was cancelled from outside, in this call."""
        end: RunEnd | None = self._recording.end
        later = any(
            each > offset
            for call in self._recording.calls
            for each in (call.offset, call.result[0] if call.result else -1)
        )
        return end is not None and end.status == "cancelled" and not later

    async def _until(self, offset: int, took_s: float) -> None:
        self._awaited.add(offset)
        try:
            rounds, seen, since = 0, self._seen, monotonic()
            while not self._is_due(offset):
                await _pause(0.0 if rounds < _QUICK_ROUNDS else _ROUND_S)
                rounds += 1
                if self._seen != seen:
                    rounds, seen, since = 0, self._seen, monotonic()
                elif rounds > _IDLE_ROUNDS and monotonic() - since > _IDLE_S + took_s:
                    # Both: a machine that stands still takes time, and no rounds.
                    break
        finally:
            self._awaited.discard(offset)
            self._given += 1

    @property
    def _seen(self) -> tuple[int, tuple[int, bool]]:
        return self._given, self._progress()

    def _is_due(self, offset: int) -> bool:
        _, live = self._progress()
        if live:
            return True
        due = self._recording.due
        return (due is None or due.offset > offset) and min(self._awaited) == offset


def _trio() -> Any:
    """trio, where it runs this code."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return None
    return trio


async def _pause(seconds: float) -> None:
    trio = _trio()
    if trio is not None:
        await (trio.sleep(seconds) if seconds else trio.lowlevel.checkpoint())
        return
    # Loaded here: programs that do not await need none of it.
    import asyncio

    await asyncio.sleep(seconds)


async def _forever() -> None:
    trio = _trio()
    if trio is not None:
        await trio.sleep_forever()
    # Loaded here, as above.
    import asyncio

    await asyncio.get_running_loop().create_future()
