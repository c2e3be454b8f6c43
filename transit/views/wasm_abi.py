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
    1        key              the key of the row; an array of them where it has several fields; nil
                              for a row that its table numbers
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
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

import msgspec

from transit import Batch, CorruptError
from transit.views.errors import BadResultError
from transit.views.map import Map
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
        self._parts: list[bytes | memoryview] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self.offsets)

    def add(self, batch: Batch, first: int, stop: int) -> None:
        """Take up rows `first` to before `stop` of a batch."""
        data: bytes | memoryview
        ends: Sequence[int]
        if first == 0 and stop == len(batch):
            data, ends = batch.data, batch.ends
        else:
            payloads = batch.payloads[first:stop]
            data, ends = b"".join(payloads), list(accumulate(map(len, payloads)))
        base = self.size
        self.offsets.extend(batch.offsets[first:stop])
        self._times.extend(batch.timestamps[first:stop])
        self._ends.extend([base + end for end in ends] if base else ends)
        self._parts.append(data)
        self.size += len(data)

    def fitting(self, at: int, count: int, bytes_max: int) -> int:
        """How many records from `at` on go into one call: up to `count`, but one at least."""
        most = bisect_right(self._ends, self._start(at) + bytes_max, at) - at
        return max(1, min(count, most))

    def payload_bytes(self, at: int, count: int) -> int:
        """The size of so many payloads from `at` on."""
        return self._ends[at + count - 1] - self._start(at)

    def columns(self, at: int, count: int) -> bytes:
        """The bytes of so many records from `at` on, laid out as above."""
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        low, stop = self._start(at), at + count
        ends = array("I", [end - low for end in self._ends[at:stop]])
        return b"".join(
            (
                _little(self.offsets[at:stop]),
                _little(self._times[at:stop]),
                _little(ends),
                self._parts[0][low : low + self.payload_bytes(at, count)],
            )
        )

    def _start(self, at: int) -> int:
        return self._ends[at - 1] if at else 0


def _little(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


class RowToChange(NamedTuple):
    """One change that a module asks for. table: its number. row: None where it goes."""

    table: int
    key: Any
    row: Row | None


_WHOLE: Final = msgspec.msgpack.Decoder(msgspec.Raw)
_CHANGES: Final[msgspec.msgpack.Decoder[list[tuple[int, msgspec.Raw, msgspec.Raw]]]] = (
    msgspec.msgpack.Decoder(list[tuple[int, msgspec.Raw, msgspec.Raw]])
)
_NIL: Final = b"\xc0"
# What decoders, and rows with rules of their own, raise for bytes that they do not like.
_REFUSALS: Final = (msgspec.MsgspecError, CorruptError, ValueError, TypeError, RecursionError)


class ResultDecoder:
    """Decodes what a module answers, which may be anything, into changes of `tables`."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tuple(tables)
        self._keys = [_key_decoder(each) for each in tables]

    def decode(self, data: bytes) -> list[RowToChange]:
        """The changes that a result asks for; `BadResultError` where it is none."""
        if not data:
            return []
        if len(data) > RESULT_BYTES_MAX:
            raise BadResultError(f"a result of {len(data)} bytes; at most {RESULT_BYTES_MAX}")
        try:
            # Every size that is stated is there, before anything is made of such a size.
            _WHOLE.decode(data)
            found = _CHANGES.decode(data)
        except _REFUSALS as error:
            raise BadResultError(f"no list of [table, key, row]: {error}") from error
        if len(found) > CHANGES_MAX:
            raise BadResultError(f"{len(found)} changes; at most {CHANGES_MAX}")
        return [self._change(*each) for each in found]

    def _change(self, number: int, key: msgspec.Raw, row: msgspec.Raw) -> RowToChange:
        if not 0 <= number < len(self._tables):
            raise BadResultError(f"table {number}: there are {len(self._tables)}, from 0")
        table = self._tables[number]
        place = f"table {table.name}"
        try:
            made = None if row == _NIL else table.row.decode(bytes(row), place)
            wanted = None if key == _NIL else self._keys[number].decode(key)
        except _REFUSALS as error:
            raise BadResultError(f"{place}: {error}") from error
        if made is not None:
            own = table.key_of(made)
            if wanted != own or type(wanted) is not type(own):
                raise BadResultError(f"{place}: the row {own!r:.200} under the key {wanted!r:.200}")
        elif wanted is None:
            raise BadResultError(f"{place}: neither a key nor a row")
        return RowToChange(number, wanted, made)


def _key_decoder(table: Table) -> msgspec.msgpack.Decoder[Any]:
    types = {each.name: each.type for each in msgspec.structs.fields(table.row.type)}
    fields = tuple(types[name] for name in table.key)
    return msgspec.msgpack.Decoder(fields[0] if table.is_single else tuple[fields])  # type: ignore[valid-type]


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
