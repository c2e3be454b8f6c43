"""`transit serve` and `transit token` as a shell runs them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import transit
from transit.cli.main import run
from transit.server.listening import check_exposure, most_connections, parse_bind

from .raw import TEXT, WAIT_S, Client, until

ROOT = Path(transit.__file__).parents[1]
SECRET = "a payload that nobody may log"


class Running(NamedTuple):
    """A server in a process of its own."""

    process: subprocess.Popen[bytes]
    said: dict[str, Any]
    address: tuple[str, int]

    def end(self) -> list[dict[str, Any]]:
        """End it in order; what it logged."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=WAIT_S)
        assert self.process.returncode == 0, errors
        return [json.loads(line) for line in errors.splitlines()]


def _run(*words: object) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRANSIT_")}
    environment["PYTHONPATH"] = str(ROOT)
    line = [sys.executable, "-m", "transit", *map(str, words)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


@contextmanager
def _serving(store: object, *words: object) -> Iterator[Running]:
    process = _run("serve", "--store", store, "--bind", "127.0.0.1:0", *words)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        said = json.loads(line)
        host, _, port = said["url"].rpartition("//")[2].rpartition(":")
        yield Running(process, said, (host, int(port)))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert run([*map(str, words)]) == 2
    found: str = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]["message"]
    return found


