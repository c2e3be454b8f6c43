"""Ready-made reconcilers of a fleet: its snapshot, its Parquet files.

    with views.runner(log, [fleet.keep_snapshot(agents, every=3600.0)]) as runner:
        runner.run()

A tick asks each store with one request whether it has published anything new, and is a noop where
none has. The store in which the ticks are recorded may be a member: ticks and claims that it has
published are nothing new.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Unpack

import transit
from transit import InvalidInputError, TransitError
from transit.fleet.catalogs import Iceberg
from transit.fleet.cuts import Cut
from transit.fleet.exporting import Exported
from transit.fleet.exports import newest_export_at
from transit.fleet.iceberg import register
from transit.fleet.opening import Fleet
from transit.fleet.planned import FILE_BYTES
from transit.fleet.snapshots import Snapshot
from transit.views.loops.keeping import Options, records_without_ticks
from transit.views.loops.reconcile import TIMEOUT_S_MAX, Body, Reconciler, reconciler
from transit.views.loops.ticks import Tick

EVERY_S: Final = 3_600.0
_TOLD_MAX: Final = 20


def keep_snapshot(
    agents: Fleet, every: float | None = EVERY_S, **options: Unpack[Options]
) -> Reconciler:
    """Make the fleet's snapshot when a store has published something since the newest one.

    agents: stays open as long as the runner runs. every: seconds. options: as of the reconcilers of
    `transit.views`; the name is "fleet-snapshot" where none is given. Stores that could not be read
    are warned of in the tick, and looked at again with the next.
    """
    agents = _fleet(agents)

    def body(tick: Tick) -> None:
        before = agents.newest_snapshot()
        own = _Own(agents, tick)
        if before is not None and not own.left(agents.news(before)):
            tick.noop()
            return
        own.look()
        tick.check()
        made = agents.snapshot()
        own.keep()
        _warn(tick, made.missing)
        tick.emit(
            "snapshot",
            number=made.number,
            stores=len(made.tables),
            records=_records_in(made),
            missing=len(made.missing),
        )

    return _made(body, every, {"name": "fleet-snapshot", **options})


def keep_export(
    agents: Fleet,
    url: str,
    every: float | None = EVERY_S,
    *,
    storage_options: Mapping[str, object] | None = None,
    streams: str = "",
    bytes_per_file: int = FILE_BYTES,
    iceberg: Iceberg | None = None,
    **options: Unpack[Options],
) -> Reconciler:
    """Export the fleet to `url` as Parquet files when a store has published something since.

    As `Fleet.export`, with `missing_ok`: stores that could not be read are warned of in the tick,
    and stay in the files as they were. iceberg: the table that has the files, too; one that a run
    which was cut short did not tell is told with the next tick. agents, every, options: as of
    `keep_snapshot`; the name is "fleet-export" where none is given.
    """
    agents = _fleet(agents)

    def body(tick: Tick) -> None:
        before = newest_export_at(url, storage_options)
        own = _Own(agents, tick)
        if before is not None and not own.left(agents.news(Cut(before.stores))):
            if not _catch_up(tick, url, storage_options, iceberg):
                tick.noop()
            return
        own.look()
        tick.check()
        done = agents.export(
            url, storage_options=storage_options, streams=streams, bytes_per_file=bytes_per_file,
            missing_ok=True, iceberg=iceberg,
        )  # fmt: skip
        own.keep()
        _warn(tick, done.missing)
        if before is None or done.export.number != before.number:
            tick.emit("export", **_told(done))

    return _made(body, every, {"name": "fleet-export", **options})


def _catch_up(
    tick: Tick, url: str, storage_options: Mapping[str, object] | None, iceberg: Iceberg | None
) -> bool:
    """Tell the table of the newest export, where it does not know of it; whether it did not."""
    if iceberg is None:
        return False
    done = register(url, iceberg, storage_options)
    if not done.added and not done.removed:
        return False
    tick.emit("registered", number=done.export, added=done.added, removed=done.removed)
    return True


class _Own:
    """The store in which the ticks are recorded, where it is a member.

    Each tick that did something is a record, which is published some day: that alone must not be
    something to do for the next. So what is new of it is other records than ticks and claims.
    """

    def __init__(self, agents: Fleet, tick: Tick) -> None:
        self._agents, self._tick = agents, tick
        self._records: int | None = None

    def left(self, news: frozenset[str]) -> frozenset[str]:
        """The stores that have something new, without this one where it has ticks alone."""
        store = self._tick.log.store_id
        known = self._tick.kv.get("records")
        if store not in news or known is None or self._published() != known:
            return news
        return news - {store}

    def look(self) -> None:
        """Count its records before they are looked at: more may be published meanwhile."""
        self._records = self._published()

    def keep(self) -> None:
        """Remember the count that was taken."""
        if self._records is not None:
            self._tick.kv["records"] = self._records

    def _published(self) -> int | None:
        """How many it has published; None where it is no member, or cannot be read."""
        address = self._agents.address(self._tick.log.store_id)
        try:
            with transit.open(address, mode="read", **self._agents.how) as log:
                return records_without_ticks(log)
        except TransitError:
            return None


def _fleet(agents: object) -> Fleet:
    if not isinstance(agents, Fleet):
        raise InvalidInputError(f"not a fleet: {agents!r:.100}")
    return agents


def _records_in(snapshot: Snapshot) -> int:
    return sum(sum(each.records) for table in snapshot.tables for each in table.segments)


def _told(done: Exported) -> dict[str, int]:
    return {
        "number": done.export.number,
        "added": len(done.added),
        "records": sum(each.records for each in done.added),
        "removed": len(done.removed),
        "missing": len(done.missing),
    }


def _warn(tick: Tick, missing: Mapping[str, str]) -> None:
    for store, why in sorted(missing.items())[:_TOLD_MAX]:
        tick.warning(f"{store}: {why}")


def _made(body: Body, every: float | None, options: Options) -> Reconciler:
    given: Options = {"timeout": TIMEOUT_S_MAX, **options}
    return reconciler(every=None if "cron" in given else every, **given)(body)
