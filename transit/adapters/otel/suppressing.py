"""What the adapter does itself is not traced: its requests would make spans for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uninstrumented() -> Iterator[None]:
    """What is done inside is not traced by instrumentations."""
    try:
        # Loaded here: what reads without the SDK comes by too.
        from opentelemetry import context
    except ImportError:
        yield
        return
    found = context.set_value("suppress_instrumentation", True)
    found = context.set_value("suppress_http_instrumentation", True, found)
    token = context.attach(found)
    try:
        yield
    finally:
        context.detach(token)


def is_own_thread() -> bool:
    """Whether this is a thread of a store: what it uploads is not to be recorded in it."""
    return threading.current_thread().name.startswith("transit-")
