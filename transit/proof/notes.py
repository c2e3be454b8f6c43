"""Signed notes: a text, and lines that say who signed it (C2SP signed-note 1.0.0).

    text, ends in a newline
    (empty line)
    — NAME BASE64(key id, 4 bytes || signature)      one line or more

A note is valid if and only if it is UTF-8 without any control character but the newline, ends in a
newline, and after its **last** empty line has signature lines only, at least one. A key's name is
not empty and has no white space (Unicode) and no `+`.

Who a key is, and whether a signature holds, is the business of `transit.proof.keys` and
`transit.proof.checkpoint`: nothing of a note may be believed before. What was read is bounded as in
Go's implementation: 1,000,000 bytes and 100 signatures (the standard: at least 16).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from transit.errors import InvalidInputError, ProofError
from transit.proof.spellings import base64_of, shown, strict_base64

NOTE_BYTES_MAX: Final = 1_000_000
SIGNATURES_MAX: Final = 100
KEY_ID_BYTES: Final = 4
_DASH: Final = "\u2014"
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NO_NAME: Final = re.compile(r"[\s+\x00-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: the key's name, its id of 4 bytes, and what it signed with."""

    name: str
    key_id: bytes
    data: bytes

    def encode(self) -> bytes:
        """The line, with its newline. `InvalidInputError` where its parts make none."""
        if not is_key_name(self.name) or len(self.key_id) != KEY_ID_BYTES or not self.data:
            raise InvalidInputError(f"no signature line: of {shown(self.name)}")
        return f"{_DASH} {self.name} {base64_of(self.key_id + self.data)}\n".encode()


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signatures, none of them checked."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """The note's bytes. `InvalidInputError` where it would not be read as this note."""
        if not 1 <= len(self.signatures) <= SIGNATURES_MAX:
            raise InvalidInputError(f"a note has 1 to {SIGNATURES_MAX} signatures")
        lines = b"".join(each.encode() for each in self.signatures)
        try:
            encoded = self.text.encode() + b"\n" + lines
        except UnicodeEncodeError:
            raise InvalidInputError("a note's text is Unicode without surrogates") from None
        if not self.text.endswith("\n") or _CONTROL.search(self.text):
            raise InvalidInputError(
                "a note's text ends in a newline and has no other control character"
            )
        if len(encoded) > NOTE_BYTES_MAX:
            raise InvalidInputError(f"a note has at most {NOTE_BYTES_MAX} bytes")
        return encoded


def is_key_name(name: str) -> bool:
    """Whether a signature line can have this name: no white space, no `+`, no control character."""
    return bool(name) and not _NO_NAME.search(name)


def parse_note(data: bytes) -> Note:
    """The text and the signature lines of a note, in their order; nothing is verified.

    `ProofError` says what makes it no note.
    """
    if len(data) > NOTE_BYTES_MAX:
        raise ProofError(f"note: more than {NOTE_BYTES_MAX} bytes")
    try:
        said = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProofError(f"note: byte {error.start} is not UTF-8") from None
    control = _CONTROL.search(said)
    if control:
        raise ProofError(f"note: a control character, {shown(control[0])}")
    if not said.endswith("\n"):
        raise ProofError("note: no newline at its end")
    at = said.rfind("\n\n")
    if at < 0:
        raise ProofError("note: no empty line before its signatures")
    return Note(said[: at + 1], parse_signatures(said[at + 2 :], "note"))


def parse_signatures(lines: str, place: str) -> tuple[NoteSignature, ...]:
    """The signatures of these lines, each ended by a newline, at least one and at most 100.

    `ProofError` says what makes one no signature.
    """
    if not lines:
        raise ProofError(f"{place}: no signature")
    if not lines.endswith("\n"):
        raise ProofError(f"{place}: no newline at its end")
    rows = lines.split("\n", SIGNATURES_MAX)
    if rows.pop():
        raise ProofError(f"{place}: more than {SIGNATURES_MAX} signatures")
    return tuple(_signature_in(row, f"{place}: signature {n}") for n, row in enumerate(rows, 1))


def _signature_in(row: str, place: str) -> NoteSignature:
    dash, _, rest = row.partition(" ")
    name, _, encoded = rest.partition(" ")
    if dash != _DASH or not is_key_name(name):
        raise ProofError(f"{place}: expected an em dash, a name and base64, found {shown(row)}")
    data = strict_base64(encoded)
    if data is None:
        raise ProofError(f"{place}: expected base64 in its one spelling, found {shown(encoded)}")
    if len(data) <= KEY_ID_BYTES:
        raise ProofError(f"{place}: no more than a key id")
    return NoteSignature(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])
