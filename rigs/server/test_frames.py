"""Servers killed while producers send: each frame is there once. And bugs that the rounds find."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from rigs.server.frames import STREAMS, Receipts, findings, rounds

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [1, 2])
def test_each_frame_is_there_once_whatever_is_killed(tmp_path: Path, seed: int) -> None:
    answered, _, wrong = rounds(tmp_path, count=8, seed=seed)
    assert not wrong
    assert answered


@pytest.mark.parametrize("plant", ["twice", "lost", "torn", "elsewhere"])
def test_a_planted_bug_is_found(tmp_path: Path, plant: str) -> None:
    receipts: Receipts = {(0, 0): [0, 0], (0, 1): [1, 1]}
    with transit.open(tmp_path / "store") as log:
        for name in STREAMS:
            log.create(name).append_many([b"0:0", b"0:1"])
        assert not list(findings(log, receipts))
        if plant == "twice":
            log.stream("a").append(b"0:1")
        elif plant == "lost":
            receipts[0, 2] = [2, 2]
        elif plant == "torn":
            log.stream("b").append(b"0:2")
        else:
            receipts[0, 1] = [1, 0]
        assert list(findings(log, receipts))
