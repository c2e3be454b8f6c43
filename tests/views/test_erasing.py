"""One run of many is erased, with its view, its columns, its fork, its note and its artifact."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from transit import trace, views
from transit.views.scans.runs import runs_columns

from ..engine.canary import CANARY, places_with
from .erasing import RUNS, SECRET, SHARED, Others, columns_files, count, everything, record


@pytest.mark.parametrize("runs", [300, pytest.param(RUNS, marks=pytest.mark.slow)])
def test_one_run_of_many_goes_and_the_others_stay(tmp_path: Path, runs: int) -> None:
    remote = tmp_path / "remote"
    with transit.open(tmp_path / "store", remote=remote) as log:
        record(log, runs)
        folders = {tuple(place.split("/")[:3]) for place in places_with(tmp_path / "store")}
        assert {each[0] for each in folders} == {"segments", "rooms", "wal"}
        assert ("rooms", "views") in {each[:2] for each in folders}
        log.publish()
        with pytest.raises(transit.DependentsError) as caught:
            trace.delete(log, SECRET, reason="asked")
        assert [name for name, _, _ in caught.value.dependents] == ["fork"]
        others = Others(log)
        assert len(others.payloads) == runs
        done = trace.delete(log, SECRET, reason="asked", basis="gdpr-17", cascade=True)
        assert {SECRET, "fork"} < set(done.streams)
        erased = log.erase()
        assert erased.records == done.records
        assert places_with(tmp_path) == []
        others.check(log)
        assert log.stream("child")
        # The artifact that another run refers to is there.
        artifacts = [
            r.event for r in trace.read(log, "run-149") if isinstance(r.event, trace.Artifact)
        ]
        assert trace.read_artifact(log, artifacts[0]) == SHARED
        assert len(list(log.streams("$trace/artifact/"))) == 1
        view = views.open(log, count)
        assert [row.text for row in view.of(log.stream("run-1")).words if "plain" in row.text]
        found = views.sql(log, "SELECT count(*) AS n FROM events", columns=runs_columns())
        assert "n" in str(found)
        assert CANARY.decode() not in str(trace.runs(log))
        assert log.verify().counts["erased_records"] == done.records
        # Columns are made again of what is left.
        assert len(columns_files(log)) >= runs // 100
        log.publish()
    audited = others.audit(remote)
    assert audited.counts["erased_records"] == done.records
    assert {entry.basis for entry in audited.erased} == {"gdpr-17"}
    assert places_with(tmp_path) == []
    transit.restore(remote, tmp_path / "restored")
    with transit.open(tmp_path / "restored", mode="read") as log:
        assert everything(log) == others.payloads


def test_a_view_of_a_trimmed_stream_goes_on_and_a_new_one_is_told(tmp_path: Path) -> None:
    with transit.open(tmp_path / "store") as log:
        stream = log.create("s")
        for number in range(6):
            stream.append(b'{"event":"custom","data":{"value":{"said":"%d"}}}' % number)
        view = views.open(log, count)
        before = [row.text for row in view.save(stream).words]
        stream.trim(before=4)
        log.erase()
        assert [row.text for row in view.of(stream).words] == before
        stream.append(b'{"event":"custom","data":{"value":{"said":"6"}}}')
        assert len(list(view.of(stream).words)) == len(before) + 1
        with pytest.raises(transit.ErasedError):
            view.of(stream, at=2)
    with transit.open(tmp_path / "store") as log:
        view = views.open(log, count)
        assert len(list(view.of(log.stream("s")).words)) == len(before) + 1
