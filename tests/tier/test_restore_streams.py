"""A restore of some streams: the segments that hold what they are made of, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from transit.format.commit import decode_commit
from transit.store import ObjectStore, open_store

Read = list[tuple[int, bytes, tuple[str, int]]]


class Family:
    """A store in a remote whose segments each hold one step of its history, in this order."""

    STEPS = (
        "a 0-2", "a 3-9", "b from a at 4", "b 6", "c from b at 2", "x is made", "x", "y",
        "m of b and x", "n of m and y", "d from m at 1", "lone", "e from a at 8", "a is finished",
        "lone is finished", "y 5", "o picks y of x and y",
    )  # fmt: skip

    def __init__(self, path: Path) -> None:
        self.store: ObjectStore = open_store(path / "remote")
        with transit.open(path / "store", remote=self.store, durability="os") as self._log:
            self._write(self._log)
            self._log.publish()
            self.read: dict[str, Read] = {each.name: records(each) for each in self._log.streams()}
            count = self._log.status().commits
        assert count == len(self.STEPS)
        commits = [self.store.get(f"commits/{number:020}.json", 2**20) for number in range(count)]
        self.segments = [decode_commit(data or b"", "here").segments[0].digest for data in commits]

    def _write(self, log: transit.Log) -> None:
        a = log.create("a")
        self._step(a, 3)
        self._step(a, 7)
        b = a.branch("b", at=4)
        self._step(b, 1)
        self._step(b, 1)
        self._step(b.branch("c", at=2), 1)
        x = log.create("x")
        log.seal()
        self._step(x, 4)
        y = log.create("y")
        self._step(y, 5)
        m = log.merge("m", [b, x], policy="append")
        self._step(m, 1)
        self._step(log.merge("n", [m, y], policy="append"), 1)
        self._step(m.branch("d", at=1), 1)
        lone = log.create("lone")
        self._step(lone, 2)
        self._step(a.branch("e", at=8), 1)
        for stream in (a, lone):
            stream.finish()
            log.seal()
        self._step(y, 1)
        self._step(log.merge("o", [x, y], policy="select", params={"selected": "y"}), 1)

    def _step(self, stream: transit.Stream, count: int) -> None:
        stream.append_many([b"%s %d" % (stream.name.encode(), n) for n in range(count)])
        self._log.seal()


def records(stream: transit.Stream) -> Read:
    return [(r.offset, r.payload, tuple(r.origin)) for r in stream.read()]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return Family(tmp_path_factory.mktemp("family"))


A, B, X = {"a 0-2", "a 3-9"}, {"b from a at 4", "b 6"}, {"x is made", "x"}
# What became of a stream is in a later segment, and whether it is finished is part of it.
ENDED = {"a is finished"}
NEEDED: dict[tuple[str, ...], set[str]] = {
    ("a",): A | ENDED,
    ("b",): A | B | ENDED,
    ("e",): A | {"e from a at 8"} | ENDED,
    # Of a stream in between only its beginning, which here has no record of its own in it.
    ("c",): {"a 0-2", "b from a at 4", "c from b at 2"} | ENDED,
    ("b", "c"): A | B | {"c from b at 2"} | ENDED,
    ("c", "b"): A | B | {"c from b at 2"} | ENDED,
    ("x",): X,
    ("y",): {"y", "y 5"},
    ("lone",): {"lone", "lone is finished"},
    ("m",): A | B | X | {"m of b and x"} | ENDED,
    ("n",): A | B | X | {"y", "m of b and x", "n of m and y"} | ENDED,
    ("y", "n"): A | B | X | {"y", "y 5", "m of b and x", "n of m and y"} | ENDED,
    # A merge comes with all it was made from, though of d only the beginning is in it.
    ("d",): A | B | X | {"m of b and x", "d from m at 1"} | ENDED,
    # No record of x is in it, and x is a parent all the same.
    ("o",): {"x is made", "y", "y 5", "o picks y of x and y"},
}


@pytest.mark.parametrize("names", NEEDED, ids=" ".join)
def test_a_restore_of_streams_brings_what_they_are_made_of_and_no_more(
    family: Family, tmp_path: Path, names: tuple[str, ...]
) -> None:
    # The first segment says what stream 0 is.
    wanted = [step for step in family.STEPS if step in NEEDED[names] | {"a 0-2"}]
    restored = transit.restore(family.store, tmp_path / "r", streams=names)
    found = {path.stem for path in (tmp_path / "r" / "segments").iterdir()}
    steps = [
        step for step, name in zip(family.STEPS, family.segments, strict=True) if name in found
    ]
    assert steps == wanted
    assert (restored.segments, restored.segments_remote) == (
        len(wanted),
        len(family.STEPS) - len(wanted),
    )


@pytest.mark.parametrize("names", NEEDED, ids=" ".join)
def test_what_was_restored_is_read_and_described_without_the_remote(
    family: Family, tmp_path: Path, names: tuple[str, ...]
) -> None:
    transit.restore(family.store, tmp_path / "r", streams=names)
    with transit.open(tmp_path / "r", mode="read") as log:
        for name in names:
            stream = log.stream(name)
            assert records(stream) == family.read[name]
            assert stream.finished == (name in ("a", "lone"))
            for parent, _ in stream.parents:
                assert log.stream(parent).uid
