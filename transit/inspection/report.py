"""What an inspection tells: of the file as a whole, of its parts, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

import msgspec

from transit.verify import Finding
from transit.verify.findings import Ledger

FieldValue = str | int | bytes | None | tuple[int, ...] | tuple[str, ...] | Mapping[str, str]

FileKind = Literal["wal", "segment", "commit", "index", "format", "head", "remote", "lock"]

PartKind = Literal[
    "header", "frame", "mark", "end", "chunk", "envelope", "record", "damage", "torn", "unused",
    "unknown",
    "block", "index", "footer", "tail", "table", "layer", "segment", "checksum", "document",
]  # fmt: skip
"""What a part is.

header, footer, tail, checksum, layer, index   as in the format of the file
document   all of a file of text; its fields are those of the document
segment    a segment that a commit or an index snapshot names
table      of what is left of a segment: where its chunks are, and the digests of all that it had
frame, mark, end   of a WAL: with records; "all before is durable"; the last one
chunk      records of one stream in the frame or block before it
record     one record of the chunk before it
block      of a segment
damage     bytes that are not what they should be, up to where reading goes on
torn       the end of a WAL whose last write never finished: no damage, recovery cuts it
unused     zeros reserved at the end of a WAL
unknown    bytes that cannot be told apart without what is damaged, or of a newer version
"""


class FilePart(msgspec.Struct, frozen=True):
    """One part of a file: `size` bytes from byte `place` on.

    Chunks and records of a segment lie inside a block, which may be compressed: their place is the
    block's, and the field `within` their position among its decompressed bytes.
    """

    place: int
    size: int
    kind: PartKind
    fields: Mapping[str, FieldValue]


class Content(Protocol):
    """What is in a file of one kind."""

    def fields(self) -> Mapping[str, FieldValue]:
        """What the file says of itself as a whole."""

    def walk(self) -> Iterator[FilePart]:
        """The parts in order, read as they are asked for."""

    def check(self, ledger: Ledger) -> None:
        """Note everything that is wrong."""


class FileReport:
    """What one file of a store holds.

    kind: "wal", "segment", "commit", "index", "format", "head", "remote" or "lock".
    version: of the file's format; None where it has none, or none can be read.
    store_id: 32 hex digits; "" where the file names no store, or none that can be read.
    size: bytes. digest: BLAKE3 of the whole file, 64 hex digits.
    fields: what the file says of itself as a whole.
    """

    def __init__(
        self,
        path: str,
        kind: FileKind,
        identity: tuple[int | None, str],
        measure: tuple[int, str],
        content: Content,
    ) -> None:
        self.path = path
        self.kind: FileKind = kind
        self.version, self.store_id = identity
        self.size, self.digest = measure
        self.fields = content.fields()
        self._content = content
        self._findings: tuple[Finding, ...] | None = None

    def __repr__(self) -> str:
        return f"<transit.FileReport {self.kind} {self.path!r}>"

    def __getstate__(self) -> dict[str, object]:
        # A copy may be where the file is not: what was found goes along.
        return {**vars(self), "_findings": self.findings}

    @property
    def parts(self) -> Iterator[FilePart]:
        """The parts in order, read from the file as they are asked for; anew at each call."""
        return self._content.walk()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, checked when first asked for; those past the first 1,000 are left out."""
        if self._findings is None:
            ledger = Ledger(self.path)
            with ledger.catching():
                self._content.check(ledger)
            self._findings = ledger.report("file", "", "").findings
        return self._findings

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with the file."""
        return not self.findings
