"""The main job from end to end, proven: record, fork, merge, publish, lose, restore, audit.

Owns the steps of `transit demo` and what is compared. Two things are proven, of the store as it was
published and again of the store restored from its remote alone: every record is, byte for byte,
what it was when it was recorded; and the program that recorded gets back what it said.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

import transit
from transit import Log, Position, Stream

DIFFERENCES_SHOWN_MAX: Final = 10


class Step(msgspec.Struct, frozen=True):
    """One thing that was done: what came of it, and whether that is as it should be."""

    step: str
    ok: bool
    facts: Mapping[str, object]


class Kept(NamedTuple):
    """A record as it was when it was recorded."""

    payload: bytes
    headers: Mapping[str, str]
    timestamp: int
    origin: Position


class Source(Protocol):
    """What is recorded, and what of it a store gives back."""

    def record(self, log: Log) -> None:
        """Record it, with its forks and its merge."""

    def missing(self, log: Log) -> Iterator[str]:
        """What `log` does not give back as it was said, in words; nothing when all is well."""


def steps(folder: str, source: Source) -> Iterator[Step]:
    """Do all of it in `folder`, step by step: the store is in `store`, the remote in `remote`."""
    store, remote = os.path.join(folder, "store"), os.path.join(folder, "remote")
    with transit.open(store, remote=remote, durability="os") as log:
        source.record(log)
        kept = {stream.name: _records(stream) for stream in log.streams()}
        yield from _recorded(log, kept)
        published = log.publish()
    root = published.head
    yield _step("publish", commits=published.commits, bytes=published.bytes, root=root)
    yield _prove("prove", store, source, kept)
    shutil.rmtree(store)
    yield _step("lose", not os.path.exists(store), path=store)
    restored = transit.restore(remote, store)
    same = restored.root == root
    yield _step("restore", same, bytes=restored.bytes, root=restored.root, same_root=same)
    report = transit.audit(remote, trusted_root=root)
    same = report.head == root
    findings = len(report.findings)
    yield _step("audit", report.ok and same, findings=findings, root=report.head, same_root=same)
    yield _prove("prove again", store, source, kept)


def _step(step: str, ok: bool = True, **facts: object) -> Step:
    return Step(step, ok, facts)


def _records(stream: Stream) -> list[Kept]:
    return [Kept(r.payload, dict(r.headers), r.timestamp, r.origin) for r in stream.read()]


def _recorded(log: Log, kept: Mapping[str, Sequence[Kept]]) -> Iterator[Step]:
    own = sum(record.origin.stream == name for name, records in kept.items() for record in records)
    yield _step("record", streams=len(kept), records=own)
    for stream in log.streams():
        reason = stream.metadata.get("reason")
        if stream.kind == "branch":
            (parent,) = stream.parents
            yield _step(
                "fork", stream=stream.name, parent=parent.stream, at=parent.offset, reason=reason
            )
        plan = stream.merge_plan
        if plan is not None:
            parents = [place.stream for place in stream.parents]
            yield _step(
                "merge", stream=stream.name, policy=plan.policy, parents=parents, reason=reason
            )


def _prove(step: str, store: str, source: Source, kept: Mapping[str, Sequence[Kept]]) -> Step:
    """Open the store anew and compare everything in it; what differs is in the facts."""
    with transit.open(store, mode="read") as log:
        found = {stream.name: _records(stream) for stream in log.streams()}
        differences = [*different(kept, found), *source.missing(log)]
        checked = log.verify()
    facts: dict[str, object] = {
        "streams": len(found),
        "records_compared": sum(map(len, found.values())),
        "identical": not differences,
        "verified": checked.ok,
    }
    if differences:
        facts["differences"] = differences[:DIFFERENCES_SHOWN_MAX]
    return Step(step, checked.ok and not differences, facts)


def different(
    kept: Mapping[str, Sequence[Kept]], found: Mapping[str, Sequence[Kept]]
) -> Iterator[str]:
    """Where two stores' histories differ, record by record, in words."""
    for name in kept.keys() | found.keys():
        if name not in kept or name not in found:
            yield f"{name}: {'not there' if name in kept else 'was not recorded'}"
            continue
        if len(kept[name]) != len(found[name]):
            yield f"{name}: {len(found[name])} records, {len(kept[name])} were recorded"
        for offset, (one, other) in enumerate(zip(kept[name], found[name], strict=False)):
            if one != other:
                yield f"{name}@{offset}: not as it was recorded"
