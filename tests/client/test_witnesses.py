"""Witnesses over HTTP: asked as C2SP says, and nothing that they answer can hurt."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import transit
from transit.client.witnesses import asker
from transit.proof.witness import Latest, decide

Answer = Callable[[str, bytes], tuple[int, str, bytes]]


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    """An HTTP server that answers each POST so."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, kind, data = answer(self.path, body)
            self.send_response(status)
            self.send_header("content-type", kind)
            if status == 302:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Cosigner:
    """What a witness of one log answers."""

    def __init__(self, log_key: transit.VerifyingKey) -> None:
        self.key = transit.SigningKey.generate("witness.example", role="witness")
        self.log_key = log_key
        self.latest: dict[str, Latest] = {}
        self.paths: list[str] = []

    def __call__(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        self.paths.append(path)
        answer = decide(
            body, self.latest, logs={self.log_key.name: [self.log_key]}, keys=[self.key],
            now=int(time.time()),
        )  # fmt: skip
        if answer.new_state is not None:
            self.latest[self.log_key.name] = answer.new_state
        return answer.status, answer.content_type, answer.body


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    with transit.open(path) as opened:
        opened.create("s").append(b"x")
        yield opened


@pytest.fixture
def key(log: transit.Log) -> transit.SigningKey:
    return transit.SigningKey.generate(f"example.com/runs/{log.store_id}")


def test_a_witness_cosigns_what_grows(log: transit.Log, key: transit.SigningKey) -> None:
    cosigner = Cosigner(key.verifying)
    with served(cosigner) as url:
        for _ in range(3):
            # Each time by a program that does not know which size the witness has seen.
            witness = transit.Witness.at(f"{url}/prefix/", cosigner.key.verifying)
            signed = log.checkpoint(key, witnesses=[witness])
            assert witness.error is None
            assert [each.key for each in signed.witnesses] == [cosigner.key.verifying]
            log.stream("s").append(b"more")
    assert set(cosigner.paths) == {"/prefix/add-checkpoint"}


@pytest.mark.parametrize(
    "answer",
    [
        (200, "text/html", b"<p>hello</p>"),
        (200, "text/plain", b"x" * 1_000_000),
        (302, "text/plain", b""),
        (404, "text/plain", b"no such log\n"),
        (500, "text/plain", b"\x1b[2J"),
    ],
)
def test_a_witness_that_answers_anything_else_is_left_out(
    log: transit.Log, key: transit.SigningKey, answer: tuple[int, str, bytes]
) -> None:
    cosigner = Cosigner(key.verifying)
    with served(lambda path, body: answer) as url:
        witness = transit.Witness.at(url, cosigner.key.verifying)
        signed = log.checkpoint(key, witnesses=[witness])
    assert signed.witnesses == ()
    assert isinstance(witness.error, transit.ProofError)


def test_no_more_is_read_than_a_witness_may_answer() -> None:
    with served(lambda path, body: (200, "text/plain", bytes(16 * 1024 * 1024))) as url:
        _, _, data = asker(url, 60.0, None)(b"")
    assert len(data) < 1024 * 1024


def test_a_witness_that_is_not_there_is_left_out(log: transit.Log, key: transit.SigningKey) -> None:
    with served(Cosigner(key.verifying)) as url:
        pass
    gone = transit.Witness.at(url, Cosigner(key.verifying).key.verifying)
    signed = log.checkpoint(key, witnesses=[gone])
    assert signed.witnesses == ()
    assert isinstance(gone.error, transit.RemoteUnavailableError)


def test_a_witness_that_has_seen_more_ends_it(log: transit.Log, key: transit.SigningKey) -> None:
    """Somebody signs with this key elsewhere."""
    cosigner = Cosigner(key.verifying)
    cosigner.latest[key.verifying.name] = Latest(99, bytes(32))
    with served(cosigner) as url:
        witness = transit.Witness.at(url, cosigner.key.verifying)
        with pytest.raises(transit.FencedError):
            log.checkpoint(key, witnesses=[witness])


@pytest.mark.parametrize("url", ["ftp://x", "witness.example", "", "file:///etc/passwd"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(transit.InvalidInputError):
        asker(url, 10.0, None)
