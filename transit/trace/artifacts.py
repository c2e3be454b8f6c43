"""Artifacts: large payloads kept once, by digest, in streams of their own.

The bytes with BLAKE3 digest D are the records of stream `artifact/D` of the layer `trace`, back to
back; its metadata says how many there are. So they are sealed, published, restored and audited like
all else, and brought along by a rebase. What is read is checked against the digest.
"""

from __future__ import annotations

from typing import Final

from blake3 import blake3

from transit import (
    AlreadyExistsError,
    ConflictError,
    CorruptError,
    InvalidInputError,
    Log,
    NotFoundError,
    Stream,
)
from transit.trace.events import Artifact

LAYER: Final = "trace"
_PREFIX: Final = "artifact/"
# One frame holds several; a record of this size compresses as well as a larger one.
_PIECE_BYTES: Final = 1024 * 1024


def artifact_stream(digest: str) -> str:
    """Name in the store of the stream that holds the bytes with this digest."""
    return f"${LAYER}/{_PREFIX}{digest}"


def store_bytes(log: Log, data: bytes, digest: str, durability: str) -> str:
    """Keep `data` unless the store has it; the name of its stream.

    A writer that died in the middle left a beginning, which is gone on with.
    """
    layer, name = log.layer(LAYER), f"{_PREFIX}{digest}"
    try:
        stream = layer.create(name, {"byte_length": len(data)}, durability=durability)
    except AlreadyExistsError:
        stream = layer.stream(name)
    piece = min(_PIECE_BYTES, log.settings.record_bytes_max)
    count, done = _held(stream)
    while done < len(data):
        try:
            stream.append(data[done : done + piece], expect=count, durability=durability)
            count, done = count + 1, done + piece
        except ConflictError:
            # Another writer keeps the same bytes at this moment: go on after it.
            count, done = _held(stream)
    return stream.name


def _held(stream: Stream) -> tuple[int, int]:
    """Count of records, and their bytes."""
    sizes = [len(record.payload) for record in stream.read()]
    return len(sizes), sum(sizes)


def read_artifact(log: Log, artifact: Artifact) -> bytes:
    """The bytes of an artifact, checked against its digest.

    `NotFoundError` when the store does not hold them, `CorruptError` when they are others.
    """
    if not isinstance(artifact, Artifact):
        raise InvalidInputError(f"not an artifact: {artifact!r}")
    stream = log.stream(artifact.ref)
    data = b"".join(record.payload for record in stream.read())
    if len(data) < artifact.byte_length and _is_beginning(stream, data):
        raise NotFoundError(f"{artifact.ref}: only {len(data)} of {artifact.byte_length} bytes")
    found = blake3(data).hexdigest()
    if found != artifact.digest:
        raise CorruptError(artifact.ref, expected=f"digest {artifact.digest}", found=found)
    return data


def read_stored(log: Log, name: str) -> bytes:
    """The bytes that `store_bytes` kept in this stream, checked as those of an artifact are."""
    stem, _, digest = name.rpartition("/")
    stream = log.stream(name)
    data = b"".join(record.payload for record in stream.read())
    found = blake3(data).hexdigest()
    if f"{stem}/" != f"${LAYER}/{_PREFIX}" or found != digest:
        raise CorruptError(name, expected=f"digest {digest}", found=found)
    return data


def _is_beginning(stream: Stream, data: bytes) -> bool:
    length = stream.metadata.get("byte_length")
    return isinstance(length, int) and len(data) < length
