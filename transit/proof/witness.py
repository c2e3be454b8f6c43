"""Witnesses: what one decides about a checkpoint, and what a log makes of its answer.

Owns both sides of `add-checkpoint` (C2SP tlog-witness 1.0.0) without a socket, a file or a clock:
the body of a request is a `ConsistencyFile`.

    status  a witness answers it where
    200     the checkpoint extends the latest one it knows: lines of its keys
    400     the body is malformed, or `old` is larger than the checkpoint
    403     no key of the log signed it, or a known key's line does not verify
    404     the origin is not one it knows
    409     `old` is not the size of the latest one: that size, as text/x.tlog.size
    422     the path does not hold, or the latest size has another root

These are tried in the order 400 (malformed), 404, 403, 400, 409, 422.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from transit.errors import FencedError, InvalidInputError, ProofError
from transit.proof.checkpoint import (
    SKEW_S,
    Checkpoint,
    Signed,
    add_signatures,
    check_time,
    cosign,
    open_checkpoint,
)
from transit.proof.cosignature import check_signature
from transit.proof.files import ConsistencyFile
from transit.proof.keys import SigningKey, VerifyingKey
from transit.proof.notes import Note, NoteSignature, parse_note, parse_signatures
from transit.proof.paths import EMPTY_ROOT, check_consistency
from transit.proof.spellings import shown, strict_number

SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
ANSWER_BYTES_MAX: Final = 131_072
ANSWER_LINES_MAX: Final = 32
_SAID_BYTES_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Latest:
    """The latest checkpoint that a witness cosigned for a log: size, root, and its bytes.

    note: with the lines of the log's known keys, and no others
    """

    size: int = 0
    root: bytes = EMPTY_ROOT
    note: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answers, and what it must have stored before it does.

    new_state: the log's latest checkpoint from now on, to be stored durably, and only if what was
        given as `latest` is still stored, before the answer is sent; None changes nothing
    origin: the log, empty where it is not known
    evidence: the checkpoint, with the lines of the log's known keys alone, where it does not extend
        the latest one by the path that came along, or has the size of that one and another root:
        worth keeping beside it, because the log may have signed two histories. Anybody can send a
        wrong path, but no two of these differ unless the log's key signed twice. Else empty
    """

    status: int
    content_type: str
    body: bytes
    origin: str = ""
    new_state: Latest | None = None
    evidence: bytes = b""


def decide(
    body: bytes,
    latest: Mapping[str, Latest],
    *,
    logs: Mapping[str, Sequence[VerifyingKey]],
    keys: Sequence[SigningKey],
    now: int,
) -> Answer:
    """The answer of a witness to the body of a request to add-checkpoint.

    latest: by origin; a log that is missing was never cosigned
    logs: by origin, the keys of each log that it witnesses
    keys: its own, each of which cosigns
    now: seconds since 1970, the time that it states

    `InvalidInputError` where it has no key, or one that is not a witness's; what a signing callable
    raises. All that a request can do is an answer.
    """
    if not keys:
        raise InvalidInputError("a witness has at least one key")
    try:
        asked = ConsistencyFile.parse(body)
        head = Checkpoint.parse(parse_note(asked.checkpoint).text)
    except ProofError as error:
        return _refusal(400, str(error))
    if head.origin not in logs:
        return _refusal(404, f"the log {shown(head.origin)} is not known here")
    try:
        open_checkpoint(asked.checkpoint, logs[head.origin])
    except ProofError as error:
        return _refusal(403, str(error), head.origin)
    if asked.old > head.size:
        return _refusal(400, f"old {asked.old} is larger than {head.size}", head.origin)
    known = latest.get(head.origin, Latest())
    signed = _signed_by(logs[head.origin], asked.checkpoint)
    if asked.old != known.size:
        # Two roots of one size contradict each other wherever the path begins.
        is_split = head.size == known.size and head.root != known.root
        evidence = signed if is_split else b""
        return Answer(409, SIZE_TYPE, b"%d\n" % known.size, head.origin, None, evidence)
    try:
        check_consistency(known.size, head.size, known.root, head.root, asked.hashes)
    except ProofError as error:
        return _refusal(422, str(error), head.origin, evidence=signed)
    lines = b"".join(cosign(head, key, now).encode() for key in keys)
    state = Latest(head.size, head.root, signed)
    return Answer(200, TEXT_TYPE, lines, head.origin, state)


