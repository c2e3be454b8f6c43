"""Merge policies: what the history of a merged stream is, from its parents' histories.

Owns the table of policies and their versions, the meaning of each, and which base a merge has.
Leaves to others: names (here a stream is its id and a selected parent its place in the list of
heads), the registry of custom orders, whether the heads exist and are of distinct streams, and
reading timestamps.

    fast-forward  the history of the first head that contains all others
    select        the history of one parent, params {"selected": place in heads}
    append        base, then each parent's suffix in declared order
    interleave    base, then all suffixes by timestamp, ties by declared order
    base          base
    custom:<name> base, then what a registered callable makes of the suffixes

"base" is the history up to and including the merge base, empty when there is none. A parent's
suffix is its history without the records of the base and of the suffixes before it.

Invariants: a plan is a pure function of the parents' immutable records, the base and the
parameters; every record in it is a parent's or the base's, and is in it once. Changing what a
policy yields for any input needs a new version: verifiers run recorded merges again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, chain, count, groupby, islice
from operator import sub
from types import MappingProxyType
from typing import Final

import msgspec

from transit.errors import InvalidInputError, MergeBaseError, NotFastForwardError, NotFoundError
from transit.format.lineage import Scalar, check_metadata
from transit.lineage.graph import Graph
from transit.lineage.spans import (
    Coverage,
    Position,
    Span,
    concatenate,
    lay,
    subtract,
    total,
    window,
)

POLICIES: Final[Mapping[str, int]] = MappingProxyType(
    {"fast-forward": 1, "select": 1, "append": 1, "interleave": 1, "base": 1}
)
"""Built-in policies and the version of what each yields."""

CUSTOM_PREFIX: Final = "custom:"

Suffixes = tuple[tuple[Span, ...], ...]
Timestamps = Callable[[Span], Sequence[int]]
"""The timestamps of a span's records, one for each, in order."""
Order = Callable[[Suffixes], Iterable[Position]]
"""What a custom policy does: the origins of the records to keep, in their new order."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A merge asked for, with its `base` as `resolve_base` gave it."""

    policy: str
    heads: tuple[Position, ...]
    base: Position | None
    params: Mapping[str, Scalar] = {}


def plan(
    request: Request, graph: Graph, timestamps: Timestamps, order: Order | None = None
) -> tuple[Span, ...]:
    """The merged history. `timestamps` serves interleave, `order` a custom policy.

    Raises `NotFoundError` for a policy that is unknown or, being custom, comes without `order`;
    `InvalidInputError` for wrong parameters or a wrong order; `NotFastForwardError`.
    """
    policy, heads = request.policy, request.heads
    params = check_params(policy, request.params, len(heads))
    if policy == "fast-forward":
        return fast_forward(graph, heads)
    if policy == "select":
        return select(graph, heads, params)
    inherited = () if request.base is None else history(graph, request.base)
    if policy == "base":
        return inherited
    parts = suffixes(graph, heads, inherited)
    if policy == "append":
        return concatenate(inherited, *parts)
    if policy == "interleave":
        return concatenate(inherited, interleave(parts, timestamps))
    if order is None:
        raise NotFoundError(f"merge policy {policy!r} is not registered here")
    return concatenate(inherited, custom(parts, order))


def resolve_base(
    graph: Graph, heads: Sequence[Position], given: Position | None
) -> Position | None:
    """The base of a merge by its canonical name: the nearest, or `given` when all heads have it.

    `MergeBaseError` when `given` is not a common ancestor. A name that not all heads share, inside
    a merge, stands for its record alone.
    """
    if given is None:
        return graph.merge_base(heads)
    if given[1] >= 0:
        shared = graph.common(heads)
        for stream, offset in (graph.canonical(*given), graph.origin(*given)):
            if shared.get(stream, -1) >= offset:
                return stream, offset
    raise MergeBaseError(f"merge base {given} is not an ancestor of every head of {list(heads)}")


