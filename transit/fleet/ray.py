"""Ray Data: the parts of a plan as a dataset, one read task a part.

    from transit import fleet
    from transit.fleet.ray import dataset

    plan = fleet.open("s3://bucket/agents").plan()
    dataset(plan, ["store", "payload"]).map_batches(look, batch_format="pyarrow")

Ray is the user's: `pip install 'ray[data]'`. Blocks are Arrow tables with the columns of
`fleet.read` and its types, but text is no dictionary: nanoseconds and bytes stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import pyarrow as pa
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from transit import Settings
from transit.fleet.columns import Wanted, wanted_of
from transit.fleet.planning import Part
from transit.fleet.workers import Opening, OpenKeyring, opening
from transit.views.scans.declaring import Columns

# How many bytes in memory a stored byte becomes, about: blocks are compressed.
_UNPACKED: Final = 3
_NUMBER_BYTES: Final = 8


def dataset(
    parts: Iterable[Part],
    columns: Sequence[str] | Columns | None = None,
    *,
    select: Sequence[str] | None = None,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: OpenKeyring | None = None,
) -> ray.data.Dataset:
    """The records of parts as a dataset; arguments as of `TransitDatasource`."""
    source = TransitDatasource(
        parts, columns, select=select, storage_options=storage_options, settings=settings,
        keyring=keyring,
    )  # fmt: skip
    return ray.data.read_datasource(source)


class TransitDatasource(Datasource):
    """What `ray.data.read_datasource` reads: the records of parts.

    columns, select: as `fleet.read` takes them; the others are not read, whatever is selected
    later.
    storage_options, settings: as `transit.open` takes them. keyring: what opens it in a worker.
    These travel to the workers with each task. `InvalidInputError` for a column there is not.
    """

    def __init__(
        self,
        parts: Iterable[Part],
        columns: Sequence[str] | Columns | None = None,
        *,
        select: Sequence[str] | None = None,
        storage_options: Mapping[str, object] | None = None,
        settings: Settings | None = None,
        keyring: OpenKeyring | None = None,
    ) -> None:
        super().__init__()
        self._parts, self._wanted = tuple(parts), wanted_of(columns, select)
        self._how = opening(storage_options, settings, keyring)

    def get_name(self) -> str:
        """What Ray calls the tasks."""
        return "Transit"

    def estimate_inmemory_data_size(self) -> int:
        """Bytes of all blocks, about."""
        return sum(_size(part, self._wanted) for part in self._parts)

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: object = None,
    ) -> list[ReadTask]:
        """One task a part, whatever the parallelism; without parts, one of an empty table."""
        limit: dict[str, Any] = {}
        if per_task_row_limit is not None:
            limit["per_task_row_limit"] = per_task_row_limit
        schema, tasks = self._wanted.plain_schema(), []
        for part in self._parts or (None,):
            # How many records a part has is known about: with a count, Ray would not count.
            size = 0 if part is None else _size(part, self._wanted)
            about = BlockMetadata(num_rows=None, size_bytes=size, input_files=None, exec_stats=None)
            read = partial(_read, part, self._wanted, self._how)
            tasks.append(ReadTask(read, about, schema=schema, **limit))
        return tasks


def _size(part: Part, wanted: Wanted) -> int:
    """Bytes in memory of these columns of a part, about."""
    names = wanted.names
    whole = part.bytes * _UNPACKED if {"payload", "headers"} & set(names) else 0
    return whole + part.records * len(names) * _NUMBER_BYTES


def _read(part: Part | None, wanted: Wanted, how: Opening) -> Iterator[pa.Table]:
    """The blocks of a part, one at least."""
    reader = how.scan(part, wanted)
    is_empty = True
    for batch in reader:
        is_empty = False
        yield pa.Table.from_batches([batch])
    if is_empty:
        yield reader.schema.empty_table()
