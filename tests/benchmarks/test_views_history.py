"""The plot of what views cost against history: every step at every size, drawn."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.views_history import RANDOM, measured, plotted, shown


def test_each_step_is_measured_at_each_size_and_drawn(tmp_path: Path) -> None:
    curves = measured([20, 60], 1, tmp_path)
    assert len(curves) == 6
    assert RANDOM in {curve.name for curve in curves}
    for curve in curves:
        assert [size for size, _ in curve.points] == [20, 60]
        assert all(value > 0 for _, value in curve.points)
    assert len(shown(curves).splitlines()) == 7
    drawn = ET.fromstring(plotted(curves))
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}polyline")) == 6
    assert list(tmp_path.iterdir()) == []
