"""The bytes of one segment, checked: name, footer, blocks, chunks, index, totals.

What the records mean, and whether their streams go on, is for the caller, which gets each chunk.

Memory and time are bounded by the bytes there are, not by counts that they state: a chunk of 48
bytes may hold four million records, and one with nothing in its columns is not unfolded.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from transit.errors import CorruptError, TransitError
from transit.format.digest import Digester, digest
from transit.format.envelope import end_of, is_envelope
from transit.format.record import Chunk
from transit.format.segment import (
    BLOCK_BYTES_MAX,
    HEADER,
    Block,
    Footer,
    SegmentIndex,
    check_header,
    decode_block,
)
from transit.log.segments import Segment
from transit.proof.chunks import BY_RECORD, RECORD_BYTES_MIN, ChunkTree
from transit.tier.pools import in_turn
from transit.verify.envelopes import Closed, open_or_tell
from transit.verify.findings import Ledger

READ_BYTES: Final = 1024 * 1024
# Of decoded blocks in memory.
DECODED_BYTES: Final = 8 * 1024 * 1024
# Decoded by one thread, to be handed over at once.
_RUN_BYTES: Final = 1024 * 1024
_RUN_BLOCKS: Final = 64
# A chunk of fewer bytes is digested sooner than handed over.
_DIGESTED_MIN: Final = 16 * 1024
# Blocks of one segment, before the rest of it is given up.
DAMAGED_MAX: Final = 1000

Keys = list[tuple[int, int]]
OnChunk = Callable[[Chunk, str], Keys]
"""Told of each chunk, in order, and its place; returns the index keys it introduces."""
OnErased = Callable[[int, int, int, str], None]
"""Told of each chunk that is gone: stream, first offset, offset after the last, place."""
OnSealed = Callable[[], None]
"""Called for each chunk whose key is not here."""


def whole_file(segment: Segment) -> str:
    """The BLAKE3 of the segment's bytes as they are, 64 hex digits."""
    segment.check_present()
    digester = Digester()
    size = segment.ref.bytes
    for position in range(0, size, READ_BYTES):
        digester.update(segment.read(position, min(READ_BYTES, size - position)))
    return digester.digest().hex()


class _Decoded(NamedTuple):
    """A block, or what is wrong with it. digest: of its first chunk where that is large, or b""."""

    number: int
    place: str
    raw: bytes | TransitError
    digest: bytes


