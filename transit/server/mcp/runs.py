"""Tools about recorded runs: `list_runs`, and `search` in what they said."""

from __future__ import annotations

from collections.abc import Iterator

from transit import InvalidInputError
from transit.server.mcp.arguments import After, ListRuns, Search
from transit.server.mcp.calling import Caller
from transit.server.mcp.pages import Item, Page
from transit.server.mcp.records import moment
from transit.trace import Found, RunSummary, find, runs
from transit.trace.finding import kind_of

_SECOND_NS = 1_000_000_000


async def list_runs(caller: Caller, given: ListRuns) -> Item:
    """What became of runs, the newest first."""
    return await caller.room.service.read(lambda: _listed(caller, given))


def _listed(caller: Caller, given: ListRuns) -> Item:
    found = runs(caller.log, given.prefix, status=given.status)
    seen = [run for run in found if caller.sees(run.name)]
    start = 0
    if given.after is not None:
        names = [run.name for run in seen]
        if given.after not in names:
            raise InvalidInputError(f"after: there is no run {given.after!r} in this list")
        start = names.index(given.after) + 1
    page, last = Page({"count": len(seen)}, "runs"), given.after
    for run in seen[start:]:
        if len(page) >= given.limit or not page.take(_summary(caller, run)):
            return page.answer({"after": last})
        last = run.name
    return page.answer(None)


def _summary(caller: Caller, run: RunSummary) -> Item:
    error = run.error
    duration = run.duration_ns
    return {
        "run": run.name,
        "status": run.status,
        "created": moment(run.created_at),
        "ended": moment(run.ended_at),
        "duration_s": None if duration is None else duration / _SECOND_NS,
        "error": None if error is None else {"type": error.type, "message": error.message},
        "failures": run.failures,
        "events": run.totals.events,
        "model_calls": run.totals.model_calls,
        "tool_calls": run.totals.tool_calls,
        "tokens_in": run.tokens_in,
        "tokens_out": run.tokens_out,
        "cost": run.cost,
        "parent": caller.shown(run.parent),
        "children": [name for name in run.children if caller.sees(name)],
        "actor": run.actor,
        "reason": run.reason,
        "scores": [
            {"name": score.name, "value": score.label if score.score is None else score.score}
            for score in run.scores
            if score.at is None
        ],
        "metadata": run.metadata,
    }


async def search(caller: Caller, given: Search) -> Item:
    """Where something was said in runs, or happened."""
    if (given.text, given.kind, given.tool, given.failed) == (None, None, None, None):
        raise InvalidInputError("search for something: text, kind, tool or failed")
    after = given.after
    if after is not None:
        caller.stream(after.stream)
    async with caller.room.heavy:
        return await caller.room.service.read(lambda: _searched(caller, given))


def _searched(caller: Caller, given: Search) -> Item:
    found = find(
        caller.log, given.prefix, text=given.text, kind=given.kind, tool=given.tool,
        failed=given.failed,
    )  # fmt: skip
    page = Page({}, "found")
    last: Found | None = None
    for each in _past(caller, found, given.after):
        item = {
            "stream": each.run,
            "offset": each.offset,
            "time": moment(each.record.timestamp),
            "kind": kind_of(each.record.event),
            "where": each.where,
            "excerpt": each.excerpt,
        }
        if len(page) >= given.limit or not page.take(item):
            assert last is not None
            return page.answer({"after": {"stream": last.run, "offset": last.offset}})
        last = each
    return page.answer(None)


def _past(caller: Caller, found: Iterator[Found], after: After | None) -> Iterator[Found]:
    """What was found after a place, in order of creation of the runs, where the caller may read."""
    ids: dict[str, int] = {}
    least = (-1, -1) if after is None else (caller.log.stream(after.stream).id, after.offset)
    for each in found:
        if not caller.sees(each.run):
            continue
        if after is not None:
            if each.run not in ids:
                ids[each.run] = caller.log.stream(each.run).id
            if (ids[each.run], each.offset) <= least:
                continue
        yield each
