"""What a store shows beside what the model says, as plain values, with asserts.

Everything a reader can see is compared here; the machines decide when. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import transit
from transit.errors import TransitError
from transit.testing.model import ModelLog, ModelPosition, ModelRecord, shown

Plain = tuple[int, int, bytes, dict[str, str], tuple[str, int]]
Node = ModelPosition | str
"""A position, or a whole stream by its name."""


def plain_record(record: transit.Record | ModelRecord) -> Plain:
    """A record of either side as values that compare."""
    origin = (shown(record.origin.stream), record.origin.offset)
    return (record.offset, record.timestamp, record.payload, dict(record.headers), origin)


def plain_records(records: Iterable[transit.Record | ModelRecord]) -> list[Plain]:
    """Records of either side as values that compare."""
    return [plain_record(record) for record in records]


def plain_batch(batch: transit.Batch) -> list[tuple[int, int, bytes, dict[str, str]]]:
    """A batch as one tuple for each record, after its columns were held to one another."""
    offsets, payloads = list(batch.offsets), list(batch.payloads)
    ends = [int(end) for end in batch.ends]
    starts = [0, *ends[:-1]]
    data = bytes(batch.data)
    assert [data[a:b] for a, b in zip(starts, ends, strict=True)] == payloads
    column = batch.headers if batch.headers is not None else [None] * len(offsets)
    maps = [dict(each or {}) for each in column]
    written = list(batch.written)
    assert written == sorted(written)
    assert len(written) == len(offsets)
    assert [record.written for record in batch.records()] == written
    assert batch.writer == ""
    return list(zip(offsets, map(int, batch.timestamps), payloads, maps, strict=True))


def outcome(call: Callable[[], object]) -> object:
    """What a call returns, or the class of the transit error it raises."""
    try:
        return call()
    except TransitError as error:
        return type(error)


def compare_all(log: transit.Log, model: ModelLog) -> None:
    """Every stream, the list of them, and every cursor."""
    streams = list(log.streams())
    assert [stream.name for stream in streams] == list(model.streams)
    ids = [stream.id for stream in streams]
    assert ids == sorted(set(ids))
    assert len({stream.uid for stream in streams}) == len(streams)
    for stream in streams:
        compare_stream(log, model, stream)
    hidden = dict(zip(model.hidden, log.hidden(), strict=True)) if model.hidden else {}
    for (name, cursor), stands in model.cursors.items():
        stream = hidden[name] if name in hidden else log.stream(name)
        status = stream.cursor(cursor).status()
        assert (status.position, status.state) == stands
        assert status.lag == len(stream) - stands.position
    shown_cursors = {(each.stream, each.name) for each in log.cursors()}
    assert shown_cursors == {each for each in model.cursors if each[0] not in hidden}


def compare_name(log: transit.Log, model: ModelLog, name: str) -> None:
    """Everything one stream shows, found by its name, and its columns."""
    assert name in log
    stream = log.stream(name)
    compare_stream(log, model, stream)
    columns = [row for batch in stream.batches() for row in plain_batch(batch)]
    assert columns == [row[:4] for row in plain_records(model.stream(name).records)]


def compare_stream(log: transit.Log, model: ModelLog, stream: transit.Stream) -> None:
    """Everything one stream shows."""
    expected = model.stream(stream.name)
    count, wanted = len(expected.records), plain_records(expected.records[expected.first :])
    assert len(stream) == stream.next_offset == count
    assert stream.last_offset == (count - 1 if count else None)
    assert stream.first_offset == expected.first
    assert plain_records(stream.read()) == wanted
    if wanted:
        assert plain_record(stream[-1]) == wanted[-1]
        half = wanted[len(wanted) // 2]
        assert plain_record(stream[half[0]]) == half
    if expected.first:
        assert outcome(lambda: stream[expected.first - 1]) is transit.ErasedError
        assert outcome(lambda: list(stream.read(0))) is transit.ErasedError
    assert (stream.kind, stream.codec) == (expected.kind, expected.codec)
    assert dict(stream.metadata) == dict(expected.metadata)
    # Drawn by the engine: the first look tells which it is, and it stays that.
    expected.uid = expected.uid or stream.uid
    assert stream.uid == expected.uid
    # An offset names a record, so where nothing is inherited there is none.
    assert stream.fork_offset == (None if expected.fork == -1 else expected.fork)
    parents = [(shown(parent.stream), parent.offset) for parent in expected.parents]
    assert [(p.stream, p.offset) for p in stream.parents] == parents


def compare_range(stream: transit.Stream, model: ModelLog, start: int, stop: int | None) -> object:
    """A range read as records and as columns, which may lie outside; what came of it."""
    expected = outcome(lambda: plain_records(model.read(stream.name, start, stop)))
    assert outcome(lambda: plain_records(stream.read(start, stop))) == expected
    columns = outcome(lambda: [r for b in stream.batches(start, stop) for r in plain_batch(b)])
    if isinstance(expected, list):
        assert columns == [row[:4] for row in expected]
    else:
        assert columns == expected
    return expected


def real_node(log: transit.Log, model: ModelLog, node: Node) -> transit.Position | transit.Stream:
    """The engine's name of a node: a stream for a whole one, else a position."""
    if isinstance(node, str):
        return log.stream(node)
    if node == model.stream(node.stream).head:
        return log.stream(node.stream)
    return transit.Position(node.stream, node.offset)


