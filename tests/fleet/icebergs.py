"""What tests of Iceberg tables share: what a table says, and a store to export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import transit

from .test_plans import SMALL, Row

NAME = "transit.records"
Opens = Callable[[], Any]


def rows(table: Any) -> list[Row]:
    found = table.scan().to_arrow()
    columns = (found[name].to_pylist() for name in ("store", "stream", "offset", "payload"))
    return sorted(zip(*columns, strict=True))


def files(table: Any) -> list[str]:
    return sorted(task.file.file_path for task in table.scan().plan_files())


def made(folder: Path, streams: Mapping[str, int]) -> transit.Log:
    """An open store of streams with so many records."""
    log = transit.open(folder, durability="os", settings=SMALL)
    for name, count in streams.items():
        log.create(name).append_many([b"%s %d" % (name.encode(), n) for n in range(count)])
    log.seal()
    return log
