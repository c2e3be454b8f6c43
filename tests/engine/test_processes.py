"""Several processes, several threads, and processes that are killed.

Every random choice comes from a seed that a failing test prints; TRANSIT_SEED repeats it.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import transit

Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., str]

QUICK = transit.Settings(lock_timeout_s=0.2)
SMALL = transit.Settings(seal_bytes=65536, block_bytes=4096)


def read_line(child: subprocess.Popen[str]) -> str:
    """The next line a child prints; later ones stay unread, for `communicate`."""
    assert child.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(child.stdout.fileno(), 1)
        if not byte:
            _, complaint = child.communicate(timeout=60)
            raise AssertionError(f"the child ended: {complaint}")
        line += byte
    return line.decode().strip()


def finish(child: subprocess.Popen[str], timeout: float = 60) -> str:
    """What a child prints until it ends well."""
    printed, complaint = child.communicate(timeout=timeout)
    assert child.returncode == 0, complaint
    return printed


def let_go(child: subprocess.Popen[str]) -> None:
    """Tell a child that waits for it to go on."""
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed, which pytest shows with the output of a test that fails."""
    chosen = int(os.environ.get("TRANSIT_SEED") or random.randrange(2**32))
    print(f"TRANSIT_SEED={chosen}")
    return chosen


# Several writers


APPEND_SHARED = """
import sys, transit
path, writer, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with transit.open(path, mode="shared", durability="os") as log:
    stream = log.stream("s")
    print("ready", flush=True)
    sys.stdin.readline()
    offsets = [stream.append(f"{writer} {n}".encode()).offset for n in range(count)]
assert offsets == sorted(set(offsets))
print(*offsets)
"""

FOLLOW = """
import sys, transit
path, count = sys.argv[1], int(sys.argv[2])
with transit.open(path, mode="read") as log:
    print("ready", flush=True)
    seen = 0
    for record in log.stream("s").tail(start=0, timeout=30):
        assert record.offset == seen, (record.offset, seen)
        sys.stdout.write(record.payload.decode() + "\\n")
        seen += 1
        if seen == count:
            break
"""


@pytest.mark.slow
def test_four_processes_share_a_stream_and_a_follower_sees_all_in_order(
    start: Start, path: Path
) -> None:
    writers, count = 4, 5000
    with transit.open(path, mode="shared") as log:
        log.create("s")
    children = [start(APPEND_SHARED, path, writer, count) for writer in range(writers)]
    follower = start(FOLLOW, path, writers * count)
    for child in (*children, follower):
        assert read_line(child) == "ready"
    for child in children:
        let_go(child)
    with ThreadPoolExecutor() as waiting:
        # All at once, or one of them would wait for another with its pipe full.
        *printed, followed = waiting.map(finish, (*children, follower))
    offsets = [[int(each) for each in line.split()] for line in printed]
    assert sorted(offset for own in offsets for offset in own) == list(range(writers * count))
    with transit.open(path) as log:
        stored = [record.payload.decode() for record in log.stream("s").read()]
        assert log.verify().ok
    for writer, own in enumerate(offsets):
        assert [stored[offset] for offset in own] == [f"{writer} {n}" for n in range(count)]
    assert followed.splitlines() == stored


CREATE_SHARED = """
import sys, transit
path, writer = sys.argv[1:]
with transit.open(path, mode="shared", durability="os") as log:
    print("ready", flush=True)
    sys.stdin.readline()
    won = 0
    for n in range(50):
        try:
            log.create(f"contested {n}", {"by": writer})
            won += 1
        except transit.AlreadyExistsError:
            pass
        log.stream(f"contested {n}").append(writer.encode())
        log.stream(f"contested {n}").branch(f"{writer} of {n}")
        if n % 20 == 10:
            log.seal()
print(won)
"""


def test_processes_that_create_the_same_streams_agree_on_who_did(start: Start, path: Path) -> None:
    transit.open(path, mode="shared").close()
    children = [start(CREATE_SHARED, path, writer) for writer in range(3)]
    for child in children:
        assert read_line(child) == "ready"
    for child in children:
        let_go(child)
    won = [int(finish(child)) for child in children]
    with transit.open(path) as log:
        assert sum(won) == 50
        for n in range(50):
            stream = log.stream(f"contested {n}")
            assert sorted(record.payload for record in stream) == [b"0", b"1", b"2"]
            assert all(f"{writer} of {n}" in log for writer in range(3))
        assert log.verify().ok


