"""Values that are too large for a record, and what a run was made with."""

from __future__ import annotations

from typing import Any

import pytest

import transit
from transit import trace
from transit.trace.writing import RECORD_BYTES

LARGE = "0123456789abcdef" * (RECORD_BYTES // 16) + "end"


def test_large_values_are_kept_in_artifacts_and_come_back(log: transit.Log) -> None:
    @trace.recorded("read")
    def read(name: str) -> bytes:
        return LARGE.encode()

    with trace.task(log, "t") as task:
        task.tool("cat", {"file": LARGE}).result({"out": LARGE})
        task.message("user", LARGE)
        task.custom("own", [LARGE])
        task.call("len", [LARGE], len)
        assert read("x") == LARGE.encode()
        with pytest.raises(ValueError, match="0123"):
            task.call("fail", [], lambda: int(LARGE[:50]))
    found: list[Any] = [record.event for record in trace.read(log, "t")]
    assert trace.dropped.count == 0
    assert found[0].arguments == {"file": LARGE}
    assert found[1].result == {"out": LARGE}
    assert found[2].content == LARGE
    assert found[3].data == [LARGE]
    assert max(len(record.payload) for record in log.stream("t")) < RECORD_BYTES
    with trace.replay(log, "t") as replay:
        assert replay.call("len", [LARGE], print) == len(LARGE)
        assert read("x") == LARGE.encode()
        with pytest.raises(ValueError, match="0123"):
            replay.call("fail", [], print)
    assert log.verify().ok


def test_a_value_whose_artifact_is_another_is_damage(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.custom("own", LARGE)
    (record,) = log.stream("t")
    name = next(stream.name for stream in log.streams("$trace/artifact/"))
    log.create("u").append(record.payload.replace(name[-64:].encode(), b"0" * 64))
    log.layer("trace").create(f"artifact/{'0' * 64}").append(b'"x"')
    with pytest.raises(transit.CorruptError):
        list(trace.read(log, "u"))
    log.create("v").append(record.payload.replace(name.encode(), b"u"))
    with pytest.raises(transit.CorruptError):
        list(trace.read(log, "v"))


def test_a_manifest_says_what_a_run_was_made_with(log: transit.Log, tmp_path: Any) -> None:
    given = trace.manifest(prompt="be brief", configuration={"t": 0.2}, packages=["msgspec", "no"])
    trace.task(log, "t", manifest=given).message("user", "x")
    found = trace.read(log, "t").manifest
    assert found == given
    assert set(given["packages"]) == {"transit", "msgspec"}  # type: ignore[call-overload]
    assert len(str(given["prompt_digest"])) == len(str(given["configuration_digest"])) == 64
    assert "be brief" not in str(given)
    assert trace.manifest(prompt="be brief")["prompt_digest"] == given["prompt_digest"]
    assert "git_commit" not in trace.manifest(git=tmp_path)
    assert "git_commit" not in trace.manifest(git=None)
    assert trace.manifest(own=3)["own"] == 3
    assert trace.read(log, trace.task(log, "u").stream).manifest is None
