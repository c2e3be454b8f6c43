"""Tools that write: `append`, `fork_here`, `merge`. Nothing that is there changes or goes away."""

from __future__ import annotations

import time
from collections.abc import Callable

from transit import (
    ConflictError,
    InvalidInputError,
    MergePlan,
    OffsetError,
    Position,
    Scalar,
    Stream,
)
from transit.protocol.fields import is_json
from transit.protocol.messages import json_messages
from transit.server.access import APPEND, BRANCH, MERGE
from transit.server.lives import configuration_of
from transit.server.mcp.arguments import Append, ForkHere, Merge, Place
from transit.server.mcp.calling import Caller
from transit.server.mcp.pages import Item, numbered
from transit.trace.names import ACTOR, BRANCH_KIND, CREATED, REASON, TASK_ID, TRACE_KIND, is_run


async def append(caller: Caller, given: Append) -> Item:
    """One record more."""
    payload = given.text.encode()
    caller.grant.check(APPEND, given.stream)

    def work() -> Item:
        is_there = not given.create or caller.room.find(given.stream) is not None
        if is_there:
            offset = _append(caller, caller.stream(given.stream, APPEND), payload, given)
        else:
            offset = _create(caller, payload, given)
        return {"stream": given.stream, "offset": offset, "created": not is_there}

    return await _written(caller, work)


def _append(caller: Caller, stream: Stream, payload: bytes, given: Append) -> int:
    if is_json(configuration_of(caller.log, stream).content_type):
        payloads = json_messages(payload)
        if len(payloads) != 1:
            raise InvalidInputError(f"{stream.name}: one JSON message is wanted, not an array")
        payload = payloads[0]
    receipt = stream.append_many(
        [payload],
        headers=given.headers or None,
        expect=given.expect,
        durability="os",
        writer=caller.grant.name,
    )
    return receipt.offset


def _create(caller: Caller, payload: bytes, given: Append) -> int:
    name = caller.new_name(given.stream, APPEND)
    if given.expect:
        raise ConflictError(f"there is no stream {name!r}, so its next offset is 0")
    with caller.log.batch(durability="os", writer=caller.grant.name) as batch:
        batch.append(batch.create(name), payload, headers=given.headers or None)
    return batch.receipts[0].offset


async def fork_here(caller: Caller, given: ForkHere) -> Item:
    """A new stream that inherits another up to an offset."""

    def work() -> Item:
        stream, name = caller.stream(given.stream), caller.new_name(given.name, BRANCH)
        count = len(stream)
        if given.at >= count:
            raise OffsetError(f"{stream.name} has no offset {given.at}; it has {count} records")
        facts = _facts(caller, [stream], given.reason, {BRANCH_KIND: "alternate-plan"})
        at = given.at if given.at >= 0 else None
        with caller.log.batch(durability="os", writer=caller.grant.name) as batch:
            made = batch.branch(stream, name, at, facts, empty=at is None)
        return {
            "stream": name,
            "parent": {"stream": stream.name, "offset": given.at},
            "next_offset": len(made.stream),
        }

    return await _written(caller, work)


def _facts(
    caller: Caller, parents: list[Stream], reason: str, kind: dict[str, Scalar]
) -> dict[str, Scalar]:
    """The metadata of what is made of `parents`; of runs it is a run, of the first one's task."""
    if not all(map(is_run, parents)):
        return {REASON: reason} if reason else {}
    return {
        TASK_ID: parents[0].metadata[TASK_ID],
        ACTOR: caller.grant.name,
        CREATED: time.time_ns(),
        REASON: reason,
        **kind,
    }


async def merge(caller: Caller, given: Merge) -> Item:
    """A new stream from the heads of others; or what it would be."""
    if given.plan_only:
        parents = [_parent(caller, place) for place in given.parents]
        plan = await caller.room.service.read(
            lambda: caller.log.plan(parents, policy=given.policy, params=given.params)
        )
        return _shown(caller, given, plan, None)
    if given.name is None:
        raise InvalidInputError("name: a merge that is made needs one")
    chosen = given.name

    def work() -> Stream:
        name = caller.new_name(chosen, MERGE)
        parents = [_parent(caller, place) for place in given.parents]
        streams = [caller.stream(place.stream) for place in given.parents]
        facts = _facts(caller, streams, given.reason, {TRACE_KIND: "merge"})
        with caller.log.batch(durability="os", writer=caller.grant.name) as batch:
            made = batch.merge(
                name, parents, policy=given.policy, params=given.params, metadata=facts
            )
        return made.stream

    durability = caller.room.service.wanted(None)
    stream = await caller.room.service.write(work)
    await caller.room.service.reach(durability)
    recorded = stream.merge_plan
    assert recorded is not None
    return {**_shown(caller, given, recorded, stream.name), "durability": durability}


def _parent(caller: Caller, place: Place) -> Stream | Position:
    stream = caller.stream(place.stream)
    return stream if place.offset is None else Position(stream.name, place.offset)


def _shown(caller: Caller, given: Merge, plan: MergePlan, made: str | None) -> Item:
    base = plan.base
    head: Item = {
        "made": made,
        "policy": plan.policy,
        "version": plan.version,
        "params": dict(plan.params),
        "base": None
        if base is None
        else {"stream": caller.shown(base.stream), "offset": base.offset},
        "count": plan.count,
    }
    spans = (
        {"stream": caller.shown(origin.stream), "offset": origin.offset, "count": count}
        for origin, count in plan.spans
    )
    return numbered(head, "spans", spans, given.skip, given.limit)


async def _written(caller: Caller, work: Callable[[], Item]) -> Item:
    """Do `work`, and say how durable what it wrote is."""
    service = caller.room.service
    durability = service.wanted(None)
    answer = await service.write(work)
    await service.reach(durability)
    return {**answer, "durability": durability, "next": None, "truncated": False}
