"""Files of proofs: what a stranger checks without the store (C2SP tlog-proof, tlog-witness).

    c2sp.org/tlog-proof@v1            InclusionFile, *.tlog-proof
    extra BASE64                      optional; not authenticated, so never believed
    index N
    BASE64(hash)                      from the leaf upwards, at most 63
    (empty line)
    checkpoint

    old N                             ConsistencyFile: the body of add-checkpoint
    BASE64(hash)                      at most 63
    (empty line)
    checkpoint

Valid if and only if each line is in its one spelling, and the checkpoint is one
(`transit.proof.checkpoint`). A file has at most 1,100,000 bytes, of which the lines before the
checkpoint take at most 100,000; nothing is split into more parts than a valid one has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from transit.errors import InvalidInputError, ProofError, SplitViewError
from transit.proof.checkpoint import SKEW_S
from transit.proof.notes import NOTE_BYTES_MAX
from transit.proof.paths import PATH_HASHES_MAX, check_consistency, check_inclusion
from transit.proof.policy import Policy, Verdict
from transit.proof.spellings import (
    NUMBER_MAX,
    base64_of,
    hash_in,
    number_in,
    shown,
    strict_base64,
)
from transit.proof.tree import HASH_BYTES, leaf_hash

HEADER: Final = "c2sp.org/tlog-proof@v1"
SUFFIX: Final = ".tlog-proof"
HEAD_BYTES_MAX: Final = 100_000
FILE_BYTES_MAX: Final = HEAD_BYTES_MAX + NOTE_BYTES_MAX
EXTRA_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class InclusionFile:
    """That a log of a checkpoint has an entry at `index`: a `.tlog-proof`.

    hashes: from the leaf's sibling upwards, 32 bytes each
    checkpoint: the signed note, verbatim
    extra: what somebody wrote beside; nothing signs it
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def encode(self) -> bytes:
        """The file's bytes; `InvalidInputError` where it would not be read as this proof."""
        lines = [HEADER]
        if self.extra is not None:
            if len(self.extra) > EXTRA_BYTES_MAX:
                raise InvalidInputError(f"extra data has at most {EXTRA_BYTES_MAX} bytes")
            lines.append(f"extra {base64_of(self.extra)}")
        lines.append(f"index {_number(self.index)}")
        return _encoded(lines, self.hashes, self.checkpoint)

    @classmethod
    def parse(cls, data: bytes) -> InclusionFile:
        """The proof of a file, nothing of it verified; `ProofError` says what makes it none."""
        lines, note = _head_of(data, "proof")
        if lines[0] != HEADER:
            raise ProofError(f"proof: expected {HEADER}, found {shown(lines[0])}")
        extra, rest = None, lines[1:]
        if rest and rest[0].startswith("extra "):
            extra = strict_base64(rest[0][6:])
            if extra is None or len(extra) > EXTRA_BYTES_MAX:
                raise ProofError(f"proof: extra is no base64 of at most {EXTRA_BYTES_MAX} bytes")
            rest = rest[1:]
        index, hashes = _numbered(rest, "index", "proof")
        return cls(index, hashes, note, extra)

    def check(
        self,
        entry: bytes,
        policy: Policy,
        *,
        now: float,
        skew_s: float = SKEW_S,
        origin: str | None = None,
    ) -> Verdict:
        """The log has `entry` at `index`, as the policy believes; else `ProofError`.

        entry: the leaf's bytes, not their hash. Arguments and errors as of `Policy.check`; a quorum
        that is not met is an error too.
        """
        verdict = policy.check(self.checkpoint, now=now, skew_s=skew_s, origin=origin)
        found = verdict.require_quorum().checkpoint
        check_inclusion(self.index, found.size, leaf_hash(entry), self.hashes, found.root)
        return verdict


