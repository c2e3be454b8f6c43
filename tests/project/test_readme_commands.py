"""The README's two commands are what `.ci/run` runs, and it installs nothing of its own."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI_RUN = ROOT / ".ci" / "run"
SCRIPT = CI_RUN.read_text(encoding="utf-8")
NAMES = ["run", "test"]

BLOCK = re.compile(r"<!-- command: (\w+) -->\n\s*```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = BLOCK.findall(README)
MARKER = re.compile(r"<!-- *command\b")


def show(script: Path, name: str) -> subprocess.CompletedProcess[str]:
    """What `.ci/run --show NAME` says: the command that it would run."""
    return subprocess.run(
        ["bash", str(script), "--show", name], capture_output=True, text=True, check=False
    )


def test_readme_has_one_block_for_each_command() -> None:
    assert [name for name, _ in BLOCKS] == NAMES
    assert len(MARKER.findall(README)) == len(NAMES), "a marker without an sh block after it"


@pytest.mark.parametrize(("name", "body"), BLOCKS)
def test_block_is_one_command_line(name: str, body: str) -> None:
    lines = [line for line in body.splitlines() if line.strip()]
    assert len(lines) == 1, f"{name}: {lines}"
    assert not lines[0].endswith("\\")
    assert not lines[0].lstrip().startswith(("#", "$"))


@pytest.mark.parametrize(("name", "body"), BLOCKS)
def test_ci_reads_the_command_from_the_readme(name: str, body: str) -> None:
    shown = show(CI_RUN, name)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == body


def test_ci_runs_both_commands_another_environment_and_the_rigs_then_judges_the_tree() -> None:
    for name in NAMES:
        assert f"{name}_command=$(readme_command {name})" in SCRIPT
    runs = re.findall(r"^run_in (.*)$", SCRIPT, re.MULTILINE)
    assert runs == [
        '"$work/run" "$run_command"',
        '"$work/test" "$test_command" 2>&1 | tee "$work/said"',
        '"$work/other" "scripts/other_environment.sh $((16#$digest)) $rooms" 2>&1'
        ' | tee -a "$work/said"',
        '"$work/other" "scripts/readers.sh" 2>&1 | tee -a "$work/said"',
        '"$work/other" "scripts/adapters.sh langgraph otel" 2>&1 | tee -a "$work/said"',
        '"$work/other" "scripts/engines.sh dask:highest" 2>&1 | tee -a "$work/said"',
        '"$work/test" ".venv/bin/just rigs" 2>&1 | tee -a "$work/said"',
        '"$work/test" ".venv/bin/just check"',
        '"$work/test" ".venv/bin/just bench-guard"',
    ]


def test_ci_installs_nothing_but_missing_debian_packages() -> None:
    assert not re.search(r"\b(pip3?|uv|pipx|poetry|hatch|conda)\b", SCRIPT)
    assert re.findall(r"apt-get install.*", SCRIPT) == ['apt-get install -y -qq "$@"']
    calls = re.findall(r"debian_install (\S+)", SCRIPT)
    wanted = ["python3-venv", "strace", "fuse3", "xfsprogs", "curl", "chromium", "redis-server"]
    wanted += ["b3sum", "golang-go"]
    assert calls == wanted


def test_ci_is_executable_and_stops_at_the_first_failure() -> None:
    assert os.access(CI_RUN, os.X_OK)
    assert "\nset -euo pipefail\n" in SCRIPT


GOOD = "<!-- command: run -->\n```sh\necho hello\n```\n"


@pytest.mark.parametrize(
    ("readme", "command"),
    [
        pytest.param(GOOD, "echo hello\n", id="one block"),
        pytest.param(GOOD.replace("\n", "\r\n"), "echo hello\n", id="other line ends"),
        pytest.param(GOOD.replace("-->\n", "-->\n\n"), "echo hello\n", id="an empty line between"),
        pytest.param("", None, id="no marker"),
        pytest.param(GOOD + GOOD, None, id="two markers"),
        pytest.param(GOOD.replace("hello", "hello\nexit"), None, id="two lines"),
        pytest.param(GOOD.replace("echo hello\n", ""), None, id="no line"),
        pytest.param(GOOD.replace("```sh", "```python"), None, id="another language"),
        pytest.param(GOOD.replace("-->\n", "-->\ntext\n"), None, id="text between"),
        pytest.param(GOOD.removesuffix("```\n"), None, id="open block"),
        pytest.param(GOOD.replace("command: run", "command: runs"), None, id="another name"),
    ],
)
def test_parser_takes_a_single_one_line_block(
    tmp_path: Path, readme: str, command: str | None
) -> None:
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci" / "run"
    script.write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "README.md").write_bytes(readme.encode())
    shown = show(script, "run")
    assert (shown.returncode == 0) == (command is not None), shown.stderr
    assert shown.stdout == (command or "")
