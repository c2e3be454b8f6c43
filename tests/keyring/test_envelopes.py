"""Envelopes: their bytes, what opens them and what does not."""

from __future__ import annotations

import hashlib
import hmac
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from transit import CorruptError, ErasedError, Keyring, SealedError
from transit.format.envelope import (
    ENVELOPE,
    NO_KEYS,
    chunk_at,
    chunk_in,
    end_of,
    envelope_at,
    is_envelope,
    unfolded_bytes,
)
from transit.format.record import Columns, encode_chunk
from transit.keyring.envelopes import OneSecret, StoreKeys

STORE = bytes(range(16))
UID = "0" * 31 + "1"
PLACE = "here"


def chunk_of(stream: int = 7, first: int = 3, payloads: tuple[bytes, ...] = (b"a", b"bc")) -> bytes:
    columns = Columns(payloads, [len(each) for each in payloads], 5, None, 9)
    return b"".join(encode_chunk(stream, first, columns))


def ring_of(path: Path) -> Keyring:
    return Keyring.create(path, key_file=Keyring.new_key_file(f"{path}.key"))


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return ring_of(tmp_path / "ring")


@pytest.fixture
def keys(ring: Keyring) -> StoreKeys:
    return StoreKeys(ring, STORE, "remote", 3)


def sealed(keys: StoreKeys, chunk: bytes | None = None, owner: str = "store") -> bytes:
    return keys.sealed(owner, 7, 3, 2, 9, chunk_of() if chunk is None else chunk)


@pytest.mark.parametrize("level", [None, 3])
@pytest.mark.parametrize("payload", [b"", b"some text", b"the same again " * 1000])
def test_what_goes_in_comes_out(ring: Keyring, level: int | None, payload: bytes) -> None:
    keys = StoreKeys(ring, STORE, "all", level)
    data = sealed(keys, chunk_of(payloads=(payload, b"second")))
    assert is_envelope(data, 0)
    assert end_of(data, 0, PLACE) == len(data)
    chunk = chunk_at(data, 0, PLACE, keys)
    assert (chunk.stream, chunk.first, chunk.last_written) == (7, 3, 9)
    assert chunk.payloads() == [payload, b"second"]
    assert payload == b"" or payload not in data
    assert (len(data) < 1000) == (len(payload) < 100 or level is not None)


def test_the_bytes_are_those_that_the_format_says(ring: Keyring) -> None:
    """Read by RFC 5869 and the table alone."""
    data = sealed(StoreKeys(ring, STORE, "remote", None))
    stream, first, count, codec, cipher, zero, flags, size, body, last = struct.unpack_from(
        "<QQIBBBBIIq", data
    )
    assert (stream, first, count, codec, cipher, zero, flags) == (7, 3, 2, 0, 1, 0, 128)
    assert (size, body, last) == (len(chunk_of()), len(chunk_of()) + 16, 9)
    key_id, salt, commitment = data[40:48], data[48:72], data[72:104]
    key = ring.find(key_id)
    assert key is not None
    secret = hmac.new(salt, key.secret, hashlib.sha256).digest()
    info, made, block = b"transit envelope 1\0" + STORE + data[:48], b"", b""
    for number in (1, 2, 3):
        block = hmac.new(secret, block + info + bytes([number]), hashlib.sha256).digest()
        made += block
    assert made[44:76] == commitment
    assert AESGCM(made[:32]).decrypt(made[32:44], data[104:], None) == chunk_of()
    assert ENVELOPE.size == 104


def test_no_two_envelopes_are_alike(keys: StoreKeys) -> None:
    first, second = sealed(keys), sealed(keys)
    assert first[48:72] != second[48:72]
    assert first[104:] != second[104:]


def test_every_changed_bit_is_found(keys: StoreKeys) -> None:
    data = sealed(keys)
    for place in range(len(data)):
        for bit in (1, 128):
            changed = bytearray(data)
            changed[place] ^= bit
            with pytest.raises((CorruptError, SealedError)) as caught:
                chunk_at(bytes(changed), 0, PLACE, keys)
            # Of another key's id nobody can tell whether it is damage.
            assert isinstance(caught.value, SealedError) == (40 <= place < 48), place


def test_every_cut_is_found(keys: StoreKeys) -> None:
    data = sealed(keys)
    for size in range(24, len(data)):
        with pytest.raises(CorruptError):
            chunk_at(data[:size], 0, PLACE, keys)


def test_it_opens_in_its_own_store_and_place_alone(keys: StoreKeys, ring: Keyring) -> None:
    data = sealed(keys)
    with pytest.raises(CorruptError, match="commitment"):
        chunk_at(data, 0, PLACE, StoreKeys(ring, bytes(16), None, None))
    moved = struct.pack("<QQ", 8, 3) + data[16:]
    with pytest.raises(CorruptError, match="commitment"):
        chunk_at(moved, 0, PLACE, keys)


