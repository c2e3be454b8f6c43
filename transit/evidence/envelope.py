"""Envelopes: a proof's meaning as one JSON document, for programs that decide by it.

Owns the two documents, `transit.finality.v1` and `transit.fork-choice.v1`, and when one of them is
borne out by the proofs beside it. They lie together, in a folder or in memory:

    envelope.json    the document: canonical JSON (keys sorted, no white space)
    proof/           the proof of the stream: where it comes from, and that it ends at its head
    heads/<n>/       of parent head n of a fork choice, the same of that stream

The document:

    proof_kind           "transit.finality.v1" or "transit.fork-choice.v1"
    origin               the first line of the checkpoint
    checkpoint_size      how many commits the checkpoint covers
    manifest_root        the root of the tree over these commits, 64 hex digits
    checkpoint_ref       the object that the checkpoint is in the store's remote
    checkpoint_kind      finality, published-result; fork-choice, reorg-selection
    stream_id            the stream's uid; stream: its name
    head_offset          the offset of its last record at the checkpoint; -1: it has none
    parent_heads         what it descends from: stream_id, offset, role (parent-block, selected,
                         superseded); empty for a genesis alone, a stream that inherits from none
    selection_artifacts  of a fork choice, what recorded it: stream_id, offset, policy
    application_block    a text of whoever made the document; nothing here shows it; or null
    non_claims           what it does not say, word for word as in `NON_CLAIMS`

Borne out by its proofs if and only if each field but `application_block` follows from them, and:
of a finality, a witness cosigned the checkpoint; of a fork choice, the stream is a merge by policy
"select", and each of its parents, at the checkpoint, still ended with the head that was judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from transit.errors import InvalidInputError, ProofError
from transit.evidence.checking import Checked
from transit.evidence.documents import Document
from transit.format.commit import Hex32, Hex64
from transit.format.lineage import LINEAGE_NAME, LineageRecord, Merge, heads_of
from transit.format.names import CHECKPOINT_DIR, checkpoint_name
from transit.proof.checkpoint import Checkpoint

ENVELOPE_FILE: Final = "envelope.json"
PROOF_PART: Final = "proof"
HEADS_PART: Final = "heads"
ENVELOPE_BYTES_MAX: Final = 1024 * 1024
TEXT_CHARS_MAX: Final = 4096
HEADS_MAX: Final = 1024

FINALITY: Final = "transit.finality.v1"
FORK_CHOICE: Final = "transit.fork-choice.v1"
NON_CLAIMS: Final = (
    "No consensus protocol was run, and none is claimed.",
    "There are no validators, no votes and no stake.",
    "It says only what the holder of the log's key, and the witnesses named in the checkpoint,"
    " signed.",
    "A witness says that it saw one history of this log, not that what is in the log is true.",
)
_KINDS: Final = {
    FINALITY: ("finality", "published-result"),
    FORK_CHOICE: ("fork-choice", "reorg-selection"),
}

Offset = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
Role = Literal["parent-block", "selected", "superseded"]
Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class ParentHead(_Strict, frozen=True, kw_only=True):
    """What a stream descends from: a stream's uid, the last offset that was taken, and its part."""

    stream_id: Hex32
    offset: Offset
    role: Role


class SelectionArtifact(_Strict, frozen=True, kw_only=True):
    """Where a selection is recorded: a stream, an offset in it, and by which policy."""

    stream_id: Text
    offset: Offset
    policy: Text


class Envelope(_Strict, frozen=True, kw_only=True):
    """The document; see `transit.evidence.envelope` for its fields."""

    proof_kind: Literal["transit.finality.v1", "transit.fork-choice.v1"]
    origin: Text
    checkpoint_size: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    manifest_root: Hex64
    checkpoint_ref: Text
    checkpoint_kind: Literal["finality", "published-result", "fork-choice", "reorg-selection"]
    stream_id: Hex32
    stream: Text
    head_offset: Offset
    parent_heads: Annotated[tuple[ParentHead, ...], Meta(max_length=HEADS_MAX)]
    selection_artifacts: Annotated[tuple[SelectionArtifact, ...], Meta(max_length=HEADS_MAX)]
    application_block: Text | None
    non_claims: Annotated[tuple[Text, ...], Meta(max_length=16)]


_DOCUMENT: Final = Document(Envelope, ENVELOPE_FILE, ENVELOPE_BYTES_MAX)


