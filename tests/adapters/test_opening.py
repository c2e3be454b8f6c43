"""How an adapter comes to its store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import transit
from transit import InvalidInputError, NotFoundError
from transit.adapters.opening import PROCESS, Adapter, Place, open_store


def appended(log: transit.Log, payload: bytes) -> None:
    try:
        stream = log.stream("a")
    except NotFoundError:
        stream = log.create("a")
    stream.append(payload)


def payloads(path: Path) -> list[bytes]:
    with transit.open(path, mode="read") as log:
        return [record.payload for record in log.stream("a").read()]


def test_a_given_store_stays_the_callers(tmp_path: Path) -> None:
    with transit.open(tmp_path / "store") as log:
        with Adapter(log) as adapter:
            assert adapter.log is log
        appended(log, b"open still")


def test_an_opened_store_is_closed(tmp_path: Path) -> None:
    with Adapter.open(tmp_path / "store") as adapter:
        log = adapter.log
        appended(log, b"0")
    with pytest.raises(transit.ClosedError):
        appended(log, b"1")
    assert payloads(tmp_path / "store") == [b"0"]


def test_a_child_made_by_fork_opens_it_again(tmp_path: Path) -> None:
    with Adapter.open(tmp_path / "store") as adapter:
        appended(adapter.log, b"parent")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                appended(adapter.log, b"child")
                adapter.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        appended(adapter.log, b"parent again")
    assert payloads(tmp_path / "store") == [b"parent", b"child", b"parent again"]


def test_what_cannot_be_opened_is_told_where_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Adapter.open(tmp_path / "none", mode="read")
    with pytest.raises(InvalidInputError, match="token= is for a server"):
        open_store(tmp_path / "store", token="t")
    with pytest.raises(InvalidInputError, match="a server has its own remote"):
        open_store("http://127.0.0.1:1", remote="memory://x")
    with pytest.raises(InvalidInputError, match="log must be a"):
        Adapter("store")  # type: ignore[arg-type]


def test_the_process_has_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSIT_STORE", raising=False)
    with pytest.raises(InvalidInputError, match="TRANSIT_STORE names no store"):
        _ = PROCESS.log
    monkeypatch.setenv("TRANSIT_STORE", str(tmp_path / "store"))
    try:
        first, second = Adapter(PROCESS), Adapter(PROCESS)
        assert first.log is second.log
        first.close()
        appended(second.log, b"0")
    finally:
        PROCESS.close()
    assert payloads(tmp_path / "store") == [b"0"]


def test_a_place_opens_once(tmp_path: Path) -> None:
    opened = []

    def opens() -> transit.Log:
        opened.append(transit.open(tmp_path / "store"))
        return opened[-1]

    place = Place(opens)
    assert place.log is place.log
    place.close()
    place.close()
    assert len(opened) == 1


def test_what_was_recorded_is_published_when_it_is_closed(tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    with Adapter.open(tmp_path / "store", remote=remote) as adapter:
        appended(adapter.log, b"small")
    with transit.open(remote, mode="read") as log:
        assert [record.payload for record in log.stream("a")] == [b"small"]


def test_what_is_worth_a_segment_is_sealed_when_it_is_closed(tmp_path: Path) -> None:
    for payload, segments in ((b"small", 0), (os.urandom(100_000), 1), (b"small", 1)):
        with Adapter.open(tmp_path / "store") as adapter:
            appended(adapter.log, payload)
        with transit.open(tmp_path / "store", mode="read") as log:
            assert log.status().segments == segments
