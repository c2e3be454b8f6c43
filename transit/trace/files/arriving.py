"""Spans and log records that arrive bit by bit, as OTLP requests bring them, kept as runs.

Owns what a bit of a trace becomes, and that it counts once. A trace is one run, however many
requests bring it, named `<prefix><trace id>`. Beside its events, which are those an import makes
(`spans`), each span and log record is kept as it came: as OTLP in JSON with what made it, a
document a record, in stream `spans/<uid of the run>` of layer `otlp`, in the same frame. What is
there already is known by the header `key` of these records:

    <span id>:<digest>        a span; with another digest it is kept, and told as `otlp.again`
    log:<digest>:<n>          a log record; n counts equal ones of a request

Where an adapter recorded spans of the trace under that name, its name ends with `/received`.
Log records that name no trace are in stream `<prefix>logs`. Those that come before the span that
they name are read as its events too.

Every record is written on the condition that nobody wrote another one meanwhile, so what a request
brings is there once, also when it is sent again after a crash. Not safe for threads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from uuid import uuid4

import msgspec
from blake3 import blake3

from transit import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    Log,
    NotFoundError,
    Scalar,
    StagedStream,
    Stream,
    StreamFinishedError,
    WriteBatch,
)  # fmt: skip
from transit.trace.ends import note_end, standing_of
from transit.trace.events import Custom, Event, RunEnd, encode_json
from transit.trace.files.otlp import (
    NO_IDS,
    document_of,
    event_of_log,
    ids_of_log,
    logs_in,
    read_span,
    spans_in,
)
from transit.trace.files.runs import ImportedEvent, scalars
from transit.trace.files.source import JsonObject
from transit.trace.files.span_messages import SpanEvent
from transit.trace.files.spans import Span, events_of_spans
from transit.trace.files.writing import SOURCE_ID
from transit.trace.models import with_cached
from transit.trace.names import CREATED, TRACE_KIND, describe_run
from transit.trace.packing import Packing
from transit.trace.parts import KnownParts
from transit.trace.sums import Sums
from transit.trace.views import ADAPTER
from transit.trace.writing import Options, encode_event, packed_event

LAYER: Final = "otlp"
KEY: Final = "key"
ABOUT: Final = "about_uid"
LOGS: Final = "logs"
SOURCE: Final = "source_format"
RECEIVED: Final = "otlp-received"
RECORDED: Final = "otel"
APART: Final = "received"
AGAIN: Final = "otlp.again"
LOG: Final = "otlp.log"
LARGE: Final = "otlp.large"

SPANS_MAX: Final = 250_000
"""So many spans and log records one trace may have."""
LOGS_KNOWN: Final = 65_536
"""So many of the newest log records that name no trace are known by their keys."""
_KEYS_MAX: Final = 500_000
_TRIES: Final = 10
_PROBLEMS_MAX: Final = 5
# What a frame has room for besides what comes: as much again for its events, and more.
_FRAME_PART: Final = 8
Check = Callable[[str], None]


class Arrived(NamedTuple):
    """What became of a document: how many were kept now, were there, and were refused; why."""

    added: int
    there: int
    rejected: int
    problems: tuple[str, ...]


class _Item(NamedTuple):
    """A span or log record to keep: its key, its document, and what was read of it."""

    key: str
    raw: bytes
    span: Span | None
    log: JsonObject
    log_span: str
    place: str


class _Run:
    """What is known of one trace's run, and of what was kept of it."""

    def __init__(self, name: str, trace_id: str) -> None:
        self.name, self.trace_id = name, trace_id
        self.run: Stream | StagedStream | None = None
        self.kept: Stream | StagedStream | None = None
        self.run_next = self.kept_next = 0
        # Keys, in order; of a span its id and the digest.
        self.keys: OrderedDict[str, None] = OrderedDict()
        self.spans: dict[str, str] = {}
        self.known = KnownParts()
        self.sums = Sums(name)
        # Log records whose spans have not come, by span.
        self.logs: dict[str, list[SpanEvent]] = {}

    def add(self, item: _Item) -> None:
        """Know an item that is kept."""
        self.note(item.key)
        if item.span is not None:
            self.logs.pop(item.span.span_id, None)
        elif item.log_span and item.log_span not in self.spans:
            self.logs.setdefault(item.log_span, []).append(event_of_log(item.log))

    def note(self, key: str) -> None:
        """Know a key that is kept."""
        self.keys[key] = None
        if not key.startswith("log:"):
            span_id, _, digest = key.partition(":")
            self.spans.setdefault(span_id, digest)
        if not self.trace_id and len(self.keys) > LOGS_KNOWN:
            self.keys.popitem(last=False)


