"""What hostile bytes once did: each of these failed before it was repaired."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from rigs.hostile.hostile import TIME, Bucket, Parts, Shelf, bare_chunk, branch, merge
from transit.cli.exchange import RecordEntry, appendable
from transit.cli.failures import CommandError
from transit.errors import CorruptError, InvalidInputError
from transit.format import headers
from transit.format.checksum import wal_seed
from transit.format.frame import MARK, encode_frame
from transit.format.record import CHUNK, COUNT_MAX, Chunk, Columns, chunks_of, encode_chunk
from transit.format.segment import Extent
from transit.log import recover
from transit.log.catalog import Catalog, View
from transit.tier.restore import needed_segments
from transit.trace.events import Unknown, decode_event
from transit.trace.packing import Packing
from transit.trace.parts import REFERRED_BYTES_MAX, KnownParts
from transit.trace.unpacking import HistoryParts

MIB = 1024 * 1024


def grown(call: Callable[[], object]) -> int:
    """By how many bytes Python's memory grew at most during a call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def only(data: bytes) -> Chunk:
    (chunk,) = chunks_of(data, "here")
    return chunk


# Chunks


def test_checking_a_chunk_of_millions_that_take_no_bytes_takes_no_memory() -> None:
    chunk = only(bare_chunk(1, 0, COUNT_MAX))
    assert grown(lambda: chunk.check("here")) < 64 * 1024


def test_what_was_read_of_such_a_chunk_is_not_kept() -> None:
    chunk = only(bare_chunk(1, 0, COUNT_MAX))
    tracemalloc.start()
    assert len(chunk.timestamps) == len(chunk.sizes()) == len(chunk.ends) == COUNT_MAX
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 64 * 1024


def test_what_was_read_of_a_chunk_with_payloads_is_kept() -> None:
    data = b"".join(encode_chunk(1, 0, Columns([b"x"] * 100, 1, TIME, None)))
    chunk = only(data)
    assert chunk.timestamps is chunk.timestamps
    assert chunk.sizes() is chunk.sizes()
    assert chunk.ends is chunk.ends


def test_checking_a_large_header_table_takes_little_memory() -> None:
    table = b"[" + b"{}," * MIB + b"{}]"
    count = MIB + 1
    head = CHUNK.pack(1, 0, count, 0, 0, 1, 0, TIME, 0, len(table), 0)
    chunk = only(head + bytes(count) + table)
    assert grown(lambda: chunk.check("here")) < 16 * MIB


def test_more_header_entries_than_records_are_refused() -> None:
    for entries in (3, 200_000):
        table = b"[" + b"{}," * (entries - 1) + b"{}]"
        data = CHUNK.pack(1, 0, 2, 0, 0, 1, 0, TIME, 0, len(table), 0) + b"\0\1" + table
        with pytest.raises(CorruptError):
            only(data).check("here")


def test_reading_headers_of_a_large_table_with_too_many_entries_takes_little_memory() -> None:
    table = b"[" + b"{}," * MIB + b"{}]"
    for width, count in ((0, 1), (1, 2)):
        head = CHUNK.pack(1, 0, count, 0, 0, width, 0, TIME, 0, len(table), 0)
        chunk = only(head + bytes(width * count) + table)

        def read(chunk: Chunk = chunk) -> None:
            with pytest.raises(CorruptError):
                chunk.header(0)

        assert grown(read) < 16 * MIB


def test_large_header_tables_are_those_that_would_decode() -> None:
    chance = random.Random(5)
    seeds = [
        b'[{"a":"b"},{"c":"d\\n","e":"\xc3\xa4"}]', b'[ {} , { "x" : "\\ud83d\\ude00" } ]',
        b'[{"k":"\\u0041\\/"},{},{"":""}]', b' [{"a":"1","a":"2"}] ', b'[{"a":1}]', b"[]",
        b'[{"a":"\\ud800"}]', b"[{ }]",
    ]  # fmt: skip
    letters = b'[]{}",:\\u dD890afx\n\t\x00\x7f\xc3\xa4\xff/bn'
    tables = 0
    for _ in range(20_000):
        table = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            at = chance.randrange(len(table) + 1)
            table[at : at + chance.choice((0, 1))] = bytes([chance.choice(letters)])
        try:
            expected = len(headers.decode_table(bytes(table), "here"))
        except CorruptError:
            expected = 0
        assert headers.count_table(bytes(table), 1000) == expected, table
        tables += expected > 0
    assert tables > 1000


