"""Rules about the lives of a store: sealed, synced, closed, opened in each mode, crashed, verified.

A crash here is the death of the process: what it wrote is in the folder, what waited in memory is
gone. The handles' files are copied as they are, the handles are thrown away with the folder, and
the copy takes its place. What a loss of power leaves is tried by `rigs.crash.states`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import precondition

import transit
from rigs.machines.compare import compare_all, outcome
from rigs.machines.machine import World, step, still
from rigs.machines.values import SMALL, spots
from transit.testing.model import ModelLog


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, which may not be there."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


modes = st.sampled_from(["exclusive", "exclusive", "shared"])


class Lives(World):
    """Closing, opening and dying in every mode."""

    @step()
    def seal(self) -> None:
        """Everything becomes a segment."""
        before = self.log.status()
        self.log.seal()
        after = self.log.status()
        assert after.records == before.records
        assert after.commits >= before.commits
        self.compare()

    @precondition(lambda self: self.mode == "shared")
    @step(spot=spots)
    def seal_unseen(self, spot: int) -> None:
        """The other handle's sealing thread takes up segments whose records it has not read."""
        name = self.pick(spot)
        for payload in (b"sealed", b"sealed as well"):
            given = self.stream(name).append(payload).timestamp
            self.model.append(name, payload, given)
            self.log.seal()
        for log in self.logs:
            log._handle.sealer.seal_ended()
        self.compare()

    @step()
    def sync(self) -> None:
        """Everything is durable, and the same."""
        self.log.sync()
        self.waiting.clear()
        assert self.log.status().unsynced_bytes == 0
        self.compare()

    @step()
    def verify(self) -> None:
        """Every byte is what it should be."""
        report = self.log.verify()
        assert report.ok, report.findings

    @step(mode=modes)
    def close_and_reopen(self, mode: str) -> None:
        """Closing loses nothing, not even what waited in memory."""
        self.stop()
        self.reopen(mode)

    @step(mode=modes)
    def crash(self, mode: str) -> None:
        """The process dies: what waited in memory may be lost, the latest first."""
        self.crash_now(mode)

    @step(spots=st.lists(spots, min_size=1, max_size=4), mode=modes, crash=st.booleans())
    def end_with_records_in_memory(self, spots: list[int], mode: str, crash: bool) -> None:
        """What waits in memory when the store is closed is kept, and when it dies perhaps not."""
        for spot in spots:
            name = self.pick(spot)
            given = self.stream(name).append(b"waits", durability="memory").timestamp
            self.model.append(name, b"waits", given)
            if self.mode == "exclusive":
                self.waiting.append(name)
        if crash:
            self.crash_now(mode)
        else:
            self.stop()
            self.reopen(mode)

    @step(way=st.sampled_from(["moved", "replaced", "removed", "unlocked"]), mode=modes)
    def lose_the_folder(self, way: str, mode: str) -> None:
        """The folder goes while it is open, and comes back; what was in its place is untouched.

        A call that would go on is told so. What waited in memory may be lost, as in a crash.
        """
        waiting, moved = list(self.waiting), self.root / "moved"
        with still(self.logs):
            self.folder.rename(moved)
            if way in ("replaced", "removed"):
                shutil.copytree(moved, self.folder)
            if way == "removed":
                # What came back later is a copy, made before it was removed.
                shutil.rmtree(moved)
                self.folder.rename(moved)
            if way == "unlocked":
                moved.rename(self.folder)
                (self.folder / "LOCK").unlink()
        before = contents(self.folder)
        assert outcome(self.log.seal) is transit.StoreMovedError
        for log in self.logs:
            # Told too, unless there is nothing left to do.
            assert outcome(log.close) in (None, transit.StoreMovedError)
        self.logs.clear()
        self.stop()
        if way != "unlocked":
            assert contents(self.folder) == before
            shutil.rmtree(self.folder, ignore_errors=True)
            moved.rename(self.folder)
        self.start(mode)
        self.forget(waiting)
        self.compare()

    def crash_now(self, mode: str) -> None:
        """Die, open again, and find what was kept."""
        waiting = list(self.waiting)
        self.die()
        self.start(mode)
        self.forget(waiting)
        self.compare()

    def reopen(self, mode: str) -> None:
        """Open what was closed, and compare."""
        self.start(mode)
        self.compare()

    def die(self) -> None:
        """Have the folder as it is when the process dies now, and no handle on it."""
        copy = self.root / "as it was"
        with still(self.logs):
            shutil.copytree(self.folder, copy)
        self.stop()
        shutil.rmtree(self.folder)
        copy.rename(self.folder)

    def forget(self, waiting: list[str]) -> None:
        """Take from the model what was lost of the records that waited."""
        lost = 0
        for name in set(waiting):
            lost += len(self.model.stream(name).records) - len(self.log.stream(name))
        assert 0 <= lost <= len(waiting)
        for name in waiting[len(waiting) - lost :]:
            self.model.stream(name).records.pop()

    @precondition(lambda self: self.mode == "exclusive")
    @step()
    def open_it_twice(self) -> None:
        """One writer at a time; the second is told, and the first goes on."""
        hasty = msgspec.structs.replace(SMALL, lock_timeout_s=0.002)
        assert outcome(lambda: self.open("exclusive", hasty)) is transit.LockedError
        assert outcome(lambda: self.open("shared", hasty)) is transit.LockedError

    @step(spot=spots)
    def use_a_closed_handle(self, spot: int) -> None:
        """A closed handle says so, whatever it is asked, and changes nothing."""
        name = self.pick(spot)
        stream = self.stream(name)
        stale = [self.log, *self.logs]
        self.stop()
        for log in stale:
            log.close()
            assert log.closed
            assert outcome(lambda at=log: at.stream(name)) is transit.ClosedError  # type: ignore[misc]
        assert outcome(lambda: stream.append(b"late")) is transit.ClosedError
        assert outcome(lambda: list(stream.read())) is transit.ClosedError
        self.reopen("exclusive")

    @step(spot=spots)
    def write_as_a_reader(self, spot: int) -> None:
        """Mode "read" writes nothing."""
        name = self.pick(spot)
        with self.open("read") as reader:
            stream = reader.stream(name)
            tries = (
                lambda: stream.append(b"no"),
                lambda: reader.create("no"),
                lambda: stream.branch("no"),
                lambda: stream.cursor("a").advance(len(stream)),
                lambda: reader.batch().__enter__(),
                reader.seal,
                reader.sync,
            )
            for one in tries:
                assert outcome(one) is transit.ReadOnlyError

    @step()
    def use_a_copy(self) -> None:
        """A copy of the folder is a store of its own: what it gets, the first does not see."""
        self.frame()
        copy = self.root / "copy"
        with still(self.logs):
            shutil.copytree(self.folder, copy)
        try:
            with transit.open(copy, durability="os", settings=SMALL, remote=self.remote) as log:
                compare_all(log, self.copied())
                log.create("only in the copy").append(b"there")
        finally:
            shutil.rmtree(copy)
        assert "only in the copy" not in self.log
        self.compare()

    def copied(self) -> ModelLog:
        """What a reader of a copy of the folder sees."""
        return self.model
