"""Calls of models that a library tells of, recorded as events of runs.

Owns which run a call is in (that whose block the program is in; else one named by the library's id
of what belongs together), and that recording is never the program's affair. A store in this machine
has the request before it is sent; to one that a server has it goes from a thread.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from blake3 import blake3

import transit
from transit import AlreadyExistsError, Scalar
from transit.adapters.aside import Aside
from transit.adapters.opening import PROCESS, Adapter, Place
from transit.trace import OpenModelCall, Redaction, Replay, Task, current, resume, task
from transit.trace.beginning import options_of
from transit.trace.events import decode_json
from transit.trace.failures import dropped
from transit.trace.names import cleaned
from transit.trace.values import encode_plain

_SERVED: Final = ("http://", "https://")
_RUNS_MAX: Final = 1024
_CLOSING_S: Final = 5.0
_NAME_BYTES_MAX: Final = 400


class OpenCall:
    """A request that was recorded, or will be; what came of it is recorded once."""

    def __init__(self, calls: ModelCalls) -> None:
        self._calls = calls
        self.open: OpenModelCall | None = None
        self._is_done = False

    def response(
        self,
        response: object,
        *,
        usage: object = None,
        finish_reasons: Sequence[str] = (),
        duration_ns: int | None = None,
    ) -> None:
        """The response came, or as much of it as ever will."""

        def record() -> None:
            if self.open is not None:
                self.open.response(
                    response, usage=usage, finish_reasons=finish_reasons, duration_ns=duration_ns
                )

        self._once(record)

    def failure(self, error: BaseException | str) -> None:
        """There is none."""

        def record() -> None:
            if self.open is not None:
                self.open.failure(error)

        self._once(record)

    def _once(self, record: Callable[[], None]) -> None:
        if not self._is_done:
            self._is_done = True
            self._calls.do(record)


class ModelCalls(Adapter):
    """Where the calls of one library go. prefix: of the names of runs. about: of their metadata.

    log: None for the process's store.
    """

    def __init__(
        self,
        log: transit.Log | Place | None,
        prefix: str,
        about: Mapping[str, Scalar],
        *,
        redact: Redaction | None = None,
    ) -> None:
        super().__init__(PROCESS if log is None else log, redact=redact)
        self._prefix = prefix
        self._about = dict(about)
        self._is_closed = False
        self._aside: Aside | None = None
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """In a child made by fork: the runs that were begun are the parent's to end."""
        self._lock = threading.RLock()
        self._runs: OrderedDict[str, Task] = OrderedDict()

    def begin(
        self,
        run_id: str,
        model: str,
        request: object,
        *,
        operation: str = "chat",
        provider: str = "",
    ) -> OpenCall:
        """Record a request as it is now; raises nothing."""
        call = OpenCall(self)
        inside = current()
        if self._is_closed or (isinstance(inside, Replay) and not inside.live):
            call._is_done = True
            return call

        try:
            if self._find_aside() is not None:
                # The program may change its messages before the thread comes to them.
                request = decode_json(encode_plain(request))
        except Exception as error:
            dropped.add(self._prefix, error)
            return call

        def record() -> None:
            run = inside if inside is not None else self._run(run_id)
            call.open = run.model(model, request, operation=operation, provider=provider)

        self.do(record)
        return call

    def do(self, job: Callable[[], None]) -> None:
        """Do what records, or have it done; what fails is counted."""
        try:
            aside = self._find_aside()
            if aside is not None:
                aside.do(job)
            else:
                job()
        except Exception as error:
            dropped.add(self._prefix, error)

    def _find_aside(self) -> Aside | None:
        if self._aside is None and self.log.path.startswith(_SERVED):
            self._aside = Aside(self._prefix)
        return self._aside

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Whether all that was recorded is synced."""
        try:
            if self._aside is not None and not self._aside.settle(timeout_s):
                return False
            level = self.log.durability
            self.log.sync(level if level in ("tiered", "replicated") else "local")
        except Exception as error:
            dropped.errors.append(f"{self._prefix}: sync: {error!r}")
            return False
        return True

    def close(self) -> None:
        """End the runs that were begun, and close the store if it was opened here."""
        if self._is_closed:
            return
        self._is_closed = True
        with self._lock:
            runs, self._runs = list(self._runs.values()), OrderedDict()
        for run in runs:
            self.do(lambda run=run: _end(run))  # type: ignore[misc]
        if self._aside is not None:
            self._aside.close(_CLOSING_S)
        try:
            super().close()
        except Exception as error:
            dropped.errors.append(f"{self._prefix}: close: {error!r}")

    def _run(self, run_id: str) -> Task:
        with self._lock:
            found = self._runs.get(run_id)
            if found is not None:
                self._runs.move_to_end(run_id)
                return found
            found = self._runs[run_id] = self._made(run_id)
            if len(self._runs) > _RUNS_MAX:
                _end(self._runs.popitem(last=False)[1])
            return found

    def _made(self, run_id: str) -> Task:
        name = f"{self._prefix}/{run_id}"
        about = dict(self._about)
        if len(name.encode("utf-8", "replace")) > _NAME_BYTES_MAX or not name.isprintable():
            about["id"] = run_id.encode("utf-8", "backslashreplace")[:1024].decode()
            digest = blake3(run_id.encode("utf-8", "backslashreplace")).hexdigest(16)
            name = f"{self._prefix}/~{digest}"
        # As it is recorded: an id may have in it what is not to be told.
        options = options_of("os", self._redact, strict=False)
        name = str(cleaned(options, {"name": name})["name"])
        try:
            return task(self.log, name, metadata=about, redact=self._redact)
        except AlreadyExistsError:
            # Of another process, or an earlier one.
            return resume(self.log, name, redact=self._redact)


def _end(run: Task) -> None:
    if not run.has_ended:
        run.end()


_all: Final[weakref.WeakSet[ModelCalls]] = weakref.WeakSet()


def _forget_all() -> None:
    for each in list(_all):
        each.forget()


os.register_at_fork(after_in_child=_forget_all)
