"""Looking for bytes that must be nowhere: as they are, and in every zstd frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from transit.format import compression

CANARY: Final = b"canary-7f3a9b"
_FRAME: Final = b"\x28\xb5\x2f\xfd"


def has(data: bytes, word: bytes = CANARY) -> bool:
    """Whether the word is in the bytes, or in a frame in them once that is unfolded."""
    return any(word in each for each in unfolded(data))


def unfolded(data: bytes) -> Iterator[bytes]:
    """The bytes, and each zstd frame in them unfolded."""
    yield data
    at = data.find(_FRAME)
    while at >= 0:
        with suppress(compression.ZstdError):
            yield compression.ZstdDecompressor().decompress(data[at:])
        at = data.find(_FRAME, at + 1)


def places_with(folder: Path, word: bytes = CANARY) -> list[str]:
    """The files below a folder that have the word."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [str(path.relative_to(folder)) for path in files if has(path.read_bytes(), word)]
