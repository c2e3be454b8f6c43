"""What must be so of a store in which something was deleted, after a crash: it can be erased.

Owns the payloads that must be nowhere, and looking for them, as they are and in zstd frames.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import transit

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdError

SECRET: Final = "secret"
"""The stream that is deleted; its payloads have its name in capitals."""
_WORD: Final = b"SECRET"
_FRAME: Final = b"\x28\xb5\x2f\xfd"


class StillThereError(transit.TransitError):
    """Bytes that were erased are there."""


def check_erased(log: transit.Log, root: Path, names: set[str]) -> None:
    """Erase what is gone for readers; then no file may have it, here or in the remote."""
    log.erase()
    if SECRET in names:
        return
    for folder in ("store", "remote"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and any(_WORD in each for each in _unfolded(path.read_bytes())):
                raise StillThereError(f"{path.relative_to(root)}: has what was erased")


def _unfolded(data: bytes) -> Iterator[bytes]:
    yield data
    at = data.find(_FRAME)
    while at >= 0:
        with suppress(ZstdError):
            yield ZstdDecompressor().decompress(data[at:])
        at = data.find(_FRAME, at + 1)
