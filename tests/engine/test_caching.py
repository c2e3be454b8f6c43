"""`Log.cache`: files of a room that can go at any time and are never anything but whole."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from rigs.seeds import run_seed
from transit.client.absent import ABSENT

SMALL = transit.Settings(cache_files_bytes_max=1000, seal_bytes=4096)


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    with transit.open(path, durability="os", settings=SMALL) as opened:
        yield opened


def bytes_of(path: str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


def run(script: str, argument: str) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own."""
    command = [sys.executable, "-c", script, argument]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_was_put_is_got_whole_in_this_process_and_in_another(log: transit.Log) -> None:
    cache = log.cache("views")
    assert isinstance(cache, transit.Cache)
    assert cache.get("a.parquet") is None
    put = cache.put("a.parquet", b"one")
    assert put == cache.get("a.parquet")
    assert bytes_of(put) == b"one"
    assert put.endswith(".parquet")
    assert Path(put).parent == Path(log.path, "rooms", "views")
    script = (
        "import sys, transit\n"
        "with transit.open(sys.argv[1], mode='read') as log:\n"
        "    print(open(log.cache('views').get('a.parquet')).read())"
    )
    found = run(script, log.path)
    assert found.stdout == "one\n", found.stderr
    assert log.cache("views") is cache
    assert log.cache("other").names() == []


def test_a_name_that_is_put_again_has_the_newer_bytes_alone(log: transit.Log) -> None:
    cache = log.cache("views")
    first = cache.put("a", b"one")
    assert bytes_of(cache.put("a", b"two")) == b"two"
    assert not os.path.exists(first)
    assert cache.names() == ["a"]
    assert bytes_of(cache.put("a", b"two")) == bytes_of(cache.get("a")) == b"two"


def test_files_used_longest_ago_go_first(log: transit.Log) -> None:
    cache = log.cache("views")
    paths = {name: cache.put(name, name.encode() * 300) for name in "abc"}
    for age, name in enumerate("cba"):
        os.utime(paths[name], (1000 - age, 1000 - age))
    assert cache.get("a") is not None
    cache.put("d", b"d" * 300)
    assert cache.names() == ["a", "c", "d"]
    assert cache.evict(600) == 300
    assert cache.names() == ["a", "d"]
    assert cache.evict() == 0
    assert cache.evict(0) == 600
    assert cache.names() == []


def test_one_that_is_larger_than_the_bound_stays_until_the_next(log: transit.Log) -> None:
    cache = log.cache("views")
    cache.put("a", b"a")
    assert bytes_of(cache.put("large", b"l" * 5000)) == b"l" * 5000
    assert cache.names() == ["large"]
    cache.put("b", b"b")
    assert cache.names() == ["b"]


def test_what_was_removed_is_gone_for_others_and_readable_for_those_who_have_it_open(
    log: transit.Log,
) -> None:
    with transit.open(log.path, mode="read") as reader:
        cache, other = log.cache("views"), reader.cache("views")
        cache.put("a", b"one")
        path = other.get("a")
        assert path is not None
        with open(path, "rb") as file:
            cache.evict(0)
            assert file.read() == b"one"
        assert other.get("a") is None
        other.put("b", b"b")
        assert cache.names() == ["b"]
        other.remove("b")
        other.remove("b")
        assert cache.get("b") is None


@pytest.mark.parametrize("change", ["flipped", "cut", "longer", "empty"])
def test_a_file_that_changed_on_the_disk_is_not_there(log: transit.Log, change: str) -> None:
    path = log.cache("views").put("a.x", b"0123456789")
    changed = {
        "flipped": b"01234567x9", "cut": b"0123", "longer": b"01234567890", "empty": b"",
    }  # fmt: skip
    Path(path).write_bytes(changed[change])
    with transit.open(log.path, mode="read") as reader:
        assert reader.cache("views").get("a.x") is None
        assert not os.path.exists(path)


def test_what_a_killed_process_left_is_dropped_at_the_next_opening(path: Path) -> None:
    with transit.open(path) as log:
        log.cache("views").put("a", b"a")
    left = path / "rooms" / "views" / "0011.temporary"
    left.write_bytes(b"half")
    (path / "rooms" / "stray").write_bytes(b"")
    with transit.open(path) as log:
        assert not left.exists()
        assert log.cache("views").names() == ["a"]
        assert log.verify().ok
        assert log.status().streams == 0


