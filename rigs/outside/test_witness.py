"""A witness that is not ours cosigns what our client sends it, and refuses what it must."""

from __future__ import annotations

import json
import os
import shutil
import time
from base64 import b64encode
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
import urllib3

import transit
from rigs.outside.conftest import Start
from rigs.outside.foreign import ForeignWitness, LackingError, make_environment
from tests.proof.logs import W1
from tests.server.test_witness import Signing
from transit.cli import main
from transit.client.witnesses import asker
from transit.proof.checkpoint import open_checkpoint
from transit.proof.files import ConsistencyFile
from transit.proof.policy import Policy
from transit.proof.witness import SIZE_TYPE

Said = tuple[int, str, bytes]


def at(foreign: ForeignWitness) -> transit.Witness:
    """The client of one program, which does not know what the witness has seen."""
    return transit.Witness.at(foreign.url, key_of(foreign))


def key_of(foreign: ForeignWitness) -> transit.VerifyingKey:
    return transit.VerifyingKey.from_text(foreign.vkey)


def quorum(signing: Signing, foreign: ForeignWitness) -> Policy:
    return Policy.of([signing.key.verifying], [key_of(foreign)], 1)


def cosigned(signing: Signing, foreign: ForeignWitness) -> transit.SignedCheckpoint:
    """A checkpoint that the witness cosigned, as a policy that asks for it believes."""
    witness = at(foreign)
    found = signing.log.checkpoint(
        signing.key, witnesses=[witness], policy=quorum(signing, foreign)
    )
    assert witness.error is None
    verdict = quorum(signing, foreign).check(found.note, now=time.time())
    assert verdict.quorum_met
    assert abs(verdict.witnesses["w1"] - time.time()) < 60
    return found


def copied(signing: Signing, folder: Path) -> Signing:
    """The store as it is now, in another folder and not open."""
    signing.log.close()
    shutil.copytree(signing.path, folder)
    signing.log = transit.open(signing.path)
    made = Signing(folder, signing.key)
    made.log.close()
    return made


def test_what_cannot_be_had_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(LackingError, match=r"^uv cannot be had: "):
        make_environment(tmp_path)


@pytest.fixture
def signing(tmp_path: Path) -> Signing:
    made = Signing(tmp_path / "log")
    made.grow(5)
    return made


def test_it_cosigns_a_hundred_commits_and_then_three_hundred(start: Start, tmp_path: Path) -> None:
    signing = Signing(tmp_path / "long")
    foreign = start(signing.key.verifying.to_text())
    with closing(signing.log):
        for commits in (100, 200, 0):
            signing.grow(commits)
            found = cosigned(signing, foreign)
            checkpoint = found.checkpoint
            assert foreign.latest() == (checkpoint.size, b64encode(checkpoint.root).decode())
            origin = sha256(checkpoint.origin.encode()).hexdigest()
            shown = urllib3.request("GET", f"{foreign.url}/{origin}/checkpoint")
            assert shown.status == 200
            quorum(signing, foreign).check(shown.data, now=time.time()).require_quorum()
    assert checkpoint.size == 300
    assert foreign.evidence() == []


