"""What opening, reading and verifying make of missing, spare and damaged files of a store.

`several` has a commit and WAL files that have ended but are not sealed yet; `sealed` has three
commits and a WAL.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import transit

Contents = dict[str, list[tuple[bytes, dict[str, str]]]]
Read = Callable[[transit.Log], Contents]
MODES = ["exclusive", "shared", "read"]
SMALL_FILES = transit.Settings(seal_bytes=4096, flush_interval_ms=60_000, compression="none")


class Store(NamedTuple):
    """A folder, what it shows, and what it shows without its newest WAL."""

    folder: Any
    shown: Contents
    sealed: Contents

    def names(self, kind: str) -> list[str]:
        """The folder's files of one kind, in order."""
        return sorted(name for name in self.folder.files if name.startswith(kind))

    @property
    def segments(self) -> list[str]:
        """The folder's segments, in the order of the log."""
        commits = [json.loads(self.folder.files[name]) for name in self.names("commits/")]
        return [f"segments/{commit['segments'][0]['digest']}.seg" for commit in commits]


def fill(log: transit.Log, rounds: int, size: int = 20) -> None:
    stream = log.stream("s") if "s" in log else log.create("s")
    for n in range(rounds):
        stream.append(b"%d" % n * size, headers={"n": str(n % 3)}, durability="os")


@pytest.fixture(scope="module")
def several(quick_folder, copied, contents: Read) -> Store:
    path = quick_folder("several")
    with transit.open(path / "open", settings=SMALL_FILES) as log:
        fill(log, 5)
        log.seal()
        with log._handle.sealer.paused:
            fill(log, 120)
            log.sync()
            folder = copied(path / "open", path / "store")
            shown = contents(log)
    assert len(folder.wals) >= 4
    newest = folder.frames(folder.wals[-1])
    lost = sum(frame.records for frame in newest)
    return Store(folder, shown, {"s": shown["s"][: len(shown["s"]) - lost]})


@pytest.fixture(scope="module")
def sealed(quick_folder, folder_at, contents: Read) -> Store:
    path = quick_folder("sealed") / "store"
    with transit.open(path, settings=transit.Settings(block_bytes=4096)) as log:
        for n in range(3):
            fill(log, 4 + n)
            log.seal()
        before = contents(log)
        fill(log, 3)
        shown = contents(log)
    return Store(folder_at(path), shown, before)


def shows(store: Store, contents: Read, mode: str = "exclusive") -> Contents:
    """What the store shows when opened now; it must verify."""
    with transit.open(store.folder.path, mode=mode) as log:
        assert log.verify().ok
        return contents(log)


def refuses(store: Store, changes: dict[str, bytes | None], mode: str = "exclusive") -> Exception:
    """The error that opening the changed store raises; nothing in the folder has changed then."""
    store.folder.restore(changes)
    with pytest.raises(transit.TransitError) as caught:
        transit.open(store.folder.path, mode=mode)
    for name, data in {**store.folder.files, **changes}.items():
        path = store.folder.path / name
        assert data is None or path.read_bytes() == data, name
    return caught.value


def goes_on(store: Store, contents: Read) -> None:
    """Append, seal, and see all of it at the next two openings."""
    with transit.open(store.folder.path) as log:
        before = contents(log)
        stream = log.stream("s") if "s" in log else log.create("s")
        stream.append(b"goes on")
        log.seal()
        stream.append(b"and on")
    before.setdefault("s", []).extend([(b"goes on", {}), (b"and on", {})])
    assert shows(store, contents) == before
    assert shows(store, contents) == before


# WAL files


@pytest.mark.parametrize("mode", MODES)
def test_ended_files_that_are_not_sealed_yet_are_all_read(
    mode: str, several: Store, contents: Read
) -> None:
    several.folder.restore()
    assert shows(several, contents, mode) == several.shown
    several.folder.restore()
    goes_on(several, contents)


@pytest.mark.parametrize("mode", MODES)
def test_a_missing_wal_before_another_is_refused(mode: str, several: Store) -> None:
    for name in several.folder.wals[:-1]:
        error = refuses(several, {name: None}, mode)
        assert isinstance(error, transit.CorruptError), name


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_or_zeroed_wal_before_another_is_refused(mode: str, several: Store) -> None:
    for name in several.folder.wals[:-1]:
        size = len(several.folder.files[name])
        for data in (b"", bytes(64), bytes(size), several.folder.files[name][:40]):
            error = refuses(several, {name: data}, mode)
            assert isinstance(error, transit.CorruptError), (name, data)


@pytest.mark.parametrize("mode", MODES)
def test_a_wal_before_another_that_lacks_its_end_is_refused(mode: str, several: Store) -> None:
    name = several.folder.wals[1]
    data, frames = several.folder.files[name], several.folder.frames(name)
    end = frames[-1]
    for stop in (64, frames[3].position, frames[3].position + 30, end.position, end.stop - 1):
        for damaged in (data[:stop], data[:stop].ljust(len(data), b"\0")):
            assert isinstance(refuses(several, {name: damaged}, mode), transit.CorruptError), stop


