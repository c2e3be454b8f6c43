"""What a caller trusts: keys or a policy, and a checkpoint that they kept."""

from __future__ import annotations

import time
from collections.abc import Sequence

from transit.errors import InvalidInputError
from transit.log.remembered import Remembered
from transit.proof.checkpoint import Checkpoint, SignedCheckpoint
from transit.proof.keys import VerifyingKey
from transit.proof.notes import parse_note
from transit.proof.policy import Policy, Verdict
from transit.verify.stages import CHECKPOINT, stage_of

Keys = VerifyingKey | str | Sequence[VerifyingKey | str]
"""Keys that verify, each as such or as its text."""
Kept = SignedCheckpoint | Verdict | bytes
"""A checkpoint that a caller kept: as it was opened, as a policy judged it, or a note's bytes."""


def policy_of(keys: Keys | None, policy: Policy | None) -> Policy | None:
    """The policy that is given, or that of keys alone; None for neither.

    `InvalidInputError` for both, and for what is no key.
    """
    if keys is None:
        return policy
    if policy is not None:
        raise InvalidInputError("keys of the log, or a policy: not both")
    given = [keys] if isinstance(keys, VerifyingKey | str) else list(keys)
    return Policy.of(
        [each if isinstance(each, VerifyingKey) else VerifyingKey.from_text(each) for each in given]
    )


def remembered_of(checkpoint: Kept | None, policy: Policy | None = None) -> Remembered | None:
    """What a caller kept; of the bytes of a note, signatures are verified by the policy if any.

    `ProofError` where it does not hold, `InvalidInputError` where it is no checkpoint of a store.
    """
    if checkpoint is None:
        return None
    if isinstance(checkpoint, Verdict):
        return Remembered(checkpoint.checkpoint, stage_of(checkpoint))
    note = checkpoint.note if isinstance(checkpoint, SignedCheckpoint) else checkpoint
    if not isinstance(note, bytes):
        raise InvalidInputError("a checkpoint is a SignedCheckpoint or the bytes of a note")
    if policy is not None:
        verdict = policy.check(note, now=time.time()).require_quorum()
        return Remembered(verdict.checkpoint, stage_of(verdict))
    if isinstance(checkpoint, SignedCheckpoint):
        return Remembered(checkpoint.checkpoint, CHECKPOINT)
    return Remembered(Checkpoint.parse(parse_note(note).text))
