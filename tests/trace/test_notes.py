"""Notes on runs that have ended: what they say, where they stand, and what they leave alone."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace.tabulating import RunSummary

DEADLINE_S = 120


def ended(log: transit.Log, name: str = "t") -> transit.Stream:
    with trace.task(log, name) as task:
        task.message("user", "hello")
    return task.stream


def only(log: transit.Log, name: str = "t") -> RunSummary:
    (found,) = trace.runs(log, name)
    return found


def test_a_note_comes_back_as_it_was_written(log: transit.Log) -> None:
    ended(log)
    written = trace.annotate(
        log, "t", "correct", score=0.5, label="half", comment="see", author="ada", at=-1,
        metadata={"rubric": 2},
    )  # fmt: skip
    assert trace.notes(log, "t") == (written,)
    assert (written.at, written.metadata, written.noted_at > 0) == (1, {"rubric": 2}, True)
    assert trace.read(log, "t").notes == (written,)


@pytest.mark.parametrize("score", [True, False, 0, -3, 0.25, 1e300])
def test_scores_are_numbers_or_bools_and_stay_what_they_are(log: transit.Log, score: Any) -> None:
    ended(log)
    trace.annotate(log, "t", "s", score=score)
    (found,) = trace.read(log, "t").scores
    assert found.score == score
    assert type(found.score) is type(score)
    assert only(log).scores == (found,)


def test_the_run_itself_is_not_touched_and_stays_ended(log: transit.Log) -> None:
    stream = ended(log)
    stream.finish()
    before = [record.payload for record in stream], trace.read(log, "t").ended
    trace.annotate(log, "t", "good", score=1)
    assert ([record.payload for record in stream], trace.read(log, "t").ended) == before
    assert only(log).status == "completed"
    assert [stream.name for stream in log.streams()] == ["t"], "notes are not among the user's"


def test_a_run_that_ended_takes_records_still(log: transit.Log) -> None:
    stream = ended(log)
    assert not stream.finished
    trace.resume(log, "t").evaluate("judge", decision="good")


def test_a_later_note_by_the_same_author_supersedes_the_earlier_one(log: transit.Log) -> None:
    ended(log)
    for author, score in [("ada", 1), ("bob", 2), ("ada", 3)]:
        trace.annotate(log, "t", "quality", score=score, author=author)
    trace.annotate(log, "t", "style", score=4, author="ada")
    trace.annotate(log, "t", "style", score=5, author="ada", at=0)
    trace.annotate(log, "t", "said", comment="only a comment", author="ada")
    assert len(trace.notes(log, "t")) == 6
    found = {(s.name, s.author, s.at): s.score for s in trace.read(log, "t").scores}
    assert found == {
        ("quality", "ada", None): 3, ("quality", "bob", None): 2,
        ("style", "ada", None): 4, ("style", "ada", 0): 5,
    }  # fmt: skip


def test_an_evaluation_of_the_run_by_itself_is_a_score_too(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        task.evaluate("judge", decision="good", score=0.5)
        task.evaluate("judge", decision="better", score=0.75)
        task.evaluate("other", decision="bad", subject="elsewhere@0")
    wanted = (trace.Score("evaluation", "judge", 0.75, "better"),)
    assert trace.read(log, "t").scores == wanted
    assert only(log).scores == wanted


def test_an_evaluation_after_the_end_counts(log: transit.Log) -> None:
    ended(log)
    again = trace.Task(log, log.stream("t"), trace.task(log, "x").options)
    again.evaluate("late", decision="fine", score=1)
    found = only(log)
    assert (found.status, found.own.events) == ("completed", 3)
    assert found.scores == (trace.Score("evaluation", "late", 1, "fine"),)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": 3, "score": 1}, "name"),
        ({"name": "n"}, "score, label and comment"),
        ({"name": "n", "score": "high"}, "score"),
        ({"name": "n", "score": float("nan")}, "score"),
        ({"name": "n", "score": float("inf")}, "score"),
        ({"name": "n", "score": 1 << 80}, "score"),
        ({"name": "n", "label": ""}, "label"),
        ({"name": "n", "comment": None}, "comment"),
        ({"name": "n", "score": 1, "author": 3}, "author"),
        ({"name": "n", "score": 1, "at": 2}, "at"),
        ({"name": "n", "score": 1, "at": -3}, "at"),
        ({"name": "n", "score": 1, "at": True}, "at"),
        ({"name": "n", "score": 1, "at": "0"}, "at"),
        ({"name": "n", "score": 1, "metadata": [1]}, "metadata"),
        ({"name": "n", "score": 1, "metadata": {1: 2}}, "metadata"),
        ({"name": "n", "score": 1, "run": 5}, "run"),
    ],
)
def test_what_is_no_note_is_refused_by_the_argument_and_nothing_is_written(
    log: transit.Log, arguments: dict[str, Any], named: str
) -> None:
    ended(log)
    with pytest.raises(transit.InvalidInputError, match=named):
        trace.annotate(log, **{"run": "t", **arguments})
    assert trace.notes(log, "t") == ()
    assert list(log.streams("$trace/notes/")) == []


def test_a_run_of_another_store_is_not_found(log: transit.Log, tmp_path: Path) -> None:
    with transit.open(tmp_path / "other", durability="os") as other:
        stream = ended(other)
        for run in ("t", stream, trace.read(other, "t")):
            with pytest.raises(transit.NotFoundError):
                trace.annotate(log, run, "n", score=1)
            with pytest.raises(transit.NotFoundError):
                trace.notes(log, run)


def test_a_run_is_named_in_any_way(log: transit.Log) -> None:
    stream = ended(log)
    task = trace.resume(log, "t")
    for run in ("t", stream, task, trace.read(log, "t")):
        trace.annotate(log, run, "n", score=1)
    assert len(trace.notes(log, task)) == 4


def test_hidden_and_sealed_runs_take_notes(log: transit.Log) -> None:
    stream = ended(log)
    log.seal()
    log.hide("t")
    trace.annotate(log, stream, "n", score=1)
    assert len(trace.notes(log, stream)) == 1
    assert trace.read(log, stream).scores[0].score == 1
    assert len(trace.runs(log)) == 0, "hidden runs are not listed"
    with pytest.raises(transit.NotFoundError):
        trace.annotate(log, "t", "n", score=1)


def test_notes_are_redacted_as_runs_are(log: transit.Log) -> None:
    ended(log)
    trace.set_redaction(trace.Redaction([trace.KEYS], fields=["token"]))
    try:
        note = trace.annotate(
            log, "t", "n", comment="use sk-abcdefghijklmnopqrst", metadata={"token": "x"}
        )
    finally:
        trace.set_redaction(None)
    assert (note.comment, note.redacted) == ("use [redacted]", 2)
    assert note.metadata == {"token": "[redacted]"}
    (stream,) = log.streams("$trace/notes/")
    assert b"sk-abc" not in stream[0].payload
    assert trace.notes(log, "t") == (note,)


def test_threads_that_are_first_at_the_same_moment_write_into_one_stream(log: transit.Log) -> None:
    ended(log)
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait(DEADLINE_S)
        trace.annotate(log, "t", "n", score=number, author=str(number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(list(log.streams("$trace/notes/"))) == 1
    assert sorted(str(note.score) for note in trace.notes(log, "t")) == list("01234567")


def test_processes_that_share_a_store_write_into_one_stream(path: Path) -> None:
    script = (
        "import sys, transit\n"
        "from transit import trace\n"
        "with transit.open(sys.argv[1], mode='shared', durability='os') as log:\n"
        "    sys.stdin.readline()\n"
        "    trace.annotate(log, 't', 'n', score=1, author=sys.argv[2])\n"
    )
    with transit.open(path, mode="shared", durability="os") as log:
        ended(log)
        children = [
            subprocess.Popen(
                [sys.executable, "-c", script, str(path), str(number)], stdin=subprocess.PIPE
            )
            for number in range(3)
        ]
        for child in children:
            assert child.stdin is not None
            child.stdin.write(b"\n")
            child.stdin.flush()
        for child in children:
            child.communicate(timeout=DEADLINE_S)
        assert [child.returncode for child in children] == [0, 0, 0]
        assert len(list(log.streams("$trace/notes/"))) == 1
        assert {note.author for note in trace.notes(log, "t")} == {"0", "1", "2"}


def test_another_writer_that_was_faster_is_met(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = ended(log)
    log.layer("trace").create(f"notes/{stream.uid}")
    # As it looks to one that asked a moment before.
    monkeypatch.setattr("transit.Layer.__contains__", lambda layer, name: False)
    trace.annotate(log, "t", "n", score=1)
    assert len(trace.notes(log, "t")) == 1


def test_notes_come_along_with_a_restore(path: Path, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    with transit.open(path, remote=remote, durability="os") as log:
        ended(log)
        ended(log, "u")
        trace.annotate(log, "t", "n", score=1)
        log.seal()
        log.publish()
        log.evict(bytes_max=0)
        trace.annotate(log, "t", "n", score=2)
        log.publish()
    for streams in (None, ["t", "$trace/"]):
        restored = tmp_path / f"restored-{streams is None}"
        transit.restore(remote, restored, streams=streams)
        with transit.open(restored, durability="os") as log:
            assert [note.score for note in trace.notes(log, "t")] == [1, 2]
            trace.annotate(log, "t", "n", score=3)
            assert only(log).scores[0].score == 3


def test_what_others_wrote_among_the_notes_is_passed_over(log: transit.Log) -> None:
    stream = ended(log)
    trace.annotate(log, "t", "n", score=1)
    notes = log.layer("trace").stream(f"notes/{stream.uid}")
    for payload in (b"\xff", b"{}", b'{"event":"note"}', b'{"event":"later"}'):
        notes.append(payload)
    assert [note.name for note in trace.notes(log, "t")] == ["n"]
    assert len(only(log).scores) == 1


def test_an_export_as_a_table_has_rows_for_notes(log: transit.Log, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    ended(log)
    trace.annotate(log, "t", "correct", score=True, label="yes", comment="why", author="ada", at=0)
    trace.export_file(log, "t", tmp_path / "t.parquet", format="parquet")
    table = parquet.read_table(tmp_path / "t.parquet").drop(["time"])
    rows = [row for row in table.to_pylist() if row["event"] == "note"]
    assert len(rows) == 1
    wanted = {"run": "t", "name": "correct", "role": "ada", "status": "yes", "score": 1.0}
    assert rows[0].items() >= {**wanted, "text": "why", "offset": 0}.items()
    assert '"at":0' in rows[0]["data"]
