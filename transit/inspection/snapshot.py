"""An index snapshot: header, layers, segments, checksum, then each segment's footer and index.

The parts are read one by one; the check reads the file at once, which is at most 1 GiB by format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transit.disk import File
from transit.errors import FormatError
from transit.format.checksum import checksum
from transit.format.digest import digest
from transit.format.segment import FOOTER_BYTES_MAX
from transit.format.snapshot import (
    CHECKSUM,
    FORMAT_VERSION,
    HEADER,
    LAYER,
    LAYERS_MAX,
    SEGMENT,
    SNAPSHOT_BYTES_MAX,
    covered_by,
    decode_snapshot,
)
from transit.inspection.report import FieldValue, FilePart
from transit.verify.findings import Ledger


class SnapshotFile:
    """The content of an index snapshot."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._size = file.size
        self._head = file.read_at(0, HEADER.size)

    @property
    def identity(self) -> tuple[int | None, str]:
        """Format version and store id as stated; None and "" where the header is cut off."""
        if len(self._head) < HEADER.size:
            return None, ""
        _, version, _, store_id, *_ = HEADER.unpack(self._head)
        return version, store_id.hex()

    def fields(self) -> dict[str, FieldValue]:
        """What the header says, in a version that is known."""
        version = self.identity[0]
        if version is None or version > FORMAT_VERSION:
            return {}
        *_, first, last, first_lsn, next_lsn, layers, segments = HEADER.unpack(self._head)
        return {
            "commits": (first, last),
            "lsn": (first_lsn, next_lsn - 1),
            "layers": layers,
            "segments": segments,
        }

    # Parts

    def walk(self) -> Iterator[FilePart]:
        """Header, layers, segments, checksum, footers and indexes."""
        fields = self.fields()
        version, store_id = self.identity
        yield FilePart(
            0, len(self._head), "header", {"version": version, "store_id": store_id, **fields}
        )
        layers, segments = fields.get("layers"), fields.get("segments")
        if not isinstance(layers, int) or not isinstance(segments, int):
            yield from self._unknown(len(self._head))
            return
        checksum_at = HEADER.size + layers * LAYER.size + segments * SEGMENT.size
        # Counts are believed no further than the file goes.
        if layers > LAYERS_MAX or checksum_at + CHECKSUM.size > self._size:
            yield from self._unknown(len(self._head))
            return
        yield from self._layers(layers)
        segments_at = HEADER.size + layers * LAYER.size
        yield from self._segments(segments_at, segments)
        yield self._checksum(checksum_at)
        yield from self._guides(segments_at, segments, checksum_at + CHECKSUM.size)

    def _unknown(self, start: int) -> Iterator[FilePart]:
        if self._size > start:
            yield FilePart(start, self._size - start, "unknown", {})

    def _layers(self, count: int) -> Iterator[FilePart]:
        for place in range(HEADER.size, HEADER.size + count * LAYER.size, LAYER.size):
            name, size, first, last = LAYER.unpack(self._file.read_at(place, LAYER.size))
            fields: dict[str, FieldValue] = {
                "digest": name.hex(), "bytes": size, "commits": (first, last),
            }  # fmt: skip
            yield FilePart(place, LAYER.size, "layer", fields)

    def _rows(self, start: int, count: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
        for place in range(start, start + count * SEGMENT.size, SEGMENT.size):
            yield place, SEGMENT.unpack(self._file.read_at(place, SEGMENT.size))

    def _segments(self, start: int, count: int) -> Iterator[FilePart]:
        for place, row in self._rows(start, count):
            (
                commit,
                name,
                footer,
                size,
                records,
                streams,
                first,
                last,
                *times,
                footer_bytes,
                index,
            ) = row
            fields: dict[str, FieldValue] = {
                "commit": commit,
                "digest": name.hex(),
                "footer": footer.hex(),
                "bytes": size,
                "records": records,
                "streams": streams,
                "lsn": (first, last),
                "time": tuple(times[:2]),
                "written": tuple(times[2:]),
                "footer_bytes": footer_bytes,
                "index_bytes": index,
            }
            yield FilePart(place, SEGMENT.size, "segment", fields)

    def _checksum(self, place: int) -> FilePart:
        (stated,) = CHECKSUM.unpack(self._file.read_at(place, CHECKSUM.size))
        fields: dict[str, FieldValue] = {"checksum": f"{stated:016x}"}
        # Tables of more than 1 GiB are none that a reader takes.
        if place <= SNAPSHOT_BYTES_MAX:
            found = checksum(self._file.read_at(0, place))
            if found != stated:
                fields["checksum_found"] = f"{found:016x}"
        return FilePart(place, CHECKSUM.size, "checksum", fields)

    def _guides(self, start: int, count: int, place: int) -> Iterator[FilePart]:
        for _, row in self._rows(start, count):
            stated, footer_bytes, index_bytes = row[2], row[-2], row[-1]
            if place + footer_bytes + index_bytes > self._size:
                break
            fields: dict[str, FieldValue] = {"digest": stated.hex(), "segment": row[1].hex()}
            if footer_bytes <= FOOTER_BYTES_MAX:
                found = digest(self._file.read_at(place, footer_bytes))
                if found != stated:
                    fields["digest_found"] = found.hex()
            yield FilePart(place, footer_bytes, "footer", fields)
            place += footer_bytes
            yield FilePart(place, index_bytes, "index", {"segment": row[1].hex()})
            place += index_bytes
        yield from self._unknown(place)

    # What is wrong

    def check(self, ledger: Ledger) -> None:
        """Decode all of it, and compare each footer and index with what is said of it."""
        path = self._file.path
        data = self._file.read_at(0, min(self._size, SNAPSHOT_BYTES_MAX + 1))
        try:
            snapshot = decode_snapshot(data, bytes.fromhex(self.identity[1]), path)
        except FormatError as error:
            ledger.take(error)
            return
        for number, entry in enumerate(snapshot.segments):
            with ledger.catching():
                covered_by(entry, f"{path}, segment {number}")
