"""A store with views, served in process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from tests.server.api.calling import Server
from transit import Log

from .declared import DECLARED, fill


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with transit.open(tmp_path / "store", durability="os") as log:
        fill(log)
        yield log


@pytest.fixture
def server(log: Log) -> Iterator[Server]:
    server = Server(log, declared=DECLARED)
    yield server
    server.close()
