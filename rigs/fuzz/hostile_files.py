"""Hostile files in a store's folder, and what is done to them in a process of its own.

Each case is the files of a folder, in which checksums and digests are right unless they are what is
wrong, and the errors one of which opening, reading or verifying it must end with: "ok" where the
bytes mean something, or are derived and done without.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import transit
from rigs.fuzz.reseal import one_frame
from rigs.hostile.hostile import (
    OTHER,
    STORE,
    TIME,
    Bucket,
    bare_chunk,
    branch,
    in_frame,
    merge,
)
from transit.format.checksum import checksum, wal_seed
from transit.format.commit import encode_format
from transit.format.frame import DATA, END, MARK, encode_frame, encode_wal_header
from transit.format.lineage import LINEAGE_RECORD, LineageRecord, encode_lineage
from transit.format.record import CHUNK, COUNT_MAX

MIB = 1024 * 1024
FIRST_WAL = "wal/00000000000000000000.wal"

Files = dict[str, bytes]
CASES: dict[str, tuple[set[str], Callable[[], Files]]] = {}
CORRUPT = {"CorruptError"}
OK = {"ok"}


def case(*outcomes: str) -> Callable[[Callable[[], Files]], Callable[[], Files]]:
    """Take a function into `CASES` by its name."""

    def add(build: Callable[[], Files]) -> Callable[[], Files]:
        CASES[build.__name__] = (set(outcomes), build)
        return build

    return add


def add_wals(outcomes: set[str], bodies: dict[str, Sequence[tuple[bytes, int]]]) -> None:
    """Cases of one WAL file: bodies of frames, with the counts of records that headers state."""
    for name, frames in bodies.items():
        CASES[name] = (outcomes, lambda frames=frames: wal_files(frames))  # type: ignore[misc]


def lineage_body(*records: LineageRecord | bytes, first: int = 0) -> tuple[bytes, int]:
    payloads = [r if isinstance(r, bytes) else encode_lineage(r) for r in records]
    return in_frame(0, first, payloads), len(payloads)


UID = b'"uid":"%s"' % (b"12" * 16)
START = lineage_body(LINEAGE_RECORD, Bucket.named("one"))


def wal(
    frames: Sequence[tuple[bytes, int]], kinds: dict[int, int] | None = None, first: int = 0
) -> bytes:
    """A WAL file of frames, `START` before them; kinds: of frames that are not data, by place."""
    data, lsn, seed = encode_wal_header(STORE, first), first, wal_seed(STORE, first)
    for place, (body, records) in enumerate([START, *frames]):
        kind = (kinds or {}).get(place, DATA)
        data += encode_frame(body, len(data), lsn, 0, records, kind, TIME, seed)
        lsn += records
    return data


def folder(data: bytes, **others: bytes) -> Files:
    return {"FORMAT": encode_format(STORE), FIRST_WAL: data, **others}


def wal_files(frames: Sequence[tuple[bytes, int]]) -> Files:
    return folder(wal(frames))


def table_chunk(table: bytes, entries: int, count: int = 1) -> bytes:
    """A chunk of empty records, each with the first of a table's entries."""
    width = 1 if entries > 1 else 0
    head = CHUNK.pack(1, 0, count, 0, 0, width, 0, TIME, 0, len(table), 0)
    return head + bytes(width * count) + table


def times_chunk(width: int, count: int, time: int, step: int) -> bytes:
    column = step.to_bytes(width, "little", signed=True) * (count - 1)
    return CHUNK.pack(1, 0, count, width, 0, 0, 0, time, 0, 0, 0) + column


# WAL files whose bytes mean something

MANY = COUNT_MAX
add_wals(
    OK,
    {
        "millions_of_records_in_a_hundred_bytes": [(bare_chunk(1, 0, MANY, flags=0), MANY)],
        "billions_of_records_in_many_frames": [
            (bare_chunk(1, n * MANY, MANY, flags=0), MANY) for n in range(500)
        ],
        "as_many_headers_as_records": [
            (table_chunk(b"[" + b"{}," * 299_999 + b"{}]", 2, 300_000), 300_000)
        ],
        "a_header_of_six_mebibytes": [(table_chunk(b'[{"k":"' + b"x" * 6 * MIB + b'"}]', 1), 1)],
        "four_million_different_times": [(times_chunk(1, MANY, TIME, 1), MANY)],
        "frames_of_one_record_by_the_thousand": [(in_frame(1, n, [b""]), 1) for n in range(20_000)],
    },
)


