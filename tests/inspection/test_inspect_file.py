"""`inspect_file` on every kind of file: whole, cut short, with flipped bits, newer, and foreign.

What it shows of whole files is held to the second reader.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import blake3
import pytest

import transit
from transit.format.checksum import checksum, wal_seed
from transit.format.commit import encode_format
from transit.format.digest import digest
from transit.format.frame import DATA, END, WAL_HEADER, encode_frame, encode_wal_header
from transit.format.head import encode_head
from transit.format.record import Columns, encode_chunk
from transit.format.segment import TAIL
from transit.format.snapshot import CHECKSUM
from transit.format.snapshot import HEADER as SNAPSHOT_HEADER
from transit.inspection import wal as inspected_wal

GOLDEN = Path(__file__).parents[1] / "format" / "golden"
STORE = bytes(range(16))
NESTED = ("chunk", "record")
MIB = 1024 * 1024


def _load(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "format" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"inspection_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


second_reader = _load("second_reader")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store `a`, which has unsealed records, and its remote `remote`."""
    root = tmp_path_factory.mktemp("inspected")
    settings = transit.Settings(block_bytes=4096)
    with transit.open(root / "a", remote=root / "remote", settings=settings) as log:
        for number in range(10):
            stream = log.create(f"s{number}", metadata={"number": number})
            stream.append_many([os.urandom(700) for _ in range(12)], headers={"k": str(number)})
            stream.branch(f"b{number}", at=1).append(b"x")
            log.seal()
        log.publish()
        log.evict(bytes_max=30_000)
        for number in range(5):
            stream.append(b"%d" % number * 50, headers={"n": str(number)})
        with log.batch() as batch:
            batch.append_many(log.stream("s0"), [b"1", b"2"])
            batch.append(log.stream("s1"), b"3")
    return root


def files(root: Path, pattern: str) -> list[Path]:
    found = sorted(root.glob(pattern))
    assert found
    return found


def kinds(parts: Iterator[transit.FilePart]) -> list[str]:
    return [part.kind for part in parts]


def check_tiling(report: transit.FileReport) -> None:
    """The parts that are not inside others fill the file, each byte once."""
    nested = {*NESTED, "segment"} if report.kind == "commit" else set(NESTED)
    place = 0
    for part in report.parts:
        assert part.size >= 0
        if part.kind not in nested:
            assert part.place == place, part
            place += part.size
    assert place == report.size


# Whole files


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("a/FORMAT", "format"), ("a/LOCK", "lock"), ("a/REMOTE", "remote"), ("a/wal/*", "wal"),
        ("a/commits/*", "commit"), ("a/index/*", "index"), ("a/segments/*", "segment"),
        ("remote/HEAD", "head"), ("remote/FORMAT", "format"), ("remote/segments/*", "segment"),
    ],
)  # fmt: skip
def test_every_file_of_a_store_is_known_by_its_content(
    store: Path, tmp_path: Path, pattern: str, kind: str
) -> None:
    with transit.open(store / "a", mode="read") as log:
        store_id = log.store_id
    for path in files(store, pattern):
        copy = tmp_path / "copy"
        shutil.copy(path, copy)
        for place in (path, copy, str(copy)):
            report = transit.inspect_file(place)
            assert (report.kind, report.findings, report.ok) == (kind, (), True)
            assert report.digest == blake3.blake3(path.read_bytes()).hexdigest()
            assert report.size == path.stat().st_size
            named = kind not in ("lock", "remote")
            assert (report.version, report.store_id) == ((1, store_id) if named else (None, ""))
            check_tiling(report)
            assert kinds(report.parts) == kinds(report.parts)


def test_frames_and_records_of_a_wal_are_those_of_the_second_reader(store: Path) -> None:
    for path in (*files(store, "a/wal/*"), *files(GOLDEN, "*.wal"), *files(GOLDEN, "wal/*")):
        wanted = second_reader.read_wal(path.read_bytes())
        report = transit.inspect_file(path, records=True)
        assert report.fields["first_lsn"] == wanted.first_lsn
        parts = list(report.parts)
        data = path.read_bytes()
        frames = [part for part in parts if part.kind in ("frame", "mark", "end")]
        said = ("lsn", "durable", "written")
        assert [(f.place, *(f.fields[name] for name in said)) for f in frames] == [
            (position, lsn, durable, written)
            for position, lsn, durable, _, _, written in wanted.frames
        ]
        assert [f.kind for f in frames] == [
            ("frame", "mark", "end")[kind] for *_, kind, _, _ in wanted.frames
        ]
        records = [part for part in parts if part.kind == "record"]
        assert [plain(part) for part in records] == list(map(tuple, wanted.records))
        assert [part.fields["lsn"] for part in records] == [
            wanted.first_lsn + number for number in range(len(records))
        ]
        for part in records:
            assert data[part.place : part.place + part.size] == part.fields["payload"]
        assert kinds(transit.inspect_file(path).parts) == [
            part.kind for part in parts if part.kind != "record"
        ]


