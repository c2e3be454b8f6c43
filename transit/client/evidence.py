"""Checkpoints and proofs that a server makes, checked here: its word is taken for nothing.

Owns what is checked of an answer before a program gets it. A proof is worked through from its
checkpoint down, and must be about what was asked for; what no proof needs is left out, and the
script that says how to check it is made anew. The checkpoint itself is believed as `connect` was
told: with `keys` or a `policy` it must be signed so, without them the signatures are left to
whoever gets the proof, as `Log.prove` of an embedded store leaves them.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from transit.client.absent import refuse
from transit.client.connection import Connection
from transit.client.listing import reference_of
from transit.engine.believing import how_to_check
from transit.engine.checks import as_index
from transit.engine.enveloping import EnvelopeProof
from transit.engine.evidence import LogEvidence
from transit.engine.proving import Proof
from transit.engine.stream import Stream
from transit.errors import InvalidInputError, ProofError
from transit.evidence.checking import Checked
from transit.evidence.envelope import (
    ENVELOPE_FILE,
    FINALITY,
    FORK_CHOICE,
    HEADS_MAX,
    HEADS_PART,
    PROOF_PART,
    check_block,
    check_kind,
    decode_envelope,
    derive,
    encode_envelope,
)
from transit.evidence.statement import (
    CHECKPOINT_FILE,
    HOW_FILE,
    PAYLOAD_FILE,
    STATEMENT_FILE,
    commit_file,
    decode_statement,
    inclusion_file,
    leaf_file,
)
from transit.format.names import findable
from transit.proof.checkpoint import Checkpoint, SignedCheckpoint
from transit.proof.files import ConsistencyFile
from transit.proof.notes import parse_note
from transit.proof.paths import check_consistency
from transit.protocol.evidence import (
    CheckpointLine,
    FinalityRequest,
    ForkChoiceRequest,
    GrowthRequest,
    ProofRequest,
)
from transit.protocol.folders import unpack_zip
from transit.protocol.paths import encode_name

Files = Mapping[str, bytes]
_PAGE: Final = 10_000


class ConnectedEvidence(LogEvidence):
    """See `Log`: what it says of itself to others."""

    _connection: Connection

    @property
    @abstractmethod
    def store_id(self) -> str:
        """See `Log.store_id`."""

    # Checkpoints

    def checkpoint(self, *given: Any, **named: Any) -> NoReturn:
        """Not over a connection: see `transit.client.absent`."""
        refuse("Log", "checkpoint")

    def sign_checkpoint(self) -> bytes:
        """Have the server sign what it holds with its own key; the note, as `checkpoint_note`.

        The token needs the right admin, and the server a key (`transit serve --checkpoint-key`).
        """
        note = self._connection.file("POST", "/v1/checkpoint")
        self._head(note)
        return note

    def checkpoints(self) -> tuple[int, ...]:
        """See `Log.checkpoints`."""
        found: list[int] = []
        after: int | None = None
        while True:
            query = {"after": after, "limit": _PAGE}
            lines, more = self._connection.page("/v1/checkpoints", CheckpointLine, query)
            found += (line.size for line in lines)
            if not more or not lines:
                return tuple(found)
            after = lines[-1].size

    def checkpoint_note(self, size: int | None = None) -> bytes:
        """See `Log.checkpoint_note`; with `keys` or a `policy` of `connect` it is verified."""
        wanted = None if size is None else as_index(size, "size")
        if wanted is not None and not 0 <= wanted < 2**63:
            raise InvalidInputError(f"a checkpoint covers a count of commits, not {wanted}")
        note = self._connection.file("GET", "/v1/checkpoint", {"size": wanted})
        head = self._head(note)
        if wanted is not None and head.size != wanted:
            raise ProofError(f"the server gave a checkpoint of {head.size} commits, not {wanted}")
        return note

    def _head(self, note: bytes) -> Checkpoint:
        """The checkpoint of a note of this store, believed as far as `connect` was told."""
        policy = self._connection.policy
        if policy is None:
            head = Checkpoint.parse(parse_note(note).text)
        else:
            head = policy.check(note, now=time.time()).require_quorum().checkpoint
        if not head.origin.endswith(f"/{self.store_id}"):
            raise ProofError(f"the checkpoint is of {head.origin!a}, not of store {self.store_id}")
        return head

    # Proofs

    def prove(
        self,
        stream: Stream | str,
        offset: int | None = None,
        *,
        records: tuple[int, int | None] | None = None,
        end: bool = False,
        checkpoint: SignedCheckpoint | bytes | None = None,
    ) -> Proof:
        """See `Log.prove`; what the server sends is checked here.

        Which record a negative offset is, and where `records` without an end ends, is the server's
        word, unless `end` shows it.
        """
        if offset is not None and records is not None:
            raise InvalidInputError("an offset or records, not both")
        note = _note_of(checkpoint)
        asked = ProofRequest(
            offset=None if offset is None else as_index(offset, "offset"),
            start=None if records is None else records[0],
            stop=None if records is None else records[1],
            end=bool(end),
            checkpoint=_text(note),
        )
        files = self._folder("/v1/proofs/", stream, asked)
        proof = self._proof(files, has_payload=offset is not None)
        self._check_note(proof, note)
        _check_stream(proof, stream)
        _check_records(proof, offset, records, end=asked.end)
        return proof

    def prove_growth(
        self,
        old: SignedCheckpoint | bytes,
        new: SignedCheckpoint | bytes | None = None,
    ) -> bytes:
        """See `Log.prove_growth`; what the server sends is checked here."""
        older, newer = _note_of(old), _note_of(new)
        if older is None:
            raise InvalidInputError("a checkpoint is a SignedCheckpoint or the bytes of a note")
        asked = GrowthRequest(old=_text(older), checkpoint=_text(newer))
        growth = self._connection.file("POST", "/v1/growth", body=asked)
        file = ConsistencyFile.parse(growth)
        if newer is not None and file.checkpoint != newer:
            raise ProofError("the server gave a proof of growth to another checkpoint")
        before, after = self._head(older), self._head(file.checkpoint)
        if before.origin != after.origin or before.size != file.old:
            raise ProofError("the server gave a proof of growth from another checkpoint")
        check_consistency(before.size, after.size, before.root, after.root, file.hashes)
        return growth

    def prove_finality(
        self,
        stream: Stream | str,
        *,
        checkpoint_kind: str = "finality",
        application_block: str | None = None,
        checkpoint: SignedCheckpoint | bytes | None = None,
    ) -> EnvelopeProof:
        """See `Log.prove_finality`; what the server sends is checked here."""
        check_kind(FINALITY, checkpoint_kind)
        return self._envelope(FINALITY, stream, checkpoint_kind, application_block, checkpoint)

    def prove_fork_choice(
        self,
        merge: Stream | str,
        *,
        checkpoint_kind: str = "fork-choice",
        application_block: str | None = None,
        checkpoint: SignedCheckpoint | bytes | None = None,
    ) -> EnvelopeProof:
        """See `Log.prove_fork_choice`; what the server sends is checked here."""
        check_kind(FORK_CHOICE, checkpoint_kind)
        return self._envelope(FORK_CHOICE, merge, checkpoint_kind, application_block, checkpoint)

    def _envelope(
        self,
        proof_kind: str,
        stream: Stream | str,
        checkpoint_kind: str,
        application_block: str | None,
        checkpoint: SignedCheckpoint | bytes | None,
    ) -> EnvelopeProof:
        check_block(application_block)
        note = _note_of(checkpoint)
        kind: Callable[..., FinalityRequest | ForkChoiceRequest] = FinalityRequest
        path = "/v1/finality/"
        if proof_kind == FORK_CHOICE:
            kind, path = ForkChoiceRequest, "/v1/fork-choice/"
        asked = kind(
            checkpoint_kind=checkpoint_kind,
            application_block=application_block,
            checkpoint=_text(note),
        )
        files = self._folder(path, stream, asked)
        said = files.get(ENVELOPE_FILE, b"")
        heads = min(len(decode_envelope(said).parent_heads), HEADS_MAX)
        proof = self._proof(_below(files, PROOF_PART))
        beside = [self._proof(_below(files, f"{HEADS_PART}/{n}")) for n in range(heads)]
        for each in (proof, *beside):
            self._check_note(each, note)
        _check_stream(proof, stream)
        found = derive(
            proof_kind, proof.checked, [head.checked for head in beside], checkpoint_kind,
            application_block,
        )  # fmt: skip
        if encode_envelope(found) != said:
            raise ProofError(f"{ENVELOPE_FILE}: not what its proofs bear out")
        return EnvelopeProof(found, proof, beside)

    # What was sent

    def _folder(self, path: str, stream: Stream | str, asked: object) -> Files:
        reference = reference_of(self._connection, stream)
        data = self._connection.file("POST", path + encode_name(reference), body=asked)
        return unpack_zip(data)

    def _proof(self, files: Files, *, has_payload: bool = False) -> Proof:
        """The proof that was sent, worked through; with what it needs and nothing else."""
        kept = {name: files[name] for name in _needed(files) if name in files}
        checked = Checked(kept, self._head)
        if has_payload:
            record = next(checked.records(), None)
            if record is not None:
                kept[PAYLOAD_FILE] = record.payload
        kept[HOW_FILE] = how_to_check(checked)
        return Proof(kept, checked)

    def _check_note(self, proof: Proof, note: bytes | None) -> None:
        if note is not None and proof[CHECKPOINT_FILE] != note:
            raise ProofError("the server gave a proof that stands on another checkpoint")


def _needed(files: Files) -> set[str]:
    """The names of the files that a proof's statement is about."""
    found = {STATEMENT_FILE, CHECKPOINT_FILE}
    for leaf in decode_statement(files.get(STATEMENT_FILE, b"")).leaves:
        found |= {leaf_file(leaf.digest), commit_file(leaf.commit), inclusion_file(leaf.commit)}
    return found


