"""The files of text: commits, FORMAT, HEAD, the notes REMOTE and LOCK.

A document that does not decode is shown as far as it is JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from transit.errors import CorruptError, FormatError, UnsupportedVersionError
from transit.format.commit import COMMIT_BYTES_MAX, Commit, SegmentRef, decode_commit, decode_format
from transit.format.digest import digest
from transit.format.head import FORMAT_VERSION as HEAD_VERSION
from transit.format.head import HEAD_BYTES_MAX, decode_head
from transit.inspection.report import FieldValue, FileKind, FilePart
from transit.verify.findings import Ledger

# One byte more than the largest document: a larger file is told by it.
DOCUMENT_BYTES_MAX: Final = COMMIT_BYTES_MAX + 1
_INT: Final = 2**63
_STORE_DIGITS: Final = 32

_encoder = msgspec.json.Encoder(order="sorted")


class Document:
    """The content of a file of text, all of which is in `data`."""

    def __init__(self, data: bytes, kind: FileKind, path: str) -> None:
        self._data = data
        self._kind = kind
        self._path = path
        self._plain = _plain(data) if kind in ("commit", "format", "head") else {}

    @property
    def identity(self) -> tuple[int | None, str]:
        """Format version and store id as stated; None and "" where there is none."""
        version, store = self._plain.get("format"), self._plain.get("store")
        whole = isinstance(store, str) and len(store) == _STORE_DIGITS
        return version if isinstance(version, int) else None, str(store) if whole else ""

    def fields(self) -> dict[str, FieldValue]:
        """What the document says."""
        if self._kind == "lock":
            pid, _, namespace = self._data.decode().strip().partition(" ")
            return {"pid": int(pid), **({"namespace": namespace} if namespace else {})}
        if self._kind == "remote":
            return {"address": self._data.decode(errors="replace")}
        commit = self._commit()
        if commit is None:
            return {k: v for k, v in self._plain.items() if k not in ("format", "store")}
        return {
            "number": commit.number,
            "root": digest(self._data).hex(),
            "epoch": commit.epoch,
            "write_id": commit.write_id,
            "previous": commit.previous,
            "checksum": commit.checksum,
            "segments": len(commit.segments),
            "lsn": (commit.segments[0].lsn[0], commit.segments[-1].lsn[1]),
            "index": None if commit.index is None else commit.index.digest,
            "tree_size": commit.tree.size,
            "tree_range": commit.tree.range,
        }

    def _commit(self) -> Commit | None:
        if self._kind != "commit":
            return None
        try:
            return decode_commit(self._data, self._path)
        except FormatError:
            return None

    def walk(self) -> Iterator[FilePart]:
        """The document, and the segments that a commit names."""
        yield FilePart(0, len(self._data), "document", self.fields())
        commit = self._commit()
        if commit is not None:
            yield from map(self._segment, commit.segments)

    def _segment(self, ref: SegmentRef) -> FilePart:
        text = _encoder.encode(ref)
        fields: dict[str, FieldValue] = {
            "digest": ref.digest,
            "footer": ref.footer,
            "chunks": ref.chunks,
            "bytes": ref.bytes,
            "records": ref.records,
            "streams": ref.streams,
            "lsn": ref.lsn,
            "time": ref.time,
            "written": ref.written,
        }
        # A commit is canonical, so a segment's text is in it as it would be written again.
        return FilePart(self._data.find(text), len(text), "segment", fields)

    def check(self, ledger: Ledger) -> None:
        """Decode it."""
        with ledger.catching():
            if self._kind == "commit":
                decode_commit(self._data, self._path)
            elif self._kind == "format":
                decode_format(self._data, self._path)
            elif self._kind == "head":
                self._check_head()

    def _check_head(self) -> None:
        version, store_id = self.identity
        if version is not None and version > HEAD_VERSION:
            raise UnsupportedVersionError(self._path, found=version, supported=HEAD_VERSION)
        try:
            known = bytes.fromhex(store_id)
        except ValueError:
            known = b""
        if decode_head(self._data, known, self._path) is None:
            found = f"{len(self._data)} bytes that are none"
            if len(self._data) > HEAD_BYTES_MAX:
                found = f"more than {HEAD_BYTES_MAX} bytes"
            raise CorruptError(self._path, expected="a HEAD hint", found=found)


def _plain(data: bytes) -> dict[str, FieldValue]:
    """The texts and whole numbers of a JSON object; nothing when it is none."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {
        key: item
        for key, item in value.items()
        if item is None or isinstance(item, str) or (type(item) is int and abs(item) < _INT)
    }
