"""Deleting and trimming: records that are gone for readers from here on.

Owns what must be so before: nobody needs the records (`transit.log.dependents`), nobody holds them,
and they were kept as long as was said. All that goes at once goes in one frame of `$names`, so that
it is whole or not there; the bytes are freed later (`transit.engine.erasing`).

What belongs to a stream is deleted with it: its cursors, and what rooms above keep about it alone.
Names and metadata stay, in `$lineage`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import msgspec

from transit.config import Level
from transit.disk import list_folder, remove
from transit.engine.checks import as_index, check_numbers, check_writer
from transit.engine.staging import Staging, stage
from transit.errors import DependentsError, OffsetError, RetainedError
from transit.format.life import ALL, NO_LIMITS, OVERRIDING, Basis, Life, check_basis, check_reason
from transit.format.lineage import STORE_OWNER
from transit.handle.handle import Handle
from transit.log.assign import check_expected
from transit.log.catalog import Catalog, StreamState
from transit.log.dependents import NO_LIFE, Need, needs_of
from transit.log.sizes import Weight, weigh

_SECOND: Final = 10**9


class Deletion(msgspec.Struct, frozen=True):
    """What a deletion or a trim did, or, of a dry run, would do.

    streams: names, in the order in which they went; of a trim the one. records: that are gone for
    readers. bytes_here, bytes_remote: what they take, unfolded, in the folder and in the remote.
    What is in the way, of a dry run alone: dependents, as of `DependentsError`; holds: reasons;
    until: when the last record may go, UTC nanoseconds, or None. keys: of an encrypted store, that
    were destroyed, or would be.
    """

    streams: tuple[str, ...]
    records: int
    bytes_here: int
    bytes_remote: int
    dependents: tuple[tuple[str, int, int], ...] = ()
    holds: tuple[str, ...] = ()
    until: int | None = None
    keys: int = 0

    @property
    def refused(self) -> bool:
        """Whether something is in the way."""
        return bool(self.hindrance)

    @property
    def hindrance(self) -> str:
        """What is in the way, in words; "" for nothing."""
        said = [f"{name} needs {first} to {last}" for name, first, last in self.dependents]
        said += [f"held: {hold}" for hold in self.holds]
        if self.until is not None:
            said.append(f"to be kept until {_date(self.until)}")
        return "; ".join(said)


class Wish(NamedTuple):
    """Why records shall go: checked."""

    reason: str
    basis: Basis
    writer: str

    @property
    def overrides(self) -> bool:
        """Whether it goes before how long records were to be kept."""
        return self.basis in OVERRIDING


def wish(reason: object, basis: object, writer: object) -> Wish:
    """Why records shall go; `InvalidInputError` for what cannot be."""
    return Wish(check_reason(reason), check_basis(basis), check_writer(writer))


class _Plan(NamedTuple):
    """What goes: of each stream the records before an offset, `ALL` of one that is deleted."""

    gone: Sequence[tuple[StreamState, int]]
    needs: Sequence[Need]


def delete(
    handle: Handle,
    state: StreamState,
    wanted: Wish,
    expect: int | None,
    durability: str | None,
    *,
    cascade: bool = False,
) -> Deletion:
    """Delete a stream and what belongs to it; cascade: what needs its records too."""
    check_numbers(None, expect)
    level = handle.level_of(durability)
    # Outside the turn at first: others need not wait for what must be read.
    _whole(handle.catalog, state, cascade)

    def work(staging: Staging) -> Deletion:
        staging.writer = wanted.writer
        check_expected(state, expect)
        plan = _whole(handle.catalog, state, cascade)
        _refuse(handle.catalog, plan, state, wanted, staging.now)
        done = _measured(handle, plan)
        for each, _ in plan.gone:
            changes: dict[str, object] = {"deleted": True, "hidden": True, "basis": wanted.basis}
            if not each.finished:
                changes["finished"] = each.next_offset
            staging.change(each, wanted.reason, **changes)
        return done

    done, written = stage(handle, work)
    handle.acknowledge(written, level)
    if done.keys:
        # What says that the records are gone is durable before nobody can read them any more.
        handle.acknowledge(None, Level.LOCAL)
        shred(handle, wanted.reason)
    return done


def trim(
    handle: Handle,
    state: StreamState,
    before: int,
    wanted: Wish,
    expect: int | None,
    durability: str | None,
) -> Deletion:
    """Let a stream begin at offset `before`."""
    check_numbers(None, expect)
    level = handle.level_of(durability)

    def work(staging: Staging) -> Deletion:
        staging.writer = wanted.writer
        check_expected(state, expect)
        plan = _part(handle.catalog, state, before)
        _refuse(handle.catalog, plan, state, wanted, staging.now)
        done = _measured(handle, plan)
        for each, stop in plan.gone:
            staging.change(each, wanted.reason, trimmed=stop, basis=wanted.basis)
        return done

    done, written = stage(handle, work)
    handle.acknowledge(written, level)
    return done


def would_delete(handle: Handle, state: StreamState, wanted: Wish, *, cascade: bool) -> Deletion:
    """What `delete` would do, and what is in the way."""
    handle.refresh()
    return _tried(handle, _whole(handle.catalog, state, cascade), wanted)


def would_trim(handle: Handle, state: StreamState, before: int, wanted: Wish) -> Deletion:
    """What `trim` would do, and what is in the way."""
    handle.refresh()
    return _tried(handle, _part(handle.catalog, state, before), wanted)


def _tried(handle: Handle, plan: _Plan, wanted: Wish) -> Deletion:
    catalog, now = handle.catalog, time.time_ns()
    until = 0 if wanted.overrides else max(_kept_until(catalog, plan), default=0)
    holds = [hold for state, _ in plan.gone for hold in _life(state).holds]
    return msgspec.structs.replace(
        _measured(handle, plan),
        dependents=_named(catalog, plan.needs),
        holds=tuple(sorted({*holds})),
        until=until if until > now else None,
    )


# What goes


def _whole(catalog: Catalog, state: StreamState, cascade: bool) -> _Plan:
    """Of a deletion: children first, and each with what belongs to it."""
    if state.gone == ALL:
        return _Plan([], [])
    found: dict[int, StreamState] = {}
    waiting = {state.id: state}
    while waiting:
        found |= waiting
        more: set[int] = set()
        for each in waiting.values():
            more |= {*catalog.descent().belonging(each.id, each.record.uid)}
            if cascade:
                more |= {need.stream for need in _needed_by(catalog, each, ALL)}
        states = map(catalog.state, more - found.keys())
        waiting = {each.id: each for each in states if each.gone != ALL}
    ordered = [found[stream] for stream in sorted(found, reverse=True)]
    needs = [
        need
        for each in ordered
        for need in _needed_by(catalog, each, ALL)
        if need.stream not in found
    ]
    return _Plan([(each, ALL) for each in ordered], needs)


def _part(catalog: Catalog, state: StreamState, before: int) -> _Plan:
    """Of a trim."""
    before = as_index(before, "before")
    if not 0 <= before <= state.next_offset:
        raise OffsetError(f"{state.name}: no offset {before}; it has {state.next_offset} records")
    if before <= state.gone:
        return _Plan([], [])
    return _Plan([(state, before)], list(_needed_by(catalog, state, before)))


def _needed_by(catalog: Catalog, state: StreamState, stop: int) -> Iterator[Need]:
    """Who needs records of a stream before an offset."""
    for stream in catalog.descent().made_from(state.id):
        life = catalog.life(stream) or NO_LIFE
        for need in needs_of(stream, catalog.record(stream), life):
            if need.of == state.id and need.first < stop:
                yield need


# What is in the way


def _refuse(catalog: Catalog, plan: _Plan, state: StreamState, wanted: Wish, now: int) -> None:
    if plan.needs:
        dependents = _named(catalog, plan.needs)
        shown = ", ".join(f"{name} ({first} to {last})" for name, first, last in dependents[:10])
        more = f" and {len(dependents) - 10} more" if len(dependents) > 10 else ""
        raise DependentsError(
            f"{state.name}: its records are needed by {shown}{more}",
            stream=state.name,
            dependents=dependents,
        )
    held = [each for each, _ in plan.gone if _life(each).holds]
    if held:
        holds = [hold for each in held for hold in _life(each).holds]
        raise RetainedError(
            f"{held[0].name} is held: {holds[0]}",
            streams=[each.name for each in held],
            holds=sorted({*holds}),
        )
    until = 0 if wanted.overrides else max(_kept_until(catalog, plan), default=0)
    if until > now:
        raise RetainedError(
            f"{state.name}: to be kept until {_date(until)}",
            streams=[each.name for each, _ in plan.gone if _life(each).keep is not None],
            until=until,
        )


def _kept_until(catalog: Catalog, plan: _Plan) -> Iterator[int]:
    """When the last record of each stream that goes may go, UTC nanoseconds."""
    for state, stop in plan.gone:
        keep_for, last = (_life(state).keep or NO_LIMITS).keep_for, min(stop, state.next_offset) - 1
        if keep_for and last >= max(state.record.start, state.gone):
            chunk = catalog.own_chunk(state, last)
            yield chunk.written_at(last - chunk.first) + keep_for * _SECOND


def _life(state: StreamState) -> Life:
    return state.life or NO_LIFE


def _named(catalog: Catalog, needs: Sequence[Need]) -> tuple[tuple[str, int, int], ...]:
    return tuple((catalog.record(need.stream).name, need.first, need.last) for need in needs)


def _date(time_ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ns // _SECOND))


def _measured(handle: Handle, plan: _Plan) -> Deletion:
    weights = [
        weigh(handle.catalog, state, state.gone, stop, handle.published)
        for state, stop in plan.gone
    ]
    total = Weight(*map(sum, zip(*weights, strict=True))) if weights else Weight(0, 0, 0)
    names = tuple(state.name for state, _ in plan.gone)
    keys = len(_owners_gone(handle.catalog, {state.id for state, stop in plan.gone if stop == ALL}))
    return Deletion(names, total.records, total.here, total.remote, keys=keys)


# Keys


def _owners_gone(catalog: Catalog, gone: AbstractSet[int]) -> set[str]:
    """Who has a key that nobody needs once the streams `gone` are deleted, and has it still."""
    keys = catalog.keys
    if keys is None or not keys.writes or not gone:
        return set()
    owners = {catalog.record(stream).owner for stream in gone} - {STORE_OWNER}
    if not owners:
        return owners
    # What was made from a stream alone has its key, and is deleted with it: the stream decides.
    own = {owner for owner in owners if owner.startswith("stream:")}
    for owner in own:
        if catalog.find_uid(owner.removeprefix("stream:")) not in gone:
            owners.discard(owner)
    if owners - own:
        lives = catalog.known_lives().notable
        for stream in range(1, catalog.stream_count()):
            life = lives.get(stream)
            if stream not in gone and not (life is not None and life.deleted):
                owners.discard(catalog.record(stream).owner)
    return owners


def shred(handle: Handle, reason: str) -> int:
    """Destroy the keys that only deleted streams have; how many owners had one.

    Done again after a crash in the middle, it goes on.
    """
    catalog = handle.catalog
    keys = catalog.keys
    deleted = {stream for stream, life in catalog.known_lives().notable.items() if life.deleted}
    owners = _owners_gone(catalog, deleted)
    if keys is None:
        return 0
    entries = keys.keyring.keys()
    known = {(key.owner, key.state) for key in entries}
    count = 0
    for owner in sorted(owners):
        states = {state for of, state in known if of == owner}
        if states != {"destroyed"}:
            # What is not sealed yet is not encrypted: it must not get a key when it is.
            keys.keyring.current(owner)
            keys.keyring.destroy(owner, reason)
            count += 1
    if count:
        _forget(catalog)
    return count


def _forget(catalog: Catalog) -> None:
    """Let go of what was made of records and is not encrypted: in memory, and rooms' files."""
    catalog.cache.clear()
    places = catalog.places
    for room in list_folder(places.rooms):
        for name in list_folder(places.room(room)):
            catalog.check_place()
            remove(os.path.join(places.room(room), name))
