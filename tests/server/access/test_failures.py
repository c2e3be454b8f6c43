"""A store that cannot write any more, and what is asked of it."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

import transit
from transit import SyncFailedError, TransitError
from transit.disk import File
from transit.store import open_store
from transit.testing.doors import FaultDoor

from .raw import TEXT, Client, Reply, Served, ask, create, served, serving_of

LOCAL = TEXT | {"prefer": "durability=local"}
TIERED = TEXT | {"prefer": "durability=tiered"}


def _append(server: Served, headers: dict[str, str] = TEXT) -> Reply:
    return ask(server, "POST", "/v1/stream/a", headers, b"more")


def _text(log: transit.Log) -> transit.Stream:
    return log.create("a", {"http.content-type": "text/plain"})


def _error(reply: Reply) -> object:
    return msgspec.json.decode(reply.body)["error"]


def _full(file: File, position: int, data: bytes) -> None:
    raise file.failure(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def _broken(file: File) -> None:
    raise SyncFailedError(f"{file.path}: {os.strerror(errno.EIO)}")


def test_a_full_disk_is_507_and_reads_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with served() as server:
        create(server, "a", b"hi")
        with monkeypatch.context() as patch:
            patch.setattr(File, "write_at", _full)
            reply = _append(server)
        assert (reply.status, _error(reply)) == (507, "StorageFullError")
        assert ask(server, "GET", "/v1/stream/a").body == b"hi"


def test_a_sync_that_failed_is_503_then_writes_are_and_reads_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # That it cannot be closed in order either is told to the one who closes it.
    with suppress(TransitError), served() as server:
        create(server, "a", b"hi")
        with monkeypatch.context() as patch:
            patch.setattr(File, "sync_data", _broken)
            assert _append(server, LOCAL).status == 503
        for headers in (TEXT, LOCAL):
            assert _append(server, headers).status == 503
        assert ask(server, "GET", "/v1/stream/a").body.startswith(b"hi")


def test_a_closed_store_is_503() -> None:
    with served() as server:
        create(server, "a", b"hi")
        server.log.close()
        assert _append(server).status == 503


def test_a_store_opened_for_reading_is_403_and_reads_go_on(tmp_path: Path) -> None:
    with transit.open(tmp_path / "a", durability="os") as log:
        _text(log).append(b"hi")
    with transit.open(tmp_path / "a", mode="read") as log, serving_of(log) as server:
        reply = _append(server)
        assert (reply.status, _error(reply)) == (403, "ReadOnlyError")
        assert ask(server, "PUT", "/v1/stream/b", TEXT).status == 403
        assert ask(server, "DELETE", "/v1/stream/a").status == 403
        assert ask(server, "GET", "/v1/stream/a").body == b"hi"


def test_a_server_that_reads_sees_what_a_writer_appends(tmp_path: Path) -> None:
    with transit.open(tmp_path / "a", durability="os") as writer:
        stream = _text(writer)
        stream.append(b"one ")
        with transit.open(tmp_path / "a", mode="read") as log, serving_of(log) as server:
            assert ask(server, "GET", "/v1/stream/a").body == b"one "
            with Client(server.address) as client:
                client.begin("GET", "/v1/stream/a?offset=now&live=sse")
                assert client.head().status == 200
                chunks = client.chunks()
                next(chunks)
                stream.append(b"two")
                assert b"data:two" in next(chunks)
            assert ask(server, "GET", "/v1/stream/a").body == b"one two"


def test_without_the_remote_what_asks_for_it_is_503_and_the_rest_goes_on(tmp_path: Path) -> None:
    door = FaultDoor(open_store(tmp_path / "remote"))
    settings = transit.Settings(remote_timeout_s=0.3, flush_interval_ms=60_000)
    with (
        transit.open(tmp_path / "a", durability="os", remote=door, settings=settings) as log,
        serving_of(log) as server,
    ):
        create(server, "a", b"hi")
        assert _append(server, TIERED).status == 204
        door.rule = lambda number, kind, key: "lost_before"
        reply = _append(server, TIERED)
        assert (reply.status, _error(reply)) == (503, "RemoteUnavailableError")
        reply = _append(server, LOCAL)
        assert (reply.status, reply.headers["transit-durability"]) == (204, "local")
        assert ask(server, "GET", "/v1/stream/a").body == b"himoremoremore"
        door.rule = None


def test_a_writer_that_another_overtook_is_409_and_reads_go_on(tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    with transit.open(tmp_path / "a", durability="os", remote=remote) as log:
        _text(log).append(b"hi")
        log.publish()
        log.release()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with (
        transit.open(tmp_path / "a", durability="os", remote=remote) as log,
        serving_of(log) as server,
    ):
        with transit.open(tmp_path / "b", durability="os", remote=remote) as other:
            other.stream("a").append(b"theirs")
            other.publish()
        reply = _append(server, TIERED)
        assert (reply.status, _error(reply)) == (409, "FencedError")
        assert ask(server, "GET", "/v1/stream/a").body == b"himore"
