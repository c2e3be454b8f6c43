"""Histories for hypothesis: the engine passes them, and a surface that is wrong does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

import transit
from transit.testing.model import ModelLog
from transit.testing.strategies import History, compare, histories


@contextmanager
def new_log() -> Iterator[transit.Log]:
    folder = tempfile.mkdtemp(prefix="transit-")
    try:
        with transit.open(Path(folder) / "store", durability="os") as log:
            yield log
    finally:
        shutil.rmtree(folder)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories())
def test_a_log_answers_every_history_as_the_model_does(history: History) -> None:
    with new_log() as log:
        model = ModelLog()
        for step in history:
            step.apply(log, model)
        compare(log, model)


@pytest.mark.parametrize("lost", ["record", "header", "stream"])
def test_a_log_that_lost_something_differs_from_the_model(lost: str) -> None:
    with new_log() as log:
        model = ModelLog()
        model.create("a")
        model.append("a", b"one", 1, {"kind": "x"})
        if lost != "stream":
            stream = log.create("a")
            head = None if lost == "header" else {"kind": "x"}
            if lost != "record":
                stream.append(b"one", timestamp=1, headers=head)
        with pytest.raises(AssertionError):
            compare(log, model)


@pytest.mark.parametrize(
    ("module", "missing"), [("store_contract", "pytest"), ("strategies", "hypothesis")]
)
def test_a_missing_package_is_named_with_what_to_install(module: str, missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; import transit.testing.{module}"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(
        f"ModuleNotFoundError: {missing} is not installed: pip install 'transit[testing]'"
    )


def test_doors_and_model_need_nothing_beside_transit() -> None:
    script = (
        "import sys; sys.modules['pytest'] = sys.modules['hypothesis'] = None; "
        "import transit.testing.doors, transit.testing.model"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
