"""`Lineage.spans`, `diff` and `why` against what the records and the files themselves say.

Histories are random; a test's number is its seed. Files are read by the second reader and by json.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import random
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import blake3
import msgspec
import pytest

import transit
from rigs.resources import calls_made
from transit import Position
from transit.format.commit import decode_commit, encode_commit

from . import canary

SEEDS = range(12)
POLICIES = ("append", "interleave", "select", "base", "fast-forward", "custom:provenance")


def _load(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "format" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"provenance_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


second_reader = _load("second_reader")


def every_other(
    suffixes: Sequence[Sequence[transit.Record]], params: object
) -> Iterable[transit.Record]:
    """A merge policy: every other record, the last one first."""
    return [record for suffix in suffixes for record in suffix][::-2]


def grow(log: transit.Log, chance: random.Random, steps: int) -> None:
    """Random roots, branches and merges, with records between them."""
    transit.register_policy("provenance", every_other)
    log.create("root", metadata={"number": 0}).append_many([b"0", b"1", b"2"])
    for number in range(1, steps):
        streams = list(log.streams())
        parent = chance.choice(streams)
        name, about = f"s{number}", {"number": number}
        kind = chance.choice(["root", "branch", "branch", "merge", "merge", "more"])
        if kind == "root":
            parent = log.create(name, metadata=about)
        elif kind == "branch" and len(parent):
            at = chance.randrange(len(parent))
            parent = parent.branch(name, at=at, metadata=about)
        elif kind == "merge":
            parent = _merge(log, chance, name, about) or parent
        if chance.random() < 0.8:
            parent.append_many([b"%d" % n for n in range(chance.randint(1, 4))])


def _merge(
    log: transit.Log, chance: random.Random, name: str, about: dict[str, int]
) -> transit.Stream | None:
    streams = list(log.streams())
    if len(streams) < 2:
        return None
    parents = chance.sample(streams, chance.randint(2, min(3, len(streams))))
    policy = chance.choice(POLICIES)
    params = {"selected": parents[-1].name} if policy == "select" else None
    try:
        return log.merge(name, parents, policy=policy, params=params, metadata=about)
    except transit.NotFastForwardError:
        return None


def origins(stream: transit.Stream) -> list[Position]:
    """Where each record of a stream was appended, as the records say."""
    return [record.origin for record in stream.read()]


def unfolded(spans: Iterable[transit.HistorySpan]) -> dict[int, Position]:
    """The origin of each offset that the spans name."""
    return {
        span.first + n: Position(span.origin.stream, span.origin.offset + n)
        for span in spans
        for n in range(span.count)
    }


@pytest.fixture(params=SEEDS)
def grown(request: pytest.FixtureRequest, path: Path) -> Iterator[transit.Log]:
    """A store with a random history."""
    with transit.open(path, durability="os") as log:
        grow(log, random.Random(request.param), 25)
        yield log


# Spans


def test_spans_name_the_origin_of_every_record_in_order(grown: transit.Log) -> None:
    for stream in grown.streams():
        wanted = origins(stream)
        spans = grown.lineage.spans(stream)
        assert unfolded(spans) == dict(enumerate(wanted))
        assert [span.first for span in spans] == sorted(span.first for span in spans)
        for offset in range(len(stream)):
            part = grown.lineage.spans(Position(stream.name, offset))
            assert unfolded(part) == dict(enumerate(wanted[: offset + 1]))


def test_an_empty_stream_has_no_spans_and_nothing_in_common(log: transit.Log) -> None:
    empty, other = log.create("empty"), log.create("other")
    other.append(b"x")
    assert log.lineage.spans(empty) == ()
    assert log.lineage.diff(empty, empty) == transit.Difference((), (), (), 0)
    right = (transit.HistorySpan(0, 1, Position("other", 0), other.uid),)
    assert log.lineage.diff(empty, other) == transit.Difference((), (), right, 0)
    assert log.lineage.diff(other, empty) == transit.Difference((), right, (), 0)


# Differences


def test_diff_of_any_two_streams_is_the_difference_of_their_records(grown: transit.Log) -> None:
    streams = list(grown.streams())
    for a in streams:
        for b in streams:
            left, right = origins(a), origins(b)
            found = grown.lineage.diff(a, b)
            assert unfolded(found.left) == {
                n: origin for n, origin in enumerate(left) if origin not in right
            }
            assert unfolded(found.right) == {
                n: origin for n, origin in enumerate(right) if origin not in left
            }
            assert found.common == len(set(left) & set(right))
            assert found.bases == grown.lineage.merge_bases(a, b)


def test_diff_with_itself_has_everything_in_common(log: transit.Log) -> None:
    stream = log.create("a")
    stream.append_many([b"x"] * 7)
    found = log.lineage.diff(stream, stream)
    assert found == transit.Difference((Position("a", 6),), (), (), 7)


def test_diff_of_positions_goes_up_to_them(log: transit.Log) -> None:
    stream = log.create("a")
    stream.append_many([b"x"] * 7)
    fork = stream.branch("b", at=2)
    fork.append(b"y")
    found = log.lineage.diff(Position("a", 4), Position("b", 1))
    assert found.left == (transit.HistorySpan(2, 3, Position("a", 2), stream.uid),)
    assert (found.right, found.common, found.bases) == ((), 2, (Position("a", 1),))


def test_diff_of_long_histories_costs_spans_and_not_records(log: transit.Log) -> None:
    costs = []
    for scale in (1, 100_000):
        stream = log.create(f"a{scale}")
        for _ in range(5):
            stream.append_many([b""] * 4 * scale)
        fork = stream.branch(f"b{scale}", at=10 * scale)
        fork.append(b"y")
        diff = functools.partial(log.lineage.diff, stream, fork)
        found = diff()
        at = Position(stream.name, 10 * scale + 1)
        assert found.common == 10 * scale + 1
        left = transit.HistorySpan(10 * scale + 1, 10 * scale - 1, at, stream.uid)
        assert found.left == (left,)
        costs.append(calls_made(diff))
    assert costs[0] == costs[1]


# Why


def check_path(log: transit.Log, why: transit.Provenance) -> None:
    """Hold each step to the stream it names, and to the step before."""
    first, last = why.path[0], why.path[-1]
    assert (first.stream, first.offset) == why.position
    assert (last.stream, last.offset) == why.origin
    for step in why.path:
        stream = log.stream(step.stream)
        assert stream[step.offset].origin == why.origin
        assert (step.kind, step.metadata) == (stream.kind, stream.metadata)
        if step.kind == "branch":
            assert step.fork_offset == stream.fork_offset
        else:
            assert step.fork_offset is None
        plan = stream.merge_plan
        assert (plan is None) == (step.merge is None)
        if plan is not None and step.merge is not None:
            made = (step.merge.policy, step.merge.version, step.merge.params, step.merge.base)
            assert made == (plan.policy, plan.version, plan.params, plan.base)
            assert step.merge.parents == stream.parents
            assert len(step.merge.merge_id) == 64
    for step, above in zip(why.path, why.path[1:], strict=False):
        heads = log.stream(step.stream).parents
        if step.merge is not None and step.merge.base is not None:
            heads += (step.merge.base,)
        assert any(above.stream == name and above.offset <= head for name, head in heads)
        if step.kind == "branch":
            assert above.offset == step.offset


def test_why_leads_from_any_record_to_its_origin_step_by_step(grown: transit.Log) -> None:
    merges = 0
    for stream in grown.streams():
        for record in stream.read():
            why = grown.lineage.why(Position(stream.name, record.offset))
            assert why.position == (stream.name, record.offset)
            assert why.origin == record.origin
            assert why.timestamp == record.timestamp
            check_path(grown, why)
            merges = max(merges, sum(step.kind == "merge" for step in why.path))
    assert merges


def test_a_merge_of_merges_is_a_step_for_each(log: transit.Log) -> None:
    a, b, c = (log.create(name) for name in "abc")
    for stream in (a, b, c):
        stream.append_many([b"1", b"2"])
    inner = log.merge("inner", [a, b], policy="interleave", merge_id="first")
    inner.append(b"inner's own")
    outer = log.merge("outer", [c, inner], policy="append")
    fork = outer.branch("fork", at=5)
    why = log.lineage.why(Position(fork.name, 5))
    steps = [(s.stream, s.offset, s.kind) for s in why.path]
    assert steps == [
        ("fork", 5, "branch"), ("outer", 5, "merge"), ("inner", 3, "merge"), ("b", 1, "root"),
    ]  # fmt: skip
    assert why.path[0].fork_offset == 5
    inside = why.path[2].merge
    assert inside is not None
    assert (inside.merge_id, inside.policy, inside.version) == ("first", "interleave", 1)
    assert inside.parents == (("a", 1), ("b", 1))


def test_the_way_through_a_select_is_the_parent_selected(log: transit.Log) -> None:
    trunk = log.create("trunk")
    trunk.append_many([b"1", b"2"])
    left, right = trunk.branch("left"), trunk.branch("right")
    log.merge("chosen", [left, right], policy="select", params={"selected": "right"})
    why = log.lineage.why(Position("chosen", 0))
    assert [step.stream for step in why.path] == ["chosen", "right", "trunk"]
    assert why.path[0].merge is not None
    assert why.path[0].merge.params == {"selected": "right"}


def test_the_way_through_a_fast_forward_is_the_head_that_has_all(log: transit.Log) -> None:
    trunk = log.create("trunk")
    trunk.append_many([b"1", b"2"])
    ahead = trunk.branch("ahead")
    ahead.append(b"3")
    log.merge("forward", [trunk, ahead], policy="fast-forward")
    why = log.lineage.why(Position("forward", 0))
    assert [step.stream for step in why.path] == ["forward", "ahead", "trunk"]


def test_a_parent_forked_before_the_record_is_not_on_its_way(log: transit.Log) -> None:
    a, b = log.create("a"), log.create("b")
    a.append(b"1")
    b.append_many([b"2", b"3"])
    both = log.merge("both", [a, b], policy="append")
    for at in (0, 1):
        early = both.branch(f"early{at}", at=at)
        late = log.merge(f"late{at}", [early, b], policy="append")
        steps = [(s.stream, s.offset) for s in log.lineage.why(Position(late.name, 2)).path]
        assert steps == [(late.name, 2), ("b", 1)]


def test_why_goes_up_ten_thousand_branches(log: transit.Log) -> None:
    stream = log.create("b0")
    stream.append(b"x")
    for number in range(1, 10_001):
        stream = stream.branch(f"b{number}", at=0, durability="memory")
    path = log.lineage.why(Position("b10000", 0)).path
    assert len(path) == 10_001
    assert (path[-1].stream, path[-1].kind) == ("b0", "root")


def test_why_of_what_is_not_there_is_refused(log: transit.Log) -> None:
    stream = log.create("a")
    stream.append(b"x")
    for offset in (1, -1, 2**70):
        with pytest.raises(transit.OffsetError):
            log.lineage.why(Position("a", offset))
    with pytest.raises(transit.NotFoundError):
        log.lineage.why(Position("b", 0))
    for wrong in (stream, "a", ("a",), ("a", "0"), ("a", slice(0, 1)), ("a", True), None):
        with pytest.raises(transit.InvalidInputError):
            log.lineage.why(wrong)  # type: ignore[arg-type]


# Where a record lies


def places(root: Path) -> dict[tuple[int, int], dict[str, object]]:
    """For each record, by stream id and offset, where the files say it is."""
    found: dict[tuple[int, int], dict[str, object]] = {}
    commits = {}
    for file in sorted((root / "commits").iterdir()):
        data = file.read_bytes()
        for ref in json.loads(data)["segments"]:
            root_hex = blake3.blake3(data).hexdigest()
            commits[ref["digest"]] = (json.loads(data)["number"], root_hex, ref["lsn"])
    for file in (root / "segments").iterdir():
        data = file.read_bytes()
        digest = blake3.blake3(data).hexdigest()
        assert file.name == f"{digest}.seg"
        number, root_hex, lsn = commits[digest]
        for stream, first, _, count, block, _ in second_reader.read_segment(data).index:
            for offset in range(first, first + count):
                found[stream, offset] = {
                    "kind": "segment", "file": f"segments/{file.name}", "digest": digest,
                    "block": block, "commit": (number, root_hex), "lsn": tuple(lsn),
                }  # fmt: skip
    for file in (root / "wal").iterdir():
        wal = second_reader.read_wal(file.read_bytes())
        for position, lsn, _, _, records, _ in wal.frames:
            for place, record in enumerate(records):
                found[record.stream, record.offset] = {
                    "kind": "wal", "file": f"wal/{file.name}", "position": position,
                    "lsn": (lsn + place, lsn + place), "commit": None,
                }  # fmt: skip
    return found


def check_places(log: transit.Log, root: Path) -> set[str]:
    """Hold `why` of every record to the files; the kinds of files there were."""
    known = places(root)
    kinds = set()
    ids = {stream.name: stream.id for stream in log.streams()}
    for stream in log.streams():
        for record in stream.read():
            why = log.lineage.why(Position(stream.name, record.offset))
            wanted = known[ids[record.origin.stream], record.origin.offset]
            commit = None if why.commit is None else (why.commit.number, why.commit.root)
            assert commit == wanted["commit"]
            for name in wanted.keys() - {"commit"}:
                assert getattr(why.place, name) == wanted[name], name
            assert why.place.local
            kinds.add(why.place.kind)
    return kinds


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_why_names_the_file_block_and_commit_of_every_record(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    settings = transit.Settings(block_bytes=4096)
    with transit.open(path, durability="os", settings=settings) as log:
        for name in "xyz":
            stream = log.create(name)
            stream.append_many([chance.randbytes(1500) for _ in range(9)])
            with log.batch() as batch:
                batch.append(stream, b"a")
                for other in log.streams():
                    if other.name != stream.name:
                        batch.append_many(other, [b"b", b"c"])
            log.seal()
        grow(log, chance, 10)
        log.seal()
        log.stream("x").append_many([b"1", b"2"])
        with log.batch() as batch:
            for stream in log.streams():
                batch.append_many(stream, [b"3", b"4", b"5"])
        assert check_places(log, path) == {"wal", "segment"}
        assert len({log.lineage.why(Position("x", n)).place.block for n in range(9)}) > 1
        place = log.lineage.why(Position("x", 8)).place
        parts = transit.inspect_file(path / place.file).parts
        assert place.position in {
            part.place for part in parts if part.fields.get("number") == place.block
        }
    with transit.open(path, mode="read") as reader:
        assert check_places(reader, path) == {"wal", "segment"}


def test_why_tells_whether_a_record_is_published(tmp_path: Path) -> None:
    path, remote = tmp_path / "a", tmp_path / "remote"
    with transit.open(path, durability="os") as log:
        log.create("s").append(b"1")
        log.seal()
        assert log.lineage.why(Position("s", 0)).published is None
    with transit.open(path, remote=remote, durability="os") as log:
        assert log.lineage.why(Position("s", 0)).published is False
        log.publish()
        log.stream("s").append(b"2")
        found = [log.lineage.why(Position("s", n)).published for n in (0, 1)]
        assert found == [True, False]
    with transit.open(path, durability="os") as log:
        log.seal()
    with transit.open(path, remote=remote, mode="read") as log:
        found = [log.lineage.why(Position("s", n)).published for n in (0, 1)]
        assert found == [True, False]


def test_why_of_evicted_records_works_without_the_remote_as_far_as_it_goes(tmp_path: Path) -> None:
    path, remote = tmp_path / "a", tmp_path / "remote"
    with transit.open(path, remote=remote, durability="os") as log:
        stream = log.create("s")
        stream.append_many([b"1", b"2"])
        log.publish()
        times = [record.timestamp for record in stream]
        log.evict(bytes_max=0)
    shutil.rmtree(path / "cache", ignore_errors=True)
    with transit.open(path, remote=remote, mode="read") as log:
        why = log.lineage.why(Position("s", 0))
        assert (why.timestamp, why.place.local, why.published) == (times[0], False, True)
        commit = why.commit
    with transit.open(path, mode="read") as log, pytest.raises(transit.RetentionGapError):
        log.lineage.why(Position("s", 0))
    address = f"file://{remote}"
    with transit.open(address, mode="read") as log:
        far = log.lineage.why(Position("s", 0))
        assert (far.commit, far.published, far.place.local) == (commit, True, False)


def test_why_names_the_file_and_block_of_what_is_left_after_an_erasure(tmp_path: Path) -> None:
    path, remote = tmp_path / "a", tmp_path / "remote"
    small = transit.Settings(block_bytes=4096)
    with transit.open(path, remote=remote, durability="os", settings=small) as log:
        for name in ("secret", "one", "two"):
            log.create(name).append_many([b"%s %d;" % (name.encode(), n) * 900 for n in range(3)])
        log.publish()
        places = [Position(name, offset) for name in ("one", "two") for offset in range(3)]
        before = [log.lineage.why(place) for place in places]
        log.delete("secret", reason="r")
        log.erase()
        for place, old in zip(places, before, strict=True):
            why = log.lineage.why(place)
            assert msgspec.structs.replace(why, place=old.place) == old
            data = (path / why.place.file).read_bytes()[why.place.position :]
            block = list(canary.unfolded(data))[1]
            assert log.stream(place.stream)[place.offset].payload in block
            assert (why.place.local, why.place.digest) == (True, old.place.digest)
            assert why.place.block != old.place.block
    with transit.open(f"file://{remote}", mode="read") as log:
        far = log.lineage.why(Position("two", 0)).place
        assert (far.local, (remote / far.file).exists()) == (False, True)


def test_why_knows_of_a_record_out_of_reach_only_what_the_index_says(tmp_path: Path) -> None:
    path, remote = tmp_path / "a", tmp_path / "remote"
    with transit.open(path, remote=remote, durability="os") as log:
        log.create("here").append(b"0")
        stream = log.create("away")
        log.publish()
        stream.append_many([b"1", b"2"], timestamps=[5, 6])
        log.publish()
        wanted = log.lineage.why(Position("away", 0))
    transit.restore(remote, tmp_path / "b", streams=["here"])
    with transit.open(tmp_path / "b", mode="read") as log:
        found = [log.lineage.why(Position("away", n)) for n in (0, 1)]
        assert log.lineage.why(Position("here", 0)).place.local
    assert [why.timestamp for why in found] == [None, None]
    assert [why.place.local for why in found] == [False, False]
    assert (found[0].commit, found[0].published) == (wanted.commit, None)
    assert (found[0].place.digest, found[0].place.block) == (wanted.place.digest, 0)


def test_a_commit_of_the_remote_that_does_not_name_the_segment_is_corrupt(tmp_path: Path) -> None:
    with transit.open(tmp_path / "a", remote=tmp_path / "remote", durability="os") as log:
        for number in range(20):
            log.create(f"s{number}").append(b"x")
            log.publish()
    file = tmp_path / "remote" / "commits" / f"{0:020}.json"
    commit = decode_commit(file.read_bytes(), "commit 0")
    other = msgspec.structs.replace(commit.segments[0], digest="0" * 64)
    file.write_bytes(encode_commit(msgspec.structs.replace(commit, segments=(other,))))
    # Commits before the last index snapshot were not read when the remote was opened.
    with transit.open(f"file://{tmp_path}/remote", mode="read") as log:
        assert log.lineage.why(Position("s19", 0)).commit is not None
        with pytest.raises(transit.CorruptError, match=r"commits/0+\.json"):
            log.lineage.why(Position("s0", 0))
