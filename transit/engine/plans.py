"""Plans of merges: which heads, which base, which policy, and what comes of them.

Owns the registry of custom policies and the passage between names and ids. The policies themselves
are pure functions (`transit.lineage.policy`); this module reads what they ask for. Leaves to
`transit.engine.merging` and `transit.engine.creation` what is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Final, Literal, NamedTuple, cast, overload
from weakref import WeakKeyDictionary

import msgspec

from transit.errors import AlreadyExistsError, InvalidInputError, NotFoundError, OffsetError
from transit.format.digest import digest
from transit.format.life import Life
from transit.format.lineage import LineageRecord, Merge, Scalar, check_metadata
from transit.format.names import check_name
from transit.handle.handle import Handle
from transit.lineage import policy as policies
from transit.lineage.graph import Graph
from transit.lineage.spans import Span, from_plan, to_plan
from transit.log.catalog import Catalog, StreamState
from transit.log.gone import check_there
from transit.opened import Opened
from transit.replay import Batch, Position, Record, Source, batches

CustomPolicy = Callable[[tuple[tuple[Record, ...], ...], Mapping[str, Scalar]], Iterable[Record]]
PlacingPolicy = Callable[["PolicyInput", Mapping[str, Scalar]], Iterable[Position]]
Lookup = Callable[[int], LineageRecord]
RunPolicy = Callable[[Catalog, policies.Request], tuple[Span, ...]]
Head = tuple[int, int]
"""(stream id, offset of its last record that counts; -1 for an empty stream)."""


class _Registered(NamedTuple):
    """A custom policy: what puts records in order, or what says which places to keep."""

    version: int
    order: CustomPolicy | None
    place: PlacingPolicy | None


_custom: Final[dict[str, _Registered]] = {}
_SHIPPED: Final = {"chat-thread": "transit.chat.freezing"}
"""Policies of rooms above, and the modules that register them when they are first asked for."""
_memos: Final[WeakKeyDictionary[Catalog, dict[object, object]]] = WeakKeyDictionary()
"""What placing policies remember of the streams of an open store, for the merges it makes."""


@overload
def register_policy(name: str, order: CustomPolicy, version: int = 1) -> None: ...
@overload
def register_policy(
    name: str, order: PlacingPolicy, version: int = 1, *, by: Literal["positions"]
) -> None: ...
def register_policy(
    name: str,
    order: CustomPolicy | PlacingPolicy,
    version: int = 1,
    *,
    by: Literal["records", "positions"] = "records",
) -> None:
    """Make `order` known to this process as merge policy "custom:<name>".

    `order(suffixes, params)` gets each parent's own records after the base, as tuples of `Record`
    whose `offset` counts within the suffix, and returns the records to keep, each at most once, in
    their new order. It must be a pure function: a verifier runs it again and compares. `version` is
    recorded with each merge; give a new one whenever the same input would yield another order.

    by="positions": `order` gets a `PolicyInput` instead, reads as columns what it wants to read,
    and returns the positions where the records to keep were appended. What it remembers there is
    given to it again with the next merge that this store makes, or that the same verification runs.
    """
    check_name(name, "policy name")
    if not callable(order):
        raise InvalidInputError(f"policy {name!r}: {order!r} is not callable")
    if type(version) is not int or version < 1:
        raise InvalidInputError(f"policy {name!r}: version must be a positive int")
    if by not in ("records", "positions"):
        raise InvalidInputError(f"policy {name!r}: by must be 'records' or 'positions', not {by!r}")
    if by == "records":
        _custom[name] = _Registered(version, cast("CustomPolicy", order), None)
    else:
        _custom[name] = _Registered(version, None, cast("PlacingPolicy", order))


def _registered(policy: str) -> _Registered | None:
    """The custom policy of this name; None where there is none, or it is built in."""
    if not policy.startswith(policies.CUSTOM_PREFIX):
        return None
    name = policy.removeprefix(policies.CUSTOM_PREFIX)
    if name not in _custom and name in _SHIPPED:
        # By name: a room above is not imported from here, and not before it is wanted.
        import_module(_SHIPPED[name])
    return _custom.get(name)


class PolicyPart(Opened):
    """The records of one parent after the base, for a policy that says positions.

    spans: where they were appended, with the uid of each stream: (uid, position, count).
    """

    __slots__ = ("_catalog", "_spans", "spans")

    def __init__(self, catalog: Catalog, spans: Sequence[Span]) -> None:
        self._catalog, self._spans = catalog, spans
        records = [catalog.record(span.stream) for span in spans]
        self.spans = tuple(
            (record.uid, Position(record.name, span.origin), span.count)
            for record, span in zip(records, spans, strict=True)
        )

    def __len__(self) -> int:
        """Count of records."""
        return sum(span.count for span in self._spans)

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """The records from the `start`-th on; `source.stream` and `origins` say where they lie."""
        for span in self._spans:
            skipped = min(start, span.count)
            start -= skipped
            state = self._catalog.state(span.stream)
            first, stop = span.origin + skipped, span.origin + span.count
            if first < stop:
                yield from batches(self._catalog, state, first, stop)

    def position(self, number: int) -> Position:
        """Where the record of this number, from 0, was appended."""
        for _, (stream, first), count in self.spans:
            if number < count:
                return Position(stream, first + number)
            number -= count
        raise OffsetError(f"no record {number}")


class PolicyInput(NamedTuple):
    """What a policy by positions gets: the parts of the parents, in order, and what it remembers.

    memo: whatever it put there when it was called before, for another merge of the same store that
    may share records with this one. What it remembers must hold for the records it read: their uids
    and offsets say which.
    """

    parts: tuple[PolicyPart, ...]
    memo: dict[object, object]


class MergePlan(msgspec.Struct, frozen=True):
    """What a merge yields: `spans` are (origin of the first record, count), in order.

    base_uid: of the stream in `base`, whose name may be another stream's by now; "" without one.
    """

    base: Position | None
    policy: str
    version: int
    params: Mapping[str, Scalar]
    spans: tuple[tuple[Position, int], ...]
    base_uid: str = ""

    @property
    def count(self) -> int:
        """Number of records."""
        return sum(count for _, count in self.spans)


class Worked(msgspec.Struct, frozen=True):
    """A merge worked out: everything its lineage record holds but name, id and metadata."""

    heads: tuple[Head, ...]
    base: Head | None
    policy: str
    version: int
    params: dict[str, Scalar]
    spans: tuple[Span, ...]


class Parents:
    """The streams that merges are made from, as the store has them."""

    def __init__(self, catalog: Catalog, memo: dict[object, object] | None = None) -> None:
        self._catalog = catalog
        self._memo = memo

    @property
    def graph(self) -> Graph:
        """How they descend from one another; the catalog's, which may count what it costs."""
        return self._catalog.graph

    def record(self, stream: int) -> LineageRecord:
        """The lineage record of a stream."""
        return self._catalog.record(stream)

    def timestamps(self, span: Span) -> list[int]:
        """The timestamps of a span's records, in order."""
        timestamps: list[int] = []
        check_there(self._catalog, span)
        stop = span.origin + span.count
        for chunk in self._catalog.chunks(span.stream, span.origin, stop):
            low, high = max(span.origin, chunk.first), min(stop, chunk.stop)
            timestamps.extend(chunk.timestamps[low - chunk.first : high - chunk.first])
        return timestamps

    def spans(self, request: policies.Request) -> tuple[Span, ...]:
        """What a merge yields."""
        return policies.plan(request, self.graph, self.timestamps, self._order(request))

    def _order(self, request: policies.Request) -> policies.Order | None:
        """What puts the records of a custom policy in order; None for all other policies."""
        custom = _registered(request.policy)
        if custom is None:
            return None
        if custom.place is not None:
            return self._placing(request, custom.place)
        call = custom.order
        assert call is not None

        def order(parts: policies.Suffixes) -> Iterator[Head]:
            suffixes = tuple(tuple(_records(self._catalog, part)) for part in parts)
            ids = _by_name(self.record, {span.stream for part in parts for span in part})
            ordered = call(suffixes, request.params)
            if not isinstance(ordered, Iterable):
                raise InvalidInputError(f"{request.policy}: returned {ordered!r}, not records")
            for record in ordered:
                if not isinstance(record, Record) or record.origin.stream not in ids:
                    raise InvalidInputError(
                        f"{request.policy}: returned {record!r}, which is in none of the suffixes"
                    )
                yield ids[record.origin.stream], record.origin.offset

        return order

    def _placing(self, request: policies.Request, call: PlacingPolicy) -> policies.Order:
        """What says which places to keep."""
        memo = _memos.setdefault(self._catalog, {}) if self._memo is None else self._memo

        def order(parts: policies.Suffixes) -> Iterator[Head]:
            ids = _by_name(self.record, {span.stream for part in parts for span in part})
            given = PolicyInput(tuple(PolicyPart(self._catalog, part) for part in parts), memo)
            placed = call(given, request.params)
            if not isinstance(placed, Iterable):
                raise InvalidInputError(f"{request.policy}: returned {placed!r}, not positions")
            for place in placed:
                if not isinstance(place, tuple) or len(place) != 2 or place[0] not in ids:
                    raise InvalidInputError(
                        f"{request.policy}: returned {place!r}, which is in none of the suffixes"
                    )
                yield ids[place[0]], place[1]

        return order


