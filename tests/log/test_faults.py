"""A disk that fails, fills up, lies or dies, under the real program: faults injected by strace(1).

Each run makes a store, breaks one of its system calls in a process of its own, and opens what is
left. Always: one typed error, nothing acknowledged that is not there afterwards, and the store goes
on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import transit
from transit.format.frame import END

TRACER = shutil.which("strace")
SOURCE = str(Path(transit.__file__).parents[1])
WAL = "wal/00000000000000000000.wal"
SLOW_FLUSH = transit.Settings(flush_interval_ms=60_000)

# One step a word: "append:s" appends to stream s, "os:s" without a sync, "read:s" reads all of it.
SCRIPT = """
import json, resource, sys, threading, transit

path, steps = sys.argv[1], sys.argv[2:]
tried = {}

talking = threading.Lock()

def say(**words):
    with talking:
        print(json.dumps(words), flush=True)

def append(name, durability, size=1):
    with talking:
        n = tried[name] = tried.get(name, log.stream(name).next_offset - 1) + 1
    payload = f"{name} {n} of this run ".encode() * 20 * size
    receipt = log.stream(name).append(payload, durability=durability)
    say(ack=name, offset=receipt.offset, payload=payload.decode(), durability=receipt.durability)

def run(step):
    kind, _, name = step.partition(":")
    if kind == "append":
        append(name, "local")
    elif kind == "os":
        append(name, "os")
    elif kind == "big":
        append(name, "local", 200)
    elif kind == "create":
        log.create(name)
        say(ack=name, offset=-1, payload="", durability="local")
    elif kind == "read":
        say(read=name, records=len(list(log.stream(name).read())))
    elif kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(name), resource.RLIM_INFINITY))
    elif kind == "threads":
        threads = [threading.Thread(target=several, args=(one,)) for one in name]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        getattr(log, kind)()
        say(done=kind)

def attempt(step):
    try:
        run(step)
    except transit.TransitError as error:
        in_doubt = getattr(error, "in_doubt", ())
        say(error=type(error).__name__, step=step, in_doubt=in_doubt, text=str(error))

def several(name):
    for _ in range(12):
        attempt(f"append:{name}")

try:
    log = transit.open(path, settings=transit.Settings(flush_interval_ms=60_000))
except transit.TransitError as error:
    say(error=type(error).__name__, step="open", in_doubt=(), text=str(error))
else:
    for step in steps:
        attempt(step)
