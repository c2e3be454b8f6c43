"""Signed checkpoints that lie with a store, against the tree of its commits.

Owns what is wrong with one; where they lie is the caller's business. With a policy the signatures
are verified too, by its keys alone; without one only the tree decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from transit.errors import ProofError
from transit.proof.checkpoint import Checkpoint
from transit.proof.notes import parse_note
from transit.proof.policy import Policy
from transit.verify.findings import Ledger
from transit.verify.stages import stage_of


class Known(NamedTuple):
    """A checkpoint that was read: where it lies, its tree, and how far its signatures hold."""

    place: str
    checkpoint: Checkpoint
    stage: str


class NoteCheck:
    """Checks notes of one store for one report. policy: None where signatures are not judged."""

    def __init__(self, ledger: Ledger, policy: Policy | None) -> None:
        self._ledger = ledger
        self._policy = policy
        self._now = time.time()
        self._read: list[Known] = []

    def take(
        self, place: str, data: bytes, *, size: int | None = None, newest: bool = False
    ) -> Checkpoint | None:
        """Read one note; None where it is a finding.

        size: that its name says. newest: whether it is the one that readers are told to believe,
        which the policy's witnesses must have cosigned.
        """
        self._ledger.counts["checkpoints"] += 1
        try:
            known = self._judged(place, data, newest=newest)
        except ProofError as error:
            self._ledger.find(place, "a checkpoint that holds", str(error))
            return None
        if size is not None and known.checkpoint.size != size:
            self._ledger.find(place, f"a checkpoint over {size} commits", _told(known.checkpoint))
            return None
        self._read.append(known)
        return known.checkpoint

    def _judged(self, place: str, data: bytes, *, newest: bool) -> Known:
        if self._policy is None:
            return Known(place, Checkpoint.parse(parse_note(data).text), "")
        verdict = self._policy.check(data, now=self._now)
        if newest:
            verdict.require_quorum()
        self._ledger.counts["checkpoints_not_witnessed"] += not verdict.quorum_met
        return Known(place, verdict.checkpoint, stage_of(verdict))

    def compare(
        self, store_id: bytes, count: int, root_at: Callable[[int], bytes], *, whole: bool = True
    ) -> list[Known]:
        """Hold each note against the tree of the first `count` commits; those that hold.

        whole: whether there are no more commits than those: then a larger checkpoint is a finding.
        """
        good = []
        for known in self._read:
            head = known.checkpoint
            if not head.origin.endswith(f"/{store_id.hex()}"):
                self._ledger.find(
                    known.place, f"an origin that ends in /{store_id.hex()}", f"{head.origin!a}"
                )
            elif head.size > count and not whole:
                self._ledger.counts["checkpoints_not_compared"] += 1
            elif head.size > count:
                self._ledger.find(
                    known.place,
                    f"at most {count} commits: no more are there",
                    f"a checkpoint over {head.size} commits",
                )
            elif root_at(head.size) != head.root:
                self._ledger.find(
                    known.place,
                    f"root {root_at(head.size).hex()} of the first {head.size} of {count} commits",
                    f"a checkpoint with root {head.root.hex()}",
                )
            else:
                good.append(known)
        if good:
            covered = max(known.checkpoint.size for known in good)
            self._ledger.counts["commits_checkpointed"] = covered
        return good


def _told(head: Checkpoint) -> str:
    return f"one over {head.size} commits"