class SegmentCheck:
    """Checks the parts of one segment; what is wrong goes to the ledger.

    on_erased: told of chunks whose key was destroyed. Chunks whose key is not here are counted
    (`sealed_chunks`), and checked as far as they can be without it; `sealed` says that there are,
    and on_sealed is told of each, before what comes behind it.
    block_bytes_max: larger blocks are refused before memory is taken, bytes.
    threads: blocks decoded at once; more than 1 only where `Segment.read` is safe for threads.
    """

    def __init__(
        self,
        segment: Segment,
        ledger: Ledger,
        on_chunk: OnChunk,
        block_bytes_max: int = BLOCK_BYTES_MAX,
        threads: int = 1,
        on_erased: OnErased | None = None,
        on_sealed: OnSealed | None = None,
    ) -> None:
        self._on_erased = on_erased
        self._on_sealed = on_sealed
        self.sealed = False
        # Whether some chunks did not open, and whether one of the store's own streams did not.
        self._closed = self._closed_own = False
        # Whether its chunks are in envelopes; None before the first.
        self._enveloped: bool | None = None
        self._segment = segment
        self._ledger = ledger
        self._on_chunk = on_chunk
        self._block_bytes_max = block_bytes_max
        self._threads = threads
        self._path = segment.path
        self._keys: Keys = []
        self._row = 0
        self._records = 0
        self._streams = 0
        self._times = (2**63 - 1, -(2**63))
        self._written = (2**63 - 1, -(2**63))
        self._last = (-1, -1)
        self._tree = ChunkTree()
        self._whole = True
        self._damaged = 0

    def digest(self, found: str) -> None:
        """Note when `found`, the BLAKE3 of the bytes, is not the segment's name."""
        if found != self._segment.ref.digest:
            self._ledger.find(self._path, self._segment.ref.digest, found)
        self._ledger.counts["bytes"] += self._segment.ref.bytes

    def contents(self) -> bool:
        """Check footer, blocks and index; whether every chunk could be read."""
        self._whole = False
        with self._ledger.catching():
            footer, index = self._segment.load()
            self._whole = True
            self._blocks(footer, index)
            if self._whole:
                self._end(index)
                self._totals()
                self._chunk_root()
                self._header(footer)
        return self._whole and not self.sealed

    def _blocks(self, footer: Footer, index: SegmentIndex) -> None:
        """Check all blocks but the index; some that come later are decoded meanwhile."""
        # A thread for one block would only be begun and ended.
        threads = self._threads if len(footer.blocks) > 2 else 1
        with in_turn(self._decoded, self._runs(footer), threads, DECODED_BYTES) as coming:
            for run in coming:
                # None is kept while the next ones are made.
                while run:
                    self._block(run.popleft(), index)

    def _runs(self, footer: Footer) -> Iterator[tuple[range, int]]:
        """The numbers of all blocks but the index, in runs to decode, and the bytes of each."""
        start, size = 0, 0
        blocks_max = _RUN_BLOCKS if self._threads > 1 else 1
        for number in range(len(footer.blocks) - 1):
            raw = footer.blocks[number].raw_bytes
            if number > start and (number - start == blocks_max or size + raw > _RUN_BYTES):
                yield range(start, number), size
                start, size = number, 0
            size += raw
        if size:
            yield range(start, len(footer.blocks) - 1), size

    def _decoded(self, numbers: range) -> deque[_Decoded]:
        """These blocks, or what is wrong with each; called by several threads at once."""
        return deque(map(self._try, numbers))

    def _try(self, number: int) -> _Decoded:
        entry = self._segment.footer.blocks[number]
        place = f"{self._path}, byte {entry.position}"
        try:
            raw = self._raw(entry, place)
            return _Decoded(number, place, raw, _digest_of_first(raw, place))
        except TransitError as error:
            return _Decoded(number, place, error, b"")

    def _block(self, block: _Decoded, index: SegmentIndex) -> None:
        fits = False
        if self._damaged >= DAMAGED_MAX:
            raise CorruptError(
                self._path, expected="blocks", found=f"{self._damaged} damaged; no more read"
            )
        with self._ledger.catching():
            if isinstance(block.raw, TransitError):
                raise block.raw
            self._extents(block.raw, block, index)
            self._ledger.counts["blocks"] += 1
            fits = True
        self._whole = self._whole and fits
        self._damaged += not fits

    def _raw(self, entry: Block, place: str) -> bytes:
        if entry.raw_bytes > self._block_bytes_max:
            raise CorruptError(
                place,
                expected=f"a block of at most {self._block_bytes_max} bytes, with these settings",
                found=str(entry.raw_bytes),
            )
        stored = self._segment.read(entry.position, entry.stored_bytes)
        found = digest(stored)
        if found != entry.digest:
            raise CorruptError(place, expected=entry.digest.hex(), found=found.hex())
        return decode_block(entry, stored, self._path)

    def _extents(self, raw: bytes, block: _Decoded, index: SegmentIndex) -> None:
        """Check each chunk of a block, and that the index has exactly these."""
        number, place = block.number, block.place
        rows = tuple(array(code) for code in "QQqII")
        streams, firsts, written, counts, positions = rows
        position = 0
        while position < len(raw):
            end = end_of(raw, position, place)
            chunk = self._opened(raw, position, place)
            streams.append(chunk.stream)
            firsts.append(chunk.first)
            written.append(chunk.last_written)
            counts.append(chunk.count)
            positions.append(position)
            self._go_on(chunk.stream, chunk.first, chunk.count, place)
            known = b"" if position else block.digest
            if isinstance(chunk, Chunk):
                self._count_times(chunk)
                self._keys += self._on_chunk(chunk, f"{self._path}, block {number}")
                self._leaf(chunk, raw[position:end], known, place)
            else:
                self._close(chunk, raw[position:end], known, place)
            position = end
        # After a block that could not be read, the index says where the next one's rows are.
        start = self._row if self._whole else bisect_left(index.blocks, number)
        self._row = start + len(streams)
        stated = (index.streams, index.firsts, index.last_written, index.counts, index.positions)
        same = all(
            part.tobytes() == column[start : self._row].tobytes()
            for part, column in zip(rows, stated, strict=True)
        )
        blocks = array("I", [number]) * len(streams)
        if not same or blocks.tobytes() != index.blocks[start : self._row].tobytes():
            raise self._wrong_index()

    def _opened(self, raw: bytes, position: int, place: str) -> Chunk | Closed:
        """The chunk at a position, checked; or what its envelope says where it does not open."""
        chunk, enveloped = open_or_tell(raw, position, place, self._segment.opener)
        if self._enveloped not in (None, enveloped):
            raise CorruptError(
                place, expected="chunks that are all in envelopes, or none", found="both"
            )
        self._enveloped = enveloped
        if isinstance(chunk, Chunk):
            chunk.check(place)
            if not chunk.dated:
                raise CorruptError(place, expected="when records were written", found="nothing")
        return chunk

    def _close(self, closed: Closed, stored: bytes, known: bytes, place: str) -> None:
        """Count what does not open; its leaf is known but for the store's own streams."""
        self._closed = True
        if closed.erased:
            if self._on_erased is not None:
                stop = closed.first + closed.count
                self._on_erased(closed.stream, closed.first, stop, place)
        else:
            self.sealed = True
            self._ledger.counts["sealed_chunks"] += 1
            if self._on_sealed is not None:
                self._on_sealed()
        if closed.stream in BY_RECORD:
            self._closed_own = True
        else:
            self._tree.add(closed.stream, closed.first, closed.count, stored, known)

    def _leaf(self, chunk: Chunk, stored: bytes, known: bytes, place: str) -> None:
        encoded = stored
        if chunk.stream in BY_RECORD:
            if chunk.payload_bytes < chunk.count * RECORD_BYTES_MIN:
                # Not unfolded: the caller that got the chunk has reported what is wrong.
                raise CorruptError(
                    place,
                    expected=f"{chunk.count} records of stream {chunk.stream}",
                    found=f"{chunk.payload_bytes} bytes",
                )
            if is_envelope(stored, 0):
                encoded = chunk.data
        self._tree.add(chunk.stream, chunk.first, chunk.count, encoded, known)

    def _go_on(self, stream: int, first: int, count: int, place: str) -> None:
        here = (stream, first)
        if here <= self._last:
            raise CorruptError(
                place, expected=f"a chunk after {self._last}", found=f"one of {here}"
            )
        self._streams += stream != self._last[0]
        self._last = here
        self._records += count

    def _count_times(self, chunk: Chunk) -> None:
        if chunk.written_is_timestamp or chunk.one_timestamp:
            # All the same, or found to go on.
            low, high = chunk.timestamp(0), chunk.last_timestamp
        else:
            times = chunk.timestamps
            low, high = min(times), max(times)
        self._times = (min(self._times[0], low), max(self._times[1], high))
        begun, ended = self._written
        self._written = (min(begun, chunk.written_at(0)), max(ended, chunk.last_written))

    def _end(self, index: SegmentIndex) -> None:
        if self._closed_own:
            # What the index has of names, nobody can tell without the key.
            if self._row != len(index.streams):
                raise self._wrong_index()
            return
        stated = sorted(map(self._as_stored, self._keys))
        found = list(zip(index.keys.tolist(), index.ids.tolist(), strict=True))
        if self._row != len(index.streams) or stated != found:
            raise self._wrong_index()

    def _header(self, footer: Footer) -> None:
        head = self._segment.read(0, HEADER.size)
        if check_header(head, footer.store_id, self._path) != bool(self._enveloped):
            raise CorruptError(
                f"{self._path}, byte 12",
                expected="what its chunks are: in envelopes, or not",
                found="the other",
            )

    def _as_stored(self, key: tuple[int, int]) -> tuple[int, int]:
        """A key of the index as this segment has it."""
        opener = self._segment.opener
        if opener is None or not self._enveloped:
            return key
        return opener.hidden_key(key[0]), key[1]

    def _wrong_index(self) -> CorruptError:
        self._whole = False
        return CorruptError(
            f"{self._path}, index", expected="what the blocks hold", found="another index"
        )

    def _totals(self) -> None:
        ref, footer = self._segment.ref, self._segment.footer
        times, written = self._times, self._written
        if self._closed:
            # When the records in envelopes were made is not known.
            times, written = ref.time, ref.written
        derived = (self._records, self._streams, ref.lsn, times, written)
        in_footer = (
            footer.records, footer.streams, (footer.first_lsn, footer.last_lsn),
            (footer.time_first, footer.time_last), (footer.written_first, footer.written_last),
        )  # fmt: skip
        in_commit = (ref.records, ref.streams, ref.lsn, ref.time, ref.written)
        if not derived == in_footer == in_commit:
            raise CorruptError(
                f"{self._path}, footer", expected=f"{derived}", found=f"{in_footer}, {in_commit}"
            )

    def _chunk_root(self) -> None:
        if self._closed_own:
            return
        stated, found = self._segment.ref.chunks, self._tree.root()
        # Of a segment that is looked at alone, without a commit, nothing is stated.
        if stated not in ("", found):
            raise CorruptError(
                f"{self._path}, chunks", expected=f"the root {stated}", found=f"the root {found}"
            )


def _digest_of_first(raw: bytes, place: str) -> bytes:
    """The BLAKE3 of a block's first chunk, b"" of a small one; most of the work of its leaf."""
    stop = end_of(raw, 0, place)
    return digest(raw[:stop]) if stop >= _DIGESTED_MIN else b""