"""


class Run(NamedTuple):
    """What a process said, which signal killed it, and the system calls that were traced."""

    said: list[dict[str, object]]
    killed: bool
    calls: list[str]

    @property
    def errors(self) -> list[tuple[object, object]]:
        return [(words["step"], words["error"]) for words in self.said if "error" in words]

    @property
    def acknowledged(self) -> list[tuple[str, int, bytes]]:
        return [
            (str(words["ack"]), int(str(words["offset"])), str(words["payload"]).encode())
            for words in self.said
            if "ack" in words
        ]

    def failed_calls(self) -> list[int]:
        return [n for n, call in enumerate(self.calls) if "(INJECTED)" in call]


Faulty = Callable[..., Run]
Opening = Callable[[str], int]


@pytest.fixture(scope="module")
def _can_trace(tmp_path_factory: pytest.TempPathFactory) -> None:
    if TRACER is None:
        pytest.skip("strace is not installed")
    trace = tmp_path_factory.mktemp("trace") / "trace"
    done = subprocess.run(
        [TRACER, "-f", "-qq", "-o", trace, "-e", "inject=fsync:error=EIO", "true"],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"strace cannot trace here: {done.stderr.decode().strip()}")


@pytest.fixture
def faulty(_can_trace: None, path: Path) -> Faulty:
    """A function that makes a store, if there is none, and runs steps on it with faults."""
    if not path.exists():
        with transit.open(path) as log:
            for name in "ab":
                log.create(name).append(f"{name} before".encode())

    def run(steps: str, *faults: str, only: str | None = None) -> Run:
        trace = path.parent / "trace"
        calls = ",".join({fault.partition(":")[0] for fault in faults})
        command = [str(TRACER), "-f", "-y", "-qq", "-s", "0", "-o", str(trace)]
        if not any("signal=" in fault for fault in faults):
            # Stops at the calls asked for alone; strace 6.1 injects no signals then.
            command += ["--seccomp-bpf"]
        command += ["-P", str(path / only)] if only else []
        command += ["-e", f"trace={calls},unlink"]
        for fault in faults:
            command += ["-e", f"inject={fault}"]
        child = subprocess.run(
            [*command, sys.executable, "-c", SCRIPT, str(path), *steps.split()],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": SOURCE, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        killed = child.returncode == -signal.SIGKILL
        assert killed or child.returncode == 0, child.stderr
        said = [json.loads(line) for line in child.stdout.splitlines()]
        return Run(said, killed, trace.read_text().splitlines())

    return run


@pytest.fixture(scope="module")
def _counted() -> dict[str, int]:
    return {}


@pytest.fixture
def opening(faulty: Faulty, _counted: dict[str, int]) -> Opening:
    """A function that says how often opening the store makes a system call on its WAL."""

    def count(call: str) -> int:
        if call not in _counted:
            calls = faulty("", f"{call}:delay_exit=1", only=WAL).calls
            _counted[call] = sum(call in line for line in calls)
        return _counted[call]

    return count


def check_kept(path: Path, *runs: Run) -> None:
    """Open the store: what was there or acknowledged is, nothing else but what was tried; go on."""
    tried = re.compile(rb"(?:(\w) (\d+) of this run )*|\w before|goes on")
    for _ in range(2):
        with transit.open(path) as log:
            assert log.verify().ok
            found = {stream.name: [r.payload for r in stream.read()] for stream in log.streams()}
            for name in "ab":
                assert found[name][0] == f"{name} before".encode()
            for run in runs:
                for name, offset, payload in run.acknowledged:
                    assert name in found
                    assert offset < 0 or found[name][offset] == payload
            for payloads in found.values():
                assert all(tried.fullmatch(payload) for payload in payloads)
                assert len(set(payloads) - {b"goes on"}) == len(payloads) - payloads.count(
                    b"goes on"
                )
            for name in "ab":
                log.stream(name).append(b"goes on")
            log.seal()


# Syncs that fail

AFTER = "append:a os:b create:c sync seal"


@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_failed_sync_names_what_is_in_doubt_and_nothing_more_is_accepted(
    when: int, faulty: Faulty, opening: Opening, path: Path
) -> None:
    steps = ["append:a", "append:b", "append:a", *AFTER.split()]
    nth = opening("fdatasync") + when
    run = faulty(" ".join(steps), f"fdatasync:error=EIO:when={nth}", only=WAL)
    name, offset = [("a", 1), ("b", 1), ("a", 2)][when - 1]
    failed = run.said[when - 1]
    assert failed["error"] == "OutcomeUnknownError"
    assert failed["in_doubt"] == [[name, offset, offset]]
    assert f"{name}@{offset}" in str(failed["text"])
    assert run.errors[1:] == [(step, "PoisonedError") for step in steps[when:]]
    assert len([call for call in run.calls if "fdatasync" in call]) == nth
    assert len(run.acknowledged) == when - 1
    check_kept(path, run)


def test_a_sync_that_fails_for_several_appends_names_all_of_them(
    faulty: Faulty, opening: Opening, path: Path
) -> None:
    nth = opening("fdatasync") + 2
    steps = "append:a os:a os:b os:a sync append:a"
    run = faulty(steps, f"fdatasync:error=EIO:when={nth}", only=WAL)
    failed = next(words for words in run.said if "error" in words)
    assert (failed["step"], failed["error"]) == ("sync", "OutcomeUnknownError")
    assert failed["in_doubt"] == [["a", 2, 3], ["b", 1, 1]]
    assert run.errors[1:] == [("append:a", "PoisonedError")]
    assert len([call for call in run.calls if "fdatasync" in call]) == nth
    check_kept(path, run)


def test_a_sync_that_fails_for_several_threads_names_every_append_that_was_written(
    faulty: Faulty, opening: Opening, path: Path
) -> None:
    """Calls are counted for each thread: the first to lead so many syncs meets the error."""
    nth = opening("fdatasync") + 1
    fault = f"fdatasync:error=EIO:delay_enter=20000:when={nth}"
    run = faulty("threads:abab", fault, only=WAL)
    assert {error for _, error in run.errors} == {"OutcomeUnknownError", "PoisonedError"}
    named = [triple for words in run.said for triple in words.get("in_doubt", ())]
    kept = {(name, offset) for name, offset, _ in run.acknowledged} | {("a", 0), ("b", 0)}
    with transit.open(path) as log:
        found = {(name, offset) for name in "ab" for offset in range(len(log.stream(name)))}
    doubtful = found - kept
    assert kept <= found
    for one, offset in doubtful:
        assert any(name == one and low <= offset <= high for name, low, high in named)
    # Each thread whose append was written was told so; the others only that all is over.
    told = [error for _, error in run.errors if error == "OutcomeUnknownError"]
    assert len(told) == len(doubtful)
    check_kept(path, run)


def test_a_sync_that_fails_at_opening_fails_the_opening(
    faulty: Faulty, opening: Opening, path: Path
) -> None:
    for nth in range(1, opening("fdatasync") + 1):
        run = faulty("append:a", f"fdatasync:error=EIO:when={nth}", only=WAL)
        assert run.errors == [("open", "SyncFailedError")]
    check_kept(path, run)


def test_a_sync_that_fails_at_closing_is_raised_by_close(
    faulty: Faulty, opening: Opening, path: Path
) -> None:
    nth = opening("fdatasync") + 1
    run = faulty("os:a os:b close", f"fdatasync:error=EIO:when={nth}", only=WAL)
    assert run.errors == [("close", "OutcomeUnknownError")]
    check_kept(path, run)


def test_reading_goes_on_after_a_failed_sync(faulty: Faulty, opening: Opening, path: Path) -> None:
    nth = opening("fdatasync") + 2
    run = faulty("append:a append:a read:a read:b", f"fdatasync:error=EIO:when={nth}", only=WAL)
    assert run.errors == [("append:a", "OutcomeUnknownError")]
    assert [words["read"] for words in run.said if "read" in words] == ["a", "b"]
    check_kept(path, run)


@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_sync_that_fails_while_sealing_leaves_the_wal(
    when: int, faulty: Faulty, opening: Opening, path: Path
) -> None:
    nth = opening("fdatasync") + when
    run = faulty("os:a seal append:a seal", f"fdatasync:error=EIO:when={nth}")
    assert run.errors
    assert {error for _, error in run.errors} <= {
        "OutcomeUnknownError",
        "SyncFailedError",
        "PoisonedError",
    }
    check_kept(path, run)


@pytest.mark.parametrize("folder", ["wal", "segments", "commits"])
def test_a_folder_that_fails_to_sync_is_not_taken_for_synced_later(
    folder: str, faulty: Faulty, path: Path
) -> None:
    run = faulty("append:a seal append:b seal append:a", "fsync:error=EIO:when=1", only=folder)
    assert run.errors
    assert {error for _, error in run.errors} <= {"SyncFailedError", "PoisonedError"}
    failed = run.failed_calls()[0]
    dropped = [call for call in run.calls[failed:] if "unlink" in call and ".wal" in call]
    assert not dropped
    assert (path / WAL).exists()
    check_kept(path, run)


# Writes that fail


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EFBIG"])
def test_a_full_disk_refuses_one_append_and_takes_the_next(
    error: str, faulty: Faulty, path: Path
) -> None:
    steps = "append:a append:a append:b append:a read:a close"
    run = faulty(steps, f"pwrite64:error={error}:when=2", only=WAL)
    assert run.errors == [("append:a", "StorageFullError")]
    assert len(run.acknowledged) == 3
    check_kept(path, run)


@pytest.mark.parametrize("when", ["1+", "2+", "4+"])
def test_a_disk_that_stays_full_refuses_every_append_and_loses_none(
    when: str, faulty: Faulty, path: Path
) -> None:
    steps = "append:a append:a append:b create:c os:a sync close"
    run = faulty(steps, f"pwrite64:error=ENOSPC:when={when}", only=WAL)
    written = int(when[0]) - 1
    assert len(run.acknowledged) == written
    refused = [(step, "StorageFullError") for step in steps.split()[written:5]]
    assert run.errors == refused
    check_kept(path, run)


def test_a_frame_that_fits_in_part_is_cut_off_again(faulty: Faulty, path: Path) -> None:
    """A limit on the file's size makes the kernel write a prefix of a frame for real."""
    steps = "append:a limit:5000 big:a big:b limit:-1 append:b read:b"
    run = faulty(steps, "ftruncate:delay_exit=1", only=WAL)
    assert run.errors == [("big:a", "StorageFullError"), ("big:b", "StorageFullError")]
    assert len([call for call in run.calls if "ftruncate" in call]) >= 2
    with transit.open(path) as log:
        assert log.recovery == ()
    check_kept(path, run)


