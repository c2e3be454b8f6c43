"""The log record processor: each log record is appended before the call returns."""

from __future__ import annotations

import threading
from typing import Any

from opentelemetry.sdk._logs import LogRecordProcessor

import transit
from transit.adapters.opening import Place
from transit.adapters.otel.recorder import Recorder
from transit.adapters.otel.recording import Item
from transit.adapters.otel.suppressing import is_own_thread
from transit.trace import Redaction
from transit.trace.failures import dropped


class TransitLogRecordProcessor(Recorder, LogRecordProcessor):
    """Records log records: `provider.add_log_record_processor(TransitLogRecordProcessor(log))`.

    Those that name a trace are in its stream, others in `otel/logs`. What is logged while one is
    being recorded, in the same thread, is not recorded. Arguments as of `TransitSpanProcessor`.
    """

    def __init__(
        self, log: transit.Log | Place | None = None, *, redact: Redaction | None = None
    ) -> None:
        super().__init__(log, redact=redact)
        self._here = threading.local()

    def on_emit(self, log_record: Any) -> None:
        """Record it; raises nothing."""
        if self._is_closed or getattr(self._here, "busy", False) or is_own_thread():
            return
        self._here.busy = True
        try:
            self._put(log_item(self, log_record))
        except Exception as error:
            dropped.add("otel log", error)
        finally:
            self._here.busy = False


def log_item(recorder: Recorder, log_record: Any) -> Item:
    """A log record of the SDK as it is recorded."""
    payload, count = recorder._encoding.log(log_record)
    record = log_record.log_record
    headers = {"kind": "log"}
    if record.span_id:
        headers["span"] = f"{record.span_id:016x}"
    if count:
        headers["redacted"] = str(count)
    return Item(record.trace_id or 0, payload, headers, recorder._service(log_record.resource))
