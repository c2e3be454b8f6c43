"""The short examples run, and print what is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IRC_DIR = ROOT.parent / "shared" / "data" / "irc"


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / name), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def printed(name: str, *arguments: object) -> str:
    done = run(name, *arguments)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def block(page: str, heading: str) -> list[str]:
    """The texts below a stream's heading in what retry_and_merge prints."""
    below = page.split(f"{heading}  (merge)\n")[1]
    lines: list[str] = []
    for line in below.splitlines():
        match = re.fullmatch(r"  (\d+)  (.*?) +from (\S+)", line)
        if match is None:
            break
        assert int(match[1]) == len(lines)
        lines.append(f"{match[2]} < {match[3]}")
    return lines


def test_retry_and_merge_appends_the_critique_or_puts_it_where_it_was_said() -> None:
    page = printed("retry_and_merge.py")
    begun = ["read the code < task", "write a test < task"]
    retried = ["measure first < task/retry", "repair the rounding < task/retry"]
    passed, remark = "the test passes < task/retry", "negative values? < task/critique"
    assert block(page, "task/reviewed")[:6] == [*begun, *retried, passed, remark]
    assert block(page, "task/by-time") == [*begun, *retried, remark, passed]
    assert "planned: 6 records, 3 spans, base task/retry@3" in page
    assert "indexed up to 7 of 7 records" in page
    assert "descends from task/retry, task/critique, task\n" in page
    assert page.endswith("its indexer is at 7\n")


def test_chat_log_has_each_line_in_its_conversation() -> None:
    page = printed("chat_log.py")
    counts = {name: int(count) for name, count in re.findall(r"^(\w+): (\d+) lines", page, re.M)}
    assert counts == {"kitchen": 17, "garden": 12, "workshop": 11}
    assert "40 lines in 4 frames" in page
    assert "heard 17 lines of kitchen" in page


def test_chat_log_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "chat.txt"
    file.write_text("b\tone\na\ttwo\nno tab\nb\tthrée\nb\t\n", encoding="utf-8")
    page = printed("chat_log.py", file)
    assert "b: 2 lines, the last is 'thrée'" in page
    assert "a: 1 lines, the last is 'two'" in page
    assert "everyone: 1 lines, the last is 'no tab'" in page
    assert "4 lines in 1 frames" in page
    assert "heard 2 lines of b" in page


def test_chat_log_takes_real_chat() -> None:
    files = sorted(IRC_DIR.glob("*.ascii.txt"))
    if not files:
        pytest.skip(f"no real chat in {IRC_DIR}")
    count = sum(bool(line) for line in files[0].read_text(encoding="utf-8").splitlines())
    page = printed("chat_log.py", files[0])
    assert f"heard {count} lines of everyone" in page


def test_chat_log_of_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "chat.txt").touch()
    done = run("chat_log.py", tmp_path / "chat.txt")
    assert done.returncode == 1
    assert done.stderr == "no lines to write\n"