APPEND_EXPECTED = """
import sys, transit
with transit.open(sys.argv[1], mode="shared", durability="os") as log:
    stream = log.stream("s")
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(200):
        while True:
            seen = stream.next_offset
            total = int(stream[-1].payload) if seen else 0
            try:
                stream.append(str(total + 1).encode(), expect=seen)
                break
            except transit.ConflictError:
                pass
"""


def test_conditional_appends_of_several_processes_count_without_a_gap(
    start: Start, path: Path
) -> None:
    with transit.open(path, mode="shared") as log:
        log.create("s")
    children = [start(APPEND_EXPECTED, path) for _ in range(3)]
    for child in children:
        assert read_line(child) == "ready"
    for child in children:
        let_go(child)
    for child in children:
        finish(child)
    with transit.open(path) as log:
        assert [int(record.payload) for record in log.stream("s")] == list(range(1, 601))


# Which processes may open a store


HOLD = """
import sys, transit
with transit.open(sys.argv[1], mode=sys.argv[2]) as log:
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("held", "asked", "allowed"),
    [
        ("exclusive", "exclusive", False),
        ("exclusive", "shared", False),
        ("exclusive", "read", True),
        ("shared", "exclusive", False),
        ("shared", "shared", True),
        ("shared", "read", True),
        ("read", "exclusive", True),
        ("read", "shared", True),
        ("read", "read", True),
    ],
)
def test_a_second_opener_is_let_in_or_told_which_process_holds_the_store(
    start: Start, path: Path, held: str, asked: str, allowed: bool
) -> None:
    transit.open(path).close()
    holder = start(HOLD, path, held)
    assert read_line(holder) == "ready"
    if allowed:
        transit.open(path, mode=asked, settings=QUICK).close()
    else:
        with pytest.raises(transit.LockedError) as caught:
            transit.open(path, mode=asked, settings=QUICK)
        assert caught.value.pid == holder.pid
        assert str(holder.pid) in str(caught.value)
    let_go(holder)
    finish(holder)
    transit.open(path, mode=asked, settings=QUICK).close()


def test_the_lock_of_a_killed_process_is_free(start: Start, path: Path) -> None:
    holder = start(HOLD, path, "exclusive")
    assert read_line(holder) == "ready"
    holder.kill()
    holder.wait(timeout=60)
    transit.open(path, settings=QUICK).close()


# Threads


def test_threads_that_append_durably_get_exact_offsets_and_keep_their_order(path: Path) -> None:
    threads, count = 8, 500
    receipts: dict[int, list[int]] = defaultdict(list)
    with transit.open(path, durability="local") as log:
        stream = log.create("s")

        def write(thread: int) -> None:
            for number in range(count):
                receipt = stream.append(b"%d %d" % (thread, number))
                assert receipt.durability == "local"
                receipts[thread].append(receipt.offset)

        workers = [threading.Thread(target=write, args=(thread,)) for thread in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=60)
        stored = [record.payload for record in stream]
    assert sorted(o for own in receipts.values() for o in own) == list(range(threads * count))
    for thread, own in receipts.items():
        assert [stored[o] for o in own] == [b"%d %d" % (thread, n) for n in range(count)]


def test_threads_may_create_branch_merge_seal_and_read_at_once(path: Path, seed: int) -> None:
    failures: list[BaseException] = []
    with transit.open(path, durability="os", settings=SMALL) as log:
        root = log.create("root")
        root.append_many([b"x" * 100] * 50)

        def work(thread: int) -> None:
            choices = random.Random(seed + thread)
            try:
                for number in range(60):
                    name = f"{thread}/{number}"
                    child = root.branch(name, at=choices.randrange(50))
                    child.append(name.encode() * 20)
                    root.append(name.encode())
                    merged = log.merge(f"merge {name}", [root, child], policy="append")
                    assert name.encode() * 20 in [record.payload for record in merged]
                    with log.batch() as batch:
                        batch.append(batch.create(f"batch {name}"), b"x")
                        batch.append(root, b"batch")
                    if choices.random() < 0.1:
                        log.seal()
            except BaseException as error:
                failures.append(error)

        workers = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=60)
        assert failures == []
        assert len(root) == 50 + 4 * 60 * 2
        assert len(list(log.streams())) == 1 + 4 * 60 * 3
        assert log.verify().ok


# Processes that are killed


APPEND_UNTIL_KILLED = """
import os, sys, transit
path, durability, run = sys.argv[1:]
settings = transit.Settings(seal_bytes=65536, block_bytes=4096)
with transit.open(path, durability=durability, settings=settings) as log:
    stream = log.stream("s")
    print("ready", flush=True)
    for number in range(1_000_000):
        receipt = stream.append(f"{run} {number} ".encode() + b"x" * (number % 300))
        os.write(1, b"%d\\n" % receipt.offset)
