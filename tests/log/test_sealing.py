"""A WAL file becomes a segment: the same records in blocks, and a commit that names it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.errors import say
from transit.format.commit import SegmentRef
from transit.log import seal as module
from transit.log.segments import Segment

SMALL = 4096
SETTINGS = transit.Settings(block_bytes=SMALL, compression="none", flush_interval_ms=60_000)

Row = tuple[int, bytes, int, dict[str, str], int, Any]


def rows(log: transit.Log) -> dict[str, list[Row]]:
    """All there is of every stream's records."""
    return {
        stream.name: [
            (r.offset, r.payload, r.timestamp, dict(r.headers), r.written, tuple(r.origin))
            for r in stream.read()
        ]
        for stream in log.streams()
    }


def segments(log: transit.Log) -> tuple[Segment, ...]:
    return log._handle.catalog.view.segments


def alone(log: transit.Log) -> None:
    """From now on nothing is sealed in the background."""
    log._handle.writer.rotation.on_ended = lambda: None


@pytest.fixture
def log(tmp_path: Path) -> Iterator[transit.Log]:
    with transit.open(tmp_path / "store", durability="os", settings=SETTINGS) as opened:
        alone(opened)
        yield opened


def append(log: transit.Log, name: str, sizes: list[int], **options: Any) -> None:
    stream = log.stream(name) if name in log else log.create(name)
    first = stream.next_offset
    for number, size in enumerate(sizes, first):
        stream.append(bytes([number % 251]) * size, timestamp=1000 - number, **options)


# What is in it


@pytest.mark.parametrize("size", [0, 1, 100, SMALL - 200, SMALL, SMALL + 1, 3 * SMALL])
@pytest.mark.parametrize("count", [1, 2, 50])
def test_records_of_any_size_are_the_same_in_a_segment(
    log: transit.Log, size: int, count: int
) -> None:
    append(log, "a", [size] * count)
    append(log, "b", [size, 0, 7], headers={"k": "v" * 50})
    append(log, "a", [5, 2 * SMALL, 5, 5], headers={"n": "1"})
    log.stream("b").append_many([b"x" * 100] * 70, headers=[{"i": str(i)} for i in range(70)])
    before = rows(log)
    log.seal()
    assert not log._handle.catalog.view.wals[-1].index
    assert rows(log) == before
    assert log.verify().ok


def test_a_commit_says_what_is_in_its_segment(log: transit.Log) -> None:
    append(log, "a", [10, 20])
    append(log, "b", [30])
    log.seal()
    log.stream("b").append(b"late", timestamp=-5)
    log.stream("a").append(b"early", timestamp=70_000)
    log.stream("a").append(b"between", timestamp=3)
    written = [log.stream("b")[1].written, *(r.written for r in log.stream("a").read(start=2))]
    log.seal()
    first, second = (segment.ref for segment in segments(log))
    assert (second.records, second.streams) == (3, 2)
    assert second.lsn == (first.lsn[1] + 1, first.lsn[1] + 3)
    assert second.time == (-5, 70_000)
    assert second.written == (min(written), max(written))
    for segment in segments(log):
        path = Path(segment.path)
        assert segment.ref.bytes == path.stat().st_size
        footer = segment.footer
        assert (footer.first_lsn, footer.last_lsn) == segment.ref.lsn
        assert (footer.records, footer.streams) == (segment.ref.records, segment.ref.streams)
        assert (footer.time_first, footer.time_last) == segment.ref.time
        assert (footer.written_first, footer.written_last) == segment.ref.written


@pytest.mark.parametrize("time", [-(2**63), -1000, -1, 0, 1, 2**62, 2**63 - 1])
def test_times_of_records_may_be_any_that_have_64_bits(log: transit.Log, time: int) -> None:
    log.create("a").append(b"x", timestamp=time)
    log.seal()
    # The store's own record of the stream has the time of this moment.
    log.stream("a").append(b"x", timestamp=time)
    log.seal()
    assert segments(log)[1].ref.time == (time, time)


def data_blocks(segment: Segment) -> list[int]:
    """The sizes of a segment's blocks of records; the last is the index."""
    return [block.raw_bytes for block in segment.footer.blocks][:-1]


