"""Bugs planted on purpose: each must be seen by what the other tests look at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from transit.server import access, gate, journal, listening, tokens
from transit.server.access import Grant
from transit.server.connections import Connection
from transit.server.exchange import Exchange, Served
from transit.server.gate import Gate
from transit.server.stalling import Stall
from transit.server.tokens import Tokens, new_token, remove_token

from .raw import TEXT, Client, ask, create, served

PATIENCE_S = 1.0
"""How long what is planted is given to do the right thing after all."""

Patch = pytest.MonkeyPatch
Probe = Callable[[Path], bool]
Plant = Callable[[Patch], None]


# What is looked at: True where all is well


def _run_is_confined(folder: Path) -> bool:
    grant = Grant("t", (("run-1/", frozenset(access.RIGHTS)),), {"u": "run-2/a"}.get)
    beyond = ("run-2/a", "$trace/ends", "$trace/notes/u", "$server/states/1", "$run-1/")
    return grant.allows("read", "run-1/a") and not any(grant.allows("read", b) for b in beyond)


def _channel_is_confined(folder: Path) -> bool:
    own, other = "a" * 32, "b" * 32
    names = {own: "dev", other: "ops"}
    reads = Grant("t", (("dev", frozenset(("read",))),), names.get)
    all_of_it = Grant("t", (("dev", frozenset(access.RIGHTS)),), names.get)
    return (
        reads.allows("read", f"$chat/decisions/{own}")
        and not reads.allows("append", f"$chat/decisions/{own}")
        and not all_of_it.allows("read", f"$chat/decisions/{other}")
        and not all_of_it.allows("read", f"$chat/other/{own}")
        and not all_of_it.allows("admin", f"$chat/decisions/{own}")
        and not all_of_it.allows("branch", f"$chat/decisions/{own}")
    )


def _old_and_removed_are_refused(folder: Path) -> bool:
    file = str(folder / "tokens.toml")
    old = new_token(file, "old", {"": ["read"]}, time.time() - 1)
    good = new_token(file, "good", {"": ["read"]})
    found = Tokens(file, lambda uid: None)
    seen = found.find(old) is None and found.find(good) is not None
    remove_token(file, "good")
    return seen and found.find(good) is None


def _places_are_refused(folder: Path) -> bool:
    with served() as server:
        create(server, "a", b"hi")
        statuses = [
            ask(server, "GET", "/v1/stream/a", {"host": "localhost.evil.example"}).status,
            ask(server, "POST", "/v1/stream/a", TEXT | {"origin": "http://evil"}, b"x").status,
        ]
    return statuses == [421, 403]


def _a_token_in_a_url_is_refused(folder: Path) -> bool:
    file = str(folder / "tokens.toml")
    token = new_token(file, "t", {"": list(access.RIGHTS)})
    with served(tokens=file) as server:
        create(server, "a", b"hi", token)
        path = f"/v1/stream/a?token={token}"
        return ask(server, "GET", path, token=token).status == 401


def _half_a_head_is_cut(folder: Path) -> bool:
    with served(head_s=0.2, linger_s=0.2) as server, Client(server.address) as client:
        client.send(b"GET / HTTP/1.1\r\nx: ")
        client.socket.settimeout(PATIENCE_S)
        return client.is_closed()


def _silence_is_cut(folder: Path) -> bool:
    with served(head_s=0.2, linger_s=0.2) as server, Client(server.address) as client:
        client.socket.settimeout(PATIENCE_S)
        return client.is_closed()


def _a_trickle_is_cut(folder: Path) -> bool:
    with served(head_s=0.3, linger_s=0.2) as server, Client(server.address) as client:
        client.send(b"GET / HTTP/1.1\r\nx: ")
        client.socket.settimeout(0.05)
        ends = time.monotonic() + 2 * PATIENCE_S
        while time.monotonic() < ends:
            client.send(b"y")
            if client.is_closed():
                return True
    return False


def _a_reader_that_went_is_forgotten(folder: Path) -> bool:
    with served(sse_s=2 * PATIENCE_S, ping_s=60.0) as server:
        create(server, "a")
        with Client(server.address) as client:
            client.begin("GET", "/v1/stream/a?offset=-1&live=sse")
            assert client.head().status == 200
        ends = time.monotonic() + PATIENCE_S
        while server.app.gate.count and time.monotonic() < ends:
            time.sleep(0.01)
        return server.app.gate.count == 0


def _a_reader_that_stands_still_is_cut(folder: Path) -> bool:
    with served(stall_s=0.2, end_s=1.0) as server:
        create(server, "a", b"x" * (12 << 20))
        with Client(server.address, 4096) as client:
            client.begin("GET", "/v1/stream/a?offset=-1&live=sse")
            # Begun, then ended; a busy machine takes its time for both.
            begun = False
            deadline = time.monotonic() + 10 * PATIENCE_S
            while time.monotonic() < deadline:
                count = server.app.gate.count
                if begun and not count:
                    return True
                begun = begun or count > 0
                time.sleep(0.02)
            return False


def _a_log_is_bounded_and_tells_nothing(folder: Path) -> bool:
    written: list[bytes] = []
    kept = journal.Journal(SimpleNamespace(write=written.append, flush=lambda: None))
    handler = journal._Records(kept)
    log = journal.logging.getLogger("transit.test")
    log.addHandler(handler)
    log.propagate = False
    try:
        raise ValueError("hunter2")
    except ValueError:
        log.exception("request %s failed", "id")
    kept.served(Served("GET", "/v1/stream/{name}", 200, 0.1, "id", "t", False, 0.1, 0, 0, ""))
    kept.close()
    log.removeHandler(handler)
    lines = [json.loads(line) for line in b"".join(written).splitlines()]
    return len(lines) == 2 and lines[0]["error"] == "ValueError" and "hunter2" not in str(lines)


def _others_are_kept_out(folder: Path) -> bool:
    address = listening.parse_bind("0.0.0.0:1")
    try:
        listening.check_exposure(address, has_tokens=True, has_tls=False)
    except listening.InvalidInputError:
        return True
    return False


# The bugs


def _all_layers(patch: Patch) -> None:
    patch.setattr(Grant, "_allows_layer", lambda self, right, stream: self._allows_user(right))


def _all_channels(patch: Patch) -> None:
    patch.setattr(Grant, "_allows_about", lambda self, right, uid: uid and self._allows_user(right))


def _all_names_of_channels(patch: Patch) -> None:
    patch.setattr(access, "channel_of", lambda right, stream: stream.split("/")[2][:32])


def _reading_is_enough(patch: Patch) -> None:
    about = Grant._allows_about
    patch.setattr(Grant, "_allows_about", lambda self, right, uid: about(self, "read", uid))


def _any_prefix(patch: Patch) -> None:
    patch.setattr(Grant, "allows", lambda self, right, stream: self._allows_user(right))


def _always_fresh(patch: Patch) -> None:
    patch.setattr(tokens, "is_expired", lambda token: False)


def _read_once(patch: Patch) -> None:
    patch.setattr(Tokens, "_look", lambda self: None)


def _name_within(patch: Patch) -> None:
    name = gate.host_name
    patch.setattr(gate, "host_name", lambda host: "localhost" if "local" in host else name(host))


def _all_origins(patch: Patch) -> None:
    patch.setattr(Gate, "allows_origin", lambda self, origin: True)


def _no_secrets_in_urls(patch: Patch) -> None:
    patch.setattr(gate, "_SECRETS", frozenset())


def _no_deadline(patch: Patch) -> None:
    patch.setattr(Connection, "_arm", lambda self: None)


def _deadline_from_the_first_byte(patch: Patch) -> None:
    made = Connection.connection_made

    def connection_made(self: Connection, transport: object) -> None:
        made(self, transport)  # type: ignore[arg-type]
        self._disarm()

    patch.setattr(Connection, "connection_made", connection_made)


def _deadline_from_the_last_byte(patch: Patch) -> None:
    received = Connection.data_received

    def data_received(self: Connection, data: bytes) -> None:
        received(self, data)
        self._arm()

    patch.setattr(Connection, "data_received", data_received)


def _nobody_watches(patch: Patch) -> None:
    patch.setattr(Exchange, "watch", lambda self: None)


def _never_still(patch: Patch) -> None:
    patch.setattr(Stall, "_look", lambda self: setattr(self, "_timer", self._later()))
    # The kernel of Linux would cut it too.
    patch.setattr(listening, "_find_the_dead", lambda made, settings: None)


def _texts_of_errors(patch: Patch) -> None:
    def message(self: journal.logging.LogRecord) -> str:
        return f"{self.msg} {self.exc_info and self.exc_info[1]}"

    patch.setattr(journal.logging.LogRecord, "getMessage", message)


def _either_is_enough(patch: Patch) -> None:
    check = listening.check_exposure

    def either(address: listening.Address, *, has_tokens: bool, has_tls: bool) -> None:
        check(address, has_tokens=has_tokens or has_tls, has_tls=has_tokens or has_tls)

    patch.setattr(listening, "check_exposure", either)


PLANTS: list[tuple[Plant, Probe]] = [
    (_all_layers, _run_is_confined),
    (_any_prefix, _run_is_confined),
    (_all_channels, _channel_is_confined),
    (_all_names_of_channels, _channel_is_confined),
    (_reading_is_enough, _channel_is_confined),
    (_always_fresh, _old_and_removed_are_refused),
    (_read_once, _old_and_removed_are_refused),
    (_name_within, _places_are_refused),
    (_all_origins, _places_are_refused),
    (_no_secrets_in_urls, _a_token_in_a_url_is_refused),
    (_no_deadline, _half_a_head_is_cut),
    (_deadline_from_the_first_byte, _silence_is_cut),
    (_deadline_from_the_last_byte, _a_trickle_is_cut),
    (_nobody_watches, _a_reader_that_went_is_forgotten),
    (_never_still, _a_reader_that_stands_still_is_cut),
    (_texts_of_errors, _a_log_is_bounded_and_tells_nothing),
    (_either_is_enough, _others_are_kept_out),
]


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LOOK_S", 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "probe"), PLANTS, ids=lambda each: each.__name__.strip("_"))
def test_a_planted_bug_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Plant, probe: Probe
) -> None:
    plant(monkeypatch)
    assert not probe(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "probe", dict.fromkeys(probe for _, probe in PLANTS), ids=lambda each: each.__name__.strip("_")
)
def test_without_a_planted_bug_all_is_well(tmp_path: Path, probe: Probe) -> None:
    assert probe(tmp_path)
