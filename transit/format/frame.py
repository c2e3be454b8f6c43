"""WAL files: a file header, then frames. A frame is the unit of atomicity.

All numbers are little-endian. The file header:

    offset  size  field
         0     8  magic, "TrnstWAL"
         8     4  format version, 1
        12     4  reserved, 0
        16    16  store id
        32     8  log sequence number (LSN) of the file's first record
        40     8  unsynced: count of the records just before that one of which it was not known
                  that they were durable when the file was made; at most the LSN
        48     8  reserved, 0
        56     8  checksum of bytes 0 to 56, seed 0

A frame starts at a multiple of 8:

    offset  size  field
         0     4  magic, "TrFm"
         4     4  body size, bytes
         8     8  position of this frame in its file
        16     8  LSN of the frame's first record, or of the next record where it has none
        24     8  durable: every byte of this file before that position was synced when the frame
                  was written, and where it is not 0, all files before this one and its name too
        32     4  count of records
        36     4  kind: 0 data, 1 mark, 2 end
        40     8  when it was written, signed nanoseconds UTC by the engine's clock
        48     8  checksum of the body, seeded with the file's seed plus the frame's position
        56     8  checksum of bytes 0 to 56, seeded with the file's seed
        64     .  body: chunks (`transit.format.record`), at most one a stream
         .   1-8  padding to a multiple of 8: zeros, and 0xA5 as the last byte

A data frame commits its records, all or none. A mark has no body and says that everything before it
is durable; closing a store writes one. An end frame has no body either and is the file's last: the
next WAL file starts at its LSN. It promises no more than its `durable`: the next file may be made
and written to before this one is synced.

A frame is valid if and only if: magic, position and both checksums fit, the body lies in the file,
and the padding is as above. Its contents must fit too: chunks of distinct streams that fill the
body and hold as many records as stated, in a data frame and in no other, and the time of a data
frame is not before that of the data frame before it. Because the padding ends
in a byte that is not zero, a frame whose last bytes never reached the disk is told from one that
was damaged later (`transit.log.recover`).
Zeros where a frame would start, to the end of the file, are the unused rest of a preallocated file.
A reader refuses a file of another format version. The four bytes at 12 of the file header are one
bit for each thing a reader must know to go on: 1, an envelope (`transit.format.envelope`) stands
for each chunk of its frames; 2, its records are to be encrypted when they are sealed. The others
are reserved, and refused until a reader knows them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from transit.errors import CorruptError, InvalidInputError, UnsupportedVersionError
from transit.format.checksum import checksum
from transit.format.envelope import Opener, walk
from transit.format.preview import refuse_magic
from transit.format.record import CHUNK, Chunk
from transit.format.written import WRITER

FORMAT_VERSION: Final = 1
WAL_MAGIC: Final = b"TrnstWAL"
WAL_HEADER: Final = struct.Struct("<8sII16sQQ8sQ")
FRAME_MAGIC: Final = b"TrFm"
FRAME: Final = struct.Struct("<4sIQQQIIqQ")
CHECKSUM: Final = struct.Struct("<Q")
FRAME_BYTES: Final = FRAME.size + CHECKSUM.size
ALIGNMENT: Final = 8
PADDING: Final = tuple(bytes(size - 1) + b"\xa5" for size in range(ALIGNMENT, 0, -1))
BODY_BYTES_MAX: Final = 2**32 - 1

DATA: Final = 0
MARK: Final = 1
END: Final = 2

# Bits of what a reader must know to go on.
ENVELOPES: Final = 1
TO_BE_ENCRYPTED: Final = 2

_NEEDS: Final = (0, TO_BE_ENCRYPTED, ENVELOPES | TO_BE_ENCRYPTED)
_UINT64: Final = 2**64 - 1
_pack_frame: Final = FRAME.pack
_pack_checksum: Final = CHECKSUM.pack
_pack_chunk: Final = CHUNK.pack
# A chunk of one record without headers: count and widths are one number there, as are both sizes.
_pack_plain: Final = struct.Struct("<QQQqQQ").pack


class WalHeader(NamedTuple):
    """What a WAL file's header says. unsynced: count of records; needs: bits, see above."""

    store_id: bytes
    first_lsn: int
    unsynced: int
    needs: int


