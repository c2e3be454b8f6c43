"""What our modules make, judged by a checker that shares no code with them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from transit.proof.keys import SigningKey
from transit.proof.policy import Policy

from .logs import (
    ENTRIES,
    FORK,
    LOG,
    LOG_PQ,
    NOW,
    ORIGIN,
    STRANGER,
    W1,
    W2,
    W_PQ,
    consistency,
    files_of,
    inclusion,
    note,
)

CHECKER = (
    Path(__file__).resolve().parents[3] / "shared" / "tools" / "proofs" / "check_checkpoint.py"
)
pytestmark = pytest.mark.skipif(
    not CHECKER.exists(), reason="the checker is not beside the checkout"
)


def judged(
    *words: str | Path, log: SigningKey = LOG, witnesses: Sequence[SigningKey] = ()
) -> dict[str, object]:
    """What the checker says; `ok` is whether it holds."""
    command: list[str] = [sys.executable, "-B", str(CHECKER), *map(str, words)]
    command += ["--log", log.verifying.to_text(), "--now", str(NOW), "--origin", ORIGIN]
    for each in witnesses:
        command += ["--witness", each.verifying.to_text()]
    if witnesses:
        command += ["--quorum", str(len(witnesses))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    said: dict[str, object] = json.loads(done.stdout)
    assert done.returncode == (0 if said["ok"] else 1), done.stderr
    return said


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("log", [LOG, LOG_PQ], ids=repr)
def test_checkpoints_of_both_kinds_with_all_witnesses_hold(tmp_path: Path, log: SigningKey) -> None:
    witnesses = [W1, W2, W_PQ]
    path = written(tmp_path, "checkpoint", note(300, [LOG, LOG_PQ], witnesses))
    said = judged("checkpoint", path, log=log, witnesses=witnesses)
    assert (said["ok"], said["size"]) == (True, 300)
    assert list(said["cosigned"].values()) == [NOW] * 3  # type: ignore[attr-defined]
    assert not judged("checkpoint", path, log=STRANGER)["ok"]
    assert not judged("checkpoint", written(tmp_path, "bare", note(300)), witnesses=[W1])["ok"]


@pytest.mark.parametrize(("index", "size"), [(0, 1), (299, 300), (150, 300), (256, 257)])
def test_proof_files_hold_and_with_another_entry_do_not(
    tmp_path: Path, index: int, size: int
) -> None:
    file = replace(inclusion(index, size, note(size, witnesses=[W1, W_PQ])), extra=b"beside")
    path = written(tmp_path, "x.tlog-proof", file.encode())
    entry = written(tmp_path, "entry", ENTRIES[index])
    said = judged("proof", path, "--entry", entry, witnesses=[W1, W_PQ])
    assert (said["ok"], said["index"], said["hashes"]) == (True, index, len(file.hashes))
    written(tmp_path, "entry", b"another")
    assert not judged("proof", path, "--entry", entry, witnesses=[W1, W_PQ])["ok"]


@pytest.mark.parametrize(("old", "new"), [(0, 300), (1, 2), (100, 300), (256, 257), (300, 300)])
def test_consistency_files_hold_and_of_another_history_do_not(
    tmp_path: Path, old: int, new: int
) -> None:
    path = written(tmp_path, "growth", consistency(old, new).encode())
    older = written(tmp_path, "older", note(old))
    assert judged("consistency", path, "--old", older)["ok"]
    if old > 150:
        written(tmp_path, "older", note(old, tree=FORK))
        assert not judged("consistency", path, "--old", older)["ok"]


def test_a_split_view_is_one_to_both(tmp_path: Path) -> None:
    one = written(tmp_path, "one", note(300))
    other = written(tmp_path, "other", note(300, tree=FORK))
    assert judged("pair", one, one)["ok"]
    assert "SPLIT VIEW" in str(judged("pair", one, other)["why"])


@pytest.mark.parametrize("size", [1, 256, 600])
def test_whole_folders_of_tiles_hold(tmp_path: Path, size: int) -> None:
    for name, data in files_of(size).items():
        written(tmp_path, name, data)
    written(tmp_path, "checkpoint", note(size))
    said = judged("tiles", tmp_path)
    assert (said["ok"], said["entries"], said["strangers"]) == (True, size, 0)
    path = tmp_path / ("tile/entries/000" if size >= 256 else f"tile/entries/000.p/{size}")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert not judged("tiles", tmp_path)["ok"]


def test_a_policy_in_the_standards_text_is_read_alike_by_both(tmp_path: Path) -> None:
    lines = [
        f"log {LOG.verifying.to_text()}",
        *(f"witness w{n} {each.verifying.to_text()}" for n, each in enumerate([W1, W2, W_PQ])),
        "group two 2 w0 w1 w2", "quorum two", "",
    ]  # fmt: skip
    text = written(tmp_path, "policy", "\n".join(lines).encode())
    ours = Policy.parse(text.read_bytes())
    for witnesses, holds in (([W1, W_PQ], True), ([W2], False), ([], False)):
        data = note(300, witnesses=witnesses)
        path = written(tmp_path, "checkpoint", data)
        command = [sys.executable, "-B", str(CHECKER), "checkpoint", str(path), "--policy"]
        done = subprocess.run(
            [*command, str(text), "--now", str(NOW)],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert json.loads(done.stdout)["ok"] is holds
        assert ours.check(data, now=NOW).quorum_met is holds
