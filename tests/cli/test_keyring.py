"""`transit keyring`: what it makes, shows and changes, and what it never shows."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from transit import Keyring

from .conftest import Command
from .shell import at_terminal

PASSPHRASE = "correct horse canary"
ANN = "subject:ann"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ring.json"


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    return Keyring.new_key_file(tmp_path / "master.key")


def test_a_keyring_is_made_and_shown(command: Command, file: Path, tmp_path: Path) -> None:
    done = command("keyring", "new-key-file", "master.key")
    assert done.rows[0] == {"key_file": str(tmp_path / "master.key")}
    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600
    made = command("keyring", "new", file.name, "--key-file", "master.key").rows[0]
    ring = Keyring.open(file, key_file=tmp_path / "master.key")
    assert made == {"keyring": str(file), "id": ring.id, "by": "key-file"}
    ring.current_all(["store", ANN])
    ring.rotate("store")
    ring.destroy(ANN, "she asked")
    ring.attach(bytes(16))
    about, store, ann = command("keyring", "show", file, "--key-file", "master.key").rows
    assert about == {**made, "store": "00" * 16, "keys": 2}
    assert (store["owner"], store["state"], store["reason"]) == ("store", "old", "")
    assert (ann["owner"], ann["state"], ann["reason"]) == (ANN, "destroyed", "she asked")
    assert ann["made"] <= ann["destroyed"]
    assert store["destroyed"] is None


def test_nothing_is_made_twice(command: Command, file: Path, key_file: str) -> None:
    for words in (("new", file), ("new-key-file", key_file)):
        command("keyring", *words, "--key-file", key_file)
        again = command("keyring", *words, "--key-file", key_file)
        assert (again.code, again.error["type"]) == (4, "AlreadyExistsError")


def test_a_passphrase_comes_from_the_environment(
    command: Command, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSIT_PASSPHRASE", PASSPHRASE)
    assert command("keyring", "new", file).rows[0]["by"] == "passphrase"
    assert command("keyring", "show", file).code == 0
    assert command("--keyring", file, "keyring", "rotate").rows[0]["rotated"] == 0
    monkeypatch.setenv("TRANSIT_PASSPHRASE", "another")
    wrong = command("keyring", "show", file)
    assert (wrong.code, wrong.error["type"]) == (6, "KeyringError")
    assert "TRANSIT_PASSPHRASE" in wrong.error["hint"]
    monkeypatch.delenv("TRANSIT_PASSPHRASE")
    nobody = command("keyring", "show", file)
    assert (nobody.code, nobody.error["kind"]) == (2, "usage")
    assert "TRANSIT_PASSPHRASE" in nobody.error["hint"]


def test_a_passphrase_is_no_argument(command: Command, file: Path) -> None:
    for words in (("--passphrase", PASSPHRASE), (f"--passphrase={PASSPHRASE}",)):
        done = command("keyring", "new", file, *words)
        assert done.code == 2
        assert not file.exists()


def test_a_terminal_is_asked_for_a_passphrase(file: Path, tmp_path: Path) -> None:
    def type_it(_: int, terminal: int) -> None:
        os.write(terminal, f"{PASSPHRASE}\n".encode())

    new = {b"New passphrase: ": type_it, b"Repeat for confirmation: ": type_it}
    made = at_terminal(tmp_path / "store", "keyring", "new", file.name, when=new)
    assert made.code == 0, made.out
    assert Keyring.open(file, passphrase=PASSPHRASE).by == "passphrase"
    old = {b"Passphrase of the keyring: ": type_it}
    shown = at_terminal(tmp_path / "store", "keyring", "show", file.name, when=old)
    assert shown.code == 0, shown.out
    assert PASSPHRASE.encode() not in made.out + shown.out


def test_keys_are_rotated_and_destroyed(command: Command, file: Path, key_file: str) -> None:
    ring = Keyring.create(file, key_file=key_file)
    keys = ring.current_all(["store", ANN, "subject:bob"])
    own = ("--keyring", file, "--key-file", key_file)
    assert command("keyring", "rotate", *own, "--owner", ANN).rows[0]["rotated"] == 1
    assert command("keyring", "rotate", *own).rows[0]["rotated"] == 2
    assert ring.current("store").id != keys["store"].id
    done = command("keyring", "destroy", ANN, "--reason", "she asked", *own)
    assert done.rows[0] == {"keyring": str(file), "owner": ANN, "destroyed": 1}
    assert ring.destroyed(keys[ANN].id)
    none = command("keyring", "destroy", "subject:anna", "--reason", "a slip", *own)
    assert (none.code, none.error["type"]) == (2, "InvalidInputError")
    for owner in ("store", "ann"):
        assert command("keyring", "destroy", owner, "--reason", "x", *own).code == 2
    assert command("keyring", "destroy", ANN, *own).code == 2


def test_keys_are_wrapped_anew(
    command: Command,
    file: Path,
    key_file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = Keyring.create(file, key_file=key_file).current("store")
    second = Keyring.new_key_file(tmp_path / "second.key")
    own = ("--keyring", file, "--key-file", key_file)
    for words in ((), ("--new-key-file", second, "--new-passphrase")):
        assert command("keyring", "rewrap", *own, *words).code == 2
    done = command("keyring", "rewrap", *own, "--new-key-file", second)
    assert done.rows[0] == {"keyring": str(file), "by": "key-file", "keys": 1}
    assert command("keyring", "show", *own).code == 6
    monkeypatch.setenv("TRANSIT_NEW_PASSPHRASE", PASSPHRASE)
    own = ("--keyring", file, "--key-file", second)
    assert command("keyring", "rewrap", *own, "--new-passphrase").rows[0]["by"] == "passphrase"
    assert Keyring.open(file, passphrase=PASSPHRASE).find(key.id) == key


def test_without_a_keyring_it_says_how_to_name_one(command: Command, file: Path) -> None:
    for verb in ("show", "rotate"):
        done = command("keyring", verb)
        assert done.code == 2
        assert "TRANSIT_KEYRING" in done.error["hint"]
    missing = command("keyring", "show", file)
    assert (missing.code, missing.error["hint"]) == (
        3,
        "`transit keyring new FILE` makes a keyring",
    )


def test_a_key_file_that_is_not_there_is_named(command: Command, file: Path, key_file: str) -> None:
    Keyring.create(file, key_file=key_file)
    own = ("--keyring", file, "--key-file", key_file)
    for words in (
        ("keyring", "new", "another.json", "--key-file", "none.key"),
        ("keyring", "show", file, "--key-file", "none.key"),
        ("keyring", "rewrap", *own, "--new-key-file", "none.key"),
    ):
        done = command(*words)
        assert (done.code, done.error["message"]) == (3, "none.key: there is no such key file")
        assert "new-key-file" in done.error["hint"]


def test_no_secret_is_printed(
    command: Command, file: Path, key_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSIT_PASSPHRASE", PASSPHRASE)
    ring = Keyring.create(file, passphrase=PASSPHRASE)
    secrets = [ring.current("store").secret.hex(), PASSPHRASE, Path(key_file).read_text().strip()]
    for words in (
        ("keyring", "show", file),
        ("--debug", "keyring", "show", file, "--key-file", key_file),
        ("--debug", "keyring", "new", file),
        ("config", "--keyring", file, "--key-file", key_file),
        ("keyring", "rotate", file),
    ):
        done = command(*words)
        shown = (done.out + done.err).decode()
        assert not [secret for secret in secrets if secret in shown]


def test_a_configuration_names_keyring_and_key_file(
    command: Command, file: Path, key_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Keyring.create(file, key_file=key_file)
    (tmp_path / "transit.toml").write_text('keyring = "ring.json"\nkey_file = "master.key"\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    about, *_ = command("keyring", "show").rows
    assert about["id"] == key.id
    monkeypatch.setenv("TRANSIT_KEYRING", str(tmp_path / "another.json"))
    assert command("keyring", "show").code == 3


def test_a_word_that_encrypts_nothing_is_refused(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("append", "s", "x", "--encrypt", "some").code == 2
    monkeypatch.setenv("TRANSIT_ENCRYPT", "some")
    done = command("append", "s", "x")
    assert (done.code, done.error["kind"]) == (2, "usage")
    assert "TRANSIT_ENCRYPT: encrypt must be one of remote, all" in done.error["message"]
    monkeypatch.setenv("TRANSIT_ENCRYPT", "all")
    done = command("append", "s", "x")
    assert (done.code, done.error["message"]) == (
        2,
        "TRANSIT_ENCRYPT: to encrypt, a keyring is needed",
    )
    assert not os.path.exists(tmp_path / "store")
