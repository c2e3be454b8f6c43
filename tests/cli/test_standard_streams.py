"""Standard streams that are closed, full, or not read: as a shell, cron or a daemon has them.

Each command runs in a shell, which is what closes them.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

import transit as engine

from .shell import DEADLINE_S, argv, environment

ALL = "<&- >&- 2>&-"


def in_shell(store: Path, line: str) -> subprocess.CompletedProcess[bytes]:
    """`line` run by a shell, in which `transit` is the command."""
    transit_words = shlex.join(argv())
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; transit() {{ {transit_words} \"$@\"; }}; {line}"],
        env=environment(store), cwd=store.parent, capture_output=True, check=False,
        timeout=DEADLINE_S * 5, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    with engine.open(path) as log:
        log.create("s").append(b"one")
    return path


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f"transit append s x {ALL}", 0),
        ("transit read s >&-", 0),
        ("transit tap s -- sh -c 'echo out; echo err >&2' >&- 2>&-", 0),
        (f"transit read nothing {ALL}", 3),
        (f"transit nonsense {ALL}", 2),
    ],
)
def test_a_closed_output_takes_everything_and_the_exit_code_is_as_ever(
    store: Path, line: str, code: int
) -> None:
    done = in_shell(store, line)
    assert (done.returncode, done.stdout) == (code, b"")
    assert b"Traceback" not in done.stderr
    with engine.open(store) as log:
        assert log.verify().ok


@pytest.mark.parametrize("words", ["append s -", "import"])
def test_a_closed_input_cannot_be_read_and_the_message_says_so(store: Path, words: str) -> None:
    done = in_shell(store, f"transit {words} <&-")
    assert done.returncode == 8
    assert json.loads(done.stderr)["error"]["message"] == "the standard input is closed"


def test_with_a_closed_input_all_else_works(store: Path) -> None:
    done = in_shell(store, "transit streams <&- 2>&-")
    (row,) = done.stdout.splitlines()
    assert (done.returncode, json.loads(row)["stream"]) == (0, "s")


# Says what the first three numbers of a process are while a store is open for writing.
HOLDERS = """
import os, sys
import transit.cli.verbs.append as append
found = {}
def reading(source, *_):
    for number in (0, 1, 2):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            found[number] = "free"
    return iter(())
append.read_lines = reading
from transit.cli import main
code = main(["append", "s", "--file", os.devnull])
with open(os.environ["SEEN"], "w") as file:
    print(sorted(set(found.values())), code, file=file)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_no_file_of_a_store_gets_the_number_of_a_closed_stream(store: Path) -> None:
    seen = store.parent / "seen"
    python = shlex.quote(argv()[0])
    done = in_shell(store, f"SEEN={seen} {python} -c {shlex.quote(HOLDERS)} {ALL}")
    assert done.returncode == 0
    assert seen.read_text() == f"['{os.devnull}'] 0\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize(
    "words", ["streams", "append s x", "tap s -- echo out", "--format table streams"]
)
def test_a_full_device_is_an_error_that_names_the_output(store: Path, words: str) -> None:
    done = in_shell(store, f"transit {words} > /dev/full")
    assert done.returncode == 8
    error = json.loads(done.stderr)["error"]
    assert error["message"].startswith("standard output: No space left on device")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_error_output_leaves_the_exit_code(store: Path) -> None:
    assert in_shell(store, "transit read nothing 2> /dev/full").returncode == 3
    assert in_shell(store, "transit streams > /dev/full 2> /dev/full").returncode == 8


def test_a_reader_that_goes_away_is_no_failure_of_the_command(store: Path) -> None:
    with engine.open(store) as log:
        log.stream("s").append_many([b"line"] * 20_000)
    done = in_shell(store, "transit read s | head -n 1")
    assert done.returncode == 141
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_a_command_that_does_not_take_the_numbers_is_found(store: Path) -> None:
    """The test above notices a command that leaves the numbers free: here it is one."""
    planted = HOLDERS.replace(
        "code = main(",
        "sys.modules['transit.cli.main'].take_closed = lambda: None\n"
        "sys.stdout = sys.stderr = open(os.devnull, 'w')\n"
        "code = main(",
    ).replace("from transit.cli import main\n", "from transit.cli.main import run as main\n")
    seen = store.parent / "seen"
    in_shell(store, f"SEEN={seen} {shlex.quote(argv()[0])} -c {shlex.quote(planted)} {ALL}")
    assert seen.read_text() == f"['{os.devnull}', 'free'] 0\n"
