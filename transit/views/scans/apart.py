"""Queries of strangers, each in a process of its own that holds nothing but what it may read.

Owns these processes: how they are begun, what they are given, and that they end. A query that takes
too long, or that nobody waits for any more, ends with its process, whatever the engine is doing at
that moment: one call of a function can take hours and hears no interrupt. The process is told by
the kernel how much memory it has; it has no environment and no files of the store. It asks for the
rows of a table when the engine reads them, and they are sent to it as they are read here.

    it asks                             it is answered
    "scan", table, columns              a byte, and with b"+" one end of a pair of sockets, from
                                        which it reads an Arrow stream
    "found", size, is_cut               nothing; an Arrow stream of `size` bytes follows
    "refused", text                     nothing

Messages are msgpack after their size in four bytes. What it says is not believed: sizes are checked
before memory is taken, and nothing of it is run.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final, TypeVar

import msgspec
import pyarrow as pa

from transit import ClosedError, InvalidInputError
from transit.views.scans.querying import Found, Limits, Source, too_hungry, too_slow
from transit.views.stopping import Stop

T = TypeVar("T")

MIB: Final = 1024 * 1024
SCANS_MAX: Final = 64
"""Tables that one query may read at the same time, each as often as it does."""
QUERIES_MAX: Final = 200
"""Queries of one process: what an engine keeps of them is let go with it."""
_IDLE_MAX: Final = 8
_BUFFER_BYTES: Final = 256 * 1024
_MESSAGE_BYTES_MAX: Final = 1024 * 1024
_SIZE: Final = struct.Struct("<I")
_CODE: Final = "from transit.views.scans.within import work; work(int(sys.argv[1]))"


class Asked(msgspec.Struct, frozen=True):
    """What a process is asked: a query, the columns of each table, which have offsets, limits."""

    query: str
    tables: dict[str, tuple[str, ...]]
    numbered: tuple[str, ...]
    wanted: int | None
    limits: Limits


class Apart:
    """Runs queries; safe for threads. Closing ends the processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._is_closed = False

    def run(
        self,
        query: str,
        sources: Mapping[str, Source],
        numbered: Collection[str],
        limits: Limits,
        stop: Stop,
        wanted: int | None = None,
    ) -> Found:
        """What `query` gives over `sources`; as `Query.run`, up to the deadline of `stop`.

        `InvalidInputError` for a query that is wrong, not allowed or over a limit, and where nobody
        waits any more; what reading the sources raises.
        """
        process = self._take(limits)
        try:
            with stop.ending(process.kill):
                tables = {name: source.columns for name, source in sources.items()}
                asked = Asked(query, tables, tuple(numbered), wanted, limits)
                found = process.ask(asked, sources, stop.deadline)
        except _EndedError:
            failed = [each.failed for each in sources.values() if each.failed is not None]
            if failed:
                raise failed[0] from None
            if stop.is_set:
                raise InvalidInputError("the query: nobody waits for it any more") from None
            late = time.monotonic() >= stop.deadline
            raise (too_slow(limits) if late else too_hungry(limits)) from None
        except Exception:
            failed = [each.failed for each in sources.values() if each.failed is not None]
            if failed:
                raise failed[0] from None
            raise
        finally:
            self._give_back(process)
        return found

    def close(self) -> None:
        """End all processes that wait for a query, and those that run one once it has ended."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._is_closed = True
        for process in idle:
            process.end()

    def _take(self, limits: Limits) -> _Process:
        with self._lock:
            if self._is_closed:
                raise ClosedError("no more queries are run here")
            for process in tuple(self._idle):
                if process.memory_bytes_max == limits.memory_bytes_max:
                    self._idle.remove(process)
                    if process.is_fit:
                        return process
                    # Ended by somebody else meanwhile.
                    process.end()
        return _Process(limits.memory_bytes_max)

    def _give_back(self, process: _Process) -> None:
        with self._lock:
            is_kept = process.is_fit and not self._is_closed and len(self._idle) < _IDLE_MAX
            if is_kept:
                self._idle.append(process)
        if not is_kept:
            process.end()


class _EndedError(Exception):
    """The process ended before it had answered."""


class _Process:
    """One process, and this end of the sockets to it."""

    def __init__(self, memory_bytes_max: int) -> None:
        self.memory_bytes_max = memory_bytes_max
        self._asked = 0
        self._is_broken = False
        self._end, far = socket.socketpair()
        with far:
            code = f"import sys; sys.path[:] = {sys.path!r}; {_CODE}"
            self._process = subprocess.Popen(
                # -E: the path is given, and nothing else of this process's surroundings.
                [sys.executable, "-E", "-c", code, str(far.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[far.fileno()],
                cwd="/",
                env={"LC_ALL": "C.UTF-8"},
            )

    @property
    def is_fit(self) -> bool:
        """Whether it can take another query."""
        is_there = self._process.poll() is None
        return is_there and not self._is_broken and self._asked < QUERIES_MAX

    def kill(self) -> None:
        """End it now."""
        self._is_broken = True
        self._process.kill()

    def end(self) -> None:
        """End it, and wait until it has."""
        self._end.close()
        self._process.kill()
        self._process.wait()

    def ask(self, asked: Asked, sources: Mapping[str, Source], deadline: float) -> Found:
        """What it finds; `InvalidInputError`, `_EndedError`."""
        self._asked += 1
        # Until it has answered: what comes then would be taken for the answer of another.
        self._is_broken = True
        feeding = _Feeding(sources)
        try:
            found = self._answered(asked, feeding, deadline)
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            raise _EndedError(str(error)) from error
        finally:
            if self._is_broken:
                # What it reads ends with it.
                self._process.kill()
            feeding.end()
        if feeding.problems:
            # An Arrow stream that breaks off looks as one that ends.
            raise feeding.problems[0]
        return found

    def _answered(self, asked: Asked, feeding: _Feeding, deadline: float) -> Found:
        self._end.settimeout(_left(deadline))
        send_message(self._end, asked)
        while True:
            self._end.settimeout(_left(deadline))
            kind, *rest = receive_message(self._end, list)
            if kind == "scan":
                self._open(feeding, *msgspec.convert(rest, tuple[str, list[str]]))
            elif kind == "found":
                size, is_cut = msgspec.convert(rest, tuple[int, bool])
                found = Found(self._table(size, asked.limits, deadline), is_cut)
                self._is_broken = False
                return found
            else:
                (text,) = msgspec.convert(rest, tuple[str])
                self._is_broken = False
                raise InvalidInputError(text)

    def _open(self, feeding: _Feeding, name: str, columns: list[str]) -> None:
        far = feeding.begin(name, columns)
        if far is None:
            self._end.sendall(b"-")
            return
        with far:
            socket.send_fds(self._end, [b"+"], [far.fileno()])

    def _table(self, size: int, limits: Limits, deadline: float) -> pa.Table:
        # An Arrow stream has a little more than the values.
        most = None if limits.bytes_max is None else 2 * limits.bytes_max + MIB
        if size < 0 or (most is not None and size > most):
            raise EOFError("more than was asked for")
        data = bytearray()
        while len(data) < size:
            self._end.settimeout(_left(deadline))
            part = self._end.recv(min(size - len(data), 4 * MIB))
            if not part:
                raise EOFError
            data += part
        try:
            return pa.ipc.open_stream(pa.py_buffer(bytes(data))).read_all()
        except (pa.ArrowException, ValueError) as error:
            raise EOFError(str(error)) from error


class _Feeding:
    """The rows of one query's tables, sent by a thread a scan."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        # What ended reading here, as against what ended it at the other end.
        self.problems: list[Exception] = []
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def begin(self, name: str, columns: list[str]) -> socket.socket | None:
        """The end from which the rows are read; None where they cannot be."""
        source = self._sources.get(name)
        self._threads = [each for each in self._threads if each.is_alive()]
        if source is None or len(self._threads) >= SCANS_MAX:
            return None
        near, far = socket.socketpair()
        self._ends.append(near)
        thread = threading.Thread(
            target=_feed,
            args=(source, columns, near, self.problems),
            name="transit-feed",
            daemon=True,
        )
        self._threads.append(thread)
        thread.start()
        return far

    def end(self) -> None:
        """Send no more, and wait until nothing is read any more."""
        for near in self._ends:
            with suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


