"""TransitHooks: what Inspect AI tells its hooks, written down.

Inspect AI makes one object of it for the process, when this module is loaded. Its store is the
process's: TRANSIT_STORE, TRANSIT_REMOTE, TRANSIT_MODE, TRANSIT_DURABILITY. Streams and records are
those of `transit.adapters.evaluations`.

Events come through a queue of Inspect AI's. Some never come, and some come again when more is known
of them; the rest is taken from the sample when it has ended. Nothing is raised into the evaluation
(`transit.trace.dropped`). With a remote, what was recorded is published every few seconds, so that
it is there when the machine is not.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from blake3 import blake3
from inspect_ai.hooks import Hooks, hooks

from transit import AlreadyExistsError, Log, NotFoundError, StoreMovedError, Stream
from transit.adapters.encoding import Encoded, encode_any
from transit.adapters.evaluations import PREFIX, RUN_PREFIX, all_events
from transit.adapters.naming import described, quoted
from transit.adapters.opening import PROCESS
from transit.adapters.packed import PackedWriter
from transit.adapters.waiting import Workers
from transit.environment import (
    DURABILITY_VARIABLE,
    ENCRYPT_VARIABLE,
    FLEET_VARIABLE,
    KEY_FILE_VARIABLE,
    KEYRING_VARIABLE,
    MODE_VARIABLE,
    REMOTE_VARIABLE,
    STORE_VARIABLE,
    is_server,
)
from transit.trace import dropped
from transit.trace.redaction import default_redaction

DURABILITY: Final = "os"
PUBLISH_S: Final = 5.0
_VARIABLES: Final = (
    STORE_VARIABLE, REMOTE_VARIABLE, FLEET_VARIABLE, MODE_VARIABLE, DURABILITY_VARIABLE,
    KEYRING_VARIABLE, KEY_FILE_VARIABLE, ENCRYPT_VARIABLE,
)  # fmt: skip
_STREAMS_MAX: Final = 4096
_GRACE_S: Final = 0.005
# Records on their way to the store; with more, who tells of the next one waits.
_WAITING_MAX: Final = 256
# With these something ended: what was told before is in the store when the hook returns.
_ENDS: Final = frozenset(("task_start", "task_end", "run_end", "sample"))


class _Writers:
    """The streams that are written to, of the store as it is open now."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = threading.Lock()
        self._log: Log | None = None
        self._known: OrderedDict[str, PackedWriter] = OrderedDict()

    def of(
        self, log: Log, name: str, metadata: Callable[[], dict[str, Any]], parent: str | None
    ) -> PackedWriter:
        """The writer of a stream, which is made where it is not there."""
        with self._lock:
            if log is not self._log:
                # Opened again: elsewhere, or in a child made by fork.
                self._log, self._known = log, OrderedDict()
            found = self._known.get(name)
            if found is None:
                stream = _made(log, name, metadata, parent)
                found = self._known[name] = PackedWriter(log, stream, DURABILITY)
                while len(self._known) > _STREAMS_MAX:
                    self._known.popitem(last=False)
            return found

    def drop(self, name: str) -> None:
        """Nothing more is expected for a stream."""
        self._known.pop(name, None)