@case("ok")
def billions_of_records_of_many_streams_in_one_frame() -> Files:
    roots = [Bucket.named(f"s{n}") for n in range(2, 1000)]
    body = b"".join(bare_chunk(n, 0, MANY, flags=0) for n in range(2, 1000))
    return wal_files([lineage_body(*roots, first=2), (body, 998 * MANY & 0xFFFF_FFFF)])


@case("ok")
def a_chain_of_ten_thousand_branches() -> Files:
    records = [branch(f"b{n}", n - 1, 2) for n in range(2, 10_000)]
    return wal_files([(in_frame(1, 0, [b"a"] * 3), 3), lineage_body(*records, first=2)])


# WAL files whose contents cannot be

add_wals(
    CORRUPT,
    {
        "a_count_of_four_billion": [(CHUNK.pack(1, 0, 2**32 - 1, *[0] * 8), 2**32 - 1)],
        "a_count_of_nothing": [(CHUNK.pack(1, 0, 0, *[0] * 8), 0)],
        "a_count_that_is_not_the_frames": [(in_frame(1, 0, [b"a", b"b"]), 3)],
        "a_chunk_of_exabytes": [(CHUNK.pack(1, 0, 1, 0, 0, 0, 0, TIME, 0, 0, 2**63), 1)],
        "sizes_that_do_not_add_up": [
            (CHUNK.pack(1, 0, 9, 0, 0, 0, 0, TIME, 7, 0, 7) + b"x" * 7, 9)
        ],
        "a_table_of_four_gibibytes": [(CHUNK.pack(1, 0, 1, 0, 0, 0, 0, TIME, 0, 2**32 - 1, 0), 1)],
        "a_table_nested_deep": [(table_chunk(b"[" * 100_000, 1), 1)],
        "a_header_table_of_millions_of_nothings": [
            (table_chunk(b"[" + b"{}," * 4_000_000 + b"{}]", 2), 1)
        ],
        "a_large_table_nested_deep": [(table_chunk(b'[{"a":' + b"[" * 4 * MIB, 1), 1)],
        "a_large_table_of_numbers": [(table_chunk(b"[" + b"1," * MIB + b"1]", 2), 1)],
        "a_table_with_more_than_one_for_all": [(table_chunk(b"[{},{}]", 1), 1)],
        "entries_beyond_the_table": [
            (CHUNK.pack(1, 0, 2, 0, 0, 1, 0, TIME, 0, 4, 0) + b"\0\1[{}]", 2)
        ],
        "times_beyond_64_bits": [(times_chunk(4, 9, 2**63 - 5, 2**31 - 1), 9)],
        "widths_of_three": [(CHUNK.pack(1, 0, 1, 3, 3, 3, 0, TIME, 0, 0, 0), 1)],
        "two_chunks_of_one_stream": [(in_frame(1, 0, [b"a"]) + in_frame(1, 1, [b"b"]), 2)],
        "half_a_chunk": [(in_frame(1, 0, [b"a"]) + b"\1" * 20, 1)],
        "a_gap_in_a_stream": [(in_frame(1, 5, [b"a"]), 1)],
        "a_stream_of_nobody": [(in_frame(77, 0, [b"a"]), 1)],
        "a_stream_at_the_end_of_numbers": [(in_frame(2**64 - 1, 2**64 - 1, [b"a"]), 1)],
        "lineage_that_is_no_json": [lineage_body(b"\0" * 30, first=2)],
        "lineage_nested_deep": [lineage_body(b'{"kind":' + b"[" * 100_000, first=2)],
        "lineage_of_tomorrow": [lineage_body(b'{"kind":"tombstone","name":"a",%s}' % UID, first=2)],
        "lineage_of_millions_of_nothings": [(bare_chunk(0, 2, MANY, flags=0), MANY)],
        "a_branch_of_itself": [
            lineage_body(b'{"fork":0,"kind":"branch","name":"b","parent":2,%s}' % UID, first=2)
        ],
        "a_branch_of_its_child": [
            lineage_body(b'{"fork":0,"kind":"branch","name":"b","parent":3,%s}' % UID, first=2)
        ],
        "a_stream_without_a_uid": [lineage_body(b'{"kind":"root","name":"b"}', first=2)],
        "two_streams_of_one_uid": [
            lineage_body(branch("b", 1, -1, "12" * 16), branch("c", 1, -1, "12" * 16), first=2)
        ],
        "a_stream_with_the_uid_of_an_earlier_one": [
            lineage_body(branch("b", 1, -1, Bucket.named("one").uid), first=2)
        ],
        "a_merge_of_a_million_parents": [
            lineage_body(
                b'{"base":null,"kind":"merge","merge_id":"m","name":"m","params":{},"parents":['
                + b",".join(b"[%d,-1]" % n for n in range(1, 1_000_001))
                + b'],"plan":[],"policy":"append",%s,"version":1}' % UID,
                first=2,
            )
        ],
    },
)


