"""What we make, taken by tools of PyPI: second opinions, in an environment of their own.

`TRANSIT_OUTSIDE` names the folder of their commands; `scripts/readers.sh` makes it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.proof.logs import (
    ENTRIES,
    LOG,
    NOW,
    W1,
    W2,
    W_PQ,
    files_of,
    inclusion,
    note,
    policy,
)
from transit.proof.files import InclusionFile
from transit.proof.keys import SigningKey

COMMANDS = Path(os.environ.get("TRANSIT_OUTSIDE", "/nowhere"))
pytestmark = pytest.mark.skipif(
    not (COMMANDS / "proofbundle").exists(), reason="TRANSIT_OUTSIDE names no such tools"
)


def run(*words: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [str(COMMANDS / words[0]), *map(str, words[1:])]
    return subprocess.run(command, capture_output=True, timeout=300, check=False)


def bundled(file: Path, entry: Path, witnesses: Sequence[SigningKey], least: int) -> bool:
    """Whether `proofbundle verify-proof` takes the file."""
    words: list[str | Path] = ["proofbundle", "verify-proof", file, "--payload-file", entry]
    words += ["--log-vkey", LOG.verifying.to_text(), "--expected-origin", LOG.verifying.name]
    words += ["--threshold", str(least)]
    for each in witnesses:
        words += ["--witness-vkey", each.verifying.to_text()]
    done = run(*words)
    assert done.returncode in (0, 1), done
    return done.returncode == 0


@pytest.mark.parametrize(("index", "size"), [(0, 1), (150, 300), (299, 300), (256, 257)])
def test_proofbundle_takes_our_proof_files_with_witnesses_of_both_kinds(
    tmp_path: Path, index: int, size: int
) -> None:
    file, entry = tmp_path / "x.tlog-proof", tmp_path / "entry"
    made = inclusion(index, size, note(size, witnesses=[W1, W_PQ]))
    file.write_bytes(made.encode())
    entry.write_bytes(ENTRIES[index])
    assert bundled(file, entry, [], 0)
    assert bundled(file, entry, [W1, W_PQ], 2)
    assert not bundled(file, entry, [W1, W2], 2)
    file.write_bytes(replace(made, index=index + 1).encode())
    assert not bundled(file, entry, [], 0)
    file.write_bytes(made.encode())
    entry.write_bytes(b"another")
    assert not bundled(file, entry, [W1, W_PQ], 2)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 600])
def test_tlog_scales_makes_the_same_proof_file_out_of_our_tiles(tmp_path: Path, size: int) -> None:
    for name, data in files_of(size).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    checkpoint = note(size, witnesses=[W1])
    (tmp_path / "checkpoint").write_bytes(checkpoint)
    for index in {0, size // 2, size - 1}:
        made = run("tlog-tiles", "gen-proof", tmp_path, str(index))
        assert made.stdout == inclusion(index, size, checkpoint).encode(), made.stderr
        InclusionFile.parse(made.stdout).check(ENTRIES[index], policy(W1), now=NOW)
        shown = run("tlog-tiles", "get-leaf", "-c", tmp_path, str(index))
        assert (shown.returncode, shown.stdout.rstrip(b"\n")) == (0, ENTRIES[index]), shown.stderr