def work_out(
    parents: Parents,
    heads: tuple[Head, ...],
    policy: str,
    base: Head | None,
    params: Mapping[str, Scalar] | None,
) -> Worked:
    """The plan of a merge of `heads`, which are checked positions."""
    checked = check_asked(policy, params)
    if policy == "select":
        checked = _selected_place(parents, heads, checked)
    resolved = policies.resolve_base(parents.graph, heads, base)
    request = policies.Request(policy=policy, heads=heads, base=resolved, params=checked)
    spans = parents.spans(request)
    return Worked(heads, resolved, policy, version_of(policy), checked, spans)


def check_asked(policy: str, params: Mapping[str, Scalar] | None) -> dict[str, Scalar]:
    """A plain copy of `params`, as a policy that is there may take them; or a typed error."""
    if not isinstance(policy, str):
        raise InvalidInputError(f"policy must be text, not {type(policy).__name__}")
    policies.check_policy(policy)
    return check_metadata(params, f"merge policy {policy!r}")


def rerunning() -> RunPolicy:
    """What gives the spans that merges yield, for one verification that runs them again.

    What policies remember is of that verification alone: what lies there is read again by each.
    """
    memo: dict[object, object] = {}
    return lambda catalog, request: Parents(catalog, memo).spans(request)


def _by_name(lookup: Lookup, streams: Iterable[int]) -> dict[str, int]:
    """The streams by name, which a merge that goes by names needs to be one for each."""
    ids: dict[str, int] = {}
    for stream in streams:
        name = lookup(stream).name
        if ids.setdefault(name, stream) != stream:
            raise InvalidInputError(f"two streams are named {name!r}: this merge goes by names")
    return ids


