"""A remote that is the store's own folder, lies in it or around it, however it is spelled."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import disk
from transit.store import ObjectStore, open_store
from transit.store.folder import FolderStore
from transit.tier import apart, publish, retain

Spelling = Callable[[Path], Any]
Planted = tuple[object, str, object]


def as_path(folder: Path) -> Any:
    return folder


def with_dots(folder: Path) -> Any:
    return f"{folder}/wal/../../{folder.name}/."


def relative(folder: Path) -> Any:
    return os.path.relpath(folder)


def as_file_url(folder: Path) -> Any:
    return folder.as_uri()


def as_local_url(folder: Path) -> Any:
    return f"local://{folder}"


def through_a_link(folder: Path) -> Any:
    link = folder.parent / "link"
    link.symlink_to(folder)
    return link


def through_a_link_above(folder: Path) -> Any:
    link = folder.parent.parent / "link"
    link.symlink_to(folder.parent)
    return link / folder.name


def as_an_open_store(folder: Path) -> Any:
    return FolderStore(str(folder))


def bound_elsewhere(folder: Path) -> Any:
    there = folder.parent / "bound"
    there.mkdir()
    folder.mkdir(exist_ok=True)
    bind(folder, there)
    return there


def bound_from_within(folder: Path) -> Any:
    """Where the segments are, and no folder above it is the store's."""
    (folder / "segments").mkdir(parents=True, exist_ok=True)
    there = folder.parent / "bound"
    there.mkdir()
    bind(folder / "segments", there)
    return there


def inside(folder: Path) -> Any:
    return folder / "remote"


def inside_not_made_yet(folder: Path) -> Any:
    return folder / "a" / "b"


def around(folder: Path) -> Any:
    return folder.parent


def far_around(folder: Path) -> Any:
    return folder.parent.parent.as_uri()


