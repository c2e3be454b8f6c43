"""Records of a thread: checkpoints and pending writes, as MessagePack.

A record is a MessagePack array; its first item says which kind it is. Bytes of parts are those that
the saver's serializer gave, unchanged.

    ["c", id, ns, parent, base, head, changed, dropped, parts]    a checkpoint
    ["w", id, ns, task, path, writes, parts]                      writes of a task, not yet applied
    ["g"]                                                         the last: the thread was removed

    id, ns, parent   of the checkpoint, as LangGraph names them; parent may be nil
    base             how many records back the parent's record stands, 0 where nothing is of it
    head             number of the part with a list: all else of a checkpoint, and its metadata
    changed          {channel: [version, kind, pieces]}: what differs from the base
    dropped          channels of the base that are gone
    writes           [[index, channel, kind, pieces], ...]
    parts            [[type, bytes, count], ...]; count: items of a list, 0: one value

kind is 0 for a channel without a value, 1 for a value that is one piece, 2 for a list of pieces.
A piece [F, N] with F >= 0 is part N of the record F before, 0 for this one: with a count as many
items of the list, else one. With F < 0 it is N pieces of the same channel's list in the base, from
its piece -F - 1 on. Offsets are those of the stream, so that a branch refers to what it inherits in
the same way.

Valid if and only if each reference leads to a part, or to a list of pieces, that stands before:
`CorruptError` otherwise. Streams say the version in their metadata; a newer one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from transit import CorruptError, Scalar, UnsupportedVersionError

FORMAT: Final = 1
FORMAT_KEY: Final = "adapter_format"

NOTHING: Final = 0
WHOLE: Final = 1
LIST: Final = 2

Version = int | float | str | None
Part = tuple[str, bytes, int]
Piece = tuple[int, int]
Change = tuple[Version, int, list[Piece]]
Write = tuple[int, str, int, list[Piece]]


class CheckpointRecord(msgspec.Struct, frozen=True, array_like=True, tag="c", gc=False):
    """A checkpoint, as its difference from the one before."""

    id: str
    ns: str
    parent: str | None
    base: int
    head: int
    changed: dict[str, Change]
    dropped: list[str]
    parts: list[Part]


class WritesRecord(msgspec.Struct, frozen=True, array_like=True, tag="w", gc=False):
    """What a task wrote after a checkpoint."""

    id: str
    ns: str
    task: str
    path: str
    writes: list[Write]
    parts: list[Part]


class Gone(msgspec.Struct, frozen=True, array_like=True, tag="g", gc=False):
    """The thread, as this stream has it, was removed; a copy may still need it."""


ThreadRecord = CheckpointRecord | WritesRecord

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[ThreadRecord | Gone]] = msgspec.msgpack.Decoder(
    ThreadRecord | Gone
)


def encode(record: ThreadRecord | Gone) -> bytes:
    """The payload of a record."""
    return _encoder.encode(record)


def decode(payload: bytes, place: str) -> ThreadRecord | Gone:
    """The record in a payload. place: what `CorruptError` names."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptError(place, expected="a record of a thread", found=str(error)) from None


def check_format(metadata: Mapping[str, Scalar], name: str) -> None:
    """`UnsupportedVersionError` for a stream that a newer version wrote."""
    found = metadata.get(FORMAT_KEY)
    if found != FORMAT:
        raise UnsupportedVersionError(
            name, found=found if isinstance(found, int) else -1, supported=FORMAT
        )
