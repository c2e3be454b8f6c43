"""The keys of one open store: chunks into envelopes, and out of them.

Owns how a key of the keyring becomes the one that encrypts a chunk. What an envelope is, is for
`transit.format.envelope`; which keys there are, for `transit.keyring.keyring`.
"""

from __future__ import annotations

import hmac
import os
from typing import Final

from transit.errors import CorruptError, ErasedError, SealedError
from transit.format.compression import compress
from transit.format.digest import keyed_digest
from transit.format.envelope import (
    SALT_BYTES,
    STORED,
    TAG_BYTES,
    ZSTD,
    Envelope,
    encode_header,
)
from transit.format.frame import ENVELOPES, TO_BE_ENCRYPTED
from transit.format.record import CHUNK
from transit.keyring.keyring import Key, Keyring
from transit.keyring.masters import ciphers

_LABEL: Final = b"transit envelope 1\0"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_HASH: Final = "sha256"


def secret_of(key: bytes, salt: bytes) -> bytes:
    """The secret of one envelope: what opens it, and no other (HKDF-Extract, RFC 5869)."""
    return hmac.digest(salt, key, _HASH)


def _expanded(secret: bytes, store_id: bytes, bound: bytes) -> tuple[bytes, bytes, bytes]:
    """Key, nonce and commitment (HKDF-Expand)."""
    info = _LABEL + store_id + bound
    first = hmac.digest(secret, info + b"\1", _HASH)
    second = hmac.digest(secret, first + info + b"\2", _HASH)
    third = hmac.digest(secret, second + info + b"\3", _HASH)
    rest = second + third
    return first, rest[:_NONCE_BYTES], rest[_NONCE_BYTES : _NONCE_BYTES + _KEY_BYTES]


def open_with(secret: bytes, store_id: bytes, envelope: Envelope, place: str) -> bytes:
    """What an envelope's secret shows: a chunk, or a zstd frame of one.

    `CorruptError` for another secret, another store or place, and changed bytes.
    """
    key, nonce, commitment = _expanded(secret, store_id, envelope.bound)
    if not hmac.compare_digest(commitment, envelope.commitment):
        raise CorruptError(
            place, expected="the commitment to the key", found="another key, place or header"
        )
    opened: bytes | None = ciphers().unseal(key, nonce, envelope.body, b"")
    if opened is None:
        raise CorruptError(place, expected="what was encrypted", found="changed bytes")
    return opened


class OneSecret:
    """What opens one envelope, by its secret; an `Opener`."""

    def __init__(self, secret: bytes, store_id: bytes) -> None:
        self._secret, self._store_id = secret, store_id

    def opened(self, envelope: Envelope, place: str) -> bytes:
        """See `Opener.opened`."""
        return open_with(self._secret, self._store_id, envelope, place)

    def hidden_key(self, key: int) -> int:
        """See `Opener.hidden_key`: an envelope's secret hides nothing."""
        return key


class StoreKeys:
    """A keyring, for the envelopes of one store. An `Opener`; safe for threads.

    mode: "remote" where only what is sealed is encrypted, "all" where the WAL is too, None to read
    alone. level: of zstd, None for none.
    """

    def __init__(
        self, keyring: Keyring, store_id: bytes, mode: str | None, level: int | None
    ) -> None:
        self.keyring = keyring
        self.mode = mode
        self._store_id = store_id
        self._level = level
        self._index_key = keyring.index_key

    @property
    def writes(self) -> bool:
        """Whether what is sealed is to be encrypted."""
        return self.mode is not None

    @property
    def wal_needs(self) -> int:
        """What the header of a WAL file says of all this (`transit.format.frame`)."""
        if not self.writes:
            return 0
        return TO_BE_ENCRYPTED | ENVELOPES * self.covers_wal

    @property
    def covers_wal(self) -> bool:
        """Whether frames of the WAL are encrypted."""
        return self.mode == "all"

    def hidden_key(self, key: int) -> int:
        """See `Opener.hidden_key`."""
        return int.from_bytes(
            keyed_digest(self._index_key, key.to_bytes(8, "little"))[:8], "little"
        )

    def sealed(
        self, owner: str, stream: int, first: int, count: int, last_written: int, chunk: bytes
    ) -> bytes:  # fmt: skip
        """An envelope with `chunk`, under the key that `owner` has now. Raises `KeyringError`.

        last_written: when its last record was written; 0 in a frame, where it is not compressed.
        """
        codec, data = STORED, chunk
        # A frame is read soon, and often small: as in clear ones nothing is compressed there.
        if self._level is not None and last_written:
            packed = compress(chunk, self._level)
            if len(packed) < len(chunk) - len(chunk) // 16:
                codec, data = ZSTD, packed
        key = self.keyring.current(owner)
        return self._sealed(key, (stream, first, count, codec, len(chunk), last_written), data)

    def lost(
        self, owner: str, stream: int, first: int, count: int, last_written: int
    ) -> bytes | None:
        """An envelope for records whose owner's key was destroyed; None where none was.

        It has nothing of them, and a key that nobody keeps.
        """
        entries = self.keyring.keys()
        gone = [key.id for key in entries if key.owner == owner and key.state == "destroyed"]
        if not gone:
            return None
        key = Key(bytes.fromhex(gone[-1]), os.urandom(_KEY_BYTES))
        data = bytes(CHUNK.size)
        return self._sealed(key, (stream, first, count, STORED, len(data), last_written), data)

    def _sealed(self, key: Key, said: tuple[int, int, int, int, int, int], data: bytes) -> bytes:
        stream, first, count, codec, chunk_bytes, last_written = said
        size = len(data) + TAG_BYTES
        head = encode_header(stream, first, count, codec, chunk_bytes, size, last_written)
        bound = head + key.id
        salt = os.urandom(SALT_BYTES)
        derived, nonce, commitment = _expanded(secret_of(key.secret, salt), self._store_id, bound)
        body = ciphers().seal(derived, nonce, data, b"")
        return b"".join((bound, salt, commitment, body))

    def secret(self, envelope: Envelope, place: str) -> bytes:
        """The secret of an envelope; raises as `Opener.opened`."""
        key = self.keyring.find(envelope.key_id)
        if key is not None:
            return secret_of(key.secret, envelope.salt)
        name = envelope.key_id.hex()
        if self.keyring.destroyed(envelope.key_id):
            raise ErasedError(f"{place}: its key {name} was destroyed", state="erased")
        raise SealedError(
            f"{place}: encrypted with key {name}, which {self.keyring.path} does not have", key=name
        )

    def opened(self, envelope: Envelope, place: str) -> bytes:
        """See `Opener.opened`."""
        return open_with(self.secret(envelope, place), self._store_id, envelope, place)
