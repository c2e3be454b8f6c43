"""A server on a store in memory, for tests that use real sockets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import transit
from transit import Log
from transit.server.run import Running, serving
from transit.server.settings import ServerSettings


@contextmanager
def served(settings: ServerSettings | None = None) -> Iterator[tuple[Log, Running]]:
    """A new, empty store, and a server of it in a thread of this process."""
    with (
        tempfile.TemporaryDirectory() as folder,
        transit.open(folder, durability="os") as log,
        serving(log, settings=settings) as running,
    ):
        yield log, running