def _feed(
    source: Source, columns: list[str], end: socket.socket, problems: list[Exception]
) -> None:
    """Send rows until there are no more, or nobody takes them."""
    # What goes wrong with sending is the other end's affair.
    with suppress(OSError, pa.ArrowException), end, end.makefile("wb", _BUFFER_BYTES) as file:
        try:
            reader = pa.RecordBatchReader.from_stream(source.select(columns))
        except Exception as error:
            problems.append(error)
            return
        writer = pa.ipc.new_stream(file, reader.schema)
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                break
            except Exception as error:
                # Noted before the stream ends: who reads it sees no difference.
                problems.append(error)
                return
            writer.write_batch(batch)
        writer.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


# Messages, for both ends


def send_message(end: socket.socket, value: object) -> None:
    """Send a value."""
    data = msgspec.msgpack.encode(value)
    end.sendall(_SIZE.pack(len(data)) + data)


def receive_message(end: socket.socket, kind: type[T]) -> T:
    """The next value; `EOFError` at the end."""
    (size,) = _SIZE.unpack(_exactly(end, _SIZE.size))
    if size > 4 * _MESSAGE_BYTES_MAX:
        raise EOFError("a message that is too long")
    return msgspec.msgpack.decode(_exactly(end, size), type=kind)


def _exactly(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = end.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data
