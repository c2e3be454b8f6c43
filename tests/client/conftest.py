"""A server of a new store on a port of its own, and a connection to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from rigs.server.serving import Serving


@pytest.fixture
def opened(path: Path) -> Iterator[transit.Log]:
    """The store that is served, as the server's process has it."""
    with transit.open(path, durability="os") as log:
        yield log


@pytest.fixture
def serving(opened: transit.Log) -> Iterator[Serving]:
    """Its server."""
    server = Serving(opened)
    yield server
    server.close()


@pytest.fixture
def log(serving: Serving) -> Iterator[transit.Log]:
    """The store over a connection."""
    with transit.connect(serving.url, timeout_s=120) as connected:
        yield connected
