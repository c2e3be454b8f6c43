"""Families: what runs come to together with the runs begun inside them.

Each run has one parent at most, so that they are trees, and rings where metadata says what cannot
be: of these every run has all the others below it. Each run counts once. Nothing here recurses:
a chain may be of any length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from transit.trace.events import Totals
from transit.trace.sums import Sums

Ids = Mapping[str, list[str]]


def below(roots: Iterable[str], children: Ids) -> list[str]:
    """The roots and all their descendants, each once."""
    found = dict.fromkeys(roots)
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found[child] = None
                waiting.append(child)
    return list(found)


def rolled_up(
    roots: Iterable[str],
    children: Ids,
    parents: Mapping[str, str],
    totals_of: Callable[[str], Totals],
) -> dict[str, Totals]:
    """The totals of the roots, and of all below them, each with those of its descendants.

    children, parents: by id. What is `evaluations` stays each run's own.
    """
    members = below(roots, children)
    waiting = {each: len(children.get(each, ())) for each in members}
    found: dict[str, Totals] = {}
    ready = [each for each in members if not waiting[each]]
    while ready:
        each = ready.pop()
        kept = (found[child] for child in children.get(each, ()))
        found[each] = _sum_of(totals_of(each), kept)
        parent = parents.get(each)
        if parent in waiting:
            waiting[parent] -= 1
            if not waiting[parent]:
                ready.append(parent)
    for ring in _rings([each for each in members if each not in found], parents):
        known = [found[c] for each in ring for c in children.get(each, ()) if c in found]
        own = {each: totals_of(each) for each in ring}
        together = _added([*own.values(), *known])
        for each in ring:
            found[each] = msgspec.structs.replace(together, evaluations=own[each].evaluations)
    return found


def _rings(members: list[str], parents: Mapping[str, str]) -> Iterator[list[str]]:
    """Runs that are, in the end, their own parents: each ring of them."""
    seen: set[str] = set()
    for start in members:
        ring: list[str] = []
        each = start
        while each not in seen:
            seen.add(each)
            ring.append(each)
            each = parents[each]
        if ring:
            yield ring


def _sum_of(own: Totals, others: Iterable[Totals]) -> Totals:
    rest = list(others)
    if not rest:
        return own
    return msgspec.structs.replace(_added([own, *rest]), evaluations=own.evaluations)


def _added(several: Iterable[Totals]) -> Totals:
    sums = Sums()
    for each in several:
        sums.go_on(each)
    return sums.totals()
