"""Golden files of format version 1, read by transit and by a reader that knows only the tables."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import transit
from transit.format.checksum import wal_seed
from transit.format.commit import check_link, decode_commit, decode_format, encode_commit, root_of
from transit.format.digest import digest
from transit.format.frame import (
    END,
    MARK,
    body_is_valid,
    decode_frame_header,
    decode_wal_header,
    frame_chunks,
)
from transit.format.record import Chunk, chunks_of
from transit.format.segment import (
    STORED,
    TAIL,
    ZSTD,
    SegmentIndex,
    check_header,
    decode_block,
    decode_footer,
    decode_tail,
)
from transit.format.snapshot import Snapshot, covered_by, decode_snapshot, encode_snapshot

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
Rows = list[dict[str, Any]]


def load(name: str) -> ModuleType:
    """A module that lies beside this one."""
    spec = importlib.util.spec_from_file_location(f"golden_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


second_reader = load("second_reader")
make_golden = load("make_golden")


@pytest.fixture(scope="module")
def expected() -> Rows:
    rows: Rows = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))
    return rows


def row(
    stream: int,
    offset: int,
    timestamp: int,
    payload: bytes,
    headers: Any,
    written: int,
    writer: str,
) -> dict[str, Any]:
    return {
        "stream": stream,
        "offset": offset,
        "timestamp": timestamp,
        "payload": payload.hex() if len(payload) < 1000 else f"{len(payload)} bytes",
        "headers": dict(headers),
        "written": written,
        "writer": writer,
    }


def rows_of(chunks: list[Chunk]) -> Rows:
    """What transit reads from chunks."""
    return [
        row(
            part.stream,
            part.first + place,
            part.timestamp(place),
            part.payload(place),
            part.header(place),
            part.written_at(place),
            part.writer,
        )
        for part in chunks
        for place in range(part.count)
    ]


def by_place(rows: Rows) -> Rows:
    return sorted(rows, key=lambda one: (one["stream"], one["offset"]))


def read_wal(data: bytes) -> tuple[int, list[int], list[Chunk]]:
    """First LSN, frame kinds and chunks that transit's format modules read from a WAL file."""
    store_id, first_lsn, _, _ = decode_wal_header(data[:64], "golden")
    assert store_id == make_golden.STORE
    seed = wal_seed(store_id, first_lsn)
    kinds, chunks, at = [], [], 64
    while (header := decode_frame_header(data, at, at, seed)) is not None:
        assert body_is_valid(header, data, at, seed)
        found = frame_chunks(header, data, at, "golden")
        for part in found:
            part.check("golden")
        kinds.append(header.kind)
        chunks += found
        at = header.stop
    assert not data[at:].strip(b"\0")
    return first_lsn, kinds, chunks


def read_segment(data: bytes) -> tuple[list[bytes], list[Chunk], SegmentIndex]:
    """Raw blocks, chunks and index that transit's format modules read from a segment."""
    check_header(data, make_golden.STORE, "golden")
    stated, size = decode_tail(data[-TAIL.size :], "golden")
    footer = decode_footer(data[-TAIL.size - size : -TAIL.size], stated, "golden")
    raws = []
    for entry in footer.blocks:
        stored = data[entry.position : entry.position + entry.stored_bytes]
        assert digest(stored) == entry.digest
        raws.append(decode_block(entry, stored, "golden"))
    chunks = [part for raw in raws[:-1] for part in chunks_of(raw, "golden")]
    return raws, chunks, SegmentIndex(raws[-1], "golden")


def golden(pattern: str) -> list[Path]:
    found = sorted(GOLDEN.glob(pattern))
    assert found
    return found


def segments_in_order() -> list[bytes]:
    refs = [json.loads(path.read_bytes())["segments"][0] for path in golden("commits/*.json")]
    return [(GOLDEN / "segments" / f"{ref['digest']}.seg").read_bytes() for ref in refs]


def snapshots_in_order() -> list[tuple[str, bytes, Snapshot]]:
    """Path, bytes and content of each golden index snapshot, oldest first."""
    found = []
    for path in golden("index/*.idx"):
        data = path.read_bytes()
        assert path.name == f"{digest(data).hex()}.idx"
        snapshot = decode_snapshot(data, make_golden.STORE, "golden")
        found.append((f"index/{path.name}", data, snapshot))
    return sorted(found, key=lambda row: row[2].first)


# Reading


