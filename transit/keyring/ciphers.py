"""AES-256-GCM (NIST SP 800-38D, nonces of 12 bytes, tags of 16), by `cryptography`.

`transit.keyring.masters` loads this when a key is wrapped or unwrapped: the package is an extra.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def seal(key: bytes, nonce: bytes, plain: bytes, context: bytes) -> bytes:
    """`plain`, encrypted, and the tag; bound to `context`. No nonce twice under one key."""
    return AESGCM(key).encrypt(nonce, plain, context)


def unseal(key: bytes, nonce: bytes, sealed: bytes, context: bytes) -> bytes | None:
    """What was sealed; None when key, nonce or context is another, or the bytes have changed."""
    try:
        return AESGCM(key).decrypt(nonce, sealed, context)
    except InvalidTag:
        return None