def check_policy(policy: str) -> None:
    """`NotFoundError`, naming the policies there are, unless `policy` is built in or custom."""
    if policy in POLICIES or (policy.startswith(CUSTOM_PREFIX) and policy != CUSTOM_PREFIX):
        return
    known = ", ".join([*POLICIES, f"{CUSTOM_PREFIX}<name>"])
    raise NotFoundError(f"no merge policy {policy!r}; there are: {known}")


def check_params(
    policy: str, params: Mapping[str, Scalar], parents_count: int
) -> dict[str, Scalar]:
    """A plain copy of `params`; `InvalidInputError` unless they are what `policy` takes."""
    check_policy(policy)
    checked = check_metadata(params, f"parameters of merge policy {policy!r}")
    if policy == "select":
        _selected(checked, parents_count)
    elif checked and policy in POLICIES:
        raise InvalidInputError(f"merge policy {policy!r} takes no parameters, not {checked}")
    return checked


def history(graph: Graph, head: Position) -> tuple[Span, ...]:
    """The records up to and including `head`."""
    return graph.history(head[0], head[1] + 1)


def suffixes(graph: Graph, heads: Sequence[Position], inherited: Sequence[Span]) -> Suffixes:
    """For each head its history without `inherited` and without the suffixes before it."""
    taken = Coverage()
    taken.take(inherited)
    return tuple(taken.take(history(graph, head)) for head in heads)


def fast_forward(graph: Graph, heads: Sequence[Position]) -> tuple[Span, ...]:
    """The history of the first head that contains all others, else `NotFastForwardError`."""
    head = graph.containing(heads)
    if head is None:
        raise NotFastForwardError("no head contains all the others: choose another merge policy")
    return history(graph, head)


def select(
    graph: Graph, heads: Sequence[Position], params: Mapping[str, Scalar]
) -> tuple[Span, ...]:
    """The history of the one parent that `params` name."""
    return history(graph, heads[_selected(params, len(heads))])


def interleave(parts: Suffixes, timestamps: Timestamps) -> tuple[Span, ...]:
    """All records by timestamp, ties by parent; no parent's own order ever changes.

    A record whose timestamp is behind one before it in the same suffix counts as that late too.
    """
    # Memory: about 100 bytes for each record of the suffixes while this runs, for two lists of
    # integers and the sort's copy of the keys. Every step over single records runs in C; the sort
    # sees one ascending run for each parent, so it merges rather than sorts.
    keys: list[int] = []
    for part in parts:
        keys.extend(accumulate(chain.from_iterable(map(timestamps, part)), max))
    # Places are counted through all suffixes, so a stable sort settles ties by parent and offset.
    places = sorted(range(len(keys)), key=keys.__getitem__)
    together = concatenate(*parts)
    return lay(
        span.run for start, stop in _consecutive(places) for span in window(together, start, stop)
    )


def custom(parts: Suffixes, order: Order) -> tuple[Span, ...]:
    """What `order` makes of the suffixes: any of their records in any order, each at most once."""
    limit = sum(map(total, parts))
    chosen = list(islice(order(parts), limit + 1))
    ordered = lay((stream, offset, 1) for stream, offset in chosen)
    foreign = subtract(ordered, parts)
    if foreign:
        raise InvalidInputError(
            f"custom merge order: offset {foreign[0].origin} of stream {foreign[0].stream}"
            " is in none of the suffixes"
        )
    if total(Coverage().take(ordered)) != len(chosen):
        raise InvalidInputError("custom merge order: a record is there more than once")
    return ordered


def _selected(params: Mapping[str, Scalar], parents_count: int) -> int:
    place = params.get("selected")
    if set(params) != {"selected"} or not isinstance(place, int) or isinstance(place, bool):
        raise InvalidInputError(f'merge policy "select" takes "selected", a parent, not {params}')
    if not 0 <= place < parents_count:
        raise InvalidInputError(f"parent {place} selected of {parents_count}")
    return place


def _consecutive(places: Sequence[int]) -> Iterable[tuple[int, int]]:
    """The maximal runs of places each one more than the last, as (start, stop)."""
    done = 0
    for _, run in groupby(map(sub, places, count())):
        size = sum(1 for _ in run)
        yield places[done], places[done] + size
        done += size
