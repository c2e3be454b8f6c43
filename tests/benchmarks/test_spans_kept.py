"""Spans are measured by turns beside those that nobody keeps; no test asserts how fast."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import spans_kept


def test_all_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="it is no part of the tests' environment")
    monkeypatch.setattr(spans_kept, "SPANS", 20)
    rows = spans_kept.measured(str(tmp_path), 1)
    assert [row.name for row in rows] == [name for name in spans_kept.CONTENDERS if name != "none"]
    assert next(row for row in rows if row.name == spans_kept.BATCH).ratio == 1.0
    assert list(tmp_path.iterdir()) == []


def test_without_the_sdk_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setattr(sys, "argv", ["spans_kept", "--path", str(tmp_path)])
    assert spans_kept.main() == 1
    assert "the SDK of OpenTelemetry is not installed" in capsys.readouterr().err
