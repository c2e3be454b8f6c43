"""Pieces: a history cut where its records lie, read elsewhere without opening the store."""

from __future__ import annotations

import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from transit.engine import pieces
from transit.format.checksum import checksum
from transit.format.segment import decode_entry, encode_entry
from transit.guards import VIEW
from transit.replay import Source

SMALL = transit.Settings(seal_bytes=8192, block_bytes=4096)
pa = pytest.importorskip("pyarrow")


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    remote = path.parent / "remote"
    with transit.open(path, durability="os", remote=remote, settings=SMALL) as opened:
        yield opened


def fill(log: transit.Log) -> list[transit.Stream]:
    """Streams of each kind, with records sealed in several segments and some not sealed."""
    choice = random.Random(3)
    root = log.create("root")
    streams = [root]
    for turn in range(6):
        for number in range(40):
            root.append(b"r%d-%d" % (turn, number), headers={"turn": str(turn)}, timestamp=turn)
        root.append_many([bytes(choice.randrange(100)) for _ in range(30)])
        if turn in (1, 4):
            fork = root.branch(f"fork-{turn}", at=choice.randrange(len(root)))
            fork.append_many([b"f%d" % number for number in range(50)])
            streams.append(fork)
        if turn < 5:
            log.seal()
    root.append(b"last")
    streams.append(log.merge("merged", streams[1:3], policy="interleave"))
    streams[-1].append(b"after")
    return streams


def as_rows(records: Iterable[transit.Record]) -> list[dict[str, Any]]:
    return [
        {
            "offset": record.offset,
            "payload": record.payload,
            "headers": list(record.headers.items()),
            "origin_stream": record.origin.stream,
            "origin_offset": record.origin.offset,
            "writer": record.writer,
        }
        for record in records
    ]


COLUMNS = ("offset", "payload", "headers", "origin_stream", "origin_offset", "writer")


def rows_of(found: Iterable[transit.Piece], **options: Any) -> list[dict[str, Any]]:
    return [
        row for piece in found for row in transit.read_piece(piece, COLUMNS, **options).to_pylist()
    ]


def test_the_pieces_of_a_stream_are_what_reading_gives(log: transit.Log) -> None:
    choice = random.Random(5)
    for stream in fill(log):
        count = len(stream)
        ranges = [(0, count), (0, 0), (count, count)]
        ranges += [tuple(sorted(choice.choices(range(count + 1), k=2))) for _ in range(12)]
        for start, stop in ranges:
            found = list(stream.pieces(start, stop))
            assert rows_of(found) == as_rows(stream.read(start, stop))
            assert [piece.first for piece in found[1:]] == [piece.stop for piece in found[:-1]]
            assert all(len(piece) for piece in found)
    kinds = {bool(piece.segment) for piece in log.stream("root").pieces()}
    assert kinds == {True, False}


def test_written_and_timestamp_are_those_of_the_records(log: transit.Log) -> None:
    fill(log)
    stream = log.stream("merged")
    found = [transit.read_piece(piece, ("timestamp", "written")) for piece in stream.pieces()]
    tables = pa.concat_tables(found)
    records = list(stream)
    assert tables["timestamp"].cast(pa.int64()).to_pylist() == [r.timestamp for r in records]
    assert tables["written"].cast(pa.int64()).to_pylist() == [r.written for r in records]


READER = """
import pickle, sys, transit
found = pickle.load(sys.stdin.buffer)
rows = [row for piece in found for row in transit.read_piece(piece, ("payload",)).to_pylist()]
sys.stdout.buffer.write(pickle.dumps([row["payload"] for row in rows]))
"""


def read_elsewhere(found: list[transit.Piece], folder: Path) -> list[bytes]:
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=pickle.dumps(found),
        capture_output=True,
        cwd=folder,
        timeout=120,
        check=True,
    )
    payloads: list[bytes] = pickle.loads(done.stdout)
    return payloads


def test_another_process_reads_them_while_the_store_is_open(
    log: transit.Log, tmp_path: Path
) -> None:
    fill(log)
    stream = log.stream("merged")
    expected = [record.payload for record in stream]
    assert read_elsewhere(list(stream.pieces()), tmp_path) == expected


def test_what_was_evicted_or_lost_comes_from_the_remote(log: transit.Log, path: Path) -> None:
    fill(log)
    stream = log.stream("merged")
    expected = as_rows(stream)
    log.publish()
    found = list(stream.pieces())
    log.evict(bytes_max=0)
    assert rows_of(found) == expected
    assert rows_of(stream.pieces()) == expected
    log.close()
    shutil.rmtree(path)
    assert rows_of(found) == expected
    store = transit.open_store(path.parent / "remote")
    assert rows_of(found, remote=store) == expected
    store.close()


def test_pieces_of_a_remote_that_was_opened_alone(log: transit.Log, path: Path) -> None:
    fill(log)
    log.publish()
    expected = as_rows(log.stream("merged"))
    with transit.open((path.parent / "remote").as_uri(), mode="read") as reader:
        found = list(reader.stream("merged").pieces())
    assert {piece.folder for piece in found} == {""}
    assert rows_of(found) == expected


