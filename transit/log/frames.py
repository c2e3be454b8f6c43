"""Frames to be: records for some streams, made into one frame, and where it ended.

Owns the limit of a frame's size. Leaves writing to `transit.log.writer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from transit.errors import InvalidInputError
from transit.format.record import CHUNK_BEGIN, COLUMN_PARTS, Columns, encode_chunk
from transit.keyring.envelopes import StoreKeys
from transit.log.catalog import StreamState
from transit.log.wal import Wal


class Written(NamedTuple):
    """Where a frame ends: its file, and the position there that must be durable."""

    wal: Wal
    stop: int


class Group(NamedTuple):
    """Records for one stream in a frame to be."""

    state: StreamState
    columns: Columns


class Frame(NamedTuple):
    """A frame to be: parts to join, count of records, (stream id, first offset) of each chunk."""

    parts: list[bytes]
    records: int
    chunks: list[tuple[int, int]]


def sealed(keys: StoreKeys, state: StreamState, first: int, parts: Sequence[bytes]) -> bytes:
    """A stream's chunk, in an envelope. When it was written, its frame says."""
    try:
        chunk = b"".join(parts)
    except TypeError as error:
        raise InvalidInputError(f"payloads must be bytes: {error}") from None
    count = CHUNK_BEGIN.unpack_from(chunk)[2]
    return keys.sealed(state.record.owner, state.id, first, count, 0, chunk)


def build_frame(
    groups: Sequence[tuple[int, Group]], bytes_max: int, keys: StoreKeys | None = None
) -> Frame:
    """One frame of `groups`, each with its first offset; more than one record has a limit.

    keys: chunks go into envelopes.
    """
    parts: list[bytes] = []
    records = size = 0
    for first, group in groups:
        chunk = encode_chunk(group.state.id, first, group.columns)
        parts += chunk if keys is None else [sealed(keys, group.state, first, chunk)]
        records += len(group.columns.payloads)
        size += group.columns.payload_bytes + sum(map(len, chunk[:COLUMN_PARTS]))
    if size > bytes_max and records > 1:
        raise InvalidInputError(
            f"{size} bytes in one atomic commit; frame_bytes_max is {bytes_max}"
        )
    return Frame(parts, records, [(group.state.id, first) for first, group in groups])
