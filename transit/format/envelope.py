"""Envelopes: chunks that are encrypted, each by itself.

Where a store is encrypted, an envelope stands for each chunk (`transit.format.record`), in the
blocks of segments and, if wanted, in frames. Its first 24 bytes are those of a chunk, with flag
128, so that a file can be read through and a chunk be found without a key. All numbers are
little-endian:

    offset  size  field
         0     8  stream id
         8     8  offset of the first record
        16     4  count of records
        20     1  codec of what is encrypted: 0 the chunk as it is, 1 one zstd frame of it
        21     1  cipher: 1, as below
        22     1  0
        23     1  flags: 128
        24     4  size of the chunk
        28     4  size of what follows the envelope's header: ciphertext and tag
        32     8  when the last record was written, signed nanoseconds UTC; in a frame 0
        40     8  id of the key
        48    24  salt, random
        72    32  commitment to the key
       104     .  ciphertext, then the tag, 16

Cipher 1: AES-256-GCM under a key that is used once. With HKDF-SHA256 (RFC 5869):

    secret               = HKDF-Extract(salt, key of the stream)
    key 32, nonce 12,
    commitment 32        = HKDF-Expand(secret, "transit envelope 1", 0, store id 16, header[0:48])

The commitment keeps one ciphertext from opening to two chunks under two keys; what the header
says is in it, so that an envelope opens in its own place only. The salt is random and nothing is
derived from a position: two writers may hold different records at one position after a fence.
Who is given `secret` can open this envelope and no other.

Valid if and only if: codec, cipher, zero and flags are as above, sizes are more than nothing and
at most what a block may hold; when it is opened, the commitment and the tag fit, and the chunk has
the stated size, stream, offset, count and time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

from transit.errors import CorruptError, ErasedError, SealedError
from transit.format.compression import decompress
from transit.format.headers import HeaderMap
from transit.format.record import CHUNK, COUNT_MAX, Chunk

ENVELOPE: Final = struct.Struct("<QQIBBBBIIq8s24s32s")
FLAG: Final = 128
CIPHER: Final = 1
STORED: Final = 0
ZSTD: Final = 1
SALT_BYTES: Final = 24
KEY_ID_BYTES: Final = 8
TAG_BYTES: Final = 16
# As much of the header as the commitment covers.
BOUND_BYTES: Final = 48

# Of one chunk; as `transit.format.segment.BLOCK_BYTES_MAX`, which stands above this module.
_BYTES_MAX: Final = 1024 * 1024 * 1024
_FLAGS_AT: Final = 23


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """An envelope's header, and what it holds. Sizes in bytes; last_written in nanoseconds.

    bound: the header's first 48 bytes. body: ciphertext and tag.
    """

    stream: int
    first: int
    count: int
    codec: int
    chunk_bytes: int
    last_written: int
    key_id: bytes
    salt: bytes
    commitment: bytes
    bound: bytes
    body: bytes


class Opener(Protocol):
    """What has keys. Safe for threads."""

    def opened(self, envelope: Envelope, place: str) -> bytes:
        """What was encrypted: a chunk, or a zstd frame of one.

        `SealedError` without the key, `ErasedError` where that was destroyed, `CorruptError` for
        an envelope that does not open.
        """

    def hidden_key(self, key: int) -> int:
        """The key in the index of an encrypted segment that stands for this one."""


class _NoKeys:
    """What opens nothing."""

    def opened(self, envelope: Envelope, place: str) -> bytes:
        raise SealedError(
            f"{place}: encrypted, and no keyring was given", key=envelope.key_id.hex()
        )

    def hidden_key(self, key: int) -> int:
        return key


NO_KEYS: Final[Opener] = _NoKeys()


def is_envelope(data: bytes | memoryview, position: int) -> bool:
    """Whether what begins at `position`, where a chunk may, is an envelope."""
    return len(data) > position + _FLAGS_AT and data[position + _FLAGS_AT] == FLAG


def encode_header(
    stream: int, first: int, count: int, codec: int, chunk_bytes: int, body_bytes: int,
    last_written: int,
) -> bytes:  # fmt: skip
    """The first 40 bytes of an envelope; the id of its key follows."""
    return ENVELOPE.pack(
        stream, first, count, codec, CIPHER, 0, FLAG, chunk_bytes, body_bytes, last_written,
        b"", b"", b"",
    )[: BOUND_BYTES - KEY_ID_BYTES]  # fmt: skip


def envelope_at(data: bytes, position: int, place: str, limit: int | None = None) -> Envelope:
    """The envelope at `position` of `data`, which ends before `limit`; `CorruptError` for none."""
    fields, end = _header_at(data, position, place, limit)
    stream, first, count, codec, _, _, _, chunk_bytes, _, last, key_id, salt, commitment = fields
    return Envelope(
        stream, first, count, codec, chunk_bytes, last, key_id, salt, commitment,
        data[position : position + BOUND_BYTES], data[position + ENVELOPE.size : end],
    )  # fmt: skip


_Fields = tuple[int, int, int, int, int, int, int, int, int, int, bytes, bytes, bytes]


def _header_at(data: bytes, position: int, place: str, limit: int | None) -> tuple[_Fields, int]:
    """The fields of an envelope's header, checked, and where the envelope ends."""
    limit = len(data) if limit is None else limit
    body_at = position + ENVELOPE.size
    if body_at > limit:
        raise _damage(place, position, "an envelope", f"{limit - position} bytes")
    fields: _Fields = ENVELOPE.unpack_from(data, position)
    _, _, count, codec, cipher, zero, flags, chunk_bytes, body_bytes, *_ = fields
    if (
        codec not in (STORED, ZSTD)
        or (cipher, zero, flags) != (CIPHER, 0, FLAG)
        or not 0 < count <= COUNT_MAX
        or not CHUNK.size <= chunk_bytes <= _BYTES_MAX
        or not TAG_BYTES < body_bytes <= _BYTES_MAX
        or (codec == STORED and body_bytes != chunk_bytes + TAG_BYTES)
    ):
        raise _damage(place, position, "an envelope", "another header")
    if body_at + body_bytes > limit:
        raise _damage(place, position, f"{body_at + body_bytes - position} bytes", str(limit))
    return fields, body_at + body_bytes


