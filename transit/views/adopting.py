"""Roots of an older view taken over by changed code, once samples of them came out the same."""

from __future__ import annotations

import msgspec

from transit import InvalidInputError, Stream
from transit.views.errors import DivergedError
from transit.views.verifying import Interval, intervals_of, sampled
from transit.views.view import View


class Adopted(msgspec.Struct, frozen=True):
    """What was taken over. positions: those of the savepoints. checked: intervals folded again."""

    stream: str
    positions: tuple[int, ...]
    checked: int


def adopt(
    old: View,
    new: View,
    stream: Stream | str,
    *,
    sample: float = 0.1,
    seed: int | None = None,
) -> Adopted:
    """Take over the savepoints of an older view of a stream, instead of folding all of it again.

    A sample of the intervals between them, the last one always, is folded with the new code from
    the old states; all must come to the old roots. sample: their share, drawn with `seed`.
    Raises `DivergedError` where one does not, and then nothing is taken over; `InvalidInputError`
    where the tables or the ways to keep them differ, or the new view has savepoints there.
    """
    found = old.log.stream(stream) if isinstance(stream, str) else stream
    _check(old, new, found)
    intervals = intervals_of(old, found)
    chosen = sampled(intervals, sample, seed)
    if intervals and intervals[-1] not in chosen:
        chosen.append(intervals[-1])
    for each in chosen:
        root = _fold(old, new, found, each)
        if root != each.root:
            raise DivergedError(
                f"{new!r}: {found.name}[{each.start}:{each.stop}] comes to {root.hex()[:16]}, not "
                f"to {each.root.hex()[:16]} as the older view has it"
            )
    positions = new.take_over(old, found)
    return Adopted(found.name, positions, len(chosen))


def _check(old: View, new: View, stream: Stream) -> None:
    if old.log is not new.log:
        raise InvalidInputError("the two views are of different open stores")
    if old.persist != new.persist or old.persist == "ephemeral":
        raise InvalidInputError(
            f"the older view is {old.persist}, the newer {new.persist}: only kept states can be "
            "taken over, and in the same way"
        )
    if old.program.spec.tables != new.program.spec.tables:
        raise InvalidInputError("the tables differ: their rows lie otherwise, so fold them again")
    if new.points(stream):
        raise InvalidInputError(f"{new!r} has savepoints of {stream.name} already")


def _fold(old: View, new: View, stream: Stream, interval: Interval) -> bytes:
    start = old.settle(stream, interval.start, interval.start_root, {}, 0)
    fold = new.program.fold(start.map, stream.name)
    for batch in stream.batches(
        interval.start, interval.stop, where=new.program.spec.where or None
    ):
        fold.take(batch, 0, len(batch))
    return fold.flush().root