class Arrivals:
    """Keeps what arrives in one store; the runs are named after `prefix`."""

    def __init__(self, log: Log, prefix: str) -> None:
        self._log = log
        self._prefix = prefix
        self._runs: OrderedDict[str, _Run] = OrderedDict()

    def take_spans(self, document: JsonObject, writer: str, check: Check) -> Arrived:
        """Keep the spans of a document; `writer` is kept with them.

        check: raises for the name of a run that may not be written to. Written with durability
        "os". Raises `ConflictError` when others write to the same runs all the time, and what else
        a batch raises; then some of it may be kept, and sent again, it counts once.
        """
        found: dict[str, list[_Item]] = {}
        problems: list[str] = []
        for each in spans_in(document):
            span = read_span(each)
            if span is None:
                problems.append(f"{each.place}: {NO_IDS}")
                continue
            place, span.place = span.place, ""
            digest = blake3(encode_json(_plain(span))).hexdigest()[:16]
            raw = document_of("resourceSpans", "scopeSpans", "spans", each)
            item = _Item(f"{span.span_id}:{digest}", raw, span, {}, "", place)
            found.setdefault(span.trace_id, []).append(item)
        return self._take(found, problems, writer, check)

    def take_logs(self, document: JsonObject, writer: str, check: Check) -> Arrived:
        """Keep the log records of a document; as `take_spans`."""
        found: dict[str, list[_Item]] = {}
        equal: dict[str, int] = {}
        for each in logs_in(document):
            trace_id, span_id = ids_of_log(each.given)
            raw = document_of("resourceLogs", "scopeLogs", "logRecords", each)
            digest = blake3(raw).hexdigest()[:32]
            number = equal[digest] = equal.get(digest, -1) + 1
            item = _Item(f"log:{digest}:{number}", raw, None, each.given, span_id, each.place)
            found.setdefault(trace_id, []).append(item)
        return self._take(found, [], writer, check)

    def _take(
        self,
        found: dict[str, list[_Item]],
        problems: list[str],
        writer: str,
        check: Check,
    ) -> Arrived:
        for trace_id in found:
            check(self._name(trace_id))
        done = _Tally(problems)
        for number in range(_TRIES):
            try:
                self._write(found, done, writer)
                break
            except (ConflictError, AlreadyExistsError):
                # Another process wrote to one of them.
                for trace_id in found:
                    self._runs.pop(trace_id, None)
                if number == _TRIES - 1:
                    raise
        self._forget_some()
        total = sum(map(len, found.values())) + len(problems)
        there = total - done.added - done.rejected
        return Arrived(done.added, there, done.rejected, tuple(done.told[:_PROBLEMS_MAX]))

    def _name(self, trace_id: str) -> str:
        return f"{self._prefix}{trace_id or LOGS}"

    def _forget_some(self) -> None:
        while len(self._runs) > 1 and sum(len(run.keys) for run in self._runs.values()) > _KEYS_MAX:
            self._runs.popitem(last=False)

    # Reading what is there

    def _of(self, trace_id: str) -> _Run:
        run = self._runs.get(trace_id)
        if run is not None and isinstance(run.run, Stream) and not self._is_current(run):
            run = None
        if run is None:
            run = self._runs[trace_id] = self._load(trace_id)
        self._runs.move_to_end(trace_id)
        return run

    def _is_current(self, run: _Run) -> bool:
        """Whether the name is still that stream's, and nobody else wrote to it."""
        try:
            stream = self._log.stream(run.name)
        except NotFoundError:
            return False
        return stream == run.run and len(stream) == run.run_next

    def _load(self, trace_id: str) -> _Run:
        run = _Run(self._name(trace_id), trace_id)
        try:
            if self._log.stream(run.name).metadata.get(ADAPTER) == RECORDED:
                run.name = f"{run.name}/{APART}"
            run.run = stream = self._log.stream(run.name)
        except NotFoundError:
            return run
        if stream.metadata.get(SOURCE) != RECEIVED:
            raise _NotOursError(f"stream {run.name!r} is there, and was not received as OTLP")
        run.kept = kept = self._log.stream(f"${LAYER}/spans/{stream.uid}")
        run.kept_next = len(kept)
        start = 0 if trace_id else max(0, run.kept_next - LOGS_KNOWN)
        for record in kept.read(start, run.kept_next):
            key = record.headers.get(KEY, "")
            if key.startswith("log:") and trace_id:
                self._load_log(run, record.payload)
            run.note(key)
        if trace_id:
            run.known.catch_up(stream)
            run.sums.go_on(standing_of(stream).totals)
            run.run_next = run.known.stop
        else:
            run.run_next = len(stream)
        for span_id in run.spans:
            run.logs.pop(span_id, None)
        return run

    def _load_log(self, run: _Run, payload: bytes) -> None:
        for each in logs_in(msgspec.json.decode(payload)):
            _, span_id = ids_of_log(each.given)
            if span_id:
                run.logs.setdefault(span_id, []).append(event_of_log(each.given))

    # Writing

    def _write(self, found: dict[str, list[_Item]], done: _Tally, writer: str) -> None:
        pending: list[_Bit] = []
        size = 0
        for trace_id, items in found.items():
            try:
                run = self._of(trace_id)
                fresh = self._fresh(run, items, done)
            except (_NotOursError, StreamFinishedError) as error:
                done.refuse(items, str(error))
                continue
            for part in self._parts(fresh):
                bit = self._bit(run, part)
                if pending and (pending[-1].run is run or size + bit.size > self._room):
                    self._commit(pending, done, writer)
                    pending, size = [], 0
                pending.append(bit)
                size += bit.size
        if pending:
            self._commit(pending, done, writer)

    @property
    def _room(self) -> int:
        return self._log.settings.frame_bytes_max // 2

    def _fresh(self, run: _Run, items: Sequence[_Item], done: _Tally) -> list[_Item]:
        """What is not there, and can be kept."""
        if isinstance(run.run, Stream) and run.run.finished:
            raise StreamFinishedError(f"stream {run.name!r} is finished")
        limit = self._log.settings.record_bytes_max
        fresh: dict[str, _Item] = {}
        for item in items:
            if item.key in run.keys or item.key in fresh:
                continue
            if len(item.raw) > limit:
                done.refuse([item], f"{len(item.raw)} bytes; record_bytes_max is {limit}")
            elif run.trace_id and len(run.keys) + len(fresh) >= SPANS_MAX:
                done.refuse([item], f"more than {SPANS_MAX} of one trace")
            else:
                fresh[item.key] = item
        return list(fresh.values())

    def _parts(self, items: Sequence[_Item]) -> Iterator[list[_Item]]:
        """Items in parts that fit into a frame with their events."""
        part: list[_Item] = []
        size = 0
        for item in items:
            if part and size + len(item.raw) > self._room // _FRAME_PART:
                yield part
                part, size = [], 0
            part.append(item)
            size += len(item.raw)
        if part:
            yield part

    def _bit(self, run: _Run, items: list[_Item]) -> _Bit:
        """The records of some items, those of the run encoded for where they go."""
        records: list[_Record] = []
        ends = -1
        for given in self._events(run, items):
            payload = self._encoded(run, given)
            if isinstance(given.event, RunEnd):
                ends = run.run_next + len(records)
            records.append(_Record(payload, given.timestamp, given.source_id))
        size = sum(len(item.raw) for item in items) + sum(len(each.payload) for each in records)
        return _Bit(run, items, records, ends, size)

    def _events(self, run: _Run, items: Iterable[_Item]) -> Iterator[ImportedEvent]:
        new: dict[str, Span] = {}
        others: list[ImportedEvent] = []
        for item in items:
            if item.span is None:
                others.append(_told_log(item))
            elif item.span.span_id in run.spans or item.span.span_id in new:
                told = Custom(name=AGAIN, data=_plain(item.span))
                others.append(ImportedEvent(told, item.span.end_ns, item.place, item.span.span_id))
            else:
                logs = run.logs.get(item.span.span_id, [])
                span = msgspec.structs.replace(item.span, events=[*item.span.events, *logs])
                new[span.span_id] = span
        yield from events_of_spans(new.values())
        yield from others

    def _encoded(self, run: _Run, given: ImportedEvent) -> bytes:
        """An event's record; what is too large is only told of, and is whole in what was kept."""
        event: Event = given.event
        if isinstance(event, RunEnd):
            event = msgspec.structs.replace(event, totals=run.sums.totals(more=1))
        run.sums.add(with_cached(event))
        if not run.trace_id:
            return encode_event(event)
        limit = min(self._log.settings.record_bytes_max, self._room // 2)
        try:
            packing = Packing(run.known)
            payload = packing.finish(encode_json(packed_event(event, packing)))
        except (InvalidInputError, RecursionError) as error:
            payload, packing = self._instead(run, given, str(error))
        if len(payload) > limit:
            payload, packing = self._instead(run, given, f"{len(payload)} bytes")
        run.known.passed(packing.parts.digests, packing.lists.digests)
        return payload

    def _instead(self, run: _Run, given: ImportedEvent, why: str) -> tuple[bytes, Packing]:
        event = Custom(name=LARGE, data={"span_id": given.source_id, "why": why})
        packing = Packing(run.known)
        return packing.finish(encode_json(packed_event(event, packing))), packing

    def _commit(self, bits: Sequence[_Bit], done: _Tally, writer: str) -> None:
        try:
            with self._log.batch(durability="os", writer=writer) as batch:
                for bit in bits:
                    self._stage(batch, bit)
        except BaseException:
            # What is known of them counts what was not written.
            for bit in bits:
                self._runs.pop(bit.run.trace_id, None)
            raise
        for bit in bits:
            run = bit.run
            run.run_next += len(bit.records)
            run.kept_next += len(bit.items)
            if isinstance(run.run, StagedStream):
                run.run = run.run.stream
            if isinstance(run.kept, StagedStream):
                run.kept = run.kept.stream
            for item in bit.items:
                run.add(item)
            done.added += len(bit.items)
            if bit.end >= 0 and isinstance(run.run, Stream):
                note_end(self._log, run.run, bit.end)

    def _stage(self, batch: WriteBatch, bit: _Bit) -> None:
        run = bit.run
        if run.run is None or run.kept is None:
            uid = uuid4().hex
            run.run = batch.create(run.name, _metadata(bit), "json", uid=uid)
            run.kept = batch.create(f"spans/{uid}", {ABOUT: uid}, "json", layer=LAYER)
        for number, item in enumerate(bit.items, run.kept_next):
            batch.append(run.kept, item.raw, headers={KEY: item.key}, expect=number)
        for number, record in enumerate(bit.records, run.run_next):
            headers = {SOURCE_ID: record.source_id} if record.source_id else None
            batch.append(
                run.run,
                record.payload,
                headers=headers,
                timestamp=record.timestamp,
                expect=number,
            )


class _NotOursError(Exception):
    """A stream of that name is there and holds something else."""


class _Record(NamedTuple):
    payload: bytes
    timestamp: int | None
    source_id: str


class _Bit(NamedTuple):
    """Items of one run and the records that tell of them; end: the offset of the run's end, or -1.

    size: bytes of all.
    """

    run: _Run
    items: list[_Item]
    records: list[_Record]
    end: int
    size: int


class _Tally:
    """What became of the items of one document."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.added = 0
        self.told = list(problems)
        self._without_ids = len(problems)
        self._refused: set[str] = set()

    @property
    def rejected(self) -> int:
        """How many were refused."""
        return self._without_ids + len(self._refused)

    def refuse(self, items: Iterable[_Item], why: str) -> None:
        """Count items that cannot be kept; again, nothing changes."""
        for item in items:
            if item.place not in self._refused:
                self._refused.add(item.place)
                self.told.append(f"{item.place}: {why}")


def _plain(span: Span) -> JsonObject:
    found = msgspec.to_builtins(span)
    assert isinstance(found, dict)
    return found


def _told_log(item: _Item) -> ImportedEvent:
    event = event_of_log(item.log)
    said = {"name": event.name, **event.attributes}
    severity = item.log.get("severityText") or item.log.get("severity_text")
    if severity:
        said["severity"] = severity
    return ImportedEvent(Custom(name=LOG, data=said), event.time, item.place, item.log_span)


def _metadata(bit: _Bit) -> dict[str, Scalar]:
    run = bit.run
    if not run.trace_id:
        return {SOURCE: RECEIVED}
    resource = next((item.span.resource for item in bit.items if item.span is not None), {})
    about = {"trace_id": run.trace_id, "service": resource.get("service.name")}
    times = [each.timestamp for each in bit.records if each.timestamp is not None]
    created: dict[str, Scalar] = {CREATED: min(times)} if times else {}
    return {
        **scalars(about, about),
        **describe_run(Options(), run.name, "", "received"),
        TRACE_KIND: "task",
        SOURCE: RECEIVED,
        **created,
    }