def count_and_end(data: bytes, place: str, limit: int) -> tuple[int, int]:
    """How many records an envelope at the beginning of `data` has, and where it ends."""
    fields, end = _header_at(data, 0, place, limit)
    return fields[2], end


def end_of(data: bytes, position: int, place: str, limit: int | None = None) -> int:
    """Where the chunk or envelope at `position` ends; `CorruptError` for neither."""
    if is_envelope(data, position):
        return _header_at(data, position, place, limit)[1]
    return Chunk(data, position, place, limit).end


def chunk_at(
    data: bytes, position: int, place: str, opener: Opener | None, limit: int | None = None
) -> Chunk:
    """The chunk at `position`, out of its envelope if it is in one.

    `CorruptError` for neither, or one that does not open; `SealedError` without its key,
    `ErasedError` where that was destroyed.
    """
    if not is_envelope(data, position):
        return Chunk(data, position, place, limit)
    envelope = envelope_at(data, position, place, limit)
    return chunk_in(envelope, NO_KEYS if opener is None else opener, place)


def chunk_in(envelope: Envelope, opener: Opener, place: str) -> Chunk:
    """The chunk in an envelope; raises as `chunk_at`."""
    where = f"{place}, records {envelope.first} and on of stream {envelope.stream}"
    raw = opener.opened(envelope, where)
    if envelope.codec == ZSTD:
        raw = decompress(raw, envelope.chunk_bytes, where)
    chunk = Chunk(raw, 0, where)
    stated = (envelope.stream, envelope.first, envelope.count, envelope.chunk_bytes)
    found = (chunk.stream, chunk.first, chunk.count, chunk.end)
    if found != stated or len(raw) != chunk.end:
        raise CorruptError(where, expected=f"{stated}", found=f"{found}")
    if chunk.dated and chunk.last_written != envelope.last_written:
        raise CorruptError(
            where,
            expected=f"a last record written at {envelope.last_written}",
            found=f"{chunk.last_written}",
        )
    return chunk


def unfolded_bytes(data: bytes, place: str) -> int:
    """Size of all chunks that are in envelopes, in a block that is filled with envelopes."""
    at = size = 0
    while at < len(data) and is_envelope(data, at):
        fields, at = _header_at(data, at, place, None)
        size += fields[7]
    return size


class HollowChunk(Chunk):
    """A chunk in an envelope whose key was destroyed: where it is, and nothing of its records.

    What asks for those gets `ErasedError`.
    """

    __slots__ = ("_place",)

    def __init__(self, envelope: Envelope, place: str) -> None:
        stream, first, count = envelope.stream, envelope.first, envelope.count
        super().__init__(CHUNK.pack(stream, first, count, 0, 0, 0, 0, 0, 0, 0, 0), 0, place)
        self._place = place

    def _gone(self) -> ErasedError:
        return ErasedError(f"{self._place}: the key of its records was destroyed", state="erased")

    def sizes(self, place: str = "chunk") -> Sequence[int]:
        """As `Chunk.sizes`: `ErasedError`."""
        raise self._gone()

    def payloads(self, start: int = 0, stop: int | None = None) -> list[bytes]:
        """As `Chunk.payloads`: `ErasedError`."""
        raise self._gone()

    @property
    def ends(self) -> Sequence[int]:
        """As `Chunk.ends`: `ErasedError`."""
        raise self._gone()

    def payload(self, place: int) -> bytes:
        """As `Chunk.payload`: `ErasedError`."""
        raise self._gone()

    def headers(self, start: int = 0, stop: int | None = None) -> Iterable[HeaderMap]:
        """As `Chunk.headers`: `ErasedError`."""
        raise self._gone()

    def header(self, place: int) -> HeaderMap:
        """As `Chunk.header`: `ErasedError`."""
        raise self._gone()

    def encoded_headers(self) -> bytes | list[bytes] | None:
        """As `Chunk.encoded_headers`: `ErasedError`."""
        raise self._gone()


def walk(data: bytes, place: str, opener: Opener | None, start: int, stop: int) -> list[Chunk]:
    """Every chunk of `data` from `start` to `stop`, which they fill; hollow where a key is gone.

    `CorruptError`, and `SealedError` without a key.
    """
    chunks: list[Chunk] = []
    while start < stop:
        if is_envelope(data, start):
            envelope = envelope_at(data, start, place, stop)
            try:
                chunk = chunk_in(envelope, NO_KEYS if opener is None else opener, place)
            except ErasedError:
                chunk = HollowChunk(envelope, place)
            start += ENVELOPE.size + len(envelope.body)
        else:
            chunk = Chunk(data, start, place, stop)
            start = chunk.end
        chunks.append(chunk)
    return chunks


def _damage(place: str, position: int, expected: str, found: str) -> CorruptError:
    return CorruptError(f"{place}, byte {position}", expected=expected, found=found)
