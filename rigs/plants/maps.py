"""Planted bugs of ordered maps: what `rigs.views.histories` must find (see `rigs.plants`).

They are planted before the rig is imported. They are not among the engine's plants, which crashes
and faults find.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from xxhash import xxh32_intdigest

from rigs.plants.replacing import replace
from transit.views.maps import cutting, differing, editing, map, node, walking
from transit.views.maps.cutting import Child, Row
from transit.views.maps.differing import Change
from transit.views.maps.editing import Edit
from transit.views.maps.map import Map, Resolve
from transit.views.maps.node import Node, Shelf
from transit.views.maps.walking import Walk


def no_boundary_at_the_largest_size() -> None:
    """A node ends where a checksum says so, however large it is by then."""
    replace(cutting, "SIZE_MAX", 1 << 40)


def boundary_below_the_smallest_size() -> None:
    """A node may end after its first entry."""
    replace(cutting, "SIZE_MIN", 0)


def parents_of_one_child() -> None:
    """A node above level 0 may end after its first child."""
    replace(cutting, "CHILDREN_MIN", 1)


def level_not_in_the_checksum() -> None:
    """A key that ends a leaf is likely to end the node above as well."""
    replace(cutting, "xxh32_intdigest", lambda key, level: xxh32_intdigest(key, 0))


def overhead_not_counted() -> None:
    """Of an entry only key and value count."""
    replace(cutting, "_AROUND_ENTRY", 0)


def last_node_of_a_level_lost() -> None:
    """What is left behind the last boundary goes into no node, but where it is all there is."""
    rest = Row.rest

    def wrong(row: Row) -> list[Node]:
        return rest(row) if row.level or len(row.keys) > 20 else []

    replace(Row, "rest", wrong)


def last_node_cut_off_too_early() -> None:
    """The last node below one parent is taken for the last of its level."""

    def wrong(walk: Walk) -> bool:
        return not walk._path or walk._path[-1][1] == len(walk._path[-1][0].keys) - 1

    replace(Walk, "is_last", property(wrong))


def _root_of(after: Callable[[Any, int, Sequence[Child]], bytes | None]) -> None:
    """Another root where `after` says one."""
    found = editing._root_of

    def wrong(made: Any, level: int, nodes: Sequence[Child]) -> bytes:
        other = after(made, level, nodes)
        return found(made, level, nodes) if other is None else other

    replace(editing, "_root_of", wrong)


def empty_map_has_a_node() -> None:
    """A map whose last entry goes has an empty leaf for a root."""
    empty = Node(0, (), (), ())
    _root_of(lambda made, level, nodes: None if nodes else made.add(empty).digest)


def single_children_not_collapsed() -> None:
    """A root may have a single child."""
    _root_of(lambda made, level, nodes: nodes[0].digest if len(nodes) == 1 else None)


def collapsed_by_one_level_only() -> None:
    """A root that has a single child makes room for it, whatever that is."""

    def once(made: Any, level: int, nodes: Sequence[Child]) -> bytes | None:
        if len(nodes) != 1 or not level:
            return None
        top = made.node(nodes[0].digest)
        if len(top.keys) > 1:
            return None
        made.drop(nodes[0].digest)
        return bytes(top.values[0])

    _root_of(once)


def collapsed_nodes_saved() -> None:
    """Nodes that turn out not to be needed are saved all the same."""
    replace(editing._Made, "drop", lambda made, digest: None)


def unchanged_leaf_lost_in_growing() -> None:
    """When a map grows by a level, what stayed as it was is not put below the new root."""
    made_again = editing._Level.nodes

    def wrong(level: Any) -> list[Child]:
        before: dict[bytes, bytes] = level._before
        found = made_again(level)
        return [one for one in found if before.get(one.key) != one.digest]

    replace(editing._Level, "nodes", wrong)


def emptied_node_kept() -> None:
    """A leaf whose entries all go stays, without entries."""
    rest = Row.rest

    def wrong(row: Row) -> list[Node]:
        return rest(row) or ([] if row.level else [Node(0, (), (), ())])

    replace(Row, "rest", wrong)


def in_step_too_early() -> None:
    """Behind the node that changed, all is taken to be as it was, boundary or not."""

    def wrong(level: Any, edits: Sequence[Edit], place: int) -> int:
        walk, row = level._walk, Row(level._level)
        found = walk.seek(edits[place][0])
        last = found.keys[-1]
        stop = len(edits) if walk.is_last else bisect_right(edits, last, place, key=lambda e: e[0])
        level._before[last] = walk.digest
        editing._spread(row, found, edits[place:stop])
        level._add(row.cut())
        level._add(row.rest())
        return stop

    replace(editing._Level, "_run", wrong)


def other_sizes_overwritten() -> None:
    """A value of another size is put in place of the old one, and no boundary looked at."""

    def wrong(found: Node, edits: Sequence[Edit]) -> Node | None:
        values, counts = list(found.values), list(found.counts)
        for key, entry in edits:
            place = bisect_left(found.keys, key)
            if entry is None or found.keys[place : place + 1] != (key,):
                return None
            values[place] = entry[0]
            if counts:
                counts[place] = entry[1]
        return Node(found.level, found.keys, tuple(values), tuple(counts))

    replace(editing, "_overwritten", wrong)


def deletions_forgotten() -> None:
    """A key that goes together with others that come stays."""
    spread = editing._spread

    def wrong(row: Row, found: Node, edits: Sequence[Edit]) -> None:
        some = [edit for edit in edits if edit[1] is not None or row.level]
        spread(row, found, some or edits)

    replace(editing, "_spread", wrong)


def counts_not_changed() -> None:
    """A parent's count stays as it was while its child has more or fewer entries."""
    overwritten = editing._overwritten

    def wrong(found: Node, edits: Sequence[Edit]) -> Node | None:
        made = overwritten(found, edits)
        return made and Node(made.level, made.keys, made.values, found.counts)

    replace(editing, "_overwritten", wrong)


