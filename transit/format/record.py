"""A chunk: consecutive records of one stream, as columns.

Frames of the WAL and blocks of a segment are made of chunks. All numbers are little-endian.

    offset  size  field
         0     8  stream id
         8     8  offset of the first record
        16     4  count of records, 1 to 4,194,304
        20     1  timestamp width: 0, 1, 2, 4 or 8
        21     1  length width: 0, 1, 2 or 4
        22     1  header width: 0, 1, 2 or 4
        23     1  flags: 1, written = timestamps; 2, written column; 4, writer; others 0
        24     8  timestamp of the first record, signed nanoseconds UTC
        32     4  payload size of every record when the length width is 0, else 0
        36     4  size of the header table
        40     8  size of all payloads
        48     .  with flag 2: when the first record was written, 8, signed; a width, 1; and for
                  each other record the unsigned difference to the one before, 0, 1, 2, 4 or 8
         .     .  with flag 4: the writer's name, its size 1, at least 1, and its UTF-8
         .     .  timestamps of the other records: width 0, all equal the first; 1, 2, 4, signed
                  differences to the record before; 8, signed absolute values
         .     .  payload sizes, one a record, unless the length width is 0
         .     .  header table entries, one a record, unless the header width is 0
         .     .  header table: JSON array of objects with text values, empty when no record has
                  headers; with header width 0 it has one entry, which holds for every record
         .     .  payloads, back to back

A timestamp is the user's or the engine's; when a record was written is the engine's word alone
(`transit.log.clock`), and never goes back within a chunk. In a frame of the WAL the frame has the
time of all its records, and a chunk has neither flag 1 nor 2; in a segment it has one of the two.
Flag 1 is the common case: the engine gave the timestamps, and the two are equal.

Valid if and only if: every width is one of those named, flags are known and not 1 and 2 at once,
the parts add up to the bytes there are, the payload sizes add up to the size of all payloads, every
header entry exists, the table has no more entries than there are records, every time fits in 64
bits, and those of writing do not go back. Flag 128 is that of an envelope
(`transit.format.envelope`), which is none. The file that holds a chunk says its version.

Columns keep Python out of the loop: sizes, timestamps and payloads are made by one C call a column.
A chunk of 48 bytes may state four million records that differ in nothing. So what takes no bytes is
not unfolded to be checked, nor kept when it was read: memory that stays grows with the bytes.
"""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, repeat
from types import MappingProxyType
from typing import Final, NamedTuple

from transit.errors import CorruptError
from transit.format.columns import (
    SIGNED,
    UNSIGNED,
    encode_entries,
    encode_sizes,
    encode_timestamps,
    equal_parts,
)
from transit.format.headers import (
    NO_HEADERS,
    TABLE_BYTES_DECODED,
    HeaderMap,
    count_table,
    decode_table,
    encode_plain,
)
from transit.format.written import (
    FLAGS,
    OWN,
    SAME,
    decode_more,
    differences,
    encode_more,
    never_back,
    reaches,
    unknown,
)

CHUNK: Final = struct.Struct("<QQIBBBBqIIQ")
# Stream id, first offset and count, with which a chunk begins.
CHUNK_BEGIN: Final = struct.Struct("<QQI")
COUNT_MAX: Final = 2**22
COLUMN_PARTS: Final = 6

_TIMESTAMP_WIDTHS: Final = (0, 1, 2, 4, 8)
_SIZE_WIDTHS: Final = (0, 1, 2, 4)

_INT64: Final = 2**63
_LISTED_MAX: Final = 65_536


class Columns(NamedTuple):
    """Records to encode: payloads with their sizes in bytes, timestamps and encoded headers.

    `sizes`, `timestamps`, `headers` and `written` are one value for all records or one a record.
    written: when each was written, never going back; None in a frame, which says it for all.
    writer: who wrote them all; empty for the process that has the store open.
    """

    payloads: Sequence[bytes]
    sizes: int | Sequence[int]
    timestamps: int | Sequence[int]
    headers: bytes | Sequence[bytes] | None
    written: int | Sequence[int] | None = None
    writer: str = ""

    @property
    def payload_bytes(self) -> int:
        """Size of all payloads."""
        sizes = self.sizes
        return sizes * len(self.payloads) if isinstance(sizes, int) else sum(sizes)


def measure(payloads: Sequence[bytes]) -> int | list[int]:
    """The sizes of `payloads` as `Columns` takes them: one number when they are all equal."""
    sizes = list(map(len, payloads))
    return sizes[0] if sizes.count(sizes[0]) == len(sizes) else sizes


