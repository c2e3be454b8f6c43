"""What is closed lets go of its files, threads and locks at once, and closes no file of others.

Nothing is collected while these tests run: what only the collector would let go of is found.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from rigs.resources import open_files
from transit.descriptors import LASTING, NONE, Descriptor, lasting
from transit.disk import File, InUse
from transit.log.files import WalFiles
from transit.store import open_store
from transit.testing.doors import FaultDoor
from transit.verify.findings import Ledger

pytestmark = pytest.mark.usefixtures("nothing_is_collected")

Run = Callable[..., str]
QUICK = transit.Settings(flush_interval_ms=5, remote_timeout_s=0.3, publish_interval_s=60.0)


class Held:
    """What the process has open, and what it had."""

    def __init__(self) -> None:
        self.before = self.now()

    @staticmethod
    def now() -> set[object]:
        return {*open_files(), *threading.enumerate()}

    def more(self) -> set[object]:
        return self.now() - self.before


def filled(folder: Path) -> Path:
    """A store with a sealed and an unsealed part, and a remote beside it."""
    path = folder / "store"
    with transit.open(path, remote=folder / "remote", settings=QUICK) as log:
        stream = log.create("s")
        stream.append_many([b"%d" % n for n in range(50)])
        log.publish()
        stream.append(b"unsealed")
    return path


def use(log: transit.Log) -> None:
    """Start every thread, and open every file."""
    if log.mode == "read":
        assert len(list(log.stream("s"))) >= 50
        assert len(list(log.stream("s").tail(start=0, timeout=0))) >= 50
        return
    stream = log.stream("s")
    stream.append(b"x", durability="local")
    stream.submit(b"y", durability="local").result(60)
    if log.status().remote:
        stream.submit(b"z", durability="tiered").result(60)
    log.seal()
    stream.append(b"unsealed", durability="memory")


OPENINGS: dict[str, Callable[[Path], transit.Log]] = {
    "exclusive": lambda folder: transit.open(folder / "store", settings=QUICK),
    "shared": lambda folder: transit.open(folder / "store", mode="shared", settings=QUICK),
    "read": lambda folder: transit.open(folder / "store", mode="read"),
    "with a remote": lambda folder: transit.open(
        folder / "store", remote=folder / "remote", settings=QUICK
    ),
    "a bucket": lambda folder: transit.open(f"file://{folder / 'remote'}", mode="read"),
    "read with a remote": lambda folder: transit.open(
        folder / "store", mode="read", remote=folder / "remote"
    ),
}


@pytest.mark.parametrize("kind", OPENINGS)
def test_a_closed_store_has_let_go_of_every_file_and_thread(tmp_path: Path, kind: str) -> None:
    filled(tmp_path)
    held = Held()
    log = OPENINGS[kind](tmp_path)
    use(log)
    log.close()
    assert held.more() == set()
    with OPENINGS[kind](tmp_path) as log:
        use(log)
        assert kind == "a bucket" or held.more()
    assert held.more() == set()


@pytest.mark.parametrize("kind", ["exclusive", "read"])
def test_a_read_under_way_ends_with_closed_and_keeps_no_file(tmp_path: Path, kind: str) -> None:
    filled(tmp_path)
    held = Held()
    log = OPENINGS[kind](tmp_path)
    reading = log.stream("s").read(50)
    tail = log.stream("s").tail(start=50)
    batches = log.stream("s").batches(50)
    assert next(tail).payload == b"unsealed"
    log.close()
    assert held.more() == set()
    for each in (reading, tail, batches):
        with pytest.raises(transit.ClosedError):
            next(each)


def test_a_sealed_file_that_a_reader_still_holds_is_closed_with_its_store(tmp_path: Path) -> None:
    held = Held()
    log = transit.open(tmp_path / "store")
    stream = log.create("s")
    for n in range(2000):
        stream.append(b"%d" % n * 100, durability="os")
    reading = stream.read()
    next(reading)
    log.seal()
    assert any("deleted" in str(each) for each in held.more())
    log.close()
    assert held.more() == set()
    # What it has at hand it may still give.
    with pytest.raises(transit.ClosedError):
        list(reading)


def test_tails_and_followers_that_end_or_are_dropped_let_go(tmp_path: Path) -> None:
    path = filled(tmp_path)

    async def cancelled(stream: transit.Stream) -> None:
        async def follow() -> None:
            async for _ in stream.follow(start=0):
                pass

        task = asyncio.create_task(follow())
        await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.get_running_loop().shutdown_default_executor()

    with transit.open(path, mode="read") as log:
        stream = log.stream("s")
        asyncio.run(cancelled(stream))
        held = Held()
        list(stream.tail(start=0, timeout=0.01))
        tail = stream.tail(start=0, timeout=60)
        for _ in range(51):
            next(tail)
        del tail
        asyncio.run(cancelled(stream))
        # The store's own thread lets go a moment after the last of them.
        deadline = time.monotonic() + 60
        while held.more():
            assert time.monotonic() < deadline
            time.sleep(0.005)


def spoil_format(folder: Path) -> None:
    (folder / "store" / "FORMAT").write_bytes(b"{}")


def spoil_wal(folder: Path) -> None:
    wal = max((folder / "store" / "wal").iterdir())
    wal.write_bytes(wal.read_bytes()[:8] + bytes(16) + wal.read_bytes()[24:])


def spoil_frame(folder: Path) -> None:
    wal = max((folder / "store" / "wal").iterdir())
    wal.write_bytes(wal.read_bytes()[:70] + b"?" + wal.read_bytes()[71:])


def spoil_commit(folder: Path) -> None:
    next((folder / "store" / "commits").iterdir()).write_bytes(b"{}")


def spoil_remote(folder: Path) -> None:
    (folder / "remote" / "FORMAT").write_bytes(b"{}")


SPOILED = [spoil_format, spoil_wal, spoil_frame, spoil_commit, spoil_remote]


@pytest.mark.parametrize("spoil", SPOILED)
@pytest.mark.parametrize("kind", ["with a remote", "shared", "read", "read with a remote"])
def test_an_opening_that_fails_leaves_nothing_though_its_error_is_kept(
    tmp_path: Path, kind: str, spoil: Callable[[Path], None]
) -> None:
    filled(tmp_path)
    spoil(tmp_path)
    held = Held()
    kept = []
    try:
        OPENINGS[kind](tmp_path).close()
    except transit.TransitError as error:
        kept.append(error)
    assert kept or "remote" not in kind
    assert held.more() == set()


def test_an_opening_whose_remote_fails_at_any_request_leaves_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path)
    held = Held()
    kept = []
    for failing in range(12):
        door = FaultDoor(
            open_store(tmp_path / "remote"),
            lambda n, kind, key, failing=failing: "lost_before" if n == failing else None,  # type: ignore[misc]
        )
        for mode in ("exclusive", "read"):
            try:
                transit.open(path, remote=door, mode=mode, settings=QUICK).close()
            except transit.TransitError as error:
                kept.append(error)
    assert kept
    assert held.more() == set()


def test_publishing_restoring_and_auditing_leave_nothing_failed_or_not(tmp_path: Path) -> None:
    path = filled(tmp_path)
    held = Held()
    kept = []
    for failing in range(40):
        door = FaultDoor(
            open_store(tmp_path / "remote"),
            lambda n, kind, key, failing=failing: "lost_before" if n == failing else None,  # type: ignore[misc]
        )
        works: list[Callable[[], object]] = [
            lambda door=door, n=failing: transit.restore(door, tmp_path / f"r{n}", settings=QUICK),  # type: ignore[misc]
            lambda door=door: transit.audit(door, settings=QUICK),  # type: ignore[misc]
        ]
        for work in works:
            try:
                work()
            except transit.TransitError as error:
                kept.append(error)
    assert kept
    assert held.more() == set()
    door = FaultDoor(open_store(tmp_path / "remote"))
    with transit.open(path, remote=door, settings=QUICK) as log:
        log.stream("s").append(b"more")
        door.rule = lambda n, kind, key: "lost_before" if kind != "get" else None
        with pytest.raises(transit.RemoteUnavailableError) as caught:
            log.publish()
    assert caught.value
    assert held.more() == set()


CHILDREN = """
import os, sys, threading, transit
from rigs.resources import open_files
before = open_files()
log = transit.open(sys.argv[1], settings=transit.Settings(flush_interval_ms=5))
log.create("s").append(b"x")
held = open_files() - before
assert held
if (pid := os.fork()) == 0:
    if sys.argv[2] == "fork":
        left = open_files() - before
        # What is opened now has numbers the store had: collecting it must not close them.
        os.closerange(3, 4096)
        mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(1024)]
        del log
        import gc; gc.collect()
        for number in mine:
            os.fstat(number)
        os.write(1, f"{left}\\n".encode())
        os._exit(0)
    os.execv(sys.executable, [sys.executable, "-c",
        "import os; print([n for n in os.listdir('/proc/self/fd')"
        " if 'wal' in os.path.realpath('/proc/self/fd/' + n)])"])
