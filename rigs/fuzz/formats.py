"""What is tried with any bytes by the decoders of `transit.format`, the WAL's scan and lineage.

Each function takes bytes and decodes them. It may raise errors of transit's, and nothing else. What
decodes is encoded again: where bytes have one spelling it must be the same one, elsewhere the same
values must come back. A difference is an `AssertionError`.
"""

from __future__ import annotations

import contextlib
import struct
from array import array
from collections.abc import Sequence
from itertools import islice
from typing import Final

from rigs.fuzz.folder import written
from rigs.fuzz.reseal import FRAME_SEED, STORE
from transit.errors import CorruptError, NotFoundError, TransitError
from transit.format import frame, names
from transit.format.checksum import checksum
from transit.format.commit import (
    check_link,
    decode_commit,
    decode_format,
    encode_commit,
    encode_format,
    root_of,
)
from transit.format.cursor import check_state, decode_cursor, encode_cursor
from transit.format.digest import digest
from transit.format.head import decode_head, encode_head
from transit.format.life import decode_life, encode_life
from transit.format.lineage import (
    LineageRecord,
    Merge,
    Root,
    decode_lineage,
    encode_lineage,
)
from transit.format.record import Chunk, Columns, chunks_of, encode_chunk, measure
from transit.format.segment import (
    TAIL,
    Block,
    SegmentIndex,
    decode_block,
    decode_footer,
    decode_tail,
    encode_footer,
)
from transit.format.snapshot import covered_by, decode_snapshot, encode_snapshot
from transit.format.takeover import decode_takeover, encode_takeover
from transit.lineage.graph import Graph
from transit.lineage.policy import Request, plan, resolve_base
from transit.lineage.spans import Span
from transit.log.blocks import BlockCache
from transit.log.recover import judge_tail, scan
from transit.log.wal import Wal

PLACE: Final = "input"
_UNFOLDED_MAX: Final = 65_536
_RAW_BYTES_MAX: Final = 1024 * 1024
_STREAMS_MAX: Final = 64


def wal_header(data: bytes) -> None:
    """The header of a WAL file."""
    found = frame.decode_wal_header(data, PLACE)
    assert frame.encode_wal_header(*found) == data


def one_frame(data: bytes) -> None:
    """One frame, at the first place there is in a file."""
    position = frame.WAL_HEADER.size
    header = frame.decode_frame_header(data, 0, position, FRAME_SEED)
    if header is None or not frame.body_is_valid(header, data, 0, FRAME_SEED):
        return
    chunks = frame.frame_chunks(header, data, 0, PLACE)
    for chunk in chunks:
        chunk.check(PLACE)
    body = data[frame.FRAME_BYTES :][: header.body_bytes]
    again = frame.encode_frame(
        body,
        position,
        header.lsn,
        header.durable,
        header.records,
        header.kind,
        header.written,
        FRAME_SEED,
    )
    assert again == data[: len(again)]


def chunks(data: bytes) -> None:
    """Chunks that fill the bytes, every column of them, and the same written again."""
    for chunk in chunks_of(data, PLACE):
        chunk.check(PLACE)
        if chunk.count > _UNFOLDED_MAX:
            continue
        values = _values(chunk)
        columns = Columns(
            chunk.payloads(), measure(chunk.payloads()), list(chunk.timestamps),
            chunk.encoded_headers(), list(chunk.written) if chunk.dated else None, chunk.writer,
        )  # fmt: skip
        again = b"".join(encode_chunk(chunk.stream, chunk.first, columns))
        (copy,) = chunks_of(again, PLACE)
        copy.check(PLACE)
        assert _values(copy) == values


def _values(chunk: Chunk) -> tuple[object, ...]:
    headers = list(chunk.headers())
    payloads, times = chunk.payloads(), list(chunk.timestamps)
    last = chunk.count - 1
    assert chunk.payload(last) == payloads[last]
    assert chunk.timestamp(last) == chunk.last_timestamp == times[last]
    assert chunk.header(last) == headers[last]
    assert list(chunk.sizes()) == list(map(len, payloads))
    assert chunk.ends[last] == chunk.payload_bytes == sum(map(len, payloads))
    written = list(chunk.written)
    assert chunk.written_at(last) == chunk.last_written == written[last] >= written[0]
    assert len(written) == len(times)
    return (
        chunk.stream,
        chunk.first,
        payloads,
        times,
        written,
        chunk.writer,
        list(map(dict, headers)),
    )


def wal(data: bytes) -> None:
    """A WAL file: scanned, read by stream, and what follows its frames judged."""
    with written({"wal/00000000000000000000.wal": data}) as folder:
        opened = Wal.open(str(folder / "wal"), STORE, 0, BlockCache(_RAW_BYTES_MAX), write=False)
        if opened is None:
            return
        records = 0
        try:
            for found in scan(opened):
                records += found.header.records
                assert sum(chunk.count for chunk in found.chunks) == found.header.records
                for chunk in found.chunks:
                    opened.note(chunk.stream, chunk.first, found.header.position)
        finally:
            assert opened.tail <= len(data)
            assert opened.durable <= opened.tail
            assert opened.next_lsn == opened.first_lsn + records
            _read_wal(opened)
        judge_tail(opened)


def _read_wal(opened: Wal) -> None:
    for stream in islice(opened.index, _STREAMS_MAX):
        try:
            read = [chunk for chunk in opened.chunks(stream, 0) if chunk.count <= _UNFOLDED_MAX]
            for chunk in read:
                _values(chunk)
        except TransitError:
            # Columns are checked by the scan; what it stopped at was not.
            continue


