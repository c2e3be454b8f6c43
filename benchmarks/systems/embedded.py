"""transit itself, through its public surface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

import transit
from benchmarks.systems.system import Columns, Level, System

_DURABILITY: Final = {"buffered": "os", "durable": "local"}


class Transit(System):
    """Default settings."""

    name = "transit"
    title = "transit"
    version = transit.__version__
    durability: ClassVar = {
        "buffered": '"os": written; survives the process',
        "durable": '"local": one fdatasync for all who wait; survives the power',
    }
    fork_by = "reference"
    _log: transit.Log | None = None

    def _open(self, folder: str, level: Level) -> None:
        self._log = transit.open(folder, durability=_DURABILITY[level])
        self._streams: dict[str, transit.Stream] = {}

    @property
    def log(self) -> transit.Log:
        """The open store."""
        assert self._log is not None
        return self._log

    def _stream(self, name: str) -> transit.Stream:
        found = self._streams.get(name)
        if found is None:
            found = self._streams[name] = self.log.create(name)
        return found

    def append_one(self, stream: str, payload: bytes) -> None:
        self._stream(stream).append(payload)

    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        self._stream(stream).append_many(payloads)

    def sync(self) -> None:
        self.log.sync()

    def settle(self) -> None:
        self.log.seal()

    def replay(self, stream: str) -> Iterator[object]:
        return self._stream(stream).read()

    def payload_of(self, row: object) -> bytes:
        assert isinstance(row, transit.Record)
        return row.payload

    def batches(self, stream: str) -> Iterator[Columns]:
        return (Columns(len(batch), batch.data) for batch in self._stream(stream).batches())

    def get(self, stream: str, offset: int) -> bytes:
        return self._stream(stream)[offset].payload

    def tail(self, folder: str, stream: str) -> Iterator[bytes]:
        with transit.open(folder, mode="read") as log:
            for record in log.stream(stream).tail(start=0):
                yield record.payload

    def fork(self, stream: str, name: str, at: int) -> None:
        self._streams[name] = self._stream(stream).branch(name, at)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
