"""An exception in the middle of a write: the next call settles what was begun and goes on.

Here it comes right before, within or right after the bytes go to the file; `rigs.interrupts` has
every other place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import transit
from transit.disk import File

Put = Callable[[File, int, bytes | bytearray], None]
write_at: Put = File.write_at


class Stopped(BaseException):
    """What a job queue raises into a thread whose time is up."""


def before(file: File, position: int, data: bytes | bytearray) -> None:
    raise Stopped


def within(file: File, position: int, data: bytes | bytearray) -> None:
    write_at(file, position, data[: len(data) // 2])
    raise Stopped


def after(file: File, position: int, data: bytes | bytearray) -> None:
    write_at(file, position, data)
    raise Stopped


@contextmanager
def stopped(how: Put) -> Iterator[None]:
    """A block whose first write to a WAL file is interrupted, and which ends with that.

    Writes of other threads are not.
    """
    here = threading.get_ident()

    def once(file: File, position: int, data: bytes | bytearray) -> None:
        if threading.get_ident() != here or not file.path.endswith(".wal"):
            write_at(file, position, data)
            return
        patch.undo()
        how(file, position, data)

    patch = pytest.MonkeyPatch()
    patch.setattr(File, "write_at", once)
    with pytest.raises(Stopped):
        yield


def _batch(log: transit.Log) -> None:
    with log.batch() as batch:
        made = batch.create("batch")
        batch.append(made, b"new")
        batch.append(log.stream("s"), b"new")


def _waiting(log: transit.Log) -> None:
    s, t = log.stream("s"), log.stream("t")
    s.append(b"new", durability="memory")
    t.append(b"new", durability="memory")
    list(s)


def _merge_in_a_batch(log: transit.Log) -> None:
    with log.batch() as batch:
        batch.append("s", b"new")
        batch.merge("made", ["s", "t"], policy="interleave")
        batch.advance(log.stream("s").cursor("c"), 1, state=b"one")


# The background thread's writes are not to meet what is planted for a call.
QUIET = transit.Settings(flush_interval_ms=60_000)

CALLS: dict[str, Callable[[transit.Log], object]] = {
    "append": lambda log: log.stream("s").append(b"new"),
    "append_many": lambda log: log.stream("s").append_many([b"new", b"new"]),
    "submit": lambda log: log.stream("s").submit(b"new"),
    "batch": _batch,
    "create": lambda log: log.create("made"),
    "branch": lambda log: log.stream("s").branch("made"),
    "merge": lambda log: log.merge("made", [log.stream("s"), log.stream("t")], policy="append"),
    "cursor": lambda log: log.stream("s").cursor("c").advance(1),
    "merge in a batch": _merge_in_a_batch,
    "memory": _waiting,
    "seal": lambda log: log.seal(),
    "sync of memory": lambda log: (log.stream("s").append(b"new", durability="memory"), log.sync()),
}


def contents(log: transit.Log) -> dict[str, list[bytes]]:
    return {stream.name: [record.payload for record in stream] for stream in log.streams()}


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
@pytest.mark.parametrize("how", [before, within, after])
@pytest.mark.parametrize("name", CALLS)
def test_a_handle_goes_on_after_an_exception_in_the_middle_of_a_write(
    tmp_path: Path, name: str, how: Put, mode: str
) -> None:
    path = tmp_path / "s"
    with transit.open(path, mode=mode, settings=QUIET) as log:
        s, t = log.create("s"), log.create("t")
        s.append_many([b"1", b"2"])
        t.append(b"3")
        if mode == "shared" and name in ("memory", "sync of memory"):
            pytest.skip("there is no memory in a shared store")
        old = contents(log)
        with stopped(how):
            CALLS[name](log)
        # Another call, and then the same once more.
        receipt = t.append(b"other", durability="os")
        assert t[receipt.offset].payload == b"other"
        found = contents(log)
        for stream, payloads in old.items():
            assert found[stream][: len(payloads)] == payloads
        written = sum(payload == b"new" for each in found.values() for payload in each)
        # The merge has the record too.
        begun = {"append_many": 2, "batch": 2, "memory": 2, "append": 1, "submit": 1}
        begun["merge in a batch"] = 2
        if how is after or "memory" in name:
            assert written == begun.get(name, 1 if "memory" in name else 0)
        else:
            assert written == 0
        s.append(b"last")
        log.seal()
        assert log.verify().ok
        found = contents(log)
    with transit.open(path) as log:
        assert contents(log) == found
        assert log.recovery == ()


def test_what_was_accepted_is_written_once_when_its_frame_is_interrupted(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s", settings=QUIET) as log:
        s = log.create("s")
        for how in (before, within, after):
            s.append(b"waits", durability="memory")
            with stopped(how):
                log.sync()
        log.sync()
        assert [record.payload for record in s] == [b"waits"] * 3


def test_a_file_that_was_to_end_goes_on_or_has_ended(tmp_path: Path) -> None:
    settings = transit.Settings(seal_bytes=4096, flush_interval_ms=60_000)
    with transit.open(tmp_path / "s", settings=settings, durability="os") as log:
        s = log.create("s")
        for how in (before, within, after):
            count = len(s)
            with stopped(how):
                log.seal()
            s.append(b"x" * 5000)
            s.append(b"y")
            assert len(s) == count + 2
        assert log.verify().ok
