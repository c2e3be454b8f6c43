"""Rules that write to streams: create, append in every way, batches, cursors, typed values."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import initialize

import transit
from rigs.machines.compare import compare_all, compare_name, outcome
from rigs.machines.machine import World, step
from rigs.machines.values import (
    Row,
    aheads,
    codecs,
    durabilities,
    headers,
    json_values,
    maybe_timestamps,
    metadata,
    names,
    payloads,
    rows,
    spots,
    states,
    timestamps,
)
from transit.testing.model import (
    Advance,
    Append,
    Branch,
    Create,
    Merge,
    ModelLog,
    ModelPosition,
    Operation,
    Scalar,
)

Drawn = tuple[str, int, str, Row, bool]
"""An operation of a batch as it is drawn: verb, where, a name, a record, and a choice."""

operations = st.lists(
    st.tuples(
        st.sampled_from(
            ["append", "append", "append", "create", "branch", "merge", "merge", "advance"]
        ),
        spots,
        names,
        rows,
        st.booleans(),
    ),
    max_size=8,
)


class AbandonedError(Exception):
    """What ends a batch that must leave nothing."""


class Writing(World):
    """Writes of every kind to streams, each held to the model."""

    # The last timestamp that the engine gave.
    latest = 0

    @initialize(metadata=metadata)
    def create_two(self, metadata: dict[str, Scalar] | None) -> None:
        """Two streams whose records alternate in time, so that every rule has something to do."""
        for first, (name, codec) in enumerate((("left", None), ("right", "json"))):
            self.model.create(name, metadata, codec)
            self.log.create(name, metadata, codec=codec)
            times = [first, first + 2, first + 4]
            bodies = [f'"{name} {time}"'.encode() for time in times]
            self.model.append_many(name, bodies, times)
            self.log.stream(name).append_many(bodies, timestamps=times)

    def reached(self, asked: str | None, *, alone: bool = False) -> str:
        """What a receipt says; `alone`: for one record, which may wait in memory."""
        if asked == "memory" and not (alone and self.mode == "exclusive"):
            return "os"
        return asked or "os"

    @step(name=names, metadata=metadata, codec=codecs, durability=durabilities)
    def create(
        self,
        name: str,
        metadata: dict[str, Scalar] | None,
        codec: str | None,
        durability: str | None,
    ) -> None:
        """A new root."""
        name = self.fresh(name)
        self.model.create(name, metadata, codec)
        self.log.create(name, metadata, codec=codec, durability=durability)
        compare_name(self.log, self.model, name)

    @step(spot=spots)
    def create_a_taken_name(self, spot: int) -> None:
        """A name is given once."""
        name = self.pick(spot)
        self.same(lambda: self.model.create(name), lambda: self.log.create(name))
        self.same(lambda: self.model.branch(name, name), lambda: self.log.stream(name).branch(name))

    @step(
        spot=spots,
        payload=payloads,
        headers=headers,
        timestamp=maybe_timestamps,
        ahead=aheads,
        durability=durabilities,
    )
    def append(
        self,
        spot: int,
        payload: bytes,
        headers: dict[str, str] | None,
        timestamp: int | None,
        ahead: int | None,
        durability: str | None,
    ) -> None:
        """One record, perhaps only if no other append was faster, and perhaps only in memory."""
        stream = self.stream(self.pick(spot))
        next_offset = len(self.model.stream(stream.name).records)
        expect = None if ahead is None else max(0, next_offset + ahead)
        found = outcome(
            lambda: stream.append(
                payload, headers=headers, timestamp=timestamp, expect=expect, durability=durability
            )
        )
        given = self.check_time(stream.name, timestamp, found)
        expected = outcome(lambda: self.model.append(stream.name, payload, given, headers, expect))
        reached = self.reached(durability, alone=True)
        if not isinstance(found, transit.Receipt):
            assert found == expected
            return
        encrypted = self.log.encryption
        assert found == transit.Receipt(stream.name, next_offset, given, reached, 1, encrypted)  # type: ignore[arg-type]
        assert expected == found.first == found.last
        if reached == "memory":
            self.waiting.append(stream.name)
            self.keeps = True
        else:
            compare_name(self.log, self.model, stream.name)

    @step(
        spot=spots,
        other=spots,
        bodies=st.lists(payloads, min_size=1, max_size=6),
        timestamp=maybe_timestamps,
    )
    def append_in_memory(
        self, spot: int, other: int, bodies: list[bytes], timestamp: int | None
    ) -> None:
        """Records of two streams alternately, which wait in memory for whatever comes next."""
        for number, body in enumerate(bodies):
            self.append_waiting(self.pick(other if number % 2 else spot), body, timestamp)
        self.keeps = True

    def append_waiting(self, name: str, body: bytes, timestamp: int | None) -> None:
        """One record that may be lost with the process."""
        receipt = self.stream(name).append(body, timestamp=timestamp, durability="memory")
        given = self.check_time(name, timestamp, receipt)
        assert receipt.offset == self.model.append(name, body, given)
        assert receipt.durability == self.reached("memory", alone=True)
        if receipt.durability == "memory":
            self.waiting.append(name)

    def check_time(self, name: str, asked: int | None, found: object) -> int:
        """The timestamp a record got: what was asked for, or the engine's time."""
        if not isinstance(found, transit.Receipt):
            return 0
        if asked is not None:
            assert found.timestamp == asked, name
        else:
            # Not before any that it gave, and not after a time that a caller asked for.
            assert self.latest <= found.timestamp <= time.time_ns(), name
            self.latest = found.timestamp
        return found.timestamp

    @step(
        spot=spots,
        rows=st.lists(rows, min_size=0, max_size=30),
        ahead=aheads,
        durability=durabilities,
    )
    def append_many(
        self, spot: int, rows: list[Row], ahead: int | None, durability: str | None
    ) -> None:
        """Several records, one frame."""
        stream = self.stream(self.pick(spot))
        next_offset = len(self.model.stream(stream.name).records)
        bodies = [row[0] for row in rows]
        times = [row[1] for row in rows]
        maps = [row[2] for row in rows]
        expect = None if ahead is None else max(0, next_offset + ahead)
        found = self.same(
            lambda: self.model.append_many(stream.name, bodies, times, maps, expect),
            lambda: stream.append_many(
                bodies, timestamps=times, headers=maps, expect=expect, durability=durability
            ),
        )
        if isinstance(found, transit.Receipt):
            reached = self.reached(durability)
            assert (found.first, found.count) == (next_offset, len(rows))
            assert found.last - found.first + 1 == len(rows)
            assert (found.timestamp, found.durability) == (times[-1], reached)
        compare_name(self.log, self.model, stream.name)

    @step(spot=spots, body=payloads, count=st.integers(1, 60), timestamp=timestamps, header=headers)
    def append_many_alike(
        self, spot: int, body: bytes, count: int, timestamp: int, header: dict[str, str] | None
    ) -> None:
        """Records that differ in nothing, so that their columns are constant."""
        name = self.pick(spot)
        times = [timestamp] * count
        self.model.append_many(name, [body] * count, times, [header] * count)
        bodies = (body for _ in range(count))
        self.stream(name).append_many(bodies, timestamps=times, headers=header)
        compare_name(self.log, self.model, name)

    @step(spot=spots, rows=st.lists(rows, min_size=1, max_size=10), durability=durabilities)
    def submit(self, spot: int, rows: list[Row], durability: str | None) -> None:
        """Records with their offsets at once and their receipts later."""
        name = self.pick(spot)
        stream = self.stream(name)
        futures = [
            stream.submit(b, timestamp=t, headers=h, durability=durability) for b, t, h in rows
        ]
        offsets = [self.model.append(name, b, t, h) for b, t, h in rows]
        receipts = [future.result(timeout=60) for future in futures]
        assert [receipt.offset for receipt in receipts] == offsets
        assert {r.durability for r in receipts} == {self.reached(durability, alone=True)}
        compare_name(self.log, self.model, name)

    @step(spot=spots, value=json_values, ahead=aheads)
    def append_value(self, spot: int, value: object, ahead: int | None) -> None:
        """A typed value, which only a stream with a codec takes."""
        name = self.pick(spot)
        modelled = self.model.stream(name)
        next_offset = len(modelled.records)
        expect = None if ahead is None else max(0, next_offset + ahead)
        found = outcome(lambda: self.stream(name).append_value(value, expect=expect))
        if modelled.codec is None:
            assert found is transit.InvalidInputError
            return
        given = self.check_time(name, None, found)
        payload = msgspec.json.encode(value)
        expected = outcome(lambda: self.model.append(name, payload, given, None, expect))
        if isinstance(found, transit.Receipt):
            assert found.offset == expected
            assert self.stream(name).value(next_offset) == value
        else:
            assert found == expected
        compare_name(self.log, self.model, name)

    @step(
        spot=spots,
        cursor=st.sampled_from(["a", "b"]),
        offset=st.integers(0, 60),
        state=states,
        ahead=aheads,
    )
    def move_a_cursor(
        self, spot: int, cursor: str, offset: int, state: bytes | None, ahead: int | None
    ) -> None:
        """A cursor moves forward, with a state or none, or says that it cannot."""
        name = self.pick(spot)
        handle = self.stream(name).cursor(cursor)
        offset = min(offset, len(self.model.stream(name).records) + 1)
        now = self.model.cursor(name, cursor).position
        expect = None if ahead is None else max(0, now + ahead)
        self.same(
            lambda: self.model.advance(name, cursor, offset, state, expect),
            lambda: handle.advance(offset, state=state, expect=expect),
        )
        self.compare_cursor(name, cursor)
        kept = self.model.cursor(name, cursor)
        if kept.state is not None and kept.position < len(self.model.stream(name).records):
            # The next move says nothing of a state.
            self.model.advance(name, cursor, kept.position + 1, None, None)
            handle.advance(kept.position + 1)
            self.compare_cursor(name, cursor)

    def compare_cursor(self, name: str, cursor: str) -> None:
        """Where a cursor stands, by every way to it."""
        stream = self.log.stream(name)
        for each in (stream.cursor(cursor), *stream.cursors(cursor)):
            assert (each.position, each.state) == self.model.cursor(name, cursor)

    # Batches

    @step(drawn=operations, durability=durabilities)
    def batch(self, drawn: list[Drawn], durability: str | None) -> None:
        """Records of several streams, new streams, branches, merges and cursors in one frame."""
        planned = self.planned(drawn)
        receipts = self.write_batch(planned, durability)
        found = [(r.stream, r.offset, r.timestamp) for r in receipts]
        times = [each.timestamp for each in planned if isinstance(each, Append)]
        expected = self.model.batch(planned)
        assert found == [(*p, time) for p, time in zip(expected, times, strict=True)]
        assert {r.durability for r in receipts} <= {self.reached(durability)}
        compare_all(self.log, self.model)

    @step(drawn=operations)
    def leave_a_batch(self, drawn: list[Drawn]) -> None:
        """A batch whose block raises writes nothing."""
        planned = self.planned(drawn)
        try:
            self.write_batch(planned, None, self.give_up)
        except AbandonedError:
            compare_all(self.log, self.model)
        else:
            raise AssertionError("a batch swallowed the error that ended it")

    @step(drawn=operations, spot=spots, row=rows, kind=st.integers(0, 3))
    def batch_with_a_false_condition(
        self, drawn: list[Drawn], spot: int, row: Row, kind: int
    ) -> None:
        """A batch whose last condition does not hold writes nothing."""
        name, other = self.pick(spot), self.pick(spot + 1)
        new = f"new#{len(self.model.known) + len(drawn)}"
        wrong: Operation = (
            Append(name, *row, expect=10**6),
            Branch(name, new, expect=10**6),
            Merge(new, (name, other), "append", expect=(None, 10**6)),
            Advance(name, "a", 0, expect=10**6),
        )[kind]
        planned = [*self.planned(drawn), wrong]
        found = self.same(
            lambda: self.model.batch(planned), lambda: self.write_batch(planned, None)
        )
        assert found is transit.ConflictError
        compare_all(self.log, self.model)

    @step(spot=spots, bodies=st.lists(payloads, min_size=1, max_size=5), header=headers)
    def batch_of_many(self, spot: int, bodies: list[bytes], header: dict[str, str] | None) -> None:
        """Records at the engine's own time, in a batch."""
        name = self.pick(spot)
        with self.log.batch() as batch:
            batch.append_many(self.log.stream(name), bodies, headers=header)
        for body, receipt in zip(bodies, batch.receipts, strict=True):
            given = self.check_time(name, None, receipt)
            assert receipt.offset == self.model.append(name, body, given, header)
        compare_name(self.log, self.model, name)

    def give_up(self) -> None:
        """End the batch that is open."""
        raise AbandonedError

    def planned(self, drawn: list[Drawn]) -> list[Operation]:
        """Operations that are valid one after another."""
        trial = self.model.copy()
        planned: list[Operation] = []
        for one in drawn:
            operation = _operation(trial, one, list(self.model.streams))
            trial.batch([operation])
            planned.append(operation)
        return planned

    def write_batch(
        self,
        planned: list[Operation],
        durability: str | None,
        last: Callable[[], None] = lambda: None,
    ) -> list[transit.Receipt]:
        """The operations in one batch of the engine; `last` is called before its block ends."""
        staged: dict[str, transit.StagedStream] = {}
        with self.log.batch(durability=durability) as batch:
            for together in _runs(planned):
                if len(together) > 1:
                    self.stage_many(batch, staged, together)
                else:
                    self.stage(batch, staged, together[0])
            last()
        for name, handle in staged.items():
            assert handle.stream.name == name
        return list(batch.receipts)

    def stage_many(
        self,
        batch: transit.WriteBatch,
        staged: dict[str, transit.StagedStream],
        run: list[Operation],
    ) -> None:
        """Records of one stream, at once: they come to what they come to one by one."""
        appends = [each for each in run if isinstance(each, Append)]
        first = appends[0]
        target = staged[first.stream] if first.stream in staged else self.log.stream(first.stream)
        headers = [each.headers for each in appends]
        batch.append_many(
            target,
            [each.payload for each in appends],
            headers=headers if any(headers) else None,
            timestamps=[each.timestamp for each in appends],
            expect=first.expect,
        )

    def stage(
        self,
        batch: transit.WriteBatch,
        staged: dict[str, transit.StagedStream],
        operation: Operation,
    ) -> None:
        """One operation in an open batch."""

        def known(name: str) -> transit.Stream | transit.StagedStream:
            return staged[name] if name in staged else self.log.stream(name)

        match operation:
            case Create(name, metadata, codec):
                staged[name] = batch.create(name, metadata, codec)
            case Append(name, payload, timestamp, headers, expect):
                batch.append(
                    known(name), payload, headers=headers, timestamp=timestamp, expect=expect
                )
            case Branch(parent, name, at, metadata, expect):
                staged[name] = batch.branch(
                    known(parent), name, at=at, metadata=metadata, expect=expect
                )
            case Merge(name, parents, policy, base, params, _, merge_id, expects):
                staged[name] = batch.merge(
                    name,
                    [known(p) if isinstance(p, str) else transit.Position(*p) for p in parents],
                    policy=policy,
                    base=None if base is None else transit.Position(*base),
                    params=params,
                    merge_id=merge_id,
                    expect=expects,
                )
            case Advance(name, cursor, position, state, expect):
                handle = self.log.stream(name).cursor(cursor)
                batch.advance(handle, position, state=state, expect=expect)


