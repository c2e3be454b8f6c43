"""Many frames of one record each, read as one chunk.

A stream that is appended to record by record has a frame a record. Read one at a time, each costs
more Python than a thousand records of one frame. Here a run of them is read with one call, and each
frame is checked as everywhere; only the objects between are left out.
"""

from __future__ import annotations

from array import array
from typing import Final

from transit.disk import File
from transit.format.checksum import checksum
from transit.format.frame import (
    ALIGNMENT,
    CHECKSUM,
    FRAME,
    FRAME_BYTES,
    FRAME_MAGIC,
    PADDING,
)
from transit.format.record import CHUNK, Chunk, Columns, encode_chunk, measure

_UINT64: Final = 2**64 - 1


def gather(file: File, seed: int, stream: int, first: int, positions: array[int]) -> Chunk | None:
    """The records from offset `first` on, in the frames at all `positions` but the last.

    None when a frame is not valid, or not of one record of `stream`: whoever asks then reads frame
    by frame and finds out.
    """
    start = positions[0]
    slab = file.read_at(start, positions[-1] - start)
    view = memoryview(slab)
    payloads: list[bytes] = []
    times: list[int] = []
    headers: list[bytes] = []
    for offset, position in enumerate(positions[:-1], first):
        at = position - start
        body = at + FRAME_BYTES
        if body + CHUNK.size > len(slab):
            return None
        magic, size, stated, _, _, records, _, body_sum = FRAME.unpack_from(slab, at)
        end = body + size
        padding = PADDING[size % ALIGNMENT]
        if (
            magic != FRAME_MAGIC
            or stated != position
            or records != 1
            or checksum(view[at : at + FRAME.size], seed)
            != CHECKSUM.unpack_from(slab, at + FRAME.size)[0]
            or checksum(view[body:end], seed + position & _UINT64) != body_sum
            or slab[end : end + len(padding)] != padding
        ):
            return None
        found, own, _, _, _, _, _, time, _, table, payload_bytes = CHUNK.unpack_from(slab, body)
        payload = body + CHUNK.size + table
        if found != stream or own != offset or payload + payload_bytes != end:
            return None
        payloads.append(slab[payload:end])
        times.append(time)
        # A table of one entry, without its brackets.
        headers.append(slab[payload - table + 1 : payload - 1] if table else b"{}")
    columns = Columns(payloads, measure(payloads), times, headers)
    data = b"".join(encode_chunk(stream, first, columns))
    return Chunk(data, 0, f"{file.path}, frames from {start}")
