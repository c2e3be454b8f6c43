"""`transit demo`: every step is done and proven, and what is not proven is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import transit as engine
from transit import Log, Position
from transit.cli.demonstration import Kept, Step, different, steps
from transit.cli.madeup import MadeUp

from .conftest import Command
from .shell import at_terminal, transit

NAMES = [
    "record",
    "fork",
    "merge",
    "publish",
    "prove",
    "lose",
    "restore",
    "audit",
    "prove again",
    "lineage",
    "proven",
]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_every_step_is_a_line_in_a_pipe_and_nothing_is_left(tmp_path: Path) -> None:
    done = transit(None, "demo", env={"TMPDIR": str(tmp_path)}, cwd=tmp_path)
    assert (done.code, done.err) == (0, b"")
    assert [row["step"] for row in done.rows] == NAMES
    assert all(row["ok"] for row in done.rows)
    by_step = {row["step"]: row for row in done.rows}
    roots = {by_step[step]["root"] for step in ("publish", "restore", "audit")}
    assert len(roots) == 1
    assert by_step["fork"]["parent"] == "fix-rounding"
    assert by_step["merge"]["policy"] == "select"
    assert by_step["prove again"]["records_compared"] > by_step["record"]["records"] > 10
    assert len(by_step["lineage"]["streams"]) == 3
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_a_whole_store_and_its_remote(command: Command, tmp_path: Path) -> None:
    done = command("demo", "--keep", "kept")
    assert done.code == 0
    root = next(row["root"] for row in done.rows if row["step"] == "publish")
    store, remote = tmp_path / "kept" / "store", tmp_path / "kept" / "remote"
    assert len(command("log", "--store", store).rows) == 3
    assert command("verify", "--store", store).code == 0
    assert command("audit", remote, "--trusted-root", root).code == 0
    again = command("demo", "--keep", "kept")
    assert (again.code, again.error["kind"], again.out) == (4, "already_exists", b"")


def test_a_second_run_records_the_same(command: Command) -> None:
    def said(folder: str) -> list[tuple[str, object]]:
        assert command("demo", "--keep", folder).code == 0
        names = ["fix-rounding", "fix-rounding/retry-1", "fix-rounding/merge-1"]
        rows = command("read", *names, "--store", f"{folder}/store").rows
        parsed = [json.loads(row["payload"]) for row in rows]
        for event in parsed:
            event.pop("duration_ns", None)
        return [(row["stream"], event) for row, event in zip(rows, parsed, strict=True)]

    assert said("one") == said("two")


def test_at_a_terminal_the_graph_is_drawn_and_every_step_is_ok(tmp_path: Path) -> None:
    shown = at_terminal(tmp_path / "store", "--no-color", "demo")
    text = shown.out.decode()
    assert shown.code == 0
    assert "├─╮" in text
    assert "prove again  ok" in text
    assert "FAILED" not in text


def test_what_is_not_given_back_is_told_and_ends_with_1(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: MadeUp, log: Log) -> Iterator[str]:
        yield "fix-rounding@0: gone"

    monkeypatch.setattr(MadeUp, "missing", missing)
    done = command("demo")
    assert (done.code, done.error["kind"]) == (1, "not_proven")
    failed = [row for row in done.rows if not row["ok"]]
    assert [row["step"] for row in failed] == ["prove", "prove again"]
    assert failed[0]["differences"] == ["fix-rounding@0: gone"]
    assert done.rows[-1]["step"] == "lineage"


def until(folder: Path, step: str) -> Iterator[Step]:
    """The steps after `step`, which is the last that was done."""
    rest = steps(str(folder), MadeUp())
    for done in rest:
        assert done.ok, done
        if done.step == step:
            return rest
    raise AssertionError(f"no step {step!r}")


def test_a_record_too_many_in_the_restored_store_is_not_proven(tmp_path: Path) -> None:
    rest = until(tmp_path, "restore")
    with engine.open(tmp_path / "store") as log:
        log.stream("fix-rounding").append(b"{}")
    audit, proof = rest
    assert audit.ok
    assert not proof.ok
    assert "fix-rounding: 11 records, 10 were recorded" in str(proof.facts["differences"])


def test_another_store_in_place_of_the_restored_one_is_not_proven(tmp_path: Path) -> None:
    rest = until(tmp_path, "audit")
    shutil.rmtree(tmp_path / "store")
    with engine.open(tmp_path / "store") as log:
        MadeUp().record(log)
    (proof,) = rest
    assert not proof.ok


def test_damage_in_the_remote_stops_the_restore(tmp_path: Path) -> None:
    rest = until(tmp_path, "lose")
    (segment,) = (tmp_path / "remote" / "segments").iterdir()
    flip(segment)
    with pytest.raises(engine.CorruptError):
        next(rest)


def test_damage_in_the_remote_after_the_restore_is_found_by_the_audit(tmp_path: Path) -> None:
    rest = until(tmp_path, "restore")
    (segment,) = (tmp_path / "remote" / "segments").iterdir()
    flip(segment)
    audit, proof = rest
    assert not audit.ok
    assert audit.facts["findings"]
    assert proof.ok


ONE = Kept(b"a", {}, 1, Position("s", 0))


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"s": [ONE]}, []),
        ({}, ["s: not there"]),
        ({"s": [ONE], "t": []}, ["t: was not recorded"]),
        ({"s": []}, ["s: 0 records, 1 were recorded"]),
        ({"s": [ONE._replace(payload=b"b")]}, ["s@0: not as it was recorded"]),
        ({"s": [ONE._replace(headers={"a": "b"})]}, ["s@0: not as it was recorded"]),
        ({"s": [ONE._replace(timestamp=2)]}, ["s@0: not as it was recorded"]),
        ({"s": [ONE._replace(origin=Position("t", 0))]}, ["s@0: not as it was recorded"]),
    ],
)
def test_each_kind_of_difference_is_seen(found: dict[str, Sequence[Kept]], told: list[str]) -> None:
    assert list(different({"s": [ONE]}, found)) == told


def attempt(path: Path, answer: str, exit_status: str) -> Path:
    """A trajectory file as SWE-agent writes it, in small."""
    step = {
        "action": "run",
        "observation": answer,
        "response": f"It says {answer}.",
        "state": "{}",
        "thought": "see",
    }
    told = [
        {"role": "system", "content": "You fix bugs."},
        {"role": "user", "content": "One is short."},
    ]
    document = {
        "environment": "env",
        "trajectory": [step, {**step, "observation": "\ud83d"}],
        "history": told,
        "info": {"exit_status": exit_status},
    }
    path.write_text(json.dumps(document))
    return path


def test_trajectory_files_come_out_as_they_went_in(command: Command, tmp_path: Path) -> None:
    ends = [("344", "submitted"), ("345", "submitted"), ("346", "exit_cost")]
    files = [
        attempt(tmp_path / f"fix.attempt-{number}.traj", answer, end)
        for number, (answer, end) in enumerate(ends, start=1)
    ]
    done = command("demo", "--keep", "kept", "--from", *files)
    assert (done.code, done.err) == (0, b"")
    by_step = {row["step"]: row for row in done.rows}
    assert by_step["prove again"]["identical"]
    assert by_step["record"]["streams"] == 4
    merged = by_step["merge"]
    assert len(merged["parents"]) == 3
    assert merged["parents"][0] == "fix"
    (row,) = command("diff", merged["parents"][1], merged["stream"], "--store", "kept/store").rows
    assert row["left"] == row["right"] == [], "the last submitted attempt is the second"


def test_one_trajectory_alone_is_not_merged(command: Command, tmp_path: Path) -> None:
    done = command("demo", "--from", attempt(tmp_path / "one.traj", "1", ""))
    assert done.code == 0
    assert "merge" not in [row["step"] for row in done.rows]


def test_what_is_no_trajectory_is_refused(command: Command, tmp_path: Path) -> None:
    other = tmp_path / "other.traj"
    for content, code in [(b"no json", 2), (b"[]", 2), (b'{"a": 1}', 2), (b"\xff", 2)]:
        other.write_bytes(content)
        assert command("demo", "--from", other).code == code
    assert command("demo", "--from", tmp_path / "missing.traj").code == 3
    assert command("demo", other).code == 2
