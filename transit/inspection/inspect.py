"""From a path to a report: which kind of file it is, its digest, and which module reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final

from transit.disk import File, check_regular
from transit.errors import InvalidInputError
from transit.format.digest import Digester
from transit.format.names import (
    parse_commit_name,
    parse_index_name,
    parse_segment_name,
    parse_wal_name,
)
from transit.inspection.document import DOCUMENT_BYTES_MAX, Document
from transit.inspection.kinds import kind_of_bytes
from transit.inspection.redacted import RedactedFile, is_redacted
from transit.inspection.report import Content, FieldValue, FileKind, FilePart, FileReport
from transit.inspection.segment import SegmentFile
from transit.inspection.snapshot import SnapshotFile
from transit.inspection.wal import WalFile
from transit.verify.findings import Ledger

_READ_BYTES: Final = 1024 * 1024


def inspect_file(path: str | os.PathLike[str], *, records: bool = False) -> FileReport:
    """What one file of a store holds: a WAL, a segment, a commit, an index snapshot, FORMAT, HEAD,
    REMOTE or LOCK. The store around it is not needed.

    The kind is told by content. Damage, and a version this transit does not know, are findings of
    the report. Parts are read as they are asked for; of a file that is being written they are what
    was there by then. records: list each record of a WAL and of a segment too.

    Raises `InvalidInputError` for what is no file of a store, `NotFoundError` where there is none,
    `StorePermissionError` where it cannot be read.
    """
    text = _checked(path)
    file = File.open(text)
    size, digest = _measure(file)
    head = file.read_at(0, DOCUMENT_BYTES_MAX)
    kind = kind_of_bytes(head, size)
    if kind is None:
        what = "is empty" if not size else "is no file of a store, as far as its content tells"
        raise InvalidInputError(f"{text}: {what}")
    content: WalFile | SegmentFile | SnapshotFile | Document
    if kind == "wal":
        content = WalFile(file, records=records)
    elif kind == "segment":
        content = (RedactedFile if is_redacted(head) else SegmentFile)(
            file, digest, records=records
        )
    elif kind == "index":
        content = SnapshotFile(file)
    else:
        content = Document(head, kind, text)
    # What is left of a segment has the name of that.
    left = isinstance(content, RedactedFile)
    name = None if left else _own_name(content.fields(), kind, digest)
    named = _Named(content, name, _Reopened(text, digest, records=records))
    return FileReport(text, kind, content.identity, (size, digest), named)


def _checked(path: str | os.PathLike[str]) -> str:
    try:
        text = os.fspath(path)
    except TypeError:
        raise InvalidInputError(f"path must be str or PathLike, not {path!r}") from None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidInputError(f"path must be text that names a file, not {text!r}")
    # Opening a pipe would wait for a writer.
    check_regular(text)
    return text


def _measure(file: File) -> tuple[int, str]:
    """Size and BLAKE3 of the whole file."""
    digester, size = Digester(), 0
    while data := file.read_at(size, _READ_BYTES):
        digester.update(data)
        size += len(data)
    return size, digester.digest().hex()


class _Reopened:
    """The content of a copied report: its file is opened again when it is asked for.

    digest: of the file that the report is about. An open file itself has no copy.
    """

    def __init__(self, path: str, digest: str, *, records: bool) -> None:
        self.path = path
        self._digest = digest
        self._records = records

    def _report(self) -> FileReport:
        report = inspect_file(self.path, records=self._records)
        if report.digest != self._digest:
            raise InvalidInputError(f"{self.path}: has changed since the report: inspect it again")
        return report

    def fields(self) -> Mapping[str, FieldValue]:
        """As the content's."""
        return self._report().fields

    def walk(self) -> Iterator[FilePart]:
        """As the content's."""
        return self._report().parts

    def check(self, ledger: Ledger) -> None:
        """As the content's."""
        for finding in self._report().findings:
            ledger.find(finding.place, finding.expected, finding.found)


class _Named:
    """A file's content, and whether the file's name, when it is a store's, says the same.

    found: the number or the digest after which the content is named. again: what copies have.
    """

    def __init__(self, content: Content, found: FieldValue, again: _Reopened) -> None:
        self._content = content
        self._found = found
        self._again = again
        self.fields = content.fields
        self.walk = content.walk

    def __reduce__(self) -> tuple[object, ...]:
        return _itself, (self._again,)

    def check(self, ledger: Ledger) -> None:
        """As the content's, and the name."""
        path = self._again.path
        stated = _stated(os.path.basename(path))
        if None not in (stated, self._found) and stated != self._found:
            ledger.find(path, f"{stated}, as the name says", str(self._found))
        self._content.check(ledger)


def _itself(content: _Reopened) -> _Reopened:
    return content


def _own_name(fields: Mapping[str, FieldValue], kind: FileKind, digest: str) -> FieldValue:
    """What a file of this kind is named after; None when it cannot be read."""
    if kind == "wal":
        return fields.get("first_lsn")
    return fields.get("number") if kind == "commit" else digest


def _stated(name: str) -> int | str | None:
    """The digest or the number that a file's name states; None for a name that states none."""
    digest = parse_segment_name(name) or parse_index_name(name)
    if digest is not None:
        return digest.hex()
    number = parse_wal_name(name)
    return parse_commit_name(name) if number is None else number
