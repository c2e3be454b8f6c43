"""The engine against the model, step by step, on operations hypothesis chooses.

TRANSIT_SOAK multiplies the number of examples. A failure prints the steps that lead to it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    multiple,
    precondition,
    rule,
)

import transit
from transit.errors import TransitError
from transit.testing.model import (
    Append,
    Branch,
    Create,
    ModelLog,
    ModelPosition,
    ModelRecord,
    Operation,
    Scalar,
)

SOAK = int(os.environ.get("TRANSIT_SOAK", "1"))
SMALL = transit.Settings(block_bytes=4096, seal_bytes=65536, compression_level=1)
MACHINE = settings(
    max_examples=100 * SOAK,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# Nothing here is lost when a process ends, so the stores need no real disk.
MEMORY_DISK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

Value = TypeVar("Value")
Plain = tuple[int, int, bytes, dict[str, str], tuple[str, int]]


def backwards(suffixes: Sequence[Sequence[Value]], params: Mapping[str, Scalar]) -> Iterable[Value]:
    """A merge policy: the last record first."""
    return [record for suffix in reversed(suffixes) for record in reversed(suffix)]


def sparse(suffixes: Sequence[Sequence[Value]], params: Mapping[str, Scalar]) -> Iterable[Value]:
    """A merge policy: every n-th record of each parent."""
    step = int(params["step"] or 1)
    return [record for suffix in suffixes for record in suffix[::step]]


POLICIES = ["fast-forward", "select", "append", "interleave", "interleave", "base"]
POLICIES += ["custom:test-backwards", "custom:test-sparse"]
CUSTOM = {"test-backwards": backwards, "test-sparse": sparse}
for policy_name, policy in CUSTOM.items():
    transit.register_policy(policy_name, policy)

characters = st.characters(codec="utf-8", exclude_categories=("C", "Z"))
names = st.text(characters.filter(lambda c: c != "$"), min_size=1, max_size=4)
payloads = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda byte, size: byte * size, st.binary(min_size=1, max_size=1), st.integers(0, 9000)
    ),
)
timestamps = st.one_of(st.integers(0, 9), st.integers(-(2**63), 2**63 - 1))
headers = st.one_of(
    st.none(),
    st.just({"kind": "tool-call"}),
    st.dictionaries(
        st.text(characters, min_size=1, max_size=5),
        st.text(st.characters(codec="utf-8")),
        max_size=3,
    ),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(characters, max_size=5),
)
metadata = st.one_of(
    st.none(), st.dictionaries(st.text(characters, max_size=5), scalars, max_size=3)
)


def plain_record(record: transit.Record | ModelRecord) -> Plain:
    """A record of either side as values that compare."""
    origin = (record.origin.stream, record.origin.offset)
    return (record.offset, record.timestamp, record.payload, dict(record.headers), origin)


def plain_batch(batch: transit.Batch) -> list[tuple[int, int, bytes, dict[str, str]]]:
    """A batch as one tuple for each record, after its columns were held to one another."""
    offsets, payloads_ = list(batch.offsets), list(batch.payloads)
    ends = [int(end) for end in batch.ends]
    starts = [0, *ends[:-1]]
    data = bytes(batch.data)
    assert [data[a:b] for a, b in zip(starts, ends, strict=True)] == payloads_
    header_column = batch.headers if batch.headers is not None else [None] * len(offsets)
    header_maps = [dict(each or {}) for each in header_column]
    return list(zip(offsets, map(int, batch.timestamps), payloads_, header_maps, strict=True))


def outcome(call: Callable[[], object]) -> object:
    """What a call returns, or the class of the transit error it raises."""
    try:
        return call()
    except TransitError as error:
        return type(error)


class Store(RuleBasedStateMachine):
    """A store, its model, and every way of looking at both."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="transit-", dir=MEMORY_DISK))
        self.model = ModelLog(CUSTOM)
        self.log = self.open()
        self.reader: transit.Log | None = None

    def open(self, mode: str = "exclusive") -> transit.Log:
        """The store on disk, in a handle of its own."""
        return transit.open(self.folder / "store", durability="os", mode=mode, settings=SMALL)

    def teardown(self) -> None:
        try:
            self.compare_all(self.log)
            self.log.close()
            self.log = self.open()
            self.compare_all(self.log)
            report = self.log.verify()
            assert report.ok, report.findings
        finally:
            self.log.close()
            if self.reader is not None:
                self.reader.close()
            shutil.rmtree(self.folder)

    def fresh(self, name: str) -> str:
        """A name no stream has yet."""
        return name if name not in self.model.streams else f"{name}/{len(self.model.streams)}"

    def same(self, modelled: Callable[[], object], real: Callable[[], object]) -> object:
        """Run both; the model's outcome, which the engine's class of error must equal."""
        expected = outcome(modelled)
        found = outcome(real)
        if isinstance(expected, type) or isinstance(found, type):
            assert found == expected
        return found

    def compare_all(self, log: transit.Log) -> None:
        """Every stream, and the list of them."""
        streams = list(log.streams())
        assert [stream.name for stream in streams] == list(self.model.streams)
        assert [stream.id for stream in streams] == sorted({stream.id for stream in streams})
        for name in self.model.streams:
            self.compare(log, name)

    def compare(self, log: transit.Log, name: str) -> None:
        """Everything one stream shows."""
        stream, expected = log.stream(name), self.model.stream(name)
        wanted = [plain_record(record) for record in expected.records]
        assert name in log
        assert len(stream) == stream.next_offset == len(wanted)
        assert stream.last_offset == (len(wanted) - 1 if wanted else None)
        assert [plain_record(record) for record in stream.read()] == wanted
        columns = [row for batch in stream.batches() for row in plain_batch(batch)]
        assert columns == [row[:4] for row in wanted]
        if wanted:
            assert plain_record(stream[-1]) == wanted[-1]
            assert plain_record(stream[len(wanted) // 2]) == wanted[len(wanted) // 2]
        assert (stream.name, stream.kind) == (name, expected.kind)
        assert dict(stream.metadata) == dict(expected.metadata)
        # An offset names a record, so where nothing is inherited there is none.
        assert stream.fork_offset == (None if expected.fork == -1 else expected.fork)
        assert [(p.stream, p.offset) for p in stream.parents] == list(expected.parents)

    def compare_range(self, log: transit.Log, name: str, start: int, stop: int | None) -> None:
        """A range read both ways, which may lie outside the stream."""
        stream = log.stream(name)
        rows = self.same(
            lambda: [plain_record(record) for record in self.model.read(name, start, stop)],
            lambda: [plain_record(record) for record in stream.read(start, stop)],
        )
        columns = outcome(lambda: [r for b in stream.batches(start, stop) for r in plain_batch(b)])
        expected = outcome(lambda: self.model.read(name, start, stop))
        if isinstance(expected, list):
            wanted = [plain_record(record) for record in expected]
            assert rows == wanted
            assert columns == [row[:4] for row in wanted]
        else:
            assert rows == columns == expected

    # Rules that any store has

    @rule()
    def seal(self) -> None:
        self.log.seal()

    @rule()
    def close_and_reopen(self) -> None:
        self.log.close()
        self.log = self.open()
        self.compare_all(self.log)

    @rule()
    def compare_with_a_new_reader(self) -> None:
        with self.open("read") as reader:
            self.compare_all(reader)

    @rule()
    def compare_with_a_reader_that_stays(self) -> None:
        if self.reader is None:
            self.reader = self.open("read")
        self.compare_all(self.reader)

    @rule()
    def sync_and_compare(self) -> None:
        self.log.sync()
        self.compare_all(self.log)


class OneStream(Store):
    """Appends of every kind to one stream, and reads of every kind."""

    NAME = "only"

    @initialize(metadata=metadata)
    def create(self, metadata: dict[str, Scalar] | None) -> None:
        self.log.create(self.NAME, metadata)
        self.model.create(self.NAME, metadata)

    @property
    def stream(self) -> transit.Stream:
        return self.log.stream(self.NAME)

    @rule(
        payload=payloads,
        headers=headers,
        timestamp=timestamps,
        ahead=st.sampled_from([None, 0, 0, 1]),
    )
    def append(
        self, payload: bytes, headers: dict[str, str] | None, timestamp: int, ahead: int | None
    ) -> None:
        expect = None if ahead is None else self.stream.next_offset + ahead
        receipt = self.same(
            lambda: self.model.append(self.NAME, payload, timestamp, headers, expect),
            lambda: self.stream.append(
                payload, headers=headers, timestamp=timestamp, expect=expect
            ),
        )
        if isinstance(receipt, transit.Receipt):
            assert receipt.offset == receipt.first == receipt.last == len(self.stream) - 1
            assert (receipt.stream, receipt.timestamp) == (self.NAME, timestamp)
        self.compare(self.log, self.NAME)

    @rule(
        rows=st.lists(st.tuples(payloads, timestamps, headers), min_size=1, max_size=40),
        ahead=st.sampled_from([None, 0, 0, -1]),
    )
    def append_many(
        self, rows: list[tuple[bytes, int, dict[str, str] | None]], ahead: int | None
    ) -> None:
        bodies, times, maps = (list(column) for column in zip(*rows, strict=True))
        expect = None if ahead is None else max(0, self.stream.next_offset + ahead)
        receipt = self.same(
            lambda: self.model.append_many(self.NAME, bodies, times, maps, expect),
            lambda: self.stream.append_many(bodies, timestamps=times, headers=maps, expect=expect),
        )
        if isinstance(receipt, transit.Receipt):
            assert receipt.last - receipt.first + 1 == receipt.count == len(rows)
            assert receipt.timestamp == times[-1]
        self.compare(self.log, self.NAME)

    @rule(body=payloads, count=st.integers(1, 60), timestamp=timestamps, header=headers)
    def append_many_alike(
        self, body: bytes, count: int, timestamp: int, header: dict[str, str] | None
    ) -> None:
        times = [timestamp] * count
        self.model.append_many(self.NAME, [body] * count, times, [header] * count)
        self.stream.append_many((body for _ in range(count)), timestamps=times, headers=header)
        self.compare(self.log, self.NAME)

    @rule(rows=st.lists(st.tuples(payloads, timestamps, headers), min_size=1, max_size=10))
    def submit(self, rows: list[tuple[bytes, int, dict[str, str] | None]]) -> None:
        futures = [self.stream.submit(b, timestamp=t, headers=h) for b, t, h in rows]
        offsets = [self.model.append(self.NAME, b, t, h) for b, t, h in rows]
        assert [future.result(timeout=30).offset for future in futures] == offsets
        self.compare(self.log, self.NAME)

    @rule(a=st.integers(-2, 250), b=st.one_of(st.none(), st.integers(-2, 250)))
    def read_a_range(self, a: int, b: int | None) -> None:
        self.compare_range(self.log, self.NAME, a, b)

    @rule(back=st.integers(0, 20), length=st.integers(0, 20))
    def read_near_the_end(self, back: int, length: int) -> None:
        start = max(0, len(self.stream) - back)
        self.compare_range(self.log, self.NAME, start, start + length)

    @rule(offset=st.integers(-250, 250))
    def read_one(self, offset: int) -> None:
        self.same(lambda: self.model.record(self.NAME, offset), lambda: self.stream[offset])
        expected = outcome(lambda: plain_record(self.model.record(self.NAME, offset)))
        assert outcome(lambda: plain_record(self.stream[offset])) == expected

    @rule(name=st.sampled_from(["a", "b"]), offset=st.integers(0, 60))
    def advance_a_cursor(self, name: str, offset: int) -> None:
        cursor = self.stream.cursor(name)
        self.same(
            lambda: self.model.advance(self.NAME, name, offset), lambda: cursor.advance(offset)
        )
        for handle in (cursor, self.stream.cursor(name)):
            assert handle.position == self.model.position(self.NAME, name)


class Lineage(Store):
    """Branches and merges in any shape, made one by one and in batches."""

    streams: Bundle[str] = Bundle("streams")

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, dict[str, object]] = {}

    @initialize(target=streams)
    def create_two(self) -> object:
        for name in ("left", "right"):
            self.model.create(name)
            self.log.create(name)
        return multiple("left", "right")

    @rule(target=streams, name=names, metadata=metadata)
    def create(self, name: str, metadata: dict[str, Scalar] | None) -> str:
        name = self.fresh(name)
        self.model.create(name, metadata)
        self.log.create(name, metadata)
        self.compare(self.log, name)
        return name

    @rule(name=streams)
    def create_again(self, name: str) -> None:
        self.same(lambda: self.model.create(name), lambda: self.log.create(name))

    @rule(name=streams, rows=st.lists(st.tuples(payloads, timestamps), min_size=1, max_size=6))
    def append(self, name: str, rows: list[tuple[bytes, int]]) -> None:
        bodies, times = (list(column) for column in zip(*rows, strict=True))
        self.model.append_many(name, bodies, times)
        self.log.stream(name).append_many(bodies, timestamps=times)
        self.compare(self.log, name)

    @rule(name=streams, payload=payloads, timestamp=timestamps, header=headers)
    def append_one(
        self, name: str, payload: bytes, timestamp: int, header: dict[str, str] | None
    ) -> None:
        offset = self.model.append(name, payload, timestamp, header)
        receipt = self.log.stream(name).append(payload, timestamp=timestamp, headers=header)
        assert receipt.offset == offset

    @rule(
        target=streams,
        parent=streams,
        name=names,
        at=st.one_of(st.none(), st.integers(0, 12)),
        metadata=metadata,
    )
    def branch(
        self, parent: str, name: str, at: int | None, metadata: dict[str, Scalar] | None
    ) -> object:
        name = self.fresh(name)
        self.same(
            lambda: self.model.branch(parent, name, at, metadata),
            lambda: self.log.stream(parent).branch(name, at=at, metadata=metadata),
        )
        if name not in self.model.streams:
            assert name not in self.log
            return multiple()
        self.compare(self.log, name)
        return name

    @rule(
        target=streams,
        parents=st.lists(streams, min_size=2, max_size=4, unique=True),
        name=names,
        policy=st.sampled_from(POLICIES),
        merge_id=st.booleans(),
        metadata=metadata,
        data=st.data(),
    )
    def merge(
        self,
        parents: list[str],
        name: str,
        policy: str,
        merge_id: bool,
        metadata: dict[str, Scalar] | None,
        data: st.DataObject,
    ) -> object:
        name = self.fresh(name)
        heads = [self.draw_head(parent, data) for parent in parents]
        base = None if policy == "fast-forward" else self.draw_base(heads, data)
        params: dict[str, Scalar] = {}
        if policy == "select":
            params["selected"] = data.draw(st.sampled_from([*parents, "nobody"]))
        if policy == "custom:test-sparse":
            params["step"] = data.draw(st.integers(1, 3))
        # With a base that is refused, or a parent that is not one, only one of the two is wrong.
        if params.get("selected") == "nobody":
            base = None
        call: dict[str, object] = {"policy": policy, "base": base, "params": params}
        planned = self.compare_plan(heads, call)
        call |= {"metadata": metadata, "merge_id": f"id of {name}" if merge_id else None}
        made = self.same(
            lambda: self.model.merge(name, heads, **call),  # type: ignore[arg-type]
            lambda: self.real_merge(name, heads, call),
        )
        if isinstance(made, type):
            assert made == planned
            assert name not in self.log
            return multiple()
        assert isinstance(made, transit.Stream)
        assert made.name == name
        assert [tuple(r.origin) for r in self.model.read(name)] == planned
        self.calls[name] = {**call, "heads": heads}
        self.compare(self.log, name)
        return name

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def merge_again(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.calls)))
        call = dict(self.calls[name])
        heads: list[ModelPosition] = call.pop("heads")  # type: ignore[assignment]
        if call["merge_id"] is not None:
            heads = [self.model.stream(head.stream).head for head in heads]
        before = len(self.model.streams)
        made = self.real_merge(name, heads, call)
        assert self.model.merge(name, heads, **call) == made.name == name  # type: ignore[arg-type]
        assert len(list(self.log.streams())) == len(self.model.streams) == before
        self.compare(self.log, name)

    @rule(
        target=streams, data=st.data(), size=st.integers(0, 8), fail=st.sampled_from([0, 0, 0, 1])
    )
    def batch(self, data: st.DataObject, size: int, fail: bool) -> object:
        trial = ModelLog()
        trial.streams = self.model._copy().streams
        operations: list[Operation] = []
        for _ in range(size):
            operation = self.draw_operation(trial, data)
            trial.batch([operation])
            operations.append(operation)
        before = set(self.model.streams)
        receipts = self.real_batch(operations, bool(fail))
        if fail:
            assert receipts is None
        else:
            found = [(r.stream, r.offset, r.timestamp) for r in receipts or []]
            appends = [o for o in operations if isinstance(o, Append)]
            expected = self.model.batch(operations)
            assert found == [(*p, o.timestamp) for p, o in zip(expected, appends, strict=True)]
        self.compare_all(self.log)
        return multiple(*(name for name in self.model.streams if name not in before))

    @rule(name=streams, cursor=st.sampled_from(["a", "b"]), offset=st.integers(0, 12))
    def advance_a_cursor(self, name: str, cursor: str, offset: int) -> None:
        handle = self.log.stream(name).cursor(cursor)
        self.same(lambda: self.model.advance(name, cursor, offset), lambda: handle.advance(offset))
        assert handle.position == self.model.position(name, cursor)

    @rule(name=streams, a=st.integers(-1, 30), b=st.one_of(st.none(), st.integers(-1, 30)))
    def read_a_range(self, name: str, a: int, b: int | None) -> None:
        self.compare_range(self.log, name, a, b)

    @rule(name=streams, offset=st.integers(-30, 30))
    def read_one(self, name: str, offset: int) -> None:
        expected = outcome(lambda: plain_record(self.model.record(name, offset)))
        assert outcome(lambda: plain_record(self.log.stream(name)[offset])) == expected

    @rule(chosen=st.lists(streams, min_size=2, max_size=2), data=st.data())
    def compare_lineage_of_positions(self, chosen: list[str], data: st.DataObject) -> None:
        self.compare_pair(*(self.draw_head(name, data) for name in chosen))

    @rule(chosen=st.lists(streams, min_size=2, max_size=2))
    def compare_lineage_of_streams(self, chosen: list[str]) -> None:
        self.compare_pair(*chosen)
        lineage = self.log.lineage
        for name in chosen:
            stream, modelled = self.log.stream(name), self.model.stream(name)
            assert {s.name for s in lineage.ancestors(stream)} == self.model.ancestors(
                modelled.head
            )
            assert [s.name for s in lineage.children(stream)] == self.model.children(name)
            found = [parent.name for parent in lineage.parents(stream)]
            assert found == [parent.stream for parent in modelled.parents]

    # What the rules are made of

    def draw_head(self, name: str, data: st.DataObject) -> ModelPosition:
        """A position of a stream, most often its head."""
        head = self.model.stream(name).head
        if head.offset < 0 or data.draw(st.booleans()):
            return head
        return ModelPosition(name, data.draw(st.integers(0, head.offset)))

    def draw_base(self, heads: list[ModelPosition], data: st.DataObject) -> ModelPosition | None:
        """No base, the nearest, or any record in a parent's history, which may be refused."""
        choices: list[ModelPosition | None] = [None, None, None, *self.model.merge_bases(*heads)]
        choices += [record.origin for head in heads for record in self.model._history(head)[::3]]
        return data.draw(st.sampled_from(choices))

    def draw_operation(self, trial: ModelLog, data: st.DataObject) -> Operation:
        """One operation of a batch that is valid after the ones before it."""
        name = data.draw(st.sampled_from(list(trial.streams)))
        verb = data.draw(st.sampled_from(["append", "append", "append", "create", "branch"]))
        if verb == "append":
            expect = data.draw(st.sampled_from([None, len(trial.stream(name).records)]))
            payload, timestamp, header = data.draw(st.tuples(payloads, timestamps, headers))
            return Append(name, payload, timestamp, header, expect)
        new = data.draw(names) + f"#{len(trial.streams)}"
        if verb == "create":
            return Create(new, data.draw(metadata))
        last = len(trial.stream(name).records) - 1
        at = None if last < 0 else data.draw(st.one_of(st.none(), st.integers(0, last)))
        return Branch(name, new, at, data.draw(metadata))

    def real_batch(self, operations: list[Operation], fail: bool) -> list[transit.Receipt] | None:
        """The operations in one batch of the engine, which an exception ends when `fail`."""

        class Abandoned(Exception):
            pass

        staged: dict[str, object] = {}
        try:
            with self.log.batch() as batch:
                for operation in operations:
                    self.stage(batch, staged, operation)
                if fail:
                    raise Abandoned
        except Abandoned:
            return None
        for name, handle in staged.items():
            assert handle.stream.name == name  # type: ignore[attr-defined]
        return list(batch.receipts)

    def stage(self, batch: object, staged: dict[str, object], operation: Operation) -> None:
        """One operation in an open batch."""

        def known(name: str) -> object:
            return staged[name] if name in staged else self.log.stream(name)

        match operation:
            case Create(name, metadata):
                staged[name] = batch.create(name, metadata)  # type: ignore[attr-defined]
            case Append(name, payload, timestamp, headers, expect):
                batch.append(  # type: ignore[attr-defined]
                    known(name), payload, headers=headers, timestamp=timestamp, expect=expect
                )
            case Branch(parent, name, at, metadata):
                staged[name] = batch.branch(  # type: ignore[attr-defined]
                    known(parent), name, at=at, metadata=metadata
                )

    def real(self, node: ModelPosition | str | None) -> transit.Position | transit.Stream | None:
        """The engine's name of a node: a stream for a whole one, else a position."""
        if node is None:
            return None
        if isinstance(node, str):
            return self.log.stream(node)
        if node == self.model.stream(node.stream).head:
            return self.log.stream(node.stream)
        return transit.Position(node.stream, node.offset)

    def real_merge(
        self, name: str, heads: list[ModelPosition], call: dict[str, object]
    ) -> transit.Stream:
        """A merge in the engine."""
        options = {**call, "base": self.real_base(call)}
        return self.log.merge(name, [self.real(head) for head in heads], **options)  # type: ignore[arg-type]

    def real_base(self, call: dict[str, object]) -> transit.Position | None:
        base = call["base"]
        assert base is None or isinstance(base, ModelPosition)
        return None if base is None else transit.Position(*base)

    def compare_plan(self, heads: list[ModelPosition], call: dict[str, object]) -> object:
        """The origins a plan names, or the class of the error; nothing is created."""
        expected = outcome(lambda: self.model.plan(heads, **call))  # type: ignore[arg-type]
        options = {**call, "base": self.real_base(call)}
        found = outcome(
            lambda: self.log.plan([self.real(head) for head in heads], **options)  # type: ignore[arg-type]
        )
        assert [s.name for s in self.log.streams()] == list(self.model.streams)
        if isinstance(expected, type):
            assert found == expected
            return expected
        assert found.base == (None if expected.base is None else transit.Position(*expected.base))  # type: ignore[attr-defined]
        origins = [
            (position.stream, position.offset + place)
            for position, count in found.spans  # type: ignore[attr-defined]
            for place in range(count)
        ]
        assert origins == list(expected.origins)  # type: ignore[attr-defined]
        assert found.count == len(origins)  # type: ignore[attr-defined]
        return origins

    def compare_pair(self, a: ModelPosition | str, b: ModelPosition | str) -> None:
        """Every question the lineage answers about two nodes."""
        lineage = self.log.lineage
        nodes = [self.model.stream(x).head if isinstance(x, str) else x for x in (a, b)]
        real_a, real_b = self.real(a), self.real(b)
        bases = [transit.Position(*base) for base in self.model.merge_bases(*nodes)]
        assert list(lineage.merge_bases(real_a, real_b)) == bases
        assert lineage.merge_base(real_a, real_b) == (bases[0] if bases else None)
        assert lineage.is_ancestor(real_a, real_b) == self.model.is_ancestor(*nodes)
        assert lineage.is_ancestor(real_b, real_a) == self.model.is_ancestor(*nodes[::-1])
        for node, found in zip(nodes, (real_a, real_b), strict=True):
            assert {s.name for s in lineage.ancestors(found)} == self.model.ancestors(node)


TestOneStream = OneStream.TestCase
TestOneStream.settings = MACHINE
TestLineage = Lineage.TestCase
TestLineage.settings = MACHINE


@settings(max_examples=50 * SOAK, deadline=None)
@given(given_times=st.lists(st.lists(st.one_of(st.none(), timestamps), max_size=8), max_size=3))
def test_timestamps_the_engine_assigns_never_decrease(
    tmp_path_factory: pytest.TempPathFactory, given_times: list[list[int | None]]
) -> None:
    path = Path(tempfile.mkdtemp(prefix="transit-", dir=MEMORY_DISK))
    try:
        with transit.open(path / "store", durability="os", settings=SMALL) as log:
            stream = log.create("root")
            for number, times in enumerate(given_times):
                for time in times:
                    before = stream[-1].timestamp if len(stream) else None
                    receipt = stream.append(b"", timestamp=time)
                    assert receipt.timestamp == stream[-1].timestamp
                    if time is not None:
                        assert receipt.timestamp == time
                    elif before is not None:
                        assert receipt.timestamp >= before
                stream = stream.branch(f"branch {number}")
    finally:
        shutil.rmtree(path)
