"""Tracers whose spans go to a store; skipped without the SDK of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.trace import dropped

pytest.importorskip("opentelemetry.sdk.trace", reason="`just adapters otel` runs it")

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

MakeTracer = Callable[..., Any]


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    """What could not be recorded is counted from 0."""
    dropped.reset()
    # The first one warns, and a test that wants it says so.
    yield
    dropped.reset()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "store"


@pytest.fixture
def log(store: Path) -> Iterator[transit.Log]:
    """An open store."""
    with transit.open(store, mode="shared") as log:
        yield log


@pytest.fixture
def tracer() -> MakeTracer:
    """A function that gives a tracer with these processors."""

    def make(*processors: Any, **resource: Any) -> Any:
        provider = TracerProvider(
            shutdown_on_exit=False, resource=Resource({"service.name": "agent", **resource})
        )
        for each in processors:
            provider.add_span_processor(each)
        return provider.get_tracer("tests", "1.0")

    return make