"""


class Killed:
    """A store whose writers are killed one after another, and what it held before the last."""

    def __init__(self, start: Start, path: Path, seed: int) -> None:
        self.start, self.path = start, path
        self.random = random.Random(seed)
        self.before: list[str] = []
        with transit.open(path) as log:
            log.create("s")

    def run(self, number: int, durability: str) -> list[int]:
        """Start a writer, kill it at a random moment; the offsets it was told."""
        writer = self.start(APPEND_UNTIL_KILLED, self.path, durability, number)
        assert read_line(writer) == "ready"
        time.sleep(self.random.choice([0.0, 0.002, 0.02]) * self.random.random())
        writer.kill()
        printed, _ = writer.communicate(timeout=60)
        # The last line may be cut short where the kill came in the middle of it.
        offsets = [int(line) for line in printed.split("\n")[:-1]]
        assert offsets == list(range(len(self.before), len(self.before) + len(offsets)))
        return offsets

    def written(self, number: int) -> int:
        """How many records of this run the store holds; they are its first ones, in order."""
        with transit.open(self.path, settings=SMALL) as log:
            stream = log.stream("s")
            new = [brief(record) for record in stream.read(len(self.before))]
            assert new == [f"{number} {each}" for each in range(len(new))]
            assert stream.append(b"parent 0").offset == len(self.before) + len(new)
        self.before += [*new, "parent 0"]
        return len(new)

    def compare(self) -> None:
        """The whole store holds what was there after each run."""
        with transit.open(self.path) as log:
            assert [brief(record) for record in log.stream("s").read()] == self.before
            assert log.verify().ok


def brief(record: transit.Record) -> str:
    """The first two words of a payload: the run and the number in it."""
    return " ".join(record.payload.decode().split()[:2])


@pytest.mark.slow
def test_a_writer_killed_50_times_loses_nothing_acknowledged_and_invents_nothing(
    start: Start, path: Path, seed: int
) -> None:
    store = Killed(start, path, seed)
    for run in range(50):
        acknowledged = len(store.run(run, ["os", "local"][run % 2]))
        # One append at a time: at most one was written and not yet acknowledged.
        assert acknowledged <= store.written(run) <= acknowledged + 1
        if run % 10 == 9:
            store.compare()


@pytest.mark.slow
def test_a_writer_killed_with_memory_durability_leaves_a_prefix(
    start: Start, path: Path, seed: int
) -> None:
    store = Killed(start, path, seed)
    for run in range(10):
        acknowledged = len(store.run(run, "memory"))
        assert store.written(run) <= acknowledged + 1
    store.compare()


KILLED_SHARED = """
import os, sys, transit
path, writer = sys.argv[1:]
with transit.open(path, mode="shared", durability="os") as log:
    stream = log.stream("s")
    print("ready", flush=True)
    for number in range(1_000_000):
        receipt = stream.append(f"{writer} {number}".encode())
        os.write(1, b"%d\\n" % receipt.offset)
"""


@pytest.mark.slow
def test_a_shared_writer_that_is_killed_does_not_stop_the_others(
    start: Start, path: Path, seed: int
) -> None:
    choices = random.Random(seed)
    with transit.open(path, mode="shared", durability="os") as log:
        stream = log.create("s")
        for run in range(8):
            writer = start(KILLED_SHARED, path, run)
            assert read_line(writer) == "ready"
            deadline = time.monotonic() + choices.random() * 0.1
            while time.monotonic() < deadline:
                stream.append(b"parent")
            writer.kill()
            printed, _ = writer.communicate(timeout=60)
            stored = [record.payload for record in stream.read()]
            acknowledged = [int(line) for line in printed.split("\n")[:-1]]
            assert [stored[offset] for offset in acknowledged] == [
                b"%d %d" % (run, number) for number in range(len(acknowledged))
            ]
            assert stream.append(b"parent").offset == len(stored)
    with transit.open(path) as log:
        assert log.verify().ok


SEAL_UNTIL_KILLED = """
import sys, transit
settings = transit.Settings(block_bytes=4096)
with transit.open(sys.argv[1], durability="os", settings=settings) as log:
    stream = log.stream("s")
    print("ready", flush=True)
    while True:
        stream.append_many([bytes(500)] * 20)
        log.seal()
        print(len(stream), flush=True)
