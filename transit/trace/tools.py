"""A tool call between its request and its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from transit import InvalidInputError
from transit.trace.enterable import Enterable
from transit.trace.errors import describe
from transit.trace.events import Artifact, ErrorInfo, ToolResult, ToolStatus, check_texts

_Write = Callable[[ToolResult, int | None], int]


class ToolCall(Enterable):
    """A tool call that is open until its outcome is recorded, once.

    As a context manager it records an outcome when none was: success, or how the block was left.
    `offset` is that of the request. Methods return the offset of the result.
    """

    def __init__(self, write: _Write, tool_call_id: str, tool_name: str, offset: int) -> None:
        self._write = write
        self._begun_ns = time.monotonic_ns()
        self._done = False
        self.tool_call_id = tool_call_id
        self.tool_name = tool_name
        self.offset = offset

    def result(
        self,
        value: object = None,
        *,
        duration_ns: int | None = None,
        timestamp: int | None = None,
    ) -> int:
        """The call succeeded; `value` is any value, or an `Artifact`.

        duration_ns: how long it took, where that was measured elsewhere; None: since the request.
        timestamp: when it ended, UTC nanoseconds; None: now. So it is of the other methods.
        """
        return self._end("success", value, None, duration_ns, timestamp)

    def partial(
        self,
        value: object = None,
        *,
        duration_ns: int | None = None,
        timestamp: int | None = None,
    ) -> int:
        """The call gave only a part of its result."""
        return self._end("partial", value, None, duration_ns, timestamp)

    def failure(
        self,
        error: str | BaseException,
        value: object = None,
        *,
        duration_ns: int | None = None,
        timestamp: int | None = None,
    ) -> int:
        """The call failed: with an exception, or with what is said of it."""
        return self._end("failure", value, _said(error), duration_ns, timestamp)

    def timeout(
        self,
        error: str | BaseException = "",
        value: object = None,
        *,
        duration_ns: int | None = None,
        timestamp: int | None = None,
    ) -> int:
        """The call did not end in time."""
        return self._end("timeout", value, _said(error), duration_ns, timestamp)

    def _end(
        self,
        status: ToolStatus,
        value: object,
        error: ErrorInfo | None,
        duration_ns: int | None = None,
        timestamp: int | None = None,
    ) -> int:
        if self._done:
            raise InvalidInputError(f"{self.tool_name} {self.tool_call_id}: has its outcome")
        artifact = value if isinstance(value, Artifact) else None
        if duration_ns is None:
            duration_ns = time.monotonic_ns() - self._begun_ns
        elif type(duration_ns) is not int or duration_ns < 0:
            raise InvalidInputError(f"duration_ns must be 0 or more, not {duration_ns!r}")
        self._done = True
        event = ToolResult(
            tool_call_id=self.tool_call_id,
            tool_name=self.tool_name,
            tool_status=status,
            result=None if artifact else value,
            artifact_id=artifact.artifact_id if artifact else "",
            error=error,
            duration_ns=duration_ns,
            request=self.offset,
        )
        return self._write(event, timestamp)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._done:
            return
        if error is None:
            self._end("success", None, None)
        else:
            status: ToolStatus = "timeout" if isinstance(error, TimeoutError) else "failure"
            self._end(status, None, describe(error))


def _said(error: str | BaseException) -> ErrorInfo:
    if isinstance(error, BaseException):
        return describe(error)
    check_texts(message=error)
    return ErrorInfo(type="", message=error)
