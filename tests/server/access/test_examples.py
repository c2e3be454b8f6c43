"""The unit and the container file that come as examples."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import transit
from transit.cli.verbs.serve import command
from transit.server.settings import ServerSettings

from .raw import WAIT_S

FOLDER = Path(transit.__file__).parents[1] / "examples" / "server"


def _options(words: list[str]) -> dict[str, object]:
    """What `transit serve` understands of its words."""
    return command.make_context("serve", words).params


def test_the_unit_gives_options_that_there_are() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(FOLDER / "transit.service")
    words = shlex.split(unit["Service"]["ExecStart"])
    assert words[1:3] == ["transit", "serve"]
    options = _options(words[3:])
    assert (options["tokens"], options["bind"]) == ("/etc/transit/tokens.toml", "0.0.0.0:4437")
    stop, end = int(unit["Service"]["TimeoutStopSec"]), ServerSettings().end_s
    assert max(stop, end) == stop != end
    assert int(unit["Service"]["LimitNOFILE"]) > ServerSettings().connections_max * 1.25 + 256


def test_the_unit_is_sound_to_systemd() -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not here")
    words = [tool, "verify", "--man=no", "--recursive-errors=no", str(FOLDER / "transit.service")]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=WAIT_S)
    if "Failed to" in done.stderr and "transit.service" not in done.stderr:
        pytest.skip(f"systemd-analyze cannot run here: {done.stderr.strip()}")
    assert "transit.service" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_the_container_gives_options_that_there_are() -> None:
    text = (FOLDER / "Containerfile").read_text()
    lists = {name: json.loads(words) for name, words in re.findall(r"^(\w+) (\[.*\])$", text, re.M)}
    words = lists["ENTRYPOINT"] + lists["CMD"]
    assert words[:2] == ["transit", "serve"]
    assert _options(words[2:])["tls_key"] == "/secrets/key.pem"
    assert re.search(r"^USER 10001$", text, re.M)