def test_a_key_that_would_open_it_to_something_else_is_refused(keys: StoreKeys) -> None:
    """The commitment is checked first: GCM alone would open with many keys."""
    data = sealed(keys)
    envelope = envelope_at(data, 0, PLACE)
    for secret in (bytes(32), b"\1" * 32):
        with pytest.raises(CorruptError, match="commitment to the key"):
            OneSecret(secret, STORE).opened(envelope, PLACE)


def test_a_secret_opens_one_envelope_and_no_other(keys: StoreKeys) -> None:
    one, other = envelope_at(sealed(keys), 0, PLACE), envelope_at(sealed(keys), 0, PLACE)
    secret = OneSecret(keys.secret(one, PLACE), STORE)
    assert chunk_in(one, secret, PLACE).payloads() == [b"a", b"bc"]
    with pytest.raises(CorruptError):
        secret.opened(other, PLACE)


def test_without_its_key_it_is_sealed(keys: StoreKeys, tmp_path: Path) -> None:
    data = sealed(keys)
    with pytest.raises(SealedError, match="no keyring was given") as caught:
        chunk_at(data, 0, PLACE, None)
    assert caught.value.key == data[40:48].hex()
    assert NO_KEYS.hidden_key(5) == 5
    other = ring_of(tmp_path / "other")
    with pytest.raises(SealedError, match="does not have"):
        chunk_at(data, 0, PLACE, StoreKeys(other, STORE, None, None))


def test_with_its_key_destroyed_it_is_erased(keys: StoreKeys, ring: Keyring) -> None:
    owner = f"stream:{UID}"
    data = sealed(keys, owner=owner)
    assert chunk_at(data, 0, PLACE, keys).payloads() == [b"a", b"bc"]
    ring.destroy(owner, "asked for")
    with pytest.raises(ErasedError, match="was destroyed"):
        chunk_at(data, 0, PLACE, keys)


def test_a_rotated_key_opens_what_it_sealed(keys: StoreKeys, ring: Keyring) -> None:
    old = sealed(keys)
    ring.rotate()
    new = sealed(keys)
    assert old[40:48] != new[40:48]
    for data in (old, new):
        assert chunk_at(data, 0, PLACE, keys).payloads() == [b"a", b"bc"]


def test_what_is_lost_has_nothing_of_the_records(keys: StoreKeys, ring: Keyring) -> None:
    owner = f"stream:{UID}"
    assert keys.lost(owner, 7, 3, 2, 9) is None
    sealed(keys, owner=owner)
    ring.destroy(owner)
    data = keys.lost(owner, 7, 3, 2, 9)
    assert data is not None
    envelope = envelope_at(data, 0, PLACE)
    assert (envelope.stream, envelope.first, envelope.count, envelope.last_written) == (7, 3, 2, 9)
    with pytest.raises(ErasedError):
        chunk_at(data, 0, PLACE, keys)


def test_an_envelope_that_lies_about_its_chunk_is_found(keys: StoreKeys) -> None:
    other = chunk_of(stream=8)
    with pytest.raises(CorruptError, match="8"):
        chunk_at(sealed(keys, other), 0, PLACE, keys)
    with pytest.raises(CorruptError, match="written at"):
        chunk_at(keys.sealed("store", 7, 3, 2, 10, chunk_of()), 0, PLACE, keys)


def test_sizes_are_bounded_before_memory_is_taken(keys: StoreKeys) -> None:
    data = bytearray(sealed(keys))
    for at in (24, 28):
        large = bytearray(data)
        large[at : at + 4] = struct.pack("<I", 2**32 - 1)
        with pytest.raises(CorruptError):
            chunk_at(bytes(large), 0, PLACE, keys)


def test_what_a_block_takes_unfolded_is_known_without_a_key(keys: StoreKeys) -> None:
    chunk = chunk_of(payloads=(b"x" * 100_000, b"y"))
    block = sealed(keys, chunk) + sealed(keys)
    assert len(block) < 2000
    assert unfolded_bytes(block, PLACE) == len(chunk) + len(chunk_of())
    assert unfolded_bytes(chunk, PLACE) == 0


def test_index_keys_are_hidden_by_the_keyring(keys: StoreKeys, tmp_path: Path) -> None:
    assert keys.hidden_key(5) == keys.hidden_key(5) != keys.hidden_key(6)
    assert keys.hidden_key(5) != 5
    other = ring_of(tmp_path / "other")
    assert StoreKeys(other, STORE, None, None).hidden_key(5) != keys.hidden_key(5)
