"""A folder that is moved, replaced or removed while a store in it is open.

Each way to lose a folder meets each call that would go on by its path. The call is refused, what is
at the path now stays as it is, and what was acknowledged is in the folder that was opened.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.disk import File
from transit.format.names import APPEND_LOCK_FILE, LOCK_FILE, SEAL_LOCK_FILE, wal_name
from transit.locks import Mark
from transit.log.commits import CommitChain

# A file ends after a few records, and nothing is synced, sealed or published unless asked.
Planted = tuple[object, str, object]

SETTINGS = transit.Settings(seal_bytes=4096, flush_interval_ms=60_000, lock_timeout_s=0.2)


class Place:
    """A store's path below a folder of its own, and where its folder is found after a move."""

    def __init__(self, top: Path) -> None:
        self.above = top / "above"
        self.above.mkdir()
        self.path = self.above / "store"
        self.remote = top / "remote"
        self.now: Path | None = self.path
        self.before: dict[str, bytes] = {}

    def open(self, mode: str = "exclusive", durability: str = "local") -> transit.Log:
        return transit.open(
            self.path, remote=self.remote, mode=mode, durability=durability, settings=SETTINGS
        )

    def lose(self, way: Callable[[Place], Path | None], log: transit.Log) -> None:
        """Lose the folder of `log`, and note what is at its path from then on."""
        # Nothing may be dropped in the background while the folder is copied.
        log._handle.while_sealing_pauses(lambda: self._lose(way))

    def _lose(self, way: Callable[[Place], Path | None]) -> None:
        self.now = way(self)
        self.before = files(self.path)


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file()) if folder.exists() else ()
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def moved(place: Place) -> Path:
    return place.path.rename(place.path.with_name("moved"))


def replaced_by_a_copy(place: Place) -> Path:
    """As when a store is restored while its recorder still runs."""
    there = moved(place)
    shutil.copytree(there, place.path)
    return there


def replaced_by_another_store(place: Place) -> Path:
    there = moved(place)
    with transit.open(place.path) as log:
        log.create("another").append(b"another's")
    return there


def removed(place: Place) -> None:
    shutil.rmtree(place.path)


def made_again(place: Place) -> None:
    """The numbers of the files that are gone may be given to those that come."""
    shutil.copytree(place.path, place.path.with_name("copy"))
    shutil.rmtree(place.path)
    place.path.with_name("copy").rename(place.path)


def lock_removed(place: Place) -> Path:
    (place.path / LOCK_FILE).unlink()
    return place.path


def lock_replaced(place: Place) -> Path:
    (place.path / "new").write_bytes(b"1\n")
    (place.path / "new").rename(place.path / LOCK_FILE)
    return place.path


def lock_moved(place: Place) -> Path:
    (place.path / LOCK_FILE).rename(place.path / "LOCK.old")
    return place.path


def parent_moved(place: Place) -> Path:
    there = place.above.rename(place.above.with_name("elsewhere"))
    return there / "store"


def link_turned(place: Place) -> Path:
    """The path led through a link, which leads to another folder now."""
    there, other = place.path.with_name("there"), place.path.with_name("other")
    shutil.copytree(there, other)
    link = place.path.with_name("link")
    link.symlink_to(other)
    link.rename(place.path)
    return there


def something_else(place: Place) -> Path:
    there = moved(place)
    place.path.write_text("a file")
    return there


def mounted_over(place: Place) -> Path:
    mount("-t", "tmpfs", "none", str(place.path))
    return place.path


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs the right to mount")


WAYS = [
    moved, replaced_by_a_copy, replaced_by_another_store, removed, made_again, lock_removed,
    lock_replaced, lock_moved, parent_moved, link_turned, something_else, mounted_over,
]  # fmt: skip


def append(log: transit.Log) -> None:
    log.stream("s").append(b"late", durability="local")


def append_until_synced(log: transit.Log) -> None:
    log.stream("s").append(b"late", durability="os")
    log.sync()


def append_to_a_full_file(log: transit.Log) -> None:
    for _ in range(100):
        log.stream("s").append(b"x" * 100, durability="os")


def append_tiered(log: transit.Log) -> None:
    log.stream("s").append(b"late", durability="tiered")


def create(log: transit.Log) -> None:
    log.create("late", durability="local")