"""


@pytest.mark.slow
def test_a_writer_killed_while_it_seals_leaves_every_record_once(
    start: Start, path: Path, seed: int
) -> None:
    choices = random.Random(seed)
    count = 0
    with transit.open(path) as log:
        log.create("s")
    for _ in range(15):
        writer = start(SEAL_UNTIL_KILLED, path)
        assert read_line(writer) == "ready"
        time.sleep(choices.random() * 0.05)
        writer.kill()
        printed, _ = writer.communicate(timeout=60)
        lines = printed.split("\n")[:-1]
        with transit.open(path) as log:
            stream = log.stream("s")
            assert [r.offset for r in stream.read()] == list(range(len(stream)))
            assert len(stream) >= (int(lines[-1]) if lines else count)
            assert len(stream) % 20 == 0
            count = len(stream)
            assert log.verify().ok


BATCH_UNTIL_KILLED = """
import sys, transit
run = sys.argv[2]
with transit.open(sys.argv[1], durability="os") as log:
    print("ready", flush=True)
    for number in range(1_000_000):
        with log.batch() as batch:
            for half in ("a", "b"):
                stream = batch.create(f"{run} {number} {half}")
                batch.append(stream, half.encode() * 3000)
"""


@pytest.mark.slow
def test_a_batch_of_a_killed_writer_is_there_whole_or_not_at_all(
    start: Start, path: Path, seed: int
) -> None:
    choices = random.Random(seed)
    transit.open(path).close()
    for run in range(8):
        writer = start(BATCH_UNTIL_KILLED, path, run)
        assert read_line(writer) == "ready"
        time.sleep(choices.random() * 0.05)
        writer.kill()
        writer.communicate(timeout=60)
        with transit.open(path) as log:
            names = [stream.name for stream in log.streams()]
            assert len(names) % 2 == 0
            for first, second in zip(names[::2], names[1::2], strict=True):
                assert (first[:-1], first[-1], second[-1]) == (second[:-1], "a", "b")
                assert [r.payload for r in log.stream(second)] == [b"b" * 3000]


@pytest.mark.slow
def test_a_reader_far_behind_the_writer_reads_every_wal_file_on_its_way(path: Path) -> None:
    settings = transit.Settings(seal_bytes=4096)
    with transit.open(path, durability="os", settings=settings) as log:
        stream = log.create("s")
        with transit.open(path, mode="read") as early:
            seen = early.stream("s")
            for _ in range(1000):
                stream.append(b"x" * 1000)
            assert len(seen) == 1000
            with transit.open(path, mode="read") as late:
                assert len(late.stream("s")) == len(list(seen.read())) == 1000


DIE_WITH_MANY_FILES = """
import os, signal, sys, transit
settings = transit.Settings(seal_bytes=4096)
log = transit.open(sys.argv[1], durability="os", settings=settings)
stream = log.create("s")
for _ in range(1000):
    stream.append(b"x" * 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_a_store_killed_with_many_wal_files_opens_in_every_mode(
    start: Start, path: Path, mode: str
) -> None:
    start(DIE_WITH_MANY_FILES, path).communicate(timeout=60)
    with transit.open(path, mode=mode) as log:
        assert len(list(log.stream("s").read())) == 1000
        assert log.verify().ok


@pytest.mark.slow
def test_a_reader_survives_the_death_of_the_writer_and_follows_the_next(
    start: Start, path: Path
) -> None:
    with transit.open(path) as log:
        log.create("s")
    with transit.open(path, mode="read") as reader, contextlib.ExitStack() as stack:
        tail = reader.stream("s").tail(start=0, timeout=20)
        stack.callback(getattr(tail, "close", lambda: None))
        for run in range(3):
            writer = start(APPEND_UNTIL_KILLED, path, "os", run)
            assert read_line(writer) == "ready"
            seen = 0
            while seen < 20:
                payload = next(tail).payload.decode()
                if payload.split()[0] == str(run):
                    assert payload.split()[1] == str(seen)
                    seen += 1
            writer.kill()
            writer.communicate(timeout=60)
