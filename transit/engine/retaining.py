"""What is due by the limits of streams: found, and deleted or trimmed.

Times are those at which records were written, by the engine's clock. A limit trims; a stream that
is finished and of which every record has expired is deleted whole. What somebody needs, holds, or
must keep longer stays, and is told.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from transit.engine.deleting import Wish, delete, trim, would_delete, would_trim
from transit.engine.times import offset_at
from transit.errors import DependentsError, RetainedError
from transit.format.life import Keep
from transit.handle.handle import Handle
from transit.log.catalog import StreamState
from transit.replay import batches

_SECOND = 10**9


class Due(msgspec.Struct, frozen=True):
    """Records that a limit lets go.

    stream: name. before: offset before which they go; None where the stream is deleted. records:
    how many go. limit: "expire_after", "bytes_max" or "count_max". refused: why they stay, "" where
    they go. since: when the oldest of them was written, UTC nanoseconds.
    """

    stream: str
    before: int | None
    records: int
    limit: str
    refused: str
    since: int


class _Wanted(NamedTuple):
    state: StreamState
    before: int
    limit: str
    since: int
    whole: bool


def retain(handle: Handle, *, dry_run: bool, durability: str | None) -> tuple[Due, ...]:
    """Let everything go that is due, the oldest first; dry_run: only say what is."""
    handle.refresh()
    now = time.time_ns()
    wanted = sorted(_wanted(handle, now), key=lambda each: (each.since, each.state.id))
    return tuple(_let_go(handle, each, dry_run, durability) for each in wanted)


def _wanted(handle: Handle, now: int) -> Iterator[_Wanted]:
    catalog = handle.catalog
    for stream, life in catalog.known_lives().notable.items():
        if life.keep is None or life.deleted:
            continue
        state = catalog.state(stream)
        found = _due(handle, state, life.keep, now)
        if found is not None:
            yield found


def _due(handle: Handle, state: StreamState, keep: Keep, now: int) -> _Wanted | None:
    count = state.next_offset
    before, limit = state.gone, ""
    for name, reached in (
        ("expire_after", _expired(handle, state, keep.expire_after, now)),
        ("count_max", 0 if keep.count_max is None else count - keep.count_max),
        ("bytes_max", _over(handle, state, keep.bytes_max)),
    ):
        if reached > before:
            before, limit = reached, name
    if keep.keep_for is not None:
        before = min(before, offset_at(handle.catalog, state, now - keep.keep_for * _SECOND, count))
    if before <= state.gone:
        return None
    since = next(iter(batches(handle.catalog, state, state.gone, state.gone + 1))).written[0]
    whole = limit == "expire_after" and before == count and state.finished
    return _Wanted(state, before, limit, since, whole)


def _expired(handle: Handle, state: StreamState, expire_after: int | None, now: int) -> int:
    if expire_after is None:
        return 0
    return offset_at(handle.catalog, state, now - expire_after * _SECOND, state.next_offset)


def _over(handle: Handle, state: StreamState, bytes_max: int | None) -> int:
    """Before which offset records go, so that the payloads of the others take `bytes_max`."""
    if bytes_max is None:
        return 0
    sizes: list[int] = []
    for batch in batches(handle.catalog, state, state.gone, state.next_offset):
        sizes += map(len, batch.payloads)
    total, at = sum(sizes), 0
    while total > bytes_max:
        total -= sizes[at]
        at += 1
    return state.gone + at


def _let_go(handle: Handle, wanted: _Wanted, dry_run: bool, durability: str | None) -> Due:
    state, before = wanted.state, wanted.before
    wish = Wish(wanted.limit, "retention", "")
    refused, records = "", before - state.gone
    try:
        if dry_run:
            tried = (
                would_delete(handle, state, wish, cascade=False)
                if wanted.whole
                else would_trim(handle, state, before, wish)
            )
            refused = tried.hindrance
        elif wanted.whole:
            delete(handle, state, wish, None, durability)
        else:
            trim(handle, state, before, wish, None, durability)
    except (DependentsError, RetainedError) as error:
        refused = str(error)
    return Due(
        state.name, None if wanted.whole else before, records, wanted.limit, refused, wanted.since
    )
