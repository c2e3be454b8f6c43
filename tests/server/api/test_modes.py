"""Stores of all modes, served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import transit
from tests.server.api.calling import Server

SENDER = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}
WRITES: list[dict[str, Any]] = [
    {"op": "create", "name": "x"},
    {"op": "append", "stream": "a", "text": "x"},
    {"op": "append_many", "stream": "a", "payloads": ["eA=="]},
    {"op": "branch", "stream": "a", "name": "x"},
    {"op": "merge", "name": "x", "parents": ["a", "b"], "policy": "append"},
    {"op": "finish", "stream": "a"},
    {"op": "hide", "stream": "a"},
    {"op": "advance", "stream": "a", "cursor": "c", "position": 1},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    with transit.open(path) as log:
        log.create("a").append(b"1")
        log.create("b").append(b"2")
    return path


@pytest.mark.parametrize("headers", [{}, SENDER])
@pytest.mark.parametrize("step", WRITES, ids=lambda step: str(step["op"]))
def test_a_store_open_for_reading_refuses_every_write(
    folder: Path, step: dict[str, Any], headers: dict[str, str]
) -> None:
    with transit.open(folder, mode="read") as log:
        server = Server(log)
        try:
            reply = server.frame(step, headers=headers)
            assert (reply.status, reply.value["error"]) == (403, "ReadOnlyError")
        finally:
            server.close()


def test_a_store_open_for_reading_is_read(folder: Path) -> None:
    with transit.open(folder, mode="read") as log:
        server = Server(log)
        try:
            assert [each["payload"] for each in server.get("/v1/records/a").lines] == ["1"]
            assert [each["name"] for each in server.get("/v1/streams").lines] == ["a", "b"]
            assert server.get("/v1/store").value["mode"] == "read"
            assert server.get("/v1/status").value["streams"] == 2
            assert server.post("/v1/verify").value["findings"] == []
            for path in ("sync", "seal", "publish"):
                assert server.post("/v1/" + path).status in (400, 403), path
            plan = {"parents": ["a", "b"], "policy": "append"}
            assert server.post("/v1/plan", plan).value["spans"] == [[["a", 0], 1], [["b", 0], 1]]
        finally:
            server.close()


def test_a_reader_sees_what_another_process_wrote(folder: Path) -> None:
    with transit.open(folder, mode="shared") as writer, transit.open(folder, mode="read") as log:
        server = Server(log)
        try:
            waiting = server.begin("GET", "/v1/records/a", query={"start": 1, "wait": 30})
            writer.stream("a").append(b"more")
            assert [each["payload"] for each in waiting.result(60).lines] == ["more"]
        finally:
            server.close()


def test_a_shared_store_is_written_beside_others(folder: Path) -> None:
    with transit.open(folder, mode="shared") as other, transit.open(folder, mode="shared") as log:
        server = Server(log)
        try:
            for step in WRITES[1:4]:
                assert server.frame(step).status == 200
            other.stream("a").append(b"other")
            last = server.frame({"op": "append", "stream": "a", "text": "last"}).value
            assert last["receipts"][0]["offset"] == len(other.stream("a")) - 1
            expected = server.frame({**WRITES[1], "expect": 0})
            assert (expected.status, expected.value["error"]) == (409, "ConflictError")
        finally:
            server.close()


def test_a_store_with_a_remote_is_published_and_read_from_there(
    folder: Path, tmp_path: Path
) -> None:
    remote, replica = tmp_path / "remote", tmp_path / "replica"
    with transit.open(folder, remote=[remote, replica]) as log:
        server = Server(log)
        try:
            step = {"op": "append", "stream": "a", "text": "far"}
            reply = server.frame(step, headers=SENDER, durability="tiered")
            assert reply.headers["transit-durability"] == "tiered"
            assert server.post("/v1/publish").status == 200
            for level in ("tiered", "replicated"):
                assert server.post("/v1/sync", {"level": level}).value == {"durability": level}
            assert transit.audit(replica).counts["commits"] > 0
            (told,) = server.get("/v1/status").value["replicas"]
            assert (told["url"], told["behind"]) == (replica.as_uri(), 0)
        finally:
            server.close()
    with transit.open(f"file://{remote}", mode="read") as log:
        server = Server(log)
        try:
            assert [each["payload"] for each in server.get("/v1/records/a").lines] == ["1", "far"]
            assert server.get("/v1/streams/a").value["next_offset"] == 2
            assert server.frame(step, headers=SENDER).status == 403
        finally:
            server.close()