@hooks(name="transit", description="Records evaluations in the store that TRANSIT_STORE names.")
class TransitHooks(Hooks):
    """Records evaluations; enabled while TRANSIT_STORE is set. Safe for threads.

    What is redacted is the policy of `transit.trace.set_redaction`.
    """

    def __init__(self) -> None:
        self._workers = Workers()
        self._writers = _Writers()
        self._place: tuple[str | None, ...] | None = None
        self._counting = threading.Lock()
        self._published, self._waiting = 0.0, 0
        # Of each sample under way the events that were recorded, by uuid with their digests, and
        # its attempt.
        self._recorded: dict[str, dict[str, bytes]] = {}
        self._attempts: dict[str, int] = {}

    def enabled(self) -> bool:
        """Whether the environment names a store; it is opened then, before an evaluation begins.

        The environment may name another one than for the evaluation before.
        """
        place = tuple(os.environ.get(variable) for variable in _VARIABLES)
        if not place[0]:
            return False
        if place != self._place:
            before, self._place = self._place, place
            try:
                if before is not None:
                    PROCESS.close()
                _ = PROCESS.log
            except Exception as error:
                dropped.add(place[0], error)
        return True

    read = staticmethod(all_events)

    # Runs and tasks

    async def on_run_start(self, data: Any) -> None:
        """A run begins."""
        said = {"eval_set_id": data.eval_set_id, "task_names": data.task_names}
        await self._run(data.run_id, "run_start", said)

    async def on_run_end(self, data: Any) -> None:
        """A run ends: all of it is synced, and published where there is a remote."""
        logs = [
            {"status": each.status, "location": each.location, "eval_id": each.eval.eval_id}
            for each in data.logs
        ]
        error = None if data.exception is None else repr(data.exception)
        await self._run(data.run_id, "run_end", {"exception": error, "logs": logs})
        await self._workers.change("", self._settle)

    async def on_task_start(self, data: Any) -> None:
        """An evaluation begins."""
        said = {"spec": _dumped(data.spec), "plan": _dumped(data.plan)}
        await self._evaluation(data.eval_id, "task_start", said, data.spec)

    async def on_task_end(self, data: Any) -> None:
        """An evaluation ended: all of its log but the samples."""
        said = {"log": _dumped(data.log, exclude={"samples"})}
        await self._evaluation(data.eval_id, "task_end", said, None)

    async def on_model_usage(self, data: Any) -> None:
        """What a call of a model used."""
        await self._model(data, "model_usage")

    async def on_model_cache_usage(self, data: Any) -> None:
        """What a call that a cache answered would have used."""
        await self._model(data, "model_cache_usage")

    async def on_model_retry(self, data: Any) -> None:
        """A call of a model is tried again."""
        await self._model(data, "model_retry")

    # Samples

    async def on_sample_init(self, data: Any) -> None:
        """A sample was scheduled."""
        await self._sample(data, "init", {"summary": _dumped(data.summary)})

    async def on_sample_start(self, data: Any) -> None:
        """A sample begins."""
        await self._sample(data, "start", {"summary": _dumped(data.summary)})

    async def on_sample_attempt_start(self, data: Any) -> None:
        """An attempt at a sample begins; from the second on it is a stream of its own."""
        if data.attempt > 1:
            self._attempts[data.sample_id] = data.attempt
            self._recorded.pop(data.sample_id, None)
        said = {"summary": _dumped(data.summary), "attempt": data.attempt}
        await self._sample(data, "attempt_start", said)

    async def on_sample_attempt_end(self, data: Any) -> None:
        """An attempt ended."""
        said = {
            "summary": _dumped(data.summary),
            "attempt": data.attempt,
            "error": _dumped(data.error),
            "will_retry": data.will_retry,
        }
        await self._sample(data, "attempt_end", said)

    async def on_sample_event(self, data: Any) -> None:
        """An event of a sample, whole."""
        await self._sample(data, "event", _dumped(data.event))

    async def on_sample_scoring(self, data: Any) -> None:
        """A sample is about to be scored."""
        await self._sample(data, "scoring", {})

    async def on_before_model_generate(self, data: Any) -> None:
        """A model is about to be called: which, and with how many messages."""
        # Its sample has another id here than everywhere else, so it is the evaluation's.
        if data.eval_id is not None:
            said = {
                "model_name": data.model_name,
                "messages": len(data.input),
                "tools": [tool.name for tool in data.tools],
                "cache": data.cache,
            }
            await self._evaluation(data.eval_id, "generate", said, None)

    async def on_sample_end(self, data: Any) -> None:
        """A sample ended: the events that were not told of, then all else of it."""
        # All that was told of is on its way: what was recorded is known then.
        await self._workers.change(self._name(data), lambda: None)
        recorded = self._recorded.get(data.sample_id, {})
        for event in data.sample.events:
            if event.uuid not in recorded:
                await self._sample(data, "event", _dumped(event))
        sample = _dumped(data.sample, exclude={"events", "attachments", "timelines"})
        order = [event.uuid for event in data.sample.events]
        await self._sample(data, "sample", {"sample": sample, "order": order})
        self._writers.drop(self._name(data))
        self._recorded.pop(data.sample_id, None)
        self._attempts.pop(data.sample_id, None)

    # Inside

    async def _sample(self, data: Any, kind: str, said: Any) -> None:
        redact, attempt = default_redaction(), self._attempts.get(data.sample_id, 1)
        name = self._name(data)

        def metadata() -> dict[str, Any]:
            ids = {"sample_uuid": data.sample_id, "eval_id": data.eval_id, "attempt": attempt}
            summary = said.get("summary") if isinstance(said, dict) else None
            about = {k: summary[k] for k in ("id", "epoch")} if summary else {}
            return described("inspect", "inspect-ai", ids, redact, about)

        parent = self._first_name(data) if attempt > 1 else None
        recorded = None
        if kind == "event":
            recorded = self._recorded.setdefault(data.sample_id, {})
        await self._write(name, kind, said, metadata, parent, recorded)

    async def _evaluation(self, eval_id: str, kind: str, said: Any, spec: Any) -> None:
        redact = default_redaction()

        def metadata() -> dict[str, Any]:
            about = {k: getattr(spec, k, None) for k in ("task", "model", "run_id", "created")}
            ids = {"eval_id": eval_id}
            return described("inspect", "inspect-ai", ids, redact, about if spec else None)

        await self._write(PREFIX + quoted(eval_id, redact), kind, said, metadata, None)

    async def _run(self, run_id: str, kind: str, said: Any) -> None:
        redact = default_redaction()

        def metadata() -> dict[str, Any]:
            return described("inspect-run", "inspect-ai", {"run_id": run_id}, redact)

        await self._write(RUN_PREFIX + quoted(run_id, redact), kind, said, metadata, None)

    async def _model(self, data: Any, kind: str) -> None:
        # Calls that belong to no evaluation have no stream.
        eval_id = getattr(data, "eval_id", None)
        if eval_id is not None:
            said = {key: _dumped(each) for key, each in vars(data).items()}
            await self._evaluation(eval_id, kind, said, None)

    def _first_name(self, data: Any) -> str:
        redact = default_redaction()
        return f"{PREFIX}{quoted(data.eval_id, redact)}/{quoted(data.sample_id, redact)}"

    def _name(self, data: Any) -> str:
        attempt = self._attempts.get(data.sample_id, 1)
        first = self._first_name(data)
        return first if attempt == 1 else f"{first}/attempt-{attempt}"

    async def _write(
        self,
        name: str,
        kind: str,
        said: Any,
        metadata: Callable[[], dict[str, Any]],
        parent: str | None,
        recorded: dict[str, bytes] | None = None,
    ) -> None:
        """Have a record written after those of the same stream; wait for it 5 ms at most.

        Inspect AI tells events one after the other: to wait longer, or for the event loop, would
        keep the next ones back.
        """
        redact = default_redaction()

        def write() -> None:
            encoded = encode_any(said, redact)
            if recorded is not None and not _is_new(said.get("uuid"), encoded, recorded):
                return
            self._writers.of(PROCESS.log, name, metadata, parent).write(kind, encoded)

        with self._counting:
            self._waiting += 1
        promise = self._workers.submit(name, lambda: self._guarded(name, write))
        if not is_server(os.environ.get(STORE_VARIABLE, "")):
            # The thread has it written meanwhile, nearly always: what was told of survives a kill.
            with contextlib.suppress(TimeoutError):
                promise.result(_GRACE_S)
        if kind in _ENDS or self._waiting > _WAITING_MAX:
            await self._workers.change(name, lambda: None)
        self._publish_now_and_then()

    def _guarded(self, name: str, call: Callable[[], None]) -> None:
        with self._counting:
            self._waiting -= 1
        try:
            call()
        except StoreMovedError as error:
            # The next one opens the store that is there then.
            dropped.add(name, error)
            self._place = None
            PROCESS.forget()
        except Exception as error:
            dropped.add(name, error)

    def _publish_now_and_then(self) -> None:
        now = time.monotonic()
        if _published_to() and now - self._published >= PUBLISH_S:
            self._published = now
            self._workers.submit("publish", self._publish)

    def _publish(self) -> None:
        try:
            PROCESS.log.publish()
        except Exception as error:
            dropped.add(_published_to(), error)

    def _settle(self) -> None:
        try:
            PROCESS.log.sync()
        except Exception as error:
            dropped.add(RUN_PREFIX, error)
        if _published_to():
            self._publish()


