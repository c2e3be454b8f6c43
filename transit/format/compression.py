"""Compression of blocks: one zstd frame that states its content size (RFC 8878).

Decompression trusts nothing: the stated size must be the expected one before memory is taken, and
the output is capped at it whatever the frame says.
"""

from __future__ import annotations

import io
import sys
from typing import Final

from transit.errors import CorruptError

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor, ZstdDecompressor, ZstdError, get_frame_info
else:
    from backports.zstd import ZstdCompressor, ZstdDecompressor, ZstdError, get_frame_info

# Output of one step: asked for all of it at once, zstd holds large output twice for a moment.
_STEP_BYTES: Final = 4 * 1024 * 1024


def compress(data: bytes, level: int) -> bytes:
    """`data` as one zstd frame."""
    # All of it in one call: then the frame states its size.
    return ZstdCompressor(level=level).compress(data, ZstdCompressor.FLUSH_FRAME)


def decompress(data: bytes, raw_bytes: int, place: str) -> bytes:
    """The `raw_bytes` bytes in `data`; `CorruptError` when it is anything else."""
    decompressor = _decompressor(data, raw_bytes, place)
    try:
        raw = decompressor.decompress(data, min(raw_bytes, _STEP_BYTES))
        if raw_bytes > _STEP_BYTES:
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


def _with_the_rest(first: bytes, decompressor: ZstdDecompressor, raw_bytes: int) -> bytes:
    raw = io.BytesIO()
    raw.write(first)
    while not decompressor.eof and raw.tell() < raw_bytes:
        part = decompressor.decompress(b"", min(raw_bytes - raw.tell(), _STEP_BYTES))
        if not part:
            # The data ended before the frame did.
            break
        raw.write(part)
    return raw.getvalue()
