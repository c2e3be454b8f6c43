"""The recording file system does what a real one does, and writes all of it down."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rigs.crash.recorded import (
    ROOT,
    Change,
    Marked,
    Named,
    Resized,
    Synced,
    Wrote,
    read_trace,
)
from rigs.crash.recording_fs import MARK_FILE, recorded
from rigs.crash.states import Disk, Image

Work = Callable[[Path], None]


def recording_of(folder: Path, work: Work) -> list[Change]:
    with recorded(folder) as recording:
        work(recording.root)
    return read_trace(recording.trace)


def files_below(root: Path) -> Image:
    """What a folder holds, as a state of a disk."""
    return {
        str(path.relative_to(root)) + "/" * path.is_dir(): (
            (b"", 0) if path.is_dir() else (path.read_bytes(), path.stat().st_size)
        )
        for path in root.rglob("*")
    }


def work(root: Path) -> None:
    """Every kind of change, with an open file whose name goes away."""
    (root / "deep" / "er").mkdir(parents=True)
    with (root / "deep" / "one").open("w+b", buffering=0) as file:
        file.write(b"first")
        os.posix_fallocate(file.fileno(), 0, 64)
        os.pwrite(file.fileno(), b"second", 60)
        os.fdatasync(file.fileno())
        os.link(root / "deep" / "one", root / "deep" / "two")
        os.unlink(root / "deep" / "one")
        os.ftruncate(file.fileno(), 62)
        os.ftruncate(file.fileno(), 70)
        with (root / "deep" / "gone").open("wb", buffering=0) as gone:
            os.unlink(root / "deep" / "gone")
            gone.write(b"never seen")
            os.ftruncate(gone.fileno(), 3)
    os.rename(root / "deep" / "two", root / "deep" / "er" / "three")
    folder = os.open(root / "deep", os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    with (root / MARK_FILE).open("r+b", buffering=0) as marks:
        marks.write(b"all done")
    (root / "empty").mkdir()
    (root / "empty").rmdir()


def test_a_program_sees_on_it_what_it_sees_elsewhere(tmp_path: Path) -> None:
    seen: list[Image] = []

    def look(root: Path) -> None:
        work(root)
        seen.append(files_below(root))

    recording_of(tmp_path / "recorded", look)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / MARK_FILE).touch()
    work(tmp_path / "real")
    (tmp_path / "real" / MARK_FILE).unlink()
    assert seen == [files_below(tmp_path / "real")]


def test_every_change_is_written_down_in_its_order(tmp_path: Path) -> None:
    trace = recording_of(tmp_path, work)
    calls = [
        change.call if isinstance(change, Named) else type(change).__name__ for change in trace
    ]
    assert calls == [
        "mkdir", "mkdir", "create", "Wrote", "Resized", "Wrote", "Synced", "link", "unlink",
        "Resized", "Resized", "create", "unlink", "Wrote", "Resized", "rename", "Synced", "Marked",
        "mkdir", "rmdir",
    ]  # fmt: skip
    assert trace[0] == Named("mkdir", ((ROOT, "deep", 2),), 2, True)
    assert Wrote(4, 60, b"second") in trace
    assert Resized(4, 62) in trace
    assert trace[6] == Synced(4)
    assert Marked("all done") in trace


def test_the_last_state_worked_out_is_the_one_a_program_saw(tmp_path: Path) -> None:
    seen: list[Image] = []

    def look(root: Path) -> None:
        work(root)
        seen.append(files_below(root))

    disk = Disk()
    for change in recording_of(tmp_path, look):
        disk.apply(change)
    whole = next(disk.states())
    # What was reserved and not written is not among a state's bytes.
    padded = {
        path: (data + bytes(size - len(data)), size) for path, (data, size) in whole.image.items()
    }
    folders = {path: value for path, value in seen[0].items() if path.endswith("/")}
    assert padded | folders == seen[0]


def test_names_and_bytes_that_were_not_synced_may_be_lost_and_others_not(tmp_path: Path) -> None:
    def write(root: Path) -> None:
        (root / "kept").write_bytes(b"kept")
        file = os.open(root / "kept", os.O_RDONLY)
        os.fsync(file)
        os.close(file)
        folder = os.open(root, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        with (root / "kept").open("ab") as more:
            more.write(b" and more")
        (root / "lost").write_bytes(b"lost")

    disk = Disk()
    for change in recording_of(tmp_path, write):
        disk.apply(change)
    states = [state for state in disk.states() if state.power]
    found = {state.image.get("kept", (b"", 0))[0] for state in states}
    assert all(data.startswith(b"kept") for data in found)
    assert {b"kept", b"kept and more", b"kept a"} <= found | {data[:6] for data in found}
    assert any("lost" not in state.image for state in states)
    assert any(state.image.get("lost") == (b"", 0) for state in states)
    assert any(state.image.get("lost") == (b"", 4) for state in states)
    assert any(state.image.get("lost") == (b"lost", 4) for state in states)


def test_a_file_renamed_between_folders_is_never_without_a_name(tmp_path: Path) -> None:
    def write(root: Path) -> None:
        for name in ("from", "to"):
            (root / name).mkdir()
        (root / "from" / "file").write_bytes(b"here")
        for path in (root / "from" / "file", root / "from", root):
            node = os.open(path, os.O_RDONLY)
            os.fsync(node)
            os.close(node)
        os.rename(root / "from" / "file", root / "to" / "file")
        node = os.open(root / "from", os.O_RDONLY)
        os.fsync(node)
        os.close(node)

    disk, places = Disk(), set()
    for change in recording_of(tmp_path, write):
        disk.apply(change)
        if isinstance(change, Named) and change.call == "rename":
            places |= {
                ("from/file" in state.image, "to/file" in state.image) for state in disk.states()
            }
    assert places == {(True, False), (False, True), (True, True)}
    assert all("to/file" in state.image for state in disk.states())


@pytest.mark.parametrize("size", [1, 511, 512, 513, 2000])
def test_a_write_may_be_cut_at_every_sector_and_at_odd_places(tmp_path: Path, size: int) -> None:
    data = bytes(range(1, 251)) * 8
    disk = Disk()
    disk.apply(Named("create", ((ROOT, "file", 2),), 2))
    disk.apply(Wrote(2, 100, data[:size]))
    states = [state.image["file"] for state in disk.states() if "file" in state.image]
    sizes = {length - 100 for content, length in states if length > 100}
    expected = {cut for cut in (1, size // 2, size - 1, 412, 924, 1436, 1948) if 0 < cut < size}
    assert expected <= sizes
