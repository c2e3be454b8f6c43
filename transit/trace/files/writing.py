"""Imported runs as streams: everything is encoded and checked first, then written.

A run is a stream as `trace.task` makes it, a branch is a branch, and a child run is a stream whose
metadata names the stream it was begun in (`parent_run`), which holds a `ChildRun` event there. The
metadata of each says what it was made from: `source_format`, `source_file`, `source_digest` (BLAKE3
of the file) and `source_events`.

Importing makes a stream hold the file's events. So a stream that holds the first of them gets the
others, one that holds them all gets nothing, and one that holds something else is refused
(`AlreadyExistsError`). An import that was cut short is gone on with the same way.

Notes are written last, to where `transit.trace.noting` has them; those that are there are not
written again.

What fits is one atomic frame; more is written in several, parents first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Final
from uuid import uuid4

import msgspec

from transit import (
    AlreadyExistsError,
    InvalidInputError,
    Log,
    NotFoundError,
    Scalar,
    StagedStream,
    Stream,
    WriteBatch,
)
from transit.trace.ends import note_end
from transit.trace.events import (
    ChildRun,
    Custom,
    Evaluation,
    Event,
    Note,
    RunEnd,
    encode_json,
)
from transit.trace.files.judgements import placed
from transit.trace.files.runs import ImportedEvent, ImportedRun
from transit.trace.files.source import Source
from transit.trace.models import with_cached
from transit.trace.names import (
    BRANCH_KIND,
    PARENT_OFFSET,
    PARENT_RUN,
    PARENT_UID,
    TASK_ID,
    TRACE_KIND,
    describe_run,
)
from transit.trace.noting import notes, write_note
from transit.trace.packing import Packing
from transit.trace.parts import KnownParts
from transit.trace.sums import Sums
from transit.trace.writing import Options, encode_event, packed_event

SOURCE_ID: Final = "source_id"
SKIPPED: Final = "import.skipped"
_IN_MEMORY_BYTES: Final = 32 * 1024 * 1024
_LENGTH_BYTES: Final = 8
_SOURCE_ID_CHARACTERS_MAX: Final = 200
# What a frame has room for besides payloads is left free.
_FRAME_PART: Final = 2
_RECORD_REST: Final = 1024
_RECORDS_MAX: Final = 100_000


class StoredRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record that is ready: payload, UTC nanoseconds or None, the source's id of it."""

    payload: bytes
    timestamp: int | None
    source_id: str


class StagedRun(msgspec.Struct, kw_only=True):
    """A run that is encoded: where its records lie in the spool, and how its stream is made.

    sums: what it did, for its end to tell. places: the offset of the first record that the source
    has an id for, by that id. notes: on the run, each with the source's id of what it is about.
    """

    name: str
    uid: str
    metadata: dict[str, Scalar]
    begin: int
    sums: Sums
    count: int = 0
    first_time: int | None = None
    # The stream it is a branch of, and the offset of the last record it inherits.
    parent: str = ""
    fork: int = -1
    places: dict[str, int] = {}
    notes: list[tuple[Note, str]] = []

    @property
    def inherited(self) -> int:
        """How many records it has from its parent."""
        return self.fork + 1


class Written(msgspec.Struct, frozen=True):
    """What writing did: streams in order, events and notes added, those that were there."""

    streams: tuple[str, ...]
    added: int
    there: int


