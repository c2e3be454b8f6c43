"""Running a command and recording what it prints, line by line, while it is passed on unchanged.

Owns the child process, the signals on their way to it and the records of one run:

    kind        payload
    ----------  ---------------------------------------------------------------------------------
    tap.start   {"argv": […], "cwd": text, "pid": number, or null when it could not be started}
    tap.stdout  a line without its newline; header partial=true: the output ended without one;
    tap.stderr    header continued=true: the line was longer than a record, the next one goes on
    tap.exit    {"code": number or null, "signal": name or null, "duration_s": seconds}, and
                {"error": text} when the command could not be started

The command reads our standard input itself. What it prints is written to our output before it is
recorded. A command is never held back because recording failed. When the reader of its output is
gone, the command learns it as it would without us: it can no longer write.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from transit import Stream

LINE_BYTES_MAX: Final = 1024 * 1024
NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
FORWARDED: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
RESERVED_HEADERS: Final = frozenset({"kind", "partial", "continued"})
_READ_BYTES: Final = 64 * 1024
_SINKS: Final = {1: "standard output", 2: "standard error"}
_WHOLE: Final[Mapping[str, str]] = {}
_CONTINUED: Final[Mapping[str, str]] = {"continued": "true"}
_PARTIAL: Final[Mapping[str, str]] = {"partial": "true"}


class Outcome(NamedTuple):
    """How a run ended.

    code: as a shell says it: the command's own, or 128 + the signal that ended it.
    failure: why the command could not be started, "" when it was. unwritten: why not all of its
    output could be passed on, "" when it was, or when its reader was gone.
    """

    code: int
    failure: str
    unwritten: str = ""


class Piece(NamedTuple):
    """A line or a part of one, and the headers that say which."""

    payload: bytes
    marks: Mapping[str, str]


class Recorder:
    """Appends records to one stream until an append fails; from then on it only counts.

    error: what failed first, None while nothing has. lost: records not recorded since.
    Safe for threads.
    """

    def __init__(self, stream: Stream, headers: Mapping[str, str]) -> None:
        self.error: Exception | None = None
        self.lost = 0
        self._stream = stream
        self._headers = headers
        self._lock = threading.Lock()

    def note(self, kind: str, facts: Mapping[str, object]) -> None:
        """Record `facts` as JSON."""
        self.take(kind, [Piece(msgspec.json.encode(facts), _WHOLE)])

    def take(self, kind: str, pieces: Sequence[Piece]) -> None:
        """Record `pieces` as one frame."""
        if not pieces:
            return
        with self._lock:
            if self.error is None:
                try:
                    self._append(kind, pieces)
                    return
                except Exception as error:
                    # Whatever it is: an error that got further would stop the reading, and the
                    # command with it. It is told at the end.
                    self.error = error
            self.lost += len(pieces)

    def _append(self, kind: str, pieces: Sequence[Piece]) -> None:
        headers = {**self._headers, "kind": kind}
        payloads = [piece.payload for piece in pieces]
        if any(piece.marks for piece in pieces):
            each = [{**headers, **piece.marks} for piece in pieces]
            self._stream.append_many(payloads, headers=each, durability="os")
        else:
            self._stream.append_many(payloads, headers=headers, durability="os")


class Lines:
    """Cuts bytes as they come into lines; longer ones into pieces of `size_max` bytes."""

    def __init__(self, size_max: int = LINE_BYTES_MAX) -> None:
        self._size_max = size_max
        self._rest = b""

    def feed(self, data: bytes) -> list[Piece]:
        """The lines that `data` completes, and the full pieces of one that goes on."""
        *lines, rest = (self._rest + data).split(b"\n")
        pieces = [piece for line in lines for piece in self._cut(line)]
        *full, last = self._cut(rest)
        self._rest = last.payload
        return pieces + full

    def end(self) -> list[Piece]:
        """What came after the last newline."""
        rest, self._rest = self._rest, b""
        return [Piece(rest, _PARTIAL)] if rest else []

    def _cut(self, line: bytes) -> list[Piece]:
        if len(line) <= self._size_max:
            return [Piece(line, _WHOLE)]
        starts = range(0, len(line), self._size_max)
        parts = [line[start : start + self._size_max] for start in starts]
        return [*(Piece(part, _CONTINUED) for part in parts[:-1]), Piece(parts[-1], _WHOLE)]


class Signals:
    """Holds signals back in every thread started inside its block, so that `wait` can take them.

    Only in the main thread. `before` is the mask that the command is started with.
    """

    def __init__(self) -> None:
        self.before: set[int] = set()
        self._taken = {*FORWARDED, signal.SIGCHLD}

    def __enter__(self) -> Signals:
        # A signal whose default is to be dropped is dropped on some systems although it is blocked.
        self._handler = signal.signal(signal.SIGCHLD, lambda *_: None)
        self.before = set(signal.pthread_sigmask(signal.SIG_BLOCK, self._taken))
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGCHLD, self._handler or signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)

    def wait(self) -> tuple[int, bool]:
        """The next signal, and whether the command got it as well, from the terminal."""
        if sys.platform == "linux":
            told = signal.sigwaitinfo(self._taken)
            # Positive: made by the kernel, which for a key sends it to the whole foreground group.
            return told.si_signo, told.si_code > 0
        number = signal.sigwait(self._taken)
        return number, number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground()


def _in_foreground() -> bool:
    terminals = (number for number in (0, 1, 2) if os.isatty(number))
    return any(os.tcgetpgrp(number) == os.getpgrp() for number in terminals)


def run(
    argv: Sequence[str], recorder: Recorder, signals: Signals, size_max: int = LINE_BYTES_MAX
) -> Outcome:
    """Run the command `argv` and record it; returns when it ended and its output is at an end.

    A process that it left behind may hold its output open; a signal ends the waiting for that.
    """
    started = time.monotonic()
    pipes = os.pipe(), os.pipe()
    try:
        pid = _spawn(argv, pipes[0][1], pipes[1][1], signals.before)
    except OSError as error:
        for number in (*pipes[0], *pipes[1]):
            os.close(number)
        return _not_started(argv, recorder, error)
    for _, inlet in pipes:
        os.close(inlet)
    recorder.note("tap.start", {"argv": _texts(argv), "cwd": _cwd(), "pid": pid})
    pumps = [
        _Pump(outlet, sink, kind, recorder, size_max)
        for (outlet, _), sink, kind in zip(pipes, (1, 2), ("tap.stdout", "tap.stderr"), strict=True)
    ]
    for pump in pumps:
        pump.start()
    status, ended = _attend(pid, pumps, signals)
    code = os.waitstatus_to_exitcode(status)
    facts = {
        "code": code if code >= 0 else None,
        "signal": signal.Signals(-code).name if code < 0 else None,
        "duration_s": round(ended - started, 6),
    }
    recorder.note("tap.exit", facts)
    unwritten = "; ".join(pump.problem for pump in pumps if pump.problem)
    return Outcome(code if code >= 0 else 128 - code, "", unwritten)


def _spawn(argv: Sequence[str], stdout: int, stderr: int, mask: set[int]) -> int:
    # Python ignores these two for itself; a command expects what its own shell would give it.
    defaults = {signal.SIGPIPE, signal.SIGXFSZ}
    actions = [(os.POSIX_SPAWN_DUP2, stdout, 1), (os.POSIX_SPAWN_DUP2, stderr, 2)]
    return os.posix_spawnp(
        argv[0],
        list(argv),
        os.environ,
        file_actions=actions,
        setsigmask=mask,
        setsigdef=defaults,
    )


def _not_started(argv: Sequence[str], recorder: Recorder, error: OSError) -> Outcome:
    code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    problem = f"{_texts(argv)[0]}: {error.strerror}"
    recorder.note("tap.start", {"argv": _texts(argv), "cwd": _cwd(), "pid": None})
    facts = {"code": code, "signal": None, "duration_s": 0.0, "error": problem}
    recorder.note("tap.exit", facts)
    return Outcome(code, problem)


def _texts(argv: Sequence[str]) -> list[str]:
    """Arguments as JSON can hold them: bytes that are no UTF-8 escaped."""
    return [os.fsencode(word).decode("utf-8", "backslashreplace") for word in argv]


def _cwd() -> str:
    try:
        return _texts([os.getcwd()])[0]
    except FileNotFoundError:
        # It was removed under us; the command does not mind.
        return ""


def _attend(pid: int, pumps: Sequence[_Pump], signals: Signals) -> tuple[int, float]:
    """Pass signals on until the command and its output have ended; its status, and when."""
    status, ended = None, 0.0
    while status is None or not all(pump.done for pump in pumps):
        number, has_it = signals.wait()
        if number == signal.SIGCHLD:
            if status is None:
                found, told = os.waitpid(pid, os.WNOHANG)
                status, ended = (told, time.monotonic()) if found else (None, 0.0)
        elif status is not None:
            # Only what the command left behind still runs, and that is not ours to signal.
            break
        elif not has_it:
            os.kill(pid, number)
    return status or 0, ended


class _Pump(threading.Thread):
    """Passes one of the command's outputs on and records it.

    done: it has ended. problem: why it could not be passed on; "" when it was, or its reader is
    gone.
    """

    def __init__(
        self, source: int, sink: int, kind: str, recorder: Recorder, size_max: int
    ) -> None:
        # What a command left behind may keep its output open for ever; we end without it.
        super().__init__(name=kind, daemon=True)
        self.done = False
        self.problem = ""
        self._source = source
        self._sink = sink
        self._kind = kind
        self._recorder = recorder
        self._lines = Lines(size_max)

    def run(self) -> None:
        """Until the output ends, or ours cannot be written any more."""
        try:
            while data := os.read(self._source, _READ_BYTES):
                error = _write_all(self._sink, data)
                self._recorder.take(self._kind, self._lines.feed(data))
                if error is not None:
                    if not isinstance(error, BrokenPipeError):
                        self.problem = f"{_SINKS[self._sink]}: {error.strerror}"
                    break
        finally:
            os.close(self._source)
            self._recorder.take(self._kind, self._lines.end())
            self.done = True
            # The thread that waits for signals looks again.
            os.kill(os.getpid(), signal.SIGCHLD)


def _write_all(sink: int, data: bytes) -> OSError | None:
    """Write all of `data`; why that failed, or None."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(sink, rest) :]
        except BlockingIOError:
            # Another process made our output non-blocking; the command need not know.
            select.select([], [sink], [])
        except OSError as error:
            return error
    return None
