from __future__ import annotations

from pathlib import Path

from benchmarks.maps import measured


def test_maps_are_measured_beside_sqlite_in_every_step(tmp_path: Path) -> None:
    rows = measured(str(tmp_path), 2000, 1)
    own = {(row.step, row.unit): row for row in rows if row.contender == "transit"}
    beside = {(row.step, row.unit) for row in rows if row.contender == "sqlite"}
    assert {("build", "ms"), ("update, random", "ms"), ("get, warm", "µs")} <= beside <= own.keys()
    assert all((own[place].ratio is None) == (place not in beside) for place in own)
    assert 0 < own["new bytes, one", "%"].value < own["new bytes, random", "%"].value <= 100
