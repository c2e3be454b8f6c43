"""Bare signatures of Ed25519 (RFC 8032) and ML-DSA-44 (FIPS 204, no context), by `cryptography`.

`transit.proof.keys` loads this when a key is generated, signs or verifies: the package is an extra.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from transit.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _supported() -> Iterator[None]:
    try:
        yield
    except UnsupportedAlgorithm:
        raise InvalidInputError("the OpenSSL under `cryptography` has no ML-DSA-44") from None


def ed25519(seed: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The public key of a seed of 32 bytes, and what signs with it."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key.public_key().public_bytes_raw(), key.sign


def ml_dsa_44(seed: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The public key of a seed of 32 bytes, and what signs with it."""
    with _supported():
        key = MLDSA44PrivateKey.from_seed_bytes(seed)
        return key.public_key().public_bytes_raw(), key.sign


def ed25519_holds(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature is that key's over the message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def ml_dsa_44_holds(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature is that key's over the message."""
    try:
        with _supported():
            MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        return False
    return True
