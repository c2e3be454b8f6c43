"""Planted bugs that the state machines and the histories must find; `planted` undoes them after.

Other than those of `rigs.plants` these lose nothing in a crash: they answer wrongly.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final
from unittest.mock import patch

import msgspec

from transit.engine import deleting
from transit.engine import staging as staging_module
from transit.engine.batch import WriteBatch
from transit.engine.checkpoints import Checkpoints
from transit.engine.cursor import Cursor
from transit.engine.erasing import _Work
from transit.engine.pending import Pending
from transit.engine.plans import Head, fork_offset
from transit.engine.rebasing import _Copier
from transit.engine.staged_parents import StagedParents
from transit.engine.staging import Place, Staging
from transit.engine.stream import Receipt, Stream
from transit.errors import ConflictError, TransitError
from transit.evidence.checking import Checked
from transit.evidence.commits import CommitTree
from transit.evidence.statement import Leaf
from transit.format.cursor import CursorRecord
from transit.format.digest import digest
from transit.format.life import Life
from transit.format.lineage import LINEAGE_ID
from transit.format.names import cursor_stream_name
from transit.format.record import Columns
from transit.format.snapshot import encode_snapshot
from transit.handle import write_side
from transit.handle.write_side import Writing
from transit.lineage import policy
from transit.lineage.spans import Span, concatenate
from transit.log import writer as log_writer
from transit.log.assign import Tail, assign
from transit.log.catalog import Catalog, StreamState, View
from transit.log.segments import Segment
from transit.log.snapshots import Snapshots
from transit.log.turns import SharedTurn
from transit.log.writer import Writer
from transit.tier.publish import Publisher
from transit.tier.restore import Restorer

Replaced = tuple[object, str, object]
"""Whose attribute it is, its name, and what is there instead."""


def fork_before_the_head() -> Replaced:
    """A branch at the head begins one record before it."""
    right = fork_offset

    def wrong(name: str, at: int | None, stop: int) -> int:
        return max(-1, stop - 2) if at is None else right(name, at, stop)

    return staging_module, "fork_offset", wrong


def batch_without_conditions() -> Replaced:
    """Conditions of a batch are not looked at."""
    right = Pending._next

    def wrong(
        pending: Pending, timestamp: int | None, expect: int | None, now: int, count: int
    ) -> tuple[int, int]:
        return right(pending, timestamp, None, now, count)

    return Pending, "_next", wrong


def records_at_once_are_miscounted() -> Replaced:
    """Behind records that a batch appends at once the next one gets the offset of the last."""
    right = Pending.append_many

    def wrong(
        pending: Pending,
        columns: Columns,
        times: Sequence[int] | None,
        expect: int | None,
        now: int,
    ) -> tuple[int, Sequence[int]]:
        done = right(pending, columns, times, expect, now)
        pending.next_offset -= 1
        return done

    return Pending, "append_many", wrong


def merge_id_forgotten() -> Replaced:
    """No merge is known by its id."""
    return Catalog, "find_merge", lambda catalog, merge_id: None


def interleave_appends() -> Replaced:
    """Interleaving puts one parent after the other."""

    def wrong(parts: policy.Suffixes, timestamps: policy.Timestamps) -> tuple[Span, ...]:
        return concatenate(*parts)

    return policy, "interleave", wrong


def cursor_stays() -> Replaced:
    """A cursor that advanced is where it was."""

    def wrong(cursor: Cursor, position: int, **options: object) -> None:
        if not 0 <= position <= cursor._state.next_offset:
            raise ConflictError("no such place")

    return Cursor, "advance", wrong


def cursor_moves_before_its_batch() -> Replaced:
    """A cursor moves when a batch is told to move it, whatever becomes of the batch."""

    def wrong(batch: WriteBatch, cursor: Cursor, position: int, **options: object) -> None:
        with suppress(TransitError):
            cursor.advance(position, **options)  # type: ignore[arg-type]

    return WriteBatch, "advance", wrong


def cursor_state_is_kept() -> Replaced:
    """A cursor that moves without a state keeps that of the position before."""
    right = Staging.advance

    def wrong(
        staging: Staging, stream: StreamState, name: str, wanted: CursorRecord, expect: int | None
    ) -> None:
        if wanted.state is None:
            own = cursor_stream_name(stream.id, name)
            now = staging._stands(own, staging._cursor_stream(own))
            wanted = wanted._replace(state=now.state)
        right(staging, stream, name, wanted, expect)

    return Staging, "advance", wrong


def cursor_without_conditions() -> Replaced:
    """The position a cursor is expected at is not looked at."""
    right = Staging.advance

    def wrong(
        staging: Staging, stream: StreamState, name: str, wanted: CursorRecord, expect: int | None
    ) -> None:
        right(staging, stream, name, wanted, None)

    return Staging, "advance", wrong


def merge_without_what_is_staged() -> Replaced:
    """A merge in a batch is of the heads before the batch."""
    right = Staging._head

    def wrong(staging: Staging, place: Place, lowest: int) -> Head:
        state, offset = place
        before = state.next_offset - 1 if offset is None else offset
        return right(staging, (state, before), lowest)

    return Staging, "_head", wrong


def staged_times_forgotten() -> Replaced:
    """To a merge in a batch staged records have no times."""
    right = StagedParents.timestamps

    def wrong(parents: StagedParents, span: Span) -> list[int]:
        times = right(parents, span)
        pending = parents._pending.get(span.stream)
        first = span.origin + span.count if pending is None else pending.first
        return [0 if span.origin + at >= first else time for at, time in enumerate(times)]

    return StagedParents, "timestamps", wrong


def merge_without_conditions() -> Replaced:
    """What a merge or a branch expects of its parents is not looked at."""
    return staging_module, "check_expected", lambda tail, expect: None


def clock_steps_back() -> Replaced:
    """A timestamp that the engine gives may lie before the last one."""
    right = assign

    def wrong(tail: Tail, timestamp: int | None, expect: int | None, now: int) -> tuple[int, int]:
        return right(tail, timestamp, expect, now - next(steps) % 2 * 10**12)

    steps = itertools.count()
    return log_writer, "assign", wrong


def given_times_bind() -> Replaced:
    """A timestamp that a user gave holds the later ones of its stream."""
    right, last = assign, dict[str, int]()

    def wrong(tail: Tail, timestamp: int | None, expect: int | None, now: int) -> tuple[int, int]:
        offset, given = right(tail, timestamp, expect, max(now, last.get(tail.name, now)))
        last[tail.name] = given
        return offset, given

    return log_writer, "assign", wrong


def closing_forgets() -> Replaced:
    """What waits in memory is dropped when the store is closed."""
    right = Writing.close

    def wrong(side: Writing) -> None:
        accepted = side.writer._accepted
        for state in accepted.states:
            state.waiting.clear()
        accepted.states.clear()
        right(side)

    return Writing, "close", wrong


def others_not_read() -> Replaced:
    """In mode "shared" a turn begins without taking up what others wrote."""

    def wrong(turn: SharedTurn) -> None:
        turn._turns.acquire(timeout_s=turn._timeout_s)

    return SharedTurn, "_take_turn", wrong


def nothing_adopted() -> Replaced:
    """A folder with nothing of its own does not take up what others published."""
    return write_side, "adopt_commits", lambda *_: 0


def fence_forgotten() -> Replaced:
    """A writer that was fenced off writes as "tiered" again as if it had not been told."""
    return Publisher, "check", lambda publisher: None


def rebase_onto_their_head() -> Replaced:
    """After a rebase, positions of ours name the same offsets of theirs."""
    return _Copier, "_position", lambda copier, stream, offset: (stream, offset)


def restore_without_the_last_commit() -> Replaced:
    """A restore stops one commit early."""
    right = Restorer._fetch_commits

    def wrong(restorer: Restorer, numbers: Sequence[int], at: int | str | None) -> bool:
        if at is None:
            last = -1
            while restorer._remote.checked_commit(last + 1) is not None:
                last += 1
            at = max(0, last - 1)
        return right(restorer, numbers, at) and not restorer._is_at(at)

    return Restorer, "_fetch_commits", wrong


def acknowledged_before_visible() -> Replaced:
    """An append returns, and its record is there a moment later."""
    right = Stream.append

    def late(stream: Stream, payload: bytes, options: dict[str, object]) -> None:
        with suppress(TransitError):
            right(stream, payload, **options)  # type: ignore[arg-type]

    def wrong(stream: Stream, payload: bytes, **options: object) -> Receipt:
        if options.get("expect") is not None:
            return right(stream, payload, **options)  # type: ignore[arg-type]
        offset = stream._state.next_offset
        threading.Timer(0.001, late, (stream, payload, options)).start()
        return Receipt(stream.name, offset, 0, "os")

    return Stream, "append", wrong


def condition_looked_at_apart() -> Replaced:
    """`expect=` is looked at first, and the record appended after that."""
    right = Stream.append

    def wrong(stream: Stream, payload: bytes, **options: object) -> Receipt:
        expect = options.pop("expect", None)
        if expect is not None and len(stream) != expect:
            raise ConflictError("not the next offset")
        return right(stream, payload, **options)  # type: ignore[arg-type]

    return Stream, "append", wrong


def stale_length() -> Replaced:
    """Every third look at a stream sees it as it was at the look before."""
    right = Stream._range
    counts: dict[int, tuple[int, int]] = {}

    def wrong(stream: Stream, start: int, stop: int | None) -> tuple[int, int]:
        first, found = right(stream, start, stop)
        looks, before = counts.get(id(stream._state), (0, found))
        counts[id(stream._state)] = (looks + 1, found)
        return first, before if looks % 3 == 2 and first <= before else found

    return Stream, "_range", wrong


def shared_look_skipped() -> Replaced:
    """In mode "shared" every tenth look does not see what others wrote."""
    right = Writer.take_up_others
    looks = itertools.count(1)

    def wrong(writer: Writer) -> None:
        if next(looks) % 10:
            right(writer)

    return Writer, "take_up_others", wrong


def made_known_late() -> Replaced:
    """A new stream is found by its name a moment before the state that its maker appends with."""
    right = Catalog.adopt

    def wrong(catalog: Catalog, state: StreamState) -> None:
        if state.id == LINEAGE_ID:
            right(catalog, state)
        else:
            threading.Timer(0.0005, right, (catalog, state)).start()

    return Catalog, "adopt", wrong


def wal_dropped_unread() -> Replaced:
    """A WAL file leaves the view when its records are committed, read to its end or not."""

    def wrong(catalog: Catalog, segments: list[Segment]) -> None:
        with catalog.changing:
            taken = (*catalog.view.segments, *segments)
            covered = taken[-1].ref.lsn[1] if taken else -1
            left = tuple(wal for wal in catalog.view.wals if wal.first_lsn > covered)
            catalog.view = View(taken, left)

    return Catalog, "take_segments", wrong


def snapshot_of_two_moments() -> Replaced:
    """An index snapshot is made of the commits of one moment and the segments of another."""

    def wrong(snapshots: Snapshots) -> bytes:
        catalog = snapshots._catalog
        stop, indexed = catalog.commits.count, catalog.commits.indexed
        time.sleep(0.1)
        return encode_snapshot(snapshots._snapshot(indexed, stop, catalog.view.segments))

    return Snapshots, "encode", wrong


def finished_goes_on() -> Replaced:
    """The record that finishes a stream is written, and appends go on."""
    right = StreamState.take_life

    def wrong(state: StreamState, life: Life | None) -> None:
        right(state, life)
        state.finished = False

    return StreamState, "take_life", wrong


def hidden_name_kept() -> Replaced:
    """The name of a hidden stream still finds it."""
    return Catalog, "is_hidden", lambda catalog, stream_id: False


def hidden_after_sealing_is_shown() -> Replaced:
    """What `$names` says is forgotten when it is sealed."""
    right = Catalog.life

    def wrong(catalog: Catalog, stream_id: int) -> Life | None:
        in_wals = any(stream_id in wal.lives for wal in catalog.view.wals)
        return right(catalog, stream_id) if in_wals else None

    return Catalog, "life", wrong


def checkpoint_without_the_last_commit() -> Replaced:
    """What was sealed last is not covered by the checkpoint that is made right after."""
    right = Checkpoints.tree

    def wrong(checkpoints: Checkpoints) -> CommitTree:
        tree = right(checkpoints)
        return checkpoints._tree(max(1, tree.size - 1))

    return Checkpoints, "tree", wrong


def bytes_of_a_leaf_unchecked() -> Replaced:
    """A proof's chunks are believed whatever their digest is."""
    right = Checked._take

    def wrong(checked: Checked, leaf: Leaf, data: bytes, name: str) -> None:
        right(checked, msgspec.structs.replace(leaf, digest=digest(data).hex()), data, name)

    return Checked, "_take", wrong


