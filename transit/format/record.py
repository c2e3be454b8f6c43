"""A chunk: consecutive records of one stream, as columns.

Frames of the WAL and blocks of a segment are made of chunks. All numbers are little-endian.

    offset  size  field
         0     8  stream id
         8     8  offset of the first record
        16     4  count of records, 1 to 4,194,304
        20     1  timestamp width: 0, 1, 2, 4 or 8
        21     1  length width: 0, 1, 2 or 4
        22     1  header width: 0, 1, 2 or 4
        23     1  reserved, 0
        24     8  timestamp of the first record, signed nanoseconds UTC
        32     4  payload size of every record when the length width is 0, else 0
        36     4  size of the header table
        40     8  size of all payloads
        48     .  timestamps of the other records: width 0, all equal the first; 1, 2, 4, signed
                  differences to the record before; 8, signed absolute values
         .     .  payload sizes, one a record, unless the length width is 0
         .     .  header table entries, one a record, unless the header width is 0
         .     .  header table: JSON array of objects with text values, empty when no record has
                  headers; with header width 0 it has one entry, which holds for every record
         .     .  payloads, back to back

Valid if and only if: every width is one of those named, the reserved byte is 0, the parts add up to
the bytes there are, the payload sizes add up to the size of all payloads, every header entry
exists, the table has no more entries than there are records, and every timestamp fits in 64 bits.
There is no version field: the file that holds a chunk has one.

Columns keep Python out of the loop: sizes, timestamps and payloads are made by one C call a column.

A chunk of 48 bytes may state four million records that differ in nothing. So what takes no bytes is
not unfolded to be checked, and not kept when it was unfolded to be read: memory that stays grows
with the bytes there are.
"""

from __future__ import annotations

import io
import re
import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, islice, repeat
from operator import sub
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from transit.errors import CorruptError, InvalidInputError

CHUNK: Final = struct.Struct("<QQIBBBBqIIQ")
COUNT_MAX: Final = 2**22
COLUMN_PARTS: Final = 5
SPLIT_MAX: Final = 4096
HEADER_BYTES_MAX: Final = 64 * 1024
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

_SIGNED: Final = {1: "b", 2: "h", 4: "i", 8: "q"}
_UNSIGNED: Final = {1: "B", 2: "H", 4: "I"}
_TIMESTAMP_WIDTHS: Final = (0, 1, 2, 4, 8)
_SIZE_WIDTHS: Final = (0, 1, 2, 4)

_INT64: Final = 2**63
_LISTED_MAX: Final = 65_536

HeaderMap = Mapping[str, str]

# A larger header table is checked without being decoded: three bytes of it may become a hundred.
_TABLE_BYTES_DECODED: Final = 64 * 1024
_SPACE: Final = rb"[ \t\n\r]*+"
_ESCAPE: Final = (
    rb'\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_TEXT: Final = _SPACE + rb'"(?:[^"\\\x00-\x1f]++|' + _ESCAPE + rb')*+"' + _SPACE
_PAIR: Final = _TEXT + b":" + _TEXT
_ENTRY: Final = _SPACE + rb"\{(?:" + _PAIR + b"(?:," + _PAIR + b")*+|" + _SPACE + rb")\}" + _SPACE
_TABLE: Final = _SPACE + rb"\[" + _ENTRY + b"(?:," + _ENTRY + rb")*+\]" + _SPACE

_encoder = msgspec.json.Encoder(order="sorted")
_table_decoder = msgspec.json.Decoder(list[dict[str, str]])


def encode_headers(headers: HeaderMap) -> bytes:
    """One record's headers as a JSON object; `InvalidInputError` unless text keys and values."""
    if not isinstance(headers, Mapping):
        raise InvalidInputError(f"headers must be a mapping, not {type(headers).__name__}")
    for key, value in headers.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidInputError(f"header {key!r}: {value!r} must be text with a text value")
    try:
        data = _encoder.encode(dict(headers))
    except TypeError:
        # Text of a class of its own.
        return encode_headers({str.__str__(k): str.__str__(v) for k, v in headers.items()})
    except ValueError as error:
        raise InvalidInputError(f"headers are not Unicode text: {error}") from None
    if len(data) > HEADER_BYTES_MAX:
        raise InvalidInputError(f"headers take {len(data)} bytes; the limit is {HEADER_BYTES_MAX}")
    return data


class Columns(NamedTuple):
    """Records to encode: payloads with their sizes in bytes, timestamps and encoded headers.

    `sizes`, `timestamps` and `headers` are one value for all records or one a record.
    """

    payloads: Sequence[bytes]
    sizes: int | Sequence[int]
    timestamps: int | Sequence[int]
    headers: bytes | Sequence[bytes] | None

    @property
    def payload_bytes(self) -> int:
        """Size of all payloads."""
        sizes = self.sizes
        return sizes * len(self.payloads) if isinstance(sizes, int) else sum(sizes)


