"""What a process does that runs queries of strangers: see `apart`, which begins it.

Owns its own confinement: no files written, no cores, memory as much as a query has, and an end
when who began it has gone. It holds no store, and reads tables from where it was begun.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import threading
from collections.abc import Iterable
from typing import Final

import msgspec
import pyarrow as pa

from transit import InvalidInputError, TransitError
from transit.views.scans.apart import Asked, receive_message, send_message
from transit.views.scans.querying import Limits, Query, too_hungry

SPARE_BYTES: Final = 512 * 1024 * 1024
"""Memory beside the engine's own: of the interpreter, its threads, and rows on their way."""


class FarTable:
    """A table whose rows are where the process was begun."""

    failed: TransitError | None = None

    def __init__(
        self, end: socket.socket, lock: threading.Lock, name: str, columns: Iterable[str]
    ) -> None:
        self._end, self._lock, self._name = end, lock, name
        self._columns = tuple(columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return self._columns

    def select(self, names: Iterable[str]) -> FarTable:
        """The same rows with some of the columns."""
        wanted = set(names)
        return FarTable(
            self._end, self._lock, self._name, (each for each in self._columns if each in wanted)
        )

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        # The engine asks in threads of its own.
        with self._lock:
            send_message(self._end, ["scan", self._name, self._columns])
            data, ends, _, _ = socket.recv_fds(self._end, 1, 1)
        if data != b"+" or len(ends) != 1:
            raise InvalidInputError(
                "the query: reads its tables too often at the same time: name them once, WITH … AS"
            )
        with socket.socket(fileno=ends[0]) as end:
            return pa.ipc.open_stream(end.makefile("rb")).__arrow_c_stream__(requested_schema)


def work(descriptor: int) -> None:
    """Answer queries until there are no more."""
    end = socket.socket(fileno=descriptor)
    threading.Thread(target=_watch, args=(end,), daemon=True).start()
    is_confined = False
    while True:
        try:
            asked = receive_message(end, Asked)
        except (EOFError, OSError):
            return
        if not is_confined:
            # Loaded before: what it maps is no memory of the query's.
            import duckdb  # noqa: F401

            _confine(asked.limits)
            is_confined = True
        try:
            _answer(end, asked)
        except OSError:
            return


def _answer(end: socket.socket, asked: Asked) -> None:
    lock = threading.Lock()
    tables = {name: FarTable(end, lock, name, columns) for name, columns in asked.tables.items()}
    try:
        found = Query(asked.limits).run(
            asked.query, tables, {}, numbered=asked.numbered, wanted=asked.wanted
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, found.table.schema) as writer:
            writer.write_table(found.table)
        data = sink.getvalue()
    except InvalidInputError as error:
        send_message(end, ["refused", str(error)[:4096]])
    except (MemoryError, pa.ArrowMemoryError):
        send_message(end, ["refused", str(too_hungry(asked.limits))])
    except (pa.ArrowException, msgspec.MsgspecError, ValueError, RecursionError) as error:
        send_message(end, ["refused", f"the query: {error}"[:4096]])
    else:
        send_message(end, ["found", data.size, found.is_cut])
        end.sendall(data)


def _watch(end: socket.socket) -> None:
    """End the process once nobody waits for its answer."""
    poll = select.poll()
    poll.register(end, select.POLLHUP)
    poll.poll()
    os._exit(0)


def _confine(limits: Limits) -> None:
    """Have the kernel hold the limits too."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    most = limits.memory_bytes_max + SPARE_BYTES
    # Linux: all private memory that can be written to, mapped or not.
    resource.setrlimit(resource.RLIMIT_DATA, (_mapped() + most, _mapped() + most))


def _mapped() -> int:
    """Bytes of such memory now; 0 where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            found = [line.split()[1] for line in file if line.startswith("VmData:")]
    except OSError:
        return 0
    return int(found[0]) * 1024 if found else 0