def batch(log: transit.Log) -> None:
    with log.batch(durability="local") as changes:
        changes.append(log.stream("s"), b"late")


def submit(log: transit.Log) -> None:
    log.stream("s").submit(b"late", durability="local").result(timeout=60)


def flush(log: transit.Log) -> None:
    log.stream("s").append(b"late", durability="os")
    log._handle.writing.flush()


def drop(log: transit.Log) -> None:
    log._handle.sealer.drop_covered()


def commit_here(log: transit.Log) -> None:
    """What a sealer does that read all it needs before the folder went."""
    log._handle.catalog.commits.add((), 0, None)


def evict(log: transit.Log) -> None:
    log.evict(bytes_max=0)


def sync_tiered(log: transit.Log) -> None:
    log.sync("tiered")


CALLS = [
    append, append_until_synced, append_to_a_full_file, append_tiered, create, batch, submit,
    flush, drop, commit_here, evict, sync_tiered, transit.Log.seal, transit.Log.publish,
    transit.Log.verify, transit.Log.close,
]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A store with one record, published."""
    place = Place(tmp_path)
    with place.open() as log:
        log.create("s").append(b"0")
        log.publish()
    yield place
    subprocess.run(["umount", str(place.path)], capture_output=True, check=False)


def fill(place: Place, log: transit.Log) -> list[bytes]:
    """All that is acknowledged before the folder goes: sealed and unsealed, published and not."""
    stream = log.stream("s")
    stream.append(b"1")
    log.seal()
    stream.append(b"2")
    # Covered by a commit, and not dropped: its sealer was killed.
    (place.path / "wal" / wal_name(0)).write_bytes(b"")
    return [record.payload for record in stream]


def check_all_there(place: Place, acknowledged: list[bytes]) -> None:
    assert place.now is not None
    with transit.open(place.now, settings=SETTINGS) as found:
        kept = [record.payload for record in found.stream("s")]
        assert kept[: len(acknowledged)] == acknowledged
        assert found.verify().ok


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_a_call_that_would_go_on_by_the_path_is_refused_and_nothing_there_is_touched(
    place: Place, call: Callable[[transit.Log], None], mode: str
) -> None:
    log = place.open(mode)
    acknowledged = fill(place, log)
    remote = files(place.remote)
    place.lose(replaced_by_a_copy, log)
    try:
        with pytest.raises(transit.StoreMovedError) as caught:
            call(log)
    finally:
        with contextlib.suppress(transit.TransitError):
            log.close()
    assert str(place.now) in str(caught.value)
    assert files(place.path) == place.before
    assert files(place.remote) == remote
    check_all_there(place, acknowledged)


@pytest.mark.parametrize(
    ("way", "mode"),
    [
        *((way, "exclusive") for way in WAYS),
        *((way, "shared") for way in WAYS if "lock" in str(way)),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_however_the_folder_goes_a_writer_is_told_and_leaves_what_is_there(
    place: Place, way: Callable[[Place], Path | None], mode: str
) -> None:
    if way is link_turned:
        place.path.rename(place.path.with_name("there"))
        place.path.symlink_to("there")
    log = place.open(mode)
    acknowledged = fill(place, log)
    place.lose(way, log)
    for call in (drop, transit.Log.seal, flush, append, create, transit.Log.publish):
        with pytest.raises(transit.StoreMovedError):
            call(log)
    # Let go of all the same, and told once more.
    with pytest.raises(transit.StoreMovedError):
        log.close()
    if place.now == place.path and way is not mounted_over:
        # The folder is the one it was: only the file that is held has what was refused.
        now = files(place.path)
        changed = [name for name, data in now.items() if place.before.get(name) != data]
        assert set(now) == set(place.before)
        assert [name for name in changed if name != f"wal/{wal_name(4)}"] == []
    else:
        assert files(place.path) == place.before
    if way is mounted_over:
        subprocess.run(["umount", str(place.path)], capture_output=True, check=True)
    if place.now is not None:
        check_all_there(place, acknowledged)


def test_a_second_writer_is_kept_out_though_the_lock_was_removed(path: Path) -> None:
    log = transit.open(path, durability="os", settings=SETTINGS)
    try:
        stream = log.create("s")
        stream.append(b"0")
        for mode in ("exclusive", "shared"):
            (path / LOCK_FILE).unlink()
            with pytest.raises(transit.LockedError, match="end that process"):
                transit.open(path, mode=mode, settings=SETTINGS).close()
    finally:
        with contextlib.suppress(transit.TransitError):
            log.close()
    with transit.open(path) as log:
        assert [record.payload for record in log.stream("s")] == [b"0"]


@pytest.mark.parametrize("name", [APPEND_LOCK_FILE, SEAL_LOCK_FILE])
def test_a_shared_writer_whose_turns_are_kept_by_another_file_is_told(
    path: Path, name: str
) -> None:
    log = transit.open(path, mode="shared", durability="os", settings=SETTINGS)
    stream = log.create("s")
    stream.append(b"0")
    (path / name).unlink()
    with transit.open(path, mode="shared", settings=SETTINGS) as other:
        other.stream("s").append(b"1")
        with pytest.raises(transit.StoreMovedError):
            stream.append(b"2") if name == APPEND_LOCK_FILE else log.seal()
    with contextlib.suppress(transit.StoreMovedError):
        log.close()
    with transit.open(path) as log:
        assert [record.payload for record in log.stream("s")] == [b"0", b"1"]
        assert log.verify().ok


@pytest.mark.parametrize("way", [moved, replaced_by_a_copy, removed, made_again])
def test_a_reader_of_a_folder_that_went_does_not_read_what_came(
    place: Place, way: Callable[[Place], Path | None]
) -> None:
    with transit.open(place.path, mode="read", settings=SETTINGS) as reader:
        stream = reader.stream("s")
        assert [record.payload for record in stream] == [b"0"]
        place.lose(way, reader)
        if place.path.exists():
            with transit.open(place.path) as log:
                log.stream("s").append(b"another's")
                log.seal()
        # What it knew it may go on telling; what is new there is not its store's.
        try:
            assert [record.payload for record in stream] == [b"0"]
        except transit.StoreMovedError:
            return
        with pytest.raises(transit.StoreMovedError):
            reader.verify()


def test_a_rebase_is_not_put_into_another_folder(place: Place, tmp_path: Path) -> None:
    log = place.open()
    transit.restore(place.remote, tmp_path / "winner")
    with transit.open(tmp_path / "winner", remote=place.remote) as winner:
        winner.stream("s").append(b"theirs")
        winner.publish()
    log.stream("s").append(b"ours")
    with pytest.raises(transit.FencedError):
        log.publish()
    place.lose(replaced_by_a_copy, log)
    with pytest.raises(transit.StoreMovedError):
        log.rebase_onto_remote()
    assert files(place.path) == place.before
    check_all_there(place, [b"0", b"ours"])


def blind() -> Planted:
    """The writer never looks where the path leads."""
    return Mark, "is_in_place", lambda mark: True


def content_with_any_file() -> Planted:
    """There is a file of that name: it is taken for the one that was opened."""
    return Mark, "is_in_place", lambda mark: Path(mark.path).exists()


def files_are_not_held() -> Planted:
    """Only LOCK keeps a second writer away."""
    return File, "hold", lambda file, shared: None


@pytest.mark.parametrize("plant", [blind, content_with_any_file])
def test_a_planted_writer_that_goes_on_by_the_path_is_found(
    place: Place, plant: Callable[[], Planted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*plant())
    with pytest.raises((pytest.fail.Exception, AssertionError)):
        test_a_call_that_would_go_on_by_the_path_is_refused_and_nothing_there_is_touched(
            place, transit.Log.seal, "exclusive"
        )


def test_a_planted_commit_into_another_folder_is_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = CommitChain.add

    def add(chain: CommitChain, *arguments: Any, **options: Any) -> Any:
        chain._check_place = lambda: None
        return right(chain, *arguments, **options)

    monkeypatch.setattr(CommitChain, "add", add)
    with pytest.raises((pytest.fail.Exception, AssertionError)):
        test_a_call_that_would_go_on_by_the_path_is_refused_and_nothing_there_is_touched(
            place, commit_here, "exclusive"
        )


def test_a_planted_writer_that_only_lock_keeps_away_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*files_are_not_held())
    with pytest.raises(pytest.fail.Exception):
        test_a_second_writer_is_kept_out_though_the_lock_was_removed(path)
