"""Merges: what is asked for, checked, and made by a call of its own or in a batch.

Leaves to `transit.engine.plans` what a merge yields, and to `transit.engine.staging` how it is
worked out beside other changes and written.

In a call of its own, streams stand for their heads when the call begins. In a batch they stand for
their heads when the batch is written, with all that it appends to them before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from transit.engine.checks import check_numbers
from transit.engine.creation import given_uid, new_name
from transit.engine.finding import Which, head_of
from transit.engine.plans import (
    MergePlan,
    Parents,
    check_heads,
    check_shown,
    describe,
    work_out,
)
from transit.engine.staging import Place, WantedMerge, stage_prepared
from transit.errors import InvalidInputError
from transit.format.lineage import Scalar, check_metadata
from transit.format.names import known_name
from transit.handle.handle import Handle
from transit.log.catalog import StreamState
from transit.replay import Position

T = TypeVar("T")


def wanted_merge(
    handle: Handle,
    name: str,
    policy: str,
    params: Mapping[str, Scalar] | None,
    metadata: Mapping[str, Scalar] | None,
    merge_id: str | None,
    layer: str | None,
    uid: str | None,
) -> WantedMerge:
    """A merge asked for, all but its parents, base and conditions; checked."""
    catalog = handle.catalog
    if layer is None:
        name = known_name(name, "stream name", lambda text: catalog.find(text) is not None)
    else:
        name = new_name(name, layer)
    if merge_id is not None:
        merge_id = known_name(
            merge_id, "merge id", lambda text: catalog.find_merge(text) is not None
        )
    # A copy: what the caller does to them before its batch is written must not reach the merge.
    kept = dict(params) if isinstance(params, Mapping) else params
    checked, given = check_metadata(metadata, name), given_uid(uid)
    return WantedMerge(name, policy, kept, checked, merge_id, (), given)


def made_before(handle: Handle, wanted: WantedMerge) -> StreamState | None:
    """The stream that was made by a merge of this id and name; None when there is none."""
    if wanted.merge_id is None:
        return None
    made = handle.catalog.find_merge(wanted.merge_id)
    if made is None or handle.catalog.record(made).name != wanted.name:
        return None
    return handle.catalog.state(made)


def check_sequence(parents: Sequence[T]) -> Sequence[T]:
    """`parents`; `InvalidInputError` unless they are a sequence of several."""
    if isinstance(parents, str | bytes) or not isinstance(parents, Sequence):
        raise InvalidInputError("parents must be a sequence of streams, names or positions")
    return tuple(parents)


def check_expectations(expect: Sequence[int | None] | None, count: int) -> Sequence[int | None]:
    """The next offset expected of each of `count` parents, or None; or `InvalidInputError`."""
    if expect is None:
        return (None,) * count
    if isinstance(expect, str | bytes) or not isinstance(expect, Sequence) or len(expect) != count:
        raise InvalidInputError(
            f"expect must be a sequence of {count}, one a parent: its next offset, or None"
        )
    for each in expect:
        check_numbers(None, each)
    return tuple(expect)


def create_merge(
    handle: Handle,
    wanted: WantedMerge,
    parents: Sequence[Which],
    base: Position | None,
    expect: Sequence[int | None] | None,
    durability: str | None,
) -> StreamState:
    """The stream of a merge of heads as they are now; the one there is if it was made before."""
    level = handle.level_of(durability)
    made = made_before(handle, wanted)
    if made is not None:
        check_shown(made, wanted.merge_id, made.life)
        handle.acknowledge(None, level)
        return made
    handle.refresh()
    heads = [_place(handle, parent, -1) for parent in check_sequence(parents)]
    given = None if base is None else _place(handle, base, 0)
    wanted = wanted._replace(expect=check_expectations(expect, len(heads)))
    state, written = stage_prepared(
        handle,
        lambda staging: staging.merge(wanted, heads, given),
        lambda staging: staging.prepare_merge(wanted, heads, given),
    )
    # What is there already may have been written with a weaker durability.
    handle.acknowledge(written, level)
    return state


def plan_merge(
    handle: Handle,
    parents: Sequence[Which],
    policy: str,
    base: Position | None,
    params: Mapping[str, Scalar] | None,
) -> MergePlan:
    """What a merge of heads as they are now would make."""
    handle.refresh()
    catalog = handle.catalog
    there = Parents(catalog)
    # A parent may be the empty beginning of a stream, as `Stream.parents` shows it; a base not.
    heads = [head_of(handle, parent, -1)[1] for parent in check_sequence(parents)]
    given = None if base is None else head_of(handle, base, 0)[1]
    return describe(catalog, work_out(there, check_heads(heads, there), policy, given, params))


def _place(handle: Handle, x: Which, lowest: int) -> Place:
    state, (_, offset) = head_of(handle, x, lowest)
    return state, offset
