"""A file of JSON lines for each stream: what a program writes before it thinks about storage."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import ClassVar

import msgspec

from benchmarks.systems.system import Level, System, plain, polled


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line. Payloads are text here, as JSON wants them."""

    time_ns: int
    payload: str


class JsonLines(System):
    """One write a call, to a file opened for appending; no lock, since such writes are atomic."""

    name = "jsonl"
    title = "JSON lines (msgspec)"
    version = msgspec.__version__
    durability: ClassVar = {
        "buffered": "write(2); survives the process",
        "durable": "write(2) and fdatasync(2); survives the power",
    }
    lacks: ClassVar = {
        "batches": "rows only",
        "get": "no index: a record is found by reading all lines before it",
    }

    def _open(self, folder: str, level: Level) -> None:
        self._folder = folder
        self._durable = level == "durable"
        self._files: dict[str, int] = {}
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(Line).decode

    def _path(self, stream: str) -> str:
        return os.path.join(self._folder, plain(stream) + ".jsonl")

    def _file(self, stream: str) -> int:
        fd = self._files.get(stream)
        if fd is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            fd = self._files[stream] = os.open(self._path(stream), flags, 0o666)
        return fd

    def _write(self, stream: str, data: bytes) -> None:
        fd = self._file(stream)
        os.write(fd, data)
        if self._durable:
            os.fdatasync(fd)

    def append_one(self, stream: str, payload: bytes) -> None:
        self._write(stream, self._encode(Line(time.time_ns(), payload.decode())) + b"\n")

    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        now, encode = time.time_ns(), self._encode
        lines = [encode(Line(now, payload.decode())) for payload in payloads]
        self._write(stream, b"\n".join(lines) + b"\n")

    def sync(self) -> None:
        for fd in self._files.values():
            os.fdatasync(fd)

    def replay(self, stream: str) -> Iterator[object]:
        with open(self._path(stream), "rb") as file:
            yield from map(self._decode, file)

    def payload_of(self, row: object) -> bytes:
        assert isinstance(row, Line)
        return row.payload.encode()

    def tail(self, folder: str, stream: str) -> Iterator[bytes]:
        self._open(folder, "buffered")
        with open(self._path(stream), "rb") as file:
            rest = b""

            def look() -> list[bytes]:
                nonlocal rest
                *lines, rest = (rest + file.read()).split(b"\n")
                return [self._decode(line).payload.encode() for line in lines]

            yield from polled(look)

    def fork(self, stream: str, name: str, at: int) -> None:
        with open(self._path(stream), "rb") as source, open(self._path(name), "xb") as target:
            target.writelines(islice(source, at + 1))
        if self._durable:
            os.fdatasync(self._file(name))

    def close(self) -> None:
        for fd in self._files.values():
            os.close(fd)