class FrameHeader(NamedTuple):
    """A frame's header after its own checksum passed. Sizes and positions are bytes."""

    body_bytes: int
    position: int
    lsn: int
    durable: int
    records: int
    kind: int
    written: int
    body_checksum: int

    @property
    def stop(self) -> int:
        """Where the next frame starts."""
        return self.position + frame_bytes(self.body_bytes)


def frame_bytes(body_bytes: int) -> int:
    """Size of a whole frame around a body of `body_bytes`."""
    return FRAME_BYTES + body_bytes + ALIGNMENT - body_bytes % ALIGNMENT


def encode_wal_header(store_id: bytes, first_lsn: int, unsynced: int = 0, needs: int = 0) -> bytes:
    """The 64 bytes that open a WAL file. needs: `ENVELOPES`, `TO_BE_ENCRYPTED`, both or 0."""
    head = WAL_HEADER.pack(
        WAL_MAGIC, FORMAT_VERSION, needs, store_id, first_lsn, unsynced, bytes(8), 0
    )
    return head[:-8] + CHECKSUM.pack(checksum(head[:-8]))


def decode_wal_header(data: bytes, place: str) -> WalHeader:
    """What a WAL file's first 64 bytes say."""
    if len(data) != WAL_HEADER.size:
        raise CorruptError(place, expected="a WAL header of 64 bytes", found=f"{len(data)} bytes")
    magic, version, needs, store_id, first_lsn, unsynced, zeros, stated = WAL_HEADER.unpack(data)
    if magic != WAL_MAGIC:
        refuse_magic(magic, place)
        raise CorruptError(f"{place}, byte 0", expected=repr(WAL_MAGIC), found=repr(magic))
    if checksum(data[:-8]) != stated:
        raise CorruptError(f"{place}, byte 56", expected="the header's checksum", found="another")
    if version != FORMAT_VERSION:
        raise UnsupportedVersionError(place, found=version, supported=FORMAT_VERSION)
    if needs not in _NEEDS or zeros != bytes(8):
        raise CorruptError(f"{place}, byte 12", expected="reserved zeros", found="others")
    if unsynced > first_lsn:
        raise CorruptError(
            f"{place}, byte 40", expected=f"a count up to {first_lsn}", found=str(unsynced)
        )
    return WalHeader(store_id, first_lsn, unsynced, needs)


def encode_frame(
    body: bytes,
    position: int,
    lsn: int,
    durable: int,
    records: int,
    kind: int,
    written: int,
    seed: int,
) -> bytes:
    """A whole frame around `body`."""
    size = len(body)
    head = FRAME.pack(
        FRAME_MAGIC, size, position, lsn, durable, records, kind, written,
        checksum(body, seed + position & _UINT64),
    )  # fmt: skip
    return b"".join((head, CHECKSUM.pack(checksum(head, seed)), body, PADDING[size % ALIGNMENT]))


def encode_one(  # noqa: PLR0913, PLR0917
    stream: int,
    offset: int,
    timestamp: int,
    headers: bytes,
    payload: bytes,
    position: int,
    lsn: int,
    durable: int,
    written: int,
    seed: int,
    writer: bytes = b"",
) -> bytes:
    """`encode_frame` of one record in one chunk, with fewer steps: most frames are of this kind.

    headers: its encoded headers, empty for none. writer: who wrote it, as `encode_writer` gives it;
    empty for the process that has the store open.
    """
    size = len(payload)
    if headers or writer:
        table = b"[" + headers + b"]" if headers else b""
        flags = WRITER if writer else 0
        body = _pack_chunk(stream, offset, 1, 0, 0, 0, flags, timestamp, size, len(table), size)
        body += writer + table + payload
    else:
        body = _pack_plain(stream, offset, 1, timestamp, size, size) + payload
    body_bytes = len(body)
    head = _pack_frame(
        FRAME_MAGIC, body_bytes, position, lsn, durable, 1, DATA, written,
        checksum(body, seed + position & _UINT64),
    )  # fmt: skip
    padding = PADDING[body_bytes % ALIGNMENT]
    return b"".join((head, _pack_checksum(checksum(head, seed)), body, padding))


