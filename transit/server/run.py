"""A server in this process: from an open store to a port that answers, and its end.

Owns the sockets, the event loop, TLS, signals and the order in which a server ends. What it answers
is `transit.server.app`; how a connection is treated, `transit.server.connections`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from types import FrameType
from typing import Final

import msgspec
import uvicorn

from transit import Log, TransitError
from transit.server.app import App
from transit.server.certificate import Certificate
from transit.server.connections import connections
from transit.server.gate import LOOPBACK_HOSTS
from transit.server.journal import Attached, Journal
from transit.server.listening import (
    BIND_DEFAULT,
    Listeners,
    check_exposure,
    is_loopback,
    most_connections,
    parse_bind,
    resolve,
    show,
)
from transit.server.proving import Signing
from transit.server.settings import ServerSettings
from transit.server.witness import WitnessKeys
from transit.trace import Prices
from transit.views.loading import Declared

LOGGER: Final = logging.getLogger("transit.server")
_LOOK_TICKS: Final = 50
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """A server of uvicorn's that ends in our order: readers first, the store untouched."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: App,
        ready: Callable[[], object],
        certificate: Certificate | None,
    ) -> None:
        super().__init__(config)
        self._app = app
        self._ready = ready
        self._certificate = certificate

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept; a client has as long for the handshake as for a head."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise TransitError("the server's application did not start")
        loop, config = asyncio.get_running_loop(), self.config
        tls = None if self._certificate is None else self._certificate.context
        waits = None if tls is None else self._app.settings.head_s

        def connection() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        self.servers = [
            await loop.create_server(
                connection,
                sock=each,
                ssl=tls,
                backlog=config.backlog,
                ssl_handshake_timeout=waits,
            )
            for each in sockets or ()
        ]
        self.started = True
        self._app.counts.connections = lambda: len(self.server_state.connections)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to end."""
        if self._certificate is not None and counter % _LOOK_TICKS == 0:
            self._certificate.look()
        return await super().on_tick(counter)

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


def make_server(
    app: App, ready: Callable[[], object], certificate: Certificate | None = None
) -> Server:
    """A server of `app`, to be run with sockets that listen."""
    settings = app.settings
    config = uvicorn.Config(
        app,
        http=connections(app),
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
    return Server(config, app, ready, certificate)


class Running:
    """A server that runs. url: where; app: what answers."""

    def __init__(self, app: App, listeners: Listeners, certificate: Certificate | None) -> None:
        self.app = app
        self.url = f"{'http' if certificate is None else 'https'}://{show(listeners.address)}"
        self.address = listeners.address
        app.is_reached_at(self.url)


def serve(  # noqa: PLR0913 - each may be given
    log: Log,
    bind: str = BIND_DEFAULT,
    settings: ServerSettings | None = None,
    *,
    tokens: str | None = None,
    certificate: Certificate | None = None,
    is_insecure: bool = False,
    journal: Journal | None = None,
    prices: Prices | None = None,
    witness: WitnessKeys | None = None,
    signing: Signing | None = None,
    declared: Declared | None = None,
    persist: str = "logged",
    ready: Callable[[Running], object] | None = None,
) -> None:
    """Serve an open store until SIGINT or SIGTERM; the store stays open.

    bind: `HOST:PORT`, port 0 for any. tokens: their file. journal: told of every request. prices:
    for what runs cost on the page. declared: views and reconcilers; persist: where savepoints are
    kept. witness: whom it cosigns checkpoints of. signing: what signs its own when an administrator
    asks. ready: called once it answers.
    `InvalidInputError` where it cannot listen there, and where others would reach it without tokens
    and TLS unless is_insecure.
    """
    address = parse_bind(bind)
    check_exposure(
        address,
        has_tokens=tokens is not None,
        has_tls=certificate is not None,
        is_insecure=is_insecure,
    )
    chosen = settings_at(bind, settings or ServerSettings(), tokens)
    app = App(log, chosen, tokens, prices, declared, persist, witness, signing)
    listeners = Listeners(address, app.settings)
    running = Running(app, listeners, certificate)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(listeners))
        if journal is not None:
            stack.enter_context(contextlib.closing(Attached(journal)))
            app.observers.append(journal.served)
        if certificate is not None and certificate.is_exposed:
            LOGGER.warning("TLS: others may read the key %s", certificate.key)
        server = make_server(app, lambda: ready and ready(running), certificate)
        server.run(listeners.sockets)


def settings_at(bind: str, settings: ServerSettings, tokens: str | None) -> ServerSettings:
    """Settings for a server at an address: the hosts it answers to, the connections it can have.

    Without tokens, and at a loopback address, it answers to what this machine calls itself, so that
    a name of someone else's that leads here is of no use. Elsewhere to all names.
    """
    address = parse_bind(bind)
    is_near = all(is_loopback(host) for _, host in resolve(address))
    hosts = settings.hosts
    if is_near or tokens is None:
        hosts = (*hosts, address.host, *LOOPBACK_HOSTS)
        hosts = hosts if is_near else (*hosts, socket.gethostname())
    most = most_connections(settings.connections_max)
    if most < settings.connections_max:
        LOGGER.warning("the system allows %d connections at once (ulimit -n)", most)
    return msgspec.structs.replace(
        settings,
        hosts=hosts,
        connections_max=most,
        # What runs on this machine alone may wake what runs there too.
        webhook_loopback=settings.webhook_loopback or is_near,
    )


@contextlib.contextmanager
def serving(
    log: Log,
    bind: str = "127.0.0.1:0",
    settings: ServerSettings | None = None,
    *,
    tokens: str | None = None,
    certificate: Certificate | None = None,
    witness: WitnessKeys | None = None,
    signing: Signing | None = None,
    declared: Declared | None = None,
) -> Iterator[Running]:
    """A server in a thread, for tests and notebooks; it ends with the block, the store does not.

    Only this machine may reach it, unless there are tokens and TLS.
    """
    address = parse_bind(bind)
    check_exposure(address, has_tokens=tokens is not None, has_tls=certificate is not None)
    chosen = settings_at(bind, settings or ServerSettings(), tokens)
    app = App(log, chosen, tokens, declared=declared, witness=witness, signing=signing)
    listeners = Listeners(address, app.settings)
    running, is_ready = Running(app, listeners, certificate), threading.Event()
    server = make_server(app, is_ready.set, certificate)
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
