"""What a proof says, and the shape of its files.

A proof is a few files, in a folder or in memory. Names end in no user text:

    proof.json                      the statement: canonical JSON (keys sorted, no white space)
    checkpoint                      a signed note (C2SP tlog-checkpoint) over the store's commits
    commits/<20 digits>.json        a commit, byte for byte (`transit.format.commit`)
    commits/<20 digits>.tlog-proof  that it is in the checkpoint's tree (C2SP tlog-proof)
    leaves/<64 hex>                 what a leaf of a segment's tree is about, named by its BLAKE3: a
                                    chunk, or what `transit.proof.chunks` has of a record of
                                    `$lineage`
    secrets/<64 hex>                of a leaf in an envelope (`transit.format.envelope`): the secret
                                    that opens this one, 32 bytes, and no other
    opened/<64 hex>                 the chunk in that envelope
    payload                         of a proof of one record: its payload
    HOW.txt                         how standard tools check it

The statement:

    kind       "transit-proof"
    version    1
    store      store id, 32 hex digits
    origin     the first line of the checkpoint
    size       how many commits the checkpoint covers
    stream     the id of the stream the proof is about
    records    [first, stop]: each record from offset `first` to before `stop` is here
    end        true: the stream had no record from `stop` on at the checkpoint
    leaves     leaves of segments' trees: commit; segment, its place in the commit; index, size: the
               leaf's place and how many leaves there are; path, from the leaf to the root
               (RFC 9162, 64 hex digits each); stream, first, count, digest: what the leaf says.
               A leaf whose bytes are not among the files shows only that nothing lies between it
               and the one beside it.

A valid proof has, for what it says: the lineage record of the stream and of each stream that one of
the records was appended to, and those between; every chunk that holds one of the records, from the
first offset to the last without a gap; and, with `end`, for each segment from the one with the
stream's last chunk on (from the one with its lineage record on where it has none) the two leaves
side by side between which a later record would be, or the one leaf at that end of the segment.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from transit.errors import ProofError
from transit.evidence.documents import Document
from transit.format.commit import Count, Hex32, Hex64
from transit.format.names import commit_name
from transit.proof.files import SUFFIX

STATEMENT_FILE: Final = "proof.json"
CHECKPOINT_FILE: Final = "checkpoint"
PAYLOAD_FILE: Final = "payload"
HOW_FILE: Final = "HOW.txt"
STATEMENT_BYTES_MAX: Final = 256 * 1024 * 1024

Path = Annotated[tuple[Hex64, ...], Meta(max_length=63)]
LeafCount = Annotated[int, Meta(ge=1, le=2**32 - 1)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Leaf(_Strict, frozen=True, kw_only=True):
    """One leaf of the tree over a segment's chunks, and the way to that tree's root."""

    commit: Count
    segment: Annotated[int, Meta(ge=0, le=2**16)]
    index: Annotated[int, Meta(ge=0, le=2**32 - 2)]
    size: LeafCount
    path: Path
    stream: Count
    first: Count
    count: LeafCount
    digest: Hex64

    @property
    def stop(self) -> int:
        """The offset after the last record of the leaf."""
        return self.first + self.count


class Statement(_Strict, frozen=True, kw_only=True):
    """What a proof says; see the module."""

    kind: Literal["transit-proof"] = "transit-proof"
    version: Literal[1] = 1
    store: Hex32
    origin: Annotated[str, Meta(min_length=1, max_length=255)]
    size: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    stream: Annotated[int, Meta(ge=1, le=2**63 - 2)]
    records: tuple[Count, Count]
    end: bool
    leaves: tuple[Leaf, ...]


_DOCUMENT: Final = Document(Statement, STATEMENT_FILE, STATEMENT_BYTES_MAX)


def commit_file(number: int) -> str:
    """The name of the file of a commit."""
    return f"commits/{commit_name(number)}"


def inclusion_file(number: int) -> str:
    """The name of the proof that a commit is in the checkpoint's tree."""
    return f"commits/{number:020}{SUFFIX}"


def leaf_file(digest: str) -> str:
    """The name of the bytes that a leaf is about."""
    return f"leaves/{digest}"


def secret_file(digest: str) -> str:
    """The name of what opens a leaf that is an envelope."""
    return f"secrets/{digest}"


def opened_file(digest: str) -> str:
    """The name of the chunk in a leaf that is an envelope."""
    return f"opened/{digest}"


def encode_statement(statement: Statement) -> bytes:
    """The statement's canonical bytes."""
    return _DOCUMENT.encode(statement)


def decode_statement(data: bytes) -> Statement:
    """The statement in `data`; `ProofError` when it is none."""
    statement = _DOCUMENT.decode(data)
    first, stop = statement.records
    if first > stop:
        raise ProofError(f"{STATEMENT_FILE}: records from {first} to {stop}")
    return statement