def _model_nodes(model: ModelLog, nodes: Sequence[Node]) -> list[ModelPosition]:
    return [model.stream(node).head if isinstance(node, str) else node for node in nodes]


def compare_pair(log: transit.Log, model: ModelLog, a: Node, b: Node) -> None:
    """Every question the lineage answers about two nodes."""
    lineage = log.lineage
    nodes = _model_nodes(model, (a, b))
    real_a, real_b = real_node(log, model, a), real_node(log, model, b)
    bases = [transit.Position(*base) for base in model.merge_bases(*nodes)]
    assert list(lineage.merge_bases(real_a, real_b)) == bases
    assert lineage.merge_base(real_a, real_b) == (bases[0] if bases else None)
    assert lineage.is_ancestor(real_a, real_b) == model.is_ancestor(*nodes)
    assert lineage.is_ancestor(real_b, real_a) == model.is_ancestor(*nodes[::-1])
    for node, found in zip(nodes, (real_a, real_b), strict=True):
        assert {s.name for s in lineage.ancestors(found)} == model.ancestors(node)


def compare_family(log: transit.Log, model: ModelLog, name: str) -> None:
    """The parents and children of one stream, and of each of its positions."""
    stream, modelled = log.stream(name), model.stream(name)
    lineage = log.lineage
    assert [s.name for s in lineage.children(stream)] == model.children(name)
    found = [parent.name for parent in lineage.parents(stream)]
    assert found == [parent.stream for parent in modelled.parents]
    for offset in range(0, len(modelled.records), 7):
        containing = [
            other.name
            for other in model.streams.values()
            if any(p.stream == name and p.offset >= offset for p in other.parents)
        ]
        children = lineage.children(transit.Position(name, offset))
        assert [s.name for s in children] == containing


def compare_difference(log: transit.Log, model: ModelLog, a: Node, b: Node) -> None:
    """Which records two histories have in common, and where the records of each come from."""
    nodes = _model_nodes(model, (a, b))
    reals = [real_node(log, model, node) for node in (a, b)]
    histories = [[tuple(r.origin) for r in model.history(node)] for node in nodes]
    for real, origins in zip(reals, histories, strict=True):
        assert _unfolded(log.lineage.spans(real)) == list(enumerate(origins))
    left, right = (list(enumerate(origins)) for origins in histories)
    found = log.lineage.diff(*reals)
    assert _unfolded(found.left) == [row for row in left if row[1] not in histories[1]]
    assert _unfolded(found.right) == [row for row in right if row[1] not in histories[0]]
    assert found.common == len(set(histories[0]) & set(histories[1]))
    assert [tuple(p) for p in found.bases] == [tuple(p) for p in model.merge_bases(*nodes)]


def _unfolded(spans: Sequence[transit.HistorySpan]) -> list[tuple[int, tuple[str, int]]]:
    return [
        (span.first + place, (span.origin.stream, span.origin.offset + place))
        for span in spans
        for place in range(span.count)
    ]


def compare_why(log: transit.Log, model: ModelLog, position: ModelPosition) -> None:
    """How one record got where it is."""
    record = model.record(*position)
    found = log.lineage.why(transit.Position(*position))
    assert tuple(found.position) == tuple(position)
    assert tuple(found.origin) == tuple(record.origin)
    assert found.timestamp in (record.timestamp, None)
    first, last = found.path[0], found.path[-1]
    assert (first.stream, first.offset) == tuple(position)
    assert (last.stream, last.offset) == tuple(record.origin)
    for step in found.path:
        stream = model.stream(step.stream)
        assert (step.kind, dict(step.metadata)) == (stream.kind, dict(stream.metadata))
        assert model.record(step.stream, step.offset).origin == record.origin
    sealed = found.place.kind == "segment"
    assert (found.commit is not None) == sealed
    assert found.timestamp is not None or (sealed and not found.place.local)


def compare_graph(log: transit.Log, model: ModelLog) -> None:
    """All streams and their edges."""
    graph = log.lineage.graph()
    streams = model.streams.values()
    assert [(n.name, n.kind, n.start) for n in graph.nodes] == [
        (s.name, s.kind, s.start) for s in streams
    ]
    assert [(e.parent, e.offset, e.child) for e in graph.edges] == [
        (*parent, s.name) for s in streams for parent in s.parents
    ]


def compare_plan(
    found: transit.MergePlan, base: ModelPosition | None, origins: Sequence[ModelPosition]
) -> None:
    """A plan of the engine, and what the model says it names."""
    assert found.base == (None if base is None else transit.Position(*base))
    named = [
        (position.stream, position.offset + place)
        for position, count in found.spans
        for place in range(count)
    ]
    assert named == [tuple(origin) for origin in origins]
    assert found.count == len(named)
