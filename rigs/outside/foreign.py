"""A witness that is not ours: `aics-witness` of PyPI, in an environment and a process of its own.

Owns how both are made. The environment needs Python 3.12 or later: one that is installed, or what
uv downloads; uv itself comes from PyPI where it is not installed. Nothing of either is imported
here. `LackingError` says what cannot be had.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

PACKAGES: Final = ("aics-witness==0.1.0", "aics-tlog==0.2.1")
NAME: Final = "witness.example/foreign"
_PYTHON: Final = "3.12"
_IS_NEW_ENOUGH: Final = "import sys; sys.exit(sys.version_info < (3, 12))"
_INSTALL_S: Final = 300.0
_WAIT_S: Final = 120.0
# Where there is no network it is to be known soon.
_PATIENCE: Final = {"PIP_RETRIES": "1", "PIP_TIMEOUT": "20", "UV_HTTP_RETRIES": "1"}


class LackingError(Exception):
    """The witness cannot be had on this machine; the text says why."""


def make_environment(folder: Path) -> Path:
    """Make an environment with the witness and its checker; the folder of their commands."""
    uv = _uv(folder)
    python = _installed_python() or _fetched_python(uv)
    environment = folder / "env"
    _run("an environment", uv, "venv", "-q", "--python", python, environment)
    _run(PACKAGES[0], uv, "pip", "install", "-q", "--python", environment, *PACKAGES)
    return environment / "bin"


def _uv(folder: Path) -> str:
    found = shutil.which("uv")
    if found is not None:
        return found
    own = folder / "uv"
    _run("a place for uv", sys.executable, "-m", "venv", own)
    _run("uv", own / "bin" / "pip", "install", "-q", "uv")
    return str(own / "bin" / "uv")


def _installed_python() -> str | None:
    """A Python that is new enough and starts: this one, on the PATH, or of pyenv."""
    for each in _pythons():
        done = subprocess.run([each, "-c", _IS_NEW_ENOUGH], capture_output=True, check=False)
        if done.returncode == 0:
            return each
    return None


def _pythons() -> Iterator[str]:
    yield sys.executable
    for name in ("python3.12", "python3.13", "python3.14", "python3"):
        found = shutil.which(name)
        if found is not None:
            yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob("versions/3.1[2-4].*/bin/python3")))


def _fetched_python(uv: str) -> str:
    # Not `-q`, which would not say why it fails.
    _run(f"Python {_PYTHON}", uv, "python", "install", _PYTHON)
    return _run(f"Python {_PYTHON}", uv, "python", "find", "--managed-python", _PYTHON).strip()


def _run(what: str, *command: str | Path) -> str:
    """What a command printed; `LackingError` that names `what` where it fails."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True, text=True, check=False, timeout=_INSTALL_S,
            env={**os.environ, **_PATIENCE},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LackingError(f"{what} cannot be had: {error}") from None
    if done.returncode:
        raise LackingError(f"{what} cannot be had: {done.stderr.strip()[-500:]}")
    return done.stdout


class ForeignWitness:
    """One witness: its key and memory in a folder, and a process that can be killed and started.

    vkey: the text of the key that its cosignatures are checked with
    url: what `add-checkpoint` is below, of the process that runs now
    """

    def __init__(self, commands: Path, folder: Path, logs: Sequence[str]) -> None:
        """logs: the texts of the keys of the logs that it cosigns; each is named by its origin."""
        folder.mkdir()
        self._command = commands / "aics-witness"
        self._config = folder / "witness.json"
        self._said = folder / "said"
        self._child: subprocess.Popen[bytes] | None = None
        self.vkey = self._ask("init", "--name", NAME, "--prefix", "/w").strip()
        self.url = ""
        for vkey in logs:
            self._ask("add-log", "--origin", vkey.split("+")[0], "--vkey", vkey)

    def start(self) -> None:
        """Start a process, and wait until it listens, on a port that was free."""
        words = ["serve", "--config", str(self._config), "--listen", "127.0.0.1:0"]
        with self._said.open("wb") as said:
            self._child = subprocess.Popen([self._command, *words], stdout=said, stderr=said)
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline and self._child.poll() is None:
            _, found, rest = self._said.read_text().partition("listening on ")
            if found and " " in rest:
                self.url = rest.split(" ")[0]
                return
            time.sleep(0.02)
        raise RuntimeError(f"the witness did not start: {self._said.read_text()[-2000:]}")

    def kill(self) -> None:
        """End the process at once, wherever it is, if one runs."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def latest(self) -> tuple[int, str]:
        """What it says of its first log: the size that it cosigned last, and the root in base64."""
        first = json.loads(self._ask("status", "--json"))["logs"][0]
        return first["size"], first["root"]

    def evidence(self) -> list[bytes]:
        """The requests that it kept because a log's key had signed what does not fit."""
        return [each["request"].encode() for each in json.loads(self._ask("evidence"))]

    def _ask(self, verb: str, *words: str) -> str:
        done = subprocess.run(
            [self._command, verb, "--config", self._config, *words],
            capture_output=True, text=True, check=False, timeout=_WAIT_S,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"aics-witness {verb}: {done.stderr[-2000:]}")
        return done.stdout
