"""Requests made from the description of the routes, good ones and bad ones, sent in process."""

from __future__ import annotations

from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import transit
from transit import Log, trace
from transit.server.app import App
from transit.server.asgi import Message, Receive, Send
from transit.server.proving import signing_of
from transit.server.settings import ServerSettings

from ..views.declared import DECLARED

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
# What ends only when time is over: it has tests of its own.
_EVENTS: Final = ["/v1/changes", "/v1/views/{view}/changes"]


def seed(log: Log) -> None:
    """A stream of each kind, with names that are easily made up."""
    a = log.create("a", {"n": 1})
    a.append_many([b"0", b"1", b"2"], headers=[{"k": "x"}, None, None])
    a.branch("0", 1).append(b"\xff")
    log.merge("m", ["a", "0"], policy="append")
    log.create("b").finish()
    log.create("h")
    log.hide("h")
    log.layer("room").create("x")
    a.cursor("c").advance(1, state=b"s")
    log.merge("s", ["a", "0"], policy="select", params={"selected": "a"})
    with trace.task(log, "t") as task:
        task.message("user", "hello")
    log.checkpoint(key_of(log))


def key_of(log: Log) -> transit.SigningKey:
    """A new key that signs the store's checkpoints."""
    return transit.SigningKey.generate(f"example.com/{log.store_id}")


class Fuzz:
    """A store that is served, and requests from the description of what is served."""

    def __init__(self, log: Log) -> None:
        # Waits are short: what is made up asks for long ones.
        signing = signing_of(log, [key_of(log)])
        settings = ServerSettings(long_poll_s=0.01)
        self._app = App(log, settings, declared=DECLARED, signing=signing)
        schema: Any = schemathesis.openapi.from_asgi("/v1/openapi.json", self._bare)
        self._schema: Any = schema.exclude(path=_EVENTS)

    async def _bare(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._app(scope, receive, send)
            return
        # Each request comes with a start and an end of the server, which is one and the same here.
        for moment in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{moment}.complete"})

    def close(self) -> None:
        """End what the application began; the store stays open."""
        self._app.close()

    def check(self, examples: int, paths: str = "/v1/") -> None:
        """Send so many good and as many bad requests to each route whose path begins so."""
        for result in self._schema.get_all_operations():
            operation = result.ok()
            if not operation.path.startswith(paths):
                continue
            self._check_operation(operation, GenerationMode.POSITIVE, examples)
            # Of what takes nothing there is nothing bad.
            if operation.body or operation.query or operation.headers:
                self._check_operation(operation, GenerationMode.NEGATIVE, examples)

    def _check_operation(self, operation: Any, mode: GenerationMode, examples: int) -> None:
        @settings(_settings(examples))
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            case.validate_response(case.call(), checks=CHECKS)

        send()

    def check_sequences(self, examples: int) -> None:
        """Send so many sequences of requests, each made from the answers before it."""
        machine = self._schema.as_state_machine()

        class Sequence(machine):  # type: ignore[misc, valid-type]
            def validate_response(self, response: Any, case: Any, **_: Any) -> None:
                case.validate_response(response, checks=CHECKS)

        Sequence.run(settings=_settings(examples, stateful_step_count=6))


def _settings(examples: int, **more: Any) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        verbosity=Verbosity.quiet,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        **more,
    )