@pytest.mark.parametrize("when", [2, 3])
def test_a_write_that_fails_poisons(when: int, faulty: Faulty, path: Path) -> None:
    steps = "append:a append:b append:a"
    run = faulty(f"{steps} {AFTER}", f"pwrite64:error=EIO:when={when}", only=WAL)
    assert run.errors[0] == (steps.split()[when - 1], "StoreUnavailableError")
    assert {error for _, error in run.errors[1:]} == {"PoisonedError"}
    assert len(run.acknowledged) == when - 1
    check_kept(path, run)


def test_a_full_disk_that_cannot_be_cut_back_poisons(faulty: Faulty, path: Path) -> None:
    faults = ("pwrite64:error=ENOSPC:when=2", "ftruncate:error=EIO")
    run = faulty("append:a append:b append:a append:b", *faults, only=WAL)
    assert run.errors[0] == ("append:b", "StorageFullError")
    assert run.errors[1:] == [("append:a", "PoisonedError"), ("append:b", "PoisonedError")]
    check_kept(path, run)


@pytest.mark.parametrize("when", [1, 3, 5, 7])
def test_a_disk_that_is_full_while_sealing_leaves_the_wal(
    when: int, faulty: Faulty, path: Path
) -> None:
    run = faulty("append:a seal append:a append:b seal", f"pwrite64:error=ENOSPC:when={when + 1}")
    assert {error for _, error in run.errors} <= {"StorageFullError"}
    check_kept(path, run)


