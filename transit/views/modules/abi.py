"""What a WebAssembly module and its host say to each other: ABI version 1.

A module imports nothing. It exports:

    memory                                  its only memory, 32-bit, not shared
    alloc(size: i32) -> i32                 a place for so many bytes; 0 where there is no room
    apply(data: i32, size: i32, ends: i32, count: i32, meta: i32) -> i64
                                            takes up records; place << 32 | size of the result
    state() -> i64                          optional: place << 32 | size of what it keeps

For each call of `apply` the host makes the module anew, as it was before anything ran, writes what
it kept to the place that `state` names, asks `alloc` once for `size + 20 * count` bytes, writes
the records there, and calls `apply`. Then it reads the result and what is to be kept, and throws
the rest away: globals, tables, stacks and heaps begin anew with each call, whatever became of the
call before, so that how records are put into calls cannot be seen in what is kept of them. What a
module must not look at is `count` itself: so many calls with one record each must come to the same.

What `alloc` gave, from its place on, with `count` of 1 or more:

    offset          size       field
    0               8 * count  meta: u64 each, the offset of the record in the stream of the view
    8 * count       8 * count        i64 each, the timestamp of the record, UTC nanoseconds
    16 * count      4 * count  ends: u32 each, where the payload ends in `data`, bytes
    20 * count      size       data: all payloads, one behind the other

So payload n is `data[ends[n - 1]]` to before `data[ends[n]]`, from 0 for the first. All numbers are
little-endian. `meta`, `ends` and `data` are given to `apply` as places; nothing is aligned better
than the place that `alloc` gave.

The result is a MessagePack array, or nothing at all (size 0), of changes in the order in which they
are made. A change is an array of three:

    element  what             its bytes
    0        table            an integer: its number among the tables of the view, from 0
    1        key              the key of the row; an array of them where it has several fields
    2        row              an array of all fields in their declared order; nil: the row goes

Valid if and only if: place and size lie inside the memory; there are at most `RESULT_BYTES_MAX`
bytes and `CHANGES_MAX` changes, and nothing behind them; keys and fields are of the types of the
table; a row's key is the one before it. There is one version: what the host gives and takes is
stated in the spec of a view as the limit "abi", so another version is another view.

The size and the place of `state` are those that a module has when nothing ran yet; they cannot
change, nor may what `alloc` gives reach into it. It is kept in the map of the view:

    key of the map            value
    04 <u32, big-endian>      4,096 bytes of it, at that number times 4,096; fewer at its end

Pages that are as the module itself has them at its beginning are left out.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, starmap
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Union

import msgspec

from transit import Batch, CorruptError, InvalidInputError
from transit.views.errors import BadResultError
from transit.views.maps.map import Map
from transit.views.overlay import Changes
from transit.views.tables import MEMORY, Table, after

ABI_VERSION: Final = 1
RECORD_COLUMN_BYTES: Final = 20
RESULT_BYTES_MAX: Final = 1 << 20
CHANGES_MAX: Final = 10_000
PAGE_BYTES: Final = 4096


class _Part(NamedTuple):
    """Consecutive records of one batch. ends: where each payload ends in `data`."""

    offsets: Sequence[int]
    times: Sequence[int]
    ends: Sequence[int]
    data: memoryview


class Gathered:
    """Records one behind the other, until they are handed over. size: bytes of their payloads."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        # How many records there are before each part, and how many bytes.
        self._firsts: list[int] = []
        self._starts: list[int] = []
        self._count = self.size = 0

    def __len__(self) -> int:
        return self._count

    def add(self, batch: Batch, first: int, stop: int) -> None:
        """Take up rows `first` to before `stop` of a batch."""
        ends: Sequence[int]
        if first == stop:
            return
        if first == 0 and stop == len(batch):
            data, ends = batch.data, batch.ends
        else:
            payloads = batch.payloads[first:stop]
            data, ends = memoryview(b"".join(payloads)), list(accumulate(map(len, payloads)))
        part = slice(first, stop)
        self._parts.append(_Part(batch.offsets[part], batch.timestamps[part], ends, data))
        self._firsts.append(self._count)
        self._starts.append(self.size)
        self._count += stop - first
        self.size += len(data)

    def offset(self, at: int) -> int:
        """The offset of a record in its stream."""
        number = self._part_of(at)
        return self._parts[number].offsets[at - self._firsts[number]]

    def fitting(self, at: int, count: int, bytes_max: int) -> int:
        """How many records from `at` on go into one call: about `count` at most, but one at least.

        A few that would be left over go along.
        """
        limit = self._start(at) + bytes_max
        number = bisect_right(self._starts, limit) - 1
        room = limit - self._starts[number]
        most = self._firsts[number] + bisect_right(self._parts[number].ends, room) - at
        left = self._count - at
        return max(1, min(left if left <= count + count // 4 else count, most))

    def records(self, at: int, count: int) -> Records:
        """So many records from `at` on."""
        offsets: list[int] = []
        times: list[int] = []
        ends: list[int] = []
        payloads = []
        size, number = 0, self._part_of(at)
        while len(ends) < count:
            part = self._parts[number]
            first = at + len(ends) - self._firsts[number]
            rows = slice(first, first + count - len(ends))
            stops = part.ends[rows]
            low = part.ends[first - 1] if first else 0
            offsets += part.offsets[rows]
            times += part.times[rows]
            shift = size - low
            ends += [shift + end for end in stops] if shift else stops
            payloads.append(part.data[low : stops[-1]])
            size += stops[-1] - low
            number += 1
        return Records((offsets, times, ends), payloads)

    def _start(self, at: int) -> int:
        """How many bytes of payloads there are before a record."""
        number = self._part_of(at)
        row = at - self._firsts[number]
        return self._starts[number] + (self._parts[number].ends[row - 1] if row else 0)

    def _part_of(self, at: int) -> int:
        return bisect_right(self._firsts, at) - 1


class Records:
    """Records for one call. columns: offsets, timestamps, ends. payload_bytes: of all of them."""

    def __init__(
        self, columns: tuple[list[int], list[int], list[int]], payloads: Sequence[memoryview]
    ) -> None:
        self._columns, self._payloads = columns, payloads
        self.count = len(columns[0])
        self.payload_bytes = columns[2][-1]

    @property
    def size(self) -> int:
        """The bytes they take as a module is given them."""
        return RECORD_COLUMN_BYTES * self.count + self.payload_bytes

    def write(self, memory: memoryview) -> None:
        """Lay them out as above in a memory of their size."""
        offsets, times, ends = self._columns
        count = self.count
        # Where payloads end in 32 bits: a memory has no more, and this is not called without room.
        struct.pack_into(f"<{count}Q{count}q{count}I", memory, 0, *offsets, *times, *ends)
        at = RECORD_COLUMN_BYTES * count
        for part in self._payloads:
            memory[at : at + len(part)] = part
            at += len(part)


class RowToChange(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """One change that a module asks for. row: None where it goes."""

    table: ClassVar[int]
    key: Any
    row: Any


# What decoders, and rows with rules of their own, raise for bytes that they do not like.
_REFUSALS: Final = (
    msgspec.MsgspecError, InvalidInputError, ValueError, TypeError, OverflowError, RecursionError,
)  # fmt: skip


class ResultDecoder:
    """Decodes what a module answers, which may be anything, into changes of `tables`."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tuple(tables)
        kind: Any = Union[tuple(starmap(_change_type, enumerate(tables)))]  # noqa: UP007
        changes: Any = Annotated[list[kind], msgspec.Meta(max_length=CHANGES_MAX)]
        self._decoder: msgspec.msgpack.Decoder[list[RowToChange]] = msgspec.msgpack.Decoder(changes)

    def decode(self, data: bytes) -> list[RowToChange]:
        """The changes that a result asks for; `BadResultError` where it is none."""
        if not data:
            return []
        if len(data) > RESULT_BYTES_MAX:
            raise BadResultError(f"a result of {len(data)} bytes; at most {RESULT_BYTES_MAX}")
        try:
            # msgspec takes no memory for a size that the bytes that are left cannot have.
            changes = self._decoder.decode(data)
            for each in changes:
                self._make_row(each)
        except _REFUSALS as error:
            raise BadResultError(f"no list of [table, key, row]: {error}") from error
        return changes

    def _make_row(self, found: RowToChange) -> None:
        """Make the row of what was decoded of it."""
        table = self._tables[found.table]
        if found.row is None:
            table.encode_key(found.key)
            return
        found.row = row = table.row.make(found.row)
        own = table.key_of(row)
        if found.key != own or type(found.key) is not type(own):
            raise BadResultError(
                f"table {table.name}: row {own!r:.200} under the key {found.key!r:.200}"
            )


def _change_type(number: int, table: Table) -> type[RowToChange]:
    """A change of one table, which is told from others by its first element."""
    types = [each.type for each in msgspec.structs.fields(table.row.type)]
    by_name = dict(zip(table.row.fields, types, strict=True))
    keys = tuple(by_name[name] for name in table.key)
    made: Any = msgspec.defstruct(
        f"Change{number}",
        [
            ("key", keys[0] if table.is_single else tuple[keys]),  # type: ignore[valid-type]
            ("row", Union[tuple[tuple(types)], None]),  # type: ignore[misc]  # noqa: UP007
        ],
        bases=(RowToChange,),
        namespace={"table": number},
        tag=number,
        array_like=True,
        forbid_unknown_fields=True,
        gc=False,
    )
    change: type[RowToChange] = made
    return change


def kept_state(map_: Map, initial: bytes) -> bytes:
    """What a module keeps, as a map has it. initial: as the module has it at its beginning."""
    pages = list(map_.items(MEMORY, after(MEMORY)))
    if not pages:
        return initial
    state = bytearray(initial)
    for key, page in pages:
        start = int.from_bytes(key[1:], "big") * PAGE_BYTES
        room = len(initial) - start
        if len(key) != 5 or room <= 0 or len(page) != min(room, PAGE_BYTES):
            expected = f"pages of {len(initial)} bytes"
            raise CorruptError("a module's state", expected=expected, found=key.hex())
        state[start : start + len(page)] = page
    return bytes(state)


def page_changes(before: bytes, state: bytes, initial: bytes) -> Changes:
    """What is to change in the map for a module that keeps `state` now, and kept `before`."""
    found: Changes = {}
    if before == state:
        return found
    for number in range(-(-len(state) // PAGE_BYTES)):
        part = slice(number * PAGE_BYTES, (number + 1) * PAGE_BYTES)
        page = state[part]
        if page != before[part]:
            key = MEMORY + number.to_bytes(4, "big")
            found[key] = None if page == initial[part] else page
    return found
