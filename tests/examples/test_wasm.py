"""The modules beside their sources are those whose digests are stated, and do what Python does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from blake3 import blake3

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "examples" / "wasm"


def test_the_example_comes_to_the_same_rows_three_times() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(HERE / "tally.py")],
        capture_output=True, text=True, timeout=120, check=True,
        env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "tally_c.wasm same rows: True 9\ntally_as.wasm same rows: True 9\n"


def test_the_modules_are_those_whose_digests_are_stated() -> None:
    text = (HERE / "tally.py").read_text(encoding="utf-8")
    stated = dict(re.findall(r'"(\w+\.wasm)": "([0-9a-f]{64})"', text))
    found = {path.name: blake3(path.read_bytes()).hexdigest() for path in HERE.glob("*.wasm")}
    assert found == stated
    assert len(found) == 2
