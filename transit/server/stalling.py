"""Readers that stand still: a connection whose client takes nothing is cut.

A client is behind when the transport asks to wait with more. It may be slow; it stands still when
the transport hands no bytes to the system, and the peer confirms none.
"""

from __future__ import annotations

import asyncio
from typing import Final

from transit.server.confirmed import confirmed_bytes

_LOOKS: Final = 4
"""So often within the time that a reader may stand still it is looked at."""


class Stall:
    """Looks at a connection whose client is behind, and cuts it after `stall_s` without a move."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, stall_s: float
    ) -> None:
        self._loop, self._transport, self._stall_s = loop, transport, stall_s
        self._unsent = self._confirmed = 0
        self._moves()
        self._still_since = loop.time()
        self._timer = self._later()

    def end(self) -> None:
        """The client took what there was, or is gone."""
        self._timer.cancel()

    def _moves(self) -> bool:
        """Whether the reader took anything since it was looked at."""
        before = self._unsent, self._confirmed
        self._unsent = self._transport.get_write_buffer_size()
        self._confirmed = confirmed_bytes(self._transport)
        return self._unsent < before[0] or self._confirmed > before[1]

    def _later(self) -> asyncio.TimerHandle:
        return self._loop.call_later(self._stall_s / _LOOKS, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if self._moves():
            self._still_since = now
        if now - self._still_since >= self._stall_s * (1 - 1 / (2 * _LOOKS)):
            self._transport.abort()
        else:
            self._timer = self._later()
