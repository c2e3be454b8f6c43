"""Rules that only look: ranges, single records, values, tails, other readers, lineage, files."""

from __future__ import annotations

import asyncio
import json
import queue
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from hypothesis import strategies as st

import transit
from rigs.machines.compare import (
    Node,
    Plain,
    compare_all,
    compare_difference,
    compare_family,
    compare_graph,
    compare_pair,
    compare_range,
    compare_why,
    outcome,
    plain_record,
    plain_records,
)
from rigs.machines.machine import World, step, still
from rigs.machines.values import payloads, spots
from transit.testing.model import ModelPosition, Scalar


def has(metadata: Mapping[str, Scalar], wanted: Mapping[str, Scalar]) -> bool:
    """Whether a stream with this metadata is asked for: JSON tells 1 from true."""
    pairs = [(key, value, type(value) is bool) for key, value in metadata.items()]
    return all((key, value, type(value) is bool) in pairs for key, value in wanted.items())


PATIENCE_S = 120.0

ends = st.one_of(st.none(), st.integers(-2, 250))


class Reading(World):
    """Reads of every kind, each held to the model."""

    # Records

    @step(spot=spots, start=st.integers(-2, 250), stop=ends)
    def read_a_range(self, spot: int, start: int, stop: int | None) -> None:
        """Any range, which may lie outside."""
        compare_range(self.stream(self.pick(spot)), self.model, start, stop)

    @step(spot=spots, start=spots, length=spots, of=spots, several=st.booleans())
    def read_by_headers(self, spot: int, start: int, length: int, of: int, several: bool) -> None:
        """The records of a range that have the first header of one of them, or a value more."""
        model, stream = self.picked(spot), self.stream(self.pick(spot))
        there = [record for record in model.records if record.headers]
        if not there:
            return
        key, value = next(iter(there[of % len(there)].headers.items()))
        values = {value, "another"} if several else {value}
        where = {key: values} if several else {key: value}
        start %= len(model.records) + 1
        wanted = [
            place
            for place, record in enumerate(model.records)
            if start <= place < start + length and record.headers.get(key) in values
        ]
        found = list(stream.read(start, start + length, where=where))
        whole = stream[start : start + length]
        assert found == [record for record in whole if record.offset in wanted]
        assert [record.offset for record in found] == wanted
        columns = stream.batches(start, start + length, where=where)
        assert [record for batch in columns for record in batch.records()] == found

    @step(spot=spots, start=spots, length=spots)
    def read_pieces(self, spot: int, start: int, length: int) -> None:
        """A range cut where it lies, each piece as another process would read it."""
        stream = self.stream(self.pick(spot))
        start %= len(stream) + 1
        rows = []
        for piece in stream.pieces(start, start + length):
            rows += transit.read_piece(piece, ("offset", "payload", "origin_offset")).to_pylist()
        wanted = stream[start : start + length]
        assert [tuple(row.values()) for row in rows] == [
            (record.offset, record.payload, record.origin.offset) for record in wanted
        ]

    @step(since=st.integers(-1, 9))
    def list_pieces(self, since: int) -> None:
        """What is sealed, of each stream its own records without a gap up to where it is sealed."""
        reached: dict[str, int] = {}
        for piece in self.log.pieces(since):
            assert piece.commit > since
            assert reached.get(piece.stream, piece.first) == piece.first
            reached[piece.stream] = piece.stop
        for name, stop in reached.items():
            assert stop <= len(self.model.stream(name).records)

    @step(spot=spots, place=spots, ahead=st.sampled_from([-1, 0, 0, 1]))
    def seek_a_time(self, spot: int, place: int, ahead: int) -> None:
        """The first record written at a time: no clock is set back here."""
        stream = self.stream(self.pick(spot))
        times = [record.written for record in stream]
        time = times[place % len(times)] + ahead if times else ahead
        found = next((at for at, each in enumerate(times) if each >= time), len(times))
        assert stream.offset_at(time) == found

    @step(spot=spots, body=payloads)
    def watch_what_comes(self, spot: int, body: bytes) -> None:
        """A watch is told of a stream at first, and once more after an append."""
        name = self.pick(spot)
        told: queue.SimpleQueue[tuple[transit.Stream, ...]] = queue.SimpleQueue()
        stream = self.stream(name)
        with self.log.watch(told.put, [name]):
            assert told.get(timeout=PATIENCE_S) == (stream,)
            given = stream.append(body, headers={"seen": "by watch"}).timestamp
            self.model.append(name, body, given, {"seen": "by watch"})
            assert told.get(timeout=PATIENCE_S) == (stream,)

    @step(spot=spots, back=st.integers(0, 20), length=st.integers(0, 20))
    def read_near_the_end(self, spot: int, back: int, length: int) -> None:
        """The newest records, which may still be in memory."""
        stream = self.stream(self.pick(spot))
        start = max(0, len(stream) - back)
        found = compare_range(stream, self.model, start, start + length)
        assert isinstance(found, list)

    @step(spot=spots, offset=st.integers(-250, 250))
    def read_one(self, spot: int, offset: int) -> None:
        """One record, from either end."""
        name = self.pick(spot)
        count = len(self.model.stream(name).records)
        near = offset % (count + 1) if offset >= 0 else -(-offset % (count + 2))
        for place in (offset, near):
            expected = outcome(lambda at=place: plain_record(self.model.record(name, at)))  # type: ignore[misc]
            found = outcome(lambda at=place: plain_record(self.stream(name)[at]))  # type: ignore[misc]
            assert found == expected

    @step(spot=spots, start=ends, stop=ends)
    def slice_a_stream(self, spot: int, start: int | None, stop: int | None) -> None:
        """A slice means what it means for a list."""
        name = self.pick(spot)
        wanted = plain_records(self.model.stream(name).records[start:stop])
        assert plain_records(self.stream(name)[start:stop]) == wanted
        assert plain_records(iter(self.stream(name))) == plain_records(self.model.read(name))

    @step(spot=spots)
    def read_values(self, spot: int) -> None:
        """Typed values, where there is a codec and every payload is one."""
        name = self.pick(spot)
        modelled = self.model.stream(name)
        found = outcome(lambda: list(self.stream(name).values()))
        if modelled.codec is None:
            assert found is transit.InvalidInputError
            return
        try:
            wanted: object = [json.loads(record.payload) for record in modelled.records]
        except (ValueError, RecursionError):
            assert found is transit.InvalidInputError
        else:
            # The standard library takes more for JSON than JSON is: NaN, and numbers without end.
            assert found in (wanted, transit.InvalidInputError)

    @step(spot=spots, back=spots)
    def tail_to_the_end(self, spot: int, back: int) -> None:
        """A tail without patience gives what is there, and ends."""
        name, start = self.place_in(spot, back)
        wanted = plain_records(self.model.read(name, start))
        assert plain_records(self.stream(name).tail(start, timeout=0)) == wanted

    @step(spot=spots, back=spots)
    def follow_to_the_end(self, spot: int, back: int) -> None:
        """The same in an event loop."""
        name, start = self.place_in(spot, back)

        async def follow() -> list[Plain]:
            return [plain_record(r) async for r in self.stream(name).follow(start, timeout=0)]

        assert asyncio.run(follow()) == plain_records(self.model.read(name, start))

    @step(spot=spots, body=payloads)
    def tail_what_comes(self, spot: int, body: bytes) -> None:
        """A tail that began at the head gives what is appended after that, once."""
        name = self.pick(spot)
        following = self.stream(name).tail(timeout=0)
        given = self.stream(name).append(body, headers={"seen": "by tail"}).timestamp
        offset = self.model.append(name, body, given, {"seen": "by tail"})
        assert plain_records(following) == plain_records(self.model.read(name, offset))

    def place_in(self, spot: int, back: int) -> tuple[str, int]:
        """A stream, and an offset from which to read it."""
        stream = self.picked(spot)
        return stream.name, back % (len(stream.records) + 1)

    # Other readers

    @step()
    def compare_with_a_new_reader(self) -> None:
        """A new reader of the folder sees all that was framed."""
        self.peek()
        with self.open("read") as reader:
            compare_all(reader, self.model)

    @step()
    def compare_with_a_reader_that_stays(self) -> None:
        """A reader that opened it long ago sees the same."""
        if not self.readers:
            self.readers.append(self.open("read"))
        self.peek()
        compare_all(self.readers[0], self.model)

    def peek(self) -> None:
        """Look first as it is: what waits in memory may be there or not, everything else is."""
        if self.waiting and self.readers:
            for name in set(self.waiting):
                most = len(self.model.stream(name).records)
                shown = len(self.readers[0].stream(name))
                assert most - self.waiting.count(name) <= shown <= most
        self.frame()

    @step()
    def compare_everything(self) -> None:
        """All that the writers' own handles show."""
        self.compare()

    @step(prefix=st.sampled_from(["", "l", "left", "nothing begins so"]))
    def list_streams(self, prefix: str) -> None:
        """Names, with a prefix and without; what is there, and what is not."""
        found = [stream.name for stream in self.log.streams(prefix)]
        assert found == [name for name in self.model.streams if name.startswith(prefix)]
        assert self.pages(prefix) == found
        for stream in self.model.streams.values():
            wanted = dict(list(stream.metadata.items())[:1])
            having = [
                name
                for name, other in self.model.streams.items()
                if name.startswith(prefix) and has(other.metadata, wanted)
            ]
            assert [s.name for s in self.log.streams(prefix, where=wanted)] == having
        assert "nobody" not in self.log
        assert outcome(lambda: self.log.stream("nobody")) is transit.NotFoundError

    def pages(self, prefix: str) -> list[str]:
        """The same names, two at a time."""
        names: list[str] = []
        while page := list(self.log.streams(prefix, after=names[-1] if names else None, limit=2)):
            names += [stream.name for stream in page]
        return names

    @step()
    def look_at_the_status(self) -> None:
        """Counts of what the store holds."""
        status = self.log.status()
        assert status.streams == len(self.model.streams)
        assert (status.mode, status.seal_error) == (self.mode, "")
        assert Path(status.path) == self.folder
        assert status.commits >= status.segments

    @step()
    def look_at_what_is_sealed(self) -> None:
        """Beginnings of the model's streams; and the same again as of the head it had."""
        sealed = self.log.sealed()
        own: Counter[int] = Counter()
        for segment in sealed.segments():
            for stream_id, batch in segment.batches():
                own[stream_id] += len(batch)
        counts = {}
        for stream in sealed.streams():
            count = counts[stream.name] = sealed.count(stream)
            expected = self.model.stream(stream.name).records[:count]
            assert len(expected) == count
            found = [record.payload for record in stream.read(0, count)]
            assert found == [record.payload for record in expected]
            assert own[stream.id] == count - stream.own_start
        again = self.log.sealed(sealed.head)
        assert {each.name: again.count(each) for each in again.streams()} == counts

    # Lineage

    @step(one=st.tuples(spots, spots), other=st.tuples(spots, spots))
    def compare_lineage_of_positions(self, one: tuple[int, int], other: tuple[int, int]) -> None:
        """Bases, ancestors and differences of two positions."""
        a, b = self.node(*one), self.node(*other)
        compare_pair(self.log, self.model, a, b)
        compare_difference(self.log, self.model, a, b)

    @step(one=spots, other=spots)
    def compare_lineage_of_streams(self, one: int, other: int) -> None:
        """The same of two streams, and their families."""
        a, b = self.pick(one), self.pick(other)
        compare_pair(self.log, self.model, a, b)
        compare_difference(self.log, self.model, a, b)
        streams, lineage = (self.stream(a), self.stream(b)), self.log.lineage
        assert lineage.diff(a, b) == lineage.diff(*streams)
        assert lineage.merge_bases(a, b) == lineage.merge_bases(*streams)
        for name in (a, b):
            compare_family(self.log, self.model, name)

    def node(self, spot: int, where: int) -> Node:
        """A position of a stream, or the stream where it is empty."""
        stream = self.picked(spot)
        if not stream.records:
            return stream.name
        return ModelPosition(stream.name, where % len(stream.records))

    @step(spot=spots, where=spots)
    def look_why(self, spot: int, where: int) -> None:
        """How one record got there."""
        node = self.node(spot, where)
        if isinstance(node, ModelPosition):
            compare_why(self.log, self.model, node)
        else:
            position = transit.Position(node, 0)
            assert outcome(lambda: self.log.lineage.why(position)) is transit.OffsetError

    @step()
    def compare_the_graph(self) -> None:
        """All edges."""
        compare_graph(self.log, self.model)

    # Files

    @step(spot=spots)
    def inspect_a_file(self, spot: int) -> None:
        """Nothing is wrong with any file of the store."""
        self.frame()
        with still(self.logs):
            files = sorted(
                path
                for folder in ("wal", "segments", "commits", "index")
                for path in (self.folder / folder).glob("*")
                if not path.name.endswith(".temporary")
            )
            report = transit.inspect_file(files[spot % len(files)])
            assert not report.findings, report.findings
