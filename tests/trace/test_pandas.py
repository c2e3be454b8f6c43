"""Runs, and the steps of one, as data frames."""

from __future__ import annotations

from typing import Any

import pytest

import transit
from transit import trace

pandas: Any = pytest.importorskip("pandas", reason="`just readers` runs it, where pandas is")


def test_runs_and_steps_are_data_frames_with_types(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        task.model_call(model="m", usage={"input_tokens": 1, "output_tokens": 2})
        task.tool("bash", {"cmd": "ls"}).failure(ValueError("no"))
    steps = trace.read(log, "t").to_pandas()
    assert list(steps["kind"]) == ["model", "tool", "end"]
    assert steps["input_tokens"].isna().tolist() == [False, True, True]
    assert steps["error_message"][1] == "no"
    runs = trace.runs(log).to_pandas()
    assert runs["status"].tolist() == ["completed"]
    for column in (steps["begun_at"], runs["created_at"]):
        assert isinstance(column.dtype, pandas.DatetimeTZDtype)
        assert column[0].value > 0