def measure(payloads: Sequence[bytes]) -> int | list[int]:
    """The sizes of `payloads` as `Columns` takes them: one number when they are all equal."""
    sizes = list(map(len, payloads))
    return sizes[0] if sizes.count(sizes[0]) == len(sizes) else sizes


def encode_one(stream: int, offset: int, size: int, timestamp: int, headers: bytes) -> bytes:
    """Everything of a chunk of one record but its payload of `size` bytes, which comes after."""
    if not headers:
        return CHUNK.pack(stream, offset, 1, 0, 0, 0, 0, timestamp, size, 0, size)
    table = b"[" + headers + b"]"
    return CHUNK.pack(stream, offset, 1, 0, 0, 0, 0, timestamp, size, len(table), size) + table


def encode_chunk(stream: int, first: int, columns: Columns) -> list[bytes]:
    """The parts of one chunk, to be joined by the caller together with what surrounds it.

    The first `COLUMN_PARTS` are everything but the payloads.
    """
    payloads = columns.payloads
    count = len(payloads)
    time_first, time_width, times = _encode_timestamps(columns.timestamps)
    size, size_width, size_column = _encode_sizes(columns.sizes)
    header_width, entries, table = _encode_headers(columns.headers)
    head = CHUNK.pack(
        stream, first, count, time_width, size_width, header_width, 0,
        time_first, size, len(table), columns.payload_bytes,
    )  # fmt: skip
    return [head, times, size_column, entries, table, *payloads]


def _encode_timestamps(timestamps: int | Sequence[int]) -> tuple[int, int, bytes]:
    if isinstance(timestamps, int):
        return timestamps, 0, b""
    first = timestamps[0]
    deltas = list(map(sub, timestamps[1:], timestamps))
    low, high = min(deltas, default=0), max(deltas, default=0)
    if low == high == 0:
        return first, 0, b""
    for width in (1, 2, 4):
        half = 1 << (8 * width - 1)
        if -half <= low and high < half:
            return first, width, array(_SIGNED[width], deltas).tobytes()
    return first, 8, array("q", timestamps[1:]).tobytes()


def _encode_sizes(sizes: int | Sequence[int]) -> tuple[int, int, bytes]:
    if isinstance(sizes, int):
        return sizes, 0, b""
    width = _unsigned_width(max(sizes))
    return 0, width, array(_UNSIGNED[width], sizes).tobytes()


def _encode_headers(headers: bytes | Sequence[bytes] | None) -> tuple[int, bytes, bytes]:
    if headers is None or isinstance(headers, bytes):
        return 0, b"", b"[" + headers + b"]" if headers else b""
    table = list(dict.fromkeys(headers))
    if table == [b"{}"]:
        return 0, b"", b""
    joined = b"[" + b",".join(table) + b"]"
    if len(table) == 1:
        return 0, b"", joined
    width = _unsigned_width(len(table) - 1)
    places = {entry: place for place, entry in enumerate(table)}
    return width, array(_UNSIGNED[width], map(places.__getitem__, headers)).tobytes(), joined


@lru_cache(maxsize=32)
def _splitter(size: int, count: int) -> struct.Struct:
    """Cuts `count` payloads of equal size in one C call, at twice the speed of reading each."""
    return struct.Struct(f"{size}s" * count)


def _unsigned_width(value: int) -> int:
    return 1 if value < 1 << 8 else 2 if value < 1 << 16 else 4