def test_times_of_many_records_take_eight_bytes_each_and_stay_within_64_bits() -> None:
    count = 100_000
    head = CHUNK.pack(1, 0, count, 1, 0, 0, 0, TIME, 0, 0, 0)
    chunk = only(head + b"\1" * (count - 1))
    assert grown(lambda: chunk.timestamps) < 16 * count
    assert list(chunk.timestamps) == list(range(TIME, TIME + count))
    head = CHUNK.pack(1, 0, count, 1, 0, 0, 0, 2**63 - 5, 0, 0, 0)
    late = only(head + b"\1" * (count - 1))
    with pytest.raises(CorruptError):
        late.check("here")
    with pytest.raises(CorruptError):
        len(late.timestamps)


# Restore


def stating(size: int) -> Shelf:
    """A bucket whose last commit says that a segment has this size."""

    def change(parts: Parts) -> None:
        parts.ref = {"bytes": size}

    bucket = Bucket().begin().grow(1)
    bucket.add([(1, 6, [b"x"])], change=change)
    return bucket.shelf


@pytest.mark.parametrize("size", [0, 1, 2**62])
def test_a_restore_is_told_of_sizes_that_cannot_be(size: int, tmp_path: Path) -> None:
    with pytest.raises(CorruptError):
        transit.restore(stating(size), tmp_path / "a")


def test_an_object_of_no_bytes_is_asked_for_by_nobody(tmp_path: Path) -> None:
    store = stating(0)
    transit.restore(store, tmp_path / "a", lazy=True, at=1)
    with pytest.raises(CorruptError):
        transit.restore(store, tmp_path / "b", lazy=True)


def test_an_index_that_names_blocks_that_are_not_there_is_refused(tmp_path: Path) -> None:
    def change(parts: Parts) -> None:
        parts.extents = [Extent(1, 3, TIME, 1, 7, 0)]

    bucket = Bucket().begin()
    bucket.add([(1, 3, [b"x"])], change=change)
    transit.restore(bucket.shelf, tmp_path / "a")
    with transit.open(tmp_path / "a", mode="read") as log, pytest.raises(CorruptError):
        list(log.stream("one").read())


class _Lookup(Catalog):
    """Lineage records alone, which counts how often each is asked for."""

    def __init__(self, records: dict[int, object]) -> None:
        self.records = records
        self.asked = 0
        self.root = "here"
        self.view = View((), ())
        self.keys = None

    def find(self, name: str) -> int | None:
        return max(self.records)

    def state(self, stream: int) -> object:  # type: ignore[override]
        return type("State", (), {"next_offset": 2**40})

    def record(self, stream: int) -> object:  # type: ignore[override]
        self.asked += 1
        return self.records[stream]


def test_each_stream_that_a_restore_needs_is_looked_at_once() -> None:
    falling = [number for n in range(300, 0, -1) for number in (1, n, 1)]
    records: dict[int, object] = {0: Bucket.own(), 1: Bucket.named("one")}
    for n in range(2, 40):
        plan = [number for k in range(300, 0, -1) for number in (n - 1, k, 1)] if n > 2 else falling
        records[n] = merge(f"m{n}", [(1, 0), (n - 1, 0)], plan)
    records[40] = branch("b", 39, 5)
    catalog = _Lookup(records)
    assert needed_segments(catalog, ["b"], "memory://") == []
    assert catalog.asked <= len(records)


# Traces


