"""transit.fleet: many stores below one prefix, each written by one machine, looked at together.

    from transit import fleet

    agents = fleet.create("s3://bucket/agents")
    with agents.record("runs", name="host-7") as log:   # a store that is published there
        log.create("task-1").append(b"...")

    for status in fleet.open("s3://bucket/agents").status():
        print(status.member.name, status.commits, status.error)

Nobody waits for anybody: each store keeps its own chain of commits, its own fence and its own root.
What is said of a fleet is said of each store, at the root that it had: there is no common order.

places     which objects a fleet has besides its stores; keeping: making and reading them
members    which stores there are, what they are called, which are retired
opening    a fleet: its stores, found, looked at, audited; cuts: which root each had
planned    what is planned and exported of a fleet, and of a store alone; exporting: Parquet files;
           exports: which there are; iceberg: their files in a table; catalogs: where tables are
planning   the records of all stores as small parts; making: which stores are asked for them;
           tables: the blocks that parts are cut from
references what names a record in another store; importing: streams of other stores, continued;
           lineage: how records got from store to store, and all edges
reading    a part as Arrow, in any process; columns: which, raw or declared; walking: which records
           a part has; typed: declared columns of them
snapshots  the tables of all stores in one object
times      in microseconds, for those who have no finer ones
loops      ready-made reconcilers that keep a snapshot and an export as new as the stores
dask, ray, spark   the parts as a frame or dataset of an engine that the user brings: imported by
           name; workers: what its workers need to open stores
"""

from __future__ import annotations

from transit.fleet.catalogs import Iceberg
from transit.fleet.columns import COLUMNS
from transit.fleet.cuts import Cut
from transit.fleet.exporting import Exported
from transit.fleet.exports import Export, ExportedFile
from transit.fleet.iceberg import Registered
from transit.fleet.importing import Origin, import_stream, imported_from, origins
from transit.fleet.lineage import Edges, Leg, StoreStep, Walk, edges, why
from transit.fleet.loops import keep_export, keep_snapshot
from transit.fleet.members import Member, Retired
from transit.fleet.opening import (
    Audited,
    Fleet,
    FleetReport,
    Found,
    StoreStatus,
    create,
    open,
)
from transit.fleet.planned import OneStore, of_store
from transit.fleet.planning import Asked, Part, Plan
from transit.fleet.reading import read, scan
from transit.fleet.references import (
    PARENT_REF,
    REF_HEADER,
    Reference,
    record_digest,
    reference,
    resolve,
)
from transit.fleet.snapshots import Snapshot
from transit.fleet.tables import SegmentTable, StoreTable

__all__ = [
    "COLUMNS",
    "PARENT_REF",
    "REF_HEADER",
    "Asked",
    "Audited",
    "Cut",
    "Edges",
    "Export",
    "Exported",
    "ExportedFile",
    "Fleet",
    "FleetReport",
    "Found",
    "Iceberg",
    "Leg",
    "Member",
    "OneStore",
    "Origin",
    "Part",
    "Plan",
    "Reference",
    "Registered",
    "Retired",
    "SegmentTable",
    "Snapshot",
    "StoreStatus",
    "StoreStep",
    "StoreTable",
    "Walk",
    "create",
    "edges",
    "import_stream",
    "imported_from",
    "keep_export",
    "keep_snapshot",
    "of_store",
    "open",
    "origins",
    "read",
    "record_digest",
    "reference",
    "resolve",
    "scan",
    "why",
]
