"""Checkpoints: how large a log was and what its root was, signed (C2SP tlog-checkpoint 1.0.0).

    ORIGIN                      the log's name; of transit, the name of its key
    SIZE                        count of leaves, decimal
    BASE64(root)                RFC 6962 root, 32 bytes
    (empty line)
    signature lines             of the log, then of witnesses

Valid if and only if these are the text's three lines, each in its one spelling, and a size of 0 has
the root of no leaves. Extension lines, which the standard allows and advises against, are refused:
ML-DSA-44 does not sign them. An origin is bytes: never normalised, shown in ASCII in messages.

`open_checkpoint` is the only way to believe one. A line is of a known key if its name **and** its
id are; such a line must verify, or the whole note is refused. All others are ignored, however many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transit.errors import InvalidInputError, ProofError
from transit.proof.cosignature import check_signature, sign_head
from transit.proof.keys import LOG_TYPES, WITNESS_TYPES, SigningKey, VerifyingKey
from transit.proof.notes import Note, NoteSignature, parse_note
from transit.proof.paths import EMPTY_ROOT
from transit.proof.spellings import NUMBER_MAX, base64_of, hash_in, number_in, shown
from transit.proof.tree import HASH_BYTES

SKEW_S = 300.0
"""How far a witness's clock may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree of `size` leaves with this root is that of the log `origin`."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The text that is signed. `InvalidInputError` where the values make none."""
        if not 0 <= self.size <= NUMBER_MAX or len(self.root) != HASH_BYTES:
            raise InvalidInputError(
                f"no checkpoint: size {self.size} and a root of {len(self.root)} bytes"
            )
        if not self.origin or any(char < " " for char in self.origin):
            raise InvalidInputError(f"no origin of a checkpoint: {shown(self.origin)}")
        return f"{self.origin}\n{self.size}\n{base64_of(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """The checkpoint that a note's text says; `ProofError` says what makes it none."""
        lines = text.split("\n", 4)
        if len(lines) < 4 or "" in lines[:3]:
            raise ProofError("checkpoint: fewer than three lines, or an empty one")
        if lines[3:] != [""]:
            raise ProofError("checkpoint: more than three lines, which not every signature covers")
        origin, size, root, _ = lines
        if origin.startswith("\ufeff"):
            raise ProofError("checkpoint: it begins with a byte order mark")
        found = cls(origin, number_in(size, "checkpoint: size"), hash_in(root, "checkpoint: root"))
        if not found.size and found.root != EMPTY_ROOT:
            raise ProofError("checkpoint: size 0 with another root than that of no leaves")
        return found


