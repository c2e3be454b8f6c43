"""The link to a server: connections that are kept, deadlines, and what is asked again.

Owns one exchange of a request and its answer, and when it may be repeated. A request that only
reads is asked again while its deadline allows. One that writes is repeated by
`transit.client.lanes` alone, which can tell the server that it is the same one.

A call has `timeout_s` in all: to connect, to send, to wait, and for every repetition. Only where no
server ever answered it ends with the first connection that is refused. What a server
answers becomes the error that the engine raised there (`transit.protocol.problems`), or one of:

    it cannot be reached, or does not answer      RemoteUnavailableError: nothing was written
    an unknown host, an untrusted certificate     RemoteSetupError: tried once
    a token that is refused, or not enough        StorePermissionError
    it is no server of transit                    RemoteSetupError
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)

from transit import (
    ClosedError,
    ForkedError,
    InvalidInputError,
    RemoteSetupError,
    RemoteUnavailableError,
    StorePermissionError,
    StoreUnavailableError,
    TransitError,
    __version__,
)
from transit.client.address import Address
from transit.guards import TURN, Order
from transit.protocol.calls import MSGPACK
from transit.protocol.problems import detail_of, error_of
from transit.views.errors import (
    DivergedError,
    EventError,
    HistoryDiffersError,
    ReducerError,
    ViewError,
)

CONNECT_S: Final = 5.0
_NO_HEADERS: Final[Mapping[str, str]] = {}
_VIEW_ERRORS: Final[Mapping[str, type[TransitError]]] = {
    each.__name__: each
    for each in (DivergedError, EventError, HistoryDiffersError, ReducerError, ViewError)
}
# What one answer may take: the largest record a store may hold, and more.
ANSWER_BYTES_MAX: Final = 1024 * 1024 * 1024
_PART_BYTES: Final = 256 * 1024
_KEPT: Final = 16
_PAUSE_S: Final = 0.02
_PAUSE_S_MAX: Final = 1.0
# The server is busy, ending or not there yet: the same request may be answered later.
_LATER: Final = frozenset((408, 425, 429, 502, 503, 504))


class _Forks:
    """How often this process came from another by fork(): cheaper to look at than its number."""

    count = 0

    def note(self) -> None:
        self.count += 1


_FORKS: Final = _Forks()
os.register_at_fork(after_in_child=_FORKS.note)


class Reply(NamedTuple):
    """What a server answered; header fields by names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class LostError(Exception):
    """A request without an answer. was_sent: whether the server may have taken it."""

    def __init__(self, text: str, *, was_sent: bool) -> None:
        super().__init__(text)
        self.was_sent = was_sent


