"""Hostile files, exports, settings and traces cost little, and end as their cases say.

Hostile buckets are in `rigs/hostile/test_hostile.py`. Each case is tried in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rigs.apart import Apart, Spent
from rigs.fuzz import hostile_files, hostile_texts

# Of `rigs.apart`, which says what a lap is.
LAPS_MAX = 500.0
MEMORY_MAX = 256 * 10**6


@pytest.fixture(scope="module")
def files_apart() -> Iterator[Apart]:
    with Apart("rigs.fuzz.hostile_files", LAPS_MAX) as process:
        yield process


@pytest.fixture(scope="module")
def texts_apart() -> Iterator[Apart]:
    with Apart("rigs.fuzz.hostile_texts", LAPS_MAX) as process:
        yield process


def cheap(spent: Spent) -> list[str]:
    assert spent.problem == ""
    assert spent.laps < LAPS_MAX
    assert spent.memory_bytes < MEMORY_MAX
    assert isinstance(spent.value, list)
    return spent.value


@pytest.mark.parametrize("name", hostile_files.CASES)
def test_a_hostile_folder_costs_little_and_ends_as_it_should(files_apart: Apart, name: str) -> None:
    read, _ = cheap(files_apart.call("opened", name))
    assert read in hostile_files.CASES[name][0]


@pytest.mark.parametrize("terabytes", ["1", "6"])
def test_a_wal_of_terabytes_that_take_no_space_is_told_at_once(
    files_apart: Apart, terabytes: str
) -> None:
    assert set(cheap(files_apart.call("sparse", terabytes))) <= {"CorruptError", "ok"}


@pytest.mark.parametrize("name", hostile_texts.CASES)
def test_a_hostile_text_costs_little_and_ends_as_it_should(texts_apart: Apart, name: str) -> None:
    (how,) = cheap(texts_apart.call("run", name))
    assert how in hostile_texts.CASES[name][0]


def test_a_process_apart_counts_what_is_spent() -> None:
    with Apart("rigs.fuzz.hostile_spending", 50.0) as process:
        large = process.call("take_memory", "100")
        assert large.memory_bytes > 90 * 10**6
        assert large.value == 100
        assert "signal" in process.call("spin").problem
        assert "ZeroDivisionError" in process.call("fail").problem
        assert process.call("take_memory", "1").problem == ""
