"""One sealed segment: read from the folder or from elsewhere, and everything in it checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from transit.disk import File
from transit.format.commit import SegmentRef
from transit.format.segment import HEADER, TAIL, Footer
from transit.log.blocks import BlockCache
from transit.log.segments import Guide, Segment, decode_guide, footer_bytes

STREAMS = 6
RECORDS = 30


class Sealed:
    """A store's folder with one segment, and what is in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        settings = transit.Settings(compression="none", block_bytes=4096)
        with transit.open(root, durability="os", settings=settings) as log:
            for number in range(STREAMS):
                log.create(f"s{number}").append_many(
                    [bytes([number, n]) * 100 for n in range(RECORDS)]
                )
            log.seal()
            self.store_id = bytes.fromhex(log.store_id)
            (segment,) = log._handle.catalog.view.segments
            self.ref: SegmentRef = segment.ref
            self.path = Path(segment.path)
        self.data = self.path.read_bytes()

    def segment(self, elsewhere: Any = None, cache: int = 10**7, **changes: Any) -> Segment:
        """The segment, of which nothing is known yet."""
        ref = msgspec.structs.replace(self.ref, **changes)
        return Segment(str(self.root), ref, 0, self.store_id, BlockCache(cache), elsewhere)

    def write(self, data: bytes) -> None:
        """Other bytes in the file's place."""
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(data)


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    return Sealed(tmp_path / "store")


class Elsewhere:
    """Has the segment, and counts what it is asked for."""

    def __init__(self, segment: Segment, data: bytes) -> None:
        self._guide, self._footer, self._data = segment.guide(), segment.footer, data
        self.asked: list[str] = []
        self.missing = False

    def check(self, ref: SegmentRef) -> None:
        self.asked.append("check")
        if self.missing:
            raise transit.RetentionGapError("nowhere")

    def guide(self, ref: SegmentRef) -> Guide:
        self.asked.append("guide")
        return self._guide

    def stored(self, ref: SegmentRef, footer: Footer, number: int) -> bytes:
        self.asked.append(f"block {number}")
        entry = footer.blocks[number]
        return self._data[entry.position :][: entry.stored_bytes]

    def read(self, ref: SegmentRef, position: int, size: int) -> bytes:
        self.asked.append("read")
        return self._data[position : position + size]

    def redacted(self, ref: SegmentRef) -> None:
        self.asked.append("redacted")


def everything(segment: Segment) -> list[tuple[int, int, list[bytes]]]:
    """Stream, first offset and payloads of each chunk."""
    rows = range(len(segment.index.streams))
    chunks = [segment.chunk(row) for row in rows]
    return [(chunk.stream, chunk.first, list(chunk.payloads())) for chunk in chunks]


def test_all_that_was_sealed_is_in_its_chunks(sealed: Sealed) -> None:
    for room in (0, 10**7):
        found: dict[int, list[bytes]] = {}
        for stream, first, payloads in everything(sealed.segment(cache=room)):
            assert first == len(found.setdefault(stream, []))
            found[stream] += payloads
        # After the store's own.
        users = [found[stream] for stream in sorted(found)][-STREAMS:]
        assert users == [
            [bytes([number, n]) * 100 for n in range(RECORDS)] for number in range(STREAMS)
        ]


def test_a_segment_that_is_elsewhere_is_the_same(sealed: Sealed) -> None:
    wanted = everything(sealed.segment())
    elsewhere = Elsewhere(sealed.segment(), sealed.data)
    sealed.path.unlink()
    segment = sealed.segment(elsewhere)
    assert everything(segment) == wanted
    blocks = sorted({each for each in elsewhere.asked if each.startswith("block")})
    assert elsewhere.asked.count("guide") == 1
    assert len(blocks) == len(segment.footer.blocks) - 1
    assert segment.read(10, 20) == sealed.data[10:30]
    # Nothing is asked for elsewhere of a segment that is here.
    sealed.write(sealed.data)
    asked = len(elsewhere.asked)
    assert everything(sealed.segment(elsewhere)) == wanted
    assert sealed.segment(elsewhere).read(10, 20) == sealed.data[10:30]
    assert len(elsewhere.asked) == asked


def test_a_segment_that_is_nowhere_is_told(sealed: Sealed) -> None:
    elsewhere = Elsewhere(sealed.segment(), sealed.data)
    elsewhere.missing = True
    sealed.path.unlink()
    segment = sealed.segment(elsewhere)
    for look in (segment.check_present, segment.load, segment.guide):
        with pytest.raises(transit.RetentionGapError):
            look()


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_size_is_damaged(sealed: Sealed, change: int) -> None:
    sealed.segment().check_present()
    sealed.write(sealed.data[:change] if change < 0 else sealed.data + b"x")
    segment = sealed.segment()
    for look in (segment.check_present, segment.load, segment.guide):
        with pytest.raises(transit.CorruptError) as caught:
            look()
        assert caught.value.place == str(sealed.path)
        assert caught.value.expected == f"{len(sealed.data)} bytes"
        assert caught.value.found == f"{len(sealed.data) + change} bytes"