def _runs(planned: list[Operation]) -> list[list[Operation]]:
    """Operations one by one, and together the records that can be appended at once.

    A record on a condition begins a run; the others follow it whatever comes. Where the payload
    of the first is of an even size it stays alone, so that both ways are taken.
    """
    runs: list[list[Operation]] = []
    for operation in planned:
        last = runs[-1][0] if runs else None
        if (
            isinstance(operation, Append)
            and isinstance(last, Append)
            and last.stream == operation.stream
            and operation.expect is None
            and len(last.payload) % 2
        ):
            runs[-1].append(operation)
        else:
            runs.append([operation])
    return runs


def _operation(trial: ModelLog, drawn: Drawn, there: list[str]) -> Operation:
    verb, spot, name, (payload, timestamp, header), choice = drawn
    known = list(trial.streams)
    target = known[spot % len(known)]
    # Those out of sight count too: so no name is given twice.
    new = f"{name}#{len(trial.known)}"
    count = len(trial.stream(target).records)
    if verb == "append":
        return Append(target, payload, timestamp, header, count if choice else None)
    if verb == "merge":
        return _merge(trial, new, spot, choice)
    if verb == "advance":
        # A cursor is on a stream that is there.
        target = there[spot % len(there)]
        now, stop = trial.cursor(target, "a").position, len(trial.stream(target).records)
        position = now + spot % (stop - now + 1)
        return Advance(target, "a", position, payload[:9] if choice else None, now)
    if verb == "create":
        return Create(new, {"made": name}, "json" if choice and spot % 4 == 0 else None)
    at = None if choice or not count else spot % count
    return Branch(target, new, at, None, count if spot % 2 else None)


def _merge(trial: ModelLog, new: str, spot: int, choice: bool) -> Operation:
    """A merge of two streams, those that the batch makes too, at their heads or before."""
    known = list(trial.streams)
    first = spot % len(known)
    names = known[first], known[(first + 1 + spot % (len(known) - 1)) % len(known)]
    heads = [trial.stream(name).head for name in names]
    parents: list[str | ModelPosition] = list(names)
    if choice:
        parents[0] = heads[0]._replace(offset=heads[0].offset - (heads[0].offset > 0))
    policy = ("append", "interleave", "interleave", "base", "select")[spot % 5]
    params = {"selected": names[1]} if policy == "select" else None
    expect = (None, heads[1].offset + 1) if spot % 3 else None
    return Merge(new, parents, policy, None, params, None, f"id of {new}", expect)
