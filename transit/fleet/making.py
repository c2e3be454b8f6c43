"""Making a plan: what is asked of which stores, and in which parts it is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, TypeVar

from transit import InvalidInputError, Log, NotFoundError, TransitError
from transit.fleet.cuts import Cut, told
from transit.fleet.keeping import check_text
from transit.fleet.members import Member
from transit.fleet.planning import (
    Asked,
    By,
    Item,
    Plan,
    block_items,
    part_bytes,
    parts_of,
    stream_items,
)
from transit.fleet.snapshots import Snapshot
from transit.fleet.tables import StoreTable, table_of

T = TypeVar("T")
U = TypeVar("U")


class Stores(Protocol):
    """What a plan asks of a fleet, or of a store alone."""

    how: Mapping[str, object]
    """How its stores are opened: storage_options, settings, keyring."""

    def address(self, store: str) -> str:
        """Where the store of this id is read."""

    def open(self, member: Member | str) -> Log:
        """See `Fleet.open`."""

    def each(
        self,
        look: Callable[[Member], T],
        failed: Callable[[Member, TransitError], U],
        *,
        retired: bool,
        named: Iterable[str] = (),
    ) -> tuple[T | U, ...]:
        """See `Fleet.each`."""


class _Looked(NamedTuple):
    """A store's table, and what is not cut of it."""

    table: StoreTable
    items: list[Item]


class _Missing(NamedTuple):
    """A store that could not be read."""

    store: str
    error: TransitError


class Making:
    """A plan in the making; the arguments are those of `Fleet.plan`."""

    def __init__(
        self,
        stores: Stores,
        asked: Asked,
        by: By,
        at: Cut | Snapshot | None,
        after: Cut | None,
        labels: Mapping[str, str],
        *,
        missing_ok: bool,
    ) -> None:
        if by not in ("blocks", "stream"):
            raise InvalidInputError(f"by must be 'blocks' or 'stream', not {by!r}")
        if by == "stream" and after is not None:
            raise InvalidInputError("after goes with a plan by blocks: streams are read whole")
        for value, kinds in ((at, (Cut, Snapshot)), (after, (Cut,))):
            if value is not None and not isinstance(value, kinds):
                raise InvalidInputError(f"not a cut of a fleet: {value!r:.100}")
        self._stores, self._asked, self._by, self._at = stores, asked, by, at
        self._after = {} if after is None else after.stores
        self._labels, self._missing_ok = labels, missing_ok
        self.tables: list[StoreTable] = []
        """Of the stores that the plan is of, once it is made."""

    def plan(self, bytes_per_part: int | None, n: int | None) -> Plan:
        """The plan."""
        part_bytes(bytes_per_part, n, 0)
        looked, missing = self._of_a_snapshot() or self._of_the_stores()
        self.tables = [each.table for each in looked]
        total = sum(item.size for each in looked for item in each.items)
        found = [(self._stores.address(e.table.store), e.table, e.items) for e in looked]
        parts = parts_of(found, part_bytes(bytes_per_part, n, total), self._by, self._asked)
        cut = Cut({each.table.store: each.table.head for each in looked}, missing)
        return Plan(tuple(parts), cut)

    def _of_a_snapshot(self) -> tuple[list[_Looked], dict[str, str]] | None:
        """What a snapshot says; None where stores have to be asked."""
        at = self._at
        if not isinstance(at, Snapshot) or self._by == "stream":
            return None
        wanted = {member.store for member in at.members if member.has(self._labels)}
        missing = {store: why for store, why in at.missing.items() if store in wanted}
        if missing and not self._missing_ok:
            store, why = next(iter(missing.items()))
            raise NotFoundError(f"snapshot {at.number} has no store {store}: {why}")
        tables = (table for table in at.tables if table.store in wanted)
        return [_Looked(table, self._blocks(table)) for table in tables], missing

    def _of_the_stores(self) -> tuple[list[_Looked], dict[str, str]]:
        # What a cut names is looked for, whatever a listing says.
        at = self._cut()
        named = () if at is None else at.stores
        found = self._stores.each(self._look, self._failed, retired=True, named=named)
        looked = [each for each in found if isinstance(each, _Looked)]
        return looked, {e.store: told(e.error) for e in found if isinstance(e, _Missing)}

    def _cut(self) -> Cut | None:
        return self._at.cut if isinstance(self._at, Snapshot) else self._at

    def _look(self, member: Member) -> _Looked | None:
        at = self._cut()
        head = None if at is None else at.stores.get(member.store)
        if not member.has(self._labels) or (at is not None and head is None):
            return None
        with self._stores.open(member) as log:
            if (known := self._after.get(member.store)) is not None:
                # What comes after it must come after what it was of.
                log.sealed(known)
            table = table_of(log, head)
            if self._by == "stream":
                return _Looked(table, stream_items(log, table, self._asked))
        return _Looked(table, self._blocks(table))

    def _failed(self, member: Member, error: TransitError) -> _Missing | None:
        if not member.has(self._labels):
            return None
        if not self._missing_ok:
            raise error
        return _Missing(member.store, error)

    def _blocks(self, table: StoreTable) -> list[Item]:
        known = self._after.get(table.store)
        return block_items(table, self._asked, 0 if known is None else known.commits)


def check_prefix(streams: object) -> str:
    """The beginning of names; `InvalidInputError` for what is none."""
    if not isinstance(streams, str):
        raise InvalidInputError(f"streams must be the beginning of names, not {streams!r}")
    return check_text(streams, "streams")


def moment(value: datetime | int | None, what: str) -> int | None:
    """A time in UTC nanoseconds; `InvalidInputError` for one without a zone."""
    if value is None or type(value) is int:
        return value
    if isinstance(value, datetime) and value.tzinfo is not None:
        since = value - datetime(1970, 1, 1, tzinfo=UTC)
        # Those of some libraries are finer than a datetime.
        rest = since.microseconds * 1000 + int(getattr(since, "nanoseconds", 0))
        return (since.days * 86400 + since.seconds) * 1_000_000_000 + rest
    raise InvalidInputError(f"{what} must be a datetime with a zone or UTC nanoseconds")
