"""A log to try things on: keys of fixed seeds, witnesses, checkpoints, files and tiles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha256

from transit.proof.checkpoint import Checkpoint, add_signatures, cosign, sign
from transit.proof.files import ConsistencyFile, InclusionFile
from transit.proof.keys import SigningKey, VerifyingKey
from transit.proof.paths import LeafHashes, consistency_path, inclusion_path
from transit.proof.policy import Policy
from transit.proof.primitives import ed25519, ml_dsa_44
from transit.proof.spellings import base64_of
from transit.proof.tiles import encode_bundle, tiles_in, tiles_of
from transit.proof.tree import leaf_hash

ORIGIN = "example.com/runs"
NOW = 1_800_000_000
ENTRIES = [b"entry %d" % number for number in range(700)]
LEAVES = LeafHashes(map(leaf_hash, ENTRIES))
FORK = LeafHashes(map(leaf_hash, [*ENTRIES[:150], b"another", *ENTRIES[151:]]))


@cache
def key(name: str, number: int, seed: str = "") -> SigningKey:
    """The key of that name and type, always the same one; `seed` makes another of the same name."""
    secret = sha256(f"{seed}/{name}/{number}".encode()).digest()
    public, _ = (ml_dsa_44 if number == 6 else ed25519)(secret)
    key_id = VerifyingKey(name, number, public).key_id.hex()
    return SigningKey.from_text(
        f"PRIVATE+KEY+{name}+{key_id}+{base64_of(bytes((number,)) + secret)}"
    )


LOG = key(ORIGIN, 1)
LOG_PQ = key(ORIGIN, 6)
STRANGER = key(ORIGIN, 1, "stranger")
OTHER_LOG = key("example.com/other", 1)
W1, W2 = key("w1.example/witness", 4), key("w2.example/witness", 4)
W_PQ = key("pq.example/witness", 6)


def head(size: int, tree: LeafHashes = LEAVES, origin: str = ORIGIN) -> Checkpoint:
    return Checkpoint(origin, size, tree.root(size))


def note(
    size: int,
    keys: Sequence[SigningKey] = (LOG,),
    witnesses: Sequence[SigningKey] = (),
    *,
    tree: LeafHashes = LEAVES,
    at_s: int = NOW,
) -> bytes:
    """A checkpoint of the first `size` entries, signed and cosigned."""
    found = head(size, tree, keys[0].verifying.name)
    lines = [cosign(found, each, at_s) for each in witnesses]
    return add_signatures(sign(found, keys), lines).encode()


def inclusion(index: int, size: int, checkpoint: bytes | None = None) -> InclusionFile:
    hashes = tuple(inclusion_path(index, size, LEAVES.hash_at))
    return InclusionFile(index, hashes, note(size) if checkpoint is None else checkpoint)


def consistency(
    old: int, new: int, checkpoint: bytes | None = None, tree: LeafHashes = LEAVES
) -> ConsistencyFile:
    hashes = tuple(consistency_path(old, new, tree.hash_at))
    return ConsistencyFile(old, hashes, note(new, tree=tree) if checkpoint is None else checkpoint)


def policy(
    *witnesses: SigningKey, least: int | None = None, logs: Sequence[SigningKey] = (LOG,)
) -> Policy:
    return Policy.of(
        [each.verifying for each in logs],
        [each.verifying for each in witnesses],
        len(witnesses) if least is None else least,
    )


def files_of(size: int) -> dict[str, bytes]:
    """All tiles and bundles of a log of that size, by path."""
    files = dict(tiles_of(LEAVES.hash_at, 0, size))
    for tile in tiles_in(size):
        if tile.level == 0:
            first = tile.index * 256
            files[tile.entries.path] = encode_bundle(ENTRIES[first : first + tile.width])
    return files