@pytest.mark.parametrize("call", ["link", "unlink"])
def test_a_name_that_cannot_be_made_or_dropped_is_an_error_of_sealing_only(
    call: str, faulty: Faulty, path: Path
) -> None:
    run = faulty("append:a seal append:b append:a", f"{call}:error=EIO:when=1")
    assert {error for _, error in run.errors} <= {"StoreUnavailableError"}
    assert len(run.acknowledged) == 3
    check_kept(path, run)


# Disks that lie


@pytest.mark.parametrize("written", [0, 10, 100, 100_000])
def test_a_write_that_never_happened_is_found_out_or_did_no_harm(
    written: int, faulty: Faulty, path: Path
) -> None:
    """The second frame is reported as written up to `written` bytes; none of those are."""
    fault = f"pwrite64:retval={written}:when=2"
    run = faulty("append:a append:a append:a close", fault, only=WAL)
    assert len(run.acknowledged) == 3
    if written:
        with pytest.raises(transit.CorruptError) as caught:
            transit.open(path)
        assert str(path / WAL) in caught.value.place
    else:
        check_kept(path, run)


# Reads that fail


def test_a_wal_that_cannot_be_read_fails_the_opening(faulty: Faulty, path: Path) -> None:
    run = faulty("append:a", "pread64:error=EIO:when=2", only=WAL)
    assert run.errors == [("open", "StoreUnavailableError")]
    check_kept(path, run)