add_wals(
    {"CorruptError", "OffsetError", "NotFoundError"},
    {
        "a_branch_beyond_its_parent": [lineage_body(branch("b", 1, 2**60), first=2)],
        "a_plan_beyond_its_streams": [
            lineage_body(branch("b", 1, -1), merge("m", [(1, -1), (2, -1)], [1, 0, 2**60]), first=2)
        ],
        "two_streams_of_one_name": [
            lineage_body(Bucket.named("two"), branch("two", 1, -1), first=2)
        ],
    },
)


@case("CorruptError")
def a_frame_that_states_four_gibibytes() -> Files:
    data = bytearray(wal([(in_frame(1, 0, [b"x" * 600]), 1)]))
    at = len(wal([]))
    data[at + 4 : at + 8] = b"\xff" * 4
    seed = wal_seed(STORE, 0)
    data[at + 48 : at + 56] = checksum(bytes(data[at : at + 48]), seed).to_bytes(8, "little")
    return folder(bytes(data) + encode_frame(b"", len(data), 9, len(data), 0, MARK, TIME, seed))


@case("CorruptError")
def a_frame_copied_behind_itself() -> Files:
    data = wal([(in_frame(1, 0, [b"a"]), 1)])
    return folder(data + data[len(wal([])) :])


@case("CorruptError")
def frames_after_the_end() -> Files:
    return folder(wal([(b"", 0), (in_frame(1, 0, [b"a"]), 1)], {1: END}))


@case("CorruptError")
def a_mark_with_records() -> Files:
    return folder(wal([(in_frame(1, 0, [b"a"]), 1)], {1: MARK}))


@case("CorruptError")
def a_kind_of_tomorrow() -> Files:
    return folder(wal([(in_frame(1, 0, [b"a"]), 1)], {1: 7}))


@case("CorruptError")
def an_lsn_that_jumps() -> Files:
    data = bytearray(wal([(in_frame(1, 0, [b"a"]), 1)]))
    at = len(wal([]))
    data[at + 16] = 99
    one_frame(data, at, at, wal_seed(STORE, 0))
    return folder(bytes(data))


@case("ok")
def durable_beyond_everything() -> Files:
    data = bytearray(wal([(in_frame(1, 0, [b"a"]), 1)]))
    at = len(wal([]))
    data[at + 24 : at + 32] = b"\xff" * 8
    one_frame(data, at, at, wal_seed(STORE, 0))
    return folder(bytes(data))


@case("CorruptError")
def a_wal_of_another_store() -> Files:
    return folder(encode_wal_header(OTHER, 0))


@case("CorruptError")
def a_wal_of_another_lsn() -> Files:
    return folder(encode_wal_header(STORE, 7))


@case("CorruptError")
def a_wal_far_ahead() -> Files:
    return folder(wal([]), **{"wal/00000000000000000900.wal": encode_wal_header(STORE, 900)})


@case("UnsupportedVersionError")
def a_wal_of_a_newer_version() -> Files:
    head = encode_wal_header(STORE, 0)[:8] + b"\2" + encode_wal_header(STORE, 0)[9:56]
    return folder(head + checksum(head).to_bytes(8, "little") + wal([])[64:])


@case("CorruptError")
def the_last_wal_number_there_is() -> Files:
    return folder(wal([]), **{f"wal/{'9' * 20}.wal": encode_wal_header(STORE, 1)})


@case("ok")
def names_that_look_like_wals() -> Files:
    digits = "\u0660" * 20
    strange = [f"wal/{digits}.wal", "wal/1.wal", "wal/-0000000000000000001.wal", "wal/x"]
    return folder(wal([]), **dict.fromkeys(strange, b"x"))


@case("ok")
def ten_thousand_strange_names() -> Files:
    return folder(
        wal([]), **{f"{part}/{n}": b"" for part in ("wal", "commits") for n in range(5000)}
    )


# FORMAT, commits, segments, derived files


def sealed(change: Callable[[Bucket], object] = lambda bucket: None) -> Files:
    """A folder that has sealed everything."""
    bucket = Bucket().begin().grow(2)
    bucket.add([(1, 9, [b"x"])], index=bucket.snapshot(0))
    change(bucket)
    return dict(bucket.objects)


