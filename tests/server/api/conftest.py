"""A store in memory's file system, served in process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from tests.server.api.calling import Server
from transit import Log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with transit.open(tmp_path / "store", durability="os") as log:
        yield log


@pytest.fixture
def server(log: Log) -> Iterator[Server]:
    server = Server(log)
    yield server
    server.close()
