"""The environment of the witness that is not ours: made once in a run of tests."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigs.outside.foreign import ForeignWitness, LackingError, make_environment

Start = Callable[..., ForeignWitness]


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of its commands; tests are skipped where it cannot be had."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "foreign"
    folder.mkdir(exist_ok=True)
    made, lacking = folder / "made", folder / "lacking"
    with (folder / "lock").open("w") as file:
        # Workers of one test run come here at once, and only one makes it.
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            if not made.exists() and not lacking.exists():
                made.write_text(str(make_environment(folder)))
        except LackingError as error:
            lacking.write_text(str(error))
    if lacking.exists():
        pytest.skip(lacking.read_text())
    return Path(made.read_text())


@pytest.fixture
def start(commands: Path, tmp_path: Path) -> Iterator[Start]:
    """A function that starts a witness of the logs with these keys; it is killed at the end."""
    started: list[ForeignWitness] = []

    def start_witness(*logs: str) -> ForeignWitness:
        witness = ForeignWitness(commands, tmp_path / f"foreign-{len(started)}", logs)
        started.append(witness)
        witness.start()
        return witness

    yield start_witness
    for each in started:
        each.kill()
