"""Webhooks: where they may lead, how they are signed, sent again and answered."""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.server.calling import JSON, TEXT, Caller, call, served
from transit.server.settings import ServerSettings
from transit.server.subscriptions import webhooks
from transit.server.subscriptions.webhooks import RefusedAddressError, Webhooks

ON = ServerSettings(subscriptions=True, base_url="http://127.0.0.1:1", webhook_loopback=True)
SUBSCRIPTION = "__ds/subscriptions/hook"


class Receiver:
    """An HTTP server that keeps what it is sent.

    answers: status and body, in order, the last one for ever.
    """

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[tuple[int, bytes]] = [(200, b'{"done": true}')]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.got.append(({key.lower(): text for key, text in self.headers.items()}, body))
                several = len(outer.answers) > 1
                status, said = outer.answers.pop(0) if several else outer.answers[0]
                self.send_response(status)
                if status == 302:
                    self.send_header("location", "http://127.0.0.1:9/elsewhere")
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *given: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?x=1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def subscribe(caller: Caller, url: str) -> Any:
    asked = {"type": "webhook", "pattern": "events/*", "webhook": {"url": url}}
    return caller("PUT", SUBSCRIPTION, json.dumps(asked).encode(), JSON)


def places(caller: Caller, wanted: str) -> None:
    """Return once the only linked stream was processed up to `wanted`."""

    async def wait() -> None:
        while True:
            shown = (await call(caller.app, "GET", SUBSCRIPTION)).json["streams"]
            if shown and shown[0]["acked_offset"] == wanted:
                return
            await asyncio.sleep(0.005)

    caller.run(wait())


def test_a_wake_is_signed_by_a_published_key_and_its_answer_is_taken_up(
    tmp_path: Path, receiver: Receiver
) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # Here: of an extra.
        Ed25519PublicKey,
    )

    with served(tmp_path / "store", settings=ON) as caller:
        assert subscribe(caller, receiver.url).status == 201
        caller("PUT", "events/a", b"x", TEXT)
        places(caller, "00000000000000000001")
        (key,) = caller("GET", "__ds/jwks.json").json["keys"]
    ((fields, body),) = receiver.got
    assert json.loads(body)["streams"][0]["path"] == "events/a"
    parts = dict(part.split("=", 1) for part in fields["webhook-signature"].split(","))
    assert parts["kid"] == key["kid"]
    public = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key["x"] + "="))
    public.verify(urlsafe_b64decode(parts["ed25519"] + "=="), parts["t"].encode() + b"." + body)


@pytest.mark.parametrize("first", [(500, b""), (302, b""), (404, b"")])
def test_a_wake_that_is_not_taken_is_sent_again_with_another_token(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, first: Any
) -> None:
    monkeypatch.setattr("transit.server.subscriptions.waking.RETRY_FIRST_S", 0.01)
    receiver.answers.insert(0, first)
    with served(tmp_path / "store", settings=ON) as caller:
        subscribe(caller, receiver.url)
        caller("PUT", "events/a", b"x", TEXT)
        places(caller, "00000000000000000001")
    one, other = (json.loads(body) for _, body in receiver.got)
    assert one["wake_id"] == other["wake_id"]
    assert one["callback_token"] != other["callback_token"]


def test_a_wake_that_was_not_taken_is_sent_again_after_a_restart(
    tmp_path: Path, receiver: Receiver
) -> None:
    receiver.answers.insert(0, (503, b""))
    with served(tmp_path / "store", settings=ON) as caller:
        subscribe(caller, receiver.url)
        caller("PUT", "events/a", b"x", TEXT)

        async def failed() -> None:
            while (await call(caller.app, "GET", SUBSCRIPTION)).json["status"] != "failed":
                await asyncio.sleep(0.005)

        caller.run(failed())
    with served(tmp_path / "store", settings=ON) as caller:
        places(caller, "00000000000000000001")
        assert caller("GET", SUBSCRIPTION).json["status"] == "active"
    assert len(receiver.got) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/", "https://10.0.0.1/", "https://169.254.169.254/latest/meta-data/",
        "https://192.168.1.1/", "https://172.16.0.1/", "https://[::1]/", "https://[fe80::1]/",
        "https://[::ffff:10.0.0.1]/", "https://0.0.0.0/", "https://127.0.0.1/",
        "https://localhost/", "http://example.com/", "ftp://example.com/", "file:///etc/passwd",
        "https://user:secret@example.com/", "https://", "https://exa mple.com:99999/", "x",
        "https://100.64.0.1/", "https://224.0.0.1/",
    ],
)  # fmt: skip
def test_an_address_of_a_private_network_is_refused(url: str) -> None:
    with pytest.raises(RefusedAddressError):
        Webhooks("", allow_loopback=True).check(url)


def test_a_loopback_address_is_for_servers_that_are_there_themselves() -> None:
    Webhooks("", allow_loopback=True).check("http://127.0.0.1:80/")
    with pytest.raises(RefusedAddressError):
        Webhooks("", allow_loopback=False).check("http://127.0.0.1:80/")


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::1", "fd00::1"])
def test_a_name_that_leads_to_a_private_network_is_refused_when_it_is_resolved(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    reached: list[object] = []
    good = (2, 1, 6, "", ("93.184.216.34", 443))
    bad = (2, 1, 6, "", (address, 443))
    monkeypatch.setattr(webhooks.socket, "getaddrinfo", lambda *given, **more: [good, bad])
    monkeypatch.setattr(webhooks, "_connection", lambda *given: reached.append(given))
    hooks = Webhooks("", allow_loopback=False)
    assert asyncio.run(hooks.send("https://inside.example/", {})) is None
    assert reached == []
    hooks.close()