def plain(part: transit.FilePart) -> tuple[object, ...]:
    """A record as the second reader has it."""
    fields = part.fields
    headers = fields["headers"]
    assert not isinstance(headers, str | int | bytes | tuple | None)
    return (
        fields["stream"], fields["offset"], fields["timestamp"], fields["payload"], dict(headers),
        fields["written"], fields.get("writer", ""),
    )  # fmt: skip


def test_blocks_and_records_of_a_segment_are_those_of_the_second_reader(store: Path) -> None:
    blocks = 0
    for path in (*files(store, "remote/segments/*"), *files(GOLDEN, "segments/*")):
        wanted = second_reader.read_segment(path.read_bytes())
        report = transit.inspect_file(path, records=True)
        assert (report.fields["lsn"], report.fields["time"]) == (wanted.lsns, wanted.times)
        assert report.fields["written"] == wanted.written
        assert report.fields["footer"] == wanted.footer_digest
        parts = list(report.parts)
        assert [plain(part) for part in parts if part.kind == "record"] == wanted.records
        numbers: dict[int, int] = {
            part.place: n for n, part in enumerate(part for part in parts if part.kind == "block")
        }
        blocks = max(blocks, len(numbers))
        found = [
            (
                part.fields["stream"], part.fields["first"], part.fields["written"][1],
                part.fields["count"], numbers[part.place], part.fields["within"],
            )
            for part in parts
            if part.kind == "chunk"
        ]  # fmt: skip
        assert found == wanted.index
    assert blocks > 1


def test_a_commit_and_a_snapshot_list_the_segments_they_name(store: Path) -> None:
    named = []
    for path in files(store, "a/commits/*"):
        data = path.read_bytes()
        wanted = second_reader.read_commit(data)
        report = transit.inspect_file(path)
        assert report.fields["root"] == report.digest
        assert report.fields["number"] == wanted["number"]
        assert report.fields["previous"] == wanted["previous"]
        for part in report.parts:
            if part.kind == "segment":
                named.append(part.fields["digest"])
                assert data[part.place :][:1] == b"{"
                assert data[part.place + part.size - 1 :][:1] == b"}"
                assert str(part.fields["digest"]).encode() in data[part.place :][: part.size]
    covered = set()
    for path in files(store, "a/index/*"):
        report = transit.inspect_file(path)
        snapshot = second_reader.read_snapshot(path.read_bytes())
        rows = [part.fields for part in report.parts if part.kind == "segment"]
        assert len(rows) == len(snapshot.segments) == report.fields["segments"]
        covered |= {row["digest"] for row in rows}
    assert covered <= set(named)
    assert covered


def test_the_notes_of_a_store_are_shown(store: Path) -> None:
    fields = transit.inspect_file(store / "a" / "LOCK").fields
    assert fields.pop("pid") == os.getpid()
    # Only where process ids count within something.
    assert set(fields) <= {"namespace"}
    # As versions before wrote it.
    (store / "a" / "LOCK").write_text("7\n")
    assert transit.inspect_file(store / "a" / "LOCK").fields == {"pid": 7}
    address = f"file://{store}/remote"
    assert transit.inspect_file(store / "a" / "REMOTE").fields == {"address": address}
    head = transit.inspect_file(store / "remote" / "HEAD").fields
    assert (head["kind"], head["number"]) == ("transit-head", 9)


# Damage

SAMPLES = {
    "wal": ("ended.wal", "open.wal"),
    "segment": ("segments/*",),
    "index": ("index/*",),
    "commit": ("commits/*",),
    "format": ("FORMAT",),
}


def samples(kind: str) -> list[bytes]:
    if kind == "head":
        return [encode_head(STORE, 12, 7)]
    return [path.read_bytes() for pattern in SAMPLES[kind] for path in files(GOLDEN, pattern)]