def test_without_the_folder_and_a_remote_the_error_says_what_to_give(
    path: Path, tmp_path: Path
) -> None:
    with transit.open(path, settings=SMALL) as log:
        log.create("a").append(b"x")
        log.seal()
        (found,) = log.stream("a").pieces()
    path.rename(tmp_path / "moved")
    with pytest.raises(transit.RetentionGapError, match="give remote="):
        transit.read_piece(found)
    with pytest.raises(transit.RetentionGapError, match="is not in"):
        transit.read_piece(found, remote=tmp_path / "nothing")


def test_damage_is_told(log: transit.Log, path: Path) -> None:
    fill(log)
    found = next(log.stream("root").pieces())
    file = path / "segments" / f"{found.segment}.seg"
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    with pytest.raises(transit.CorruptError, match="byte 32"):
        transit.read_piece(found)


def test_damage_whose_checksum_fits_is_told(log: transit.Log, path: Path) -> None:
    fill(log)
    found = next(log.stream("root").pieces())
    block = decode_entry(found._entries, 0)
    file = path / "segments" / f"{found.segment}.seg"
    data = bytearray(file.read_bytes())
    data[block.position + 40] ^= 1
    file.write_bytes(data)
    stored = bytes(data[block.position :][: block.stored_bytes])
    entry = encode_entry(msgspec.structs.replace(block, checksum=checksum(stored)))
    with pytest.raises(transit.CorruptError, match="another digest"):
        transit.read_piece(altered(found, _entries=entry + found._entries[len(entry) :]))


def altered(found: transit.Piece, **fields: Any) -> transit.Piece:
    return msgspec.structs.replace(found, **fields)


def test_a_piece_that_says_something_else_is_refused(log: transit.Log) -> None:
    fill(log)
    stream = log.stream("root")
    first, second, *_, last = stream.pieces()
    for wrong in (
        altered(first, _id=first._id + 1),
        altered(first, stop=second.stop),
        altered(first, first=first.first - 1),
        altered(last, stop=last.stop + 1),
        altered(second, source=Source("root", 1)),
        altered(first, _entries=second._entries),
    ):
        with pytest.raises(transit.CorruptError):
            transit.read_piece(wrong)
    with pytest.raises(transit.InvalidInputError):
        transit.read_piece("a piece")  # type: ignore[arg-type]


def test_all_that_is_sealed_is_in_the_pieces_of_a_log_once(log: transit.Log) -> None:
    fill(log)
    log.seal()
    seen: dict[str, list[int]] = {}
    for piece in log.pieces():
        seen.setdefault(piece.stream, []).extend(range(piece.first, piece.stop))
        rows = as_rows(log.stream(piece.stream).read(piece.first, piece.stop))
        assert rows_of([piece]) == rows
    own = {
        stream.name: list(range(stream._state.record.start, len(stream)))
        for stream in log.streams()
    }
    assert seen == {name: offsets for name, offsets in own.items() if offsets}


def test_since_gives_what_later_commits_added(log: transit.Log) -> None:
    stream = log.create("a")
    stream.append(b"0")
    log.seal()
    reached = max(piece.commit for piece in log.pieces())
    assert list(log.pieces(reached)) == []
    stream.append_many([b"1", b"2"])
    assert list(log.pieces(reached)) == []
    log.seal()
    assert [row["payload"] for row in rows_of(log.pieces(reached))] == [b"1", b"2"]
    with pytest.raises(transit.InvalidInputError):
        log.pieces("0")  # type: ignore[arg-type]


def test_hidden_streams_are_left_out_and_layers_asked_for(log: transit.Log) -> None:
    log.create("shown").append(b"s")
    log.create("hidden").append(b"h")
    log.layer("views").create("v").append(b"v")
    log.hide("hidden")
    log.seal()
    assert {piece.stream for piece in log.pieces()} == {"shown"}
    assert {piece.stream for piece in log.pieces(layer="views")} == {"$views/v"}


def test_sealing_while_pieces_are_made_loses_and_doubles_nothing(log: transit.Log) -> None:
    streams = fill(log)
    stream = streams[-1]
    expected = as_rows(stream)
    found = stream.pieces()
    taken = [next(found)]
    log.seal()
    assert rows_of([*taken, *found]) == expected


@pytest.mark.parametrize("way", ["stream", "log"])
def test_the_next_piece_in_the_middle_of_another_call_is_refused(
    log: transit.Log, way: str
) -> None:
    fill(log)
    found = log.pieces() if way == "log" else log.stream("merged").pieces()
    next(found)
    order, changing = log._handle.catalog.order, log._handle.catalog.changing
    with pytest.raises(transit.ReentrantCallError):
        order.run(VIEW, changing, lambda: next(found))


def start_each_chunk_at_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    right = pieces._piece

    def at_zero(*arguments: Any) -> transit.Piece:
        return altered(right(*arguments), _position=0)

    monkeypatch.setattr(pieces, "_piece", at_zero)


def leave_out_what_is_not_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_cut", lambda chunks, start, stop: b"")


@pytest.mark.parametrize(
    "plant",
    [start_each_chunk_at_the_first, leave_out_what_is_not_sealed],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_mistake_is_found(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, transit.CorruptError)):
        test_the_pieces_of_a_stream_are_what_reading_gives(log)