def test_half_a_surrogate_pair_in_the_name_of_a_member_makes_an_event_unknown() -> None:
    for payload in (b'{"event":"\\ud800"}', b'{"event":"message","message":1,"\\ud800":1}'):
        assert isinstance(decode_event(payload), Unknown)


def history(*payloads: bytes) -> HistoryParts:
    made = HistoryParts(None)  # type: ignore[arg-type]
    for payload in payloads:
        made.add(payload)
    return made


def test_half_a_surrogate_pair_in_a_packed_value_makes_it_somebody_elses() -> None:
    assert history(b'{"parts":[]}').unpack(0, {"data": {"val\ud800ue": 3}}, "here") is None


LARGE = b'{"parts":["' + b"x" * MIB + b'"]'


@pytest.mark.parametrize(
    ("more", "form"),
    [
        (b"}", {"list": [0] * 1000}),
        (b',"lists":[[-1,[' + b"[0,1]," * 999 + b"[0,1]]]]}", {"items": 0}),
        (b',"lists":[[-1,[[0,1]]]' + b"".join(b",[%d,[[0,1]]]" % n for n in range(999)) + b"]}",
         {"items": 999}),
    ],
)  # fmt: skip
def test_a_few_bytes_do_not_stand_for_gigabytes(more: bytes, form: object) -> None:
    made = history(LARGE + more)
    with pytest.raises(CorruptError, match="more than"):
        made.unpack(0, {"data": form}, "here")


class _Stream:
    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def read(self, start: int) -> list[object]:
        return [type("Record", (), {"payload": self._payload})]


def test_a_writer_does_not_follow_lists_of_more_parts_than_it_would_write() -> None:
    parts = b",".join(b"%d" % n for n in range(10_000))
    lists = b",".join(b"[-1,[" + b"[0,10000]," * 99 + b"[0,10000]]]" for _ in range(50))
    known = KnownParts()
    known.catch_up(_Stream(b'{"parts":[%b],"lists":[%b]}' % (parts, lists)))  # type: ignore[arg-type]
    assert known.lists.digests == [b"?"] * 50


def test_a_writer_refuses_what_a_reader_would() -> None:
    message = {"role": "user", "content": "x" * MIB}
    few = Packing(KnownParts())
    few.pack([message] * 100)
    many = Packing(KnownParts())
    with pytest.raises(InvalidInputError, match=str(REFERRED_BYTES_MAX)):
        many.pack([message] * 200)


# The command


def test_a_time_without_end_in_an_import_is_told_with_its_line() -> None:
    entry = RecordEntry(stream="one", payload="x", timestamp="9" * 400 + "d")
    with pytest.raises(CommandError, match="line 3"):
        appendable(entry, "line 3")


# The WAL


def test_a_wal_file_of_terabytes_that_take_no_space_is_damage(tmp_path: Path) -> None:
    with transit.open(tmp_path / "a") as log:
        log.create("s")
    (wal,) = (tmp_path / "a" / "wal").iterdir()
    os.truncate(wal, 1 << 42)
    with pytest.raises(CorruptError, match="rest of one frame"):
        transit.open(tmp_path / "a")


@pytest.mark.parametrize("at", [100, recover.SCAN_BYTES - 30, recover.SCAN_BYTES - 8, 3 << 20])
def test_a_frame_that_vouches_is_found_wherever_it_lies(tmp_path: Path, at: int) -> None:
    with transit.open(tmp_path / "a") as log:
        log.create("s")
    (path,) = (tmp_path / "a" / "wal").iterdir()
    data = path.read_bytes()
    head = data[:64]
    at += -(len(data) + at) % 8
    position = len(data) + at
    seed = wal_seed(head[16:32], int.from_bytes(head[32:40], "little"))
    later = encode_frame(b"", position, 9, position, 0, MARK, 0, seed)
    path.write_bytes(data + b"\1" * at + later)
    with pytest.raises(CorruptError, match=f"damage before byte {position}"):
        transit.open(tmp_path / "a")
