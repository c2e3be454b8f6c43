"""What a recording file system writes down: each change of files and names, in order.

Files and folders are numbered, so that a file keeps its number through links and renames; the
root folder is number 1. A trace file holds one change after another, each as a size of 4 bytes,
little-endian, and that many bytes of msgpack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

import msgspec

ROOT: Final = 1


class Named(msgspec.Struct, frozen=True, tag="named"):
    """Names that were given or taken away, all at once: mkdir, create, link, rename, unlink.

    changes: (folder, name, what has the name now: 0 for nothing). made: the file or folder that
    is new with it; 0 for none. folder: whether that is a folder.
    """

    call: str
    changes: tuple[tuple[int, str, int], ...]
    made: int = 0
    folder: bool = False


class Wrote(msgspec.Struct, frozen=True, tag="wrote"):
    """Bytes written into a file; `short` when the file system took only those of more."""

    file: int
    position: int
    data: bytes
    short: bool = False


class Resized(msgspec.Struct, frozen=True, tag="resized"):
    """A file cut or extended with zeros to `size` bytes."""

    file: int
    size: int


class Synced(msgspec.Struct, frozen=True, tag="synced"):
    """fsync or fdatasync of a file, or fsync of a folder."""

    node: int


class Marked(msgspec.Struct, frozen=True, tag="marked"):
    """What the recorded program says about itself at this point."""

    text: str


Change = Named | Wrote | Resized | Synced | Marked

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Change)


class _Sink(Protocol):
    def write(self, data: bytes, /) -> int | None: ...


def put_change(file: _Sink, change: Change) -> None:
    """Append one change to a trace."""
    data = _encoder.encode(change)
    file.write(len(data).to_bytes(4, "little") + data)


def read_trace(path: Path) -> list[Change]:
    """All changes in the trace at `path`."""
    data = path.read_bytes()
    changes: list[Change] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        changes.append(_decoder.decode(data[at + 4 : at + 4 + size]))
        at += 4 + size
    return changes
