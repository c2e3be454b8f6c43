"""Beginning: how a task is begun, gone on with, and begun inside another."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing
from typing import Any, ParamSpec, TypeVar, cast
from uuid import uuid4

import msgspec
from blake3 import blake3

from transit import AlreadyExistsError, InvalidInputError, Log, Scalar, Stream
from transit.trace.context import innermost, inside, stepped, stepped_async
from transit.trace.ends import standing_of
from transit.trace.events import ChildRun, Manifest, check_text
from transit.trace.ids import new_id
from transit.trace.names import (
    OWN,
    PARENT_OFFSET,
    PARENT_RUN,
    PARENT_UID,
    TRACE_KIND,
    cleaned,
    describe_run,
)
from transit.trace.recording import Task
from transit.trace.redaction import Redaction, default_redaction
from transit.trace.replaying import Replay
from transit.trace.values import encode_plain
from transit.trace.writing import Options

_P = ParamSpec("_P")
_R = TypeVar("_R")


def current() -> Task | None:
    """The task whose `with` block this code runs in and that has not ended, None outside of any."""
    return cast("Task | None", innermost())


def options_of(durability: str, redact: Redaction | None, *, strict: bool) -> Options:
    """How a run is recorded; `InvalidInputError` for what is no policy."""
    if redact is not None and not isinstance(redact, Redaction):
        raise InvalidInputError(f"redact must be a Redaction, not {redact!r}")
    return Options(durability, default_redaction() if redact is None else redact, strict)


def task(  # noqa: PLR0913 - as many things are said of a run
    log: Log,
    task_id: str | None = None,
    *,
    actor: str = "",
    reason: str = "",
    trace_kind: str = "task",
    metadata: Mapping[str, Scalar] | None = None,
    durability: str = "os",
    parent: Task | None = None,
    manifest: Mapping[str, object] | None = None,
    redact: Redaction | None = None,
    strict: bool = False,
) -> Task:
    """Begin to record a task in a new stream named `task_id`; None: a name no other run has.

    Begun inside another run's block it is that run's child, as it is with `parent`. In a replay it
    is the recorded child. actor: who works. reason: why the task is begun. metadata: more of it.
    durability: what each record waits for. manifest: what `transit.trace.manifest` gives.
    redact: what is not recorded; None: what `set_redaction` said. strict: raise what keeps an event
    from being recorded, instead of counting it in `transit.trace.dropped`.
    Raises `AlreadyExistsError`: `resume` goes on with a task.
    """
    options = options_of(durability, redact, strict=strict)
    check_text(trace_kind, "trace_kind")
    name = new_id("run") if task_id is None else task_id
    begun_in = _parent_of(parent)
    purpose = _purpose(trace_kind, actor, reason, metadata)
    if isinstance(begun_in, Replay) and not begun_in.live:
        return begun_in.recorded_child(None if task_id is None else name, purpose)
    own = describe_run(options, name, actor, reason) | {TRACE_KIND: trace_kind}
    for key in metadata or {}:
        if key in OWN:
            raise InvalidInputError(f"metadata: {key!r} is what the trace says itself")
    whole = {**cleaned(options, metadata or {}), **own}
    name = str(cleaned(options, {"name": name})["name"])
    child = ChildRun(run=name, named=task_id is not None, purpose=purpose)
    stream = _made(log, child, whole, durability, begun_in)
    made = Task(log, stream, options)
    if manifest is not None:
        made.record(Manifest(data=dict(manifest)))
    return made


def _purpose(kind: str, actor: str, reason: str, metadata: Mapping[str, Scalar] | None) -> str:
    """What tells runs apart that are given no name."""
    said = [kind, actor, reason, sorted((metadata or {}).items(), key=str)]
    return blake3(encode_plain(said)).hexdigest(16)


def _parent_of(given: Task | None) -> Task | None:
    if given is not None and not isinstance(given, Task):
        raise InvalidInputError(f"parent must be a task, not {given!r}")
    return current() if given is None else given


def _made(
    log: Log, child: ChildRun, metadata: dict[str, Scalar], durability: str, parent: Task | None
) -> Stream:
    name = child.run
    if parent is None:
        return log.create(name, metadata, codec="json", durability=durability)
    if name in log:
        raise AlreadyExistsError(
            f"{log.path}: there is a stream {name!r}: resume() goes on with a run, and task(log) "
            "without a name gives one that no other has"
        )
    uid = str(uuid4())
    metadata[PARENT_RUN], metadata[PARENT_UID] = parent.name, parent.stream.uid
    metadata[PARENT_OFFSET] = parent.begin_child(msgspec.structs.replace(child, uid=uid))
    return log.create(name, metadata, codec="json", uid=uid, durability=durability)


def resume(
    log: Log,
    stream: str | Stream,
    *,
    reason: str = "",
    durability: str = "os",
    redact: Redaction | None = None,
    strict: bool = False,
) -> Task:
    """Go on recording in a stream that is there; a checkpoint "resume" says that it was done.

    Inside another run's block that run records it. In a replay it is what was recorded then.
    """
    begun_in = current()
    if isinstance(begun_in, Replay) and not begun_in.live:
        return begun_in.recorded_child(stream if isinstance(stream, str) else stream.name, "")
    found = stream if isinstance(stream, Stream) else log.stream(stream)
    resumed = Task(log, found, options_of(durability, redact, strict=strict))
    if begun_in is not None:
        begun_in.begin_child(ChildRun(run=found.name, uid=found.uid, start=found.next_offset))
    resumed._out.sums.go_on(standing_of(found).totals)
    resumed.checkpoint("resume", status="incomplete", reason=reason)
    return resumed


# Functions whose calls are runs


def traced(
    log: Log | Callable[[], Log], name: str | None = None, **options: Any
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Have each call of the decorated function recorded as a run of its own.

    For functions, async functions, generators and async generators. A generator runs in a context
    of its own, so that its run is not that of the code which takes its values, and the run ends
    when the generator does. log: the store, or a function that gives it. name: what the names of
    the runs begin with; None: the function's. options: as `task` takes them.
    """

    def begin(of: str) -> Task:
        place = log() if callable(log) else log
        return task(place, f"{name or of}/{new_id('run')}", **options)

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        of = function.__qualname__.replace("<locals>.", "")
        wrapper = _run_of(function, lambda: begin(of))
        return cast("Callable[_P, _R]", functools.wraps(function)(wrapper))

    return decorate


def _run_of(make: Any, begin: Callable[[], Task]) -> Callable[..., Any]:
    """A function that does what `make` does in the block of a run that `begin` begins."""
    if inspect.isasyncgenfunction(make):

        async def async_values(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            with begin():
                async with aclosing(make(*args, **kwargs)) as given:
                    async for value in given:
                        yield value

        return lambda *args, **kwargs: stepped_async(lambda: async_values(*args, **kwargs))
    if inspect.isgeneratorfunction(make):

        def values(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with begin():
                return (yield from make(*args, **kwargs))

        return lambda *args, **kwargs: stepped(lambda: values(*args, **kwargs))
    if inspect.iscoroutinefunction(make):

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with begin():
                return await make(*args, **kwargs)

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await inside(lambda: awaited(*args, **kwargs))

        return coroutine

    def plain(*args: Any, **kwargs: Any) -> Any:
        with begin():
            return make(*args, **kwargs)

    return plain