@pytest.mark.slow
def test_every_flipped_bit_of_an_end_frame_before_another_file_is_refused(several: Store) -> None:
    name = several.folder.wals[1]
    data, end = several.folder.files[name], several.folder.frames(name)[-1]
    for bit in range(end.position * 8, end.stop * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert isinstance(refuses(several, {name: bytes(damaged)}), transit.CorruptError), bit


def test_a_missing_newest_wal_after_an_end_is_made_again(several: Store, contents: Read) -> None:
    """A crash between an end frame and the next file leaves exactly this."""
    newest = several.folder.wals[-1]
    for mode in ("read", "shared", "exclusive"):
        several.folder.restore({newest: None})
        assert shows(several, contents, mode) == several.sealed
    several.folder.restore({newest: None})
    goes_on(several, contents)


@pytest.mark.parametrize("size", [0, 8, 63])
def test_a_newest_wal_without_a_whole_header_is_made_again(
    size: int, several: Store, contents: Read
) -> None:
    newest = several.folder.wals[-1]
    data = several.folder.files[newest][:size]
    for mode in ("read", "shared", "exclusive"):
        several.folder.restore({newest: data})
        assert shows(several, contents, mode) == several.sealed
    several.folder.restore({newest: data})
    goes_on(several, contents)


def test_a_wal_whose_records_a_commit_covers_is_ignored(
    quick_folder, copied, folder_at, contents: Read
) -> None:
    """A crash between a commit and the removal of the WAL leaves exactly this."""
    path = quick_folder("leftover")
    with transit.open(path / "open") as log:
        fill(log, 5)
        old = copied(path / "open", path / "before")
        log.seal()
        fill(log, 5)
        shown = contents(log)
    store = Store(folder_at(path / "open"), shown, {})
    (name,) = old.wals
    assert name not in store.folder.wals
    for mode in MODES:
        for data in (old.files[name], b"", b"garbage" * 1000):
            store.folder.restore({name: data})
            assert shows(store, contents, mode) == shown
    goes_on(store, contents)


def test_files_of_other_names_are_ignored(sealed: Store, contents: Read) -> None:
    spare = {
        f"{folder}/{name}": b"x"
        for folder in ("wal", "commits", "segments")
        for name in ("README", "1.wal", "1.json", "x.seg", "0" * 20, "0" * 21 + ".wal")
    }
    for mode in MODES:
        sealed.folder.restore(spare)
        assert shows(sealed, contents, mode) == sealed.shown
    sealed.folder.restore()


def test_temporary_files_are_removed_by_a_writer_that_is_alone(
    sealed: Store, contents: Read
) -> None:
    spare = {f"{name}0123.temporary": b"half" for name in ("", "wal/", "commits/", "segments/")}
    sealed.folder.restore(spare)
    assert shows(sealed, contents, "read") == sealed.shown
    assert all((sealed.folder.path / name).exists() for name in spare)
    assert shows(sealed, contents) == sealed.shown
    assert not any((sealed.folder.path / name).exists() for name in spare)
    sealed.folder.restore()


# Commits


@pytest.mark.parametrize("mode", MODES)
def test_a_missing_commit_is_refused(mode: str, sealed: Store) -> None:
    commits = sealed.names("commits/")
    assert len(commits) == 3
    for name in commits:
        assert isinstance(refuses(sealed, {name: None}, mode), transit.CorruptError), name


def test_a_missing_commit_is_refused_where_no_wal_tells_of_it_either(sealed: Store) -> None:
    no_wal: dict[str, bytes | None] = dict.fromkeys(sealed.folder.wals)
    for name in sealed.names("commits/")[:-1]:
        for mode in MODES:
            error = refuses(sealed, {**no_wal, name: None}, mode)
            assert isinstance(error, transit.CorruptError)
            assert name in error.place


@pytest.mark.slow
def test_every_flipped_bit_of_a_commit_is_refused(sealed: Store) -> None:
    for name in sealed.names("commits/")[1:]:
        data = sealed.folder.files[name]
        for place in range(len(data)):
            damaged = bytearray(data)
            damaged[place] ^= 1 << place % 8
            assert isinstance(refuses(sealed, {name: bytes(damaged)}, "read"), transit.FormatError)


@pytest.mark.parametrize("mode", MODES)
def test_a_truncated_or_empty_commit_is_refused(mode: str, sealed: Store) -> None:
    for name in sealed.names("commits/"):
        data = sealed.folder.files[name]
        for damaged in (b"", data[:-1], data[: len(data) // 2], data + b"\n", bytes(len(data))):
            assert isinstance(refuses(sealed, {name: damaged}, mode), transit.CorruptError)


def test_a_commit_in_the_place_of_another_is_refused(sealed: Store) -> None:
    first, second, third = sealed.names("commits/")
    files = sealed.folder.files
    for name, other in ((first, second), (second, first), (second, third), (third, second)):
        assert isinstance(refuses(sealed, {name: files[other]}), transit.CorruptError)


# Segments


@pytest.mark.parametrize("mode", MODES)
def test_a_missing_or_shorter_or_longer_segment_is_refused(mode: str, sealed: Store) -> None:
    for name in sealed.segments:
        data = sealed.folder.files[name]
        for damaged in (None, b"", data[:-1], data[: len(data) // 2], data + b"\0"):
            error = refuses(sealed, {name: damaged}, mode)
            assert isinstance(error, transit.CorruptError), name
            assert name in error.place


@pytest.mark.slow
def test_every_flipped_bit_of_a_segment_is_found_and_never_read(
    sealed: Store, contents: Read
) -> None:
    """`verify` finds each; reading either gives what was written or says what is damaged."""
    sealed.folder.restore()
    name = sealed.segments[1]
    data = sealed.folder.files[name]
    refused = 0
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        (sealed.folder.path / name).write_bytes(damaged)
        with transit.open(sealed.folder.path, mode="read") as log:
            if bit % 8 == bit // 8 % 8:
                report = log.verify()
                assert not report.ok, bit
                assert any(name in finding.place for finding in report.findings), bit
            try:
                shown = contents(log)
            except (transit.CorruptError, transit.UnsupportedVersionError):
                refused += 1
            else:
                assert shown == sealed.shown, bit
    sealed.folder.restore()
    assert refused >= (len(data) - 200) * 8


def test_a_segment_in_the_place_of_another_is_never_read(sealed: Store, contents: Read) -> None:
    names = sealed.segments
    files = sealed.folder.files
    for name in names:
        for other in names:
            size = len(files[name])
            if name != other:
                sealed.folder.restore({name: files[other][:size].ljust(size, b"\0")})
                with (
                    transit.open(sealed.folder.path, mode="read") as log,
                    pytest.raises(transit.CorruptError),
                ):
                    contents(log)
    sealed.folder.restore()


def test_a_segment_that_no_commit_names_is_counted_and_ignored(
    sealed: Store, contents: Read
) -> None:
    spare = f"segments/{'ab' * 32}.seg"
    sealed.folder.restore({spare: sealed.folder.files[sealed.segments[0]]})
    with transit.open(sealed.folder.path) as log:
        report = log.verify()
        assert report.ok
        assert report.counts["unnamed_segments"] == 1
        assert contents(log) == sealed.shown
    sealed.folder.restore()


def test_reading_an_undamaged_segment_goes_on_beside_a_damaged_one(sealed: Store) -> None:
    name = sealed.segments[2]
    data = bytearray(sealed.folder.files[name])
    data[40] ^= 1
    sealed.folder.restore({name: bytes(data)})
    with transit.open(sealed.folder.path, mode="read") as log:
        stream = log.stream("s")
        expected = [payload for payload, _ in sealed.shown["s"]]
        assert [record.payload for record in stream.read(0, 9)] == expected[:9]
        with pytest.raises(transit.CorruptError) as caught:
            list(stream.read())
        assert name in caught.value.place
        assert stream[-1].payload == expected[-1]
    sealed.folder.restore()


# FORMAT


@pytest.mark.parametrize("mode", MODES)
def test_a_damaged_format_file_is_refused(mode: str, sealed: Store) -> None:
    good = sealed.folder.files["FORMAT"]
    for size in range(len(good)):
        assert isinstance(refuses(sealed, {"FORMAT": good[:size]}, mode), transit.CorruptError)
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        error = refuses(sealed, {"FORMAT": bytes(damaged)}, mode)
        assert isinstance(error, transit.FormatError), place


def test_a_format_file_of_a_newer_version_is_refused_by_that_name(sealed: Store) -> None:
    plain = json.loads(sealed.folder.files["FORMAT"])
    newer = json.dumps({**plain, "format": 2, "more": 1}, sort_keys=True, separators=(",", ":"))
    for mode in MODES:
        error = refuses(sealed, {"FORMAT": newer.encode()}, mode)
        assert isinstance(error, transit.UnsupportedVersionError)


def test_a_store_without_its_format_file_is_not_made_anew(sealed: Store) -> None:
    for mode in ("exclusive", "shared"):
        assert isinstance(refuses(sealed, {"FORMAT": None}, mode), transit.InvalidInputError)
    with pytest.raises((transit.InvalidInputError, transit.NotFoundError)):
        transit.open(sealed.folder.path, mode="read")
    sealed.folder.restore()


def test_a_creation_that_was_cut_short_is_finished(path: Path) -> None:
    (path / "wal").mkdir(parents=True)
    (path / "segments").mkdir()
    (path / "0123.temporary").write_bytes(b"{")
    with transit.open(path) as log:
        log.create("s").append(b"x")
    with transit.open(path) as log:
        assert log.stream("s")[0].payload == b"x"
