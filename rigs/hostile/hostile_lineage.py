"""Hostile lineage and index snapshots, and keys that are no names of a store's."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from transit.format.commit import IndexRef
from transit.format.digest import digest
from transit.format.names import commit_name, index_name, merge_key, name_key, segment_name
from transit.format.segment import Extent
from transit.format.snapshot import Layer, Snapshot
from transit.format.uid import uid_key

from .hostile import (
    CASES,
    MIB,
    OTHER,
    TIME,
    Bucket,
    Parts,
    branch,
    case,
    chunk_of,
    commit_key,
    merge,
    uid_of,
)
from .hostile_segments import bare

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
    "two_streams_of_one_uid": (branch("b", 1, 0, "12" * 16), branch("c", 1, 1, "12" * 16)),
    "a_stream_with_the_uid_of_an_earlier_one": (branch("b", 1, 0, uid_of("one")),),
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
    "lineage_of_another_kind": b'{"kind":"tombstone","name":"a","of":1,%s}',
    "lineage_of_its_own_child": b'{"fork":0,"kind":"branch","name":"b","parent":3,%s}',
    "lineage_of_itself": b'{"fork":0,"kind":"branch","name":"b","parent":2,%s}',
    "lineage_of_the_lineage": b'{"fork":0,"kind":"branch","name":"b","parent":0,%s}',
    "lineage_of_a_huge_fork": b'{"fork":9999999999999999999,"kind":"branch","name":"b",'
    b'"parent":1,%s}',
    "lineage_in_another_spelling": b'{ "kind":"root","name":"b",%s}',
    "lineage_without_a_uid": b'{"kind":"root","name":"b"}',
    "lineage_of_an_empty_uid": b'{"kind":"root","name":"b","uid":""}',
    "lineage_of_a_short_uid": b'{"kind":"root","name":"b","uid":"0123456789abcdef"}',
    "lineage_of_a_uid_in_capitals": b'{"kind":"root","name":"b","uid":"%s"}' % (b"AB" * 16),
    "lineage_of_a_uid_with_a_line_end": b'{"kind":"root","name":"b","uid":"%s\\n"}' % (b"0" * 31),
}.items():
    _payload = _payload.replace(b"%s", b'"uid":"0123456789abcdef0123456789abcdef"')
    CASES[_name] = ("", lambda payload=_payload: raw_lineage(payload))  # type: ignore[misc]


@case("$lineage")
def merge_of_a_million_parents() -> Bucket:
    parents = b",".join(b"[%d,-1]" % n for n in range(1, 1_000_001))
    payload = (
        b'{"base":null,"kind":"merge","merge_id":"m","name":"m","params":{},"parents":[%s],'
        b'"plan":[],"policy":"append","uid":"%s","version":1}' % (parents, b"12" * 16)
    )
    bucket = Bucket().begin()

    def change(parts: Parts) -> None:
        # Far ahead, so that all the parents have smaller ids.
        parts.raws = [chunk_of(0, 2_000_000, [payload])]
        parts.extents = [Extent(0, 2_000_000, TIME, 1, 0, 0)]
        parts.records = 1
        keys = name_key("m"), merge_key("m"), uid_key("12" * 16)
        parts.keys = sorted((key, 2_000_000) for key in keys)

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
