"""Bytes made valid again after a fuzzer changed them: checksums, digests, canonical spelling.

A mutation that a checksum refuses tests the checksum. These functions compute what guards the bytes
anew, so that what lies behind it is reached. Each takes any bytes, and returns those it cannot make
sense of as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import msgspec
from blake3 import blake3

from transit.format import frame, segment, snapshot
from transit.format.checksum import checksum, wal_seed
from transit.format.digest import digest
from transit.format.record import CHUNK

Reseal = Callable[[bytes], bytes]
STORE: Final = bytes(range(16))
FRAME_SEED: Final = 7

_UINT64: Final = 2**64 - 1
_CHUNKS_MAX: Final = 1000
_ENTRIES_MAX: Final = 1000
_NO_CHECKSUM: Final = "0" * 16
_encoder: Final = msgspec.json.Encoder(order="sorted")


def wal_header(data: bytes) -> bytes:
    """A WAL file's header with its checksum."""
    sealed = bytearray(data)
    if len(sealed) >= frame.WAL_HEADER.size:
        _put(sealed, frame.WAL_HEADER.size - 8, checksum(bytes(sealed[:56])))
    return bytes(sealed)


def wal(data: bytes) -> bytes:
    """A WAL file with the checksums, positions and padding of its header and frames."""
    return _frames(bytearray(wal_header(data)), deep=False)


def wal_deeply(data: bytes) -> bytes:
    """The same, with the LSNs that follow, and the counts of records that the chunks state."""
    return _frames(bytearray(wal_header(data)), deep=True)


def _frames(sealed: bytearray, *, deep: bool) -> bytes:
    if len(sealed) < frame.WAL_HEADER.size:
        return bytes(sealed)
    *_, store, lsn, _, _, _ = frame.WAL_HEADER.unpack_from(sealed)
    seed, at = wal_seed(store, lsn), frame.WAL_HEADER.size
    while at + frame.FRAME_BYTES <= len(sealed):
        (size,) = struct.unpack_from("<I", sealed, at + 4)
        stop = at + frame.frame_bytes(size)
        if stop > len(sealed):
            break
        if deep:
            records = _records(sealed, at + frame.FRAME_BYTES, size)
            struct.pack_into("<Q", sealed, at + 16, lsn & _UINT64)
            struct.pack_into("<I", sealed, at + 32, records & 0xFFFF_FFFF)
            lsn += records
        one_frame(sealed, at, at, seed)
        at = stop
    return bytes(sealed)


def first_frame(data: bytes) -> bytes:
    """One frame, as if it were the first of its file, with the count that its chunks state."""
    if len(data) < frame.FRAME_BYTES:
        return data
    sealed = bytearray(data)
    # The largest body that its padding still fits behind.
    room = (len(data) - frame.FRAME_BYTES) // frame.ALIGNMENT * frame.ALIGNMENT - 1
    size = min(struct.unpack_from("<I", sealed, 4)[0], room)
    if size < 0:
        return data
    struct.pack_into("<I", sealed, 4, size)
    struct.pack_into("<I", sealed, 32, _records(sealed, frame.FRAME_BYTES, size) & 0xFFFF_FFFF)
    one_frame(sealed, 0, frame.WAL_HEADER.size, FRAME_SEED)
    return bytes(sealed)


def one_frame(sealed: bytearray, at: int, position: int, seed: int) -> None:
    """Seal the frame that starts at `sealed[at:]` for `position` of its file."""
    (size,) = struct.unpack_from("<I", sealed, at + 4)
    body = at + frame.FRAME_BYTES
    struct.pack_into("<Q", sealed, at + 8, position)
    _put(sealed, at + 48, checksum(bytes(sealed[body : body + size]), seed + position & _UINT64))
    _put(sealed, at + frame.FRAME.size, checksum(bytes(sealed[at : at + frame.FRAME.size]), seed))
    padding = frame.PADDING[size % frame.ALIGNMENT]
    sealed[body + size : body + size + len(padding)] = padding


def _records(sealed: bytearray, at: int, size: int) -> int:
    """The sum of the counts in the chunks of a body, as far as they can be followed."""
    stop, records = at + size, 0
    for _ in range(_CHUNKS_MAX):
        if at + CHUNK.size > stop:
            break
        _, _, count, times, sizes, entries, _, _, _, table, payloads = CHUNK.unpack_from(sealed, at)
        records += count
        at += CHUNK.size + max(count - 1, 0) * times
        at += count * (sizes + entries) + table + payloads
    return records


