"""Real agent runs, as traces and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace

ROOT = Path(__file__).resolve().parents[2]
REAL_DIR = ROOT.parent / "shared" / "data" / "agent-trajectories"


@pytest.fixture(scope="module")
def runs() -> dict[str, list[Path]]:
    """The files of each task, in order of attempts."""
    files = sorted(REAL_DIR.glob("*.traj"))
    if not files:
        pytest.skip(f"no real agent runs in {REAL_DIR}")
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(file.name.split(".")[0], []).append(file)
    return found


def test_every_run_is_read_back_without_loss_and_is_small(
    runs: dict[str, list[Path]], log: transit.Log, path: Path
) -> None:
    documents: dict[str, Any] = {}
    for name, files in runs.items():
        attempts = [json.loads(file.read_bytes()) for file in files]
        tasks = trace.import_trajectories(log, name, attempts)
        documents |= {task.name: each for task, each in zip(tasks, attempts, strict=True)}
    assert [name for name in documents if name.startswith("marshmallow-1867")] == [
        "marshmallow-1867",
        *(f"marshmallow-1867/retry-{n}" for n in range(1, 5)),
    ]

    log.seal()
    sealed = sum(file.stat().st_size for file in (path / "segments").iterdir())
    source = sum(file.stat().st_size for files in runs.values() for file in files)
    print(
        f"{len(documents)} runs: {source:,} bytes of JSON, {sealed:,} sealed, {sealed / source:.3f}"
    )
    assert sealed <= 0.15 * source

    with transit.open(path, mode="read") as reader:
        for name, document in documents.items():
            assert json.dumps(trace.export_trajectory(reader, name)) == json.dumps(document)
            traced = trace.read(reader, name)
            assert not any(isinstance(record.event, trace.Unknown) for record in traced)
            assert traced.open_calls == ()
            if "/" in name:
                assert traced.parents == (transit.Position("marshmallow-1867", 0),)
                assert traced.trace_kind == "retry"
    assert log.verify().ok