def test_the_command_has_it_cosign_and_proofs_are_believed_for_it(
    start: Start, signing: Signing, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    signing.log.close()
    foreign = start(signing.key.verifying.to_text())
    key, policy, other = (tmp_path / name for name in ("key", "policy", "other"))
    key.touch(mode=0o600)
    key.write_text(signing.key.to_text() + "\n")
    lines = f"log {signing.key.verifying.to_text()}\nwitness w {{}}\nquorum w\n"
    policy.write_text(lines.format(f"{foreign.vkey} {foreign.url}"))
    other.write_text(lines.format(W1.verifying.to_text()))

    def run(*words: str | Path) -> tuple[int, str]:
        code = main([str(word) for word in words])
        said = capfd.readouterr()
        return code, said.out or said.err

    def holds(what: str, by: Path) -> bool:
        code, said = run("proof", "check", tmp_path / what, "--policy", by, "--format", "json")
        assert code in (0, 14), said
        if code == 0:
            found = json.loads(said)
            assert (found["stage"], list(found["cosigned_by"])) == ("cosignature", ["w"])
        return code == 0

    store = ("--store", signing.path)
    made = ("checkpoint", "--key", key, "--policy", policy, "-o", tmp_path / "note", *store)
    assert run(*made)[0] == 0
    proof = ("proof", "make", "s@1", "--checkpoint", tmp_path / "note", *store)
    assert run(*proof, "-o", tmp_path / "proof")[0] == 0
    ended = ("proof", "finality", "s", "--checkpoint", tmp_path / "note", *store)
    assert run(*ended, "-o", tmp_path / "final")[0] == 0
    for what in ("note", "proof", "final"):
        assert holds(what, policy)
        # Somebody else's line is not that of the witness that this policy asks for.
        assert not holds(what, other)
    foreign.kill()
    code, said = run("append", "s", "more", *store)
    assert code == 0, said
    code, said = run("checkpoint", "--key", key, "--policy", policy, *store)
    assert code == 14
    assert "not the quorum" in said


@pytest.mark.parametrize("more", [2, 5])
def test_a_fork_is_refused_and_its_request_kept_as_evidence(
    start: Start, signing: Signing, tmp_path: Path, more: int
) -> None:
    """2 commits more are as many as the history that it cosigned has."""
    fork = copied(signing, tmp_path / "fork")
    foreign = start(signing.key.verifying.to_text())
    with closing(signing.log):
        signing.grow(2)
        first = cosigned(signing, foreign)
    remote = tmp_path / "bucket"
    with transit.open(fork.path, remote=str(remote)) as fork.log:
        fork.grow(more)
        witness = at(foreign)
        with pytest.raises(transit.ProofError, match="not the quorum"):
            fork.log.checkpoint(fork.key, witnesses=[witness], policy=quorum(fork, foreign))
        assert isinstance(witness.error, transit.ProofError)
        assert "answered 422" in str(witness.error)
        assert not (remote / "checkpoint").exists()
        # Appends go on, and so does publishing.
        fork.log.stream("s").append(b"more", durability="tiered")
    # What it kept proves to anybody that the log's key signed two histories.
    request = foreign.evidence()[-1]
    other = open_checkpoint(ConsistencyFile.parse(request).checkpoint, [fork.key.verifying])
    assert other.checkpoint.origin == first.checkpoint.origin
    assert other.checkpoint.size == 7 - 2 + more
    assert foreign.latest()[0] == 7


def test_a_store_older_than_what_it_cosigned_must_not_sign(
    start: Start, signing: Signing, tmp_path: Path
) -> None:
    older = copied(signing, tmp_path / "older")
    foreign = start(signing.key.verifying.to_text())
    with closing(signing.log):
        signing.grow(3)
        cosigned(signing, foreign)
    with transit.open(older.path) as older.log:
        older.grow()
        witness = at(foreign)
        with pytest.raises(transit.FencedError, match=r"seen size 8 .* and ours is 6"):
            older.log.checkpoint(older.key, witnesses=[witness])
    # With the memory of what was signed beside it, nobody needs to be asked.
    foreign.kill()
    shutil.rmtree(older.path / "checkpoints")
    shutil.copytree(signing.path / "checkpoints", older.path / "checkpoints")
    with (
        transit.open(older.path) as older.log,
        pytest.raises(transit.SplitViewError, match="covers 8 commits"),
    ):
        older.log.checkpoint(older.key, witnesses=[at(foreign)])


def test_a_store_restored_from_before_goes_on_from_the_size_that_it_names(
    start: Start, signing: Signing, tmp_path: Path
) -> None:
    """Whoever restores a store does not know what was cosigned: the 409 says where to begin."""
    foreign = start(signing.key.verifying.to_text())
    signing.log.close()
    with transit.open(signing.path, remote=str(tmp_path / "bucket")) as signing.log:
        cosigned(signing, foreign)
        signing.grow(4)
        signing.log.publish()
    transit.restore(str(tmp_path / "bucket"), tmp_path / "restored")
    restored = Signing(tmp_path / "restored", signing.key)
    send, answers = asker(foreign.url, 60, None), []

    def ask(body: bytes) -> Said:
        answers.append(send(body))
        return answers[-1]

    with closing(restored.log):
        restored.grow(2)
        witness = transit.Witness(ask, key_of(foreign))
        found = restored.log.checkpoint(restored.key, witnesses=[witness])
        assert (witness.error, len(found.witnesses)) == (None, 1)
        assert answers[0] == (409, SIZE_TYPE, b"5\n")
        assert [status for status, _, _ in answers] == [409, 200]
        # The same client remembers.
        restored.grow(2)
        restored.log.checkpoint(restored.key, witnesses=[witness])
    assert [status for status, _, _ in answers] == [409, 200, 200]
    assert foreign.latest()[0] == 13


def test_after_kill_9_it_has_what_it_cosigned(
    start: Start, signing: Signing, tmp_path: Path
) -> None:
    fork = copied(signing, tmp_path / "fork")
    foreign = start(signing.key.verifying.to_text())
    with closing(signing.log), transit.open(fork.path) as fork.log:
        signing.grow(2)
        cosigned(signing, foreign)
        foreign.kill()
        # It goes without one that does not answer, …
        signing.grow()
        witness = at(foreign)
        assert signing.log.checkpoint(signing.key, witnesses=[witness]).witnesses == ()
        assert isinstance(witness.error, transit.RemoteUnavailableError)
        foreign.start()
        fork.grow(4)
        witness = at(foreign)
        assert fork.log.checkpoint(fork.key, witnesses=[witness]).witnesses == ()
        assert "answered 422" in str(witness.error)
        # … which is asked for its line under the same checkpoint when it is back.
        assert cosigned(signing, foreign).checkpoint.size == 8


def test_a_log_that_signs_with_two_keys_is_cosigned_for_the_one_it_knows(
    start: Start, signing: Signing
) -> None:
    name = signing.key.verifying.name
    second = transit.SigningKey.generate(name, kind="ml-dsa-44")
    foreign = start(signing.key.verifying.to_text())
    with closing(signing.log):
        both = signing.log.checkpoint([signing.key, second], witnesses=[at(foreign)])
        assert (len(both.logs), len(both.witnesses)) == (2, 1)
        quorum(signing, foreign).check(both.note, now=time.time()).require_quorum()


@pytest.mark.parametrize(
    ("key", "status"), [("stranger", 403), ("ml-dsa-44", 403), ("other log", 404)]
)
def test_a_key_that_it_does_not_know_is_refused(
    start: Start, signing: Signing, key: str, status: int
) -> None:
    name = signing.key.verifying.name
    foreign = start(signing.key.verifying.to_text())
    signer = transit.SigningKey.generate(
        name.replace("example.com", "example.org") if key == "other log" else name,
        kind="ml-dsa-44" if key == "ml-dsa-44" else "ed25519",
    )
    with closing(signing.log):
        witness = at(foreign)
        assert signing.log.checkpoint(signer, witnesses=[witness]).witnesses == ()
    assert isinstance(witness.error, transit.ProofError)
    assert f"answered {status}" in str(witness.error)
    assert foreign.evidence() == []
