"""`transit bench` measures beside raw work, leaves nothing behind, and stays out of stores."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest

import transit as engine
from transit import RemoteUnavailableError, open_store
from transit.cli import contests, workplaces
from transit.cli.failures import CommandError
from transit.cli.flags import Flags
from transit.cli.measuring import P99_CALLS_MIN, Contest, Contestant, Measured, measure, take_turn
from transit.cli.opening import Session
from transit.testing.doors import FaultDoor, Rule

from .conftest import Command
from .shell import at_terminal

LOCAL = [
    ("append", "memory"),
    ("append", "os"),
    ("append", "local"),
    ("append_many", "memory"),
    ("append_many", "os"),
    ("append_many", "local"),
    ("append_threads", "local"),
    ("read", "records"),
    ("read", "columns"),
    ("fork_append", "local"),
]
REMOTE = [("append", "tiered"), ("append_many", "tiered"), ("publish", "all"), ("restore", "all")]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    path = tmp_path / "bucket"
    path.mkdir()
    return path


def behind_doors(monkeypatch: pytest.MonkeyPatch, rule: Rule) -> None:
    """Every store that is opened from now on fails as `rule` says."""
    monkeypatch.setattr(engine, "open_store", lambda *given: FaultDoor(open_store(*given), rule))


def after(first: int, fault: Callable[[], None]) -> Rule:
    """A rule that lets so many requests pass, of all stores, and loses every later one."""
    left = iter(range(first))

    def rule(number: int, kind: str, key: str) -> None:
        if next(left, None) is None:
            fault()

    return rule


def unavailable() -> None:
    raise RemoteUnavailableError("the remote went away")


def interrupted() -> None:
    raise KeyboardInterrupt


def test_a_second_without_a_remote_is_a_row_a_contest_and_leaves_nothing(
    command: Command, work: Path
) -> None:
    done = command("bench", work, "--seconds", "1")
    assert (done.code, done.err) == (0, b"")
    assert [(row["task"], row["mode"]) for row in done.rows] == LOCAL
    for row in done.rows:
        assert tuple(row) == Measured.__struct_fields__
        assert row["times_raw"] > 0
        assert row["records_per_s"] > 0
        assert row["raw_bytes_per_s"] > 0
        assert row["bytes_per_call"] == 256 * row["records_per_call"]
        assert row["calls"] >= row["rounds"] == 3
    by_task = {(row["task"], row["mode"]): row for row in done.rows}
    assert by_task["append_many", "local"]["records_per_call"] == 1000
    assert by_task["append", "memory"]["p50_s"] is None
    assert by_task["append", "local"]["p50_s"] > 0
    assert list(work.iterdir()) == []


@pytest.mark.slow
def test_with_a_remote_tiered_publish_and_restore_are_measured_and_it_is_left_empty(
    command: Command, work: Path, bucket: Path
) -> None:
    other = bucket / "other"
    other.touch()
    done = command("bench", work, "--remote", bucket, "--seconds", "0.1", "--record-bytes", "64KiB")
    assert (done.code, done.err) == (0, b"")
    found = {(row["task"], row["mode"]) for row in done.rows}
    assert found == {*LOCAL, *REMOTE}
    assert list(work.iterdir()) == []
    assert list(bucket.iterdir()) == [other]


def test_the_current_folder_is_the_place_and_a_configured_remote_has_no_part(
    command: Command, tmp_path: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSIT_REMOTE", str(bucket))
    made: list[str] = []
    true_contests = contests.contests

    def seen(folder: str, *rest: object) -> object:
        made.append(folder)
        return true_contests(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("transit.cli.verbs.bench.contests", seen)
    done = command("bench", "--seconds", "0.1")
    assert [(row["task"], row["mode"]) for row in done.rows] == LOCAL
    assert [Path(folder).parent for folder in made] == [tmp_path]
    assert list(tmp_path.iterdir()) == [bucket]


@pytest.mark.parametrize("requests", [0, 1, 25, 60])
def test_a_remote_that_goes_away_in_the_middle_ends_it_with_12_and_nothing_is_left(
    command: Command, work: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    monkeypatch.setenv("TRANSIT_LIMITS_REMOTE_TIMEOUT_S", "0.5")
    behind_doors(monkeypatch, after(requests, unavailable))
    done = command("bench", work, "--remote", bucket, "--seconds", "0.1")
    # Where it goes away while a commit is created, nobody knows whether that is there.
    said = (done.code, done.error["type"])
    assert said in ((12, "RemoteUnavailableError"), (8, "OutcomeUnknownError"))
    assert done.out == b""
    assert [*work.iterdir(), *bucket.iterdir()] == []


@pytest.mark.parametrize("requests", [0, 1, 25, 60])
def test_interrupted_it_ends_with_130_and_nothing_is_left(
    command: Command, work: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    behind_doors(monkeypatch, after(requests, interrupted))
    done = command("bench", work, "--remote", bucket, "--seconds", "0.1")
    assert (done.code, done.out) == (130, b"")
    assert [*work.iterdir(), *bucket.iterdir()] == []


def test_ctrl_c_at_a_terminal_ends_it_with_130_and_nothing_is_left(work: Path) -> None:
    def press(pid: int, terminal: int) -> None:
        os.kill(pid, signal.SIGINT)

    done = at_terminal(work / "store", "bench", "--seconds", "1h", when={b"round 1 of 5": press})
    assert done.code == 130
    assert list(work.iterdir()) == []


def test_at_a_terminal_the_ratio_comes_first_and_what_is_not_measured_is_said(work: Path) -> None:
    done = at_terminal(work / "store", "--no-color", "bench", "--seconds", "0.1")
    text = done.out.decode()
    assert done.code == 0
    lines = [line.rpartition("\r")[2].removeprefix("\x1b[K") for line in text.splitlines()]
    assert "append 1,000 records at once" in lines
    (head,) = [line for line in lines if "raw work" in line]
    assert head.split()[:3] == ["x", "raw", "rate"]
    assert any(line.startswith("not measured: ") for line in lines)
    # How long the path of the store is, this test does not decide.
    assert max(len(line.replace(str(work), "…")) for line in lines) <= 100
    assert list(work.iterdir()) == []


def test_a_store_and_what_is_inside_one_are_refused(
    command: Command, tmp_path: Path, work: Path, bucket: Path
) -> None:
    assert command("append", "s", "--create", "1").code == 0
    assert command("--remote", bucket, "publish").code == 0
    (tmp_path / "link").symlink_to(tmp_path / "store" / "wal")
    before = sorted(tmp_path.rglob("*"))
    for words in (
        ["store"],
        ["store/wal"],
        ["link"],
        [work, "--remote", bucket],
        [work, "--remote", f"{bucket}/commits"],
    ):
        done = command("bench", *words, "--seconds", "0.1")
        assert (done.code, done.out) == (2, b""), words
        assert "is a store" in done.error["message"]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nothing"], 3),
        (["work", "--remote", "nothing"], 3),
        (["s3://bucket/prefix"], 2),
        (["work", "--store", "work"], 2),
        (["work", "--record-bytes", "0"], 2),
        (["work", "--record-bytes", "65537"], 2),
        (["work", "--seconds", "soon"], 2),
    ],
)
def test_what_cannot_be_measured_is_refused(
    command: Command, work: Path, words: list[str], code: int
) -> None:
    done = command("bench", *words)
    assert (done.code, done.out) == (code, b"")
    assert list(work.iterdir()) == []


MEMORY = "memory://bench"


def keys() -> list[str]:
    return [key for key, _ in open_store(MEMORY).list("")]


def test_the_objects_below_the_prefix_are_removed_and_no_others() -> None:
    open_store(MEMORY).put("other", b"1")
    with workplaces.new_prefix(Session(Flags()), MEMORY, "transit-bench-") as opened:
        opened("one").put("a/b", b"1")
        opened("two").put("c", b"2")
        assert len(keys()) == 3
    assert keys() == ["other"]


def test_objects_that_cannot_be_removed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_delete(number: int, kind: str, key: str) -> None:
        if kind == "delete":
            unavailable()

    behind_doors(monkeypatch, no_delete)
    with (
        pytest.raises(CommandError, match=r"memory://bench/transit-bench-\w+: is not wholly"),
        workplaces.new_prefix(Session(Flags()), MEMORY, "transit-bench-") as opened,
    ):
        opened("one").put("a", b"1")


@pytest.mark.parametrize("ended", [ValueError, KeyboardInterrupt])
def test_a_folder_that_cannot_be_removed_is_named_beside_the_error_that_ended_it(
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ended: type[BaseException],
) -> None:
    def refused(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("shutil.rmtree", refused)
    with pytest.raises(ended), workplaces.new_folder(str(work), "transit-bench-"):
        raise ended
    (left,) = work.iterdir()
    told = json.loads(capsys.readouterr().err)["error"]
    assert str(left) in told["message"]
    assert told["hint"] == f"rm -r {left}"


def test_an_interrupt_while_removing_names_what_is_left(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.rmtree", lambda path: interrupted())
    with pytest.raises(KeyboardInterrupt), workplaces.new_folder(str(work), "transit-bench-"):
        pass
    (left,) = work.iterdir()
    assert str(left) in json.loads(capsys.readouterr().err)["error"]["message"]


def test_contestants_alternate_and_each_turn_has_a_call_when_time_is_over() -> None:
    order: list[str] = []
    contest = Contest(
        "append",
        Contestant("ours", lambda: order.append("ours"), after=lambda: order.append("settled")),
        Contestant("raw", lambda: order.append("raw"), before=lambda: order.append("prepared")),
        10, 1000, 5,
    )  # fmt: skip
    (measured,) = measure([contest], 3, 0.0, lambda number, contest: None)
    ours, raw = ["ours", "settled"], ["prepared", "raw"]
    assert order == ours + raw + raw + ours + ours + raw
    assert (measured.calls, measured.raw_calls, measured.rounds) == (3, 3, 3)
    assert measured.bytes_per_s == pytest.approx(100 * measured.records_per_s)
    assert measured.p99_s is None


def test_a_ratio_is_the_median_of_the_rounds_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr("transit.cli.measuring.perf_counter", lambda: clock["now"])

    def taking(*seconds: float) -> Callable[[], None]:
        each = cycle(seconds)

        def call() -> None:
            clock["now"] += next(each)

        return call

    # The disk is slow in the second round, for both.
    ours, raw = Contestant("ours", taking(2, 300, 4)), Contestant("raw", taking(1, 100, 1))
    contest = Contest("append", ours, raw, 1, 8, 1)
    (measured,) = measure([contest], 3, 0.0, lambda number, contest: None)
    assert measured.times_raw == 3
    assert (measured.p50_s, measured.raw_p50_s) == (4, 1)
    assert measured.records_per_s == 1 / 4


def test_a_turn_ends_after_its_most_calls_and_times_groups() -> None:
    calls: list[int] = []
    turn = take_turn(Contestant("ours", lambda: calls.append(1), group=10), 3600, 35)
    assert (turn.calls, len(calls), len(turn.each)) == (40, 40, 4)


@pytest.mark.parametrize("calls", [P99_CALLS_MIN - 1, P99_CALLS_MIN])
def test_a_99th_percentile_needs_enough_calls(calls: int) -> None:
    contestant = Contestant("ours", lambda: None)
    contest = Contest("append", contestant, contestant._replace(name="raw"), 1, 1, calls)
    (measured,) = measure([contest], 1, 1e12, lambda number, contest: None)
    assert (measured.p99_s is not None) == (calls >= P99_CALLS_MIN)