@pytest.mark.parametrize("name", ["", "A", "../x", "a/b", "a.b.c", "-", "x" * 129, ".a", 7, "a\n"])
def test_names_that_files_cannot_have_are_refused(log: transit.Log, name: str) -> None:
    cache = log.cache("views")
    for call in (cache.get, cache.remove, lambda name: cache.put(name, b"")):
        with pytest.raises(transit.InvalidInputError):
            call(name)
    for room in ("", "Views", "cursors", "a/b"):
        with pytest.raises(transit.InvalidInputError):
            log.cache(room)
    with pytest.raises(transit.InvalidInputError):
        cache.evict(-1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_in_a_folder_that_cannot_be_written_to_files_go_elsewhere(path: Path) -> None:
    with transit.open(path) as log:
        log.create("a")
        kept = log.cache("views").put("old", b"old")
    for folder in (path / "rooms" / "views", path / "rooms", path):
        folder.chmod(0o555)
    try:
        with transit.open(path, mode="read") as log:
            _use_elsewhere(log, kept)
    finally:
        for folder in (path, path / "rooms", path / "rooms" / "views"):
            folder.chmod(0o755)


def test_where_the_rooms_folder_is_a_file_files_go_elsewhere(path: Path) -> None:
    with transit.open(path) as log:
        (path / "rooms").write_bytes(b"")
        cache = log.cache("views")
        put = cache.put("new", b"new")
        assert not Path(put).is_relative_to(path)
        assert cache.get("new") == put


def test_where_no_folder_has_room_it_is_told_that_the_disk_is_full(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transit.open(path) as log:
        cache = log.cache("views")
        kept = cache.put("old", b"old")
        monkeypatch.setattr(tempfile, "tempdir", None)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            with pytest.raises(transit.StorageFullError, match="rooms"):
                cache.put("new", b"new")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert cache.get("old") == kept
        assert cache.get("new") is None
        cache.put("new", b"new")
        assert cache.read("new") == b"new"


def _use_elsewhere(log: transit.Log, kept: str) -> None:
    cache = log.cache("views")
    assert cache.get("old") == kept
    put = cache.put("new", b"new")
    assert not Path(put).is_relative_to(log.path)
    assert cache.get("new") == put
    assert cache.names() == ["new", "old"]


def test_a_remote_without_a_folder_has_a_cache_that_ends_with_the_process(path: Path) -> None:
    remote = path.parent / "remote"
    with transit.open(path, remote=remote) as log:
        log.create("a").append(b"x")
        log.publish()
    script = (
        "import sys, transit\n"
        "with transit.open(sys.argv[1], mode='read') as log:\n"
        "    cache = log.cache('views')\n"
        "    path = cache.put('a', b'one')\n"
        "    assert cache.get('a') == path and open(path).read() == 'one'\n"
        "    print(path)"
    )
    url = remote.as_uri()
    found = run(script, url)
    assert found.returncode == 0, found.stderr
    assert not os.path.exists(os.path.dirname(found.stdout.strip()))
    assert sorted(each.name for each in remote.iterdir() if each.name == "rooms") == []


def test_a_closed_store_gives_no_cache(path: Path) -> None:
    log = transit.open(path)
    log.close()
    with pytest.raises(transit.ClosedError):
        log.cache("views")


def test_threads_and_handles_never_get_a_file_that_is_not_whole(path: Path) -> None:
    seed = run_seed()
    print("seed", seed)
    with transit.open(path, settings=SMALL) as log:
        logs = [log, *(transit.open(path, mode="read", settings=SMALL) for _ in range(2))]
        wrong: list[object] = []

        def work(number: int) -> None:
            choice = random.Random(seed + number)
            cache = logs[number % 3].cache("views")
            for _ in range(150):
                name = choice.choice("abcdef")
                if choice.random() < 0.4:
                    cache.put(name, name.encode() * choice.randrange(1, 400))
                found = cache.get(name)
                try:
                    data = bytes_of(found)
                except FileNotFoundError:
                    continue
                if data is not None and set(data) != {ord(name)}:
                    wrong.append((name, data))

        threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        for each in logs[1:]:
            each.close()


def test_over_a_connection_it_says_why_there_is_none() -> None:
    assert "segments" in ABSENT["Log"]["cache"]
