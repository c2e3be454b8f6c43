"""Whatever is in a bucket, an audit ends soon, in little memory, with a finding and no traceback.

Each case is a bucket made by hand (`hostile.py`), in which checksums and digests are right unless
they are what is wrong. It says which text must be in a finding's place, or "ok".
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import transit
from transit.auditor import reruns
from transit.format.commit import IndexRef
from transit.format.digest import digest
from transit.format.names import commit_name, index_name, merge_key, name_key, segment_name
from transit.format.segment import Block, Extent
from transit.format.snapshot import Layer, Snapshot

from .hostile import (
    OTHER,
    TIME,
    Bucket,
    Parts,
    Shelf,
    bare_chunk,
    branch,
    chunk_of,
    merge,
)

MIB = 1024 * 1024
CPU_SECONDS_MAX = 5.0
MEMORY_MAX = 256 * 10**6

Build = Callable[[], Bucket]
CASES: dict[str, tuple[str, Build]] = {}


def case(place: str) -> Callable[[Build], Build]:
    def add(build: Build) -> Build:
        CASES[build.__name__] = (place, build)
        return build

    return add


def commit_key(number: int) -> str:
    return f"commits/{commit_name(number)}"


def changed(change: Callable[[Parts], None], place: str) -> None:
    """A case whose second segment was put together in another way."""
    name = change.__name__

    def build() -> Bucket:
        bucket = Bucket().begin()
        bucket.add([(1, 3, [b"x" * 100] * 5)], change=change)
        return bucket

    CASES[name] = (place, build)


# FORMAT and HEAD


@case("FORMAT")
def format_missing() -> Bucket:
    bucket = Bucket().begin()
    del bucket.objects["FORMAT"]
    return bucket


@case("FORMAT")
def format_junk() -> Bucket:
    bucket = Bucket().begin()
    bucket.objects["FORMAT"] = b"\xff\xfe[" * 100
    return bucket


@case("FORMAT")
def format_huge() -> Bucket:
    bucket = Bucket().begin()
    bucket.objects["FORMAT"] = b" " * MIB
    return bucket


@case("FORMAT")
def format_of_a_newer_version() -> Bucket:
    bucket = Bucket().begin()
    data = bucket.objects["FORMAT"].replace(b'"format":1', b'"format":7')
    bucket.objects["FORMAT"] = data
    return bucket


@case("commits/")
def format_of_another_store() -> Bucket:
    bucket = Bucket().begin()
    bucket.objects["FORMAT"] = Bucket(OTHER).objects["FORMAT"]
    return bucket


@case("ok")
def head_points_past_the_chain() -> Bucket:
    bucket = Bucket().begin()
    bucket.head(10**18, 10**17)
    return bucket


@case("ok")
def head_huge_junk() -> Bucket:
    bucket = Bucket().begin()
    bucket.objects["HEAD"] = b"[" * MIB
    return bucket


# Commits


def with_commit_bytes(data: bytes) -> Bucket:
    bucket = Bucket().begin().grow(2)
    bucket.objects[commit_key(1)] = data
    return bucket


for _name, _data in {
    "commit_empty": b"",
    "commit_cut": b'{"checksum":"',
    "commit_of_a_mebibyte": b" " * MIB,
    "commit_nested": b"[" * 60_000,
    "commit_nested_objects": b'{"a":' * 12_000,
    "commit_of_a_huge_number": b'{"number":' + b"9" * 60_000 + b"}",
    "commit_not_utf8": b'{"checksum":"\xff\xff"}',
    "commit_of_a_newer_version": b'{"format":999999999}',
}.items():
    CASES[_name] = (commit_key(1), lambda data=_data: with_commit_bytes(data))  # type: ignore[misc]


def with_commit(**changes: object) -> Bucket:
    bucket = Bucket().begin().grow(1)
    bucket.add([(1, 6, [b"x"])], **changes)
    bucket.add([(1, 7, [b"y"])])
    return bucket


for _name, _changes in {
    "commit_of_another_number": {"number": 1, "tree": {"size": 1, "range": ["0" * 64]}},
    "commit_of_another_history": {"previous": "12" * 32},
    "commit_of_another_tree": {"tree": {"size": 2, "range": ["0" * 64]}},
    "commit_of_a_wider_tree": {"tree": {"size": 2, "range": ["0" * 64] * 60}},
    "commit_of_a_lower_epoch": {"epoch": 2},
    "commit_of_another_store": {"store": OTHER.hex()},
    "commit_without_segments": {"segments": ()},
}.items():

    def _with(changes: dict[str, object] = _changes) -> Bucket:
        tree = changes.get("tree")
        if isinstance(tree, dict):
            from transit.format.commit import TreeState

            changes = {**changes, "tree": TreeState(size=tree["size"], range=tuple(tree["range"]))}
        return with_commit(**changes)

    CASES[_name] = (commit_key(2), _with)


def with_ref(**changes: object) -> Bucket:
    """The third commit names a segment that it says other things of than are true."""
    bucket = Bucket().begin().grow(1)
    said = dict(changes)

    def change(parts: Parts) -> None:
        parts.ref = said

    bucket.add([(1, 6, [b"x"])], change=change)
    return bucket


for _name, _place, _said in (
    ("segment_of_an_absurd_size", "segments/", {"bytes": 2**62}),
    ("segment_of_ten_bytes", "segments/", {"bytes": 10}),
    ("segment_of_no_bytes", "segments/", {"bytes": 0}),
    ("segment_of_one_byte_more", "segments/", {"bytes": 10_000}),
    ("segment_of_another_footer", "segments/", {"footer": "34" * 32}),
    ("segment_of_more_streams", "footer", {"streams": 2**60}),
    ("segment_of_another_time", "footer", {"time": (TIME - 1, TIME)}),
    ("records_up_to_the_last_lsn", "footer", {"lsn": (6, 2**63 - 1), "records": 2**63 - 6}),
    ("lsn_gap", commit_key(2), {"lsn": (7, 7)}),
    ("lsn_overlap", commit_key(2), {"lsn": (5, 5)}),
    ("digest_like_a_path", commit_key(2), {"digest": "../../../../etc/passwd".ljust(64, "/")}),
    ("digest_in_capitals", commit_key(2), {"digest": "AB" * 32}),
    ("digest_in_other_digits", commit_key(2), {"digest": "\u0661" * 64}),
    ("digest_with_a_null", commit_key(2), {"digest": "a" * 63 + "\0"}),
    ("digest_too_long", commit_key(2), {"digest": "a" * 60_000}),
):
    CASES[_name] = (_place, lambda said=_said: with_ref(**said))  # type: ignore[misc]


@case(commit_key(2))
def number_skipped() -> Bucket:
    bucket = Bucket().begin().grow(4)
    del bucket.objects[commit_key(2)]
    return bucket


@case(commit_key(1))
def commits_swapped() -> Bucket:
    objects = (bucket := Bucket().begin().grow(3)).objects
    first, second = commit_key(1), commit_key(2)
    objects[first], objects[second] = objects[second], objects[first]
    return bucket


@case(commit_key(0))
def commits_from_another_store() -> Bucket:
    bucket, other = Bucket().begin(), Bucket(OTHER).begin().grow(5)
    bucket.objects = {**other.objects, "FORMAT": bucket.objects["FORMAT"]}
    return bucket


@case(commit_key(2))
def commits_of_another_store_in_the_middle() -> Bucket:
    bucket, other = Bucket().begin().grow(1), Bucket(OTHER).begin().grow(5)
    kept = {key: bucket.objects[key] for key in ("FORMAT", commit_key(0), commit_key(1))}
    bucket.objects = {**other.objects, **bucket.objects, **kept}
    return bucket


@case("commits/")
def the_same_segment_many_times() -> Bucket:
    bucket = Bucket().begin(records=100)
    name = bucket.commits[0].segments[0]
    refs = [
        msgspec.structs.replace(name, lsn=(lsn, lsn), records=1)
        for lsn in range(bucket.lsn, bucket.lsn + 150)
    ]
    bucket.commit(*refs)
    return bucket


# Segments


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


def bombs_of_20_mib(parts: Parts) -> None:
    parts.raws = [bytes(20 * MIB)] * 10


def an_index_bomb(parts: Parts) -> None:
    parts.index = bytes(300 * MIB)


def an_index_of_rows_that_are_not_there(parts: Parts) -> None:
    parts.index = (1_900_000).to_bytes(4, "little") + bytes(4 + 36 * 1_900_000)


def footer_of_a_million_blocks(parts: Parts) -> None:
    def million(blocks: list[Block]) -> list[Block]:
        last = blocks[-1]
        nothing = Block(last.position, 0, 1, 1, 0, bytes(32))
        return [*blocks[:-1], *[nothing] * 900_000, last]

    parts.entries = million


def footer_of_empty_blocks(parts: Parts) -> None:
    def many(blocks: list[Block]) -> list[Block]:
        last = blocks[-1]
        return [*blocks[:-1], *[Block(last.position, 0, 1, 1, 0, bytes(32))] * 40_000, last]

    parts.entries = many


def index_of_another_place(parts: Parts) -> None:
    parts.extents = [msgspec.structs.replace(extent, position=1) for extent in parts.extents]


def index_of_another_time(parts: Parts) -> None:
    parts.extents = [msgspec.structs.replace(extent, last_timestamp=1) for extent in parts.extents]


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


for _change in (
    segment_of_another_store, segment_of_a_newer_version, segment_name_of_other_bytes, segment_cut,
    segment_of_nothing, segment_with_more_at_its_end, segment_of_zeros, footer_size_beyond_the_file,
    footer_size_of_four_gib, footer_of_another_lsn, footer_of_another_store, footer_of_other_totals,
    footer_of_other_times, both_say_other_times, block_states_a_gibibyte, block_of_another_digest,
    block_of_another_checksum, block_of_an_unknown_codec, block_elsewhere, block_over_the_header,
    block_of_no_bytes, block_not_a_zstd_frame, a_bomb_of_300_mib, bombs_of_20_mib, an_index_bomb,
    an_index_of_rows_that_are_not_there, footer_of_a_million_blocks, footer_of_empty_blocks,
    index_of_another_place, index_of_another_time, index_with_a_row_more, index_without_rows,
    index_with_a_key_more, index_of_two_bytes, chunks_out_of_order,
    chunk_that_ends_beyond_its_block, chunk_without_a_header, chunk_of_nothing_known,
    header_tables_of_junk, header_tables_of_two, header_table_nested,
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


# Lineage


def lineage(*records: object) -> Bucket:
    return Bucket().begin(*records)  # type: ignore[arg-type]


def raw_lineage(*payloads: bytes) -> Bucket:
    bucket = Bucket().begin()

    def change(parts: Parts) -> None:
        parts.raws = [chunk_of(0, 2, payloads)]
        parts.extents = [Extent(0, 2, TIME, len(payloads), 0, 0)]
        parts.records = len(payloads)

    bucket.add([(1, 3, [b""])], change=change)
    return bucket


for _name, _records in {
    "branch_of_an_unknown_stream": (branch("b", 1, 2), branch("c", 2, 900)),
    "branch_beyond_its_parent": (branch("b", 1, 3),),
    "two_streams_of_one_name": (branch("b", 1, 0), branch("b", 1, 1)),
    "two_merges_of_one_id": (
        branch("b", 1, 0),
        merge("c", [(1, 2), (2, 0)], [1, 0, 3]),
        merge("d", [(1, 2), (2, 0)], [1, 0, 3], merge_id="c"),
    ),
    "merge_of_heads_that_are_not_there": (
        branch("b", 1, 0),
        merge("c", [(1, 5), (2, 0)], [1, 0, 3]),
    ),
    "merge_with_another_plan": (branch("b", 1, 0), merge("c", [(1, 2), (2, 0)], [1, 0, 2])),
    "merge_with_a_plan_beyond": (branch("b", 1, 0), merge("c", [(1, 2), (2, 0)], [1, 0, 2**60])),
    "merge_with_a_plan_of_nothing": (branch("b", 1, 0), merge("c", [(1, 2), (2, 0)], [2, 0, 1])),
    "merge_by_an_unknown_policy": (
        branch("b", 1, 0),
        merge("c", [(1, 2), (2, 0)], [1, 0, 3], policy="newest"),
    ),
    "merge_with_an_unknown_base": (
        branch("b", 1, 0),
        merge("c", [(1, 2), (2, 0)], [1, 0, 3], policy="base", base=(1, 900)),
    ),
    "merge_by_nobodys_policy_with_an_unknown_base": (
        branch("b", 1, 0),
        merge("c", [(1, 2), (2, 0)], [1, 0, 3], policy="custom:nobody's", base=(1, 900)),
    ),
    "merge_with_foreign_parameters": (
        branch("b", 1, 0),
        merge("c", [(1, 2), (2, 0)], [1, 0, 3], params={"selected": 0}),
    ),
    "fast_forward_of_what_went_apart": (
        branch("b", 1, 0),
        branch("c", 1, 1),
        merge("d", [(2, 0), (3, 1)], [1, 0, 1], policy="fast-forward"),
    ),
}.items():
    CASES[_name] = ("$lineage", lambda records=_records: lineage(*records))  # type: ignore[misc]

for _name, _payload in {
    "lineage_not_json": b"\0" * 40,
    "lineage_nested": b'{"kind":' + b"[" * 100_000,
    "lineage_of_another_kind": b'{"kind":"tombstone","name":"a","of":1}',
    "lineage_of_its_own_child": b'{"fork":0,"kind":"branch","name":"b","parent":3}',
    "lineage_of_itself": b'{"fork":0,"kind":"branch","name":"b","parent":2}',
    "lineage_of_the_lineage": b'{"fork":0,"kind":"branch","name":"b","parent":0}',
    "lineage_of_a_huge_fork": b'{"fork":9999999999999999999,"kind":"branch","name":"b","parent":1}',
    "lineage_in_another_spelling": b'{ "kind":"root","name":"b"}',
}.items():
    CASES[_name] = ("", lambda payload=_payload: raw_lineage(payload))  # type: ignore[misc]


@case("$lineage")
def merge_of_a_million_parents() -> Bucket:
    parents = b",".join(b"[%d,-1]" % n for n in range(1, 1_000_001))
    payload = (
        b'{"base":null,"kind":"merge","merge_id":"m","name":"m","params":{},"parents":[%s],'
        b'"plan":[],"policy":"append","version":1}' % parents
    )
    bucket = Bucket().begin()

    def change(parts: Parts) -> None:
        # Far ahead, so that all the parents have smaller ids.
        parts.raws = [chunk_of(0, 2_000_000, [payload])]
        parts.extents = [Extent(0, 2_000_000, TIME, 1, 0, 0)]
        parts.records = 1
        parts.keys = sorted((key("m"), 2_000_000) for key in (name_key, merge_key))

    bucket.add([(1, 3, [b""])], change=change)
    return bucket


@case("ok")
def chain_of_20_000_branches() -> Bucket:
    records = [branch(f"b{n}", n + 1, 2) for n in range(20_000)]
    ends = [(20_000, 2), (20_001, 2)]
    merges = [merge(f"m{n}", ends, [1, 0, 3]) for n in range(10)]
    return lineage(*records, *merges)


@case("$lineage")
def merges_of_merges_that_take_long() -> Bucket:
    records = [branch(f"b{n}", n + 1, 2) for n in range(5_000)]
    ends = [(5_000, 2), (5_001, 2)]
    return lineage(*records, *[merge(f"m{n}", ends, [1, 0, 3]) for n in range(2_000)])


@case("$lineage")
def plans_in_the_worst_order() -> Bucket:
    count = 400_000
    bucket = Bucket()
    plan = [number for n in reversed(range(0, count, 2)) for number in (1, n, 1)]
    made = [merge("a", [(1, 9), (2, -1)], plan, policy="custom:nobody's")]
    made += [
        merge(f"c{n}", [(1, 9), (3, count // 2 - 1)], [1, 0, 10]) for n in range(50)
    ]  # fmt: skip
    first = [Bucket.own(), Bucket.named("one"), Bucket.named("two"), *made]
    bucket.add([(1, 0, [b""] * count)], first)
    return bucket


@case("$lineage")
def interleaving_of_records_that_take_no_bytes() -> Bucket:
    # Few enough steps, and gigabytes of timestamps.
    count = 5 * 2**22
    bucket = Bucket().begin(Bucket.named("two"))
    bucket.add([(1, 3, [b""])], change=lambda parts: bare(parts, 5))
    heads = [(1, count + 2), (2, -1)]
    bucket.add([], [merge("m", heads, [1, 0, count + 3], policy="interleave")], 3)
    return bucket


# Snapshots


def with_snapshot(change: Callable[[Snapshot], Snapshot] | None = None) -> Bucket:
    bucket = Bucket().begin().grow(4)
    bucket.add([(1, 15, [b"x"])], index=bucket.snapshot(0, change))
    return bucket


def with_index(index: IndexRef) -> Bucket:
    bucket = Bucket().begin().grow(4)
    bucket.add([(1, 15, [b"x"])], index=index)
    return bucket


def with_first(**changes: object) -> Callable[[Snapshot], Snapshot]:
    def change(snapshot: Snapshot) -> Snapshot:
        first = snapshot.segments[0]
        ref = msgspec.structs.replace(first.ref, **changes)
        first = msgspec.structs.replace(first, ref=ref)
        return msgspec.structs.replace(snapshot, segments=(first, *snapshot.segments[1:]))

    return change


def with_second(snapshot: Snapshot) -> Snapshot:
    """The first two segments have each other's footer and index."""
    one, two, *others = snapshot.segments
    ref = msgspec.structs.replace(one.ref, footer=two.ref.footer)
    lying = msgspec.structs.replace(one, ref=ref, footer=two.footer, index=two.index)
    return msgspec.structs.replace(snapshot, segments=(lying, two, *others))