def _published_to() -> str:
    """Where the process's store is published; "" where it is not."""
    return os.environ.get(REMOTE_VARIABLE) or os.environ.get(FLEET_VARIABLE) or ""


def _made(
    log: Log, name: str, metadata: Callable[[], dict[str, Any]], parent: str | None
) -> Stream:
    try:
        return log.stream(name)
    except NotFoundError:
        pass
    try:
        if parent is None or parent not in log:
            return log.create(name, metadata(), durability=DURABILITY)
        with log.batch(durability=DURABILITY) as batch:
            staged = batch.branch(parent, name, metadata=metadata(), empty=True)
        return staged.stream
    except AlreadyExistsError:
        return log.stream(name)


def _is_new(uuid: str | None, encoded: Encoded, recorded: dict[str, bytes]) -> bool:
    """Whether an event was not recorded, or says more than it did."""
    if uuid is None:
        return True
    digest = blake3(encoded.payload).digest(16)
    is_new = recorded.get(uuid) != digest
    recorded[uuid] = digest
    return is_new


def _dumped(value: Any, **options: Any) -> Any:
    """A value as Inspect AI serializes it."""
    dump = getattr(value, "model_dump", None)
    # What it cannot write it leaves out.
    return value if dump is None else dump(mode="json", fallback=lambda _: None, **options)