def test_blocks_are_as_large_as_the_setting_says_and_not_much_smaller(log: transit.Log) -> None:
    for name in ("a", "b", "c"):
        append(log, name, [100] * 300)
    log.seal()
    (segment,) = segments(log)
    sizes = data_blocks(segment)
    # What says where records are comes on top of payloads and headers.
    assert max(sizes) <= SMALL * 1.5
    assert sum(sizes) / len(sizes) > SMALL / 2
    assert len(sizes) < 3 * 300 * 100 / SMALL * 1.5


def test_many_small_streams_share_blocks(log: transit.Log) -> None:
    for number in range(200):
        append(log, f"s{number}", [20])
    log.seal()
    (segment,) = segments(log)
    sizes = data_blocks(segment)
    assert len(sizes) < 200 / 4
    assert max(sizes) <= SMALL * 1.5


def test_a_record_larger_than_a_block_has_one_to_itself(log: transit.Log) -> None:
    append(log, "a", [10, 3 * SMALL, 10, 10])
    log.seal()
    (segment,) = segments(log)
    index = segment.index
    (stream_id,) = {log.stream("a").id}
    chunks = [(index.firsts[row], index.counts[row]) for row in index.rows(stream_id)]
    assert (1, 1) in chunks
    assert sum(count for _, count in chunks) == 4
    blocks = [index.blocks[row] for row in index.rows(stream_id)]
    assert len(set(blocks)) == len(blocks)


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_no_chunk_has_more_records_than_the_bound(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(module, "CHUNK_RECORDS_MAX", limit)
    log.create("a").append_many([b"x"] * 20)
    append(log, "a", [1] * 20)
    before = rows(log)
    log.seal()
    (segment,) = segments(log)
    index = segment.index
    counts = [index.counts[row] for row in index.rows(log.stream("a").id)]
    assert max(counts) == limit
    assert sum(counts) == 40
    assert len(counts) == -(-40 // limit)
    assert rows(log) == before


def test_compression_is_what_the_settings_say(tmp_path: Path) -> None:
    sizes = {}
    for name, settings in (
        ("none", SETTINGS),
        ("zstd", transit.Settings(block_bytes=SMALL, flush_interval_ms=60_000)),
    ):
        with transit.open(tmp_path / name, durability="os", settings=settings) as log:
            append(log, "a", [500] * 50)
            before = rows(log)
            log.seal()
            assert rows(log) == before
            (segment,) = segments(log)
            sizes[name] = segment.ref.bytes
    assert sizes["none"] > 50 * 500 > 5 * sizes["zstd"]


# What happens to the files


def test_a_segment_left_by_a_crash_before_its_commit_is_the_same_again(
    tmp_path: Path, log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, "a", [100] * 50)
    log.sync()
    synced: list[str] = []

    def no_commit(*_: object, **__: object) -> None:
        raise transit.StorageFullError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(module.Sealer, "_commit", no_commit)
        with pytest.raises(transit.StorageFullError):
            log.seal()
    (left,) = (Path(log.path) / "segments").iterdir()
    data = left.read_bytes()
    monkeypatch.setattr(module, "sync_folder", synced.append)
    before = rows(log)
    log.seal()
    (segment,) = segments(log)
    assert segment.path == str(left)
    assert left.read_bytes() == data
    # Its name may not have reached the disk the first time.
    assert synced == [str(left.parent)]
    assert rows(log) == before


def test_nothing_half_written_is_left_of_a_segment_that_failed(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, "a", [100] * 50)

    def fails(*_: object) -> bytes:
        raise transit.StorageFullError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(module.SegmentWriter, "_footer", fails)
        with pytest.raises(transit.StorageFullError):
            log.seal()
    assert list((Path(log.path) / "segments").iterdir()) == []
    before = rows(log)
    log.seal()
    assert rows(log) == before
    assert len(segments(log)) == 1


def test_files_of_records_that_commits_cover_are_dropped_and_no_other(log: transit.Log) -> None:
    folder = Path(log.path) / "wal"
    append(log, "a", [10] * 5)
    log.sync()
    (sealed,) = folder.iterdir()
    kept = shutil.copy(sealed, Path(log.path) / "kept")
    log.seal()
    (current,) = folder.iterdir()
    assert current.name != sealed.name
    # As a sealer leaves it that is killed right after its commit.
    shutil.copy(kept, sealed)
    (folder / "letter.txt").write_text("mine")
    log._handle.sealer.drop_covered()
    assert {path.name for path in folder.iterdir()} == {current.name, "letter.txt"}


# When it fails


def test_a_seal_interrupted_right_after_its_commit_is_not_made_twice(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, "a", [10] * 5)
    before = rows(log)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(log._handle.catalog, "take_segments", interrupt)
        with pytest.raises(KeyboardInterrupt):
            log.seal()
    log.seal()
    assert log.status().commits == len(segments(log)) == 1
    assert rows(log) == before
    assert log.verify().ok


def test_a_commit_of_others_that_does_not_hold_the_records_is_told(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, "a", [10] * 5)
    log.seal()
    append(log, "a", [10] * 3)
    (first,) = segments(log)
    with monkeypatch.context() as patch:
        # As if another process had the number, and its commit were not to be found.
        patch.setattr(log._handle.catalog.commits, "add", lambda *_, **__: None)
        with pytest.raises(transit.CorruptError) as caught:
            log.seal()
    assert caught.value.place == str(log.path)
    assert caught.value.expected == f"a commit up to LSN {first.ref.lsn[1] + 3}"
    assert caught.value.found == f"one up to {first.ref.lsn[1]}"


def test_sealing_that_failed_is_tried_again_and_what_was_wrong_is_forgotten(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, "a", [10])
    sealer = log._handle.sealer

    def fails(*_: object) -> SegmentRef:
        raise transit.StorageFullError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(module.SegmentWriter, "write", fails)
        for _ in range(2):
            with pytest.raises(transit.StorageFullError, match="planted"):
                log.seal()
        assert isinstance(sealer.error, transit.StorageFullError)
    log.seal()
    assert sealer.error is None
    assert len(segments(log)) == 1


def test_after_a_sync_that_failed_nothing_is_sealed_any_more(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, "a", [10])

    def fails(*_: object) -> SegmentRef:
        raise transit.SyncFailedError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(module.SegmentWriter, "write", fails)
        with pytest.raises(transit.SyncFailedError):
            log.seal()
    with pytest.raises(transit.PoisonedError, match="planted"):
        log._handle.sealer.seal_ended()
    assert segments(log) == ()


def test_a_sealer_that_is_stopped_says_that_the_store_is_closed(log: transit.Log) -> None:
    append(log, "a", [10])
    log._handle.sealer.stop()
    with pytest.raises(transit.ClosedError, match=str(log.path)):
        log._handle.sealer.seal_ended()


def test_an_error_that_nobody_foresaw_is_said_and_ends_with_the_next_seal(
    log: transit.Log,
) -> None:
    append(log, "a", [10])
    error = ValueError("odd")
    log._handle.sealer.fail(error)
    assert say(error) in str(log._handle.sealer.error)
    log.seal()
    assert log._handle.sealer.error is None


def test_of_two_that_seal_one_file_the_second_takes_the_commit_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shared"
    options: Any = {"mode": "shared", "durability": "os", "settings": SETTINGS}
    with transit.open(path, **options) as one, transit.open(path, **options) as other:
        alone(one)
        alone(other)
        append(one, "a", [10] * 5)
        before = rows(one)
        write, done = module.SegmentWriter.write, []

        def and_the_other_seals(writer: Any, wal: Any) -> SegmentRef:
            ref = write(writer, wal)
            if not done:
                done.append(ref)
                # As another process does that has the turn: this one was too slow.
                other._handle.catalog.follow(write=True)
                sealer = other._handle.sealer
                monkeypatch.setattr(sealer, "_turns", None)
                sealer.seal_ended()
            return ref

        monkeypatch.setattr(module.SegmentWriter, "write", and_the_other_seals)
        one.seal()
        assert done
        for log in (one, other):
            assert len(segments(log)) == 1
            assert rows(log) == before
            assert log.verify().ok
