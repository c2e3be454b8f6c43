"""A witness at /witness/ of a server, and logs that have their checkpoints cosigned by it."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

import transit
from transit.proof.checkpoint import open_checkpoint
from transit.proof.files import ConsistencyFile
from transit.proof.policy import Policy
from transit.server.run import Running, serving
from transit.server.settings import ServerSettings
from transit.server.witness import witness_keys

CLOSED = "http://127.0.0.1:9"


class Signing:
    """A log with one key, and records in as many commits as asked for."""

    def __init__(self, path: Path, key: transit.SigningKey | None = None) -> None:
        self.path = path
        self.log = transit.open(path)
        self.key = key or transit.SigningKey.generate(f"example.com/log/{self.log.store_id}")

    def grow(self, commits: int = 1) -> None:
        stream = self.log.stream("s") if "s" in self.log else self.log.create("s")
        for _ in range(commits):
            stream.append(b"x")
            self.log.seal()


@pytest.fixture
def signing(tmp_path: Path) -> Iterator[Signing]:
    made = Signing(tmp_path / "log")
    made.grow()
    yield made
    made.log.close()


OWN = transit.SigningKey.generate("witness.example/w", role="witness")


@pytest.fixture
def running(tmp_path: Path, signing: Signing) -> Iterator[Running]:
    with (
        transit.open(tmp_path / "witness") as store,
        serving(store, witness=witness_keys([OWN], [signing.key.verifying])) as running,
    ):
        yield running


def witness_at(running: Running) -> transit.Witness:
    return transit.Witness.at(f"{running.url}/witness", OWN.verifying)


def cosigned(signing: Signing, witness: transit.Witness) -> transit.SignedCheckpoint:
    found = signing.log.checkpoint(signing.key, witnesses=[witness])
    assert witness.error is None
    assert [each.key for each in found.witnesses] == [OWN.verifying]
    return found


def test_a_log_that_grows_is_cosigned_again_and_again(signing: Signing, running: Running) -> None:
    witness = witness_at(running)
    for commits in (1, 3, 0, 5):
        signing.grow(commits)
        found = cosigned(signing, witness)
        origin = hashlib.sha256(found.checkpoint.origin.encode()).hexdigest()
        shown = urllib3.request("GET", f"{running.url}/witness/{origin}/checkpoint")
        assert shown.status == 200
        latest = open_checkpoint(shown.data, [signing.key.verifying], witness_keys=[OWN.verifying])
        assert latest.checkpoint == found.checkpoint
        assert latest.witnesses


def test_a_witness_that_is_asked_anew_says_which_size_it_knows(
    signing: Signing, running: Running
) -> None:
    signing.grow(4)
    cosigned(signing, witness_at(running))
    signing.grow(3)
    # It does not know what this witness has seen: it is told, and shows the growth from there.
    cosigned(signing, witness_at(running))


def test_a_history_that_parts_from_the_one_cosigned_is_refused_and_kept_as_evidence(
    signing: Signing, running: Running, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    signing.log.close()
    shutil.copytree(signing.path, copy)
    first, second = Signing(signing.path, signing.key), Signing(copy, signing.key)
    with first.log, second.log:
        first.grow(2)
        second.grow(2)
        cosigned(first, witness_at(running))
        witness = witness_at(running)
        note = second.log.checkpoint(second.key, witnesses=[witness])
        assert note.witnesses == ()
        assert isinstance(witness.error, transit.ProofError)
        assert "answered 422" in str(witness.error)
        evidence = list(running.app.service.log.layer("witness").stream("evidence"))
        assert [each.payload for each in evidence] == [note.note]
        # With any other path it is no new evidence.
        body = ConsistencyFile(note.checkpoint.size, (bytes(32),), note.note).encode()
        again = urllib3.request("POST", f"{running.url}/witness/add-checkpoint", body=body)
        assert again.status == 422
        assert len(running.app.service.log.layer("witness").stream("evidence")) == 1


def test_a_second_root_for_the_size_cosigned_is_evidence_though_the_path_begins_elsewhere(
    signing: Signing, running: Running, tmp_path: Path
) -> None:
    signing.log.close()
    shutil.copytree(signing.path, tmp_path / "copy")
    first, second = Signing(signing.path, signing.key), Signing(tmp_path / "copy", signing.key)
    with first.log, second.log:
        first.grow(2)
        second.grow(2)
        cosigned(first, witness_at(running))
        note = second.log.checkpoint(second.key).note
    body = ConsistencyFile(0, (), note).encode()
    said = urllib3.request("POST", f"{running.url}/witness/add-checkpoint", body=body)
    assert (said.status, said.data) == (409, b"3\n")
    kept = running.app.service.log.layer("witness").stream("evidence")
    assert [each.payload for each in kept] == [note]


def test_a_copy_older_than_what_was_cosigned_must_not_sign(
    signing: Signing, running: Running, tmp_path: Path
) -> None:
    signing.log.close()
    shutil.copytree(signing.path, tmp_path / "old")
    newer, older = Signing(signing.path, signing.key), Signing(tmp_path / "old", signing.key)
    with newer.log, older.log:
        newer.grow(3)
        cosigned(newer, witness_at(running))
        with pytest.raises(transit.FencedError, match="has seen size 4"):
            older.log.checkpoint(older.key, witnesses=[witness_at(running)])


@pytest.mark.parametrize("body", [b"", b"x", b"old 0\n\n", b"old 0\n\na\n1\nb\n\n"])
def test_a_body_that_is_none_is_refused(running: Running, body: bytes) -> None:
    said = urllib3.request("POST", f"{running.url}/witness/add-checkpoint", body=body)
    assert said.status == 400


def test_a_log_that_is_not_known_is_refused(
    signing: Signing, running: Running, tmp_path: Path
) -> None:
    stranger = Signing(tmp_path / "stranger")
    with stranger.log:
        stranger.grow()
        witness = witness_at(running)
        assert stranger.log.checkpoint(stranger.key, witnesses=[witness]).witnesses == ()
        assert "answered 404" in str(witness.error)
    nothing = urllib3.request("GET", f"{running.url}/witness/{'0' * 64}/checkpoint")
    assert nothing.status == 404


def test_a_checkpoint_goes_without_a_witness_that_does_not_answer(
    signing: Signing, running: Running
) -> None:
    away = transit.Witness.at(CLOSED, OWN.verifying, timeout_s=5)
    there = witness_at(running)
    found = signing.log.checkpoint(signing.key, witnesses=[away, there])
    assert isinstance(away.error, transit.RemoteUnavailableError)
    assert [each.key for each in found.witnesses] == [OWN.verifying]


def test_a_quorum_that_is_not_met_keeps_a_checkpoint_from_the_remote(
    running: Running, tmp_path: Path
) -> None:
    with transit.open(tmp_path / "published", remote=str(tmp_path / "bucket")) as log:
        log.create("s").append(b"x")
        key = transit.SigningKey.generate(f"example.com/log/{log.store_id}")
        policy = Policy.of([key.verifying], [OWN.verifying], 1)
        with pytest.raises(transit.ProofError, match="not the quorum"):
            log.checkpoint(key, policy=policy)
        assert not (tmp_path / "bucket" / "checkpoint").exists()
        # Appends go on, and so does publishing.
        log.stream("s").append(b"y", durability="tiered")


@pytest.mark.parametrize("url", ["", "ftp://host/w", "host/w", "http://", "http://h/w?x=1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(transit.InvalidInputError, match="address of a witness"):
        transit.Witness.at(url, OWN.verifying)


def test_a_witness_that_was_killed_has_what_it_cosigned(signing: Signing, tmp_path: Path) -> None:
    key = tmp_path / "witness.key"
    key.write_text(OWN.to_text() + "\n")
    words = [
        *("serve", "--store", tmp_path / "killed", "--bind", "127.0.0.1:0", "--quiet"),
        *("--witness-key", key, "--witness-log", signing.key.verifying.to_text()),
    ]

    def start() -> tuple[subprocess.Popen[bytes], transit.Witness]:
        process = subprocess.Popen(
            [sys.executable, "-m", "transit", *map(str, words)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        url = process.stdout.readline().split(b'"url":"')[1].split(b'"')[0].decode()
        return process, transit.Witness.at(f"{url}/witness", OWN.verifying)

    before = tmp_path
    for round_ in range(3):
        process, witness = start()
        with process:
            try:
                if round_:
                    # Two trees of one size: the one that was cosigned before the kill stays.
                    signing.log.close()
                    shutil.copytree(before, tmp_path / f"fork-{round_}")
                    fork = Signing(tmp_path / f"fork-{round_}", signing.key)
                    with fork.log:
                        fork.grow()
                        shutil.rmtree(tmp_path / f"fork-{round_}" / "checkpoints")
                        assert fork.log.checkpoint(fork.key, witnesses=[witness]).witnesses == ()
                        assert "422" in str(witness.error)
                    signing.log = transit.open(signing.path)
                    signing.grow()
                cosigned(signing, witness)
            finally:
                process.send_signal(signal.SIGKILL)
        signing.log.close()
        before = tmp_path / f"before-{round_}"
        shutil.copytree(signing.path, before)
        signing.log = transit.open(signing.path)
        signing.grow()
        process, witness = start()
        with process:
            try:
                cosigned(signing, witness)
            finally:
                process.send_signal(signal.SIGKILL)


def test_an_address_sends_only_so_many_checkpoints_a_second(
    signing: Signing, tmp_path: Path
) -> None:
    # Of which it may save up one: the next comes after a thousand seconds.
    settings = ServerSettings(witness_rate_max=0.001)
    keys = witness_keys([OWN], [signing.key.verifying])
    with (
        transit.open(tmp_path / "busy") as store,
        serving(store, settings=settings, witness=keys) as running,
    ):
        url = f"{running.url}/witness/add-checkpoint"
        assert urllib3.request("POST", url, body=b"nothing", retries=False).status == 400
        refused = urllib3.request("POST", url, body=b"nothing", retries=False)
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) > 900
        # What is looked at is not counted, nor is any other route.
        assert urllib3.request("GET", f"{running.url}/witness/x/checkpoint").status == 404
        # Who has a checkpoint made goes on without this witness.
        witness = witness_at(running)
        assert signing.log.checkpoint(signing.key, witnesses=[witness]).witnesses == ()
        assert "429" in str(witness.error)
