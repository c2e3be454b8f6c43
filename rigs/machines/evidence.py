"""Rules about evidence: checkpoints, proofs that stand on any of them, and what does not hold.

A proof may be made long after the checkpoint that it stands on; it shows what the model had then.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import precondition

import transit
from rigs.machines.compare import outcome
from rigs.machines.lives import Lives
from rigs.machines.machine import step
from rigs.machines.values import spots
from transit.testing.model import ModelLog

KEPT = 4
"""Checkpoints that proofs may stand on."""


class Kept(NamedTuple):
    """A checkpoint, and what the store held when it was made."""

    signed: transit.SignedCheckpoint
    model: ModelLog


class Evidence(Lives):
    """A store whose checkpoints are kept elsewhere."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.signer: transit.SigningKey | None = None
        self.signed: dict[int, bytes] = {}
        super().__init__()

    @step()
    def checkpoint(self) -> None:
        """Everything so far is signed; one size has one root for ever."""
        self.frame()
        log = self.log
        if self.signer is None:
            self.signer = transit.SigningKey.generate(f"model/{log.store_id}")
        made = log.checkpoint(self.signer)
        head = made.checkpoint
        assert head.size == log.status().commits
        assert self.signed.setdefault(head.size, head.root) == head.root
        assert log.checkpoint(self.signer).note == made.note
        for kept in self.kept:
            assert log.prove_growth(kept.signed, made)
        if not self.kept or self.kept[-1].signed.note != made.note:
            self.kept = [*self.kept, Kept(made, self.model.copy())][-KEPT:]
        self.compare()

    @precondition(lambda self: self.kept)
    @step(which=spots, spot=spots, place=spots, all_of_it=st.booleans())
    def prove(self, which: int, spot: int, place: int, all_of_it: bool) -> None:
        """What a stream held at any kept checkpoint, and the end of it, is shown."""
        kept = self.kept[which % len(self.kept)]
        name = self.pick(spot)
        known = kept.model.streams.get(name)
        if known is None:
            late = outcome(lambda: self.log.prove(name, checkpoint=kept.signed))
            assert late is transit.InvalidInputError
            return
        count = len(known.records)
        first, stop = (0, count) if all_of_it or not count else (place % count, place % count + 1)
        end = stop == count
        proof = self.log.prove(name, records=(first, stop), end=end, checkpoint=kept.signed)
        assert self.signer is not None
        checked = transit.check_proof(proof, self.signer.verifying)
        assert checked.shown.end == end
        found = [
            (record.offset, record.payload, dict(record.headers), record.timestamp,
             (record.origin_stream, record.origin_offset))
            for record in checked.records()
        ]  # fmt: skip
        assert found == [
            (offset, record.payload, dict(record.headers), record.timestamp, tuple(record.origin))
            for offset, record in enumerate(known.records[first:stop], first)
        ]
        self.plant_a_change(proof, place)

    def plant_a_change(self, proof: transit.Proof, place: int) -> None:
        """The same files with one bit changed hold no more."""
        assert self.signer is not None
        names = sorted(name for name in proof if name != "HOW.txt")
        name = names[place % len(names)]
        data = bytearray(proof[name])
        data[place % len(data)] ^= 1
        changed = {**proof, name: bytes(data)}
        refused = outcome(lambda: transit.check_proof(changed, self.signer.verifying))  # type: ignore[union-attr]
        assert refused is transit.ProofError
