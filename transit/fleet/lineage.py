"""Lineage of a whole fleet: how a record got where it is, from store to store; and all edges.

Owns the walk along references, and what may stop it. Each store is asked for what it knows of its
own records (`Log.lineage`); what another store says of a record counts when it has the digest that
the reference has. Nothing is written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from transit import (
    FormatError,
    HistorySpan,
    InvalidInputError,
    Log,
    Position,
    Provenance,
    ProvenanceStep,
    Record,
    Stream,
    TransitError,
)
from transit.fleet.cuts import told
from transit.fleet.importing import Origin, imported_from, origins
from transit.fleet.members import Member
from transit.fleet.opening import Fleet
from transit.fleet.references import (
    PARENT_REF,
    REF_HEADER,
    Reference,
    as_reference,
    find,
    known_reference,
    open_member,
    record_digest,
)

if TYPE_CHECKING:
    import pyarrow

LEGS_MAX: Final = 1000
OPEN_MAX: Final = 16
"""Stores that one walk has open at once."""
How = Literal["asked", "import", "ref"]
End = Literal["origin", "away", "damaged", "cycle", "bound"]


class Leg(msgspec.Struct, frozen=True):
    """The way of a record within one store.

    store: its id. how: what led there: it was asked for; the record before was copied from it, by
    an import; the record before names it in its header `ref`.
    stream, uid, offset: where it was looked for. origin: where it was appended there; its `first`
    is `offset`. path: from that stream down to the origin's.
    provenance: all that the store knows of it; None of a hidden stream, which no name finds: then
    `path` has its two ends alone.
    """

    store: str
    how: How
    stream: str
    uid: str
    offset: int
    origin: Origin
    path: tuple[ProvenanceStep, ...]
    provenance: Provenance | None


class StoreStep(NamedTuple):
    """A stream on a record's way, and the store that it is in."""

    store: str
    step: ProvenanceStep


class Walk(msgspec.Struct, frozen=True):
    """How a record got where it is, through all stores: one leg each, the one asked for first.

    end: why there is no other leg. "origin": the record was appended there, and names no other.
    "away": the store of `next` cannot be read, or has not published so much; or the record's bytes
    are gone, and with them what they name. "damaged": there is something else than there was.
    `error` says more of both. "cycle": `next` was on the way before. "bound": there are 1,000 legs.
    next: the reference that was not followed; None where none is known. origin: where the record
    was appended first, as far as is known: of what was imported from a store that is away, what
    the import says.
    """

    legs: tuple[Leg, ...]
    end: End
    origin: Origin
    next: Reference | None = None
    error: TransitError | None = None

    @property
    def steps(self) -> tuple[StoreStep, ...]:
        """The streams on the way, each with its store."""
        return tuple(StoreStep(leg.store, step) for leg in self.legs for step in leg.path)


class Edges(msgspec.Struct, frozen=True):
    """The edges of a fleet's lineage, and why those of some stores are not there, by their ids.

    table: one row an edge: child_store, child, child_uid; parent_store, parent, parent_uid;
    offset: the last that the child has of the parent, int64, -1 for none; kind: "branch", "merge",
    "import" (copied from another store), "ref" (goes on from another store's, and copies nothing).
    """

    table: pyarrow.Table
    missing: Mapping[str, str]


def why(fleet: Fleet, record: Reference | str | tuple[Log, Position]) -> Walk:
    """How a record got where it is, from store to store, down to the first that had it.

    record: its reference; or an open store and the position there, which need not be published.
    What comes after the first store and cannot be read ends the walk; what is asked for raises, as
    `resolve` does, and `OffsetError`, `NotFoundError` for a position.
    """
    if isinstance(record, tuple):
        if len(record) != 2 or not isinstance(record[1], tuple) or len(record[1]) != 2:
            raise InvalidInputError(f"not an open store and a position: {record!r:.100}")
        log, (name, offset) = record
        with _Stores(fleet, log) as stores:
            return _walk(stores, _leg(log, log.stream(name), offset, "asked"))
    ref = as_reference(record)
    with _Stores(fleet) as stores:
        log = stores.open(ref.store)
        return _walk(stores, _leg(log, find(log, ref)[0], ref.offset, "asked"))


def _walk(stores: _Stores, leg: Leg) -> Walk:
    legs = [leg]
    seen = {_place(leg.origin)}
    while True:
        log = stores.open(leg.store)
        origin = leg.origin
        try:
            found = _next(log, leg)
        except TransitError as error:
            return Walk(tuple(legs), _end_of(error), _first(log, leg), error=error)
        if found is None:
            return Walk(tuple(legs), "origin", origin)
        how, ref = found
        if len(legs) == LEGS_MAX:
            return Walk(tuple(legs), "bound", origin, ref)
        try:
            there = stores.open(ref.store)
            leg = _leg(there, find(there, ref)[0], ref.offset, how)
        except TransitError as error:
            known = _first(log, leg) if how == "import" else origin
            return Walk(tuple(legs), _end_of(error), known, ref, error)
        if _place(leg.origin) in seen:
            return Walk(tuple(legs), "cycle", origin, ref)
        seen.add(_place(leg.origin))
        legs.append(leg)