def encode_chunk(stream: int, first: int, columns: Columns) -> list[bytes]:
    """The parts of one chunk, to be joined by the caller together with what surrounds it.

    The first `COLUMN_PARTS` are everything but the payloads.
    """
    payloads = columns.payloads
    count = len(payloads)
    time_first, time_width, times = encode_timestamps(columns.timestamps)
    size, size_width, size_column = encode_sizes(columns.sizes)
    header_width, entries, table = encode_entries(columns.headers)
    flags, more = encode_more(columns.written, columns.timestamps, columns.writer)
    head = CHUNK.pack(
        stream, first, count, time_width, size_width, header_width, flags,
        time_first, size, len(table), columns.payload_bytes,
    )  # fmt: skip
    return [head, more, times, size_column, entries, table, *payloads]


class Chunk:
    """A decoded chunk: columns over bytes that stay where they are.

    `stream`, `first`, `count` and `writer` are read at once; columns when asked for, then kept.
    `data` holds the chunk at `position`; `end` is where it ends. A chunk of a frame knows when it
    was written once `date` told it. Not safe against concurrent mutation of `data`.
    """

    __slots__ = (
        "__weakref__",
        "_ends", "_entries", "_entries_at", "_size", "_sizes", "_sizes_at", "_table", "_time_first",
        "_times", "_times_at", "_written", "_written_at", "_written_first", "count", "data", "end",
        "first", "flags", "payload_bytes", "payloads_at", "stream", "writer",
    )  # fmt: skip

    stream: int
    first: int
    count: int
    payload_bytes: int
    end: int
    flags: int
    writer: str
    _time_first: int
    _size: int

    def __init__(self, data: bytes, position: int, place: str, limit: int | None = None) -> None:
        """Read the header of the chunk at `position` of `data`, which ends before `limit`."""
        limit = len(data) if limit is None else limit
        if position + CHUNK.size > limit:
            raise _damage(place, position, "a chunk header", f"{limit - position} bytes")
        (
            self.stream, self.first, self.count, time_width, size_width, header_width, self.flags,
            self._time_first, self._size, table_bytes, self.payload_bytes,
        ) = CHUNK.unpack_from(data, position)  # fmt: skip
        count = self.count
        if (
            time_width not in _TIMESTAMP_WIDTHS
            or size_width not in _SIZE_WIDTHS
            or header_width not in _SIZE_WIDTHS
            or self.flags not in FLAGS
            or not 0 < count <= COUNT_MAX
        ):
            raise _damage(place, position, "known column widths and a count", "others")
        self.data = data
        self.writer = ""
        self._written: Sequence[int] | None = None
        self._written_first = self._time_first
        self._written_at = (0, 0)
        start = position + CHUNK.size
        if self.flags > SAME:
            more = decode_more(self.flags, data, start, limit, count)
            if more is None:
                raise unknown(place, start)
            self._written_first, *column, self.writer, start = more
            self._written_at = (column[0], column[1])
        self._times_at = (start, time_width)
        self._sizes_at = (self._times_at[0] + (count - 1) * time_width, size_width)
        entries = self._sizes_at[0] + count * size_width
        table = entries + count * header_width
        self._entries_at = (entries, header_width)
        self._table: bytes | tuple[HeaderMap, ...] = b""
        self.payloads_at = table + table_bytes
        self.end = self.payloads_at + self.payload_bytes
        if self.end > limit:
            raise _damage(place, position, f"{self.end - position} bytes", f"{limit - position}")
        if not size_width and self._size * count != self.payload_bytes:
            raise _damage(place, position, "payload sizes that add up", "others")
        if table_bytes:
            self._table = data[table : self.payloads_at]
        elif header_width:
            raise _damage(place, position, "a header table", "none")
        self._times: Sequence[int] | None = None
        self._sizes: Sequence[int] | None = None
        self._ends: Sequence[int] | None = None
        self._entries: Sequence[int] | None = None

    @property
    def stop(self) -> int:
        """One past the last record's offset."""
        return self.first + self.count

    @property
    def dated(self) -> bool:
        """Whether the chunk itself says when its records were written."""
        return bool(self.flags & (SAME | OWN))

    @property
    def one_timestamp(self) -> bool:
        """Whether all records have one timestamp, as far as that can be seen without a look."""
        return not self._times_at[1]

    @property
    def written_is_timestamp(self) -> bool:
        """Whether each record was written at its timestamp, as far as the chunk itself says."""
        return bool(self.flags & SAME)

    def date(self, written: int, place: str) -> None:
        """Take up when the frame of this chunk was written; the chunk itself must not say it."""
        if self.dated:
            raise CorruptError(place, expected="a chunk of a frame", found="one of a segment")
        self._written_first = written

    def check(self, place: str) -> None:
        """Check every column; `CorruptError` naming `place` when one is not valid."""
        if self._sizes_at[1]:
            self.sizes(place)
        if not self._times_fit():
            raise _damage(place, 0, "timestamps of 64 bits", "larger ones")
        if not self._written_fits():
            raise _damage(place, 0, "times of writing that go on", "others")
        known, entries = self._count_table(place), self._header_entries()
        if entries is not None and max(entries) >= known:
            raise _damage(place, 0, "header entries of the table", "others")
        if known > (1 if entries is None else self.count):
            raise _damage(place, 0, "a header entry a record at most", f"{known} or more")

    def _times_fit(self) -> bool:
        """Whether every timestamp has 64 bits."""
        at, width = self._times_at
        if width in (0, 8):
            return True
        first, reach = self._time_first, self.count << 8 * width - 1
        if abs(first) < _INT64 - reach:
            return True
        column: array[int] = array(SIGNED[width], self.data[at : at + (self.count - 1) * width])
        low = min(accumulate(column, initial=first))
        high = max(accumulate(column, initial=first))
        return -_INT64 <= low <= high < _INT64

    def _written_fits(self) -> bool:
        """Whether times of writing never go back, and have 64 bits."""
        if self.flags & SAME:
            return never_back(self._time_first, self.data, *self._times_at, self.count)
        at, width = self._written_at
        first = self._written_first
        return not width or reaches(first, differences(self.data, at, width, self.count))

    def _count_table(self, place: str) -> int:
        """The count of entries in the header table; `CorruptError` when it is none."""
        table = self._table
        if not isinstance(table, bytes):
            return len(table)
        if not table:
            return 0
        # Not kept: a reader of headers decodes the table anyway, and a verifier has many tables.
        small = len(table) <= TABLE_BYTES_DECODED
        count = len(decode_table(table, place)) if small else count_table(table, self.count + 1)
        if not count:
            raise CorruptError(place, expected="a header table", found=f"{len(table)} other bytes")
        return count

    @property
    def _takes_bytes(self) -> bool:
        """Whether the chunk has a byte a record: what is unfolded of it may be kept."""
        return self.count <= self.end - self._times_at[0]

    @property
    def timestamps(self) -> Sequence[int]:
        """UTC nanoseconds, one a record."""
        if self._times is None:
            at, width = self._times_at
            if not width:
                times = [self._time_first] * self.count
                if not self._takes_bytes:
                    return times
                self._times = times
            else:
                column = array(SIGNED[width], self.data[at : at + (self.count - 1) * width])
                if width == 8:
                    column.insert(0, self._time_first)
                    self._times = column
                else:
                    self._times = self._accumulated(column)
        return self._times

    def _accumulated(self, column: array[int]) -> Sequence[int]:
        times = accumulate(column, initial=self._time_first)
        if self.count <= _LISTED_MAX:
            return list(times)
        try:
            # A fifth of the memory of a list, and twice its time.
            return array("q", times)
        except OverflowError:
            raise _damage("chunk", 0, "timestamps of 64 bits", "larger ones") from None

    @property
    def written(self) -> Sequence[int]:
        """When each record was written, UTC nanoseconds by the engine's clock; never going back."""
        if self.flags & SAME:
            return self.timestamps
        if self._written is None:
            at, width = self._written_at
            if width:
                column = differences(self.data, at, width, self.count)
                self._written = list(accumulate(column, initial=self._written_first))
            else:
                times = [self._written_first] * self.count
                if not self._takes_bytes:
                    return times
                self._written = times
        return self._written

    def written_at(self, place: int) -> int:
        """When record `place`, counted within the chunk, was written."""
        if self.flags & SAME:
            return self.timestamp(place)
        return self.written[place] if self._written_at[1] and place else self._written_first

    @property
    def last_written(self) -> int:
        """When the last record was written."""
        return self.last_timestamp if self.flags & SAME else self.written_at(self.count - 1)

    @property
    def last_timestamp(self) -> int:
        """The last record's timestamp."""
        at, width = self._times_at
        if self._times is None and 0 < width < 8:
            # The others are not asked for: the sum alone takes a third of the time.
            column = array(SIGNED[width], self.data[at : at + (self.count - 1) * width])
            return self._time_first + sum(column)
        return self.timestamp(self.count - 1)

    def sizes(self, place: str = "chunk") -> Sequence[int]:
        """Payload sizes in bytes, one a record."""
        if self._sizes is None:
            at, width = self._sizes_at
            if width:
                column = array(UNSIGNED[width], self.data[at : at + self.count * width])
                if sum(column) != self.payload_bytes:
                    raise _damage(place, at, "payload sizes that add up", "others")
                self._sizes = column
            else:
                sizes = [self._size] * self.count
                if not self._takes_bytes:
                    return sizes
                self._sizes = sizes
        return self._sizes

    def payloads(self, start: int = 0, stop: int | None = None) -> list[bytes]:
        """Payloads of the records `start` to `stop`, counted within the chunk."""
        stop = self.count if stop is None else stop
        if not self._sizes_at[1]:
            return equal_parts(
                self.data, self.payloads_at + start * self._size, self._size, stop - start
            )
        # BytesIO shares the bytes object; its read() then cuts each payload in C.
        stream = io.BytesIO(self.data)
        sizes = self.sizes()
        if start == 0:
            stream.seek(self.payloads_at)
            return list(map(stream.read, sizes if stop == self.count else sizes[:stop]))
        stream.seek(self.payloads_at + self.ends[start - 1])
        return list(map(stream.read, sizes[start:stop]))

    @property
    def ends(self) -> Sequence[int]:
        """Where each payload ends, counted from the first payload byte."""
        if self._ends is None:
            ends = array("Q", accumulate(self.sizes()))
            if not self._takes_bytes:
                return ends
            self._ends = ends
        return self._ends

    def payload(self, place: int) -> bytes:
        """The payload of record `place`, counted within the chunk."""
        at, size = self.payloads_at, self._size
        if not self._sizes_at[1]:
            at += place * size
            return self.data[at : at + size]
        ends = self._ends or self.ends
        return self.data[at + (ends[place - 1] if place else 0) : at + ends[place]]

    def timestamp(self, place: int) -> int:
        """The timestamp of record `place`, counted within the chunk."""
        if not place or not self._times_at[1]:
            return self._time_first
        return (self._times or self.timestamps)[place]

    def header(self, place: int) -> HeaderMap:
        """The headers of record `place`, counted within the chunk; read-only."""
        if not self._table:
            return NO_HEADERS
        entries = self._header_entries()
        return self._header_table("chunk")[entries[place] if entries is not None else 0]

    def headers(self, start: int = 0, stop: int | None = None) -> Iterable[HeaderMap]:
        """The headers of the records `start` to `stop`; read-only mappings, shared when equal."""
        stop = self.count if stop is None else stop
        if not self._table:
            return repeat(NO_HEADERS, stop - start)
        entries, table = self._header_entries(), self._header_table("chunk")
        if entries is None:
            return repeat(table[0], stop - start)
        return map(table.__getitem__, entries[start:stop])

    @property
    def has_headers(self) -> bool:
        """Whether there is a header table."""
        return bool(self._table)

    def encoded_headers(self) -> bytes | list[bytes] | None:
        """The headers as `encode_chunk` takes them."""
        if not self._table:
            return None
        table = [encode_plain(entry) for entry in self._header_table("chunk")]
        entries = self._header_entries()
        return table[0] if entries is None else [table[entry] for entry in entries]

    def _header_entries(self) -> Sequence[int] | None:
        at, width = self._entries_at
        if not width:
            return None
        if self._entries is None:
            self._entries = array(UNSIGNED[width], self.data[at : at + self.count * width])
        return self._entries

    def _header_table(self, place: str) -> tuple[HeaderMap, ...]:
        if isinstance(self._table, bytes):
            self._check_large_table(self._table, place)
            decoded = decode_table(self._table, place)
            if not decoded:
                raise CorruptError(place, expected="a header table", found="an empty one")
            self._table = tuple(MappingProxyType(entry) for entry in decoded)
        return self._table

    def _check_large_table(self, table: bytes, place: str) -> None:
        """`CorruptError` for a table that takes memory for more than the chunk has records."""
        entries_max = self.count if self._entries_at[1] else 1
        small = len(table) <= TABLE_BYTES_DECODED
        if not small and not 0 < count_table(table, entries_max + 1) <= entries_max:
            found = f"{len(table)} bytes that are none, or of more"
            raise CorruptError(place, expected=f"a table of {entries_max} entries", found=found)


def chunks_of(data: bytes, place: str, start: int = 0, stop: int | None = None) -> list[Chunk]:
    """Every chunk of `data` from `start` to `stop`, which they must fill exactly."""
    stop = len(data) if stop is None else stop
    chunks = []
    while start < stop:
        chunk = Chunk(data, start, place, stop)
        chunks.append(chunk)
        start = chunk.end
    return chunks


def _damage(place: str, position: int, expected: str, found: str) -> CorruptError:
    return CorruptError(f"{place}, byte {position}", expected=expected, found=found)
