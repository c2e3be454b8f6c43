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

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Annotated, Any, Final, NamedTuple, Union

import msgspec

from transit import Batch, CorruptError, InvalidInputError
from transit.views.errors import BadResultError
from transit.views.maps.map import Map
from transit.views.overlay import Changes
from transit.views.rows import Row
from transit.views.tables import MEMORY, Table, after

ABI_VERSION: Final = 1
RECORD_COLUMN_BYTES: Final = 20
RESULT_BYTES_MAX: Final = 1 << 20
CHANGES_MAX: Final = 10_000
PAGE_BYTES: Final = 4096


class Gathered:
    """Records one behind the other as columns, until they are handed over."""

    def __init__(self) -> None:
        self.offsets: array[int] = array("Q")
        self._times: array[int] = array("q")
        self._ends: array[int] = array("Q")
        # Payloads as they lie in their batches, and where each part of them begins.
        self._parts: list[memoryview] = []
        self._starts: list[int] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self.offsets)

    def add(self, batch: Batch, first: int, stop: int) -> None:
        """Take up rows `first` to before `stop` of a batch."""
        ends: Sequence[int]
        if first == 0 and stop == len(batch):
            data, ends = batch.data, batch.ends
        else:
            payloads = batch.payloads[first:stop]
            data, ends = memoryview(b"".join(payloads)), list(accumulate(map(len, payloads)))
        base = self.size
        self.offsets.extend(batch.offsets[first:stop])
        self._times.extend(batch.timestamps[first:stop])
        self._ends.extend([base + end for end in ends] if base else ends)
        if data:
            self._parts.append(data)
            self._starts.append(base)
            self.size += len(data)

    def fitting(self, at: int, count: int, bytes_max: int) -> int:
        """How many records from `at` on go into one call: about `count` at most, but one at least.

        A few that would be left over go along.
        """
        most = bisect_right(self._ends, self._start(at) + bytes_max, at) - at
        left = len(self) - at
        return max(1, min(left if left <= count + count // 4 else count, most))

    def records(self, at: int, count: int) -> Records:
        """So many records from `at` on."""
        low, stop = self._start(at), at + count
        high = self._ends[stop - 1]
        ends = array("Q", [end - low for end in self._ends[at:stop]])
        columns = (self.offsets[at:stop], self._times[at:stop], ends)
        return Records(columns, list(self._between(low, high)))

    def _start(self, at: int) -> int:
        return self._ends[at - 1] if at else 0

    def _between(self, low: int, high: int) -> Iterator[memoryview]:
        place = bisect_right(self._starts, low) - 1
        while low < high:
            start = self._starts[place]
            part = self._parts[place][low - start : high - start]
            yield part
            low += len(part)
            place += 1


class Records:
    """Records for one call. columns: offsets, timestamps, ends. payload_bytes: of all of them."""

    def __init__(
        self, columns: tuple[array[int], array[int], array[int]], payloads: Sequence[memoryview]
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
        at = 0
        # Where payloads end in 32 bits: a memory has no more, and this is not called without room.
        for column in (offsets, times, array("I", ends)):
            data = _little(column)
            memory[at : at + len(data)] = data
            at += len(data)
        for part in self._payloads:
            memory[at : at + len(part)] = part
            at += len(part)


def _little(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


class RowToChange(NamedTuple):
    """One change that a module asks for. table: its number. row: None where it goes."""

    table: int
    key: Any
    row: Row | None


# What decoders, and rows with rules of their own, raise for bytes that they do not like.
_REFUSALS: Final = (
    msgspec.MsgspecError, InvalidInputError, ValueError, TypeError, OverflowError, RecursionError,
)  # fmt: skip


class ResultDecoder:
    """Decodes what a module answers, which may be anything, into changes of `tables`."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tuple(tables)
        kinds = [_change_type(each, number) for number, each in enumerate(tables)]
        self._numbers = {kind: number for number, kind in enumerate(kinds)}
        kind: Any = Union[tuple(kinds)]  # noqa: UP007
        changes: Any = Annotated[list[kind], msgspec.Meta(max_length=CHANGES_MAX)]
        self._decoder: msgspec.msgpack.Decoder[list[Any]] = msgspec.msgpack.Decoder(changes)

    def decode(self, data: bytes) -> list[RowToChange]:
        """The changes that a result asks for; `BadResultError` where it is none."""
        if not data:
            return []
        if len(data) > RESULT_BYTES_MAX:
            raise BadResultError(f"a result of {len(data)} bytes; at most {RESULT_BYTES_MAX}")
        try:
            # msgspec takes no memory for a size that the bytes that are left cannot have.
            return list(map(self._change, self._decoder.decode(data)))
        except _REFUSALS as error:
            raise BadResultError(f"no list of [table, key, row]: {error}") from error

    def _change(self, found: Any) -> RowToChange:
        number, key = self._numbers[type(found)], found.key
        table = self._tables[number]
        if found.row is None:
            table.encode_key(key)
            return RowToChange(number, key, None)
        row = table.row.make(found.row)
        own = table.key_of(row)
        if key != own or type(key) is not type(own):
            raise BadResultError(f"table {table.name}: row {own!r:.200} under the key {key!r:.200}")
        return RowToChange(number, key, row)


def _change_type(table: Table, number: int) -> type[msgspec.Struct]:
    """A change of one table, which is told from others by its first element."""
    types = [each.type for each in msgspec.structs.fields(table.row.type)]
    by_name = dict(zip(table.row.fields, types, strict=True))
    keys = tuple(by_name[name] for name in table.key)
    return msgspec.defstruct(
        f"Change{number}",
        [
            ("key", keys[0] if table.is_single else tuple[keys]),  # type: ignore[valid-type]
            ("row", Union[tuple[tuple(types)], None]),  # type: ignore[misc]  # noqa: UP007
        ],
        tag=number,
        array_like=True,
        forbid_unknown_fields=True,
    )


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
