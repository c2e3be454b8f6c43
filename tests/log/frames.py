"""WAL files made frame by frame, so that each says just what its test needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from transit.errors import CorruptError
from transit.format.checksum import wal_seed
from transit.format.frame import (
    DATA,
    FRAME_BYTES,
    WAL_HEADER,
    encode_frame,
    encode_wal_header,
)
from transit.format.names import wal_name
from transit.format.record import CHUNK, Columns, encode_chunk
from transit.log.blocks import BlockCache
from transit.log.recover import Cut, judge_tail, scan
from transit.log.wal import Wal

STORE = bytes(range(16))
START = WAL_HEADER.size
SEED = wal_seed(STORE, 0)


class Made:
    """A WAL file in the making: its bytes so far, and where each frame starts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = encode_wal_header(STORE, 0)
        self.lsn = 0
        self.positions: list[int] = []

    def frame(
        self,
        payload: bytes = b"payload",
        kind: int = DATA,
        durable: int = START,
        lsn: int | None = None,
        body: bytes | None = None,
        written: int = 0,
    ) -> Made:
        """One frame more, of one record unless it is a mark or an end."""
        position = len(self.data)
        if kind != DATA:
            body = b""
        elif body is None:
            columns = Columns([payload], len(payload), 5, None)
            body = b"".join(encode_chunk(7, self.lsn, columns))
        records = int(kind == DATA)
        lsn = self.lsn if lsn is None else lsn
        self.data += encode_frame(body, position, lsn, durable, records, kind, written, SEED)
        self.lsn += records
        self.positions.append(position)
        return self

    def to(self, position: int) -> Made:
        """Frames up to just before `position`, a multiple of 8."""
        around = FRAME_BYTES + CHUNK.size + 8
        gap = position - len(self.data) - around
        assert gap >= 0
        return self.frame(bytes([7]) * gap)

    def raw(self, data: bytes) -> Made:
        """These bytes more."""
        self.data += data
        return self

    def damaged(self, position: int, data: bytes) -> Made:
        """Other bytes at `position`."""
        self.data = self.data[:position] + data + self.data[position + len(data) :]
        return self

    def flipped(self, position: int) -> Made:
        """One bit of the byte at `position` turned round."""
        return self.damaged(position, bytes([self.data[position] ^ 0x10]))

    def open(self) -> Wal:
        """The file, opened, with nothing scanned."""
        (self.path / wal_name(0)).write_bytes(self.data)
        wal = Wal.open(str(self.path), STORE, 0, BlockCache(0), write=False)
        assert wal is not None
        return wal

    def scanned(self) -> Wal:
        """The file, opened and scanned as far as it goes."""
        wal = self.open()
        list(scan(wal))
        return wal

    def judged(self) -> Cut | None:
        """What is said of the bytes after the last frame of a scan."""
        wal = self.scanned()
        return judge_tail(wal)

    def is_cut_at(self, position: int) -> None:
        """Everything from `position` on is taken for torn."""
        expected = Cut(str(self.path / wal_name(0)), position, len(self.data) - position)
        assert self.judged() == expected

    def is_corrupt(self, position: int, expected: str, found: str) -> None:
        """The bytes from `position` on are called corrupt, with this said of them."""
        with pytest.raises(CorruptError) as caught:
            self.judged()
        assert caught.value.place == f"{self.path / wal_name(0)}, byte {position}"
        assert (caught.value.expected, caught.value.found) == (expected, found)


def with_tail(made: Made, data: bytes) -> Made:
    """A file of the same bytes and these after them, which leaves `made` as it is."""
    other = Made(made.path)
    other.data = made.data + data
    return other
