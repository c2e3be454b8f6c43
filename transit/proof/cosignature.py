"""What a key signs of a checkpoint, and how a signature line holds it (C2SP tlog-cosignature 1.1).

    0x01  Ed25519            the checkpoint's text
    0x04  cosignature/v1     "cosignature/v1\\n" "time T\\n" and the text
    0x06  subtree/v1         "subtree/v1\\n\\0", u8 length and name of the signer, u64 T, u8 length
                             and origin, u64 0, u64 size, root of 32 bytes; numbers big-endian

A line of type 0x04 or 0x06 holds T in 8 bytes, big-endian, before the bare signature: seconds since
1970, at most 2**63 - 1. A witness states when it saw the checkpoint as the latest one; a log that
signs with ML-DSA-44 states no time, which is 0. A message of 0x06 names its signer, and does not
cover extension lines: checkpoints here have none.
"""

from __future__ import annotations

import struct
from typing import Final, Protocol

from transit.errors import InvalidInputError, ProofError
from transit.proof.keys import (
    COSIGNATURE_V1,
    ED25519,
    NAME_BYTES_MAX,
    SIGNATURE_BYTES,
    SigningKey,
    VerifyingKey,
)
from transit.proof.notes import NoteSignature
from transit.proof.spellings import NUMBER_MAX

TIME_BYTES: Final = 8
_LABEL: Final = b"subtree/v1\n\0"
_TIME: Final = struct.Struct(">Q")
_RANGE: Final = struct.Struct(">QQ")


class TreeHead(Protocol):
    """What is signed: whose tree, how large, and its root."""

    @property
    def origin(self) -> str:
        """The log's name."""

    @property
    def size(self) -> int:
        """The count of leaves."""

    @property
    def root(self) -> bytes:
        """The root of the tree, 32 bytes."""

    def text(self) -> str:
        """The text of the checkpoint."""


def cosignature_message(text: str, at_s: int) -> bytes:
    """What a witness's Ed25519 key signs (0x04) of a checkpoint's text, at this time."""
    return b"cosignature/v1\ntime %d\n" % at_s + text.encode()


def subtree_message(signer: str, head: TreeHead, at_s: int) -> bytes:
    """What the ML-DSA-44 key (0x06) of that name signs of a checkpoint.

    `ProofError` where a name has no room in it.
    """
    names = []
    for each in (signer, head.origin):
        name = each.encode()
        if not 1 <= len(name) <= NAME_BYTES_MAX:
            raise ProofError(f"a message of ML-DSA-44 has no room for a name of {len(name)} bytes")
        names.append(bytes((len(name),)) + name)
    return b"".join(
        (_LABEL, names[0], _TIME.pack(at_s), names[1], _RANGE.pack(0, head.size), head.root)
    )


def signed_message(key: VerifyingKey, head: TreeHead, at_s: int) -> bytes:
    """What this key signs of a checkpoint at this time; a key of type 0x01 states none."""
    if key.type == ED25519:
        return head.text().encode()
    if key.type == COSIGNATURE_V1:
        return cosignature_message(head.text(), at_s)
    return subtree_message(key.name, head, at_s)


def sign_head(key: SigningKey, head: TreeHead, at_s: int) -> NoteSignature:
    """The signature line of this key under a checkpoint.

    at_s: seconds since 1970; 0 states no time, and a key of type 0x01 takes no other. Of a witness
        it must not be 0: `transit.proof.checkpoint.add_cosignature` sees to that.

    `InvalidInputError` for a time outside 0..2**63 - 1, `ProofError` where a callable gave what is
    no signature.
    """
    known = key.verifying
    if not 0 <= at_s <= (0 if known.type == ED25519 else NUMBER_MAX):
        raise InvalidInputError(f"the key {known.id_text} cannot state the time {at_s}")
    stated = b"" if known.type == ED25519 else _TIME.pack(at_s)
    data = stated + key.sign(signed_message(known, head, at_s))
    return NoteSignature(known.name, known.key_id, data)


def check_signature(key: VerifyingKey, head: TreeHead, data: bytes) -> int:
    """The time that a line of this key states, 0 for none; `ProofError` where it does not hold."""
    if key.type == ED25519:
        key.verify(signed_message(key, head, 0), data)
        return 0
    expected = TIME_BYTES + SIGNATURE_BYTES[key.type]
    if len(data) != expected:
        raise ProofError(
            f"signature of {key.id_text}: expected {expected} bytes, found {len(data)}"
        )
    (at_s,) = _TIME.unpack_from(data)
    if at_s > NUMBER_MAX:
        raise ProofError(f"signature of {key.id_text}: its time is beyond 2^63 - 1")
    key.verify(signed_message(key, head, at_s), data[TIME_BYTES:])
    return int(at_s)