def test_it_serves_logs_and_ends_in_order(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    made = _run("token", "new", "builder", "--allow", "=all", "--tokens", file)
    told, errors = made.communicate(timeout=WAIT_S)
    assert made.returncode == 0, errors
    token = json.loads(told)["token"]
    with _serving(tmp_path / "a", "--tokens", file, "--long-poll", "1h") as server:
        with Client(server.address) as client:
            body = SECRET.encode()
            path = "/v1/stream/run-of-somebody"
            fields = TEXT | {"x-request-id": "given-1"}
            assert client.ask("PUT", path, fields, body, token).status == 201
            assert client.ask("GET", f"{path}?token={token}").status == 401
            client.send(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: a\rb\r\n\r\n")
            assert client.reply().status == 400
        with Client(server.address) as events, Client(server.address) as polls:
            events.begin("GET", f"{path}?offset=-1&live=sse", token=token)
            assert events.head().status == 200
            chunks = events.chunks()
            assert SECRET in next(chunks).decode()
            polls.begin("GET", f"{path}?offset=now&live=long-poll", token=token)
            server.process.send_signal(signal.SIGTERM)
            assert polls.reply().status == 204
            assert b"".join(chunks).decode().startswith("event: control\n")
        lines = server.end() if server.process.poll() is None else []
    requests = [line for line in lines if line["event"] == "request"]
    assert requests[0] == {
        "time": requests[0]["time"], "event": "request", "method": "PUT",
        "path": "/v1/stream/{name}", "status": 201, "ms": requests[0]["ms"], "id": "given-1",
        "token": "builder",
    }  # fmt: skip
    assert [line["status"] for line in requests[1:2]] == [401]
    text = json.dumps(lines)
    for hidden in (SECRET, token, token[8:24], "run-of-somebody"):
        assert hidden not in text
    with transit.open(tmp_path / "a", mode="read") as log:
        record = log.stream("run-of-somebody")[0]
        assert (record.payload.decode(), record.writer) == (SECRET, "builder")


def test_what_was_acknowledged_before_the_end_is_there_after_it(tmp_path: Path) -> None:
    taken: list[list[int]] = [[], [], []]

    def append(server: Running, number: int) -> None:
        with Client(server.address) as client:
            for n in range(100_000):
                client.begin("POST", "/v1/stream/a", TEXT, b"%d-%d " % (number, n))
                try:
                    if client.reply().status != 204:
                        return
                except (EOFError, OSError):
                    return
                taken[number].append(n)

    with _serving(tmp_path / "a", "--quiet") as server:
        with Client(server.address) as client:
            assert client.ask("PUT", "/v1/stream/a", TEXT).status == 201
        threads = [threading.Thread(target=append, args=(server, n)) for n in range(len(taken))]
        for thread in threads:
            thread.start()
        until(lambda: min(map(len, taken)) >= 20)
        assert server.end() == []
        for thread in threads:
            thread.join(WAIT_S)
    with transit.open(tmp_path / "a", mode="read") as log:
        found = {record.payload for record in log.stream("a").read()}
    for number, each in enumerate(taken):
        assert {b"%d-%d " % (number, n) for n in each} <= found


@pytest.mark.slow
def test_where_another_process_writes_it_serves_read_only_or_joins(tmp_path: Path) -> None:
    store = tmp_path / "a"
    with transit.open(store, durability="os") as log:
        log.create("a", {"http.content-type": "text/plain"}).append(b"hi")
        with _serving(store) as server, Client(server.address) as client:
            assert server.said["mode"] == "read"
            assert "another process writes" in server.said["read_only"]
            assert client.ask("GET", "/v1/stream/a").body == b"hi"
            assert client.ask("POST", "/v1/stream/a", TEXT, b"x").status == 403
            assert server.end()
    with transit.open(store, mode="shared", durability="os") as log:
        with _serving(store, "--mode", "shared") as server, Client(server.address) as client:
            assert "read_only" not in server.said
            log.stream("a").append(b" there")
            assert client.ask("POST", "/v1/stream/a", TEXT, b"!").status == 204
            assert client.ask("GET", "/v1/stream/a").body == b"hi there!"
            assert server.end()
        assert log.stream("a")[-1].payload == b"!"


def test_a_remote_is_served_read_only_without_a_folder(tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    with transit.open(tmp_path / "a", durability="os", remote=remote) as log:
        log.create("a", {"http.content-type": "text/plain"}).append(b"hi")
        log.publish()
    with _serving(f"file://{remote}") as server, Client(server.address) as client:
        assert server.said["mode"] == "read"
        assert client.ask("GET", "/v1/stream/a").body == b"hi"
        assert client.ask("POST", "/v1/stream/a", TEXT, b"x").status == 403
        with transit.open(tmp_path / "a", durability="os", remote=remote) as log:
            log.stream("a").append(b" again")
            log.publish()
        # What is published meanwhile is seen without being asked for.
        while client.ask("GET", "/v1/stream/a").body == b"hi":
            time.sleep(0.05)
        assert client.ask("GET", "/v1/stream/a").body == b"hi again"
        assert server.end()


def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    """A pipe holds 64 KiB; then a write to it waits for ever."""
    with _serving(tmp_path / "a") as server, Client(server.address) as client:
        client.begin("PUT", "/v1/stream/a", TEXT, b"hi")
        assert client.reply().status == 201
        for _ in range(1_000):
            assert client.ask("GET", "/v1/stream/a").status == 200
        assert server.end()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--bind", "0.0.0.0:0"], "--insecure"),
        (["--bind", "nonsense"], "HOST:PORT"),
        (["--limit", "bodies=1"], "body_bytes_max"),
    ],
)
def test_it_refuses_to_start_and_says_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], what: str
) -> None:
    assert what in _refused(capsys, "serve", "--store", tmp_path / "a", *words)


def test_a_port_that_is_taken_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        assert bind in _refused(capsys, "serve", "--store", tmp_path / "a", "--bind", bind)


