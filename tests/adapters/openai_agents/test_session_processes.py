"""TransitSession in folders and processes: opened together, forked, killed, out of room."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import transit
from tests.adapters.conftest import rest_of

pytest.importorskip("agents")

from tests.adapters.openai_agents.items import many, run
from transit.adapters.openai_agents import TransitSession


def test_a_folder_is_opened_once_and_closed_by_the_last(path: Path) -> None:
    async def work() -> None:
        first, second = TransitSession("a", path), TransitSession("b", str(path))
        assert first._log() is second._log()
        await first.add_items(many(0))
        branch = await first.branch_from_turn(None, "c")
        first.close()
        first.close()
        await second.add_items(many(1))
        second.close()
        assert await branch.get_items() == many(0)
        log = branch._log()
        branch.close()
        assert log.closed
        with TransitSession.open("b", path, durability="os") as third:
            assert await third.get_items() == many(1)
            fourth = await third.branch_from_turn(None, "d")
            fourth.close()
            await third.add_items(many(3))

    run(work())


def test_a_child_made_by_fork_goes_on(path: Path) -> None:
    session = TransitSession("a", path)
    run(session.add_items(many(0)))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert run(session.get_items()) == many(0)
            run(session.add_items(many(1)))
            session.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    run(session.add_items(many(2)))
    assert run(session.get_items()) == many(0, 1, 2)
    session.close()


SEVERAL = """
import asyncio, sys
from transit.adapters.openai_agents import TransitSession
path, who = sys.argv[1:]

async def work():
    session = TransitSession("a", path, durability="os")
    for n in range(30):
        await session.add_items([{"who": who, "n": n, "half": 0}, {"who": who, "n": n, "half": 1}])
        if n % 5 == 4:
            item = await session.pop_item()
            await session.add_items([item])
    session.close()

asyncio.run(work())
"""


def test_processes_share_a_session_and_tear_nothing_apart(path: Path, start: Any) -> None:
    children = [start(SEVERAL, path, who) for who in "xyz"]
    for child in children:
        _, error = child.communicate()
        assert child.returncode == 0, error
    with transit.open(path) as log:
        found: Any = run(TransitSession("a", log).get_items())
        assert sorted((i["who"], i["n"], i["half"]) for i in found) == [
            (who, n, half) for who in "xyz" for n in range(30) for half in (0, 1)
        ]
        assert log.verify().ok
        assert len(list(log.streams())) > 1


KILLED = """
import asyncio, os, sys
from transit.adapters.openai_agents import TransitSession

async def work():
    session = TransitSession("a", sys.argv[1], durability="os")
    for n in range(10_000):
        await session.add_items([{"n": n, "half": 0}, {"n": n, "half": 1}])
        if n % 3 == 2:
            await session.pop_item()
            await session.pop_item()
        print(n, flush=True)

asyncio.run(work())
"""


def test_what_was_added_survives_sigkill(path: Path, start: Any) -> None:
    child = start(KILLED, path)
    told = 0
    for line in child.stdout:
        told = int(line)
        if told >= 40:
            break
    child.send_signal(signal.SIGKILL)
    told = max([told, *rest_of(child)])
    with transit.open(path) as log:
        found: Any = run(TransitSession("a", log).get_items())
    numbers = [item["n"] for item in found if item["half"] == 0]
    wanted = [n for n in range(told + 1) if n % 3 != 2]
    assert numbers[: len(wanted)] == wanted
    # One turn more may have been under way.
    assert len(found) - 2 * len(wanted) in (0, 1, 2)


FULL = """
import asyncio, json, resource, signal, sys
from transit.adapters.openai_agents import TransitSession

async def work():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    session = TransitSession("a", sys.argv[1], durability="os")
    await session.add_items([{"n": 0}])
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    told, n = [0], 1
    while n < 1000:
        try:
            await session.add_items([{"n": n, "text": "x" * 5000}])
            told.append(n)
        except Exception as error:
            print(type(error).__name__, file=sys.stderr)
            break
        n += 1
    assert [i["n"] for i in await session.get_items()] == told
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    try:
        await session.add_items([{"n": -1}])
        told.append(-1)
    except Exception as error:
        print(type(error).__name__, file=sys.stderr)
    print(json.dumps(told))

asyncio.run(work())
"""


def test_where_there_is_no_room_the_caller_is_told(path: Path, start: Any) -> None:
    child = start(FULL, path)
    said, error = child.communicate()
    assert child.returncode == 0, error
    told = json.loads(said)
    assert 10 < len(told) < 900
    with transit.open(path) as log:
        found: Any = run(TransitSession("a", log).get_items())
        assert [each["n"] for each in found] == told
        assert log.verify().ok


FIRST = """
import asyncio, sys
from transit.adapters.openai_agents import TransitSession

async def work():
    session = TransitSession(sys.argv[2], sys.argv[1])
    sys.stdin.readline()
    await session.add_items([{"n": 1}])
    session.close()

asyncio.run(work())
"""


def test_processes_that_are_the_first_ones_do_not_refuse_each_other(path: Path, start: Any) -> None:
    children = [start(FIRST, path, n // 2) for n in range(6)]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, error = child.communicate()
        assert child.returncode == 0, error
    with transit.open(path) as log:
        for n in range(3):
            assert run(TransitSession(str(n), log).get_items()) == [{"n": 1}, {"n": 1}]
