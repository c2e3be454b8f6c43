"""Records by their headers: the same that a reader of all would keep."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

import transit
from transit import picking

KINDS: list[dict[str, str] | None] = [
    {"kind": "call", "n": "1"}, {"kind": "result"}, None, {"kind": "call"}, {"other": "call"},
]  # fmt: skip
WHERE: list[Mapping[str, Any]] = [
    {},
    {"kind": "call"},
    {"kind": {"call", "result"}},
    {"kind": ["call"], "n": "1"},
    {"kind": "nothing"},
    {"kind": ()},
    {"n": "1", "kind": "result"},
    {"other": "call"},
    {"kind": "all alike"},
]


@pytest.fixture(params=["wal", "sealed", "branch"])
def stream(request: pytest.FixtureRequest, log: transit.Log) -> transit.Stream:
    """Chunks of mixed headers, of one for all, of none, of runs, and of one record each."""
    stream = log.create("s")
    stream.append_many([b"%d" % n for n in range(50)], headers=[KINDS[n % 5] for n in range(50)])
    stream.append_many([b"alike"] * 5, headers={"kind": "all alike"})
    stream.append_many([b"none"] * 5)
    stream.append_many([b"run"] * 9, headers=[KINDS[n // 3] for n in range(9)])
    for n in range(12):
        stream.append(b"one %d" % n, headers=KINDS[n % 5])
    if request.param == "branch":
        stream = stream.branch("child", at=60)
        stream.append_many([b"own", b"own 2"], headers=[{"kind": "call"}, None])
    if request.param != "wal":
        log.seal()
    return stream


def kept(stream: transit.Stream, where: Mapping[str, Any]) -> Iterator[transit.Record]:
    """What a reader of everything keeps."""
    for record in stream.read():
        values = {k: {v} if isinstance(v, str) else set(v) for k, v in where.items()}
        if all(record.headers.get(key) in wanted for key, wanted in values.items()):
            yield record


def problems(stream: transit.Stream) -> list[str]:
    """The conditions under which something else is read."""
    wrong = []
    for where in WHERE:
        wanted = list(kept(stream, where))
        if list(stream.read(where=where)) != wanted:
            wrong.append(f"read: {where}")
        found = list(stream.batches(where=where))
        if [record for batch in found for record in batch.records()] != wanted:
            wrong.append(f"batches: {where}")
        for batch in found:
            wrong += [f"{where}: {problem}" for problem in columns_that_differ(batch)]
    return wrong


def columns_that_differ(batch: transit.Batch) -> Iterator[str]:
    records = list(batch.records())
    said: dict[str, list[object]] = {
        "offsets": [record.offset for record in records],
        "timestamps": [record.timestamp for record in records],
        "payloads": [record.payload for record in records],
        "headers": [record.headers for record in records],
        "origins": [record.origin.offset for record in records],
    }
    for name, values in said.items():
        if list(getattr(batch, name)) != values:
            yield name
    starts = [0, *batch.ends]
    data = bytes(batch.data)
    if [data[a:b] for a, b in zip(starts, batch.ends, strict=False)] != said["payloads"]:
        yield "data"
    table = batch.to_arrow(["offset", "payload", "origin_offset"])
    if [table["offset"].to_pylist(), table["payload"].to_pylist()] != [
        said["offsets"], said["payloads"],
    ] or table["origin_offset"].to_pylist() != said["origins"]:  # fmt: skip
        yield "to_arrow"
    if list(pickle.loads(pickle.dumps(batch)).records()) != records or len(batch) != len(records):
        yield "pickle"


def test_records_by_headers_are_those_a_reader_of_all_keeps(stream: transit.Stream) -> None:
    assert problems(stream) == []


def test_a_range_is_cut_before_headers_are_looked_at(stream: transit.Stream) -> None:
    where = {"kind": "call"}
    for start, stop in ((3, 3), (3, 4), (0, 23), (7, 57), (50, None)):
        wanted = [r for r in stream[start:stop] if r.headers.get("kind") == "call"]
        assert list(stream.read(start, stop, where=where)) == wanted
    with pytest.raises(transit.OffsetError):
        stream.read(10_000, where=where)


def test_chunks_whose_headers_do_not_fit_are_not_given(stream: transit.Stream) -> None:
    assert list(stream.batches(where={"kind": "nothing"})) == []
    (alike,) = stream.batches(where={"kind": "all alike"})
    assert alike.payloads == [b"alike"] * 5


@pytest.mark.parametrize(
    "where",
    ["kind", 5, {"kind": 5}, {1: "a"}, {"kind": b"a"}, {"kind": ["a", 1]}, [("k", "v")]],
    ids=repr,
)
def test_what_no_header_can_be_is_refused_at_the_call(log: transit.Log, where: Any) -> None:
    stream = log.create("s")
    for call in (stream.read, stream.batches):
        with pytest.raises(transit.InvalidInputError, match="where"):
            call(where=where)


# The same checks, with a bug put in.


PLANTS: dict[str, tuple[str, Callable[..., Any]]] = {
    "one header is enough": (
        "_fits",
        lambda headers, wanted: any(headers.get(k) in v for k, v in wanted.items()) or not wanted,
    ),
    "a chunk goes by its first record": (
        "_places",
        lambda chunk, start, stop, wanted: range(
            start, stop if picking._fits(chunk.header(start), wanted) else start
        ),
    ),
    "a cut batch is looked at from the chunk's beginning": (
        "_places",
        lambda chunk, start, stop, wanted, real=picking._places: real(
            chunk, 0, stop - start, wanted
        ),
    ),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    parent = log.create("s")
    parent.append_many([b"%d" % n for n in range(50)], headers=[KINDS[n % 5] for n in range(50)])
    other = log.create("t")
    other.append(b"first", headers={"kind": "call"})
    merged = log.merge("m", [("s", 30), other], policy="append")
    merged.append_many([b"1"] * 3, headers=KINDS[:3])
    found: list[str] = []
    name, planted = PLANTS[plant]
    monkeypatch.setattr(picking, name, planted)
    for stream in (parent, merged):
        found += problems(stream)
        where = {"kind": "call"}
        wanted = [r for r in stream[7:20] if r.headers.get("kind") == "call"]
        found += [] if list(stream.read(7, 20, where=where)) == wanted else ["a range"]
    assert found