class Chunk:
    """A decoded chunk: columns over bytes that stay where they are.

    `stream`, `first` and `count` are read at once; columns when asked for, then kept. `data` holds
    the chunk at `position`; `end` is where it ends. Not safe against concurrent mutation of `data`.
    """

    __slots__ = (
        "__weakref__",
        "_ends", "_entries", "_entries_at", "_size", "_sizes", "_sizes_at", "_table", "_time_first",
        "_times", "_times_at", "count", "data", "end", "first", "payload_bytes", "payloads_at",
        "stream",
    )  # fmt: skip

    stream: int
    first: int
    count: int
    payload_bytes: int
    end: int
    _time_first: int
    _size: int

    def __init__(self, data: bytes, position: int, place: str, limit: int | None = None) -> None:
        """Read the header of the chunk at `position` of `data`, which ends before `limit`."""
        limit = len(data) if limit is None else limit
        if position + CHUNK.size > limit:
            raise _damage(place, position, "a chunk header", f"{limit - position} bytes")
        (
            self.stream, self.first, self.count, time_width, size_width, header_width, reserved,
            self._time_first, self._size, table_bytes, self.payload_bytes,
        ) = CHUNK.unpack_from(data, position)  # fmt: skip
        count = self.count
        if (
            time_width not in _TIMESTAMP_WIDTHS
            or size_width not in _SIZE_WIDTHS
            or header_width not in _SIZE_WIDTHS
            or reserved
            or not 0 < count <= COUNT_MAX
        ):
            raise _damage(place, position, "known column widths and a count", "others")
        self._times_at = (position + CHUNK.size, time_width)
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
        self.data = data
        self._times: Sequence[int] | None = None
        self._sizes: Sequence[int] | None = None
        self._ends: Sequence[int] | None = None
        self._entries: Sequence[int] | None = None

    @property
    def stop(self) -> int:
        """One past the last record's offset."""
        return self.first + self.count

    def check(self, place: str) -> None:
        """Check every column; `CorruptError` naming `place` when one is not valid."""
        if self._sizes_at[1]:
            self.sizes(place)
        if not self._times_fit():
            raise _damage(place, 0, "timestamps of 64 bits", "larger ones")
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
        column: array[int] = array(_SIGNED[width], self.data[at : at + (self.count - 1) * width])
        low = min(accumulate(column, initial=first))
        high = max(accumulate(column, initial=first))
        return -_INT64 <= low <= high < _INT64

    def _count_table(self, place: str) -> int:
        """The count of entries in the header table; `CorruptError` when it is none."""
        table = self._table
        if not isinstance(table, bytes):
            return len(table)
        if not table:
            return 0
        # Not kept: whoever reads headers decodes the table, whoever checks a log has many.
        small = len(table) <= _TABLE_BYTES_DECODED
        count = len(_decoded(table, place)) if small else _count(table, self.count + 1)
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
                column = array(_SIGNED[width], self.data[at : at + (self.count - 1) * width])
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
    def last_timestamp(self) -> int:
        """The last record's timestamp."""
        return self.timestamp(self.count - 1)

    def sizes(self, place: str = "chunk") -> Sequence[int]:
        """Payload sizes in bytes, one a record."""
        if self._sizes is None:
            at, width = self._sizes_at
            if width:
                column = array(_UNSIGNED[width], self.data[at : at + self.count * width])
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
            return self._equal_payloads(start, stop)
        # BytesIO shares the bytes object; its read() then cuts each payload in C.
        stream = io.BytesIO(self.data)
        sizes = self.sizes()
        if start == 0:
            stream.seek(self.payloads_at)
            return list(map(stream.read, sizes if stop == self.count else sizes[:stop]))
        stream.seek(self.payloads_at + self.ends[start - 1])
        return list(map(stream.read, sizes[start:stop]))

    def _equal_payloads(self, start: int, stop: int) -> list[bytes]:
        payloads: list[bytes] = []
        size = self._size
        while start < stop:
            count = min(stop - start, SPLIT_MAX)
            payloads += _splitter(size, count).unpack_from(
                self.data, self.payloads_at + start * size
            )
            start += count
        return payloads

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
        return (self._times or self.timestamps)[place] if self._times_at[1] else self._time_first

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

    def encoded_headers(self) -> bytes | list[bytes] | None:
        """The headers as `encode_chunk` takes them."""
        if not self._table:
            return None
        table = [_encoder.encode(dict(entry)) for entry in self._header_table("chunk")]
        entries = self._header_entries()
        return table[0] if entries is None else [table[entry] for entry in entries]

    def _header_entries(self) -> Sequence[int] | None:
        at, width = self._entries_at
        if not width:
            return None
        if self._entries is None:
            self._entries = array(_UNSIGNED[width], self.data[at : at + self.count * width])
        return self._entries

    def _header_table(self, place: str) -> tuple[HeaderMap, ...]:
        if isinstance(self._table, bytes):
            self._check_large_table(self._table, place)
            decoded = _decoded(self._table, place)
            if not decoded:
                raise CorruptError(place, expected="a header table", found="an empty one")
            self._table = tuple(MappingProxyType(entry) for entry in decoded)
        return self._table

    def _check_large_table(self, table: bytes, place: str) -> None:
        """`CorruptError` for a table that takes memory for more than the chunk has records."""
        entries_max = self.count if self._entries_at[1] else 1
        small = len(table) <= _TABLE_BYTES_DECODED
        if not small and not 0 < _count(table, entries_max + 1) <= entries_max:
            found = f"{len(table)} bytes that are none, or of more"
            raise CorruptError(place, expected=f"a table of {entries_max} entries", found=found)


def _decoded(table: bytes, place: str) -> list[dict[str, str]]:
    try:
        return _table_decoder.decode(table)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptError(place, expected="a header table", found=str(error)) from None


def _count(table: bytes, count_max: int) -> int:
    """The count of entries `_decoded` would give, `count_max` at most; 0 for what is no table."""
    try:
        table.decode()
    except UnicodeDecodeError:
        return 0
    # Compiled when it is needed first: that takes as long as a tenth of importing transit.
    if not re.fullmatch(_TABLE, table):
        return 0
    return sum(1 for _ in islice(re.finditer(_ENTRY, table), count_max))


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
