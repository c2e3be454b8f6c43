"""How much of what was sent a client's machine has confirmed.

The kernel asks for more only when a third of its own buffer is free, so by what is left in this
process a slow reader would seem to stand still.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

# Of Linux: `tcpi_bytes_acked` in `struct tcp_info`.
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)
_CONFIRMED: Final = struct.Struct("=120xQ")


def confirmed_bytes(transport: asyncio.Transport) -> int:
    """Bytes that the other end of a connection has confirmed; 0 where the system does not tell."""
    if _TCP_INFO is None:
        return 0
    connected = transport.get_extra_info("socket")
    info: bytes = connected.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _CONFIRMED.size)
    if len(info) < _CONFIRMED.size:
        return 0
    return int(_CONFIRMED.unpack(info)[0])
