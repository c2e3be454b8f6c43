"""The RFC 6962 Merkle tree, over the commits of a store and over the chunks of a segment.

Owns the hashes of section 2.1 of RFC 6962 ("Merkle Hash Trees") and the compact range: the few
hashes from which a growing tree's root follows without its leaves. Which bytes are a leaf is the
caller's business.

    root of no leaves      SHA-256()
    leaf                   SHA-256(0x00 || data)
    node                   SHA-256(0x01 || left || right)

A tree of `size` leaves falls apart into perfect subtrees, one for each one bit of `size`, the
largest first. A compact range of 13 leaves (binary 1101) is the roots of leaves 0–7, 8–11 and 12.
It is valid if and only if size lies in 0..2**63 - 1, there are as many hashes as one bits in size,
and each hash has 32 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from transit.errors import InvalidInputError

HASH_BYTES: Final = 32
TREE_SIZE_MAX: Final = 2**63 - 1


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf (RFC 6962, section 2.1): 32 bytes."""
    return _sha256(b"\x00" + data)


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node over two subtrees (RFC 6962, section 2.1): 32 bytes."""
    return _sha256(b"\x01" + left + right)


def root_over(leaves: Iterable[bytes]) -> bytes:
    """The Merkle tree hash of these leaves, not yet hashed: 32 bytes.

    The same as of a range to which each was appended, in a third of the time.
    """
    # Loaded here: see below.
    from hashlib import sha256

    level = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    if not level:
        return _sha256()
    while len(level) > 1:
        # What has no other beside it is the root of a subtree that goes up as it is.
        alone = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [sha256(b"\x01" + left + right).digest() for left, right in pairs] + alone
    return level[0]


def _sha256(data: bytes = b"") -> bytes:
    # Loaded here: opening OpenSSL takes longer than all of this package, and only commits need it.
    from hashlib import sha256

    return sha256(data).digest()


class CompactRange(NamedTuple):
    """A tree of `size` leaves, as the roots of its perfect subtrees, largest first.

    `CompactRange()` is the empty tree. A range read from outside may be invalid: ask `valid`.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether `hashes` can be the perfect subtrees of a tree of `size` leaves."""
        return (
            0 <= self.size <= TREE_SIZE_MAX
            and len(self.hashes) == self.size.bit_count()
            and all(len(digest) == HASH_BYTES for digest in self.hashes)
        )

    def append(self, leaf: bytes) -> CompactRange:
        """The tree with one more leaf, given the leaf's hash.

        `InvalidInputError` when the range is not valid or full, or `leaf` has not 32 bytes.
        """
        self._require_valid()
        if len(leaf) != HASH_BYTES:
            raise InvalidInputError(f"a leaf hash has {HASH_BYTES} bytes, not {len(leaf)}")
        if self.size == TREE_SIZE_MAX:
            raise InvalidInputError(f"a tree has at most {TREE_SIZE_MAX} leaves")
        hashes = list(self.hashes)
        # As in binary addition: each trailing one bit is a subtree as large as the carried one.
        carry, bits = leaf, self.size
        while bits & 1:
            carry = node_hash(hashes.pop(), carry)
            bits >>= 1
        return CompactRange(self.size + 1, (*hashes, carry))

    def root(self) -> bytes:
        """The Merkle tree hash of all leaves: 32 bytes.

        `InvalidInputError` when the range is not valid.
        """
        self._require_valid()
        if not self.hashes:
            return _sha256()
        *larger, result = self.hashes
        for subtree in reversed(larger):
            result = node_hash(subtree, result)
        return result

    def _require_valid(self) -> None:
        if not self.valid:
            raise InvalidInputError(
                f"no compact range: size {self.size} with {len(self.hashes)} hashes"
            )