def test_a_guide_is_the_footer_and_the_index_as_they_are_stored(sealed: Sealed) -> None:
    guide = sealed.segment().guide()
    stop = len(sealed.data) - TAIL.size
    assert guide.footer == sealed.data[stop - len(guide.footer) : stop]
    last = sealed.segment().footer.blocks[-1]
    assert guide.index == sealed.data[last.position :][: last.stored_bytes]


def test_every_flipped_byte_is_found_by_whatever_reads_it(sealed: Sealed) -> None:
    last = sealed.segment().footer.blocks[-1]
    tail_at = len(sealed.data) - TAIL.size
    for at in (0, 16, HEADER.size - 1, last.position, last.position + 20, tail_at - 1, tail_at):
        data = bytearray(sealed.data)
        data[at] ^= 1
        sealed.write(bytes(data))
        with pytest.raises(transit.FormatError, match=sealed.path.name):
            sealed.segment().load()


def test_a_flipped_byte_in_a_block_is_found_when_it_is_read_and_not_before(sealed: Sealed) -> None:
    good = sealed.segment()
    wanted = everything(good)
    number = len(good.footer.blocks) // 2
    data = bytearray(sealed.data)
    data[good.footer.blocks[number].position + 3] ^= 1
    sealed.write(bytes(data))
    segment = sealed.segment()
    for row, chunk in enumerate(wanted):
        if segment.index.blocks[row] == number:
            with pytest.raises(transit.CorruptError, match=sealed.path.name):
                segment.chunk(row)
        else:
            assert list(segment.chunk(row).payloads()) == chunk[2]


def test_a_block_is_read_once_while_the_cache_has_it(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = sealed.segment()
    wanted = everything(segment)
    monkeypatch.setattr(File, "open", _no_file)
    assert everything(segment) == wanted
    again = segment.chunk(3)
    assert again is segment.chunk(3)


def _no_file(*_: object, **__: object) -> File:
    raise AssertionError("a file was opened")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux does")
def test_no_file_stays_open_between_reads(sealed: Sealed) -> None:
    before = descriptors()
    segment = sealed.segment(cache=0)
    everything(segment)
    segment.read(0, 10)
    assert descriptors() == before


REFS: dict[str, dict[str, Any]] = {
    "footer": {"footer": "ee" * 32},
    "records": {"records": 1},
    "streams": {"streams": 1},
    "lsn": {"lsn": (0, 5)},
    "time": {"time": (0, 5)},
    "written": {"written": (0, 5)},
}


@pytest.mark.parametrize("field", REFS)
def test_a_segment_that_is_not_what_its_commit_says_is_damaged(sealed: Sealed, field: str) -> None:
    with pytest.raises(transit.CorruptError, match=sealed.path.name) as caught:
        sealed.segment(**REFS[field]).load()
    assert "footer" in caught.value.place


def test_the_segment_of_another_store_is_refused(sealed: Sealed) -> None:
    guide = sealed.segment().guide()
    footer, _ = decode_guide(guide, sealed.ref, sealed.store_id, "here")
    assert footer.store_id == sealed.store_id
    for other in (bytes(16), b"\xff" * 16):
        with pytest.raises(transit.CorruptError) as caught:
            decode_guide(guide, sealed.ref, other, "here")
        assert caught.value.place == "here, footer"
        assert caught.value.expected == f"store {other.hex()}"
        assert caught.value.found == sealed.store_id.hex()


def test_a_footer_as_large_as_its_segment_is_refused_before_it_is_read(sealed: Sealed) -> None:
    tail = sealed.data[-TAIL.size :]
    size = len(sealed.segment().guide().footer)
    assert footer_bytes(tail, sealed.ref, "here") == size
    fits = msgspec.structs.replace(sealed.ref, bytes=HEADER.size + size + TAIL.size)
    assert footer_bytes(tail, fits, "here") == size
    with pytest.raises(transit.CorruptError) as caught:
        footer_bytes(tail, msgspec.structs.replace(fits, bytes=fits.bytes - 1), "here")
    assert (caught.value.place, caught.value.found) == ("here, tail", str(size))


@pytest.mark.parametrize("other", ["00" * 32, "ff" * 32])
def test_a_tail_that_names_another_footer_is_damaged(sealed: Sealed, other: str) -> None:
    ref = msgspec.structs.replace(sealed.ref, footer=other)
    with pytest.raises(transit.CorruptError) as caught:
        footer_bytes(sealed.data[-TAIL.size :], ref, "here")
    assert (caught.value.place, caught.value.expected) == ("here, footer", other)
    assert caught.value.found == sealed.ref.footer


@pytest.mark.parametrize("column", ["streams", "firsts", "counts"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_row_that_says_other_than_its_chunk_is_damaged(
    sealed: Sealed, column: str, change: int
) -> None:
    segment = sealed.segment()
    row = len(segment.index.streams) - 1
    wanted = list(segment.chunk(row - 1).payloads())
    fresh = sealed.segment()
    values = list(getattr(fresh.index, column))
    values[row] += change
    setattr(fresh.index, column, values)
    assert list(fresh.chunk(row - 1).payloads()) == wanted
    for _ in range(2):
        with pytest.raises(transit.CorruptError) as caught:
            fresh.chunk(row)
        assert caught.value.place == (
            f"{sealed.path}, block {fresh.index.blocks[row]}, byte {fresh.index.positions[row]}"
        )
