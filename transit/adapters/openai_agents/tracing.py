"""TransitTracingProcessor: traces and spans of the OpenAI Agents SDK, whole, at the moment.

A trace is the stream `agents/trace/<trace id>`. A span is a record when it begins, so that one that
never ends is seen, and a record when it ends: what the SDK's `export()` gives, as JSON, of which a
conversation that calls repeat is written once (`adapters.packed`). Nothing is queued: what has
ended is in the store when the processor returns; over a connection it is sent meanwhile. Nothing is
raised into the program (`transit.trace.dropped`).
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Final

from agents.tracing import Span, Trace, TracingProcessor

import transit
from transit import AlreadyExistsError, Log, NotFoundError
from transit.adapters.encoding import Encoded, encode_any
from transit.adapters.naming import described, find, quoted
from transit.adapters.opening import Adapter, Place, open_store
from transit.adapters.packed import PackedWriter, values_of
from transit.adapters.waiting import Workers
from transit.trace import Redaction, dropped
from transit.trace.redaction import default_redaction

PREFIX: Final = "agents/trace/"
KIND: Final = "kind"
_STREAMS_MAX: Final = 1024
_SENDING_MAX: Final = 1024


class TransitTracingProcessor(Adapter, TracingProcessor):
    """Records every trace and span; `cls(log)`, or `cls.open(folder)`. Safe for threads.

    durability: what each record waits for; "os" survives the death of the process, and
    `force_flush` makes all of it survive a loss of power. redact: a policy for all that is written;
    None: that of `transit.trace.set_redaction`.
    """

    def __init__(
        self, log: Log | Place, *, redact: Redaction | None = None, durability: str = "os"
    ) -> None:
        super().__init__(log, redact=redact or default_redaction())
        self._durability = durability
        # Of a store over a connection: what is on its way.
        self._workers = Workers()
        self._forget(None)

    def _forget(self, log: Log | None) -> None:
        self._known_log = log
        self._known: OrderedDict[str, PackedWriter] = OrderedDict()
        self._lock = threading.Lock()
        self._sending: deque[Future[None]] = deque()

    # What the SDK calls

    def on_trace_start(self, trace: Trace) -> None:
        """A trace began: its stream is made."""
        self._record("trace_start", trace.trace_id, trace)

    def on_trace_end(self, trace: Trace) -> None:
        """A trace ended. Spans that end later are recorded all the same."""
        self._record("trace", trace.trace_id, trace)
        self._known.pop(trace.trace_id, None)

    def on_span_start(self, span: Span[Any]) -> None:
        """A span began."""
        self._record("span_start", span.trace_id, span)

    def on_span_end(self, span: Span[Any]) -> None:
        """A span ended."""
        self._record("span", span.trace_id, span)

    def force_flush(self) -> None:
        """Have all that was recorded survive a loss of power. Raises what syncing raises."""
        self._workers.close()
        if self._is_open():
            self.log.sync()

    def shutdown(self) -> None:
        """Sync, and close the store if it was opened here. The next item opens it again."""
        try:
            self.force_flush()
        finally:
            self.close()

    # Reading

    @staticmethod
    def read(
        where: Log | str | os.PathLike[str], trace_id: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """What the SDK's `export()` gave of each trace and span that ended, in order of the ends.

        Of one trace, or of all, one after the other. where: an open store, or its folder.
        """
        return _ended(where, trace_id)

    # Inside

    def _record(self, kind: str, trace_id: str, item: Trace | Span[Any]) -> None:
        try:
            exported = item.export()
            if exported is None:
                # Tracing is off.
                return
            encoded = encode_any(exported, self._redact)
            log = self.log
            if type(log) is Log:
                self._writer(log, trace_id, exported).write(kind, encoded)
            else:
                self._send(kind, trace_id, exported, encoded)
        except Exception as error:
            self._lost(trace_id, error)

    def _send(self, kind: str, trace_id: str, exported: dict[str, Any], given: Encoded) -> None:
        """Over a connection: the agent goes on meanwhile, unless it is far ahead."""

        def send() -> None:
            try:
                self._writer(self.log, trace_id, exported).write(kind, given)
            except Exception as error:
                self._lost(trace_id, error)

        self._sending.append(self._workers.submit(trace_id, send))
        while self._sending and self._sending[0].done():
            self._sending.popleft()
        if len(self._sending) > _SENDING_MAX:
            self._sending[0].result()

    def _lost(self, trace_id: str, error: Exception) -> None:
        dropped.add(f"{PREFIX}{quoted(trace_id, self._redact)}", error)

    def _writer(self, log: Log, trace_id: str, exported: dict[str, Any]) -> PackedWriter:
        if log is not self._known_log:
            # Opened again: after `shutdown`, or in a child made by fork.
            self._forget(log)
        known = self._known
        writer = known.get(trace_id)
        if writer is not None:
            return writer
        name = PREFIX + quoted(trace_id, self._redact)
        try:
            stream = log.stream(name)
        except NotFoundError:
            try:
                metadata = self._metadata(trace_id, exported)
                stream = log.create(name, metadata, durability=self._durability)
            except AlreadyExistsError:
                stream = log.stream(name)
        with self._lock:
            # Another thread may have been faster; two writers of one stream cost it time.
            writer = known.setdefault(trace_id, PackedWriter(log, stream, self._durability))
            while len(known) > _STREAMS_MAX:
                known.popitem(last=False)
        return writer

    def _metadata(self, trace_id: str, exported: dict[str, Any]) -> dict[str, transit.Scalar]:
        ids = {
            "trace_id": trace_id,
            "workflow_name": exported.get("workflow_name"),
            "group_id": exported.get("group_id"),
        }
        more = exported.get("metadata")
        return described(
            "openai-agents", "openai-agents", {k: v for k, v in ids.items() if v is not None},
            self._redact, more if isinstance(more, dict) else None,
        )  # fmt: skip

    def _is_open(self) -> bool:
        return not isinstance(self._store, Place) or self._store.is_open


def _ended(where: Log | str | os.PathLike[str], trace_id: str | None) -> Iterator[dict[str, Any]]:
    if not isinstance(where, Log):
        with open_store(where, mode="read") as log:
            yield from _ended(log, trace_id)
        return
    found = where.streams(PREFIX) if trace_id is None else (find(where, PREFIX, trace_id),)
    for stream in found:
        for record, value in values_of(where, stream):
            if record.headers.get(KIND) in ("trace", "span"):
                yield value
