"""The main job: `examples/record_agent_runs.py` on real runs and on made-up ones.

What the store should hold is worked out here from the files alone, by plain comparison.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import transit

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "record_agent_runs.py"
REAL_DIR = ROOT.parent / "shared" / "data" / "agent-trajectories"

Line = tuple[str, int, bytes]  # kind, step (0: not of a step), payload


def run(*arguments: object, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def made_up_files(folder: Path) -> list[Path]:
    spec = importlib.util.spec_from_file_location("record_agent_runs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up
    try:
        spec.loader.exec_module(module)
        files: list[Path] = module.made_up_runs(folder)
    finally:
        del sys.modules[spec.name]
    return files


class Task(NamedTuple):
    """A recorded task: the source files, the arguments that name them, and the script's output."""

    name: str
    files: list[Path]
    arguments: list[str]
    store: Path
    printed: str


@pytest.fixture(scope="module", params=["real", "made up"])
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("task")
    if request.param == "real":
        files = sorted(REAL_DIR.glob("marshmallow-1867.attempt-*.traj"))
        if not files:
            pytest.skip(f"no real agent runs in {REAL_DIR}")
        name, arguments = "marshmallow-1867", []
    else:
        files = made_up_files(folder)
        name, arguments = "rounding", ["--made-up"]
    done = run("--store", folder / "store", *arguments)
    assert done.returncode == 0, done.stderr
    return Task(name, files, arguments, folder / "store", done.stdout)


def lines_of(file: Path) -> list[Line]:
    document = json.loads(file.read_text(encoding="utf-8"))
    statement = next(each["content"] for each in document["history"] if each["role"] == "user")
    lines = [("task", 0, statement.encode())]
    for number, step in enumerate(document["trajectory"], start=1):
        rest = {key: step[key] for key in step if key not in {"action", "observation"}}
        lines.append(("action", number, step["action"].encode()))
        lines.append(("observation", number, step["observation"].encode()))
        lines.append(("details", number, json.dumps(rest, sort_keys=True).encode()))
    lines.append(("outcome", 0, json.dumps(document["info"], sort_keys=True).encode()))
    return lines


def shared_steps(one: list[Line], other: list[Line]) -> int:
    said = [
        [line for line in lines if line[0] in {"action", "observation"}] for lines in (one, other)
    ]
    records = 0
    while records < min(map(len, said)) and said[0][records] == said[1][records]:
        records += 1
    return records // 2


class Expected(NamedTuple):
    """A stream as it should be: `parent` is the place of the attempt it is forked from."""

    parent: int | None
    fork: int | None
    history: list[Line]


def expected_streams(files: list[Path]) -> list[Expected]:
    sources = [lines_of(file) for file in files]
    streams = [Expected(None, None, sources[0])]
    for place, source in enumerate(sources[1:], start=1):
        shared = [shared_steps(source, earlier) for earlier in sources[:place]]
        parent, steps = shared.index(max(shared)), max(shared)
        history = streams[parent].history
        ends = [n for n, line in enumerate(history) if line[:2] == ("observation", steps)]
        fork = ends[0] + 1 if ends else 0
        inherited = history[: fork + 1]
        latest = {line[:2]: line[2] for line in inherited}
        own = [line for line in source if latest.get(line[:2]) != line[2]]
        streams.append(Expected(parent, fork, inherited + own))
    return streams


def lines_in(stream: transit.Stream) -> list[Line]:
    return [(r.headers["kind"], int(r.headers.get("step", 0)), r.payload) for r in stream]


def chosen_place(files: list[Path]) -> int:
    infos = [json.loads(file.read_text(encoding="utf-8"))["info"] for file in files]
    return max(n for n, info in enumerate(infos) if info["exit_status"] == "submitted")


def test_each_attempt_is_a_stream_forked_where_plain_comparison_says(task: Task) -> None:
    expected = expected_streams(task.files)
    names = [f"{task.name}/attempt-{n + 1}" for n in range(len(expected))]
    with transit.open(task.store, mode="read") as log:
        assert [stream.name for stream in log.streams()] == [*names, f"{task.name}/final"]
        for name, (parent, fork, history) in zip(names, expected, strict=True):
            stream = log.stream(name)
            assert stream.fork_offset == fork
            assert stream.parents == (() if parent is None else ((names[parent], fork),))
            assert lines_in(stream) == history
        assert log.verify().ok


def test_inherited_records_come_from_the_parent_and_others_from_their_own_stream(
    task: Task,
) -> None:
    with transit.open(task.store, mode="read") as log:
        for stream in log.streams():
            for record in stream:
                assert record.origin.stream == record.headers["attempt"]
                if stream.kind == "branch":
                    parent, fork = stream.parents[0]
                    inherited = record.offset <= fork
                    assert (record.origin == (stream.name, record.offset)) != inherited
                    if inherited:
                        assert record == log.stream(parent)[record.offset]


def test_merge_has_the_history_of_the_last_submitted_attempt(task: Task) -> None:
    chosen = chosen_place(task.files)
    with transit.open(task.store, mode="read") as log:
        merged = log.stream(f"{task.name}/final")
        assert merged.kind == "merge"
        assert len(merged.parents) == len(task.files)
        assert lines_in(merged) == expected_streams(task.files)[chosen].history
        assert list(merged) == list(log.stream(f"{task.name}/attempt-{chosen + 1}"))
        assert merged.metadata["reason"]


