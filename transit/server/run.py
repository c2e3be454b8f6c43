"""A server in this process: from an open store to a port that answers, and its end.

Owns the sockets, the event loop, TLS, signals and the order in which a server ends. What it answers
is `transit.server.app`; how a connection is treated, `transit.server.connections`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from types import FrameType
from typing import Final, NamedTuple

import uvicorn

from transit import InvalidInputError, Log, TransitError
from transit.server.app import App
from transit.server.connections import connections
from transit.server.settings import ServerSettings

BIND_DEFAULT: Final = "127.0.0.1:4437"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


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
    made = socket.socket(family, socket.SOCK_STREAM)
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


class Server(uvicorn.Server):
    """A server of uvicorn's that ends in our order: readers first, the store untouched."""

    def __init__(self, config: uvicorn.Config, app: App, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._app = app
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept; a client has as long for the handshake as for a head."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise TransitError("the server's application did not start")
        loop, config = asyncio.get_running_loop(), self.config
        waits = None if config.ssl is None else self._app.settings.head_s

        def connection() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        self.servers = [
            await loop.create_server(
                connection,
                sock=each,
                ssl=config.ssl,
                backlog=config.backlog,
                ssl_handshake_timeout=waits,
            )
            for each in sockets or ()
        ]
        self.started = True
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the readers, finish what was begun, then end."""
        self._app.end()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """End at SIGINT and SIGTERM, without raising them again: the store is to be closed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; at the second signal without waiting for requests that are being answered."""
        self.force_exit = self.should_exit
        self.should_exit = True


def tls_context(certificate: str, key: str | None) -> ssl.SSLContext:
    """What TLS is spoken with: 1.2 or later; `InvalidInputError` for files that are no pair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(f"TLS: {certificate}, {key or certificate}: {reason}") from None
    return context


def _no_password() -> bytes:
    raise ValueError("the key is encrypted: give one that is not, readable by the server alone")


def make_server(app: App, ready: Callable[[], object], tls: ssl.SSLContext | None = None) -> Server:
    """A server of `app`, to be run with sockets that listen."""
    settings = app.settings
    config = uvicorn.Config(
        app,
        http=connections(settings),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=settings.backlog,
        timeout_keep_alive=round(settings.idle_s),
        timeout_graceful_shutdown=round(settings.end_s),
    )
    config.load()
    config.ssl = tls
    return Server(config, app, ready)


class Running:
    """A server that runs. url: where; app: what answers."""

    def __init__(self, app: App, listeners: Listeners, tls: ssl.SSLContext | None) -> None:
        self.app = app
        self.url = f"{'http' if tls is None else 'https'}://{show(listeners.address)}"
        self.address = listeners.address


def serve(
    log: Log,
    bind: str = BIND_DEFAULT,
    settings: ServerSettings | None = None,
    *,
    tokens: str | None = None,
    tls: ssl.SSLContext | None = None,
    ready: Callable[[Running], object] | None = None,
) -> None:
    """Serve an open store until SIGINT or SIGTERM; the store stays open.

    bind: `HOST:PORT`, port 0 for any. ready: called once it answers. `InvalidInputError` where it
    cannot listen there.
    """
    app = App(log, settings, tokens)
    listeners = Listeners(parse_bind(bind), app.settings)
    running = Running(app, listeners, tls)
    with contextlib.closing(listeners):
        make_server(app, lambda: ready and ready(running), tls).run(listeners.sockets)


@contextlib.contextmanager
def serving(
    log: Log,
    bind: str = "127.0.0.1:0",
    settings: ServerSettings | None = None,
    *,
    tokens: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Running]:
    """A server in a thread, for tests and notebooks; it ends with the block, the store does not."""
    app = App(log, settings, tokens)
    listeners = Listeners(parse_bind(bind), app.settings)
    running, is_ready = Running(app, listeners, tls), threading.Event()
    server = make_server(app, is_ready.set, tls)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            server.run(listeners.sockets)
        except BaseException as error:
            failures.append(error)
        finally:
            is_ready.set()

    thread = threading.Thread(target=work, name="transit-server", daemon=True)
    with contextlib.closing(listeners):
        thread.start()
        is_ready.wait()
        try:
            if failures:
                raise failures[0]
            yield running
        finally:
            server.should_exit = True
            thread.join()
