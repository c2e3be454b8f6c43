"""Compression of blocks: one zstd frame that states its content size (RFC 8878).

Decompression trusts nothing: the stated size must be the expected one before memory is taken, and
the output is capped at it whatever the frame says.
"""

from __future__ import annotations

import io
import sys

from transit.config import MIB
from transit.errors import CorruptError

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor, ZstdDecompressor, ZstdError, get_frame_info
else:
    from backports.zstd import ZstdCompressor, ZstdDecompressor, ZstdError, get_frame_info


def compress(data: bytes, level: int) -> bytes:
    """`data` as one zstd frame."""
    # All of it in one call: then the frame states its size.
    return ZstdCompressor(level=level).compress(data, ZstdCompressor.FLUSH_FRAME)


def decompress(data: bytes, raw_bytes: int, place: str) -> bytes:
    """The `raw_bytes` bytes in `data`; `CorruptError` when it is anything else."""
    decompressor = _decompressor(data, raw_bytes, place)
    try:
        raw = decompressor.decompress(data, min(raw_bytes, MIB))
        if not decompressor.eof:
            raw = _with_the_rest(raw, decompressor, raw_bytes)
    except ZstdError as error:
        raise CorruptError(place, expected="a zstd frame", found=str(error)) from None
    # A frame that ends has as many bytes as it states.
    if not decompressor.eof or decompressor.unused_data:
        raise CorruptError(place, expected=f"{raw_bytes} bytes", found=f"{len(raw)} or more")
    return raw


def beginning(data: bytes, size: int, raw_bytes: int, place: str) -> bytes:
    """The first `size` of the `raw_bytes` bytes in `data`, without memory for the rest."""
    decompressor = _decompressor(data, raw_bytes, place)
    try:
        found = decompressor.decompress(data, size)
    except ZstdError as error:
        raise CorruptError(place, expected="a zstd frame", found=str(error)) from None
    if len(found) < size:
        raise CorruptError(place, expected=f"{raw_bytes} bytes", found=f"{len(found)}")
    return found


def _decompressor(data: bytes, raw_bytes: int, place: str) -> ZstdDecompressor:
    """One for `data`, which must state that it holds `raw_bytes` bytes."""
    try:
        stated = get_frame_info(data).decompressed_size
    except ZstdError as error:
        raise CorruptError(place, expected="a zstd frame", found=str(error)) from None
    if stated != raw_bytes:
        raise CorruptError(place, expected=f"{raw_bytes} bytes", found=f"{stated} stated")
    return ZstdDecompressor()


def _with_the_rest(part: bytes, decompressor: ZstdDecompressor, raw_bytes: int) -> bytes:
    """`part` and what comes after it, in steps: at once, zstd would hold all of it twice."""
    raw = io.BytesIO()
    while part:
        raw.write(part)
        # Nothing comes when the frame ended, was cut, or holds more than it says.
        left = min(raw_bytes - raw.tell(), MIB)
        part = b"" if decompressor.eof else decompressor.decompress(b"", left)
    return raw.getvalue()