@pytest.mark.parametrize("name", ["ended.wal", "open.wal", "wal/*.wal"])
def test_both_readers_read_a_golden_wal_to_the_expected_records(name: str, expected: Rows) -> None:
    (path,) = golden(name)
    data = path.read_bytes()
    first_lsn, kinds, chunks = read_wal(data)
    second = second_reader.read_wal(data)
    rows = rows_of(chunks)
    assert rows == expected[first_lsn : first_lsn + len(rows)]
    assert [row(*record) for record in second.records] == rows
    assert (second.store_id, second.first_lsn) == (make_golden.STORE, first_lsn)
    assert [frame[3] for frame in second.frames] == kinds
    assert kinds[-1] == {"ended.wal": END, "open.wal": 0}.get(name, MARK)


def test_both_readers_read_golden_segments_to_the_expected_records(expected: Rows) -> None:
    start = 0
    for data in segments_in_order():
        _, chunks, index = read_segment(data)
        second = second_reader.read_segment(data)
        rows = rows_of(chunks)
        assert by_place(rows) == by_place(expected[start : start + len(rows)])
        assert [row(*record) for record in second.records] == rows
        assert [extent[0] for extent in second.index] == list(index.streams)
        assert second.keys == list(zip(index.keys, index.ids, strict=True))
        start += len(rows)


def test_both_readers_read_the_golden_commits() -> None:
    previous, root, leaves = None, "", []
    for path in golden("commits/*.json"):
        data = path.read_bytes()
        commit = decode_commit(data, "golden")
        check_link(commit, previous, root, "golden")
        second = second_reader.read_commit(data)
        assert second["write_id"] == commit.write_id
        assert second["previous"] == root
        assert second["tree"]["range"] == list(commit.tree.range)
        assert second["tree"]["range"] == second_reader.compact_range(leaves)
        previous, root = commit, root_of(data)
        leaves.append(data)


def test_both_readers_read_the_golden_snapshots_as_the_commits_and_segments_are() -> None:
    older: list[tuple[str, int, int, int]] = []
    rows = []
    for _, data, snapshot in snapshots_in_order():
        second = second_reader.read_snapshot(data)
        assert (second.store_id, second.commits) == (make_golden.STORE, (snapshot.first,) * 2)
        assert second.layers == older
        assert [
            (layer.digest.hex(), layer.bytes, layer.first, layer.last) for layer in snapshot.layers
        ] == older
        older.append((digest(data).hex(), len(data), snapshot.first, snapshot.last))
        rows += list(zip(snapshot.segments, second.segments, strict=True))
    refs = [
        second_reader.read_commit(path.read_bytes())["segments"] for path in golden("commits/*")
    ]
    assert [[row.ref] for _, row in rows] == refs
    for number, ((entry, row), data) in enumerate(zip(rows, segments_in_order(), strict=True)):
        footer, index = covered_by(entry, "golden")
        last = footer.blocks[-1]
        assert data[last.position :] == entry.index + entry.footer + data[-TAIL.size :]
        whole = second_reader.read_segment(data)
        assert (row.commit, row.index, row.keys) == (number, whole.index, whole.keys)
        assert entry.commit == number
        assert [extent[0] for extent in row.index] == list(index.streams)


def test_both_readers_read_the_golden_store_alike(tmp_path: Path, expected: Rows) -> None:
    shutil.copytree(GOLDEN, tmp_path / "store")
    for name in ("ended.wal", "open.wal", "expected.json"):
        (tmp_path / "store" / name).unlink()
    second = second_reader.Store(tmp_path / "store")
    assert by_place([row(*r) for own in second.own.values() for r in own]) == by_place(expected)
    for mode in ("read", "exclusive"):
        with transit.open(tmp_path / "store", mode=mode) as log:
            assert shown_by(log) == second.streams()
            assert [stream.name for stream in log.streams()] == [
                "root",
                "root/branch",
                "merged",
                "of nothing",
                "selected",
            ]
            report = log.verify()
            assert report.ok, report.findings


# Writing