def version_of(policy: str) -> int:
    """The version under which `policy` runs here; `NotFoundError` when it is not registered."""
    if policy in policies.POLICIES:
        return policies.POLICIES[policy]
    custom = _registered(policy)
    if custom is None:
        raise NotFoundError(f"merge policy {policy!r} is not registered here")
    return custom.version


def _selected_place(
    parents: Parents, heads: Sequence[Head], params: dict[str, Scalar]
) -> dict[str, Scalar]:
    names = list(_by_name(parents.record, [stream for stream, _ in heads]))
    selected = params.get("selected")
    if set(params) != {"selected"} or selected not in names:
        raise InvalidInputError(
            f'merge policy "select" takes params={{"selected": one of {names}}}, not {params}'
        )
    return {"selected": names.index(str(selected))}


def _records(catalog: Catalog, part: Sequence[Span]) -> Iterator[Record]:
    place = 0
    for span in part:
        state = catalog.state(span.stream)
        for batch in batches(catalog, state, span.origin, span.origin + span.count):
            for record in batch.records():
                shift = record.offset - place
                yield msgspec.structs.replace(
                    record, offset=place, source=Source(state.name, shift)
                )
                place += 1


def describe(catalog: Catalog, worked: Worked) -> MergePlan:
    """The plan as the public surface shows it: by names."""

    def named(head: Head) -> Position:
        return Position(catalog.record(head[0]).name, head[1])

    return MergePlan(
        base=None if worked.base is None else named(worked.base),
        policy=worked.policy,
        version=worked.version,
        params=_named_params(catalog, worked),
        spans=tuple((named((span.stream, span.origin)), span.count) for span in worked.spans),
        base_uid="" if worked.base is None else catalog.record(worked.base[0]).uid,
    )