assert os.waitpid(pid, 0)[1] == 0
log.stream("s").append(b"y")
assert len(log.stream("s")) == 2
log.close()
assert open_files() - before == set(), open_files() - before
"""


@pytest.mark.parametrize(("way", "left"), [("fork", "set()"), ("exec", "[]")])
def test_a_child_has_none_of_its_parents_files_and_its_own_are_left_alone(
    run: Run, path: Path, way: str, left: str
) -> None:
    assert run(CHILDREN, path, way).strip() == left


CLOSED_BY_OTHERS = """
import os, resource, sys, threading, transit
path, limit = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
settings = transit.Settings(flush_interval_ms=10_000)
log = transit.open(path, durability="os", settings=settings)
s = log.create("s")
s.append(b"before", durability="local")
os.closerange(3, limit)
# A file of the user's for each number there is.
mine = []
while True:
    try:
        mine.append(os.open(sys.argv[3], os.O_RDWR | os.O_CREAT, 0o600))
    except OSError:
        break
    if len(mine) == 300:
        break
durable = 0
for call in (lambda: s.append(b"lost", durability="local"), log.seal, log.sync, log.close):
    try:
        call()
        durable += 1
    except transit.TransitError as error:
        pass
for number in mine:
    os.fstat(number)
    os.close(number)