def equal_nodes_saved_again() -> None:
    """A node that came out as it was is new to the level above, and is saved."""

    def wrong(level: Any) -> list[Edit]:
        gone: list[Edit] = [(key, None) for key in level._before if key not in level._after]
        here = [(key, (child.digest, child.below)) for key, child in level._after.items()]
        return sorted([*gone, *here], key=lambda edit: edit[0])

    replace(editing._Level, "_differences", wrong)


Differences = Callable[[tuple[Shelf, bytes], tuple[Shelf, bytes]], Iterator[Change]]


def diff_ends_at_an_equal_child() -> None:
    """The first nodes that both maps have end the search."""
    skip = differing._Side.skip

    def wrong(side: Any) -> None:
        was = side.rank
        skip(side)
        if was >= 0 and len(side._path) == 2:
            side._path.clear()
            side.rank = differing._DONE

    replace(differing._Side, "skip", wrong)


def diff_without_what_went() -> None:
    """Keys that only the first map has are no difference."""
    found: Differences = differing.differences
    replace(
        map,
        "differences",
        lambda *sides: (one for one in found(*sides) if one.after is not None),
    )


def diff_opens_everything() -> None:
    """Equal nodes are opened and compared entry by entry."""

    def wrong(before: tuple[Shelf, bytes], after: tuple[Shelf, bytes]) -> Iterator[Change]:
        old, new = (dict(Map(*side).items()) for side in (before, after))
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                yield Change(key, old.get(key), new.get(key))

    replace(map, "differences", wrong)


def merge_takes_one_side() -> None:
    """What both changed differently is as the first one has it, and nobody is asked."""
    found = map.merge
    replace(map, "merge", lambda base, a, b, resolve: found(base, a, b, lambda k, was, x, y: x))


def merge_asks_when_both_agree() -> None:
    """A key that both changed alike is asked for."""

    def wrong(base: Map, a: Map, b: Map, resolve: Resolve) -> Map:
        ours = {change.key: change.after for change in base.diff(a)}
        changes = {
            key: resolve(key, before, ours[key], after) if key in ours else after
            for key, before, after in base.diff(b)
        }
        return a.edit(changes)

    replace(map, "merge", wrong)