def recorded_plan(catalog: Catalog, record: Merge) -> MergePlan:
    """The plan a merge was made by."""
    return describe(
        catalog,
        Worked(
            heads=record.parents,
            base=record.base,
            policy=record.policy,
            version=record.version,
            params=record.params,
            spans=from_plan(record.plan),
        ),
    )


def _named_params(catalog: Catalog, worked: Worked) -> dict[str, Scalar]:
    if worked.policy != "select":
        return worked.params
    place = worked.params["selected"]
    return {"selected": catalog.record(worked.heads[int(place or 0)][0]).name}


def check_heads(heads: Sequence[Head], parents: Parents) -> tuple[Head, ...]:
    """Two or more heads of distinct streams, or `InvalidInputError`."""
    if len(heads) < 2:
        raise InvalidInputError(f"a merge takes two parents or more, not {len(heads)}")
    if len({stream for stream, _ in heads}) != len(heads):
        names = [parents.record(stream).name for stream, _ in heads]
        raise InvalidInputError(f"a merge takes distinct streams, not {names}")
    return tuple(heads)


def head_at(handle: Handle, state: StreamState, offset: int, lowest: int = 0) -> Head:
    """The position as (id, offset), when the stream has a record there; -1 if `lowest` allows."""
    check_place(state.name, offset, lowest, handle.next_offset(state))
    return state.id, offset


def fork_offset(name: str, at: int | None, stop: int) -> int:
    """The fork offset for a branch at `at`, or at the head, of a stream with `stop` records."""
    if at is None:
        return stop - 1
    if not 0 <= at < stop:
        held = f"0 to {stop - 1}" if stop else "none: it is empty"
        raise OffsetError(f"{name}: cannot fork at offset {at}; its offsets are {held}")
    return at


def check_shown(state: StreamState, merge_id: str | None, life: Life | None) -> None:
    """`AlreadyExistsError` for a merge that was made before and is hidden."""
    if life is not None and life.hidden:
        raise AlreadyExistsError(
            f"merge id {merge_id!r} made stream {state.name!r}, which is hidden: show it, or give "
            f"another merge_id"
        )


def check_place(name: str, offset: int, lowest: int, count: int) -> None:
    """`OffsetError` unless a stream with `count` records has one there; -1 if `lowest` allows."""
    if type(offset) is not int:
        raise InvalidInputError(f"{name}: offset must be int, not {type(offset).__name__}")
    if not lowest <= offset < count:
        raise OffsetError(f"{name} has no offset {offset}; it has {count} records")


def merge_record(
    parents: Parents, name: str, worked: Worked, merge_id: str | None, metadata: dict[str, Scalar]
) -> Merge:
    """The lineage record of a merge; without an id it gets one that says how it was made."""
    codecs = {parents.record(stream).codec for stream, _ in worked.heads}
    record = Merge(
        name=name,
        merge_id=merge_id or "",
        parents=worked.heads,
        base=worked.base,
        policy=worked.policy,
        version=worked.version,
        params=worked.params,
        plan=to_plan(worked.spans),
        metadata=metadata,
        codec=codecs.pop() if len(codecs) == 1 else None,
    )
    return record if merge_id else msgspec.structs.replace(record, merge_id=default_id(record))


def default_id(merge: Merge) -> str:
    """The merge id of a merge that was given none: a digest of all that decides its result."""
    decided = (
        merge.name, merge.parents, merge.base, merge.policy, merge.version, merge.params,
    )  # fmt: skip
    return digest(msgspec.json.encode(decided, order="sorted")).hex()
