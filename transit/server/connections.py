"""Connections of the server in this process: deadlines and limits that its parser does not have.

Owns what happens to a connection around its requests: how long a head may take and how large it may
be, how many connections there are, when a reader who takes nothing is cut, and that an answer gets
to a client that is still sending. What a request means is the application's.

Sources: RFC 9112 (9.6: a connection is closed in steps), RFC 6585 (431).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from transit.server.asgi import WATCHED
from transit.server.settings import ServerSettings

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

# Of Linux: `tcpi_bytes_acked` in `struct tcp_info`.
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)
_CONFIRMED: Final = struct.Struct("=120xQ")
_LOOKS: Final = 4
"""So often within the time that a reader may stand still it is looked at."""
_OVER_MAX: Final = 1.25
"""More connections than this times the limit are closed unheard."""


_EXTENSIONS: Final[dict[str, dict[object, object]]] = {WATCHED: {}}


class LingeringTransport:
    """A transport that is closed in steps while its client is still sending.

    A socket closed with bytes unread is reset, and the client may lose the answer that tells it why
    it should stop. So what it sends is thrown away for a while, or until it closes.
    """

    def __init__(self, transport: asyncio.Transport, protocol: Connection) -> None:
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


class Connection(HttpToolsProtocol):
    """One connection; made by uvicorn for each that it accepts."""

    settings = ServerSettings()

    def __init__(self, config: Config, server_state: ServerState, *args: Any, **more: Any) -> None:
        super().__init__(config, server_state, *args, **more)
        # Between the first byte of a request and the end of its head.
        self._is_in_head = False
        # Between the end of its head and the end of its body.
        self._is_in_body = False
        self._is_refused = False
        self._is_lingering = False
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._unsent = self._confirmed = 0
        self._still_since = 0.0

    @property
    def is_receiving(self) -> bool:
        """Whether the client has not sent all of the request that it began."""
        return self._is_in_head or self._is_in_body

    # What the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, unless there are far too many."""
        count, most = len(self.connections), self.settings.connections_max
        super().connection_made(LingeringTransport(transport, self))  # type: ignore[arg-type]
        self._is_refused = count >= most
        if count >= most * _OVER_MAX:
            transport.abort()
            return
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._disarm()
        self._moved()
        super().connection_lost(exc)
        # Left to themselves until now where the connection broke.
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        if self._is_lingering:
            return
        was_in_head = self._is_in_head
        super().data_received(data)
        if self.parser is None or self.transport.is_closing():
            return
        if self._is_in_head:
            self._head_bytes = self._head_bytes + len(data) if was_in_head else len(data)
            if self._head_bytes > self.settings.head_bytes_max:
                self._refuse(431, "Request Header Fields Too Large")
                return
        if self._is_idle() and self._deadline is None and self.timeout_keep_alive_task is None:
            # A head has begun, or what came begins none.
            self._arm()

    def pause_writing(self) -> None:
        """Wait for the reader, and look whether it moves."""
        super().pause_writing()
        if self._stall is None:
            self._moves()
            self._still_since = self.loop.time()
            self._look_later()

    def resume_writing(self) -> None:
        """Go on: the reader took what there was."""
        self._moved()
        super().resume_writing()

    # What the parser calls

    def on_message_begin(self) -> None:
        """A request begins."""
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_begin()
        self.scope["extensions"] = _EXTENSIONS

    def on_headers_complete(self) -> None:
        """The head of a request is whole."""
        self._is_in_head, self._is_in_body = False, True
        self._disarm()
        if self._is_refused:
            self._refuse(503, "Service Unavailable", b"retry-after: 5\r\n")
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body of a request is whole."""
        self._is_in_body = False
        if self._is_refused:
            return
        super().on_message_complete()
        if self._is_idle() and not self.transport.is_closing():
            # It was answered before its body had come.
            self._disarm()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        if not self._is_refused:
            super().on_body(body)

    def on_response_complete(self) -> None:
        """A request was answered."""
        super().on_response_complete()
        if self._is_in_head and self._deadline is None:
            self._arm()

    # Deadlines

    def linger(self) -> None:
        """Throw away what still comes, for a while."""
        self._is_lingering = True
        self.flow.resume_reading()
        self._disarm()
        self._deadline = self.loop.call_later(self.settings.linger_s, self._abort)

    def _is_idle(self) -> bool:
        return self.cycle is None or (self.cycle.response_complete and not self.pipeline)

    def _arm(self) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(self.settings.head_s, self._out_of_time)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _out_of_time(self) -> None:
        self._deadline = None
        if self._is_in_head:
            self._refuse(408, "Request Timeout")
        else:
            self.transport.close()

    def _refuse(self, status: int, phrase: str, header: bytes = b"") -> None:
        """Answer before there is a request to answer, and close."""
        self._is_refused = True
        if self.cycle is None or self.cycle.response_complete:
            text = phrase.encode()
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n%s"
                b"connection: close\r\n\r\n%s" % (status, text, len(text), header, text)
            )
        self.transport.close()

    def _abort(self) -> None:
        self._deadline = None
        self.transport.abort()

    # Readers that stand still

    def _taken(self) -> int:
        """Bytes that the reader's machine has confirmed.

        The kernel asks for more only when a third of its own buffer is free, so by what is left
        here a slow reader would seem to stand still. 0 where the system does not tell.
        """
        if _TCP_INFO is None:
            return 0
        connected = self.transport.get_extra_info("socket")
        info: bytes = connected.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _CONFIRMED.size)
        if len(info) < _CONFIRMED.size:
            return 0
        return int(_CONFIRMED.unpack(info)[0])

    def _moves(self) -> bool:
        """Whether the reader took anything since it was looked at."""
        before = self._unsent, self._confirmed
        self._unsent, self._confirmed = self.transport.get_write_buffer_size(), self._taken()
        return self._unsent < before[0] or self._confirmed > before[1]

    def _look_later(self) -> None:
        self._stall = self.loop.call_later(self.settings.stall_s / _LOOKS, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        if self._moves():
            self._still_since = now
        if now - self._still_since >= self.settings.stall_s * (1 - 1 / (2 * _LOOKS)):
            self._stall = None
            self.transport.abort()
        else:
            self._look_later()

    def _moved(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None


def connections(settings: ServerSettings) -> type[Connection]:
    """The class of connections with these settings."""
    return type("Connection", (Connection,), {"settings": settings})
