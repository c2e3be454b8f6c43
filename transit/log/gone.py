"""Records that are gone: what to say of them, as `$names` has it.

Owns the error that a reader gets. Which records are gone is for `StreamState.gone`, which says it
without reading anything; who deleted or trimmed them, when and why, is read only then.

Invariant: no stream that is not deleted inherits a record that is gone, unless it was trimmed past
it itself (`transit.log.dependents`). So a reader asks of the stream it reads, and of no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from transit.errors import ErasedError, TransitError
from transit.format.life import ALL, Life, decode_life
from transit.lineage.spans import Span
from transit.log.catalog import Catalog, StreamState

_STATES = {True: "erased", False: "deleted"}


class Told(NamedTuple):
    """A record of `$names`: what it says, its offset there, when it was written and by whom."""

    life: Life
    offset: int
    when: int
    by: str


def told_of(catalog: Catalog, stream: int) -> Iterator[Told]:
    """The records of `$names` about one stream, in order."""
    state = catalog.names_state()
    for offset in catalog.lives_about(stream):
        chunk = catalog.own_chunk(state, offset)
        place = offset - chunk.first
        life = decode_life(chunk.payload(place), offset)
        if life.stream == stream:
            yield Told(life, offset, chunk.written_at(place), chunk.writer)


def taken_away(told: Iterator[Told], offset: int) -> Told | None:
    """The record that took the record at `offset` away; None when it is not gone."""
    return next((each for each in told if each.life.gone > offset), None)


def gone(catalog: Catalog, state: StreamState, offset: int) -> ErasedError:
    """The error for a read of the record at `offset`, which is gone as `state` says."""
    life, name = state.life or Life(stream=state.id, streams=state.id + 1), state.name
    what = _STATES[life.erased] if life.deleted else "trimmed"
    found: Told | None = None
    try:
        found = taken_away(told_of(catalog, state.id), offset)
    except TransitError:
        # Far away, or damaged: that it is gone is known all the same.
        found = None
    because = life if found is None else found.life
    message = f"{name} was {what}" if life.deleted else f"{name}@{offset} was trimmed"
    message += f" ({because.basis or 'owner'}{': ' if because.reason else ''}{because.reason})"
    if not life.deleted:
        message += f": its first offset is {life.trimmed} now"
    return ErasedError(
        message,
        stream=name,
        first_offset=None if life.deleted else life.trimmed,
        state=what,
        when=0 if found is None else found.when,
        by="" if found is None else found.by,
        basis=because.basis or "owner",
        reason=because.reason,
    )


def check_there(catalog: Catalog, span: Span) -> None:
    """`ErasedError` when own records of a stream, which a span names, are gone."""
    state = catalog.state(span.stream)
    if span.origin < state.gone:
        raise gone(catalog, state, span.origin)


def first_offset(state: StreamState) -> int:
    """The first offset that a stream still has; the count of its records where it has none."""
    return state.next_offset if state.gone == ALL else state.gone
