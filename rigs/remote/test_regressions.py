"""Faults that were found by the matrix, each by itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit.store import ObjectStore, open_store
from transit.testing.doors import FaultDoor, ProcessDiedError

SETTINGS = transit.Settings(remote_timeout_s=1.0)


class Forgetful(FaultDoor):
    """Says once, at the `nth` request for key `forgotten`, that there is no such object."""

    def __init__(self, store: ObjectStore, forgotten: str, nth: int = 0) -> None:
        super().__init__(store)
        self.left = nth
        self.forgotten = forgotten

    def get(self, key: str, bytes_max: int) -> bytes | None:
        found = super().get(key, bytes_max)
        if key == self.forgotten:
            self.left -= 1
        return None if (key, self.left) == (self.forgotten, -1) else found


def opened(folder: Path, store: ObjectStore, **options: object) -> transit.Log:
    return transit.open(folder, remote=store, settings=SETTINGS, **options)  # type: ignore[arg-type]


def publish(folder: Path, store: ObjectStore, count: int) -> list[bytes]:
    """`count` commits in the remote, each with a record."""
    payloads = [b"%d" % number for number in range(count)]
    with opened(folder, store) as log:
        stream = log.create("s")
        for payload in payloads:
            stream.append(payload)
            log.publish()
        log.release()
    return payloads


def read(log: transit.Log) -> list[bytes]:
    return [record.payload for record in log.stream("s").read()]


def commit(number: int) -> str:
    return f"commits/{number:020}.json"


class Late(FaultDoor):
    """Carries out, right before request `when`, a create that was sent long ago."""

    def __init__(self, store: ObjectStore, when: int, key: str, data: bytes) -> None:
        super().__init__(store, lambda number, *_: self._arrive() if number == when else None)
        self._late = (store, key, data)

    def _arrive(self) -> None:
        store, key, data = self._late
        store.create(key, data)


def dies_at(key: str) -> Callable[[int, str, str], None]:
    """A rule by which the process dies while it creates `key`, whose request is on its way."""

    def die(_number: int, kind: str, at: str) -> None:
        if (kind, at) == ("create", key):
            raise ProcessDiedError("the request is on its way")

    return die


def test_own_commit_that_arrives_late_is_no_conflict_at_any_request_of_the_next_opening(
    tmp_path: Path,
) -> None:
    number = count = 0
    while number <= count:
        folder, store = tmp_path / str(number), open_store(tmp_path / f"{number}.remote")
        payloads = publish(folder, store, 2)
        log = opened(folder, FaultDoor(store, dies_at(commit(2))))
        log.stream("s").append(b"late")
        with pytest.raises(ProcessDiedError):
            log.publish()
        log.close()
        door = Late(store, number, commit(2), (folder / commit(2)).read_bytes())
        with opened(folder, door) as log:
            count = len(door.requests)
            log.publish()
            assert read(log) == [*payloads, b"late"]
        number += 1
    assert count > 10


def test_history_that_is_not_seen_for_a_moment_is_taken_over_whole(tmp_path: Path) -> None:
    payloads = publish(tmp_path / "a", open_store(tmp_path / "remote"), 4)
    for number in range(4):
        door = Forgetful(open_store(tmp_path / "remote"), commit(number))
        with opened(tmp_path / f"new-{number}", door) as log:
            assert read(log) == payloads
            assert log.status().published == 4


def test_new_folder_continues_a_store_that_is_not_seen_for_a_moment(tmp_path: Path) -> None:
    payloads = publish(tmp_path / "a", open_store(tmp_path / "remote"), 2)
    for number in range(4):
        door = Forgetful(open_store(tmp_path / "remote"), "FORMAT", number)
        with opened(tmp_path / f"new-{number}", door) as log:
            assert read(log) == payloads


def test_folder_that_could_not_see_whose_the_remote_is_is_no_store(tmp_path: Path) -> None:
    remote = open_store(tmp_path / "remote")
    payloads = publish(tmp_path / "a", remote, 2)
    door = FaultDoor(remote)
    door.get = lambda key, bytes_max: None if key == "FORMAT" else remote.get(key, bytes_max)
    with pytest.raises(transit.OutcomeUnknownError):
        opened(tmp_path / "new", door)
    with opened(tmp_path / "new", remote) as log:
        assert read(log) == payloads


def test_history_that_is_not_seen_for_a_moment_is_restored_and_read_whole(tmp_path: Path) -> None:
    payloads = publish(tmp_path / "a", open_store(tmp_path / "remote"), 4)
    for number in range(4):
        door = Forgetful(open_store(tmp_path / "remote"), commit(number))
        assert transit.restore(door, tmp_path / f"r-{number}").commits == 4
        with transit.open(tmp_path / f"r-{number}", mode="read") as log:
            assert read(log) == payloads


def test_bucket_read_by_its_address_is_whole_where_a_commit_is_not_seen_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = publish(tmp_path / "a", open_store(tmp_path / "remote"), 4)
    for number in range(4):
        door = Forgetful(open_store(tmp_path / "remote"), commit(number))
        monkeypatch.setattr("transit.handle.attaching.open_store", lambda *_, door=door: door)
        with transit.open("s3://bucket/runs", mode="read") as log:
            assert read(log) == payloads


def test_rebase_does_not_begin_a_new_history_where_the_old_one_is_not_seen(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path / "remote")
    payloads = publish(tmp_path / "a", store, 2)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with opened(tmp_path / "a", store) as log:
        log.stream("s").append(b"a")
        log.publish()
    with transit.open(tmp_path / "b") as log:
        log.stream("s").append(b"b")

    class Empty(FaultDoor):
        """Has no commits from some moment on."""

        empty = False

        def get(self, key: str, bytes_max: int) -> bytes | None:
            found = super().get(key, bytes_max)
            return None if self.empty and key.startswith("commits/") else found

    door = Empty(store)
    log = opened(tmp_path / "b", door)
    with pytest.raises(transit.FencedError):
        log.publish()
    door.empty = True
    with pytest.raises((transit.RemoteUnavailableError, transit.OutcomeUnknownError)):
        log.rebase_onto_remote()
    door.empty = False
    with opened(tmp_path / "b", door) as log:
        assert read(log) == [*payloads, b"b"]
        with pytest.raises(transit.FencedError):
            log.publish()
        log.rebase_onto_remote()
    with opened(tmp_path / "b", door) as log:
        log.publish()
        assert read(log) == [*payloads, b"a"]


@pytest.mark.parametrize("lazy", [False, True])
def test_remote_without_a_commit_is_restored_as_a_store_without_records(
    tmp_path: Path, lazy: bool
) -> None:
    store = open_store(tmp_path / "remote")
    opened(tmp_path / "a", store).close()
    assert transit.restore(store, tmp_path / "r", lazy=lazy).commits == 0
    with opened(tmp_path / "r", store) as log:
        log.create("s").append(b"1", durability="tiered")
        assert read(log) == [b"1"]