def encode_envelope(envelope: Envelope) -> bytes:
    """The document's canonical bytes."""
    return _DOCUMENT.encode(envelope)


def decode_envelope(data: bytes) -> Envelope:
    """The document in `data`, nothing of it checked against a proof; else `ProofError`."""
    envelope = _DOCUMENT.decode(data)
    if envelope.checkpoint_kind not in _KINDS[envelope.proof_kind]:
        raise ProofError(
            f"{ENVELOPE_FILE}: {envelope.checkpoint_kind} is no kind of {envelope.proof_kind}"
        )
    return envelope


def check_kind(proof_kind: str, checkpoint_kind: str) -> None:
    """`InvalidInputError` unless envelopes of this sort may be of this kind."""
    if checkpoint_kind not in _KINDS[proof_kind]:
        raise InvalidInputError(
            f"checkpoint_kind must be {' or '.join(_KINDS[proof_kind])}, not {checkpoint_kind!r}"
        )


def check_block(text: object) -> None:
    """`InvalidInputError` unless it is None or a text that the document has room for."""
    if text is None:
        return
    if not isinstance(text, str) or len(text) > TEXT_CHARS_MAX or not text.isprintable():
        raise InvalidInputError(
            f"application_block must be printable text of at most {TEXT_CHARS_MAX} characters"
        )


def derive(
    proof_kind: str,
    proof: Checked,
    heads: Sequence[Checked],
    checkpoint_kind: str,
    application_block: str | None,
) -> Envelope:
    """The document that these proofs bear out; `ProofError` says why there is none.

    proof: of the stream, to its end. heads: of each parent of a fork choice, in order, to its end;
    of a finality, of each stream that it inherits from, in order, for the uid that it has.
    """
    shown, record = proof.shown, proof.lineage(proof.shown.stream_id)
    if not shown.end:
        raise ProofError("envelope: the proof does not show where the stream ends")
    for head in heads:
        _check_alike(shown.checkpoint, head)
    uids = {each.shown.stream_id: each.shown.uid for each in heads}
    places = heads_of(record)
    if list(uids) != [stream for stream, _ in places]:
        raise ProofError("envelope: not the heads of the streams that it descends from")
    if proof_kind == FORK_CHOICE:
        _check_choice(record, heads)
    roles = _roles(record)
    return Envelope(
        proof_kind=FORK_CHOICE if proof_kind == FORK_CHOICE else FINALITY,
        origin=shown.checkpoint.origin,
        checkpoint_size=shown.checkpoint.size,
        manifest_root=shown.checkpoint.root.hex(),
        checkpoint_ref=f"{CHECKPOINT_DIR}/{checkpoint_name(shown.checkpoint.size)}",
        checkpoint_kind=checkpoint_kind,  # type: ignore[arg-type]
        stream_id=shown.uid,
        stream=shown.stream,
        head_offset=shown.records[1] - 1,
        parent_heads=tuple(
            ParentHead(stream_id=uids[stream], offset=offset, role=role)
            for (stream, offset), role in zip(places, roles, strict=True)
        ),
        selection_artifacts=(
            SelectionArtifact(
                stream_id=LINEAGE_NAME, offset=shown.stream_id, policy=f"{record.policy}"
            ),
        )
        if proof_kind == FORK_CHOICE and isinstance(record, Merge)
        else (),
        application_block=application_block,
        non_claims=NON_CLAIMS,
    )


def _roles(record: LineageRecord) -> list[Role]:
    count = len(heads_of(record))
    if not isinstance(record, Merge) or record.policy != "select":
        return ["parent-block"] * count
    selected = record.params.get("selected")
    return ["selected" if place == selected else "superseded" for place in range(count)]


def _check_choice(record: LineageRecord, heads: Sequence[Checked]) -> None:
    if not isinstance(record, Merge) or record.policy != "select":
        raise ProofError('envelope: a fork choice is a merge by policy "select"')
    for (_, offset), head in zip(record.parents, heads, strict=True):
        shown = head.shown
        if not shown.end or shown.records[1] != offset + 1:
            raise ProofError(
                f"envelope: stream {shown.stream!r} did not end at offset {offset} when the"
                " checkpoint was made: it went on after the choice"
            )


def _check_alike(checkpoint: Checkpoint, other: Checked) -> None:
    if other.checkpoint != checkpoint:
        raise ProofError("envelope: its proofs stand on different checkpoints")
