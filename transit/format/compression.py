"""Compression of blocks: one zstd frame that states its content size (RFC 8878).

Decompression trusts nothing: the stated size must be the expected one before memory is taken, and
the output is capped at it whatever the frame says.
"""

from __future__ import annotations

import sys

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
    try:
        stated = get_frame_info(data).decompressed_size
        if stated != raw_bytes:
            raise CorruptError(place, expected=f"{raw_bytes} bytes", found=f"{stated} stated")
        decompressor = ZstdDecompressor()
        raw = decompressor.decompress(data, raw_bytes)
    except ZstdError as error:
        raise CorruptError(place, expected="a zstd frame", found=str(error)) from None
    # A frame that ends has as many bytes as it states.
    if not decompressor.eof or decompressor.unused_data:
        raise CorruptError(place, expected=f"{raw_bytes} bytes", found=f"{len(raw)} or more")
    return raw