def one_chunk(
    stream: int, offset: int, timestamp: int, headers: bytes, payload: bytes, writer: bytes = b""
) -> list[bytes]:
    """The parts of a chunk of one record; arguments as for `encode_one`."""
    size = len(payload)
    table = b"[" + headers + b"]" if headers else b""
    flags = WRITER if writer else 0
    head = _pack_chunk(stream, offset, 1, 0, 0, 0, flags, timestamp, size, len(table), size)
    return [head, writer, table, payload]


def join_frame(
    parts: Sequence[bytes],
    position: int,
    lsn: int,
    durable: int,
    records: int,
    kind: int,
    written: int,
    seed: int,
) -> bytearray:
    """`encode_frame` of the joined `parts`, with one copy less of a large body.

    `InvalidInputError` when a part is not bytes, or the body is larger than a frame can say.
    """
    try:
        frame = bytearray().join((bytes(FRAME_BYTES), *parts))
    except TypeError as error:
        raise InvalidInputError(f"payloads must be bytes: {error}") from None
    size = len(frame) - FRAME_BYTES
    if size > BODY_BYTES_MAX:
        raise InvalidInputError(f"{size} bytes in one frame; it holds {BODY_BYTES_MAX}")
    body = checksum(memoryview(frame)[FRAME_BYTES:], seed + position & _UINT64)
    FRAME.pack_into(
        frame, 0, FRAME_MAGIC, size, position, lsn, durable, records, kind, written, body
    )
    CHECKSUM.pack_into(frame, FRAME.size, checksum(memoryview(frame)[: FRAME.size], seed))
    frame += PADDING[size % ALIGNMENT]
    return frame


def decode_frame_header(data: bytes, at: int, position: int, seed: int) -> FrameHeader | None:
    """The header at `data[at:]`, which lies at `position` of its file; None unless it is valid."""
    if data[at : at + 4] != FRAME_MAGIC or len(data) - at < FRAME_BYTES:
        return None
    if checksum(data[at : at + FRAME.size], seed) != CHECKSUM.unpack_from(data, at + FRAME.size)[0]:
        return None
    header = FrameHeader._make(FRAME.unpack_from(data, at)[1:])
    return header if header.position == position else None


def body_is_valid(header: FrameHeader, data: bytes, at: int, seed: int) -> bool:
    """Whether the frame that starts at `data[at:]` and has this valid header is complete."""
    start = at + FRAME_BYTES
    stop = start + header.body_bytes
    padding = PADDING[header.body_bytes % ALIGNMENT]
    return (
        data[stop : stop + len(padding)] == padding
        and checksum(memoryview(data)[start:stop], seed + header.position & _UINT64)
        == header.body_checksum
    )


def frame_chunks(
    header: FrameHeader, data: bytes, at: int, place: str, opener: Opener | None = None
) -> list[Chunk]:
    """The chunks of the valid frame at `data[at:]`; `CorruptError` when they do not fit it.

    opener: of those in envelopes; without it these raise `SealedError`.
    """
    start = at + FRAME_BYTES
    chunks = walk(data, place, opener, start, start + header.body_bytes)
    for chunk in chunks:
        chunk.date(header.written, place)
    if len({chunk.stream for chunk in chunks}) != len(chunks):
        raise CorruptError(place, expected="one chunk a stream", found="two of one stream")
    if sum(chunk.count for chunk in chunks) != header.records:
        raise CorruptError(place, expected=f"{header.records} records", found="another count")
    if header.kind not in (DATA, MARK, END) or (header.kind == DATA) != bool(chunks):
        raise CorruptError(place, expected="a known frame kind", found=f"kind {header.kind}")
    return chunks
