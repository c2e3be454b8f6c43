"""A fleet, and stores of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import fleet

from . import icebergs
from .stores import Opens


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[fleet.Fleet]:
    with fleet.create(str(tmp_path / "fleet")) as made:
        yield made


@pytest.fixture
def member(agents: fleet.Fleet, tmp_path: Path) -> Iterator[Opens]:
    """Opens a store of the fleet by a name; all are closed in the end."""
    opened: list[transit.Log] = []

    def record(name: str, **how: Any) -> transit.Log:
        log = agents.record(tmp_path / name, **{"name": name, "durability": "os", **how})
        opened.append(log)
        return log

    yield record
    for log in opened:
        log.close()


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/catalog.db"


@pytest.fixture
def table(uri: str) -> Iterator[icebergs.Opens]:
    """Loads the table as another program does."""
    catalogs = pytest.importorskip("pyiceberg.catalog", reason="pip install 'transit[iceberg]'")
    with catalogs.load_catalog("transit", uri=uri) as catalog:
        yield lambda: catalog.load_table(icebergs.NAME)
