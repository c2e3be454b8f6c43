"""Every system under comparison keeps what it was given, or says why it cannot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from benchmarks.systems import SYSTEMS, load
from benchmarks.systems.system import Level, NotSupported, System

ROOT = Path(__file__).resolve().parents[2]
LEVELS: tuple[Level, ...] = ("buffered", "durable")
T = TypeVar("T")


def adapter(name: str) -> System:
    try:
        return load(name)()
    except ImportError as error:
        pytest.skip(f"{name}: {error}")


def unless_lacking(work: Callable[[], T]) -> T:
    try:
        return work()
    except NotSupported as reason:
        pytest.skip(str(reason))


def strongest(system: System) -> Level:
    return "durable" if "durable" in system.durability else "buffered"


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    made = adapter(request.param)
    made.open(str(tmp_path), strongest(made))
    yield made
    made.close()


def texts(count: int, what: str = "record") -> list[bytes]:
    return [f"{what} {number}".encode() for number in range(count)]


def read(system: System, stream: str) -> list[bytes]:
    return [system.payload_of(row) for row in system.replay(stream)]


def test_what_was_appended_is_replayed_in_order(system: System) -> None:
    system.append_many("main", texts(3))
    system.append_one("main", b"one more")
    system.append_one("a/nother", b"alone")
    assert read(system, "main") == [*texts(3), b"one more"]
    assert read(system, "a/nother") == [b"alone"]
    system.settle()
    assert read(system, "main") == [*texts(3), b"one more"]


@pytest.mark.slow
def test_more_records_than_any_page_come_back(system: System) -> None:
    given = texts(20_000)
    for start in range(0, len(given), 5_000):
        system.append_many("main", given[start : start + 5_000])
    assert read(system, "main") == given


def test_columns_hold_the_payloads_back_to_back(system: System) -> None:
    given = texts(2_500)
    system.append_many("main", given[:1_000])
    system.append_many("main", given[1_000:])
    found = unless_lacking(lambda: list(system.batches("main")))
    assert sum(columns.records for columns in found) == len(given)
    assert b"".join(bytes(columns.data) for columns in found) == b"".join(given)


def test_record_is_found_at_its_offset(system: System) -> None:
    system.append_many("main", texts(100))
    system.append_one("main", b"the last")
    assert unless_lacking(lambda: system.get("main", 0)) == b"record 0"
    assert [system.get("main", at) for at in (57, 99, 100)] == [*texts(100)[57::42], b"the last"]


@pytest.mark.parametrize("at", [1, 3])
def test_fork_has_what_came_before_and_goes_its_own_way(system: System, at: int) -> None:
    for payload in texts(4):
        system.append_one("main", payload)
    unless_lacking(lambda: system.fork("main", "main/retry", at))
    system.append_one("main/retry", b"again")
    system.append_one("main", b"onwards")
    system.append_one("main/retry", b"and again")
    assert read(system, "main/retry") == [*texts(at + 1), b"again", b"and again"]
    assert read(system, "main") == [*texts(4), b"onwards"]
    system.fork("main/retry", "main/retry/retry", at + 1)
    assert read(system, "main/retry/retry") == [*texts(at + 1), b"again"]


@pytest.mark.slow
def test_threads_that_append_at_once_lose_nothing(system: System) -> None:
    from concurrent.futures import ThreadPoolExecutor

    system.append_one("main", b"first")
    given = texts(64)

    def append(share: list[bytes]) -> None:
        for payload in share:
            system.append_one("main", payload)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, [given[start::8] for start in range(8)]))
    assert sorted(read(system, "main")) == sorted([b"first", *given])


def test_sync_is_done_or_says_why_not(system: System) -> None:
    system.append_one("main", b"record")
    unless_lacking(system.sync)


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_another_process_sees_what_is_appended(name: str, tmp_path: Path) -> None:
    system = adapter(name)
    level = strongest(system)
    system.open(str(tmp_path), level)
    reader = None
    try:
        system.append_many("main", texts(2))
        if "tail" in system.lacks:
            with pytest.raises(NotSupported, match=r".{10}"):
                next(type(system)().tail(str(tmp_path), "main"))
            return
        program = (
            "import sys; from itertools import islice; from benchmarks.systems import load\n"
            "for payload in islice(load(sys.argv[1])().tail(sys.argv[2], 'main'), 5):\n"
            "    print(payload.decode(), flush=True)\n"
            "import os; os._exit(0)"
        )
        reader = subprocess.Popen(
            [sys.executable, "-c", program, name, str(tmp_path)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert reader.stdout is not None
        assert [reader.stdout.readline() for _ in range(2)] == ["record 0\n", "record 1\n"]
        for payload in texts(3, "later"):
            system.append_one("main", payload)
        assert reader.stdout.read() == "later 0\nlater 1\nlater 2\n"
        assert reader.wait(60) == 0
    finally:
        if reader is not None:
            reader.kill()
            reader.communicate()
        system.close()


@pytest.mark.parametrize("name", SYSTEMS)
def test_level_it_does_not_have_is_refused_with_a_reason(name: str, tmp_path: Path) -> None:
    system = adapter(name)
    for level in LEVELS:
        if level not in system.durability:
            with pytest.raises(NotSupported, match=r".{10}"):
                system.open(str(tmp_path), level)


@pytest.mark.parametrize("name", SYSTEMS)
def test_system_says_what_it_is(name: str) -> None:
    system = adapter(name)
    assert system.name == name
    assert system.version[0].isdigit()
    assert system.title
    assert system.durability
