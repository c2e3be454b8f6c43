"""What the classes of this adapter have in common: a store, a policy, a way there, an end."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import transit
from transit import TransitError
from transit.adapters.opening import PROCESS, Adapter, Place
from transit.adapters.otel.encoding import Encoding
from transit.adapters.otel.queued import Queued
from transit.adapters.otel.recording import Direct, Item, Writer, name_of
from transit.adapters.otel.redacting import Rewriter
from transit.trace import Redaction
from transit.trace.failures import dropped
from transit.trace.redaction import default_redaction

TIMEOUT_MS: Final = 30_000
_CLOSING_S: Final = 5.0
_SERVED: Final = ("http://", "https://")
_KNOWN_MAX: Final = 1024
_SERVICE_BYTES_MAX: Final = 256


class Recorder(Adapter):
    """An adapter of spans, log records or completions.

    log: None for the process's store, which is opened when it is first used.
    """

    def __init__(
        self, log: transit.Log | Place | None = None, *, redact: Redaction | None = None
    ) -> None:
        super().__init__(PROCESS if log is None else log, redact=redact)
        self._encoding = Encoding(redact if redact is not None else default_redaction())
        self._is_closed = False
        self._writer: Writer | None = None
        self._writers: dict[str, Writer] = {}
        self._services: dict[int, tuple[Any, str]] = {}

    def _put(self, item: Item) -> None:
        writer = self._writer
        if writer is None:
            try:
                writer = self._find_writer()
            except Exception as error:
                # The store cannot be opened now; the next one may find it.
                dropped.add(name_of(item.trace_id), error)
                return
        writer.put(item)

    def _find_writer(self) -> Writer:
        is_served = self.log.path.startswith(_SERVED)
        let_go = self._let_go if isinstance(self._store, Place) else None
        made: Writer = Queued(self._get_log) if is_served else Direct(self._get_log, let_go)
        # Of two threads that come here at once the first one's stays; no lock, so none at a fork.
        self._writer = writer = self._writers.setdefault("only", made)
        return writer

    def _get_log(self) -> transit.Log:
        return self.log

    def _let_go(self) -> None:
        if isinstance(self._store, Place):
            with suppress(TransitError):
                self._store.close()

    def force_flush(self, timeout_millis: int = TIMEOUT_MS) -> bool:
        """Whether all that was recorded is synced; False too when something could not be recorded.

        Of a store that a server has: whether all was sent, and the server synced it.
        """
        writer = self._writer
        try:
            return writer is None or writer.settle(timeout_millis / 1000)
        except Exception as error:
            dropped.errors.append(f"force_flush: {error!r}")
            return False

    def shutdown(self) -> None:
        """Make what was recorded durable, and close the store if it was opened here."""
        self.close()

    def close(self) -> None:
        """See `shutdown`. What comes later is not recorded. Twice is once; raises nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self.force_flush(int(1000 * _CLOSING_S))
            if self._writer is not None:
                self._writer.close(_CLOSING_S)
            super().close()
        except Exception as error:
            dropped.errors.append(f"close: {error!r}")

    def _service(self, resource: Any) -> str:
        known = self._services.get(id(resource))
        if known is None:
            # With the object, so that its id stays true.
            known = (resource, self._service_of(resource))
            if len(self._services) >= _KNOWN_MAX:
                self._services.clear()
            self._services[id(resource)] = known
        return known[1]

    def _service_of(self, resource: Any) -> str:
        found = "" if resource is None else str(resource.attributes.get("service.name", ""))
        policy = self._encoding.policy
        if policy is not None and found:
            try:
                found = str(Rewriter(policy).member("service.name", found))
            except Exception:
                found = Rewriter.failed
        kept = found.encode("utf-8", "backslashreplace")[:_SERVICE_BYTES_MAX]
        return kept.decode("utf-8", "ignore")
