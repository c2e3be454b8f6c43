"""A WAL file, frame by frame. Memory is bounded by the largest frame, whatever the file's size.

Frames are read by the scan of recovery. Where it stops, the next bytes that are a frame's header at
their own place are looked for: what lies between is damage, and the scan goes on from there. What
follows the last frame is judged as at opening: unused, torn or corrupt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from transit.disk import File
from transit.errors import CorruptError, ErasedError, FormatError, UnsupportedVersionError
from transit.format.checksum import checksum
from transit.format.envelope import Envelope
from transit.format.frame import (
    ALIGNMENT,
    END,
    ENVELOPES,
    FRAME_BYTES,
    FRAME_MAGIC,
    MARK,
    WAL_HEADER,
    FrameHeader,
    decode_frame_header,
    decode_wal_header,
    frame_chunks,
)
from transit.inspection.chunks import Where, parts_of
from transit.inspection.report import FieldValue, FilePart, PartKind
from transit.log.blocks import BlockCache
from transit.log.recover import judge_tail, scan
from transit.log.wal import Wal
from transit.verify.findings import Ledger

SEARCH_BYTES: Final = 1024 * 1024
# What follows the last frame and is read at once to judge it; real torn writes are smaller.
JUDGE_BYTES_MAX: Final = 256 * 1024 * 1024
_UINT64: Final = 2**64 - 1
_KINDS: Final[dict[int, PartKind]] = {MARK: "mark", END: "end"}


class _FromOutside:
    """Opens no envelope: frames are told by what stands outside. An `Opener`."""

    def opened(self, envelope: Envelope, place: str) -> bytes:
        """See `Opener.opened`."""
        raise ErasedError(f"{place}: its key was not asked for")

    def hidden_key(self, key: int) -> int:
        """See `Opener.hidden_key`."""
        return key


class WalFile:
    """The content of a WAL file."""

    def __init__(self, file: File, *, records: bool) -> None:
        self._file = file
        self._records = records
        self._head = file.read_at(0, WAL_HEADER.size)

    @property
    def identity(self) -> tuple[int | None, str]:
        """Format version and store id as stated; None and "" where the header is cut off."""
        if len(self._head) < WAL_HEADER.size:
            return None, ""
        _, version, _, store_id, *_ = WAL_HEADER.unpack(self._head)
        return version, store_id.hex()

    def fields(self) -> dict[str, FieldValue]:
        """What the header says."""
        if len(self._head) < WAL_HEADER.size:
            return {}
        _, _, needs, _, first_lsn, unsynced, _, stated = WAL_HEADER.unpack(self._head)
        fields: dict[str, FieldValue] = {
            "first_lsn": first_lsn, "unsynced": unsynced, "checksum": f"{stated:016x}",
        }  # fmt: skip
        if needs:
            fields["encryption"] = "all" if needs & ENVELOPES else "remote"
        found = checksum(self._head[:-8])
        if found != stated:
            fields["checksum_found"] = f"{found:016x}"
        return fields

    def walk(self) -> Iterator[FilePart]:
        """Header, frames with their chunks, what lies between, and the rest."""
        return self._walk(Ledger(self._file.path))

    def check(self, ledger: Ledger) -> None:
        """Walk all of the file."""
        for _ in self._walk(ledger):
            pass

    def _walk(self, ledger: Ledger) -> Iterator[FilePart]:
        head, path = self._head, self._file.path
        version, store_id = self.identity
        stated: dict[str, FieldValue] = {"version": version, "store_id": store_id}
        yield FilePart(0, len(head), "header", {**stated, **self.fields()})
        try:
            decode_wal_header(head, path)
        except FormatError as error:
            ledger.take(error)
            if len(head) < WAL_HEADER.size or isinstance(error, UnsupportedVersionError):
                yield from _unknown(len(head), self._file.size)
                return
        # In spite of a damaged header: if store id and LSN are right in it, the frames say so.
        _, _, _, store, first_lsn, *_ = WAL_HEADER.unpack(head)
        wal = Wal(self._file, store, first_lsn, BlockCache(0), _FromOutside())
        yield from self._frames(wal, ledger)
        while not wal.ended:
            position = wal.tail
            following = self._next_header(wal)
            if following is None:
                break
            yield self._damage(wal, position, following, ledger)
            wal.tail, wal.next_lsn = following.position, following.lsn
            yield from self._frames(wal, ledger)
        yield from self._rest(wal, ledger)

    # Frames

    def _frames(self, wal: Wal, ledger: Ledger) -> Iterator[FilePart]:
        """The frames from the tail on, up to the first bytes that are none."""
        frames = scan(wal)
        while True:
            try:
                frame = next(frames, None)
            except CorruptError as error:
                # The frame's checksums pass, so where it ends is known; what it says does not fit.
                ledger.take(error)
                yield from self._misfit(wal)
                frames = scan(wal)
                continue
            if frame is None:
                return
            yield _frame_part(frame.header)
            if frame.chunks:
                yield from self._chunks(*wal.frame_at(frame.header.position))

    def _misfit(self, wal: Wal) -> Iterator[FilePart]:
        header, data = wal.frame_at(wal.tail)
        yield _frame_part(header)
        with suppress(CorruptError):
            for chunk in frame_chunks(header, data, 0, self._file.path, wal.keys):
                chunk.check(self._file.path)
            yield from self._chunks(header, data)
        wal.advance(header.stop, 0, header.kind, header.written)
        wal.next_lsn = header.lsn + header.records

    def _chunks(self, header: FrameHeader, data: bytes) -> Iterator[FilePart]:
        where = Where(header.position + FRAME_BYTES, False, header.lsn)
        stop = FRAME_BYTES + header.body_bytes
        path, written = self._file.path, header.written
        yield from parts_of(data, FRAME_BYTES, stop, path, where, self._records, written)

    # What is no frame

    def _next_header(self, wal: Wal) -> FrameHeader | None:
        """The first header of a frame after the tail; its checksum holds, its body's may not."""
        at, size = wal.tail, self._file.size
        skip = 1
        while at < size:
            # A header that is cut off here lies whole in what is read next.
            data = self._file.read_at(at, SEARCH_BYTES + FRAME_BYTES)
            found = data.find(FRAME_MAGIC, skip)
            while found >= 0:
                if (at + found) % ALIGNMENT == 0:
                    header = decode_frame_header(data, found, at + found, wal.seed)
                    if header is not None:
                        return header
                found = data.find(FRAME_MAGIC, found + 1)
            at, skip = at + SEARCH_BYTES, 0
        return None

    def _damage(self, wal: Wal, position: int, following: FrameHeader, ledger: Ledger) -> FilePart:
        size = following.position - position
        ledger.find(
            f"{self._file.path}, byte {position}",
            f"a valid frame of LSN {wal.next_lsn}",
            f"{size} bytes that are none; the next is at byte {following.position},"
            f" LSN {following.lsn}",
        )
        return FilePart(position, size, "damage", self._damaged_header(wal, position))

    def _damaged_header(self, wal: Wal, position: int) -> dict[str, FieldValue]:
        """What the header of a damaged frame says, when it is whole, and the body's checksum."""
        head = self._file.read_at(position, FRAME_BYTES)
        header = decode_frame_header(head, 0, position, wal.seed)
        if header is None:
            return {}
        fields = dict(_frame_part(header).fields)
        if header.stop <= self._file.size:
            body = self._file.read_at(position + FRAME_BYTES, header.body_bytes)
            fields["checksum_found"] = f"{checksum(body, wal.seed + position & _UINT64):016x}"
        return fields

    def _rest(self, wal: Wal, ledger: Ledger) -> Iterator[FilePart]:
        position = wal.tail
        size = self._file.size - position
        if size <= 0:
            return
        if self._only_zeros(position):
            yield FilePart(position, size, "unused", {})
            return
        kind: PartKind = "torn"
        try:
            if size > JUDGE_BYTES_MAX:
                raise CorruptError(
                    f"{self._file.path}, byte {position}",
                    expected="a frame",
                    found=f"{size} bytes that are none",
                )
            judge_tail(wal)
        except CorruptError as error:
            ledger.take(error)
            kind = "damage"
        yield FilePart(position, size, kind, self._damaged_header(wal, position))

    def _only_zeros(self, position: int) -> bool:
        while data := self._file.read_at(position, SEARCH_BYTES):
            if data.count(0) != len(data):
                return False
            position += len(data)
        return True


def _frame_part(header: FrameHeader) -> FilePart:
    fields: dict[str, FieldValue] = {
        "lsn": header.lsn,
        "records": header.records,
        "durable": header.durable,
        "written": header.written,
        "body_bytes": header.body_bytes,
        "checksum": f"{header.body_checksum:016x}",
    }
    kind = _KINDS.get(header.kind, "frame")
    return FilePart(header.position, header.stop - header.position, kind, fields)


def _unknown(start: int, stop: int) -> Iterator[FilePart]:
    if stop > start:
        yield FilePart(start, stop - start, "unknown", {})
