"""What the bytes of a WAL file mean: the one place that tells torn from corrupt.

A scan walks the frames of a file and stops at the first bytes that are no valid frame. Then:

    what is there                                              verdict
    ---------------------------------------------------------  ------------------------------------
    end of the file, or zeros to its end                       clean: the log ends here
    a later valid frame whose `durable` lies beyond the place  corrupt: these bytes were synced once
    a whole header whose checksum fails although its magic or  rotten: a write that is cut short, or
      position are right, its last byte is not zero and          whose sectors are missing, does not
      no sector's part of it is all zeros                        look like this: corrupt
    a valid header, its whole body in the file, padding in     rotten, as above: corrupt
      place, no 512-byte sector of it all zeros, wrong sum
    anything else                                              torn: never acknowledged as durable

Opening the store for writing cuts a torn tail and reports it. A file may be made, and written to,
before the files before it are synced, so after a loss of power any of those may be torn, and not
only the newest. The log ends at the first torn place, and later files are removed with the tail,
unless one of them says that the file of that place was durable (`vouches`): then it is corrupt. A
sync makes files durable in the order of the log, so that what was acknowledged as durable never
lies behind a torn place. Corrupt bytes are never cut: opening raises `CorruptError` with the place.

What this cannot see: damage to the last synced frames of a process that was killed, when it zeroes
whole sectors or cuts the file, looks like a write that never finished. A clean close ends with a
mark that says all before it is durable. So every frame of a closed store is known to be durable,
unless the mark itself is lost: cut off, or zeroed together with all from some frame on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from transit.config import MIB
from transit.errors import CorruptError
from transit.format.frame import (
    ALIGNMENT,
    DATA,
    END,
    FRAME_BYTES,
    FRAME_MAGIC,
    MARK,
    PADDING,
    FrameHeader,
    body_is_valid,
    decode_frame_header,
    frame_chunks,
)
from transit.format.record import Chunk
from transit.log.stated import pieces, stated_beyond
from transit.log.wal import READ_BYTES, Wal

SECTOR_BYTES: Final = 512
SCAN_BYTES: Final = MIB
# What may follow the last whole frame: one that is cut short, of the largest size there is.
REST_BYTES_MAX: Final = 5 * 1024 * MIB
LOOK_AGAIN_S: Final = (0.001, 0.004, 0.016, 0.064)


class Cut(msgspec.Struct, frozen=True):
    """A torn tail that opening cut off: `bytes` at `position` of WAL file `path`."""

    path: str
    position: int
    bytes: int


class ScannedFrame(msgspec.Struct, frozen=True, gc=False):
    """A valid frame and its chunks."""

    header: FrameHeader
    chunks: list[Chunk]


def look_ahead(wal: Wal) -> bytes:
    """The first bytes after the tail of a WAL file, for `scan`; empty where there is nothing.

    That is the usual case where several processes write: none of the others did.
    """
    if wal.ended:
        return b""
    ahead = wal.file.read_at(wal.tail, READ_BYTES)
    if not ahead:
        wal.stopped = False
    return ahead


def scan(wal: Wal, ahead: bytes = b"") -> Iterator[ScannedFrame]:
    """The frames from the tail on; advances the tail past each; ends at the first invalid bytes.

    ahead: bytes at the tail that were read a moment ago; empty for none. Raises `CorruptError` when
    a frame's checksums pass and its contents do not.
    """
    window = _Window(wal, ahead)
    while not wal.ended:
        position = wal.tail
        header, slab, at = window.frame(position)
        if header is None or not body_is_valid(header, slab, at, wal.seed):
            wal.stopped = any(slab[at : at + ALIGNMENT])
            return
        place = f"{wal.path}, frame at {position}"
        chunks = frame_chunks(header, slab, at, place, wal.keys)
        if header.kind == DATA and header.written < wal.written:
            raise CorruptError(
                place, expected=f"a time from {wal.written} on", found=str(header.written)
            )
        if header.lsn != wal.next_lsn:
            raise CorruptError(place, expected=f"LSN {wal.next_lsn}", found=str(header.lsn))
        for chunk in chunks:
            chunk.check(place)
        # A mark says that all before it is durable.
        stated = position if header.kind == MARK else min(header.durable, position)
        wal.durable = max(wal.durable, stated)
        wal.vouches = wal.vouches or wal.durable > 0
        wal.recent = (position, chunks)
        frame, stop = ScannedFrame(header, chunks), header.stop
        # Last, and without a call: an interrupt before meets the frame once more, and there is no
        # place for one before it is given.
        if header.kind == DATA:
            if wal.next_lsn == wal.first_lsn:
                wal.begun = header.written
            wal.written = header.written
        wal.tail = stop
        wal.next_lsn += header.records
        wal.marked = header.kind != DATA
        wal.ended = header.kind == END
        yield frame


class _Window:
    """A stretch of a WAL file, read ahead: a little first, in case there is nothing new."""

    def __init__(self, wal: Wal, ahead: bytes) -> None:
        self._wal = wal
        self._slab = ahead
        self._start = wal.tail
        self._next_bytes = SCAN_BYTES if ahead else READ_BYTES

    def frame(self, position: int) -> tuple[FrameHeader | None, bytes, int]:
        """The header at `position`, or None, the bytes around it, and where in them it starts."""
        at = position - self._start
        if at + FRAME_BYTES > len(self._slab):
            self._read(position, 0)
            at = 0
        header = decode_frame_header(self._slab, at, position, self._wal.seed)
        if header is not None and header.stop - self._start > len(self._slab):
            # A size is believed no further than the file goes.
            if header.stop > self._wal.file.size:
                return None, self._slab, at
            self._read(position, header.stop - position)
            at = 0
        return header, self._slab, at

    def _read(self, position: int, size: int) -> None:
        self._slab = self._wal.file.read_at(position, max(size, self._next_bytes))
        self._start = position
        self._next_bytes = SCAN_BYTES


def judge_tail(wal: Wal) -> Cut | None:
    """Judge the bytes after the tail of the last WAL file; a `Cut` to make, or None when clean.

    Raises `CorruptError` when they were durable once. Memory does not grow with their number.
    """
    position, size = wal.tail, wal.file.size
    place = f"{wal.path}, byte {position}"
    if size - position > REST_BYTES_MAX:
        # A file may state any size, and take no space for it.
        raise CorruptError(
            place, expected="the rest of one frame at most", found=f"{size - position} bytes"
        )
    if _only_zeros(wal, position):
        return None
    later = stated_beyond(wal.file, wal.seed, position)
    if later is not None:
        raise CorruptError(
            place, expected="frames that were durable once", found=f"damage before byte {later}"
        )
    if wal.ended:
        raise CorruptError(place, expected="nothing after the end frame", found="more bytes")
    problem = _rotten(wal, position)
    if problem is not None:
        raise CorruptError(place, expected="a whole frame or a torn one", found=problem)
    return Cut(wal.path, position, size - position)


def judge_live(wal: Wal, read_on: Callable[[], object]) -> Cut | None:
    """`judge_tail` beside a living writer, whose frame may be half there when it is looked at.

    A copy of bytes into a file is seen in no particular order, so only what stays as it is, over
    several looks with `read_on` between them, is judged.
    """
    for pause_s in LOOK_AGAIN_S:
        tail = wal.tail
        try:
            return judge_tail(wal)
        except CorruptError:
            time.sleep(pause_s)
        read_on()
        if wal.tail != tail:
            return None
    return judge_tail(wal)


def judge_end(wal: Wal, vouching: str) -> None:
    """Raise `CorruptError` when a later file says that `wal`, which did not end, was durable.

    vouching: the path of that file; empty when none says so. Then what follows the tail is torn,
    with all later files.
    """
    if not wal.ended and vouching:
        raise CorruptError(
            f"{wal.path}, byte {wal.tail}",
            expected=f"frames up to the end frame, because {vouching} says that all were durable",
            found="bytes that are no valid frame",
        )


def vouches(wal: Wal, first_lsn: int) -> bool:
    """Whether `wal`, not scanned yet, says that an earlier file, from that LSN on, was durable."""
    if wal.unsynced_from > first_lsn:
        return True
    if wal.file.size > REST_BYTES_MAX:
        raise CorruptError(wal.path, expected="a WAL file", found=f"one of {wal.file.size} bytes")
    return stated_beyond(wal.file, wal.seed, 0) is not None


def _only_zeros(wal: Wal, position: int) -> bool:
    # Compared, not searched: a preallocated file has a MiB of them.
    return all(data == bytes(len(data)) for _, data in pieces(wal.file, position, wal.file.size, 0))


def _rotten(wal: Wal, position: int) -> str | None:
    """What says that the frame at `position` was whole once; None when nothing does."""
    head = wal.file.read_at(position, FRAME_BYTES)
    if len(head) < FRAME_BYTES:
        return None
    header = decode_frame_header(head, 0, position, wal.seed)
    if header is None:
        known = head[:4] == FRAME_MAGIC or head[8:16] == position.to_bytes(8, "little")
        # A header that lies in two sectors may have reached the disk in part.
        first_part = head[: -position % SECTOR_BYTES or SECTOR_BYTES]
        return "a damaged frame header" if known and any(first_part) and head[-1] else None
    padding = PADDING[header.body_bytes % ALIGNMENT]
    if header.stop > wal.file.size:
        return None
    if wal.file.read_at(header.stop - len(padding), len(padding)) != padding:
        return None
    return None if _has_hole(wal, header) else "a damaged frame body"


def _has_hole(wal: Wal, header: FrameHeader) -> bool:
    """Whether a sector of the file within a frame is all zeros."""
    start = header.position + -header.position % SECTOR_BYTES
    zeros = bytes(SECTOR_BYTES)
    return any(
        data[at : at + SECTOR_BYTES] == zeros
        for _, data in pieces(wal.file, start, header.stop, 0)
        for at in range(0, len(data) - SECTOR_BYTES + 1, SECTOR_BYTES)
    )
