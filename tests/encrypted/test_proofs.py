"""Proofs of encrypted records: checked without the keyring, and showing nothing else."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from tests.encrypted.conftest import CANARY, files_with
from transit import ProofError, SealedError, trace

Opened = Callable[..., transit.Log]
TOOLS = ("b3sum", "xxd", "openssl", "zstd")


@pytest.fixture
def log(opened: Opened) -> Iterator[transit.Log]:
    with opened(encrypt="remote") as log:
        for name in ("shown", "zebra"):
            stream = log.create(name, protect="stream")
            stream.append_many([f"{name} {number} ".encode() * 40 for number in range(20)])
            stream.append(CANARY)
        log.create("tiny").append(b"\x07")
        log.publish()
        yield log


@pytest.fixture
def key(log: transit.Log) -> transit.SigningKey:
    return transit.SigningKey.generate(f"example.com/runs/{log.store_id}")


@pytest.fixture
def proof(log: transit.Log, key: transit.SigningKey) -> transit.Proof:
    log.checkpoint(key)
    return log.prove("shown", 3)


def test_it_is_checked_without_the_keyring(proof: transit.Proof, key: transit.SigningKey) -> None:
    checked = transit.check_proof(dict(proof), key.verifying)
    (record,) = checked.records()
    assert record.payload == b"shown 3 " * 40
    kinds = [name.partition("/")[0] for name in proof]
    assert (kinds.count("secrets"), kinds.count("opened")) == (1, 1)


def test_it_shows_no_other_stream(proof: transit.Proof, log: transit.Log) -> None:
    """The secret is that of one envelope: no key of the keyring is in the proof."""
    every = b"".join(proof.values())
    assert b"zebra" not in every
    (secret,) = (data for name, data in proof.items() if name.startswith("secrets/"))
    keys = log._handle.catalog.keys
    assert keys is not None
    entries = keys.keyring.keys()
    for info in entries:
        found = keys.keyring.find(bytes.fromhex(info.id))
        assert found is not None
        assert found.secret not in every
        assert found.secret != secret
    assert keys.keyring.index_key not in every


@pytest.mark.parametrize("part", ["secrets", "opened", "leaves"])
def test_changed_files_are_refused(
    proof: transit.Proof, key: transit.SigningKey, part: str
) -> None:
    (name,) = (name for name in proof if name.startswith(f"{part}/") and _is_chunk(proof, name))
    for at in (0, -1):
        files = dict(proof)
        changed = bytearray(files[name])
        changed[at] ^= 1
        files[name] = bytes(changed)
        with pytest.raises(ProofError):
            transit.check_proof(files, key.verifying)


def _is_chunk(proof: transit.Proof, name: str) -> bool:
    return "secrets/" + name.partition("/")[2] in proof


def test_without_the_secret_it_shows_nothing(proof: transit.Proof, key: transit.SigningKey) -> None:
    files = {name: data for name, data in proof.items() if not name.startswith("secrets/")}
    with pytest.raises(ProofError, match="secrets/"):
        transit.check_proof(files, key.verifying)


def test_another_chunk_than_was_encrypted_is_refused(
    log: transit.Log, key: transit.SigningKey
) -> None:
    """What somebody made up does not fit the commitment, whatever key they found for it."""
    log.checkpoint(key)
    one, two = dict(log.prove("shown", 3)), dict(log.prove("zebra", 3))
    (name,) = (name for name in one if name.startswith("secrets/"))
    (other,) = (name for name in two if name.startswith("secrets/"))
    with pytest.raises(ProofError, match="commitment"):
        transit.check_proof({**one, name: two[other]}, key.verifying)


def by_hand(folder: Path, key: transit.SigningKey, code: int = 0) -> str:
    """What the commands of HOW.txt say; they end with that code."""
    for tool in TOOLS:
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here")
    done = subprocess.run(
        ["sh", "HOW.txt", key.verifying.to_text()],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["shown", "tiny"])
def test_standard_tools_check_it(
    log: transit.Log, key: transit.SigningKey, tmp_path: Path, name: str
) -> None:
    log.checkpoint(key)
    proof = log.prove(name, 0)
    proof.save(str(tmp_path / "proof"))
    said_of_it = by_hand(tmp_path / "proof", key)
    for said in ("the secret is that of the leaf", "what was encrypted", "the payload"):
        assert f"holds: {said}" in said_of_it
    (secret,) = (tmp_path / "proof" / "secrets").iterdir()
    secret.write_bytes(bytes(32))
    assert "DOES NOT HOLD: the secret" in by_hand(tmp_path / "proof", key, 1)


def test_an_end_is_shown_without_opening_others(log: transit.Log, key: transit.SigningKey) -> None:
    log.checkpoint(key)
    proof = log.prove("shown", records=(0, None), end=True)
    checked = transit.check_proof(dict(proof), key.verifying)
    assert checked.shown.end
    assert len(list(checked.records())) == 21
    assert sum(name.startswith("secrets/") for name in proof) == 1


def test_a_reader_without_the_keyring_makes_none(
    log: transit.Log, key: transit.SigningKey, tmp_path: Path
) -> None:
    note = log.checkpoint(key)
    transit.restore(tmp_path / "remote", tmp_path / "back")
    with transit.open(tmp_path / "back", mode="read") as reader, pytest.raises(SealedError):
        reader.prove("shown", 3, checkpoint=note)
    assert files_with(tmp_path / "remote") == []


def test_a_run_is_shown_as_an_exhibit(opened: Opened, tmp_path: Path) -> None:
    with opened(encrypt="remote") as log:
        with (
            trace.task(log, "work", actor="agent", reason="asked") as task,
            task.tool("bash", {"cmd": "ls"}) as call,
        ):
            call.result("found " * 10)
        key = transit.SigningKey.generate(f"example.com/runs/{log.store_id}")
        log.checkpoint(key)
        trace.exhibit(log, "work", tmp_path / "work.zip")
    checked = trace.check_exhibit(tmp_path / "work.zip", key.verifying)
    assert checked.proof.shown.stream == "work"
    shutil.unpack_archive(tmp_path / "work.zip", tmp_path / "work")
    by_hand(tmp_path / "work", key)