def with_file(name: str, data: bytes) -> Callable[[], Files]:
    return lambda: {**sealed(), name: data}


COMMIT = "commits/00000000000000000001.json"
for _name, _outcome, _build in (
    ("format_of_nothing", "CorruptError", with_file("FORMAT", b"")),
    ("format_nested_deep", "CorruptError", with_file("FORMAT", b"[" * 4000)),
    ("format_of_ten_mebibytes", "CorruptError", with_file("FORMAT", b" " * 10 * MIB)),
    (
        "format_of_tomorrow",
        "UnsupportedVersionError",
        with_file("FORMAT", b'{"format":8,"kind":1}'),
    ),
    ("format_of_another_store", "CorruptError", with_file("FORMAT", encode_format(OTHER))),
    ("commit_of_nothing", "CorruptError", with_file(COMMIT, b"")),
    ("commit_nested_deep", "CorruptError", with_file(COMMIT, b"[" * 60_000)),
    ("commit_of_ten_mebibytes", "CorruptError", with_file(COMMIT, b" " * 10 * MIB)),
    (
        "commit_of_a_huge_number",
        "CorruptError",
        with_file(COMMIT, b'{"number":' + b"9" * 9000 + b"}"),
    ),
    ("commit_of_tomorrow", "UnsupportedVersionError", with_file(COMMIT, b'{"format":99}')),
    ("a_commit_far_ahead", "CorruptError", with_file(f"commits/{'9' * 20}.json", b"{}")),
    ("cache_of_junk", "ok", with_file(f"cache/{'ab' * 32}", b"\xff" * MIB)),
    ("cache_of_strange_names", "ok", with_file("cache/..x", b"\xff" * MIB)),
    ("snapshot_of_junk", "ok", with_file(f"index/{'ab' * 32}.idx", b"TrnstIDX" + b"\xff" * MIB)),
    ("remote_note_of_ten_mebibytes", "ok", with_file("REMOTE", b"\xff" * 10 * MIB)),
    ("head_of_junk", "ok", with_file("HEAD", b"[" * MIB)),
    ("lock_of_junk", "ok", with_file("LOCK", b"9" * MIB)),
):
    CASES[_name] = ({_outcome}, _build)


@case("CorruptError")
def a_commit_that_is_missing() -> Files:
    files = sealed()
    del files[COMMIT]
    return files


@case("ok")
def a_snapshot_cut_short() -> Files:
    files = sealed()
    name = next(name for name in files if name.startswith("index/"))
    return {**files, name: files[name][:100]}


@case("CorruptError", "RetentionGapError")
def a_segment_of_nothing() -> Files:
    files = sealed()
    return {**files, next(name for name in files if name.startswith("segments/")): b""}


# What is done


def put(root: Path, files: Files) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for part in ("wal", "segments", "commits"):
        (root / part).mkdir(parents=True, exist_ok=True)


def opened(name: str) -> Callable[[], list[str]]:
    """Open it to read, read it, verify it, and open it to write; how each ended."""
    place = tempfile.TemporaryDirectory(prefix="transit-hostile-")
    root = Path(place.name)
    put(root, CASES[name][1]())

    def run() -> list[str]:
        with place:
            return [outcome(lambda: read(root)), outcome(lambda: write(root))]

    return run


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except transit.TransitError as error:
        return type(error).__name__
    return "ok"


def read(root: Path) -> None:
    with transit.open(root, mode="read") as log:
        for stream in islice(log.streams(), 20):
            list(islice(stream.read(), 100))
            log.lineage.children(stream)
        report = log.verify()
    if not report.ok:
        first = report.findings[0]
        raise transit.CorruptError(first.place, expected=first.expected, found=first.found)


def write(root: Path) -> None:
    settings = transit.Settings(seal_bytes=1024 * MIB)
    with transit.open(root, durability="os", settings=settings) as log:
        log.create("a-new-one").append(b"x")


def sparse(terabytes: str) -> Callable[[], list[str]]:
    """A WAL file of terabytes that take no space."""
    place = tempfile.TemporaryDirectory(prefix="transit-hostile-")
    root = Path(place.name)
    put(root, folder(wal([])))
    os.truncate(root / FIRST_WAL, int(terabytes) << 40)

    def run() -> list[str]:
        with place:
            return [outcome(lambda: read(root)), outcome(lambda: write(root))]

    return run
