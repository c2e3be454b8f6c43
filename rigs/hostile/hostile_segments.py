"""Hostile segments: headers, footers, blocks, indexes, chunks."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import msgspec

from transit.format.digest import digest
from transit.format.lineage import encode_lineage
from transit.format.record import CHUNK, Columns, encode_chunk
from transit.format.segment import HEADER, INDEX, Block, Extent

from .hostile import (
    CASES,
    MIB,
    OTHER,
    TIME,
    Bucket,
    Parts,
    bare_chunk,
    branch,
    case,
    chunk_of,
    chunk_root,
    in_frame,
    keys_of,
)


def changed(change: Callable[[Parts], None], place: str) -> None:
    """A case whose second segment was put together in another way."""
    name = change.__name__

    def build() -> Bucket:
        bucket = Bucket().begin()
        bucket.add([(1, 3, [b"x" * 100] * 5)], change=change)
        return bucket

    CASES[name] = (place, build)


def segment_of_another_store(parts: Parts) -> None:
    parts.store = OTHER


def segment_of_a_newer_version(parts: Parts) -> None:
    parts.version = 9


def segment_name_of_other_bytes(parts: Parts) -> None:
    parts.name = bytes(32)


def segment_cut(parts: Parts) -> None:
    parts.object = lambda data: data[:-1]


def segment_of_nothing(parts: Parts) -> None:
    parts.object = lambda data: b""


def segment_with_more_at_its_end(parts: Parts) -> None:
    parts.object = lambda data: data + b"\0" * 100


def segment_of_zeros(parts: Parts) -> None:
    parts.object = lambda data: bytes(len(data))


def footer_size_beyond_the_file(parts: Parts) -> None:
    parts.object = lambda data: data[:-16] + (60 * MIB).to_bytes(4, "little") + data[-12:]


def footer_size_of_four_gib(parts: Parts) -> None:
    parts.object = lambda data: data[:-16] + b"\xff" * 4 + data[-12:]


def footer_of_another_lsn(parts: Parts) -> None:
    parts.footer = {"first_lsn": 0}


def footer_of_another_store(parts: Parts) -> None:
    parts.footer = {"store_id": OTHER}


def footer_of_other_totals(parts: Parts) -> None:
    parts.footer = {"records": 2**63}


def footer_of_other_times(parts: Parts) -> None:
    parts.footer = {"time_first": -(2**63)}


def both_say_other_times(parts: Parts) -> None:
    parts.footer = {"time_first": 0}
    parts.ref = {"time": (0, TIME)}


def both_say_other_times_of_writing(parts: Parts) -> None:
    parts.footer = {"written_first": 0}
    parts.ref = {"written": (0, TIME)}


def written_at_no_time(parts: Parts) -> None:
    parts.raws = [in_frame(1, 3, [b"x"])]
    parts.records = 1


def written_backwards(parts: Parts) -> None:
    parts.raws = [CHUNK.pack(1, 3, 2, 1, 0, 0, 1, TIME, 0, 0, 0) + b"\xff"]
    parts.extents = [Extent(1, 3, TIME - 1, 2, 0, 0)]
    parts.records = 2
    parts.footer = {"time_first": TIME - 1, "written_first": TIME - 1}
    parts.ref = {"time": (TIME - 1, TIME), "written": (TIME - 1, TIME)}


def written_past_the_end_of_time(parts: Parts) -> None:
    head = CHUNK.pack(1, 3, 2, 0, 0, 0, 2, TIME, 0, 0, 0)
    parts.raws = [head + (2**63 - 1).to_bytes(8, "little") + b"\1\1"]
    parts.extents = [Extent(1, 3, 2**63 - 1, 2, 0, 0)]
    parts.records = 2


def written_by_nobody(parts: Parts) -> None:
    parts.raws = [CHUNK.pack(1, 3, 1, 0, 0, 0, 5, TIME, 0, 0, 0) + b"\0"]
    parts.extents = [Extent(1, 3, TIME, 1, 0, 0)]
    parts.records = 1


def block_states_a_gibibyte(parts: Parts) -> None:
    parts.entries = entry(raw_bytes=1024 * MIB)


def block_of_another_digest(parts: Parts) -> None:
    parts.entries = entry(digest=bytes(32))


def block_of_another_checksum(parts: Parts) -> None:
    parts.entries = entry(checksum=1)


def block_of_an_unknown_codec(parts: Parts) -> None:
    parts.entries = entry(codec=7)


def block_elsewhere(parts: Parts) -> None:
    parts.entries = entry(position=2**63)


def block_over_the_header(parts: Parts) -> None:
    parts.entries = entry(position=0)


def block_of_no_bytes(parts: Parts) -> None:
    parts.entries = entry(stored_bytes=0)


def block_not_a_zstd_frame(parts: Parts) -> None:
    noise = b"".join(digest(b"%d" % n) for n in range(5))
    one_chunk(parts, 1, 3, noise)
    parts.entries = entry(codec=1)


def entry(**changes: object) -> Callable[[list[Block]], list[Block]]:
    return lambda blocks: [msgspec.structs.replace(blocks[0], **changes), *blocks[1:]]


def a_bomb_of_300_mib(parts: Parts) -> None:
    parts.raws = [bytes(300 * MIB)]


def a_bomb_behind_a_chunk(parts: Parts) -> None:
    parts.raws = [parts.raws[0] + bytes(300 * MIB)]


def a_bomb_of_headers(parts: Parts) -> None:
    one_chunk(parts, 1, 3)
    size = 300 * MIB
    parts.raws = [CHUNK.pack(1, 3, 1, 0, 0, 0, 1, TIME, 1, size, 1) + bytes(size + 1)]


def a_bomb_of_columns(parts: Parts) -> None:
    count = 2**22
    size = 12 * count - 8
    parts.raws = [CHUNK.pack(1, 3, count, 8, 4, 0, 1, TIME, 0, 0, 0) + bytes(size)]
    parts.extents = [Extent(1, 3, 0, count, 0, 0)]
    parts.records = count


def bombs_of_20_mib(parts: Parts) -> None:
    parts.raws = [bytes(20 * MIB)] * 10


def an_index_bomb(parts: Parts) -> None:
    parts.index = bytes(300 * MIB)


def an_index_of_rows_that_are_not_there(parts: Parts) -> None:
    parts.index = (1_900_000).to_bytes(4, "little") + bytes(4 + 36 * 1_900_000)


def an_index_of_rows_that_all_say_they_are_there(parts: Parts) -> None:
    an_index_of_rows_that_are_not_there(parts)
    parts.records = 1_900_003


def an_index_of_rows_in_order(parts: Parts) -> None:
    """Each is a record of stream 1, and none is where it says."""
    count = 1_900_000
    columns = [
        array("Q", [1]) * count, array("Q", range(3, 3 + count)), array("q", [TIME]) * count,
        array("I", [1]) * count, array("I", [0]) * count, array("I", [48]) * count,
    ]  # fmt: skip
    parts.index = b"".join([INDEX.pack(count, 0), *(column.tobytes() for column in columns)])
    parts.records = count


def an_index_of_keys_that_are_not_there(parts: Parts) -> None:
    parts.index = bytes(4) + (5_000_000).to_bytes(4, "little") + bytes(16 * 5_000_000)


def footer_of_a_million_blocks(parts: Parts) -> None:
    def million(blocks: list[Block]) -> list[Block]:
        last = blocks[-1]
        nothing = Block(last.position, 0, 1, 1, 0, bytes(32))
        return [*blocks[:-1], *[nothing] * 900_000, last]

    parts.entries = million


def footer_of_a_million_blocks_that_fit(parts: Parts) -> None:
    """Nine bytes each, as many as the smallest frame of zstd has."""
    start, count = HEADER.size, 900_000
    parts.raws = []
    parts.records = count
    parts.object = lambda data: data[:start] + bytes(9 * count) + data[start:]
    parts.entries = lambda blocks: [
        *(Block(start + 9 * n, 9, 48, 1, 0, bytes(32)) for n in range(count)),
        msgspec.structs.replace(blocks[0], position=start + 9 * count),
    ]


def footer_of_a_million_blocks_without_an_index(parts: Parts) -> None:
    footer_of_a_million_blocks_that_fit(parts)
    parts.index = b"\xff" * 8


def footer_of_empty_blocks(parts: Parts) -> None:
    def many(blocks: list[Block]) -> list[Block]:
        last = blocks[-1]
        return [*blocks[:-1], *[Block(last.position, 0, 1, 1, 0, bytes(32))] * 40_000, last]

    parts.entries = many


def index_of_another_place(parts: Parts) -> None:
    parts.extents = [msgspec.structs.replace(extent, position=1) for extent in parts.extents]


def index_of_another_time(parts: Parts) -> None:
    parts.extents = [msgspec.structs.replace(extent, last_written=1) for extent in parts.extents]


def index_with_a_row_more(parts: Parts) -> None:
    parts.extents = [*parts.extents, Extent(2**64 - 1, 2**64 - 1, 2**63 - 1, 1, 2**32 - 1, 0)]


def index_without_rows(parts: Parts) -> None:
    parts.extents = []


def index_with_a_key_more(parts: Parts) -> None:
    parts.keys = [(1, 2)]


def index_of_two_bytes(parts: Parts) -> None:
    parts.index = b"\0\0"


def chunks_out_of_order(parts: Parts) -> None:
    first, second = chunk_of(1, 4, [b"b"]), chunk_of(1, 3, [b"a"])
    parts.raws = [first + second]
    parts.extents = [Extent(1, 4, TIME, 1, 0, 0), Extent(1, 3, TIME, 1, 0, len(first))]
    parts.records = 2


def chunk_that_ends_beyond_its_block(parts: Parts) -> None:
    parts.raws = [parts.raws[0][:-1]]


def chunk_without_a_header(parts: Parts) -> None:
    parts.raws = [b"\0" * 47]


def chunk_of_nothing_known(parts: Parts) -> None:
    parts.raws = [b"\xff" * 4096]


def bare(parts: Parts, chunks: int, table: bytes = b"", stream: int = 1) -> None:
    """Chunks of four million empty records each."""
    count = 2**22
    size = len(bare_chunk(1, 0, count, table))
    parts.raws = [b"".join(bare_chunk(stream, 3 + n * count, count, table) for n in range(chunks))]
    parts.extents = [Extent(stream, 3 + n * count, TIME, count, 0, n * size) for n in range(chunks)]
    parts.records = chunks * count


def header_tables_of_junk(parts: Parts) -> None:
    bare(parts, 10_000, b'[{"k":1}]')


def header_tables_of_two(parts: Parts) -> None:
    bare(parts, 10, b"[{},{}]")


def header_table_of_millions_of_nothings(parts: Parts) -> None:
    table = b"[" + b"{}," * 4_000_000 + b"{}]"
    chunk = CHUNK.pack(1, 3, 2, 0, 0, 1, 1, TIME, 0, len(table), 0) + b"\0\1" + table
    parts.raws = [chunk]
    parts.extents = [Extent(1, 3, TIME, 2, 0, 0)]
    parts.records = 2


def header_table_of_millions_for_all(parts: Parts) -> None:
    bare(parts, 1, b"[" + b"{}," * 4_000_000 + b"{}]")


def times_of_millions(parts: Parts) -> None:
    count = 2**22
    parts.raws = [CHUNK.pack(1, 3, count, 1, 0, 0, 1, TIME, 0, 0, 0) + b"\1" * (count - 1)]
    parts.extents = [Extent(1, 3, TIME + count - 1, count, 0, 0)]
    parts.records = count
    parts.footer = {"time_last": TIME + count - 1, "written_last": TIME + count - 1}
    parts.ref = {"time": (TIME, TIME + count), "written": (TIME, TIME + count - 1)}


def index_of_a_block_that_is_not_there(parts: Parts) -> None:
    parts.extents = [msgspec.structs.replace(extent, block=7) for extent in parts.extents]


def index_of_the_index(parts: Parts) -> None:
    parts.extents = [msgspec.structs.replace(extent, block=1) for extent in parts.extents]


def header_table_nested(parts: Parts) -> None:
    bare(parts, 1, b"[" * 100_000)


def lineage_of_millions_of_empty_records(parts: Parts) -> None:
    bare(parts, 5_000, stream=0)


def stream_gap(parts: Parts) -> None:
    one_chunk(parts, 1, 4)


def stream_repeats(parts: Parts) -> None:
    one_chunk(parts, 1, 2)


def stream_unknown(parts: Parts) -> None:
    one_chunk(parts, 77, 0)


def stream_at_the_end_of_numbers(parts: Parts) -> None:
    one_chunk(parts, 2**64 - 1, 2**64 - 1)


def one_chunk(parts: Parts, stream: int, first: int, payload: bytes = b"x") -> None:
    parts.raws = [chunk_of(stream, first, [payload])]
    parts.extents = [Extent(stream, first, TIME, 1, 0, 0)]
    parts.records = 1


def root_of_other_chunks(parts: Parts) -> None:
    parts.ref = {"chunks": "12" * 32}


def root_of_no_chunks(parts: Parts) -> None:
    parts.ref = {"chunks": chunk_root([])}


def root_of_the_segment_before(parts: Parts) -> None:
    parts.ref = {"chunks": Bucket().begin().commits[0].segments[0].chunks}


def root_of_all_but_the_last_chunk(parts: Parts) -> None:
    parts.raws = [chunk_of(1, 3, [b"x"]), chunk_of(1, 4, [b"y"])]
    parts.extents = [Extent(1, 3, TIME, 1, 0, 0), Extent(1, 4, TIME, 1, 1, 0)]
    parts.records = 2
    parts.ref = {"chunks": chunk_root(parts.raws[:1])}


def lineage_with_headers(parts: Parts) -> None:
    record = encode_lineage(branch("b", 1, 0))
    columns = Columns([record], len(record), TIME, b'{"k":"v"}', TIME)
    parts.raws = [b"".join(encode_chunk(0, 2, columns))]
    parts.extents = [Extent(0, 2, TIME, 1, 0, 0)]
    parts.keys = sorted(keys_of(2, branch("b", 1, 0)))
    parts.records = 1


for _change in (
    root_of_other_chunks, root_of_no_chunks, root_of_the_segment_before,
    root_of_all_but_the_last_chunk, lineage_with_headers,
    segment_of_another_store, segment_of_a_newer_version, segment_name_of_other_bytes, segment_cut,
    segment_of_nothing, segment_with_more_at_its_end, segment_of_zeros, footer_size_beyond_the_file,
    footer_size_of_four_gib, footer_of_another_lsn, footer_of_another_store, footer_of_other_totals,
    footer_of_other_times, both_say_other_times, both_say_other_times_of_writing,
    written_at_no_time, written_backwards, written_past_the_end_of_time, written_by_nobody,
    block_states_a_gibibyte, block_of_another_digest,
    block_of_another_checksum, block_of_an_unknown_codec, block_elsewhere, block_over_the_header,
    block_of_no_bytes, block_not_a_zstd_frame, a_bomb_of_300_mib, a_bomb_behind_a_chunk,
    a_bomb_of_headers, a_bomb_of_columns, bombs_of_20_mib, an_index_bomb,
    an_index_of_rows_that_are_not_there, an_index_of_rows_that_all_say_they_are_there,
    an_index_of_rows_in_order,
    an_index_of_keys_that_are_not_there, footer_of_a_million_blocks,
    footer_of_a_million_blocks_that_fit, footer_of_a_million_blocks_without_an_index,
    footer_of_empty_blocks,
    index_of_another_place, index_of_another_time, index_with_a_row_more, index_without_rows,
    index_with_a_key_more, index_of_two_bytes, chunks_out_of_order,
    chunk_that_ends_beyond_its_block, chunk_without_a_header, chunk_of_nothing_known,
    header_tables_of_junk, header_tables_of_two, header_table_nested,
    header_table_of_millions_of_nothings, header_table_of_millions_for_all, times_of_millions,
    index_of_a_block_that_is_not_there, index_of_the_index,
    lineage_of_millions_of_empty_records, stream_gap, stream_repeats, stream_unknown,
    stream_at_the_end_of_numbers,
):  # fmt: skip
    changed(_change, "segments/")


@case("ok")
def chunks_of_billions_of_empty_records() -> Bucket:
    bucket = Bucket().begin()
    bucket.add([(1, 3, [b""])], change=lambda parts: bare(parts, 20_000))
    return bucket


@case("segments/")
def streams_out_of_order() -> Bucket:
    bucket = Bucket().begin(branch("b", 1, 0))

    def change(parts: Parts) -> None:
        first, second = chunk_of(2, 1, [b"b"]), chunk_of(1, 3, [b"a"])
        parts.raws = [first + second]
        parts.extents = [Extent(2, 1, TIME, 1, 0, 0), Extent(1, 3, TIME, 1, 0, len(first))]
        parts.records = parts.streams = 2

    bucket.add([(1, 3, [b""])], change=change)
    return bucket