def chunk(data: bytes) -> bytes:
    """A chunk whose header table ends with the last bracket, and whose payloads fill the rest."""
    if len(data) < CHUNK.size:
        return data
    sealed = bytearray(data)
    _, _, count, times, sizes, entries, _, _, size, _, _ = CHUNK.unpack_from(sealed)
    table_at = CHUNK.size + max(count - 1, 0) * times + count * (sizes + entries)
    stop = sealed.rfind(b"]") + 1
    if not table_at < stop:
        return data
    if not sizes:
        del sealed[stop + count * size :]
    struct.pack_into("<IQ", sealed, 36, stop - table_at, len(sealed) - stop)
    return bytes(sealed)


def canonical(data: bytes) -> bytes:
    """JSON in the store's spelling."""
    try:
        return _encoder.encode(msgspec.json.decode(data))
    except (ValueError, RecursionError, OverflowError):
        return data


def commit(data: bytes) -> bytes:
    """A commit with its checksum."""
    try:
        value = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return data
    if not isinstance(value, dict):
        return data
    plain = canonical(_encoder.encode({**value, "checksum": _NO_CHECKSUM}))
    return plain.replace(_NO_CHECKSUM.encode(), f"{checksum(plain):016x}".encode(), 1)


def segment_file(data: bytes) -> bytes:
    """A segment whose blocks, footer and tail fit each other."""
    sealed = bytearray(data)
    tail_at = len(sealed) - segment.TAIL.size
    if tail_at < segment.HEADER.size:
        return data
    (size,) = struct.unpack_from("<I", sealed, tail_at + 32)
    footer_at = tail_at - size
    if footer_at < segment.HEADER.size or size < segment.FOOTER.size:
        return data
    for entry in _entries(footer_at, tail_at):
        position, stored, *_ = segment.ENTRY.unpack_from(sealed, entry)
        if position + stored <= footer_at:
            _entry(sealed, entry, bytes(sealed[position : position + stored]))
    sealed[tail_at : tail_at + 32] = digest(bytes(sealed[footer_at:tail_at]))
    return bytes(sealed)


def _entries(footer_at: int, stop: int) -> range:
    last = stop - segment.ENTRY.size + 1
    start = footer_at + segment.FOOTER.size
    return range(start, last, segment.ENTRY.size)[:_ENTRIES_MAX]


def _entry(sealed: bytearray, at: int, stored: bytes) -> None:
    """Checksum and digest in a footer's entry."""
    _put(sealed, at + 24, checksum(stored))
    sealed[at + 32 : at + 64] = digest(stored)


def snapshot_file(data: bytes) -> bytes:
    """An index snapshot with the digests of its footers and indexes, and its checksum."""
    sealed = bytearray(data)
    if len(sealed) < snapshot.HEADER.size:
        return data
    layers, segments = struct.unpack_from("<II", sealed, 64)
    rows = snapshot.HEADER.size + layers * snapshot.LAYER.size
    at = rows + segments * snapshot.SEGMENT.size
    if at + 8 > len(sealed) or segments > _ENTRIES_MAX:
        return data
    place = at + 8
    for row in range(rows, at, snapshot.SEGMENT.size):
        footer, index = struct.unpack_from("<II", sealed, row + snapshot.SEGMENT.size - 8)
        stop = place + footer
        if stop + index > len(sealed):
            break
        if footer >= segment.FOOTER.size + segment.ENTRY.size:
            _entry(sealed, stop - segment.ENTRY.size, bytes(sealed[stop : stop + index]))
        sealed[row + 40 : row + 72] = digest(bytes(sealed[place:stop]))
        place = stop + index
    _put(sealed, at, checksum(bytes(sealed[:at])))
    return bytes(sealed)


def chain(data: bytes) -> bytes:
    """The lines of a chain, each with its hash and that of the line before."""
    last: str | None = None
    lines = []
    for line in data.split(b"\n"):
        try:
            value = msgspec.json.decode(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or "hash" not in value:
            lines.append(line)
            continue
        del value["hash"]
        last = None if value.get("parent_hash") is None else last
        content = canonical(_encoder.encode({**value, "parent_hash": last}))
        last = blake3(content).hexdigest()
        lines.append(content[:-1] + b',"hash":"' + last.encode() + b'"}')
    return b"\n".join(lines)


def any_file(data: bytes) -> bytes:
    """A file of a store, by its first bytes."""
    kinds: dict[bytes, Reseal] = {
        frame.WAL_MAGIC: wal,
        segment.HEADER_MAGIC: segment_file,
        snapshot.MAGIC: snapshot_file,
    }
    if data[:1] == b"{":
        return commit(data) if b'"checksum"' in data else canonical(data)
    return kinds.get(data[:8], bytes)(data)


def _put(sealed: bytearray, at: int, value: int) -> None:
    struct.pack_into("<Q", sealed, at, value)
