"""One line that records what the clients of OpenAI and Anthropic do.

    from transit.adapters.instrumenting import instrument

    instrument("runs")

Through the instrumentations of OpenTelemetry where these are installed, so that spans of everything
else are in the same traces; else by `clients`, which needs none.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Final, Literal

import transit
from transit import InvalidInputError
from transit.adapters.clients import LIBRARIES, TransitClients
from transit.adapters.opening import PROCESS, Place, open_store
from transit.trace import Redaction

Through = Literal["otel", "clients"]

_INSTRUMENTORS: Final = {
    "openai": ("opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor"),
    "anthropic": ("opentelemetry.instrumentation.genai.anthropic", "AnthropicInstrumentor"),
}
_OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
_LATEST: Final = "gen_ai_latest_experimental"


class Instrumented:
    """What `instrument` did; `close` undoes it. A block of `with` does so at its end.

    through: by what calls are recorded. libraries: of which clients.
    """

    def __init__(self, through: Through, libraries: tuple[str, ...], undo: list[Any]) -> None:
        self.through = through
        self.libraries = libraries
        self._undo = undo

    def __enter__(self) -> Instrumented:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Record nothing more; close the store if it was opened here. Twice is once."""
        undo, self._undo = self._undo, []
        for each in undo:
            each()


def instrument(
    log: transit.Log | str | os.PathLike[str] | None = None,
    *libraries: str,
    through: Through | None = None,
    redact: Redaction | None = None,
    tracer_provider: Any = None,
) -> Instrumented:
    """Record what clients of these libraries do: "openai", "anthropic"; none: those installed.

    log: a store, its folder or address, or None for the process's, which TRANSIT_STORE names.
    through: None for "otel" where the GenAI instrumentations of all wanted libraries are installed,
    else "clients". redact: a policy. tracer_provider: with "otel", whose spans are recorded; None:
    the process's if it is the SDK's, else a new one.
    Raises `InvalidInputError` for what is not installed, and what opening the store raises.
    """
    for name in libraries:
        if name not in LIBRARIES:
            raise InvalidInputError(f"{name!r} is none of {', '.join(LIBRARIES)}")
    wanted = libraries or tuple(name for name in LIBRARIES if find_spec(name) is not None)
    if not wanted:
        raise InvalidInputError(f"none of these is installed: {', '.join(LIBRARIES)}")
    missing = [name for name in wanted if not _has(_INSTRUMENTORS[name][0])]
    if through not in (None, "otel", "clients"):
        raise InvalidInputError(f'through must be "otel" or "clients", not {through!r}')
    if through == "otel" and missing:
        raise InvalidInputError(f"the GenAI instrumentation of {missing[0]} is not installed")
    if through is None:
        through = "clients" if missing else "otel"
    store, closes = _store(log)
    if through == "clients":
        made = TransitClients(store, redact=redact)
        try:
            made.instrument(*wanted)
        except BaseException:
            closes()
            raise
        return Instrumented(through, wanted, [made.close, closes])
    return _by_otel(store, closes, wanted, redact, tracer_provider)


def _store(log: transit.Log | str | os.PathLike[str] | None) -> tuple[transit.Log | Place, Any]:
    """The store, and what closes it if it is opened here."""
    if isinstance(log, transit.Log):
        return log, lambda: None
    if log is None:
        return PROCESS, lambda: None
    place = Place(lambda: open_store(log))
    _ = place.log
    return place, place.close


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        # A package that it is in is not there.
        return False


def _by_otel(
    store: transit.Log | Place,
    closes: Any,
    wanted: tuple[str, ...],
    redact: Redaction | None,
    provider: Any,
) -> Instrumented:
    # Loaded here: it needs the SDK.
    from transit.adapters.otel import TransitCompletionHook, TransitSpanProcessor

    processor = TransitSpanProcessor(store, redact=redact)
    hook = TransitCompletionHook(store, redact=redact)
    given = _provider(provider)
    given.add_span_processor(processor)
    # They read it when they instrument: without it they know of no content and no hook.
    told = os.environ.get(_OPT_IN, "")
    if _LATEST not in told.split(","):
        os.environ[_OPT_IN] = f"{told},{_LATEST}" if told else _LATEST
    undo: list[Any] = []
    for name in wanted:
        module, kind = _INSTRUMENTORS[name]
        instrumentor = getattr(import_module(module), kind)()
        instrumentor.instrument(tracer_provider=given, completion_hook=hook)
        undo.append(instrumentor.uninstrument)
    return Instrumented("otel", wanted, [*undo, processor.close, hook.close, closes])


def _provider(given: Any) -> Any:
    from opentelemetry import trace  # only where it is installed
    from opentelemetry.sdk.trace import TracerProvider  # as above

    if given is not None:
        return given
    found = trace.get_tracer_provider()
    if hasattr(found, "add_span_processor"):
        return found
    made = TracerProvider()
    trace.set_tracer_provider(made)
    return made
