"""A segment: header, blocks with their chunks, index, footer, tail.

The footer leads through the file, so without it the blocks cannot be told apart. What is wrong is
found by `transit.verify.segments`. Memory is bounded by one block, at most 1 GiB decompressed, and
the index.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from transit.disk import File
from transit.errors import CorruptError, FormatError, UnsupportedVersionError
from transit.format.commit import SegmentRef
from transit.format.digest import digest
from transit.format.record import Chunk
from transit.format.segment import (
    FORMAT_VERSION,
    HEADER,
    STORED,
    TAIL,
    Block,
    Footer,
    check_header,
    decode_block,
    decode_footer,
    decode_index,
    decode_tail,
)
from transit.inspection.chunks import Where, parts_of
from transit.inspection.report import FieldValue, FilePart
from transit.log.blocks import BlockCache
from transit.log.guides import NotHere
from transit.log.segments import Segment
from transit.verify.findings import Ledger
from transit.verify.segments import Keys, SegmentCheck
from transit.verify.streams import keys_in


class SegmentFile:
    """The content of a segment whose whole-file digest is `name`, 64 hex digits."""

    def __init__(self, file: File, name: str, *, records: bool) -> None:
        self._file = file
        self._name = name
        self._records = records
        self._size = file.size
        self._head = file.read_at(0, HEADER.size)

    @property
    def identity(self) -> tuple[int | None, str]:
        """Format version and store id as stated; None and "" where the header is cut off."""
        if len(self._head) < HEADER.size:
            return None, ""
        _, version, _, store_id = HEADER.unpack(self._head)
        return version, store_id.hex()

    def fields(self) -> dict[str, FieldValue]:
        """What the footer says, when it can be read."""
        footer = self._readable
        if footer is None:
            return {}
        return {
            "lsn": (footer.first_lsn, footer.last_lsn),
            "records": footer.records,
            "streams": footer.streams,
            "time": (footer.time_first, footer.time_last),
            "written": (footer.written_first, footer.written_last),
            "blocks": len(footer.blocks) - 1,
            "footer": self._ending[0].hex(),
        }

    @cached_property
    def _ending(self) -> tuple[bytes, int]:
        """The footer's digest and size, from the tail."""
        path = self._file.path
        tail_at = self._size - TAIL.size
        if tail_at < HEADER.size:
            raise CorruptError(path, expected="a segment", found=f"{self._size} bytes")
        stated, size = decode_tail(self._file.read_at(tail_at, TAIL.size), path)
        if size > tail_at - HEADER.size:
            raise CorruptError(f"{path}, tail", expected="a footer size", found=str(size))
        return stated, size

    @cached_property
    def _footer(self) -> Footer:
        """The footer; `FormatError` when it is not valid, or of a newer version."""
        version, store_id = self.identity
        if version is not None and version > FORMAT_VERSION:
            check_header(self._head, bytes.fromhex(store_id), self._file.path)
        stated, size = self._ending
        data = self._file.read_at(self._size - TAIL.size - size, size)
        footer = decode_footer(data, stated, self._file.path)
        stop = footer.blocks[-1].position + footer.blocks[-1].stored_bytes
        footer_at = self._size - TAIL.size - size
        if stop != footer_at:
            raise CorruptError(
                f"{self._file.path}, footer", expected=f"byte {stop}", found=f"byte {footer_at}"
            )
        return footer

    @property
    def _readable(self) -> Footer | None:
        try:
            return self._footer
        except FormatError:
            return None

    # Parts

    def walk(self) -> Iterator[FilePart]:
        """Header, blocks with their chunks, index, footer, tail."""
        version, store_id = self.identity
        yield FilePart(0, len(self._head), "header", {"version": version, "store_id": store_id})
        footer = self._readable
        if footer is None:
            yield from self._unreadable()
            return
        last = len(footer.blocks) - 1
        for number, entry in enumerate(footer.blocks[:last]):
            yield from self._block(entry, number)
        yield self._index(footer)
        yield from self._end(*self._ending)

    def _unreadable(self) -> Iterator[FilePart]:
        start, stop = len(self._head), self._size
        try:
            footer, size = self._ending
        except FormatError:
            if stop > start:
                yield FilePart(start, stop - start, "unknown", {})
            return
        footer_at = stop - TAIL.size - size
        yield FilePart(start, footer_at - start, "unknown", {})
        yield from self._end(footer, size)

    def _end(self, stated: bytes, size: int) -> Iterator[FilePart]:
        tail_at = self._size - TAIL.size
        fields: dict[str, FieldValue] = {"digest": stated.hex()}
        found = digest(self._file.read_at(tail_at - size, size))
        if found != stated:
            fields["digest_found"] = found.hex()
        yield FilePart(tail_at - size, size, "footer", fields)
        yield FilePart(tail_at, TAIL.size, "tail", {"footer": stated.hex(), "footer_bytes": size})

    def _stored(self, entry: Block) -> tuple[bytes, dict[str, FieldValue]]:
        """A block's stored bytes, and what its entry says of them; also what they are instead."""
        stored = self._file.read_at(entry.position, entry.stored_bytes)
        fields: dict[str, FieldValue] = {
            "codec": "stored" if entry.codec == STORED else "zstd",
            "raw_bytes": entry.raw_bytes,
            "checksum": f"{entry.checksum:016x}",
            "digest": entry.digest.hex(),
        }
        found = digest(stored)
        if found != entry.digest:
            fields["digest_found"] = found.hex()
        return stored, fields

    def _block(self, entry: Block, number: int) -> Iterator[FilePart]:
        stored, fields = self._stored(entry)
        yield FilePart(entry.position, entry.stored_bytes, "block", {"number": number, **fields})
        try:
            raw = decode_block(entry, stored, self._file.path)
            del stored
            yield from self._chunks(raw, entry.position)
        except CorruptError:
            # Told among the findings; what a damaged block holds cannot be believed.
            return

    def _chunks(self, raw: bytes, place: int) -> Iterator[FilePart]:
        where = Where(place, True, None)
        yield from parts_of(raw, 0, len(raw), self._file.path, where, self._records)

    def _index(self, footer: Footer) -> FilePart:
        entry = footer.blocks[-1]
        stored, fields = self._stored(entry)
        try:
            index = decode_index(footer, stored, self._file.path)
        except CorruptError:
            return FilePart(entry.position, entry.stored_bytes, "index", fields)
        counts = {"chunks": len(index.streams), "keys": len(index.keys)}
        return FilePart(entry.position, entry.stored_bytes, "index", {**counts, **fields})

    # What is wrong

    def check(self, ledger: Ledger) -> None:
        """Check every byte, as verification does."""
        try:
            footer = self._footer
        except UnsupportedVersionError as error:
            ledger.take(error)
            return
        except CorruptError as error:
            ledger.take(error)
            with ledger.catching():
                check_header(self._head, self._head[-16:], self._file.path)
            return

        def keys(chunk: Chunk, place: str) -> Keys:
            return keys_in(chunk, ledger, place)

        segment = Segment(
            "", self._ref(footer), 0, footer.store_id, BlockCache(0), NotHere("", footer.store_id)
        )
        segment.path = self._file.path
        SegmentCheck(segment, ledger, keys).contents()

    def _ref(self, footer: Footer) -> SegmentRef:
        """What a commit would say of this segment."""
        return SegmentRef(
            digest=self._name,
            footer=self._ending[0].hex(),
            # A segment does not say it: what is alone cannot be held to it.
            chunks="",
            bytes=self._size,
            records=footer.records,
            streams=footer.streams,
            lsn=(footer.first_lsn, footer.last_lsn),
            time=(footer.time_first, footer.time_last),
            written=(footer.written_first, footer.written_last),
        )