class RunWriter:
    """Stages the runs of one source, then writes them; used once, as a context manager."""

    def __init__(self, log: Log, source: Source, format_name: str, prefix: str) -> None:
        self._log = log
        self._source = source
        self._format = format_name
        self._prefix = prefix
        # Closed where the writer is left.
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115
        self._end = 0
        self._runs: dict[str, StagedRun] = {}
        self._known: dict[str, KnownParts] = {}
        # Runs that a `ChildRun` named before they came: their uids.
        self._promised: dict[str, str] = {}

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    # Staging

    def stage(self, runs: Iterable[ImportedRun]) -> None:
        """Encode every event; what cannot be is refused, or skipped, with its place."""
        for run in runs:
            staged = self._begin(run)
            self._runs[staged.name] = staged
            self._spool.seek(self._end)
            for event in run.events:
                self._add(staged, event)
        if not any(run.count for run in self._runs.values()):
            raise self._source.refuse(f"there is no run of {self._format} in it")
        if self._promised:
            raise self._source.refuse(f"no child run {min(self._promised)!r}")

    def _begin(self, run: ImportedRun) -> StagedRun:
        name = self._prefix + run.name
        uid = self._promised.pop(name, "") or self._uid(name)
        staged = StagedRun(name=name, uid=uid, metadata={}, begin=self._end, sums=Sums(name))
        known = KnownParts()
        if run.branch_of is not None:
            parent = self._runs[self._prefix + run.branch_of[0]]
            staged.parent, staged.fork = parent.name, parent.inherited + run.branch_of[1]
            known = self._known[parent.name].until(staged.inherited)
        self._known[name] = known
        staged.metadata = self._metadata(run, staged)
        return staged

    def _uid(self, name: str) -> str:
        """That of the stream that is there, or a new one; a name that none may have is refused."""
        try:
            return self._log.stream(name).uid
        except NotFoundError:
            return uuid4().hex
        except InvalidInputError as error:
            raise self._source.refuse(str(error)) from None

    def _metadata(self, run: ImportedRun, staged: StagedRun) -> dict[str, Scalar]:
        of_all: dict[str, Scalar] = {
            "source_format": self._format,
            "source_file": self._source.path.name.encode("utf-8", "replace").decode(),
            "source_digest": self._source.digest,
        }
        if run.child_of is not None:
            of_all[PARENT_RUN] = self._prefix + run.child_of[0]
            begun_in = self._runs.get(self._prefix + run.child_of[0])
            if begun_in is not None:
                of_all[PARENT_UID] = begun_in.uid
                of_all[PARENT_OFFSET] = begun_in.inherited + run.child_of[1]
        if staged.parent:
            parent = self._runs[staged.parent]
            task_id = str(parent.metadata[TASK_ID])
            kind: dict[str, Scalar] = {BRANCH_KIND: "retry"}
        else:
            task_id, kind = staged.name, {TRACE_KIND: "task"}
        return {
            **run.metadata,
            **describe_run(Options(), task_id, "", "imported"),
            **kind,
            **of_all,
        }

    def _add(self, staged: StagedRun, given: ImportedEvent) -> None:
        if isinstance(given.event, Note):
            self._add_note(staged, given.event, given)
            return
        if given.source_id:
            staged.places.setdefault(given.source_id, staged.inherited + staged.count)
        known = self._known[staged.name]
        packing = Packing(known)
        event = self._completed(staged, given.event)
        payload, problem = self._encoded(event, packing)
        staged.sums.add(with_cached(event))
        if problem:
            place = self._place(given)
            self._source.tally.bad(place, problem)
            # Something stands in its place: others are found by their number.
            packing = Packing(known)
            payload, _ = self._encoded(Custom(name=SKIPPED, data={"place": place}), packing)
        known.passed(packing.parts.digests, packing.lists.digests)
        source_id = given.source_id[:_SOURCE_ID_CHARACTERS_MAX]
        record = StoredRecord(
            payload, given.timestamp, source_id.encode("utf-8", "replace").decode()
        )
        data = msgspec.msgpack.encode(record)
        self._spool.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)
        self._end += _LENGTH_BYTES + len(data)
        staged.count += 1
        if staged.first_time is None:
            staged.first_time = given.timestamp

    def _add_note(self, staged: StagedRun, note: Note, given: ImportedEvent) -> None:
        # What it is about may come after it; without that it says more.
        _, problem = self._encoded(placed(note, None), Packing(KnownParts()))
        if problem:
            self._source.tally.bad(self._place(given), problem)
        else:
            staged.notes.append((note, given.source_id))

    def _place(self, given: ImportedEvent) -> str:
        name = self._source.name
        return f"{name}, {given.place}" if given.place else name

    def _encoded(self, event: Event, packing: Packing) -> tuple[bytes, str]:
        """An event's record, and what is wrong with it, "" where nothing is."""
        try:
            payload = packing.finish(encode_json(packed_event(event, packing)))
        except (InvalidInputError, RecursionError) as error:
            return b"", str(error) or "nested too deep"
        limit = self._log.settings.record_bytes_max
        if len(payload) > limit:
            return b"", f"{len(payload)} bytes; record_bytes_max is {limit}"
        return payload, ""

    def _completed(self, staged: StagedRun, event: Event) -> Event:
        """An event with the names that only the store knows."""
        if isinstance(event, ChildRun):
            name = self._prefix + event.run
            if name in self._runs:
                return ChildRun(run=name, uid=self._runs[name].uid)
            uid = self._promised.setdefault(name, self._uid(name))
            return ChildRun(run=name, uid=uid)
        if isinstance(event, Evaluation) and not event.subject_ref:
            here = staged.inherited + staged.count - 1
            return msgspec.structs.replace(event, subject_ref=f"{staged.name}@{here}")
        if isinstance(event, RunEnd):
            return msgspec.structs.replace(event, totals=staged.sums.totals(more=1))
        return event

    # Writing

    def write(self, durability: str) -> Written:
        """Bring the streams to hold what was staged."""
        starts = {run.name: self._held(run) for run in self._runs.values()}
        for part in self._parts(starts):
            with self._log.batch(durability=durability) as batch:
                self._write_part(batch, part)
        for run in self._runs.values():
            if run.count > (starts[run.name] or 0):
                note_end(self._log, self._log.stream(run.name), run.inherited + run.count - 1)
        new_notes = self._write_notes(durability)
        known_notes = sum(len(run.notes) for run in self._runs.values()) - new_notes
        added = sum(run.count - (starts[run.name] or 0) for run in self._runs.values())
        there = sum(start or 0 for start in starts.values())
        return Written(tuple(self._runs), added + new_notes, there + known_notes)

    def _write_notes(self, durability: str) -> int:
        """Write the notes that are not there; how many."""
        count = 0
        for run in self._runs.values():
            if not run.notes:
                continue
            stream = self._log.stream(run.name)
            known = {encode_event(note) for note in notes(self._log, stream)}
            for note, about in run.notes:
                payload = encode_event(placed(note, run.places.get(about)))
                if payload not in known:
                    write_note(self._log, stream, payload, durability)
                    known.add(payload)
                    count += 1
        return count

    def _held(self, run: StagedRun) -> int | None:
        """How many of the run's own events its stream holds; None where there is no stream.

        `AlreadyExistsError` for a stream that holds anything else.
        """
        if run.name not in self._log:
            return None
        stream = self._log.stream(run.name)
        if stream.metadata.get("source_format") != self._format:
            raise self._taken(run, "is there, and was not imported from such a file")
        if (stream.fork_offset if stream.kind == "branch" else -1) != run.fork:
            raise self._taken(run, "is there, and begins at another place")
        held = 0
        for record, ours in zip(stream.read(run.inherited), self._records(run), strict=False):
            if record.payload != ours.payload:
                raise self._taken(run, f"has another record at offset {record.offset}")
            held += 1
        return held

    def _taken(self, run: StagedRun, problem: str) -> AlreadyExistsError:
        error = AlreadyExistsError(f"{self._source.name}: stream {run.name!r} {problem}")
        error.add_note("a prefix imports it beside: `--into PREFIX`, or `prefix=`")
        return error

    def _records(self, run: StagedRun) -> Iterator[StoredRecord]:
        """What was staged of a run, those without a time with that of the one before."""
        decoder = msgspec.msgpack.Decoder(StoredRecord)
        place, last = run.begin, run.first_time
        for _ in range(run.count):
            self._spool.seek(place)
            size = int.from_bytes(self._spool.read(_LENGTH_BYTES), "little")
            record = decoder.decode(self._spool.read(size))
            place += _LENGTH_BYTES + size
            last = last if record.timestamp is None else record.timestamp
            yield StoredRecord(record.payload, last, record.source_id)

    def _parts(self, starts: Mapping[str, int | None]) -> Iterator[list[_Step]]:
        """What is to be done, in parts that fit into a frame each."""
        limit = self._log.settings.frame_bytes_max // _FRAME_PART
        part: list[_Step] = []
        size = 0
        for step in self._steps(starts):
            cost = _RECORD_REST + (len(step.record.payload) if step.record else 0)
            if part and (size + cost > limit or len(part) == _RECORDS_MAX):
                yield part
                part, size = [], 0
            part.append(step)
            size += cost
        if part:
            yield part

    def _steps(self, starts: Mapping[str, int | None]) -> Iterator[_Step]:
        for run in self._runs.values():
            start = starts[run.name]
            if start is None:
                yield _Step(run, None, None)
            for number, record in enumerate(self._records(run)):
                if number >= (start or 0):
                    yield _Step(run, record, run.inherited + number)

    def _write_part(self, batch: WriteBatch, part: list[_Step]) -> None:
        made: dict[str, Stream | StagedStream] = {}
        for step in part:
            run = step.run
            if step.record is None:
                made[run.name] = self._make(batch, run, made)
                continue
            if run.name not in made:
                made[run.name] = self._log.stream(run.name)
            source_id = step.record.source_id
            batch.append(
                made[run.name],
                step.record.payload,
                headers={SOURCE_ID: source_id} if source_id else None,
                timestamp=step.record.timestamp,
                expect=step.offset,
            )

    def _make(
        self, batch: WriteBatch, run: StagedRun, made: Mapping[str, Stream | StagedStream]
    ) -> StagedStream:
        metadata = run.metadata | {"source_events": run.count}
        if run.first_time is not None:
            metadata["created_at"] = run.first_time
        if not run.parent:
            return batch.create(run.name, metadata, "json", uid=run.uid)
        parent = made.get(run.parent) or self._log.stream(run.parent)
        return batch.branch(parent, run.name, run.fork, metadata, uid=run.uid)


class _Step(msgspec.Struct, frozen=True):
    """A stream to make, where there is no record; else a record to append, at its offset."""

    run: StagedRun
    record: StoredRecord | None
    offset: int | None
