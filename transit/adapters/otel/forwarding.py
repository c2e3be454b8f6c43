"""What was recorded, sent on to a collector by OTLP over HTTP, from a durable place.

Each stream of a trace has a cursor, which moves once the collector said yes: a collector that is
away costs nothing but time, and a forwarder that dies goes on where it was. What the collector took
while its answer was lost is sent again, with the same ids: at least once. What it refuses for good
is counted, told and passed. Spans are sent when they have ended.
"""

from __future__ import annotations

import gzip
import random
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Protocol

import msgspec

import transit
from transit import Cursor, InvalidInputError, OffsetError, Stream, TransitError
from transit.adapters.otel.posting import Answer, post
from transit.adapters.otel.reading import Told, documents
from transit.adapters.otel.recording import LOGS, PREFIX, is_ours
from transit.adapters.otel.suppressing import uninstrumented
from transit.trace.files.runs import list_of, object_of, objects_of

_REQUEST_RECORDS: Final = 256
_REQUEST_BYTES: Final = 2 * 1024 * 1024
_PAUSE_S: Final = (1.0, 60.0)
_SETTLED_S: Final = 600.0
_ERRORS_KEPT: Final = 16
# It is what was sent that is wrong. Anything else may be another time, or once it is set up right.
_BAD: Final = frozenset((400, 413, 415, 422))
# Many a backend takes spans alone.
_NO_SUCH: Final = frozenset((404, 405, 501))


class Forwarded(NamedTuple):
    """What a round did: spans and log records taken, and refused; whether something waits still."""

    sent: int
    refused: int
    waits: bool


class Clock(Protocol):
    """What tells the time, and waits."""

    def monotonic(self) -> float:
        """Seconds, from any moment on."""

    def wait(self, seconds: float) -> bool:
        """Wait so long; True when it is time to end."""


