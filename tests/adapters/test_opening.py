"""How an adapter comes to its store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from transit import InvalidInputError, KeyringError, NotFoundError, SealedError, fleet
from transit.adapters.opening import PROCESS, Adapter, Place, open_store

from .conftest import EncryptedPlace

CANARY = "canary-51c0"


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


def test_what_is_for_a_folder_is_refused_for_a_server(encrypted: EncryptedPlace) -> None:
    for given in ({"encrypt": "all"}, {"keyring": encrypted.keyring}):
        for address in ("http://127.0.0.1:1", "HTTPS://127.0.0.1:1"):
            with pytest.raises(InvalidInputError, match="a server has its own keyring"):
                open_store(address, **given)  # type: ignore[arg-type]
            with pytest.raises(InvalidInputError, match="a server has its own keyring"):
                Adapter.open(address, **given)


def test_what_is_encrypted_is_nowhere_in_the_clear(encrypted: EncryptedPlace) -> None:
    with Adapter.open(encrypted.store, **encrypted.how) as adapter:
        appended(adapter.log, CANARY.encode())
        assert not encrypted.clear(CANARY)
    assert not encrypted.clear(CANARY)
    assert encrypted.says(CANARY)
    with pytest.raises(SealedError):
        Adapter.open(encrypted.store)
    with Adapter.open(encrypted.store, keyring=encrypted.keyring) as adapter:
        assert adapter.log.stream("a")[0].payload == CANARY.encode()


def test_what_is_encrypted_when_it_leaves_is_in_the_folder_until_then(
    encrypted: EncryptedPlace,
) -> None:
    with Adapter.open(encrypted.store, **{**encrypted.how, "encrypt": "remote"}) as adapter:
        appended(adapter.log, CANARY.encode())
        assert encrypted.clear(CANARY)
    assert not encrypted.clear(CANARY)


def test_a_child_made_by_fork_has_the_keyring_too(encrypted: EncryptedPlace) -> None:
    with Adapter.open(encrypted.store, **encrypted.how) as adapter:
        appended(adapter.log, b"parent")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                appended(adapter.log, CANARY.encode())
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert not encrypted.clear(CANARY)
        assert adapter.log.stream("a")[1].payload == CANARY.encode()


@pytest.fixture
def environment(
    encrypted: EncryptedPlace, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """The environment, which names a store that is to be encrypted whole, and its keyring."""
    for name in ("TOKEN", "MODE", "DURABILITY", "KEY_FILE", "PASSPHRASE"):
        monkeypatch.delenv(f"TRANSIT_{name}", raising=False)
    monkeypatch.setenv("TRANSIT_STORE", str(encrypted.store))
    monkeypatch.setenv("TRANSIT_REMOTE", str(encrypted.remote))
    monkeypatch.setenv("TRANSIT_KEYRING", encrypted.keyring.path)
    monkeypatch.setenv("TRANSIT_ENCRYPT", "all")
    yield monkeypatch
    PROCESS.close()


@pytest.mark.parametrize("way", ["key file", "passphrase", "key file before passphrase", "home"])
def test_the_environment_names_a_keyring_and_what_unlocks_it(
    encrypted: EncryptedPlace, environment: pytest.MonkeyPatch, way: str
) -> None:
    environment.setenv("TRANSIT_KEY_FILE", f"{encrypted.keyring.path.removesuffix('ring')}key")
    if way == "passphrase":
        encrypted.keyring.rewrap(passphrase="correct horse")
        environment.setenv("TRANSIT_KEY_FILE", "")
        environment.setenv("TRANSIT_PASSPHRASE", "correct horse")
    elif way == "key file before passphrase":
        environment.setenv("TRANSIT_PASSPHRASE", "wrong")
    elif way == "home":
        environment.setenv("HOME", str(encrypted.store.parent))
        environment.setenv("TRANSIT_KEYRING", "~/ring")
        environment.setenv("TRANSIT_KEY_FILE", "~/key")
    appended(PROCESS.log, CANARY.encode())
    assert PROCESS.log.status().encryption == "all"
    assert not encrypted.clear(CANARY)
    PROCESS.close()
    assert not encrypted.clear(CANARY)
    assert encrypted.says(CANARY)


def test_an_environment_that_cannot_encrypt_makes_no_store(
    encrypted: EncryptedPlace, environment: pytest.MonkeyPatch
) -> None:
    def refused(kind: type[Exception], said: str) -> None:
        with pytest.raises(kind, match=said):
            _ = PROCESS.log
        assert not encrypted.store.exists()

    refused(InvalidInputError, "set TRANSIT_KEY_FILE or TRANSIT_PASSPHRASE")
    environment.setenv("TRANSIT_PASSPHRASE", "wrong")
    refused(KeyringError, "ring")
    environment.setenv("TRANSIT_KEYRING", str(encrypted.store.parent / "none"))
    refused(NotFoundError, "none")
    environment.setenv("TRANSIT_KEYRING", "")
    refused(InvalidInputError, "TRANSIT_ENCRYPT: to encrypt, a keyring is needed")
    environment.setenv("TRANSIT_STORE", "http://127.0.0.1:1")
    environment.setenv("TRANSIT_REMOTE", "")
    refused(InvalidInputError, "a server has its own keyring")


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


def test_the_process_has_a_store_that_is_a_member_of_a_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSIT_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TRANSIT_FLEET", str(tmp_path / "fleet"))
    try:
        for payload in (b"0", b"1"):
            appended(Adapter(PROCESS).log, payload)
            PROCESS.close()
    finally:
        PROCESS.close()
    with fleet.open(str(tmp_path / "fleet")) as found:
        (member,) = found.members()
        with found.open(member) as log:
            assert [r.payload for s in log.streams() for r in s] == [b"0", b"1"]
    for variable, value, said in (
        ("TRANSIT_REMOTE", str(tmp_path / "r"), "TRANSIT_REMOTE do not go together"),
        ("TRANSIT_STORE", "http://127.0.0.1:1", "a server"),
    ):
        with monkeypatch.context() as other:
            other.setenv(variable, value)
            with pytest.raises(InvalidInputError, match=said):
                _ = PROCESS.log


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
