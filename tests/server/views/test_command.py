"""`transit serve --views` as a shell runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import transit
from transit.cli.main import run
from transit.client.log import ConnectedLog

from .declared import fill

ROOT = Path(transit.__file__).parents[1]
WAIT_S = 120
BOARD = """
from tests.server.views.declared import tally, count
mine = [tally]
"""


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[str]:
    """A server begun in `folder`; its address. It must end in order."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRANSIT_")}
    environment["PYTHONPATH"] = str(ROOT)
    line = [sys.executable, "-m", "transit", "serve", "--bind", "127.0.0.1:0", "--quiet", *words]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=folder
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said, process.communicate()[1]
        yield json.loads(said)["url"]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, errors
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def names(url: str, path: str = "/v1/views") -> list[str]:
    with urllib.request.urlopen(url + path, timeout=WAIT_S) as answer:
        return [json.loads(line)["name"] for line in answer.read().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with transit.open(tmp_path / "store") as log:
        fill(log)
    (tmp_path / "board.py").write_text(BOARD)
    return tmp_path


def test_a_file_is_served_and_its_loops_are_run(folder: Path) -> None:
    with serving(folder, "--store", "store", "--views", "board.py") as url:
        assert names(url) == ["tally"]
        with transit.connect(url, timeout_s=WAIT_S) as log:
            assert isinstance(log, ConnectedLog)
            assert log.views.reconcilers.status("count").has_code
            assert "run-0" in log.views["tally"].of("runs/task").runs


def test_the_configuration_names_files_from_where_it_is(folder: Path) -> None:
    (folder / "transit.toml").write_text('store = "store"\nviews = ["board.py:mine"]\n')
    (folder / "below").mkdir()
    with serving(folder / "below", "--no-sql", "--mode", "read") as url:
        assert names(url) == ["tally"]
        assert names(url, "/v1/reconcilers") == []
        request = urllib.request.Request(
            f"{url}/v1/sql", b'{"query":"SELECT 1"}', {"content-type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=WAIT_S)
        assert caught.value.code == 501
        caught.value.close()


@pytest.mark.parametrize(
    ("place", "said"),
    [("nothing_here", "No module named"), ("board.py:other", "nothing named"), ("no.py", "no.py")],
)
def test_what_cannot_be_loaded_is_told_at_the_start(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    said: str,
) -> None:
    monkeypatch.chdir(folder)
    assert run(["serve", "--store", "store", "--views", place]) == 2
    error = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert said in error["message"]


@pytest.mark.parametrize("text", ["views = 1", 'views = "board.py"', "views = [1]"])
def test_a_configuration_that_cannot_be_meant_is_refused(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
) -> None:
    (folder / "transit.toml").write_text(f'store = "store"\n{text}\n')
    monkeypatch.chdir(folder)
    assert run(["serve"]) == 2
    assert "views must be a list" in capsys.readouterr().err
