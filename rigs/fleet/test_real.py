"""Fifty stores of real files, published to a real server: every engine says what the files say."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

import transit
from rigs.faults.proxy import FaultProxy
from rigs.fleet import sources
from rigs.fleet.filling import SETTINGS, STORES, Filled, digests, fill, put
from rigs.fleet.saying import COLUMNS, DIGESTS, Answers, answers, said
from rigs.seeds import run_seed
from tests.conftest import Remote
from tests.fleet.test_engines import ENGINES
from transit import fleet
from transit.fleet import reading

pytest.importorskip("pyarrow")
# It needs pyarrow.
from rigs.fleet.asking import ASKED

# Engines warn of much that is theirs. scripts/engines.sh runs it in a process of its own.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
PARTS = 60
VICTIMS = 3
KILLS = 6


class Asking(NamedTuple):
    """An engine that has started."""

    name: str
    frame: Any

    def __call__(self, parts: Any, how: dict[str, Any], say: Any = said) -> Answers:
        return ASKED[self.name](self.frame, list(parts), how, say)


@pytest.fixture(scope="module")
def filled(bucket: Remote, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    files = sources.files()
    if not files:
        pytest.skip(f"no real files in {sources.SHARED}")
    url, options = bucket
    return fill(f"{url}/{uuid4().hex}", options, tmp_path_factory.mktemp("stores"), files)


@pytest.fixture(scope="module")
def agents(filled: Filled) -> Iterator[fleet.Fleet]:
    with fleet.open(
        filled.url, storage_options=filled.storage_options, settings=SETTINGS
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def expected(filled: Filled, agents: fleet.Fleet) -> Answers:
    return {**sources.answers(filled.dealt), DIGESTS: (digests(agents), "")}


@pytest.fixture(scope="module")
def how(filled: Filled) -> dict[str, Any]:
    return {"storage_options": filled.storage_options, "settings": SETTINGS}


@pytest.fixture(scope="module", params=ASKED)
def asking(request: pytest.FixtureRequest) -> Iterator[Asking]:
    with ExitStack() as stack:
        name = request.param
        frame = stack.enter_context(ENGINES[name]()).frame if name in ENGINES else None
        yield Asking(name, frame)


def test_the_files_say_which_tool_fails_most_and_all_the_rest(expected: Answers) -> None:
    failed = {key[1]: value for key, (value, _) in expected.items() if key[0] == "failures"}
    assert max(failed, key=failed.__getitem__) == "bash"
    assert len(failed) > 1
    errors = {text for key, (_, text) in expected.items() if key[0] == "first error"}
    assert {"bash: exit code 1", "bash: exit code 3"} < errors
    questions = {key[0] for key in expected}
    assert questions >= {"tokens in", "tokens out", "calls", "messages"}
    channels = {key[1] for key in expected if key[0] == "messages"}
    assert len(channels) == 10


def test_each_engine_says_what_the_files_say(
    asking: Asking, agents: fleet.Fleet, expected: Answers, how: dict[str, Any]
) -> None:
    parts = list(agents.plan(n=PARTS))
    assert len({part.store for part in parts}) == STORES
    seed = run_seed()
    print(f"TRANSIT_SEED={seed}")
    random.Random(seed).shuffle(parts)
    assert asking(parts, how) == expected


def test_a_worker_that_is_killed_changes_no_sum(
    asking: Asking, agents: fleet.Fleet, expected: Answers, how: dict[str, Any], tmp_path: Path
) -> None:
    if asking.name not in ("dask-cluster", "ray", "spark"):
        pytest.skip("its work is done in this process")
    seed = run_seed()
    print(f"TRANSIT_SEED={seed}")
    stores = sorted(member.store for member in agents.members())
    victims = frozenset(random.Random(seed).sample(stores, VICTIMS))
    say = partial(said, kills=str(tmp_path), victims=victims)
    assert asking(agents.plan(n=PARTS), how, say) == expected
    assert {each.name for each in tmp_path.iterdir()} == victims


def test_a_process_that_is_killed_goes_on_and_comes_to_the_same_sums(
    agents: fleet.Fleet, expected: Answers, how: dict[str, Any], tmp_path: Path
) -> None:
    parts = list(agents.plan(n=PARTS))
    (tmp_path / "job").write_bytes(pickle.dumps((parts, how)))
    seed = run_seed()
    print(f"TRANSIT_SEED={seed}")
    chance = random.Random(seed)
    command = [sys.executable, "-m", "rigs.fleet.again", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = 0
    for number in range(KILLS + 1):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
            assert child.stdout is not None
            for _ in range(chance.randrange(1, len(parts) // KILLS)):
                child.stdout.readline()
            if number < KILLS:
                child.kill()
                child.stdout.read()
                killed += child.wait() == -signal.SIGKILL
            else:
                child.stdout.read()
    assert killed == KILLS
    rows = [pickle.loads((tmp_path / f"{number}").read_bytes()) for number in range(len(parts))]
    assert answers(row for part in rows for row in part) == expected


# Requests


class Counted(NamedTuple):
    """Requests, and how many of them are of the dearer kind: PUT or LIST."""

    all: int
    dear: int


@pytest.fixture(scope="module")
def counted(filled: Filled) -> Iterator[tuple[fleet.Fleet, dict[str, Any], Callable[..., Any]]]:
    """The fleet through a proxy; how its stores are opened; what counts the requests of a call."""
    port = int(str(filled.storage_options["endpoint_url"]).rpartition(":")[2])
    with FaultProxy(port) as proxy:
        options = {**filled.storage_options, "endpoint_url": proxy.url}
        how = {"storage_options": options, "settings": SETTINGS}

        def count(call: Callable[[], Any]) -> tuple[Counted, Any]:
            proxy.clear()
            found = call()
            dear = sum(
                each.method == "PUT" or "list-type=" in each.path or "?prefix=" in each.path
                for each in proxy.requests
            )
            return Counted(len(proxy.requests), dear), found

        with fleet.open(filled.url, **how) as agents:
            yield agents, how, count


def test_requests_of_each_step(counted: Any, expected: Answers, tmp_path: Path) -> None:
    agents, how, count = counted
    made: dict[str, Counted] = {}
    file = sources.files()[0]
    alone = f"{agents.url}-alone"
    made["attach"], log = count(lambda: transit.open(tmp_path / "a", remote=alone, **how))
    with log:
        put(log, file)
        made["publish a run"], _ = count(log.publish)
        made["publish, nothing new"], _ = count(log.publish)
    made["open a bucket"], log = count(lambda: transit.open(alone, mode="read", **how))
    log.close()

    made["snapshot, the first"], snapshot = count(agents.snapshot)
    made["snapshot, nothing new"], _ = count(agents.snapshot)
    made["news, nothing new"], news = count(lambda: agents.news(snapshot))
    made["plan, of the stores"], plan = count(lambda: agents.plan(n=PARTS))
    made["plan, of a snapshot"], same = count(
        lambda: agents.plan(n=PARTS, at=agents.newest_snapshot())
    )
    made["read all, one process"], rows = count(lambda: [one(part, how) for part in plan])
    made["read all, a process a part"], _ = count(lambda: [apart(part, how) for part in plan])
    target = str(tmp_path / "tables")
    made["export, the first"], _ = count(lambda: agents.export(target))
    made["export, nothing new"], _ = count(lambda: agents.export(target))
    print(f"{len(plan)} parts of {STORES} stores")
    for name, found in made.items():
        print(f"{name}: {found.all} requests, {found.dear} of them PUT or LIST")

    assert same.parts == plan.parts
    assert not news
    assert answers(row for part in rows for row in part) == expected
    # The newest snapshot is found by a listing.
    assert made["plan, of a snapshot"].all <= 3
    assert made["news, nothing new"].all <= STORES + 3
    with agents.record(tmp_path / "b", name="one more", durability="os") as log:
        put(log, file)
        log.publish()
    assert agents.news(snapshot) == {log.store_id}


def one(part: fleet.Part, how: dict[str, Any]) -> list[Any]:
    return [tuple(row.values()) for row in said(fleet.read(part, COLUMNS, **how)).to_pylist()]


def apart(part: fleet.Part, how: dict[str, Any]) -> list[Any]:
    """As a process reads it that has no store open yet."""
    reading._stores.close()
    return one(part, how)
