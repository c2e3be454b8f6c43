"""Several processes with one thread, processes that are killed, and children made by fork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from transit.adapters.langgraph import TransitSaver

from .making import config, put, values_of

ROOT = Path(__file__).resolve().parents[3]
WAIT_S = 300

# Each child puts checkpoints on one thread, after its own one before, and says each that is there.
WRITER = """
import sys
from tests.adapters.langgraph.making import config, put
from transit.adapters.langgraph import TransitSaver

folder, name, count, durability = sys.argv[1:]
with TransitSaver.open(folder, durability=durability) as saver:
    where, state, number = config("t"), [], 0
    while number < int(count):
        state = [*state, {"from": name, "n": number}]
        where = put(saver, where, {"seen": state})
        saver.put_writes(where, [("seen", [number])], f"task {name}")
        print(where["configurable"]["checkpoint_id"], flush=True)
        number += 1
"""
# Each adds to what it finds newest, until it has added so often.
TURNS = """
import sys
from tests.adapters.langgraph.making import config, put
from transit.adapters.langgraph import TransitSaver

folder, name, count = sys.argv[1:]
with TransitSaver.open(folder, durability="os") as saver:
    for number in range(int(count)):
        found = saver.get_tuple(config("t"))
        where = config("t") if found is None else found.config
        state = [] if found is None else found.checkpoint["channel_values"]["seen"]
        put(saver, where, {"seen": [*state, f"{name}{number}"]})
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """A child that runs a program."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[str]]]:
    """Children that are killed and waited for in the end, whatever happens."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for child in started:
        child.kill()
        child.communicate()


def test_four_processes_record_one_thread(
    tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    store = tmp_path / "store"
    children += [start(WRITER, store, name, 10, "os") for name in "abcd"]
    ended = [child.communicate(timeout=WAIT_S) for child in children]
    assert [child.returncode for child in children] == [0] * 4, ended
    with TransitSaver.open(store) as saver:
        assert len(list(saver.list(config("t")))) == 40
        for name, (printed, _) in zip("abcd", ended, strict=True):
            for number, checkpoint in enumerate(printed.split()):
                found = saver.get_tuple(config("t", checkpoint=checkpoint))
                expected = [{"from": name, "n": n} for n in range(number + 1)]
                assert found.checkpoint["channel_values"] == {"seen": expected}
                assert found.pending_writes == [(f"task {name}", "seen", [number])]
        # Who does not go on from the newest goes on in a branch.
        streams = list(saver.log.streams("langgraph/"))
        assert all(len(stream) > stream.own_start for stream in streams)
        assert saver.log.verify().ok


def test_four_processes_in_turn_lose_nothing(
    tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    store = tmp_path / "store"
    children += [start(TURNS, store, name, 10) for name in "abcd"]
    ended = [child.communicate(timeout=WAIT_S) for child in children]
    assert [child.returncode for child in children] == [0] * 4, ended
    with TransitSaver.open(store) as saver:
        found = list(saver.list(config("t")))
        assert len(found) == 40
        by_id = {each.checkpoint["id"]: each for each in found}
        for each in found:
            seen = each.checkpoint["channel_values"]["seen"]
            parent = each.parent_config
            if parent is not None:
                before = by_id[parent["configurable"]["checkpoint_id"]]
                assert seen[:-1] == before.checkpoint["channel_values"]["seen"]
        said = {each.checkpoint["channel_values"]["seen"][-1] for each in found}
        assert said == {f"{name}{n}" for name in "abcd" for n in range(10)}


def test_what_was_put_before_a_kill_is_there(
    tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    store = tmp_path / "store"
    child = start(WRITER, store, "a", 10**6, "os")
    children.append(child)
    assert child.stdout is not None
    put_ = [child.stdout.readline().strip() for _ in range(25)]
    child.kill()
    child.wait(timeout=WAIT_S)
    with TransitSaver.open(store) as saver:
        for number, checkpoint in enumerate(put_):
            found = saver.get_tuple(config("t", checkpoint=checkpoint))
            assert len(found.checkpoint["channel_values"]["seen"]) == number + 1
            assert found.pending_writes == [("task a", "seen", [number])]
        # What it said last may not have been read.
        assert len(list(saver.list(config("t")))) >= len(put_) == 25
        put(saver, config("t", checkpoint=put_[-1]), {"seen": ["on"]})
        assert values_of(saver, config("t")) == {"seen": ["on"]}


def test_a_child_made_by_fork_goes_on(tmp_path: Path) -> None:
    with TransitSaver.open(tmp_path / "store") as saver:
        where = put(saver, config("t"), {"a": [1]})
        held, enough = threading.Event(), threading.Event()

        def hold() -> None:
            with saver._threads._lock, saver._threads._threads["langgraph/t"].lock:
                held.set()
                enough.wait()

        # What another thread holds at this moment is never let go in the child.
        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(WAIT_S)
                put(saver, where, {"a": [1, 2]})
                saver.close()
                code = 0
            finally:
                os._exit(code)
        enough.set()
        holder.join()
        assert os.waitpid(child, 0)[1] == 0
        assert values_of(saver, config("t")) == {"a": [1, 2]}


def test_a_thread_deleted_by_another_process_is_gone_here(tmp_path: Path) -> None:
    with TransitSaver.open(tmp_path / "store") as saver:
        where = put(saver, config("t"), {"a": [1]})
        with TransitSaver.open(tmp_path / "store") as other:
            other.delete_thread("t")
            put(other, config("t"), {"a": ["new"]})
        assert saver.get_tuple(where) is None
        put(saver, config("t"), {"a": ["newer"]})
        assert values_of(saver, config("t")) == {"a": ["newer"]}
        assert len(list(saver.list(config("t")))) == 2
