"""What is left of a segment that chunks were erased from, as a file alone tells it.

Whether it is what it was is for the commit to say, which has the root over the chunks: the root
that the file comes to is shown, to be compared. The original's name is that of the file, and
nothing in it says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import msgspec

from transit.errors import CorruptError, FormatError
from transit.format.commit import SegmentRef
from transit.format.redacted import TABLE_TAIL, check_header
from transit.format.segment import HEADER, TAIL, Block, Footer, decode_block, decode_footer
from transit.inspection.chunks import Where, parts_of
from transit.inspection.report import FieldValue, FilePart
from transit.inspection.segment import SegmentFile
from transit.log.redactions import FileBytes, Parts, Redacted, open_left, read_parts
from transit.proof.chunks import leaves_of
from transit.proof.tree import root_over
from transit.verify.findings import Ledger
from transit.verify.redacted import check_redacted
from transit.verify.streams import keys_in


def is_redacted(head: bytes) -> bool:
    """Whether a segment's header says that chunks were erased."""
    return len(head) >= HEADER.size and bool(HEADER.unpack_from(head)[2] & 1)


class RedactedFile(SegmentFile):
    """The content of a redacted segment."""

    def fields(self) -> dict[str, FieldValue]:
        """What the original's footer and the table say, when they can be read."""
        found = super().fields()
        try:
            left = self._left
        except FormatError:
            return found
        gone = [row for row in range(len(left.index.streams)) if not left.has(row)]
        return {
            **found,
            "blocks": len(left.table.blocks),
            "chunks_erased": len(gone),
            "records_erased": sum(left.index.counts[row] for row in gone),
            "chunk_root": left.ref.chunks,
        }

    @cached_property
    def _footer(self) -> Footer:
        stated, size = self._ending
        data = self._file.read_at(self._size - TAIL.size - size, size)
        return decode_footer(data, stated, self._file.path)

    @cached_property
    def _source(self) -> FileBytes:
        return FileBytes(self._file.path, self._size)

    @cached_property
    def _parts(self) -> Parts:
        return read_parts(self._source, self._ref(self._footer), self._footer.store_id)

    @cached_property
    def _left(self) -> Redacted:
        """What is left; the root that it comes to stands for the one that the commit has."""
        ref = self._ref(self._footer)
        try:
            return open_left(self._source, ref, self._footer.store_id)
        except CorruptError as error:
            root = error.found.removeprefix("the root ")
            if root == error.found:
                raise
            return open_left(self._source, _with_root(ref, root), self._footer.store_id)

    def walk(self) -> Iterator[FilePart]:
        """Header, blocks with their chunks, index, table, footer, tail."""
        version, store_id = self.identity
        yield FilePart(0, len(self._head), "header", {"version": version, "store_id": store_id})
        try:
            left, parts = self._left, self._parts
        except FormatError:
            yield from self._unreadable()
            return
        for number, entry in enumerate(left.table.blocks):
            yield from self._own_block(entry, number)
        index_size, table_size = len(parts.stored_index), len(parts.table)
        counts = {"chunks": len(left.index.streams), "keys": len(left.index.keys)}
        yield FilePart(parts.blocks_end, index_size, "index", counts)
        at = parts.blocks_end + index_size
        said: dict[str, FieldValue] = {
            "digest": parts.table_digest.hex(),
            "leaves": left.starts[-1],
            "root": root_over(leaves_of(left.index, left.table.digests)).hex(),
        }
        yield FilePart(at, table_size + TABLE_TAIL.size, "table", said)
        yield from self._end(*self._ending)

    def _own_block(self, entry: Block, number: int) -> Iterator[FilePart]:
        stored, fields = self._stored(entry)
        yield FilePart(entry.position, entry.stored_bytes, "block", {"number": number, **fields})
        try:
            raw = decode_block(entry, stored, self._file.path)
        except CorruptError:
            # Told among the findings; what a damaged block holds cannot be believed.
            return
        where = Where(entry.position, True, None)
        yield from parts_of(raw, 0, len(raw), self._file.path, where, self._records)

    def check(self, ledger: Ledger) -> None:
        """Check every byte; that something is missing is no finding, the file says so."""
        with ledger.catching():
            check_header(self._head, self._head[-16:], self._file.path)
            check_redacted(
                self._left,
                ledger,
                lambda chunk, place: keys_in(chunk, ledger, place),
                lambda stream, first, stop, place: None,
            )


def _with_root(ref: SegmentRef, root: str) -> SegmentRef:
    return msgspec.structs.replace(ref, chunks=root)
