"""Frames of producers, sent again."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import transit
from tests.server.api import dying_server
from tests.server.api.calling import Reply, Server
from transit import Log
from transit.server.access import APPEND, READ, Grant
from transit.server.api import producers
from transit.server.settings import ServerSettings

DEADLINE_S = 300
DIES_AT = Path(dying_server.__file__)


def sender(seq: int, epoch: int = 0, name: str = "p") -> dict[str, str]:
    return {"Producer-Id": name, "Producer-Epoch": str(epoch), "Producer-Seq": str(seq)}


def append(text: str, stream: str = "a") -> dict[str, Any]:
    return {"op": "append", "stream": stream, "text": text}


def payloads(log: Log, name: str = "a") -> list[bytes]:
    return [each.payload for each in log.stream(name)]


def check_once(send: Callable[[int], Reply], log: Log) -> None:
    """Whether a request that is sent again writes nothing, and is answered as before."""
    first, again = send(0), send(0)
    assert first.status == again.status == 200
    assert "transit-repeated" not in first.headers
    assert again.headers.get("transit-repeated") == "true"
    assert again.value["receipts"] == first.value["receipts"]
    assert [each["uid"] for each in again.value["made"]] == [
        each["uid"] for each in first.value["made"]
    ]
    assert payloads(log) == [b"0"]


def send_to(server: Server) -> Callable[[int], Reply]:
    def send(seq: int) -> Reply:
        steps = [{"op": "create", "name": "a"}, append(str(seq))]
        return server.frame(*steps, headers=sender(seq))

    return send


def test_a_request_sent_again_writes_nothing_and_is_answered_alike(
    server: Server, log: Log
) -> None:
    check_once(send_to(server), log)


def know_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(producers.Slot, "sent", lambda *_: None)


def stage_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(producers.Slot, "stage", lambda *_: None)


def keep_no_streams(patch: pytest.MonkeyPatch) -> None:
    kept = producers.Slot.entry

    def entry(self: producers.Slot, sent: producers.Sent) -> producers.Entry:
        found = kept(self, sent)
        found.made = []
        return found

    patch.setattr(producers.Slot, "entry", entry)


@pytest.mark.parametrize("plant", [know_nobody, stage_nothing, keep_no_streams])
def test_the_check_reports_a_planted_bug(
    server: Server,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_once(send_to(server), log)


def test_the_numbers_of_a_producer_are_looked_at(server: Server, log: Log) -> None:
    log.create("a")
    gap = server.frame(append("x"), headers=sender(1))
    assert (gap.status, gap.headers["producer-expected-seq"]) == (409, "0")
    assert server.frame(append("0"), headers=sender(0)).status == 200
    assert server.frame(append("1"), headers=sender(1)).status == 200
    old = server.frame(append("0"), headers=sender(0))
    assert (old.status, old.headers["producer-expected-seq"]) == (409, "2")
    assert server.frame(append("x"), headers=sender(3)).headers["producer-expected-seq"] == "2"
    assert server.frame(append("x"), headers=sender(3, 1)).status == 400
    assert server.frame(append("2"), headers=sender(0, 1)).status == 200
    fenced = server.frame(append("x"), headers=sender(2))
    assert (fenced.status, fenced.headers["producer-epoch"]) == (403, "1")
    assert payloads(log) == [b"0", b"1", b"2"]


def test_another_request_under_the_same_number_is_refused(server: Server, log: Log) -> None:
    log.create("a")
    server.frame(append("0"), headers=sender(0))
    assert server.frame(append("other"), headers=sender(0)).status == 422
    again = server.frame(append("0"), headers=sender(0), durability="local")
    assert again.headers["transit-repeated"] == "true"
    assert again.headers["transit-durability"] == "local"
    assert payloads(log) == [b"0"]


def test_a_request_that_failed_has_used_up_no_number(server: Server, log: Log) -> None:
    log.create("a")
    assert server.frame(append("x", "nobody"), headers=sender(0)).status == 404
    assert server.frame({**append("x"), "expect": 4}, headers=sender(0)).status == 409
    assert server.frame(append("0"), headers=sender(0)).status == 200


def test_a_producer_is_known_after_the_store_was_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "store"
    for seq in range(3):
        with transit.open(path, durability="os") as log:
            if not seq:
                log.create("a")
            server = Server(log)
            if seq:
                again = server.frame(append(str(seq - 1)), headers=sender(seq - 1))
                assert again.headers["transit-repeated"] == "true"
            assert server.frame(append(str(seq)), headers=sender(seq)).status == 200
            server.close()
            assert payloads(log) == [b"0", b"1", b"2"][: seq + 1]


def test_producers_are_known_when_a_slot_was_written_whole_and_sealed(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producers, "WHOLE", 4)
    monkeypatch.setattr(producers, "SLOTS", 2)
    log.create("a")
    for seq in range(5):
        server = Server(log)
        for name in "pqrs":
            assert server.frame(append(name), headers=sender(seq, name=name)).status == 200
        for name in "pqrs":
            again = server.frame(append(name), headers=sender(seq, name=name))
            assert again.headers["transit-repeated"] == "true"
        server.close()
        log.seal()
    assert len(log.stream("a")) == 20


def test_the_producer_that_was_idle_longest_is_forgotten(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producers, "SLOTS", 1)
    log.create("a")
    server = Server(log, ServerSettings(frame_producers_max=2))
    try:
        for seq, name in ((0, "p"), (0, "q"), (1, "p"), (0, "r")):
            assert server.frame(append(name), headers=sender(seq, name=name)).status == 200
        assert server.frame(append("q"), headers=sender(1, name="q")).status == 409
        assert server.frame(append("p"), headers=sender(2, name="p")).status == 200
    finally:
        server.close()


def test_two_tokens_can_have_producers_of_one_id(server: Server, log: Log) -> None:
    log.create("a")
    for name in ("one", "two"):
        server.app.granted = Grant(name, (("", frozenset({APPEND, READ})),))
        assert server.frame(append(name), headers=sender(0)).status == 200
    assert payloads(log) == [b"one", b"two"]


def test_requests_of_one_producer_at_the_same_time_are_written_once(
    server: Server, log: Log
) -> None:
    log.create("a")
    body = json.dumps({"steps": [append("0")]}).encode()
    headers = {"content-type": "application/json", **sender(0)}
    begun = [server.begin("POST", "/v1/frames", body, headers) for _ in range(20)]
    assert {each.result(DEADLINE_S).status for each in begun} == {200}
    assert payloads(log) == [b"0"]


def test_two_servers_of_a_shared_store_write_a_request_once(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with (
        transit.open(path, durability="os", mode="shared") as one,
        transit.open(path, durability="os", mode="shared") as two,
    ):
        one.create("a")
        servers = [Server(one), Server(two)]
        for seq in range(8):
            body = json.dumps({"steps": [append(str(seq))]}).encode()
            headers = {"content-type": "application/json", **sender(seq)}
            begun = [each.begin("POST", "/v1/frames", body, headers) for each in servers]
            replies = [each.result(DEADLINE_S) for each in begun]
            assert {reply.status for reply in replies} == {200}
            assert len({reply.value["receipts"][0]["offset"] for reply in replies}) == 1
        for each in servers:
            each.close()
        assert payloads(one) == [b"%d" % seq for seq in range(8)]


def test_a_record_of_all_producers_is_made_anew_when_another_server_wrote_one_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producers, "SLOTS", 1)
    monkeypatch.setattr(producers, "WHOLE", 2)
    path = tmp_path / "store"
    with (
        transit.open(path, durability="os", mode="shared") as log,
        transit.open(path, durability="os", mode="shared") as other_log,
    ):
        log.create("a")
        server, other = Server(log), Server(other_log)
        assert server.frame(append("p"), headers=sender(0, name="p")).status == 200
        stage, interrupting = producers.Slot.stage, [True]

        def interrupted(self: producers.Slot, *rest: Any) -> None:
            if interrupting.pop() if interrupting else False:
                assert other.frame(append("r"), headers=sender(0, name="r")).status == 200
            stage(self, *rest)

        monkeypatch.setattr(producers.Slot, "stage", interrupted)
        assert server.frame(append("q"), headers=sender(0, name="q")).status == 200
        server.close()
        other.close()
        server = Server(log)
        for name in "pqr":
            again = server.frame(append(name), headers=sender(0, name=name))
            assert again.headers.get("transit-repeated") == "true", name
        server.close()
        assert sorted(payloads(log)) == [b"p", b"q", b"r"]


def serve(folder: Path, port_file: Path, frames: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(DIES_AT), str(folder), str(port_file), str(frames)]
    return subprocess.Popen(command)


def port_of(child: subprocess.Popen[bytes], port_file: Path) -> int:
    for _ in range(DEADLINE_S * 20):
        if port_file.exists():
            return int(port_file.read_text())
        assert child.poll() is None, "the server did not start"
        time.sleep(0.05)
    raise AssertionError("the server did not start in time")


def post(port: int, steps: list[dict[str, Any]], seq: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        headers = {"content-type": "application/json", **sender(seq)}
        connection.request("POST", "/v1/frames", json.dumps({"steps": steps}), headers)
        answer = connection.getresponse()
        assert answer.status == 200
        return {**json.loads(answer.read()), "repeated": answer.headers["transit-repeated"]}
    finally:
        connection.close()


def test_a_server_killed_between_frame_and_answer_has_written_the_retried_request_once(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "store"
    steps = [{"op": "create", "name": "a"}, append("0")]
    child = serve(folder, tmp_path / "port0", 0)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        post(port_of(child, tmp_path / "port0"), steps, 0)
    assert child.wait(DEADLINE_S) == dying_server.EXIT
    child = serve(folder, tmp_path / "port1", 2)
    port = port_of(child, tmp_path / "port1")
    answer = post(port, steps, 0)
    assert answer["repeated"] == "true"
    assert answer["receipts"][0]["offset"] == 0
    assert post(port, [append("1")], 1)["repeated"] is None
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        post(port, [append("2")], 2)
    assert child.wait(DEADLINE_S) == dying_server.EXIT
    with transit.open(folder) as log:
        assert payloads(log) == [b"0", b"1", b"2"]