@pytest.mark.parametrize("kind", [*SAMPLES, "head"])
def test_a_file_cut_anywhere_is_shown_up_to_there(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "cut"
    known = 0
    for data in samples(kind):
        whole = frames_of(data, tmp_path)
        for size in range(0, len(data), 3):
            path.write_bytes(data[:size])
            try:
                report = transit.inspect_file(path)
            except transit.InvalidInputError:
                # Too little to tell what it was.
                assert size <= 21
                continue
            known += 1
            assert report.kind == kind
            check_tiling(report)
            if kind != "wal" or size < WAL_HEADER.size:
                assert report.findings
                continue
            parts = list(report.parts)
            before = [part for part in whole if part.place + part.size <= size]
            assert [part for part in parts if part.kind in ("frame", "mark", "end")] == before
            ends = [part.kind for part in parts if part.kind in ("torn", "damage", "unused")]
            rest = data[end_of(before) : size]
            assert ends == (["torn"] if any(rest) else ["unused"] if rest else [])
    assert known


def frames_of(data: bytes, folder: Path) -> list[transit.FilePart]:
    path = folder / "whole"
    path.write_bytes(data)
    parts = transit.inspect_file(path).parts
    return [part for part in parts if part.kind in ("frame", "mark", "end")]


def end_of(frames: list[transit.FilePart]) -> int:
    return frames[-1].place + frames[-1].size if frames else WAL_HEADER.size


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*SAMPLES, "head"])
def test_a_flipped_bit_anywhere_is_found_and_the_rest_is_shown(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "flipped"
    for data in samples(kind):
        whole = frames_of(data, tmp_path)
        said = said_by(tmp_path / "whole")
        for bit in range(0, 8 * len(data), 13):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            try:
                report = transit.inspect_file(path, records=True)
            except transit.InvalidInputError:
                # A document whose first byte is gone.
                assert bit < 8
                assert data[:1] == b"{"
                continue
            check_tiling(report)
            if kind in ("format", "head"):
                # Nothing in them tells a number or an id from another one.
                assert report.findings or said_by(path) != said
                continue
            assert report.kind == kind
            if kind != "wal":
                assert report.findings, bit
                continue
            check_other_frames(report, whole, bit // 8)


def said_by(path: Path) -> tuple[object, ...]:
    report = transit.inspect_file(path)
    return report.kind, report.version, report.store_id, report.fields


def check_other_frames(
    report: transit.FileReport, whole: list[transit.FilePart], byte: int
) -> None:
    """All frames are shown but the one that holds the damaged byte, and the damage is told."""
    parts = list(report.parts)
    shown = [part for part in parts if part.kind in ("frame", "mark", "end")]
    if 16 <= byte < 40:
        # Store and LSN are what every checksum is made with.
        assert report.findings
        return
    wanted = [part for part in whole if not part.place <= byte < part.place + part.size]
    assert shown == wanted
    assert report.findings or parts[-1].kind == "torn"
    if byte >= WAL_HEADER.size:
        assert len(report.findings) <= 1
        gaps = [part for part in parts if part.kind in ("damage", "torn")]
        assert any(part.place <= byte < part.place + part.size for part in gaps)


def test_damage_in_a_block_is_told_and_the_other_blocks_are_shown(
    store: Path, tmp_path: Path
) -> None:
    path = max(files(store, "remote/segments/*"), key=lambda path: path.stat().st_size)
    blocks = [part for part in transit.inspect_file(path).parts if part.kind == "block"]
    whole = list(transit.inspect_file(path, records=True).parts)
    data = bytearray(path.read_bytes())
    data[blocks[0].place + 5] ^= 1
    damaged = tmp_path / "copy"
    damaged.write_bytes(data)
    report = transit.inspect_file(damaged, records=True)
    parts = list(report.parts)
    assert parts[1].fields["digest"] == blocks[0].fields["digest"]
    stored = data[blocks[0].place :][: blocks[0].size]
    assert parts[1].fields["digest_found"] == digest(stored).hex()
    rest = [p for p in whole if p.place > blocks[0].place]
    assert [p for p in parts if p.place > blocks[0].place] == rest
    assert len(blocks) > 1
    (finding,) = report.findings
    assert finding.place == f"{damaged}, byte {blocks[0].place}"
    assert finding.expected == blocks[0].fields["digest"]
    assert finding.found == parts[1].fields["digest_found"]


def test_a_segment_without_its_footer_shows_what_the_tail_says(store: Path, tmp_path: Path) -> None:
    path = files(store, "remote/segments/*")[0]
    data = bytearray(path.read_bytes())
    data[-TAIL.size - 10] ^= 1
    (tmp_path / "copy").write_bytes(data)
    report = transit.inspect_file(tmp_path / "copy")
    assert kinds(report.parts) == ["header", "unknown", "footer", "tail"]
    footer = list(report.parts)[2].fields
    assert footer["digest"] != footer["digest_found"]
    assert [finding.expected for finding in report.findings] == [footer["digest"]]
    assert report.fields == {}
    data[12] = 4
    (tmp_path / "copy").write_bytes(data)
    # The header is checked all the same.
    assert len(transit.inspect_file(tmp_path / "copy").findings) == 2


def test_a_segment_with_bytes_between_index_and_footer_is_refused(tmp_path: Path) -> None:
    data = samples("segment")[0]
    footer_at = len(data) - TAIL.size - int.from_bytes(data[-16:-12], "little")
    path = tmp_path / "copy"
    path.write_bytes(data[:footer_at] + bytes(8) + data[footer_at:])
    report = transit.inspect_file(path)
    assert [(f.expected, f.found) for f in report.findings] == [
        (f"byte {footer_at}", f"byte {footer_at + 8}")
    ]
    check_tiling(report)


def test_a_file_that_is_not_what_its_name_says_is_a_finding(store: Path, tmp_path: Path) -> None:
    one, other = files(store, "remote/segments/*")[:2]
    shutil.copy(one, tmp_path / other.name)
    commit = files(store, "a/commits/*")[3]
    shutil.copy(commit, tmp_path / f"{8:020}.json")
    shutil.copy(files(store, "a/wal/*")[0], tmp_path / f"{1:020}.wal")
    for path in files(tmp_path, "*"):
        (finding,) = transit.inspect_file(path).findings
        assert "as the name says" in finding.expected
    assert transit.inspect_file(tmp_path / f"{8:020}.json").findings[0].found == "3"


# WALs that no writer makes


def wal_of(*frames: Callable[[int, int], bytes], first_lsn: int = 7) -> bytes:
    """A WAL file; each frame is made at its position with the file's seed."""
    data = encode_wal_header(STORE, first_lsn)
    seed = wal_seed(STORE, first_lsn)
    for frame in frames:
        data += frame(len(data), seed)
    return data


def frame_of(body: bytes, lsn: int, records: int = 1, kind: int = DATA) -> Callable[..., bytes]:
    return lambda position, seed: encode_frame(body, position, lsn, 64, records, kind, 0, seed)


def one(stream: int, offset: int) -> bytes:
    return b"".join(encode_chunk(stream, offset, Columns([b"p"], 1, 0, None)))


def test_a_frame_whose_contents_do_not_fit_is_a_finding_and_the_next_is_shown(
    tmp_path: Path,
) -> None:
    path = tmp_path / "copy"
    path.write_bytes(
        wal_of(
            frame_of(one(1, 0), 7),
            frame_of(one(1, 1) + one(1, 2), 8, 2),
            frame_of(b"no chunk", 10),
            frame_of(one(1, 3), 11),
        )
    )
    report = transit.inspect_file(path)
    assert kinds(report.parts) == ["header", "frame", "chunk", "frame", "frame", "frame", "chunk"]
    assert len(report.findings) == 2
    assert "one chunk a stream" in report.findings[0].expected
    check_tiling(report)


def test_a_gap_in_the_log_is_a_finding_and_the_records_behind_it_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.write_bytes(wal_of(frame_of(one(1, 0), 7), frame_of(one(1, 5), 12)))
    report = transit.inspect_file(path, records=True)
    assert [p.fields["lsn"] for p in report.parts if p.kind == "record"] == [7, 12]
    (finding,) = report.findings
    assert (finding.expected, finding.found) == ("LSN 8", "12")


def test_bytes_after_the_end_frame_are_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    whole = wal_of(frame_of(one(1, 0), 7), frame_of(b"", 8, 0, END))
    path.write_bytes(whole + bytes(80))
    report = transit.inspect_file(path)
    assert kinds(report.parts) == ["header", "frame", "chunk", "end", "unused"]
    assert report.ok
    path.write_bytes(whole + b"more bytes")
    report = transit.inspect_file(path)
    assert kinds(report.parts)[-1] == "damage"
    assert len(report.findings) == 1


def test_a_frame_after_the_end_frame_is_not_read_on(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    frames = [frame_of(one(1, offset), 7 + offset) for offset in range(3)]
    path.write_bytes(wal_of(frame_of(b"", 7, 0, END), *frames))
    report = transit.inspect_file(path)
    assert kinds(report.parts) == ["header", "end", "damage"]
    assert len(report.findings) == 1


def test_a_frame_at_a_place_where_none_starts_is_none(tmp_path: Path) -> None:
    seed, frame = wal_seed(STORE, 7), frame_of(one(1, 0), 7)
    path = tmp_path / "copy"
    path.write_bytes(wal_of() + b"x" * 12 + frame(64 + 12, seed) + b"x" * 500)
    assert kinds(transit.inspect_file(path).parts) == ["header", "torn"]


def test_a_frame_whose_headers_are_not_json_is_a_finding_and_its_records_are_not_shown(
    tmp_path: Path,
) -> None:
    path = tmp_path / "copy"
    body = b"".join(encode_chunk(1, 0, Columns([b"p"], 1, 0, b"{not json")))
    path.write_bytes(wal_of(frame_of(body, 7), frame_of(one(1, 1), 8)))
    report = transit.inspect_file(path, records=True)
    assert kinds(report.parts) == ["header", "frame", "frame", "chunk", "record"]
    assert [finding.expected for finding in report.findings] == ["a header table"]


@pytest.mark.slow
def test_a_frame_behind_a_long_hole_is_found_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    size = 300 * MIB
    head = wal_of(frame_of(one(1, 0), 7))
    seed = wal_seed(STORE, 7)
    # Magics at the edges of what is read at once, to be told from the frame.
    edge = len(head) + inspected_wal.SEARCH_BYTES
    with path.open("wb") as file:
        file.write(head)
        for place in (edge - 2, edge + 8, size - 64):
            file.seek(place)
            file.write(b"TrFm")
        for place, offset in ((edge + 4096, 1), (size, 2)):
            file.seek(place)
            file.write(encode_frame(one(1, offset), place, 7 + offset, 64, 1, DATA, 0, seed))
        file.truncate(size + 200 * MIB)
    tracemalloc.start()
    report = transit.inspect_file(path)
    assert kinds(report.parts) == [
        "header", "frame", "chunk", "damage", "frame", "chunk", "damage", "frame", "chunk",
        "unused",
    ]  # fmt: skip
    assert len(report.findings) == 2
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    check_tiling(report)
    assert peak < 16 * MIB


@pytest.mark.parametrize("shift", range(-64, 9, 8))
def test_a_frame_across_the_edge_of_what_is_searched_at_once_is_found(
    tmp_path: Path, shift: int
) -> None:
    head = wal_of()
    place = len(head) + inspected_wal.SEARCH_BYTES + shift
    frame = encode_frame(one(1, 0), place, 7, 64, 1, DATA, 0, wal_seed(STORE, 7))
    path = tmp_path / "copy"
    path.write_bytes(head + b"x" * (place - len(head)) + frame)
    report = transit.inspect_file(path)
    assert kinds(report.parts) == ["header", "damage", "frame", "chunk"]


# Sizes that are not believed


def peak_of(path: Path) -> int:
    """The most memory an inspection of all of a file takes, bytes."""
    tracemalloc.start()
    report = transit.inspect_file(path, records=True)
    assert not report.ok
    list(report.parts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    check_tiling(report)
    return peak


def test_a_size_that_a_frame_states_takes_no_memory(tmp_path: Path) -> None:
    frame = frame_of(one(1, 0), 7)
    data = bytearray(wal_of(frame, frame_of(b"", 8, 0, END)))
    data[68:72] = (2**32 - 20).to_bytes(4, "little")
    seed = wal_seed(STORE, 7)
    data[112:120] = checksum(bytes(data[64:112]), seed).to_bytes(8, "little")
    (tmp_path / "copy").write_bytes(data)
    assert peak_of(tmp_path / "copy") < 8 * MIB
    assert kinds(transit.inspect_file(tmp_path / "copy").parts) == ["header", "damage", "end"]


def test_a_size_that_a_segments_tail_states_takes_no_memory(tmp_path: Path) -> None:
    data = bytearray(samples("segment")[0])
    data[-16:-12] = (60 * MIB).to_bytes(4, "little")
    (tmp_path / "copy").write_bytes(data)
    assert peak_of(tmp_path / "copy") < 8 * MIB


@pytest.mark.parametrize("place", [64, 68])
def test_counts_that_a_snapshot_states_take_no_memory(tmp_path: Path, place: int) -> None:
    data = bytearray(samples("index")[0])
    data[place : place + 4] = (2**32 - 1).to_bytes(4, "little")
    (tmp_path / "copy").write_bytes(data)
    assert peak_of(tmp_path / "copy") < 8 * MIB


def test_sizes_of_guides_that_a_snapshot_states_take_no_memory(tmp_path: Path) -> None:
    data = bytearray(samples("index")[0])
    layers = int.from_bytes(data[64:68], "little")
    segments = int.from_bytes(data[68:72], "little")
    stop = SNAPSHOT_HEADER.size + 56 * layers + 184 * segments
    data[stop - 8 : stop - 4] = (2**32 - 1).to_bytes(4, "little")
    data[stop : stop + CHECKSUM.size] = checksum(bytes(data[:stop])).to_bytes(8, "little")
    (tmp_path / "copy").write_bytes(data)
    assert peak_of(tmp_path / "copy") < 8 * MIB
    assert kinds(transit.inspect_file(tmp_path / "copy").parts)[-1] == "unknown"


# Versions


def newer(kind: str) -> bytes:
    """A file of format version 2."""
    data = bytearray(samples(kind)[0])
    if kind in ("commit", "format", "head"):
        return bytes(data).replace(b'"format":1', b'"format":2')
    data[8] = 2
    if kind == "wal":
        data[56:64] = checksum(bytes(data[:56])).to_bytes(8, "little")
    return bytes(data)


@pytest.mark.parametrize("kind", [*SAMPLES, "head"])
def test_a_newer_version_is_named_and_no_damage(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "copy"
    path.write_bytes(newer(kind))
    report = transit.inspect_file(path, records=True)
    assert (report.kind, report.version) == (kind, 2)
    assert report.size == len(newer(kind))
    assert len(report.store_id) == 32
    (finding,) = report.findings
    assert "version 2" in finding.found
    assert "this transit reads up to version 1" in finding.found
    check_tiling(report)
    shown = set(kinds(report.parts))
    assert shown <= {"header", "unknown", "document", "footer", "tail"}


# What is no file of a store


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"some text\n", b"{}", b'{"store": 1, "checksum": 2}', b"[1, 2]", b"TRAN",
        b"PK\3\4" + bytes(100), bytes(200), b"\xff" * 200, b"12345678901234567890123\n", b"12 3\n",
        b"://x", b"TRANSIT\0" + bytes(100), b"s3://bucket\nmore", b"1" * 5000,
    ],
)  # fmt: skip
def test_a_foreign_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / f"{0:020}.wal"
    path.write_bytes(data)
    with pytest.raises(transit.InvalidInputError, match=r"\.wal: is "):
        transit.inspect_file(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(transit.InvalidInputError, match="folder"):
        transit.inspect_file(tmp_path)
    for missing in (tmp_path / "none", tmp_path / "none" / "x"):
        with pytest.raises(transit.NotFoundError):
            transit.inspect_file(missing)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(transit.InvalidInputError):
        transit.inspect_file(tmp_path / "pipe")
    for wrong in (None, 7, b"bytes", "", "a\0b", ["x"]):
        with pytest.raises(transit.InvalidInputError):
            transit.inspect_file(wrong)  # type: ignore[arg-type]


def test_a_document_larger_than_any_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.write_bytes(samples("commit")[0] + b" " * 100_000)
    report = transit.inspect_file(path)
    assert report.kind == "commit"
    assert "at most 65535 bytes" in report.findings[0].expected


def test_documents_that_decode_are_shown_as_they_would_be_written(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.write_bytes(encode_format(STORE))
    assert transit.inspect_file(path).store_id == STORE.hex()
    path.write_bytes(encode_head(STORE, 5, None))
    assert transit.inspect_file(path).fields["index"] is None
    path.write_bytes(b'{"format":1,"index":9,"kind":"transit-head","number":5,"store":"x"}')
    (finding,) = transit.inspect_file(path).findings
    assert finding.expected == "a HEAD hint"