def merge_forgets_deletions() -> None:
    """What the second one deleted stays."""

    def wrong(base: Map, a: Map, b: Map, resolve: Resolve) -> Map:
        kept = {change.key: change.before for change in base.diff(b) if change.after is None}
        return found(base, a, b.edit(kept), resolve)

    found = map.merge
    replace(map, "merge", wrong)


def stop_within_a_range() -> None:
    """A range has the key that it stops at."""
    items = Map.items

    def wrong(
        made: Map, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return items(made, start, None if stop is None else stop + b"\0", reverse=reverse)

    replace(Map, "items", wrong)


def _leaves(first_of: Callable[[Node, bytes], int], step_of: Callable[[int], int]) -> None:
    def wrong(
        shelf: Shelf, found: Node, start: bytes | None, stop: bytes | None, step: int
    ) -> Iterator[Node]:
        if not found.level:
            yield found
            return
        last = len(found.keys) - 1
        first = 0 if start is None else first_of(found, start)
        last = last if stop is None else min(last, bisect_left(found.keys, stop))
        for place in range(first, last + 1)[:: step_of(step)]:
            yield from wrong(shelf, shelf.child(found, place), start, stop, step)

    replace(walking, "leaves", wrong)


def range_misses_the_last_key_of_a_leaf() -> None:
    """A range that starts at a leaf's last key begins with the next leaf."""
    _leaves(lambda found, start: bisect_right(found.keys, start), lambda step: step)


def leaves_backwards_in_order() -> None:
    """Backwards, each leaf is read from its end, and the first leaf first."""
    _leaves(lambda found, start: bisect_left(found.keys, start), abs)


def rank_one_child_short() -> None:
    """To count, a child too few is added up."""

    def wrong(shelf: Shelf, found: Node, key: bytes) -> int:
        below = 0
        while True:
            place = bisect_left(found.keys, key)
            if not found.level:
                return below + place
            below += sum(found.counts[: place - 1])
            if place == len(found.keys):
                return below
            found = shelf.child(found, place)

    replace(walking, "rank", wrong)


def child_believed() -> None:
    """A child is whatever its digest leads to."""
    replace(Shelf, "child", lambda shelf, parent, place: shelf.node(parent.values[place]))


def digest_not_compared() -> None:
    """A node is what is kept under its digest."""

    def wrong(shelf: Shelf, digest: bytes) -> tuple[Node, int, int]:
        data = shelf.nodes.load(digest)
        found = node.decode_node(data, "node")
        return found, found.total, len(data)

    replace(Shelf, "_load", wrong)


def order_of_keys_not_checked() -> None:
    """A node's fields may be anything that has their types."""
    replace(node, "_problem", lambda found: "")


def other_spellings_taken() -> None:
    """A node may be spelled in several ways, each with a digest of its own."""

    def wrong(data: bytes, place: str, level: int | None = None) -> Node:
        if len(data) > node.NODE_BYTES_MAX:
            raise node._corrupt(place, "fewer bytes", "more")
        return decode(node.encode_node(node._decoder.decode(data)), place, level)

    decode = node.decode_node
    replace(node, "decode_node", wrong)


MAPS: Final[Mapping[str, Callable[[], None]]] = {
    plant.__name__: plant
    for plant in (
        no_boundary_at_the_largest_size,
        boundary_below_the_smallest_size,
        parents_of_one_child,
        level_not_in_the_checksum,
        overhead_not_counted,
        last_node_of_a_level_lost,
        last_node_cut_off_too_early,
        empty_map_has_a_node,
        single_children_not_collapsed,
        collapsed_by_one_level_only,
        collapsed_nodes_saved,
        unchanged_leaf_lost_in_growing,
        emptied_node_kept,
        in_step_too_early,
        other_sizes_overwritten,
        deletions_forgotten,
        counts_not_changed,
        equal_nodes_saved_again,
        diff_ends_at_an_equal_child,
        diff_without_what_went,
        diff_opens_everything,
        merge_takes_one_side,
        merge_asks_when_both_agree,
        merge_forgets_deletions,
        stop_within_a_range,
        range_misses_the_last_key_of_a_leaf,
        leaves_backwards_in_order,
        rank_one_child_short,
        child_believed,
        digest_not_compared,
        order_of_keys_not_checked,
        other_spellings_taken,
    )
}