def lineage(data: bytes) -> None:
    """A lineage record."""
    record = decode_lineage(data, 2**62)
    assert encode_lineage(record) == data
    assert record.start >= 0


def takeover(data: bytes) -> None:
    """A record of a takeover: what it says is kept, other fields are not."""
    found = decode_takeover(data, "here")
    assert decode_takeover(encode_takeover(found), "here") == found


def life(data: bytes) -> None:
    """A record of what became of a stream."""
    found = decode_life(data, 2**62)
    assert encode_life(found) == data
    assert 0 < found.stream < found.streams


def cursor(data: bytes) -> None:
    """A record of where a cursor stands."""
    found = decode_cursor(data, PLACE)
    assert encode_cursor(found) == data
    assert 0 <= found.position < 2**63
    assert check_state(found.state) == found.state


def commit(data: bytes) -> None:
    """A commit; it follows the one before it, and never itself."""
    found = decode_commit(data, PLACE)
    assert encode_commit(found) == data
    with contextlib.suppress(CorruptError):
        check_link(found, found, root_of(data), PLACE)
        raise AssertionError("a commit after itself")


def format_file(data: bytes) -> None:
    """FORMAT."""
    assert encode_format(decode_format(data, PLACE)) == data


def head(data: bytes) -> None:
    """HEAD, which raises nothing."""
    found = decode_head(data, STORE, PLACE)
    assert found is None or encode_head(STORE, found.number, found.index) == data


def snapshot(data: bytes) -> None:
    """An index snapshot, and each segment in it."""
    found = decode_snapshot(data, STORE, PLACE)
    assert encode_snapshot(found) == data
    for entry in found.segments:
        _, index = covered_by(entry, PLACE)
        _look_up(index)


def footer(data: bytes) -> None:
    """The footer of a segment, and its tail."""
    found = decode_footer(data, digest(data), PLACE)
    again = encode_footer(found)
    assert again[: -TAIL.size] == data
    assert decode_tail(again[-TAIL.size :], PLACE) == (digest(data), len(data))


def tail(data: bytes) -> None:
    """The tail of a segment."""
    stated, size = decode_tail(data, PLACE)
    assert struct.pack("<32sI", stated, size) == data[:36]


def index(data: bytes) -> None:
    """The index of a segment."""
    _look_up(SegmentIndex(data, PLACE))


def _look_up(found: SegmentIndex) -> None:
    for stream in {*found.streams[:8], 0, 1, 2**64 - 1}:
        rows = found.rows(stream)
        row = found.row_of(rows, 3)
        assert rows.start - 1 <= row < max(rows.stop, 1)
        assert all(found.stop(row) >= found.firsts[row] for row in rows[:8])
    for key in {*found.keys[:8], 0, 2**64 - 1}:
        found.find(key)


def block(data: bytes) -> None:
    """A block: 4 bytes of raw size, 1 of codec, then what is stored."""
    if len(data) < 5:
        return
    raw_bytes, codec = struct.unpack_from("<IB", data)
    stored = data[5:]
    raw_bytes %= _RAW_BYTES_MAX
    entry = Block(32, len(stored), raw_bytes, codec % 2, checksum(stored), digest(stored))
    raw = decode_block(entry, stored, PLACE)
    assert raw == stored if entry.codec == 0 else len(raw) == raw_bytes


def file_names(data: bytes) -> None:
    """Names of files and of streams, which must be the same when they are made again."""
    text = data.decode(errors="surrogateescape")
    number = names.parse_wal_name(text)
    assert number is None or names.wal_name(number) == text
    number = names.parse_commit_name(text)
    assert number is None or names.commit_name(number) == text
    name = names.parse_segment_name(text)
    assert name is None or names.segment_name(name) == text
    name = names.parse_index_name(text)
    assert name is None or names.index_name(name) == text
    assert names.check_name(text) == text
    assert names.name_key(text) == names.name_key(text)


def plans(data: bytes) -> None:
    """Lineage records, one a line, from stream 1 on: histories, bases, and plans run again."""
    records: dict[int, LineageRecord] = {0: Root(name="$lineage")}
    for stream, line in enumerate(data.split(b"\n")[:_STREAMS_MAX], 1):
        records[stream] = decode_lineage(line, stream)

    def lookup(stream: int) -> LineageRecord:
        if stream not in records:
            raise NotFoundError(f"stream {stream}")
        return records[stream]

    graph = Graph(lookup)
    for stream, record in records.items():
        history = graph.history(stream, min(record.start, _UNFOLDED_MAX))
        assert sum(span.count for span in history) <= _UNFOLDED_MAX
        if record.start:
            graph.origin(stream, record.start - 1)
            graph.canonical(stream, record.start - 1)
        if isinstance(record, Merge):
            _run_again(graph, record)


def _run_again(graph: Graph, record: Merge) -> None:
    graph.merge_bases(record.parents)
    graph.containing(record.parents)
    if sum(max(head, 0) for _, head in record.parents) > _UNFOLDED_MAX:
        return
    base = resolve_base(graph, record.parents, record.base)
    request = Request(policy=record.policy, heads=record.parents, base=base, params=record.params)
    made = plan(request, graph, _no_times)
    assert made == plan(request, graph, _no_times)


def _no_times(span: Span) -> Sequence[int]:
    return array("q", bytes(8 * span.count))
