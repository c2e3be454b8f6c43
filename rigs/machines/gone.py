"""Rules for records that go: deleted and trimmed, and their bytes erased."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize

import transit
from rigs.machines.compare import compare_all, compare_stream, outcome
from rigs.machines.machine import World, step
from rigs.machines.values import spots

# So many streams stay that every other rule has something to do.
OPEN_MIN = 3
_WORD = b"to be erased"


class Gone(World):
    """Streams of which records go, and what is made of them."""

    def __init__(self) -> None:
        self.made = 0
        # By uid the payload that is in the records of a deleted stream alone.
        self.deleted: dict[str, bytes] = {}
        super().__init__()

    @initialize()
    def begin(self) -> None:
        """Streams to do something with."""
        for _ in range(OPEN_MIN + 1):
            self.make()

    def make(self) -> str:
        """One more stream."""
        self.made += 1
        name = f"s{self.made}"
        self.model.create(name)
        self.log.create(name)
        return name

    def word(self, name: str) -> bytes:
        """What is in each payload of a stream, and in those of no other."""
        return b"%s <%s> " % (_WORD, name.encode())

    @step()
    def create_one(self) -> None:
        """A new stream."""
        self.make()

    @step(spot=spots, count=st.integers(1, 12))
    def append_some(self, spot: int, count: int) -> None:
        """Records, in one frame."""
        name = self.pick(spot)
        start = len(self.model.stream(name).records)
        payloads = [self.word(name) + b"%d" % number for number in range(start, start + count)]
        times = list(range(count))
        self.model.append_many(name, payloads, times)
        self.stream(name).append_many(payloads, timestamps=times)

    @step(spot=spots, at=st.none() | st.integers(0, 20))
    def fork(self, spot: int, at: int | None) -> None:
        """A branch, which begins where the records do."""
        name = self.pick(spot)
        self.made += 1
        self.same(
            lambda: self.model.branch(name, f"s{self.made}", at),
            lambda: self.stream(name).branch(f"s{self.made}", at) and None,
        )
        self.compare()

    @step(first=spots, second=spots)
    def put_together(self, first: int, second: int) -> None:
        """A merge, refused where records in its midst are gone."""
        parents = [self.pick(first), self.pick(second)]
        if parents[0] == parents[1]:
            return
        self.made += 1
        name = f"s{self.made}"
        found = self.same(
            lambda: self.model.merge(name, parents, "append", merge_id=name),
            lambda: self.log.merge(name, parents, policy="append", merge_id=name).name,
        )
        if found == name:
            compare_stream(self.log, self.model, self.log.stream(name))

    @step(spot=spots, cascade=st.booleans())
    def delete(self, spot: int, cascade: bool) -> None:
        """A stream goes, unless others need it, or with these."""
        name = self.pick(spot)
        if len(self.model.streams) <= OPEN_MIN:
            return
        tried = self.log.delete(name, reason="r", dry_run=True, cascade=cascade)
        if cascade and len(self.model.streams) - len(tried.streams) < OPEN_MIN:
            return
        streams = {each.name: each for each in self.log.streams()}
        expected = outcome(lambda: self.remove(name, cascade=cascade))
        found = outcome(lambda: self.log.delete(name, reason="r", cascade=cascade).streams)
        self.held.clear()
        if not isinstance(expected, list) or not isinstance(found, tuple):
            assert found == expected
            assert tried.refused
            return
        assert not tried.refused
        assert set(found) == set(tried.streams) == set(expected)
        for each in found:
            stream = streams[each]
            self.deleted[stream.uid] = self.word(each)
            assert stream.deleted
            assert each not in self.log
            if len(stream):
                assert outcome(stream.__iter__) is transit.ErasedError
        self.compare()

    def remove(self, name: str, *, cascade: bool) -> list[str]:
        """Delete in the model, children first; the names of those that went."""
        trial, gone = self.model.copy(), [name]
        for each in gone if cascade else ():
            more = trial.dependents(each, 2**62)
            gone += [other for other in more if other not in gone]
        # A child is made after its parent.
        for each in sorted(gone, key=lambda one: -trial.streams[one].number):
            trial.delete(each)
        self.model = trial
        return gone

    @step(spot=spots, before=st.integers(0, 20))
    def trim(self, spot: int, before: int) -> None:
        """A stream begins later, unless others need what goes."""
        name = self.pick(spot)
        stream = self.stream(name)
        self.same(
            lambda: self.model.trim(name, before),
            lambda: self.trimmed(stream, before),
        )
        compare_stream(self.log, self.model, stream)

    def trimmed(self, stream: transit.Stream, before: int) -> None:
        """Trim a stream."""
        stream.trim(before=before)

    @step()
    def erase(self) -> None:
        """No byte of a deleted stream is left, and everything else is as it was."""
        if self.mode != "exclusive":
            assert outcome(self.log.erase) is transit.InvalidInputError
            return
        self.frame()
        self.log.erase()
        self.compare()
        here = b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())
        for word in self.deleted.values():
            # Blocks of a few records are stored as they are; large ones are looked at elsewhere.
            assert word not in here
        report = self.log.verify()
        assert report.ok, report.findings
        again = transit.audit(self.folder)
        assert again.ok, again.findings

    def again(self) -> None:
        """As `World.again`, and erased at last."""
        super().again()
        self.erase_all()

    def erase_all(self) -> None:
        """Erase, and compare once more after opening again."""
        self.log.erase()
        self.compare()
        self.stop()
        self.start("exclusive")
        compare_all(self.log, self.model)