class _Ends:
    """The clock of the machine, whose waits end when an event is set."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        return self._stop.wait(seconds)


class _Source:
    """A stream, how far it was sent, and whether more is likely."""

    def __init__(self, stream: Stream, cursor: Cursor, now: float) -> None:
        self.stream = stream
        self.cursor = cursor
        self.position = cursor.position
        self.changed_at = now
        self.open: set[str] = set()

    def take(self, told: Told) -> None:
        """Note a document that was sent."""
        self.position = told.offset + 1
        if told.kind == "start":
            self.open.add(told.span)
        elif told.kind == "end":
            self.open.discard(told.span)


class _Batch:
    """Documents for a request each of spans and log records, and where they bring the streams."""

    def __init__(self) -> None:
        self.spans: list[object] = []
        self.logs: list[object] = []
        self.sources: dict[str, _Source] = {}
        self._size = 0

    def add(self, source: _Source, told: Told, completions: bool) -> None:
        """A document, if it is to be sent; what began, or what is told elsewhere, is not."""
        if told.kind == "end":
            self.spans += list_of(told.document.get("resourceSpans"))
        elif told.kind == "log" or (told.kind == "completion" and completions):
            self.logs += list_of(told.document.get("resourceLogs"))
        else:
            return
        self._size += told.size
        self.sources[source.stream.name] = source

    @property
    def is_full(self) -> bool:
        """Whether it is time to send it."""
        return len(self.spans) + len(self.logs) >= _REQUEST_RECORDS or self._size >= _REQUEST_BYTES


class OtlpForwarder:
    """Sends what a store has of traces to `endpoint`, such as "http://127.0.0.1:4318".

    headers: of each request, such as a key. name: of the cursors; under another name all of it is
    sent again, elsewhere. timeout_s: of a request. interval_s: between rounds. completions: whether
    the content that the hook recorded is sent too, as log records.
    Raises `InvalidInputError` for what is no store, or no address.
    """

    def __init__(
        self,
        log: transit.Log,
        endpoint: str,
        *,
        headers: Mapping[str, str] | None = None,
        name: str = "otlp",
        timeout_s: float = 10.0,
        interval_s: float = 1.0,
        completions: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(log, transit.Log):
            raise InvalidInputError(f"log must be a transit.Log, not {log!r}")
        if not isinstance(endpoint, str) or not endpoint.startswith(("http://", "https://")):
            raise InvalidInputError(f"endpoint must be http://… or https://…, not {endpoint!r}")
        self._log = log
        self._endpoint = endpoint.rstrip("/")
        self._headers = {
            "content-type": "application/json",
            "content-encoding": "gzip",
            **(headers or {}),
        }
        self._name = name
        self._timeout_s = timeout_s
        self._interval_s = interval_s
        self._completions = completions
        self._stop = threading.Event()
        self._clock = clock or _Ends(self._stop)
        self._thread: threading.Thread | None = None
        self._sources: dict[str, _Source] = {}
        self._listed: Stream | None = None
        self._watch: transit.Watch | None = None
        self._changed: set[str] = set()
        self._retry_after = 0.0
        self.errors: list[str] = []

    def __enter__(self) -> OtlpForwarder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forward(self) -> Forwarded:
        """One round: send all that is there, as far as the collector takes it.

        `errors` has why something was refused, or waits: the last 16. Raises what reading the store
        raises.
        """
        sent = refused = 0
        self._retry_after = 0.0
        with uninstrumented():
            for batch in self._batches():
                for path, key, parts in (
                    ("/v1/traces", "resourceSpans", batch.spans),
                    ("/v1/logs", "resourceLogs", batch.logs),
                ):
                    done = self._send(path, key, parts) if parts else (0, 0)
                    if done is None:
                        self._start_over(batch)
                        return Forwarded(sent, refused, True)
                    sent, refused = sent + done[0], refused + done[1]
                self._advance(batch)
        return Forwarded(sent, refused, False)

    def run(self) -> None:
        """Rounds until `close`: one each interval; after a failure later each time, up to a minute.

        For a thread or process of its own; `start` makes the thread.
        """
        pause, longest = _PAUSE_S
        while True:
            try:
                waits = self.forward().waits
            except transit.ClosedError:
                return
            except TransitError as error:
                self._tell(f"the store: {error!r}")
                waits = True
            seconds = self._interval_s
            if waits:
                seconds = max(pause * random.uniform(0.8, 1.0), self._retry_after)
                pause = min(2 * pause, longest)
            else:
                pause = _PAUSE_S[0]
            if self._clock.wait(seconds):
                return

    def start(self) -> OtlpForwarder:
        """Have a thread do `run`, until `close`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.run, name="transit-otlp", daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """End the thread; what it has not sent is sent by the next one. The store stays open."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self._timeout_s + _PAUSE_S[0])
            self._thread = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    # What is to be sent

    def _batches(self) -> Iterator[_Batch]:
        self._look()
        batch = _Batch()
        for source in list(self._sources.values()):
            if len(source.stream) <= source.position:
                self._settle(source)
                continue
            source.changed_at = self._clock.monotonic()
            # What completions go on from stands before.
            start = 0 if self._completions else source.position
            already = source.position
            for told in documents(source.stream.read(start), source.stream.name):
                if told.offset < already:
                    continue
                source.take(told)
                batch.add(source, told, self._completions)
                if batch.is_full:
                    yield batch
                    batch = _Batch()
        if batch.sources:
            yield batch

    def _look(self) -> None:
        """Take up streams that are new, and old ones that went on."""
        if self._watch is None or self._watch.closed:
            self._watch = self._log.watch(self._note)
            self._listed = None
        for stream in self._log.streams(PREFIX, after=self._listed):
            self._listed = stream
            self._take_up(stream)
        while self._changed:
            name = self._changed.pop()
            if name not in self._sources and name in self._log:
                self._take_up(self._log.stream(name))

    def _note(self, streams: tuple[Stream, ...]) -> None:
        self._changed.update(each.name for each in streams if each.name.startswith(PREFIX))

    def _take_up(self, stream: Stream) -> None:
        if stream.name not in self._sources and is_ours(stream):
            cursor = stream.cursor(self._name)
            self._sources[stream.name] = _Source(stream, cursor, self._clock.monotonic())

    def _settle(self, source: _Source) -> None:
        """Look no more at a trace that is over; the watch tells when it goes on."""
        is_old = self._clock.monotonic() - source.changed_at > _SETTLED_S
        if is_old and not source.open and source.stream.name != LOGS:
            del self._sources[source.stream.name]

    def _start_over(self, batch: _Batch) -> None:
        """What was not taken is read again: from where the cursors stand."""
        for name in batch.sources:
            self._sources[name] = _Source(
                batch.sources[name].stream, batch.sources[name].cursor, self._clock.monotonic()
            )

    def _advance(self, batch: _Batch) -> None:
        try:
            with self._log.batch(durability="local") as staged:
                for source in batch.sources.values():
                    staged.advance(source.cursor, source.position)
        except OffsetError as error:
            # Another forwarder of this name was faster: each stands where the further one is.
            self._tell(f"the cursor {self._name!r} is moved by another: {error}")
            self._start_over(batch)

    # Sending

    def _send(self, path: str, key: str, parts: list[object]) -> tuple[int, int] | None:
        """How many were taken and refused; None when it is to be tried later."""
        body = gzip.compress(msgspec.json.encode({key: parts}), 1)
        answer = post(self._endpoint + path, body, self._headers, self._timeout_s)
        count = _count(parts)
        if 200 <= answer.status < 300:
            refused = self._partly(answer)
            return count - refused, refused
        self._tell(f"{path}: {answer.status}: {answer.said[:500]!r}")
        if answer.status in _NO_SUCH and path == "/v1/logs":
            return 0, count
        if answer.status not in _BAD:
            self._retry_after = answer.retry_after
            return None
        if len(parts) == 1:
            return 0, count
        middle = len(parts) // 2
        first = self._send(path, key, parts[:middle])
        second = None if first is None else self._send(path, key, parts[middle:])
        if first is None or second is None:
            return None
        return first[0] + second[0], first[1] + second[1]

    def _partly(self, answer: Answer) -> int:
        """How many an answer says were rejected."""
        try:
            said = object_of(object_of(msgspec.json.decode(answer.said)).get("partialSuccess"))
            rejected = said.get("rejectedSpans") or said.get("rejectedLogRecords") or 0
            count = int(rejected) if isinstance(rejected, str | int) else 0
        except ValueError:
            return 0
        if count:
            self._tell(f"rejected {count}: {said.get('errorMessage', '')}")
        return count

    def _tell(self, error: str) -> None:
        self.errors.append(error)
        del self.errors[:-_ERRORS_KEPT]


def _count(parts: list[object]) -> int:
    """How many spans or log records are in these."""
    return sum(
        len(list_of(scope.get("spans"))) + len(list_of(scope.get("logRecords")))
        for part in parts
        for scope in (
            *objects_of(object_of(part).get("scopeSpans")),
            *objects_of(object_of(part).get("scopeLogs")),
        )
    )
