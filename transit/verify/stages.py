"""How far up a check came: what all that it read is bound by, in one list of words.

    checksum       nothing is sealed yet: checksums, which are against accidents alone
    block digest   bytes of a block are those that the footer of their segment names
    segment        all bytes of a segment are those that it is named by
    commit root    each segment is named by a commit, and each commit by the one after it
    tree           each commit is a leaf of the one tree whose root later commits state
    checkpoint     a key that was given signed that tree, or one of its beginnings
    cosignature    and enough of the witnesses that were given saw it grow

Each stage includes those before it. Of a check that found something wrong no stage is stated.
"""

from __future__ import annotations

from typing import Final

from transit.proof.policy import NONE, Verdict

CHECKSUM: Final = "checksum"
BLOCK_DIGEST: Final = "block digest"
SEGMENT: Final = "segment"
COMMIT_ROOT: Final = "commit root"
TREE: Final = "tree"
CHECKPOINT: Final = "checkpoint"
COSIGNATURE: Final = "cosignature"
STAGES: Final = (
    CHECKSUM, BLOCK_DIGEST, SEGMENT, COMMIT_ROOT, TREE, CHECKPOINT, COSIGNATURE,
)  # fmt: skip


def highest(*stages: str) -> str:
    """The highest of some stages; "" is below all of them."""
    return max(stages, key=lambda stage: STAGES.index(stage) if stage else -1)


def stage_of(verdict: Verdict) -> str:
    """How far a checkpoint comes with what a policy says of it."""
    witnessed = verdict.quorum != NONE and verdict.quorum_met
    return COSIGNATURE if witnessed else CHECKPOINT
