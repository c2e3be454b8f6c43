"""Rules of the writer and its neighbours that only a look behind the public surface can show."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

import transit
from rigs.resources import open_files
from transit.format.frame import END
from transit.log.blocks import BlockCache
from transit.log.recover import scan
from transit.log.wal import Wal

PATIENT = transit.Settings(flush_interval_ms=60_000)


def wal_files(store: Path) -> list[Path]:
    return sorted((store / "wal").glob("*.wal"))


def test_an_end_frame_is_written_when_all_before_it_is_durable(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s", durability="os", settings=PATIENT) as log:
        stream = log.create("s")
        for number in range(10):
            stream.append(b"%d" % number)
        with log._handle.sealer.paused:
            log._handle.writer.rotate()
            copy = shutil.copytree(tmp_path / "s", tmp_path / "copy")
    store_id = bytes.fromhex(log.store_id)
    wal = Wal.open(str(copy / "wal"), store_id, 0, BlockCache(0), write=False)
    assert wal is not None
    last = [frame.header for frame in scan(wal)][-1]
    assert last.kind == END
    assert last.durable == last.position


@pytest.mark.parametrize("idle", ["cursor", "merge", "refused"])
def test_a_transaction_that_writes_nothing_does_not_stop_the_flusher(
    tmp_path: Path, idle: str
) -> None:
    with transit.open(tmp_path / "s", durability="os") as log:
        stream = log.create("s")
        other = stream.branch("other")
        log.merge("m", [stream, other], policy="append", merge_id="once")
        cursor = stream.cursor("c")
        log.sync()
        for _ in range(3):
            time.sleep(0.1)
            if idle == "cursor":
                cursor.advance(0)
            elif idle == "merge":
                log.merge("m", [stream, other], policy="append", merge_id="once")
            else:
                with pytest.raises(transit.AlreadyExistsError):
                    log.create("s")
            stream.append(b"x")
            deadline = time.monotonic() + 10
            while log.status().unsynced_bytes and time.monotonic() < deadline:
                time.sleep(0.01)
            assert log.status().unsynced_bytes == 0


def test_a_waiting_record_as_large_as_a_frame_may_be_is_framed(tmp_path: Path) -> None:
    settings = transit.Settings(
        record_bytes_max=4096, frame_bytes_max=4096, flush_interval_ms=60_000
    )
    with transit.open(tmp_path / "s", durability="memory", settings=settings) as log:
        stream = log.create("s")
        payloads = [bytes([number]) * 4096 for number in range(5)]
        for payload in payloads:
            stream.append(payload)
        log.sync()
        assert [record.payload for record in stream] == payloads


def test_waiting_records_with_large_headers_are_framed_in_time(tmp_path: Path) -> None:
    settings = transit.Settings(
        record_bytes_max=1000, frame_bytes_max=100_000, flush_interval_ms=60_000
    )
    with transit.open(tmp_path / "s", durability="memory", settings=settings) as log:
        stream = log.create("s")
        for number in range(20):
            stream.append(b"x", headers={"h": str(number) * 10_000})
        log.sync()
        assert [record.headers["h"][0] for record in stream] == [str(n)[0] for n in range(20)]


def test_verify_reads_the_other_segments_when_one_is_missing(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        for number in range(3):
            stream.append(b"%d" % number)
            log.seal()
        damaged = sorted((tmp_path / "s" / "segments").glob("*.seg"))[1]
        damaged.unlink()
        report = log.verify()
        assert not report.ok
        assert report.counts["segments"] == 3
        assert report.counts["blocks"] == 2
        assert any(damaged.name in finding.place for finding in report.findings)


def test_a_wal_that_outlived_its_commit_is_dropped_by_the_next_writer(tmp_path: Path) -> None:
    store = tmp_path / "s"
    with transit.open(store) as log:
        log.create("s").append(b"x")
        kept = wal_files(store)[0].read_bytes()
        log.seal()
    (store / "wal" / f"{0:020d}.wal").write_bytes(kept)
    assert len(wal_files(store)) == 2
    with transit.open(store) as log:
        assert [record.payload for record in log.stream("s")] == [b"x"]
        assert len(wal_files(store)) == 1
        assert log.verify().ok


def test_a_store_with_more_segments_than_open_files_is_read(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s") as log:
        stream = log.create("s")
        for number in range(40):
            stream.append(b"%d" % number)
            log.seal()
    with transit.open(tmp_path / "s", mode="read") as log:
        before = open_files()
        assert len(list(log.stream("s"))) == 40
        assert len(open_files() - before) <= 2


def test_a_list_changed_by_another_thread_does_not_reach_the_frame(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s", durability="os") as log:
        stream = log.create("s")
        payloads = [b"a", bytearray(b"b"), memoryview(b"c")]
        stream.append_many(payloads)
        payloads[1][:] = b"z"
        assert [record.payload for record in stream] == [b"a", b"b", b"c"]


def test_records_appended_one_by_one_are_read_as_they_were_written(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s", durability="os", settings=PATIENT) as log:
        streams = [log.create(name) for name in "abc"]
        expected: dict[str, list[tuple[bytes, int, dict[str, str]]]] = {"a": [], "b": [], "c": []}

        def wrote(stream: transit.Stream, payload: bytes, time: int, kind: str | None) -> None:
            expected[stream.name].append((payload, time, {"kind": kind} if kind else {}))

        for number in range(600):
            stream = streams[number % 3]
            kind = [None, "x", "y" * number][number % 5 % 3]
            headers = {"kind": kind} if kind else None
            stream.append(b"%d" % number * (number % 7), headers=headers, timestamp=-number)
            wrote(stream, b"%d" % number * (number % 7), -number, kind)
            if number % 50 == 0:
                with log.batch() as batch:
                    for one in streams:
                        batch.append(one, b"batch", timestamp=number)
                        wrote(one, b"batch", number, None)
                streams[0].append_many([b"m", b"", b"n" * 5000], timestamps=[1, 2, 3])
                for payload, time in ((b"m", 1), (b"", 2), (b"n" * 5000, 3)):
                    wrote(streams[0], payload, time, None)
        for sealed in (False, True):
            if sealed:
                log.seal()
            for stream in streams:
                want = expected[stream.name]
                assert [(r.payload, r.timestamp, dict(r.headers)) for r in stream] == want
                for start in (0, 1, 57, len(want) - 1):
                    assert [r.payload for r in stream.read(start)] == [w[0] for w in want[start:]]


@pytest.mark.parametrize("part", [0, 20, 50, 60, 90, 120])
def test_a_frame_damaged_among_many_is_named_and_not_skipped(tmp_path: Path, part: int) -> None:
    with transit.open(tmp_path / "s", durability="os", settings=PATIENT) as log:
        stream = log.create("s")
        for number in range(50):
            stream.append(b"%040d" % number)
        position = log._handle.writer.wal.index[stream.id].positions[20]
        path = wal_files(tmp_path / "s")[0]
        with path.open("r+b") as file:
            file.seek(position + part)
            byte = file.read(1)[0]
            file.seek(position + part)
            file.write(bytes([byte ^ 4]))
        with pytest.raises(transit.CorruptError, match=f"byte {position}"):
            list(stream.read())
        assert len(list(stream.read(0, 20))) == 20
        with path.open("r+b") as file:
            file.seek(position + part)
            file.write(bytes([byte]))
        assert len(list(stream.read())) == 50


def test_a_wal_old_enough_is_sealed_in_the_background(tmp_path: Path) -> None:
    settings = transit.Settings(seal_interval_s=0.1)
    with transit.open(tmp_path / "s", settings=settings) as log:
        log.create("s").append(b"x")
        deadline = time.monotonic() + 20
        while not log.status().commits and time.monotonic() < deadline:
            time.sleep(0.02)
        assert log.status().commits >= 1
        assert [record.payload for record in log.stream("s")] == [b"x"]


def test_another_platform_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(transit.UnsupportedPlatformError, match="win32"):
        transit.open(tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_futures_are_resolved_once_when_the_store_closes_beside_the_flusher(
    tmp_path: Path,
) -> None:
    for number in range(60):
        log = transit.open(tmp_path / str(number), durability="os")
        stream = log.create("s")
        futures = [stream.submit(b"x", durability="local") for _ in range(20)]
        log.close()
        assert [future.result(timeout=60).offset for future in futures] == list(range(20))
