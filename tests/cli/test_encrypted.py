"""An encrypted store at the command line: every verb that opens one has its keys, or says so."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from transit import Keyring

from .conftest import Command

CANARY = "canary-0815"
SEALED = 18


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, ...]:
    """The options that name keyring and key file."""
    key_file = Keyring.new_key_file(tmp_path / "runs.key")
    ring = Keyring.create(tmp_path / "runs.json", key_file=key_file)
    return "--keyring", ring.path, "--key-file", key_file


def test_a_store_is_encrypted_and_read_with_its_keys(
    command: Command, keys: tuple[str, ...], tmp_path: Path
) -> None:
    remote = ("--remote", tmp_path / "bucket")
    assert command("append", "--create", "a", CANARY, *keys).code == 0
    assert command("publish", *remote, *keys).rows[0]["commits"] == 1
    for place in (tmp_path / "store", f"file://{tmp_path / 'bucket'}"):
        read = command("read", "a", "--store", place, *keys)
        assert [row["payload"] for row in read.rows] == [CANARY]
        assert command("verify", "--store", place, *keys).rows[0]["counts"]["chunks"] == 2
        sealed = command("read", "a", "--store", place)
        assert (sealed.code, sealed.error["type"]) == (SEALED, "SealedError")
        assert "--keyring" in sealed.error["hint"]
    assert not [
        path for path in (tmp_path / "bucket").rglob("*")
        if path.is_file() and CANARY.encode() in path.read_bytes()
    ]  # fmt: skip


def test_what_encrypts_is_chosen_and_stays(
    command: Command, keys: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSIT_KEYRING", keys[1])
    monkeypatch.setenv("TRANSIT_KEY_FILE", keys[3])
    assert command("append", "--create", "a", CANARY, "--encrypt", "all").code == 0
    assert command("append", "a", CANARY).code == 0
    assert not [
        path for path in (tmp_path / "store" / "wal").iterdir()
        if CANARY.encode() in path.read_bytes()
    ]  # fmt: skip
    assert len(command("read", "a").rows) == 2
    monkeypatch.delenv("TRANSIT_KEYRING")
    refused = command("append", "a", CANARY)
    assert (refused.code, refused.error["type"]) == (SEALED, "SealedError")


def test_an_audit_opens_what_it_has_keys_for(
    command: Command, keys: tuple[str, ...], tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    command("append", "--create", "a", CANARY, *keys)
    command("publish", "--remote", bucket, *keys)
    sealed = command("audit", bucket).rows[0]
    assert (sealed["ok"], sealed["counts"]["sealed_chunks"]) == (True, 2)
    opened = command("audit", bucket, *keys).rows[0]
    assert opened["ok"]
    assert "sealed_chunks" not in opened["counts"]


def test_restoring_needs_keys_for_names_alone(
    command: Command, keys: tuple[str, ...], tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    command("append", "--create", "a", CANARY, *keys)
    command("publish", "--remote", bucket, *keys)
    assert command("restore", bucket, tmp_path / "whole").code == 0
    assert command("restore", bucket, tmp_path / "part", "--stream", "a").code == SEALED
    assert command("restore", bucket, tmp_path / "part", "--stream", "a", *keys).code == 0
    for name in ("whole", "part"):
        read = command("read", "a", "--store", tmp_path / name, "--remote", bucket, *keys)
        assert [row["payload"] for row in read.rows] == [CANARY]


def test_another_stores_keyring_is_not_allowed(
    command: Command, keys: tuple[str, ...], tmp_path: Path
) -> None:
    command("append", "--create", "a", CANARY, *keys)
    other = command("append", "--create", "a", CANARY, *keys, "--store", tmp_path / "other")
    assert (other.code, other.error["type"]) == (6, "KeyringError")
    assert "is for the store" in other.error["message"]
    inside = tmp_path / "store" / "ring.json"
    Keyring.create(inside, key_file=keys[3])
    refused = command("read", "a", "--keyring", inside, "--key-file", keys[3])
    assert (refused.code, refused.error["type"]) == (2, "InvalidInputError")


def test_a_destroyed_key_takes_its_records_with_it(
    command: Command, keys: tuple[str, ...], tmp_path: Path
) -> None:
    key_file = keys[3]
    ring = Keyring.open(keys[1], key_file=key_file)
    with transit.open(tmp_path / "store", keyring=ring) as log:
        log.create("a", protect="subject:ann").append(CANARY.encode())
        log.create("b").append(b"kept")
        log.seal()
    done = command("keyring", "destroy", "subject:ann", "--reason", "she asked", *keys)
    assert done.rows[0]["destroyed"] == 1
    gone = command("read", "a", *keys)
    assert (gone.code, gone.error["type"]) == (15, "ErasedError")
    assert [row["payload"] for row in command("read", "b", *keys).rows] == ["kept"]


def test_a_doctor_without_keys_says_what_it_did_not_read(
    command: Command, keys: tuple[str, ...]
) -> None:
    command("append", "--create", "a", CANARY, *keys)
    command("seal", *keys)
    rows = {row["about"]: row for row in command("doctor").rows}
    assert rows["records"]["state"] == "unknown"
    assert "no keyring was given" in rows["records"]["said"]
    assert "versions" in rows
    with_keys = {row["about"]: row["state"] for row in command("doctor", *keys).rows}
    assert "records" not in with_keys
    assert with_keys["clock"] == "ok"
