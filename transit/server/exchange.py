"""One request and its answer, from the first look to the last byte.

Owns what is known of it for logs and counts, and how it ends before its time: its client has gone,
or its token was taken back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from transit import TransitError
from transit.protocol.problems import refusal
from transit.server.asgi import Answer, Message, Request, Send, problem_answer, send_answer
from transit.server.gate import Bearer, Gate
from transit.server.refusals import RefusedError

GONE = 499
"""The status that logs have where the client went away before it was answered whole."""


class Served(NamedTuple):
    """What is told of a request: no payload, no name of a stream, no token.

    template: the route; "" where there is none. seconds: until the last byte was handed over.
    token: the name of the token; "" for none. is_live: whether it waits for more. begins_s: seconds
    until the answer began. bytes_in, bytes_out: of bodies. reason: why it was refused, a class of
    error or a status; "" where it was not.
    """

    method: str
    template: str
    status: int
    seconds: float
    request_id: str
    token: str
    is_live: bool
    begins_s: float
    bytes_in: int
    bytes_out: int
    reason: str


class Exchange:
    """One request that is being answered by the current task."""

    def __init__(self, scope: Message, request_id: str) -> None:
        self.scope = scope
        self.request_id = request_id
        self.request: Request | None = None
        self.status = 0
        self.is_sent = False
        self.is_live = False
        self._begins_s = 0.0
        self._bytes_out = 0
        self._reason = ""
        self._began = time.perf_counter()
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[object] = task
        self._gate: Gate | None = None
        self._bearer: Bearer | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._is_gone = False

    def enter(self, gate: Gate, bearer: Bearer | None) -> None:
        """Count it, until its end; `RefusedError` for one too many."""
        gate.enter(bearer, self._task)
        self._gate, self._bearer = gate, bearer

    def watch(self) -> None:
        """End it when the client goes: it may wait for long, and a write does not tell."""
        if self._watcher is None and self.request is not None:
            self._watcher = asyncio.create_task(self.request.gone())
            self._watcher.add_done_callback(self._seen)

    def refuse(self, error: Exception) -> None:
        """Why it is refused."""
        if isinstance(error, RefusedError):
            self._reason = str(error.status)
        elif isinstance(error, TransitError):
            self._reason = type(error).__name__
        else:
            self._reason = "408" if isinstance(error, TimeoutError) else "500"

    def begin(self, answer: Answer) -> None:
        """It is answered from now on."""
        self.status = answer.status
        self._begins_s = time.perf_counter() - self._began
        self._bytes_out = len(answer.body)
        if answer.parts is not None:
            self.watch()
            answer.parts = self._passing(answer.parts)

    async def _passing(self, parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async with aclosing(parts):
            async for part in parts:
                self._bytes_out += len(part)
                yield part

    def _seen(self, watcher: asyncio.Task[None]) -> None:
        if watcher.cancelled() or watcher.exception() is not None or self.is_sent:
            return
        self._is_gone = True
        self._task.cancel()

    async def is_settled(self, send: Send) -> bool:
        """Whether the task was cancelled for a reason that is known here; then it is at its end."""
        if self._is_gone:
            self.status = GONE
            self._task.uncancel()
            return True
        if self._bearer is None or not self._bearer.is_over:
            return False
        self._task.uncancel()
        if self.status:
            await send({"type": "http.response.body", "body": b""})
        else:
            self.status = 401
            problem = refusal(401, "the token was taken back", self.request_id)
            await send_answer(problem_answer(problem), self.request_id, send)
        self.is_sent = True
        return True

    def end(self) -> None:
        """It is over, in whatever way."""
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gate is not None:
            self._gate.leave(self._bearer, self._task)

    def served(self) -> Served:
        """What is told of it."""
        request = self.request
        if request is None:
            template, token, bytes_in = "", "", 0
        else:
            template, token, bytes_in = request.template, request.grant.name, request.bytes_in
        # By place: it is made for each request.
        return Served(
            self.scope["method"],
            template,
            self.status if self.is_sent else GONE,
            time.perf_counter() - self._began,
            self.request_id,
            token,
            self.is_live,
            self._begins_s,
            bytes_in,
            self._bytes_out,
            self._reason,
        )