class Events:
    """An answer that comes in parts, until either side ends it."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    @property
    def parts(self) -> Iterator[bytes]:
        """The parts as they come."""
        while part := self._response.read1(_PART_BYTES):
            yield part

    def end(self) -> None:
        """Have the thread that reads them wake up, and find that they ended."""
        _wake(self._response.connection)


class Patience:
    """How long a call still has, and the pauses between its attempts."""

    def __init__(self, timeout_s: float) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._pause_s = 0.0

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self._deadline - time.monotonic()

    def pause(self, wanted_s: float = 0.0) -> bool:
        """Wait before the next attempt; False when there is no time for one."""
        # A connection that was kept may just be old: the second attempt comes at once.
        pause_s = max(wanted_s, self._pause_s * random.uniform(0.5, 1.0))
        if pause_s >= self.left_s:
            return False
        time.sleep(pause_s)
        self._pause_s = min(_PAUSE_S_MAX, max(_PAUSE_S, self._pause_s * 2))
        return True


class Link:
    """Connections to one server, for all threads of the process that made it."""

    def __init__(
        self, address: Address, token: str | None, timeout_s: float, ca_file: str | None
    ) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._order = Order()
        self._has_answered = False
        self._forks = _FORKS.count
        self._closed = False
        self._headers = {
            "accept": MSGPACK,
            "content-type": MSGPACK,
            "user-agent": f"transit/{__version__}",
        }
        if token is not None:
            self._headers["authorization"] = f"Bearer {_check_token(token)}"
        context = _trusting(ca_file) if address.scheme == "https" else None
        # Requests that wait have connections of their own: closing ends those, and no other.
        self._waiting: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._calls = _pool(address, context)
        self._waits = _pool(address, context)
        kind = self._waits.ConnectionCls
        self._waits.ConnectionCls = self._noting(kind)  # type: ignore[assignment]

    def _noting(self, kind: Callable[..., Any]) -> Callable[..., Any]:
        waiting, lock = self._waiting, self._lock

        def made(*arguments: Any, **options: Any) -> Any:
            connection = kind(*arguments, **options)
            with lock:
                waiting.add(connection)
            return connection

        return made

    @property
    def closed(self) -> bool:
        """Whether the link was closed."""
        return self._closed

    def check(self) -> None:
        """`ClosedError` when the link was closed, `ForkedError` in a child of its process."""
        if self._closed:
            raise ClosedError(f"{self.address}: this connection is closed")
        if _FORKS.count != self._forks:
            raise ForkedError(
                f"{self.address}: connected before fork(): call transit.connect() in the child"
            )

    def check_free(self) -> None:
        """As `check`; `ReentrantCallError` in the middle of a request of this thread."""
        self.check()
        self._order.check(TURN)

    def may_wait(self) -> bool:
        """Whether this thread is not in the middle of a request."""
        return not self._order.is_inside(TURN)

    def close(self) -> None:
        """Let the connections go; requests that wait end, others are answered first."""
        self._closed = True
        if _FORKS.count == self._forks:
            with self._lock:
                waiting = list(self._waiting)
            for connection in waiting:
                _wake(connection)
        self._calls.close()
        self._waits.close()

    # Requests

    def get(self, path: str, wait_s: float = 0.0) -> Reply:
        """The answer to a request that only reads; asked again while there is time.

        wait_s: how long the server may wait before it answers, beside what the call has.
        """
        return self.ask("GET", path, wait_s=wait_s)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        wait_s: float = 0.0,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        lacking: frozenset[int] = frozenset(),
    ) -> Reply:
        """The answer to a request that changes nothing when it is made again.

        lacking: statuses by which a server says that it has no such thing: they are answers too.
        """
        patience = Patience(self.timeout_s + wait_s)
        while True:
            try:
                reply = self.once(method, path, body, headers, patience.left_s, waits=wait_s > 0)
            except LostError as error:
                # One that never answered is not waited for: the address may be wrong.
                is_unknown = not (self._has_answered or error.was_sent)
                if is_unknown or not patience.pause():
                    raise self.unavailable(str(error)) from error
                continue
            self._has_answered = True
            if reply.status < 400:
                return reply
            if reply.status in lacking and error_of(reply.body) is None:
                return reply
            refusal = self.refused(reply)
            if type(refusal) is RemoteUnavailableError and patience.pause(pause_of(reply)):
                continue
            try:
                raise refusal
            finally:
                # It holds this frame, and with it what was sent.
                del refusal

    def once(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
        *,
        waits: bool = False,
    ) -> Reply:
        """One exchange; `LostError` when it has no answer.

        `ReentrantCallError` in the middle of another one of this thread.
        """
        self.check_free()

        def exchange() -> Reply:
            return self._once(method, path, body, headers, timeout_s, waits=waits)

        return self._order.during(TURN, exchange)

    def _once(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
        *,
        waits: bool,
    ) -> Reply:
        with self._exchange(method, path, body, headers, timeout_s, waits=waits) as response:
            data = _whole(response, time.monotonic() + max(timeout_s, 0.001))
        return Reply(response.status, response.headers, data)

    @contextlib.contextmanager
    def stream(self, path: str, silence_s: float, body: bytes | None = None) -> Iterator[Events]:
        """An answer that does not end by itself, as it comes: to a POST, to a GET without a body.

        silence_s: the longest time without a byte. `LostError` where it breaks off.
        """
        method = "GET" if body is None else "POST"
        self.check()
        accept = {"accept": "text/event-stream"}
        with self._exchange(method, path, body, accept, silence_s, waits=True) as response:
            if response.status >= 400:
                body = _whole(response, time.monotonic() + self.timeout_s)
                reply = Reply(response.status, response.headers, body)
                if reply.status in _LATER and error_of(reply.body) is None:
                    raise LostError(f"status {reply.status}", was_sent=False)
                raise self.refused(reply)
            try:
                yield Events(response)
            finally:
                response.close()

    @contextlib.contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
        *,
        waits: bool,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        pool = self._waits if waits else self._calls
        timeout_s = max(timeout_s, 0.001)
        try:
            response = pool.urlopen(
                method, self.address.prefix + path, body, {**self._headers, **headers},
                retries=False, redirect=False, assert_same_host=False, preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=min(CONNECT_S, timeout_s), read=timeout_s),
            )  # fmt: skip
            yield response
        except (HTTPError, OSError) as error:
            if isinstance(error, TransitError):
                raise
            if self._closed:
                raise ClosedError(f"{self.address}: this connection is closed") from error
            raise self._lost(error) from error

    def _lost(self, error: HTTPError | OSError) -> Exception:
        """The error for a request without an answer."""
        if isinstance(error, NameResolutionError):
            return RemoteSetupError(f"{self.address}: no such host: check the address")
        if isinstance(error, SSLError):
            return RemoteSetupError(
                f"{self.address}: {_reason(error)}: give ca_file=, the certificate that signed"
                " the server's"
            )
        unsent = isinstance(error, NewConnectionError | ConnectTimeoutError)
        return LostError(_reason(error), was_sent=not unsent)

    def unavailable(self, reason: str) -> RemoteUnavailableError:
        """The error for a server that does not answer."""
        return RemoteUnavailableError(f"{self.address}: the server does not answer: {reason}")

    def refused(self, reply: Reply) -> TransitError:
        """The error for an answer that is none."""
        error = error_of(reply.body, _VIEW_ERRORS)
        return error if error is not None else self._refusal(reply)

    def _refusal(self, reply: Reply) -> TransitError:
        status, detail = reply.status, detail_of(reply.body) or f"status {reply.status}"
        text = f"{self.address}: {detail}"
        if status in (401, 403):
            hint = ": check the token" if status == 401 else ""
            return StorePermissionError(f"{text}{hint}")
        if status in (404, 405) or 300 <= status < 400:
            return RemoteSetupError(f"{text}: is it a server of transit, and of this version?")
        if status in _LATER:
            return RemoteUnavailableError(text)
        return InvalidInputError(text) if status < 500 else StoreUnavailableError(text)


def pause_of(reply: Reply) -> float:
    """How long the server wants to be left alone, seconds."""
    given = reply.headers.get("retry-after", "")
    return float(given) if given.isdecimal() and len(given) < 6 else 0.0


def _check_token(token: object) -> str:
    if not isinstance(token, str) or not token:
        raise InvalidInputError("a token is text")
    if not all("!" <= each <= "~" for each in token):
        raise InvalidInputError("the token has characters that no token has")
    return token


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(f"ca_file {ca_file}: {error}") from None


def _pool(address: Address, context: ssl.SSLContext | None) -> urllib3.HTTPConnectionPool:
    if context is None:
        return urllib3.HTTPConnectionPool(address.host, address.port, maxsize=_KEPT)
    return urllib3.HTTPSConnectionPool(
        address.host, address.port, maxsize=_KEPT, ssl_context=context
    )


def _whole(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    first = response.read1(_PART_BYTES)
    parts, size = [first], len(first)
    while part := response.read1(_PART_BYTES):
        parts.append(part)
        size += len(part)
        if size > ANSWER_BYTES_MAX or time.monotonic() > deadline:
            response.close()
            raise TimeoutError("the answer did not come in time")
    return first if len(parts) == 1 else b"".join(parts)


def _wake(connection: object) -> None:
    """End a connection from which another thread may be reading."""
    found = getattr(connection, "sock", None)
    if isinstance(found, socket.socket):
        # It may have ended by itself.
        with contextlib.suppress(OSError):
            found.shutdown(socket.SHUT_RDWR)


def _reason(error: BaseException) -> str:
    """What an error of the library says, without the object it says it of."""
    inner = error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error
    text = str(inner) or type(inner).__name__
    return text.rpartition(">: ")[2].partition("HTTPConnectionPool(")[2] or text.rpartition(": ")[2]
