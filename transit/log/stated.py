"""What the frames of a WAL file say of what was durable when they were written.

Owns the search for it in a file, or the rest of one, that a scan cannot read. Leaves what follows
from it to `transit.log.wal` and `transit.log.recover`. Memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from re import finditer
from typing import Final

from transit.config import MIB
from transit.disk import File
from transit.format.frame import ALIGNMENT, FRAME_BYTES, FRAME_MAGIC, MARK, decode_frame_header

PIECE_BYTES: Final = MIB


def pieces(file: File, start: int, stop: int, overlap: int) -> Iterator[tuple[int, bytes]]:
    """The bytes from `start` to before `stop` by pieces; each begins with the end of the last."""
    for at in range(start, stop, PIECE_BYTES):
        data = file.read_at(at, min(PIECE_BYTES + overlap, stop - at))
        if not data:
            return
        yield at, data


def stated_beyond(file: File, seed: int, position: int) -> int | None:
    """Where a valid frame header is that says that more than up to `position` was durable, or None.

    Only what lies behind `position` is searched. For 0: whether any frame says that the file itself
    was durable, and with it all files before it.
    """
    # A header that is cut off in one piece lies whole in the next.
    for start, data in pieces(file, position, file.size, FRAME_BYTES):
        for magic in finditer(FRAME_MAGIC, data):
            at = magic.start()
            found = start + at
            if found > position and found % ALIGNMENT == 0:
                header = decode_frame_header(data, at, found, seed)
                if header is not None and (header.durable > position or header.kind == MARK):
                    return found
    return None
