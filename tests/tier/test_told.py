"""What is said about a remote that is not attached, and about a restore that was cut short."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import transit
from tests.cli.shell import transit as command
from transit.errors import InvalidInputError, NotFoundError
from transit.handle import opening
from transit.testing.doors import ProcessDiedError

from .conftest import Place


def published(place: Place) -> Path:
    with place.open() as log:
        log.create("s").append(b"1")
        log.publish()
        assert log.status().published == 1
    return place.path / "a"


def test_without_a_remote_nobody_knows_what_is_published(place: Place) -> None:
    folder = published(place)
    for mode in ("exclusive", "shared", "read"):
        with transit.open(folder, mode=mode) as log:
            status = log.status()
            assert (status.published, status.remote, status.remote_noted) == (None, "", "")
            assert status.streams == 1
    with transit.open(folder, mode="read", remote=place.store) as log:
        assert log.status().published is not None


def test_after_an_eviction_a_status_says_where_the_segments_are(place: Place) -> None:
    folder = published(place)
    with place.open() as log:
        log.evict(bytes_max=0)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    with transit.open(folder, mode="read") as log:
        status = log.status()
        assert (status.published, status.streams) == (None, None)
        assert status.remote_noted == place.store.url
        assert (status.commits, status.segments) == (1, 1)
    row = command(folder, "status")
    assert row.code == 0
    assert row.rows[0]["remote_noted"] == place.store.url
    with (
        transit.open(folder) as log,
        pytest.raises(InvalidInputError, match=f"segments of it are in {place.store.url}"),
    ):
        log.publish()


@pytest.mark.parametrize("nth", [3, 4, 5, 6])
def test_a_half_restored_folder_says_to_restore_again(place: Place, nth: int) -> None:
    published(place)
    target = place.path / "r"

    def die(number: int, _kind: str, _key: str) -> None:
        if number == nth:
            raise ProcessDiedError("here")

    with pytest.raises(ProcessDiedError):
        transit.restore(place.door(die), target)
    if (target / "commits").exists() and any((target / "commits").iterdir()):
        for mode in ("exclusive", "shared", "read"):
            with pytest.raises(InvalidInputError, match="cut short here; run it again"):
                transit.open(target, mode=mode)
    place.restored("r")


def test_a_store_that_lost_its_format_file_is_no_restore(place: Place) -> None:
    folder = published(place)
    (folder / "FORMAT").unlink()
    with pytest.raises(InvalidInputError, match="not a store: no FORMAT file"):
        transit.open(folder)


def test_a_stream_that_is_not_in_the_remote_is_told_by_the_remotes_address(place: Place) -> None:
    published(place)
    with pytest.raises(NotFoundError, match=f"{place.store.url}: there is no stream 'x'"):
        transit.restore(place.store, place.path / "r", streams=["x"])


def test_a_restore_taken_for_a_broken_store_on_purpose_is_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_is_cut_restore", lambda _root: False)
    with pytest.raises(AssertionError):
        test_a_half_restored_folder_says_to_restore_again(place, 5)