@dataclass(frozen=True, slots=True)
class ConsistencyFile:
    """That the log of a checkpoint begins with its first `old` entries: what a witness is sent.

    hashes: as `transit.proof.paths.consistency_path` makes them
    checkpoint: the newer signed note, verbatim
    """

    old: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """The file's bytes; `InvalidInputError` where it would not be read as this proof."""
        return _encoded([f"old {_number(self.old)}"], self.hashes, self.checkpoint)

    @classmethod
    def parse(cls, data: bytes) -> ConsistencyFile:
        """The proof of a file, nothing of it verified; `ProofError` says what makes it none."""
        lines, note = _head_of(data, "consistency")
        old, hashes = _numbered(lines, "old", "consistency")
        return cls(old, hashes, note)

    def check(
        self,
        older: bytes,
        policy: Policy,
        *,
        now: float,
        skew_s: float = SKEW_S,
        origin: str | None = None,
    ) -> Verdict:
        """The log grew from the checkpoint `older` to this one, as the policy believes of both.

        older: the older signed note. Arguments and errors as of `InclusionFile.check`; the verdict
        is that of the newer checkpoint.
        """
        before = policy.check(older, now=now, skew_s=skew_s, origin=origin).require_quorum()
        after = policy.check(self.checkpoint, now=now, skew_s=skew_s, origin=origin)
        old, new = before.checkpoint, after.require_quorum().checkpoint
        if old.origin != new.origin:
            raise ProofError(f"consistency: two logs, {shown(old.origin)} and {shown(new.origin)}")
        if old.size != self.old:
            raise ProofError(
                f"consistency: it begins at size {self.old}, the older checkpoint has {old.size}"
            )
        check_consistency(old.size, new.size, old.root, new.root, self.hashes)
        return after


def check_pair(
    first: bytes,
    second: bytes,
    policy: Policy,
    *,
    now: float,
    skew_s: float = SKEW_S,
    origin: str | None = None,
) -> tuple[Verdict, Verdict]:
    """Two checkpoints that two auditors were given: of one log, and of one root if of one size.

    `SplitViewError` where one size has two signed roots: both notes are the evidence. Of two sizes
    nothing follows before there is a consistency proof.
    """
    pair = tuple(
        policy.check(each, now=now, skew_s=skew_s, origin=origin).require_quorum()
        for each in (first, second)
    )
    one, other = pair[0].checkpoint, pair[1].checkpoint
    if one.origin != other.origin:
        raise ProofError(f"pair: two logs, {shown(one.origin)} and {shown(other.origin)}")
    if one.size == other.size and one.root != other.root:
        raise SplitViewError(f"pair: SPLIT VIEW, two roots for size {one.size}")
    return pair[0], pair[1]


def _encoded(lines: list[str], hashes: tuple[bytes, ...], checkpoint: bytes) -> bytes:
    if len(hashes) > PATH_HASHES_MAX or any(len(each) != HASH_BYTES for each in hashes):
        raise InvalidInputError(
            f"a path has at most {PATH_HASHES_MAX} hashes of {HASH_BYTES} bytes"
        )
    if len(checkpoint) > NOTE_BYTES_MAX:
        raise InvalidInputError(f"a checkpoint has at most {NOTE_BYTES_MAX} bytes")
    head = "\n".join((*lines, *map(base64_of, hashes), "\n"))
    return head.encode("ascii") + checkpoint


def _number(number: int) -> int:
    if not 0 <= number <= NUMBER_MAX:
        raise InvalidInputError(f"no size or index: {number}")
    return number


def _head_of(data: bytes, place: str) -> tuple[list[str], bytes]:
    """The lines before the first empty line, at most as many as are valid, and what follows."""
    if len(data) > FILE_BYTES_MAX:
        raise ProofError(f"{place}: more than {FILE_BYTES_MAX} bytes")
    at = data.find(b"\n\n", 0, HEAD_BYTES_MAX)
    if at < 0:
        raise ProofError(f"{place}: no empty line in its first {HEAD_BYTES_MAX} bytes")
    try:
        said = data[:at].decode("ascii")
    except UnicodeDecodeError:
        raise ProofError(f"{place}: not ASCII before the checkpoint") from None
    lines = said.split("\n", PATH_HASHES_MAX + 3)
    return lines, data[at + 2 :]


def _numbered(lines: list[str], word: str, place: str) -> tuple[int, tuple[bytes, ...]]:
    """The number after that word on the first line, and the hashes on the others."""
    first, *rest = lines or [""]
    if not first.startswith(f"{word} "):
        raise ProofError(f"{place}: expected {word} and a number, found {shown(first)}")
    number = number_in(first[len(word) + 1 :], f"{place}: {word}")
    if len(rest) > PATH_HASHES_MAX:
        raise ProofError(f"{place}: more than {PATH_HASHES_MAX} hashes")
    return number, tuple(hash_in(each, f"{place}: hash {n}") for n, each in enumerate(rest))
