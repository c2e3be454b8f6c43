"""Envelopes as who verifies meets them: opened, sealed without the key, or erased with it."""

from __future__ import annotations

import msgspec

from transit.errors import ErasedError, SealedError
from transit.format.envelope import NO_KEYS, Opener, chunk_in, envelope_at, is_envelope
from transit.format.record import Chunk


class Closed(msgspec.Struct, frozen=True, gc=False):
    """A chunk in an envelope that does not open here. erased: because its key was destroyed."""

    stream: int
    first: int
    count: int
    last_written: int
    erased: bool


def open_or_tell(
    raw: bytes, position: int, place: str, opener: Opener | None
) -> tuple[Chunk | Closed, bool]:
    """The chunk at a position, and whether it was in an envelope.

    Where that does not open, what it says outside. `CorruptError` where it is damaged.
    """
    if not is_envelope(raw, position):
        return Chunk(raw, position, place), False
    envelope = envelope_at(raw, position, place)
    said = (envelope.stream, envelope.first, envelope.count, envelope.last_written)
    try:
        return chunk_in(envelope, NO_KEYS if opener is None else opener, place), True
    except SealedError:
        return Closed(*said, erased=False), True
    except ErasedError:
        return Closed(*said, erased=True), True
