"""`transit tap` as a shell sees it, and the records it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import transit as engine
from transit import Record
from transit.cli.tapping import FORWARDED, LINE_BYTES_MAX, Lines, Piece, Recorder

from .shell import DEADLINE_S, Done, argv, at_terminal, environment, running, transit

PYTHON = sys.executable


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def tap(store: Path, *words: str, stdin: bytes = b"", options: Sequence[str] = ()) -> Done:
    return transit(store, "tap", "run", "--create", *options, "--", *words, stdin=stdin)


def records(store: Path, stream: str = "run") -> list[Record]:
    with engine.open(store, mode="read") as log:
        return list(log.stream(stream).read())


def lines(store: Path, kind: str) -> list[bytes]:
    return [r.payload for r in records(store) if r.headers["kind"] == kind]


def python(code: str) -> list[str]:
    return [PYTHON, "-u", "-c", code]


def test_start_lines_and_exit_are_recorded_and_passed_on(store: Path, tmp_path: Path) -> None:
    done = tap(store, *python("import sys; print('out'); print('err', file=sys.stderr)"))
    assert done == (0, b"out\n", b"err\n")
    start, *middle, end = records(store)
    assert start.headers == {"kind": "tap.start"}
    said = json.loads(start.payload)
    assert said["argv"][0] == PYTHON
    assert said["cwd"] == str(tmp_path)
    assert said["pid"] > 0
    assert {(r.headers["kind"], r.payload) for r in middle} == {
        ("tap.stdout", b"out"),
        ("tap.stderr", b"err"),
    }
    ended = json.loads(end.payload)
    assert end.headers == {"kind": "tap.exit"}
    assert (ended["code"], ended["signal"]) == (0, None)
    assert 0 < ended["duration_s"] < 60


@pytest.mark.parametrize("code", [1, 7, 255])
def test_the_exit_code_is_the_commands(store: Path, code: int) -> None:
    done = tap(store, "sh", "-c", f"echo x; exit {code}")
    assert (done.code, done.out, done.err) == (code, b"x\n", b"")
    assert json.loads(records(store)[-1].payload)["code"] == code


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV", "PIPE"])
def test_a_command_ended_by_a_signal_ends_with_128_and_its_number(store: Path, name: str) -> None:
    done = tap(store, "sh", "-c", f"kill -{name} $$")
    assert done.code == 128 + signal.Signals[f"SIG{name}"]
    ended = json.loads(records(store)[-1].payload)
    assert (ended["code"], ended["signal"]) == (None, f"SIG{name}")


def test_a_command_that_is_not_there_is_127_and_one_that_cannot_run_126(
    store: Path, tmp_path: Path
) -> None:
    done = tap(store, "no-such-command-here")
    assert (done.code, done.error["kind"]) == (127, "command_not_found")
    plain = tmp_path / "plain"
    plain.write_text("not a program")
    done = tap(store, str(plain))
    assert (done.code, done.error["kind"]) == (126, "command_not_executable")
    kinds = [record.headers["kind"] for record in records(store)]
    assert kinds == ["tap.start", "tap.exit", "tap.start", "tap.exit"]
    assert json.loads(records(store)[0].payload)["pid"] is None
    assert json.loads(records(store)[1].payload)["code"] == 127


def test_bytes_pass_unchanged_and_are_recorded_verbatim(store: Path) -> None:
    data = bytes(range(256)) + b"\r\n\n\nend"
    done = tap(store, "cat", stdin=data)
    assert done == (0, data, b"")
    assert lines(store, "tap.stdout") == data.split(b"\n")
    marks = [r.headers.get("partial") for r in records(store) if r.headers["kind"] == "tap.stdout"]
    assert marks == [None] * (len(marks) - 1) + ["true"]


@pytest.mark.slow
def test_headers_are_on_every_record_and_the_taps_own_are_refused(store: Path) -> None:
    assert tap(store, "echo", "hi", options=["--header", "task=t1"]).code == 0
    assert {record.headers["task"] for record in records(store)} == {"t1"}
    refused = tap(store, "echo", options=["--header", "kind=x"])
    assert (refused.code, refused.error["kind"]) == (2, "usage")


def test_options_after_the_dashes_are_the_commands(store: Path) -> None:
    done = tap(store, "echo", "--create", "--", "-n", "--help")
    assert done.out == b"--create -- -n --help\n"


@pytest.mark.slow
def test_without_create_a_missing_stream_or_store_is_an_error_and_nothing_runs(
    store: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "ran"
    assert transit(store, "tap", "run", "--", "touch", trace).code == 3
    with engine.open(store):
        pass
    done = transit(store, "tap", "run", "--", "touch", trace)
    assert (done.code, done.error["kind"]) == (3, "not_found")
    assert not trace.exists()


def test_a_long_line_is_recorded_in_pieces_that_join_to_it(store: Path) -> None:
    code = f"import sys; sys.stdout.write('x' * {LINE_BYTES_MAX * 2 + 5} + '\\nshort\\n')"
    done = tap(store, *python(code))
    assert len(done.out) == LINE_BYTES_MAX * 2 + 12
    found = [r for r in records(store) if r.headers["kind"] == "tap.stdout"]
    assert [len(r.payload) for r in found] == [LINE_BYTES_MAX, LINE_BYTES_MAX, 5, 5]
    assert [r.headers.get("continued") for r in found] == ["true", "true", None, None]
    assert found[3].payload == b"short"


def test_full_pipes_on_both_outputs_do_not_stop_the_command(store: Path) -> None:
    code = (
        "import sys\n"
        "for n in range(20000):\n"
        "    sys.stdout.write(f'o{n}' * 20 + '\\n')\n"
        "    sys.stderr.write(f'e{n}' * 20 + '\\n')\n"
    )
    done = tap(store, *python(code))
    assert done.code == 0
    assert lines(store, "tap.stdout") == done.out.splitlines()
    assert lines(store, "tap.stderr") == done.err.splitlines()
    assert len(done.out.splitlines()) == len(done.err.splitlines()) == 20_000


def test_output_is_passed_on_and_recorded_while_the_command_runs(store: Path) -> None:
    code = "import sys; print('first'); sys.stdin.readline(); print('second')"
    with running(store, "tap", "run", "--create", "--", *python(code)) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"first\n"
        deadline = time.monotonic() + 10
        while lines(store, "tap.stdout") != [b"first"] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert lines(store, "tap.stdout") == [b"first"]
        process.stdin.write(b"go\n")
        process.stdin.close()
        assert process.stdout.read() == b"second\n"
        assert process.wait() == 0


# Says which signals it gets, and ends after SIGTERM.
CATCHING = (
    "import signal, sys, time\n"
    "def said(number, frame):\n"
    "    print('got', number, flush=True)\n"
    "    if number == signal.SIGTERM: sys.exit(9)\n"
    f"for number in {[int(n) for n in FORWARDED]}: signal.signal(number, said)\n"
    "print('ready', flush=True)\n"
    "while True: time.sleep(0.05)\n"
)


def test_each_signal_is_passed_on_once_and_the_tap_lives_on(store: Path) -> None:
    with running(store, "tap", "run", "--create", "--", *python(CATCHING)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for number in FORWARDED:
            if number != signal.SIGTERM:
                process.send_signal(number)
                assert process.stdout.readline() == b"got %d\n" % number
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"got %d\n" % signal.SIGTERM
        assert process.wait() == 9
    assert json.loads(records(store)[-1].payload)["code"] == 9


def test_a_signal_that_was_ignored_stays_ignored(store: Path) -> None:
    code = "import signal; print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    script = 'trap "" HUP; exec "$@"'
    words = ["sh", "-c", script, "sh", *argv("tap", "run", "--create", "--", *python(code))]
    done = subprocess.run(words, env=environment(store), capture_output=True, check=False)
    assert done.stdout == b"True\n"


def test_the_command_gets_no_signal_blocked_or_ignored_by_us(store: Path) -> None:
    code = (
        "import signal\n"
        "print(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
        "status = open('/proc/self/status').read()\n"
        "print([line for line in status.splitlines() if line.startswith('SigBlk')])\n"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells what a process blocks this way")
    assert tap(store, *python(code)).out.startswith(b"set()\n")
    assert tap(store, "sh", "-c", "kill -PIPE $$; echo alive").code == 128 + signal.SIGPIPE


# Each delivery writes a byte, so that two in one breath count as two.
COUNTING = (
    "import os, signal, sys, time\n"
    "out, into = os.pipe()\n"
    "os.set_blocking(into, False)\n"
    "signal.set_wakeup_fd(into)\n"
    "signal.signal(signal.SIGINT, lambda *_: None)\n"
    "print('ready', sys.stdin.isatty(), flush=True)\n"
    "for number in range(10): os.read(out, 1); print(f'n={number};', flush=True)\n"
)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere who sent a signal is not known")
@pytest.mark.parametrize("key", [True, False], ids=["key", "kill"])
def test_an_interrupt_at_a_terminal_reaches_the_command_once(store: Path, key: bool) -> None:
    """From the keyboard it goes to the whole group, from kill only to us."""

    def interrupt(pid: int, terminal: int) -> None:
        if key:
            os.write(terminal, b"\x03")
        else:
            os.kill(pid, signal.SIGINT)

    def end(pid: int, _: int) -> None:
        threading.Timer(0.3, os.kill, (pid, signal.SIGTERM)).start()

    told = [b"ready True", b"n=0;", b"n=1;", b"n=2;"]
    words = ("tap", "run", "--create", "--", *python(COUNTING))
    done = at_terminal(store, *words, when={**dict.fromkeys(told, interrupt), b"n=3;": end})
    assert b"n=4;" not in done.out
    assert done.code == 128 + signal.SIGTERM


def test_when_nobody_reads_our_output_the_command_ends_as_it_would_alone(store: Path) -> None:
    with running(store, "tap", "run", "--create", "--", "yes") as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(timeout=60) == 128 + signal.SIGPIPE
    assert json.loads(records(store)[-1].payload)["signal"] == "SIGPIPE"


def test_what_a_command_leaves_behind_is_recorded_until_it_ends(store: Path) -> None:
    done = tap(store, "sh", "-c", "(sleep 0.5; echo late) & echo early")
    assert done.out == b"early\nlate\n"
    assert lines(store, "tap.stdout") == [b"early", b"late"]
    assert json.loads(records(store)[-1].payload)["duration_s"] < 0.5


def test_a_signal_ends_the_waiting_for_what_a_command_left_behind(store: Path) -> None:
    words = ("sh", "-c", "sleep 30 & echo $!")
    with running(store, "tap", "run", "--create", "--", *words) as process:
        assert process.stdout is not None
        left = int(process.stdout.readline())
        try:
            deadline = time.monotonic() + 10
            while not Path(f"/proc/{left}").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
            os.kill(left, 0)
        finally:
            os.kill(left, signal.SIGKILL)
    assert json.loads(records(store)[-1].payload)["code"] == 0


@pytest.mark.parametrize("code", [0, 3])
def test_when_recording_fails_the_command_goes_on_and_it_is_told_at_the_end(
    store: Path, code: int
) -> None:
    """The limit of a file's size is what a full disk looks like to one process."""
    script = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_module('transit', run_name='__main__')\n"
    )
    inner = python(f"import sys; print('x' * 3000000); print('done'); sys.exit({code})")
    words = [PYTHON, "-c", script, *argv("tap", "run", "--create", "--", *inner)[2:]]
    done = subprocess.run(words, env=environment(store), capture_output=True, check=False)
    assert done.stdout == b"x" * 3_000_000 + b"\ndone\n"
    assert done.returncode == (code or 8)
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["kind"] == "not_recorded"
    assert error["lost"] > 0
    assert error["code"] == code