def test_tokens_are_made_listed_and_taken_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tokens.toml"
    new = ["token", "new", "ci", "--allow", "runs/=append,read", "--tokens", str(file)]
    assert run([*new, "--expires", "1d"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["token"].startswith("transit_")
    assert run(["token", "list", "--tokens", str(file)]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed == {
        "name": "ci", "allow": {"runs/": ["read", "append"]}, "expires": made["expires"],
        "expired": False,
    }  # fmt: skip
    assert run(new) == 4
    assert run(["token", "remove", "ci", "--tokens", str(file)]) == 0
    assert run(["token", "remove", "ci", "--tokens", str(file)]) == 3
    capsys.readouterr()
    assert "right" in _refused(capsys, *new[:4], "x=rule", *new[5:])
    file.chmod(0o644)
    assert "chmod 600" in _refused(capsys, *new)


# Without a process


@pytest.mark.parametrize("bind", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"])
@pytest.mark.parametrize(("tokens", "tls"), [(False, False), (True, False), (False, True)])
def test_others_reach_nothing_without_tokens_and_tls(bind: str, tokens: bool, tls: bool) -> None:
    address = parse_bind(bind)
    with pytest.raises(transit.InvalidInputError, match="--insecure") as refused:
        check_exposure(address, has_tokens=tokens, has_tls=tls)
    assert ("--tokens" in str(refused.value)) is not tokens
    assert ("--tls-cert" in str(refused.value)) is not tls
    check_exposure(address, has_tokens=True, has_tls=True)
    check_exposure(address, has_tokens=tokens, has_tls=tls, is_insecure=True)


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:0", "127.9.9.9:0", "localhost:0"])
def test_this_machine_alone_needs_neither(bind: str) -> None:
    check_exposure(parse_bind(bind), has_tokens=False, has_tls=False)


@pytest.mark.parametrize(
    "bind", ["", ":", "host", ":80", "::1:80", "host:", "host:x", "host:65536", "host:-1", "h:٣"]
)
def test_what_is_no_address_is_refused(bind: str) -> None:
    with pytest.raises(transit.InvalidInputError, match="bind"):
        parse_bind(bind)


def test_no_more_connections_are_taken_than_there_are_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a file to spare none could be accepted, and clients would wait for ever."""
    limits = [(1024, 4096)]
    monkeypatch.setattr("resource.getrlimit", lambda kind: limits[-1])
    monkeypatch.setattr("resource.setrlimit", lambda kind, wanted: limits.append(wanted))
    most = most_connections(10_000)
    assert limits[-1] == (4096, 4096)
    assert most < 4096
    assert most_connections(100) == 100


def test_it_signs_checkpoints_with_the_key_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with transit.open(tmp_path / "a") as log:
        log.create("s").append(b"x")
        own = transit.SigningKey.generate(f"example.com/{log.store_id}")
    files = {"own": own, "other": transit.SigningKey.generate("example.com/" + "0" * 32)}
    for name, key in files.items():
        (tmp_path / name).write_text(key.to_text())
    with _serving(tmp_path / "a", "--checkpoint-key", tmp_path / "own") as server:
        with Client(server.address) as client:
            made = client.ask("POST", "/v1/checkpoint", {}, b"")
            assert made.status == 200
            head = transit.check_checkpoint(made.body, own.verifying).checkpoint
            assert (head.origin, head.size) == (own.verifying.name, 1)
        server.end()
    store = ("serve", "--store", tmp_path / "a", "--bind", "127.0.0.1:0")
    said = _refused(capsys, *store, "--checkpoint-key", tmp_path / "other")
    assert "id of the store" in said
    key = ("--checkpoint-key", tmp_path / "own")
    assert "written" in _refused(capsys, *store, "--mode", "read", *key)
    witness = transit.SigningKey.generate("witness.example/w", role="witness").verifying
    policy = f"log {own.verifying.to_text()}\nwitness w {witness.to_text()} http://127.0.0.1:9/w\n"
    (tmp_path / "policy").write_text(f"{policy}group enough 1 w\nquorum enough\n")
    only = ("--checkpoint-policy", tmp_path / "policy")
    assert "without a key" in _refused(capsys, *store, *only)
    # A policy that is not met: nothing is handed out.
    with _serving(tmp_path / "a", *key, *only) as server:
        with Client(server.address) as client:
            refused = client.ask("POST", "/v1/checkpoint", {}, b"")
            assert refused.status == 409
            assert json.loads(refused.body)["error"] == "ProofError"
        server.end()