def bind(source: Path, target: Path) -> None:
    command = ["mount", "--bind", str(source), str(target)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")


SPELLINGS: list[Spelling] = [
    as_path, with_dots, relative, as_file_url, as_local_url, through_a_link, through_a_link_above,
    as_an_open_store, bound_elsewhere, bound_from_within, inside, inside_not_made_yet, around,
    far_around,
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a store may be, two folders down."""
    above = tmp_path / "above"
    above.mkdir()
    yield above / "store"
    subprocess.run(["umount", str(above / "bound")], capture_output=True, check=False)


def names(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("spell", SPELLINGS, ids=lambda spell: spell.__name__)
def test_a_remote_in_the_place_of_the_store_is_refused(folder: Path, spell: Spelling) -> None:
    with transit.open(folder) as log:
        log.create("s").append(b"0")
        log.seal()
    before = names(folder)
    remote = spell(folder)
    for mode in ("exclusive", "shared", "read"):
        with pytest.raises(transit.UnsuitableRemoteError, match="a place of its own"):
            transit.open(folder, remote=remote, mode=mode).close()
    assert names(folder) == before


@pytest.mark.parametrize(
    "spell",
    [as_path, as_file_url, as_local_url, relative, through_a_link, inside_not_made_yet, around],
    ids=lambda spell: spell.__name__,
)
def test_a_store_that_is_not_made_yet_is_not_made_in_its_remote(
    folder: Path, spell: Spelling
) -> None:
    with pytest.raises(transit.UnsuitableRemoteError):
        transit.open(folder, remote=spell(folder)).close()
    assert not folder.exists()


@pytest.mark.parametrize("spell", [as_path, as_file_url, inside, around])
def test_nothing_is_restored_into_its_remote_or_around_it(folder: Path, spell: Spelling) -> None:
    with transit.open(folder.parent.parent / "first", remote=spell(folder)) as log:
        log.create("s").append(b"0")
        log.publish()
    before = names(folder.parent.parent)
    with pytest.raises(transit.UnsuitableRemoteError):
        transit.restore(spell(folder), folder)
    assert names(folder.parent.parent) == before


@pytest.mark.parametrize("other", ["store-2", "stor", "above/store/../store-3"])
def test_a_neighbour_of_a_similar_name_is_another_place(folder: Path, other: str) -> None:
    remote = folder.parent / Path(other).name
    with transit.open(folder, remote=remote, durability="tiered") as log:
        log.create("s").append(b"0")
        assert log.evict(bytes_max=0).segments
        assert segments(folder) == set()
        assert log.stream("s")[0].payload == b"0"


@pytest.fixture
def published(folder: Path) -> Iterator[transit.Log]:
    """A store of one segment that its remote, `above/remote`, has."""
    with transit.open(folder, remote=folder.parent / "remote") as log:
        log.create("s").append(b"0")
        log.publish()
        yield log


def segments(folder: Path) -> set[str]:
    return names(folder / "segments")


def test_a_remote_that_becomes_the_store_is_refused_before_it_is_published_to_or_relied_on(
    published: transit.Log, folder: Path
) -> None:
    remote = folder.parent / "remote"
    remote.rename(folder.parent / "before")
    remote.symlink_to(folder)
    kept = segments(folder)
    published.stream("s").append(b"1")
    for call in (
        published.publish,
        lambda: published.stream("s").append(b"2", durability="tiered"),
        lambda: published.evict(bytes_max=0),
    ):
        with pytest.raises(transit.UnsuitableRemoteError):
            call()
    assert segments(folder) >= kept
    assert published.verify().ok


def test_a_remote_that_comes_to_lie_in_the_store_is_refused_before_anything_is_dropped(
    published: transit.Log, folder: Path
) -> None:
    remote = folder.parent / "remote"
    remote.rename(folder / "inside")
    remote.symlink_to(folder / "inside")
    kept = segments(folder)
    with pytest.raises(transit.UnsuitableRemoteError, match=str(folder)):
        published.evict(bytes_max=0)
    assert segments(folder) == kept


@pytest.mark.parametrize("name", ["wal", "segments", "commits"])
@pytest.mark.parametrize("place", ["the store", "what the store is in"])
def test_a_remote_with_the_store_in_one_of_its_folders_is_refused(
    folder: Path, name: str, place: str
) -> None:
    """As a mount shows it there, and a link does."""
    transit.open(folder).close()
    remote = folder.parent.parent / "with a link"
    remote.mkdir()
    (remote / name).symlink_to(folder if place == "the store" else folder.parent)
    with pytest.raises(transit.UnsuitableRemoteError, match=str(folder)):
        transit.open(folder, remote=remote)
    assert [path.name for path in remote.iterdir()] == [name]


def make_the_remote_copy_the_local_one(folder: Path) -> None:
    """Between two folders that are apart, one file that is in both."""
    copies = folder.parent / "remote" / "segments"
    shutil.rmtree(copies)
    copies.symlink_to(folder / "segments")


def test_a_file_whose_remote_copy_is_that_file_is_not_dropped(
    published: transit.Log, folder: Path
) -> None:
    kept = segments(folder)
    make_the_remote_copy_the_local_one(folder)
    with pytest.raises(transit.UnsuitableRemoteError):
        published.evict(bytes_max=0)
    assert segments(folder) == kept
    assert published.verify().ok


class Gateway:
    """A store that serves a folder and does not say so, as a server on this machine would."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if name == "folder":
            raise AttributeError(name)
        return getattr(self._store, name)


def test_a_server_of_the_store_s_own_folder_is_found_before_anything_is_dropped(
    folder: Path,
) -> None:
    transit.open(folder).close()
    remote: Any = Gateway(open_store(folder))
    with transit.open(folder, remote=remote) as log:
        log.create("s").append(b"0")
        log.publish()
        kept = segments(folder)
        with pytest.raises(transit.UnsuitableRemoteError):
            log.evict(bytes_max=0)
        assert segments(folder) == kept
        assert log.stream("s")[0].payload == b"0"


def by_spelling() -> Planted:
    """Places are compared as texts."""
    return apart, "is_within", lambda path, other: os.path.abspath(path) == os.path.abspath(other)


def at_attach_alone() -> Planted:
    """What was apart once is taken to be apart for good."""
    return publish, "check_apart", lambda root, store: None


def copies_not_compared() -> Planted:
    """A remote copy of the right size is enough."""
    return retain, "is_same_file", lambda path, other: False


def test_a_planted_comparison_of_spellings_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*by_spelling())
    with pytest.raises(pytest.fail.Exception):
        test_a_remote_in_the_place_of_the_store_is_refused(folder, through_a_link)


def test_a_planted_publisher_that_trusts_what_was_is_found(
    published: transit.Log, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*at_attach_alone())
    with pytest.raises(pytest.fail.Exception):
        test_a_remote_that_becomes_the_store_is_refused_before_it_is_published_to_or_relied_on(
            published, folder
        )


def test_a_planted_eviction_of_the_only_copy_is_found(
    published: transit.Log, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*copies_not_compared())
    monkeypatch.setattr(retain, "check_not_served", lambda root, store, lsn: None)
    with pytest.raises((pytest.fail.Exception, AssertionError)):
        test_a_file_whose_remote_copy_is_that_file_is_not_dropped(published, folder)
    # Here the only copy is gone: closing has nothing to lose.
    assert disk.list_folder(str(folder / "segments")) == []