# The parts


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_lines_are_cut_the_same_however_they_arrive(size: int, step: int) -> None:
    data = b"\n\na\nbb\nccc\ndddd\n\neeeeeeeeeeeeeee\nffffffff"
    cutter = Lines(size)
    pieces: list[Piece] = []
    for start in range(0, len(data), step):
        pieces += cutter.feed(data[start : start + step])
    pieces += cutter.end()
    joined, last = [b""], {}
    for payload, marks in pieces:
        assert len(payload) <= size
        joined[-1] += payload
        if marks != {"continued": "true"}:
            joined.append(b"")
        last = dict(marks)
    assert joined[:-1] == data.split(b"\n")
    assert last == {"partial": "true"}
    assert cutter.end() == []


class FailingStream:
    """Takes one frame and refuses all others."""

    def __init__(self) -> None:
        self.taken: list[list[bytes]] = []

    def append_many(
        self, payloads: list[bytes], *, headers: Mapping[str, str], durability: str
    ) -> None:
        if self.taken:
            raise engine.StorageFullError("no space left")
        self.taken.append(payloads)


def test_after_one_failure_nothing_more_is_appended_and_all_is_counted() -> None:
    stream = FailingStream()
    recorder = Recorder(stream, {"a": "b"})  # type: ignore[arg-type]
    recorder.take("tap.stdout", [Piece(b"1", {}), Piece(b"2", {})])
    recorder.take("tap.stdout", [Piece(b"3", {})])
    recorder.take("tap.stdout", [])
    recorder.note("tap.exit", {"code": 0})
    assert stream.taken == [[b"1", b"2"]]
    assert isinstance(recorder.error, engine.StorageFullError)
    assert recorder.lost == 2


def test_tap_runs_where_the_working_directory_was_removed(store: Path) -> None:
    gone = store.parent / "gone"
    gone.mkdir()
    line = f'rmdir "{gone}"; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *argv("tap", "s", "--create", "--", "echo", "out")],
        cwd=gone, env=environment(store), capture_output=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"")
