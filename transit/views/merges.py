"""What a merged stream begins with where its view says "three-way".

The state after the records that a merge inherits is then made of the states of its parents, not of
the records in their merged order: a row that one side changed since the base is as that side has
it, one that both changed is what the table's `merge` makes of it. With more than two parents, one
after another in their declared order. Where the parents have no single base, or the merge does not
have each of their records once (policies "select" and "fast-forward", and others that leave some
out), the records are folded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transit import InvalidInputError, Stream
from transit.views.advancing import AnyView, Children, Settled
from transit.views.errors import ReducerError
from transit.views.folding import ERRORS_MAX, Skipped
from transit.views.histories import Origin, common_count, offsets_of, origin_of
from transit.views.maps.map import Map
from transit.views.nodes import StateNodes
from transit.views.overlay import flushed, writable
from transit.views.pack import new_below
from transit.views.rows import Row
from transit.views.tables import INDEXES, MEMORY, NUMBERS, Table


def is_three_way(view: AnyView, stream: Stream) -> bool:
    """Whether a stream begins with what its parents' states come to."""
    return (
        view.program.spec.merge == "three-way"
        and stream.kind == "merge"
        and _base_count(view, stream) is not None
    )


def _base_count(view: AnyView, stream: Stream) -> int | None:
    """How many records all parents of a merge begin with; None where records are folded."""
    plan, heads = stream.merge_plan, stream.parents
    if plan is None or len(heads) < 2 or plan.policy in ("select", "fast-forward"):
        return None
    lineage = view.log.lineage
    parents = lineage.parents(stream)
    if plan.base is None:
        count = 0
    elif len(lineage.merge_bases(heads[0], heads[1])) > 1:
        return None
    else:
        count = plan.base.offset + 1
    own = sum(head.offset + 1 - count for head in heads)
    shared = all(common_count(view.log, stream, each) >= count for each in parents)
    return count if shared and count + own == stream.own_start else None


def three_way(view: AnyView, stream: Stream) -> Settled:
    """The state that a merged stream begins with; `ReducerError` where there is none."""
    count = _base_count(view, stream)
    assert count is not None
    parents = view.log.lineage.parents(stream)
    base = view.reach(parents[0], count)
    sides = [
        view.reach(parent, head.offset + 1)
        for parent, head in zip(parents, stream.parents, strict=True)
    ]
    fresh: dict[bytes, bytes] = {}
    for each in (base, *sides):
        fresh.update(each.nodes.fresh)
    nodes = StateNodes(fresh, sides[0].nodes.recorded, sides[0].nodes.again)
    merging = _Merging(view, base.map, Map(nodes, sides[0].root))
    try:
        for each in sides[1:]:
            merging.take(each.map)
    except Exception as error:
        # Whatever a table's `merge` raises: the view stands before what was merged.
        raise ReducerError(stream.name, stream.own_start, f"three-way: {error}") from error
    root = merging.map.root
    order = new_below(root, fresh, Children(fresh))
    applied = sum(each.applied - base.applied for each in sides) + base.applied
    kept = {each: fresh[each] for each in order}
    settled = view.settle(stream, stream.own_start, root, kept, applied)
    settled.skipped = _skipped(view, stream, parents)
    return settled


def _skipped(view: AnyView, stream: Stream, parents: Sequence[Stream]) -> tuple[Skipped, ...]:
    """What the sides skipped, at the offsets where the merged stream has it."""
    if view.program.spec.on_error != "skip":
        return ()
    reasons: dict[Origin, str] = {}
    for parent, head in zip(parents, stream.parents, strict=True):
        skipped = list(view.skipped(parent, head.offset + 1))
        if skipped:
            spans = view.log.lineage.spans(parent)
            reasons.update((origin_of(spans, offset), why) for offset, why in skipped)
    if not reasons:
        return ()
    places = offsets_of(view.log.lineage.spans(stream), reasons)
    return tuple((offset, reasons[origin]) for offset, origin in places)[:ERRORS_MAX]


class _Merging:
    """Takes what sides changed since the base into the state of the first of them."""

    def __init__(self, view: AnyView, base: Map, map_: Map) -> None:
        self._program = view.program
        self._base = base
        self.map = map_
        self._tables = writable(view.program.tables, map_)
        self._changed = {key for key, _, _ in base.diff(map_)}

    def take(self, side: Map) -> None:
        """Take up a side."""
        changed = set()
        numbers: dict[bytes, bytes | None] = {}
        rows: dict[bytes, Row | None] = {}
        for key, before, after_ in self._base.diff(side):
            changed.add(key)
            if key < INDEXES:
                rows[key] = self._merged(key, before, after_)
            elif NUMBERS <= key < MEMORY:
                numbers[key] = max(after_ or b"", self.map.get(key) or b"")
        self._put(rows)
        self.map = flushed(self._tables, self.map)
        if numbers:
            self.map = self.map.edit(numbers)
            for each in self._tables:
                each.go_on(self.map)
        self._changed |= changed

    def _merged(self, key: bytes, before: bytes | None, side: bytes | None) -> Row | None:
        declared = self._program.tables[key[1]]
        row: Row | None = _row(declared, side)
        if key not in self._changed:
            return row
        assert declared.merge is not None
        row = declared.merge(_row(declared, before), _row(declared, self.map.get(key)), row)
        if row is not None and declared.encode_key(declared.key_of(row)) != key[2:]:
            raise InvalidInputError(f"table {declared.name}: its merge gave another key: {row!r}")
        return row

    def _put(self, rows: Mapping[bytes, Row | None]) -> None:
        # All are taken away first: what is unique may have gone from one row to another.
        for key in rows:
            declared = self._program.tables[key[1]]
            held = _row(declared, self.map.get(key))
            if held is not None:
                self._tables[key[1]].delete(declared.key_of(held))
        for key, row in rows.items():
            if row is not None:
                self._tables[key[1]].put(row)


def _row(declared: Table, data: bytes | None) -> Row | None:
    return None if data is None else declared.row.decode(data, f"table {declared.name}")
