"""What a writer takes up that others wrote meanwhile, and what it makes of what they began."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

import transit
from transit.disk import File
from transit.format.names import wal_name
from transit.log import taking_up
from transit.log.blocks import BlockCache
from transit.log.clock import HELD_NS
from transit.log.recover import Cut
from transit.log.wal import Wal

SMALL: Final = transit.Settings(seal_bytes=4096, flush_interval_ms=60_000, compression="none")


def opened(path: Path, mode: Any = "shared") -> transit.Log:
    """A store in which nothing is sealed in the background."""
    log = transit.open(path, mode=mode, settings=SMALL, durability="os")
    log._handle.writer.rotation.on_ended = lambda: None
    return log


class Pair:
    """Two writers of one folder, as in two processes, and a stream that both append to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.one, self.other = opened(path), opened(path)
        self.streams = self.one.create("a"), self.other.stream("a")

    def append(self, who: int, count: int = 1, size: int = 10) -> None:
        for _ in range(count):
            stream = self.streams[who]
            stream.append(b"%d" % who * size)

    def end_file(self, who: int) -> None:
        """Append until the file that is written now has ended, and one record more."""
        before = self.newest
        while self.newest == before:
            self.append(who, size=900)

    @property
    def wals(self) -> list[Path]:
        return sorted((self.path / "wal").iterdir())

    @property
    def newest(self) -> Path:
        return self.wals[-1]

    def tail(self, who: int) -> int:
        """Where the next frame goes, as that writer knows it."""
        return (self.one, self.other)[who]._handle.writer.wal.tail

    def payloads(self, who: int) -> list[bytes]:
        return [record.payload for record in self.streams[who].read()]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path / "store")
    yield made
    for log in (made.one, made.other):
        # One that refuses to write says so once more.
        with suppress(transit.PoisonedError):
            log.close()


def write_raw(path: Path, position: int, data: bytes) -> None:
    with File.open(str(path), write=True) as file:
        file.write_at(position, data)


# What others wrote


def test_two_writers_that_take_turns_write_one_history(pair: Pair) -> None:
    for _ in range(3):
        for who in (0, 1):
            pair.append(who, 2)
    assert [each[:1] for each in pair.payloads(0)] == [b"0", b"0", b"1", b"1"] * 3
    assert pair.payloads(0) == pair.payloads(1)
    assert pair.one.verify().ok
    assert pair.one.recovery == pair.other.recovery == ()


def test_a_writer_goes_on_in_the_file_that_another_began(pair: Pair) -> None:
    pair.append(0)
    pair.end_file(1)
    newest = pair.newest
    pair.append(0)
    assert pair.newest == newest
    assert pair.one._handle.writer.wal.path == str(newest)
    assert pair.payloads(0) == pair.payloads(1)
    # And when that ends too, whichever of the two finds it so.
    pair.end_file(0)
    pair.append(1)
    pair.append(0)
    assert pair.payloads(0) == pair.payloads(1)
    assert pair.one.verify().ok


def test_a_file_that_another_ended_is_durable_before_there_is_a_record_behind_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.append(0)
    pair.end_file(1)
    synced: list[str] = []
    sync_data = File.sync_data

    def noted(file: File) -> None:
        synced.append(Path(file.path).name)
        sync_data(file)

    monkeypatch.setattr(File, "sync_data", noted)
    pair.append(0)
    names = [path.name for path in pair.wals]
    assert [name for name in dict.fromkeys(synced) if name in names] == names