def needs_forgotten() -> Replaced:
    """A stream may go although a branch or a merge has its records."""
    return deleting, "_needed_by", lambda catalog, state, stop: iter(())


def begins_at_nothing() -> Replaced:
    """What is made from a trimmed stream begins where that one began once."""
    return staging_module, "inherited_gone", lambda record, life: 0


def a_chunk_is_left() -> Replaced:
    """Of each segment one chunk too few is erased."""
    right = _Work._rows

    def wrong(work: _Work, segment: Segment) -> set[int]:
        return set(sorted(right(work, segment))[1:])

    return _Work, "_rows", wrong


PLANTS: Final[Mapping[str, Callable[[], Replaced]]] = {
    plant.__name__: plant
    for plant in (
        checkpoint_without_the_last_commit,
        bytes_of_a_leaf_unchecked,
        fork_before_the_head,
        batch_without_conditions,
        records_at_once_are_miscounted,
        merge_id_forgotten,
        interleave_appends,
        cursor_stays,
        cursor_moves_before_its_batch,
        cursor_state_is_kept,
        cursor_without_conditions,
        merge_without_what_is_staged,
        staged_times_forgotten,
        merge_without_conditions,
        clock_steps_back,
        given_times_bind,
        closing_forgets,
        others_not_read,
        nothing_adopted,
        fence_forgotten,
        rebase_onto_their_head,
        restore_without_the_last_commit,
        acknowledged_before_visible,
        condition_looked_at_apart,
        stale_length,
        shared_look_skipped,
        made_known_late,
        wal_dropped_unread,
        snapshot_of_two_moments,
        finished_goes_on,
        hidden_name_kept,
        hidden_after_sealing_is_shown,
        needs_forgotten,
        begins_at_nothing,
        a_chunk_is_left,
    )
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """A block in which the engine has the bug of that name."""
    owner, attribute, wrong = PLANTS[name]()
    with patch.object(owner, attribute, wrong):
        yield
