"""Connections of the server in this process: deadlines and limits that its parser does not have.

Owns what happens to a connection around its requests: how long a head may take and how large it may
be, how many connections there are, when a reader who takes nothing is cut, and that an answer gets
to a client that is still sending. What a request means is the application's.

A request goes one of two ways. One that the application may answer at once is kept until its body
is here; then it is answered there and then, head and body in one write. uvicorn answers everything
else, by messages of ASGI in a task of its own: a request whose body is large or slow to come, one
behind another that is being answered, one whose client has not taken earlier answers, and one that
turned out to wait, which goes on there. What is checked and what is answered is the same:
`transit.server.exchange`.

Sources: RFC 9112 (HTTP/1.1), RFC 6585 (431).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from transit.server.asgi import PASSING, WATCHED, Answer, Head, Request, fields_of
from transit.server.exchange import Exchange
from transit.server.lingering import LingeringTransport
from transit.server.refusals import Header
from transit.server.repeats import Repeats, repeats_of
from transit.server.settings import ServerSettings
from transit.server.stalling import Stall

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from transit.server.app import App

_OVER_MAX: Final = 1.25
"""More connections than this times the limit are closed unheard."""
_SOON_S: Final = 0.05
"""So long the rest of a small body is waited for before its request gets a task."""
_SMALL: Final = 64 * 1024
_TURNS: Final = 16
"""So many requests that came together are answered at once; others get their turn before more."""

_CLOSE: Final = (b"connection", b"close")
_EXTENSIONS: Final[dict[str, dict[object, object]]] = {WATCHED: {}}


class Connection(HttpToolsProtocol):
    """One connection; made by uvicorn for each that it accepts."""

    settings = ServerSettings()
    application: App

    def __init__(self, config: Config, server_state: ServerState, *args: Any, **more: Any) -> None:
        super().__init__(config, server_state, *args, **more)
        # Between the first byte of a request and the end of its head.
        self._is_in_head = False
        # Between the end of its head and the end of its body.
        self._is_in_body = False
        self._is_refused = False
        self._is_lingering = False
        # Whether a request was answered at once that was to be the last.
        self._is_over = False
        # Of the head that is coming, at least so many bytes are here.
        self._head_bytes = 0
        # Requests that began in what came last.
        self._begins = 0
        # What is written once the requests before it are answered: why the next one is not heard.
        self._refusal: bytes | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: Stall | None = None
        # The head of a request that may be answered at once, and the parts of its body.
        self._head: Head | None = None
        self._kept: list[bytes] = []
        # The last request, where it was answered at once: the next may be like it.
        self._repeats: Repeats | None = None
        self._answered: tuple[Head, bytes] | None = None
        self._turns = 0
        # What came with the request whose head is being parsed.
        self._data = b""
        # A request that waits without a task, and bytes that came behind it meanwhile.
        self._waiting: _Waiting | None = None
        self._early: list[bytes] = []
        # Since when there is no request, where the last one was answered at once.
        self._rests_since: float | None = None
        self._rest: asyncio.TimerHandle | None = None

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
        self._end_stall()
        if self._rest is not None:
            self._rest.cancel()
        if self._head is not None:
            self._pass_on()
        self._early.clear()
        self._give_to_task()
        super().connection_lost(exc)
        # Left to themselves until now where the connection broke.
        self._unset_keepalive_if_required()

    def shutdown(self) -> None:
        """Close once the request that has begun is answered; called when the server ends."""
        if self._head is not None:
            self._pass_on()
        self._give_to_task()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        if self._is_lingering:
            return
        if self._waiting is not None:
            self._early.append(data)
            self.flow.pause_reading()
            return
        repeats = self._repeats
        if repeats is not None and not self.flow.write_paused:
            body = repeats.body_of(data)
            if body is not None:
                self._answer_now(repeats.head, body, keeps=True, alone=repeats)
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Let the parser find requests in `data`."""
        was_receiving = self.is_receiving
        self._begins = 0
        self._turns, self._repeats, self._answered, self._rests_since = 0, None, None, None
        self._data = b"" if was_receiving else data
        super().data_received(data)
        self._data = b""
        if self._waiting is not None:
            return
        answered, self._answered = self._answered, None
        if answered is not None and not self.is_receiving:
            # All that came was answered at once.
            if self._turns == 1 and not was_receiving:
                self._repeats = repeats_of(*answered, data)
            if self._rest is None:
                self._rest = self.loop.call_later(self.timeout_keep_alive, self._rested)
        elif self.parser is not None and not self.transport.is_closing():
            self._look_at_rest(len(data), was_receiving=was_receiving)

    def _look_at_rest(self, size: int, *, was_receiving: bool) -> None:
        """See to a request that has begun, or is answered in a task. size: of what came last."""
        if self._head is not None:
            if _is_soon_whole(self._head):
                if self._deadline is None:
                    self._deadline = self.loop.call_later(_SOON_S, self._wait_no_more)
                return
            self._pass_on()
        if self._is_in_head:
            # Where it begins behind others is not known: it is counted from the next read.
            if self._begins == (0 if was_receiving else 1):
                self._head_bytes += size
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
            self._stall = Stall(self.loop, self.transport, self.settings.stall_s)

    def resume_writing(self) -> None:
        """Go on: the reader took what there was."""
        self._end_stall()
        super().resume_writing()

    # What the parser calls

    def on_message_begin(self) -> None:
        """A request begins."""
        self._is_in_head, self._head_bytes = True, 0
        self._begins += 1
        # What uvicorn's own does beside is done in `_pass_on`, for requests that are its affair.
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """The head of a request is whole."""
        self._is_in_head, self._is_in_body = False, True
        if self._deadline is not None:
            self._disarm()
        if self._is_over:
            return
        if self._is_refused:
            self._refuse(503, "Service Unavailable", b"retry-after: 5\r\n")
            return
        self._head = self._head_now()
        if self._head is None:
            self._pass_on()

    def on_message_complete(self) -> None:
        """The body of a request is whole."""
        self._is_in_body = False
        if self._head is not None:
            if self._deadline is not None:
                self._disarm()
            head, body = self._head, b"".join(self._kept)
            self._head, self._kept = None, []
            self._turns += 1
            parser = self.parser
            keeps = parser.should_keep_alive() and parser.get_http_version() != "1.0"
            self._answer_now(head, body, keeps=keeps)
            self._answered = None if self._rests_since is None else (head, body)
            return
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
        if self._head is not None:
            self._kept.append(body)
        elif not self._is_refused:
            super().on_body(body)

    def on_response_complete(self) -> None:
        """A request was answered."""
        super().on_response_complete()
        if self._refusal is not None:
            if self._is_idle() and not self.transport.is_closing():
                self.transport.write(self._refusal)
                self.transport.close()
        elif self._is_in_head and self._deadline is None:
            self._arm()

    # Requests that are answered at once

    def _head_now(self) -> Head | None:
        """The head that is here, where its request may be answered at once."""
        cycle = self.cycle
        if (
            (cycle is not None and not (cycle.response_complete and not self.pipeline))
            or self._turns >= _TURNS
            or self.flow.write_paused
        ):
            return None
        parsed = httptools.parse_url(self.url)
        path, query = parsed.path, parsed.query or b""
        if (
            not self.application.may_be_now(path, query)
            or self.expect_100_continue
            or not path.isascii()
            or self.parser.should_upgrade()
        ):
            return None
        return Head(
            {
                "method": self.parser.get_method().decode("ascii"),
                "scheme": self.scheme,
                "raw_path": path,
                "query_string": query,
                "headers": self.headers,
            }
        )

    def _answer_now(
        self, head: Head, body: bytes, *, keeps: bool, alone: Repeats | None = None
    ) -> None:
        """Answer the request that is whole, or let it wait: for a sync, or in a task.

        alone: what knows requests like it, where nothing came with it.
        """
        request = Request(head, body)
        exchange = Exchange(self.application, request)
        answer = exchange.now()
        if answer is not None:
            self._write(exchange, answer, keeps=keeps)
            return
        if alone is None and exchange.waits_for is not None and keeps and self._turns == 1:
            alone = repeats_of(head, body, self._data)
        if exchange.waits_for is not None and alone is not None:
            self._repeats = self._rests_since = None
            self._waiting = _Waiting(exchange, alone)
            exchange.hand_over = self._give_to_task
            exchange.waits_for.add_done_callback(self._go_on)
        else:
            self._run(exchange)

    def _run(self, exchange: Exchange) -> None:
        """Let a request go on in a task."""
        before, self.app = self.app, exchange.run
        self._pass_on()
        self.app = before
        super().on_message_complete()

    def _go_on(self, ended: asyncio.Future[None]) -> None:
        """Answer the request that waited, unless it waits for more, or is a task's by now."""
        waiting = self._waiting
        if waiting is None or waiting.exchange.waits_for is not ended:
            return
        answer = waiting.exchange.go_on()
        if answer is None:
            self._give_to_task()
            return
        self._waiting = None
        self._write(waiting.exchange, answer, keeps=True)
        if self._rests_since is None:
            return
        self._repeats = waiting.alone
        if self._rest is None:
            self._rest = self.loop.call_later(self.timeout_keep_alive, self._rested)
        self._take_early()

    def _give_to_task(self) -> None:
        """Let the request that waits, if there is one, go on in a task."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.exchange.hand_over = None
            self._run(waiting.exchange)
            self._take_early()

    def _take_early(self) -> None:
        """Take what came while a request waited."""
        early, self._early = self._early, []
        if early:
            self.flow.resume_reading()
            self.data_received(b"".join(early))

    def _write(self, exchange: Exchange, answer: Answer, *, keeps: bool) -> None:
        """Write an answer that is there, and see to what comes after it."""
        request = exchange.request
        fields = fields_of(answer, request, self.server_state.default_headers)
        if keeps and answer.status >= 400:
            keeps = _CLOSE not in answer.headers
        elif not keeps and _CLOSE not in answer.headers:
            fields.append(_CLOSE)
        self.transport.write(_written(answer, request, fields))
        exchange.end()
        self.server_state.total_requests += 1
        if not keeps:
            self._is_over = self._is_refused = True
            self._repeats = self._rests_since = None
            self.transport.close()
        else:
            self._rests_since = self.loop.time()

    def _pass_on(self) -> None:
        """Let uvicorn answer the request whose head is here, with what was kept of its body."""
        parts, self._kept, self._head = self._kept, [], None
        self._repeats = self._answered = self._rests_since = None
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        self.scope["extensions"] = extensions = dict(_EXTENSIONS)
        if self.parser.get_http_version() == "1.1":
            extensions[PASSING] = {"send": self._pass_part}
        super().on_headers_complete()
        for part in parts:
            super().on_body(part)

    def _pass_part(self, part: bytes) -> bool:
        """Send a part of an answer as a chunk, unless its client is behind or gone."""
        if self.flow.write_paused or self.transport.is_closing():
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(part), part))
        return True

    def _wait_no_more(self) -> None:
        self._deadline = None
        if self._head is not None:
            self._pass_on()

    def _rested(self) -> None:
        """Close a connection that was not used for long."""
        self._rest = None
        if self._rests_since is None or self.transport.is_closing():
            return
        left = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._rest = self.loop.call_later(left, self._rested)
        else:
            self.transport.close()

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
        """Answer once the requests before it are answered, without hearing more, and close."""
        if self.transport.is_closing():
            return
        self._is_refused = True
        text = phrase.encode()
        refusal = (
            b"HTTP/1.1 %d %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n%s"
            b"connection: close\r\n\r\n%s" % (status, text, len(text), header, text)
        )
        if self._is_idle():
            self.transport.write(refusal)
            self.transport.close()
        else:
            self._refusal, self._is_lingering = refusal, True

    def _abort(self) -> None:
        self._deadline = None
        self.transport.abort()

    def _end_stall(self) -> None:
        if self._stall is not None:
            self._stall.end()
            self._stall = None


class _Waiting(NamedTuple):
    """A request that waits without a task, and what knows requests like it."""

    exchange: Exchange
    alone: Repeats


def _is_soon_whole(head: Head) -> bool:
    """Whether a body is small: some clients send it in a packet of its own after the head."""
    length = head.headers.get("content-length", "")
    return length.isdigit() and int(length) <= _SMALL


def _written(answer: Answer, request: Request, fields: list[Header]) -> bytes:
    """An answer as it goes over the wire."""
    lines = b"\r\n".join(map(b": ".join, fields))
    breaks = len(fields) - 1
    if lines.count(b"\n") != breaks or lines.count(b"\r") != breaks:
        raise RuntimeError("a header field with a line break in it")
    body = b"" if request.method == "HEAD" else answer.body
    return b"%b%b\r\n\r\n%b" % (STATUS_LINE[answer.status], lines, body)


def connections(app: App) -> type[Connection]:
    """The class of connections to an application, with its settings."""
    return type("Connection", (Connection,), {"settings": app.settings, "application": app})
