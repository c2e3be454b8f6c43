"""The WAL files of one folder: which vouches for another, and which are removed together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from transit.disk import File
from transit.format.frame import DATA, MARK, WAL_HEADER
from transit.format.names import Places, wal_name
from transit.format.record import Columns, encode_chunk
from transit.log import files as module
from transit.log.blocks import BlockCache
from transit.log.files import WalFiles
from transit.log.recover import Cut
from transit.log.wal import Wal

STORE = bytes(range(16))
# The numbers of the files in the folder.
NUMBERS = [0, 5, 9, 14]


class Shelf:
    """A folder of WAL files without records, and what a store has open of it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "wal"
        self.folder.mkdir()
        self.files = WalFiles(Places(str(root)), STORE, BlockCache(0))

    def path(self, number: int) -> Path:
        return self.folder / wal_name(number)

    def make(self, number: int, unsynced_from: int = 0) -> Wal:
        return self.files.create(number, unsynced_from)

    def frame(self, wal: Wal, durable: int = 0, kind: int = DATA) -> None:
        """A frame that says how much of the file was durable before it."""
        wal.durable = durable
        columns = Columns([b"payload"], 7, 5, None)
        parts = encode_chunk(3, 0, columns) if kind == DATA else ()
        wal.append(list(parts), int(kind == DATA), 0, kind)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.files.close()


def filled(shelf: Shelf) -> dict[int, Wal]:
    """Files of which none says that an earlier one was durable."""
    wals = {number: shelf.make(number) for number in NUMBERS}
    for wal in wals.values():
        shelf.frame(wal)
    return wals


# Which says that another was durable


def test_files_that_say_nothing_of_those_before_vouch_for_none(shelf: Shelf) -> None:
    filled(shelf)
    assert shelf.files.vouching(0, NUMBERS[1:]) == ""
    shelf.files.check_torn(0, NUMBERS[1:])
    assert shelf.files.vouching(0, []) == ""


@pytest.mark.parametrize("kind", [DATA, MARK])
@pytest.mark.parametrize("number", NUMBERS[1:])
def test_a_frame_that_says_its_own_file_was_durable_vouches_for_all_before(
    shelf: Shelf, number: int, kind: int
) -> None:
    shelf.frame(filled(shelf)[number], WAL_HEADER.size if kind == DATA else 0, kind)
    assert shelf.files.vouching(0, NUMBERS[1:]) == str(shelf.path(number))
    with pytest.raises(transit.CorruptError) as caught:
        shelf.files.check_torn(0, NUMBERS[1:])
    assert caught.value.place == str(shelf.path(0))
    assert str(shelf.path(number)) in caught.value.expected
    # It is asked of the later files alone.
    assert shelf.files.vouching(number, [each for each in NUMBERS if each > number]) == ""


@pytest.mark.parametrize("unsynced_from", [0, 4, 5, 6, 9, 14])
def test_a_header_vouches_for_the_files_before_those_that_it_names(
    shelf: Shelf, unsynced_from: int
) -> None:
    for number in NUMBERS[:-1]:
        shelf.make(number)
    shelf.make(14, unsynced_from)
    found = shelf.files.vouching(5, [9, 14])
    assert found == (str(shelf.path(14)) if unsynced_from > 5 else "")


def test_files_that_are_gone_or_were_never_finished_vouch_for_none_and_hide_none(
    shelf: Shelf,
) -> None:
    wals = filled(shelf)
    shelf.frame(wals[14], kind=MARK)
    shelf.path(5).unlink()
    shelf.path(9).write_bytes(b"")
    assert shelf.files.vouching(0, NUMBERS[1:]) == str(shelf.path(14))


def test_a_file_that_is_damaged_itself_is_told(shelf: Shelf) -> None:
    filled(shelf)
    data = bytearray(shelf.path(9).read_bytes())
    data[20] ^= 1
    data[WAL_HEADER.size - 1] |= 1
    shelf.path(9).write_bytes(bytes(data))
    with pytest.raises(transit.FormatError, match=wal_name(9)):
        shelf.files.vouching(0, NUMBERS[1:])


# Which are removed


def test_files_are_removed_from_the_newest_on_and_the_folder_is_synced_last(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies meanwhile leaves a log without a hole."""
    filled(shelf)
    done: list[str] = []
    real = module.remove

    def remove(path: str) -> None:
        done.append(path)
        real(path)

    monkeypatch.setattr(module, "remove", remove)
    monkeypatch.setattr(module, "sync_folder", done.append)
    shelf.files.remove([5, 9, 14])
    assert done == [*(str(shelf.path(number)) for number in (14, 9, 5)), str(shelf.folder)]
    assert [path.name for path in shelf.folder.iterdir()] == [wal_name(0)]


def test_a_removed_file_is_a_cut_if_it_had_anything_behind_its_header(shelf: Shelf) -> None:
    wals = filled(shelf)
    shelf.make(20).allocate()
    shelf.path(21).write_bytes(b"half a head")
    last = shelf.make(22)
    last.file.write_at(WAL_HEADER.size + 3 * 2**20, b"\1")
    sizes = {number: shelf.files.size(number) for number in (9, 14, 22)}
    assert sizes[9] == wals[9].tail
    found = shelf.files.remove([9, 14, 20, 21, 22])
    assert found == [Cut(str(shelf.path(number)), 0, size) for number, size in sizes.items()]
    assert sorted(path.name for path in shelf.folder.iterdir()) == [wal_name(0), wal_name(5)]


@pytest.mark.parametrize("number", [5, 9, 14])
def test_nothing_is_removed_if_another_process_writes_to_one_of_them(
    shelf: Shelf, number: int
) -> None:
    filled(shelf)
    with File.open(str(shelf.path(number)), write=True) as other:
        # As shared writers do; another open file is as good as another process.
        other.hold(shared=True)
        with pytest.raises(transit.LockedError, match=wal_name(number)):
            shelf.files.remove([5, 9, 14])
    assert len(list(shelf.folder.iterdir())) == len(NUMBERS)
    # And nothing is held any more.
    assert len(shelf.files.remove([5, 9, 14])) == 3


# What is open


def test_the_size_of_a_file_that_is_not_there_is_none(shelf: Shelf) -> None:
    wal = filled(shelf)[5]
    assert shelf.files.size(5) == wal.tail > WAL_HEADER.size
    assert shelf.files.size(6) == 0


def test_closing_closes_the_files_that_were_made_and_those_that_were_opened(shelf: Shelf) -> None:
    wals = [shelf.make(0), shelf.make(5)]
    opened = shelf.files.open(0, write=False)
    assert opened is not None
    shelf.files.close()
    for wal in (*wals, opened):
        with pytest.raises(transit.ClosedError):
            wal.file.read_at(0, 1)


def test_a_file_opened_to_be_read_is_not_written(shelf: Shelf) -> None:
    shelf.make(0)
    reader = shelf.files.open(0, write=False)
    writer = shelf.files.open(0, write=True)
    assert reader is not None
    assert writer is not None
    shelf.frame(writer)
    with pytest.raises(transit.TransitError):
        shelf.frame(reader)
