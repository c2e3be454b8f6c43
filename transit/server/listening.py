"""Where a server listens: addresses, sockets, and whom they reach.

Owns the refusal to be reached by others without tokens and TLS.
"""

from __future__ import annotations

import ipaddress
import resource
import socket
from typing import Final, NamedTuple

from transit import InvalidInputError
from transit.server.settings import ServerSettings

BIND_DEFAULT: Final = "127.0.0.1:4437"
_FILES_OF_OWN: Final = 256
"""Open files that are no connections: the store's, above all."""


class Address(NamedTuple):
    """Where a server listens: a host without brackets, and a port; 0 for any."""

    host: str
    port: int


def parse_bind(text: str) -> Address:
    """`HOST:PORT`, `[IPv6]:PORT`; `InvalidInputError` for anything else."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidInputError(f"bind {text!r}: write an IPv6 address as [{host}]:{port}")
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536
    if not (colon and host and is_port):
        raise InvalidInputError(f"bind {text!r}: write HOST:PORT, such as {BIND_DEFAULT}")
    return Address(host, int(port))


class Listeners:
    """Sockets that listen at every address of a host, all at the same port."""

    def __init__(self, address: Address, settings: ServerSettings) -> None:
        self.sockets: list[socket.socket] = []
        found = resolve(address)
        self.is_loopback = all(is_loopback(each) for _, each in found)
        port = address.port
        try:
            for family, host in found:
                self.sockets.append(_listen(family, host, port, settings))
                port = self.sockets[0].getsockname()[1]
        except OSError as error:
            self.close()
            reason = error.strerror or str(error)
            raise InvalidInputError(f"cannot listen at {show(address)}: {reason}") from error
        self.address = Address(address.host, port)

    def close(self) -> None:
        """Listen no more."""
        for each in self.sockets:
            each.close()


def resolve(address: Address) -> list[tuple[int, str]]:
    """Family and number of each address that a host has; `InvalidInputError` for none."""
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise InvalidInputError(f"bind: host {address.host!r} is not known") from error
    return list(dict.fromkeys((int(family), str(place[0])) for family, _, _, _, place in found))


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def show(address: Address) -> str:
    """`host:port` as it stands in a URL."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def _listen(family: int, host: str, port: int, settings: ServerSettings) -> socket.socket:
    # Named as TCP: only on such a socket asyncio sends what is small at once.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _find_the_dead(made, settings)
        made.bind((host, port))
        made.listen(settings.backlog)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _find_the_dead(made: socket.socket, settings: ServerSettings) -> None:
    """Let the kernel give up peers that vanished; what it accepts inherits the options."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    seconds = max(1, round(settings.ping_s))
    for name, value in (
        ("TCP_KEEPIDLE", seconds),
        ("TCP_KEEPINTVL", max(1, seconds // 3)),
        ("TCP_KEEPCNT", 3),
        # Linux alone: what was sent and is not acknowledged.
        ("TCP_USER_TIMEOUT", round(settings.stall_s * 1000)),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, value)


def check_exposure(
    address: Address, *, has_tokens: bool, has_tls: bool, is_insecure: bool = False
) -> None:
    """`InvalidInputError` where others than this machine would reach it without tokens and TLS."""
    if is_insecure or all(is_loopback(host) for _, host in resolve(address)):
        return
    wanted = {"a file of tokens (--tokens)": has_tokens, "TLS (--tls-cert)": has_tls}
    missing = [name for name, is_there in wanted.items() if not is_there]
    if missing:
        raise InvalidInputError(
            f"{show(address)} is reached from other machines: give {' and '.join(missing)}, "
            "or say --insecure"
        )


def most_connections(wanted: int) -> int:
    """How many connections there may be at once, of those wanted: each takes an open file.

    Asks the system for as many files as they take. Without one to spare nothing can be accepted,
    and clients would wait instead of being told.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + wanted // 4 + _FILES_OF_OWN
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    return max(1, (soft - _FILES_OF_OWN) * 4 // 5)
