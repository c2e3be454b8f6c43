"""Columns files and scans: made once, checked, lost and made again, read by every engine."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import transit

from .payloads import EVENTS, MORE, fill

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

from transit.views.scans import tails  # noqa: E402
from transit.views.scans.declaring import columns  # noqa: E402
from transit.views.scans.scanning import Scan, scan  # noqa: E402

NUMBERS = columns("numbers", {"n": int, "text": str})


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    with transit.open(path, durability="os", remote=path.parent / "remote") as opened:
        yield opened


def numbered(log: transit.Log, name: str, count: int, text: str = "x") -> transit.Stream:
    stream = log.stream(name) if name in log else log.create(name)
    first = len(stream)
    stream.append_many([
        b'{"n":%d,"text":"%s"}' % (n, text.encode()) for n in range(first, first + count)
    ])  # fmt: skip
    return stream


def shown(found: Scan) -> list[tuple[Any, ...]]:
    table = found.select(["_stream", "_offset", "n"]).to_arrow()
    return sorted(zip(*(column.to_pylist() for column in table.columns), strict=True))


def sources(found: Scan) -> list[str]:
    return [part.source for part in found.plan()]


def test_a_file_is_made_once_a_segment_and_read_from_then_on(log: transit.Log) -> None:
    for turn in range(3):
        numbered(log, "a", 100, f"t{turn}")
        numbered(log, "b", 50)
        log.seal()
    numbered(log, "a", 10)
    before = shown(scan(log, NUMBERS))
    assert sources(scan(log, NUMBERS)) == ["sealed"] * 3 + ["unsealed"]
    paths = scan(log, NUMBERS).to_parquet_paths()
    assert len(paths) == len(set(paths)) == 3
    assert sources(scan(log, NUMBERS)) == ["columns"] * 3 + ["unsealed"]
    assert scan(log, NUMBERS).to_parquet_paths() == paths
    assert shown(scan(log, NUMBERS)) == before
    part = scan(log, NUMBERS, streams="b").plan()[0]
    assert (part.streams, part.records) == (1, 50)
    assert part.commit == 0
    table = pq.read_table(paths[0])
    assert table.column_names[:4] == ["_stream_id", "_stream", "_offset", "_time"]
    assert table.column("n").to_pylist() == [*range(100), *range(50)]
    # Another declaration has files of its own.
    assert sources(scan(log, columns("numbers", {"n": int}))) == ["sealed"] * 3 + ["unsealed"]


def test_many_records_without_columns_are_made_into_files_once(log: transit.Log) -> None:
    for _ in range(2):
        numbered(log, "a", 26_000)
        log.seal()
    few = scan(log, NUMBERS, at=100)
    assert sources(few) == ["sealed"]
    whole = scan(log, NUMBERS)
    assert sources(whole) == ["to make", "to make"]
    assert shown(whole) == [("a", n, n) for n in range(52_000)]
    assert sources(scan(log, NUMBERS, at=100)) == ["columns"]
    assert shown(scan(log, NUMBERS, at=100)) == [("a", n, n) for n in range(100)]
    at = {"a": 30_000}
    assert shown(scan(log, NUMBERS, at=at)) == [("a", n, n) for n in range(30_000)]


def test_row_groups_that_hold_nothing_that_was_chosen_are_not_read(log: transit.Log) -> None:
    numbered(log, "a", 40_000)
    numbered(log, "b", 5)
    log.seal()
    (path,) = scan(log, NUMBERS).to_parquet_paths()
    metadata = pq.read_metadata(path)
    assert metadata.num_row_groups == 5
    # All groups but the last are overwritten: who reads only that one does not notice.
    data = bytearray(Path(path).read_bytes())
    column = metadata.row_group(4).column(0)
    for at in range(4, column.dictionary_page_offset or column.data_page_offset):
        data[at] = 0xFF
    from transit.views.scans.files import ColumnsFile

    file = ColumnsFile(pa.BufferReader(bytes(data)))
    (group,) = list(file.chunks([range(40_000, 40_005)], ["n"], []))
    assert group[1].column("n").to_pylist()[-5:] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match=r"\w"):
        list(file.chunks([range(5)], ["n"], []))


def test_a_flipped_byte_in_a_file_gives_no_wrong_answer(log: transit.Log, path: Path) -> None:
    numbered(log, "a", 1000)
    log.seal()
    expected = shown(scan(log, NUMBERS))
    choice = random.Random(7)
    for _ in range(12):
        (made,) = scan(log, NUMBERS).to_parquet_paths()
        data = bytearray(Path(made).read_bytes())
        data[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
        Path(made).write_bytes(data)
        with transit.open(path, mode="read") as reader:
            assert shown(scan(reader, NUMBERS)) == expected
            (again,) = scan(reader, NUMBERS).to_parquet_paths()
            assert again == made
            assert Path(made).read_bytes() != data


def test_files_that_go_between_queries_are_made_again(log: transit.Log, path: Path) -> None:
    numbered(log, "a", 60_000)
    log.seal()
    found = scan(log, NUMBERS)
    expected = shown(found)
    for _ in range(3):
        log.cache("views").evict(0)
        assert sources(found) == ["to make"]
        assert shown(found) == expected
    reader = found.to_reader()
    first = reader.read_next_batch()
    log.cache("views").evict(0)
    # What is being read stays open.
    assert first.num_rows + reader.read_all().num_rows == 60_000


def test_a_bound_of_nothing_keeps_answers_right(path: Path) -> None:
    settings = transit.Settings(cache_files_bytes_max=0)
    with transit.open(path, durability="os", settings=settings) as log:
        for _ in range(3):
            numbered(log, "a", 20_000)
            log.seal()
        assert shown(scan(log, NUMBERS)) == [("a", n, n) for n in range(60_000)]
        assert len(log.cache("views").names()) == 1


def test_a_disk_that_takes_nothing_keeps_answers_right(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        numbered(log, "a", 60_000)
        log.seal()
        (path / "rooms").write_bytes(b"")
        assert shown(scan(log, NUMBERS)) == [("a", n, n) for n in range(60_000)]


def test_a_remote_without_a_folder_is_read_and_its_columns_kept(
    log: transit.Log, path: Path
) -> None:
    numbered(log, "a", 60_000)
    log.stream("a").branch("b", at=9)
    log.publish()
    expected = shown(scan(log, NUMBERS))
    with transit.open((path.parent / "remote").as_uri(), mode="read") as reader:
        assert shown(scan(reader, NUMBERS)) == expected
        assert sources(scan(reader, NUMBERS)) == ["columns"]
        assert shown(scan(reader, NUMBERS, streams="b")) == [("b", n, n) for n in range(10)]
    assert not (path.parent / "remote" / "rooms").exists()


def test_records_whose_segments_were_evicted_are_read(log: transit.Log, path: Path) -> None:
    numbered(log, "a", 300)
    log.publish()
    log.evict(bytes_max=0)
    for _ in range(2):
        assert shown(scan(log, NUMBERS)) == [("a", n, n) for n in range(300)]
        scan(log, NUMBERS).to_parquet_paths()
    log.close()
    # Where streams are found, but no record of them, it is said that they are away.
    with transit.open(path, mode="read") as reader, pytest.raises(transit.RetentionGapError):
        shown(scan(reader, NUMBERS))


def test_a_scan_holds_what_was_there_when_it_was_made(log: transit.Log) -> None:
    numbered(log, "a", 10)
    found = scan(log, NUMBERS)
    numbered(log, "a", 10)
    log.seal()
    numbered(log, "new", 5)
    assert shown(found) == shown(found) == [("a", n, n) for n in range(10)]
    assert len(found) == 10


def test_branches_of_hidden_streams_have_what_they_inherited(log: transit.Log) -> None:
    first = numbered(log, "a", 20)
    child = first.branch("b", at=9)
    log.hide(first)
    other = log.create("a")
    other.append(b'{"n":-1}')
    log.seal()
    numbered(log, "b", 2)
    for _ in range(2):
        assert shown(scan(log, NUMBERS, streams=child)) == [
            *(("b", n, n) for n in range(12)),
        ]
        assert shown(scan(log, NUMBERS, streams="a")) == [("a", 0, -1)]
        assert shown(scan(log, NUMBERS, streams=first)) == [("a", n, n) for n in range(20)]
        scan(log, NUMBERS, streams=[child, first, other]).to_parquet_paths()


def test_streams_and_bounds_that_mean_nothing_are_refused(log: transit.Log) -> None:
    numbered(log, "a", 3)
    for wrong in (-1, True, 1.5, "7", "commit:x", {"a": -1}, {1: 2}, datetime(2026, 1, 1)):
        with pytest.raises(transit.InvalidInputError):
            scan(log, at=wrong)  # type: ignore[arg-type]
    for streams in (7, [7], [None]):
        with pytest.raises(transit.InvalidInputError):
            scan(log, streams=streams)  # type: ignore[arg-type]
    with pytest.raises(transit.NotFoundError):
        scan(log, streams="b")
    with pytest.raises(transit.NotFoundError):
        scan(log, at={"b": 3})
    with pytest.raises(transit.InvalidInputError):
        scan(log, since="yesterday")  # type: ignore[arg-type]
    with pytest.raises(transit.InvalidInputError):
        scan(log).select(["nothing"])
    with pytest.raises(transit.InvalidInputError):
        scan(log).to_parquet_paths()
    assert len(scan(log, streams="b*")) == len(scan(log, streams=[])) == 0
    assert scan(log, NUMBERS, streams=[]).to_arrow().num_rows == 0


def test_times_bound_as_offset_at_does(log: transit.Log) -> None:
    stream = log.create("a")
    for number in range(20):
        stream.append(b'{"n":%d}' % number)
    log.seal()
    written = [record.written for record in stream.read()]
    for time in (written[0], written[7], written[7] + 1, written[-1] + 1, 0):
        since, until = scan(log, since=time), scan(log, until=time)
        assert len(since) == sum(each >= time for each in written)
        assert len(since) + len(until) == 20
    late = datetime.fromtimestamp(written[-1] // 10**9 + 2, UTC)
    assert len(scan(log, at=late)) == 20


@pytest.mark.parametrize("made", ["before", "after", "never"])
def test_what_was_trimmed_is_left_out_whichever_way_records_come(
    log: transit.Log, made: str
) -> None:
    for name in ("a", "b"):
        numbered(log, name, 20)
    log.seal()
    if made == "before":
        scan(log, NUMBERS).to_parquet_paths()
    log.stream("b").trim(before=5)
    if made == "after":
        scan(log, NUMBERS).to_parquet_paths()
    whole = [("a", n, n) for n in range(20)]
    assert shown(scan(log, NUMBERS)) == whole + [("b", n, n) for n in range(5, 20)]
    assert shown(scan(log, NUMBERS, at=7)) == [*whole[:7], ("b", 5, 5), ("b", 6, 6)]
    assert shown(scan(log, NUMBERS, at={"b": 3})) == whole
    assert shown(scan(log, NUMBERS).lasts()) == [("a", 19, 19), ("b", 19, 19)]
    log.stream("b").trim(before=20)
    assert shown(scan(log, NUMBERS)) == whole
    assert shown(scan(log, NUMBERS).lasts()) == [("a", 19, 19)]


def test_what_goes_after_a_scan_was_made_is_told_when_it_is_read(log: transit.Log) -> None:
    for name in ("a", "b", "c"):
        numbered(log, name, 20)
    log.seal()
    trimmed, deleted = scan(log, NUMBERS, streams="b"), scan(log, NUMBERS, streams="c")
    gone = log.stream("c")
    log.stream("b").trim(before=5)
    log.delete("c", reason="asked")
    for makes in (False, True):
        if makes:
            # The file has the rows of other streams where these would be.
            scan(log, NUMBERS, streams="a").to_parquet_paths()
        for each in (trimmed, deleted, scan(log, NUMBERS, streams=["a", gone])):
            with pytest.raises(transit.ErasedError):
                each.select(["n"]).to_arrow()


def test_a_commit_bounds_merges_by_where_their_records_are_shown(log: transit.Log) -> None:
    merged = log.merge("m", [numbered(log, "a", 20), numbered(log, "b", 10)], policy="append")
    log.seal()
    merged.append(b'{"n":-1}')
    found = scan(log, NUMBERS, streams="m", at="commit:0")
    assert len(found) == len(merged) - 1 == 30
    assert shown(found)[-1] == ("m", 29, 9)
    assert shown(found.lasts()) == [("m", 29, 9)]


def test_the_last_of_each_stream_is_there_wherever_it_lies(log: transit.Log) -> None:
    numbered(log, "a", 20)
    log.seal()
    branch = numbered(log, "a", 5).branch("a/b", at=9)
    log.create("none")
    found = scan(log, NUMBERS)
    branch.append(b'{"n":-1}')
    assert shown(found.lasts()) == [("a", 24, 24), ("a/b", 9, 9)]
    assert len(found.lasts()) == 2
    assert found.select(["n"]).lasts().columns == ("n",)
    assert shown(scan(log, NUMBERS, at="commit:0").lasts()) == [("a", 19, 19), ("a/b", 9, 9)]
    assert shown(scan(log, NUMBERS, at=3).lasts()) == [("a", 2, 2), ("a/b", 2, 2)]
    assert shown(scan(log, NUMBERS, at=0).lasts()) == []
    assert shown(scan(log, NUMBERS).lasts()) == [("a", 24, 24), ("a/b", 10, -1)]


def test_over_a_layer_a_pattern_of_its_names(log: transit.Log) -> None:
    log.layer("room").create("kept").append(b'{"n":5}')
    numbered(log, "a", 1)
    log.seal()
    assert shown(scan(log, NUMBERS)) == [("a", 0, 0)]
    assert shown(scan(log, NUMBERS, streams="$room/*")) == [("$room/kept", 0, 5)]
    scan(log, NUMBERS, streams="$room/*").to_parquet_paths()
    assert shown(scan(log, NUMBERS, streams="$room/kept")) == [("$room/kept", 0, 5)]


def test_a_commit_bounds_to_what_it_and_those_before_have(log: transit.Log) -> None:
    for _ in range(3):
        numbered(log, "a", 10)
        log.seal()
    log.stream("a").branch("b", at=14)
    numbered(log, "a", 5)
    for commit, count in ((0, 10), (1, 20), (2, 30), (9, 30)):
        found = scan(log, NUMBERS, streams="a", at=f"commit:{commit}")
        assert shown(found) == [("a", n, n) for n in range(count)]
    # What a branch inherits was there before the branch was.
    assert len(scan(log, NUMBERS, streams="b", at="commit:0")) == 10
    assert len(scan(log, NUMBERS, streams="b", at="commit:1")) == 15


def test_a_tail_is_read_from_the_middle_and_appended_to(log: transit.Log) -> None:
    stream = numbered(log, "a", 20)
    assert shown(scan(log, NUMBERS)) == [("a", n, n) for n in range(20)]
    for time in (stream[7].written, stream[19].written):
        found = shown(scan(log, NUMBERS, since=time))
        first = stream.offset_at(time)
        assert found == [("a", n, n) for n in range(first, 20)]
    child = stream.branch("b", at=11)
    for turn in range(70):
        numbered(log, "a", 1)
        child.append(b'{"n":%d}' % (100 + turn))
        if turn % 10 == 0 or turn > 66:
            expected = [("a", n, n) for n in range(21 + turn)]
            expected += [("b", n, n) for n in range(12)]
            expected += [("b", 12 + n, 100 + n) for n in range(turn + 1)]
            assert shown(scan(log, NUMBERS)) == expected
    assert shown(scan(log, NUMBERS, streams="b", at=5)) == [("b", n, n) for n in range(5)]


def test_records_written_one_by_one_start_in_the_middle_of_a_tail(log: transit.Log) -> None:
    stream = log.create("a")
    for number in range(30):
        stream.append(b'{"n":%d}' % number)
    assert len(shown(scan(log, NUMBERS))) == 30
    time = stream[17].written
    first = stream.offset_at(time)
    assert 0 < first <= 17
    assert shown(scan(log, NUMBERS, since=time)) == [("a", n, n) for n in range(first, 30)]


def arrow_bytes() -> int:
    gc.collect()
    return int(pa.total_allocated_bytes())


def test_what_was_decoded_for_a_declaration_goes_when_it_is_sealed_and_another_is_asked_for(
    log: transit.Log,
) -> None:
    numbered(log, "a", 20_000, "x" * 50)
    before = arrow_bytes()
    assert len(shown(scan(log, NUMBERS))) == 20_000
    kept = arrow_bytes() - before
    assert kept > 1_000_000
    log.seal()
    numbered(log, "a", 1)
    others = columns("others", {"n": int})
    assert len(scan(log, others).to_arrow()) == 20_001
    assert arrow_bytes() - before < kept // 4


def test_declarations_that_are_asked_for_once_do_not_add_up(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "ROWS_MAX", 10_000)
    numbered(log, "a", 4_000, "x" * 50)
    found = []
    for turn in range(12):
        each = columns(f"numbers{turn}", {"n": int, "text": str, f"more{turn}": int})
        assert len(scan(log, each).to_arrow()) == 4_000
        found.append(arrow_bytes())
    assert found[-1] < found[3] * 1.5


def test_two_threads_that_ask_at_once_get_the_same(log: transit.Log) -> None:
    from concurrent.futures import ThreadPoolExecutor

    numbered(log, "a", 60_000)
    log.seal()
    numbered(log, "a", 100)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: shown(scan(log, NUMBERS)), range(4)))
    assert all(each == found[0] for each in found)
    assert len(found[0]) == 60_100


def test_polars_reads_a_scan(log: transit.Log) -> None:
    pl = pytest.importorskip("polars", reason="polars is not installed")
    fill(log, random.Random(1), {})
    log.seal()
    found = scan(log, EVENTS)
    frame = found.to_polars()
    assert frame.height == len(found) == pl.DataFrame(found).height
    assert frame["tokens"].to_list() == found.to_arrow()["tokens"].to_pylist()
    paths = found.to_parquet_paths()
    counted = pl.scan_parquet(paths).select(pl.len()).collect().item()
    assert counted == pq.read_table(paths[0]).num_rows > 0


def test_datafusion_reads_a_scan(log: transit.Log) -> None:
    datafusion = pytest.importorskip("datafusion", reason="datafusion is not installed")
    fill(log, random.Random(1), {})
    scan(log, MORE).to_parquet_paths()
    found = scan(log, MORE)
    context = datafusion.SessionContext()
    found.register(context)
    query = "SELECT tool, count(*) AS n FROM events GROUP BY tool"
    rows = context.sql(query).to_arrow_table().to_pylist()
    assert sum(row["n"] for row in rows) == len(found)
    assert {row["tool"] for row in rows} == set(found.to_arrow()["tool"].to_pylist())
