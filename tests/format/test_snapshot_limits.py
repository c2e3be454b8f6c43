"""What a snapshot says at its limits, and what is said of one that does not fit, and where."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest

import transit.format.snapshot as module
from transit.errors import CorruptError, InvalidInputError, UnsupportedVersionError
from transit.format.checksum import checksum
from transit.format.commit import SegmentRef
from transit.format.digest import digest
from transit.format.segment import (
    ENTRY,
    FOOTER,
    STORED,
    TAIL,
    Block,
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
TOP = 2**63 - 1


def segment(commit: int, first: int, records: int = 10, **changes: Any) -> SnapshotSegment:
    lsns = (first, first + records - 1)
    block = Block(32, 100, 100, STORED, 7, digest(b"block"))
    entry, index = encode_block(encode_index([], [(3, 0)]), 132, None)
    ended = encode_footer(Footer(STORE, *lsns, records, -5, 6, 5, 6, 2, (block, entry)))
    values: dict[str, Any] = {
        "digest": digest(b"%d" % first).hex(),
        "footer": digest(ended[: -TAIL.size]).hex(),
        "chunks": "0a" * 32,
        "bytes": 132 + len(index) + len(ended),
        "records": records,
        "streams": 2,
        "lsn": lsns,
        "time": (-5, 6),
        "written": (5, 6),
    }
    ref = SegmentRef(**{**values, **changes})
    return SnapshotSegment(commit, ref, ended[: -TAIL.size], index)


def layers(*ranges: tuple[int, int], size: int = 100) -> tuple[Layer, ...]:
    return tuple(Layer(digest(b"x"), size, *each) for each in ranges)


EXAMPLE = Snapshot(
    STORE, 4, 5, layers((0, 2), (3, 3)), (segment(4, 70), segment(4, 80), segment(5, 90, 1))
)
GOOD = encode_snapshot(EXAMPLE)
TABLES = HEADER.size + 2 * LAYER.size + 3 * SEGMENT.size


def other(**changes: Any) -> bytes:
    return encode_snapshot(msgspec.structs.replace(EXAMPLE, **changes))


def with_header(at: int, value: bytes) -> bytes:
    """The example with other bytes in its header and a checksum that fits."""
    data = GOOD[:at] + value + GOOD[at + len(value) :]
    return data[:TABLES] + CHECKSUM.pack(checksum(data[:TABLES])) + data[TABLES + 8 :]


def refused(data: bytes) -> tuple[str, str, str]:
    """Where, what was expected and what was found."""
    with pytest.raises(CorruptError) as caught:
        decode_snapshot(data, STORE, "here")
    return caught.value.place, caught.value.expected, caught.value.found


# Headers


def test_a_snapshot_of_any_size_from_its_header_on_is_looked_at() -> None:
    assert refused(GOOD[: HEADER.size - 1])[1:] == ("an index snapshot", f"{HEADER.size - 1} bytes")
    assert refused(GOOD[: HEADER.size])[1] == f"at least {TABLES + 8} bytes"
    assert refused(GOOD[: TABLES + 7])[1:] == (f"at least {TABLES + 8} bytes", str(TABLES + 7))
    assert refused(GOOD[: TABLES + 8])[1:] == (f"{len(GOOD)} bytes", str(TABLES + 8))
    assert refused(GOOD + b"\0") == ("here", f"{len(GOOD)} bytes", str(len(GOOD) + 1))


@pytest.mark.parametrize("magic", [b"TRANSIDW", b"TRANSIDY", bytes(8), b"\xff" * 8])
def test_another_magic_is_refused(magic: bytes) -> None:
    assert refused(with_header(0, magic))[:2] == ("here, byte 0", repr(MAGIC))


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_is_named(version: int) -> None:
    with pytest.raises(UnsupportedVersionError) as caught:
        decode_snapshot(with_header(8, struct.pack("<I", version)), STORE, "here")
    assert (caught.value.found, caught.value.supported) == (version, 1)


@pytest.mark.parametrize("store", [bytes(16), b"\xff" * 16])
def test_another_store_is_named(store: bytes) -> None:
    assert refused(with_header(16, store)) == (
        "here, byte 16", f"store {STORE.hex()}", store.hex(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("at", "value", "place", "found"),
    [
        (32, 6, 32, "6 to 5"),
        (40, 3, 32, "4 to 3"),
        (40, 2**63, 32, f"4 to {2**63}"),
        (40, 2**64 - 1, 32, f"4 to {2**64 - 1}"),
        (48, 0, 48, "0 to 91"),
        (56, 2**63 + 1, 48, f"70 to {2**63 + 1}"),
    ],
)
def test_impossible_ranges_are_told_where_they_stand(
    at: int, value: int, place: int, found: str
) -> None:
    error = refused(with_header(at, struct.pack("<Q", value)))
    assert (error[0], error[2]) == (f"here, byte {place}", found)


def test_ranges_up_to_2_to_63_are_looked_at_further() -> None:
    assert "layers" in refused(with_header(32, struct.pack("<Q", 5)))[0]
    assert "segments" in refused(with_header(40, struct.pack("<Q", TOP)))[0]
    assert "segments" in refused(with_header(56, struct.pack("<Q", 2**63)))[0]


@pytest.mark.parametrize("count", [LAYERS_MAX, LAYERS_MAX + 1])
def test_more_layers_than_there_may_be_are_not_looked_for(count: int) -> None:
    place, expected, found = refused(with_header(64, struct.pack("<I", count)))
    over = count > LAYERS_MAX
    assert (place == "here, byte 64") == over
    assert (found == str(count)) == over
    assert (expected == f"at most {LAYERS_MAX} layers") == over


@pytest.mark.parametrize("stated", [b"\0" * 8, b"\xff" * 8])
def test_a_checksum_that_does_not_fit_is_told_where_it_stands(stated: bytes) -> None:
    right = int.from_bytes(GOOD[TABLES : TABLES + 8], "little")
    error = refused(GOOD[:TABLES] + stated + GOOD[TABLES + 8 :])
    found = int.from_bytes(stated, "little")
    assert error == (f"here, byte {TABLES}", f"checksum {found:016x}", f"{right:016x}")


# Layers


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (layers((1, 3)), ("layer 0", "a snapshot of commit 0 and on", "100 bytes, 1 to 3")),
        (
            layers((0, 1), (3, 3)),
            ("layer 1", "a snapshot of commit 2 and on", "100 bytes, 3 to 3"),
        ),
        (
            layers((0, 2), (2, 3)),
            ("layer 1", "a snapshot of commit 3 and on", "100 bytes, 2 to 3"),
        ),
        (
            layers((0, 3), (4, 3)),
            ("layer 1", "a snapshot of commit 4 and on", "100 bytes, 4 to 3"),
        ),
        (layers((0, 2)), ("layers", "layers up to commit 4", "up to 3")),
        (layers((0, 4)), ("layers", "layers up to commit 4", "up to 5")),
        ((), ("layers", "layers up to commit 4", "up to 0")),
        (
            layers((0, 3), size=HEADER.size),
            ("layer 0", "a snapshot of commit 0 and on", "72 bytes, 0 to 3"),
        ),
        (
            layers((0, 3), size=SNAPSHOT_BYTES_MAX + 1),
            ("layer 0", "a snapshot of commit 0 and on", f"{2**30 + 1} bytes, 0 to 3"),
        ),
    ],
)
def test_layers_that_do_not_fit_are_told(
    given: tuple[Layer, ...], error: tuple[str, str, str]
) -> None:
    assert refused(other(layers=given)) == (f"here, {error[0]}", *error[1:])


@pytest.mark.parametrize("size", [HEADER.size + 1, SNAPSHOT_BYTES_MAX])
def test_layers_from_a_header_up_to_the_limit_are_taken(size: int) -> None:
    data = other(layers=layers((0, 0), (1, 3), size=size))
    assert decode_snapshot(data, STORE, "here").layers == layers((0, 0), (1, 3), size=size)


# Segments


@pytest.mark.parametrize(
    ("segments", "error"),
    [
        ((segment(3, 70),), ("segment 0", "commit 4 or the one before", "3")),
        ((segment(5, 70),), ("segment 0", "commit 4 or the one before", "5")),
        ((segment(4, 70), segment(6, 80)), ("segment 1", "commit 5 or the one before", "6")),
        (
            (segment(4, 70), segment(5, 80), segment(4, 90)),
            ("segment 2", "commit 6 or the one before", "4"),
        ),
        (
            (segment(4, 70), segment(5, 81)),
            ("segment 1", "records from LSN 80", "10 records, 81 to 90"),
        ),
        (
            (segment(4, 70), segment(5, 79)),
            ("segment 1", "records from LSN 80", "10 records, 79 to 88"),
        ),
        (
            (segment(4, 70, records=10, lsn=(70, 80)),),
            ("segment 0", "records from LSN 70", "10 records, 70 to 80"),
        ),
        (
            (segment(4, 70, lsn=(70, 78)),),
            ("segment 0", "records from LSN 70", "10 records, 70 to 78"),
        ),
        (
            (segment(4, 70, bytes=2**63),),
            ("segment 0", "numbers below 2^63", f"{2**63} bytes, 2 streams"),
        ),
        (
            (segment(4, 70, bytes=9, streams=2**63),),
            ("segment 0", "numbers below 2^63", f"9 bytes, {2**63} streams"),
        ),
        (
            (segment(4, 70), segment(4, 80)),
            ("segments", "segments up to commit 5, LSN 90", "up to commit 4, LSN 90"),
        ),
    ],
)
def test_segments_that_do_not_fit_are_told(
    segments: tuple[SnapshotSegment, ...], error: tuple[str, str, str]
) -> None:
    assert refused(other(segments=segments)) == (f"here, {error[0]}", *error[1:])


@pytest.mark.parametrize("value", [90, 92])
def test_segments_that_do_not_reach_the_stated_number_are_told(value: int) -> None:
    assert refused(with_header(56, struct.pack("<Q", value))) == (
        "here, segments", f"segments up to commit 5, LSN {value}", "up to commit 5, LSN 91",
    )  # fmt: skip


def test_the_largest_numbers_of_a_segment_are_taken() -> None:
    data = other(segments=(segment(4, 70), segment(5, 80, bytes=TOP, streams=TOP)))
    assert decode_snapshot(data, STORE, "here").segments[1].ref.bytes == TOP


def test_a_footer_that_does_not_fit_is_told_with_its_place() -> None:
    first = TABLES + CHECKSUM.size
    sizes = [len(entry.footer) + len(entry.index) for entry in EXAMPLE.segments]
    for number in range(3):
        at = first + sum(sizes[:number])
        data = GOOD[: at + 20] + bytes([GOOD[at + 20] ^ 1]) + GOOD[at + 21 :]
        place, expected, found = refused(data)
        assert place == f"here, footer {number}, byte {at}"
        assert expected == EXAMPLE.segments[number].ref.footer
        assert found == digest(data[at : at + len(EXAMPLE.segments[number].footer)]).hex()


def test_a_footer_has_room_for_one_entry() -> None:
    for size in (FOOTER.size + ENTRY.size - 1, FOOTER.size + ENTRY.size):
        footer = STORE + bytes(size - 16)
        ref = msgspec.structs.replace(EXAMPLE.segments[0].ref, footer=digest(footer).hex())
        entry = msgspec.structs.replace(EXAMPLE.segments[0], ref=ref, footer=footer)
        data = other(last=4, segments=(entry,))
        if size < FOOTER.size + ENTRY.size:
            assert refused(data)[1:] == ("a footer", f"{size} bytes")
        else:
            assert decode_snapshot(data, STORE, "here").segments[0].footer == footer


@pytest.mark.parametrize("store", [bytes(16), b"\xff" * 16])
def test_a_footer_of_another_store_is_told(store: bytes) -> None:
    footer = store + EXAMPLE.segments[0].footer[16:]
    ref = msgspec.structs.replace(EXAMPLE.segments[0].ref, footer=digest(footer).hex())
    entry = msgspec.structs.replace(EXAMPLE.segments[0], ref=ref, footer=footer)
    assert refused(other(last=4, segments=(entry,)))[1:] == (f"store {STORE.hex()}", store.hex())


@pytest.mark.parametrize(
    "changes", [{"bytes": 1}, {"time": (-6, 6)}, {"written": (5, 5)}, {"lsn": (70, 80)}]
)
def test_a_ref_that_its_footer_does_not_say_is_told(changes: dict[str, Any]) -> None:
    entry = EXAMPLE.segments[0]
    assert covered_by(entry, "here")[0].records == 10
    ref = msgspec.structs.replace(entry.ref, **changes)
    with pytest.raises(CorruptError) as caught:
        covered_by(msgspec.structs.replace(entry, ref=ref), "here")
    assert caught.value.place == "here, footer"
    right, wrong = entry.ref, ref
    assert caught.value.found == str(
        (right.bytes, right.records, right.streams, right.lsn, right.time, right.written)
    )
    assert caught.value.expected == str(
        (wrong.bytes, wrong.records, wrong.streams, wrong.lsn, wrong.time, wrong.written)
    )


@pytest.mark.parametrize("index", [b"", b"\xff" * 100])
def test_an_index_of_another_digest_is_told(index: bytes) -> None:
    entry = msgspec.structs.replace(EXAMPLE.segments[0], index=index)
    with pytest.raises(CorruptError) as caught:
        covered_by(entry, "here")
    assert (caught.value.place, caught.value.found) == ("here, index", digest(index).hex())
    assert caught.value.expected == digest(EXAMPLE.segments[0].index).hex()


# Limits of what is made


def test_a_snapshot_as_large_as_a_reader_takes_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    # A GiB is too much for a test.
    monkeypatch.setattr(module, "SNAPSHOT_BYTES_MAX", len(GOOD))
    assert encode_snapshot(EXAMPLE) == GOOD
    assert decode_snapshot(GOOD, STORE, "here") == EXAMPLE
    monkeypatch.setattr(module, "SNAPSHOT_BYTES_MAX", len(GOOD) - 1)
    with pytest.raises(InvalidInputError, match=f"{len(GOOD)} bytes and 2 layers"):
        encode_snapshot(EXAMPLE)
    assert refused(GOOD) == ("here", "an index snapshot", f"{len(GOOD)} bytes")


def test_a_layer_is_absorbed_up_to_just_twice_what_is_new() -> None:
    assert [absorb([size], 5) for size in (1, 9, 10, 11)] == [1, 1, 1, 0]
    # What is absorbed counts for the next: 10 and 5 are 15, so 30 goes along and 31 stays.
    assert [absorb([size, 10], 5) for size in (30, 31)] == [2, 1]
    assert absorb([1, 100, 1], 1) == 1
