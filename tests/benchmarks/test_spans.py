"""Events and spans are measured by turns; no test asserts how fast anything is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import transit
from benchmarks import spans
from benchmarks.agents import EVENTS, steps
from transit import trace


@pytest.mark.parametrize("durability", ["os", "memory"])
def test_turn_records_every_event_of_its_runs(durability: str, tmp_path: Path) -> None:
    contender = spans.TraceEvents(durability, str(tmp_path))
    costs = spans.turn(contender, [steps(0), steps(1)])
    contender.close()
    assert costs.threads > 0
    with transit.open(tmp_path / durability, mode="read") as log:
        for name in ("run-1", "run-2"):
            assert tuple(each.event.__struct_config__.tag for each in trace.read(log, name)) == (
                EVENTS
            )


def test_spans_and_events_take_turns(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="it is no part of the tests' environment")
    rows = spans.measured(str(tmp_path), 1)
    assert [row.name for row in rows] == list(spans.CONTENDERS)
    of_spans = next(row for row in rows if row.name == spans.SPAN)
    assert (of_spans.median_ratio, of_spans.mean_ratio) == (1.0, 1.0)


def test_without_the_sdk_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setattr("sys.argv", ["spans", "--path", str(tmp_path)])
    assert spans.main() == 1
    assert "not installed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