@pytest.mark.slow
def test_a_read_that_fails_once_succeeds_the_next_time(faulty: Faulty, path: Path) -> None:
    for when in (3, 4, 5):
        run = faulty("append:a read:b read:b append:a", f"pread64:error=EIO:when={when}", only=WAL)
        assert {error for _, error in run.errors} <= {"StoreUnavailableError"}
        assert len(run.errors) <= 1
    check_kept(path)


@pytest.mark.slow
def test_a_segment_that_cannot_be_read_is_a_typed_error(faulty: Faulty, path: Path) -> None:
    with transit.open(path) as log:
        log.seal()
    (segment,) = (path / "segments").iterdir()
    only = f"segments/{segment.name}"
    for when in ("1", "2", "1+"):
        run = faulty("read:a read:a", f"pread64:error=EIO:when={when}", only=only)
        assert {error for _, error in run.errors} == {"StoreUnavailableError"}
    check_kept(path)


# Death

WORK = "append:a os:b append:b create:c append:c seal append:a os:a seal append:b close"


@pytest.mark.parametrize("when", [2, 3, 4, 5, 6, 8, 10])
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_a_process_killed_at_a_sync_or_a_write_loses_nothing_it_acknowledged(
    call: str, when: int, faulty: Faulty, path: Path
) -> None:
    run = faulty(WORK, f"{call}:signal=KILL:when={when}")
    assert run.killed
    check_kept(path, run)


@pytest.mark.parametrize("when", [1, 2, 3])
@pytest.mark.parametrize("call", ["link", "unlink", "fsync"])
def test_a_process_killed_while_it_seals_loses_nothing_it_acknowledged(
    call: str, when: int, faulty: Faulty, path: Path
) -> None:
    check_kept(path, faulty(WORK, f"{call}:signal=KILL:when={when}"))


def test_a_process_killed_while_it_cuts_a_torn_tail_leaves_it_to_the_next(
    faulty: Faulty, path: Path
) -> None:
    with (path / WAL).open("r+b") as file:
        used = len(file.read().rstrip(b"\0"))
        file.seek(used)
        file.write(b"torn" * 100)
    for _ in range(2):
        assert faulty("append:a", "ftruncate:signal=KILL:when=1", only=WAL).killed
    check_kept(path)


@pytest.mark.slow
def test_a_wal_whose_end_frame_was_not_synced_is_synced_before_it_is_built_on(
    faulty: Faulty, opening: Opening, path: Path, folder_at
) -> None:
    """Rotation syncs before the end frame and after it: the process dies at the second."""
    nth = opening("fdatasync") + 2
    assert faulty("os:a os:b seal", f"fdatasync:signal=KILL:when={nth}", only=WAL).killed
    assert folder_at(path).frames(WAL)[-1].kind == END
    run = faulty("append:a", "fdatasync:delay_exit=1")
    first = next(call for call in run.calls if "fdatasync" in call and "/wal/" in call)
    assert WAL in first
    check_kept(path, run)


# File systems without fallocate(2)


@pytest.mark.slow
def test_a_file_system_without_fallocate_keeps_appends_that_run_beside_a_sync(
    faulty: Faulty, path: Path
) -> None:
    """The C library then writes zeros, which must not fall on frames."""
    steps = " ".join(["big:a big:b"] * 20 + ["threads:abab"] * 20 + ["read:a", "read:b"])
    run = faulty(steps, "fallocate:error=EOPNOTSUPP", only=WAL)
    assert run.errors == []
    assert run.failed_calls()
    check_kept(path, run)