print(durable, os.path.getsize(sys.argv[3]))
again = transit.open(path, settings=settings)
again.stream("s").append(b"after")
del log, s
import gc; gc.collect()
again.stream("s").append(b"still")
print([record.payload for record in again.stream("s")])
again.close()
"""


def test_numbers_that_other_code_closed_are_neither_written_to_nor_closed(
    run: Run, path: Path, tmp_path: Path
) -> None:
    """The limit leaves room for numbers that do not become another file's by chance."""
    printed = run(CLOSED_BY_OTHERS, path, 1100, tmp_path / "mine").splitlines()
    assert printed == ["0 0", str([b"before", b"after", b"still"])]


def test_where_numbers_are_few_nothing_is_acknowledged_that_went_elsewhere(
    run: Run, path: Path, tmp_path: Path
) -> None:
    durable, _ = run(CLOSED_BY_OTHERS, path, 200, tmp_path / "mine").splitlines()[0].split()
    assert durable == "0"


def test_a_number_is_closed_when_the_last_call_that_uses_it_returns(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    held = Held()
    file = File.open(str(tmp_path / "f"))
    with InUse(file, file._held) as number:
        file.close()
        assert os.pread(number, 1, 0) == b"x"
    assert held.more() == set()
    with pytest.raises(transit.ClosedError):
        file.read_at(0, 1)


def test_a_number_that_became_another_files_is_not_closed(tmp_path: Path) -> None:
    ours = Descriptor(os.open(tmp_path / "ours", os.O_RDWR | os.O_CREAT))
    os.close(ours.number)
    theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
    assert theirs == ours.number
    assert not ours.is_ours
    del ours
    os.fstat(theirs)
    os.close(theirs)


def test_a_number_that_leads_to_the_same_file_for_another_owner_is_not_closed(
    tmp_path: Path,
) -> None:
    first = Descriptor(os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT))
    os.close(first.number)
    second = Descriptor(os.open(tmp_path / "f", os.O_RDWR))
    assert first.number == second.number
    assert not first.is_ours
    del first
    assert second.is_ours
    os.fstat(second.number)


def test_what_is_written_to_has_a_number_that_others_do_not_get_by_chance(tmp_path: Path) -> None:
    moved = lasting(os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT))
    assert moved.number >= LASTING
    assert not os.get_inheritable(moved.number)
    assert not NONE.is_ours


PLANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "the store's files are left to the collector": lambda patch: patch.setattr(
        WalFiles, "close", lambda self: None
    ),
    "a descriptor is never closed": lambda patch: patch.setattr(
        Descriptor, "is_ours", property(lambda self: False)
    ),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_store_that_does_not_let_go_is_found(
    tmp_path: Path, plant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    with monkeypatch.context() as patch:
        PLANTS[plant](patch)
        with pytest.raises((AssertionError, transit.TransitError)):
            test_a_closed_store_has_let_go_of_every_file_and_thread(tmp_path, "exclusive")
    gc.collect()


def test_a_number_closed_without_asking_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Descriptor, "__del__", lambda self: os.close(self.number))
    with pytest.raises(OSError, match="Bad file descriptor"):
        test_a_number_that_became_another_files_is_not_closed(tmp_path)


# Errors


def open_what_is_not_there(folder: Path) -> None:
    with contextlib.suppress(transit.NotFoundError):
        File.open(str(folder / "nothing"))


def ask_what_is_closed(folder: Path) -> None:
    file = File.create(str(folder / "file"))
    file.close()
    with contextlib.suppress(transit.ClosedError):
        assert file.size < 0


def note_a_finding(folder: Path) -> None:
    ledger = Ledger(str(folder))
    with ledger.catching():
        raise transit.CorruptError("place", expected="this", found="that")
    assert ledger.counts["findings"] == 1


@pytest.mark.parametrize("step", [open_what_is_not_there, ask_what_is_closed, note_a_finding])
def test_an_error_that_is_over_leaves_nothing_to_be_collected(
    path: Path, step: Callable[[Path], None]
) -> None:
    """Generators that raise another error left their frames, and all above (Python 3.12)."""
    for name in ("first", "second"):
        (path / name).mkdir(parents=True)
        gc.collect()
        step(path / name)
    assert gc.collect() == 0