def test_no_record_is_earlier_than_those_that_another_wrote(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.append(0)
    later = pair.streams[0][0].written + 10**9
    clock = pair.other._handle.writer.rotation.clock
    clock.reach(later)
    pair.append(1)
    pair.append(0)
    pair.append(1)
    written = [record.written for record in pair.streams[0].read()]
    assert written == sorted(written)
    assert written[1] >= later


@pytest.mark.parametrize("ends", [1, 2, 5])
def test_a_writer_that_refuses_reads_on_whatever_files_others_end_and_makes_none(
    pair: Pair, ends: int
) -> None:
    """As after a sync that failed."""
    pair.append(0)
    pair.one._handle.writer.refuse(lambda: transit.PoisonedError("planted"))
    pair.append(1)
    assert pair.payloads(0) == pair.payloads(1)
    for _ in range(ends):
        pair.end_file(1)
        count = len(pair.wals)
        assert pair.payloads(0) == pair.payloads(1)
        pair.append(1)
        assert pair.payloads(0) == pair.payloads(1)
        assert len(pair.wals) == count
    with pytest.raises(transit.PoisonedError):
        pair.append(0)
    pair.other.seal()
    pair.append(1)
    assert pair.payloads(0) == pair.payloads(1)
    assert next(pair.streams[0].tail(start=0, timeout=20)).payload == pair.payloads(1)[0]


def test_a_file_that_another_ended_without_the_next_is_followed_by_one(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.append(0)
    count = len(pair.wals)

    def full(path: str, mode: int = 0o666) -> File:
        raise transit.StorageFullError(path)

    with monkeypatch.context() as patch:
        patch.setattr(File, "create", full)
        with pytest.raises(transit.StorageFullError):
            pair.end_file(1)
    assert len(pair.wals) == count
    # Readers need no other file, though there is no room for one.
    with monkeypatch.context() as patch:
        patch.setattr(File, "create", full)
        assert len(pair.payloads(0)) == len(pair.payloads(1)) > 1
    pair.append(0)
    assert len(pair.wals) == count + 1
    pair.append(1)
    assert pair.payloads(0) == pair.payloads(1)
    assert pair.one.verify().ok


# What others began


@pytest.mark.parametrize("size", [1, 8, 40, 500])
def test_what_a_writer_left_that_died_within_a_write_is_cut_by_the_next(
    pair: Pair, size: int
) -> None:
    pair.append(0)
    pair.append(1)
    position = pair.tail(1)
    write_raw(pair.newest, position, b"\1" * size)
    pair.append(0)
    assert pair.one.recovery == (Cut(str(pair.newest), position, size),)
    assert pair.newest.stat().st_size == pair.tail(0)
    pair.append(1)
    assert pair.other.recovery == ()
    assert [each[:1] for each in pair.payloads(1)] == [b"0", b"1", b"0", b"1"]
    assert pair.other.verify().ok


def test_reading_cuts_nothing(pair: Pair) -> None:
    pair.append(0)
    pair.append(1)
    position = pair.tail(1)
    write_raw(pair.newest, position, b"\1" * 40)
    assert len(pair.payloads(0)) == 2
    assert pair.newest.stat().st_size == position + 40
    assert pair.one.recovery == ()


def test_bytes_that_were_durable_are_never_cut(pair: Pair) -> None:
    pair.append(0)
    pair.append(1)
    position = pair.tail(1)
    pair.append(1)
    pair.other.sync()
    pair.append(1)
    data = pair.newest.read_bytes()
    write_raw(pair.newest, position + 60, bytes([data[position + 60] ^ 1]))
    with pytest.raises(transit.CorruptError, match=pair.newest.name):
        pair.append(0)
    assert pair.newest.stat().st_size == len(data)
    assert pair.one.recovery == ()
    write_raw(pair.newest, 0, data)


def test_no_tail_is_torn_where_a_later_file_is_and_no_power_was_lost(pair: Pair) -> None:
    pair.append(0)
    pair.append(1)
    wal, position = pair.newest, pair.tail(1)
    write_raw(wal, position, b"\1" * 40)
    lsn = pair.other._handle.writer.wal.next_lsn
    store_id = bytes.fromhex(pair.one.store_id)
    later = Wal.create(str(wal.parent), store_id, lsn + 3, lsn, BlockCache(0))
    latest = Wal.create(str(wal.parent), store_id, lsn + 5, lsn, BlockCache(0))
    with pytest.raises(transit.CorruptError) as caught:
        pair.append(0)
    assert caught.value.place == f"{wal}, byte {position}"
    assert str(wal.parent / wal_name(lsn + 3)) in caught.value.expected
    assert wal.stat().st_size == position + 40
    for each in (later, latest):
        each.file.close()
        Path(each.path).unlink()


# When a store is opened


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_an_opening_says_what_it_cut_and_the_next_cuts_nothing(tmp_path: Path, mode: str) -> None:
    with opened(tmp_path / "s", mode) as log:
        log.create("a").append(b"x")
        wal = log._handle.writer.wal
    (path,) = (tmp_path / "s" / "wal").iterdir()
    # With what was reserved, if anything was.
    write_raw(path, wal.tail, b"\1" * 40)
    size = path.stat().st_size
    with opened(tmp_path / "s", mode) as log:
        assert log.recovery == (Cut(str(path), wal.tail, size - wal.tail),)
        log.stream("a").append(b"y")
    with opened(tmp_path / "s", mode) as log:
        assert log.recovery == ()
        assert [record.payload for record in log.stream("a").read()] == [b"x", b"y"]
        assert log.verify().ok


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_a_store_whose_last_file_has_ended_is_opened_though_there_is_no_room_for_the_next(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, mode: int = 0o666) -> File:
        if path.endswith(".wal"):
            raise transit.StorageFullError(path)
        return create(path, mode)

    create = File.create
    with opened(tmp_path / "s", mode) as log, log._handle.sealer.paused:
        stream, count = log.create("a"), 0
        with monkeypatch.context() as patch:
            patch.setattr(File, "create", full)
            with suppress(transit.StorageFullError):
                while True:
                    stream.append(b"x" * 900)
                    count += 1
            # As a process that is killed.
            log._handle.writing.let_go()
    with monkeypatch.context() as patch:
        patch.setattr(File, "create", full)
        with opened(tmp_path / "s", mode) as log:
            assert len(list(log.stream("a").read())) == count
            with pytest.raises(transit.StorageFullError):
                log.stream("a").append(b"y")
    with opened(tmp_path / "s", mode) as log:
        log.stream("a").append(b"y")
        assert len(list(log.stream("a").read())) == count + 1


# What a process that is gone has written


class Again:
    """Which WAL files are written once more from now on, which synced, cut and made."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, str]] = []
        forget, sync, create = File.forget_pages, File.sync_data, File.create
        truncate = File.truncate

        def forget_pages(file: File) -> None:
            self.done.append(("again", Path(file.path).name))
            forget(file)

        def sync_data(file: File) -> None:
            self.done.append(("synced", Path(file.path).name))
            sync(file)

        def cut(file: File, size: int) -> None:
            self.done.append(("cut", Path(file.path).name))
            truncate(file, size)

        def made(path: str, mode: int = 0o666) -> File:
            self.done.append(("made", Path(path).name))
            return create(path, mode)

        patch.setattr(File, "forget_pages", forget_pages)
        patch.setattr(File, "sync_data", sync_data)
        patch.setattr(File, "truncate", cut)
        patch.setattr(File, "create", made)

    def names(self, what: str) -> list[str]:
        return [name for each, name in self.done if each == what]


def killed(path: Path, records: int) -> list[Path]:
    """The folder as a process leaves it that is killed before it synced; its WAL files."""
    with opened(path.parent / "s", "exclusive") as log, log._handle.sealer.paused:
        stream = log.create("a")
        log.sync()
        for number in range(records):
            stream.append(b"%04d" % number * 225)
        shutil.copytree(path.parent / "s", path)
    return sorted((path / "wal").iterdir())


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
@pytest.mark.parametrize("records", [1, 3, 7, 12])
def test_what_a_killed_process_wrote_is_written_and_synced_again_before_it_is_built_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, records: int
) -> None:
    """A sync that failed in it may have left the kernel believing that all is on the disk."""
    files = [path.name for path in killed(tmp_path / "copy", records)]
    again = Again(monkeypatch)
    with opened(tmp_path / "copy", mode) as log, log._handle.sealer.paused:
        assert again.names("again") == files
        assert list(dict.fromkeys(again.names("synced"))) == files
        assert again.names("made") == []
        assert all(wal.durable == wal.tail for wal in log._handle.catalog.view.wals)
        assert len(list(log.stream("a").read())) == records


def test_the_newest_file_is_durable_after_an_opening_whatever_it_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = killed(tmp_path / "copy", 2)
    # The torn rest of a third record.
    wal_tail = len(file.read_bytes().rstrip(b"\0")) + 16 & ~7
    write_raw(file, wal_tail, b"\1" * 40)
    again = Again(monkeypatch)
    with opened(tmp_path / "copy", "exclusive") as log:
        assert len(log.recovery) == 1
        wal = log._handle.writer.wal
        assert wal.durable == wal.tail
        # After the cut, once more: what is behind it must not come back.
        assert again.done[again.done.index(("cut", file.name)) :] == [
            ("cut", file.name),
            ("synced", file.name),
        ]


@pytest.mark.parametrize("ends", [0, 1, 2])
def test_files_that_another_ended_and_left_are_written_again_before_the_next_is_made(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, ends: int
) -> None:
    pair.append(0)
    for _ in range(ends):
        pair.end_file(1)

    def full(path: str, mode: int = 0o666) -> File:
        raise transit.StorageFullError(path)

    with monkeypatch.context() as patch:
        patch.setattr(File, "create", full)
        with pytest.raises(transit.StorageFullError):
            pair.end_file(1)
    ended = [path.name for path in pair.wals]
    again = Again(monkeypatch)
    pair.append(0)
    made = again.done.index(("made", pair.newest.name))
    assert [name for what, name in again.done[:made] if what == "again"] == ended
    for name in ended:
        assert ("synced", name) in again.done[:made]
    # The next has to be there when a record in it is.
    assert ("synced", pair.newest.name) in again.done[made:]


def test_the_file_that_a_new_store_writes_to_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = Again(monkeypatch)
    with opened(tmp_path / "s", "exclusive") as log:
        first = wal_name(0)
        made = again.done.index(("made", first))
        assert again.done[made + 1] == ("synced", first)
        assert log._handle.writer.wal.durable > 0


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_no_record_is_earlier_than_the_last_before_the_opening(
    tmp_path: Path, mode: str, sealed: bool
) -> None:
    """A clock that was set back meanwhile gives no earlier time, in the same file or the next."""
    with opened(tmp_path / "s", mode) as log:
        stream = log.create("a")
        log._handle.writer.rotation.clock.reach(time.time_ns() + HELD_NS // 2)
        stream.append(b"ahead")
        last = stream[0].written
        if sealed:
            log.seal()
    with opened(tmp_path / "s", mode) as log:
        log.stream("a").append(b"after")
        first, second = (record.written for record in log.stream("a").read())
        assert first == last <= second
    with opened(tmp_path / "s", mode) as log:
        assert log.verify().ok


# Torn files behind the end


@pytest.fixture
def torn(tmp_path: Path) -> list[Path]:
    """The files of a store whose first is torn, with two behind it of which none vouches for it."""
    files = killed(tmp_path / "copy", 12)
    data = files[0].read_bytes()
    files[0].write_bytes(data[:-2000])
    assert len(files) >= 3
    return files


def test_later_files_go_with_a_torn_tail_that_is_cut(torn: list[Path], tmp_path: Path) -> None:
    with opened(tmp_path / "copy", "exclusive") as log:
        assert {cut.path for cut in log.recovery} == {str(path) for path in torn}
        assert [cut.position == 0 for cut in log.recovery].count(False) == 1
        assert not any(path.exists() for path in torn[1:])


def test_no_file_goes_if_what_it_is_behind_is_damaged_and_not_torn(
    tmp_path: Path, torn: list[Path]
) -> None:
    data = bytearray(torn[0].read_bytes())
    # A body with another byte in it: no write that is cut short looks like this.
    data[900] ^= 1
    torn[0].write_bytes(bytes(data))
    before = {path: path.read_bytes() for path in torn}
    with pytest.raises(transit.CorruptError, match=torn[0].name):
        opened(tmp_path / "copy", "exclusive")
    assert {path: path.read_bytes() for path in torn} == before


def test_no_file_goes_from_a_folder_that_came_in_the_place_of_the_store(
    tmp_path: Path, torn: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, judge = tmp_path / "copy", taking_up.judge_end

    def and_it_moves(wal: Wal, vouching: str) -> None:
        judge(wal, vouching)
        store.rename(tmp_path / "moved")
        shutil.copytree(tmp_path / "moved", store)

    monkeypatch.setattr(taking_up, "judge_end", and_it_moves)
    before = {path: path.read_bytes() for path in torn}
    with pytest.raises(transit.StoreMovedError):
        opened(store, "exclusive")
    assert {path: path.read_bytes() for path in torn} == before