def with_another_index(snapshot: Snapshot) -> Snapshot:
    first, *others = snapshot.segments
    lying = msgspec.structs.replace(first, index=first.index[::-1])
    return msgspec.structs.replace(snapshot, segments=(lying, *others))


def without_the_last(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(
        snapshot, segments=snapshot.segments[:-1], last=snapshot.last - 1
    )


for _name, _snapshot in {
    "snapshot_of_another_segment": with_first(digest="12" * 32),
    "snapshot_of_another_size": with_first(bytes=2**62),
    "snapshot_of_other_streams": with_first(streams=77),
    "snapshot_of_other_times": with_first(time=(0, 0)),
    "snapshot_with_another_footer": with_second,
    "snapshot_with_another_index": with_another_index,
    "snapshot_without_the_last": without_the_last,
    "snapshot_of_another_store": lambda s: msgspec.structs.replace(s, store_id=OTHER),
    "snapshot_with_a_layer_of_nobody": lambda s: msgspec.structs.replace(
        s,
        first=1,
        segments=s.segments[1:],
        layers=(Layer(bytes(32), 1000, 0, 0),),
    ),
}.items():
    CASES[_name] = ("index/", lambda change=_snapshot: with_snapshot(change))  # type: ignore[misc]

for _name, _index in {
    "snapshot_missing": IndexRef(digest="12" * 32, bytes=1000),
    "snapshot_of_an_absurd_size": IndexRef(digest="12" * 32, bytes=2**62),
}.items():
    CASES[_name] = ("index/", lambda index=_index: with_index(index))  # type: ignore[misc]


def with_snapshot_bytes(data: bytes) -> Bucket:
    name = digest(data)
    bucket = with_index(IndexRef(digest=name.hex(), bytes=len(data)))
    bucket.objects[f"index/{index_name(name)}"] = data
    return bucket


@case("index/")
def snapshot_of_nothing() -> Bucket:
    return with_snapshot_bytes(b"")


@case("index/")
def snapshot_of_junk() -> Bucket:
    return with_snapshot_bytes(b"\xff" * MIB)


@case("index/")
def snapshot_of_four_billion_layers() -> Bucket:
    bucket = with_snapshot()
    data = next(data for key, data in bucket.objects.items() if key.startswith("index/"))
    return with_snapshot_bytes(data[:64] + b"\xff" * 8 + data[72:])


@case("index/")
def one_snapshot_for_many_commits() -> Bucket:
    bucket = Bucket().begin().grow(2)
    index = bucket.snapshot(0)
    for n in range(20):
        bucket.add([(1, 9 + n, [b"x"])], index=index)
    return bucket


# Other objects


@case("ok")
def a_hundred_thousand_strange_keys() -> Bucket:
    bucket = Bucket().begin()
    for n in range(33_000):
        bucket.objects[f"segments/../{n}"] = b""
        bucket.objects[f"commits/{n}.json\n{n}"] = b""
        bucket.objects[f"index/\u202e{n}\0.idx"] = b""
    return bucket


@case("ok")
def look_alikes() -> Bucket:
    bucket = Bucket().begin()
    name = segment_name(bytes.fromhex(bucket.commits[0].segments[0].digest))
    for key in (
        f"segments/{name.upper()}",
        f"segments/{name}/",
        f"segments/./{name}",
        f"segments//{name}",
        f"commits/{commit_name(1)}/x",
        "commits/1.json",
        "commits/-0000000000000000001.json",
        "commits/\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660" * 2 + ".json",
    ):
        bucket.objects[key] = b"x"
    return bucket


@case(commit_key(1))
def the_last_commit_number_there_is() -> Bucket:
    bucket = Bucket().begin()
    bucket.objects[f"commits/{'9' * 20}.json"] = b"x"
    return bucket


def spent(store: Shelf) -> tuple[transit.Report, float, int]:
    """An audit's report, CPU seconds, and by how many bytes it made the process grow."""
    reset_peak()
    before = peak()
    begun = time.process_time()
    report = transit.audit(store)
    return report, time.process_time() - begun, peak() - before


def reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> int:
    """The most memory the process had since `reset_peak`, bytes; 0 where nobody knows."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_bucket_costs_little_and_is_found_out(name: str) -> None:
    place, build = CASES[name]
    store = build().shelf
    report, seconds, memory = spent(store)
    assert report.ok == (place == "ok"), report.findings[:5]
    assert place == "ok" or any(place in found.place for found in report.findings), report.findings
    assert seconds < CPU_SECONDS_MAX
    assert memory < MEMORY_MAX
    assert store.writes == 0
    assert "Traceback" not in str(report)
    for level in ("roots", "sample:0.5"):
        transit.audit(store, level, seed=1)


def test_the_honest_bucket_of_the_same_making_is_ok() -> None:
    bucket = Bucket().begin(branch("b", 1, 0), merge("m", [(1, 2), (2, 0)], [1, 0, 3])).grow(9)
    bucket.add([(1, 30, [b"x"])], index=bucket.snapshot(0))
    bucket.head(10, 10)
    report = transit.audit(bucket.shelf)
    assert report.ok, report.findings
    assert report.counts["head_hint_stale"] == 0
    assert report.head == bucket.root


def test_a_bucket_without_anything_holds_no_store() -> None:
    with pytest.raises(transit.NotFoundError):
        transit.audit(Shelf())


def test_a_bucket_with_other_things_only_holds_no_store() -> None:
    with pytest.raises(transit.NotFoundError):
        transit.audit(Shelf({"HEAD": b"{}", "segments/x": b"", "readme.txt": b""}))


def test_strange_keys_are_counted_and_nothing_more() -> None:
    report = transit.audit(a_hundred_thousand_strange_keys().shelf)
    assert report.counts["unnamed_objects"] == 99_000


def test_a_segment_that_is_named_often_is_read_once() -> None:
    store = the_same_segment_many_times().shelf
    gets = store.traffic.get
    transit.audit(store)
    assert store.traffic.get - gets < 10


def test_a_snapshot_that_is_named_often_is_read_once() -> None:
    class Counting(Shelf):
        snapshots = 0

        def get(self, key: str, bytes_max: int) -> bytes | None:
            self.snapshots += key.startswith("index/")
            return super().get(key, bytes_max)

    store = Counting(one_snapshot_for_many_commits().objects)
    transit.audit(store)
    assert store.snapshots == 1


def test_steps_in_the_worst_order_cost_more_than_those_that_go_on() -> None:
    from transit.lineage.spans import lay

    forth = lay((1, n, 1) for n in range(0, 100_000, 2))
    back = lay((1, n, 1) for n in range(100_000, 0, -2))
    assert reruns.cost_of(forth) == len(forth)
    assert reruns.cost_of(back) > 5 * len(back)


def test_larger_settings_allow_larger_records() -> None:
    bucket = Bucket().begin()

    def change(parts: Parts) -> None:
        parts.raws = [chunk_of(1, 3, [bytes(30 * MIB)])]
        parts.extents = [Extent(1, 3, TIME, 1, 0, 0)]
        parts.records = 1

    bucket.add([(1, 3, [b""])], change=change)
    assert not transit.audit(bucket.shelf).ok
    settings = transit.Settings(record_bytes_max=32 * MIB)
    report = transit.audit(bucket.shelf, settings=settings)
    assert report.ok, report.findings
