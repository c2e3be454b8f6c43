"""Many frames of one record each, read as one chunk.

A stream that is appended to record by record has a frame a record. Read one at a time, each costs
more Python than a thousand records of one frame. Here a run of them is read with one call, and each
frame is checked as everywhere; only the objects between are left out.
"""

from __future__ import annotations

import struct
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
# A frame's header, its checksum and the header of its first chunk, read by one call.
_HEAD: Final = struct.Struct(FRAME.format + CHECKSUM.format[1:] + CHUNK.format[1:])


def gather(file: File, seed: int, stream: int, first: int, positions: array[int]) -> Chunk | None:
    """The records from offset `first` on, in the frames at all `positions` but the last.

    None when a frame is not valid, or not of one record of `stream`: the caller then reads frame
    by frame and finds out.
    """
    start = positions[0]
    slab = file.read_at(start, positions[-1] - start)
    payloads: list[bytes] = []
    times: list[int] = []
    written: list[int] = []
    headers: list[bytes] = []
    unpack = _HEAD.unpack_from
    for offset, position in enumerate(positions[:-1], first):
        at = position - start
        if at + _HEAD.size > len(slab):
            return None
        (
            magic, size, stated, _, _, records, _, time_written, body_sum, head_sum,
            found, own, _, _, _, _, flags, time, _, table, payload_bytes,
        ) = unpack(slab, at)  # fmt: skip
        body = at + FRAME_BYTES
        end, payload = body + size, body + CHUNK.size + table
        padding = PADDING[size % ALIGNMENT]
        if (
            head_sum != checksum(slab[at : at + FRAME.size], seed)
            or body_sum != checksum(slab[body:end], seed + position & _UINT64)
            or magic != FRAME_MAGIC
            or stated != position
            or records != 1
            or slab[end : end + len(padding)] != padding
            or found != stream
            or own != offset
            or flags
            or payload + payload_bytes != end
        ):
            return None
        payloads.append(slab[payload:end])
        times.append(time)
        written.append(time_written)
        # A table of one entry, without its brackets.
        headers.append(slab[payload - table + 1 : payload - 1] if table else b"{}")
    columns = Columns(payloads, measure(payloads), times, headers, written)
    data = b"".join(encode_chunk(stream, first, columns))
    return Chunk(data, 0, f"{file.path}, frames from {start}")