@dataclass(frozen=True, slots=True)
class Signed:
    """A verified signature: by which key, and the time that it states, 0 for none."""

    key: VerifyingKey
    at_s: int


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint that a key of its log signed.

    note: its bytes, as they were read
    logs: keys of its origin that signed it, at least one
    witnesses: those of the given witnesses that cosigned it
    """

    checkpoint: Checkpoint
    note: bytes
    logs: tuple[Signed, ...]
    witnesses: tuple[Signed, ...]


def sign(checkpoint: Checkpoint, keys: Sequence[SigningKey], *, at_s: int = 0) -> Note:
    """The checkpoint, signed by these keys of its log, in their order.

    at_s: the time that ML-DSA-44 keys state; 0 states none. Ed25519 keys of logs state none.

    `InvalidInputError` where a key is not one of a log or has another name than the origin, or none
    is given. Whoever signs must have made sure that the tree extends all that it signed before.
    """
    if not keys:
        raise InvalidInputError("a checkpoint is signed by at least one key of its log")
    if not checkpoint.size and checkpoint.root != EMPTY_ROOT:
        raise InvalidInputError("a checkpoint of size 0 has the root of no leaves")
    lines = []
    for key in keys:
        known = key.verifying
        if known.type not in LOG_TYPES:
            raise InvalidInputError(
                f"{known.id_text} is the key of a witness: it cannot be a log's"
            )
        if known.name != checkpoint.origin:
            raise InvalidInputError(
                f"the key {known.id_text} has another name than the origin "
                f"{shown(checkpoint.origin)}"
            )
        lines.append(sign_head(key, checkpoint, at_s if known.type in WITNESS_TYPES else 0))
    return Note(checkpoint.text(), tuple(lines))


def add_cosignature(note: Note, key: SigningKey, at_s: int) -> Note:
    """The note with the cosignature of a witness, in the place of an older one of the same key.

    at_s: seconds since 1970. `InvalidInputError` where it is not in 1..2**63 - 1 or the key is not
    one of a witness, `ProofError` where the note is no checkpoint. Nothing is verified: what is to
    be believed goes through `open_checkpoint` before.
    """
    return add_signatures(note, [cosign(Checkpoint.parse(note.text), key, at_s)])


def cosign(checkpoint: Checkpoint, key: SigningKey, at_s: int) -> NoteSignature:
    """The line of a witness under a checkpoint; errors as of `add_cosignature`."""
    if key.verifying.type not in WITNESS_TYPES:
        raise InvalidInputError(f"{key.verifying.id_text} is not the key of a witness")
    if at_s < 1:
        raise InvalidInputError(f"a witness states a time from 1 on, not {at_s}")
    return sign_head(key, checkpoint, at_s)


def add_signatures(note: Note, lines: Iterable[NoteSignature]) -> Note:
    """The note with these lines at its end, each in the place of older ones of the same key."""
    added = {(each.name, each.key_id): each for each in lines}
    kept = [each for each in note.signatures if (each.name, each.key_id) not in added]
    return Note(note.text, (*kept, *added.values()))


def open_checkpoint(
    note: bytes,
    log_keys: Iterable[VerifyingKey],
    *,
    witness_keys: Iterable[VerifyingKey] = (),
    origin: str | None = None,
    now: float | None = None,
    skew_s: float = SKEW_S,
) -> SignedCheckpoint:
    """The checkpoint, signed by at least one of the log's keys, with all who signed it.

    origin: the name that it must have, where that is known
    now: seconds since 1970: a time that a witness states may lie at most `skew_s` after it; None
        does not judge times

    `ProofError` where the note is malformed, a known key's line does not verify, no key whose name
    is the origin signed it, or a witness states no time or one in the future. `InvalidInputError`
    where two of the keys have one name and one id, or a key has the wrong type for its part.
    """
    logs, witnesses = dict.fromkeys(log_keys), dict.fromkeys(witness_keys)
    known = _by_name_and_id([*logs, *witnesses])
    _require_parts(logs, witnesses)
    parsed = parse_note(note)
    found = Checkpoint.parse(parsed.text)
    if origin is not None and found.origin != origin:
        raise ProofError(f"checkpoint: origin {shown(found.origin)}, not {shown(origin)}")
    signed = _verified(found, parsed.signatures, known)
    by_log = tuple(each for each in signed if each.key in logs and each.key.name == found.origin)
    if not by_log:
        raise ProofError(
            f"checkpoint of {shown(found.origin)}: not signed by a known key of its log"
        )
    by_witness = tuple(each for each in signed if each.key in witnesses)
    for each in by_witness:
        check_time(each, now, skew_s)
    return SignedCheckpoint(found, note, by_log, by_witness)


def check_time(signed: Signed, now: float | None, skew_s: float) -> None:
    """The time that a witness states can be; else `ProofError`."""
    if not signed.at_s:
        raise ProofError(f"signature of {signed.key.id_text}: a witness that states no time")
    if now is not None and signed.at_s > now + skew_s:
        raise ProofError(
            f"signature of {signed.key.id_text}: its time {signed.at_s} is in the future"
        )


def _verified(
    checkpoint: Checkpoint,
    lines: Iterable[NoteSignature],
    known: dict[tuple[str, bytes], VerifyingKey],
) -> list[Signed]:
    """All lines of known keys, each key once with the latest time it states."""
    found: dict[VerifyingKey, int] = {}
    for line in lines:
        key = known.get((line.name, line.key_id))
        if key is not None:
            at_s = check_signature(key, checkpoint, line.data)
            found[key] = max(at_s, found.get(key, 0))
    return [Signed(key, at_s) for key, at_s in found.items()]


def _by_name_and_id(keys: Iterable[VerifyingKey]) -> dict[tuple[str, bytes], VerifyingKey]:
    known: dict[tuple[str, bytes], VerifyingKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise InvalidInputError(
                f"two keys are {key.id_text}: a signature line would not say which one"
            )
    return known


def _require_parts(logs: Iterable[VerifyingKey], witnesses: Iterable[VerifyingKey]) -> None:
    for each in logs:
        if each.type not in LOG_TYPES:
            raise InvalidInputError(f"{each.id_text} is the key of a witness: it cannot be a log's")
    for each in witnesses:
        if each.type not in WITNESS_TYPES:
            raise InvalidInputError(f"{each.id_text} is the key of a log: it cannot be a witness's")
    publics = {each.public for each in logs}
    for each in witnesses:
        if each.public in publics:
            raise InvalidInputError(f"{each.id_text}: a log cannot be its own witness")
