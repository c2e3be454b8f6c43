"""Envelopes of an open store: made beside their proofs, and checked without the store.

Owns which proofs go beside a document; what bears it out is `transit.evidence.envelope`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from transit.disk import is_folder, list_folder, make_folder, put_if_absent, read_file
from transit.engine.proving import Proof
from transit.errors import AlreadyExistsError, NotFoundError, ProofError
from transit.evidence.checking import Checked
from transit.evidence.envelope import (
    ENVELOPE_BYTES_MAX,
    ENVELOPE_FILE,
    FORK_CHOICE,
    HEADS_MAX,
    HEADS_PART,
    PROOF_PART,
    Envelope,
    decode_envelope,
    derive,
    encode_envelope,
)
from transit.evidence.folder import ProofFolder, write_folder
from transit.proof.checkpoint import Checkpoint
from transit.proof.policy import Verdict
from transit.verify.stages import COSIGNATURE, stage_of

_SAME: Final = "not what its proofs bear out"


class EnvelopeProof(Mapping[str, bytes]):
    """An envelope and the proofs beside it, by file name (`transit.evidence.envelope`)."""

    def __init__(self, envelope: Envelope, proof: Proof, heads: list[Proof]) -> None:
        self.envelope = envelope
        """The document."""
        self._parts = {PROOF_PART: proof}
        self._parts |= {f"{HEADS_PART}/{n}": head for n, head in enumerate(heads)}
        self._files = {ENVELOPE_FILE: encode_envelope(envelope)}
        for part, files in self._parts.items():
            self._files |= {f"{part}/{name}": data for name, data in files.items()}

    def __repr__(self) -> str:
        return f"<transit.EnvelopeProof {self.envelope.proof_kind} of {self.envelope.stream!r}>"

    def __getitem__(self, name: str) -> bytes:
        return self._files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """The proofs beside the document: of the stream, then of its parent heads."""
        return tuple(self._parts.values())

    def save(self, folder: str) -> None:
        """Write the files into a new or empty folder; `AlreadyExistsError` for another."""
        folder = os.path.abspath(folder)
        make_folder(folder)
        if list_folder(folder):
            raise AlreadyExistsError(f"{folder}: not empty")
        if len(self._parts) > 1:
            make_folder(os.path.join(folder, HEADS_PART))
        for part, files in self._parts.items():
            write_folder(os.path.join(folder, part), files)
        put_if_absent(folder, ENVELOPE_FILE, self._files[ENVELOPE_FILE])


class CheckedEnvelope:
    """An envelope that its proofs bear out, and what the policy says of its checkpoint."""

    def __init__(self, envelope: Envelope, proof: Checked, verdict: Verdict) -> None:
        self.envelope = envelope
        """The document; nothing shows its `application_block`."""
        self.proof = proof
        """The proof of the stream that it is about."""
        self.verdict = verdict


def check_files(
    files: str | Mapping[str, bytes], judge: Callable[[bytes], Verdict]
) -> CheckedEnvelope:
    """See `check_envelope`. judge: says of a note whether it is to be believed."""
    envelope = decode_envelope(_document(files))
    verdicts: list[Verdict] = []

    def head_of(note: bytes) -> Checkpoint:
        verdicts.append(judge(note))
        return verdicts[-1].checkpoint

    proof = Checked(_part(files, PROOF_PART), head_of)
    heads = [
        Checked(_part(files, f"{HEADS_PART}/{n}"), head_of)
        for n in range(min(len(envelope.parent_heads), HEADS_MAX))
    ]
    found = derive(
        envelope.proof_kind, proof, heads, envelope.checkpoint_kind, envelope.application_block
    )
    for field in Envelope.__struct_fields__:
        if getattr(found, field) != getattr(envelope, field):
            raise ProofError(f"{ENVELOPE_FILE}: {field} is {_SAME}")
    if envelope.proof_kind != FORK_CHOICE and stage_of(verdicts[0]) != COSIGNATURE:
        raise ProofError(
            f"{ENVELOPE_FILE}: a finality needs a checkpoint that a witness cosigned: check it by "
            "a policy that names the witness"
        )
    return CheckedEnvelope(envelope, proof, verdicts[0])


def _document(files: str | Mapping[str, bytes]) -> bytes:
    if not isinstance(files, str):
        data = files.get(ENVELOPE_FILE)
    elif is_folder(files):
        data = read_file(os.path.join(files, ENVELOPE_FILE), ENVELOPE_BYTES_MAX + 1)
    else:
        raise NotFoundError(f"{files}: no such folder")
    if data is None:
        raise ProofError(f"{ENVELOPE_FILE}: no such file")
    return data


def _part(files: str | Mapping[str, bytes], part: str) -> Mapping[str, bytes]:
    if not isinstance(files, str):
        start = f"{part}/"
        return {name.removeprefix(start): files[name] for name in files if name.startswith(start)}
    folder = os.path.join(files, part)
    if not is_folder(folder):
        raise ProofError(f"{part}: no such proof beside the envelope")
    return ProofFolder(folder)
