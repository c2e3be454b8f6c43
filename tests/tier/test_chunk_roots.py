"""`chunks` in a commit is the root over the segment's chunks, or `verify` and `audit` say so.

A second reader, which knows the byte tables alone, makes the same root.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

import transit
from transit.format.commit import Commit, encode_commit
from transit.format.record import Chunk
from transit.log import seal
from transit.proof import chunks, tree
from transit.verify.segments import SegmentCheck

SETTINGS = transit.Settings(block_bytes=4096)
Patch = pytest.MonkeyPatch


def _load(name: str) -> ModuleType:
    path = Path(__file__).parent.parent / "format" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"roots_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


second_reader = _load("second_reader")


def grow(log: transit.Log) -> None:
    """Streams that share blocks and such as need several, a merge, and names that change hands."""
    for n in range(7):
        stream = log.create(f"run/{n}", metadata={"n": n})
        stream.append_many([b"%d" % k * (n * 40 + 1) for k in range(30)], headers={"k": "v"})
    log.merge("m", ["run/1", "run/2"], policy="append").append(b"own")
    log.stream("run/3").finish(reason="done")
    log.hide("run/4", reason="again")
    log.create("run/4").append(b"another")
    log.seal()
    log.stream("run/0").append(b"more")
    log.seal()


def commits(path: Path) -> list[Path]:
    return sorted((path / "commits").glob("*.json"))


def stated(path: Path) -> list[str]:
    return [json.loads(each.read_bytes())["segments"][0]["chunks"] for each in commits(path)]


def with_root(path: Path, root: str) -> None:
    """The last commit names another root; all else about it fits."""
    last = commits(path)[-1]
    commit = msgspec.json.decode(last.read_bytes(), type=Commit)
    (ref,) = commit.segments
    changed = msgspec.structs.replace(ref, chunks=root)
    last.write_bytes(encode_commit(msgspec.structs.replace(commit, segments=(changed,))))


def findings(path: Path) -> list[tuple[str, str, str]]:
    """What `verify` says, which must be what `audit` says of the same folder."""
    with transit.open(path, mode="read", settings=SETTINGS) as log:
        verified = [(f.place, f.expected, f.found) for f in log.verify().findings]
    audited = [(f.place, f.expected, f.found) for f in transit.audit(path).findings]
    assert [each[1:] for each in verified] == [each[1:] for each in audited]
    return verified


def check_roots(path: Path) -> None:
    """Every commit states the root that the tables say, and another is found."""
    with transit.open(path, durability="os", settings=SETTINGS) as log:
        grow(log)
    second_reader.Store(path)
    assert findings(path) == []
    right = stated(path)
    assert len(set(right)) == 2
    for wrong in ("12" * 32, right[0], right[1][:-1] + ("0" if right[1][-1] != "0" else "1")):
        with_root(path, wrong)
        ((place, expected, found),) = findings(path)
        assert place.endswith(".seg, chunks")
        assert (expected, found) == (f"the root {wrong}", f"the root {right[1]}")
    with_root(path, right[1])
    assert findings(path) == []


def test_every_commit_states_the_root_over_its_chunks(tmp_path: Path) -> None:
    check_roots(tmp_path)


def test_the_root_goes_into_the_remote_and_into_snapshots_as_it_is(tmp_path: Path) -> None:
    settings = transit.Settings(block_bytes=4096, seal_bytes=4096)
    place = tmp_path / "a"
    with transit.open(place, remote=tmp_path / "r", durability="os", settings=settings) as log:
        for _ in range(20):
            grow_a_little(log)
        log.publish()
    transit.restore(tmp_path / "r", tmp_path / "b")
    assert stated(tmp_path / "b") == stated(place) == stated(tmp_path / "r")
    refs = {ref["digest"]: ref["chunks"] for each in commits(place) for ref in segments_in(each)}
    snapshots = list((tmp_path / "r" / "index").glob("*.idx"))
    assert snapshots
    for snapshot in snapshots:
        for row in second_reader.read_snapshot(snapshot.read_bytes()).segments:
            assert row.ref["chunks"] == refs[row.ref["digest"]]
    report = transit.audit(tmp_path / "r")
    assert report.ok, report.findings


def segments_in(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_bytes())["segments"]
    return found


def grow_a_little(log: transit.Log) -> None:
    log.create(f"s{sum(1 for _ in log.streams())}").append(b"x" * 100)
    log.seal()


# Planted bugs


def not_checked(patch: Patch) -> None:
    """`verify` and `audit` do not compare the root."""
    patch.setattr(SegmentCheck, "_chunk_root", lambda check: None)


def without_the_stream(patch: Patch) -> None:
    """A leaf does not say whose chunk it is."""

    class Leaf:
        def pack(self, stream: int, *rest: Any) -> bytes:
            return chunks.struct.pack("<QI32s", *rest)

    patch.setattr(chunks, "LEAF", Leaf())


def lineage_by_the_chunk(patch: Patch) -> None:
    """A chunk of the lineage is one leaf, so that a proof shows all streams made with it."""
    patch.setattr(chunks, "BY_RECORD", frozenset())


def names_by_the_chunk(patch: Patch) -> None:
    """A chunk of `$names` is one leaf."""
    patch.setattr(chunks, "BY_RECORD", frozenset({0}))


def not_of_the_time_of_writing(patch: Patch) -> None:
    """A lineage record's leaf is of its payload alone."""

    def leaves(chunk: Chunk) -> list[bytes]:
        rows = enumerate(chunk.payloads(), chunk.first)
        return [chunks.LEAF.pack(chunk.stream, n, 1, chunks.digest(each)) for n, each in rows]

    patch.setattr(chunks, "record_leaves", leaves)


def not_the_first_chunk(patch: Patch) -> None:
    """The sealer begins with the second chunk."""

    class Tree(chunks.ChunkTree):
        __slots__ = ("_begun",)

        def add(self, *given: Any) -> None:
            if hasattr(self, "_begun"):
                super().add(*given)
            self._begun = True

    patch.setattr(seal, "ChunkTree", Tree)


def alone_paired_with_itself(patch: Patch) -> None:
    """A node without another is hashed with itself, as Bitcoin does it."""
    right = tree.root_over

    def wrong(leaves: Sequence[bytes]) -> bytes:
        return right([*leaves, leaves[-1]] if len(leaves) % 2 else leaves)

    patch.setattr(chunks, "root_over", wrong)


def the_one_before(patch: Patch) -> None:
    """A commit states the root of the segment before."""
    roots = ["00" * 32]
    right = chunks.ChunkTree.root

    def wrong(made: chunks.ChunkTree) -> str:
        roots.append(right(made))
        return roots[-2]

    class Tree(chunks.ChunkTree):
        __slots__ = ()
        root = wrong

    patch.setattr(seal, "ChunkTree", Tree)


@pytest.mark.parametrize(
    "plant",
    [
        not_checked,
        without_the_stream,
        lineage_by_the_chunk,
        names_by_the_chunk,
        not_of_the_time_of_writing,
        not_the_first_chunk,
        alone_paired_with_itself,
        the_one_before,
    ],
)
def test_a_planted_bug_is_found(
    plant: Callable[[Patch], None], tmp_path: Path, monkeypatch: Patch
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        check_roots(tmp_path)