def _next(log: Log, leg: Leg) -> tuple[How, Reference] | None:
    """What led to the record that a leg ends at; None where nothing in another store did."""
    stream, origin = log.stream(uid=leg.origin.uid), leg.origin
    parent = imported_from(stream)
    if parent is not None and origin.offset <= parent.offset:
        digest = record_digest(_record(log, leg))
        return "import", msgspec.structs.replace(parent, offset=origin.offset, digest=digest)
    # A header of that name may say what it likes.
    ref = known_reference(_record(log, leg).headers.get(REF_HEADER))
    return None if ref is None else ("ref", ref)


def _record(log: Log, leg: Leg) -> Record:
    return log.stream(uid=leg.uid)[leg.offset]


def _leg(log: Log, stream: Stream, offset: int, how: How) -> Leg:
    provenance = None
    if not stream.hidden:
        provenance = log.lineage.why(Position(stream.name, offset))
    span = _span(log, stream, offset)
    at = span.origin.offset + offset - span.first
    origin = Origin(offset, 1, log.store_id, span.origin.stream, span.uid, at)
    path = provenance.path if provenance is not None else tuple(_ends(log, stream, origin))
    return Leg(log.store_id, how, stream.name, stream.uid, offset, origin, path, provenance)


def _span(log: Log, stream: Stream, offset: int) -> HistorySpan:
    """The span of a stream's history that has an offset, which there is."""
    spans = log.lineage.spans(stream)
    return spans[bisect_right(spans, offset, key=lambda span: span.first) - 1]


def _ends(log: Log, stream: Stream, origin: Origin) -> Iterator[ProvenanceStep]:
    """The two ends of a record's way in a store; one where it was appended to that stream."""
    yield ProvenanceStep(stream.name, origin.first, stream.kind, stream.metadata)
    if origin.uid != stream.uid:
        last = log.stream(uid=origin.uid)
        yield ProvenanceStep(last.name, origin.offset, last.kind, last.metadata)


def _first(log: Log, leg: Leg) -> Origin:
    """Where a leg's record was appended first, as far as its store knows."""
    try:
        known = origins(log, log.stream(uid=leg.uid))
    except TransitError:
        return leg.origin
    each = known[bisect_right(known, leg.offset, key=lambda each: each.first) - 1]
    at = each.offset + leg.offset - each.first
    return msgspec.structs.replace(each, first=leg.offset, count=1, offset=at)


def _place(origin: Origin) -> tuple[str, str, int]:
    return origin.store, origin.uid, origin.offset


def _end_of(error: TransitError) -> End:
    return "damaged" if isinstance(error, FormatError) else "away"


class _Stores:
    """The stores of a walk, opened when it comes there; the last ones stay open.

    given: one that is open already, and stays so.
    """

    def __init__(self, fleet: Fleet, given: Log | None = None) -> None:
        self._fleet, self._given = fleet, given
        self._open: OrderedDict[str, Log] = OrderedDict()

    def __enter__(self) -> _Stores:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for log in self._open.values():
            log.close()

    def open(self, store: str) -> Log:
        """The store with this id."""
        if self._given is not None and self._given.store_id == store:
            return self._given
        if store not in self._open:
            self._open[store] = open_member(self._fleet, store)
            if len(self._open) > OPEN_MAX:
                _, oldest = self._open.popitem(last=False)
                oldest.close()
        self._open.move_to_end(store)
        return self._open[store]


# All edges

_Row = tuple[str, str, str, str, str, str, int, str]
"""As the columns of `Edges.table`."""


class _Missing(NamedTuple):
    """A store that could not be read."""

    store: str
    error: TransitError


def edges(fleet: Fleet) -> Edges:
    """How the streams of all stores descend from one another, as far as they are published.

    The user's streams that are not hidden, and of hidden ones those that others descend from.
    Retired stores are read, too. `ImportError` without pyarrow.
    """
    import pyarrow as pa  # It is an extra.

    def look(member: Member) -> list[_Row]:
        with fleet.open(member) as log:
            return list(_rows(log))

    found = fleet.each(look, lambda member, e: _Missing(member.store, e), retired=True)
    rows = [row for each in found if not isinstance(each, _Missing) for row in each]
    missing = {each.store: told(each.error) for each in found if isinstance(each, _Missing)}
    return Edges(_table(pa, rows), missing)


def _rows(log: Log) -> Iterator[_Row]:
    """The edges of which the child is in a store."""
    store, shown = log.store_id, {node.id for node in log.lineage.graph().nodes}
    for stream in log.sealed().streams(hidden=True):
        if stream.id not in shown:
            continue
        child = (store, stream.name, stream.uid)
        for parent, uid in zip(stream.parents, stream.parent_uids, strict=True):
            yield *child, store, parent.stream, uid, parent.offset, stream.kind
        if (ref := known_reference(stream.metadata.get(PARENT_REF))) is not None:
            kind = "ref" if imported_from(stream) is None else "import"
            yield *child, ref.store, ref.stream, ref.uid, ref.offset, kind


def _table(pa: Any, rows: list[_Row]) -> Any:
    named = pa.dictionary(pa.int32(), pa.string())
    types = {
        "child_store": named, "child": pa.string(), "child_uid": pa.string(),
        "parent_store": named, "parent": pa.string(), "parent_uid": pa.string(),
        "offset": pa.int64(), "kind": named,
    }  # fmt: skip
    columns = list(zip(*rows, strict=True)) or [()] * len(types)
    return pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, types.values(), strict=True)],
        schema=pa.schema(list(types.items())),
    )
