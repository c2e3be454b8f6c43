"""Folding again elsewhere finds what a view keeps that its records do not come to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from rigs.views.impure import IMPURE, Row, Word, pure, rows
from tests.conftest import SOURCE
from transit import views
from transit.views.histories import last_digest

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]


def fill(stream: transit.Stream, count: int, shows_at: int = -1) -> None:
    """Append events; what is wrong with a reducer shows at one of them."""
    for number in range(count):
        event = {"words": WORDS, "shows": number == shows_at}
        stream.append(json.dumps(event).encode())


def test_what_is_deterministic_comes_out_again(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, 60)
    view = views.open(log, pure, savepoint_records=10)
    assert view.verify(stream) == views.Verified(0, 0, True, ())
    view.of(stream)
    found = view.verify(stream)
    assert (found.intervals, found.checked, found.isolated, found.ok) == (6, 6, True, True)
    some = view.verify(stream, 0.4, seed=1)
    assert (some.intervals, some.checked) == (6, 2)


def test_a_branch_is_verified_from_its_fork(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, 33)
    branch = stream.branch("b", at=24)
    fill(branch, 20)
    view = views.open(log, pure, savepoint_records=10)
    view.save(branch)
    assert view.savepoints("b") == (35, 45)
    assert view.savepoints("s") == (10, 20)
    found = view.verify(branch)
    assert (found.intervals, found.ok) == (2, True)


@pytest.mark.parametrize("reducer", IMPURE, ids=lambda each: each.spec.name)
def test_what_depends_on_more_than_records_is_named_with_its_offset(
    reducer: views.Reducer, log: transit.Log
) -> None:
    stream = log.create("s")
    fill(stream, 60, shows_at=33)
    view = views.open(log, reducer, savepoint_records=10)
    view.of(stream)
    found = view.verify(stream)
    assert found.isolated
    first = found.divergences[0]
    assert first.stream == "s"
    assert first.expected == view.of(stream, first.stop).root != first.found
    # Where what was counted before shows depends on what was folded before.
    assert reducer.spec.name in ("by_counter", "by_default") or first.first == 30
    if reducer.spec.name in ("by_hash", "by_clock", "by_chance"):
        # Two processes differ from one another too.
        assert first.offset == 33


def test_a_reducer_that_raises_the_second_time_is_named(log: transit.Log, path: Path) -> None:
    stream = log.create("s")
    fill(stream, 20, shows_at=13)
    calls = []

    @views.reducer(rows, reads=Word, code="x")
    def raises_later(rows: Any, event: Word, at: views.At) -> None:
        calls.append(event.shows)
        if event.shows and len(calls) > 20:
            raise ValueError("not the first time")
        rows.put(Row(at.offset))

    view = views.open(log, raises_later, savepoint_records=10)
    view.of(stream)
    found = view.verify(stream)
    assert (found.isolated, found.ok) == (False, False)
    assert [(each.first, each.offset, each.found) for each in found.divergences] == [(10, 13, "")]
    assert "not the first time" in found.divergences[0].reason


def test_a_savepoint_that_lies_is_found(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, 30)
    view = views.open(log, pure, savepoint_records=10)
    view.of(stream)
    points = log.layer("views").stream(f"{view.id}/roots/{stream.uid}")
    fill(stream, 1)
    lie = {**msgspec.json.decode(points[2].payload), "next": 31}
    lie["last"] = last_digest(stream, 31)
    points.append(msgspec.json.encode(lie))
    found = views.open(log, pure, savepoint_records=10).verify(stream)
    assert [(each.first, each.stop, each.offset) for each in found.divergences] == [(30, 31, None)]


SCRIPT = """
import sys
import transit
from transit import views
from transit.views.histories import last_digest
{imports}
with transit.open(sys.argv[1]) as log:
    view = views.open(log, {reducer}, savepoint_records=10)
    view.of("s")
    found = view.verify("s")
    print(found.isolated, found.ok)
"""
OWN = """
import msgspec
class Row(msgspec.Struct, frozen=True):
    key: int
    text: str = ""
class Word(msgspec.Struct):
    words: list[str]
rows = views.table("rows", Row, key="key")
@views.reducer(rows, reads=Word{code})
def mine(rows, event, at):
    rows.put(Row(at.offset % 7, event.words[0]))
"""


def run(path: str, *command: str, script: str = "", seed: str = "random") -> str:
    """What Python prints of a script."""
    done = subprocess.run(
        [sys.executable, *command, path],
        input=script,
        env={**os.environ, "PYTHONPATH": SOURCE, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_a_reducer_of_a_script_is_folded_again_in_the_same_process(
    log: transit.Log, tmp_path: Path
) -> None:
    fill(log.create("s"), 25)
    log.close()
    # Without a guard around what it does: nothing of it may be run a second time.
    own = tmp_path / "own.py"
    own.write_text(SCRIPT.format(imports=OWN.format(code=""), reducer="mine"))
    assert run(log.path, str(own)) == "False True"
    typed = SCRIPT.format(imports=OWN.format(code=", code='1'"), reducer="mine")
    assert run(log.path, "-", script=typed) == "False True"
    imported = tmp_path / "imported.py"
    line = "from rigs.views.impure import pure"
    imported.write_text(SCRIPT.format(imports=line, reducer="pure"))
    assert run(log.path, str(imported)) == "True True"


@pytest.mark.slow
def test_a_seed_for_hashes_that_all_processes_have_hides_nothing(
    log: transit.Log, tmp_path: Path
) -> None:
    fill(log.create("s"), 20, shows_at=5)
    log.close()
    script = tmp_path / "script.py"
    line = "from rigs.views.impure import by_hash"
    script.write_text(SCRIPT.format(imports=line, reducer="by_hash"))
    assert run(log.path, str(script), seed="0") == "True False"


@pytest.mark.parametrize("sample", [0, -1, 1.1, float("nan"), "1"])
def test_a_share_that_is_none_is_refused(sample: Any, log: transit.Log) -> None:
    log.create("s")
    with pytest.raises(transit.InvalidInputError):
        views.open(log, pure).verify("s", sample)