def _signed_by(keys: Sequence[VerifyingKey], checkpoint: bytes) -> bytes:
    """A checkpoint with the lines of these keys alone, each once.

    What strangers wrote under it is not remembered: it would leave no room for cosignatures.
    """
    parsed = parse_note(checkpoint)
    known = {(key.name, key.key_id) for key in keys}
    lines = [line for line in parsed.signatures if (line.name, line.key_id) in known]
    return add_signatures(Note(parsed.text, ()), lines).encode()


def _refusal(status: int, said: str, origin: str = "", *, evidence: bytes = b"") -> Answer:
    return Answer(status, TEXT_TYPE, f"{said}\n".encode(), origin, None, evidence)


@dataclass(frozen=True, slots=True)
class WitnessSaid:
    """What a witness answered to a log.

    signatures: verified lines, to be added to the note; none where it did not cosign
    behind: the size that it knows of the log, where the path must begin there; else None
    """

    signatures: tuple[NoteSignature, ...] = ()
    behind: int | None = None


def read_answer(
    status: int,
    content_type: str,
    body: bytes,
    *,
    note: bytes,
    old: int,
    witness_keys: Sequence[VerifyingKey],
    now: float | None = None,
    skew_s: float = SKEW_S,
) -> WitnessSaid:
    """What a log makes of the answer to a request with this checkpoint.

    body: at most `ANSWER_BYTES_MAX` bytes: whoever reads from a socket stops after one more
    note, old: the checkpoint that was sent, and the size its path began at
    witness_keys: those of this witness; lines of other keys are ignored
    now: seconds since 1970, as of `open_checkpoint`

    `FencedError` where the witness knows a larger tree than ours: somebody signed more with our
    key, and nothing more may be signed before that is understood. `ProofError` for everything else
    that is not cosigned: the checkpoint then goes without this witness.
    """
    if len(body) > ANSWER_BYTES_MAX:
        raise ProofError(f"witness: an answer of more than {ANSWER_BYTES_MAX} bytes")
    head = Checkpoint.parse(parse_note(note).text)
    if status == 409 and content_type.partition(";")[0].strip().lower() == SIZE_TYPE:
        return WitnessSaid(behind=_size_in(body, head, old))
    if status != 200:
        said = shown(body[:_SAID_BYTES_MAX].decode("utf-8", "replace"))
        raise ProofError(f"witness: it answered {status}, {said}")
    return WitnessSaid(_cosignatures_in(body, head, witness_keys, now, skew_s))


def _size_in(body: bytes, head: Checkpoint, old: int) -> int:
    said = body[:_SAID_BYTES_MAX].decode("utf-8", "replace")
    size = strict_number(said[:-1]) if said.endswith("\n") else None
    if size is None:
        raise ProofError(f"witness: expected a size and a newline, found {shown(said)}")
    if size > head.size:
        raise FencedError(
            f"a witness has seen size {size} of {shown(head.origin)}, and ours is {head.size}: "
            "somebody signed more with this key, so nothing more is signed here",
            store=head.origin,
            number=head.size,
        )
    if size == old:
        raise ProofError(f"witness: it refused {old} as the old size and names the same")
    return size


def _cosignatures_in(
    body: bytes,
    head: Checkpoint,
    witness_keys: Sequence[VerifyingKey],
    now: float | None,
    skew_s: float,
) -> tuple[NoteSignature, ...]:
    try:
        said = body.decode("utf-8")
    except UnicodeDecodeError:
        raise ProofError("witness: an answer that is not UTF-8") from None
    if said.count("\n") > ANSWER_LINES_MAX:
        raise ProofError(f"witness: an answer of more than {ANSWER_LINES_MAX} lines")
    known = {(key.name, key.key_id): key for key in witness_keys}
    if len(known) != len(set(witness_keys)):
        raise InvalidInputError("two keys of a witness have one name and one id")
    found = []
    for line in parse_signatures(said, "witness"):
        key = known.get((line.name, line.key_id))
        if key is not None:
            check_time(Signed(key, check_signature(key, head, line.data)), now, skew_s)
            found.append(line)
    if not found:
        raise ProofError("witness: no cosignature of a known key of it")
    return tuple(found)


def monitor_path(origin: str) -> str:
    """Where below its prefix a witness shows the latest checkpoint of a log that it cosigned."""
    return f"{sha256(origin.encode()).hexdigest()}/checkpoint"
