"""What stands at the path, or in the way, is told by its own error and left alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import (
    InvalidInputError,
    Settings,
    Stream,
)

from .refusals import Run, refused, shown

# What is found at the path


@pytest.mark.parametrize("where", [None, 5, 1.5, b"", "", "a\0b", ["a"]], ids=shown)
def test_paths_that_are_none_are_refused(where: Any) -> None:
    refused(transit.TransitError, lambda: transit.open(where))


@pytest.mark.parametrize("mode", [None, 5, "", "write", "r", b"read", "Exclusive"], ids=shown)
def test_unknown_modes_are_refused_and_make_nothing(path: Path, mode: Any) -> None:
    refused(InvalidInputError, lambda: transit.open(path, mode=mode))
    assert not path.exists()


@pytest.mark.parametrize("settings", [5, "small", {"block_bytes": 4096}, Settings], ids=shown)
def test_settings_of_another_type_are_refused(path: Path, settings: Any) -> None:
    refused(InvalidInputError, lambda: transit.open(path, settings=settings))
    assert not path.exists()


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_a_file_where_the_store_should_be_is_refused_and_left_alone(path: Path, mode: str) -> None:
    path.write_bytes(b"mine")
    assert str(path) in refused(transit.TransitError, lambda: transit.open(path, mode=mode))
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_a_folder_of_something_else_is_refused_and_left_alone(path: Path, mode: str) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    assert str(path) in refused(transit.TransitError, lambda: transit.open(path, mode=mode))
    assert [file.name for file in path.iterdir()] == ["notes.txt"]


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(transit.TransitError, lambda: transit.open(tmp_path / "file" / "store"))


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    assert "path" in refused(InvalidInputError, lambda: transit.open(tmp_path / ("n" * 300)))


def deep(folder: Path, length: int) -> Path:
    """A folder whose path has `length` bytes, made step by step."""
    while length - len(os.fsencode(folder)) > 201:
        folder = folder / ("d" * 100)
        folder.mkdir()
    return folder / ("e" * (length - len(os.fsencode(folder)) - 1))


def test_a_path_that_leaves_no_room_for_the_names_below_it_is_refused(tmp_path: Path) -> None:
    limit = os.pathconf("/", "PC_PATH_MAX")
    found = deep(tmp_path, limit - 60)
    message = refused(InvalidInputError, lambda: transit.open(found))
    assert "too long" in message
    assert not found.exists()
    shutil.rmtree(tmp_path / ("d" * 100))


def test_the_longest_path_there_may_be_holds_a_store(tmp_path: Path) -> None:
    room = os.pathconf("/", "PC_PATH_MAX") - 128
    found, remote = deep(tmp_path, room), tmp_path / "remote"
    with transit.open(found, remote=remote) as log:
        log.create("s").append(b"x")
        log.publish()
        with transit.open(found, mode="read") as reader:
            assert [record.payload for record in reader.stream("s")] == [b"x"]
        log.evict(bytes_max=0)
        assert log.verify().ok
    shutil.rmtree(tmp_path / ("d" * 100))


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_a_store_of_a_newer_format_is_refused_and_left_alone(path: Path, mode: str) -> None:
    with transit.open(path) as log:
        log.create("s").append(b"x")
    file = path / "FORMAT"
    original = file.read_bytes()
    stated = json.loads(original)
    (version,) = [key for key, value in stated.items() if type(value) is int]
    file.write_bytes(original.replace(b":%d" % stated[version], b":%d" % (stated[version] + 1)))
    before = {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
    with pytest.raises(transit.UnsupportedVersionError) as caught:
        transit.open(path, mode=mode)
    assert caught.value.found == stated[version] + 1
    assert caught.value.supported == stated[version]
    assert {each: each.read_bytes() for each in path.rglob("*") if each.is_file()} == before
    file.write_bytes(original)
    with transit.open(path) as log:
        assert len(log.stream("s")) == 1


@pytest.mark.parametrize("stated", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"{" * 100_000])
def test_a_damaged_format_file_is_refused_with_its_place(path: Path, stated: bytes) -> None:
    transit.open(path).close()
    (path / "FORMAT").write_bytes(stated)
    assert "FORMAT" in refused(transit.FormatError, lambda: transit.open(path))


# What the operating system refuses


NO_PERMISSION = """
import os, sys, asyncio, threading, transit
path, mode = sys.argv[1:]
transit.open  # loaded now: the new user may not be able to read the modules
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    transit.open(path, mode=mode)
except transit.StorePermissionError as error:
    assert isinstance(error, PermissionError)
    print("refused", error)
