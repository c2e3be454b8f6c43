"""Damage to the files of a store and of its remote: nothing wrong is read, and everything is found.

CI tries an even spread of each kind of damage in each class of file; `TRANSIT_DAMAGE_EACH` says how
many, and `TRANSIT_DAMAGE_SEED` where they begin. `just soak` tries all of them.
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from rigs.damage.explore import Task, sampled, try_all
from rigs.damage.kinds import KINDS
from rigs.damage.stores import class_of

ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("TRANSIT_DAMAGE_SEED", "1"))
# Of each kind of damage in each class of file.
EACH = int(os.environ.get("TRANSIT_DAMAGE_EACH", "10"))
SAMPLES = (
    "killed",
    "closed",
    "evicted",
    "alone",
    "whole",
    "remote",
    "publishing",
    "rebasing",
    "erased",
)
# The WAL written last is the one whose end must be judged; flips are what a disk does most.
MORE = {"closed": 8, "killed": 2, "erased": 2}


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_is_refused_or_found_and_never_read(name: str, work: dict[str, Task]) -> None:
    task = work[name]
    chosen = sampled(task.damages, EACH * MORE.get(name, 1), random.Random(SEED))
    outcome = try_all(task.judge, chosen)
    print(f"{name}, seed {SEED}, of {len(task.damages)}: {outcome}")
    assert not outcome.problems, "\n".join([str(outcome), *outcome.problems[:40]])
    assert outcome.tried.total() == len(chosen) >= 30


def layout(text: str) -> set[str]:
    """The classes of file in the two drawings of ARCHITECTURE.md, by how their names begin."""
    drawn = re.search(r"## Layout on disk\n(.*?)\n## ", text, re.DOTALL)
    assert drawn is not None
    return {name.split("/")[0] for name in re.findall(r"^  (\S+) ", drawn[1], re.MULTILINE)}


def test_every_class_of_file_is_damaged_in_every_way(work: dict[str, Task]) -> None:
    classes = layout((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    assert {"FORMAT", "LOCK.seal", "wal", "segments", "index", "HEAD", "rebase"} <= classes
    tried = {(class_of(d.name), d.kind) for task in work.values() for d in task.damages}
    assert classes == {name for name, _ in tried}
    assert set(KINDS) == {kind for _, kind in tried}
    for name in classes:
        assert {"grown", "removed", "zeroed"} <= {kind for of, kind in tried if of == name}, name


def test_every_byte_of_every_file_is_flipped_and_every_bit_of_what_tells_of_others(
    work: dict[str, Task],
) -> None:
    for name, files in (("killed", "files"), ("remote", "remote")):
        task = work[name]
        flipped: dict[tuple[str, int], set[int]] = {}
        for damage in task.damages:
            if damage.kind == "flip":
                flipped.setdefault((damage.name, damage.place), set()).add(damage.bit)
        contents: dict[str, bytes] = getattr(task.judge.sample, files)  # type: ignore[attr-defined]
        for file, data in contents.items():
            assert all((file, place) in flipped for place in range(len(data))), file
            if class_of(file) in ("FORMAT", "HEAD", "commits"):
                bits = {bit for place in range(len(data)) for bit in flipped[file, place]}
                assert all(len(flipped[file, place]) == 8 for place in range(len(data)))
                assert bits == set(range(8))
