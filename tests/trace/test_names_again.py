"""Runs whose names are hidden and bound again: what descends from them stays what it was."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace.matching import recording_of
from transit.trace.page import write_page

from .test_merging import ask, requests


def hidden(log: transit.Log, name: str) -> transit.Stream:
    """Hide a stream."""
    stream = log.stream(name)
    log.hide(stream)
    return stream


def begun(log: transit.Log) -> tuple[list[Any], list[Any]]:
    """A run "t" with a retry "again" from offset 1; the requests of each."""
    with trace.task(log, "t") as task:
        asked = [ask(task, "base"), ask(task, "base", "more"), ask(task, "base", "more", "last")]
    retry = task.retry(at=1, name="again")
    return asked, [*asked[:2], ask(retry, "base", "more", "other")]


@pytest.mark.parametrize("is_bound_again", [False, True])
def test_a_retry_is_read_after_the_run_it_began_in_was_hidden(
    log: transit.Log, is_bound_again: bool
) -> None:
    _, wanted = begun(log)
    hidden(log, "t")
    if is_bound_again:
        ask(trace.task(log, "t"), "another", "run")
    assert requests(log, "again") == wanted
    assert [step.inherited for step in trace.read(log, "again").steps()] == [True, True, False]


@pytest.mark.parametrize("is_bound_again", [False, True])
def test_a_merge_is_read_after_its_parents_were_hidden(
    log: transit.Log, is_bound_again: bool
) -> None:
    asked, others = begun(log)
    trace.merge(log, ["t", "again"], policy="append", name="both")
    wanted = [*asked, others[-1]]
    for name in ("t", "again"):
        hidden(log, name)
        if is_bound_again:
            ask(trace.task(log, name), "another", f"run {name}")
    assert requests(log, "both") == wanted
    branch = log.stream("both").branch("of both", metadata=dict(log.stream("both").metadata))
    assert requests(log, branch.name) == wanted


def test_a_run_with_the_name_of_the_hidden_run_it_is_a_branch_of(log: transit.Log) -> None:
    """What was given up is hidden, and begun again under its name from where it was right."""
    begun(log)
    old = hidden(log, "t")
    again = old.branch("t", metadata=dict(old.metadata))
    steps = trace.read(log, "t").steps()
    assert [step.kind for step in steps] == ["model", "model", "model", "end"]
    assert all(step.inherited for step in steps)
    found = recording_of(log, again, own_only=True)
    assert (found.end, found.calls) == (None, [])
    # Two streams of one name in one merge.
    merged = log.merge("m", [old, again], policy="append", metadata=dict(old.metadata))
    assert len(requests(log, merged.name)) == 3


def test_an_exhibit_of_a_merge_of_streams_with_one_name(log: transit.Log, tmp_path: Path) -> None:
    key = transit.SigningKey.generate(f"example.com/runs/{log.store_id}")
    with trace.task(log, "t") as task:
        wanted = [ask(task, "base"), ask(task, "base", "more")]
    old = hidden(log, "t")
    with trace.task(log, "t") as task:
        wanted += [ask(task, "base of another"), ask(task, "base of another", "less")]
    parents = [old, log.stream("t")]
    log.merge("both", parents, policy="append", metadata=dict(old.metadata))
    assert requests(log, "both") == wanted
    log.checkpoint(key)
    trace.exhibit(log, "both", tmp_path / "x.zip")
    checked = trace.check_exhibit(tmp_path / "x.zip", key.verifying)
    assert [record.payload for record in checked.proof.records()] == [
        record.payload for record in log.stream("both")
    ]
    page = io.BytesIO()
    write_page(log, "both", page)
    with zipfile.ZipFile(tmp_path / "x.zip") as shown:
        assert shown.read("transcript.html") == page.getvalue()


def test_a_replay_answers_a_retry_that_was_hidden_since(log: transit.Log) -> None:
    def program(task: trace.Task) -> list[str]:
        ask(task, "base")
        first, second = task.retry(), task.retry()
        for retry in (first, second):
            with retry:
                ask(retry, "base", "more")
        return [first.name, second.name, trace.merge(log, [first, second], policy="append").name]

    with trace.task(log, "t") as task:
        wanted = program(task)
    for name in wanted:
        hidden(log, name)
    with trace.replay(log, "t") as replay:
        assert program(replay) == wanted


def test_a_branch_of_a_merge_that_is_not_shown_is_refused_and_not_read_wrongly(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token may be for the branch alone."""
    begun(log)
    trace.merge(log, ["t", "again"], policy="append", name="both")
    wanted = requests(log, "both")
    log.stream("both").branch("of both", metadata=dict(log.stream("both").metadata))
    assert requests(log, "of both") == wanted
    find = transit.Log.stream

    def allowed(self: transit.Log, name: str | None = None, *, uid: str | None = None) -> Any:
        found = find(self, name, uid=uid)
        if found.name != "of both":
            raise transit.StorePermissionError(found.name)
        return found

    monkeypatch.setattr(transit.Log, "stream", allowed)
    with pytest.raises(transit.StorePermissionError):
        requests(log, "of both")
