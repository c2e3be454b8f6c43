"""The log of a server: lines of JSON, one for each request and for each thing that went wrong.

    {"time": "2026-11-28T12:00:00.123Z", "event": "request", "method": "GET",
     "path": "/v1/stream/{name}", "status": 200, "ms": 0.7, "id": "…", "token": "builder"}

Owns what may be said: no payload, no name of a stream, no token, no text of an unexpected error. A
thread writes; where nobody reads what it writes, lines are dropped and counted, and the server goes
on.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from typing import Final, Protocol

import msgspec

from transit.server.exchange import Served

LINES_MAX: Final = 10_000
_END_S: Final = 2.0
_GATHER_S: Final = 0.05
_TEXT_MAX: Final = 500
_SOURCES: Final = ("transit", "uvicorn", "asyncio", "granian")


class Target(Protocol):
    """Where lines go: an open binary file."""

    def write(self, data: bytes, /) -> object:
        """Write all of it."""

    def flush(self) -> object:
        """Let others see it."""


class Journal:
    """Lines that are written by a thread, at the most so many waiting; close it at the end."""

    def __init__(self, target: Target, lines_max: int = LINES_MAX) -> None:
        self._target = target
        self._lines: deque[dict[str, object]] = deque()
        self._lines_max = lines_max
        self._lost = 0
        self._is_due, self._is_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="transit-journal", daemon=True)
        self._thread.start()

    def served(self, served: Served) -> None:
        """A request was answered."""
        self.tell(
            "request",
            method=served.method,
            path=served.template,
            status=served.status,
            ms=round(served.seconds * 1000, 3),
            id=served.request_id,
            token=served.token,
        )

    def tell(self, event: str, **fields: object) -> None:
        """Something happened."""
        if len(self._lines) >= self._lines_max:
            self._lost += 1
            return
        self._lines.append({"time": time.time(), "event": event, **fields})
        if not self._is_due.is_set():
            self._is_due.set()

    def close(self) -> None:
        """Write what waits, unless nobody reads it."""
        self._is_over.set()
        self._is_due.set()
        self._thread.join(_END_S)

    def _work(self) -> None:
        while not self._is_over.is_set():
            self._is_due.wait()
            # Many lines are written together: to wake a thread costs more than a line.
            self._is_over.wait(_GATHER_S)
            self._is_due.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        """Write the lines that wait."""
        lines: list[bytes] = []
        if self._lost:
            lost, self._lost = self._lost, 0
            lines.append(_encoded({"time": time.time(), "event": "lost", "lines": lost}))
        while self._lines:
            lines.append(_encoded(self._lines.popleft()))
        try:
            self._target.write(b"".join(lines))
            self._target.flush()
        except (OSError, ValueError):
            # Nobody reads it any more: the server goes on without.
            self._lost += len(lines)


def _encoded(line: dict[str, object]) -> bytes:
    moment = line["time"]
    assert isinstance(moment, float)
    day = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    line["time"] = f"{day}.{int(moment % 1 * 1000):03d}Z"
    return msgspec.json.encode(line) + b"\n"


class _Records(logging.Handler):
    """What libraries and the server log, as lines of the journal."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        """One record; of an exception its kind and where it came from, not what it says."""
        fields: dict[str, object] = {}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            places = traceback.extract_tb(error.__traceback__)
            fields["error"] = type(error).__name__
            fields["stack"] = [f"{place.filename}:{place.lineno} {place.name}" for place in places]
        first = record.getMessage().partition("\n")[0][:_TEXT_MAX]
        self._journal.tell(record.levelname.lower(), text=first, source=record.name, **fields)


class Attached:
    """Loggers whose records go to a journal until this is closed, and nowhere else."""

    def __init__(self, journal: Journal) -> None:
        self._handler = _Records(journal)
        self._loggers = [logging.getLogger(name) for name in _SOURCES]
        self._before = [each.propagate for each in self._loggers]
        for each in self._loggers:
            each.addHandler(self._handler)
            each.propagate = False

    def close(self) -> None:
        """Leave the loggers as they were."""
        for each, propagates in zip(self._loggers, self._before, strict=True):
            each.removeHandler(self._handler)
            each.propagate = propagates
