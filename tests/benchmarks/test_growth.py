"""Growth is measured over sizes, and its exponent is that of the power law."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.growth.__main__ import measured
from benchmarks.growth.axes import AXES
from benchmarks.growth.fit import exponent

ROOT = Path(__file__).resolve().parents[2]
SIZES = (1, 10, 100, 1_000)


@pytest.mark.parametrize("power", [-0.5, 0.0, 1.0, 2.0])
def test_exponent_of_a_power_law_is_found(power: float) -> None:
    assert exponent([(size, 3.5 * size**power) for size in SIZES]) == pytest.approx(power)


def test_exponent_of_noise_around_a_constant_is_near_nothing() -> None:
    values = (1.1, 0.9, 1.05, 0.95)
    assert abs(exponent(list(zip(SIZES, values, strict=True)))) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_every_axis_is_measured_at_small_sizes(axis: object, tmp_path: Path) -> None:
    assert axis in AXES
    chosen = AXES[AXES.index(axis)]  # type: ignore[arg-type]
    sizes = (1, 30) if chosen.name != "records" else (1_000, 3_000)
    grown = measured(chosen, sizes, str(tmp_path), 2)
    assert [len(curve.points) for curve in grown.curves] == [2] * len(grown.curves)
    for curve in grown.curves:
        assert [point.size for point in curve.points] == list(sizes)
        assert all(point.figures.low > 0 for point in curve.points)
        assert len(curve.points[0].figures.runs) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_command_writes_an_axis_as_json(tmp_path: Path) -> None:
    target = tmp_path / "growth.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", "--quick", "--runs", "1", "--path",
         str(tmp_path), "--json", str(target), "depth"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [axis["name"] for axis in json.loads(target.read_bytes())["axes"]] == ["depth"]
    assert "exponent" in done.stdout
    assert sorted(tmp_path.iterdir()) == [target]


def test_sizes_are_those_of_the_aims() -> None:
    sizes = {axis.name: (axis.sizes[0], axis.sizes[-1], tuple(axis.more)) for axis in AXES}
    assert sizes == {
        "records": (10**3, 10**6, (10**7,)),
        "streams": (1, 10**5, ()),
        "depth": (1, 1_000, ()),
    }