def test_output_says_what_the_store_holds(task: Task) -> None:
    expected = expected_streams(task.files)
    forks = re.findall(r"attempt-(\d+): (\d+) records, forked at offset (\d+)", task.printed)
    assert {tuple(map(int, fork)) for fork in forks} == {
        (place + 1, len(each.history), each.fork) for place, each in enumerate(expected) if place
    }
    chosen = chosen_place(task.files)
    merged = len(expected[chosen].history)
    assert f"/final: {merged} records, those of {task.name}/attempt-{chosen + 1}" in task.printed
    total = sum(len(each.history) for each in expected) + merged
    assert f"proven: {total} records read through {len(expected) + 1} streams" in task.printed
    assert f"{sum(file.stat().st_size for file in task.files):,} in the source" in task.printed


def test_nothing_of_the_attempts_is_recorded_twice(task: Task) -> None:
    own = sum(
        len(each.history) - (0 if each.fork is None else each.fork + 1)
        for each in expected_streams(task.files)
    )
    with transit.open(task.store, mode="read") as log:
        origins = {record.origin for stream in log.streams() for record in stream}
        assert len(origins) == own


def without_remote(printed: str) -> list[str]:
    """What was printed, without the address of the remote, which is another each time."""
    return [line for line in printed.splitlines() if not line.startswith("published:")]


def test_the_runs_are_published_restored_audited_and_read_lazily(task: Task) -> None:
    assert re.search(r"published: 1 commits, [\d,]+ bytes, \d+ requests to file://", task.printed)
    assert "each record proven again" in task.printed
    assert re.search(r"audited, level bodies: 1 commits, .* 0 findings", task.printed)
    lazily = re.search(r"lazily: (\d+) records of .* in (\d+) ranged requests", task.printed)
    assert lazily
    assert int(lazily[1]) == len(expected_streams(task.files)[-1].history)
    assert int(lazily[2]) <= 4


def test_store_that_holds_the_task_is_proven_again_and_not_written(task: Task) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in task.store.glob("segments/*")}

    before = contents()
    again = run("--store", task.store, *task.arguments)
    assert again.returncode == 0
    assert without_remote(again.stdout) == without_remote(task.printed)
    assert contents() == before


def flip(share: float) -> Callable[[bytearray], None]:
    def damage(data: bytearray) -> None:
        data[int(len(data) * share)] ^= 1

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(flip(0), id="first byte"),
        pytest.param(flip(0.1), id="early"),
        pytest.param(flip(0.5), id="middle"),
        pytest.param(flip(0.97), id="late"),
        pytest.param(lambda data: data.pop(), id="last byte gone"),
    ],
)
def test_damaged_segment_is_not_proven(
    task: Task, tmp_path: Path, damage: Callable[[bytearray], object]
) -> None:
    store = tmp_path / "store"
    shutil.copytree(task.store, store)
    (segment,) = (store / "segments").glob("*.seg")
    data = bytearray(segment.read_bytes())
    damage(data)
    segment.chmod(0o644)
    segment.write_bytes(data)
    done = run("--store", store, *task.arguments)
    assert done.returncode == 1, done.stdout
    assert "NOT PROVEN" in done.stderr
    assert "Traceback" not in done.stderr
    assert "proven:" not in done.stdout


@pytest.mark.parametrize("part", ["action", "observation", "thought"])
def test_file_that_says_something_else_than_the_store_is_not_proven(
    task: Task, tmp_path: Path, part: str
) -> None:
    files = [Path(shutil.copy(file, tmp_path)) for file in task.files]
    document = json.loads(files[1].read_text(encoding="utf-8"))
    document["trajectory"][-1][part] += " "
    files[1].write_text(json.dumps(document), encoding="utf-8")
    done = run("--store", task.store, "--runs", *files)
    assert done.returncode == 1
    assert f"{task.name}/attempt-2" in done.stderr


def test_runs_are_made_up_where_there_are_none(tmp_path: Path) -> None:
    script = tmp_path / "project" / "examples" / SCRIPT.name
    script.parent.mkdir(parents=True)
    shutil.copy(SCRIPT, script)
    done = run(script=script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("rounding/attempt-1: ")
    assert "│   └── rounding/attempt-3" in done.stdout, "a branch of a branch"


def test_made_up_runs_are_the_same_every_time(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    one, other = made_up_files(tmp_path), made_up_files(tmp_path / "again")
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "{}",
        '{"history": [], "trajectory": [], "info": {}}',
        '{"history": [{"role": "user", "content": "do"}], "trajectory": [{}], "info": {}}',
        '{"history": [{"role": "user", "content": 1}], "trajectory": [], "info": {}}',
    ],
)
def test_file_that_is_no_run_is_refused_before_anything_is_written(
    tmp_path: Path, document: str
) -> None:
    file = tmp_path / "bad.traj"
    file.write_text(document, encoding="utf-8")
    done = run("--store", tmp_path / "store", "--runs", file)
    assert done.returncode == 2
    assert "not a trajectory file" in done.stderr
    assert not (tmp_path / "store").exists()


def test_no_attempt_submitted_gives_no_merge(tmp_path: Path) -> None:
    files = made_up_files(tmp_path)[:2]
    done = run("--store", tmp_path / "store", "--runs", *files)
    assert done.returncode == 0, done.stderr
    assert "final" not in done.stdout
    with transit.open(tmp_path / "store", mode="read") as log:
        assert [stream.kind for stream in log.streams()] == ["root", "branch"]
