"""One request and its answer, from the first look to the last byte.

Owns what is known of it for logs and counts, and how it ends before its time: its client has gone,
or its token was taken back.

How it is answered is one coroutine, `Answering.respond`, and there are two ways to go through it.
`run` does so in a task, waits where it waits, and sends messages of ASGI. `now` takes its first
step without a task: where the whole body is here, most answers wait for nothing and are there after
that step. One that waits for a sync can go on where that ends (`waits_for`, `go_on`). One that
waits for anything else (a thread, a remote, a client) has begun, and `run` goes on with it. So both
ways check and do the same, and neither does anything twice. `asyncio.timeout` needs a task:
what may come to it in its first step is not for `now`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Protocol

import msgspec

from transit import TransitError
from transit.protocol.problems import refusal
from transit.server.asgi import (
    PASSING,
    WATCHED,
    Answer,
    Message,
    Receive,
    Request,
    Send,
    problem_answer,
    send_answer,
)
from transit.server.gate import Bearer, Gate
from transit.server.refusals import RefusedError
from transit.server.settings import ServerSettings
from transit.server.soon import Reached, going_on

GONE = 499
"""The status that logs have where the client went away before it was answered whole."""


class Served(msgspec.Struct, frozen=True, gc=False):
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


class Answering(Protocol):
    """What answers requests. observers: told of each of them."""

    settings: ServerSettings
    observers: list[Callable[[Served], object]]

    def respond(self, exchange: Exchange) -> Coroutine[Any, Any, Answer | None]:
        """The answer, whatever happens; None where the client has gone."""


class Exchange:
    """One request that is being answered: by `now` and `go_on`, or by `run`, be it after these."""

    # Here and not in `__init__`: it is called for each request, and most leave some as they are.
    status = 0
    is_sent = False
    is_live = False
    _begins_s = 0.0
    _bytes_out = 0
    _reason = ""
    _is_gone = False
    _task: asyncio.Task[object] | None = None
    _watcher: asyncio.Task[None] | None = None
    _pass: Callable[[bytes], bool] | None = None
    waits_for: Reached | None = None
    """What the answer waits for, where `go_on` may be called once that has ended."""
    hand_over: Callable[[], object] | None = None
    """Has `run` called now, for one that waits without a task."""
    gate: Gate | None = None
    """Where it is counted, once it was let in; it leaves at its end."""
    bearer: Bearer | None = None
    """Whose it is, where tokens are asked for."""

    def __init__(self, answering: Answering, request: Request) -> None:
        self.request = request
        self._answering = answering
        self._steps = answering.respond(self)
        # What leads to the answer from here.
        self._rest: Awaitable[Answer | None] = self._steps
        self._began = time.perf_counter()

    def now(self) -> Answer | None:
        """The answer, a body and no parts, where it is there without waiting; then call `end`.

        None: it waits. Where it `waits_for` something, `go_on` may be called after that; or `run`
        must go on with it, as in all other cases.
        """
        try:
            waits_for = self._steps.send(None)
        except StopIteration as done:
            answer: Answer | None = done.value
            if answer is not None and answer.parts is None:
                # As `_begin` does.
                self.status = answer.status
                self._begins_s = time.perf_counter() - self._began
                self._bytes_out = len(answer.body)
                self.is_sent = True
                return answer
            self._rest = _given(answer)
        else:
            self._rest = going_on(self._steps, waits_for)
            if type(waits_for) is Reached:
                self.waits_for = waits_for
        return None

    def go_on(self) -> Answer | None:
        """As `now`, once what it `waits_for` has ended."""
        self.waits_for = None
        # `run` tells a client whose token was taken back.
        is_over = self.bearer is not None and self.bearer.is_over
        return None if is_over else self.now()

    async def run(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer it in the current task, by messages of ASGI."""
        task = self._task = asyncio.current_task()
        assert task is not None
        self.request.receive, self.request.watch = receive, self.watch
        passing = scope.get("extensions", {}).get(PASSING)
        if passing is not None:
            self._pass, self.request.send_now = passing["send"], self._send_now
        if self.bearer is not None and self.bearer.is_over:
            # Between `now` and this task.
            task.cancel()
        try:
            await self._send(scope, send)
        except asyncio.CancelledError:
            if not await self._is_settled(task, send):
                raise
        finally:
            # Each would keep the other, and the body, until they are collected.
            self.request.watch = self.request.send_now = None
            self.end()

    async def _send(self, scope: Message, send: Send) -> None:
        answer = await self._rest
        if answer is None:
            return
        self._begin(answer)
        if answer.parts is not None:
            self.watch()
            answer.parts = self._passing(answer.parts)
        # Our own connections look whether a reader moves; of another server's a send must end.
        is_watched = WATCHED in scope.get("extensions", ())
        stall_s = None if is_watched else self._answering.settings.stall_s
        try:
            await send_answer(answer, self.request, send, stall_s=stall_s)
        except TimeoutError:
            return
        self.is_sent = True

    def cut(self) -> None:
        """End it: its token was taken back."""
        if self._task is not None:
            self._task.cancel()
        elif self.hand_over is not None:
            self.hand_over()

    def watch(self) -> None:
        """End it when the client goes: it may wait for long, and a write does not tell."""
        if self._watcher is None and self._task is not None:
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

    def _begin(self, answer: Answer) -> None:
        """It is answered from now on."""
        self.status = answer.status
        self._begins_s = time.perf_counter() - self._began
        self._bytes_out = len(answer.body)

    async def _passing(self, parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async with aclosing(parts):
            async for part in parts:
                self._bytes_out += len(part)
                yield part

    def _send_now(self, part: bytes) -> bool:
        """Send a part while the task waits for the next one; False: there is no room for it."""
        if self._pass is None or not self._pass(part):
            return False
        self._bytes_out += len(part)
        return True

    def _seen(self, watcher: asyncio.Task[None]) -> None:
        if watcher.cancelled() or watcher.exception() is not None or self.is_sent:
            return
        self._is_gone = True
        if self._task is not None:
            self._task.cancel()

    async def _is_settled(self, task: asyncio.Task[object], send: Send) -> bool:
        """Whether the task was cancelled for a reason that is known here; then it is at its end."""
        if self._is_gone:
            self.status = GONE
            task.uncancel()
            return True
        if self.bearer is None or not self.bearer.is_over:
            return False
        task.uncancel()
        if self.status:
            await send({"type": "http.response.body", "body": b""})
        else:
            self.status = 401
            problem = refusal(401, "the token was taken back", self.request.id)
            await send_answer(problem_answer(problem), self.request, send)
        self.is_sent = True
        return True

    def end(self) -> None:
        """It is over, in whatever way: who observes is told."""
        if self._watcher is not None:
            self._watcher.cancel()
        if self.gate is not None:
            self.gate.leave(self.bearer, self)
        request = self.request
        # By place: it is made for each request.
        served = Served(
            request.method,
            request.template,
            self.status if self.is_sent else GONE,
            time.perf_counter() - self._began,
            request.id,
            request.grant.name,
            self.is_live,
            self._begins_s,
            request.bytes_in,
            self._bytes_out,
            self._reason,
        )
        for observer in self._answering.observers:
            observer(served)


async def _given(answer: Answer | None) -> Answer | None:
    return answer