def _below(files: Files, part: str) -> Files:
    start = f"{part}/"
    return {
        name.removeprefix(start): data for name, data in files.items() if name.startswith(start)
    }


def _check_stream(proof: Proof, stream: Stream | str) -> None:
    """`ProofError` unless the proof is about the stream that was named."""
    shown = proof.shown
    is_it = shown.stream == findable(stream) if isinstance(stream, str) else shown.uid == stream.uid
    if not is_it:
        raise ProofError(f"the server gave a proof about another stream, {shown.stream!a}")


def _check_records(
    proof: Proof, offset: int | None, records: tuple[int, int | None] | None, *, end: bool
) -> None:
    """`ProofError` unless the proof shows the records that were asked for."""
    first, stop = proof.shown.records
    if offset is not None:
        is_it = stop == first + 1 and (offset < 0 or first == offset)
    elif records is not None:
        is_it = first == records[0] and records[1] in (None, stop)
    else:
        is_it = first == stop
    if not is_it or proof.shown.end is not end:
        raise ProofError(f"the server gave a proof of other records, {first} to before {stop}")


def _note_of(checkpoint: SignedCheckpoint | bytes | None) -> bytes | None:
    """The note of a checkpoint that is given; `ProofError` for bytes that are none."""
    if checkpoint is None:
        return None
    note = checkpoint.note if isinstance(checkpoint, SignedCheckpoint) else checkpoint
    if not isinstance(note, bytes):
        raise InvalidInputError("a checkpoint is a SignedCheckpoint or the bytes of a note")
    Checkpoint.parse(parse_note(note).text)
    return note


def _text(note: bytes | None) -> str | None:
    return None if note is None else note.decode()
