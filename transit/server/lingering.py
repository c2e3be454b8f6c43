"""A transport that is closed in steps while its client is still sending.

Source: RFC 9112 (9.6: a connection is closed in steps).
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol


class Sender(Protocol):
    """What reads from a connection."""

    @property
    def is_receiving(self) -> bool:
        """Whether the client has not sent all of the request that it began."""

    def linger(self) -> None:
        """Throw away what still comes, for a while, then close."""


class LingeringTransport:
    """A transport whose client hears why it should stop.

    A socket closed with bytes unread is reset, and the client may lose the answer that tells it. So
    what it sends is thrown away for a while, or until it closes.
    """

    def __init__(self, transport: asyncio.Transport, protocol: Sender) -> None:
        self._transport = transport
        self._protocol = protocol
        self._is_ending = False
        # What is called most goes straight to the transport.
        self.write = transport.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether no more is to be written."""
        return self._is_ending or self._transport.is_closing()

    def close(self) -> None:
        """Close, at once where the client has sent all that it announced."""
        if self._is_ending:
            return
        if not self._protocol.is_receiving or self._transport.is_closing():
            self._transport.close()
            return
        self._is_ending = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._protocol.linger()
