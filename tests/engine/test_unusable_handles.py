"""Handles that are closed, or came over a fork, answer every call with their own error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import (
    ClosedError,
)

from .refusals import SETTINGS, Run, Store

# Handles that cannot be used


def every_call(store: Store, batch: Any) -> dict[str, Callable[[], object]]:
    """Each public call that needs the store open, by name."""
    log, s, child, cursor = store.log, store.s, store.child, store.cursor
    lineage = log.lineage

    def whole_batch() -> None:
        with log.batch() as staged:
            staged.append(s, b"x")

    async def follow() -> list[transit.Record]:
        return [record async for record in s.follow(start=0, timeout=0.01)]

    return {
        "create": lambda: log.create("new"),
        "stream": lambda: log.stream("s"),
        "contains": lambda: "s" in log,
        "streams": lambda: list(log.streams()),
        "batch": whole_batch,
        "batch.append": lambda: batch.append(s, b"x"),
        "batch.merge": lambda: batch.merge("new", [s, child], policy="append"),
        "batch.advance": lambda: batch.advance(cursor, 2),
        "merge": lambda: log.merge("new", [s, child], policy="append"),
        "plan": lambda: log.plan([s, child], policy="append"),
        "sync": log.sync,
        "seal": log.seal,
        "verify": log.verify,
        "status": log.status,
        "append": lambda: s.append(b"x"),
        "append_many": lambda: s.append_many([b"x"]),
        "submit": lambda: s.submit(b"x").result(timeout=60),
        "getitem": lambda: s[0],
        "read": lambda: list(s.read()),
        "iter": lambda: list(s),
        "batches": lambda: list(s.batches()),
        "tail": lambda: list(s.tail(start=0, timeout=0.01)),
        "follow": lambda: asyncio.run(follow()),
        "watch": lambda: log.watch(lambda changed: None, ["s"]).close(),
        "branch": lambda: s.branch("new"),
        "len": lambda: len(s),
        "next_offset": lambda: s.next_offset,
        "last_offset": lambda: s.last_offset,
        "cursor": lambda: s.cursor("c").position,
        "cursor.position": lambda: cursor.position,
        "cursor.state": lambda: cursor.state,
        "cursor.lag": lambda: cursor.lag,
        "cursor.status": cursor.status,
        "log.cursors": lambda: list(log.cursors()),
        "stream.cursors": lambda: list(s.cursors()),
        "advance": lambda: cursor.advance(2),
        "ancestors": lambda: lineage.ancestors(child),
        "children": lambda: lineage.children(s),
        "parents": lambda: lineage.parents(child),
        "merge_base": lambda: lineage.merge_base(s, child),
        "merge_bases": lambda: lineage.merge_bases(s, child),
        "is_ancestor": lambda: lineage.is_ancestor(s, child),
        "graph": lineage.graph,
    }


def outcome(call: Callable[[], object]) -> object:
    """What a call returns, or the class of what it raises."""
    try:
        return call()
    except Exception as error:
        return type(error)


def test_a_closed_store_answers_every_call_with_closed(path: Path) -> None:
    log = transit.open(path, settings=SETTINGS)
    s = log.create("s")
    s.append_many([b"0", b"1"])
    store = Store(log, s, s.branch("child"), log.create("empty"))
    batch = log.batch()
    batch.__enter__()
    calls = every_call(store, batch)
    log.close()
    outcomes = {name: outcome(call) for name, call in calls.items()}
    assert {name: found for name, found in outcomes.items() if found is not ClosedError} == {}


def test_a_store_closed_while_it_is_tailed_ends_the_tail(path: Path) -> None:
    log = transit.open(path)
    s = log.create("s")
    s.append(b"0")
    tail = s.tail(start=0, timeout=10)
    assert next(tail).payload == b"0"
    log.close()
    with pytest.raises(ClosedError):
        next(tail)


def test_a_closed_store_still_says_what_it_was(path: Path) -> None:
    log = transit.open(path)
    s = log.create("s", {"k": 1})
    log.close()
    assert log.closed
    assert Path(log.path) == path
    assert log.mode == "exclusive"
    assert s.name == "s"
    assert repr(log)
    assert repr(s)


FORK = """
import os, sys, transit
log = transit.open(sys.argv[1], durability="os")
s = log.create("s")
s.append(b"0")
child = s.branch("child")
cursor = s.cursor("c")
future = s.submit(b"1")
future.result(60)
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    calls = [
        lambda: log.create("new"), lambda: log.stream("s"), lambda: "s" in log,
        lambda: list(log.streams()), lambda: log.batch().__enter__().append(s, b"x"),
        lambda: log.merge("new", [s, child], policy="append"),
        lambda: log.plan([s, child], policy="append"),
        log.sync, log.seal, log.verify, log.status, lambda: s.append(b"x"),
        lambda: s.append_many([b"x"]), lambda: s.submit(b"x").result(60), lambda: s[0],
        lambda: list(s.read()), lambda: list(s.batches()),
        lambda: list(s.tail(start=0, timeout=0.01)), lambda: s.branch("new"),
        lambda: cursor.advance(1), lambda: log.lineage.is_ancestor(s, child),
    ]
    for number, call in enumerate(calls):
        try:
            call()
            outcome = "nothing"
        except BaseException as error:
            outcome = type(error).__name__
        os.write(write, f"{number} {outcome}\\n".encode())
    try:
        log.close()
    except transit.ForkedError:
        pass
    os.write(write, b"closed ForkedError\\n")
    os._exit(0)
os.close(write)
with open(read) as answers:
    print(answers.read(), end="")
assert os.waitpid(pid, 0)[1] == 0
assert s.append(b"2").offset == 2
try:
    transit.open(sys.argv[1], settings=transit.Settings(lock_timeout_s=0.2))
    print("the child's close let go of the lock")
except transit.LockedError:
    pass
assert [record.payload for record in s] == [b"0", b"1", b"2"]
log.close()
"""


def test_use_after_fork_is_refused_in_the_child_and_the_parent_goes_on(
    run: Run, path: Path
) -> None:
    answers = [line.split() for line in run(FORK, path).splitlines()]
    assert len(answers) == 22
    assert {answer for _, answer in answers} == {"ForkedError"}, answers
    with transit.open(path) as log:
        assert [record.payload for record in log.stream("s")] == [b"0", b"1", b"2"]
        assert [stream.name for stream in log.streams()] == ["s", "child"]


def test_a_child_may_open_the_store_after_fork_when_the_parent_closed_it(
    run: Run, path: Path
) -> None:
    script = """
import os, sys, transit
log = transit.open(sys.argv[1])
log.create("s").append(b"parent")
log.close()
pid = os.fork()
if pid == 0:
    with transit.open(sys.argv[1]) as own:
        own.stream("s").append(b"child")
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
with transit.open(sys.argv[1]) as log:
    print(*(record.payload.decode() for record in log.stream("s")))
"""
    assert run(script, path).split() == ["parent", "child"]