def test_todays_encoders_still_make_the_golden_bytes(expected: Rows) -> None:
    """But for zstd, whose blocks may be packed otherwise: those decode to the same."""
    files = make_golden.files()
    packed = segments_in_order()[1]
    refs = [decode_commit(path.read_bytes(), "golden").segments[0] for path in golden("commits/*")]
    made = make_golden.snapshots(list(zip(refs, segments_in_order(), strict=True)))
    assert list(made.items()) == [(name, data) for name, data, _ in snapshots_in_order()]
    for name, data in files.items():
        if name.startswith(("segments/", "commits/")) and not (GOLDEN / name).exists():
            assert name.startswith("segments/")
            assert read_segment(data)[0] == read_segment(packed)[0]
        elif name != "commits/00000000000000000001.json" and not name.startswith("index/"):
            assert data == (GOLDEN / name).read_bytes(), name
    assert make_golden.expected() == expected


def test_golden_commits_and_snapshots_encode_to_their_own_bytes_again() -> None:
    for path in golden("commits/*.json"):
        data = path.read_bytes()
        assert encode_commit(decode_commit(data, "golden")) == data
    for _, data, snapshot in snapshots_in_order():
        assert encode_snapshot(snapshot) == data
    assert decode_format((GOLDEN / "FORMAT").read_bytes(), "golden") == make_golden.STORE


def test_the_golden_files_have_every_width_and_codec() -> None:
    widths: list[set[int]] = [set(), set(), set()]
    for _, encoded in make_golden.chunks_in(make_golden.BODIES):
        for place, found in enumerate(widths):
            found.add(encoded[20 + place])
    assert widths == [{0, 1, 2, 4, 8}, {0, 1, 2, 4}, {0, 1}]
    codecs = set()
    for data in segments_in_order():
        stated, size = decode_tail(data[-TAIL.size :], "golden")
        footer = decode_footer(data[-TAIL.size - size : -TAIL.size], stated, "golden")
        codecs |= {block.codec for block in footer.blocks}
    assert codecs == {STORED, ZSTD}


# A live store


def shown_by(log: transit.Log) -> dict[str, list[tuple[Any, ...]]]:
    return {
        stream.name: [
            (
                r.offset,
                r.timestamp,
                r.payload,
                dict(r.headers),
                tuple(r.origin),
                r.written,
                r.writer,
            )
            for r in stream.read()
        ]
        for stream in log.streams()
    }


def grow(log: transit.Log, seal: bool) -> None:
    """Streams of every kind, some of them sealed."""
    plan = log.create("plan", metadata={"actor": "planner", "n": 1, "x": 0.5, "none": None})
    for n in range(20):
        plan.append(b"step %d" % n, headers={"n": str(n % 4)} if n % 3 else None)
    retry = plan.branch("plan/retry", at=11)
    empty = log.create("empty", codec="json")
    empty.branch("empty/child").append(b"first of its own")
    retry.append_many([b"r" * n for n in range(40)], timestamps=range(40))
    if seal:
        log.seal()
    with log.batch() as batch:
        batch.append(plan, b"both")
        batch.append(retry, b"both")
        late = batch.create("late")
        batch.append(late, b"in the same frame")
    for policy in ("append", "interleave", "base"):
        merged = log.merge(f"merged/{policy}", [plan, retry], policy=policy)
        merged.append(b"after the merge", headers={"policy": policy})
    deep = merged.branch("deep", at=3).branch("deeper", at=2)
    deep.append(b"x" * 100_000)
    final = log.merge("final", [deep, retry, log.stream("merged/append")], policy="append")
    if seal:
        log.seal()
    final.append("ünïcödé".encode(), headers={"schlüssel": "größe"}, timestamp=-5)
    plan.cursor("indexer").advance(3)


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("seal", [True, False], ids=["sealed", "not sealed"])
def test_a_second_reader_reads_a_live_store_as_transit_replays_it(
    seal: bool, compression: transit.config.Compression, tmp_path: Path
) -> None:
    settings = transit.Settings(compression=compression, block_bytes=4096)
    with transit.open(tmp_path / "store", settings=settings) as log:
        grow(log, seal)
        shown = shown_by(log)
        assert second_reader.Store(tmp_path / "store").streams() == shown
    second = second_reader.Store(tmp_path / "store")
    assert second.streams() == shown
    assert len(shown["final"]) > 60
    assert {row[4][0] for row in shown["final"]} >= {"plan", "plan/retry", "deeper"}


def test_the_second_reader_imports_nothing_from_transit() -> None:
    tree = ast.parse((HERE / "second_reader.py").read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    roots = {name.split(".")[0] for name in imported}
    assert roots - set(sys.stdlib_module_names) <= {"xxhash", "blake3", "backports", "compression"}
