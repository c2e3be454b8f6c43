"""Adopting another run: from then on its decisions are in force.

A merge of the decisions in force and of the run's, policy "append": what people said meanwhile is
in it, and beats both. The stream that was in force takes no more records, in the same frame, so
what is written to it at that moment is written to the merge instead, by who meant it.
"""

from __future__ import annotations

from uuid import uuid4

from transit import AlreadyExistsError, ConflictError, InvalidInputError, Stream
from transit.chat.deciding import Threading, cursor_of
from transit.chat.naming import LAYER, decisions_name, metadata_of
from transit.chat.threads import Threaded


def adopt(channel: Threaded, run: Threading, *, by: str, reason: str = "") -> Stream:
    """Put a run in force, and give the stream of decisions that is made.

    run: as `Threading.rerun` gave it. Classifiers go on where the run stands. `ConflictError` where
    another run was adopted since this one began: run it again.
    """
    if run.channel.stream != channel.stream or not run.is_run:
        raise InvalidInputError(f"{run!r} is no other run over {channel.name}")
    theirs = run.threads.writable()
    while True:
        threads = channel.threads()
        before = threads.writable()
        if before.uid not in theirs.parent_uids:
            raise ConflictError(
                f"{theirs.name} is a branch of decisions that are not in force any more: another "
                "run was adopted"
            )
        number = threads.adoption + 1
        try:
            return _merge(channel, before, theirs, number, by, reason)
        except AlreadyExistsError:
            # Adopted by another process at this moment; or others made what is no adoption.
            if channel.threads().adoption < number:
                raise


def _merge(
    channel: Threaded, before: Stream, theirs: Stream, number: int, by: str, reason: str
) -> Stream:
    stream, log = channel.stream, channel.log
    name, uid = decisions_name(stream.uid, number), uuid4().hex
    metadata = {**metadata_of(stream, "channel-decisions"), "adopted_by": by}
    if reason:
        metadata["reason"] = reason
    position = cursor_of(stream, theirs.uid).position
    with log.batch() as batch:
        made = batch.merge(
            name, [before, theirs], policy="append", metadata=metadata, layer=LAYER, uid=uid
        )
        batch.finish(before, reason=f"{theirs.name} was adopted")
        batch.advance(cursor_of(stream, uid), position)
    return made.stream
