"""Index snapshots: what segments say of themselves, kept verbatim and found to be so."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import transit.format.snapshot as module
from transit.errors import CorruptError, FormatError, InvalidInputError, UnsupportedVersionError
from transit.format.checksum import checksum
from transit.format.commit import SegmentRef
from transit.format.digest import digest
from transit.format.segment import (
    ENTRY,
    FOOTER,
    FOOTER_BYTES_MAX,
    STORED,
    TAIL,
    Block,
    Extent,
    Footer,
    encode_block,
    encode_footer,
    encode_index,
)
from transit.format.snapshot import (
    CHECKSUM,
    HEADER,
    LAYER,
    LAYERS_MAX,
    MAGIC,
    SEGMENT,
    SNAPSHOT_BYTES_MAX,
    Layer,
    Snapshot,
    SnapshotSegment,
    absorb,
    covered_by,
    decode_snapshot,
    encode_snapshot,
)

STORE = bytes(range(16))
EXTENTS = [Extent(stream, 0, 5, 2, 0, 60 * stream) for stream in range(40)]
KEYS = [(3, 0), (2**64 - 1, 1)]


def segment(
    commit: int,
    first_lsn: int,
    records: int = 10,
    level: int | None = 3,
    store_id: bytes = STORE,
) -> SnapshotSegment:
    """What a snapshot has of a segment of one block and an index; its blocks are nowhere."""
    lsns, times = (first_lsn, first_lsn + records - 1), (-5, 2**62)
    block = Block(32, 100, 100, STORED, 7, digest(b"block"))
    entry, index = encode_block(encode_index(EXTENTS[:records], KEYS), 132, level)
    ended = encode_footer(Footer(store_id, *lsns, records, *times, 5, 6, 2, (block, entry)))
    footer = ended[: -TAIL.size]
    ref = SegmentRef(
        digest=digest(b"segment %d" % first_lsn).hex(),
        footer=digest(footer).hex(),
        chunks=digest(b"chunks %d" % first_lsn).hex(),
        bytes=132 + len(index) + len(ended),
        records=records,
        streams=2,
        lsn=lsns,
        time=times,
        written=(5, 6),
    )
    return SnapshotSegment(commit, ref, footer, index)


LAYERS = (Layer(digest(b"a"), 1000, 0, 2), Layer(digest(b"b"), 500, 3, 3))
EXAMPLE = Snapshot(
    STORE, 4, 5, LAYERS, (segment(4, 70), segment(4, 80, level=None), segment(5, 90, records=1))
)
GOOD = encode_snapshot(EXAMPLE)
FIRST_FOOTER = HEADER.size + 2 * LAYER.size + 3 * SEGMENT.size + CHECKSUM.size


def read(data: bytes) -> tuple[Snapshot, list[Any]]:
    """Everything a snapshot says, as its readers read it."""
    snapshot = decode_snapshot(data, STORE, "here")
    return snapshot, [covered_by(entry, "here") for entry in snapshot.segments]


def signed(data: bytes, layers: int = 2, segments: int = 3) -> bytes:
    """`data` with the checksum that fits its tables."""
    at = HEADER.size + layers * LAYER.size + segments * SEGMENT.size
    return data[:at] + CHECKSUM.pack(checksum(data[:at])) + data[at + CHECKSUM.size :]


def changed(at: int, value: bytes) -> bytes:
    """The example with other bytes at `at`, and a checksum that fits."""
    return signed(GOOD[:at] + value + GOOD[at + len(value) :])


# Round trips


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    first = draw(st.integers(0, 5))
    cut = draw(st.integers(0, first - 1)) if first else 0
    ranges = [(0, cut), (cut + 1, first - 1)] if first else []
    layers = [
        Layer(draw(st.binary(min_size=32, max_size=32)), draw(st.integers(73, 2**30)), *part)
        for part in ranges
        if part[0] <= part[1]
    ]
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    lsn = draw(st.integers(first, 2**62)) if first else 0
    segments = []
    for commit, count in enumerate(counts, first):
        for _ in range(count):
            records = draw(st.integers(1, 2**40))
            segments.append(segment(commit, lsn, records, draw(st.sampled_from([None, 3]))))
            lsn += records
    return Snapshot(STORE, first, first + len(counts) - 1, tuple(layers), tuple(segments))


@given(snapshots())
def test_a_snapshot_comes_back_and_has_one_spelling(given: Snapshot) -> None:
    data = encode_snapshot(given)
    decoded = decode_snapshot(data, STORE, "here")
    assert decoded == given
    assert encode_snapshot(decoded) == data


def test_footers_and_indexes_come_back_as_the_segments_have_them() -> None:
    _, covered = read(GOOD)
    for entry, (footer, index) in zip(EXAMPLE.segments, covered, strict=True):
        assert (footer.first_lsn, footer.last_lsn) == entry.ref.lsn
        assert encode_footer(footer)[: -TAIL.size] == entry.footer
        assert index.raw == encode_index(EXTENTS[: footer.records], KEYS)
    stored, plain = EXAMPLE.segments[0].index, EXAMPLE.segments[1].index
    assert len(stored) < len(plain) == len(encode_index(EXTENTS[:10], KEYS))


def test_a_snapshot_of_commit_0_has_no_layers_and_begins_at_lsn_0() -> None:
    first = Snapshot(STORE, 0, 0, (), (segment(0, 0),))
    assert read(encode_snapshot(first))[0] == first


def test_the_largest_numbers_come_back() -> None:
    top = 2**63 - 1
    last = segment(top, top)
    big = msgspec.structs.replace(last.ref, bytes=top, streams=top, records=1, lsn=(top, top))
    last = msgspec.structs.replace(last, ref=big)
    snapshot = Snapshot(STORE, top, top, (Layer(bytes(32), 2**30, 0, top - 1),), (last,))
    assert decode_snapshot(encode_snapshot(snapshot), STORE, "here") == snapshot


# Damage


def test_every_truncated_snapshot_is_refused(cuts) -> None:
    for data in (*cuts(GOOD), GOOD + b"\0"):
        with pytest.raises(CorruptError):
            decode_snapshot(data, STORE, "here")


def test_every_flipped_bit_is_refused_in_an_index_when_that_is_read(flips) -> None:
    indexes, at = set(), FIRST_FOOTER
    for entry in EXAMPLE.segments:
        at += len(entry.footer)
        indexes |= set(range(at, at + len(entry.index)))
        at += len(entry.index)
    assert at == len(GOOD)
    for place, data in flips(GOOD):
        if place not in indexes:
            with pytest.raises(FormatError):
                decode_snapshot(data, STORE, "here")
            continue
        snapshot = decode_snapshot(data, STORE, "here")
        (damaged,) = set(snapshot.segments) - set(EXAMPLE.segments)
        with pytest.raises(CorruptError):
            covered_by(damaged, "here")


def test_a_flipped_bit_under_a_fitting_checksum_is_refused_or_another_snapshot(flips) -> None:
    taken = 0
    for place, data in flips(GOOD[: FIRST_FOOTER - CHECKSUM.size]):
        whole = signed(data + GOOD[FIRST_FOOTER - CHECKSUM.size :])
        try:
            snapshot = decode_snapshot(whole, STORE, "here")
        except FormatError:
            continue
        taken += 1
        assert place >= HEADER.size
        assert snapshot != EXAMPLE
        assert encode_snapshot(snapshot) == whole
    assert taken


@given(st.binary(max_size=300), st.integers(0, 4))
def test_junk_is_corrupt(junk: bytes, start: int) -> None:
    heads = [b"", GOOD[:8], GOOD[:12], GOOD[: HEADER.size], GOOD[:FIRST_FOOTER]]
    with pytest.raises(FormatError):
        decode_snapshot(heads[start] + junk, STORE, "here")


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_a_snapshot_of_another_version_is_refused_by_that_name(version: int) -> None:
    with pytest.raises(UnsupportedVersionError):
        decode_snapshot(changed(8, struct.pack("<I", version)), STORE, "here")


def test_a_snapshot_of_another_store_is_refused() -> None:
    with pytest.raises(CorruptError, match="byte 16: expected store"):
        decode_snapshot(GOOD, STORE[::-1], "here")


def test_a_footer_of_another_store_is_refused() -> None:
    foreign = segment(0, 0, store_id=STORE[::-1])
    with pytest.raises(CorruptError, match=r"footer 0.*expected store"):
        decode_snapshot(encode_snapshot(Snapshot(STORE, 0, 0, (), (foreign,))), STORE, "here")


# Contradictions


def layers(*ranges: tuple[int, int], size: int = 100) -> tuple[Layer, ...]:
    return tuple(Layer(digest(b"x"), size, *part) for part in ranges)


def replaced(**changes: Any) -> Callable[[], bytes]:
    return lambda: encode_snapshot(msgspec.structs.replace(EXAMPLE, **changes))


def of(*segments: SnapshotSegment, first: int = 4, last: int = 5) -> Callable[[], bytes]:
    return replaced(first=first, last=last, segments=segments)


def odd(**changes: Any) -> SnapshotSegment:
    """The last segment of the example with other numbers in its `ref`."""
    last = EXAMPLE.segments[-1]
    return msgspec.structs.replace(last, ref=msgspec.structs.replace(last.ref, **changes))


def packed(commit: int, **changes: Any) -> SnapshotSegment:
    return msgspec.structs.replace(odd(**changes), commit=commit)


CONTRADICTIONS: dict[str, Callable[[], bytes]] = {
    "layers begin late": replaced(layers=layers((1, 3))),
    "layers end early": replaced(layers=layers((0, 2))),
    "layers end late": replaced(layers=layers((0, 4))),
    "gap between layers": replaced(layers=layers((0, 1), (3, 3))),
    "overlap of layers": replaced(layers=layers((0, 2), (2, 3))),
    "layers in another order": replaced(layers=layers((2, 3), (0, 1))),
    "layer of no commit": replaced(layers=layers((0, 3), (4, 3))),
    "layer of nothing at first": replaced(layers=layers((0, 2**64 - 1), (0, 3))),
    "layer twice": replaced(layers=layers((0, 3), (0, 3))),
    "no layers": replaced(layers=()),
    "absurd layer": replaced(layers=layers((0, 3), size=SNAPSHOT_BYTES_MAX + 1)),
    "empty layer": replaced(layers=layers((0, 3), size=HEADER.size)),
    "layers before commit 0": lambda: encode_snapshot(
        Snapshot(STORE, 0, 0, layers((0, 0)), (segment(0, 0),))
    ),
    "commit 0 later than LSN 0": lambda: encode_snapshot(
        Snapshot(STORE, 0, 0, (), (segment(0, 1),))
    ),
    "LSN 0 later than commit 0": of(segment(4, 0), segment(5, 10)),
    "first after last": replaced(first=4, last=3),
    "commit before the range": of(segment(3, 70), segment(4, 80), segment(5, 90)),
    "commit after the range": of(segment(4, 70), segment(5, 80), segment(6, 90)),
    "commit without a segment": of(segment(4, 70), segment(6, 80), last=6),
    "first commit without a segment": of(segment(5, 70)),
    "last commit without a segment": of(segment(4, 70)),
    "commits in another order": of(segment(4, 70), segment(5, 80), segment(4, 90)),
    "gap in LSN": of(segment(4, 70), segment(5, 81)),
    "overlap in LSN": of(segment(4, 70), segment(5, 79)),
    "other count of records": of(segment(4, 80), odd(records=2)),
    "no records": of(segment(4, 80), packed(5, records=0, lsn=(90, 89)), packed(5)),
    "LSN beyond 2^63": of(packed(4, lsn=(2**63 - 1, 2**63), records=2), last=4),
    "bytes beyond 2^63": of(segment(4, 80), odd(bytes=2**63)),
    "streams beyond 2^63": of(segment(4, 80), odd(streams=2**64 - 1)),
    "next LSN later": lambda: changed(56, struct.pack("<Q", 92)),
    "next LSN earlier": lambda: changed(56, struct.pack("<Q", 90)),
    "first LSN earlier": lambda: changed(48, struct.pack("<Q", 69)),
    "commits beyond 2^63": lambda: changed(40, struct.pack("<Q", 2**64 - 1)),
    "reserved bytes": lambda: changed(12, b"\1"),
    "size of a footer and of its index": lambda: changed(
        FIRST_FOOTER - CHECKSUM.size - 8,
        struct.pack("<II", len(EXAMPLE.segments[2].footer) + 1, len(EXAMPLE.segments[2].index) - 1),
    ),
}


@pytest.mark.parametrize("make", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_snapshot_that_contradicts_itself_is_corrupt(make: Callable[[], bytes]) -> None:
    with pytest.raises(CorruptError) as caught:
        decode_snapshot(make(), STORE, "here")
    assert "checksum" not in caught.value.expected
    assert caught.value.place.startswith("here")


@pytest.mark.parametrize(
    "footer",
    [b"", STORE, bytes(FOOTER.size + ENTRY.size - 1), STORE + bytes(FOOTER_BYTES_MAX)],
    ids=["nothing", "a store id", "no entry", "over the limit"],
)
def test_what_cannot_be_a_footer_is_refused_though_its_digest_fits(footer: bytes) -> None:
    last = EXAMPLE.segments[-1]
    ref = msgspec.structs.replace(last.ref, footer=digest(footer).hex())
    entry = msgspec.structs.replace(last, commit=4, ref=ref, footer=footer)
    with pytest.raises(CorruptError, match="expected a footer"):
        decode_snapshot(of(entry, last=4)(), STORE, "here")


@pytest.mark.parametrize(
    "changes",
    [
        {"bytes": 1},
        {"records": 2},
        {"streams": 3},
        {"lsn": (91, 91)},
        {"lsn": (90, 91)},
        {"time": (-5, 2**62 + 1)},
        {"time": (-6, 2**62)},
        {"footer": "00" * 32},
    ],
)
def test_a_segment_that_is_not_what_its_footer_says_is_corrupt(changes: dict[str, Any]) -> None:
    assert covered_by(EXAMPLE.segments[-1], "here")
    with pytest.raises(CorruptError):
        covered_by(odd(**changes), "here")


def test_an_index_of_another_segment_is_corrupt() -> None:
    other = encode_index(EXTENTS[:1], [])
    with pytest.raises(CorruptError, match="index"):
        covered_by(msgspec.structs.replace(EXAMPLE.segments[0], index=other), "here")


def test_a_footer_whose_digest_fits_and_which_is_none_is_corrupt_when_it_is_read() -> None:
    footer = STORE + bytes(FOOTER.size + ENTRY.size - 16)
    ref = msgspec.structs.replace(EXAMPLE.segments[0].ref, footer=digest(footer).hex())
    entry = msgspec.structs.replace(EXAMPLE.segments[0], ref=ref, footer=footer)
    snapshot = decode_snapshot(of(entry, last=4)(), STORE, "here")
    with pytest.raises(CorruptError):
        covered_by(snapshot.segments[0], "here")


def test_a_snapshot_of_no_commit_is_corrupt() -> None:
    head = HEADER.pack(MAGIC, 1, 0, STORE, 4, 3, 70, 70, 1, 0) + LAYER_ROW
    with pytest.raises(CorruptError, match="range of commits"):
        decode_snapshot(signed(head + bytes(8), 1, 0), STORE, "here")


def test_a_commit_beyond_2_to_63_is_corrupt() -> None:
    beyond = 2**63
    older = (Layer(bytes(32), 100, 0, beyond - 1),)
    snapshot = Snapshot(STORE, beyond, beyond, older, (segment(beyond, 70),))
    with pytest.raises(CorruptError, match="range of commits"):
        decode_snapshot(encode_snapshot(snapshot), STORE, "here")


def test_one_layer_too_many_is_corrupt_though_they_follow_one_another() -> None:
    most = layers(*((number, number) for number in range(LAYERS_MAX)))
    data = encode_snapshot(Snapshot(STORE, 64, 64, most, (segment(64, 64),)))
    more = HEADER.pack(MAGIC, 1, 0, STORE, 65, 65, 65, 75, LAYERS_MAX + 1, 1)
    more += data[HEADER.size : HEADER.size + LAYERS_MAX * LAYER.size]
    more += LAYER.pack(bytes(32), 100, 64, 64)
    moved = encode_snapshot(Snapshot(STORE, 65, 65, most, (segment(65, 65),)))
    more += moved[HEADER.size + LAYERS_MAX * LAYER.size :]
    with pytest.raises(CorruptError, match="at most 64 layers"):
        decode_snapshot(signed(more, LAYERS_MAX + 1, 1), STORE, "here")


# Limits


def header(layer_count: int, segment_count: int, last: int = 5) -> bytes:
    return HEADER.pack(MAGIC, 1, 0, STORE, 4, last, 70, 91, layer_count, segment_count)


def row(footer_bytes: int, index_bytes: int) -> bytes:
    return SEGMENT.pack(
        4, bytes(32), bytes(32), bytes(32), 9, 21, 1, 70, 90, 0, 0, 0, 0, footer_bytes, index_bytes
    )  # fmt: skip


LAYER_ROW = LAYER.pack(bytes(32), 2**30, 0, 3)
ABSURD = {
    "layers": header(2**32 - 1, 1),
    "more layers than there may be": header(LAYERS_MAX + 1, 1) + LAYER_ROW * (LAYERS_MAX + 1),
    "segments": header(1, 2**32 - 1),
    "commits": header(1, 1, last=2**63 - 1),
    "both": header(2**32 - 1, 2**32 - 1),
    "footer": signed(header(1, 1, last=4) + LAYER_ROW + row(2**32 - 1, 8) + bytes(8), 1, 1),
    "index": signed(header(1, 1, last=4) + LAYER_ROW + row(128, 2**32 - 1) + bytes(8), 1, 1),
}


@pytest.mark.parametrize("head", ABSURD.values(), ids=ABSURD)
def test_absurd_counts_and_sizes_are_refused_before_memory_is_taken(head: bytes, poor) -> None:
    script = """
