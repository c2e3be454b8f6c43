"""Tools about how histories hang together: `why`, `diff`, `graph`, and `verify` of all bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from transit import (
    HistorySpan,
    NotFoundError,
    Position,
    ProvenanceStep,
    Stream,
)
from transit.server.access import READ
from transit.server.mcp.arguments import Diff, Graph, Place, Verify, Why
from transit.server.mcp.calling import Caller
from transit.server.mcp.pages import Item, Page, numbered
from transit.server.mcp.records import moment


async def why(caller: Caller, given: Why) -> Item:
    """How a record got where it is."""
    stream = caller.stream(given.stream)

    def work() -> Item:
        found = caller.log.lineage.why(Position(stream.name, given.offset))
        head: Item = {
            "record": _place(caller, found.position),
            "appended": _place(caller, found.origin),
            "time": moment(found.timestamp),
            "written": moment(found.written),
            "file": found.place.file,
            "position": found.place.position,
            "local": found.place.local,
            "commit": None
            if found.commit is None
            else {"number": found.commit.number, "root": found.commit.root},
            "published": found.published,
        }
        steps = (_step(caller, step) for step in found.path)
        return numbered(head, "path", steps, given.skip, given.limit)

    return await caller.room.service.read(work)


def _place(caller: Caller, position: Position) -> Item:
    return {"stream": caller.shown(position.stream), "offset": position.offset}


def _step(caller: Caller, step: ProvenanceStep) -> Item:
    if not caller.sees(step.stream):
        return {"stream": None, "offset": step.offset, "kind": step.kind}
    item: Item = {"stream": step.stream, "offset": step.offset, "kind": step.kind}
    if step.fork_offset is not None:
        item["fork_offset"] = step.fork_offset
    if step.merge is not None:
        item["policy"] = step.merge.policy
        item["parents"] = [_place(caller, parent) for parent in step.merge.parents]
    return {**item, "metadata": dict(step.metadata)}


async def diff(caller: Caller, given: Diff) -> Item:
    """Which records only one of two histories has."""
    a, b = _head(caller, given.a), _head(caller, given.b)

    def work() -> Item:
        found = caller.log.lineage.diff(a, b)
        head: Item = {
            "common": found.common,
            "nearest_common": [_place(caller, base) for base in found.bases],
            "only_in_a": sum(span.count for span in found.left),
            "only_in_b": sum(span.count for span in found.right),
        }
        spans = (*_spans(caller, "a", found.left), *_spans(caller, "b", found.right))
        return numbered(head, "spans", spans, given.skip, given.limit)

    return await caller.room.service.read(work)


def _head(caller: Caller, place: Place) -> Stream | Position:
    stream = caller.stream(place.stream)
    return stream if place.offset is None else Position(stream.name, place.offset)


def _spans(caller: Caller, side: str, spans: Iterable[HistorySpan]) -> Iterator[Item]:
    for span in spans:
        yield {
            "only_in": side,
            "first": span.first,
            "count": span.count,
            "appended": _place(caller, span.origin),
        }


async def graph(caller: Caller, given: Graph) -> Item:
    """How streams descend from one another."""
    chosen = None if given.stream is None else caller.stream(given.stream)
    return await caller.room.service.read(lambda: _graphed(caller, given, chosen))


def _graphed(caller: Caller, given: Graph, chosen: Stream | None) -> Item:
    found = caller.log.lineage.graph()
    parents: defaultdict[int, list[Item]] = defaultdict(list)
    for edge in found.edges:
        parents[edge.child_id].append(_place(caller, Position(edge.parent, edge.offset)))
    family = None if chosen is None else found.family([chosen.id])
    nodes = [
        node
        for node in found.nodes
        if caller.sees(node.name) and (family is None or node.id in family)
    ]
    page, last = Page({"count": len(nodes)}, "streams"), given.after
    for node in nodes:
        if given.after is not None and node.id <= given.after:
            continue
        item: Item = {"stream": node.name, "number": node.id, "kind": node.kind}
        if node.hidden:
            item["hidden"] = True
        else:
            item |= _sizes(caller, node.name)
        item |= {"first_own": node.start, "parents": parents[node.id]}
        if len(page) >= given.limit or not page.take(item):
            return page.answer({"after": last})
        last = node.id
    return page.answer(None)


def _sizes(caller: Caller, name: str) -> Item:
    try:
        stream = caller.log.stream(name)
    except NotFoundError:
        # Hidden meanwhile.
        return {"hidden": True}
    return {"finished": stream.finished, "records": len(stream)}


async def verify(caller: Caller, given: Verify) -> Item:
    """Every byte of the store, read again."""
    caller.grant.check(READ, "")

    async with caller.room.heavy:
        report = await caller.room.service.read(caller.log.verify)
    head = {
        "ok": report.ok,
        "stage": report.stage,
        "checked": dict(report.counts),
        "head": report.head,
    }
    findings = (
        {"place": each.place, "expected": each.expected, "found": each.found}
        for each in report.findings
    )
    return numbered(head, "findings", findings, given.skip, given.limit)
