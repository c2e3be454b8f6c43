"""Our witness is asked by a client that is not ours, and what it cosigns is checked by others, too.

The log is theirs as well: its tree, its key and its notes are made by `aics-tlog`.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from rigs.outside.conftest import Start
from tests.server.test_witness import OWN, Signing, witness_at
from transit.proof.policy import Policy
from transit.server.run import serving
from transit.server.witness import witness_keys

WAIT_S = 120

# A program of theirs: each line of its input is a step, and is answered by one line.
FEEDER = """
import json, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from aics_tlog import Checkpoint, MerkleTree, format_vkey, sign_checkpoint, vkey_from_ed25519
from aics_witness.feeder import FeederError, WitnessClient, merge_cosignatures

ORIGIN = "feeder.example/log"
key = Ed25519PrivateKey.generate()
other = Ed25519PrivateKey.generate()
print(format_vkey(vkey_from_ed25519(ORIGIN, key.public_key())), flush=True)
leaves = [b"leaf %d" % number for number in range(300)]
trees = {"log": MerkleTree(leaves), "fork": MerkleTree([*leaves[:50], b"x", *leaves[51:]])}
clients = {}
for line in sys.stdin:
    step = json.loads(line)
    name = step["client"]
    if name not in clients:
        clients[name] = WitnessClient(step["url"], step["witness"], max_attempts=1)
    tree, size = trees[step["tree"]], step["size"]
    origin = step.get("origin", ORIGIN)
    head = Checkpoint(origin, size, tree.root(size))
    note = sign_checkpoint(head, other if step["key"] == "other" else key, origin)
    try:
        data = note.to_bytes()
        lines = clients[name].submit(data, tree.consistency_proof)
        said = {"note": merge_cosignatures(data, lines).decode()}
    except FeederError as error:
        said = {"error": type(error).__name__, "status": getattr(error, "status", None)}
        said["known"] = getattr(error, "known_size", None)
    print(json.dumps(said), flush=True)
"""


class Feeder:
    """That program, and the witness that it asks."""

    def __init__(self, child: subprocess.Popen[str], vkey: str) -> None:
        self.key = transit.VerifyingKey.from_text(vkey)
        self.url = ""
        self._child = child

    def submit(
        self, size: int, *, client: str = "one", tree: str = "log", key: str = "own", **more: str
    ) -> dict[str, object]:
        """Have it ask for a cosignature under so many leaves; the note, or why there is none."""
        step = {"url": self.url, "witness": OWN.verifying.to_text(), "client": client}
        step |= {"tree": tree, "key": key, **more}
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({**step, "size": size}) + "\n")
        self._child.stdin.flush()
        found: dict[str, object] = json.loads(self._child.stdout.readline())
        return found


@pytest.fixture
def feeder(commands: Path, tmp_path: Path) -> Iterator[Feeder]:
    child = subprocess.Popen(
        [commands / "python", "-c", FEEDER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        try:
            assert child.stdout is not None
            made = Feeder(child, child.stdout.readline().strip())
            with (
                transit.open(tmp_path / "witness") as store,
                serving(store, witness=witness_keys([OWN], [made.key])) as running,
            ):
                made.url = f"{running.url}/witness"
                yield made
        finally:
            child.kill()


def test_a_client_that_is_not_ours_has_its_log_cosigned_by_our_witness(feeder: Feeder) -> None:
    policy = Policy.of([feeder.key], [OWN.verifying], 1)
    # The last one starts anew, is told the size by a 409, and goes on from there.
    for size, client in ((100, "one"), (250, "one"), (250, "one"), (300, "two")):
        found = feeder.submit(size, client=client)
        note = str(found["note"]).encode()
        verdict = policy.check(note, now=time.time()).require_quorum()
        assert verdict.checkpoint.size == size


def test_what_our_witness_refuses_its_client_names(feeder: Feeder) -> None:
    assert "note" in feeder.submit(200)
    refused = [
        (feeder.submit(200, tree="fork"), ("WitnessRejected", 422, None)),
        (feeder.submit(300, tree="fork"), ("WitnessRejected", 422, None)),
        (feeder.submit(300, tree="fork", client="two"), ("WitnessRejected", 422, None)),
        (feeder.submit(300, key="other"), ("WitnessRejected", 403, None)),
        (feeder.submit(300, origin="feeder.example/2"), ("WitnessRejected", 404, None)),
        (feeder.submit(100), ("WitnessAhead", None, 200)),
    ]
    for found, expected in refused:
        assert (found["error"], found["status"], found["known"]) == expected
    assert "note" in feeder.submit(300)


def judged(commands: Path, *words: str | Path) -> dict[str, object]:
    """What `aics-tlog` says of a bucket."""
    done = subprocess.run(
        [commands / "aics-tlog", *words], capture_output=True, timeout=WAIT_S, check=False
    )
    found: dict[str, object] = json.loads(done.stdout)
    assert found["ok"] is (done.returncode == 0)
    return found


def test_a_bucket_cosigned_by_both_witnesses_holds_for_a_checker_that_is_not_ours(
    commands: Path, start: Start, tmp_path: Path
) -> None:
    signing = Signing(tmp_path / "log")
    signing.log.close()
    bucket, older = tmp_path / "bucket", tmp_path / "older"
    foreign = start(signing.key.verifying.to_text())
    other = transit.VerifyingKey.from_text(foreign.vkey)
    with (
        transit.open(tmp_path / "witness") as store,
        serving(store, witness=witness_keys([OWN], [signing.key.verifying])) as running,
        transit.open(signing.path, remote=str(bucket)) as signing.log,
    ):
        both = [witness_at(running), transit.Witness.at(foreign.url, other)]
        for commits in (3, 6):
            signing.grow(commits)
            found = signing.log.checkpoint(signing.key, witnesses=both)
            assert [each.error for each in both] == [None, None]
            if not older.exists():
                older.write_bytes(found.note)
    key = ["--log-key", signing.key.verifying.to_text(), "--origin", signing.key.verifying.name]
    asked = ["--witness-key", OWN.verifying.to_text(), "--witness-key", foreign.vkey]
    common: list[str | Path] = ["--tiles", bucket, *key, *asked, "--quorum", "2"]
    assert judged(commands, "verify-checkpoint", *common, "--max-age", "600")["ok"]
    assert judged(commands, "verify-consistency", *common, "--old-checkpoint", older)["ok"]
    stranger = transit.SigningKey.generate("witness.example/else", role="witness")
    three = ["--witness-key", stranger.verifying.to_text(), "--quorum", "3"]
    assert not judged(commands, "verify-checkpoint", *common, *three)["ok"]