import sys
from transit.errors import CorruptError
from transit.format.snapshot import decode_snapshot
try:
    decode_snapshot(bytes.fromhex(sys.argv[1]), bytes(range(16)), "here")
except CorruptError:
    print("refused")
"""
    assert poor(script, (head + bytes(200)).hex()) == "refused"


def test_a_snapshot_over_1_gib_is_refused_before_it_is_looked_at() -> None:
    # Never touched, so the system gives no memory for it.
    data = bytes(SNAPSHOT_BYTES_MAX + 1)
    with pytest.raises(CorruptError, match=str(SNAPSHOT_BYTES_MAX + 1)):
        decode_snapshot(data, STORE, "here")


def test_a_snapshot_that_no_reader_would_take_is_not_made() -> None:
    index = bytes(SNAPSHOT_BYTES_MAX)
    with pytest.raises(InvalidInputError):
        of(msgspec.structs.replace(EXAMPLE.segments[0], index=index), last=4)()
    ranges = [(number, number) for number in range(LAYERS_MAX + 1)]
    with pytest.raises(InvalidInputError):
        replaced(layers=layers(*ranges))()
    most = Snapshot(STORE, 64, 64, layers(*ranges[:LAYERS_MAX]), (segment(64, 64),))
    assert decode_snapshot(encode_snapshot(most), STORE, "here") == most


# Layers


@pytest.mark.parametrize(
    ("counts", "count", "taken"),
    [
        ([], 1, 0),
        ([2], 1, 1),
        ([3], 1, 0),
        ([100, 8, 3], 1, 0),
        ([100, 8, 3], 2, 2),
        ([27, 8, 3], 2, 2),
        ([26, 8, 3], 2, 3),
        ([1, 100], 1, 0),
        ([1], 0, 0),
    ],
)
def test_layers_up_to_twice_the_size_of_what_follows_are_absorbed(
    counts: Sequence[int], count: int, taken: int
) -> None:
    assert absorb(counts, count) == taken


@given(st.lists(st.integers(1, 50), min_size=1, max_size=300))
def test_layers_stay_few_and_each_has_more_than_twice_what_follows(added: list[int]) -> None:
    counts: list[int] = []
    written = 0
    for count in added:
        kept = len(counts) - absorb(counts, count)
        counts = [*counts[:kept], count + sum(counts[kept:])]
        written += counts[-1]
        for older, newer in pairwise(counts):
            assert older > 2 * newer
    total = sum(added)
    assert sum(counts) == total
    assert len(counts) <= total.bit_length() <= LAYERS_MAX
    assert written <= total * (3 * total.bit_length() + 1)


def test_the_tables_in_the_docstring_are_the_structs(tables, fields) -> None:
    head, layer, row_table = tables(module)
    assert head == fields(HEADER)
    assert layer == fields(LAYER)
    assert row_table == fields(SEGMENT)
    text = module.__doc__ or ""
    assert f"\n        {HEADER.size}     .  layers, oldest first" in text
    assert f"\n         .     {CHECKSUM.size}  checksum of everything before it" in text
    assert f"\nA layer, {LAYER.size} bytes:" in text
    assert f"\nA segment, {SEGMENT.size} bytes, " in text
