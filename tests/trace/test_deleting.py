"""Deleting a run: with it go the artifacts that only it refers to, its notes, its states."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from transit import trace

from ..engine.canary import CANARY, places_with

LARGE = CANARY * 20_000
SHARED = b"shared " * 20_000


def record(log: transit.Log, name: str, *large: bytes) -> None:
    with trace.task(log, name, actor="agent") as task:
        for data in large:
            task.artifact(data, kind="file")


def artifacts(log: transit.Log) -> list[str]:
    return [stream.name for stream in log.streams("$trace/artifact/")]


def test_artifacts_go_with_the_last_run_that_refers_to_them(tmp_path: Path) -> None:
    with transit.open(tmp_path / "store") as log:
        record(log, "one", LARGE, SHARED)
        record(log, "two", SHARED)
        assert len(artifacts(log)) == 2
        trace.annotate(log, "one", "remark", comment=CANARY.decode())
        tried = trace.delete(log, "one", reason="r", dry_run=True)
        assert not tried.refused
        done = trace.delete(log, "one", reason="asked", basis="gdpr-17")
        assert "one" in done.streams
        # Its notes, and the artifact that only it refers to.
        assert len(done.streams) == 3
        assert len(artifacts(log)) == 1
        log.erase()
        assert places_with(tmp_path / "store") == []
        (artifact,) = [
            record.event
            for record in trace.read(log, "two")
            if isinstance(record.event, trace.Artifact)
        ]
        assert trace.read_artifact(log, artifact) == SHARED
        trace.delete(log, "two", reason="r")
        assert artifacts(log) == []
        assert log.verify().ok


def test_a_run_that_others_need_is_refused_and_its_artifacts_stay(tmp_path: Path) -> None:
    with transit.open(tmp_path / "store") as log:
        record(log, "one", LARGE)
        log.stream("one").branch("fork")
        with pytest.raises(transit.DependentsError):
            trace.delete(log, "one", reason="r")
        assert len(artifacts(log)) == 1
        trace.delete(log, "one", reason="r", cascade=True)
        assert artifacts(log) == []
