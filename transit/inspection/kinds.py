"""Which kind of file it is, by what its first bytes look like; names and places decide nothing.

A magic may have one byte wrong, and a document a few of its keys: a damaged file is shown as what
it was, with what is wrong.
"""

from __future__ import annotations

import re
from typing import Final

from transit.format import frame, preview, segment, snapshot
from transit.inspection.report import FileKind

_MAGICS: Final[tuple[tuple[bytes, FileKind], ...]] = (
    (frame.WAL_MAGIC, "wal"),
    (segment.HEADER_MAGIC, "segment"),
    (snapshot.MAGIC, "index"),
    # Of 0.1.0, which is told by its check.
    (preview.MAGICS[0], "wal"),
    (preview.MAGICS[1], "segment"),
    (preview.MAGICS[3], "index"),
)
_COMMIT_START: Final = b'{"checksum":"'
_COMMIT_KEYS: Final = (
    b'"checksum"', b'"epoch"', b'"format"', b'"number"', b'"previous"', b'"segments"', b'"store"',
    b'"tree"', b'"write_id"',
)  # fmt: skip
_HEAD_KEYS: Final = (b'"format"', b'"index"', b'"transit-head"', b'"number"', b'"store"')
_HEAD_START: Final = b'{"format":1,"index":'
_FORMAT_KEYS: Final = (b'"format"', b'"transit-store"', b'"store"')
_FORMAT_START: Final = b'{"format":1,"kind":"tr'
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\x00-\x1f\x7f]*")
_ADDRESS_BYTES_MAX: Final = 4096
# A process id, and the namespace it counts in, where the system has any.
_PROCESS: Final = re.compile(rb"[0-9]{1,19}( pid:\[[0-9]{1,20}\])?\n?")


def kind_of_bytes(head: bytes, size: int) -> FileKind | None:
    """The kind of the file of `size` bytes that begins with `head`; None for no file of a store."""
    for magic, kind in _MAGICS:
        same = sum(map(int.__eq__, head, magic))
        if len(head) >= len(magic) and same >= len(magic) - 1:
            return kind
    if head[:1] == b"{":
        return _kind_of_document(head)
    if _PROCESS.fullmatch(head):
        return "lock"
    if size <= _ADDRESS_BYTES_MAX and _ADDRESS.fullmatch(head.decode(errors="replace")):
        return "remote"
    return None


def _kind_of_document(head: bytes) -> FileKind | None:
    if head.startswith(_COMMIT_START) or _count(head, _COMMIT_KEYS) >= len(_COMMIT_KEYS) - 1:
        return "commit"
    if head.startswith(_HEAD_START) or _count(head, _HEAD_KEYS) >= len(_HEAD_KEYS) - 1:
        return "head"
    if head.startswith(_FORMAT_START) or _count(head, _FORMAT_KEYS) >= len(_FORMAT_KEYS) - 1:
        return "format"
    return None


def _count(head: bytes, keys: tuple[bytes, ...]) -> int:
    return sum(key in head for key in keys)