"""


@pytest.mark.parametrize("bits", [0o000, 0o555], ids=["unreadable", "unwritable"])
@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_a_store_without_permission_is_refused(run: Run, bits: int, mode: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become a user without permission")
    folder = Path(tempfile.mkdtemp(prefix="transit-"))
    try:
        folder.chmod(0o755)
        store = folder / "store"
        with transit.open(store) as log:
            log.create("s").append(b"x")
        readable = 0o444 if bits else 0o000
        for each in store.rglob("*"):
            each.chmod(bits if each.is_dir() else readable)
        store.chmod(bits)
        printed = run(NO_PERMISSION, store, mode)
        # A store that can be read but not written is what mode "read" is for.
        if mode == "read" and bits:
            assert printed == ""
        else:
            assert printed.startswith("refused")
            assert str(store) in printed
        with transit.open(store, durability="os") as log:
            assert log.stream("s")[0].payload == b"x"
    finally:
        shutil.rmtree(folder)


def test_a_store_that_cannot_be_made_is_refused(run: Run) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become a user without permission")
    folder = Path(tempfile.mkdtemp(prefix="transit-"))
    try:
        folder.chmod(0o555)
        assert run(NO_PERMISSION, folder / "store", "exclusive").startswith("refused")
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no mount command: {error}")
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(stream: Stream, write: Callable[[bytes], object]) -> list[bytes]:
    """Append until the disk is full; the bodies that were acknowledged."""
    acknowledged = []
    for number in range(100_000):
        body = b"%06d" % number + os.urandom(1000)
        try:
            write(body)
        except transit.StorageFullError:
            return acknowledged
        acknowledged.append(body)
    raise AssertionError(f"{len(stream)} records and the disk is not full")


@pytest.mark.parametrize("durability", ["os", "local"])
@pytest.mark.parametrize("kind", ["append", "append_many", "batch", "submit"])
def test_a_full_disk_loses_nothing_acknowledged_and_appends_go_on_after_it(
    small_disk: Path, durability: str, kind: str
) -> None:
    settings = Settings(seal_bytes=1 << 18)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    with transit.open(small_disk / "store", durability=durability, settings=settings) as log:
        stream = log.create("s")

        def batch(body: bytes) -> None:
            with log.batch() as batch:
                batch.append(stream, body)

        writes: dict[str, Callable[[bytes], object]] = {
            "append": stream.append,
            "append_many": lambda body: stream.append_many([body]),
            "batch": batch,
            "submit": lambda body: stream.submit(body).result(timeout=60),
        }
        acknowledged = fill(stream, writes[kind])
        assert len(acknowledged) > 100
        assert [record.payload for record in stream] == acknowledged
        # More than there could be even if sealing has just made room.
        refused(transit.StorageFullError, lambda: stream.append(os.urandom(1_500_000)))
        assert len(stream) == len(acknowledged)
        ballast.unlink()
        assert stream.append(b"after").offset == len(acknowledged)
        acknowledged.append(b"after")
        assert [record.payload for record in stream] == acknowledged
    with transit.open(small_disk / "store", settings=settings) as log:
        stream = log.stream("s")
        assert [record.payload for record in stream] == acknowledged
        assert stream.append(b"reopened").offset == len(acknowledged)
        assert log.verify().ok


def test_a_store_on_a_full_disk_opens_for_reading(small_disk: Path) -> None:
    store = small_disk / "store"
    with transit.open(store, durability="os", settings=Settings(seal_bytes=1 << 18)) as log:
        acknowledged = fill(log.create("s"), log.stream("s").append)
    rest = small_disk / "rest"
    with rest.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    with transit.open(store, mode="read") as reader:
        assert [record.payload for record in reader.stream("s")] == acknowledged
    refused(transit.StorageFullError, lambda: transit.open(small_disk / "another"))
    rest.unlink()


def test_a_limit_on_file_size_is_a_full_storage(run: Run, path: Path) -> None:
    script = """
import os, resource, sys, transit
with transit.open(sys.argv[1], durability="os") as log:
    stream = log.create("s")
    stream.append(b"first")
    largest = max(f.stat().st_size for f in __import__("pathlib").Path(sys.argv[1]).rglob("*"))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    acknowledged = 1
    try:
        while True:
            stream.append(bytes(10_000))
            acknowledged += 1
    except transit.StorageFullError:
        print(acknowledged, len(list(stream)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(stream.append(b"after").offset)
"""
    first, second = run(script, path).splitlines()
    acknowledged, read = map(int, first.split())
    assert read == acknowledged == int(second)
    with transit.open(path) as log:
        assert len(list(log.stream("s"))) == acknowledged + 1


# The folder the process is in


@pytest.mark.parametrize(
    "call",
    [
        lambda there: transit.open("store"),
        lambda there: transit.open("store", mode="read"),
        lambda there: transit.open(there, remote="remote"),
        lambda there: transit.open_store("remote"),
        lambda there: transit.restore("remote", there),
        lambda there: transit.restore(there, "store"),
        lambda there: transit.audit("remote"),
    ],
    ids=["open", "read", "remote", "open_store", "restore from", "restore to", "audit"],
)
def test_a_working_directory_that_was_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[str], object]
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    message = refused(InvalidInputError, lambda: call(str(tmp_path / "store")))
    assert "working directory was removed" in message


def test_a_store_that_was_opened_before_its_process_lost_its_folder_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, store = tmp_path / "here", tmp_path / "store"
    here.mkdir()
    monkeypatch.chdir(here)
    with transit.open("../store", remote="../remote") as log:
        here.rmdir()
        log.create("s").append(b"x")
        log.publish()
        log.evict(bytes_max=0)
        assert [record.payload for record in log.stream("s")] == [b"x"]
        assert log.verify().ok
    assert (store / "FORMAT").exists()
